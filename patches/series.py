"""Series of dates: the NetCDF-4 files of Sen12Landslides as they are published (doi 10.1038/s41597-025-06167-2).

A file holds 15 dates of one area: variables B02 ... B12 (Sentinel-2, digital numbers), SCL (scene classification), DEM
(metres) and MASK (0/1, the same on every date), each (time, x, y) or (time, y, x). The attribute `pre_post_dates` gives
the dates around the event. NetCDF-4 is HDF5, so h5py reads it. Some dates are chosen. Their bands are stacked into one
image, date after date, followed by slope and elevation; other modules treat it as an image with more bands.
"""

import ast

import h5py
import numpy as np

from bands import BANDS_SEN12
from patches.image_files import holds_fill
from patches.scale_tags import StoredArray, StoredTags, WrongTag, scaled, without_class
from patches.slope import horn_slope
from records import atomic_hdf5

NO_DATA = (0, 1)  # of SCL: no data, defective
UNUSABLE = (*NO_DATA, 3, 8, 9, 10)  # of SCL, too: cloud shadow, cloud (likely, certain), thin cirrus
PIXEL = 10.0  # metres


class NotASeries(Exception):
    """A file that lacks something that a series has; the text describes it."""


def is_series(path):
    """Return whether a file may be a series, also if it is damaged; not another NetCDF file, such as openEO's."""
    with open(path, "rb") as file:
        if file.read(3) == b"CDF":  # NetCDF-3
            return False
    try:
        with h5py.File(path) as file:
            return "MASK" in file or "pre_post_dates" in file.attrs
    except OSError:
        return True


def read_series(path, dates):
    """Choose some dates of a series and read them.

    A pixel has no data where the scene classification of a chosen date says so, and where a variable holds its value
    of no data. Scale and offset of a variable are applied.

    Returns:
        (image H x W x bands of `bands.dated_names(dates)`, float32; (mask, unlabelled by its value of no data), each
        H x W; gap H x W bool: without data).

    Raises:
        NotASeries: a variable is missing or states a scale that is no number, or there are too few dates. A damaged
            file raises the errors of h5py.
    """
    with h5py.File(path) as file:
        missing = [name for name in (*BANDS_SEN12, "SCL", "DEM", "MASK") if name not in file]
        if missing:
            raise NotASeries(f"has no variable {missing[0]}, which Sentinel-2 files of Sen12Landslides have")
        classes, unknown = classes_of(file["SCL"])
        without = np.isin(classes, NO_DATA) | unknown
        clouds = (without | np.isin(classes, UNUSABLE)).mean((1, 2))
        positions = choose_dates(clouds, event_dates(file.attrs), dates)
        chosen = [(file[band], position) for position in positions for band in BANDS_SEN12]
        planes = [*(values_of(*each) for each in chosen), values_of(file["DEM"], 0, reflectance=False)]
        gap = np.any([plane(file["SCL"], position, without) for position in positions], axis=0)
        mask = tuple(plane(file["MASK"], positions[-1], values) for values in classes_of(file["MASK"]))
    *light, dem = (values for values, _ in planes)
    slope = horn_slope(np.pad(np.where(planes[-1][1], np.nan, dem), 1, constant_values=np.nan), PIXEL, PIXEL)
    return np.stack([*light, slope, dem], -1), mask, np.any([gap, *(lacking for _, lacking in planes)], axis=0)


def values_of(variable, date, reflectance=True):
    """Read one date of a variable: (values, float32, scale and offset applied; where it has no data).

    reflectance: see scale_tags.tagged_scaling.
    """
    stored = plane(variable, date)[..., None]
    try:
        tags = StoredTags(StoredArray.of(variable))
        lacking = tags.lacking(stored)[..., 0] | holds_fill(stored)
        return scaled(stored, tags.scales, tags.offsets, reflectance)[..., 0].astype(np.float32), lacking
    except WrongTag as wrong:
        raise NotASeries(f"has a variable {variable.name.strip('/')} that {wrong}") from None


def classes_of(variable):
    """Read all dates of a variable of classes: (its values; where they say nothing, bool); NotASeries for a scale."""
    values = variable[()]
    try:
        return values, without_class(values, StoredArray.of(variable))
    except WrongTag as wrong:
        raise NotASeries(f"has a variable {variable.name.strip('/')} that {wrong}") from None


def plane(variable, date, values=None):
    """Read one date of a variable, rows along y. Dimensions without names are assumed to be in the order time, x, y.

    values: take them from this array instead, whose dimensions are those of the variable.
    """
    names = [dimension[0].name.strip("/") if len(dimension) else "" for dimension in variable.dims]
    one = (variable if values is None else values)[date]
    return one if names[1:] == ["y", "x"] else one.T


def write_series(path, variables, attributes):
    """Write a series as a file of Sen12Landslides, whole or not at all.

    Args:
        path: of the file.
        variables: {name: dates x height x width} of the variables that `read_series` reads.
        attributes: of the file; without `pre_post_dates` it is a series without an event.
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
    """Return the positions of the last date before and the first after the event; None if the file lacks them.

    For several events, they are the last date before the first event and the first after the last one.
    """
    try:
        text = attributes["pre_post_dates"]
        events = ast.literal_eval(text.decode() if isinstance(text, bytes) else str(text))  # fixed-length text is bytes
        events = events if isinstance(events, list | tuple) else [events]
        pre, post = min(int(event["pre"]) for event in events), max(int(event["post"]) for event in events)
    except (KeyError, ValueError, SyntaxError, TypeError):  # UnicodeDecodeError is a ValueError
        return None
    return (pre, post) if 0 <= pre < post else None


def choose_dates(clouds, event, dates):
    """Choose the dates to use; return their positions, in order of time.

    Args:
        clouds: share of the pixels that are unusable on each date.
        event: positions of the last date before and the first after the event; None: the middle of the series.
        dates: 1: the clearest after the event. 2: the clearest before and the clearest after. More: the clearest after
            the event and the clearest of all others. If dates are equally clear, the nearest to the event.

    Raises:
        NotASeries: there are too few dates.
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
