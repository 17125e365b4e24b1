"""Maps by OpenVINO: exported, quantised within bounds, and the same bytes however they are computed."""

import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import rasterio

import export
import records
from networks import engines, enlarged_stem, features, model_files, openvino_files, quantisation
from networks.inference import probabilities
from patches import landslide_free, split_table
from patches.patch_format import PatchFormat
from patches.pixel_sizes import with_plane
from scenes import pipeline
from scores import int8_bound
from scores.int8_bound import Measured
from script import UserError
from tests.maps import KINDS, assert_same_maps, make_bands, read
from tests.patch_files import make_pair, open_folder, write_h5, write_patches
from tests.random_runs import FAMILIES, SMALL, write_random_run
from tests.rasters import write_raster
from tests.running import ROOT, call_main

LEARNT = {"least": 0.5, "most": 20.0, "usual": 3.0, "shares": {}}


@pytest.fixture(scope="module")
def own_results(tmp_path_factory):
    """A results folder with the run `told`, a small U-Net that is told the size of a pixel."""
    results = tmp_path_factory.mktemp("openvino") / "results"
    write_random_run(results, "told", SMALL, pixel_size_input=True, pixel_size=LEARNT)
    return results


def exported(results, monkeypatch, run, **constants):
    """Export a run for OpenVINO; returns the record of the model."""
    call_main(export, monkeypatch, RESULTS_DIR=str(results), RUN=run, FORMAT="openvino", **constants)
    return records.read_json(engines.openvino_folder(results / run) / "record.json", "")


