"""Exported files give what Keras gives, in the layout and with the metadata of the programs that read them."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import export
import records
import runs
import script
from bands import BANDS_RGB, dated_names
from networks import model_files
from networks.inference import probabilities
from patches.pixel_sizes import with_plane
from tests.random_runs import FAMILIES, SMALL, write_random_run
from tests.running import call_main

onnx = pytest.importorskip("onnx", reason="requirements-export.txt is not installed")
pytest.importorskip("tf2onnx", reason="requirements-export.txt is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="requirements-export.txt is not installed")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with the run `rgb`: a small U-Net on 8-bit pictures of 32 x 32 pixels."""
    results = tmp_path_factory.mktemp("export") / "results"
    write_random_run(results, "rgb", SMALL)
    return results


@pytest.fixture
def call(results, tmp_path, monkeypatch):
    """Call export.py with some constants; returns the path of what it wrote."""

    def exported(**constants):
        settings = {"RESULTS_DIR": str(results), "RUN": "rgb", "OUT_DIR": str(tmp_path / "out")}
        call_main(export, monkeypatch, **settings | constants)
        (path,) = (tmp_path / "out").iterdir()
        return path

    return exported


def reference(results, size, run="rgb"):
    """Load the network of a run in float32 for images of a size."""
    return model_files.resized(model_files.fused(model_files.load_model(results / run, to_store=True), "float32"), size)


def pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


