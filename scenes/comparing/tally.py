"""Counts of a map against a reference, strip by strip: pixels, objects, boundaries and a picture."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from mask_values import UNLABELLED
from metrics import ThresholdCurve
from scenes.comparing.layers import ROWS
from scenes.geodesy import interpolate
from script import progress

LONGEST = 1200  # pixels to which the longer side of the picture is reduced
UNSEEN, JUDGED, FALSE, MISSED, DETECTED = range(5)  # codes of the picture; the highest code of reduced pixels is shown
# Sums over the pixels of an object. known: on ground that its own file judged; edge: at the edge of the grid.
COLUMNS = ("pixels", "known_pixels", "judged_pixels", "edge_pixels", "area", "judged_area", "row", "column")


@dataclass
class Tally:
    """Counts of a map and a reference over all strips.

    Attributes:
        blocks: (rows of pixels in a block, columns of pixels in a block, blocks in a row of blocks).
        confusion: blocks x 2 x 2, judged pixels by [not in the map, in it] and [not in the reference, in it].
        areas: the same in m2.
        mapped: (m2 without landslide, m2 of landslide) of the whole map, judged or not.
        known: pixels [known in the map, of these in the area, judged].
        map_objects, reference_objects: {column: array over objects}; areas in m2, row and column of the centroid.
        pairs: three arrays over all pairs that overlap: object of the map, of the reference, m2 that both cover.
        boundary: pixels of the boundary of [map, reference] [in all, within the tolerance of the other].
        curve: ThresholdCurve of a map of probabilities.
        picture: codes of outcomes; corner: its first row and column on the grid; step: pixels of a side of its pixels.
    """

    blocks: tuple
    confusion: np.ndarray
    areas: np.ndarray
    mapped: np.ndarray
    known: np.ndarray
    boundary: np.ndarray
    picture: np.ndarray
    corner: tuple
    step: int
    curve: ThresholdCurve = field(default_factory=ThresholdCurve)
    map_objects: dict = None
    reference_objects: dict = None
    pairs: tuple = None


class ObjectSums:
    """Sums over the pixels of each object, over all strips."""

    def __init__(self):
        self.parts = [np.zeros((0, 1 + len(COLUMNS)))]

    def add(self, numbers, known, judged, area, edge, top):
        """Add a strip.

        Args:
            numbers: of objects, 0: none. known, judged, edge: bool. area: of pixels in m2. All are H x W.
            top: first row of the strip.
        """
        row, column = np.nonzero(numbers)
        unique, index = np.unique(numbers[row, column], return_inverse=True)
        size, is_judged = area[row, column], judged[row, column]
        values = [np.ones(len(index)), known[row, column], is_judged, edge[row, column]]
        values += [size, size * is_judged, size * (row + top), size * column]
        self.parts.append(np.column_stack([unique, *(np.bincount(index, each, len(unique)) for each in values)]))

    def joined(self, count, objects):
        """Return {column: sum for each object}; row and column are those of the centroid.

        count: number of objects. objects: index of the object of each number.
        """
        parts = np.concatenate(self.parts)
        owner = objects[parts[:, 0].astype(int) - 1]
        sums = {name: np.bincount(owner, parts[:, i], count) for i, name in enumerate(COLUMNS, 1)}
        for name in ("row", "column"):
            sums[name] = sums[name] / np.where(sums["area"], sums["area"], 1)
        return sums


def count(mapped, reference, area, grid, tolerance, block):
    """Count a map against a reference; return a Tally.

    Args:
        mapped, reference: layers on `grid` (layers.py). area: PolygonLayer in which the reference is complete, or None.
        grid: PixelGrid. tolerance: largest distance in metres between boundaries that agree.
        block: metres of the side of a block.
    """
    tally, sides = empty_tally(area, grid, block)
    down, right, across = tally.blocks
    number = len(tally.confusion)
    margin = int(tolerance / sides[0]) + 2  # boundaries need the rows within the tolerance, and one row around these
    sums, pairs = (ObjectSums(), ObjectSums()), [np.zeros((3, 0))]
    for first in progress(range(0, grid.height, ROWS), "comparing", -(-grid.height // ROWS)):
        rows = first, min(first + ROWS, grid.height)
        around = max(first - margin, 0), min(rows[1] + margin, grid.height)
        core = slice(first - around[0], rows[1] - around[0])
        map_landslide, map_known, probability = mapped.read(*around)
        reference_landslide, reference_known, _ = reference.read(*around)
        within = area.read(*around)[0] > 0 if area else np.ones(map_known.shape, bool)
        judged = map_known & reference_known & within
        size = pixel_areas(grid, *rows)
        numbers = mapped.number(map_landslide[core]), reference.number(reference_landslide[core])
        edge = np.zeros(size.shape, bool)
        edge[:, [0, -1]] = True
        edge[np.isin(np.arange(*rows), (0, grid.height - 1))] = True
        for each, own, known in zip(sums, numbers, (map_known, reference_known), strict=True):
            each.add(own, known[core], judged[core], size, edge, first)
        in_map, in_reference = map_landslide > 0, reference_landslide > 0
        tally.mapped += np.bincount(in_map[core][map_known[core]].astype(int), size[map_known[core]], 2)
        tally.known += map_known[core].sum(), (map_known & within)[core].sum(), judged[core].sum()
        is_judged = judged[core]
        if not is_judged.any():
            continue
        pairs.append(overlaps(*numbers, is_judged, size))
        outcome = 2 * in_map[core] + in_reference[core]
        block_number = (np.arange(*rows) // down)[:, None] * across + np.arange(grid.width) // right
        code = (block_number * 4 + outcome)[is_judged]
        tally.confusion += np.bincount(code, minlength=4 * number).reshape(-1, 2, 2)
        tally.areas += np.bincount(code, size[is_judged], 4 * number).reshape(-1, 2, 2)
        if probability is not None:
            labels = np.where(is_judged, in_reference[core], np.uint8(UNLABELLED))
            tally.curve.update(labels, probability[core])
        tally.boundary += boundary(in_map, in_reference, judged, core, tolerance, sides)
        paint(tally, outcome, is_judged, first)
    (map_total, map_owner), (total, owner) = mapped.joined(), reference.joined()
    tally.map_objects, tally.reference_objects = sums[0].joined(map_total, map_owner), sums[1].joined(total, owner)
    one, other, common = np.concatenate(pairs, axis=1)
    key = map_owner[one.astype(int) - 1].astype(np.int64) * total + owner[other.astype(int) - 1]
    key, index = np.unique(key, return_inverse=True)
    tally.pairs = key // max(total, 1), key % max(total, 1), np.bincount(index, common, len(key))
    return tally


def empty_tally(area, grid, block):
    """Return an empty Tally, and the height and width of a pixel in metres; see `count` for the arguments."""
    sides = tuple(float(np.median(plane)) for plane in reversed(grid.pixel_size))
    down, right = (max(1, round(block / side)) for side in sides)
    across = -(-grid.width // right)
    counts = -(-grid.height // down) * across, 2, 2
    top, bottom, left, last = area.bounds() if area else (0, grid.height, 0, grid.width)
    step = max(1, -(-max(bottom - top, last - left) // LONGEST))
    tally = Tally(
        blocks=(down, right, across),
        confusion=np.zeros(counts, np.int64),
        areas=np.zeros(counts),
        mapped=np.zeros(2),
        known=np.zeros(3, np.int64),
        boundary=np.zeros((2, 2), np.int64),
        picture=np.zeros((-(-(bottom - top) // step), -(-(last - left) // step)), np.uint8),
        corner=(top, left),
        step=step,
    )
    return tally, sides


def pixel_areas(grid, top, bottom):
    """Return the area on the ground in m2 of the pixels of some rows, H x W."""
    rows, columns = np.arange(top, bottom), np.arange(grid.width)
    across, down = (interpolate(plane, grid.shape, rows, columns) for plane in grid.pixel_size)
    return across * down


def overlaps(numbers, others, judged, area):
    """Return the pairs of numbers that overlap on judged pixels, and the area of the overlap in m2: 3 x pairs."""
    both = (numbers > 0) & (others > 0) & judged
    key, index = np.unique(numbers[both].astype(np.int64) << 32 | others[both], return_inverse=True)
    return np.stack([key >> 32, key & 0xFFFFFFFF, np.bincount(index, area[both], len(key))])


def outline(inside, judged):
    """Return the pixels inside that have a judged pixel outside at a side: the end of judged ground is no boundary."""
    outside = judged & ~inside
    at_outside = np.zeros(inside.shape, bool)
    at_outside[1:] |= outside[:-1]
    at_outside[:-1] |= outside[1:]
    at_outside[:, 1:] |= outside[:, :-1]
    at_outside[:, :-1] |= outside[:, 1:]
    return inside & judged & at_outside


def boundary(in_map, in_reference, judged, core, tolerance, sides):
    """Count the pixels of two boundaries, and those within `tolerance` m of the other: [map, reference][all, near].

    Args:
        in_map, in_reference, judged: H x W bool. core: slice of the rows that are counted; the others are their margin.
        sides: height and width of a pixel in metres.
    """
    points = [np.argwhere(outline(inside, judged)) for inside in (in_map, in_reference)]
    counts = np.zeros((2, 2), np.int64)
    for i, (own, other) in enumerate((points, points[::-1])):
        own = own[(own[:, 0] >= core.start) & (own[:, 0] < core.stop)]
        counts[i, 0] = len(own)
        if len(own) and len(other):
            tree, limit = cKDTree(other * sides), tolerance * (1 + 1e-6) + 1e-6  # a distance of the tolerance is near
            counts[i, 1] = np.isfinite(tree.query(own * sides, distance_upper_bound=limit)[0]).sum()
    return counts


def paint(tally, outcome, judged, first):
    """Paint a strip, whose first row is `first`, into the reduced picture of a Tally."""
    code = np.where(judged, np.array([JUDGED, MISSED, FALSE, DETECTED], np.uint8)[outcome], UNSEEN)
    (top, left), step, (height, width) = tally.corner, tally.step, tally.picture.shape
    rows = np.arange(max(first, top), min(first + len(code), top + height * step))
    if not len(rows):
        return
    code = code[rows - first, left : left + width * step]
    code = np.maximum.reduceat(code, np.arange(0, code.shape[1], step), axis=1)
    targets, starts = np.unique((rows - top) // step, return_index=True)
    tally.picture[targets] = np.maximum(tally.picture[targets], np.maximum.reduceat(code, starts, axis=0))
