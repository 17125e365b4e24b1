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
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from patches.image_files import has_alpha, has_own_mask
from patches.picture_damage import damage
from script import UserError

# GDAL reports errors as exceptions; its log would print lines of its own before ours.
logging.getLogger("rasterio").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # predict.py says so in our words

MASKED = -(2**24)  # value of masked pixels where a mask, classes or percentages are read; exact also as float32
BEYOND = 2 * MASKED  # value of ground beyond such a raster, where it is brought onto another grid
ANY_CRS = "EPSG:3857"  # stands for no coordinate system where GDAL needs one to move pixels
RASTERS = (".tif", ".tiff", ".jp2", ".img", ".vrt", ".png", ".jpg", ".hgt", ".asc", ".bil", ".dt1", ".dt2")


def open_raster(path):
    """Open a raster: a file, a member of an archive (zip://scene.zip!scene.tif), an address, or a name of GDAL's.

    Raises:
        UserError: it cannot be opened, holds several rasters, or is located by control points alone.
    """
    path = str(path)
    picture = Path(path).suffix.lower() in (".png", ".jpg", ".jpeg", ".webp") and Path(path).is_file()
    if picture and (found := damage(path)):
        raise UserError(f"{path} {found}: fetch it again")
    try:
        file = rasterio.open(rasterio_path(path))
    except RasterioError as error:
        if not re.match(r"^[\w+]+:|^/vsi", path):
            check_readable(path)
        raise UserError(f"{path} cannot be opened as a raster, it may be cut short ({error})") from None
    if inside := file.subdatasets:  # of a TIFF, its pages, of which GDAL reads the first
        file.close()
        listed = " ".join(f"'{name}'" for name in inside[:3])
        raise UserError(f"{path} holds {len(inside)} rasters: give one or more of them instead, such as {listed}")
    points, _ = file.gcps
    if (points or file.rpcs) and file.transform == Affine.identity():
        file.close()
        kind, flag = ("control points", "-tps ") if points else ("the camera's polynomials (RPC)", "-rpc ")
        raise UserError(
            f"{path} is located by {kind} alone, its pixels lie on no grid: bring it onto one first, "
            f"gdalwarp {flag}{path} {Path(path).stem}_warped.tif"
        )
    return file


def without_alpha(file):
    """Open a view (a VRT of GDAL) of a raster whose last band GDAL takes for alpha, in which it is a band as any other.

    Returns:
        (MemoryFile that holds the view, the open view); close the view first.
    """
    memory = MemoryFile(ext=".vrt")
    copy(file, memory.name, driver="VRT")
    with rasterio.open(memory.name, "r+") as view:
        view.colorinterp = [ColorInterp.undefined] * file.count
    return memory, rasterio.open(memory.name)


def band_count(file):
    """Return the number of bands of an open raster without one of transparency."""
    return file.count - has_alpha(file)


def open_mask(path, what):
    """Open a raster of one band: a mask, classes or probabilities. An internal mask or a band of opacity is applied.

    Args:
        path: of the raster. what: it has to be, in words for an error.

    Returns:
        Open rasters; the first is to be read, and all are to be closed in this order. Pixels that are masked hold
        MASKED. What the file calls no data: `tags_of`.

    Raises:
        UserError: see `open_raster`; or it has several bands, or is a picture with a palette.
    """
    file = open_raster(path)
    fault = ""
    if band_count(file) != 1:
        fault = f"has {file.count} bands: {what} has one"
    elif file.colorinterp[0] == ColorInterp.palette and file.driver in ("PNG", "GIF", "BMP"):
        fault = f"is a picture with a palette: write {what} as GeoTIFF, or as grey values"
    masked = MaskFlags.per_dataset in file.mask_flag_enums[0]
    if has_own_mask(file) and has_alpha(file):  # GDAL's warper knows one of both
        fault = f"has an alpha band and a mask of its own: write {what} with one of them"
    elif masked and not file.crs:
        fault = f"has a mask of its own or transparent pixels, but no coordinate system: write {what} without them"
    if fault:
        file.close()
        raise UserError(f"{path} {fault}")
    return [hidden(file, None, MASKED, dtype=wide_type(file)), file] if masked else [file]


def wide_type(file):
    """Return the name of a type that holds the values of an open raster of one band, MASKED and BEYOND."""
    return "int32" if np.dtype(file.dtypes[0]).itemsize < 4 else "float64"


def tags_of(opened):
    """Return the values that the rasters of `open_mask` call no data, for mask_values.is_tagged."""
    return [file.nodata for file in opened if file.nodata is not None]


def strips(file, path, height=256):
    """Read an open raster of one band from the top down: yield the values of `height` rows, or fewer at its end."""
    for top in range(0, file.height, height):
        with damage_reported(path):
            yield file.read(1, window=Window(0, top, file.width, min(height, file.height - top)))


def hidden(file, value, fill, **options):
    """Open a view of a raster on its own grid in which `fill` stands for a value, and is the value of no data.

    Programs that move pixels know one value of no data, and would blend the ground at the rim of another with it.
    value: None: that of the raster's tag, or what lies under its mask. options: of WarpedVRT.
    """
    if file.dtypes[0] in ("int32", "uint32"):  # GDAL would move pixels that hold `fill` by one, as if by chance
        options = {"dtype": "float64"} | options
    crs = file.crs or ANY_CRS
    own = {"src_crs": crs, "crs": crs, "transform": file.transform, "width": file.width, "height": file.height}
    return WarpedVRT(file, **own, src_nodata=value, nodata=fill, resampling=Resampling.nearest, **options)


@contextlib.contextmanager
def damage_reported(path, where=""):
    """Turn an error of GDAL in reading a raster within the block into a UserError that names it.

    where: the part of the raster that was read, such as "at rows 0 to 512".
    """
    try:
        yield
    except RasterioError:
        part = f" {where}" if where else ""
        raise UserError(f"{path} cannot be read{part}: cut short or damaged, fetch it again") from None


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
