"""Synthetic patches: published format, plausible ground, landslides on slopes, and the seed; large land."""

import heapq

import h5py
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import dataset
from bands import SCALE_L4S
from synthetic import landscape, patches, terrain
from tests.running import assert_user_error, run_script

# Means and standard deviations of the released training images, in the order of the bands, measured on the real set.
REAL_MEAN = [
    0.9257,
    0.9227,
    0.9541,
    0.9596,
    1.0228,
    1.0426,
    1.0358,
    1.0468,
    1.1699,
    1.1736,
    1.0495,
    1.0370,
    1.2511,
    1.6495,
]
REAL_STD = [0.141, 0.221, 0.318, 0.572, 0.460, 0.447, 0.465, 0.495, 0.513, 0.684, 0.532, 0.663, 0.678, 1.073]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """Write 24 patches, 6 of each region, with make_sample_data.py."""
    workdir = tmp_path_factory.mktemp("sample")
    result = run_script("make_sample_data.py", "--patches", 24, cwd=workdir)
    assert result.returncode == 0, result.stderr
    return workdir / "data" / "sample"


@pytest.fixture(scope="module")
def arrays(sample):
    images, masks = [], []
    for number in range(1, 25):
        with h5py.File(sample / "images" / f"image_{number}.h5") as file:
            images.append(file["img"][()])
        with h5py.File(sample / "masks" / f"mask_{number}.h5") as file:
            masks.append(file["mask"][()])
    return np.stack(images), np.stack(masks)


def test_files_have_the_released_form(sample, arrays):
    images, masks = arrays
    assert images.shape == (24, 128, 128, 14) and images.dtype == np.float64
    assert masks.shape == (24, 128, 128) and masks.dtype == np.uint8
    numbers = images * SCALE_L4S  # digital numbers, degrees and metres are integers, as in the real files
    np.testing.assert_allclose(numbers, np.rint(numbers), atol=1e-6)
    patches = dataset.open_patches(sample, sample.parent.parent / "cache")
    assert len(patches) == 24 and patches.labelled.all()


def test_bands_have_nearly_the_real_mean_and_spread(arrays):
    pixels = arrays[0].reshape(-1, 14)
    np.testing.assert_allclose(pixels.mean(0), REAL_MEAN, atol=0.35)
    ratio = pixels.std(0) / REAL_STD
    assert (ratio > 0.5).all() and (ratio < 2).all(), ratio


def test_landslides_are_rare_and_lie_on_slopes(arrays):
    images, masks = arrays
    slope = images[..., 12] * SCALE_L4S[12]
    assert 0.01 < masks.mean() < 0.035
    assert 0.2 < (masks.max((1, 2)) == 0).mean() < 0.55
    assert np.median(slope[masks > 0]) > np.median(slope[masks == 0]) + 5


def test_bare_ground_alone_does_not_give_landslides_away(arrays):
    """Most pixels with a red to near-infrared ratio as high as that of landslides are something else."""
    images, masks = arrays
    red, near_infrared = images[..., 3] * 445.2, images[..., 7] * 1941.3
    bare = red / near_infrared
    alike = bare > np.median(bare[masks > 0])
    assert masks[alike].mean() < 0.5


def test_slope_of_a_plane_is_exact():
    rows, cols = np.mgrid[:20, :20] * terrain.PIXEL
    down, right = terrain.gradient(0.3 * rows - 0.4 * cols)
    np.testing.assert_allclose(down, 0.3)
    np.testing.assert_allclose(right, -0.4)


@pytest.mark.slow
def test_same_seed_same_bytes_however_many_patches(sample, tmp_path):
    for arguments, same in ((("--patches", 3), True), (("--patches", 3, "--seed", 1), False)):
        out = tmp_path / str(same)
        assert run_script("make_sample_data.py", "--out-dir", out, *arguments).returncode == 0
        names = [f"{kind}s/{kind}_{number}.h5" for kind in ("image", "mask") for number in (1, 2, 3)]
        equal = [(out / name).read_bytes() == (sample / name).read_bytes() for name in names]
        assert all(equal) if same else not all(equal)


@pytest.mark.slow
def test_patches_are_replaced_on_request_only(tmp_path):
    def make(*flags):
        return run_script("make_sample_data.py", "--out-dir", "out", *flags, cwd=tmp_path)

    assert make("--patches", 3).returncode == 0
    (tmp_path / "out" / "images" / "notes.txt").write_text("mine")
    assert_user_error(make(), "already holds 6 patches", "--overwrite")
    assert make("--patches", 2, "--overwrite", "--region", "dry_plateau").returncode == 0
    assert sorted(path.name for path in (tmp_path / "out" / "images").iterdir()) == [
        "image_1.h5",
        "image_2.h5",
        "notes.txt",
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--region", "moon"), "--region: 'moon' is none of all, humid_hills"),
        (("--patches", 0), "--patches is 0: it must be at least 1"),
        (("--seed", -1), "--seed is -1: it must be at least 0"),
    ],
)
def test_bad_settings(tmp_path, flags, message):
    assert_user_error(run_script("make_sample_data.py", *flags, cwd=tmp_path), message)


def test_every_region_makes_patches():
    for name, region in landscape.REGIONS.items():
        image, mask = patches.make_patch(region, np.random.default_rng(0))
        assert np.isfinite(image).all() and set(np.unique(mask)) <= {0, 1}, name


def test_nearest_disc_agrees_with_all_distances():
    rng = np.random.default_rng(0)
    centres, radii = rng.uniform(-4, 54, (40, 2)), rng.uniform(0, 9, 40)
    away, nearest = terrain.nearest_disc(centres, radii, 50)
    pixels = np.stack(np.mgrid[:50, :50], -1).reshape(-1, 2)
    expected = cdist(pixels, centres) - radii
    np.testing.assert_allclose(away.ravel(), expected.min(1), atol=1e-12)
    np.testing.assert_array_equal(nearest.ravel(), expected.argmin(1))


def test_hollows_are_filled_to_their_lowest_pass():
    """The reference is the flood from the outlet in order of height (Barnes et al. 2014)."""
    z = np.random.default_rng(0).random((30, 30))
    outlet = np.zeros(z.shape, bool)
    outlet[-1] = True
    water, queue = np.where(outlet, z, np.inf), [(z[-1, c], -1 % 30, c) for c in range(30)]
    heapq.heapify(queue)
    while queue:
        level, row, col = heapq.heappop(queue)
        for r, c in ((row + down, col + right) for down, right in terrain.NEIGHBOURS):
            if 0 <= r < 30 and 0 <= c < 30 and water[r, c] == np.inf:
                water[r, c] = max(level, z[r, c])
                heapq.heappush(queue, (water[r, c], r, c))
    filled = terrain.filled(z, outlet)
    rise = 1e-4 * z.size  # what a path of all cells would rise
    assert (filled >= water - 1e-12).all() and (filled <= water + rise).all()
    pits = terrain.receivers(filled) == np.arange(z.size)
    assert not (pits & ~outlet.ravel()).any()


@pytest.mark.parametrize("region", landscape.REGIONS.values(), ids=list(landscape.REGIONS))
def test_water_runs_from_all_of_large_land_to_its_outlet(region):
    """Eroded in two sizes of cells, the land has no hollows and a river longer than those of a patch."""
    relief, target, area = terrain.landform(region, np.random.default_rng(0), 300)
    pits = (target == np.arange(target.size)).reshape(relief.shape)
    assert relief.shape == (300, 300) and not pits[4:-4, 4:-4].any()
    assert area.max() > 128**2 / 2
