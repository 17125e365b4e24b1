"""Elevation in metres on any grid, from one raster or many tiles."""

import posixpath
import re
import zipfile
from pathlib import Path

import numpy as np
from affine import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from patches.image_files import has_alpha
from patches.scale_tags import metres_of
from patches.stated_words import words_of_bands
from records import expanded
from scenes.masked_view import lookup, masked_view
from scenes.opening import RASTERS, band_count, band_tags, damage_reported, names_in_zip, open_raster
from scenes.pixel_grid import PixelGrid
from script import UserError, note

ELEVATIONS = -500.0, 9000.0  # metres; beyond them an elevation is a void (the Dead Sea: -430, Everest: 8849)
PREVIEWS = (".png", ".jpg", ".jp2")
# Words for what is computed from elevation, and for elevation itself, in descriptions of bands and names of files.
DERIVED = "slope aspect hillshade hillshading shaded curvature roughness ruggedness tri tpi twi".split()
ELEVATION_WORDS = "dem dtm dsm elevation elev height heights altitude srtm".split()
ANGLES = ("deg", "degree", "degrees", "°", "rad", "radian", "radians", "%", "percent")  # units


def elevation_files(paths):
    """Return the rasters that paths of elevation name: files, and all rasters in a folder or in a zip.

    Raises:
        UserError: a path does not exist, or a folder or zip holds no raster.
    """
    files = []
    for path in expanded(paths):
        folder, inside = Path(path), []
        if folder.is_dir() and not (folder / "hdr.adf").exists():  # the folder of an ArcInfo grid is one raster
            inside = [str(file) for file in sorted(folder.rglob("*")) if is_tile(file.name)]
        elif path.lower().endswith(".zip") and zipfile.is_zipfile(path):
            names = sorted(name for name in names_in_zip(path) if is_tile(posixpath.basename(name)))
            inside = [f"zip://{folder.resolve()}!{name}" for name in names]
        else:
            inside = [path]
        if not inside:
            raise UserError(f"{path} holds no raster of elevation ({', '.join(RASTERS)})")
        files += inside
    return files


def other_terrain(file):
    """Return what an open raster holds instead of elevation, "slope" or another of DERIVED; "" if nothing says so.

    The description of its band decides, then its tags (a variable of NetCDF, its long_name), then the name of the file;
    in each, the last word that is known.
    """
    words = words_of_bands(file)[0]
    of_file = re.split(r"[/\\!]", file.name)[-1]
    for text in (*words.names, of_file.rpartition(".")[0] or of_file, *words.files):
        words = [word for word in re.findall(r"[a-z]+", text.lower()) if word in DERIVED or word in ELEVATION_WORDS]
        if words:
            return words[-1] if words[-1] in DERIVED else ""
    return ""


def is_tile(name):
    """Return whether a file in a folder or zip may be a tile of elevation, and no preview or file of macOS."""
    return name.lower().endswith(RASTERS) and not name.startswith(".") and not name.lower().endswith(PREVIEWS)


def may_cover(file, grid):
    """Return whether an open raster lies under a part of a grid; True where this cannot be told."""
    if file.crs is None:
        return True
    left, low, right, high = file.bounds
    try:
        first, bottom, last, top = transform_bounds(grid.crs, file.crs, *grid.box().bounds)
    except RasterioError:
        return True
    if first > last:  # across 180 degrees
        last += 360
    turns = (-360, 0, 360) if file.crs.is_geographic else (0,)
    return bottom <= high and low <= top and any(first + turn <= right and left <= last + turn for turn in turns)


