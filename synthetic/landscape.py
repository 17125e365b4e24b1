"""Ground of four invented regions, square and of any size: landslides on it, and its Sentinel-2 image."""

from dataclasses import dataclass

import numpy as np

from synthetic.terrain import PIXEL, SIZE, blur, distance_to_zero, fractal, gradient, holds, step, terrain


@dataclass(frozen=True)
class Region:
    """Parameters of a landscape. A pair is (low, high) of a uniform draw for each square of ground."""

    base_m: tuple  # elevation of the valley floor, metres
    slope_deg: tuple  # slope that three tenths of the patch exceed, degrees
    forest: float  # share of forest on the hillsides; the rest is grass
    dry: float  # 0 lush to 1 parched; yellows grass and leaves
    haze: float  # aerosol load; 1 is ordinary
    vapour: float  # water vapour, which darkens B9; 1 is ordinary
    soil: str  # spectrum of fresh bare ground
    rock: float  # share of the very steep ground that is bare rock
    plain: float  # share of patches with a broad flat valley
    landform: str  # "valleys", "mesas" or "cones"


EMPTY_SHARE = 0.36  # share of patches drawn without landslides; patches without steep ground add to it

REGIONS = {
    "humid_hills": Region((60, 900), (24, 40), 0.85, 0.10, 1.3, 1.2, "red_soil", 0.1, 0.35, "valleys"),
    "high_mountains": Region((1100, 2300), (29, 45), 0.65, 0.25, 0.5, 0.7, "debris", 0.6, 0.1, "valleys"),
    "dry_plateau": Region((1000, 2000), (20, 38), 0.45, 0.60, 0.8, 0.7, "pale_soil", 0.4, 0.25, "mesas"),
    "volcanic_island": Region((40, 900), (25, 42), 0.80, 0.15, 1.0, 1.1, "ash", 0.2, 0.15, "cones"),
}

# Surface reflectance in percent at B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 B12, after common spectral libraries.
SPECTRA = {
    name: np.array(percent) / 100
    for name, percent in {
        "forest": (1.0, 1.2, 2.8, 1.3, 4.2, 17, 23, 24, 25, 21, 10, 3.5),
        "grass": (1.8, 2.3, 4.8, 3.0, 7.5, 22, 27, 28, 29, 26, 16, 6.8),
        "dry_grass": (3.0, 4.2, 6.8, 7.5, 11, 18, 21, 22, 24, 26, 24, 14),
        "crop": (2.0, 3.0, 6.5, 4.0, 10, 29, 37, 39, 40, 32, 19, 8.5),
        "tilled": (5.5, 7.0, 10, 13, 16, 19, 21, 23, 25, 31, 31, 25),
        "red_soil": (4.5, 6.0, 10, 16, 19, 22, 24, 26, 28, 34, 34, 29),
        "pale_soil": (8.0, 10, 14, 18, 20, 22, 23.5, 25, 27, 34, 35, 30),
        "debris": (9.0, 11, 13.5, 15.5, 16.5, 17.5, 18.5, 19.5, 20, 25, 25, 21),
        "ash": (6.0, 7.5, 10, 13, 14.5, 16, 17, 18, 19, 25, 26, 23),
        "rock": (8.0, 9.5, 11.5, 13, 14, 15, 16, 17, 17.5, 21, 22, 18),
        "gravel": (9.5, 11, 13.5, 15.5, 17, 18, 18.5, 19.5, 20, 24, 23, 19),
        "paved": (7.0, 8.5, 10.5, 12, 13, 14, 15, 16, 17, 20, 21, 18),
        "water": (3.0, 3.5, 4.0, 2.5, 2.2, 1.6, 1.4, 1.2, 0.8, 0.5, 0.5, 0.3),
        "silt": (6.0, 8.0, 11, 11, 10, 7.0, 6.0, 5.0, 3.0, 1.0, 1.0, 0.6),
        "cloud": (62, 63, 64, 65, 66, 67, 68, 69, 66, 30, 50, 40),
    }.items()
}

# The atmosphere in each band. Rayleigh and aerosol path reflectance are those at sea level.
RAYLEIGH = np.array([0.092, 0.062, 0.033, 0.016, 0.012, 0.009, 0.008, 0.006, 0.004, 0.0, 0.0004, 0.0001])
AEROSOL = np.array([0.012, 0.010, 0.008, 0.006, 0.006, 0.005, 0.005, 0.004, 0.002, 0.0, 0.001, 0.0005])
TRANSMITTANCE = np.array([0.80, 0.84, 0.88, 0.91, 0.92, 0.90, 0.94, 0.92, 0.26, 0.001, 0.94, 0.92])
SENSOR_NOISE = np.array([6, 6, 6, 7, 7, 9, 10, 12, 7, 1.6, 9, 7.0])  # digital numbers
NATIVE_M = np.array([60, 10, 10, 10, 20, 20, 20, 10, 60, 60, 20, 20.0])  # pixel size of each band, metres


