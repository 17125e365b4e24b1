"""The picture of a map: what it shows lies where the mask has it."""

import numpy as np
import pytest
from PIL import Image

from mask_values import EXCLUDED, HIDDEN
from scenes import quick_look
from tests.rasters import open_scene, write_raster

BANDS = ("red", "green", "blue")


@pytest.mark.parametrize("code", [HIDDEN, EXCLUDED])
def test_ground_that_is_not_judged_is_drawn_where_the_mask_has_it(tmp_path, monkeypatch, code):
    codes = np.zeros((1, 40, 60), np.uint8)
    codes[0, :12, :20] = code  # one corner
    codes[0, 30, 50] = code
    scene_path = write_raster(tmp_path / "scene.tif", np.full((3, 40, 60), 90, np.uint8))
    write_raster(tmp_path / "mask.tif", codes)
    kept = []
    monkeypatch.setattr(quick_look.plt, "close", kept.append)
    with open_scene([scene_path], BANDS) as scene:
        polygons = np.zeros(0, object)
        quick_look.draw(tmp_path / "q.png", scene, tmp_path / "mask.tif", (0, 1, 2), polygons, "title", [], {})
    (axis,), picture = kept[0].axes, np.asarray(Image.open(tmp_path / "q.png").convert("L")).astype(int)
    scale = picture.shape[0] / kept[0].bbox.height
    shown = np.zeros((40, 60))
    for row in range(40):
        for column in range(60):
            corners = axis.transData.transform([(column + 0.2, row + 0.8), (column + 0.8, row + 0.2)]) * scale
            (left, low), (right, high) = corners.round().astype(int)
            shown[row, column] = picture[-high:-low, left:right].max()  # hatches are dark lines
    bar = np.zeros((40, 60), bool)
    bar[-12:, :40] = True  # the scale bar lies there
    np.testing.assert_array_equal((shown > 20)[~bar], (codes[0] == code)[~bar])


def test_a_clouded_scene_is_stretched_by_the_ground_that_is_seen():
    ground = np.random.default_rng(0).uniform(0.02, 0.1, (30, 30, 3))
    image, codes = ground.copy(), np.zeros((30, 30), np.uint8)
    image[:20], codes[:20] = 0.9, HIDDEN
    picture = quick_look.as_seen(image, np.ones((30, 30), bool), codes)
    np.testing.assert_allclose(picture[20:].mean(), 0.5, atol=0.05)
