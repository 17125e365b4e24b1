"""Bands beside red, green and blue: opacity or near infrared, named or not, in patches as in scenes."""

import numpy as np
import pytest
import rasterio

import dataset
from bands import BANDS_RGB, matching_bands
from patches import landslide_free, reading
from patches.layouts import HDF5
from patches.patch_format import PatchFormat
from script import UserError
from tests.patch_files import open_folder, write_h5
from tests.rasters import open_scene, write_raster


@pytest.mark.parametrize("kind", ["infrared", "alpha"])
def test_the_fourth_band_is_data_unless_it_holds_0_and_255_alone(tmp_path, kind):
    """GDAL takes the fourth band of any 8-bit TIFF for alpha; near infrared is 0 over water."""
    rng = np.random.default_rng(0)
    for number in range(4):
        image = rng.integers(40, 200, (4, 32, 32)).astype(np.uint8)
        image[3] = 255 if kind == "alpha" else image[3]
        image[3, :, :10] = 0
        if number == 3:  # all water, or nothing hidden
            image[3] = 0 if kind == "infrared" else 255
        write_raster(tmp_path / kind / f"images/t_{number}.tif", image)
    count = 4 if kind == "infrared" else 3
    patch = reading.read_patch(tmp_path / kind / "images/t_3.tif", None)
    assert patch.image.shape[2] == count and patch.gap is None
    patches = open_folder(tmp_path / kind)
    assert patches.input_shape[2] == count
    assert len(patches) == 4 and bool(patches.notes) == (kind == "alpha")
    names = ("red", "green", "blue", "nir")[:count]
    with open_scene([tmp_path / kind / "images/t_3.tif"], names) as scene:
        values, valid = scene.read(0, 32)
    np.testing.assert_array_equal(np.moveaxis(values, 0, -1), patch.image)
    assert valid.all()


@pytest.mark.parametrize("colour", [0, 255])
def test_a_tile_that_opacity_hides_as_a_whole_holds_no_data(tmp_path, colour):
    image = np.full((4, 32, 32), colour, np.uint8)
    image[3] = 0
    path = write_raster(tmp_path / "t_1.tif", image, photometric="RGB", alpha="YES")
    with pytest.raises(reading.Fault, match="holds no data at all"):
        reading.read_patch(path, None)
    with open_scene([path], ("red", "green", "blue")) as scene:
        assert not scene.read(0, 32)[1].any()


# ---------------------------------------------------------------------- bands that no name tells apart


def numbered(kind, count, size=32):
    """Bands that hold 50, 51, 52 ..."""
    return np.full((count, size, size), 50, kind) + np.arange(count, dtype=kind)[:, None, None]


def patch_bands(path, run):
    """The values that a run takes from a patch."""
    patch = reading.read_patch(path, None)
    arrays = path.suffix in HDF5
    return patch.image[0, 0, matching_bands(run, patch.band_names(), path, "the run", arrays=arrays)].tolist()


def scene_bands(path, run):
    with open_scene([path], run) as scene:
        return scene.read(0, 1)[0][:, 0, 0].tolist()


@pytest.mark.parametrize("read", [patch_bands, scene_bands])
@pytest.mark.parametrize("run", [BANDS_RGB, ("B2", "B3", "B4")])
def test_three_of_four_bands_without_names_and_colours_are_unknown(tmp_path, read, run):
    """16-bit rasters state no colours by themselves, and many satellites have blue first."""
    path = write_raster(tmp_path / "a_1.tif", numbered("uint16", 4))
    with pytest.raises(UserError, match=r"4 bands(, but the run takes 3| without names: which of them are)"):
        read(path, run)
    with rasterio.open(path, "r+") as file:  # as the message says
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("blue", "green", "red", "undefined")]
    assert read(path, BANDS_RGB) == [52, 51, 50]
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in (*BANDS_RGB, "undefined")]
    assert read(path, BANDS_RGB) == [50, 51, 52]