# ------------------------------------------------------------ landslides


def run_out(fall, start, length):
    """Return the path down the slope from a pixel, with some inertia: K x 2 positions in pixels.

    The path ends after `length` pixels, at the edge of the ground, or where debris comes to rest: a few pixels after
    the ground becomes gentle. fall: downhill gradient, H x W x 2.
    """
    path, heading, gentle = [np.array(start, float)], np.zeros(2), 0
    while len(path) < length:
        pull = fall[tuple(path[-1].round().astype(int))]
        steepness = np.hypot(*pull)
        gentle += steepness < 0.16
        heading = 0.5 * heading + pull / (steepness + 1e-9)
        heading /= np.hypot(*heading) + 1e-9
        spot = path[-1] + heading
        if gentle > 5 or spot.min() < 0 or spot.max() > len(fall) - 1:
            break
        path.append(spot)
    return np.array(path)


def scar(path, width, rough):
    """Return the bounding box of a landslide, as slices, and the signed distance to its edge within the box.

    The distance is in pixels, negative inside. A landslide has a wide head, a narrow track and a wide toe.
    """
    along = np.linspace(0, 1, len(path))
    radius = 0.5 * width * np.interp(along, [0, 0.15, 0.5, 0.75, 0.93, 1], [0.6, 1.15, 0.7, 0.65, 1.0, 0.6])
    low = np.maximum(np.floor(path.min(0) - width - 3), 0).astype(int)
    high = np.minimum(np.ceil(path.max(0) + width + 4), rough.shape).astype(int)
    box = slice(low[0], high[0]), slice(low[1], high[1])
    keep = slice(None, None, 1 + int(width > 6))
    rows, cols = np.ogrid[box]
    away = np.hypot(rows[..., None] - path[keep, 0], cols[..., None] - path[keep, 1]) - radius[keep]
    return box, away.min(-1) + rough[box] * min(0.3 + 0.1 * width, 1.3)


