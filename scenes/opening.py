"""Rasters opened for a scene: paths in archives, errors of GDAL in our words."""

import contextlib
import logging
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from patches.image_files import has_alpha, has_own_mask
from patches.picture_damage import damage
from patches.scale_tags import StoredArray, StoredTags, WrongTag, numbers
from scenes.masked_view import lookup, masked_view
from scenes.pixel_grid import PixelGrid
from scenes.raster_faults import RASTERS, content_fault, open_fault, read_fault
from script import UserError

# GDAL reports errors as exceptions; its log would print lines of its own before ours.
logging.getLogger("rasterio").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # predict.py says so in our words

MASKED = -(2**24)  # value of masked pixels where a mask, classes or percentages are read; exact also as float32
BEYOND = 2 * MASKED  # value of ground beyond such a raster, where it is brought onto another grid
ANY_CRS = "EPSG:3857"  # stands for no coordinate system where GDAL needs one to move pixels
WITH_ATTRIBUTES = ("netCDF", "HDF5Image", "Zarr")  # drivers of GDAL whose arrays state more of their numbers than a tag
# GDAL applies one number of several, and writes a fill over what lies beyond both ends, of 8 bits a 0.
ATTRIBUTES = ("_FillValue", "missing_value", "valid_range", "valid_min", "valid_max", "_Unsigned")
PICTURES = ("PNG", "GIF", "BMP", "WEBP")  # drivers of GDAL


def open_raster(path):
    """Open a raster: a file, a member of an archive (zip://scene.zip!scene.tif), an address, or a name of GDAL's.

    Raises:
        UserError: it cannot be opened, holds several rasters or complex numbers, lacks a file that it is made of, or is
            located by control points alone.
    """
    path = str(path)
    picture = Path(path).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") and Path(path).is_file()
    if picture and (found := damage(path)):
        raise UserError(f"{path} {found}: fetch it again")
    try:
        file = rasterio.open(rasterio_path(path))
        if file.driver == "netCDF":
            file.close()
            file = rasterio.open(rasterio_path(path), HONOUR_VALID_RANGE="NO")  # see `band_tags`
    except RasterioError as error:
        if not re.match(r"^[\w+]+:|^/vsi", path):
            check_readable(path)
        raise UserError(f"{path} {open_fault(path, error)}") from None
    if inside := file.subdatasets:  # of a TIFF, its pages, of which GDAL reads the first
        file.close()
        listed = " ".join(f"'{name}'" for name in inside[:3])
        raise UserError(f"{path} holds {len(inside)} rasters: give one or more of them instead, such as {listed}")
    try:
        fault = content_fault(file)
        check_attributes(file)
    except WrongTag as wrong:
        fault = f"{wrong}: correct that attribute, or take it out"
    if fault:
        file.close()
        raise UserError(f"{path} {fault}")
    points, _ = file.gcps
    if (points or file.rpcs) and file.transform == Affine.identity():
        file.close()
        kind, flag = ("control points", "-tps ") if points else ("the camera's polynomials (RPC)", "-rpc ")
        raise UserError(
            f"{path} is located by {kind} alone, its pixels lie on no grid: bring it onto one first, "
            f"gdalwarp {flag}{path} {Path(path).stem}_warped.tif"
        )
    return file


def band_count(file):
    """Return the number of bands of an open raster without one of transparency."""
    return file.count - has_alpha(file)


def open_mask(path, what, band_of=None):
    """Open a raster of one band: a mask, classes or probabilities. Its mask, band of opacity or valid range is applied.

    Args:
        path: of the raster. what: it has to be, in words for an error.
        band_of: function that returns the number of the band to read of an open raster of several; None if there is no
            such band.

    Returns:
        Open rasters; the first is to be read, the last one is the file, and all are to be closed in this order. Pixels
        that are masked hold MASKED. What the file calls no data: `tags_of`.

    Raises:
        UserError: see `open_raster`; or it has several bands, or is a picture with a palette or transparent pixels.
    """
    file = open_raster(path)
    fault = ""
    masked, transparent = has_own_mask(file), has_alpha(file)
    valid = band_tags(file).valid_class
    limited = bool(np.isfinite(valid).any())
    number = 1 if band_count(file) == 1 else band_of and band_of(file)
    if not number:
        fault = f"has {file.count} bands: {what} has one"
    elif file.driver in PICTURES and (transparent or file.colorinterp[0] == ColorInterp.palette):
        kind = "transparent pixels" if transparent else "a palette"
        fault = f"is a picture with {kind}: write {what} as GeoTIFF, or as grey values"
    elif (masked or transparent or limited or file.count > 1) and not file.crs:
        kind = "a valid range" if limited else "several bands"
        kind = "a mask of its own or transparent pixels" if masked or transparent else kind
        fault = f"has {kind}, but no coordinate system: write {what} without them"
    if fault:
        file.close()
        raise UserError(f"{path} {fault}")
    if not (masked or transparent or limited or file.count > 1):
        return [file]
    groups = [{number: lookup(file.dtypes[number - 1], (), valid)}] * limited
    view, memory = masked_view(file, [number], groups, transparent)
    return [nearest_on_grid(view, PixelGrid.of(view), MASKED), view, memory, file]


