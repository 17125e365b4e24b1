"""What files state of their numbers: scale, offset and values of no data; one rule for scenes and patches."""

import re
from typing import NamedTuple

import numpy as np

from bands import REFLECTANCE, code_of
from mask_values import is_unknown

LEAST_SCALE = 0.01  # a smaller scale turns whole numbers into reflectance
LARGEST = 1e30  # absolute value of an image, at most: larger ones are no data or damage
# Numbers that GDAL, QGIS, ArcGIS, elevation models and the NetCDF library (-32767 and -2147483647) write for pixels
# without data, often without a tag. Floats may be LEAST or below: the least float32 is -3.4028234663852886e38, ArcGIS
# writes -3.4028230607370965e38, and R -3.4e38.
FILLS, LEAST = (-9999.0, -32767.0, -32768.0, -2147483647.0), float(np.float32(-3.4e38))
METRES = {
    **dict.fromkeys(("", "m", "metre", "metres", "meter", "meters", "1"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot"), 0.3048),
    **dict.fromkeys(("us-ft", "us_ft", "ftus", "foot_us", "us_foot", "us survey foot", "us_survey_foot"), 1200 / 3937),
    **{"mm": 0.001, "cm": 0.01, "dm": 0.1, "dam": 10.0, "km": 1000.0},
}
SCALED_MASK = "states a scale or an offset: write the values of a mask as they are"


def colour_fault(file):
    """Return why the colour that an open raster calls no data cannot be applied; "" if it states none.

    GDAL loses such a colour where pixels are brought onto another grid. For the transparent colour of a PNG, which
    seldom has coordinates, it also gives a number for each band.
    """
    colour = file.tags().get("NODATA_VALUES")
    if not colour or file.driver == "PNG":
        return ""
    return f"calls a colour no data (NODATA_VALUES={colour}): write it with a mask or an alpha band instead"


def tagged_scaling(scales, offsets, reflectance=True):
    """Return (factors, offsets, whether all bands of light become reflectance x 10000) of bands with these scale tags.

    Args:
        scales, offsets: of each band, as the file states them: value = scale * number + offset. A scale below
            LEAST_SCALE makes reflectance, which is brought to reflectance x 10000, the unit of products.
        reflectance: whether it does, for all bands or for each; not for terrain, see bands.light.
    """
    scales, offsets = np.array(scales, float), np.array(offsets, float)
    fractions = (scales < LEAST_SCALE) & reflectance
    unit = np.where(fractions, REFLECTANCE, 1)
    of_light = fractions[np.broadcast_to(reflectance, scales.shape)]
    return tuple((scales * unit).tolist()), tuple((offsets * unit).tolist()), bool(of_light.size and of_light.all())


def metres_of(unit):
    """Return the factor from the unit of an elevation, as a raster states it, to metres; None if it is unknown."""
    return METRES.get((unit or "").strip().lower())


def stated_scales(names, scales, offsets, units):
    """Return (scales, offsets) of bands that also bring elevation to metres; an unknown unit counts as metres.

    names, scales, offsets, units: of each band, as the file states them.
    """
    each = zip(names, units, strict=True)
    of_unit = [(metres_of(unit) or 1.0) if code_of(name) == "dem" else 1.0 for name, unit in each]
    return np.array(scales, float) * of_unit, np.array(offsets, float) * of_unit


def scaled(image, scales, offsets, reflectance=True):
    """Apply scale tags to an image, height x width x bands: float32, or the image itself if they change nothing.

    scales, offsets: one for all bands, or one for each. reflectance: see `tagged_scaling`.

    Raises:
        WrongTag: they are of another number.
    """
    for values in (scales, offsets):
        if len(values) not in (1, image.shape[-1]):
            raise WrongTag(f"states {len(values)} scales or offsets for {image.shape[-1]} bands")
    scales, offsets = (np.broadcast_to(values, image.shape[-1]) for values in (scales, offsets))
    factors, offsets, _ = tagged_scaling(scales, offsets, reflectance)
    if set(factors) == {1.0} and not any(offsets):
        return image
    return (image * np.array(factors) + np.array(offsets)).astype(np.float32)


def without_data(hits, dtype, axis=-1):
    """Return where a pixel has no data, from where its numbers are that of no data (bool; `axis`: of the bands).

    A pixel of 8 bits lacks data only if all its bands do, because 0 is an ordinary value of a dark pixel.
    """
    return hits.all(axis) if np.dtype(dtype) == np.uint8 else hits.any(axis)


def usual_fills(dtype):
    """Return the numbers of FILLS that a type may hold: signed numbers of more than 8 bits, and floats."""
    dtype = np.dtype(dtype)
    return FILLS if dtype.kind in "if" and dtype.itemsize > 1 else ()


def is_fill(values):
    """Return where numbers, an array of any shape, are FILLS, or LEAST and below; None if none of them is."""
    if not usual_fills(values.dtype):
        return None
    low = values <= max(FILLS)
    if not low.any():
        return None
    with np.errstate(over="ignore"):  # of float16
        hits = np.logical_or.reduce([values == fill for fill in FILLS])
        return hits | (values <= LEAST) if values.dtype.kind == "f" else hits


class WrongTag(Exception):
    """An attribute that cannot be applied; the text describes it."""


class StoredArray(NamedTuple):
    """The type of an array of HDF5, and what it states: its own attributes and, where it lacks them, its file's."""

    dtype: np.dtype
    attrs: dict

    @classmethod
    def of(cls, array):
        """Read the attributes of an h5py.Dataset."""
        each = (array.file.attrs, array.attrs)
        return cls(array.dtype, {name: attributes[name] for attributes in each for name in attributes})


class StoredTags:
    """Scale, offset and values of no data of an array of HDF5 or NetCDF, by the CF conventions.

    Attributes:
        scales, offsets: of its numbers, one for all bands or one for each; 1 and 0 if it states none.
        fills: its numbers of no data. valid: (least, largest) number of data, by its valid_range, or by its valid_min
            and valid_max; infinite without them.
    """

    def __init__(self, array):
        """Read the attributes of a StoredArray; raise WrongTag for what is no number, and for `_Unsigned`."""
        unsigned = np.bytes_(array.attrs.get("_Unsigned", b"")).lower() == b"true"
        if array.dtype.kind == "i" and unsigned:
            stored = array.dtype.name
            raise WrongTag(f"holds unsigned numbers as {stored} (_Unsigned is true): write them as u{stored}")
        self.scales, self.offsets = numbers(array, "scale_factor", (1.0,)), numbers(array, "add_offset", (0.0,))
        self.fills = np.append(numbers(array, "_FillValue", ()), numbers(array, "missing_value", ()))
        ends = [numbers(array, name, (limit,)) for name, limit in (("valid_min", -np.inf), ("valid_max", np.inf))]
        self.valid = numbers(array, "valid_range", np.concatenate(ends))
        if len(self.valid) != 2:
            raise WrongTag(f"states a valid_range of {len(self.valid)} numbers, and two are its ends")
        if array.dtype.kind == "u" and unsigned:  # the attributes are of the signed type
            turn = 2.0 ** (8 * array.dtype.itemsize)
            self.fills, self.valid = (np.where(each < 0, each + turn, each) for each in (self.fills, self.valid))
        if array.dtype.kind == "f":  # 0.1 as text or float64 is the float32 next to it
            with np.errstate(over="ignore"):
                self.valid = self.valid.astype(array.dtype).astype(float)

    @property
    def changes(self):
        """Whether the numbers become others."""
        return bool((self.scales != 1).any() or self.offsets.any())

    @property
    def valid_class(self):
        """(least, largest) number of a class: `valid` widened by 0, which has a meaning also beside a tag of 0."""
        return min(self.valid[0], 0.0), max(self.valid[1], 0.0)

    def lacking(self, stored):
        """Return where numbers of the array, of any shape, are those of no data."""
        fills = self.fills.astype(stored.dtype) if stored.dtype.kind == "f" else self.fills
        lacking = np.isin(stored, fills) | beyond(stored, self.valid)
        return lacking | np.isnan(stored) if np.isnan(fills).any() else lacking


def beyond(values, valid):
    """Return where values, an array of any shape, lie beyond (least, largest) number of data."""
    return (values < valid[0]) | (values > valid[1])


def without_class(values, array):
    """Return where values of a mask or of classes say nothing, by what is stated of them: bool, see `is_unknown`.

    values: numbers of any shape. array: StoredArray that holds them.

    Raises:
        WrongTag: what it states is no number, or the values are not as they are stored.
    """
    tags = StoredTags(array)
    if tags.changes:
        raise WrongTag(SCALED_MASK)
    fills = np.append(numbers(array, "nodata", ()), tags.fills)
    return is_unknown(values, fills) | beyond(values, tags.valid_class)


def numbers(array, name, default):
    """Return an attribute of a StoredArray as an array of numbers, or a default where there is none.

    Numbers as text, as GDAL hands them on and some programs write them, may stand in braces, with commas or without.
    """
    stated = array.attrs.get(name, default)
    if isinstance(stated, bytes):
        stated = stated.decode(errors="replace")
    try:
        return np.ravel(re.sub("[{},]", " ", stated).split() if isinstance(stated, str) else stated).astype(float)
    except (OSError, RuntimeError, TypeError, ValueError):
        raise WrongTag(f"states a {name} that is no number") from None
