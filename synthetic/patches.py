"""Synthetic patches and series: what make_sample_data.py writes file by file."""

import numpy as np

from bands import BANDS_SEN12, SCALE_L4S
from synthetic.landscape import REGIONS, make_ground, photograph
from synthetic.terrain import SIZE


def make_patch(region, rng):
    """Make a patch: img, H x W x 14 float64 in the released scaling; mask, H x W uint8, 1 for landslide."""
    ground = make_ground(region, rng)
    light, _ = photograph(ground, region, rng)
    numbers = np.dstack([np.maximum(light, 1), ground.slope, ground.elevation])
    return np.rint(numbers) / np.array(SCALE_L4S), ground.mask


def make_series(region, rng, dates):
    """Make ground on several dates, with the event in the middle; return the variables and the mask.

    `series.write_series` takes the variables. Sun, atmosphere, clouds and leaf vigour differ between dates.
    """
    ground = make_ground(region, rng)
    light, clouds = np.empty((dates, SIZE, SIZE, 12)), np.empty((dates, SIZE, SIZE), bool)
    for date in range(dates):
        light[date], thick = photograph(ground, region, rng, date >= dates // 2, season=0.15, cloudy=0.3)
        clouds[date] = thick > 0.1
    light = np.insert(light, 8, 1.02 * light[..., 7], axis=-1)  # B8A sees what B8 sees
    variables = {band: light[..., i] for band, i in zip(BANDS_SEN12, (*range(1, 9), 11, 12), strict=True)}
    variables |= {"SCL": np.where(clouds, 9, 4), "DEM": np.broadcast_to(ground.elevation, clouds.shape)}
    return variables | {"MASK": np.broadcast_to(ground.mask, clouds.shape)}, ground.mask


def plan(name, patches, seed):
    """Yield (region name, random generator) of each patch; patch n does not depend on the number of patches."""
    names = list(REGIONS)
    for n in range(patches):  # every four patches hold each region once, in random order
        order = np.random.default_rng([seed, n // len(names)]).permutation(len(names))
        index = names.index(name) if name != "all" else int(order[n % len(names)])
        yield names[index], np.random.default_rng([seed, index, n + 1])