class Deepness:
    """What Deepness does with a model and tiles, after its model_base.py, preprocessing_utils.py and segmentor.py."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.meta = {key: json.loads(text) for key, text in self.session.get_modelmeta().custom_metadata_map.items()}
        (self.input,), (self.output,) = self.session.get_inputs(), self.session.get_outputs()
        assert len(self.output.shape) == 4 and self.output.shape[2] == self.output.shape[3], "only square masks"
        assert not isinstance(self.input.shape[-1], str), "the size of tiles is that of the input"

    def process(self, tiles):
        """Return probabilities B x 1 x H x W of tiles B x H x W x bands, as the layer of QGIS holds them."""
        tiles = np.float32(tiles[..., : self.input.shape[-3]] * 1.0 / 255.0)
        mean, std = (np.array(self.meta[f"standardization_{each}"], np.float32) for each in ("mean", "std"))
        tiles = np.transpose((tiles - mean) / std, (0, 3, 1, 2))
        return self.session.run(None, {self.input.name: tiles})[0]


def test_deepness_reads_the_file(call, results):
    path = call(SIZE=64)
    assert path.name == "rgb.onnx"
    model = Deepness(path)
    assert model.input.shape == ["batch", 3, 64, 64] and model.output.shape == ["batch", 1, 64, 64]
    names = model.meta["class_names"]
    assert model.meta["model_type"] == "Segmentor" and names == {"0": "background", "1": "landslide"}
    assert float(model.meta["resolution"]) == 1000  # centimetres
    assert model.meta["tile_size"] == model.meta["tiles_size"] == 64
    assert model.meta["tiles_overlap"] == 50  # percent
    assert model.meta["seg_thresh"] == 0.381 and model.meta["seg_small_segment"] == 0
    assert model.meta["bands"] == ["red", "green", "blue"]
    tiles = pictures(2, 64, 64, 3)
    expected = probabilities(reference(results, (64, 64)), tiles.astype(np.float32))
    assert expected.std() > 0.01
    np.testing.assert_allclose(model.process(tiles)[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shares", "size", "threshold"),
    [
        ({"2 to 4 m": 0.4, "4 to 8 m": 0.1, "8 to 16 m": 0.5}, 10.0, 0.1),
        ({"2 to 4 m": 0.6, "8 to 16 m": 0.4}, 3.0, 0.3),
    ],
)
def test_a_file_is_for_the_usual_pixels_and_has_their_threshold(results, monkeypatch, shares, size, threshold):
    """The threshold is that of predict.py for a scene."""
    record = {"least": 0.5, "most": 20.0, "usual": 3.0, "shares": shares}
    write_random_run(results, f"sizes{size:g}", SMALL, pixel_size=record)
    run = runs.open_run(results, f"sizes{size:g}")
    by_size = {name: {"threshold": t, "precision": 1.0, "recall": 1.0} for name, t in (("8 to 16 m", 0.1),)}
    record = {"threshold": 0.5, "elsewhere": {"threshold": 0.3, "by_pixel_size": by_size}}
    (run.folder / "threshold.json").write_text(json.dumps(record))
    assert export.pixel_size(run) == size and export.map_threshold(run) == threshold
    monkeypatch.setattr(export, "PIXEL_SIZE", 9.0)
    monkeypatch.setattr(export, "THRESHOLD", 0.0)
    assert export.pixel_size(run) == 9.0 and export.map_threshold(run) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 0])
def test_a_file_is_made_for_one_size_of_pixels(call, results, size):
    """The network is told the size; the file takes the bands alone."""
    if not (results / "told").exists():
        learnt = {"least": 0.5, "most": 20.0, "usual": 3.0, "shares": {}}
        write_random_run(results, "told", SMALL, pixel_size_input=True, pixel_size=learnt)
    path = call(RUN="told", FORMAT="onnx", SIZE=size, PIXEL_SIZE=1.25)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["pixel_size"] == "1.25"
    images = pictures(2, 32, 32, 3).astype(np.float32)
    network = reference(results, (32, 32), "told")
    told, usual = (probabilities(network, with_plane(images, np.full(2, metres))) for metres in (1.25, 3.0))
    written = session.run(None, {session.get_inputs()[0].name: images})[0][..., 0]
    np.testing.assert_allclose(written, told, atol=1e-5)
    assert np.abs(told - usual).max() > 1e-3


@pytest.mark.slow
def test_a_file_for_any_size_takes_the_values_of_patches(call, results):
    path = call(FORMAT="onnx", SIZE=0)
    assert path.name == "rgb_plain.onnx"
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == ["batch", "height", "width", 3]
    for batch, *size in ((3, 32, 32), (1, 64, 48), (2, 36, 132)):
        image = pictures(batch, *size, 3).astype(np.float32)
        (predicted,) = session.run(None, {"image": image})
        np.testing.assert_allclose(predicted[..., 0], probabilities(reference(results, size), image), atol=1e-5)


@pytest.mark.slow
def test_nothing_in_a_file_is_bfloat16(call):
    graph = onnx.load(call()).graph
    assert {tensor.data_type for tensor in graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    assert "Cast" not in {node.op_type for node in graph.node}


def test_digital_numbers_of_a_product_are_scaled_inside(call, results):
    """Those of Landslide4Sense's own constants for red, green and blue, times 58, and never beyond 8 bits."""
    path = call(SIZE=32, SCALING="l4s", OFFSET=-1000.0)
    assert path.name == "rgb_l4s.onnx"
    numbers = np.random.default_rng(0).integers(800, 5000, (2, 32, 32, 3), np.uint16)
    display = (numbers.astype(float) - 1000) * 58 / [445.2, 663.4, 824.6]
    assert display.min() < 0 and display.max() > 255
    expected = probabilities(reference(results, (32, 32)), np.float32(np.clip(display, 0, 255)))
    np.testing.assert_allclose(Deepness(path).process(numbers)[:, 0], expected, atol=1e-5)


@pytest.mark.slow
def test_flips_and_turns_are_inside(call, results):
    tiles = pictures(1, 32, 32, 3)
    predicted = Deepness(call(SIZE=32, TTA=True)).process(tiles)[:, 0]
    model = reference(results, (32, 32))
    np.testing.assert_allclose(predicted, probabilities(model, tiles.astype(np.float32), tta=True), atol=1e-5)
    assert np.abs(predicted - probabilities(model, tiles.astype(np.float32))).max() > 1e-3


@pytest.mark.slow
def test_a_saved_model_needs_nothing_of_ours(call, results, tmp_path):
    path = call(FORMAT="savedmodel", SIZE=0)
    image = pictures(2, 64, 48, 3).astype(np.float32)
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys, numpy as np, tensorflow as tf\n"
        f"model = tf.saved_model.load({str(path)!r})\n"
        "np.save('found.npy', model.serve(np.load('image.npy')))\n"
        "assert not {'export', 'networks.model_files', 'unet'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    expected = probabilities(reference(results, (64, 48)), image)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy")[..., 0], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", [*FAMILIES, "ensemble"])
