"""What is no data is left out before pixels are moved: a raster means the same on its own grid and on another."""

import contextlib
import zipfile

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from bands import BANDS_RGB
from mask_values import UNLABELLED
from scenes.before_after import reopened
from scenes.comparing.layers import RasterLayer
from scenes.elevation import Elevation
from scenes.hiding_raster import HidingRaster
from scenes.labels import MaskRaster
from scenes.masked_view import lookup, masked_view
from script import UserError
from tests.rasters import GRID, grid_of, open_scene, write_raster

SIZE = 32
TOP = np.arange(SIZE)[:, None].repeat(SIZE, 1) < 10  # what opacity hides
MIDDLE = slice(16, 20)  # rows of a number of no data
OPACITY = [("uint8", 255), ("uint16", 65535), ("uint16", 255), ("int16", 255), ("float32", 255), ("float32", 1)]


def ground(kind, count=3):
    return np.random.default_rng(0).integers(40, 120, (count, SIZE, SIZE)).astype(kind)


def write_hidden(path, bands, most, tag=None, own_mask=None):
    """Write bands, and beside them opacity of 0 and `most` that hides TOP."""
    path = write_raster(path, [*bands, np.where(TOP, 0, most).astype(bands.dtype)], nodata=tag)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.colorinterp = [*file.colorinterp[:-1], ColorInterp.alpha]
        if own_mask is not None:
            file.write_mask(own_mask)
    return path


def read_on_both_grids(paths, bands=BANDS_RGB, **options):
    """Return [(values, valid)] of a scene on its own grid and on one that is larger by a pixel on every side."""
    with open_scene(paths, bands, **options) as scene:
        own = scene.read(0, SIZE)
    scene = reopened(open_scene(paths, bands, **options), grid_of(paths[0]).grown(1))
    with scene:
        values, valid = scene.read(0, SIZE + 2)
    assert not valid[[0, -1]].any() and not valid[:, [0, -1]].any()
    return [own, (values[:, 1:-1, 1:-1], valid[1:-1, 1:-1])]


# ---------------------------------------------------------------------- the view


@pytest.mark.parametrize(
    ("kind", "numbers", "hidden"),
    [
        ("uint8", [0], [0]),
        ("uint16", [0, 65535], [0, 65535]),
        ("int32", [2**24], [2**24, -9999, -32768]),
        ("float32", [0.1], [0.1, -9999, np.nan, np.inf, -np.inf, -3.4e38, 9.97e36, -1e31]),
        ("float64", [0.1, np.nan], [0.1, -32768, np.nan, -np.inf, -1.7e308, 1e31]),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_a_mask_hides_exactly_the_numbers_of_no_data(tmp_path, kind, numbers, hidden, together):
    bands, kind = ground(kind), np.dtype(kind)
    bands[0, 3, : len(hidden)] = bands[:, 5, : len(hidden)] = hidden
    if kind.kind == "f":  # the numbers beside them are data
        bands[:, 7, :2] = np.nextafter(kind.type(0.1), kind.type([0, 1]))
        bands[:, 7, 2:4] = np.nextafter(kind.type(-9999), kind.type([-1e9, 0]))
    elif kind == "int32":
        bands[:, 7, :4] = 2**24 + 1, 2**24 - 1, -9998, -10000
    table = lookup(kind, numbers)
    groups = [{1: table, 2: table, 3: table}] if together else [{number: table} for number in (1, 2, 3)]
    expected = np.ones((SIZE, SIZE), bool)
    expected[5, : len(hidden)] = False
    expected[3, : len(hidden)] = together
    with rasterio.open(write_raster(tmp_path / "a.tif", bands)) as file:
        view, memory = masked_view(file, [3, 1], groups)
        with memory, view:
            np.testing.assert_array_equal(view.read_masks(1) > 0, expected)
            np.testing.assert_array_equal(view.read(), bands[[2, 0]])


def test_numbers_that_a_type_cannot_hold_hide_nothing():
    assert lookup("uint8", [0.5, -1, 256, np.nan]) == {} and list(lookup("int8", [-128]).values()) == [255, 0, 255]


def test_overviews_of_a_file_are_those_of_its_view(tmp_path):
    """Pictures of a large mosaic are made from them."""
    bands = np.repeat(np.repeat(ground("uint16"), 16, 1), 16, 2)
    bands[:, :160] = 0
    path = write_raster(tmp_path / "a.tif", bands, tiled=True)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4], rasterio.enums.Resampling.nearest)
    with open_scene([path], BANDS_RGB, pixel_size=20.0) as scene:
        assert scene.files[0].view.overviews(1) == [2, 4]
        values, valid = scene.read_files(Window(0, 0, 256, 256), shape=(64, 64))
    assert not valid[:19].any() and valid[21:].all() and values[:, valid].min() >= 40