def nearest_on_grid(file, grid, fill=BEYOND):
    """Return a view of an open raster of one band on a PixelGrid: each pixel is the nearest one.

    fill: the value beyond the raster and under its mask.
    """
    kind = "int32" if np.dtype(file.dtypes[0]).itemsize < 4 else "float64"  # holds all values and the fill
    # a tag is a value as any other: what it means is for the reader to say
    return grid.warped(file, resampling=Resampling.nearest, src_nodata=None, nodata=fill, dtype=kind)


def tags_of(opened):
    """Return the values that the rasters of `open_mask` call no data, for mask_values.is_tagged."""
    file = opened[-1]
    floats = file.driver == "netCDF" and np.dtype(file.dtypes[0]).kind == "f"  # for NaN, GDAL gives its usual fill
    fills = [value for value in file.nodatavals if floats and value is not None]
    of_file, of_array = stated_attributes(file, 1)
    fills += numbers(StoredArray(None, of_file | of_array), "nodata", ()).tolist()
    return [*fills, *band_tags(file).fills, *[MASKED] * (len(opened) > 1)]


def band_tags(file, number=1):
    """Return what an open raster states of the numbers of a band, as scale_tags.StoredTags without a scale.

    That is the tag of the band, and in formats WITH_ATTRIBUTES those of the array and, where it lacks them, of the
    file: GDAL knows one number of several, and of NetCDF takes the usual fill of the library for a tag that nobody
    wrote.

    Raises:
        WrongTag: an attribute cannot be applied; `open_raster` refuses such a file.
    """
    tag, (of_file, of_array) = file.nodatavals[number - 1], stated_attributes(file, number)
    attributes = {name: value for name, value in (of_file | of_array).items() if name in ATTRIBUTES}
    if tag is not None and (file.driver != "netCDF" or "_FillValue" in of_array):
        attributes["_FillValue"] = tag  # a text has less digits
    return StoredTags(StoredArray(np.dtype(file.dtypes[number - 1]), attributes))


def stated_attributes(file, number):
    """Return the attributes of the file and of the array of a band, {name: text}; ({}, {}) in other formats."""
    if file.driver not in WITH_ATTRIBUTES:
        return {}, {}
    return {name.removeprefix("NC_GLOBAL#"): text for name, text in file.tags().items()}, file.tags(number)


def check_attributes(file):
    """Raise WrongTag if an open raster has attributes that cannot be applied, or that GDAL does not hand on."""
    tags = [band_tags(file, number) for number in file.indexes]
    of_file, of_array = stated_attributes(file, 1)
    numbers(StoredArray(None, of_file | of_array), "nodata", ())  # of masks
    for name, of_bands in (("scale_factor", file.scales), ("add_offset", file.offsets)):
        if name in of_file and name not in of_array and file.driver != "Zarr":  # there the array is the file
            raise WrongTag(f"states its {name} for the whole file, where GDAL does not look for it")
        for number, applied in zip(file.indexes, of_bands, strict=True):
            stated = numbers(StoredArray(None, stated_attributes(file, number)[1]), name, ())
            if not np.allclose(stated, applied, rtol=1e-5, atol=0):  # GDAL applies one number at most
                raise WrongTag(f"states its {name} for each band")
    if file.driver in WITH_ATTRIBUTES and len({(*each.fills, *each.valid) for each in tags}) > 1:
        raise WrongTag("states other numbers of no data for each band")


def strips(file, path, height=256):
    """Read an open raster of one band from the top down: yield the values of `height` rows, or fewer at its end."""
    for top in range(0, file.height, height):
        with damage_reported(path):
            yield file.read(1, window=Window(0, top, file.width, min(height, file.height - top)))


@contextlib.contextmanager
def damage_reported(path, where=""):
    """Turn an error of GDAL in reading a raster within the block into a UserError that names it.

    where: the part of the raster that was read, such as "at rows 0 to 512".
    """
    try:
        yield
    except RasterioError as error:
        part = f" {where}" if where else ""
        raise UserError(f"{path} cannot be read{part}{read_fault(error)}") from None


def check_readable(path):
    """Raise UserError if a file does not exist or may not be read; a folder may be a raster."""
    try:
        with open(path, "rb"):
            pass
    except IsADirectoryError:
        pass
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except OSError as error:
        raise UserError(f"{path} may not be read: {error.strerror}") from None


def names_in_zip(path):
    """List the files in a zip, without what macOS adds to them.

    Raises UserError if the directory of the zip, which lies at its end, cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    except (zipfile.BadZipFile, OSError, ValueError):
        raise UserError(f"{path} is no sound zip: it may be cut short, download it again") from None


def rasterio_path(path):
    """Return the name by which rasterio opens a path: of a raster in a zip, if it is named or the only one."""
    if match := re.fullmatch(r"zip://(?!/)([^!]+)!/?(.+)", path):  # rasterio would take its first part for a host
        return f"zip://{Path(match[1]).resolve()}!{match[2]}"
    if path.lower().endswith(".zip") and zipfile.is_zipfile(path):
        rasters = [name for name in names_in_zip(path) if name.lower().endswith(RASTERS)]
        if len(rasters) != 1:
            listed = ", ".join(rasters[:5]) or "none"
            raise UserError(f"{path} holds {len(rasters)} rasters ({listed}): name one, zip://{path}!NAME")
        return f"zip://{Path(path).resolve()}!{rasters[0]}"
    return path
