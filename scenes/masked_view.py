"""A view of a raster whose mask hides all that is no data, so that GDAL leaves it out before it moves pixels.

GDAL knows one number of no data for each band, and measures opacity by the largest number of the type. The mask of the
view holds what this project calls no data: numbers, ranges, NaN, internal masks and opacity, of a band or of several.
"""

from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
import rasterio
from affine import Affine
from rasterio.dtypes import dtype_rev, typename_fwd
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from patches.image_files import has_own_mask
from patches.scale_tags import LARGEST, usual_fills

SEEN, HIDDEN = 255, 0  # of a mask


def lookup(dtype, numbers, within=None):
    """Return the table (LUT) by which GDAL makes a mask of a band, such as "...,-9999.0:0,..."; "" if it hides nothing.

    GDAL interpolates between the entries, and takes the first one for NaN and all that is smaller. So each number of no
    data stands between the two numbers next to it, which are data.

    Args:
        dtype: of the band. numbers: of no data, beside scale_tags.usual_fills. within: (least, largest) number of data;
            None: of floats LARGEST, of whole numbers all.
    """
    dtype = np.dtype(dtype)
    exact = dtype.type if dtype.kind == "f" else float
    with np.errstate(over="ignore"):
        low, high, *numbers = (
            float(exact(number)) for number in (*(within or (-LARGEST, LARGEST)), *numbers, *usual_fills(dtype))
        )
    numbers = [number for number in numbers if low <= number <= high]  # not NaN
    table = {float(np.nextafter(number, side)): SEEN for number in numbers for side in (-np.inf, np.inf)}
    if within or dtype.kind == "f":
        beyond = np.nextafter((low, high), (-np.inf, np.inf)).tolist()
        table |= {low: SEEN, high: SEEN} | dict.fromkeys(beyond, HIDDEN)
    table |= dict.fromkeys(numbers, HIDDEN)
    return ",".join(f"{number!r}:{table[number]}" for number in sorted(table))


def masked_view(file, bands, groups=(), alpha=False):
    """Open a view (a VRT of GDAL) of some bands of a raster, with a mask in the place of its tags and of opacity.

    Args:
        file: open raster. bands: numbers of the bands, from 1, in the order of the view.
        groups: [{number of a band: its `lookup`}, ...]; a pixel is hidden where all bands of a group hide it.
        alpha: whether the last band is one of opacity, which hides pixels where it is 0.

    Returns:
        (the open view, MemoryFile that it reads from), to be closed in this order. An internal mask of the file hides
        pixels, too.
    """
    groups = [group for group in groups if group and all(group.values())]
    groups += [{file.count: lookup(file.dtypes[-1], [0])}] * alpha
    memory = MemoryFile(ext=".vrt")
    copy(file, memory.name, driver="VRT")
    with memory.open() as whole:
        factors = whole.overviews(bands[0])
    smaller = [
        described(file, memory.name, bands, groups, factor, {"OVERVIEW_LEVEL": str(level)})
        for level, factor in enumerate(factors)
    ]
    return rasterio.open(described(file, memory.name, bands, groups, smaller=smaller)), memory


def described(file, name, bands, groups, factor=1, options=(), smaller=()):
    """Return the text of a masked view, or of an overview of it.

    file, bands, groups: see `masked_view`. name: of the raster that it reads. factor: of an overview; options: with
    which GDAL opens it. smaller: texts of the overviews.
    """
    root = vrt(file, factor)
    SubElement(root, "SRS").text = file.crs.to_wkt() if file.crs else ""
    transform = file.transform @ Affine.scale(factor)
    SubElement(root, "GeoTransform").text = ", ".join(map(repr, transform.to_gdal()))
    for position, number in enumerate(bands, 1):
        kind = typename_fwd[dtype_rev[file.dtypes[number - 1]]]
        overviews = [(text, position) for text in smaller]
        add_band(root, kind, [(name, number, "")], options, overviews=overviews)
    hiding = [(name, "mask,1", "")] * has_own_mask(file)
    for group in groups:
        sources = [(name, number, table) for number, table in group.items()]
        if len(sources) > 1:
            together = vrt(file, factor)
            add_band(together, "Byte", sources, options, "max")
            sources = [(tostring(together, "unicode"), 1, "")]
        hiding += sources
    if hiding:
        overviews = [(text, "mask,1") for text in smaller]
        function = "min" if len(hiding) > 1 else "real" if hiding[0][2] else ""
        add_band(SubElement(root, "MaskBand"), "Byte", hiding, options, function, overviews)
    return tostring(root, "unicode")


def vrt(file, factor):
    """Return the head of a VRT of the size of an open raster, or of an overview that is smaller by a factor."""
    return Element("VRTDataset", rasterXSize=str(-(-file.width // factor)), rasterYSize=str(-(-file.height // factor)))


def add_band(parent, kind, sources, options=(), function="", overviews=()):
    """Add a band to a VRT, of a type as GDAL calls it, that copies its source or is a function of several sources.

    Args:
        sources: [(name or text of a raster, number of its band, `lookup` or ""), ...]. options: with which GDAL opens
            those that have a name. function: of GDAL's pixel functions. overviews: [(text, number of its band), ...].
    """
    band = SubElement(parent, "VRTRasterBand", dataType=kind)
    if function:
        band.set("subClass", "VRTDerivedRasterBand")
        SubElement(band, "PixelFunctionType").text = function
        SubElement(band, "SourceTransferType").text = "Float64"  # or GDAL would look numbers up as float32
    elements = [("ComplexSource" if table else "SimpleSource", name, number, table) for name, number, table in sources]
    for tag, name, number, table in [*elements, *(("Overview", *overview, "") for overview in overviews)]:
        element = SubElement(band, tag)
        SubElement(element, "SourceFilename", relativeToVRT="0").text = name
        SubElement(element, "SourceBand").text = str(number)
        if table:
            SubElement(element, "LUT").text = table
        if options and not name.startswith("<"):
            listed = SubElement(element, "OpenOptions")
            for key, value in options.items():
                SubElement(listed, "OOI", key=key).text = value
