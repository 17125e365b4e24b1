"""A scene as a model reads it: the bands of its files on one grid, slope and elevation beside them, scaled.

Rows are read as they are asked for, so memory does not grow with the scene.
"""

import functools
import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.env import ensure_env
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from dataset import BANDS_L4S, SCALE_L4S
from ground import ground_lattice, horn_slope, interpolate
from runs import UserError

SCALINGS = ("none", "l4s", "stretch")
TERRAIN = ("slope", "dem")  # bands that --dem gives, by the names that models know them by
SAMPLE_PIXELS = 4_000_000  # a scene of no more is judged by all its pixels, a larger one by windows spread over it
FAR_MEAN, FAR_DEVIATION = 2.0, 3.0  # a band is far off whose mean is off by 2 deviations, or its deviation by 3 times

# What GDAL has to say comes to us as exceptions; its log would put lines of its own before ours.
logging.getLogger("rasterio").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Recipe:
    """All it takes to read a scene, in plain values that can be sent to another process.

    Attributes:
        paths: of the files. bands: for each band that comes from them (index of the file, number from 1).
        columns: places of those bands among the model's. reference: index of the file whose grid is the scene's.
        dem: path of an elevation raster or "". terrain: ((name, place among the model's bands), ...), if so.
        nodata: value that means no data where the files do not say, or None. offset: added to what files hold.
        gain, bias: one for each band of the model: scaled = gain * value + bias. clip: whether to keep it in 0-255.
    """

    paths: tuple
    bands: tuple
    columns: tuple
    reference: int
    dem: str
    terrain: tuple
    nodata: float | None
    offset: float
    gain: tuple
    bias: tuple
    clip: bool = False


