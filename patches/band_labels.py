"""What files call their bands: one rule for scenes and patches.

A band is called by its description, by its tags, or, of several files, by the name of its file: by the first of these
that names a known band, and that not all bands have. Where nothing does, the colours of the bands may tell red, green
and blue apart.

The labels of all bands are judged together. A word that several bands have in common says nothing of each: the red of
red_river_B02 and red_river_B03 is that of the river. A word for light counts before a number that contradicts it,
because many programs number bands in their order: B1_Blue is blue, and B4_NIR is near infrared.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bands import BAND_WORDS, BANDS_RGB, BANDS_SENTINEL2, TERRAIN, TERRAIN_WORDS, band_code, code_of, kind_of
from patches.scale_tags import metres_of
from patches.stated_words import words_of_bands

# Bands of Landsat by number, as the Sentinel-2 bands nearest to them: of Landsat 8 and 9, and of Landsat 4 to 7.
OLI = {"1": ("B1",), "2": ("B2",), "3": ("B3",), "4": ("B4",), "5": ("B8", "B8A"), "6": ("B11",), "7": ("B12",)}
TM = {"1": ("B2",), "2": ("B3",), "3": ("B4",), "4": ("B8", "B8A"), "5": ("B11",), "7": ("B12",)}
LANDSAT = re.compile(r"(?<![a-z])(?:L[COTE]0([4-9])(?![0-9])|HLS\.L30)", re.I)  # in names of files
NUMBER = re.compile(r"(?<![a-z0-9])(SR_)?B0?(\d+)(?![a-z0-9])", re.I)  # of a band in its label
KNOWN = {*BANDS_SENTINEL2, *TERRAIN}
LIGHT = {*BANDS_RGB, "coastal", "rededge", "nir", "swir"}  # colours of GDAL
# Words for light that several bands of Sentinel-2 have in common: the number beside such a word says which one it is.
SHARED = {"nir": ("B8", "B8A"), "rededge": ("B5", "B6", "B7", "B8A"), "swir": ("B11", "B12")}
WORDS = {*BAND_WORDS, *SHARED, *TERRAIN, *TERRAIN_WORDS}
LETTERS = {"r": "red", "g": "green", "b": "blue", "n": "nir"}  # where a file has bands R, G and B
# Words of a label that mean another band together than alone: "red edge" is not red.
JOINED = {
    **{("red", "edge"): "rededge", ("infra", "red"): "infrared", ("near", "infrared"): "nir"},
    **{("coastal", "blue"): "coastal", ("coastal", "aerosol"): "coastal"},
}


class Label(NamedTuple):
    """What a band is called.

    Attributes:
        text: as it stands in the file.
        codes: of the bands that it means, see bands.code_of: one, of near infrared of Landsat two, of a single label
            that is not yet compared with the others those of all its words; () without a text.
        landsat: "" or what it says of its satellite: "known", or "unknown" where its number means different bands.
        name: the one name of the band: of a known one its code, or the word for a colour; else all words, or band1.
    """

    text: str = ""
    codes: tuple = ()
    landsat: str = ""
    name: str = ""


def labels_of(files):
    """Return the Label of each band of some open rasters, in a list for each file."""
    texts = [candidates(file, words_of_bands(file), len(files) > 1) for file in files]
    named = iter(labelled(texts, [file.name for file in files]))
    return [[next(named) for _ in of_file] for of_file in texts]


def labelled(texts, paths):
    """Return the Label of each band of some files, which are judged together.

    texts: of each band of each file, those that may name it, the first one first. paths: of the files.
    """
    of_bands = [of_band for of_file in texts for of_band in of_file]
    listed = [text for of_band in of_bands for text in of_band]
    shared = set.intersection(*map(set, of_bands)) if len(of_bands) > 1 else set()  # it tells no band from another
    labels = [
        best_label([text for text in of_band if text not in shared] or of_band, landsat)
        for landsat, of_file in zip((landsat_bands(Path(path).stem, listed) for path in paths), texts, strict=True)
        for of_band in of_file
    ]
    return told_apart(labels)


def candidates(file, bands, by_file):
    """List for each band of an open raster the texts that may name it, the first one first.

    The bands of a virtual raster are also called as in its files, and by their names if each is of another file.

    bands: its stated_words.BandWords. by_file: whether the name of the file may name a band.
    """
    of_file, by_source = [Path(file.name).stem] * by_file, by_file or len({words.files for words in bands}) > 1
    sources = ([name for name in words.files if not name.isdigit()] for words in bands)  # numbers choose bands
    return [[*words.names, *of_file, *names * by_source] for words, names in zip(bands, sources, strict=True)]


def unlike_sources(file):
    """Return in words how the files of an open virtual raster contradict each other on a band; "" if they do not."""
    for number, words in enumerate(words_of_bands(file), 1):
        labels = [best_label(each.names, {}) for each in words.sources]
        names = {label.codes[:1]: label.text for label in labels if is_known(label)}
        units = {metres_of(each.unit) or each.unit: each.unit for each in words.sources if each.unit}
        for said in (names, units):
            if len(said) > 1:
                return f"band {number} is {' and '.join(sorted(said.values()))}"
    return ""


def best_label(texts, landsat):
    """Return the Label of the first text that names a known band, otherwise of the first one.

    landsat: {number of a Landsat band: codes}, see `landsat_bands`.
    """
    labels = [label_of(text, landsat) for text in texts]
    return next(filter(is_known, labels), labels[0] if labels else Label())


def is_known(label):
    """Return whether a Label names a known band, also of one of several dates (B04 after), or one of Landsat."""
    return bool(label.landsat or KNOWN.intersection(code_of(code.split(" ")[0]) for code in label.codes))


def label_of(text, landsat=None):
    """Return the Label of a text. landsat: {number of a band: codes} where its satellite is known to be Landsat."""
    number = NUMBER.search(text)
    bands = landsat or landsat_bands(text)
    if number and (bands or number[1]):
        return Label(text, bands.get(number[2], ()), "known" if bands else "unknown")
    return Label(text, tuple(map(code_of, words_of(text))))


def landsat_bands(file_name, labels=()):
    """Return {number: codes} of the bands of the Landsat that a file is of; {} if it is of none, or unknown which.

    Surface reflectance has a band 6 since Landsat 8, Landsat 7 two of them, and at the top of the atmosphere Landsat 8
    and 9 have bands 10 and 11 but neither the 8A nor the 12 of Sentinel-2.

    Args:
        file_name: without its ending. labels: all texts that name bands.
    """
    if satellite := LANDSAT.search(file_name):
        return TM if (satellite[1] or "8") < "8" else OLI
    numbers = [number for number in map(NUMBER.search, labels) if number]
    if any("B6_VCID" in label.upper() for label in labels):
        return TM
    plain = {band_code(word) for label in labels for word in words_of(label)}
    toa = {"B10", "B11"} <= plain and not {"B8A", "B12"} & plain
    return OLI if toa or any(number[1] and number[2] == "6" for number in numbers) else {}


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


def told_apart(labels):
    """Return the Labels of all bands with their names, and with the codes of the bands that they mean."""
    counts = Counter(word for label in labels for word in set(lower_words(label.text)))
    letters = LETTERS if {"r", "g", "b"} <= {label.text.lower() for label in labels} else {}
    named = [meant(label, number, counts, letters) for number, label in enumerate(labels, 1)]
    kinds = Counter(kind_of(label.name) for label in named)
    return [whole(label) if kinds[kind_of(label.name)] > 1 else label for label in named]


def meant(label, number, counts, letters):
    """Return a Label with its name and the code of the band that it means.

    number: of the band, from 1, which names a band without a label. counts: {word: number of bands that have it}.
    letters: {letter: word for light} of labels that are one letter.
    """
    if label.landsat or not label.text:
        prefix = "landsat_" if label.landsat == "known" else ""  # its B8 is another than that of Sentinel-2
        own = prefix + "_".join(lower_words(label.text))
        name = label.codes[0] if label.codes else own or f"band{number}"
        return label._replace(name=name)
    if re.fullmatch(r"\S+ (before|after|t\d+)", label.text):
        return label._replace(codes=(label.text,), name=label.text)
    words = lower_words(label.text)
    own = [letters.get(word, word) for word in words if counts[word] == 1 or len(words) == 1]
    spoken = [word for word in own if word in WORDS]
    codes = [code for code in map(band_code, own) if code in BANDS_SENTINEL2]
    if spoken:
        possible = [code for word in spoken for code in SHARED.get(word, (code_of(word),))]
        codes = [code for code in codes if code in possible] or [code_of(spoken[0])]
    if not codes or codes[0] not in KNOWN:
        return whole(label)
    colour = [word for word in spoken if word in BANDS_RGB and code_of(word) == codes[0]]
    return label._replace(codes=(codes[0],), name=(colour or codes)[0])


def whole(label):
    """Return a Label of several words whose name is all of them, because none of them tells its band from others."""
    words = lower_words(label.text)
    if label.name and (len(words) < 2 or " " in label.name):  # one word, or a band of a date
        return label
    name = "_".join(words) or label.text
    return label._replace(codes=(name,), name=name)


def lower_words(text):
    """Return the words of a label, see `words_of`, in lower case."""
    return [word.lower() for word in words_of(text)]


def called_bands(labels, names=()):
    """Return what bands with these Labels are called; () where that tells nothing of them.

    It tells nothing if none of them is known, or if all have the same name.

    names: of the bands that a model takes, which are known, too. Of the two codes of Landsat's near infrared, the one
        that the model takes counts.
    """
    kinds = set(map(kind_of, names))
    called = [next((code for code in label.codes if label.landsat and code in kinds), label.name) for label in labels]
    known = any(is_known(label) or (label.text and kind_of(label.name) in kinds) for label in labels)
    return tuple(called) if known and not alike(called) else ()


def alike(names):
    """Return whether several bands have one name, all of them."""
    return len(set(map(kind_of, names))) == 1 < len(names)


def coloured_bands(file, count):
    """Return the names of the first `count` bands of an open raster by its colours: red, green, blue, others band4 ...

    Where one of the three is missing, the others have to be light as well: nir, red, green. () of other colours, or if
    one of the three is there twice.
    """
    colours = [colour.name for colour in file.colorinterp[:count]]
    if not {*BANDS_RGB} <= {*colours} and {*colours} <= LIGHT and len({*colours}) == count > 1:
        return tuple(colours)
    if any(colours.count(colour) != 1 for colour in BANDS_RGB):
        return ()
    return tuple(colour if colour in BANDS_RGB else f"band{number}" for number, colour in enumerate(colours, 1))


class SameNames(Exception):
    """Names of bands that cannot tell them apart; the text describes them."""


def stated_bands(file, count):
    """Return the names of the first `count` bands of an open raster, or () where it names none that is known.

    Colours count where nothing else names the bands. Red, green and blue of three bands say nothing, because three
    bands without names count as these anyway.

    Raises:
        SameNames: some of the bands have one name. Where all have it, it says nothing.
    """
    (labels,) = labels_of([file])
    if called := called_bands(labels[:count]):
        return distinct_names(called)
    names = coloured_bands(file, count)
    return () if names == BANDS_RGB else names


def listed_bands(texts, path):
    """Return the names of bands that a file lists, such as HDF5 in an attribute, as those of a raster are called.

    Names that are not known stay, in lower case, because a list says on purpose what the bands are.

    Raises:
        SameNames: see `stated_bands`.
    """
    names = [label.name for label in labelled([[[text] for text in texts]], [path])]
    return () if alike(names) else distinct_names(names)


def distinct_names(names):
    """Return the names of bands as a tuple; raise SameNames if some have one name."""
    kinds = list(map(kind_of, names))
    if repeated := [name for name, kind in zip(names, kinds, strict=True) if kinds.count(kind) > 1]:
        raise SameNames(f"calls several bands {repeated[0]}: name each once, or none of them")
    return tuple(names)
