"""Training that is killed, stopped or started twice."""

import json
import shutil
import signal
import subprocess
import sys
import time

import h5py
import keras
import numpy as np
import pytest

import dataset
from callbacks import RunRecorder
from feed import PatchFeed
from losses import BCEDice
from metrics import PooledDice
from tests.conftest import ROOT, SMALL, assert_user_error, layout_folder, record, run_script, write_patches
from unet import build_unet


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with 60 patches."""
    place = tmp_path_factory.mktemp("place")
    write_patches(place / "data" / "images", place / "data" / "masks", range(1, 61))
    return place


def start_training(place, run, epochs):
    """Start train.py in the background."""
    command = [
        sys.executable,
        ROOT / "train.py",
        "--run",
        run,
        "--epochs",
        str(epochs),
        "--augment",
        "dihedral",
        *SMALL,
    ]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def stop_after(process, history, epochs, number):
    """Send a signal once `history` has so many epochs; returns what the process printed."""
    deadline = time.monotonic() + 120
    while not (history.exists() and len(history.read_text().splitlines()) > epochs):
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)[0]


def test_kill_9_and_resume_give_the_history_of_an_uninterrupted_run(place):
    results = place / "results"
    whole = start_training(place, "whole", 6)
    assert whole.wait(timeout=120) == 0, whole.stdout.read()
    for epochs in (1, 4):  # killed twice, at whatever step of the epoch that follows
        if epochs == 1:
            process = start_training(place, "killed", 6)
        else:
            command = [sys.executable, ROOT / "train.py", "--run", "killed", "--resume"]
            process = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        stop_after(process, results / "killed" / "history.csv", epochs, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    result = run_script("train.py", "--run", "killed", "--resume", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "resuming with EPOCHS = 6" in result.stdout
    histories = [(results / run / "history.csv").read_text() for run in ("whole", "killed")]
    assert histories[0] == histories[1]
    assert not (results / "killed" / "last.weights.h5").exists()
    with h5py.File(place / "data/images/image_1.h5") as file:
        assert file["img"].shape == (32, 32, 14)


def test_ctrl_c_keeps_the_best_model_and_says_how_to_go_on(place):
    process = start_training(place, "stopped", 200)
    history = place / "results" / "stopped" / "history.csv"
    output = stop_after(process, history, 2, signal.SIGINT)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert "the best so far is results/stopped/model.keras; go on with --resume" in output
    assert run_script("optimize_threshold.py", "--run", "stopped", cwd=place).returncode == 0


def test_a_threshold_of_the_unfinished_model_goes_when_training_goes_on(place):
    """Otherwise evaluate.py would apply to the final model what was chosen for an early one."""
    folder = place / "results" / "stopped"
    assert (folder / "threshold.json").exists()  # by the test above
    (place / "results" / "short").mkdir(exist_ok=True)
    config = record(place, "config.json", "stopped")
    config["constants"]["EPOCHS"] = 4
    for name in ("last.weights.h5", "split.csv", "history.csv", "model.keras", "threshold.json"):
        shutil.copy(folder / name, place / "results" / "short" / name)
    (place / "results" / "short" / "config.json").write_text(json.dumps(config))
    result = run_script("train.py", "--run", "short", "--resume", cwd=place)
    assert result.returncode == 0, result.stderr
    assert not (place / "results" / "short" / "threshold.json").exists()


def test_resume_follows_moved_data_but_no_other_change(place):
    config = record(place, "config.json", "stopped")
    assert config["precision"] in ("float32", "mixed_bfloat16")
    result = run_script("train.py", "--run", "stopped", "--resume", "--epochs", 3, cwd=place)
    assert_user_error(result, "a resumed run keeps EPOCHS = 200: leave --epochs out")
    result = run_script("train.py", "--run", "stopped", "--resume", "--data-dir", "nowhere", cwd=place)
    assert_user_error(result, "nowhere: no patches")


def test_resuming_a_finished_run_changes_nothing(place):
    history = place / "results" / "killed" / "history.csv"
    before = history.read_text()
    result = run_script("train.py", "--run", "killed", "--resume", cwd=place)
    assert result.returncode == 0, result.stderr
    assert "is finished" in result.stdout
    assert history.read_text() == before


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
    assert not (tmp_path / "results/unet/metrics.json").exists()  # of the run that is gone


def test_a_resumed_run_drops_what_an_uninterrupted_one_would(flat, tmp_path):
    """Dropout draws by step, so that training goes on as if it had not been cut off."""
    patches = dataset.open_patches(flat, tmp_path / "cache")

    def trained(folder, epochs, resume=False):
        keras.utils.set_random_seed(0)
        feed = PatchFeed(patches, np.arange(16), 8, seed=0)
        model = build_unet((32, 32, 14), 4, 2, dropout=0.5)
        model.compile(keras.optimizers.AdamW(1e-3), BCEDice(), metrics=[PooledDice(name="dice")])
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
