"""Training that starts from another run: what is carried over, what learns, and what is refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import bands
import dataset
import train
from bands import BANDS_RGB
from networks import builder, encoders, model_files
from patches import split_table
from runs import Run
from script import UserError
from tests.patch_files import write_patches
from tests.running import ROOT, SMALL, Script, assert_user_error, record, rows, run_script, stop_after
from training import fine_tuning, optimizer
from training.feed import PatchFeed

NETWORKS = {
    "stem 1": {"STEM": 1, "BASE_FILTERS": 6, "DEPTH": 2},
    "stem 2": {"STEM": 2, "BASE_FILTERS": 6, "DEPTH": 2, "CONV_BLOCK": "se", "MULTI_SCALE_LOGITS": True},
    "encoder": {"ENCODER": "efficientnet_lite0"},
    "not enlarged": {"ENCODER": "efficientnet_lite0", "ENLARGE": 1},
    "segformer": {"MODEL": "segformer", "STRIDE": 2},
    "application": {"ENCODER": "MobileNetV2"},
}
EVENT = ("--data-dir", "event", "--start-from", "first", "--epochs", 5, "--epoch-steps", 3)
FIRST = ("--epochs", 1, "--augment", "dihedral", *SMALL)


# ---------------------------------------------------------------------- weights


def write_source(workdir, constants, names=BANDS_RGB, model=True):
    """Write a finished run `source` of a network with random weights; return the constants to start from it."""
    rng = np.random.default_rng(0)
    constants = train.constants() | constants
    config = {
        "run": "source",
        "constants": constants,
        "bands": names,
        "input_shape": (32, 32, len(names)),
    }
    config |= {"band_mean": [50.0 + 10 * i for i in range(len(names))], "band_variance": [900.0] * len(names)}
    config |= {"values": "display", "finished": "then", "data_digest": "old"}
    folder = workdir / "results" / "source"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "split.csv").write_text("image,split,content\nimage_1.h5,train,abc\n")
    if model:
        network = builder.build_network(constants, config)
        for layer in model_files.all_layers(network):
            layer.set_weights([w * rng.uniform(0.8, 1.2, w.shape) for w in layer.get_weights()])
        model_files.save_model(network, folder / "model.keras")
    return constants | {"RESULTS_DIR": str(workdir / "results"), "START_FROM": "source"}


class Folder:
    """What fine_tuning.start_record reads of packing.Patches."""

    data_dir, digest, names = "data/event", "new", ["image_1.h5", "image_2.h5"]
    contents = np.array(["def", "ghi"])

    def __init__(self, names):
        self.bands = names


def begin(constants, names, size=32, mean=None, variance=800.0):
    """Build the network of a run with other bands that starts from `source`; return it and its record of the start."""
    mean = [50.0 + 10 * i for i in range(len(names))] if mean is None else mean
    assigned = np.array(["train", "test"])
    start = fine_tuning.start_record(constants, Folder(names), assigned, np.array(mean), np.full(len(names), variance))
    config = {"run": "event", "bands": names, "input_shape": (size, size, len(names)), "start": start}
    model = builder.build_network(constants, config)
    fine_tuning.carry_over(constants, config, model, builder.band_layers(constants))
    return model, start


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("encoder", "not enlarged", "segformer", "application")]


@pytest.mark.parametrize("name", ["stem 1", "stem 2", *SLOW])
def test_a_network_with_a_new_band_predicts_what_its_start_predicts(tmp_path, monkeypatch, name, capsys):
    """The known bands have other names and places, and the patches are larger where the source can be made so."""
    monkeypatch.setattr(encoders, "fetched", lambda _, build, shape: build(shape, include_top=False, weights=None))
    constants = write_source(tmp_path, NETWORKS[name])
    size = 32 if name == "segformer" else 64
    model, start = begin(constants, ("B3", "dem", "B4", "B2"), size)
    printed = capsys.readouterr().out
    assert "bands carried over: green to B3, red to B4, blue to B2; new, with weights of 0: dem" in printed
    assert start["band_mean"] == [60.0, 60.0, 50.0, 70.0] and start["band_variance"] == [900.0, 800.0, 900.0, 900.0]
    images = np.random.default_rng(1).uniform(0, 255, (2, size, size, 4)).astype(np.float32)
    source = model_files.resized(model_files.load_model(tmp_path / "results/source", to_store=True), (size, size))
    expected = np.asarray(source(images[..., [2, 0, 3]]))
    assert np.ptp(expected) > 0.01
    # a convolution of four bands may add up in another order than one of three, which fifty layers carry on
    np.testing.assert_allclose(model(images), expected, atol=5e-5)


@pytest.mark.parametrize("fusion", ["difference", pytest.param("attention", marks=pytest.mark.slow)])
def test_a_network_of_two_dates_is_carried_over_with_the_same_bands_only(tmp_path, fusion):
    names = bands.dated_names(2)
    shape = {"FUSION": fusion, "STEM": 1, "BASE_FILTERS": 6, "DEPTH": 2}
    constants = write_source(tmp_path, shape, names)
    model, _ = begin(constants, names)
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, len(names))).astype(np.float32)
    expected = np.asarray(model_files.load_model(tmp_path / "results/source")(images))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(model(images), expected, atol=1e-5)
    with pytest.raises(UserError, match=f"FUSION {fusion} of run source takes the bands .* and no other"):
        begin(constants, names[::-1])


def test_bands_that_are_gone_are_dropped_and_unknown_ones_refused(tmp_path, capsys):
    constants = write_source(tmp_path, NETWORKS["stem 2"])
    model, _ = begin(constants, ("B4", "B3"), mean=[50.0, 60.0])
    printed = capsys.readouterr().out
    assert "red to B4, green to B3; dropped with their weights: blue" in printed and "warning" not in printed
    source = model_files.all_layers(model_files.load_model(tmp_path / "results/source"))
    kernels = {layer.name: layer.get_weights()[0] for layer in source if layer.weights}
    np.testing.assert_array_equal(model.get_layer("stem").get_weights()[0], kernels["stem"][:, :, :2])
    with pytest.raises(UserError, match="run source knows none of the bands slope dem: it takes red green blue"):
        begin(constants, ("slope", "dem"))


def test_bands_in_another_unit_are_normalised_anew(tmp_path, capsys):
    """The network predicts of them what its start predicts of the same picture in its own unit."""
    constants = write_source(tmp_path, NETWORKS["stem 2"])
    mean, deviation = np.array([0.5, 0.6, 0.7]), 0.3
    model, start = begin(constants, BANDS_RGB, mean=mean, variance=deviation**2)
    warning = "warning: the values in data/event differ much from those that run source was trained on: "
    assert warning + "the mean of red is 0.5 " in capsys.readouterr().out
    assert start["band_mean"] == mean.tolist()
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(model_files.load_model(tmp_path / "results/source")(images))
    np.testing.assert_allclose(model(images / 100), expected, atol=1e-5)


def test_an_encoder_keeps_what_it_takes_for_colours(tmp_path):
    """Each colour has a scaling of its own in a layer without weights, so bands cannot change their part."""
    constants = write_source(tmp_path, {"ENCODER": "efficientnet_lite0"}, ("B8", "B4", "B3"), model=False)
    with pytest.raises(UserError, match="takes B8 B4 B3 as red, green and blue, and these BANDS give B4 B3 B2"):
        fine_tuning.check_bands([None, 2, 1, 0], ("B2", "B3", "B4", "B8"), Run(tmp_path / "results/source"), constants)


@pytest.mark.parametrize(
    ("names", "others", "positions"),
    [
        (("band1", "band2", "band3", "band4"), BANDS_RGB, [0, 1, 2, None]),
        (("B2", "B3", "B4", "B8"), BANDS_RGB, [2, 1, 0, None]),
        (("B8", "B11", "B12"), BANDS_RGB, [None, None, None]),
        (bands.dated_names(2), bands.BANDS_L4S[:4], [None] * 10 + [1, 2, 3] + [None] * 9),
        (bands.BANDS_L4S, bands.BANDS_L4S, list(range(14))),
        (("band1", "band4", "band5"), ("band4", "band5"), [None, 0, 1]),
        (("band1", "band2"), BANDS_RGB, [None, None]),
    ],
)
def test_bands_are_found_by_name(names, others, positions):
    assert bands.counterparts(names, others) == positions


# ---------------------------------------------------------------------- learning


@pytest.mark.slow
def test_a_frozen_encoder_keeps_its_weights_and_statistics(both_processors):
    """The model that is stored can learn again."""
    policy = "mixed_bfloat16" if both_processors == "1" else "float32"
    constants = train.constants() | {"ENCODER": "efficientnet_lite0", "FREEZE": "encoder", "LEARNING_RATE": 0.01}
    config = {"bands": BANDS_RGB, "input_shape": (32, 32, 3), "band_mean": [50.0] * 3, "band_variance": [900.0] * 3}
    keras.config.set_dtype_policy(policy)
    try:
        model = model_files.fused(builder.build_network(constants, config))
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer.compile_network(model, constants, steps=2)
    encoder, before = model.get_layer("encoder"), model.get_weights()
    kept = encoder.get_weights()
    rng = np.random.default_rng(0)
    model.train_on_batch(rng.uniform(0, 255, (2, 32, 32, 3)), rng.integers(0, 2, (2, 32, 32, 1)))
    for now, then in zip(encoder.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(now, then)
    assert any((now != then).any() for now, then in zip(model.get_weights(), before, strict=True))
    assert all(variable.path.split("/")[0] != "encoder" for variable in model.trainable_variables)


def test_a_small_split_is_passed_over_several_times(flat, tmp_path):
    patches = dataset.open_patches(flat, tmp_path / "cache")
    feed = PatchFeed(patches, np.arange(5), 4, seed=0, least_batches=7)
    assert len(feed) == 8
    passes = [np.sort(np.concatenate(feed.dealt[i : i + 2])).tolist() for i in range(0, 8, 2)]
    assert passes == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(np.concatenate(feed.dealt[i : i + 2])) for i in range(0, 8, 2)}) > 1
    once = PatchFeed(patches, np.arange(20), 4, seed=0, least_batches=5)
    assert len(once) == 5 == len(PatchFeed(patches, np.arange(20), 4, seed=0))


# ---------------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Make 12 patches of three bands and a run `first` of them, and 12 others of four bands."""
    workdir = tmp_path_factory.mktemp("workdir")
    write_patches(workdir / "data/images", workdir / "data/masks", range(1, 13), bands=3)
    write_patches(workdir / "event/images", workdir / "event/masks", range(21, 33), size=48, bands=4)
    result = run_script("train.py", "--run", "first", *FIRST, "--depth", 2, cwd=workdir)
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.fixture(scope="module")
def event(workdir):
    """The result of training the run `event` from `first`: its network, five epochs."""
    return run_script("train.py", "--run", "event", *EVENT, cwd=workdir)