class Scene:
    """An open scene. Not to be used from two threads at once (GDAL's rule), but from any one at a time.

    Attributes:
        height, width, transform, crs: of the grid; crs is None where the file has none.
        recipe: what it was opened by.
    """

    def __init__(self, recipe):
        self.recipe = recipe
        files = [open_raster(path) for path in recipe.paths]
        # GDAL would take a twentieth of the machine's memory; it reads this once, before its first block
        os.environ.setdefault("GDAL_CACHEMAX", str(64 + round(two_rows_of_blocks(files) / 2**20)))
        grid = files[recipe.reference]
        self.height, self.width, self.transform, self.crs = grid.height, grid.width, grid.transform, grid.crs
        self.files = [self._on_grid(file) for file in files]
        self.dem = self._open_dem() if recipe.dem else None

    @property
    def shape(self):
        return self.height, self.width

    @functools.cached_property
    def pixel_size(self):
        """(dx, dy) of a pixel in metres on the ground, as lattices (see ground.py)."""
        return ground_lattice(self.transform, self.crs, self.height, self.width)

    def _on_grid(self, file):
        """The file itself where it has the scene's grid, otherwise a view of it that is warped to the grid."""
        same_place = file.transform.almost_equals(self.transform, 1e-3 * abs(self.transform.a))
        if file.shape == self.shape and file.crs == self.crs and (same_place or self.crs is None):
            return file
        if self.crs is None or file.crs is None:
            raise UserError(f"{file.name}: without a coordinate system it cannot be brought onto the scene's grid")
        return self._warped(file, self.transform, self.width, self.height, self.recipe.nodata)

    def _warped(self, file, transform, width, height, nodata=None):
        return WarpedVRT(
            file,
            crs=self.crs,
            transform=transform,
            width=width,
            height=height,
            resampling=Resampling.bilinear,
            src_nodata=nodata if file.nodata is None else file.nodata,
            nodata=np.nan,
            dtype="float32",
        )

    def _open_dem(self):
        file = open_raster(self.recipe.dem)
        if self.crs is None or file.crs is None:
            blank = self.recipe.dem if self.crs else self.recipe.paths[self.recipe.reference]
            raise UserError(f"{blank}: without a coordinate system the elevation cannot be laid over the scene")
        # a pixel more on every side, which Horn's method looks at
        grown = self.transform @ Affine.translation(-1, -1)
        return self._warped(file, grown, self.width + 2, self.height + 2)

    # ------------------------------------------------------------------ reading

    def read(self, top, bottom, left=0, right=None):
        """Read a window as the model takes it.

        Returns:
            (values, valid): model's bands x height x width, float32, scaled; height x width, bool, False where any
            band has no data. Values there are not to be used.

        Raises:
            UserError: naming the file that cannot be read.
        """
        window = Window.from_slices((top, bottom), (left, self.width if right is None else right))
        image, valid = self._read_files(window)
        values = np.empty((len(self.recipe.gain), *valid.shape), np.float32)
        values[list(self.recipe.columns)] = image
        if self.dem:
            terrain = self.read_terrain(window)
            for name, column in self.recipe.terrain:
                values[column] = terrain[name]
            valid &= np.isfinite(terrain["dem"])
        self.scale(values)
        return values, valid

    @ensure_env  # in every thread, or GDAL prints what it has to say
    def _read_files(self, window, bands=None, shape=None):
        """Bands of the files in a window, with the offset but not scaled: (bands x H x W float32, valid H x W).

        `bands` are places in recipe.bands. With a `shape` (H, W), averages over blocks of pixels.
        """
        chosen = [self.recipe.bands[i] for i in bands] if bands else self.recipe.bands
        shape = shape or (int(window.height), int(window.width))
        values = np.empty((len(chosen), *shape), np.float32)
        valid = np.ones(shape, bool)
        for index, file in enumerate(self.files):
            places = [i for i, (source, _) in enumerate(chosen) if source == index]
            if not places:
                continue
            numbers = [chosen[i][1] for i in places]
            try:
                part = file.read(
                    numbers, window=window, out_shape=(len(numbers), *shape), masked=True, resampling=Resampling.average
                )
            except RasterioError:
                rows = f"rows {int(window.row_off)} to {int(window.row_off + window.height)}"
                raise UserError(
                    f"{self.recipe.paths[index]} cannot be read at {rows}: cut short or damaged, fetch it again"
                ) from None
            valid &= ~np.ma.getmaskarray(part).any(0)
            data = part.data
            if data.dtype.kind == "f":
                valid &= np.isfinite(data).all(0)
            if self.recipe.nodata is not None:
                valid &= (data != self.recipe.nodata).all(0)
            values[places] = data
        values += np.float32(self.recipe.offset)
        return values, valid

    @ensure_env
    def read_terrain(self, window):
        """Slope in degrees and elevation in metres of a window: {name: H x W float32}, NaN where there is none."""
        grown = Window(window.col_off, window.row_off, window.width + 2, window.height + 2)
        try:
            elevation = self.dem.read(1, window=grown)
        except RasterioError:
            raise UserError(f"{self.recipe.dem} cannot be read: cut short or damaged, fetch it again") from None
        rows = np.arange(window.row_off, window.row_off + window.height)
        columns = np.arange(window.col_off, window.col_off + window.width)
        dx, dy = (interpolate(plane, self.shape, rows, columns) for plane in self.pixel_size)
        return {"slope": horn_slope(elevation, dx, dy), "dem": elevation[1:-1, 1:-1]}

    def scale(self, values):
        """Scale bands x H x W in place."""
        for band, gain, bias in zip(values, self.recipe.gain, self.recipe.bias, strict=True):
            band *= np.float32(gain)
            band += np.float32(bias)
        if self.recipe.clip:
            np.clip(values, 0, 255, out=values)

    def thumbnail(self, bands, longest):
        """Some of the model's bands (by place) reduced to `longest` pixels: (H x W x bands, valid H x W, factor)."""
        factor = max(1.0, max(self.height, self.width) / longest)
        shape = max(1, round(self.height / factor)), max(1, round(self.width / factor))
        places = [self.recipe.columns.index(band) if band in self.recipe.columns else 0 for band in bands]
        values, valid = self._read_files(Window(0, 0, self.width, self.height), places, shape)
        return np.moveaxis(values, 0, -1), valid, factor

    def sample(self):
        """Pixels that stand for the scene.

        Returns:
            (values, dem_share): model's bands x pixels with data, float32, scaled; the share of pixels with image
            data where there is elevation too (1 without --dem).
        """
        side = 64
        if self.height * self.width <= SAMPLE_PIXELS:
            windows = [(top, min(top + 256, self.height), 0, self.width) for top in range(0, self.height, 256)]
        else:
            count = 2 * int(np.sqrt(SAMPLE_PIXELS / 4)) // side
            middles = (np.arange(count) + 0.5) / count
            tops, lefts = ((middles * size - side / 2).clip(0).astype(int) for size in self.shape)
            windows = [
                (top, min(top + side, self.height), left, min(left + side, self.width))
                for top in np.unique(tops).tolist()
                for left in np.unique(lefts).tolist()
            ]
        kept, imaged, complete = [], 0, 0
        for top, bottom, left, right in windows:
            values, valid = self.read(top, bottom, left, right)
            if self.dem:
                imaged += self._read_files(Window.from_slices((top, bottom), (left, right)))[1].sum()
            complete += valid.sum()
            kept.append(values[:, valid])
        return np.concatenate(kept, axis=1), complete / imaged if imaged else 1.0


