"""Runs that give maps known beforehand, and predict.py called on scenes: fixtures for all tests of maps.

The runs are tiny. `pixel` gives sigmoid(4 (red - 1)) of each pixel by itself, so that every map is known beforehand;
`unet` is a U-Net, shortly trained, which sees its neighbourhood and the edges of its tile.
"""

import html
import json
import re
import shutil

import numpy as np
import pytest
import rasterio
import scipy

import predict
from bands import BANDS_L4S
from networks import tiles
from tests.patch_files import make_pair
from tests.running import call_main

TILE = 32
KINDS = (
    "probability.tif",
    "mask.tif",
    "landslides.gpkg",
    "quicklook.png",
    "report.html",
    "probability.qml",
    "mask.qml",
    "stac.json",
)
DESK = "desk.html"  # of scenes that are as large as a box


def write_run(results, name, model, bands, threshold):
    """Write what predict.py reads of a run."""
    folder = results / name
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    config = {
        "bands": bands,
        "file_bands": len(bands),
        "input_shape": [TILE, TILE, len(bands)],
        "band_mean": [1.0] * len(bands),
        "band_variance": [0.25] * len(bands),
        "values": "l4s",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "threshold.json").write_text(json.dumps({"threshold": threshold, "precision": 0.8, "recall": 0.6}))


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A results folder with the runs `pixel` (red green blue) and `terrain` (14 bands, by slope)."""
    import keras

    results = tmp_path_factory.mktemp("workdir") / "results"
    for name, bands, which, gain, bias in (
        ("pixel", ("red", "green", "blue"), 0, 4.0, -4.0),
        ("terrain", BANDS_L4S, 12, 0.2, -5.0),
    ):
        image = keras.Input((TILE, TILE, len(bands)))
        model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="c")(image))
        kernel = np.zeros((1, 1, len(bands), 1), np.float32)
        kernel[0, 0, which] = gain
        model.get_layer("c").set_weights([kernel, np.array([bias], np.float32)])
        write_run(results, name, model, bands, 0.7)
    return results


@pytest.fixture(scope="session")
def unet(results):
    """Train the run `unet` (3 bands): tests that take it ask for it, because it takes seconds."""
    import keras

    from unet import build_unet

    keras.utils.set_random_seed(1)
    model = build_unet((TILE, TILE, 3), 4, 2, block="plain", stem=1, mean=[1.0] * 3, variance=[0.25] * 3)
    images, masks = (np.stack(arrays) for arrays in zip(*(make_pair(i, TILE, 3) for i in range(64)), strict=True))
    model.compile("adam", "binary_crossentropy")
    model.optimizer.learning_rate = 0.01
    model.optimizer.build(model.trainable_variables)  # if built in the first step, TensorFlow traces that step twice
    model.fit(images, masks[..., None], batch_size=8, epochs=5, verbose=0)
    write_run(results, "unet", model, ("red", "green", "blue"), 0.5)


@pytest.fixture
def workdir(tmp_path, results, monkeypatch):
    """An empty folder to work in, with the runs: its own, because scripts write into them."""
    shutil.copytree(results, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")  # STAC items hold the time at which a map was made
    return tmp_path


@pytest.fixture
def call(workdir, monkeypatch):
    """Run predict.main() in this process on some inputs, with strips as low as small scenes need to have several."""
    monkeypatch.setattr(tiles, "STRIP", 64)

    def run(*inputs, **constants):
        settings = {"INPUT": tuple(map(str, inputs)), "OUT_DIR": "maps", "RUN": "pixel", "OVERWRITE": True}
        call_main(predict, monkeypatch, **settings | constants)

    return run


def make_bands(height=70, width=83, seed=0):
    """A scene of three bands around 1 with a few bright patches in red."""
    rng = np.random.default_rng(seed)
    bands = rng.normal(1, 0.1, (3, height, width)).astype(np.float32)
    for _ in range(max(1, height * width // 600)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        bands[0, top : top + 9, left : left + 7] += 1.0
    return bands


def ground(height=300, width=400, seed=0, shift=(0, 0)):
    """Three bands around 1 with structure of some pixels, moved by `shift` (down, right)."""
    rng = np.random.default_rng(seed)
    rough = scipy.ndimage.gaussian_filter(rng.normal(size=(height + 20, width + 20)), 1.5)
    moved = scipy.ndimage.shift(rough, shift, order=3)[10:-10, 10:-10]
    return np.repeat((1 + 0.3 * moved / rough.std() * 0.3)[None], 3, 0).astype(np.float32)


def sigmoid(red):
    return 1 / (1 + np.exp(-4.0 * (red.astype(np.float64) - 1)))


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def written(workdir):
    return sorted(path.name for path in (workdir / "maps").iterdir())


def report_text(path):
    """Return the text of a report, without tags."""
    return html.unescape(re.sub("<[^>]*>", "", path.read_text(encoding="utf-8")))


def assert_same_maps(folder, other, scene="scene", kinds=KINDS):
    """Two folders hold the same bytes for each kind of file of a scene, and for its desk if it has one."""
    names = [f"{scene}_{kind}" for kind in kinds]
    assert (folder / f"{scene}_{DESK}").exists() == (other / f"{scene}_{DESK}").exists()
    for name in (*names, f"{scene}_{DESK}") if (folder / f"{scene}_{DESK}").exists() else names:
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name
