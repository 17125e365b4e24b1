"""Scenes: bands by number and name, files of several resolutions, no data, and scaling; GDAL is the reference."""

import tracemalloc

import netCDF4
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.transform import from_origin

from bands import BANDS_L4S, BANDS_RGB, SCALE_L4S, light
from networks import tiles
from patches.usual_values import unusual_bands
from scenes import scaling, scene, tiling
from script import UserError
from tests.rasters import UTM, centres, open_scene, write_raster


def test_bands_are_chosen_by_number_and_by_name(tmp_path):
    bands = np.arange(4, dtype=np.uint16)[:, None, None] + np.full((4, 5, 6), 10, np.uint16)
    names = ("B4 red", "B3 green", "B02", "nir")
    path = write_raster(tmp_path / "scene.tif", bands, descriptions=names)
    for selection in (("3", "2", "1"), ("B2", "green", "b4"), ("B02", "B3 green", "red")):
        values, _ = open_scene([path], BANDS_RGB, selection).read(0, 5)
        assert values[:, 0, 0].tolist() == [12, 11, 10]
    with pytest.raises(UserError, match="band B11 is not in the scene .*bands 1 to 4, named: B4 red, B3 green"):
        open_scene([path], BANDS_RGB, ("B11", "1", "2"))
    with pytest.raises(UserError, match="band 5 is not in the scene"):
        open_scene([path], BANDS_RGB, ("5", "1", "2"))
    assert open_scene([path], BANDS_RGB).read(0, 5)[0][:, 0, 0].tolist() == [10, 11, 12]
    unnamed = write_raster(tmp_path / "unnamed.tif", bands)
    with pytest.raises(UserError, match="4 bands, but the run takes 3"):
        open_scene([unnamed], BANDS_RGB)


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("B2", "B3", "B4"), [2, 1, 0]),  # as Earth Engine and openEO write them
        (("blue", "green", "red"), [2, 1, 0]),
        (("red", "green", "blue"), [0, 1, 2]),
        (("nir", "B04 (665 nm)", "x", "B03", "B02"), [1, 3, 4]),
        (("", "", ""), [0, 1, 2]),
        (("band 1", "band 2", "band 3"), [0, 1, 2]),
        (("red", "red", "red"), [0, 1, 2]),
    ],
)
def test_names_decide_before_the_order(tmp_path, capsys, names, order):
    bands = np.arange(len(names), dtype=np.uint16)[:, None, None] + np.full((len(names), 4, 5), 7, np.uint16)
    path = write_raster(tmp_path / "scene.tif", bands, descriptions=names)
    values, _ = open_scene([path], BANDS_RGB).read(0, 4)
    assert (values[:, 0, 0] - 7).tolist() == order
    told = "bands are taken by their names: red" in capsys.readouterr().out
    assert told == (order != list(range(len(names))))


def test_names_of_files_decide_before_their_order(tmp_path, capsys):
    paths = [
        write_raster(tmp_path / f"T45RXX_20210301T050000_{name}_10m.tif", np.full((1, 4, 5), i, np.uint16))
        for i, name in enumerate(("B02", "B03", "B04"))
    ]
    values, _ = open_scene(paths, BANDS_RGB).read(0, 4)
    assert values[:, 0, 0].tolist() == [2, 1, 0] and "green T45RXX" in capsys.readouterr().out


@pytest.mark.parametrize("description", ["", "Band 1", "reflectance", "Layer_1"])
@pytest.mark.parametrize("ending", ["tif", "img"])
def test_a_description_that_names_no_band_does_not_hide_the_name_of_the_file(tmp_path, description, ending):
    paths = []
    for number in (2, 3, 4):
        band = np.full((1, 4, 5), number, np.uint16)
        paths.append(write_raster(tmp_path / f"{number}_B0{number}.{ending}", band, descriptions=[description]))
    assert open_scene(paths, BANDS_RGB).read(0, 4)[0][:, 0, 0].tolist() == [4, 3, 2]


