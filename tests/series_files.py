"""Series of dates in the format in which they are published, written by the netCDF library."""

import netCDF4
import numpy as np

from bands import BANDS_SEN12

DATES, SIZE = 6, 32


def write_published(path, number, event=(2, 3), cloudy=(), size=SIZE, drop=(), order="xy"):
    """Write a file in the format of Sen12Landslides: a landslide becomes bright after the event, rows along y.

    cloudy: dates with clouds. event: positions of the dates before and after it, or None.
    """
    rng = np.random.default_rng(number)
    mask = np.zeros((size, size), np.uint8)  # y, x
    top, left = rng.integers(2, size // 2, 2)
    mask[top : top + size // 3, left : left + size // 4] = event is not None
    field = np.zeros((size, size), bool)  # equally bright, but on every date
    field[size - 6 :, : size // 2] = True
    path.parent.mkdir(parents=True, exist_ok=True)
    with netCDF4.Dataset(path, "w") as file:
        for name, length in (("time", DATES), ("x", size), ("y", size)):
            file.createDimension(name, length)
            file.createVariable(name, "f8" if name != "time" else "i8", (name,))[:] = np.arange(length)
        file["time"].units = "days since 2022-10-05 00:00:00"
        for name in (*BANDS_SEN12, "SCL", "DEM", "MASK"):
            if name in drop:
                continue
            values = rng.normal(1000, 50, (DATES, size, size))
            values[:, field] += 1500
            if event:
                values[event[1] :, mask > 0] += 1500
            if name == "SCL":
                values[:] = 4
                values[list(cloudy)] = 9
            elif name == "DEM":
                values[:] = 100 + 10 * np.arange(size)  # rises by 10 m every 10 m along x
            elif name == "MASK":
                values[:] = mask
            kind = "u1" if name == "MASK" else "i2"
            values = values.transpose(0, 2, 1) if order == "xy" else values
            file.createVariable(name, kind, ("time", *order), zlib=True)[:] = values
        file.createVariable("spatial_ref", "i8", ())
        file.setncatts({"annotated": str(event is not None), "satellite": "s2", "crs": "EPSG:32632"})
        if event:
            file.setncatts({"event_date": "2023-05-16", "pre_post_dates": str({"pre": event[0], "post": event[1]})})
    return mask