def test_the_message_says_how_four_bands_are_named(tmp_path):
    path = write_raster(tmp_path / "d/images/a_1.tif", numbered("uint16", 4))
    said = "4 bands without names: which of them are red green blue of .* colours: gdal_edit.py -colorinterp_1 red"
    with pytest.raises(UserError, match=said):
        landslide_free.read_image(path, PatchFormat((32, 32, 3), np.dtype("uint16"), BANDS_RGB, BANDS_RGB))
    with pytest.raises(UserError, match=said):
        dataset.use_matching(open_folder(tmp_path / "d"), BANDS_RGB, "the run", 3)


@pytest.mark.parametrize("read", [patch_bands, scene_bands])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_four_bands_are_those_of_a_run_of_four_in_their_order(tmp_path, read, kind):
    path = write_raster(tmp_path / "a_1.tif", numbered(kind, 4))
    for run in ((*BANDS_RGB, "nir"), ("band1", "band2", "band3", "band4")):
        assert read(path, run) == [50, 51, 52, 53]


def test_the_first_three_of_four_bands_of_hdf5_are_red_green_and_blue(tmp_path):
    write_h5(tmp_path / "a_1.h5", "img", np.moveaxis(numbered("float32", 4), 0, -1))
    assert patch_bands(tmp_path / "a_1.h5", BANDS_RGB) == [50, 51, 52]


@pytest.mark.parametrize("count", [4, 5, 14])
@pytest.mark.parametrize("colours", [BANDS_RGB, ("blue", "green", "red")])
def test_colours_that_a_file_states_of_more_bands_count_in_patches_as_in_scenes(tmp_path, count, colours):
    path = write_raster(tmp_path / "a_1.tif", numbered("uint8", count), photometric="RGB")
    with rasterio.open(path, "r+") as file:
        others = [rasterio.enums.ColorInterp.undefined] * (count - 3)
        file.colorinterp = [*(rasterio.enums.ColorInterp[name] for name in colours), *others]
    expected = [50 + colours.index(name) for name in BANDS_RGB]
    assert patch_bands(path, BANDS_RGB) == scene_bands(path, BANDS_RGB) == expected
    assert reading.read_patch(path, None).band_names()[3] == "band4"


@pytest.mark.parametrize("count", [3, 4])
def test_red_green_and_blue_are_no_other_three_bands(tmp_path, count):
    path = write_raster(tmp_path / "a.tif", np.full((count, 8, 8), 9, np.uint8))
    with pytest.raises(UserError, match="lacks B8"), open_scene([path], ("B8", "B4", "B3")):
        pass


@pytest.mark.parametrize("read", [patch_bands, scene_bands])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_the_band_beside_three_colours_is_the_last_one_of_a_run_of_four_in_the_same_order(tmp_path, read, kind):
    path = write_raster(tmp_path / "a_1.tif", numbered(kind, 4), photometric="RGB")
    runs = {"rgb": (*BANDS_RGB, "B8"), "bgr": ("B2", "B3", "B4", "B8"), "infrared first": ("B8", "B4", "B3", "B2")}
    for colours, order in ((BANDS_RGB, "rgb"), (BANDS_RGB[::-1], "bgr")):
        with rasterio.open(path, "r+") as file:
            file.colorinterp = [rasterio.enums.ColorInterp[name] for name in (*colours, "undefined")]
        assert read(path, runs[order]) == [50, 51, 52, 53]
        for other in runs.keys() - {order}:
            with pytest.raises(UserError, match="lacks B8"):
                read(path, runs[other])


def test_a_run_that_knows_some_bands_by_number_takes_them_by_it(tmp_path, capsys):
    run, ten = ("band8", "band4", "band3"), write_raster(tmp_path / "a_1.tif", numbered("uint16", 10))
    patch = reading.read_patch(ten, None)
    of_patch = patch.image[0, 0, matching_bands(run, patch.band_names(), ten, "the run", 10)].tolist()
    assert of_patch == scene_bands(ten, run) == [57, 53, 52]
    assert "the run knows its bands by number, so they are taken by it: band8 band 8" in capsys.readouterr().out
    for count in (3, 4):
        path = write_raster(tmp_path / f"{count}.tif", numbered("uint8", count))
        with pytest.raises(UserError, match=f"{count} bands, but the run takes bands 8 4 3 of its files"):
            scene_bands(path, run)
    backwards = ("band4", "band3", "band2")
    assert scene_bands(path, backwards) == [53, 52, 51]
