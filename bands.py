"""Bands: their names, order, scaling and role, for Landslide4Sense, Sen12Landslides and plain pictures.

All other modules look up bands by name with these functions; no other code holds positions of bands.
"""

import re

import numpy as np

from script import UserError

TERRAIN = ("slope", "dem")  # bands without light: slope in degrees, elevation in metres
# Landslide4Sense, in the order of its files. B8A is not in the set.
BANDS_L4S = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", *TERRAIN)
# The published values are digital numbers (slope: degrees, dem: metres) divided by these, band by band. Source: the
# authors, in issue 4 of the data set's repository.
SCALE_L4S = (
    (1111.8, 824.6, 663.4, 445.2, 645.9, 1547.7, 1960.4, 1941.3, 674.1, 9.05, 1114.0, 519.9)  # B1 ... B12
    + (20.29, 772.8)  # slope, dem
)
BANDS_RGB = ("red", "green", "blue")
# Sen12Landslides, for each date of a series.
BANDS_SEN12 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
# Sentinel-2, in the order of the band_id in product metadata, and the words that STAC and others use for these bands.
BANDS_SENTINEL2 = (*(f"B{i}" for i in range(1, 9)), "B8A", *(f"B{i}" for i in range(9, 13)))
BAND_WORDS = {
    **{"coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "rededge1": "B5", "rededge2": "B6"},
    **{"rededge3": "B7", "nir": "B8", "nir08": "B8A", "nir09": "B9", "cirrus": "B10", "swir16": "B11", "swir22": "B12"},
}
# 8-bit patches of Landslide4Sense hold its values times 255 / the largest value of the patch, which is about this.
DISPLAY_L4S = 58.0
REFLECTANCE = 10000  # the unit of products and of files with a scale tag: reflectance x 10000
TERRAIN_WORDS = {"elevation": "dem"}
# Limits of `far_off`: the distance of means in deviations, and the highest and lowest ratio of deviations.
FAR_MEAN, FAR_DEVIATION, FLAT = 2.0, 3.0, 0.1
WAVELENGTHS = {  # of Sentinel-2's bands, in nanometres (ESA's Sentinel-2 User Handbook, 2015)
    **{"B1": 443, "B2": 490, "B3": 560, "B4": 665, "B5": 705, "B6": 740, "B7": 783, "B8": 842, "B8A": 865},
    **{"B9": 945, "B10": 1375, "B11": 1610, "B12": 2190},
}


def band_names(count, dates=0):
    """Return the names of the bands of a file: of 14 those of Landslide4Sense, of 3 red green blue, or band1, band2 ...

    count: number of bands. dates: number of dates of a series, whose bands are named by date; 0 for other files.
    """
    if dates:
        return dated_names(dates)
    return {14: BANDS_L4S, 3: BANDS_RGB}.get(count, tuple(f"band{i}" for i in range(1, count + 1)))


def band_columns(bands, file_bands, data_dir=""):
    """Return the positions of `bands`, which are names or numbers from 1, among those of a file; empty for all."""
    columns = []
    for band in map(str, bands or file_bands):
        if not (positions := positions_of(band, file_bands)):
            have = f"{', '.join(file_bands)}, or 1 to {len(file_bands)}"
            raise UserError(f"{data_dir}: band {band} is not in these files (they have {have})")
        columns.append(positions[0])
    if len(set(columns)) < len(columns):
        named = ", ".join(map(str, bands or file_bands))
        raise UserError(f"{data_dir}: the bands {named} name the same band twice")
    return columns


def positions_of(band, file_bands):
    """List the positions of the bands of a file that a user means: by name, or by number from 1 (3, band3).

    B4, B04 and red are one name, which several bands may have, unless one is called exactly so.
    """
    kinds = list(map(kind_of, file_bands))
    for name, names in ((band, file_bands), (kind_of(band), kinds)):
        if name in names:
            return [i for i, each in enumerate(names) if each == name]
    number = re.fullmatch(r"(?:band)?(\d+)", band)
    return [int(number[1]) - 1] if number and 1 <= int(number[1]) <= len(file_bands) else []


def sentinel2_band(name):
    """Return the Sentinel-2 band of a name: "B4" for B04, b4, red or "B04 after"; None if it is no such band."""
    name = name.split(" ")[0]
    plain = BAND_WORDS.get(name.lower(), band_code(name))
    return plain if plain in BANDS_SENTINEL2 else None


def code_of(name):
    """Return one word for all names of a band: B4 for B04, b4 and red; for others, the name in lower case."""
    return sentinel2_band(name) or TERRAIN_WORDS.get(name.lower(), name.lower())


def band_code(name):
    """Return the code of a band without its leading zero: "B4" for B04 and b4."""
    return re.sub(r"^B0(?=\d)", "B", name.upper())


def light(names):
    """Return for each band of these names whether it holds light: all but slope and elevation, as an array of bool.

    Offset, scale, stretch and the search for reflectance concern light alone: terrain is in degrees and metres.
    """
    return np.array([code_of(name) not in TERRAIN for name in names], bool)


def value_unit(bands, dtype, mean):
    """Return the unit of the values of training files: "l4s", "display" (0 to 255) or "" if it is unknown.

    Args:
        bands: names of the bands. dtype: of the files, as text. mean: of each band over the training split.
    """
    if dtype == "uint8":
        return "display"
    lit = np.flatnonzero(light(bands))
    known = len(lit) and all(sentinel2_band(bands[i]) for i in lit)
    return "l4s" if known and all(0.2 < mean[i] < 5 for i in lit) else ""


def true_colour(file_bands):
    """Return the positions of red, green and blue; if unknown, of the first three bands, or three times the first."""
    kinds = [(code_of(word), date) for word, _, date in (name.partition(" ") for name in file_bands)]
    dates = dict.fromkeys(date for _, date in kinds)
    for date in ("", *list(dates)[::-1]):  # the last of several dates
        colours = [(code, date) for code in ("B4", "B3", "B2")]
        if set(colours) <= set(kinds):
            return [kinds.index(colour) for colour in colours]
    return [0, 1, 2] if len(file_bands) > 2 else [0, 0, 0]


def counterparts(bands, others):
    """Return the position of each band among others, by name: "B4", "B04" and "red" are one band.

    Where the first three bands have no name, and no other one has that of light, they count as red, green and blue. Of
    several dates the last one counts as red, green and blue, as in `true_colour`. A name that is in both lists is the
    same band.

    Returns:
        list of positions, None for a band that is not among the others.
    """
    positions = [others.index(band) if band in others else None for band in bands]
    kinds = [None if i in positions else kind for i, kind in enumerate(_kinds(others))]
    for i, kind in enumerate(_kinds(bands)):
        if positions[i] is None and kind in kinds:
            positions[i] = kinds.index(kind)
            kinds[positions[i]] = None  # one band feeds one other
    return positions


def beside_colours(positions, file_bands):
    """Let the nameless last of four bands be the last one sought, if the first three are sought in their order.

    GDAL calls the first three of any four bands red, green and blue. positions: see `counterparts`.
    """
    fourth = len(file_bands) == 4 and numbered(file_bands[3:])
    return [0, 1, 2, 3] if fourth and positions == [0, 1, 2, None] else positions


def matching_bands(bands, file_bands, files, whose, count=None, hint="", arrays=False):
    """Return the position of each band among those of files, by name or number.

    Bands that are known by number alone are taken by it, whatever files of as many bands call them. Others are found by
    name, see `counterparts` and `beside_colours`. Of four bands of a raster that states neither names nor colours,
    it is unknown which three are red, green and blue: many satellites have blue first.

    Args:
        bands: names of the bands to find. file_bands: names of all bands of the files.
        files, whose: words for the files and for the owner of the bands, for the message. hint: follows it.
        count: number of bands of the files that `bands` are of; None: `bands` are all of them.
        arrays: whether the files are HDF5, which states no colours: the first three of four are red, green and blue.

    Raises:
        UserError: the files lack one of them, or it is unknown which they are, because they have no names.
    """
    by_number, count = numbered(bands), count or len(bands)
    if by_number and len(file_bands) == count:
        by_name = set(bands) <= set(file_bands)  # files may call them band3, band2, band1
        return [file_bands.index(band) if by_name else int(band.removeprefix("band")) - 1 for band in bands]
    if by_number and count > 4:
        known = f"those of {whose} are known by number alone, in files of {count}"
        raise UserError(f"{files} holds {len(file_bands)} bands, and {known}")
    some_of_four = len(file_bands) == 4 != len(bands) and not arrays
    if (len(file_bands) > 4 or some_of_four) and numbered(file_bands) and not by_number:
        way = (
            "gdal_edit.py -colorinterp_1 red -colorinterp_2 green -colorinterp_3 blue FILE, in the order that is right"
        )
        raise UserError(
            f"{files} holds {len(file_bands)} bands without names: which of them are {' '.join(bands)} of {whose} is "
            f"unknown; write their names into the files{', or their colours: ' + way if some_of_four else ''}"
        )
    positions = beside_colours(counterparts(bands, file_bands), file_bands)
    if lacking := [band for band, position in zip(bands, positions, strict=True) if position is None]:
        raise UserError(f"{files} holds {' '.join(file_bands)} and lacks {' '.join(lacking)} of {whose}{hint}")
    return positions


def renamed(bands, file_bands, positions):
    """Return a text on the bands that files call by another name, "" if there are none.

    It is "bands are taken by their names: red B4, green B3", or "by their number" where the files name none.

    bands, file_bands, positions: see `matching_bands`.
    """
    pairs = [(band, file_bands[position]) for band, position in zip(bands, positions, strict=True)]
    text = ", ".join(f"{band} {called}" for band, called in pairs if band != called)
    how = "number" if numbered(file_bands) or numbered(bands) else "names"
    return f"bands are taken by their {how}: {text}" if text else ""


def numbered(names):
    """Return whether bands are known by their numbers alone: band1, band2 ..."""
    return all(re.fullmatch(r"band\d+", name) for name in names)


def kind_of(band):
    """Return one word for all names of a band, see `code_of`; a band of one of several dates is known by its name."""
    return band if " " in band else code_of(band)


def _kinds(bands):
    """Return one word for each band that is the same for all its names: B4 for B4, B04 and red."""
    kinds = list(map(kind_of, bands))
    nameless = len(bands) > 2 and numbered(bands[:3]) and not any(map(sentinel2_band, bands))
    for colour, position in zip(("B4", "B3", "B2"), true_colour(tuple(bands)), strict=True):
        if colour not in kinds and (nameless or sentinel2_band(bands[position]) == colour):
            kinds[position] = colour
    return kinds


def l4s_gains(model_bands, unit):
    """Return the factor of each band from reflectance x 10000, degrees and metres to the unit of a run.

    Args:
        model_bands: names of the model's bands. unit: "l4s", or "display", whose values the caller limits to 0-255.
    """
    constants = dict(zip(BANDS_L4S, SCALE_L4S, strict=True))
    codes = list(map(code_of, model_bands))
    if unknown := [name for name, code in zip(model_bands, codes, strict=True) if code not in constants]:
        raise UserError(f"scaling l4s knows {' '.join(BANDS_L4S)}; the run's band {unknown[0]} is none of them")
    display = unit == "display"
    factor = DISPLAY_L4S if display else 1.0
    return tuple(1.0 if display and code in TERRAIN else factor / constants[code] for code in codes)


def far_off(mean, deviation, usual_mean, usual_deviation):
    """Return for each band whether its values differ much from the usual ones, as an array of bool.

    They do if the mean differs by more than FAR_MEAN usual standard deviations, or if the standard deviation is above
    FAR_DEVIATION times the usual one or below FLAT times. The ground of one scene varies less than that of a whole
    training set, so only a nearly constant band is too flat. The usual deviation must be above 0.
    """
    spread = np.asarray(deviation) / usual_deviation
    distance = np.abs(np.asarray(mean) - usual_mean) / usual_deviation
    return (distance > FAR_MEAN) | (spread > FAR_DEVIATION) | (spread < FLAT)


class OpticalBands(list):
    """Positions of the bands that hold light; `wavelengths` in nanometres, one for each.

    `size_plane` is the position of the plane of the pixel size (patches/pixel_sizes.py), None where images have none.
    """

    def __init__(self, positions, wavelengths, size_plane=None):
        super().__init__(positions)
        self.wavelengths, self.size_plane = np.array(wavelengths, float), size_plane


def optical_bands(bands, size_plane=False):
    """Return the OpticalBands of bands, found by their names; size_plane: whether that plane follows them.

    Of bands with unknown names, the first three count as red, green and blue (as in `true_colour`), others as near
    infrared.
    """
    colours = dict(zip(true_colour(bands), (665, 560, 490), strict=True))
    positions = np.flatnonzero(light(bands)).tolist()
    plain = [code_of(bands[i]) for i in positions]
    known = [WAVELENGTHS.get(name, colours.get(i, 842)) for i, name in zip(positions, plain, strict=True)]
    return OpticalBands(positions, known, len(bands) if size_plane else None)


def dated_names(dates):
    """Return the names of the bands of an image of some dates: B04; B04 before, B04 after; B04 t1, B04 t2 ..."""
    words = {1: [""], 2: [" before", " after"]}.get(dates, [f" t{i + 1}" for i in range(dates)])
    return (*(band + word for word in words for band in BANDS_SEN12), *TERRAIN)


def date_groups(bands):
    """Return (positions of each date's bands, in order of time; positions of the bands without a date), from names.

    Raises:
        ValueError: the dates have different bands.
    """
    groups, undated = {}, []
    for position, name in enumerate(bands):
        if match := re.fullmatch(r"(\S+) (before|after|t\d+)", name):
            groups.setdefault(match[2], {})[match[1]] = position
        else:
            undated.append(position)
    order = sorted(groups, key=lambda word: {"before": 0, "after": 1}.get(word) if word[0] != "t" else int(word[1:]))
    kinds = sorted(groups[order[0]]) if order else []
    if any(sorted(groups[word]) != kinds for word in order):
        raise ValueError("the dates have different bands")
    return [[groups[word][kind] for kind in kinds] for word in order], undated
