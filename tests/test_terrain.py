"""Slope and elevation beside light in one file: offset, scaling and no data of zeros concern light alone."""

import numpy as np
import pytest
import rasterio

from bands import BANDS_L4S, SCALE_L4S, l4s_gains, light
from patches import reading
from scenes import before_after, preparation, scaling, source
from tests.rasters import open_scene, write_raster

SIZE = 64
NAMES = ("B4", "B3", "B2", "slope", "dem")
GAINS = np.array(l4s_gains(NAMES, "l4s"))
RNG = np.random.default_rng(0)
LIGHT = RNG.integers(1200, 4000, (3, SIZE, SIZE))
TERRAIN = np.stack([RNG.integers(5, 30, (SIZE, SIZE)), RNG.integers(800, 1200, (SIZE, SIZE))])
STACK = np.concatenate([LIGHT, TERRAIN])


def scaled_means(path, names, unit, **options):
    """Return (scaling that was chosen, mean of each band as the model takes it, offset that was used)."""
    asked = source.SceneInput((path,), **options)
    with source.open_scene(asked, names) as scene:
        used = preparation.apply_scaling(scene, asked, names, unit, scene.sample()[0])
        return used.scaling, scene.read(0, SIZE)[0].mean((1, 2)), used.offset


def test_which_bands_hold_light():
    assert light(("slope", "B04 after", "elevation", "DEM", "band7", "ndvi")).tolist() == [0, 1, 0, 0, 1, 1]
    assert light(()).dtype == bool


def test_the_offset_is_added_to_light_alone(tmp_path):
    path = write_raster(tmp_path / "a.tif", STACK.astype(np.int16)[::-1], descriptions=NAMES[::-1])
    _, means, offset = scaled_means(path, NAMES[::-1], "l4s", offset=-1000.0)
    expected = (STACK - np.array([1000, 1000, 1000, 0, 0])[:, None, None]).mean((1, 2)) * GAINS
    np.testing.assert_allclose(means, expected[::-1], rtol=1e-5)
    assert offset == -1000
    unnamed = write_raster(tmp_path / "b.tif", np.concatenate([LIGHT] * 4 + [TERRAIN]).astype(np.int16))
    _, means, _ = scaled_means(unnamed, BANDS_L4S, "l4s", offset=-1000.0)
    np.testing.assert_allclose(means[12:], TERRAIN.mean((1, 2)) / SCALE_L4S[12:], rtol=1e-5)


@pytest.mark.parametrize("asked", ["auto", "l4s"])
@pytest.mark.parametrize("ground", ["mountains", "flat coast"])
def test_reflectance_as_floats_is_recognised_beside_terrain(tmp_path, asked, ground):
    terrain = TERRAIN if ground == "mountains" else TERRAIN / 1000
    path = write_raster(
        tmp_path / "a.tif", np.concatenate([LIGHT / 10000, terrain]).astype(np.float32), descriptions=NAMES
    )
    used, means, _ = scaled_means(path, NAMES, "l4s", scaling=asked)
    assert used == "l4s"
    np.testing.assert_allclose(means, np.concatenate([LIGHT, terrain]).mean((1, 2)) * GAINS, rtol=1e-4)


@pytest.mark.parametrize("origin", ["file", "dem"])
@pytest.mark.parametrize("asked", ["auto", "l4s"])
def test_stretch_and_the_limits_of_8_bits_leave_elevation_in_metres(tmp_path, origin, asked):
    names, numbers = ("red", "green", "blue", "dem"), np.concatenate([LIGHT * 3, TERRAIN[1:]]).astype(np.uint16)
    dem = write_raster(tmp_path / "dem.tif", TERRAIN[1:].astype(np.float32))
    count, options = (4, {}) if origin == "file" else (3, {"dem": (str(dem),)})
    path = write_raster(tmp_path / "a.tif", numbers[:count], descriptions=names[:count])
    used, means, _ = scaled_means(path, names, "display", scaling=asked, **options)
    assert used == ("stretch" if asked == "auto" else "l4s")
    assert means[:3].min() > 100 and means[:3].max() <= 255
    assert means[3] == pytest.approx(TERRAIN[1].mean(), rel=1e-4)


def test_stretch_gives_terrain_the_unit_of_the_run():
    plain = source.SceneSource((), (), (0,), (0,), 0, (), (("slope", 1),), (), (1.0,), (0.0,))
    pixels = np.array([np.arange(100.0), np.full(100, 20.29)])
    for unit, gain in (("display", 1), ("", 1), ("l4s", 1 / 20.29)):
        for names in (("red", "slope"), ("band1", "band2")):
            stretched = scaling.scaled(plain, "stretch", names, pixels, unit)
            assert stretched.gain[1] == pytest.approx(gain) and stretched.bias[1] == 0


def test_elevation_beyond_the_edge_of_a_swath_is_no_data(tmp_path):
    bands = np.concatenate([LIGHT, TERRAIN[1:]]).astype(np.int16)
    bands[:3, :, :20] = 0
    names = ("B4", "B3", "B2", "dem")
    path = write_raster(tmp_path / "a.tif", bands, descriptions=names)
    with open_scene([path], names) as scene:
        valid = scene.read(0, SIZE)[1]
        assert not valid[:, :20].any() and valid[:, 20:].all()
        scene.sample()
        assert scene.blank_share == pytest.approx(20 / SIZE)


def test_the_tag_of_an_elevation_beside_light_does_not_make_a_collar_of_zeros_ground(tmp_path):
    light_bands = LIGHT.astype(np.int16)
    light_bands[:, :, :20] = 0
    dem = write_raster(tmp_path / "dem.tif", TERRAIN[1:].astype(np.float32), nodata=-32767)
    paths = [write_raster(tmp_path / f"{name}.tif", light_bands[i : i + 1]) for i, name in enumerate(NAMES[:3])]
    with open_scene([dem, *paths], ("B4", "B3", "B2", "dem")) as scene:
        valid = scene.read(0, SIZE)[1]
    assert not valid[:, :20].any() and valid[:, 20:].all()