def test_every_family_is_exported(call, tmp_path, family):
    """export.py itself compares the file with Keras, and raises UserError beyond its tolerance."""
    from ensemble import mean_model

    bands = dated_names(2) if "FUSION" in FAMILIES.get(family, {}) else BANDS_RGB
    if family == "ensemble":
        members = [write_random_run(tmp_path / "members", name, FAMILIES[name]) for name in ("stem1", "segformer")]
        write_random_run(tmp_path / "results", family, SMALL, model=mean_model(members))
    else:
        write_random_run(tmp_path / "results", family, FAMILIES[family], bands)
    settings = {"RESULTS_DIR": str(tmp_path / "results"), "RUN": family, "OVERWRITE": True}
    if family in ("segformer", "attention", "ensemble"):
        with pytest.raises(script.UserError, match="takes 32 x 32 pixels only"):
            call(SIZE=64, **settings)
        call(**settings)
    else:
        call(SIZE=64, **settings)
        (tmp_path / "out" / f"{family}.onnx").unlink()
        call(FORMAT="onnx", SIZE=0, **settings)


@pytest.mark.slow
def test_a_file_that_differs_is_not_put_in_place(call, tmp_path):
    path = call()
    before = path.read_bytes()
    with pytest.raises(script.UserError, match="is not written: its probabilities differ from Keras"):
        call(SIZE=32, OVERWRITE=True, THRESHOLD=0.9, TOLERANCE=0.0)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"RUN": "missing"}, "python train.py --run missing"),
        ({"FORMAT": "pb"}, "FORMAT: 'pb' is none of deepness, onnx, savedmodel"),
        ({"SIZE": 30}, "SIZE is 30: run rgb needs a multiple of 4"),
        ({"SIZE": 0}, "Deepness needs images of one size"),
        ({"OFFSET": -1000.0}, "OFFSET -1000 belongs to SCALING l4s"),
        ({"THRESHOLD": 2.0}, "THRESHOLD is 2.0"),
        ({"CHECK_ON": ("nowhere.h5",)}, "nowhere.h5: "),
    ],
)
def test_mistakes_are_told(call, constants, message):
    with pytest.raises(script.UserError, match=message):
        call(**constants)


def test_a_file_is_replaced_only_on_request(call, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rgb.onnx").touch()
    with pytest.raises(script.UserError, match="exists: replace it with --overwrite"):
        call()


def test_missing_packages_are_named(call, monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else name)
    with pytest.raises(script.UserError, match="needs tf2onnx: pip install -r requirements-export.txt"):
        call()


def test_an_unfinished_run_is_not_exported(call, results, tmp_path):
    config = json.loads((results / "rgb" / "config.json").read_text())
    del config["finished"]
    records.write_json(tmp_path / "results" / "half" / "config.json", config)
    with pytest.raises(script.UserError, match="run half is not finished: python train.py --run half --resume"):
        call(RESULTS_DIR=str(tmp_path / "results"), RUN="half")


def write_folder(path, text):
    with records.atomic_folder(path) as partial:
        partial.mkdir()
        (partial / "text").write_text(text)


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    write_folder(path, "first")
    write_folder(path, "second")
    with pytest.raises(KeyboardInterrupt), records.atomic_folder(path) as partial:
        partial.mkdir()
        raise KeyboardInterrupt
    assert (path / "text").read_text() == "second" and list(tmp_path.iterdir()) == [path]
    for state, text in (("former", "second"), ("partial", "third")):  # as a kill between the two steps leaves it
        (tmp_path / f".{state}-folder").mkdir()
        write_folder(tmp_path / f".{state}-folder" / "folder", text)
    shutil.rmtree(path)
    with pytest.raises(KeyboardInterrupt), records.atomic_folder(path) as partial:
        raise KeyboardInterrupt
    assert (path / "text").read_text() == "second" and list(tmp_path.iterdir()) == [path]
