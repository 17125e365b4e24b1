"""A map and a reference counted against each other, strip by strip: pixels, objects, boundaries and a picture."""

from dataclasses import dataclass, field

import numpy as np
from scipy.spatial import cKDTree

from mask_values import UNLABELLED
from metrics import ThresholdCurve
from scenes.comparing.layers import ROWS
from scenes.geodesy import interpolate
from script import progress

LONGEST = 1200  # pixels to which the longer side of the picture is reduced
UNSEEN, JUDGED, FALSE, MISSED, FOUND = range(5)  # codes of the picture; where it is reduced, the highest counts
# Sums over the pixels of an object; known: on ground that its own file judged, edge: at the edge of the grid.
COLUMNS = ("pixels", "known_pixels", "judged_pixels", "edge_pixels", "area", "judged_area", "row", "column")


@dataclass
class Tally:
    """What is known of a map and a reference when all strips are counted.

    Attributes:
        blocks: (rows, columns) of pixels in a block, and blocks side by side.
        confusion: blocks x 2 x 2, judged pixels by [not in the map, in it] and [not in the reference, in it].
        areas: the same in m2.
        mapped: (m2 without landslide, m2 of landslide) of the whole map, judged or not.
        known: pixels [of the map, of them in the area, judged].
        map_objects, reference_objects: {column: an array over objects}; areas in m2, row and column of the centroid.
        pairs: (object of the map, object of the reference, m2 that both cover) of all that overlap, three arrays.
        boundary: pixels of the boundary of [map, reference] [in all, within the tolerance of the other].
        curve: ThresholdCurve of a map of probabilities.
        picture: of what was found, missed and falsely mapped; corner: its first row and column; step: pixels of a side.
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
        """Add a strip: numbers (0: none), known, judged and edge (bool), area of pixels, all H x W; its first row."""
        row, column = np.nonzero(numbers)
        own, at = np.unique(numbers[row, column], return_inverse=True)
        size, seen = area[row, column], judged[row, column]
        values = [np.ones(len(at)), known[row, column], seen, edge[row, column]]
        values += [size, size * seen, size * (row + top), size * column]
        self.parts.append(np.column_stack([own, *(np.bincount(at, each, len(own)) for each in values)]))

    def joined(self, count, objects):
        """Return {column: sum for each object}, with the centroid for row and column. objects: of each number."""
        parts = np.concatenate(self.parts)
        owner = objects[parts[:, 0].astype(int) - 1]
        sums = {name: np.bincount(owner, parts[:, i], count) for i, name in enumerate(COLUMNS, 1)}
        for name in ("row", "column"):
            sums[name] = sums[name] / np.where(sums["area"], sums["area"], 1)
        return sums


def count(mapped, reference, area, grid, tolerance, block):
    """Count a map against a reference.

    Args:
        mapped, reference: layers on `grid` (layers.py). area: PolygonLayer in which the reference is complete, or None.
        grid: PixelGrid. tolerance: metres between boundaries that agree. block: metres of the side of a block.

    Returns:
        Tally.
    """
    found, sides = empty_tally(area, grid, block)
    down, right, across = found.blocks
    number = len(found.confusion)
    margin = int(tolerance / sides[0]) + 2  # a row more tells what is boundary
    sums, pairs = (ObjectSums(), ObjectSums()), [np.zeros((3, 0))]
    for first in progress(range(0, grid.height, ROWS), "comparing", -(-grid.height // ROWS)):
        rows = first, min(first + ROWS, grid.height)
        around = max(first - margin, 0), min(rows[1] + margin, grid.height)
        core = slice(first - around[0], rows[1] - around[0])
        (here, known, probability), (there, told, _) = (layer.read(*around) for layer in (mapped, reference))
        within = area.read(*around)[0] > 0 if area else np.ones(known.shape, bool)
        judged = known & told & within
        size = pixel_areas(grid, *rows)
        numbers = mapped.number(here[core]), reference.number(there[core])
        edge = np.zeros(size.shape, bool)
        edge[:, [0, -1]] = True
        edge[np.isin(np.arange(*rows), (0, grid.height - 1))] = True
        for each, own, ground in zip(sums, numbers, (known, told), strict=True):
            each.add(own, ground[core], judged[core], size, edge, first)
        found.mapped += np.bincount((here[core][known[core]] > 0).astype(int), size[known[core]], 2)
        found.known += known[core].sum(), (known & within)[core].sum(), judged[core].sum()
        if not judged[core].any():
            continue
        pairs.append(overlaps(*numbers, judged[core], size))
        seen = judged[core]
        outcome = 2 * (here[core] > 0) + (there[core] > 0)
        place = (np.arange(*rows) // down)[:, None] * across + np.arange(grid.width) // right
        code = (place * 4 + outcome)[seen]
        found.confusion += np.bincount(code, minlength=4 * number).reshape(-1, 2, 2)
        found.areas += np.bincount(code, size[seen], 4 * number).reshape(-1, 2, 2)
        if probability is not None:
            found.curve.update(np.where(seen, there[core] > 0, np.uint8(UNLABELLED)), probability[core])
        found.boundary += boundary(here > 0, there > 0, judged, core, tolerance, sides)
        paint(found, outcome, seen, first)
    (map_total, map_owner), (total, owner) = mapped.joined(), reference.joined()
    found.map_objects, found.reference_objects = sums[0].joined(map_total, map_owner), sums[1].joined(total, owner)
    one, other, common = np.concatenate(pairs, axis=1)
    key = map_owner[one.astype(int) - 1].astype(np.int64) * total + owner[other.astype(int) - 1]
    key, at = np.unique(key, return_inverse=True)
    found.pairs = key // max(total, 1), key % max(total, 1), np.bincount(at, common, len(key))
    return found


def empty_tally(area, grid, block):
    """Return an empty Tally, and the height and width of a pixel in metres; see `count` for the arguments."""
    sides = tuple(float(np.median(plane)) for plane in reversed(grid.pixel_size))
    down, right = (max(1, round(block / side)) for side in sides)
    across = -(-grid.width // right)
    counts = -(-grid.height // down) * across, 2, 2
    top, bottom, left, last = area.bounds() if area else (0, grid.height, 0, grid.width)
    step = max(1, -(-max(bottom - top, last - left) // LONGEST))
    found = Tally(
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
    return found, sides


def pixel_areas(grid, top, bottom):
    """Return the area on the ground in m2 of the pixels of some rows, H x W."""
    places = np.arange(top, bottom), np.arange(grid.width)
    across, down = (interpolate(plane, grid.shape, *places) for plane in grid.pixel_size)
    return across * down


def overlaps(numbers, others, judged, area):
    """Return the pairs of numbers that share judged pixels, and the area that they share: 3 x pairs."""
    both = (numbers > 0) & (others > 0) & judged
    key, at = np.unique(numbers[both].astype(np.int64) << 32 | others[both], return_inverse=True)
    return np.stack([key >> 32, key & 0xFFFFFFFF, np.bincount(at, area[both], len(key))])


def outline(inside, judged):
    """Return the pixels inside with a judged pixel outside at one of their sides: where judgement ends is no edge."""
    outside = judged & ~inside
    beside = np.zeros(inside.shape, bool)
    beside[1:] |= outside[:-1]
    beside[:-1] |= outside[1:]
    beside[:, 1:] |= outside[:, :-1]
    beside[:, :-1] |= outside[:, 1:]
    return inside & judged & beside


def boundary(here, there, judged, core, tolerance, sides):
    """Count the pixels of two boundaries, and those within `tolerance` m of the other: [map, reference][all, near].

    here, there, judged: H x W bool, with rows around those of the slice `core`, which are counted. sides: of a pixel.
    """
    points = [np.argwhere(outline(inside, judged)) for inside in (here, there)]
    found = np.zeros((2, 2), np.int64)
    for i, (own, other) in enumerate((points, points[::-1])):
        own = own[(own[:, 0] >= core.start) & (own[:, 0] < core.stop)]
        found[i, 0] = len(own)
        if len(own) and len(other):
            tree, limit = cKDTree(other * sides), tolerance * (1 + 1e-6) + 1e-6  # at the tolerance is within it
            found[i, 1] = np.isfinite(tree.query(own * sides, distance_upper_bound=limit)[0]).sum()
    return found


def paint(found, outcome, judged, first):
    """Paint a strip into the reduced picture of a Tally."""
    code = np.where(judged, np.array([JUDGED, MISSED, FALSE, FOUND], np.uint8)[outcome], UNSEEN)
    (top, left), step, (height, width) = found.corner, found.step, found.picture.shape
    rows = np.arange(max(first, top), min(first + len(code), top + height * step))
    if not len(rows):
        return
    code = code[rows - first, left : left + width * step]
    code = np.maximum.reduceat(code, np.arange(0, code.shape[1], step), axis=1)
    targets, starts = np.unique((rows - top) // step, return_index=True)
    found.picture[targets] = np.maximum(found.picture[targets], np.maximum.reduceat(code, starts, axis=0))
