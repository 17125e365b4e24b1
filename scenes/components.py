"""Connected areas of a mask, summed strip by strip, and their outlines, in time proportional to the outlines' length.

Pixels that touch at a side belong to one area. An outline is a chain of corners: a horizontal side joins each corner to
one in its row, and a vertical side to one in its column, so the rings close by following the two in turn. No outline is
cut into parts and merged, however large it is.
"""

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array, csgraph, csr_array

# Codes of the four pixels around a grid point: 1 north-west, 2 north-east, 4 south-west, 8 south-east. A corner has one
# or three of them. With the area on the right-hand side, the side that leaves it is horizontal for HORIZONTAL codes. A
# point with two opposite pixels (SADDLE) is two corners.
CORNER = np.isin(np.arange(16), (1, 2, 4, 8, 7, 11, 13, 14))
HORIZONTAL = np.isin(np.arange(16), (1, 8, 11, 13))
SADDLE = np.isin(np.arange(16), (6, 9))


class Numbering:
    """Numbers of the connected areas of a mask that is added strip by strip, from the top.

    An area within one strip gets a number. Numbers that touch across strips belong to one area: `joined` joins them
    after all strips.
    """

    def __init__(self, width, corners=False):
        """width: of the mask. corners: whether pixels that touch at a corner belong to one area, too."""
        self.count = 0  # numbers used so far
        self.structure = np.ones((3, 3), bool) if corners else None
        self.shifts = (-1, 0, 1) if corners else (0,)  # columns from a pixel to those below that belong to its area
        self.above = np.zeros(width, np.int32)  # numbers in the last row added
        self.touching = [np.zeros((2, 0), np.int32)]

    def add(self, inside):
        """Add a strip (rows x width, bool); returns the number of each pixel, from 1, and 0 outside of areas."""
        numbers, count = ndimage.label(inside, self.structure)
        numbers[inside] += self.count
        for shift in self.shifts:
            width = len(self.above)
            above = self.above[max(-shift, 0) : width - max(shift, 0)]
            below = numbers[0][max(shift, 0) : width + min(shift, 0)]
            both = (below > 0) & (above > 0)
            self.touching.append(np.unique(np.stack([above[both], below[both]]), axis=1))
        self.above, self.count = numbers[-1], self.count + count
        return numbers

    def joined(self):
        """Return (number of areas, index of the area of each number: that of number n at n - 1)."""
        links = np.concatenate(self.touching, axis=1) - 1
        graph = coo_array((np.ones(links.shape[1], bool), links), shape=(self.count, self.count))
        return csgraph.connected_components(graph, directed=False) if self.count else (0, np.zeros(0, int))