def two_rows_of_blocks(files):
    """Bytes of what must stay in memory so that rows read one after the other decode no block twice."""
    return sum(
        2 * file.block_shapes[i][0] * file.width * np.dtype(file.dtypes[i]).itemsize
        for file in files
        for i in range(file.count)
    )


# ---------------------------------------------------------------------- choosing files and bands


def open_raster(path):
    """Open a raster, or raise UserError."""
    try:
        return rasterio.open(path)
    except RasterioError as error:
        if not Path(path).exists():
            raise UserError(f"{path} does not exist") from None
        raise UserError(f"{path} cannot be opened as a raster, it may be cut short ({error})") from None


def plan(paths, model_bands, scene_bands=(), dem="", nodata=None, offset=0.0):
    """Find out where each band of a model comes from.

    Args:
        paths: one raster, or several of one band each in the model's order; the grid is that of the first among
            those with the smallest pixels.
        model_bands: names of the model's bands. Slope and dem come from `dem` if it is given, all others (in the
            model's order) from the files.
        scene_bands: bands to take, by number from 1 or by name (GDAL's description of the band, a word of it, or
            what the file is called after: B4 is found in T33UVP_B04.jp2); empty for all in order.
        dem, nodata, offset: see Recipe.

    Raises:
        UserError: for bands that are missing, too many or too few.
    """
    files = [open_raster(path) for path in paths]
    if len(files) > 1:
        for file in files:
            if file.count > 1:
                raise UserError(f"{file.name} has {file.count} bands: of several files each must hold a single one")
    found = [  # an alpha channel is a mask, not a band
        (index, number, file.descriptions[number - 1] or (Path(file.name).stem if len(files) > 1 else ""))
        for index, file in enumerate(files)
        for number in file.indexes
        if file.colorinterp[number - 1] != ColorInterp.alpha
    ]
    chosen = [find_band(band, found, paths[0]) for band in scene_bands] if scene_bands else found
    terrain = terrain_columns(model_bands, dem)
    columns = tuple(i for i in range(len(model_bands)) if i not in dict(terrain).values())
    if len(chosen) != len(columns):
        wanted = [model_bands[i] for i in columns]
        lacking = [] if dem else [name for name in wanted if name in TERRAIN]
        hint = "choose them, in this order, with --scene-bands"
        if lacking and len(chosen) + len(lacking) == len(wanted):
            hint = f"give an elevation raster with --dem for {' and '.join(lacking)}"
        where = paths[0] if len(paths) == 1 else f"{len(paths)} files"
        raise UserError(f"{where}: {len(chosen)} bands, but the run takes {len(wanted)} ({' '.join(wanted)}): {hint}")
    sizes = [abs(file.transform.determinant) if file.crs == files[0].crs else np.inf for file in files]
    return Recipe(
        paths=tuple(map(str, paths)),
        bands=tuple((index, number) for index, number, _ in chosen),
        columns=columns,
        reference=int(np.argmin(np.round(np.array(sizes) / sizes[0], 6))),
        dem=str(dem),
        terrain=terrain,
        nodata=nodata,
        offset=offset,
        gain=(1.0,) * len(model_bands),
        bias=(0.0,) * len(model_bands),
    )


