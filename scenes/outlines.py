"""Outlines as a person would draw them, made of outlines that follow the sides of pixels.

The middles of the sides become points and a running mean smooths them. It is applied twice, the second time to what the
first one took away, which keeps bays and corners that are wider than the mean (twicing: Tukey 1977). Then points on
straight lines are left out (Douglas and Peucker 1973), and the area that rounding has cost is won back by a shift.
"""

import numpy as np
import shapely

AREA_LOST = 0.02  # fraction of its area that a polygon may win or lose
# Parts of the tolerance: how far the mean may move a point, a line may pass by a point, and an outline may be shifted.
MEAN_PART, LINE_PART, SHIFT_PART = 0.55, 0.2, 0.25
LEAST_TOLERANCE = 0.5  # pixels; below it, outlines stay along the sides of pixels
HALVINGS = 5  # of the tolerance, for a polygon that changes too much
TOGETHER = 5000  # polygons whose sides are in memory together
POLYGON = 3  # type of geometry of shapely


def smoothed(table, tolerance, grid):
    """Return smooth outlines of polygons: valid, and none over another.

    No point of an outline lies further than `tolerance` from the former outline, and no area changes by more than
    AREA_LOST. For a polygon that changes more, crosses itself or meets another one, the tolerance is halved, up to
    HALVINGS times. Then its outline stays along the sides of pixels.

    Args:
        table: of polygons.landslides. tolerance: metres (pixels, without a CRS). grid: PixelGrid of the map.

    Returns:
        array of shapely Polygons in map coordinates.
    """
    size = np.array([float(np.median(plane)) for plane in grid.pixel_size]) if grid.crs else np.ones(2)
    in_pixels = grid.in_pixels(table.geometry.to_numpy())
    stairs = shapely.transform(in_pixels, lambda points: np.rint(points) * size)  # in metres, rows downwards
    areas, shapes, pending, halvings = shapely.area(stairs), stairs.copy(), np.arange(len(stairs)), 0
    while len(pending):
        if halvings > HALVINGS or tolerance < LEAST_TOLERANCE * size.min():
            shapes[pending] = stairs[pending]
        else:
            for first in range(0, len(pending), TOGETHER):
                part = pending[first : first + TOGETHER]
                shapes[part] = drawn(stairs[part], tolerance, size)
        changed = np.abs(shapely.area(shapes[pending]) / areas[pending] - 1) > AREA_LOST
        whole = shapely.is_valid(shapes[pending]) & (shapely.get_type_id(shapes[pending]) == POLYGON)
        pending = np.union1d(pending[changed | ~whole], overlapping(shapes))
        tolerance, halvings = tolerance / 2, halvings + 1
    return shapely.transform(shapes, lambda points: np.column_stack(grid.transform @ tuple((points / size).T)))


def overlapping(shapes):
    """Return the indices of polygons that have ground in common with another one."""
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    pairs = first < second
    first, second = first[pairs], second[pairs]
    apart = shapely.touches(shapes[first], shapes[second])
    return np.union1d(first[~apart], second[~apart])


def drawn(stairs, tolerance, size):
    """Smooth the outlines of polygons along the sides of pixels.

    Args:
        stairs: array of shapely Polygons. tolerance: how far points may move. size: (width, height) of a pixel.
    """
    _, corners, (rings, parts) = shapely.to_ragged_array(stairs)
    points, length = middles(corners, rings, size)
    reach = np.minimum(max(1, round(tolerance / float(size.mean()))), np.maximum(length // 6, 1))

    def mean(values):
        return running_mean(running_mean(values, length, reach), length, reach)

    smooth = mean(points)
    move = smooth + mean(points - smooth) - points
    far = np.linalg.norm(move, axis=1, keepdims=True)
    points += move * np.minimum(1, MEAN_PART * tolerance / np.maximum(far, 1e-12))
    first = np.cumsum(length) - length
    closed = np.insert(np.arange(len(points)), first + length, first)
    offsets = np.concatenate([[0], np.cumsum(length + 1)])
    shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, points[closed], (offsets, parts))
    shapes = shapely.simplify(shapes, LINE_PART * tolerance)
    lost = (shapely.area(stairs) - shapely.area(shapes)) / np.maximum(shapely.length(shapes), 1e-12)
    return shapely.buffer(shapes, np.clip(lost, -SHIFT_PART * tolerance, SHIFT_PART * tolerance), join_style="mitre")


def middles(corners, rings, size):
    """Return the middles of all sides of pixels along rings, and their number in each ring.

    Args:
        corners: n x 2, the corners of all rings, of which the last one of a ring is its first. rings: offsets of the
            rings among them. size: (width, height) of a pixel.
    """
    step = np.diff(corners, axis=0)
    sides = np.rint(np.abs(step / size).sum(1)).astype(int)
    sides[rings[1:-1] - 1] = 0  # between two rings
    start = np.repeat(np.arange(len(sides)), sides)
    place = np.arange(len(start)) - np.repeat(np.cumsum(sides) - sides, sides)
    points = corners[start] + step[start] * ((place + 0.5) / sides[start])[:, None]
    ring = np.repeat(np.arange(len(rings) - 1), np.diff(rings))
    return points, np.bincount(ring[start], minlength=len(rings) - 1)


def running_mean(values, length, reach):
    """Average values along rings over `reach` neighbours on both sides.

    Args:
        values: n x 2, those of all rings. length: number of values of each ring. reach: of each ring, less than half of
            its length.
    """
    ring = np.repeat(np.arange(len(length)), length)
    first, count, half = (np.cumsum(length) - length)[ring], length[ring], reach[ring]
    place = np.arange(len(values)) - first
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(values, axis=0)])

    def before(place):
        """Return the sum of the values of the ring before a place, which may lie a round further or back."""
        rounds = (place // count)[:, None] * (sums[first + count] - sums[first])
        return sums[first + place % count] - sums[first] + rounds

    return (before(place + half + 1) - before(place - half)) / (2 * half + 1)[:, None]