def named_by_netcdf(folder):
    with netCDF4.Dataset(folder / "x.nc", "w") as file:
        for name, size in (("y", 4), ("x", 5)):
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.arange(size)
        for number in (2, 3, 4):
            file.createVariable(f"B0{number}", "i2", ("y", "x"))[:] = number
    return [f'NETCDF:"{folder}/x.nc":B0{number}' for number in (2, 3, 4)]


def named_by_tags(folder):
    path = write_raster(folder / "a.tif", np.full((3, 4, 5), [[[2]], [[3]], [[4]]], np.uint16))
    with rasterio.open(path, "r+") as file:
        for number, name in enumerate(("B2", "B3", "B4"), 1):
            file.update_tags(number, BAND_NAME=name)
    return [path]


def named_by_colours(folder):
    path = write_raster(folder / "a.tif", np.full((3, 4, 5), [[[2]], [[3]], [[4]]], np.uint16))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("blue", "green", "red")]
    return [path]


@pytest.mark.parametrize("write", [named_by_netcdf, named_by_tags, named_by_colours])
def test_names_of_variables_tags_and_colours_decide_before_the_order(tmp_path, capsys, write):
    assert open_scene(write(tmp_path), BANDS_RGB).read(0, 4)[0][:, 0, 0].tolist() == [4, 3, 2]
    assert "bands are taken by the" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("Blue", "Green", "Red", "Red edge", "NIR"), [2, 1, 0]),  # MicaSense
        (("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"), [5, 3, 1]),  # PlanetScope
        (("near infra-red", "red", "green", "blue"), [1, 2, 3]),
    ],
)
def test_words_that_belong_together_are_one_name(tmp_path, names, order):
    bands = np.arange(len(names), dtype=np.uint16)[:, None, None] + np.full((len(names), 4, 5), 7, np.uint16)
    path = write_raster(tmp_path / "scene.tif", bands, descriptions=names)
    assert (open_scene([path], BANDS_RGB).read(0, 4)[0][:, 0, 0] - 7).tolist() == order
    with pytest.raises(UserError, match="lacks red: its bands are called"):
        open_scene([write_raster(path, bands[:3], descriptions=("blue", "green", "red edge"))], BANDS_RGB)


@pytest.mark.parametrize(
    ("file_name", "names", "order"),
    [
        ("LE07_SR", ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"), [2, 1, 0]),
        ("LC08_SR", ("SR_B2", "SR_B3", "SR_B4", "SR_B5"), [2, 1, 0]),
        ("scene", ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), [3, 2, 1]),  # 6 since Landsat 8
        ("HLS.L30.T10SEG.2021", ("B02", "B03", "B04", "B05"), [2, 1, 0]),
        ("scene", ("SR_B4", "SR_B3", "SR_B2"), None),
    ],
)
def test_the_numbers_of_landsat_mean_what_its_satellite_says(tmp_path, file_name, names, order):
    bands = np.arange(len(names), dtype=np.uint16)[:, None, None] + np.full((len(names), 4, 5), 7000, np.uint16)
    path = write_raster(tmp_path / f"{file_name}.tif", bands, descriptions=names)
    if order is None:
        with pytest.raises(
            UserError, match="called SR_B4, SR_B3, SR_B2, which mean others on Landsat 8 and 9 than bef"
        ):
            open_scene([path], BANDS_RGB)
        assert open_scene([path], BANDS_RGB, names).read(0, 4)[0][:, 0, 0].tolist() == [7000, 7001, 7002]
        return
    with open_scene([path], BANDS_RGB) as scene:
        assert (scene.read(0, 4)[0][:, 0, 0] - 7000).tolist() == order and not scene.source.sentinel2
    if "B5" in names[-1] or "B05" in names:
        with open_scene([path], (*BANDS_RGB, "B8")) as scene:
            assert scene.read(0, 4)[0][3, 0, 0] == 7000 + len(names) - 1
        with pytest.raises(UserError, match="lacks B5"):
            open_scene([path], (*BANDS_RGB, "B5"))


