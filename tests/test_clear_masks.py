"""Rasters that are 1 where the ground is seen, such as Planet's UDM2, as --clouds."""

import numpy as np
import pytest

from scenes.clouds import open_clouds
from script import UserError
from tests.rasters import grid_of, write_raster

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
        ("a.tif", "cloud", [0, 1, 1, 0]),
        ("a.tif", "0 clear, 1 cloud", [0, 1, 1, 0]),
        ("clear_creek_clouds.tif", None, [0, 1, 1, 0]),
        ("clear_creek.tif", None, [0, 1, 1, 0]),
        ("clear.tif", "cloud", [0, 1, 1, 0]),
    ],
)
def test_a_mask_means_what_its_band_is_called(tmp_path, capsys, name, description, expected):
    path = write_raster(tmp_path / name, np.array([[[0, 1, 1, 0]]], np.uint8), descriptions=(description,))
    assert hidden(path) == expected
    assert ("it is 1 where the ground is seen" in capsys.readouterr().out) == (expected[0] == 1)


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
