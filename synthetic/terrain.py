"""Invented but physically plausible ground for synthetic patches: noise, and terrain eroded by rivers."""

import numpy as np

SIZE = 128  # pixels a side
PIXEL = 10.0  # metres
ROWS, COLS = np.mgrid[:SIZE, :SIZE].astype(float)
NEIGHBOURS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


# ------------------------------------------------------------ fields


def _wavelengths(size):
    """Return the wavelength in pixels of each coefficient of a real FFT; 0 for the mean."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = np.inf
    return 1 / frequency


WAVELENGTHS = _wavelengths(192)


def fractal(rng, exponent, longest=150.0):
    """Make 128 x 128 noise of mean 0 and deviation 1 by spectral synthesis, amplitude ~ wavelength**exponent.

    Wavelengths beyond `longest` pixels are omitted. The noise is cut from a larger square, so it does not wrap around.
    """
    amplitude = WAVELENGTHS**exponent * (longest >= WAVELENGTHS)
    spectrum = np.fft.rfft2(rng.standard_normal((192, 192))) * amplitude
    noise = np.fft.irfft2(spectrum, s=(192, 192))[:SIZE, :SIZE]
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


def gradient(elevation):
    """Return the rise per metre (down the rows, along the columns) by Horn's 3 x 3 method; elevation in metres."""
    z = np.pad(elevation, 1, mode="reflect", reflect_type="odd")
    across = z[:-2] + 2 * z[1:-1] + z[2:]
    along = z[:, :-2] + 2 * z[:, 1:-1] + z[:, 2:]
    return (along[2:] - along[:-2]) / (8 * PIXEL), (across[:, 2:] - across[:, :-2]) / (8 * PIXEL)


# ------------------------------------------------------------ terrain


def receivers(z):
    """Return the flat index of the neighbour down the steepest descent from each cell; a pit has its own index."""
    size = len(z)
    padded = np.pad(z, 1, constant_values=np.inf)
    best, target = np.zeros(z.shape), np.arange(z.size).reshape(z.shape)
    here = target
    for r, c in NEIGHBOURS:
        drop = (z - padded[1 + r : size + 1 + r, 1 + c : size + 1 + c]) / np.hypot(r, c)
        better = drop > best
        best = np.where(better, drop, best)
        target = np.where(better, here + r * size + c, target)
    return target.ravel()


def drained_area(target):
    """Count the cells upstream of each cell, itself included, from the receivers, by pointer doubling."""
    count = target.size
    hop = np.append(np.where(target == np.arange(count), count, target), count)
    area = np.append(np.ones(count), 0.0)
    for _ in range(9):  # after k rounds every path of up to 2**k cells is counted
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
        # Each cell is z = level + share * z[receiver]; composing the maps solves whole rivers in 9 steps.
        level, share = (z.ravel() + uplift * ~outlet.ravel()) / (1 + cut), cut / (1 + cut)
        hop = target
        for _ in range(9):
            level, share, hop = level + share * level[hop] * (share > 0), share * share[hop], hop[hop]
        z = np.where(outlet, z, level.reshape(z.shape))
        # Streams carry away soil that creeps into them; filled channels would become pits.
        z += (blur(z, 0.7) - z) * ~outlet / (1 + area.reshape(z.shape) / 30)
    target = receivers(z)
    return z, target, drained_area(target)