def test_scene_bands_are_found_by_any_of_their_names(tmp_path):
    bands = np.array([2, 3, 4, 8], np.uint16)[:, None, None] + np.zeros((4, 4, 5), np.uint16)
    for file_names, asked in (
        (("B2", "B3", "B4", "B8"), BANDS_RGB),
        (("blue", "green", "red", "nir"), ("B4", "B03", "b2")),
    ):
        path = write_raster(tmp_path / "scene.tif", bands, descriptions=file_names)
        assert open_scene([path], BANDS_RGB, asked).read(0, 4)[0][:, 0, 0].tolist() == [4, 3, 2]


def test_a_band_that_is_missing_is_named(tmp_path):
    names = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12", "slope", "dem")
    path = write_raster(tmp_path / "scene.tif", np.ones((14, 4, 5), np.uint16), descriptions=names)
    with pytest.raises(UserError, match="lacks B10: its bands are called B1, B2"):
        open_scene([path], BANDS_L4S)
    path = write_raster(tmp_path / "three.tif", np.ones((3, 4, 5), np.uint16), descriptions=("B2", "B3", "B8"))
    with pytest.raises(UserError, match="lacks red: its bands are called B2, B3, B8, and the run takes red green blue"):
        open_scene([path], BANDS_RGB)
    assert open_scene([path], BANDS_RGB, ("3", "2", "1")).grid.shape == (4, 5)


def test_files_of_other_resolutions_are_brought_onto_the_finest_grid(tmp_path):
    """Bands of 60, 10 and 20 m that hold their own coordinates: bilinear warping gives them back."""
    paths = []
    for size, count, name in ((60, 10, "B01"), (10, 60, "B02"), (20, 30, "B05")):
        grid = from_origin(300000, 1500000, size, size)
        x, y = centres(grid, count, count)
        band = (x - 300000) + 2 * (1500000 - y)
        paths.append(write_raster(tmp_path / f"T51_{name}.tif", [band.astype(np.float32)], grid))
    opened = open_scene(paths, BANDS_RGB, ("B01", "B02", "B05"))
    assert opened.grid.transform.a == 10 and opened.grid.shape == (60, 60)
    values, valid = opened.read(0, 60)
    x, y = centres(opened.grid.transform, 60, 60)
    inside = np.s_[4:-4, 4:-4]
    for band in values:
        assert np.abs(band - (x - 300000) - 2 * (1500000 - y))[inside].max() < 0.5
    assert valid.all()
    by_name = open_scene(paths, BANDS_RGB, ("B5", "B1", "B2")).read(7, 9)[0]
    assert np.array_equal(by_name, values[[2, 0, 1], 7:9])
    two = write_raster(tmp_path / "two.tif", np.ones((2, 5, 5), np.float32))
    with pytest.raises(UserError, match="two.tif has 2 bands: of several files each must hold a single one"):
        open_scene([paths[0], two], BANDS_RGB)


def test_reading_a_strip_takes_little_more_memory_than_its_values(tmp_path):
    """NumPy reports its arrays to tracemalloc."""
    path = write_raster(tmp_path / "scene.tif", np.ones((14, 480, 600), np.uint16))
    grid = tiles.TileGrid.of((480, 600), 512, 32, 16)
    with open_scene([path], BANDS_L4S) as opened:
        tracemalloc.start()
        strip = tiling.read_strip(opened, grid, 0, (0.0,) * 14)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert strip.values.nbytes < peak < 1.4 * strip.values.nbytes


