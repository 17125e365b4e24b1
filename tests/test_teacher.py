"""Learning from another run: soft targets, unlabelled patches, and no leak of validation and test patches."""

import json
import shutil

import numpy as np
import pytest

import dataset
import runs
from networks.inference import probabilities
from networks.model_files import load_model
from patches import split_table, splits
from tests.patch_files import write_patches
from tests.running import SMALL, assert_user_error, record, rows, run_script
from training.feed import PatchFeed
from training.teacher import Teacher

FEW = ("--labelled-fraction", 0.3, "--epochs", 2, *SMALL)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Make 40 patches and a run `first` that is trained on three masks in ten."""
    workdir = tmp_path_factory.mktemp("workdir")
    write_patches(workdir / "data/images", workdir / "data/masks", range(1, 41))
    result = run_script("train.py", "--run", "first", *FEW, cwd=workdir)
    assert result.returncode == 0, result.stderr
    assert "20 patches count as unlabelled" in result.stdout
    return workdir


@pytest.fixture
def opened(workdir):
    """Open the teacher, the patches with three of its bands, and their split."""
    run = runs.open_run(workdir / "results", "first")
    patches = dataset.open_patches(workdir / "data", workdir / "results/cache", ("B4", "B3", "B2"))
    return run, patches, split_table.read_split(run.folder / "split.csv", patches, "")


def test_masks_that_are_not_to_be_used_are_those_of_training_patches(workdir):
    recorded = [row["split"] for row in rows(workdir / "results/first/split.csv")]
    assert {split: recorded.count(split) for split in set(recorded)} == {
        "train": 8,
        "unlabelled": 20,
        "validation": 6,
        "test": 6,
    }
    whole, _ = splits.split_patches(dataset.open_patches(workdir / "data", workdir / "results/cache"))
    assert [split if split != "unlabelled" else "train" for split in recorded] == list(whole)


@pytest.mark.parametrize("weight", [0.5, *(pytest.param(weight, marks=pytest.mark.slow) for weight in (0.0, 1.0))])
def test_targets_are_mask_and_teacher_mixed_and_the_teacher_alone_without_mask(workdir, opened, weight):
    run, patches, assigned = opened
    targets = Teacher(run, patches, assigned, workdir / "results/cache").targets(weight) / 255
    seen = dataset.open_patches(workdir / "data", workdir / "results/cache")  # the teacher uses all bands
    said = probabilities(load_model(run.folder), seen.read(np.arange(40)), tta=True)
    expected = {
        "train": weight * said + (1 - weight) * seen.masks,
        "unlabelled": said,
        "validation": 0 * said,
        "test": 0 * said,
    }
    for split, values in expected.items():
        of_split = assigned == split
        np.testing.assert_allclose(targets[of_split], values[of_split], atol=0.51 / 255 + 1e-6)


def test_a_feed_gives_targets_in_the_stead_of_masks(opened):
    patches = opened[1]
    targets = np.random.default_rng(0).integers(0, 256, patches.masks.shape, np.uint8)
    _, masks = PatchFeed(patches, [3, 5], 2, targets=targets)[0]
    np.testing.assert_allclose(masks[..., 0], targets[[3, 5]] / 255, atol=1e-6)


@pytest.fixture(scope="module")
def student(workdir):
    """The result of training the run `student` of the teacher `first`."""
    result = run_script("train.py", "--run", "student", "--teacher", "first", *FEW, cwd=workdir)
    assert result.returncode == 0, result.stderr
    return result


@pytest.mark.slow
def test_a_student_learns_from_all_training_patches(workdir, student):
    assert "8 train, 6 validation, 6 test, 20 unlabelled patches" in student.stdout
    assert record(workdir, "config.json", "student")["constants"]["TEACHER"] == "first"
    assert run_script("optimize_threshold.py", "--run", "student", cwd=workdir).returncode == 0
    assert run_script("evaluate.py", "--run", "student", cwd=workdir).returncode == 0
    assert record(workdir, "metrics.json", "student")["images"] == 6


@pytest.mark.slow
def test_patches_without_any_mask_join_the_training(workdir, tmp_path):
    write_patches(tmp_path / "more/TrainData/img", tmp_path / "more/TrainData/mask", range(101, 113))
    write_patches(tmp_path / "more/TestData/img", tmp_path / "gone", range(20, 31))
    flags = ("--data-dir", tmp_path / "more", "--run", "more", "--teacher", "first", "--epochs", 1, *SMALL)
    result = run_script("train.py", *flags, cwd=workdir)
    assert result.returncode == 0, result.stderr
    assert "8 train, 2 validation, 2 test, 11 unlabelled patches" in result.stdout


def test_what_a_teacher_has_learnt_from_is_known_in_another_folder(workdir, tmp_path):
    """The new folder has the same patches and more, as for self-training, with its own split."""
    write_patches(tmp_path / "data2/images", tmp_path / "data2/masks", range(1, 61))
    flags = ("--data-dir", tmp_path / "data2", "--run", "leak", "--teacher", "first", "--split-seed", 3, *FEW)
    assert_user_error(run_script("train.py", *flags, cwd=workdir), "teacher first has learnt from")


@pytest.mark.slow
def test_a_resumed_student_needs_the_same_teacher(workdir, student):
    folder = shutil.copytree(workdir / "results" / "student", workdir / "results" / "cut")
    config = record(workdir, "config.json", "student")
    del config["finished"]
    (folder / "config.json").write_text(json.dumps(config | {"teacher_finished": "earlier"}))
    result = run_script("train.py", "--run", "cut", "--resume", cwd=workdir)
    assert_user_error(result, "teacher first was retrained since run cut was started")


def test_a_teacher_that_has_seen_what_the_student_is_judged_on_is_refused(workdir):
    result = run_script("train.py", "--run", "leak", "--teacher", "first", "--split-seed", 3, *FEW, cwd=workdir)
    assert_user_error(result, "teacher first has learnt from", "validation and test splits: give both the same")
    assert not (workdir / "results/leak").exists()
    result = run_script("train.py", "--run", "leak", "--teacher", "leak", *FEW, cwd=workdir)
    assert_user_error(result, "--teacher leak is the run itself")