def landform(region, rng):
    """Make a 2.56 km square of eroded land at 20 m: relative height, receivers and drained areas of its cells."""
    rows, cols = ROWS / SIZE, COLS / SIZE
    outlet = ROWS == SIZE - 1
    rough = fractal(rng, 1.2, 40.0)
    if region.landform == "cones" and rng.random() < 0.5:
        outlet = (np.minimum(rows, cols) == 0) | (np.maximum(rows, cols) == rows.max())
        away = np.hypot(rows - rng.uniform(0.1, 0.9), cols - rng.uniform(0.1, 0.9))
        start, rounds, uplift = 1.5 * np.exp(-1.8 * away) + 0.02 * rough, 7, 0.0
    elif region.landform == "mesas":
        start, rounds, uplift = 1.0 - 0.3 * rows + 0.012 * rough - outlet, 9, 0.0
    else:
        start, rounds, uplift = 0.5 - 0.5 * rows + 0.02 * rough, 14, 0.06
        if rng.random() < 0.5:
            outlet, start = outlet | (COLS == 0), np.minimum(start, 0.5 * cols + 0.02 * rough)
    turn = rng.integers(4)
    relief, target, area = erode(np.rot90(start, turn), np.rot90(outlet, turn), rounds, 0.35, uplift)
    if region.landform == "mesas":  # a hard cap rock keeps the tops flat and their rims sharp
        top = np.quantile(relief, rng.uniform(0.35, 0.7))
        relief = np.where(relief > top, top + 0.15 * (relief - top), relief)
    return relief, target, area


def channels(target, area, top, left, breadth):
    """Find the streams that drain 32 hectares or more in a window of the eroded land; `breadth` scales their width.

    Returns:
        For each pixel of the patch, H x W: the distance in pixels to the nearest stream less its half width, and the
        flat index of the nearest point of that stream. None if the window has no stream.
    """
    spots = np.stack(np.divmod(np.arange(target.size), SIZE), -1).astype(float)
    for _ in range(3):  # rounds the corners of the eight directions; points move slightly downstream
        spots = 0.5 * (spots + spots[target])
    wet = np.flatnonzero(area >= 800)
    points = np.concatenate([spots[wet], 0.5 * (spots[wet] + spots[target[wet]])])
    half = np.tile(breadth * np.sqrt((area[wet] - 800) / 1500), 2)
    points = 2 * (points - (top, left)) + 0.5
    inside = ((points > -4) & (points < SIZE + 4)).all(1)
    points, half = points[inside], half[inside]
    if not len(points):
        return None
    away = np.hypot(ROWS[..., None] - points[:, 0], COLS[..., None] - points[:, 1]) - half
    nearest = away.argmin(-1)
    row, col = np.clip(points.round().astype(int), 0, SIZE - 1).T
    return away.min(-1), (row * SIZE + col)[nearest]


def terrain(region, rng):
    """Make the elevation in metres and the distance in pixels to the river bank (negative inside), 128 x 128 each."""
    relief, target, area = landform(region, rng)
    top, left = rng.integers(10, 54, 2)
    part = relief[top : top + SIZE // 2, left : left + SIZE // 2]
    elevation = blur(part.repeat(2, 0).repeat(2, 1), 1.1)
    elevation += 0.002 * part.std() * fractal(rng, 1.3, 30.0)
    steep = np.hypot(*gradient(elevation))
    elevation *= np.tan(np.radians(rng.uniform(*region.slope_deg))) / max(np.quantile(steep, 0.7), 1e-6)
    river, found = np.full((SIZE, SIZE), 1e3), channels(target, area, top, left, rng.uniform(0.3, 1.5))
    if found:
        river, spot = found
        river = blur(np.minimum(river, 60), 0.8)
        broad = rng.random() < region.plain
        floor, bank = (rng.uniform(6, 30), 3.0) if broad else (rng.uniform(0, 3), 1.5)
        bottom = blur(elevation.ravel()[spot], 2.0)
        elevation = bottom + (elevation - bottom) * step(river, floor, bank)
    elevation += blur(rng.normal(0, 2.5, (SIZE, SIZE)), 1.0)
    elevation += rng.uniform(*region.base_m) - np.quantile(elevation, 0.02)
    if region.landform == "cones" and rng.random() < 0.2:  # a coast
        elevation -= np.quantile(elevation, rng.uniform(0.1, 0.35))
    return np.maximum(elevation, 0), river
