"""Series of dates: the NetCDF-4 files of Sen12Landslides as they are published (doi 10.1038/s41597-025-06167-2).

A file holds 15 dates of one place: variables B02 ... B12 (Sentinel-2, digital numbers), SCL (scene classification), DEM
(metres) and MASK (0/1, the same on every date), each (time, x, y) or (time, y, x); `pre_post_dates` says which dates
lie around the event. NetCDF-4 is HDF5, and h5py reads it. Of the dates some are chosen and laid into one image, date
after date, with slope and elevation at its end, so that everything else treats it as an image of more bands.
"""

import ast

import h5py
import numpy as np

from bands import BANDS_SEN12
from records import atomic_hdf5

UNUSABLE = (0, 1, 3, 8, 9, 10)  # of SCL: no data, defective, cloud shadow, cloud (likely, certain), thin cirrus
PIXEL = 10.0  # metres


class NotASeries(Exception):
    """A file that is not of this form; the text says in what."""


def read_series(path, dates):
    """Read the chosen dates: image H x W x bands of `bands.dated_names(dates)`, float32, and mask H x W.

    Raises NotASeries, or what h5py raises where the file is damaged.
    """
    from ground import horn_slope

    with h5py.File(path) as file:
        missing = [name for name in (*BANDS_SEN12, "SCL", "DEM", "MASK") if name not in file]
        if missing:
            raise NotASeries(f"has no variable {missing[0]}, which Sentinel-2 files of Sen12Landslides have")
        clouds = np.isin(file["SCL"][()], UNUSABLE).mean((1, 2))
        chosen = choose_dates(clouds, event_dates(file.attrs), dates)
        light = [plane(file[band], date) for date in chosen for band in BANDS_SEN12]
        dem = plane(file["DEM"], 0).astype(np.float32)
        mask = plane(file["MASK"], chosen[-1])
    slope = horn_slope(np.pad(dem, 1, constant_values=np.nan), PIXEL, PIXEL)
    return np.stack([*light, slope, dem], -1).astype(np.float32), mask


def plane(variable, date):
    """One date of a variable, its rows along y. Dimensions without names are taken to be in the order time, x, y."""
    names = [dimension[0].name.strip("/") if len(dimension) else "" for dimension in variable.dims]
    return variable[date] if names[1:] == ["y", "x"] else variable[date].T


def write_series(path, variables, attributes):
    """Write a file of this form, whole or not at all.

    Args:
        variables: those that `read_series` reads, each dates x height x width.
        attributes: of the file; without `pre_post_dates` it counts as a place without an event.
    """
    dates, height, width = variables["MASK"].shape
    with atomic_hdf5(path) as file:
        axes = {"time": 16 * np.arange(dates), "x": PIXEL * np.arange(width), "y": -PIXEL * np.arange(height)}
        for name, values in axes.items():
            file[name] = values
            file[name].make_scale(name)
        file["time"].attrs.update({"units": "days since 2023-01-01", "calendar": "proleptic_gregorian"})
        for name, values in variables.items():
            kind = np.uint8 if name == "MASK" else np.int16
            limits = np.iinfo(kind)
            stored = np.clip(np.rint(values), limits.min, limits.max).astype(kind)
            file[name] = stored.transpose(0, 2, 1)
            for axis, label in enumerate(axes):
                file[name].dims[axis].attach_scale(file[label])
        file.attrs.update({"annotated": str("pre_post_dates" in attributes), "satellite": "s2", **attributes})


def event_dates(attributes):
    """Positions of the last date before and the first after the event; None where the file does not say.

    A patch with several events has a list of them: the span from the first to the last then holds them all.
    """
    try:
        told = attributes["pre_post_dates"]
        told = ast.literal_eval(told.decode() if isinstance(told, bytes) else str(told))  # bytes: fixed length
        told = told if isinstance(told, list | tuple) else [told]
        pre, post = min(int(each["pre"]) for each in told), max(int(each["post"]) for each in told)
    except (KeyError, ValueError, SyntaxError, TypeError):  # ValueError: UnicodeDecodeError, too
        return None
    return (pre, post) if 0 <= pre < post else None


def choose_dates(clouds, event, dates):
    """Positions of the dates to use, in order of time.

    Args:
        clouds: share of unusable pixels on each date.
        event: positions of the last date before and the first after it, or None.
        dates: 1: the clearest after the event. 2: the clearest before and the clearest after. More: the clearest of
            all, one after the event among them. Of equally clear ones that nearest to the event. Without an event the
            middle of the series stands for it.
    """
    count = len(clouds)
    pre, post = event if event and event[1] < count else (count // 2 - 1, count // 2)
    before = sorted(range(pre + 1), key=lambda i: (clouds[i], pre - i))
    after = sorted(range(post, count), key=lambda i: (clouds[i], i - post))
    if dates > count or not before or not after:
        raise NotASeries(f"has {count} dates: {dates} cannot be chosen")
    if dates <= 2:
        return [*before[: dates - 1], after[0]]
    others = sorted((i for i in range(count) if i != after[0]), key=lambda i: (clouds[i], abs(i - post)))
    return sorted([after[0], *others[: dates - 1]])
