"""Scaling `match`: the bands of a scene get the mean and the variance that they have in training."""

import numpy as np
import pytest

from bands import BANDS_RGB
from patches.usual_values import statistics_of_size
from scenes import preparation, scaling, source
from script import UserError
from tests.rasters import open_scene, write_raster

SOURCES = [
    {
        "band_mean": [60.0, 50.0, 40.0],
        "band_variance": [900.0, 400.0, 100.0],
        "patches": 9,
        "pixel_sizes": {"8 to 16 m": 1.0},
    },
    {"band_mean": [140.0] * 3, "band_variance": [900.0] * 3, "patches": 90, "pixel_sizes": {"2 to 4 m": 1.0}},
    {
        "band_mean": [100.0] * 3,
        "band_variance": [100.0] * 3,
        "patches": 30,
        "pixel_sizes": {"2 to 4 m": 0.1, "8 to 16 m": 0.2},
    },
]
CONFIG = {
    "bands": BANDS_RGB,
    "values": "display",
    "band_mean": [100.0, 95.0, 90.0],
    "band_variance": [2500.0] * 3,
    "sources": SOURCES,
}


def reflectance(bright=1.0):
    """Bands x 64 x 64 of Sentinel-2's numbers, of which a corner is no data."""
    rng = np.random.default_rng(3)
    bands = rng.normal([[[900]], [[800]], [[600]]], [[[250]], [[120]], [[60]]], (3, 64, 64)) * bright
    bands[:, :8, :8] = 0
    return bands.clip(0, None).astype(np.uint16)


def prepared(path, config, setting="auto", **options):
    """Open and prepare a scene; return (values of pixels with data, bands x pixels; the name of the scaling)."""
    with open_scene([path], BANDS_RGB, scaling=setting, **options) as scene:
        used, _ = preparation.prepare(scene, source.SceneInput((path,), scaling=setting, **options), config)
        values, valid = scene.read(0, scene.grid.height)
        assert scene.source.clip
    return values[:, valid], used


@pytest.mark.parametrize(("metres", "expected"), [(10.0, 0), (3.0, 1), (5.0, None), (30.0, None), (None, None)])
def test_the_source_with_most_patches_of_a_size_counts(metres, expected):
    found = statistics_of_size(CONFIG, metres)
    assert found == (
        expected if expected is None else (SOURCES[expected]["band_mean"], SOURCES[expected]["band_variance"])
    )
    assert statistics_of_size(CONFIG | {"sources": SOURCES[:1]}, metres) is None


def test_bands_get_mean_and_variance_of_training(tmp_path, capsys):
    """By itself where a run of several sources knows such pixels; the brightest hundredth decides nothing."""
    bands = reflectance()
    bands[:, 40:44, 40:44] = 15000  # a cloud
    path = write_raster(tmp_path / "a.tif", bands, descriptions=("B4", "B3", "B2"))
    for setting in ("auto", "match"):
        values, used = prepared(path, CONFIG, setting)
        said = capsys.readouterr().out
        assert used == "match" and "--scaling match" in said and "warning" not in said
        ground = np.sort(values, 1)[:, :-16]
        np.testing.assert_allclose(ground.mean(1), SOURCES[0]["band_mean"], atol=1.5)
        np.testing.assert_allclose(ground.std(1), np.sqrt(SOURCES[0]["band_variance"]), rtol=0.1)
        assert (values.max(1) == 255).all()
    plain, used = prepared(path, CONFIG, "l4s")
    assert used == "l4s"
    order = np.argsort(plain[0])
    assert (np.diff(values[0][order]) >= 0).all(), "the scaling keeps the order of values"


def test_l4s_stays_where_nothing_says_what_to_match(tmp_path):
    """One source, another pixel size, or values far from training, such as of a scene under clouds."""
    path = write_raster(tmp_path / "a.tif", reflectance(), descriptions=("B4", "B3", "B2"))
    assert prepared(path, CONFIG | {"sources": SOURCES[:1]})[1] == "l4s"
    assert prepared(path, CONFIG | {"sources": SOURCES[:2][::-1]})[1] == "match"
    assert prepared(path, CONFIG | {"sources": [SOURCES[0] | {"pixel_sizes": {"2 to 4 m": 1.0}}] * 2})[1] == "l4s"
    path = write_raster(tmp_path / "white.tif", reflectance(4.0), descriptions=("B4", "B3", "B2"))
    assert prepared(path, CONFIG)[1] == "l4s"
    with pytest.raises(UserError, match="no pictures with pixels of this size"):
        prepared(path, CONFIG, "match", pixel_size=5.0)
    values, used = prepared(path, CONFIG | {"sources": []}, "match")
    assert used == "match"
    np.testing.assert_allclose(values.mean(1), CONFIG["band_mean"], atol=3)


def test_terrain_is_not_matched(tmp_path):
    bands = np.concatenate([reflectance(), np.full((1, 64, 64), 20)]).astype(np.uint16)
    path = write_raster(tmp_path / "a.tif", bands, descriptions=("B4", "B3", "B2", "slope"))
    with open_scene([path], ("B4", "B3", "B2", "slope")) as scene:
        pixels, _ = scene.sample()
        scene.source = scaling.matched(scene.source, pixels, [60, 50, 40, 1], [9, 9, 9, 9], "l4s")
        values, valid = scene.read(0, 64)
        assert not scene.source.clip
    np.testing.assert_allclose(values[:, valid].mean(1), [60, 50, 40, 20], atol=0.1)