def test_a_collar_of_zeros_is_not_blended_with_the_ground_beside_bands_that_are_not_0(tmp_path):
    bands = np.concatenate([LIGHT, TERRAIN[1:]]).astype(np.int16)
    bands[:3, :, :21] = 0
    path = write_raster(tmp_path / "a.tif", bands, descriptions=("B4", "B3", "B2", "dem"))
    for names in (("B4", "B3", "B2", "dem"), ("B4", "B3", "B2")):
        with open_scene([path], names, pixel_size=20.0) as scene:
            values, valid = scene.read(0, SIZE // 2)
        assert not valid[:, :10].any() and valid[:, 12:].all()
        assert values[:3, valid].min() >= 1200 and values[3:, valid].min(initial=800) >= 800


def test_two_dates_take_terrain_from_the_file_after_the_event(tmp_path):
    after = write_raster(tmp_path / "after.tif", STACK.astype(np.int16), descriptions=NAMES)
    before = write_raster(tmp_path / "before.tif", LIGHT.astype(np.int16) + 1, descriptions=NAMES[:3])
    names = ("slope", *(f"{name} {date}" for date in ("before", "after") for name in NAMES[:3]), "dem")
    with before_after.open_pair(*(source.SceneInput((str(path),)) for path in (after, before)), names) as scene:
        values, valid = scene.read(0, SIZE)
        assert valid.all() and scene.source.light == (4, 5, 6, 1, 2, 3)
    np.testing.assert_array_equal(values, np.concatenate([TERRAIN[:1], LIGHT + 1, LIGHT, TERRAIN[1:]]))


@pytest.mark.parametrize("names", [NAMES, BANDS_L4S])
def test_elevation_in_feet_is_brought_to_metres_in_scenes_and_patches(tmp_path, names):
    """Named, and the last of fourteen bands without names; as `--dem` the same raster is in metres, too."""
    stack = np.concatenate([np.resize(LIGHT, (len(names) - 2, SIZE, SIZE)), TERRAIN]).astype(np.float32)
    path = write_raster(tmp_path / "a_1.tif", stack, descriptions=names if names is NAMES else ())
    dem = write_raster(tmp_path / "dem.tif", TERRAIN[1:].astype(np.float32))
    for each in (path, dem):
        with rasterio.open(each, "r+") as file:
            file.units = [None] * (file.count - 1) + ["ft"]
    feet = TERRAIN[1].mean() * 0.3048
    with open_scene([path], names) as scene:
        assert scene.read(0, SIZE)[0][-1].mean() == pytest.approx(feet, rel=1e-5)
    patch = reading.read_patch(path, None)
    assert patch.image[..., -1].mean() == pytest.approx(feet, rel=1e-5)
    with open_scene([path], names[:-1] + ("dem",), dem=(str(dem),)) as scene:
        assert scene.read(0, SIZE)[0][-1].mean() == pytest.approx(feet, rel=1e-5)


@pytest.mark.parametrize("names", [("B4", "B3", "B2", "slope"), ("red", "green", "blue", "elevation")])
@pytest.mark.parametrize("run", ["by number", "by name"])
def test_the_names_of_the_file_say_whose_scale_and_unit_is_of_terrain(tmp_path, names, run):
    """A run that knows its bands by number takes them from a scene as from a patch."""
    bands = np.full((4, 8, 8), 2000, np.uint16) * np.arange(1, 5, dtype=np.uint16)[:, None, None]
    path = write_raster(tmp_path / "a_1.tif", bands, descriptions=names)
    with rasterio.open(path, "r+") as file:
        file.scales, file.units = (0.001,) * 4, ("", "", "", "ft")
    expected = [20000, 40000, 60000, 8 * (0.3048 if names[3] == "elevation" else 1)]
    with open_scene([path], names if run == "by name" else ("band1", "band2", "band3", "band4")) as scene:
        np.testing.assert_allclose(scene.read(0, 1)[0][:, 0, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(reading.read_patch(path, None).image[0, 0], expected, rtol=1e-6)


def test_a_run_by_number_adds_the_offset_to_what_the_file_calls_light(tmp_path):
    path = write_raster(tmp_path / "a.tif", STACK[[0, 1, 2, 4]].astype(np.int16), descriptions=(*NAMES[:3], "dem"))
    with open_scene([path], ("band1", "band2", "band3", "band4"), offset=-1000.0) as scene:
        np.testing.assert_array_equal(scene.read(0, SIZE)[0][3], TERRAIN[1])


@pytest.mark.parametrize("count", [3, 4, 14, 15])
def test_chosen_bands_without_names_are_those_of_the_run(tmp_path, count):
    path = write_raster(tmp_path / "a.tif", np.full((count, 8, 8), 3000, np.float32))
    with open_scene([path], ("red", "slope", "dem"), ("1", "2", "3"), offset=-1000.0) as scene:
        assert scene.read(0, 8)[0].mean((1, 2)).tolist() == [2000, 3000, 3000]
    path = write_raster(tmp_path / "b.tif", np.full((count, 8, 8), 3000, np.uint16))
    with rasterio.open(path, "r+") as file:
        file.scales = [0.0001] * count
    chosen = [str(count - i) for i in range(3)]
    with open_scene([path], ("red", "green", "blue"), chosen) as scene:
        assert scene.read(0, 8)[0].mean((1, 2)).tolist() == pytest.approx([3000] * 3)