# ---------------------------------------------------------------------- scenes

BAD = {  # type, tag, number in MIDDLE, whether it is in one band alone
    "8 bits beside opacity": ("uint8", 0, 0, False),
    "16 bits beside opacity": ("uint16", 0, 0, True),
    "signed beside opacity": ("int16", None, -9999, True),
    "not a number": ("float32", -1, np.nan, True),
    "infinite": ("float32", None, np.inf, True),
    "the least number of R": ("float32", None, -3.4e38, True),
    "the fill of NetCDF": ("float64", None, 9.969209968386869e36, True),
}


@pytest.mark.parametrize("case", BAD)
def test_a_number_of_no_data_is_left_out_before_pixels_are_averaged_and_moved(tmp_path, case):
    kind, tag, number, alone = BAD[case]
    bands = np.repeat(ground(kind, 1), 3, 0)
    bands[: 1 if alone else 3, MIDDLE] = number
    expected = np.ones((SIZE, SIZE), bool)
    expected[MIDDLE] = False
    path = write_raster(tmp_path / "a.tif", bands, nodata=tag)
    if "opacity" in case:
        path = write_hidden(path, bands, {"uint8": 255, "uint16": 65535, "int16": 32767}[kind], tag)
        expected &= ~TOP
    for values, valid in read_on_both_grids([path]):
        np.testing.assert_array_equal(valid, expected)
        np.testing.assert_array_equal(values[:, valid], bands[:, valid])
    with open_scene([path], BANDS_RGB, pixel_size=20.0) as scene:
        values, valid = scene.read(0, SIZE // 2)
    whole = expected.reshape(SIZE // 2, 2, SIZE // 2, 2).all((1, 3))
    assert valid[whole].all() and values[:, valid].min() >= 40 and values[:, valid].max() <= 120


@pytest.mark.parametrize("number", [-9999, np.nan, np.inf, -np.inf, -3.4e38, 9.969209968386869e36])
@pytest.mark.parametrize("tag", [None, -1])
def test_of_a_block_with_one_bad_pixel_the_others_are_the_average(tmp_path, number, tag):
    bands = np.full((3, SIZE, SIZE), 100, np.float32)
    bands[0, 13, 14] = number
    path = write_raster(tmp_path / "a.tif", bands, nodata=tag)
    with open_scene([path], BANDS_RGB, pixel_size=40.0) as scene:
        values, valid = scene.read(0, 8)
    assert valid.all() and (values == 100).all()


@pytest.mark.parametrize(("kind", "most"), OPACITY)
def test_opacity_hides_the_same_ground_on_another_grid(tmp_path, kind, most):
    path = write_hidden(tmp_path / "a.tif", ground(kind), most)
    for _, valid in read_on_both_grids([path]):
        np.testing.assert_array_equal(valid, ~TOP)


@pytest.mark.parametrize("fourth", ["opaque", "near infrared", "elevation"])
@pytest.mark.parametrize("stated", [False, True])
def test_the_bands_that_a_run_takes_decide_on_every_grid(tmp_path, fourth, stated):
    bands, expected, tag = ground("uint8"), np.ones((SIZE, SIZE), bool), None if stated else 0
    bands[:, MIDDLE], expected[MIDDLE] = 0, False
    bands[0, 25] = 0  # dark ground
    others = np.full((1, SIZE, SIZE), 255 if fourth == "opaque" else 90, np.uint8)
    names = ("red", "green", "blue", "dem" if fourth == "elevation" else "nir")
    path = write_raster(tmp_path / "a.tif", np.concatenate([bands, others]), nodata=tag)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [*file.colorinterp[:3], ColorInterp.alpha if fourth == "opaque" else ColorInterp.undefined]
        if fourth != "opaque":
            file.descriptions = names
    for _, valid in read_on_both_grids([path], nodata=0.0 if stated else None):
        np.testing.assert_array_equal(valid, expected)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_zeros_of_several_files_without_a_tag_decide_together(tmp_path, kind):
    bands, expected = ground(kind), np.ones((SIZE, SIZE), bool)
    bands[0, :5], bands[:, MIDDLE], expected[MIDDLE] = 0, 0, False
    paths = [write_raster(tmp_path / f"{name}.tif", band[None]) for name, band in zip(BANDS_RGB, bands, strict=True)]
    for _, valid in read_on_both_grids(paths):
        np.testing.assert_array_equal(valid, expected)


# ---------------------------------------------------------------------- elevation


@pytest.mark.parametrize(("kind", "most"), [("int16", 32767), ("int16", 255), ("float32", 255), ("float32", 1)])
@pytest.mark.parametrize("own_mask", [None, TOP.T])
def test_opacity_masks_and_voids_of_elevation_hold_together(tmp_path, kind, most, own_mask):
    metres, expected = np.full((1, SIZE, SIZE), 500, kind), ~TOP
    metres[0, MIDDLE], expected = -9999, expected & (np.arange(SIZE) // 4 != 4)[:, None]
    metres[0, 24:28], expected = 32767, expected & (np.arange(SIZE) // 4 != 6)[:, None]
    if own_mask is not None:
        expected = expected & ~own_mask
    path = write_hidden(tmp_path / "dem.tif", metres, most, own_mask=None if own_mask is None else ~own_mask)
    grid = grid_of(path)
    for factor in (1, 0.5):
        pixels = grid.with_pixels(factor)
        with contextlib.closing(Elevation([path], pixels)) as elevation:
            read = elevation.read(Window(0, 0, *pixels.shape))
        known = np.kron(expected, np.ones((round(1 / factor),) * 2)) > 0
        np.testing.assert_array_equal(np.isfinite(read), known)
        assert set(read[known].tolist()) == {500.0}


def test_voids_that_are_not_numbers_stay_as_large_as_they_are(tmp_path):
    metres = np.random.default_rng(0).uniform(500, 520, (1, SIZE, SIZE)).astype(np.float32)
    metres[0, 8:16, 8:16] = np.nan
    path = write_raster(tmp_path / "dem.tif", metres, nodata=-9999)
    fine = grid_of(path).with_pixels(0.5)
    with contextlib.closing(Elevation([path], fine)) as elevation:
        assert np.isnan(elevation.read(Window(0, 0, *fine.shape))).sum() == 16 * 16


# ---------------------------------------------------------------------- masks, probabilities and clouds


def labels_of(path, grid):
    with contextlib.closing(MaskRaster(path, grid)) as labels:
        return labels.read(0, grid.height, 0, grid.width)


def reference_of(path, grid):
    with contextlib.closing(RasterLayer(path, grid, threshold=0.5 if "percent" in path.name else None)) as layer:
        landslide, known, _ = layer.read(0, grid.height)
    return np.where(known, landslide, np.uint8(UNLABELLED))


def clouds_of(path, grid):
    with contextlib.closing(HidingRaster(path, "scl" if "scl" in path.name else "mask", grid)) as clouds:
        return clouds.hidden(0, grid.height).astype(np.uint8)


def on_both_grids(read, path):
    grid = grid_of(path)
    own, larger = read(path, grid), read(path, grid.grown(1))
    np.testing.assert_array_equal(larger[1:-1, 1:-1], own)
    return own


@pytest.mark.parametrize("reader", [labels_of, reference_of])
@pytest.mark.parametrize(("kind", "most"), OPACITY)
@pytest.mark.parametrize("tag", [None, 0, 7])
def test_what_opacity_hides_has_no_label_beside_a_tag_in_any_type(tmp_path, reader, kind, most, tag):
    mask = np.zeros((1, SIZE, SIZE), kind)
    mask[0, :, 20:], mask[0, MIDDLE] = 1, tag or 0
    expected = mask[0].astype(np.uint8)
    expected[TOP] = UNLABELLED
    expected[MIDDLE] = UNLABELLED if tag else 0
    path = write_hidden(tmp_path / "mask.tif", mask, most, tag)
    np.testing.assert_array_equal(on_both_grids(reader, path), expected)


def test_what_opacity_hides_has_no_probability_beside_a_tag(tmp_path):
    percent = np.full((1, SIZE, SIZE), 80, np.uint8)
    percent[0, MIDDLE] = 255
    path = write_hidden(tmp_path / "percent.tif", percent, 255, 255)
    hidden = TOP | (np.arange(SIZE) // 4 == 4)[:, None]
    np.testing.assert_array_equal(on_both_grids(reference_of, path), np.where(hidden, UNLABELLED, 1))


@pytest.mark.parametrize(("kind", "most"), [("uint8", 255), ("uint16", 65535), ("uint16", 255)])
def test_opacity_hides_classes_and_no_mask_of_clouds(tmp_path, kind, most):
    """Ground whose class is hidden is not seen; where a mask is hidden, nothing is cloud."""
    bands = np.full((1, SIZE, SIZE), 4, kind)
    bands[0, MIDDLE] = 9
    clouds = (np.arange(SIZE) // 4 == 4)[:, None].repeat(SIZE, 1)
    path = write_hidden(tmp_path / "scl.tif", bands, most)
    np.testing.assert_array_equal(on_both_grids(clouds_of, path), TOP | clouds)
    path = write_hidden(tmp_path / "mask.tif", (bands == 9).astype(kind), most)
    np.testing.assert_array_equal(on_both_grids(clouds_of, path), clouds)


@pytest.mark.parametrize("reader", [labels_of, clouds_of])
def test_a_scale_of_a_mask_is_refused(tmp_path, reader):
    path = write_raster(tmp_path / "mask.tif", np.ones((1, SIZE, SIZE), np.uint8))
    with rasterio.open(path, "r+") as file:
        file.offsets = (1.0,)
    with pytest.raises(UserError, match="mask.tif states a scale or an offset: write the values of a mask as they are"):
        reader(path, grid_of(path))


@pytest.mark.parametrize("reader", [labels_of, reference_of, clouds_of])
def test_a_picture_with_transparent_pixels_is_refused(tmp_path, reader):
    """As a patch, the opaque part of one colour is landslide: drawn so, the rest is no landslide."""
    path = tmp_path / "mask.png"
    write_raster(path, [np.full((SIZE, SIZE), 200, np.uint8), np.where(TOP, 0, 255).astype(np.uint8)])
    with pytest.raises(UserError, match=r"mask.png is a picture with transparent pixels: write a .* as GeoTIFF, or as"):
        reader(path, grid_of(path))


@pytest.mark.parametrize("kind", ["uint8", "int16", "int32", "uint32", "int64", "float32"])
def test_codes_of_a_map_are_no_fault_on_another_grid(tmp_path, kind):
    mask = np.zeros((1, SIZE, SIZE), kind)
    mask[0, :4], mask[0, 4:8], mask[0, 8:12], mask[0, 12:16] = 1, 253, 254, 255
    expected = np.uint8([1, 255, 255, 255, 0, 0, 0, 0]).repeat(4)[:, None].repeat(SIZE, 1)
    path = write_raster(tmp_path / "mask.tif", mask)
    for reader in (labels_of, reference_of):
        np.testing.assert_array_equal(on_both_grids(reader, path), expected)


def test_a_lossy_mask_of_0_and_255_is_read_on_another_grid(tmp_path):
    mask = np.zeros((1, SIZE, SIZE), np.uint8)
    mask[0, :, 16:] = 255
    path = write_raster(tmp_path / "mask.tif", mask, compress="JPEG", JPEG_QUALITY=100)
    np.testing.assert_array_equal(on_both_grids(labels_of, path), mask[0] > 0)


def test_a_virtual_raster_with_relative_names_and_a_raster_in_a_zip_are_masked(tmp_path):
    bands, expected = ground("uint16"), np.ones((SIZE, SIZE), bool)
    bands[:, MIDDLE], expected[MIDDLE] = 0, False
    write_raster(tmp_path / "inside.tif", bands)
    with rasterio.open(tmp_path / "inside.tif") as file:
        rasterio.shutil.copy(file, tmp_path / "view.vrt", driver="VRT")
    text = (tmp_path / "view.vrt").read_text()
    assert 'relativeToVRT="1">inside.tif' in text
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "inside.tif", "b/inside.tif")
    for path in (tmp_path / "view.vrt", tmp_path / "a.zip"):
        scene = reopened(open_scene([path], BANDS_RGB), grid_of(tmp_path / "inside.tif").grown(1))
        with scene:
            np.testing.assert_array_equal(scene.read(0, SIZE + 2)[1][1:-1, 1:-1], expected)


def test_each_file_is_moved_to_its_own_ground(tmp_path):
    """A file of pixels of twice the size, whose numbers of no data bend no other."""
    coarse = np.random.default_rng(0).integers(40, 120, (1, SIZE // 2, SIZE // 2)).astype(np.int16)
    coarse[0, 4:6] = -9999
    bands = ground("int16")
    paths = [write_raster(tmp_path / f"{name}.tif", bands[i : i + 1]) for i, name in enumerate(BANDS_RGB[:2])]
    paths.append(write_raster(tmp_path / "blue.tif", coarse, GRID @ GRID.scale(2)))
    with open_scene(paths, BANDS_RGB) as scene:
        values, valid = scene.read(0, SIZE)
    assert np.flatnonzero(~valid.all(1)).tolist() == [8, 9, 10, 11] and values[:, valid].min() >= 40