class Elevation:
    """Elevation in metres on a grid, from several rasters; where one has none, the next counts."""

    def __init__(self, paths, grid, nodata=None):
        """Open those that lie over the grid.

        Args:
            paths: of rasters, folders of rasters, or zips of them. grid, nodata: see ElevationRaster.

        Raises:
            UserError: see `elevation_files` and ElevationRaster.
        """
        self.rasters = []
        files = elevation_files(paths)
        try:
            for path in files:
                file = open_raster(path)
                if len(files) > 1 and not may_cover(file, grid):  # before it is looked into
                    file.close()
                else:
                    self.rasters.append(ElevationRaster(path, file, grid, nodata))
        except BaseException:
            self.close()
            raise
        if len(paths) < len(files):
            self._check_alike()

    def _check_alike(self):
        """Raise UserError if two rasters of a folder or zip lie on the same ground: one of them is no elevation."""
        places = {}
        for raster in self.rasters:
            place = tuple(round(end, 6) for end in raster.bounds)
            if place in places:
                self.close()
                raise UserError(
                    f"{places[place]} and {raster.path} lie on the same ground, and one may hold slope, masks or "
                    "counts: name the elevation alone with --dem"
                )
            places[place] = raster.path

    def read(self, window):
        """Read a window: H x W float32 in metres, NaN where there is no elevation."""
        metres = np.full((int(window.height), int(window.width)), np.nan, np.float32)
        for raster in self.rasters:
            if not np.isnan(metres).any():
                break
            metres = np.where(np.isnan(metres), raster.read(window), metres)
        return metres

    def close(self):
        """Close all rasters."""
        for raster in self.rasters:
            raster.close()


class ElevationRaster:
    """Elevation in metres on a grid, read from a raster in any projection.

    The raster's scale, offset and unit (feet) are applied. There is no elevation where its no-data value or mask says
    so, at a void without a tag, and outside ELEVATIONS.
    """

    def __init__(self, path, file, grid, nodata=None):
        """Lay it over a grid; from now on, this object closes the file.

        Args:
            path: of the raster. file: the open raster. grid: PixelGrid to read it on. nodata: value of no data beside
                that of its tag, or None.

        Raises:
            UserError: it cannot be read, has no coordinate system, or says that it holds something else.
        """
        self.path = str(path)
        fault = ""
        if file.crs is None:
            fault = ": without a coordinate system the elevation cannot be laid over the scene"
        elif band_count(file) > 1:
            fault = f" has {file.count} bands, and elevation has one: write it to a file of its own"
        elif (unit := words_of_bands(file)[0].unit.strip().lower()) in ANGLES:
            fault = f" is in {unit}: --dem takes elevation, in metres or feet, from which slope is computed"
        elif other := other_terrain(file):
            fault = f" is called {other}: --dem takes elevation, from which slope is computed; rename it if it is that"
        if fault:
            file.close()
            raise UserError(f"{path}{fault}")
        self.bounds, self.scale, self.offset = file.bounds, file.scales[0], file.offsets[0]
        self.unit = metres_of(unit)
        if np.dtype(file.dtypes[0]).itemsize == 1:
            note(f"{path} has 8 bits, so elevation to 255 m at most: is it a hillshade or slope? --dem takes elevation")
        if self.unit is None:
            note(f"{path}: its unit, {unit}, is unknown: taken for metres")
            self.unit = 1.0
        tags, within = band_tags(file), (-np.inf, np.inf)
        if self.scale:
            within = sorted((metres / self.unit - self.offset) / self.scale for metres in ELEVATIONS)
        within = max(within[0], tags.valid[0]), min(within[1], tags.valid[1])
        table = lookup(file.dtypes[0], [*tags.fills, *([] if nodata is None else [nodata])], within)
        masked, memory = masked_view(file, [1], [{1: table}], has_alpha(file))
        # ground beyond 180 degrees may have longitudes that differ by a turn
        turns = (0, -360, 360) if PixelGrid.of(file).reaches_beyond_180 or grid.reaches_beyond_180 else (0,)
        self.views = [
            grid.warped(
                masked,
                src_transform=Affine.translation(turn, 0) @ file.transform,
                resampling=Resampling.bilinear,
                src_nodata=None,
                nodata=np.nan,
                dtype="float32",
            )
            for turn in turns
        ]
        self._opened = [*self.views, masked, memory, file]

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
        for each in self._opened:
            each.close()
