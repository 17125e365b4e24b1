"""Rasters of --clouds that say what they are: classes by the name of a band, masks that are 1 where ground is seen."""

import h5py
import numpy as np
import pytest
import rasterio

from scenes.clouds import open_clouds
from script import UserError
from tests.rasters import grid_of, write_netcdf, write_raster

UDM2 = ("clear", "snow", "shadow", "haze_light", "haze_heavy", "cloud", "confidence", "unusable")


def hidden(path):
    """Return what a raster of clouds hides in its first row, as 0 and 1."""
    clouds = open_clouds(str(path), None, grid_of(path), None)
    row = clouds.hidden(0, 1)[0].astype(int).tolist()
    clouds.close()
    return row


@pytest.mark.parametrize(
    ("name", "description", "expected"),
    [
        ("a.tif", "clear", [1, 0, 0, 1]),
        ("a.tif", "Clear sky mask", [1, 0, 0, 1]),
        ("a.tif", "cloud-free", [1, 0, 0, 1]),
        ("udm2_clear.tif", None, [1, 0, 0, 1]),
        ("T33_valid_mask.tif", None, [1, 0, 0, 1]),
        ("S2_cloudfree_mask.tif", None, [1, 0, 0, 1]),
        ("no_clouds.tif", None, [1, 0, 0, 1]),
        ("S2_cloudless_mask.tif", None, [1, 0, 0, 1]),
        ("a.tif", "not cloudy", [1, 0, 0, 1]),
        ("a.tif", "free of clouds", [1, 0, 0, 1]),
        ("a.tif", "cloud mask (1=no cloud)", [1, 0, 0, 1]),
        ("a.tif", "valid data mask", [1, 0, 0, 1]),
        ("T33_valid.tif", None, [1, 0, 0, 1]),
        ("a.tif", "valid data", [1, 0, 0, 1]),
        ("a.tif", "Mask: 1 valid, 0 cloud", [1, 0, 0, 1]),
        ("a.tif", "cloud", [0, 1, 1, 0]),
        ("a.tif", "0 clear, 1 cloud", [0, 1, 1, 0]),
        ("clear_creek_clouds.tif", None, [0, 1, 1, 0]),
        ("clear.tif", "cloud", [0, 1, 1, 0]),
        ("clear_creek.tif", "cloud", [0, 1, 1, 0]),
    ],
)
def test_a_mask_means_what_its_band_is_called(tmp_path, capsys, name, description, expected):
    path = write_raster(tmp_path / name, np.array([[[0, 1, 1, 0]]], np.uint8), descriptions=(description,))
    assert hidden(path) == expected
    assert ("it is 1 where the ground is seen" in capsys.readouterr().out) == (expected[0] == 1)


@pytest.mark.parametrize(
    "name",
    "clear_creek.tif clear_creek_mask.tif valid_20200101.tif T33_clear_sky.tif T33_valid_pixels.tif mask_valid_T33.tif "
    "clearsky_mask.tif T33_validity_mask.tif T33_invalid_mask.tif non-valid_mask.tif no_valid_data_mask.tif".split(),
)
def test_a_mask_whose_name_may_mean_both_is_refused(tmp_path, name):
    path = write_raster(tmp_path / name, np.array([[[0, 1, 1, 0]]], np.uint8))
    with pytest.raises(UserError, match=f"its name, {name.partition('.')[0]}.*, does not say whether 0 is ground"):
        hidden(path)


@pytest.mark.parametrize("name", ["clear=1 cloud=0", "cloud=1 clear=0", "cloud mask clear=1"])
def test_numbers_behind_their_words_are_refused(tmp_path, name):
    path = write_raster(tmp_path / "a.tif", np.array([[[0, 1, 1, 0]]], np.uint8), descriptions=(name,))
    with pytest.raises(UserError, match="does not say whether 0 is ground"):
        hidden(path)


