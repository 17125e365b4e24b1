"""Tiles over a picture: where they lie, and how their overlapping predictions are added.

Tiles are as large as the patches of the training: what a network gives depends on how much it sees around a pixel, and
on how far the edge is. docs/experiments.md has figures.
"""

from dataclasses import dataclass, replace

import numpy as np

from networks.inference import probabilities
from networks.threads import prefetch

OVERLAP = 32  # pixels that neighbours share, unless the user says otherwise
STRIP = 512  # pixels: neighbouring strips share rows, and lower ones would read too many rows twice


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
        return cls.of_size(shape, tuple(-(-size // unit) * unit for size in needed), overlap)

    @classmethod
    def of_size(cls, shape, tile, overlap):
        """Cover a scene of a (height, width) with tiles of a size that share `overlap` pixels, at most half a tile."""
        return cls(*shape, tile, min(overlap, min(tile) // 2))

    def laid(self, tops):
        """Lay the tiles of some rows; return (rows, columns, corners) as a Strip has them, rows counted in the scene.

        tops: the first row of each of these rows of tiles.
        """
        (height, width), lefts = self.tile, self.lefts
        rows = mirrored_indices(tops[0], tops[-1] + height, self.height)
        columns = mirrored_indices(lefts[0], lefts[-1] + width, self.width)
        return rows, columns, [(top - tops[0], left - lefts[0]) for top in tops for left in lefts]

    def filling(self, batch_size):
        """Return the same tiles in strips that fill two batches and are STRIP pixels high: small ones are slow."""
        high = (STRIP - self.overlap) // (self.tile[0] - self.overlap)
        return replace(self, rows=max(-(-2 * batch_size // len(self.lefts)), high))

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


# ---------------------------------------------------------------------- a strip of tiles


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


def predict_picture(model, image, tile, batch_size, tta=False):
    """Predict a picture of any size in tiles.

    Args:
        model: for images of a tile's size. image: H x W x bands float32. tile: (height, width), in pixels.
        batch_size: tiles in a batch. tta: see `inference.probabilities`.

    Returns:
        probabilities, H x W float32.
    """
    height, width = image.shape[:2]
    grid = TileGrid.of_size((height, width), tile, OVERLAP)
    rows, columns, corners = grid.laid(grid.tops)
    strip = Strip(np.moveaxis(image, -1, 0), rows, columns, np.ones((len(rows), width), bool), corners)
    sums = predict_strip(model, grid, strip, batch_size, tta)
    return np.clip(sums[-grid.tops[0] :][:height] / np.outer(*grid.weight_sums), 0, 1)
