"""A scene as a model reads it: the bands of its files, slope and elevation on one grid, scaled.

Rows are read when they are asked for, so memory does not grow with the scene. A SceneSource (source.py) says where each
band comes from.
"""

import os

import numpy as np
from rasterio.env import ensure_env
from rasterio.windows import Window

from patches.scale_tags import without_data
from patches.slope import horn_gradient
from scenes import averages
from scenes.elevation import Elevation
from scenes.geodesy import interpolate
from scenes.opening import damage_reported, open_raster
from scenes.pixel_grid import PICTURE, PixelGrid, reduced_shape
from scenes.scene_file import common_type, open_files
from script import UserError

ROWS = 32  # rows of the files read at once: on the way to the model their values are copied several times
SAMPLE_PIXELS = 4_000_000  # of a scene with more pixels, windows spread over it are the sample
THUMBNAIL_ROWS = 64  # rows of a reduced picture read at once: read whole, a large scene's blocks are decoded many times


def bytes_of_two_block_rows(files):
    """Return the bytes of memory in which successive rows are read without decoding a block twice."""
    return sum(
        2 * file.block_shapes[i][0] * file.width * np.dtype(file.dtypes[i]).itemsize
        for file in files
        for i in range(file.count)
    )


class Scene:
    """An open scene, a context manager. Two threads must not use it at the same time (GDAL's rule).

    Attributes:
        grid: PixelGrid of the scene.
        source: SceneSource that says what to read; preparation.prepare replaces it by one with a scaling.
        files: SceneFile or WarpedFile of the rasters. dem: Elevation on the grid and a pixel around it, or None.
        dtypes: of the numbers of each band in its file; views hold float32. dtype: that holds those of all light.
        blank_share: share of the sampled pixels that are without data because they are 0; None before `sample`.
    """

    def __init__(self, source, files=None):
        """Open a scene.

        Args:
            source: SceneSource. files: the rasters of source.paths if they are open already; the scene closes them.

        Raises:
            UserError: a file cannot be opened, or brought onto the grid.
        """
        self.source, self.blank_share, self._thumbnails = source, None, {}
        files = files or [open_raster(path) for path in source.paths]
        # GDAL would use a twentieth of the machine's memory; it reads this setting once, before its first block
        os.environ.setdefault("GDAL_CACHEMAX", str(64 + round(bytes_of_two_block_rows(files) / 2**20)))
        self.grid = source.grid or PixelGrid.of(files[source.reference])
        self.dtypes = [files[index].dtypes[number - 1] for index, number in source.bands]
        self.dtype = common_type([self.dtypes[i] for i in source.light_bands] or self.dtypes)
        self.files, self._places = open_files(source, files, self.grid)
        # GDAL reprojects to about an eighth of a pixel, and differently in each window: then a strip is read as one
        self._rows_apart = all(file.crs == self.grid.crs for file in files)
        self.dem = self._open_dem() if source.dem else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Close the files, the views of them and the elevation."""
        for opened in filter(None, (*self.files, self.dem)):
            opened.close()

    def _open_dem(self):
        """Open the elevation on the grid and a pixel around it."""
        if self.grid.crs is None:
            reference = self.source.paths[self.source.reference]
            raise UserError(f"{reference}: without a coordinate system the elevation cannot be laid over the scene")
        # Horn's method looks at the neighbours of a pixel
        return Elevation(self.source.dem, self.grid.grown(1), self.source.dem_nodata)

    # ------------------------------------------------------------------ reading

    def read(self, top, bottom, left=0, right=None):
        """Read a window as the model takes it.

        Returns:
            (values, valid): model's bands x height x width, float32, scaled; height x width, bool, False where any
            band has no data and the values must not be used.

        Raises:
            UserError: naming the file that cannot be read.
        """
        right = self.grid.width if right is None else right
        values = np.empty((self.source.band_count, bottom - top, right - left), np.float32)
        valid = np.empty(values.shape[1:], bool)
        columns, step = list(self.source.columns), ROWS if self._rows_apart else bottom - top
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            rows = slice(first - top, last - top)
            values[columns, rows], valid[rows] = self.read_files(Window.from_slices((first, last), (left, right)))
        valid = self._add_terrain(values, Window.from_slices((top, bottom), (left, right)), valid)
        self.scale(values)
        return values, valid

    def _add_terrain(self, values, window, valid):
        """Add slope and elevation to the values of a window if the model takes them; return `valid`, see `read`."""
        if not self.source.terrain:
            return valid
        terrain = self.read_terrain(window)
        for name, column in self.source.terrain:
            values[column] = terrain[name]
        return valid & np.isfinite(terrain["dem"])

    @ensure_env  # needed in every thread, or GDAL prints messages of its own
    def read_files(self, window, bands=None, shape=None):
        """Read bands of the files in a window: (bands x H x W float32, not scaled but with offset; valid H x W).

        Args:
            window: rasterio Window. bands: positions in source.bands; None: all.
            shape: (H, W), smaller than the window, for averages over blocks of pixels with data.
        """
        entries = self._entries(bands)
        whole = int(window.height), int(window.width)
        shape = shape or whole
        if shape != whole and self._blends(bands) and not any(self.files[index].reduced for index, _ in entries):
            return averages.averages(lambda part: self.read_files(part, bands), window, shape)
        values = np.empty((len(entries), *shape), np.float32)
        valid, hits = np.ones(shape, bool), {}  # of each date, where bands of 8 bits hold a number of no data
        for index, file in enumerate(self.files):
            positions = [i for i, (of_file, _) in enumerate(entries) if of_file == index]
            if not positions:
                continue
            numbers = [entries[i][1] for i in positions]
            rows = f"at rows {int(window.row_off)} to {int(window.row_off + window.height)}"
            with damage_reported(" or ".join(self.source.paths[i] for i in file.indices), rows):
                values[positions], known, of_file = file.read(numbers, window, shape)
            valid &= known
            if of_file is not None:
                date = self.source.dates[file.indices[0]] if self.source.dates else 0
                hits.setdefault(date, []).append(of_file)
        for of_date in hits.values():
            valid &= ~without_data(np.concatenate(of_date), np.uint8, 0)
        for group in self._blank_among(bands):
            valid &= values[group].any(0)
        of_bands = list(bands) if bands else slice(None)
        factors, offsets = (np.array(each, np.float32) for each in (self.source.factors, self.source.offsets))
        if (factors != 1).any():
            values *= factors[of_bands, None, None]
        values += offsets[of_bands, None, None]
        return values, valid

    def _blank_among(self, bands):
        """Return for each group of source.blank the positions of its bands among those that are read.

        bands: see `read_files`. Three bands of a group stand for all of it, as in pictures; fewer say nothing.
        """
        read = list(bands or range(len(self.source.bands)))
        groups = [[i for i, band in enumerate(read) if band in group] for group in self.source.blank]
        return [own for own, group in zip(groups, self.source.blank, strict=True) if len(own) >= min(3, len(group))]

    def _blends(self, bands):
        """Return whether GDAL's averages of some bands may hold numbers of no data that it does not know."""
        blank = self._blank_among(bands) and self.blank_share != 0
        return bool(blank) or any(self.files[index].blends for index, _ in self._entries(bands))

    def _entries(self, bands):
        """Return (position in `files`, number) of some bands, by their positions in source.bands; None: of all."""
        return [self._places[i] for i in bands] if bands else self._places

    def without_rim(self, valid):
        """Return where averages hold data without a rim that may be blended, see averages.without_rim."""
        blended = self._blends(None) and any(file.reduced for file in self.files)
        return averages.without_rim(valid) if blended else valid

    @ensure_env
    def read_terrain(self, window):
        """Read the terrain of a window, each H x W, NaN where it is unknown.

        Returns:
            {"slope": in degrees, "dem": in metres, "east", "north": rise of the ground in these directions of the map,
            as a ratio}.
        """
        grown = Window(window.col_off, window.row_off, window.width + 2, window.height + 2)
        elevation = self.dem.read(grown)
        rows = np.arange(window.row_off, window.row_off + window.height)
        columns = np.arange(window.col_off, window.col_off + window.width)
        dx, dy = (interpolate(plane, self.grid.shape, rows, columns) for plane in self.grid.pixel_size)
        along, against = horn_gradient(elevation, dx, dy)
        slope = np.degrees(np.arctan(np.hypot(along, against))).astype(np.float32)
        a, b, _, d, e, *_ = self.grid.transform
        right, up = np.array([a, d]) / np.hypot(a, d), -np.array([b, e]) / np.hypot(b, e)  # on the map
        east, north = (along * right[i] + against * up[i] for i in (0, 1))
        return {"slope": slope, "dem": elevation[1:-1, 1:-1], "east": east, "north": north}

    def scale(self, values):
        """Scale bands x H x W in place."""
        gains, biases = self.source.gain or (1.0,) * len(values), self.source.bias or (0.0,) * len(values)
        for band, gain, bias in zip(values, gains, biases, strict=True):
            band *= np.float32(gain)
            band += np.float32(bias)
        if self.source.clip:  # what pictures hold
            for column in self.source.light:
                np.clip(values[column], 0, 255, out=values[column])

    def thumbnail(self, bands, longest=PICTURE):
        """Read bands, by their positions among the model's, reduced to `longest` pixels; kept for the next picture.

        Returns (H x W x bands, valid H x W, factor of the reduction).
        """
        key = tuple(bands), longest
        if key not in self._thumbnails:
            self._thumbnails[key] = self._reduced(bands, longest)
        return self._thumbnails[key]

    def _reduced(self, bands, longest):
        shape, factor = reduced_shape(self.grid.shape, longest)
        ratio, parts = self.grid.height / shape[0], []
        for top in range(0, shape[0], THUMBNAIL_ROWS):
            rows = min(THUMBNAIL_ROWS, shape[0] - top)
            window = Window(0, top * ratio, self.grid.width, rows * ratio)
            parts.append(self.picture(bands, window, (rows, shape[1])))
        image, valid = (np.concatenate(each) for each in zip(*parts, strict=True))
        return image, self.without_rim(valid), factor

    def picture(self, bands, window, shape=None):
        """Read bands, by their positions among the model's, in a window: (H x W x bands, valid H x W), not scaled.

        shape: see `read_files`.
        """
        positions = [self.source.columns.index(band) if band in self.source.columns else 0 for band in bands]
        values, valid = self.read_files(window, positions, shape)
        return np.moveaxis(values, 0, -1), valid

    def sample(self, covers=()):
        """Read pixels that stand for the scene.

        covers: objects whose `hidden(top, bottom)` returns the ground that is not seen, which does not count.

        Returns:
            (values, dem_share): model's bands x pixels with data, float32, scaled; share of the pixels with image data
            that have an elevation, too (1 without --dem).
        """
        side, (height, width) = 64, self.grid.shape
        if height * width <= SAMPLE_PIXELS:
            windows = [(top, min(top + 256, height), 0, width) for top in range(0, height, 256)]
        else:
            count = 2 * int(np.sqrt(SAMPLE_PIXELS / 4)) // side
            middles = (np.arange(count) + 0.5) / count
            tops, lefts = ((middles * size - side / 2).clip(0).astype(int) for size in (height, width))
            windows = [
                (top, min(top + side, height), left, min(left + side, width))
                for top in np.unique(tops).tolist()
                for left in np.unique(lefts).tolist()
            ]
        samples, imaged, elevated, blank, total = [], 0, 0, 0, 0  # the last four: numbers of pixels
        hidden_rows, hidden = None, np.zeros((0, width), bool)
        for top, bottom, left, right in windows:
            if covers and hidden_rows != (top, bottom):
                hidden_rows, hidden = (top, bottom), np.any([cover.hidden(top, bottom) for cover in covers], axis=0)
            window = Window.from_slices((top, bottom), (left, right))
            image, in_files = self.read_files(window)
            values = np.empty((self.source.band_count, *in_files.shape), np.float32)
            values[list(self.source.columns)] = image
            valid = self._add_terrain(values, window, in_files)
            self.scale(values)
            for group in self.source.blank:
                zero = np.array(self.source.offsets, np.float32)[list(group), None, None]
                blank += (image[list(group)] == zero).all(0).sum()
            if self.dem:
                imaged += in_files.sum()
                known = valid if self.source.terrain else in_files & np.isfinite(self.read_terrain(window)["dem"])
                elevated += known.sum()
            total += valid.size
            samples.append(values[:, valid & ~hidden[:, left:right]] if covers else values[:, valid])
        self.blank_share = blank / total if total else 0.0
        return np.concatenate(samples, axis=1), elevated / imaged if imaged else 1.0
