"""Invented but physically plausible square ground of any size: noise, and terrain eroded by rivers."""

import functools

import numpy as np
import scipy  # which loads its parts on first use

from patches.slope import horn_gradient

SIZE = 128  # pixels a side of a patch
PIXEL = 10.0  # metres
COARSE = 192  # cells a side, at most, of land that is eroded at once
NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


# ------------------------------------------------------------ fields


@functools.cache
def _wavelengths(size):
    """Return the wavelength in pixels of each coefficient of a real FFT of a square; 0 for the mean."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    return 1 / frequency


def fractal(rng, size, exponent, longest=150.0):
    """Make size x size noise of mean 0 and deviation 1 by spectral synthesis, amplitude ~ wavelength**exponent.

    Wavelengths beyond `longest` pixels are omitted. The noise is cut from a larger square, so it does not wrap around.
    """
    square = (size * 3 // 2,) * 2
    wavelengths = _wavelengths(square[0])
    amplitude = wavelengths**exponent * (longest >= wavelengths)
    spectrum = np.fft.rfft2(rng.standard_normal(square)) * amplitude
    noise = np.fft.irfft2(spectrum, s=square)[:size, :size]
    return (noise - noise.mean()) / noise.std()


def blur(cube, sigma):
    """Blur H x W or H x W x C with a Gaussian and mirrored edges; sigma in pixels, one or one per channel."""
    pad = 16
    grown = np.pad(cube, [(pad, pad), (pad, pad)] + [(0, 0)] * (cube.ndim - 2), mode="reflect")
    fy, fx = np.fft.fftfreq(grown.shape[0])[:, None], np.fft.rfftfreq(grown.shape[1])[None]
    gain = np.exp(-2 * (np.pi * np.multiply.outer(np.hypot(fy, fx), sigma)) ** 2)
    smooth = np.fft.irfft2(np.fft.rfft2(grown, axes=(0, 1)) * gain, s=grown.shape[:2], axes=(0, 1))
    return smooth[pad:-pad, pad:-pad]


def step(field, at, width):
    """Map a field to a logistic step from 0 to 1, centred at the value `at`."""
    return 1 / (1 + np.exp(-np.clip((field - at) / width, -30, 30)))


def distance_to_zero(field):
    """Estimate, to first order, the distance in pixels from each pixel to the nearest zero line of a smooth field."""
    down, right = np.gradient(field)
    return np.abs(field) / np.maximum(np.hypot(down, right), 1e-3 * field.std())


def doubled(field):
    """Give a field pixels of half the size, smoothly."""
    return blur(field.repeat(2, 0).repeat(2, 1), 1.1)


def gradient(elevation):
    """Return the rise per metre (down the rows, along the columns) by Horn's method; elevation in metres, H x W."""
    east, north = horn_gradient(np.pad(elevation, 1, mode="reflect", reflect_type="odd"), PIXEL, PIXEL)
    return -north, east


def holds(rng, patch_share, size):
    """Draw whether ground of size x size pixels has a feature that `patch_share` of patches have."""
    return rng.random() < 1 - (1 - patch_share) ** (size / SIZE) ** 2


# ------------------------------------------------------------ terrain


def receivers(z):
    """Return the flat index of the neighbour down the steepest descent from each cell; a pit has its own index."""
    size = len(z)
    padded = np.pad(z, 1, constant_values=np.inf)
    best, target = np.zeros(z.shape), np.arange(z.size).reshape(z.shape)
    own = target
    for r, c in NEIGHBOURS:
        drop = (z - padded[1 + r : size + 1 + r, 1 + c : size + 1 + c]) / np.hypot(r, c)
        better = drop > best
        best = np.where(better, drop, best)
        target = np.where(better, own + r * size + c, target)
    return target.ravel()


def drained_area(target):
    """Count the cells upstream of each cell, itself included, from the receivers, by pointer doubling."""
    count = target.size
    hop = np.append(np.where(target == np.arange(count), count, target), count)
    area = np.append(np.ones(count), 0.0)
    while (hop < count).any():  # after k rounds every path of up to 2**k cells is counted
        area += np.bincount(hop, weights=area, minlength=count + 1)
        area[count] = 0
        hop = hop[hop]
    return area[:count]