def landslides(elevation, slope, rng, landslide_share):
    """Draw landslides; return the label (0 or 1) and the exposure of bare ground (0 to 1), H x W each.

    Sources lie on steep ground and form clusters, as after a storm or an earthquake. Areas are heavy-tailed (Pareto).
    landslide_share: fraction of the ground that landslides cover, about.
    """
    size = len(slope)
    label, exposure = np.zeros(slope.shape, bool), np.zeros(slope.shape)
    likely = step(slope, 31, 2.5) * (slope > 24) * np.exp(1.2 * fractal(rng, size, 1.6))
    if landslide_share <= 0 or (slope > 26).mean() < 0.02:
        return label.astype(np.uint8), exposure
    total = np.cumsum(likely)
    fall = -np.stack(gradient(blur(elevation, 1.5)), -1)
    rough = fractal(rng, size, 1.3, 20.0)
    for _ in range(70 * size**2 // SIZE**2):
        if np.count_nonzero(label) >= landslide_share * size**2:
            break
        area = min(24 * (1 - rng.random()) ** -1.05, 1800, 1.3 * landslide_share * size**2)
        width = np.sqrt(area / rng.uniform(2.5, 8.0))
        source = np.unravel_index(np.searchsorted(total, rng.random() * total[-1]), slope.shape)
        fresh, sway = rng.uniform(0.7, 1.0), rng.integers(-1, 2, 2) * (rng.random() < 0.25)
        spread = rng.normal(0.2, 0.4)  # hand-drawn outlines miss the true edge by about a pixel
        for branch in range(1 + rng.poisson(area / 350)):  # large slides gather from several heads
            head = source + (branch > 0) * rng.normal(0, 1.3 * width, 2)
            path = run_out(fall, np.clip(head, 0, size - 1), area / width)
            if len(path) < 3:
                continue
            breadth = min(width * (0.7 if branch else 1.0), len(path) / 1.6)
            box, edge = scar(path, breadth, rough)
            exposure[box] = np.maximum(exposure[box], fresh * np.clip(0.5 - edge, 0, 1))
            box, edge = scar(path + sway, breadth, rough)
            label[box] |= edge < spread
    return label.astype(np.uint8), exposure


# ------------------------------------------------------------ land cover


def cover(surface, weight, spectrum):
    """Blend a spectrum (12, or H x W x 12) into the surface itself, with a weight of 0 to 1 for each pixel."""
    surface += weight[..., None] * (spectrum - surface)


def parcels(rng, size):
    """Draw farm parcels: size x size random numbers, uniform from 0 to 1 and constant within a parcel."""
    turn = rng.uniform(0, np.pi)
    warp = 2.5 * fractal(rng, size, 2.0, 80.0)
    rows, cols = np.ogrid[:size, :size]
    u = (rows * np.cos(turn) + cols * np.sin(turn) + warp) / rng.uniform(6, 14)
    v = (cols * np.cos(turn) - rows * np.sin(turn) + warp) / rng.uniform(9, 24) + 0.37 * np.floor(u)
    return rng.random((64, 64))[np.floor(u).astype(int) % 64, np.floor(v).astype(int) % 64]


def land_cover(region, elevation, slope, river, rng):
    """Make the surface reflectance of the ground before the landslides, H x W x 12."""
    size = len(elevation)
    surface = np.empty((size, size, 12))
    leaf = SPECTRA["forest"] * (1 - 0.25 * region.dry) + SPECTRA["dry_grass"] * 0.25 * region.dry
    meadow = SPECTRA["grass"] * (1 - region.dry) + SPECTRA["dry_grass"] * region.dry
    vigour = np.ones(12)
    vigour[5:9] = np.exp(rng.normal(0, 0.3))  # season and leaf area, seen in the near infrared
    surface[:] = leaf * vigour
    patchy = fractal(rng, size, 1.8, 70.0) + 0.02 * (slope - 25) * (1 - 2 * (region.dry < 0.5))
    cover(surface, step(patchy, 2.2 * (region.forest - 0.35), 0.35), meadow * vigour)
    bare_rock = step(slope, 44, 2.5) * step(fractal(rng, size, 1.3, 30.0), 1.2 - 2 * region.rock, 0.3)
    cover(surface, 0.8 * bare_rock, SPECTRA["rock"])

    plot = parcels(rng, size)
    farmed = step(-slope, -9, 1.2) * step(fractal(rng, size, 1.8) + np.where(river < 30, 0.2, -0.8), 0.1, 0.1)
    crops = SPECTRA["crop"] * plot[..., None] + SPECTRA["dry_grass"] * (1 - plot[..., None])
    cover(surface, 0.9 * farmed, crops)
    tilled_share = rng.uniform(0.05, 0.28)
    tilled = 0.6 * SPECTRA["tilled"] + 0.4 * SPECTRA[region.soil]
    cover(surface, 0.9 * farmed * (plot % 0.1 < 0.1 * tilled_share), tilled)
    clearing = (slope < 20) * (parcels(rng, size) < rng.uniform(0, 0.12)) * (fractal(rng, size, 1.6) > 0.7)
    cover(surface, 0.8 * blur(clearing.astype(float), 0.6), tilled)

    bed = rng.uniform(-0.8, 0.8) + 0.5 * fractal(rng, size, 1.6, 40.0)
    cover(surface, 0.9 * step(-river, -bed, 0.3) * step(-slope, -26, 2), SPECTRA["gravel"])
    stream = SPECTRA["water"] + rng.random() * (SPECTRA["silt"] - SPECTRA["water"])
    cover(surface, step(-river + 0.5 * fractal(rng, size, 1.6, 30.0), 0.7, 0.2) * step(-slope, -26, 2), stream)
    if holds(rng, 0.45, size):  # a road at constant height with a bare cut
        height = np.quantile(elevation, rng.uniform(0.1, 0.6))
        line = blur(elevation, 5.0) - height + (8 + 0.2 * elevation.std()) * fractal(rng, size, 2.4, 80.0)
        road = np.clip(rng.uniform(0.8, 1.5) - distance_to_zero(line), 0, 1)
        cover(surface, 0.75 * road * (slope < 40), 0.5 * SPECTRA["paved"] + 0.5 * SPECTRA[region.soil])
    cover(surface, (elevation <= 0).astype(float), SPECTRA["water"])
    return surface


# ------------------------------------------------------------ light, air and sensor


def illumination(elevation, rng):
    """Compute the sunlight on each pixel relative to flat ground, H x W, with cast shadows."""
    azimuth, height = np.radians(rng.uniform(100, 175)), np.radians(rng.uniform(35, 65))
    towards = np.array([-np.cos(azimuth), np.sin(azimuth)])  # rows run south, columns east
    down, right = gradient(elevation)
    facing = -(down * towards[0] + right * towards[1]) * np.cos(height) + np.sin(height)
    direct = np.maximum(facing, 0) / np.sqrt(1 + down**2 + right**2) / np.sin(height)
    skyline, along = np.full(elevation.shape, -np.inf), np.arange(len(elevation))
    for k in (1, 2, 3, 4, 6, 8, 11, 14, 18, 22, 27, 32):
        rows, cols = (np.clip(along + k * part, 0, along[-1]).round().astype(int) for part in towards)
        np.maximum(skyline, (elevation[np.ix_(rows, cols)] - elevation) / (k * PIXEL), out=skyline)
    sunny = step(-skyline, -np.tan(height), 0.06)
    return 0.22 + 0.78 * direct * sunny  # skylight reaches shadows


def sense(surface, elevation, light, region, rng, cloudy=0.06):
    """Simulate the sensor; return digital numbers at the top of the atmosphere, H x W x 12, and cloud cover, 0 to 1.

    Args:
        surface: surface reflectance, H x W x 12.
        elevation: in metres, H x W.
        light: sunlight on each pixel, from `illumination`.
        region: Region.
        rng: random generator.
        cloudy: probability of clouds.
    """
    height, size = elevation[..., None], len(elevation)
    haze = region.haze * np.exp(rng.normal(0, 0.45)) * (1 + 0.15 * fractal(rng, size, 2.2))[..., None]
    path = RAYLEIGH * np.exp(-height / 8400) + AEROSOL * haze * np.exp(-height / 2000)
    through = np.broadcast_to(TRANSMITTANCE, surface.shape).copy()
    # High ground lies above most water vapour: B9 is brighter there, and B10 shows a trace of it.
    through[..., 8] *= (0.8 + elevation / 4000) / (region.vapour * np.exp(rng.normal(0, 0.15)))
    through[..., 9] *= np.exp(elevation / 2500)
    signal = path + through * surface * light[..., None]
    thick = np.zeros(elevation.shape)
    if rng.random() < cloudy:
        thick = 0.9 * step(fractal(rng, size, 2.0, 60.0), 2.2, 0.25)
        shade = np.roll(thick, rng.integers(-14, 15, 2), (0, 1))
        signal = signal * (1 - 0.6 * shade[..., None])
        low_cloud = SPECTRA["cloud"] * np.where(np.arange(12) == 9, 0.002, 1)  # B10 stays dark
        cover(signal, thick, low_cloud)
    cirrus = max(rng.normal(0.0005, 0.0001), 0.0002) + max(rng.normal(-0.0009, 0.0012), 0)
    signal[..., 9] += cirrus * np.exp(0.1 * fractal(rng, size, 2.0))
    signal = blur(signal, 0.35 * (NATIVE_M / PIXEL) * (NATIVE_M > PIXEL))
    return 1e4 * signal + rng.standard_normal(signal.shape) * SENSOR_NOISE, thick


@dataclass(frozen=True)
class Ground:
    """A square of ground, H x W, before and after the event.

    Attributes:
        elevation: in metres. slope: in degrees.
        surface: reflectance before the event, H x W x 12.
        mask: 1 where landslides are labelled. exposure: 0 to 1, bare ground after the event. fresh: its spectrum.
        texture: factor of reflectance, H x W x 1.
    """

    elevation: np.ndarray
    slope: np.ndarray
    surface: np.ndarray
    mask: np.ndarray
    exposure: np.ndarray
    fresh: np.ndarray
    texture: np.ndarray


def make_ground(region, rng, size=SIZE, landslide_share=None):
    """Make Ground of size x size pixels.

    landslide_share: fraction that landslides cover, about; None: drawn, as for a patch.
    """
    elevation, river = terrain(region, rng, size)
    slope = np.degrees(np.arctan(np.hypot(*gradient(elevation))))
    surface = land_cover(region, elevation, slope, river, rng)
    fresh = SPECTRA[region.soil] * rng.uniform(0.8, 1.2) + rng.normal(0, 0.006, 12).cumsum() / 3
    if holds(rng, 0.25, size):  # scars of an earlier year, half grown over and no longer mapped
        cover(surface, 0.45 * landslides(elevation, slope, rng, 0.006)[1], fresh)
    if landslide_share is None:
        landslide_share = 0.0 if rng.random() < EMPTY_SHARE else min(np.exp(rng.normal(np.log(0.019), 0.85)), 0.2)
    mask, exposure = landslides(elevation, slope, rng, landslide_share)
    texture = 1 + 0.07 * fractal(rng, size, 0.5, 12.0)[..., None]  # crowns, boulders, hollows
    return Ground(elevation, slope, surface, mask, exposure, fresh, texture)


def photograph(ground, region, rng, after=True, season=0.0, cloudy=0.06):
    """Simulate an image of the ground before or after the event; see `sense` for what it returns.

    Sun and atmosphere are drawn, and the vigour of leaves with the deviation `season` of its logarithm.
    """
    surface = ground.surface.copy()
    if season:
        surface[..., 5:9] *= np.exp(rng.normal(0, season))
    if after:
        cover(surface, ground.exposure, ground.fresh)
    light = illumination(ground.elevation, rng)
    return sense(surface * ground.texture, ground.elevation, light, region, rng, cloudy)
