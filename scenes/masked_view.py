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
from scenes.pixel_grid import PixelGrid

SEEN, HIDDEN = 255, 0  # of a mask


def lookup(dtype, numbers, within=(-np.inf, np.inf)):
    """Return the table (LUT) by which GDAL makes a mask of a band, {number: SEEN or HIDDEN}; empty if it hides nothing.

    GDAL interpolates between the entries, and takes the first one for NaN and all that is smaller. So each number of no
    data stands between the two numbers next to it, which are data.

    Args:
        dtype: of the band. numbers: of no data, beside scale_tags.usual_fills. within: (least, largest) number of data;
            of floats LARGEST at most.
    """
    dtype = np.dtype(dtype)
    whole = dtype.kind in "iu"
    exact = float if whole else dtype.type
    ends = (np.iinfo(dtype).min, np.iinfo(dtype).max) if whole else (-LARGEST, LARGEST)
    with np.errstate(over="ignore"):
        each = (float(exact(number)) for number in (*ends, *within, *numbers, *usual_fills(dtype)))
        least, most, low, high, *numbers = each
    if whole:  # others would be cut to one that the type holds
        numbers = [number for number in numbers if number.is_integer()]
    limited = not whole or low > least or high < most
    low, high = max(low, least), min(high, most)
    numbers = [number for number in numbers if low <= number <= high]  # not NaN
    table = {float(np.nextafter(number, side)): SEEN for number in numbers for side in (-np.inf, np.inf)}
    if limited:
        beyond = np.nextafter((low, high), (-np.inf, np.inf)).tolist()
        table |= {low: SEEN, high: SEEN} | dict.fromkeys(beyond, HIDDEN)
    table |= dict.fromkeys(numbers, HIDDEN)
    return {number: table[number] for number in sorted(table)}


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
    root = located(file, factor)
    for position, number in enumerate(bands, 1):
        overviews = [(text, position) for text in smaller]
        add_band(root, type_of(file, number), [(name, number, {})], options, overviews=overviews)
    hiding = [(name, "mask,1", {})] * has_own_mask(file)
    hiding += [mask_of(group, file, name, factor, options) for group in groups]
    add_mask(root, hiding, options, [(text, "mask,1") for text in smaller])
    return tostring(root, "unicode")


def mask_of(group, file, name, factor, options):
    """Return the source of a band that is HIDDEN where all bands of a group are; see `described` and `add_band`."""
    sources = [(name, number, table) for number, table in group.items()]
    kinds = {file.dtypes[number - 1] for number in group}
    one_number = len(kinds) == 1 and all([*table.values()].count(HIDDEN) == 1 for table in group.values())
    if len(sources) == 1 and not one_number:
        return sources[0]
    together = vrt(file, factor)
    if not one_number:
        add_band(together, "Byte", sources, options, "max")
        return tostring(together, "unicode"), 1, {}
    # GDAL is far faster at one number of each band, of which a pixel has no data if all bands hold theirs
    numbers = [number for table in group.values() for number, value in table.items() if value == HIDDEN]
    SubElement(SubElement(together, "Metadata"), "MDI", key="NODATA_VALUES").text = " ".join(map(repr, numbers))
    for _, number, _ in sources:
        add_band(together, type_of(file, number), [(name, number, {})], options)
    return tostring(together, "unicode"), "mask,1", {}


def type_of(file, number):
    """Return the type of a band of an open raster, as GDAL calls it."""
    return typename_fwd[dtype_rev[file.dtypes[number - 1]]]


def vrt(file, factor):
    """Return the head of a VRT of the size of an open raster, or of an overview that is smaller by a factor."""
    return Element("VRTDataset", rasterXSize=str(-(-file.width // factor)), rasterYSize=str(-(-file.height // factor)))


def located(file, factor=1):
    """Return the head of a VRT on the ground of an open raster; see `vrt`."""
    root = vrt(file, factor)
    SubElement(root, "SRS").text = file.crs.to_wkt() if file.crs else ""
    transform = file.transform @ Affine.scale(factor)
    SubElement(root, "GeoTransform").text = ", ".join(map(repr, transform.to_gdal()))
    return root


def joined(files, like):
    """Open the only bands of some rasters as one raster, as `gdalbuildvrt -separate` does, on the grid of one of them.

    Each band keeps its type and loses its tag. Of a raster on another grid, whose axes must be the same, the nearest
    pixels count. The internal masks of those on this grid hold together.

    Args:
        files: open rasters. like: the one of them whose grid it is.

    Returns:
        (the open raster, MemoryFiles that it reads from), to be closed in this order.
    """
    root, memories, hiding, grid = located(like), [], [], PixelGrid.of(like)
    for file in files:
        memories.append(MemoryFile(ext=".vrt"))
        name = memories[-1].name
        copy(file, name, driver="VRT")
        same = grid.matches(PixelGrid.of(file))
        band = add_band(root, type_of(file, 1), [(name, 1, {})])
        if not same:
            shape = file.shape[::-1]
            (left, top), (right, bottom) = (~like.transform @ (file.transform @ end) for end in ((0, 0), shape))
            within = {"SrcRect": (0, 0, *shape), "DstRect": (left, top, right - left, bottom - top)}
            for tag, sides in within.items():
                SubElement(band[0], tag, dict(zip(("xOff", "yOff", "xSize", "ySize"), map(repr, sides), strict=True)))
        elif has_own_mask(file):
            hiding.append((name, "mask,1", {}))
    add_mask(root, hiding)
    return rasterio.open(tostring(root, "unicode")), memories


def add_mask(root, sources, options=(), overviews=()):
    """Add a mask to a VRT that is HIDDEN where any of its sources is; none without sources. See `add_band`."""
    if sources:
        function = "min" if len(sources) > 1 else "real" if sources[0][2] else ""
        add_band(SubElement(root, "MaskBand"), "Byte", sources, options, function, overviews)


def add_band(parent, kind, sources, options=(), function="", overviews=()):
    """Add a band to a VRT, of a type as GDAL calls it, that copies its source or is a function of several sources.

    Returns its element.

    Args:
        sources: [(name or text of a raster, number of its band, `lookup` or {}), ...]. options: with which GDAL opens
            those that have a name. function: of GDAL's pixel functions. overviews: [(text, number of its band), ...].
    """
    band = SubElement(parent, "VRTRasterBand", dataType=kind)
    if function:
        band.set("subClass", "VRTDerivedRasterBand")
        SubElement(band, "PixelFunctionType").text = function
        SubElement(band, "SourceTransferType").text = "Float64"  # or GDAL would look numbers up as float32
    elements = [("ComplexSource" if table else "SimpleSource", name, number, table) for name, number, table in sources]
    for tag, name, number, table in [*elements, *(("Overview", *overview, {}) for overview in overviews)]:
        element = SubElement(band, tag)
        SubElement(element, "SourceFilename", relativeToVRT="0").text = name
        SubElement(element, "SourceBand").text = str(number)
        if table:
            SubElement(element, "LUT").text = ",".join(f"{number!r}:{value}" for number, value in table.items())
        if options and not name.startswith("<"):
            listed = SubElement(element, "OpenOptions")
            for key, value in options.items():
                SubElement(listed, "OOI", key=key).text = value
    return band
