"""Training that is killed, interrupted or started twice."""

import json
import shutil
import signal

import h5py
import keras
import numpy as np
import pytest

import dataset
from losses import BCEDice
from tests.patch_files import layout_folder, write_patches
from tests.running import SMALL, Script, assert_user_error, record, run_script, stop_after
from training.callbacks import RunRecorder
from training.feed import PatchFeed
from training.keras_metrics import PooledDice
from unet import build_unet

FLAGS = ("--augment", "dihedral", *SMALL)


@pytest.fixture
def workdir(tmp_path):
    """Make a folder with 60 patches."""
    write_patches(tmp_path / "data" / "images", tmp_path / "data" / "masks", range(1, 61))
    return tmp_path


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Interrupt a run `stopped` with Ctrl-C in its third epoch of 200; return (workdir, result)."""
    workdir = tmp_path_factory.mktemp("interrupted")
    write_patches(workdir / "data" / "images", workdir / "data" / "masks", range(1, 61))
    script = Script("train.py", "--run", "stopped", "--epochs", 200, *FLAGS, cwd=workdir)
    return workdir, stop_after(script, workdir / "results" / "stopped" / "history.csv", 2, signal.SIGINT)


@pytest.fixture
def stopped(interrupted, tmp_path):
    """Copy the folder with the interrupted run."""
    return shutil.copytree(interrupted[0], tmp_path / "workdir")


@pytest.mark.slow
@pytest.mark.parametrize("bfloat16", ["0", "1"])
def test_kill_9_and_resume_give_the_history_of_an_uninterrupted_run(workdir, monkeypatch, bfloat16):
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", bfloat16)
    results = workdir / "results"
    result = run_script("train.py", "--run", "whole", "--epochs", 6, *FLAGS, cwd=workdir)
    assert result.returncode == 0, result.stderr
    for epochs, flags in ((1, ("--epochs", 6, *FLAGS)), (4, ("--resume",))):  # killed at any step of the next epoch
        script = Script("train.py", "--run", "killed", *flags, cwd=workdir)
        result = stop_after(script, results / "killed" / "history.csv", epochs, signal.SIGKILL)
        assert result.returncode == -signal.SIGKILL
    result = run_script("train.py", "--run", "killed", "--resume", cwd=workdir)
    assert result.returncode == 0, result.stderr
    assert "resuming with EPOCHS = 6" in result.stdout
    histories = [(results / run / "history.csv").read_text() for run in ("whole", "killed")]
    assert histories[0] == histories[1]
    assert not (results / "killed" / "last.weights.h5").exists()
    with h5py.File(workdir / "data/images/image_1.h5") as file:
        assert file["img"].shape == (32, 32, 14)
    before = (results / "killed" / "history.csv").read_text()
    result = run_script("train.py", "--run", "killed", "--resume", cwd=workdir)
    assert result.returncode == 0, result.stderr
    assert "is finished" in result.stdout
    assert (results / "killed" / "history.csv").read_text() == before


def test_ctrl_c_keeps_the_best_model_and_says_how_to_go_on(interrupted, stopped):
    _, result = interrupted
    assert result.returncode == 130
    assert "Traceback" not in result.stdout + result.stderr
    assert "the best so far is results/stopped/model.keras; go on with --resume" in result.stdout
    assert "an epoch: 199 more take" in result.stdout
    assert run_script("optimize_threshold.py", "--run", "stopped", cwd=stopped).returncode == 0


@pytest.mark.slow
def test_a_threshold_of_the_unfinished_model_goes_when_training_goes_on(stopped):
    """Otherwise, evaluate.py would apply the threshold of an early model to the final one."""
    folder = stopped / "results" / "stopped"
    config = record(stopped, "config.json", "stopped")
    config["constants"]["EPOCHS"] = 4
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "threshold.json").write_text('{"threshold": 0.5}')
    result = run_script("train.py", "--run", "stopped", "--resume", cwd=stopped)
    assert result.returncode == 0, result.stderr
    assert not (folder / "threshold.json").exists()


def test_resume_follows_moved_data_but_no_other_change(stopped):
    config = record(stopped, "config.json", "stopped")
    assert config["precision"] in ("float32", "mixed_bfloat16")
    result = run_script("train.py", "--run", "stopped", "--resume", "--epochs", 3, cwd=stopped)
    assert_user_error(result, "a resumed run keeps --epochs 200: leave it out")
    result = run_script("train.py", "--run", "stopped", "--resume", "--data-dir", "nowhere", cwd=stopped)
    assert_user_error(result, "nowhere: no patches")


@pytest.mark.slow
def test_an_existing_run_is_replaced_on_request_only(tmp_path):
    layout_folder(tmp_path / "data", "flat")
    assert run_script("train.py", "--epochs", 1, *SMALL, cwd=tmp_path).returncode == 0
    before = (tmp_path / "results/unet/config.json").read_text()
    message = assert_user_error(
        run_script("train.py", cwd=tmp_path), "run results/unet exists", "--resume", "--overwrite"
    )
    assert "\n" not in message.strip()
    assert (tmp_path / "results/unet/config.json").read_text() == before
    shutil.copy(tmp_path / "results/unet/config.json", tmp_path / "results/unet/metrics.json")
    assert run_script("train.py", "--epochs", 2, "--overwrite", *SMALL, cwd=tmp_path).returncode == 0
    assert record(tmp_path, "config.json", "unet")["constants"]["EPOCHS"] == 2
    assert not (tmp_path / "results/unet/metrics.json").exists()  # it belonged to the replaced run


@pytest.mark.slow
def test_a_resumed_run_drops_what_an_uninterrupted_one_would(flat, tmp_path):
    """Dropout depends on the step, so that a resumed run equals an uninterrupted one."""
    patches = dataset.open_patches(flat, tmp_path / "cache")

    def trained(folder, epochs, resume=False):
        keras.utils.set_random_seed(0)
        feed = PatchFeed(patches, np.arange(16), 8, seed=0)
        model = build_unet((32, 32, 14), 4, 2, dropout=0.5)
        model.compile(keras.optimizers.AdamW(1e-3), BCEDice(), metrics=[PooledDice(name="dice")])
        model.optimizer.build(model.trainable_variables)
        folder.mkdir(exist_ok=True)
        recorder = RunRecorder(folder, len(feed))
        done = recorder.resume(model) if resume else 0
        start = keras.callbacks.LambdaCallback(on_epoch_begin=feed.start_epoch)
        options = {"shuffle": False, "verbose": 0, "validation_data": PatchFeed(patches, [16, 17], 2)}
        model.fit(feed, initial_epoch=done, epochs=epochs, callbacks=[start, recorder], **options)
        return [row["loss"] for row in recorder.rows]

    whole = trained(tmp_path / "whole", 3)
    trained(tmp_path / "cut", 1)
    assert trained(tmp_path / "cut", 3, resume=True) == whole