@pytest.fixture(autouse=True, scope="module")
def in_float32():
    """Compute without bfloat16, which engines round differently, on processors that have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LANDSLIDE_BFLOAT16", "0")
        yield


def images(*shape):
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def test_the_engine_gives_what_keras_gives_at_any_size_of_image_and_pixel(own_results, monkeypatch):
    record = exported(own_results, monkeypatch, "told")
    assert record["precision"] == "float32" and record["model"] == engines.model_digest(own_results / "told")
    engine = engines.load(own_results / "told", "openvino", (48, 64), 1.25)
    model = model_files.fused(model_files.load_model(own_results / "told", to_store=True), "float32")
    model = model_files.resized(model, (48, 64))
    for metres, close in ((1.25, True), (3.0, False)):
        expected = probabilities(model, with_plane(images(3, 48, 64, 3), np.full(3, metres)))
        assert (np.abs(probabilities(engine, images(3, 48, 64, 3)) - expected).max() < 1e-5) == close
    with_planes = engines.load(own_results / "told", "openvino", (48, 64))
    assert with_planes.input.shape[-1] == 4  # as `shown` asks
    turned = [probabilities(each, with_plane(images(2, 48, 64, 3), [1.0, 9.0]), True) for each in (with_planes, model)]
    np.testing.assert_allclose(*turned, atol=1e-5)


def test_neither_cores_nor_batches_change_a_byte(own_results, monkeypatch):
    write_engine(own_results / "told")
    whole = engines.load(own_results / "told", "openvino", (64, 64), 10.0).predict_on_batch(images(5, 64, 64, 3))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    engine = engines.load(own_results / "told", "openvino", (64, 64), 10.0)
    assert engine.at_once == 4
    parts = [engine.predict_on_batch(images(5, 64, 64, 3)[part]) for part in (slice(0, 1), slice(1, 5))]
    assert whole.std() > 1e-3 and np.concatenate(parts).tobytes() == whole.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["encoder", "segformer", "attention", "ensemble"])
def test_families_are_exported(monkeypatch, tmp_path, family):
    """export.py itself compares with Keras; transformers and attention keep their size."""
    from bands import BANDS_RGB, dated_names
    from ensemble import mean_model

    bands = dated_names(2) if "FUSION" in FAMILIES.get(family, {}) else BANDS_RGB
    model = None
    if family == "ensemble":
        model = mean_model([write_random_run(tmp_path / "members", str(seed), SMALL) for seed in (0, 1)])
    write_random_run(tmp_path, family, FAMILIES.get(family, SMALL), bands, model=model)
    exported(tmp_path, monkeypatch, family)
    assert engines.load(tmp_path / family, "openvino", (32, 32)).input.shape[3] == len(bands)


@pytest.mark.slow
def test_a_map_by_openvino_needs_no_tensorflow_and_tells_the_distance_from_training(workdir, monkeypatch):
    scene = make_bands(200, 200)
    run = workdir / "results" / "own"
    about = {"band_mean": scene.mean((1, 2)).tolist(), "band_variance": scene.var((1, 2)).tolist(), "values": "l4s"}
    write_random_run(workdir / "results", "own", SMALL, **about)
    model = model_files.load_model(run)
    tiles = np.moveaxis(np.stack([scene[:, r : r + 32, r : r + 32] for r in range(0, 160, 4)]), 1, -1)
    home = features.feature_model(model).predict(tiles, verbose=0)
    features.write_home(run, home)
    exported(workdir / "results", monkeypatch, "own")
    np.testing.assert_allclose(engines.load_features(run, "openvino", (32, 32))(tiles), home, rtol=1e-3, atol=1e-4)
    write_raster(workdir / "scene.tif", scene)
    command = "import sys, predict, script; sys.argv[1:] = '--run own --input scene.tif --engine openvino'.split()"
    command += "; predict.THRESHOLD = 0.5; script.start(predict.main); print({'tensorflow', 'keras'} & {*sys.modules})"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, env=environment)
    assert result.stdout.endswith("set()\n") and "distance from training: at home" in result.stdout, result.stderr


def test_openvino_and_nncf_report_nothing():
    from nncf.telemetry import wrapper
    from openvino.tools.ovc import telemetry_utils

    assert "stub" in telemetry_utils.tm.__name__ and not hasattr(wrapper, "Telemetry")


# ---------------------------------------------------------------------- what is told


def test_a_network_that_cannot_be_converted_is_told_and_leaves_nothing(own_results, monkeypatch):
    image = keras.Input((32, 32, 3))
    hidden = keras.layers.Conv2D(1, 1, activation="sigmoid")(keras.ops.erfinv(image))
    write_random_run(own_results, "strange", SMALL, model=keras.Model(image, hidden))
    with pytest.raises(UserError, match="OpenVINO cannot convert this network .*Erfinv.*: predict.py maps with Keras"):
        exported(own_results, monkeypatch, "strange")
    assert not (own_results / "strange" / "export").exists() or not list((own_results / "strange" / "export").iterdir())


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"FORMAT": "openvino", "SIZE": 64}, "not for FORMAT openvino: predict.py has them"),
        ({"INT8": True}, "INT8 belongs to FORMAT openvino"),
        (
            {"FORMAT": "openvino", "INT8": True},
            "INT8 needs the data .*gone not found: give .*--data-dir",
        ),
    ],
)
def test_mistakes_of_export_are_told(own_results, monkeypatch, tmp_path, constants, message):
    data = {"data_dir": [str(tmp_path / "gone")], "data_digest": "0", "file_bands": 3, "left_out": []}
    if not (own_results / "moved").exists():
        write_random_run(own_results, "moved", SMALL, **data)
    with pytest.raises(UserError, match=message):
        call_main(export, monkeypatch, RESULTS_DIR=str(own_results), RUN="moved", **constants)


def test_missing_packages_are_named(own_results, monkeypatch, workdir, call):
    real = export.importlib.util.find_spec
    gone = {"nncf"}
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None if name in gone else real(name))
    with pytest.raises(UserError, match="FORMAT openvino needs nncf: pip install -r requirements-openvino.txt"):
        exported(own_results, monkeypatch, "told", INT8=True)
    write_raster(workdir / "scene.tif", make_bands())
    with pytest.raises(UserError, match="is missing: python export.py --run pixel --format openvino makes it"):
        call("scene.tif", ENGINE="openvino")
    write_engine(workdir / "results" / "pixel")
    gone.add("openvino")
    with pytest.raises(UserError, match="ENGINE openvino needs openvino: pip install -r requirements-openvino.txt"):
        call("scene.tif", ENGINE="openvino")
    assert not (workdir / "maps").exists()


@pytest.mark.slow
def test_an_enlarged_picture_is_computed_by_its_phases(tmp_path):
    """The result is the same up to the borders; an enlargement by four, or one that is used twice, stays as it is."""
    layers, rng, results = keras.layers, np.random.default_rng(0), []
    for number, (factor, again) in enumerate(((2, False), (4, False), (2, True))):
        image = keras.Input((None, None, 3))
        enlarged = model_files.tensorflow_layers().FreeUpSampling(factor, interpolation="bilinear")(image)
        scaled = layers.Rescaling([0.5, 2.0, 1.0], [1.0, 0.0, -3.0])(enlarged)
        x = layers.Conv2D(5, 3, strides=2, padding="same")(scaled)
        x = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
        x = layers.Add()([x, layers.Conv2D(1, 1, strides=2)(enlarged)]) if again else x
        graph = keras.Model(image, x)
        graph.set_weights([rng.normal(0, 0.3, weight.shape) for weight in graph.get_weights()])
        openvino_files.write_model(graph, tmp_path / str(number), {})
        model = openvino_files.read_model(tmp_path / str(number))
        assert enlarged_stem.without_enlarging(model) == (number == 0)
        if number == 0:
            kinds = {operation.get_type_name() for operation in model.get_ordered_ops()}
            compiled = openvino_files.openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            results += [compiled(images(2, 64, 96, 3) / 255)["probability"], graph.predict(images(2, 64, 96, 3) / 255)]
    assert "Interpolate" not in kinds
    np.testing.assert_allclose(*results, atol=1e-5)


# ---------------------------------------------------------------------- maps


def write_engine(folder):
    """Write a run of tests.maps for OpenVINO, as export.py does."""
    path = engines.openvino_folder(folder)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        model = model_files.load_model(folder)
        openvino_files.write_model(model, path, {"model": engines.model_digest(folder)})


@pytest.mark.slow
@pytest.mark.usefixtures("unet")
def test_a_map_that_was_stopped_goes_on_with_its_own_engine(call, workdir, monkeypatch, capsys):
    """Strips of Keras are not taken for those of OpenVINO; the rest is as in test_batch.py."""
    write_engine(workdir / "results" / "unet")
    write_raster(workdir / "scene.tif", make_bands(200, 120))
    settings = {"RUN": "unet", "TILE": 32, "OVERLAP": 8, "BATCH_SIZE": 4, "PROBABILITY_TYPE": "float32"}
    call("scene.tif", OUT_DIR="keras", ENGINE="keras", **settings)
    settings["ENGINE"] = "openvino"
    call("scene.tif", OUT_DIR="whole", **settings)
    real = pipeline.local_strips

    def stopping(jobs, scenes, first=0):
        for number, strip in enumerate(real(jobs, scenes, first=first), first):
            if number == 2 and not first:
                raise KeyboardInterrupt
            yield strip

    monkeypatch.setattr(pipeline, "local_strips", stopping)
    for engine in ("keras", "openvino"):
        with pytest.raises(KeyboardInterrupt):
            call("scene.tif", **settings | {"ENGINE": engine})
    capsys.readouterr()
    call("scene.tif", **settings)
    assert "2 strips of an earlier run" in capsys.readouterr().out
    assert_same_maps(workdir / "maps", workdir / "whole", kinds=KINDS)
    maps = [probability_of(workdir / folder) for folder in ("keras", "maps")]
    assert 0 < np.nanmax(np.abs(maps[0] - maps[1])) < 1e-3 or np.array_equal(*maps, equal_nan=True)
    with rasterio.open(workdir / "maps" / "scene_mask.tif") as file:
        assert "  results/unet/export/unet_openvino/model.bin\n" in file.tags()["sha256"]
    report = (workdir / "maps" / "scene_report.html").read_text()
    assert "OpenVINO 20" in report and "Keras 3" in (workdir / "keras" / "scene_report.html").read_text()


def probability_of(folder):
    return read(folder / "scene_probability.tif")


@pytest.mark.slow
@pytest.mark.usefixtures("unet")
def test_patches_are_mapped(call, workdir):
    write_engine(workdir / "results" / "unet")
    write_h5(workdir / "image_1.h5", "img", make_pair(1, 32, 3)[0])
    maps = []
    for engine in engines.ENGINES:
        call("image_1.h5", RUN="unet", ENGINE=engine, OUT_DIR=engine, PATCH_PROBABILITIES=True)
        with h5py.File(workdir / engine / "probability_1.h5") as file:
            maps.append(file["probability"][:])
            assert engine in file.attrs["engine"].lower()
    np.testing.assert_allclose(*maps, atol=1e-3)


def test_an_export_of_an_earlier_model_is_refused(own_results, capsys):
    folder = own_results / "told"
    write_engine(folder)
    assert engines.choose(folder, "auto") == "openvino" and engines.choose(folder, "keras") == "keras"
    assert "OpenVINO 20" in capsys.readouterr().out
    path = engines.openvino_folder(folder) / "record.json"
    records.write_json(path, records.read_json(path, "") | {"model": "of another training"})
    assert engines.choose(folder, "auto") == "keras" and engines.choose(folder, "openvino") == "openvino"
    assert "note: Keras computes this map, because" in capsys.readouterr().out
    assert engines.choose(own_results / "none", "auto") == "keras"
    with pytest.raises(UserError, match="is of an earlier model of run told: python export.py .* --overwrite"):
        engines.describe(own_results / "told", "openvino")


@pytest.mark.usefixtures("unet")
@pytest.mark.slow
def test_two_workers_give_the_same_bytes(call, workdir):
    pytest.importorskip("distributed")
    write_engine(workdir / "results" / "unet")
    write_raster(workdir / "scene.tif", make_bands(300, 200))
    settings = {"RUN": "unet", "ENGINE": "openvino", "TILE": 32, "OVERLAP": 8, "PROBABILITY_TYPE": "float32"}
    call("scene.tif", OUT_DIR="local", **settings)
    call("scene.tif", SCHEDULER="local:2", **settings)
    assert_same_maps(workdir / "maps", workdir / "local")


# ---------------------------------------------------------------------- int8


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """A results folder with the run `learnt` of random weights, and the patches and ground that it knows."""
    folder = tmp_path_factory.mktemp("int8")
    write_patches(folder / "data/images", folder / "data/masks", range(1, 13), bands=3)
    for number in range(40):
        write_h5(folder / f"ground/g{number}x.h5", "img", make_pair(4 * number, 32, 3)[0])
    patches = open_folder(folder / "data")
    config = {"data_dir": [str(folder / "data")], "data_digest": patches.digest, "file_bands": 3, "left_out": []}
    config |= {"file_dtype": str(patches.dtype), "file_band_names": list(patches.file_bands), "values": patches.values}
    mean = {"band_mean": [1.0] * 3, "band_variance": [0.5] * 3}
    constants = SMALL | {"LANDSLIDE_FREE_DIRS": [str(folder / "ground")]}
    shape = PatchFormat.of_run(config | mean | {"input_shape": [32, 32, 3], "bands": list(patches.bands)})
    ground = landslide_free.open_landslide_free(constants["LANDSLIDE_FREE_DIRS"], shape, folder / "results/cache")
    config["landslide_free_digest"] = ground.digest
    write_random_run(folder / "results", "learnt", constants, patches.bands, **config, **mean)
    assigned = np.array(["train"] * 8 + ["validation"] * 4)
    split_table.write_split(folder / "results/learnt/split.csv", patches, assigned, ground)
    return folder / "results"


@pytest.mark.slow
def test_int8_is_written_only_within_its_bounds(learnt, monkeypatch, capsys):
    monkeypatch.setattr(int8_bound, "MEAN_CHANGE", 0.0)
    record = exported(learnt, monkeypatch, "learnt", INT8=True)
    assert record["precision"] == "float32" and "cost" not in record
    printed = capsys.readouterr().out
    assert printed.count("probabilities change by 0 or more") == 1  # without depthwise convolutions there is one way
    assert "int8 is beyond its bounds for this run, so the file holds float32" in printed
    xml = engines.openvino_folder(learnt / "learnt") / "model.xml"
    assert "FakeQuantize" not in xml.read_text()
    plain = engines.load(learnt / "learnt", "openvino")
    for name, value in (("DICE_LOSS", 1.0), ("ALARM_RISE", np.inf), ("MEAN_CHANGE", 1.0)):
        monkeypatch.setattr(int8_bound, name, value)
    record = exported(learnt, monkeypatch, "learnt", OVERWRITE=True, INT8=True)
    assert record["precision"] == "int8" and record["cost"]["float32"]["alarms"] is not None
    assert "int8: Dice" in capsys.readouterr().out and "int8" in engines.describe(learnt / "learnt", "openvino")
    assert "FakeQuantize" in xml.read_text()
    quantised = engines.load(learnt / "learnt", "openvino")
    each = [probabilities(engine, images(2, 32, 32, 3) / 255) for engine in (plain, quantised)]
    assert 0 < np.abs(each[0] - each[1]).max() < 0.2


@pytest.mark.parametrize(
    ("after", "faults"),
    [
        (Measured(0.698, 0.0022, 0.002), []),
        (Measured(0.696, 0.0022, 0.002), ["Dice falls by more than 0.003"]),
        (Measured(0.71, 0.00221, 0.002), ["false alarms rise by more than 10%"]),
        (Measured(0.7, 0.001, 0.003), ["probabilities change by 0.003 or more"]),
        (Measured(float("nan"), 0.001, 0.001), ["Dice falls by more than 0.003"]),
    ],
)
def test_bounds(after, faults):
    assert int8_bound.broken(Measured(0.7, 0.002), after) == faults
    without_ground = Measured(0.7, None), after._replace(alarms=None)
    assert int8_bound.broken(*without_ground) == [text for text in faults if "alarms" not in text]


def test_what_the_image_passes_first_stays_in_floating_point(tmp_path):
    """A branch that joins the image to features is cut there; a depthwise convolution behind the first stays, too."""
    image = keras.Input((16, 16, 3))
    layers = keras.layers
    scaled = layers.Rescaling(2.0, -1.0)(image)
    first = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(scaled)
    depthwise = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(first)
    joined = layers.Concatenate()([layers.Conv2D(4, 3, padding="same", name="later")(depthwise), scaled])
    model = keras.Model(image, layers.Conv2D(1, 3, padding="same", activation="sigmoid", name="last")(joined))
    openvino_files.write_model(model, tmp_path / "model", {})
    converted = openvino_files.read_model(tmp_path / "model")
    near = set(quantisation.near_image(converted))
    kinds = [each.get_type_name() for each in converted.get_ordered_ops() if each.get_friendly_name() in near]
    assert kinds.count("Convolution") == 1 and kinds.count("GroupConvolution") == 1
