"""The stages as a user runs them: end to end, killed and resumed, and given what they cannot use."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import f1_score, jaccard_score

from tests.conftest import ROOT, assert_user_error, run_script, write_h5, write_patches
from tests.test_dataset import layout_folder

SMALL = "--base-filters 4 --depth 2 --batch-size 8 --learning-rate 0.01".split()


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with 60 patches and a run `small` that went through all stages."""
    place = tmp_path_factory.mktemp("workplace")
    write_patches(place / "data" / "images", place / "data" / "masks", range(1, 61))
    result = run_script("train.py", "--run", "small", "--epochs", 8, *SMALL, cwd=place)
    assert result.returncode == 0, result.stderr
    for stage in ("optimize_threshold.py", "evaluate.py", "visualize.py"):
        result = run_script(stage, "--run", "small", cwd=place)
        assert result.returncode == 0, result.stderr
    return place


def rows(path):
    """The rows of a CSV as dicts of text."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def record(place, name, run="small"):
    return json.loads((place / "results" / run / name).read_text())


# ---------------------------------------------------------------------- end to end


def test_a_run_holds_its_whole_record(workplace):
    folder = workplace / "results" / "small"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == sorted(
        "config.json split.csv model.keras history.csv training_curves.png threshold.json threshold_curve.csv "
        "threshold_curve.png metrics.json per_image.csv samples/best.png samples/worst.png samples/random.png".split()
    )
    config = record(workplace, "config.json")
    assert config["constants"]["EPOCHS"] == 8 and config["constants"]["BASE_FILTERS"] == 4
    assert config["bands"][:2] == ["B1", "B2"] and config["input_shape"] == [32, 32, 14]
    assert {"seed", "packages", "revision", "data_digest", "band_mean"} <= config.keys()
    history = rows(folder / "history.csv")
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, 9)]
    assert float(history[-1]["val_dice"]) > 0.8  # the patches are easy


def test_scores_agree_with_scikit_learn(workplace):
    """The pooled scores, computed anew from the saved model, the mask files and the recorded split."""
    code = (
        "import csv, h5py, json, keras, numpy as np\n"
        "rows = [r['image'] for r in csv.DictReader(open('results/small/split.csv')) if r['split'] == 'test']\n"
        "read = lambda name, key: h5py.File('data/' + name)[key][()]\n"
        "x = np.stack([read(r, 'img') for r in rows])\n"
        "y = np.stack([read(r.replace('image', 'mask'), 'mask') for r in rows])\n"
        "p = np.asarray(keras.models.load_model('results/small/model.keras').predict(x, verbose=0))[..., 0]\n"
        "np.savez('scores.npz', y=y, p=p)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=workplace, check=True, capture_output=True)
    saved, metrics = np.load(workplace / "scores.npz"), record(workplace, "metrics.json")
    truth, called = saved["y"].ravel(), saved["p"].ravel() >= np.float32(metrics["threshold"])
    assert metrics["images"] == len(saved["y"]) == 9
    assert metrics["dice"] == pytest.approx(f1_score(truth, called), abs=1e-3)
    assert metrics["iou"] == pytest.approx(jaccard_score(truth, called), abs=1e-3)
    assert metrics["tp"] + metrics["fn"] == truth.sum()
    low, high = metrics["dice_ci95"]
    assert low <= metrics["dice"] <= high
    each = rows(workplace / "results/small/per_image.csv")
    assert sum(int(row["fp"]) for row in each) == metrics["fp"]
    assert np.mean([float(row["dice"]) for row in each]) == pytest.approx(metrics["mean_image_dice"])


def test_threshold_is_the_best_of_its_curve_and_is_what_evaluate_applies(workplace):
    chosen = record(workplace, "threshold.json")
    curve = rows(workplace / "results/small/threshold_curve.csv")
    assert len(curve) == 1001
    assert chosen["dice"] == pytest.approx(max(float(row["dice"]) for row in curve))
    assert chosen["split"] == "validation"
    assert record(workplace, "metrics.json")["threshold"] == chosen["threshold"]


@pytest.mark.parametrize("name", "training_curves threshold_curve samples/best samples/worst samples/random".split())
def test_pictures_are_pictures(workplace, name):
    picture = imread(workplace / "results" / "small" / f"{name}.png")
    assert min(picture.shape[:2]) > 300 and picture.std() > 0.05


def test_other_splits_and_folders_do_not_overwrite_the_test_record(workplace):
    before = record(workplace, "metrics.json")
    other = workplace / "other"
    write_patches(other / "images", other / "masks", range(100, 106))
    assert run_script("evaluate.py", "--run", "small", "--split", "validation", cwd=workplace).returncode == 0
    result = run_script(*"evaluate.py --run small --data-dir other --split all --threshold 0.3".split(), cwd=workplace)
    assert "6 patches" in result.stdout and "0.300" in result.stdout
    assert record(workplace, "metrics_validation.json")["split"] == "validation"
    assert record(workplace, "metrics_other_all.json")["images"] == 6
    assert record(workplace, "metrics.json") == before


def test_the_runs_own_data_is_known_where_it_has_moved(workplace):
    shutil.copytree(workplace / "data", workplace / "moved" / "data")
    before = record(workplace, "metrics.json")
    result = run_script("evaluate.py", "--run", "small", "--data-dir", "moved/data", cwd=workplace)
    assert result.returncode == 0, result.stderr
    after = record(workplace, "metrics.json")
    assert (after["images"], after["dice"]) == (before["images"], before["dice"])


def test_unlabelled_patches_are_drawn(workplace):
    shutil.copytree(workplace / "data" / "images", workplace / "bare" / "images")
    result = run_script("visualize.py", "--run", "small", "--data-dir", "bare", cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert (workplace / "results/small/samples/bare_random.png").exists()
    result = run_script("evaluate.py", "--run", "small", "--data-dir", "bare", "--split", "all", cwd=workplace)
    assert_user_error(result, "no masks beside the images")


@pytest.mark.parametrize("layout", ["official", "mirror"])
def test_layouts_train(tmp_path, layout):
    data = layout_folder(tmp_path / "data", layout)
    result = run_script("train.py", "--epochs", 1, "--bands", "B4", "slope", *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert record(tmp_path, "config.json", "unet")["bands"] == ["B4", "slope"]
    splits = [row["split"] for row in rows(tmp_path / "results/unet/split.csv")]
    assert [splits.count(split) for split in ("train", "validation", "test")] == [6, 3, 2]
    assert data.exists()


def test_skip_bad_trains_on_the_rest_and_lists_what_it_left_out(tmp_path):
    data = layout_folder(tmp_path / "data", "flat")
    (data / "images" / "image_3.h5").write_text("no")
    assert_user_error(run_script("train.py", cwd=tmp_path), "image_3.h5: is cut short or not HDF5", "--skip-bad")
    result = run_script("train.py", "--skip-bad", "--epochs", 1, *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "left out images/image_3.h5" in result.stdout
    assert record(tmp_path, "config.json", "unet")["left_out"][0][0] == "images/image_3.h5"
    assert "image_3.h5" not in (tmp_path / "results/unet/split.csv").read_text()
    result = run_script("optimize_threshold.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr


# ---------------------------------------------------------------------- cut off and resumed


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


def test_kill_9_and_resume_give_the_history_of_an_uninterrupted_run(workplace):
    results = workplace / "results"
    whole = start_training(workplace, "whole", 6)
    assert whole.wait(timeout=120) == 0, whole.stdout.read()
    for epochs in (1, 4):  # killed twice, at whatever step of the epoch that follows
        if epochs == 1:
            process = start_training(workplace, "killed", 6)
        else:
            command = [sys.executable, ROOT / "train.py", "--run", "killed", "--resume"]
            process = subprocess.Popen(
                command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        stop_after(process, results / "killed" / "history.csv", epochs, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    result = run_script("train.py", "--run", "killed", "--resume", cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert "resuming with EPOCHS = 6" in result.stdout
    histories = [(results / run / "history.csv").read_text() for run in ("whole", "killed")]
    assert histories[0] == histories[1]
    assert not (results / "killed" / "last.weights.h5").exists()
    with h5py.File(workplace / "data/images/image_1.h5") as file:
        assert file["img"].shape == (32, 32, 14)


def test_ctrl_c_keeps_the_best_model_and_says_how_to_go_on(workplace):
    process = start_training(workplace, "stopped", 200)
    history = workplace / "results" / "stopped" / "history.csv"
    output = stop_after(process, history, 2, signal.SIGINT)
    assert process.returncode == 130
    assert "Traceback" not in output
    assert "the best so far is results/stopped/model.keras; go on with --resume" in output
    assert run_script("optimize_threshold.py", "--run", "stopped", cwd=workplace).returncode == 0


def test_resuming_a_finished_run_changes_nothing(workplace):
    history = workplace / "results" / "small" / "history.csv"
    before = history.read_text()
    result = run_script("train.py", "--run", "small", "--resume", cwd=workplace)
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


# ---------------------------------------------------------------------- errors


def damage_shape(data):
    write_h5(data / "masks" / "mask_2.h5", "mask", np.zeros((16, 16), np.uint8))


def damage_key(data):
    write_h5(data / "images" / "image_2.h5", "image", np.zeros((32, 32, 14)))


def damage_by_cutting(data):
    os.truncate(data / "images" / "image_2.h5", 40_000)


def damage_by_nan(data):
    with h5py.File(data / "images" / "image_2.h5", "r+") as file:
        file["img"][3, 4, 5] = np.nan


def damage_mask(data):
    write_h5(data / "masks" / "mask_2.h5", "mask", np.full((32, 32), 255, np.uint8))


def damage_bands(data):
    write_h5(data / "images" / "image_2.h5", "img", np.zeros((32, 32, 12)))


def damage_pair(data):
    (data / "masks" / "mask_2.h5").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_shape, "data/masks/mask_2.h5: 'mask' has shape 16 x 16, its image 32 x 32"),
        (damage_key, "data/images/image_2.h5: has no key 'img' (it has: image)"),
        (damage_by_cutting, "data/images/image_2.h5: is cut short or not HDF5"),
        (damage_by_nan, "data/images/image_2.h5: 'img' holds NaN or infinite values (1 of them)"),
        (damage_mask, "data/masks/mask_2.h5: 'mask' holds values other than 0 and 1 (255)"),
        (damage_bands, "data/images/image_2.h5: has 12 bands, the other images have 14"),
        (damage_pair, "data/images/image_2.h5: its mask is missing (expected masks/mask_2.h5)"),
    ],
)
def test_faulty_files_are_named_in_one_line(tmp_path, damage, message):
    damage(layout_folder(tmp_path / "data", "flat"))
    text = assert_user_error(run_script("train.py", cwd=tmp_path), message)
    assert "\n" not in text.strip()
    assert not (tmp_path / "results" / "unet").exists()


def test_without_data_train_says_how_to_get_some(tmp_path):
    text = assert_user_error(
        run_script("train.py", cwd=tmp_path), "data: no patches", "10463239", "make_sample_data.py"
    )
    assert len(text.strip().splitlines()) == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--bands B8A", "band B8A is not in these files"),
        ("--augment flip", "AUGMENT: 'flip' is none of flips, dihedral"),
        ("--epochs 0", "EPOCHS"),
        ("--learning-rate 0", "LEARNING_RATE"),
        ("--mixed-precision maybe", "auto, on or off"),
        ("--depth 6", "not divisible by 64"),
        ("--split-method odd", "neither 'random' nor 'blocks'"),
        ("--test-split train", "neither 'validation' nor 'test'"),
        ("--resume", "results/unet/config.json is missing: train.py without --resume makes it"),
        ("--epochs ten", "invalid int value"),
    ],
)
def test_bad_settings_are_found_before_anything_is_written(flat, flags, message):
    result = run_script("train.py", *flags.split(), cwd=flat.parent)
    assert_user_error(result, message)
    assert not (flat.parent / "results" / "unet").exists()


@pytest.mark.parametrize("script", ["optimize_threshold.py", "evaluate.py", "visualize.py"])
def test_a_missing_run_names_the_stage_that_makes_it(tmp_path, script):
    result = run_script(script, "--run", "none", cwd=tmp_path)
    assert_user_error(result, "results/none/config.json is missing: python train.py --run none makes it")


@pytest.mark.parametrize("script", ["evaluate.py", "visualize.py"])
def test_a_missing_threshold_names_its_stage(workplace, script):
    folder = workplace / "results" / "no_threshold"
    shutil.copytree(workplace / "results" / "small", folder)
    (folder / "threshold.json").unlink()
    result = run_script(script, "--run", "no_threshold", cwd=workplace)
    shutil.rmtree(folder)
    assert_user_error(result, "threshold.json is missing: python optimize_threshold.py --run no_threshold makes it")


def test_a_damaged_model_is_named(workplace):
    folder = workplace / "results" / "damaged"
    shutil.copytree(workplace / "results" / "small", folder)
    os.truncate(folder / "model.keras", 5000)
    result = run_script("evaluate.py", "--run", "damaged", cwd=workplace)
    message = assert_user_error(result, "results/damaged/model.keras cannot be loaded", "train the run again")
    assert result.stderr.strip() == f"evaluate.py{message}".strip()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--split exam", "split 'exam' is none of"),
        ("--data-dir nowhere", "nowhere: no patches"),
        ("--data-dir rgb --split all", "band B1 is not in these files"),
        ("--data-dir large --split all", "patches of 64 x 64 pixels, but run small was trained on 32 x 32"),
        ("--data-dir large2 --split test", "has no test split with masks"),
    ],
)
def test_what_a_run_cannot_be_scored_on(workplace, flags, message):
    if not (workplace / "rgb").exists():
        for name, size, bands in (("rgb", 32, 3), ("large", 64, 14), ("large2", 32, 14)):
            write_patches(workplace / name / "images", workplace / name / "masks", range(3), size, bands)
    assert_user_error(run_script("evaluate.py", "--run", "small", *flags.split(), cwd=workplace), message)


def test_data_that_changed_since_training_is_noticed(tmp_path):
    data = layout_folder(tmp_path / "data", "flat")
    assert run_script("train.py", "--epochs", 1, *SMALL, cwd=tmp_path).returncode == 0
    config = record(tmp_path, "config.json", "unet")
    del config["finished"]  # as if it had been cut off
    (tmp_path / "results/unet/config.json").write_text(json.dumps(config))
    (data / "images" / "image_1.h5").unlink()
    result = run_script("optimize_threshold.py", cwd=tmp_path)
    assert_user_error(result, "data has changed since the run was trained")
    result = run_script("train.py", "--resume", cwd=tmp_path)
    assert_user_error(result, "data has changed since run unet was started")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_cannot_be_written_is_named(flat):
    (flat.parent / "blocked").write_text("a file where a folder is wanted")
    result = run_script("train.py", "--results-dir", "blocked", cwd=flat.parent)
    assert_user_error(result, "blocked")
