"""A scene with polygons of landslides, and make_patches.py called on it: fixtures for all tests of labels."""

import numpy as np
import pytest
import shapely

import make_patches
from tests.maps import make_bands
from tests.rasters import LEFT, TOP, box, write_raster, write_shapes
from tests.running import call_main

HEIGHT, WIDTH = 272, 384
AREA = box(10, 0, 200, 375)  # the part of the scene that was looked at


@pytest.fixture
def slides():
    """Discs and blobs on the ground of the scene."""
    rng = np.random.default_rng(3)
    centres = rng.uniform((20, 20), (HEIGHT - 20, WIDTH - 20), (30, 2))
    return [shapely.Point(LEFT + 10 * c, TOP - 10 * r).buffer(rng.uniform(20, 120)) for r, c in centres]


@pytest.fixture
def event(workdir, slides):
    """A folder with scene.tif (float), slides.gpkg and area.gpkg."""
    write_raster(workdir / "scene.tif", make_bands(HEIGHT, WIDTH))
    write_shapes(workdir / "slides.gpkg", *slides)
    write_shapes(workdir / "area.gpkg", AREA)
    return workdir


@pytest.fixture
def cut(monkeypatch):
    """Run make_patches.main() in this process on some scenes; lists of paths become tuples of text."""

    def run(*scene, **constants):
        settings = {"SCENE": tuple(map(str, scene)), "RUN": "pixel", "OUT_DIR": "event"} | constants
        lists = {name: tuple(map(str, value)) for name, value in settings.items() if isinstance(value, list)}
        call_main(make_patches, monkeypatch, **settings | lists)

    return run
