"""Black ground in a file without a tag: ground in a patch, beyond the edge in a scene."""

import numpy as np
import pytest

from bands import BANDS_RGB
from patches import reading
from patches.folder_packing import black_share
from tests.patch_files import open_folder, scar
from tests.rasters import open_scene, write_raster

BEYOND = np.add.outer(np.arange(32), np.arange(32)) < 20


def write_folder(folder, tag=None):
    """Four tiles, of which two show the rim of a mosaic, and one a dark lake of few pixels."""
    for number in range(1, 5):
        image = np.random.default_rng(number).integers(20, 200, (3, 32, 32)).astype(np.uint8)
        image[:, BEYOND] = 0 if number < 3 else image[:, BEYOND]
        image[:, 20:24, :8] = 0 if number == 3 else image[:, 20:24, :8]
        write_raster(folder / f"images/t_{number}.tif", image, nodata=tag)
        write_raster(folder / f"masks/t_{number}.tif", scar(number)[None])
    return folder


@pytest.mark.parametrize("tag", [None, 0])
def test_black_is_ground_of_a_patch_unless_a_tag_says_otherwise(tmp_path, tag):
    patches = open_folder(write_folder(tmp_path / "d", tag))
    assert ((patches.masks == 255).sum((1, 2)) == [0 if tag is None else n for n in (210, 210, 32, 0)]).all()
    said = "in 2 files more than 10% of the pixels are 0 in all bands of light, which counts as ground"
    assert any(note.startswith(said) for note in patches.notes) == (tag is None)
    with open_scene([tmp_path / "d/images/t_1.tif"], BANDS_RGB) as scene:
        np.testing.assert_array_equal(scene.read(0, 32)[1], ~BEYOND)


def test_elevation_beside_black_does_not_count(tmp_path):
    bands = np.full((4, 32, 32), 800, np.uint16)
    bands[:3, BEYOND] = 0
    path = write_raster(tmp_path / "a_1.tif", bands, descriptions=(*BANDS_RGB, "dem"))
    assert black_share(reading.read_patch(path, None)) == BEYOND.mean()
