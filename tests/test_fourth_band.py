"""Bands beside red, green and blue: opacity or near infrared, named or not, in patches as in scenes."""

import numpy as np
import pytest

from patches import reading
from tests.patch_files import open_folder
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
