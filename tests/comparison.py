"""compare_maps.py called on small maps, and ground for it: fixtures for all tests of comparisons."""

import json

import numpy as np
import pytest
import shapely

import compare_maps
from tests.rasters import LEFT, TOP
from tests.running import call_main


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Run compare_maps.main() in this process and return what it writes to scores.json."""
    monkeypatch.chdir(tmp_path)

    def run(mapped, reference, area="", **constants):
        settings = {"MAP": str(mapped), "REFERENCE": str(reference), "AREA": areas_of(area), "OUT_DIR": "out"}
        settings |= {"OVERWRITE": True, "BOOTSTRAP": 200}
        call_main(compare_maps, monkeypatch, **settings | constants)
        return json.loads((tmp_path / "out" / "scores.json").read_text())

    return run


def areas_of(area):
    """Return the paths of areas, of one path, of several or of none."""
    return tuple(map(str, area)) if isinstance(area, tuple) else (str(area),) if area else ()


def blobs(height=90, width=110, number=30, seed=0):
    """A mask of rectangles of many sizes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(number):
        top, left = rng.integers(0, (height, width))
        down, right = rng.integers(1, 12, 2)
        mask[top : top + down, left : left + right] = 1
    return mask


def cells(*corners, seed=0):
    """Squares far from one another, with sides of 30 to 200 m."""
    rng = np.random.default_rng(seed)
    sides = 10 * rng.integers(3, 21, len(corners))
    return [shapely.box(x, y, x + side, y + side) for (x, y), side in zip(corners, sides, strict=True)]


def scattered(number=40):
    """Squares on a lattice of 300 m, within 2400 m by 1500 m."""
    return cells(*[(LEFT + 50 + 300 * (i % 8), TOP - 290 - 300 * (i // 8)) for i in range(number)])
