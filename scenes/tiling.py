"""Tiles over a scene: where they lie, how overlapping predictions are added, and the rasters that are written.

The unit of work is a strip: some rows of tiles. Each process that computes a strip uses the same batches, so the result
has the same bytes in this process and on a cluster (dask_cluster.py). One process adds the strips in order.
"""

import contextlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning

from networks.inference import probabilities
from networks.threads import prefetch

BLOCK = 256  # pixels a side of the blocks of written rasters; whole rows of blocks are written, each block once


@dataclass(frozen=True)
class TileGrid:
    """Overlapping tiles that cover a scene and half an overlap beyond its edges, where the scene is mirrored.

    Attributes:
        height, width: of the scene. tile: (height, width) of a tile. overlap: pixels that neighbours share, at most
            half a tile. shift: pixels by which all tiles lie further up and left. rows: rows of tiles in a strip.
    """

    height: int
    width: int
    tile: tuple
    overlap: int
    shift: int = 0
    rows: int = 1

    @classmethod
    def of(cls, shape, side, overlap, unit):
        """Cover a scene with as few tiles as `side` allows: the overlap of neighbours is computed twice.

        Args:
            shape: (height, width) of the scene. side: largest side of a tile, a multiple of `unit`.
            overlap: pixels that neighbours share, at most half a tile. unit: the sides are multiples of it.
        """
        overlap = min(overlap, side // 2)
        counts = (-(-size // (side - overlap)) for size in shape)
        needed = (-(-size // count) + overlap for size, count in zip(shape, counts, strict=True))
        tile = tuple(-(-size // unit) * unit for size in needed)
        return cls(*shape, tile, min(overlap, min(tile) // 2))

    def filling(self, batch_size):
        """Return the same tiles in strips that fill two batches: small batches are slow."""
        return replace(self, rows=-(-2 * batch_size // len(self.lefts)))

    @property
    def strips(self):
        """For each strip, the first row of each of its rows of tiles."""
        return [self.tops[i : i + self.rows] for i in range(0, len(self.tops), self.rows)]

    @property
    def tops(self):
        """First row of each row of tiles; negative for a row that begins above the scene."""
        return _starts(self.height, self.tile[0], self.overlap, self.shift)

    @property
    def lefts(self):
        """First column of each tile of a row."""
        return _starts(self.width, self.tile[1], self.overlap, self.shift)

    @property
    def weights(self):
        """Weight of each pixel of a tile, above 0: 1 inside, falling to the edges as a raised cosine over the overlap.

        The weights of two neighbours add up to 1 over their overlap, so that no seam shows.
        """
        down, right = (_ramp(size, self.overlap) for size in self.tile)
        return np.outer(down, right).astype(np.float32)

    @property
    def weight_sums(self):
        """Sums of the weights along rows and along columns; their outer product is the sum at each pixel."""
        sums = []
        for size, tile, starts in zip((self.height, self.width), self.tile, (self.tops, self.lefts), strict=True):
            weight_sum = np.zeros(size)
            for start in starts:
                first, last = max(start, 0), min(start + tile, size)
                weight_sum[first:last] += _ramp(tile, self.overlap)[first - start : last - start]
            sums.append(weight_sum.astype(np.float32))
        return sums


def _starts(size, tile, overlap, shift):
    first = -(overlap // 2) - shift
    stride = tile - overlap
    count = max(1, -(-(size + overlap // 2 - first - tile) // stride) + 1)
    return [first + stride * i for i in range(count)]


def _ramp(size, overlap):
    rise = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / overlap) ** 2 if overlap else np.ones(0)
    return np.concatenate([rise, np.ones(size - 2 * overlap), rise[::-1]])


def mirrored_indices(first, last, size):
    """Return the indices first ... last - 1 of a line of `size` pixels, mirrored at its ends as often as needed."""
    beyond = max(-first, 0), max(last - size, 0)
    return np.pad(np.arange(size), beyond, "reflect")[max(first, 0) :][: last - first]


# ---------------------------------------------------------------------- a strip


@dataclass
class Strip:
    """Input of the tiles of one strip.

    Attributes:
        values: bands x height x width of the part of the scene that the tiles cover.
        rows, columns: of `values`, for each row and column that the tiles cover; mirrored beyond the scene's edges.
        valid: len(rows) x width of the scene, True where there are data.
        corners: (index into `rows`, index into `columns`) of the first pixel of each tile that has data.
    """

    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    valid: np.ndarray
    corners: list


def read_strip(scene, grid, index, fill):
    """Read strip `index`; None if it has no data at all. Gaps are filled with `fill`, a value for each band."""
    tile_height, tile_width = grid.tile
    tops, lefts = grid.strips[index], grid.lefts
    rows = mirrored_indices(tops[0], tops[-1] + tile_height, grid.height)
    columns = mirrored_indices(lefts[0], lefts[-1] + tile_width, grid.width)
    values, valid = scene.read(int(rows.min()), int(rows.max()) + 1)
    if not valid.any():
        return None
    if not valid.all():  # the mean of the training data carries no information for the network
        np.copyto(values, np.asarray(fill, np.float32)[:, None, None], where=~valid)
    rows = rows - rows.min()
    valid = valid[rows]
    covered = valid[:, columns]
    corners = [(top - tops[0], left - lefts[0]) for top in tops for left in lefts]
    corners = [(top, left) for top, left in corners if covered[top : top + tile_height, left : left + tile_width].any()]
    return Strip(values, rows, columns, valid, corners)


def predict_strip(model, grid, strip, batch_size, tta=False):
    """Predict the tiles of a strip; returns the sums of their weighted probabilities: height x scene width, float32."""
    tile_height, tile_width = grid.tile
    weights = grid.weights
    sums = np.zeros((len(strip.rows), len(strip.columns)), np.float32)

    def gathered(batch):
        corners, size = batch
        tiles = np.zeros((size, *grid.tile, len(strip.values)), np.float32)
        for tile, (top, left) in zip(tiles, corners, strict=False):
            rows, columns = strip.rows[top : top + tile_height], strip.columns[left : left + tile_width]
            tile[:] = np.moveaxis(strip.values[:, rows[:, None], columns], 0, -1)
        return tiles

    at_once = getattr(model, "at_once", None)  # of OpenVINO, which takes each tile by itself
    parts = list(batches(strip.corners, at_once, 1) if at_once else batches(strip.corners, batch_size))
    # one thread predicts while this one adds up the batch before and gathers the next
    predicted = prefetch(lambda tiles: probabilities(model, tiles, tta), map(gathered, parts))
    for (corners, _), batch in zip(parts, predicted, strict=True):
        for (top, left), probability in zip(corners, batch, strict=False):
            sums[top : top + tile_height, left : left + tile_width] += weights * probability
    return sums[:, -grid.lefts[0] :][:, : grid.width]


def batches(items, batch_size, unit=None):
    """Yield (items, size) of batches; the caller fills the last one up to `size`.

    `size` is a multiple of `unit`, by default a quarter of `batch_size`: some backends compile for each size, and small
    ones are slow.
    """
    unit = unit or max(batch_size // 4, 1)
    for start in range(0, len(items), batch_size):
        batch = items[start : start + batch_size]
        yield batch, min(-(-len(batch) // unit) * unit, batch_size)


# ---------------------------------------------------------------------- from strips to rasters


class OverlapAdd:
    """Sum of overlapping strips that are added in order; holds a strip and a row of blocks, never the scene."""

    def __init__(self, grid):
        self.grid, self.next, self.top = grid, 0, 0
        self.down, self.right = grid.weight_sums
        self.sums, self.valid = np.zeros((0, grid.width), np.float32), np.zeros((0, grid.width), bool)

    def add(self, strip):
        """Add the next strip, (sums, valid) or None without data.

        Returns (first row, probability H x W float32, valid H x W) of the rows that no later strip changes, in whole
        rows of blocks; H may be 0.
        """
        strips, height = self.grid.strips, self.grid.height
        tops, last = strips[self.next], self.next + 1 == len(strips)
        start = tops[0]
        first, end = max(start, 0), min(tops[-1] + self.grid.tile[0], height)
        self.next += 1
        lacking = end - self.top - len(self.sums)
        if lacking > 0:
            self.sums = np.pad(self.sums, [(0, lacking), (0, 0)])
            self.valid = np.pad(self.valid, [(0, lacking), (0, 0)])
        if strip:
            sums, valid = strip
            self.sums[first - self.top : end - self.top] += sums[first - start : end - start]
            self.valid[first - self.top : end - self.top] = valid[first - start : end - start]
        finished = height if last else max(min(strips[self.next][0], height), 0)
        count = finished - self.top if last else (finished - self.top) // BLOCK * BLOCK
        top, self.top = self.top, self.top + count
        sums, self.sums = self.sums[:count], self.sums[count:]
        valid, self.valid = self.valid[:count], self.valid[count:]
        weights = np.outer(self.down[top : self.top], self.right)
        return top, np.clip(sums / weights, 0, 1), valid


@contextlib.contextmanager
def raster(path, grid, tags, dtype, nodata, description="", unit=""):
    """Open a one-band raster on a PixelGrid for writing; it becomes a Cloud Optimized GeoTIFF when it closes.

    GDAL makes a Cloud Optimized GeoTIFF only of a finished raster. So a plain GeoTIFF is written first, and removed.

    Args:
        tags: {name: text}. description, unit: of the band, as GIS programs show them.
    """
    path = Path(path)
    plain = path.with_name(f"{path.stem}_strips.tif")
    profile = {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "count": 1,
        "dtype": dtype,
        "nodata": nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "lzw",
        "bigtiff": "if_safer",
    }
    options = {"compress": "deflate", "predictor": "yes", "blocksize": BLOCK, "overview_resampling": "nearest"}
    options |= {"num_threads": "all_cpus"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # predict.py prints a note of its own
            opened = rasterio.open(plain, "w", **profile)
        with opened as file:
            file.update_tags(**tags)
            if description:
                file.set_band_description(1, description)
            if unit:
                file.set_band_unit(1, unit)
            yield file
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            rasterio.shutil.copy(plain, path, driver="COG", bigtiff="if_safer", **options)
    finally:
        plain.unlink(missing_ok=True)
