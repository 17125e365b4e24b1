"""What files call their bands: one rule for scenes and patches.

A band is called by its description, by its tags, or, of several files, by the name of its file: by the first of these
that names a known band. Where nothing does, the colours of the bands may tell red, green and blue apart.
"""

import re
from pathlib import Path
from typing import NamedTuple

from bands import BANDS_RGB, BANDS_SENTINEL2, TERRAIN, code_of

# Bands of Landsat by number, as the Sentinel-2 bands nearest to them: of Landsat 8 and 9, and of Landsat 4 to 7.
OLI = {"1": ("B1",), "2": ("B2",), "3": ("B3",), "4": ("B4",), "5": ("B8", "B8A"), "6": ("B11",), "7": ("B12",)}
TM = {"1": ("B2",), "2": ("B3",), "3": ("B4",), "4": ("B8", "B8A"), "5": ("B11",), "7": ("B12",)}
LANDSAT = re.compile(r"(?<![a-z])(?:L[COTE]0([4-9])(?![0-9])|HLS\.L30)", re.I)  # in names of files
NUMBER = re.compile(r"(?<![a-z0-9])(SR_)?B0?(\d+)(?![a-z0-9])", re.I)  # of a band in its label
KNOWN = {*BANDS_SENTINEL2, *TERRAIN}
# Words of a label that mean another band together than alone: "red edge" is not red.
JOINED = {
    **{("red", "edge"): "rededge", ("infra", "red"): "infrared", ("near", "infrared"): "nir"},
    **{("coastal", "blue"): "coastal", ("coastal", "aerosol"): "coastal"},
}


class Label(NamedTuple):
    """What a band is called.

    Attributes:
        text: as it stands in the file. codes: of the bands that it may mean, see bands.code_of.
        landsat: "" or what it says of its satellite: "known", or "unknown" where its number means different bands.
    """

    text: str = ""
    codes: tuple = ()
    landsat: str = ""


def labels_of(files):
    """Return the Label of each band of some open rasters: [[Label, ...] of each file]."""
    texts = [[candidates(file, number, len(files) > 1) for number in file.indexes] for file in files]
    listed = [text for of_file in texts for of_band in of_file for text in of_band]
    return [
        [best_label(of_band, landsat_bands(Path(file.name).stem, listed)) for of_band in of_file]
        for file, of_file in zip(files, texts, strict=True)
    ]


def candidates(file, number, by_file):
    """List the texts that may name a band of an open raster, the first one first. by_file: whether its name may."""
    tags = [value for key, value in file.tags(number).items() if re.search(r"(name|description)$", key, re.I)]
    texts = [file.descriptions[number - 1] or "", *tags, *([Path(file.name).stem] if by_file else [])]
    return [text for text in texts if text]


def best_label(texts, landsat):
    """Return the Label of the first text that names a known band, otherwise of the first one.

    landsat: {number of a Landsat band: codes}, see `landsat_bands`.
    """
    labels = [label_of(text, landsat) for text in texts]
    return next(filter(is_known, labels), labels[0] if labels else Label())


def is_known(label):
    """Return whether a Label names a known band, or one of Landsat."""
    return bool(label.landsat or KNOWN.intersection(label.codes))


def label_of(text, landsat=None):
    """Return the Label of a text. landsat: {number of a band: codes} where its satellite is known to be Landsat."""
    number = NUMBER.search(text)
    bands = landsat or landsat_bands(text)
    if number and (bands or number[1]):
        return Label(text, bands.get(number[2], ()), "known" if bands else "unknown")
    return Label(text, tuple(map(code_of, words_of(text))))


def landsat_bands(file_name, labels=()):
    """Return {number: codes} of the bands of the Landsat that a file is of; {} if it is of none, or unknown which.

    Surface reflectance has a band 6 since Landsat 8.

    Args:
        file_name: without its ending. labels: all texts that name bands.
    """
    if satellite := LANDSAT.search(file_name):
        return TM if (satellite[1] or "8") < "8" else OLI
    numbers = [number for number in map(NUMBER.search, labels) if number]
    return OLI if any(number[1] and number[2] == "6" for number in numbers) else {}


def words_of(label):
    """Return the words and numbers of a label, which anything else divides: B04, 665 and nm of "B04 (665 nm)"."""
    words = []
    for word in filter(None, re.split(r"[^A-Za-z0-9]+", label)):
        if words and (pair := JOINED.get((words[-1].lower(), word.lower()))):
            words[-1] = pair
        elif words and words[-1] == "rededge" and word.isdigit():
            words[-1] += word
        else:
            words.append(word)
    return words


def positions_of(name, labels):
    """Return the positions of the labels that mean a band: that are its name, or else have it among their words."""
    code = code_of(name)
    whole = [i for i, label in enumerate(labels) if label.codes == (code,)]
    return whole or [i for i, label in enumerate(labels) if code in label.codes]


def colours_of(file):
    """Return {code of red, green, blue: number of the band} by the colours of an open raster; {} if one is missing."""
    colours = [colour.name for colour in file.colorinterp]
    if any(colours.count(colour) != 1 for colour in BANDS_RGB):
        return {}
    return {code_of(colour): colours.index(colour) + 1 for colour in BANDS_RGB}


class SameNames(Exception):
    """Names of bands that cannot tell them apart; the text describes them."""


def stated_bands(file, count):
    """Return the names of the first `count` bands of an open raster, or () where it names none that is known.

    Colours count only where they stand in another order than red, green, blue, and only for pictures of 3 or 4 bands:
    GDAL calls the first three bands of any such picture so.

    Raises:
        SameNames: some of the bands have one name. Where all have it, it says nothing.
    """
    (labels,) = labels_of([file])
    if any(map(is_known, labels[:count])):
        return distinct_names(labels[:count])
    order = colours_of(file)
    if count not in (3, 4) or list(order.values()) in ([], [1, 2, 3]):
        return ()
    named = {number: colour for colour, number in zip(BANDS_RGB, order.values(), strict=True)}
    return tuple(named.get(number, f"band{number}") for number in range(1, count + 1))


def listed_bands(texts):
    """Return the names of bands that a file lists, such as HDF5 in an attribute, as those of a raster are called.

    Names that are not known stay, in lower case, because a list says on purpose what the bands are.

    Raises:
        SameNames: see `stated_bands`.
    """
    return distinct_names([label_of(text, landsat_bands("", texts)) for text in texts])


def distinct_names(labels):
    """Return the names of bands with these Labels; () if all have one name. Raises SameNames if some have."""
    short = [name_of(label, number) for number, label in enumerate(labels, 1)]
    if len(set(short)) == 1 < len(short):
        return ()
    words = [words_of(label.text) for label in labels]  # B4_mean and B4_deviation are two bands
    names = [
        "_".join(each).lower() if short.count(name) > 1 and len(each) > 1 else name
        for name, each in zip(short, words, strict=True)
    ]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise SameNames(f"calls several bands {repeated[0]}: name each once, or none of them")
    return tuple(names)


def name_of(label, number):
    """Return the name of a band by its Label: of a known band its code, or the word for a colour; else the label.

    number: of the band, from 1, which names a band without a label.
    """
    if re.fullmatch(r"\S+ (before|after|t\d+)", label.text):
        return label.text
    words = [word.lower() for word in words_of(label.text)]
    colours = [] if label.landsat else [word for word in words if word in BANDS_RGB]
    known = [code for code in label.codes if code in KNOWN]
    return (colours or known or ["_".join(words) or f"band{number}"])[0]