def find_band(wanted, found, path):
    """The one of `found` (index, number, label) that is called `wanted`; B4 and B04 are the same."""

    def plain(name):
        return re.sub(r"^B0*(?=\d)", "B", name.upper())

    if wanted.isdigit() and 1 <= int(wanted) <= len(found):
        return found[int(wanted) - 1]
    named = [entry for entry in found if plain(wanted) == plain(entry[2])] or [
        entry for entry in found if plain(wanted) in map(plain, re.split(r"[^A-Za-z0-9]+", entry[2]))
    ]
    if len(named) != 1:
        have = ", ".join(filter(None, (label for _, _, label in found))) or "no names"
        what = "is not in the scene" if not named else "is there more than once"
        raise UserError(f"{path}: band {wanted} {what} (it has bands 1 to {len(found)}, named: {have})")
    return named[0]


def terrain_columns(model_bands, dem):
    """((name, place), ...) of slope and elevation among the model's bands; none without `dem`."""
    if not dem:
        return ()
    columns = tuple((name, model_bands.index(name)) for name in TERRAIN if name in model_bands)
    if not columns and len(model_bands) > 2 and all(name.isdigit() for name in model_bands):
        columns = tuple(zip(TERRAIN, range(len(model_bands) - 2, len(model_bands)), strict=True))  # unnamed: the last
    if not columns:
        raise UserError(f"the run takes neither slope nor dem (its bands: {' '.join(model_bands)}): leave --dem out")
    return columns


# ---------------------------------------------------------------------- scaling


def scaled(recipe, scaling, model_bands):
    """The recipe with the scaling set: "l4s" by the data set's constants, "stretch" by the scene's percentiles."""
    if scaling not in SCALINGS:
        raise UserError(f"scaling {scaling!r} is none of {', '.join(SCALINGS)}")
    if scaling == "l4s":
        constants = dict(zip(BANDS_L4S, SCALE_L4S, strict=True))
        unknown = [name for name in model_bands if name not in constants]
        if unknown:
            raise UserError(f"scaling l4s knows {' '.join(BANDS_L4S)}; the run's band {unknown[0]} is none of them")
        return replace(recipe, gain=tuple(1 / constants[name] for name in model_bands))
    if scaling == "stretch":
        pixels, _ = Scene(recipe).sample()
        if pixels.size:
            low, high = np.percentile(pixels, [2, 98], axis=1).astype(float)
            gain = 255 / np.maximum(high - low, 1e-6)
            return replace(recipe, gain=tuple(gain.tolist()), bias=tuple((-low * gain).tolist()), clip=True)
    return recipe


def far_bands(pixels, mean, variance):
    """Which bands of a sample (bands x pixels) lie far from the mean and variance that the model was trained on.

    Returns the places of bands whose mean differs by more than 2 of the training's standard deviations, or whose
    standard deviation differs by more than 3 times.
    """
    if not pixels.size:
        return []
    deviation = np.sqrt(np.where(np.asarray(variance) > 0, variance, 1.0))
    off = np.abs(pixels.mean(1, dtype=np.float64) - mean) / deviation
    spread = pixels.std(1, dtype=np.float64) / deviation
    return np.flatnonzero((off > FAR_MEAN) | (spread > FAR_DEVIATION) | (spread < 1 / FAR_DEVIATION)).tolist()