def erode(z, outlet, rounds, strength, uplift):
    """Let rivers cut into a square surface; return it with the receivers and drained areas of its cells.

    Stream-power incision, dz/dt = uplift - strength * sqrt(area) * slope, is solved implicitly (Braun and Willett 2013,
    doi 10.1016/j.geomorph.2012.10.008). A blur then models hillside creep. `outlet` cells keep their height.
    """
    for _ in range(rounds):
        target = receivers(z)
        area = drained_area(target)
        cut = strength * np.sqrt(area)
        cut[(target == np.arange(z.size)) | outlet.ravel()] = 0
        # Each cell is z = level + weight * z[receiver]; composing the maps solves whole rivers in a few steps.
        level, weight = (z.ravel() + uplift * ~outlet.ravel()) / (1 + cut), cut / (1 + cut)
        hop = target
        while weight.any():
            level, weight, hop = level + weight * level[hop] * (weight > 0), weight * weight[hop], hop[hop]
        z = np.where(outlet, z, level.reshape(z.shape))
        # Streams carry away soil that creeps into them; filled channels would become pits.
        z += (blur(z, 0.7) - z) * ~outlet / (1 + area.reshape(z.shape) / 30)
    target = receivers(z)
    return z, target, drained_area(target)


def filled(z, outlet):
    """Fill the hollows of a square surface, so that water flows from each cell to the outlet.

    Of all ways out of a hollow, the one over the lowest pass is a path of the minimum spanning tree of the cells, in
    which the higher one of two neighbours gives the weight (the idea of Cordonnier et al. 2019, doi
    10.5194/esurf-7-549-2019). Each cell on it is raised a little above the cell that follows.
    """
    size, sea = len(z), z.size
    cells = np.arange(sea).reshape(z.shape)
    around = np.pad(cells, 1, constant_values=-1)
    pairs = [np.stack([cells, around[1 + r : size + 1 + r, 1 + c : size + 1 + c]]) for r, c in NEIGHBOURS[:4]]
    pairs = np.hstack([pair.reshape(2, -1) for pair in pairs])
    shore = np.flatnonzero(outlet)
    one, other = np.hstack([pairs[:, pairs[1] >= 0], [shore, np.full(len(shore), sea)]])
    level = np.append(z.ravel() - z.min() + 1, 0)  # above 0: an edge without a weight would be none
    graph = scipy.sparse.coo_array((np.maximum(level[one], level[other]), (one, other)), (sea + 1, sea + 1))
    tree = scipy.sparse.csgraph.minimum_spanning_tree(graph)
    _, hop = scipy.sparse.csgraph.breadth_first_order(tree, sea, directed=False)
    hop[sea] = sea
    rise = np.where(np.arange(sea + 1) < sea, 1e-4, 0)  # from each cell to the one before it, at least
    while (hop < sea).any():
        level = np.maximum(level, level[hop] + rise)
        rise, hop = rise + rise[hop], hop[hop]
    return level[:sea].reshape(z.shape) + z.min() - 1