@pytest.mark.parametrize("crs", [UTM, "EPSG:32650"])
def test_a_strip_of_a_view_holds_what_gdal_warps_in_one_piece(tmp_path, crs):
    x, y = pyproj.Transformer.from_crs(UTM, crs, always_xy=True).transform(296000, 1504000)
    coarse = np.random.default_rng(0).normal(100, 20, (1, 700, 1600)).astype(np.float32)
    write_raster(tmp_path / "fine.tif", np.ones((1, 600, 2400), np.float32))
    write_raster(tmp_path / "coarse.tif", coarse, from_origin(x, y, 20, 20), crs)
    with open_scene([tmp_path / "fine.tif", tmp_path / "coarse.tif"], ("red", "green")) as opened:
        values, valid = opened.read(7, 500)
        assert valid.all()
        np.testing.assert_array_equal(values[1], opened.files[1].view.read(1, window=((7, 500), (0, 2400))))


def test_nodata_of_any_band_and_nan_are_no_data(tmp_path):
    bands = np.ones((3, 6, 6), np.float32)
    bands[0, 0, 0], bands[1, 1, 1], bands[2, 2, 2] = -9, np.nan, 7
    opened = open_scene([write_raster(tmp_path / "a.tif", bands, nodata=-9)], BANDS_RGB, nodata=7.0)
    valid = opened.read(0, 6)[1]
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.parametrize("kind", ["int16", "float32"])
@pytest.mark.parametrize("fill", [-9999, -32768])
def test_usual_fills_without_a_tag_are_no_data(tmp_path, capsys, kind, fill):
    """They are left out before pixels are averaged: GDAL's average of a tagged file is the reference."""
    bands = np.random.default_rng(0).integers(200, 3000, (3, 40, 60)).astype(kind)
    bands[:, :, :31] = fill
    plain, tagged = (write_raster(tmp_path / f"{tag}.tif", bands, nodata=tag) for tag in (None, fill))
    values, valid = open_scene([plain], BANDS_RGB).read(0, 40)
    assert not valid[:, :31].any() and valid[:, 31:].all()
    assert f"None.tif: {fill} counts as no data (51.7% of its pixels)" in capsys.readouterr().out
    (values, valid), (expected, known) = (
        open_scene([path], BANDS_RGB, pixel_size=20.0).read(0, 20) for path in (plain, tagged)
    )
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(values[:, valid], expected[:, valid])


@pytest.mark.parametrize("kind", ["uint16", "uint8"])
def test_black_collars_are_not_blended_with_the_ground(tmp_path, kind):
    bands = np.random.default_rng(0).integers(100, 120, (3, 40, 60)).astype(kind)
    bands[:, :, :31], bands[0, 20, 50] = 0, 0
    values, valid = open_scene([write_raster(tmp_path / "a.tif", bands)], BANDS_RGB, pixel_size=20.0).read(0, 20)
    assert not valid[:, :15].any() and valid[:, 15:].all()
    assert values[1:, valid].min() >= 100 and values[0, valid].min() > 70


def test_two_values_of_no_data_hold_where_pixels_are_averaged(tmp_path):
    bands = np.random.default_rng(0).integers(100, 120, (3, 40, 60)).astype(np.uint16)
    bands[:, :, :10], bands[:, :, 50:] = 0, 65535
    path = write_raster(tmp_path / "a.tif", bands, nodata=0)
    values, valid = open_scene([path], BANDS_RGB, nodata=65535.0, pixel_size=20.0).read(0, 20)
    assert not valid[:, :4].any() and not valid[:, 26:].any() and valid[:, 6:24].all()
    assert values[:, valid].min() >= 100 and values[:, valid].max() <= 120


@pytest.mark.parametrize("names", [BANDS_RGB, ("red", "green", "blue", "nir")])
def test_near_infrared_hides_nothing_where_pixels_are_averaged(tmp_path, names):
    """GDAL takes the fourth band of a TIFF of 8 bits for alpha; over water it may be 0."""
    bands = np.random.default_rng(0).integers(50, 200, (4, 40, 60)).astype(np.uint8)
    bands[3, :20] = 0
    path = write_raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")
    values, valid = open_scene([path], names, pixel_size=20.0).read(0, 20)
    assert valid.all()
    expected = bands[: len(names)].reshape(len(names), 20, 2, 30, 2).mean((2, 4))
    np.testing.assert_allclose(values, expected, atol=0.51)


