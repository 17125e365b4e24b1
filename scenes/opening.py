"""Rasters opened for a scene: paths in archives, errors of GDAL in our words."""

import contextlib
import logging
import re
import warnings
import zipfile
from pathlib import Path

import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from patches.picture_damage import damage
from script import UserError

# GDAL reports errors as exceptions; its log would print lines of its own before ours.
logging.getLogger("rasterio").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # predict.py says so in our words

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
    if not file.count:
        inside = file.subdatasets
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