def landform(region, rng, cells):
    """Make a square of eroded land of `cells` or more cells of 20 m a side: relative height, receivers, drained areas.

    Large land is eroded with coarse cells first, which gives it long rivers, and then with cells of half the size.
    Stream-power incision does not depend on the size of the cells.
    """
    doublings = 0
    while cells > COARSE:
        cells, doublings = -(-cells // 2), doublings + 1
    rows, cols = np.mgrid[:cells, :cells] / cells
    outlet = rows == rows.max()
    rough = fractal(rng, cells, 1.2, 40.0)
    if region.landform == "cones" and rng.random() < 0.5:
        outlet = (np.minimum(rows, cols) == 0) | (np.maximum(rows, cols) == rows.max())
        away = np.hypot(rows - rng.uniform(0.1, 0.9), cols - rng.uniform(0.1, 0.9))
        start, rounds, uplift = 1.5 * np.exp(-1.8 * away) + 0.02 * rough, 7, 0.0
    elif region.landform == "mesas":
        start, rounds, uplift = 1.0 - 0.3 * rows + 0.012 * rough - outlet, 9, 0.0
    else:
        start, rounds, uplift = 0.5 - 0.5 * rows + 0.02 * rough, 14, 0.06
        if rng.random() < 0.5:
            outlet, start = outlet | (cols == 0), np.minimum(start, 0.5 * cols + 0.02 * rough)
    turn = rng.integers(4)
    relief, outlet = np.rot90(start, turn), np.rot90(outlet, turn)
    relief, target, area = erode(relief, outlet, rounds, 0.35, uplift)
    for _ in range(doublings):  # uplift keeps streams of little fall from being dammed by creep
        relief, outlet = doubled(relief), outlet.repeat(2, 0).repeat(2, 1)
        relief += 0.002 * fractal(rng, len(relief), 1.2, 10.0) * ~outlet
        relief, target, area = erode(filled(relief, outlet), outlet, 6, 0.35, 0.06)
    if region.landform == "mesas":  # a hard cap rock keeps the tops flat and their rims sharp
        top = np.quantile(relief, rng.uniform(0.35, 0.7))
        relief = np.where(relief > top, top + 0.15 * (relief - top), relief)
    return relief, target, area


def channels(target, area, cells, window, breadth):
    """Locate the streams that drain 32 hectares or more in a window of the eroded land.

    Args:
        target, area: receivers and drained areas of cells x cells of 20 m.
        window: (first row, first column, in cells; pixels of 10 m a side). breadth: factor of the streams' width.

    Returns:
        For each pixel of the window, H x W: the distance in pixels to the nearest stream less its half width, and the
        flat index of the nearest point of that stream. None if the window has no stream.
    """
    top, left, size = window
    spots = np.stack(np.divmod(np.arange(target.size), cells), -1).astype(float)
    for _ in range(3):  # rounds the corners of the eight directions; points move slightly downstream
        spots = 0.5 * (spots + spots[target])
    wet = np.flatnonzero(area >= 800)
    points = np.concatenate([spots[wet], 0.5 * (spots[wet] + spots[target[wet]])])
    # beds are 100 m wide at most, also on large land: those of patches are not wider
    half = np.tile(np.minimum(breadth * np.sqrt((area[wet] - 800) / 1500), 5), 2)
    points = 2 * (points - (top, left)) + 0.5
    inside = ((points > -4) & (points < size + 4)).all(1)
    points, half = points[inside], half[inside]
    if not len(points):
        return None
    row, col = np.clip(points.round().astype(int), 0, size - 1).T
    away, nearest = nearest_disc(points, half, size)
    return away, (row * size + col)[nearest]


def nearest_disc(centres, radii, size):
    """Return the distance from each pixel of a square to the nearest disc, less than 0 inside, and the disc's index.

    Args:
        centres: N x 2 rows and columns. radii: N, in pixels. size: pixels a side.
    """
    away, nearest = np.empty((size, size)), np.empty((size, size), int)
    block = 16
    for top in range(0, size, block):
        for left in range(0, size, block):
            from_middle = np.hypot(*(centres - (top + block / 2, left + block / 2)).T) - radii
            # From the middle to a pixel, distances change by half a diagonal, at most: other discs cannot be nearest.
            near = np.flatnonzero(from_middle <= from_middle.min() + np.sqrt(2) * block)
            tile = slice(top, min(top + block, size)), slice(left, min(left + block, size))
            rows, cols = np.ogrid[tile]
            each = np.hypot(rows[..., None] - centres[near, 0], cols[..., None] - centres[near, 1]) - radii[near]
            away[tile], nearest[tile] = each.min(-1), near[each.argmin(-1)]
    return away, nearest


def terrain(region, rng, size):
    """Make the elevation in metres and the distance in pixels to the river bank (negative inside), H x W each."""
    cells = -(-size // 2)
    relief, target, area = landform(region, rng, cells + 64)  # with a margin, from which rivers come
    top, left = rng.integers(10, 54, 2)
    part = relief[top : top + cells, left : left + cells]
    elevation = doubled(part)[:size, :size]
    elevation += 0.002 * part.std() * fractal(rng, size, 1.3, 30.0)
    steep = np.hypot(*gradient(elevation))
    elevation *= np.tan(np.radians(rng.uniform(*region.slope_deg))) / max(np.quantile(steep, 0.7), 1e-6)
    river = np.full((size, size), 1e3)
    streams = channels(target, area, len(relief), (top, left, size), rng.uniform(0.3, 1.5))
    if streams:
        river, spot = streams
        river = blur(np.minimum(river, 60), 0.8)
        broad = holds(rng, region.plain, size)
        floor, bank = (rng.uniform(6, 30), 3.0) if broad else (rng.uniform(0, 3), 1.5)
        bottom = blur(elevation.ravel()[spot], 2.0)
        elevation = bottom + (elevation - bottom) * step(river, floor, bank)
    elevation += blur(rng.normal(0, 2.5, (size, size)), 1.0)
    elevation += rng.uniform(*region.base_m) - np.quantile(elevation, 0.02)
    if region.landform == "cones" and rng.random() < 0.2:  # a coast
        elevation -= np.quantile(elevation, rng.uniform(0.1, 0.35))
    return np.maximum(elevation, 0), river