class Components:
    """Connected areas of value 1 in a mask that is added strip by strip, from the top: their sums and outlines."""

    def __init__(self, shape):
        """shape: (height, width) of the mask."""
        self.shape = shape
        self.numbering = Numbering(shape[1])
        self.row = 0
        self.sums, self.highest, self.corners, self.saddles = {}, {}, [], []

    @property
    def count(self):
        """Numbers used so far."""
        return self.numbering.count

    def add(self, inside, sums, highest):
        """Add a strip.

        Args:
            inside: rows x width, bool.
            sums, highest: {name: rows x width}: values that are summed over each area, or whose highest value is taken.
        """
        before, above = self.count, self.numbering.above
        numbers = self.numbering.add(inside)
        members, count = numbers[inside] - before - 1, self.count - before
        for name, values in sums.items():
            self.sums.setdefault(name, []).append(np.bincount(members, values[inside], count))
        for name, values in highest.items():
            top = np.full(count, -np.inf)
            np.maximum.at(top, members, values[inside])
            self.highest.setdefault(name, []).append(top)
        self._add_corners(np.vstack([above, numbers]))
        self.row += len(inside)
        if self.row == self.shape[0]:
            self._add_corners(np.vstack([numbers[-1], np.zeros_like(numbers[-1])]))

    def _add_corners(self, numbers):
        """Add the corners between the rows of `numbers`, of which the first is the last row of the strip before."""
        numbers = np.pad(numbers, ((0, 0), (1, 1)))
        around = numbers[:-1, :-1], numbers[:-1, 1:], numbers[1:, :-1], numbers[1:, 1:]
        code = np.zeros(around[0].shape, np.uint8)
        for bit, part in enumerate(around):
            code |= (part > 0).astype(np.uint8) << bit
        for has_kind, points in ((CORNER, self.corners), (SADDLE, self.saddles)):
            down, right = np.nonzero(has_kind[code])
            owners = np.stack([part[down, right] for part in around])
            points.append((right.astype(np.int32), (down + self.row).astype(np.int32), code[down, right], owners))
        self.corners[-1] = (*self.corners[-1][:3], self.corners[-1][3].max(0))  # all of a corner are one area

    def joined(self):
        """Join the numbers of all strips; return (sums, highest): {name: one value for each area}."""
        areas, self.area = self.numbering.joined()
        sums = {name: np.bincount(self.area, np.concatenate(parts), areas) for name, parts in self.sums.items()}
        highest = {name: np.full(areas, -np.inf) for name in self.highest}
        for name, parts in self.highest.items():
            np.maximum.at(highest[name], self.area, np.concatenate(parts))
        return sums, highest

    def rings(self, kept):
        """Trace the outlines of some areas, once, after `joined`.

        Args:
            kept: bool, one for each area.

        Returns:
            (corners n x 2 as column and row, ring offsets, polygon offsets, area of each polygon), as
            shapely.from_ragged_array takes them: the first and the last corner of a ring are the same, and the first
            ring of a polygon is its outside. Polygons are in the order of their first row, then column.
        """
        column, row, horizontal, first_across, first_down, area = self._all_corners(kept)
        count = len(column)
        if not count:
            return np.zeros((0, 2), np.int32), np.zeros(1, int), np.zeros(1, int), np.zeros(0, int)
        width, height = self.shape[1] + 1, self.shape[0] + 1
        order = np.argsort((row.astype(np.int64) * width + column) * 2 + first_across, kind="stable")
        column, row, horizontal, first_down, area = (v[order] for v in (column, row, horizontal, first_down, area))
        partner = np.arange(count, dtype=np.int32)
        following = partner ^ 1  # corners of a row pair up from left to right
        order = np.argsort((column.astype(np.int64) * height + row) * 2 + first_down, kind="stable")
        below = np.empty(count, np.int32)
        below[order] = order[partner ^ 1]  # and those of a column from top to bottom
        following = np.where(horizontal, following, below)
        del below, order, first_down, horizontal
        return _follow(following, column, row, area)

    def _all_corners(self, kept):
        """Return the corners of the kept areas: (column, row, horizontal, order in its row, in its column, area).

        A saddle is two corners. The one with a side to the west comes first in its row, and the one with a side to the
        north comes first in its column.
        """
        column, row, code, number = (np.concatenate(parts) for parts in zip(*self.corners, strict=True))
        self.corners = []  # they take most of the memory
        area = self.area[number - 1] if self.count else number
        of_kept = kept[area] if self.count else np.zeros(0, bool)
        zeros = np.zeros(int(of_kept.sum()), np.int8)
        plain = (column[of_kept], row[of_kept], HORIZONTAL[code[of_kept]], zeros, zeros, area[of_kept])
        column, row, code = (np.concatenate(parts) for parts in list(zip(*self.saddles, strict=True))[:3])
        around = np.concatenate([part[3] for part in self.saddles], axis=1)
        level = code == 9  # north-west and south-east
        west, east = np.where(level, around[0], around[2]), np.where(level, around[3], around[1])
        west, east = (self.area[each - 1] if self.count else each for each in (west, east))
        # an area that touches itself at a point: the ring parts at it, because a valid ring does not touch itself
        parted = west == east
        west_first_down = np.where(level == parted, 1, 0)
        pairs = []
        for first, area in ((0, west), (1, east)):
            of_kept = kept[area] if self.count else np.zeros(0, bool)
            first_across = np.full(of_kept.sum(), first, np.int8)
            first_down = (west_first_down if first == 0 else 1 - west_first_down)[of_kept]
            pairs.append((column[of_kept], row[of_kept], level[of_kept], first_across, first_down, area[of_kept]))
        return tuple(np.concatenate(parts) for parts in zip(plain, *pairs, strict=True))


def _follow(following, column, row, area):
    """Put corners in the order of their rings; see `Components.rings`. following: the next corner of each."""
    count = len(following)

    def graph(next_corner):
        ones, starts = np.ones(count, np.int8), np.arange(count + 1, dtype=np.int32)
        return csr_array((ones, next_corner, starts), shape=(count, count))

    rings, ring = csgraph.connected_components(graph(following), connection="weak")
    start = np.empty(rings, np.int64)
    start[ring[::-1]] = np.arange(count)[::-1]  # the first corner of each ring: the last assignment stays
    outside = np.lexsort((start, area[start]))  # rings by area; the first of an area is its outside
    start = start[outside]
    length = np.bincount(ring, minlength=rings)[outside]
    before = np.empty(count, np.int32)
    before[following] = np.arange(count, dtype=np.int32)
    chain = following.copy()  # all rings as one chain, which depth_first_order follows from end to end
    chain[before[start[:-1]]] = start[1:]
    chain[before[start[-1]]] = before[start[-1]]
    order = csgraph.depth_first_order(graph(chain), start[0], return_predecessors=False)
    offsets = np.concatenate([[0], np.cumsum(length)])
    closed = np.insert(order, offsets[1:], start)
    new = np.flatnonzero(np.diff(area[start], prepend=-1))  # first ring of each polygon
    polygon_offsets = np.append(new, rings)
    return (
        np.column_stack([column[closed], row[closed]]),
        offsets + np.arange(rings + 1),
        polygon_offsets,
        area[start[new]],
    )
