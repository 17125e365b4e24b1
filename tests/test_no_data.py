"""Where there is no data: patches and scenes follow one rule for tags, masks, opacity and numbers without a tag."""

import h5py
import numpy as np
import pytest
import rasterio
import rasterio.shutil
from netCDF4 import Dataset
from rasterio.windows import Window
from scipy.ndimage import binary_erosion

from bands import BANDS_RGB
from patches import reading
from patches.scale_tags import is_fill
from scenes import before_after, source
from scenes.scene_digest import scene_digests
from tests.product_files import digital_number, make_safe
from tests.rasters import GRID, open_scene, write_raster, write_virtual

SIZE = 32
LEFT = np.arange(SIZE)[None].repeat(SIZE, 0) < 10  # what masks and opacity hide
LIMITS = {"valid_min": 40, "valid_max": 120}
FLOAT_FILLS = [-9999.0, -32768.0, float(np.finfo(np.float32).min), -3.4028230607370965e38, -3.4e38]


def ground(kind, count=3, size=SIZE):
    return np.random.default_rng(0).integers(40, 120, (count, size, size)).astype(kind)


def inside(pixels):
    """Which pixels of twice the size hold, and touch, only pixels that are True."""
    return binary_erosion(pixels.reshape(16, 2, 16, 2).all((1, 3)), np.ones((3, 3)), border_value=1)


def scene_valid(paths, bands=BANDS_RGB, **options):
    with open_scene(paths if isinstance(paths, list) else [paths], bands, **options) as scene:
        values, valid = scene.read(0, scene.grid.height)
    return values, valid


def both_valid(path, **options):
    """Where scene and patch of one file have data, which must agree."""
    valid = scene_valid(path, **options)[1]
    gap = reading.read_patch(path, None).gap
    np.testing.assert_array_equal(valid, ~gap if gap is not None else True)
    return valid


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("tag", [None, 0, 200, 50])
@pytest.mark.parametrize("hides", ["nothing", "internal mask", "opacity"])
def test_tags_masks_and_opacity_hold_together(tmp_path, kind, tag, hides):
    bands = ground(kind)
    bands[:, 20:25] = 1 if tag is None else tag
    bands[1, 28] = 1 if tag is None else tag  # a single band
    expected = np.ones((SIZE, SIZE), bool)
    if tag is not None:
        bands[(bands == tag) & (np.arange(SIZE) < 20)[:, None]] += 1
        expected[20:25] = expected[28] = False
        if kind == "uint8":
            expected[28] = (bands[:, 28] != tag).any(0)
        expected[25:28] = expected[29:] = True
        rest = np.r_[25:28, 29:SIZE]
        bands[:, rest] = np.where(bands[:, rest] == tag, tag + 1, bands[:, rest])
    options = {}
    if hides == "opacity":
        most = np.iinfo(kind).max if kind != "float32" else 255
        bands = np.concatenate([bands, np.where(LEFT, 0, most).astype(kind)[None]])
        options = {"photometric": "RGB", "alpha": "YES"}
    path = write_raster(tmp_path / "a_1.tif", bands, nodata=tag, **options)
    if hides == "internal mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(~LEFT)
    if hides != "nothing":
        expected &= ~LEFT
    np.testing.assert_array_equal(both_valid(path), expected)
    coarse = scene_valid(path, pixel_size=20.0)[1]  # averaged by GDAL, which also looks at the neighbours
    assert coarse[inside(expected)].all() and not coarse[inside(~expected)].any()


