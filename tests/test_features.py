"""How far pictures lie from what a network learnt from, by what it makes of them."""

import json
import shutil

import keras
import numpy as np
import pytest

import dataset
from networks import features
from networks.encoders import build_encoder_unet
from networks.model_files import load_model
from scenes.preparation import usual_of_scene
from tests.maps import make_bands
from tests.rasters import write_raster
from unet import build_unet


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return build_unet((32, 32, 14), 4, 2, mean=[1.0] * 14, variance=[0.25] * 14)


def test_features_are_the_means_of_the_coarsest_level(model, flat):
    patches = dataset.open_patches(flat, flat.parent / "cache")
    found = features.patch_features(features.feature_model(model), patches, np.arange(20))
    at_most = {layer.output.shape[-1] for layer in model.layers if layer.output.shape[1] == 8}
    assert found.shape[0] == 20 and found.shape[1] in at_most and np.ptp(found, axis=0).max() > 0
    encoder = features.feature_model(build_encoder_unet((64, 64, 3), ("red", "green", "blue")))
    assert encoder.output.shape == (None, 320)


def test_distances_are_about_one_at_home_and_large_elsewhere(tmp_path):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 40))
    home, others = (rng.normal(size=(400, 6)) @ mixing for _ in range(2))
    features.write_home(tmp_path, home)
    assert (features.distances(tmp_path, home) > 1).mean() == pytest.approx(0.05, abs=0.005)
    assert (features.distances(tmp_path, others) > 1).mean() == pytest.approx(0.05, abs=0.03)
    moved = others + 5 * mixing[0]
    assert (features.distances(tmp_path, moved) > 1).mean() > 0.9
    assert features.distances(tmp_path / "none", home) is None


def test_a_map_says_how_far_its_scene_lies_from_training(call, workdir, unet, capsys):
    run = workdir / "results/own"
    shutil.copytree(workdir / "results/unet", run)
    bands = make_bands(200, 200)
    config = json.loads((run / "config.json").read_text())
    config |= {"band_mean": bands.mean((1, 2)).tolist(), "band_variance": bands.var((1, 2)).tolist()}
    (run / "config.json").write_text(json.dumps(config))
    tiles = [bands[:, r : r + 32, c : c + 32] for r in range(0, 160, 20) for c in range(0, 160, 20)]
    home = features.feature_model(load_model(run)).predict(np.moveaxis(np.stack(tiles), 1, -1), verbose=0)
    features.write_home(run, np.asarray(home))
    said = {}
    for name, scene in (("alike", bands), ("dark", bands / 3)):
        write_raster(workdir / f"{name}.tif", scene)
        call(f"{name}.tif", RUN="own")
        (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("distance from training: "))
        said[name] = line.removeprefix("distance from training: ")
        assert said[name] in (workdir / f"maps/{name}_report.html").read_text()
    assert said["alike"].startswith(("at home: ", "near: ")) and said["dark"].startswith("far")


def test_a_scene_is_compared_with_the_source_that_is_most_like_it():
    """Means over all sources, bright and dark, are like none of them."""
    dark, bright = ([50.0] * 3, [400.0] * 3), ([140.0] * 3, [900.0] * 3)
    pooled = [95.0] * 3, [2700.0] * 3
    sources = [dict(zip(("band_mean", "band_variance"), each, strict=True)) for each in (dark, bright)]
    config = dict(zip(("band_mean", "band_variance"), pooled, strict=True))
    pixels = np.random.default_rng(0).normal(52, 15, (3, 1000))
    assert usual_of_scene(config | {"sources": sources}, pixels) == dark
    assert usual_of_scene(config | {"sources": sources[:1]}, pixels) == pooled
    assert usual_of_scene(config, pixels) == pooled