def test_a_run_records_what_it_started_from(workdir, event):
    assert event.returncode == 0, event.stderr
    assert "starting from run first: BASE_FILTERS = 4, DEPTH = 2" in event.stdout
    assert (
        "bands carried over: red to band1, green to band2, blue to band3; new, with weights of 0: band4" in event.stdout
    )
    first, config = record(workdir, "config.json", "first"), record(workdir, "config.json", "event")
    assert config["start"]["run"] == "first" and config["start"]["finished"] == first["finished"]
    assert config["start"]["data_digest"] == first["data_digest"]
    assert (
        config["start"]["band_mean"][:3] == first["band_mean"] and config["band_mean"] != config["start"]["band_mean"]
    )
    assert config["constants"]["EPOCHS"] == config["kept_epoch"] == 5
    assert config["constants"]["LEARNING_RATE"] == train.FINE_TUNING["LEARNING_RATE"]
    assert config["constants"]["BASE_FILTERS"] == 4
    assert float(rows(workdir / "results/event/history.csv")[0]["val_dice"]) > 0
    models = (model_files.load_model(workdir / "results" / run, to_store=True) for run in ("first", "event"))
    kept, now = (model.get_layer("down0_norm1") for model in models)
    np.testing.assert_array_equal(now.moving_mean, kept.moving_mean)
    for stage in ("optimize_threshold.py", "evaluate.py"):
        result = run_script(stage, "--run", "event", cwd=workdir)
        assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_a_resumed_run_needs_its_start_no_more_after_an_epoch(workdir, event, tmp_path):
    """Killed in a later epoch, it ends with the history of a run that was not."""
    copy = shutil.copytree(workdir, tmp_path / "workdir")
    script = Script("train.py", "--run", "killed", *EVENT, cwd=copy)
    stop_after(script, copy / "results/killed/history.csv", 2, signal.SIGKILL)
    shutil.rmtree(copy / "results/first")
    result = run_script("train.py", "--run", "killed", "--resume", cwd=copy)
    assert result.returncode == 0, result.stderr
    assert (copy / "results/killed/history.csv").read_text() == (workdir / "results/event/history.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_every_backend_goes_on_from_a_start_and_keeps_what_is_frozen(tmp_path, backend):
    """Killed and resumed; with a frozen encoder under TensorFlow alone, because JAX compiles it for minutes."""
    pytest.importorskip(backend)
    write_patches(tmp_path / "data/images", tmp_path / "data/masks", range(1, 13), bands=3)
    environment = os.environ | {"KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "TMPDIR": str(tmp_path)}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def begin(run, *flags):
        command = [sys.executable, ROOT / "train.py", "--run", run, *map(str, flags)]
        return subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def end(process):
        printed = process.communicate(timeout=300)[0].decode()
        assert process.returncode == 0, printed

    network = ["--encoder", "efficientnet_lite0", "--batch-size", 4] if backend == "tensorflow" else SMALL
    end(begin("first", "--epochs", 1, *network, "--augment"))
    event = ["--start-from", "first", "--epochs", 4, "--epoch-steps", 2, "--split-seed", 0]
    event += ["--freeze", "encoder"] if backend == "tensorflow" else []
    end(begin("whole", *event))
    killed, history = begin("killed", *event), tmp_path / "results/killed/history.csv"
    while not (history.exists() and len(history.read_text().splitlines()) > 1):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    end(begin("killed", "--resume"))
    assert rows(tmp_path / "results/killed/history.csv") == rows(tmp_path / "results/whole/history.csv")
    first, now = (model_files.load_model(tmp_path / "results" / run) for run in ("first", "killed"))
    assert any((a != b).any() for a, b in zip(now.get_weights(), first.get_weights(), strict=True))
    if backend == "tensorflow":
        kept = first.get_layer("encoder").get_weights()
        for weights, before in zip(now.get_layer("encoder").get_weights(), kept, strict=True):
            np.testing.assert_array_equal(weights, before)


def test_a_run_without_an_epoch_needs_the_same_start(workdir, event, tmp_path):
    copy = shutil.copytree(workdir, tmp_path / "workdir")
    config = record(copy, "config.json", "event")
    del config["finished"]
    (copy / "results/event/config.json").write_text(json.dumps(config))
    first = record(copy, "config.json", "first")
    (copy / "results/first/config.json").write_text(json.dumps(first | {"finished": "later"}))
    result = run_script("train.py", "--run", "event", "--resume", cwd=copy)
    assert_user_error(result, "start first was retrained since run event was started: use --overwrite")


def test_a_start_that_has_seen_what_the_run_is_judged_on_is_refused(workdir, event, tmp_path):
    """Known in another folder, and through the run that the start itself came from."""
    write_patches(tmp_path / "more/images", tmp_path / "more/masks", range(1, 15), bands=3)
    flags = ("--data-dir", tmp_path / "more", "--run", "leak", "--split-method", "blocks", "--block-size", 2)
    for start, said in (("first", "start first has"), ("event", "start event (through run first) has")):
        result = run_script("train.py", *flags, "--start-from", start, cwd=workdir)
        assert_user_error(result, f"{said} learnt from", "patches of this run's validation and test splits")
        assert not (workdir / "results/leak").exists()


def test_patches_that_the_start_knows_keep_their_split(workdir, event, tmp_path):
    """Under another name, beside patches that were added, by any seed, and of what the start itself came from."""
    write_patches(tmp_path / "more/images", tmp_path / "more/masks", range(1, 31), bands=3)
    flags = ("--data-dir", tmp_path / "more", "--split-seed", 3, "--epochs", 1, "--overwrite", "--run")
    before = split_table.split_of(workdir / "results/first/split.csv", "train.py", "content")
    for start in ("first", "event"):
        result = run_script("train.py", *flags, "more", "--start-from", start, cwd=workdir)
        assert "12 of 30 patches keep the split that the start has of them" in result.stdout, result.stderr
        now = split_table.split_of(workdir / "results/more/split.csv", "train.py", "content")
        assert before.items() < now.items()
        added = [split for content, split in now.items() if content not in before]
        assert [added.count(split) for split in ("train", "validation", "test")] == [12, 3, 3]
    for number in range(13, 31):
        (tmp_path / f"more/images/image_{number}.h5").unlink()
    result = run_script("train.py", *flags, "same", "--start-from", "first", cwd=workdir)
    assert "12 of 12 patches keep the split" in result.stdout, result.stderr


def test_mistakes_are_told_in_one_line(workdir, tmp_path):
    def fails(*flags):
        result = run_script("train.py", "--run", "other", *flags, cwd=workdir)
        return assert_user_error(result).strip()

    started = ("--data-dir", "event", "--start-from", "first")
    assert fails(*started, "--depth", 3).endswith("--depth is 3, but start first has 2: leave it out")
    itself = fails("--start-from", "first", "--run", "first", "--overwrite")
    assert itself.endswith("--start-from first is the run itself: choose another --run")
    assert "results/nowhere holds no run: choose another --start-from" in fails("--start-from", "nowhere")
    assert "--freeze encoder is for networks with a pre-trained encoder" in fails(*started, "--freeze", "encoder")
    write_patches(tmp_path / "odd/images", tmp_path / "odd/masks", range(1, 13), size=38, bands=3)
    odd = fails("--data-dir", tmp_path / "odd", "--start-from", "first")
    assert odd.endswith("patches of 38 x 38 pixels are not divisible by 4: cut or mirror them, --patch-size 36 or 40")
    config = record(workdir, "config.json", "first")
    for name, fields in (("half", {"finished": None}), ("abc", {"members": ["a", "b"], "finished": "now"})):
        folder = workdir / "results" / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({k: v for k, v in (config | fields).items() if v is not None}))
    assert "start half is not finished" in fails("--start-from", "half")
    assert "start abc is an ensemble: name one of its members, a, b" in fails("--start-from", "abc")
