"""Pictures that viewers turn, as a camera's orientation asks for: masks are drawn on what is seen."""

import numpy as np
import pytest
from PIL import Image

from patches import image_files
from scenes.opening import open_raster
from script import UserError


def write(path, orientation):
    exif = Image.Exif()
    if orientation:
        exif[274] = orientation
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_a_picture_that_viewers_turn_is_refused_as_patch_mask_and_scene(tmp_path, name):
    for orientation in (3, 6):
        path = write(tmp_path / name, orientation)
        line = rf"is turned or mirrored by viewers \(EXIF orientation {orientation}\).* mogrify -auto-orient"
        for read in (image_files.read, image_files.read_mask):
            with pytest.raises(image_files.NotAPicture, match=line):
                read(path)
        with pytest.raises(UserError, match=f"{name} {line}"):
            open_raster(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", [None, 0, 1])
def test_an_upright_picture_is_read(tmp_path, name, orientation):
    path = write(tmp_path / name, orientation)
    assert image_files.read(path)[0].shape == (20, 30, 3)
    open_raster(path).close()
