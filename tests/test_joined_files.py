"""Several files of one band each lack data where one file of the same bands does, on any grid."""

import h5py
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

from bands import BANDS_RGB
from scenes.before_after import reopened
from script import UserError
from tests.rasters import GRID, grid_of, open_scene, write_netcdf, write_raster

SIZE = 32
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE]
EDGE = COLUMNS + 0.37 * ROWS < 14  # of a swath
KINDS = [("uint16", None), ("uint8", None), ("uint8", 0), ("uint8", 7)]


def swath(kind, tag, edge=EDGE):
    """Bands of 100 to 119 within a swath, with a single pixel of no data, and a dark one of one band."""
    bands = np.random.default_rng(0).integers(100, 120, (3, SIZE, SIZE)).astype(kind)
    bands[:, edge] = bands[:, 20, 25] = tag or 0
    return bands


def write_files(folder, bands, tag, **options):
    files = zip(BANDS_RGB, bands, strict=True)
    return [write_raster(folder / f"{name}.tif", band[None], nodata=tag, **options) for name, band in files]


@pytest.mark.parametrize(("kind", "tag"), KINDS)
@pytest.mark.parametrize("metres", [5.0, 20.0, 30.0])
@pytest.mark.parametrize("dark", [False, True])
def test_files_of_one_grid_are_read_as_one_file(tmp_path, kind, tag, metres, dark):
    bands = swath(kind, tag)
    bands[0, 5, 28:] = (tag or 0) if dark else bands[0, 5, 28:]  # ground: other bands hold another number
    whole = write_raster(tmp_path / "whole.tif", bands, nodata=tag)
    read = []
    for paths in ([whole], write_files(tmp_path, bands, tag)):
        with open_scene(paths, BANDS_RGB, pixel_size=metres) as scene:
            read.append(scene.read(0, scene.grid.height))
    (values, valid), (expected, known) = read[1], read[0]
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(values[:, valid], expected[:, known])
    assert dark or values[:, valid].min() >= 100


@pytest.mark.parametrize(("kind", "tag"), KINDS)
def test_a_block_of_pixels_is_the_mean_of_those_with_data(tmp_path, kind, tag):
    bands = swath(kind, tag)
    lacking = (bands == (tag or 0)).all(0)
    blocks = np.ma.array(bands, mask=np.broadcast_to(lacking, bands.shape)).reshape(3, 16, 2, 16, 2).mean((2, 4))
    paths = write_files(tmp_path, bands, tag)
    with reopened(open_scene(paths, BANDS_RGB), grid_of(paths[0]).coarser(2)) as scene:
        values, valid = scene.read(0, 16)
    np.testing.assert_array_equal(valid, ~blocks.mask[0])
    np.testing.assert_allclose(values[:, valid], blocks.data[:, valid], rtol=1e-6)


@pytest.mark.parametrize(("kind", "tag"), KINDS)
@pytest.mark.parametrize("metres", [None, 5.0, 30.0])
def test_files_of_several_grids_hide_the_edge_of_the_swath_together(tmp_path, kind, tag, metres):
    """The edge lies between pixels of the coarse file, and a single pixel is 0 in the fine ones."""
    edge = COLUMNS < 14
    bands = swath(kind, tag, edge)
    paths = write_files(tmp_path, bands, tag)
    write_raster(paths[2], bands[2:, ::2, ::2] + np.uint8(1) * ~edge[None, ::2, ::2], GRID @ GRID.scale(2), nodata=tag)
    with open_scene(paths, BANDS_RGB, pixel_size=metres) as scene:
        values, valid = scene.read(0, scene.grid.height)
        beyond = (np.arange(scene.grid.width) + 1) * scene.grid.metres <= 130
    assert values[2, valid].min() >= 100 and not valid[:, beyond].any() and valid[:, -1].all()


@pytest.mark.parametrize("metres", [None, 5.0, 20.0])
def test_a_band_that_is_0_alone_lacks_no_data_whatever_the_grids(tmp_path, metres):
    bands = np.full((3, SIZE, SIZE), 100, np.uint8)
    bands[0, :4] = 0
    paths = write_files(tmp_path, bands, 0)
    for path, band in zip(paths[1:], bands[1:], strict=True):
        write_raster(path, band[None, ::2, ::2], GRID @ GRID.scale(2), nodata=0)
    with open_scene(paths, BANDS_RGB, pixel_size=metres) as scene:
        assert scene.read(0, scene.grid.height)[1].all()


def test_each_file_keeps_its_tag_and_its_internal_mask(tmp_path):
    bands = swath("uint8", 0)
    paths = [write_raster(tmp_path / f"{i}.tif", bands[i : i + 1], nodata=tag) for i, tag in enumerate((0, 9, 0))]
    bands[1, EDGE] = bands[1, 20, 25] = 9
    write_raster(paths[1], bands[1:2], nodata=9)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(paths[2], "r+") as file:
        file.write_mask(ROWS < 28)
    expected = ~EDGE & (ROWS < 28)
    expected[20, 25] = False
    for grown in (0, 1):
        with reopened(open_scene(paths, BANDS_RGB), grid_of(paths[0]).grown(grown)) as scene:
            valid = scene.read(0, scene.grid.height)[1]
        np.testing.assert_array_equal(valid[grown : grown + SIZE, grown : grown + SIZE], expected)


def test_a_file_whose_band_is_not_read_decides_nothing(tmp_path):
    bands = swath("uint8", None)
    bands[1] = 0
    paths = write_files(tmp_path, bands, None)
    with open_scene(paths, ("red", "blue"), ("red", "blue"), pixel_size=5.0) as scene:
        assert scene.read(0, 2 * SIZE)[1].all()  # two bands of 0 say nothing, as in one file


def test_overviews_of_the_files_make_pictures(tmp_path):
    bands = swath("uint16", None).repeat(16, 1).repeat(16, 2)
    paths = write_files(tmp_path, bands, None, tiled=True)
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.build_overviews([2, 4, 8], Resampling.average)
    with open_scene(paths, BANDS_RGB, pixel_size=20.0) as scene:
        image, valid, _ = scene.thumbnail((0, 1, 2), 64)
    assert image[valid].min() >= 100 and 0 < valid.mean() < 1


def test_damage_names_the_files(tmp_path):
    paths = write_files(tmp_path, np.random.default_rng(0).integers(1, 255, (3, 512, 512), np.uint8), 0, tiled=True)
    with open(paths[1], "r+b") as file:
        file.truncate(100_000)
    with (
        open_scene(paths, BANDS_RGB, pixel_size=20.0) as scene,
        pytest.raises(UserError, match=r"red.tif or .*green.tif or .*blue.tif cannot be read at rows"),
    ):
        scene.read(0, 256)


@pytest.mark.parametrize("tag", ["_FillValue", ""])
def test_a_fill_that_netcdf_does_not_state_is_no_tag(tmp_path, tag):
    """GDAL takes the usual fill of the library for one: zeros beyond a swath would be ground."""
    band = np.where(EDGE, 0, 100).astype(np.int16)
    paths = [write_netcdf(tmp_path / f"{name}.nc", band) for name in BANDS_RGB]
    for path in paths:
        with h5py.File(path, "r+") as file:
            del file["Band1"].attrs["_FillValue"]
            if tag:
                file["Band1"].attrs[tag] = np.int16([-1])
    with open_scene(paths, BANDS_RGB) as scene:
        np.testing.assert_array_equal(scene.read(0, SIZE)[1], ~EDGE if not tag else True)
