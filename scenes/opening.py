"""Rasters opened for a scene: paths in archives, errors of GDAL in our words, and elevation in metres on any grid."""

import contextlib
import logging
import re
import warnings
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile

from patches.picture_damage import damage
from scenes.pixel_grid import PixelGrid
from script import UserError

# GDAL reports errors as exceptions; its log would print lines of its own before ours.
logging.getLogger("rasterio").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # predict.py says so in our words

RASTERS = (".tif", ".tiff", ".jp2", ".img", ".vrt", ".png", ".jpg")
ELEVATIONS = -500.0, 9000.0  # metres; beyond them an elevation is a void (the Dead Sea: -430, Everest: 8849)
VOIDS = 3  # number of values of voids beside the tag's that are looked for
GDAL_TYPES = {"int16": "Int16", "int32": "Int32", "uint16": "UInt16", "float32": "Float32", "float64": "Float64"}
FEET = {"ft": 0.3048, "foot": 0.3048, "feet": 0.3048, "us-ft": 1200 / 3937, "us survey foot": 1200 / 3937}


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


# ---------------------------------------------------------------------- elevation


class Elevation:
    """Elevation in metres on a grid, read from a raster in any projection.

    The raster's scale, offset and unit (feet) are applied. There is no elevation where its no-data value or mask says
    so, at a void without a tag, and outside ELEVATIONS.
    """

    def __init__(self, path, grid, nodata=None):
        """Open it.

        Args:
            path: of the raster. grid: PixelGrid to read it on. nodata: value of no data, if the raster has no tag.

        Raises:
            UserError: it cannot be read, or has no coordinate system.
        """
        self.path, self.file = str(path), open_raster(path)
        if self.file.crs is None:
            self.file.close()
            raise UserError(f"{path}: without a coordinate system the elevation cannot be laid over the scene")
        self.scale, self.offset = self.file.scales[0], self.file.offsets[0]
        self.unit = FEET.get((self.file.units[0] or "m").strip().lower(), 1.0)
        fill = self.file.nodata if self.file.nodata is not None else nodata
        voids = [value for value in self._voids() if value != fill]
        fill = voids.pop(0) if fill is None and voids else fill
        self._memory = []
        for value in voids[:VOIDS]:
            self._hide(value, fill)
        # ground beyond 180 degrees may have longitudes that differ by a turn
        turns = (0, -360, 360) if PixelGrid.of(self.file).reaches_beyond_180 or grid.reaches_beyond_180 else (0,)
        self.views = [
            grid.warped(
                self.file,
                src_transform=Affine.translation(turn, 0) @ self.file.transform,
                resampling=Resampling.bilinear,
                src_nodata=fill,
                nodata=np.nan,
                dtype="float32",
            )
            for turn in turns
        ]

    def _voids(self):
        """Return the values beyond ELEVATIONS that pixels hold, the most frequent first."""
        step = max(1, max(self.file.shape) // 4000)
        with damage_reported(self.path):
            sample = self.file.read(1, out_shape=tuple(size // step for size in self.file.shape)).astype(np.float64)
        metres = (sample * self.scale + self.offset) * self.unit
        beyond = sample[(metres < ELEVATIONS[0]) | (metres > ELEVATIONS[1])]
        values, counts = np.unique(beyond, return_counts=True)
        return values[np.argsort(-counts)].tolist()

    def _hide(self, void, fill):
        """Replace the file by a view (a VRT of GDAL) whose voids hold `fill`.

        Warping interpolates, and would blend the elevation at the rim of a void with its value.
        """
        path = self.file.name
        if not Path(path).is_file():
            return  # in an archive or at an address: voids are left out after warping
        xml = f"""<VRTDataset rasterXSize="{self.file.width}" rasterYSize="{self.file.height}">
            <SRS>{escape(self.file.crs.to_wkt())}</SRS>
            <GeoTransform>{", ".join(map(repr, self.file.transform.to_gdal()))}</GeoTransform>
            <VRTRasterBand dataType="{GDAL_TYPES.get(self.file.dtypes[0], "Float64")}" band="1">
            <NoDataValue>{fill!r}</NoDataValue><ComplexSource>
            <SourceFilename relativeToVRT="0">{escape(str(Path(path).resolve()))}</SourceFilename>
            <SourceBand>1</SourceBand><NODATA>{void!r}</NODATA>
            </ComplexSource></VRTRasterBand></VRTDataset>"""
        self._memory.append(MemoryFile(xml.encode(), ext=".vrt"))
        self._memory.append(self.file)
        self.file = self._memory[-2].open()

    def read(self, window):
        """Read a window: H x W float32 in metres, NaN where there is no elevation."""
        values = None
        with damage_reported(self.path):
            for view in self.views:
                part = view.read(1, window=window)
                values = part if values is None else np.where(np.isnan(values), part, values)
                if not np.isnan(values).any():
                    break
        metres = (values * np.float32(self.scale) + np.float32(self.offset)) * np.float32(self.unit)
        return np.where((metres >= ELEVATIONS[0]) & (metres <= ELEVATIONS[1]), metres, np.float32(np.nan))

    def close(self):
        """Close the raster and its views."""
        for each in (*self.views, self.file, *self._memory[::-1]):
            each.close()
