"""Runs that give maps known beforehand, and predict.py called on scenes: fixtures for all tests of maps.

The runs are tiny. `pixel` gives sigmoid(4 (red - 1)) of each pixel by itself, so that every map is known beforehand;
`unet` is a U-Net, shortly trained, which sees its neighbourhood and the edges of its tile.
"""

import json

import numpy as np
import pytest
import rasterio

import predict
import script
from bands import BANDS_L4S
from tests.conftest import make_pair

TILE = 32
DEFAULTS = {name: value for name, (value, *_) in script.constants(vars(predict)).items()}
KINDS = (
    "probability.tif",
    "mask.tif",
    "landslides.gpkg",
    "quicklook.png",
    "report.html",
    "probability.qml",
    "mask.qml",
)


def write_run(results, name, model, bands, threshold):
    """Write what predict.py reads of a run."""
    folder = results / name
    folder.mkdir(parents=True)
    model.save(folder / "model.keras")
    config = {
        "bands": bands,
        "input_shape": [TILE, TILE, len(bands)],
        "band_mean": [1.0] * len(bands),
        "band_variance": [0.25] * len(bands),
        "values": "l4s",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "threshold.json").write_text(json.dumps({"threshold": threshold}))


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A results folder with the runs `pixel` (red green blue), `terrain` (14 bands, by slope) and `unet` (3 bands)."""
    import keras

    from unet import build_unet

    results = tmp_path_factory.mktemp("place") / "results"
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
    keras.utils.set_random_seed(1)
    model = build_unet((TILE, TILE, 3), 4, 2, block="plain", stem=1, mean=[1.0] * 3, variance=[0.25] * 3)
    images, masks = (np.stack(arrays) for arrays in zip(*(make_pair(i, TILE, 3) for i in range(64)), strict=True))
    model.compile("adam", "binary_crossentropy")
    model.optimizer.learning_rate = 0.01
    model.fit(images, masks[..., None], batch_size=8, epochs=5, verbose=0)
    write_run(results, "unet", model, ("red", "green", "blue"), 0.5)
    return results


@pytest.fixture
def place(tmp_path, results, monkeypatch):
    """An empty folder to work in, from which the runs can be reached."""
    (tmp_path / "results").mkdir()
    for run in results.iterdir():
        (tmp_path / "results" / run.name).symlink_to(run)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(place, monkeypatch):
    """Run predict.main() in this process, which has Keras loaded, with some constants set."""

    def run(*inputs, **constants):
        chosen = {"INPUT": tuple(map(str, inputs)), "OUT_DIR": "maps", "RUN": "pixel", "OVERWRITE": True, **constants}
        for name, value in (DEFAULTS | chosen).items():
            monkeypatch.setattr(predict, name, value)
        predict.main()

    return run


def make_bands(height=70, width=83, seed=0):
    """A scene of three bands around 1 with a few bright patches in red."""
    rng = np.random.default_rng(seed)
    bands = rng.normal(1, 0.1, (3, height, width)).astype(np.float32)
    for _ in range(max(1, height * width // 600)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        bands[0, top : top + 9, left : left + 7] += 1.0
    return bands


def sigmoid(red):
    return 1 / (1 + np.exp(-4.0 * (red.astype(np.float64) - 1)))


def read(path):
    with rasterio.open(path) as file:
        return file.read(1)


def written(place):
    return sorted(path.name for path in (place / "maps").iterdir())