@pytest.mark.parametrize("kind", ["int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("tag", [None, -1, -9999])
def test_usual_numbers_of_no_data_count_in_every_band_beside_each_other_and_a_tag(tmp_path, capsys, kind, tag):
    bands, expected = ground(kind), np.ones((SIZE, SIZE), bool)
    for row, fill in enumerate(FLOAT_FILLS if kind[0] == "f" else FLOAT_FILLS[:2]):
        bands[row % 3, row * 5 : row * 5 + 2], expected[row * 5 : row * 5 + 2] = fill, False
    path = write_raster(tmp_path / "a_1.tif", bands, nodata=tag)
    np.testing.assert_array_equal(both_valid(path), expected)
    assert ("-9999 and -32768" in capsys.readouterr().out) == (tag is None)
    values, valid = scene_valid(path, pixel_size=20.0)
    assert valid[inside(expected)].all()
    assert values[:, valid].min() >= 40 and values[:, valid].max() <= 120  # nothing is blended with them


def test_a_number_in_one_column_of_a_wide_scene_counts(tmp_path):
    bands = np.random.default_rng(0).uniform(100, 3000, (1, 40, 5000)).astype(np.float32)
    bands[:, :, 1235] = -9999
    path = write_raster(tmp_path / "a_1.tif", bands)
    assert np.flatnonzero(~both_valid(path, bands=("red",)).all(0)).tolist() == [1235]


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint16", "float16"])
def test_types_that_cannot_hold_such_numbers_are_not_searched(kind):
    values = np.array([0, 1, 100], kind)
    assert is_fill(values) is None
    assert kind != "float16" or is_fill(np.array([-9999, -32768, 3], np.float16)).tolist() == [True, True, False]


def test_values_beyond_all_measure_are_no_data_of_a_scene_and_damage_of_a_patch(tmp_path):
    bands = ground("float32")
    bands[0, 0, :3] = np.inf, 3.4e38, -1e31
    path = write_raster(tmp_path / "a_1.tif", bands)
    assert np.argwhere(~scene_valid(path)[1]).tolist() == [[0, 0], [0, 1], [0, 2]]
    with pytest.raises(reading.Fault, match="holds NaN or infinite values"):
        reading.read_patch(path, None)


@pytest.mark.parametrize("attributes", [{"_FillValue": -1, "missing_value": -2}, {"valid_range": [40, 120]}, LIMITS])
def test_patches_and_scenes_follow_the_attributes_of_netcdf(tmp_path, attributes):
    """The numbers of no data are the same of HDF5; GDAL knows one of two, and makes the fill of what is not valid."""
    bands, expected = ground("int16"), np.ones((SIZE, SIZE), bool)
    bands[:, 5], bands[0, 9], bands[1, 11], expected[[5, 9, 11]] = -2, -1, 300, False
    if "missing_value" not in attributes:
        attributes = {"_FillValue": -99, **attributes}
    else:
        expected[11] = True
    attributes = {name: np.int16(value) for name, value in attributes.items()}
    with h5py.File(tmp_path / "a_1.h5", "w") as file:
        file["img"] = np.moveaxis(bands, 0, -1)
        file["img"].attrs.update(attributes)
    with Dataset(tmp_path / "a.nc", "w") as file:
        for axis, sign in (("y", -1), ("x", 1)):
            file.createDimension(axis, SIZE)
            places = file.createVariable(axis, "f8", (axis,))
            places[:] = sign * 10 * np.arange(SIZE)
            places.setncatts({"standard_name": f"projection_{axis}_coordinate", "units": "m"})
        for name, band in zip(BANDS_RGB, bands, strict=True):
            stored = file.createVariable(name, "i2", ("y", "x"), fill_value=attributes["_FillValue"])
            stored.set_auto_maskandscale(False)
            stored.setncatts({name: value for name, value in attributes.items() if name != "_FillValue"})
            stored[:] = band
    np.testing.assert_array_equal(~reading.read_patch(tmp_path / "a_1.h5", None).gap, expected)
    valid = scene_valid([f'NETCDF:"{tmp_path}/a.nc":{name}' for name in BANDS_RGB])[1]
    np.testing.assert_array_equal(valid, expected)


def test_a_valid_range_of_one_end_is_refused(tmp_path):
    with h5py.File(tmp_path / "a_1.h5", "w") as file:
        file["img"] = np.moveaxis(ground("int16"), 0, -1)
        file["img"].attrs["valid_range"] = np.int16([3])
    with pytest.raises(reading.Fault, match="'img' states a valid_range of 1 numbers, and two are its ends"):
        reading.read_patch(tmp_path / "a_1.h5", None)


# ---------------------------------------------------------------------- 8 bits, several files, several dates


@pytest.mark.parametrize("grid", ["own", "other"])
def test_several_files_of_8_bits_lack_data_where_all_do(tmp_path, grid):
    """One file of the three bands is the reference."""
    bands = ground("uint8")
    bands[0, :5], bands[:, 20:] = 0, 0
    whole = write_raster(tmp_path / "whole.tif", bands, nodata=0)
    fine = np.kron(bands, np.ones((1, 2, 2), np.uint8))
    if grid == "own":
        parts = [write_raster(tmp_path / f"part{i}.tif", bands[i : i + 1], nodata=0) for i in range(3)]
    else:
        parts = [write_raster(tmp_path / "part0.tif", bands[:1], nodata=0)]
        for i in (1, 2):
            parts.append(write_raster(tmp_path / f"part{i}.tif", fine[i : i + 1], GRID @ GRID.scale(0.5), nodata=0))
    (values, valid), (_, known) = scene_valid(parts), scene_valid(whole)
    if grid == "own":
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(values, bands)
    else:
        assert valid[:38].all() and not valid[42:].any()


def test_the_bands_that_a_run_takes_decide(tmp_path):
    bands = ground("uint8", 4)
    bands[:3, :10] = 0
    path = write_raster(tmp_path / "a_1.tif", bands, nodata=0)
    with open_scene([path], BANDS_RGB, ("1", "2", "3")) as scene:
        assert np.flatnonzero(~scene.read(0, SIZE)[1].all(1)).tolist() == list(range(10))
    with open_scene([path], (*BANDS_RGB, "nir")) as scene:
        assert scene.read(0, SIZE)[1].all()


def test_each_of_two_dates_has_its_own_edge(tmp_path):
    paths = []
    for name, rows in (("after", np.s_[:5]), ("before", np.s_[25:])):
        bands = ground("uint8")
        bands[:, rows], bands[0, 15] = 0, 0
        paths.append(write_raster(tmp_path / f"{name}.tif", bands, nodata=0))
    names = tuple(f"{name} {date}" for date in ("before", "after") for name in BANDS_RGB)
    with before_after.open_pair(*(source.SceneInput((str(path),)) for path in paths), names) as scene:
        valid = scene.read(0, SIZE)[1]
    assert np.flatnonzero(~valid.all(1)).tolist() == [0, 1, 2, 3, 4, *range(25, 32)]


# ---------------------------------------------------------------------- opacity


@pytest.mark.parametrize(("kind", "most"), [("uint8", 255), ("uint16", 65535), ("uint16", 255), ("int16", 32767)])
def test_opacity_of_any_integer_is_recognised(tmp_path, kind, most):
    bands = np.concatenate([ground(kind), np.where(LEFT, 0, most).astype(kind)[None]])
    path = write_raster(tmp_path / "a_1.tif", bands, photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(both_valid(path), ~LEFT)
    assert reading.read_patch(path, None).image.shape[2] == 3
    bands[3, 0, 20] = most - 1  # then it is a fourth band, such as near infrared
    write_raster(path, bands, photometric="RGB", alpha="YES")
    assert reading.read_patch(path, None).image.shape[2] == 4
    assert scene_valid(path, bands=(*BANDS_RGB, "nir"))[1].all()


def test_an_internal_mask_and_opacity_hold_together(tmp_path):
    opacity = np.where(LEFT.T, 0, 255).astype(np.uint8)[None]
    path = write_raster(tmp_path / "a.tif", np.concatenate([ground("uint8"), opacity]), photometric="RGB", alpha="YES")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(~LEFT)
    np.testing.assert_array_equal(scene_valid(path)[1], ~LEFT & ~LEFT.T)


def test_the_warper_of_gdal_writes_such_opacity(tmp_path):
    path = write_raster(tmp_path / "plain.tif", ground("uint16"))
    with (
        rasterio.open(path) as file,
        rasterio.vrt.WarpedVRT(file, crs="EPSG:32652", add_alpha=True) as view,
    ):
        bands, transform = view.read(), view.transform
    assert set(np.unique(bands[3])) == {0, 65535}
    path = write_raster(tmp_path / "a_1.tif", bands, transform, "EPSG:32652", photometric="RGB", alpha="YES")
    np.testing.assert_array_equal(both_valid(path), bands[3] > 0)


def test_bands_of_a_virtual_raster_may_have_tags_of_their_own(tmp_path):
    parts = [write_raster(tmp_path / f"{i}.tif", band[None], nodata=7) for i, band in enumerate(ground("uint16"))]
    write_raster(parts[0], np.where(np.arange(SIZE)[:, None] == 2, 7, ground("uint16")[:1]))
    band = ground("uint16")[1:2]
    band[:, 4] = 7
    write_raster(parts[1], band, nodata=7)
    path = write_virtual(tmp_path / "a.vrt", parts)
    assert np.flatnonzero(~scene_valid(path)[1].all(1)).tolist() == [4]


@pytest.mark.parametrize("tags", [(0, 0, 65535), (0, None, 65535)])
def test_each_tag_of_a_virtual_raster_holds_where_pixels_are_resampled(tmp_path, tags):
    parts, bands, expected = [], ground("uint16"), np.ones((SIZE, SIZE), bool)
    for i, tag in enumerate(tags):
        columns = slice(10 * i, 10 * i + 6)
        if tag is not None:
            bands[i, :, columns], expected[:, columns] = tag, False
        parts.append(write_raster(tmp_path / f"{i}.tif", bands[i : i + 1], nodata=tag))
    bands[2, 20:, 28:] = 0  # a value of this band
    write_raster(parts[2], bands[2:], nodata=tags[2])
    path = write_virtual(tmp_path / "a.vrt", parts)
    np.testing.assert_array_equal(scene_valid(path)[1], expected)
    values, valid = scene_valid(path, pixel_size=20.0)
    assert valid[inside(expected)].all() and not valid[inside(~expected)].any()
    assert values[:2, valid].min() >= 40 and values[:, valid].max() <= 120
    assert (values[2, 11:, 15:] == 0).all() and valid[11:, 15:].all()


@pytest.mark.parametrize("kind", ["uint16", "uint8"])
def test_a_virtual_raster_may_hold_bands_of_several_types(tmp_path, kind):
    dem = np.full((1, SIZE, SIZE), 812.5, np.float32)
    dem[:, :4] = -32767
    bands = ground(kind)
    bands[:, 8:10], bands[0, 12] = 0, 0
    parts = [write_raster(tmp_path / f"{i}.tif", band[None], nodata=0) for i, band in enumerate(bands)]
    path = write_virtual(tmp_path / "a.vrt", [*parts, write_raster(tmp_path / "dem.tif", dem, nodata=-32767)])
    expected = np.ones((SIZE, SIZE), bool)
    expected[:4] = expected[8:10] = expected[12] = False
    expected[12] = kind == "uint8"  # where a single dark band of 8 bits is ground
    with open_scene([path], (*BANDS_RGB, "dem"), ("1", "2", "3", "4")) as scene:
        values, valid = scene.read(0, SIZE)
        assert scene.dtype == kind and scene.dtypes == [kind] * 3 + ["float32"]
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(values[:, valid], np.concatenate([bands, dem])[:, valid])
    with open_scene([path], (*BANDS_RGB, "dem"), ("1", "2", "3", "4"), pixel_size=20.0) as scene:
        values, valid = scene.read(0, SIZE // 2)
    assert valid[8:].all() and not valid[:1].any() and (values[3, valid] == 812.5).all()
    assert scene_digests([path]) == scene_digests([path])


def test_a_number_of_no_data_that_is_stated_counts_beside_that_of_a_product(tmp_path):
    path = make_safe(tmp_path)
    with open_scene([path], BANDS_RGB, nodata=65535.0) as scene, open_scene([path], BANDS_RGB) as plain:
        np.testing.assert_array_equal(scene.read(0, 12)[1], plain.read(0, 12)[1])
        assert not scene.read(0, 6)[1].any() and scene.source.nodata[0] == (0.0, 65535.0)
    with open_scene([path], BANDS_RGB, nodata=float(digital_number("B4"))) as scene:
        assert not scene.read(0, 12)[1].any()


# ---------------------------------------------------------------------- averages, for pictures


@pytest.mark.parametrize(
    ("kind", "fill", "options"),
    [("int16", -9999, {}), ("float32", -9999, {}), ("uint16", 0, {}), ("uint8", 0, {}), ("uint16", 9, {"nodata": 9.0})],
)
def test_numbers_without_a_tag_are_left_out_before_pixels_are_averaged(tmp_path, kind, fill, options):
    """GDAL's average of a tagged file is the reference, where bands hold the same pixels."""
    bands = np.repeat(ground(kind, 1, 100), 3, 0)
    bands[:, :, :33], bands[:, 50:52, 70:72] = fill, fill
    paths = [write_raster(tmp_path / f"{tag}.tif", bands, nodata=tag) for tag in (None, fill)]
    averages = []
    for path, others in zip(paths, (options, {}), strict=True):
        with open_scene([path], BANDS_RGB, **others) as scene:
            averages.append(scene.read_files(Window(0, 0, 100, 100), shape=(20, 20)))
    (values, valid), (expected, known) = averages
    np.testing.assert_array_equal(valid, known)
    assert valid[:, 7:].all() and values[:, valid].min() >= 40
    np.testing.assert_allclose(values[:, valid], expected[:, valid], atol=0.51)  # GDAL rounds


@pytest.mark.parametrize("tag", [None, np.nan, -9999.0])
def test_what_is_not_a_number_is_left_out_before_pixels_are_averaged(tmp_path, tag):
    bands = ground("float32", 3, 100)
    bands[:, :, :33], bands[:, 50:52, 70:72] = np.nan, np.inf
    if tag is None:
        bands[:, 0] = 0
    with open_scene([write_raster(tmp_path / "a.tif", bands, nodata=tag)], BANDS_RGB) as scene:
        values, valid = scene.read_files(Window(0, 0, 100, 100), shape=(20, 20))
    assert valid[:, 7:].all() and not valid[:, :6].any() and np.isfinite(values[:, valid]).all()


def test_a_collar_of_zeros_is_none_in_pictures_of_three_of_four_bands(tmp_path):
    bands = ground("uint16", 4, 100)
    bands[:, :, :33] = 0
    with open_scene([write_raster(tmp_path / "a.tif", bands)], (*BANDS_RGB, "nir")) as scene:
        values, valid = scene.read_files(Window(0, 0, 100, 100), (0, 1, 2), (20, 20))
    assert valid[:, 7:].all() and not valid[:, :6].any() and values[:, valid].min() >= 40


def test_a_usual_number_beside_a_tag_is_left_out_before_pixels_are_averaged(tmp_path):
    bands = ground("int16", 3, 100)
    bands[:, :7], bands[:, 50:52, 70:72] = -1, -9999
    with open_scene([write_raster(tmp_path / "a.tif", bands, nodata=-1)], BANDS_RGB) as scene:
        values, valid = scene.read_files(Window(0, 0, 100, 100), shape=(20, 20))
    assert not valid[0].any() and valid[1:].all() and values[:, valid].min() >= 40


def test_averages_of_a_part_of_a_row_are_those_of_the_whole(tmp_path):
    bands = ground("int16", 3, 101)
    bands[:, :9] = -9999
    with open_scene([write_raster(tmp_path / "a.tif", bands)], BANDS_RGB) as scene:
        whole, valid = scene.read_files(Window(0, 0, 101, 101), shape=(30, 41))
        for first in range(0, 30, 7):
            count = min(7, 30 - first)
            part, known = scene.read_files(Window(0, first * 101 / 30, 101, count * 101 / 30), shape=(count, 41))
            np.testing.assert_array_equal(part, whole[:, first : first + count])
            np.testing.assert_array_equal(known, valid[first : first + count])


def test_overviews_of_a_file_that_states_all_its_gaps_keep_their_rim(tmp_path):
    bands = ground("float32", 3, 240)
    bands[:, :, ::24] = np.nan
    path = write_raster(tmp_path / "a.tif", bands, nodata=np.nan)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    with open_scene([path], BANDS_RGB) as scene:
        assert scene.files[0].reduced and scene.thumbnail((0, 1, 2), 50)[1].all()


@pytest.mark.parametrize("kind", ["product", "GeoTIFF with overviews"])
def test_overviews_that_hold_averages_lose_their_rim(tmp_path, kind):
    if kind == "product":
        path = make_safe(tmp_path, "1C")
    else:
        bands = np.full((3, 240, 240), 2000, np.int16)
        bands[:, :, :33] = -9999
        path = write_raster(tmp_path / "a.tif", bands)
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4], rasterio.enums.Resampling.average)
    with open_scene([path], BANDS_RGB) as scene:
        values, valid, _ = scene.thumbnail((0, 1, 2), 50)
        lowest = scene.read(60, 61, 200)[0].min((1, 2))
    assert valid.any() and not valid.all()
    np.testing.assert_allclose(values[valid].min(0), lowest, atol=1)
