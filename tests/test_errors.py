"""Mistakes of the user: one clear line, exit status 2, and no file written."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tests.patch_files import layout_folder, write_h5
from tests.running import ROOT, SMALL, assert_user_error, record, run_script


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
    write_h5(data / "masks" / "mask_2.h5", "mask", np.full((32, 32), 7, np.uint8))


def damage_bands(data):
    write_h5(data / "images" / "image_2.h5", "img", np.zeros((32, 32, 12)))


def damage_pair(data):
    (data / "masks" / "mask_2.h5").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_shape, "data/masks/mask_2.h5: 'mask' has shape 16 x 16, its image 32 x 32"),
        (damage_key, "data/images/image_2.h5: has no array 'img' (it has: image)"),
        (damage_by_cutting, "data/images/image_2.h5: is cut short or not HDF5"),
        (damage_by_nan, "data/images/image_2.h5: 'img' holds NaN or infinite values (1 of them)"),
        (damage_mask, "data/masks/mask_2.h5: 'mask' holds values other than 0 and 1 (7)"),
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
        ("--augment flip", "--augment: 'flip' is none of flips, dihedral"),
        ("--epochs 0", "--epochs is 0"),
        ("--learning-rate 0", "--learning-rate is 0.0"),
        ("--mixed-precision maybe", "--mixed-precision: 'maybe' is none of auto, on, off"),
        ("--depth 6", "not divisible by 64"),
        ("--split-method odd", "--split-method: 'odd' is none of random, blocks"),
        ("--test-split train", "--test-split: 'train' is none of validation, test"),
        ("--seed -1", "--seed is -1: it must be between 0 and"),
        ("--patience -5", "--patience is -5: it must be at least 1"),
        ("--learning-rate nan", "--learning-rate is nan"),
        ("--run cache", "the name of a run is a folder name"),
        ("--run a/b", "the name of a run is a folder name"),
        ("--resume", "results/unet/config.json is missing: train.py without --resume makes it"),
        ("--epochs ten", "invalid int value"),
        ("--model vit", "--model: 'vit' is none of unet, segformer"),
        ("--model segformer --stride 3", "--stride is 3: it must be 2 or 4"),
        ("--labelled-fraction 1.5", "--labelled-fraction is 1.5"),
        ("--teacher nowhere", "results/nowhere holds no run: choose another --teacher (rgb (comes with the project))"),
    ],
)
def test_bad_settings_are_found_before_anything_is_written(flat, flags, message):
    result = run_script("train.py", *flags.split(), cwd=flat.parent)
    assert_user_error(result, message)
    assert not (flat.parent / "results" / "unet").exists()


@pytest.mark.parametrize("script", ["optimize_threshold.py", "evaluate.py", "visualize.py"])
def test_a_missing_run_names_the_stage_that_makes_it(tmp_path, script):
    result = run_script(script, "--run", "none", cwd=tmp_path)
    assert_user_error(result, "results/none holds no run: choose another --run (rgb (comes with")


@pytest.mark.slow
def test_faults_of_another_folder_are_told_even_if_training_left_some_out(tmp_path):
    data = layout_folder(tmp_path / "data", "flat")
    shutil.copytree(data, tmp_path / "other")
    (data / "images" / "image_3.h5").write_text("no")
    (tmp_path / "other" / "images" / "image_4.h5").write_text("no")
    assert run_script("train.py", "--skip-bad", "--epochs", 1, *SMALL, cwd=tmp_path).returncode == 0
    score = "evaluate.py --data-dir other --split all --threshold 0.5".split()
    assert_user_error(run_script(*score, cwd=tmp_path), "other/images/image_4.h5: is cut short")
    result = run_script(*score, "--skip-bad", cwd=tmp_path)
    assert "left out images/image_4.h5" in result.stdout and "10 patches" in result.stdout
    result = run_script("optimize_threshold.py", "--data-dir", "other", cwd=tmp_path)
    assert result.returncode == 2


@pytest.mark.slow
def test_data_that_changed_since_training_is_noticed(tmp_path):
    data = layout_folder(tmp_path / "data", "flat")
    assert run_script("train.py", "--epochs", 1, *SMALL, cwd=tmp_path).returncode == 0
    config = record(tmp_path, "config.json", "unet")
    del config["finished"]  # as if the run was interrupted
    (tmp_path / "results/unet/config.json").write_text(json.dumps(config))
    (data / "images" / "image_1.h5").unlink()
    result = run_script("optimize_threshold.py", cwd=tmp_path)
    assert_user_error(result, "data has changed since run unet was trained")
    # also if given by --data-dir: the run may have been trained on its patches
    result = run_script("evaluate.py", "--data-dir", "data", "--split", "all", "--threshold", 0.5, cwd=tmp_path)
    assert_user_error(result, "data has changed since run unet was trained")
    result = run_script("train.py", "--resume", cwd=tmp_path)
    assert_user_error(result, "data has changed since run unet was started")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_folder_that_cannot_be_written_is_named(flat):
    (flat.parent / "blocked").write_text("a file where a folder is wanted")
    result = run_script("train.py", "--results-dir", "blocked", cwd=flat.parent)
    assert_user_error(result, "blocked")


# ---------------------------------------------------------------------- what the environment hands down


def keras_as_configured(tmp_path, code, **settings):
    """Run code in a new process whose keras.json has these settings."""
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "tensorflow", "epsilon": 1e-7} | settings))
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    environment["KERAS_HOME"] = str(tmp_path)
    command = [sys.executable, "-c", f"from networks.keras_start import import_keras\n{code}"]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_settings_of_keras_for_other_programs_do_not_matter(tmp_path):
    code = "keras = import_keras(); print(keras.config.image_data_format(), keras.config.floatx())"
    result = keras_as_configured(tmp_path, code, image_data_format="channels_first", floatx="float64")
    assert result.stdout.split() == ["channels_last", "float32"], result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["theano", "openvino"])
def test_a_backend_that_is_not_there_is_told(tmp_path, backend):
    result = keras_as_configured(tmp_path, "import_keras()", backend=backend)
    assert "UserError: Keras cannot use the backend that keras.json names" in result.stderr


def test_a_terminal_without_the_letters_of_a_name_shows_others(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, ROOT / "make_sample_data.py", "--patches", "4", "--out-dir", "données"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and "4 patches in donn?es" in result.stdout, result.stderr
