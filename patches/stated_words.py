"""What an open raster states in words, names, units and its format, and a virtual raster by way of its files.

gdalbuildvrt, which QGIS calls as well, keeps scales and values of no data, and drops the words.
"""

import contextlib
import functools
import os
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

NAME_TAGS = re.compile(r"(name|description)$|^bands$", re.IGNORECASE)
COORDINATE = re.compile(r"^DIM_\w+_VALUE$")  # of Zarr
SOURCES = ("SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource")  # of a band of a virtual raster


class BandWords(NamedTuple):
    """What is stated of a band.

    Attributes:
        names: texts that may name it, the first one first. unit: "" if there is none.
        files: names, without endings, of the files that a virtual raster takes it from; () of others.
        sources: BandWords of it in each of these files.
    """

    names: tuple
    unit: str
    files: tuple = ()
    sources: tuple = ()


def words_of_bands(file):
    """Return the BandWords of each band of an open raster, as a list."""
    sources = sources_of_bands(file)
    return [_words(file, number, sources.get(number, ())) for number in file.indexes]


def sources_of_bands(file):
    """Return {number of a band: [(file, number of its band), ...]} of an open virtual raster; {} of any other."""
    root, found = _description(file), {}
    for number, band in enumerate(root.findall("VRTRasterBand"), 1):
        parts = [part for part in band if part.tag in SOURCES and part.find("SourceFilename") is not None]
        each = [(_path(file, part.find("SourceFilename")), part.findtext("SourceBand") or "1") for part in parts]
        found[number] = [(path, int(source)) for path, source in each if source.isdigit()]  # else of a mask
    if (warped := root.find("GDALWarpOptions")) is not None and (name := warped.find("SourceDataset")) is not None:
        for mapping in warped.iter("BandMapping"):
            found[int(mapping.get("dst"))] = [(_path(file, name), int(mapping.get("src")))]
    return found


def loses_no_data(file):
    """Return whether an open virtual raster has 0 where its files have no data by another number, which it drops.

    gdalbuildvrt writes such a one of tiles of which the first states no number.
    """
    bands = _description(file).findall("VRTRasterBand")
    numbers = (band.findall("ComplexSource/NODATA") for band in bands if band.find("NoDataValue") is None)
    return any(number.text not in ("0", "0.0") for of_band in numbers for number in of_band)


def _description(file):
    """Return the root of the XML of an open virtual raster, an empty element of other files."""
    text = file.tags(ns="xml:VRT").get("xml:VRT") if file.driver == "VRT" else None
    return ElementTree.fromstring(text or "<VRTDataset/>")


def _path(file, name):
    """Return the name by which a file opens that a virtual raster names in an element of its XML."""
    relative = name.get("relativeToVRT") == "1"
    return re.match(r"(.*[/\\!])?", file.name)[0] + name.text if relative else name.text


def _words(file, number, sources):
    inner = []
    for path, source in sources:
        bands = _words_in(path, os.stat(path).st_mtime_ns if os.path.exists(path) else None)
        if source <= len(bands):
            inner.append(bands[source - 1])
    names = [*_own_names(file, number), *(name for words in inner for name in words.names)]
    unit = next(filter(None, [file.units[number - 1], *(words.unit for words in inner)]), "")
    files = [*(Path(path).stem for path, _ in sources), *(name for words in inner for name in words.files)]
    return BandWords(tuple(dict.fromkeys(names)), unit, tuple(dict.fromkeys(files)), tuple(inner))


@functools.lru_cache(4096)
def _words_in(path, _changed):
    """Return what `words_of_bands` finds in a file; [] if it cannot be opened. _changed: when it was written."""
    with _opened(path) as file:
        return words_of_bands(file) if file else []


@contextlib.contextmanager
def _opened(path):
    """Open a file of a virtual raster; give None if it cannot be opened, which is told where its pixels are read."""
    import rasterio

    try:
        file = rasterio.open(path)
    except rasterio.errors.RasterioError:
        yield None
        return
    with file:
        yield file


def is_lossy(file):
    """Return whether the format of an open raster, or of a file of a virtual one, changes values, as JPEG does."""
    stated = file.tags(ns="IMAGE_STRUCTURE")
    jpeg = file.driver == "JPEG" or stated.get("COMPRESSION", "").endswith("JPEG")
    lerc = float(stated.get("MAX_Z_ERROR", 0)) > 0
    return jpeg or lerc or stated.get("COMPRESSION_REVERSIBILITY") == "LOSSY" or any(map(_is_lossy, _files(file)))


def _is_lossy(path):
    with _opened(path) as file:
        return bool(file) and is_lossy(file)


def _files(file):
    """Return the names of the files that an open virtual raster is made of, as a set; an empty one of others."""
    return {path for of_band in sources_of_bands(file).values() for path, _ in of_band}


def _own_names(file, number):
    """List the texts by which a raster itself may name a band.

    NetCDF names all bands in one list: in the coordinate of their dimension, as xarray writes it, or in an attribute.
    """
    stated, tags = file.tags() if file.driver == "netCDF" else {}, file.tags(number)
    dimensions = stated.get("NETCDF_DIM_EXTRA", "").strip("{}").split(",")
    listed = stated.get(f"NETCDF_DIM_{dimensions[0]}_VALUES", "") if len(dimensions) == 1 else ""
    coordinates = [listed, *(text for key, text in tags.items() if COORDINATE.search(key))]
    named = [text for text in coordinates if re.search("[A-Za-z]", text)]  # others are dates, or wavelengths
    texts = [file.descriptions[number - 1], *named, *(text for key, text in tags.items() if NAME_TAGS.search(key))]
    return [_listed(text, number, file.count) for text in texts if text]


def _listed(text, number, count):
    """Return the entry of a band in a text that lists all of them, {B02,B03,B04}; any other text as it is."""
    entries = text[1:-1].split(",") if re.fullmatch(r"\{.*\}", text) else []
    return entries[number - 1].strip() if len(entries) == count else text