def test_classes_keep_their_meaning_under_such_a_name(tmp_path, capsys):
    path = write_raster(tmp_path / "clear_creek.tif", np.array([[[4, 8, 9, 4]]], np.uint8))
    assert hidden(path) == [0, 1, 1, 0] and "SCL" in capsys.readouterr().out


def test_a_udm2_of_planet_is_read_by_its_band_clear(tmp_path):
    bands = np.zeros((8, 1, 4), np.uint8)
    bands[0], bands[5], bands[6] = [1, 0, 1, 0], [0, 1, 0, 0], 90
    bands[7, 0, 3] = 1
    assert hidden(write_raster(tmp_path / "x_3B_udm2.tif", bands, descriptions=UDM2)) == [0, 1, 0, 1]
    path = write_raster(tmp_path / "x_8.tif", bands)
    with pytest.raises(UserError, match="x_8.tif has 8 bands"):
        hidden(path)


def test_a_clear_band_of_many_values_is_refused(tmp_path):
    path = write_raster(tmp_path / "a.tif", np.array([[[0, 30, 70, 100]]], np.uint8), descriptions=("clear",))
    with pytest.raises(UserError, match="a.tif: its band clear holds 0 30 70 100: 0 is hidden ground, 1 is seen"):
        hidden(path)


CLASSES = {  # name: (values of a row, which of them are hidden); as few as over a small area
    "SCL": ([4, 4, 0, 0], [0, 0, 1, 1]),
    "Fmask": ([0, 1, 2, 3], [0, 0, 1, 0]),
    "QA_PIXEL": ([21824, 22280, 21824, 21824], [0, 1, 0, 0]),
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("where", ["file", "description", "tag", "variable"])
def test_classes_are_known_by_what_their_band_is_called(tmp_path, capsys, name, where):
    """As exports of openEO and Earth Engine name them; as a mask, clear ground would be hidden."""
    values, expected = CLASSES[name]
    row, path = np.array([values], np.uint16), tmp_path / (f"{name}.tif" if where == "file" else "openEO.tif")
    if where == "variable":
        path = write_netcdf(tmp_path / "openEO.nc", row)
        with h5py.File(path, "r+") as file:
            file.move("Band1", name)
            del file[name].attrs["long_name"]
    else:
        write_raster(path, [row], descriptions=(name,) if where == "description" else ())
    if where == "tag":
        with rasterio.open(path, "r+") as file:
            file.update_tags(1, BAND_NAME=name)
    assert hidden(path) == expected
    assert "taken for" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "description", "values", "expected"),
    [
        ("a_SCL.tif", "cloud mask", [0, 4, 4, 0], [0, 1, 1, 0]),
        ("a_cloudmask.tif", "SCL", [0, 4, 4, 0], [1, 0, 0, 1]),
        ("a_SCL.tif", "Band 1", [0, 4, 4, 0], [1, 0, 0, 1]),
        ("a.tif", "SCL", [0, 1, 0, 1], [0, 1, 0, 1]),  # a mask that was made of SCL and kept its name
        ("a.tif", "SCL cloud mask", [0, 1, 0, 1], [0, 1, 0, 1]),
        ("a.tif", "SCL", [4, 4, 8, 8], [0, 0, 1, 1]),
        ("a.tif", None, [1, 1, 1, 1], [1, 1, 1, 1]),
    ],
)
def test_the_first_name_that_says_something_decides_before_the_values(tmp_path, name, description, values, expected):
    path = write_raster(tmp_path / name, np.array([[values]], np.uint8), descriptions=(description,))
    assert hidden(path) == expected


@pytest.mark.parametrize("values", [[1, 2, 1, 2], [3, 4, 4, 3], [4, 4, 4, 4], [100, 200, 100, 200]])
def test_values_without_a_name_and_without_seen_ground_are_no_mask(tmp_path, values):
    path = write_raster(tmp_path / "a.tif", np.array([[values]], np.uint8))
    with pytest.raises(UserError, match=r"a.tif holds .*: a mask of clouds is 0 where the ground is seen"):
        hidden(path)