def test_an_alpha_channel_is_a_mask_and_no_band(tmp_path):
    bands = np.full((4, 6, 6), 255, np.uint8)
    bands[3, 2:] = 0
    path = write_raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")
    values, valid = open_scene([path], BANDS_RGB).read(0, 6)
    assert len(values) == 3 and valid.sum() == 12


def test_scalings(tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.integers(1, 4000, (14, 30, 40)).astype(np.uint16)
    raw[:, :, :5] = 0
    opened = open_scene([write_raster(tmp_path / "a.tif", raw, nodata=0)], BANDS_L4S, offset=-1000.0)
    plain, (pixels, _) = opened.source, opened.sample()
    opened.source = scaling.scaled(plain, "l4s", BANDS_L4S, pixels)
    values, valid = opened.read(0, 30)
    offset = np.where(light(BANDS_L4S), 1000.0, 0)[:, None, None]
    expected = (raw - offset) / np.array(SCALE_L4S)[:, None, None]
    assert values[:, valid] == pytest.approx(expected[:, valid], rel=1e-5)
    opened.source = scaling.scaled(plain, "stretch", BANDS_L4S, pixels)
    values, _ = opened.read(0, 30)
    assert values[12:, valid] == pytest.approx(expected[12:, valid], rel=1e-5)  # terrain is not stretched
    for band, stretched in zip(raw[:12, valid], values[:12, valid], strict=True):
        low, high = np.percentile(band, [2, 98])
        assert stretched == pytest.approx(np.clip((band - low) / (high - low), 0, 1) * 255, abs=0.01)
    assert scaling.scaled(plain, "none", BANDS_L4S, pixels) == plain
    with pytest.raises(UserError, match="scaling l4s knows .*; the run's band band1 is none of them"):
        scaling.scaled(plain, "l4s", ("band1", "band2", "band3"), pixels)
    with pytest.raises(UserError, match="scaling 'l5s' is none of auto, none, l4s, stretch"):
        scaling.scaled(plain, "l5s", BANDS_RGB, pixels)


def test_bands_far_from_training_are_found():
    pixels = np.random.default_rng(0).normal([[0.0], [5.0], [0.0], [0.0]], [[1.0], [1.0], [5.0], [0.05]], (4, 5000))
    assert unusual_bands(pixels.mean(1), pixels.var(1), np.zeros(4), np.ones(4)) == [1, 2, 3]


def test_a_large_scene_is_judged_by_windows_spread_over_it(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    bands = rng.normal(np.linspace(0, 9, 700)[:, None], 1, (3, 700, 500)).astype(np.float32)
    opened = open_scene([write_raster(tmp_path / "a.tif", bands)], BANDS_RGB)
    whole, _ = opened.sample()
    monkeypatch.setattr(scene, "SAMPLE_PIXELS", 200_000)
    part, _ = opened.sample()
    assert part.shape[1] < whole.shape[1] == 350_000
    assert part.mean() == pytest.approx(whole.mean(), abs=0.1) and part.std() == pytest.approx(whole.std(), abs=0.1)


def test_a_thumbnail_read_in_strips_is_that_of_the_whole(tmp_path, monkeypatch):
    bands = np.random.default_rng(0).integers(0, 3000, (3, 211, 157), np.uint16)  # 0 is no data
    opened = open_scene([write_raster(tmp_path / "scene.tif", bands, nodata=0)], BANDS_RGB)
    pictures = []
    for rows in (7, 1000):
        monkeypatch.setattr(scene, "THUMBNAIL_ROWS", rows)
        pictures.append(opened.thumbnail((2, 1, 0), 90))
    (image, valid, factor), (whole, known, _) = pictures
    assert image.shape == (90, 67, 3) and factor == pytest.approx(211 / 90)
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(image[valid], whole[valid])
