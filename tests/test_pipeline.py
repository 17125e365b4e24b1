"""All stages, end to end, as a user runs them, and data that a run refuses."""

import json
import os
import shutil
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from matplotlib.image import imread
from sklearn.metrics import f1_score, jaccard_score, log_loss

from tests.patch_files import layout_folder, write_patches
from tests.running import SMALL, assert_user_error, record, rows, run_script


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """Make a folder with 60 patches and run all stages on it, as the run `small`."""
    workdir = tmp_path_factory.mktemp("workplace")
    write_patches(workdir / "data" / "images", workdir / "data" / "masks", range(1, 61))
    result = run_script("train.py", "--run", "small", "--epochs", 4, *SMALL, cwd=workdir)
    assert result.returncode == 0, result.stderr
    for stage in ("optimize_threshold.py", "evaluate.py", "visualize.py"):
        result = run_script(stage, "--run", "small", cwd=workdir)
        assert result.returncode == 0, result.stderr
    folder = workdir / "results" / "small"  # other tests add to it
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    (workdir / "listing.txt").write_text("\n".join(files))
    return workdir


def test_a_run_holds_its_whole_record(workplace):
    folder = workplace / "results" / "small"
    assert (workplace / "listing.txt").read_text().splitlines() == sorted(
        "config.json split.csv model.keras history.csv training_curves.png threshold.json threshold_curve.csv "
        "threshold_curve.png home.npz metrics.json per_image.csv objects.csv reliability.csv reliability.png "
        "samples/best.png samples/worst.png samples/random.png".split()
    )
    config = record(workplace, "config.json")
    assert config["constants"]["EPOCHS"] == 4 and config["constants"]["BASE_FILTERS"] == 4
    assert config["bands"][:2] == ["B1", "B2"] and config["input_shape"] == [32, 32, 14]
    assert {"seed", "packages", "revision", "data_digest", "band_mean", "calibration", "backend"} <= config.keys()
    history = rows(folder / "history.csv")
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, 5)]
    assert float(history[-1]["val_dice"]) > 0.8  # the patches are easy


def test_scores_agree_with_scikit_learn(workplace):
    """The pooled scores are recomputed from the saved model, the mask files and the recorded split."""

    def read(name, key):
        with h5py.File(workplace / "data" / name) as file:
            return file[key][()]

    drawn = rows(workplace / "results/small/split.csv")
    images = np.stack([read(row["image"], "img") for row in drawn])
    masks = np.stack([read(row["image"].replace("image", "mask"), "mask") for row in drawn])
    model = keras.models.load_model(workplace / "results/small/model.keras")
    said = np.asarray(model.predict(images, verbose=0))[..., 0]
    test, metrics = np.array([row["split"] == "test" for row in drawn]), record(workplace, "metrics.json")
    truth, called = masks[test].ravel(), said[test].ravel() >= np.float32(metrics["threshold"])
    assert metrics["images"] == test.sum() == 9
    assert metrics["dice"] == pytest.approx(f1_score(truth, called), abs=1e-3)
    assert metrics["iou"] == pytest.approx(jaccard_score(truth, called), abs=1e-3)
    assert metrics["tp"] + metrics["fn"] == truth.sum()
    low, high = metrics["dice_ci95"]
    assert low <= metrics["dice"] <= high
    each = rows(workplace / "results/small/per_image.csv")
    assert sum(int(row["fp"]) for row in each) == metrics["fp"]
    assert np.mean([float(row["dice"]) for row in each]) == pytest.approx(metrics["mean_image_dice"])
    # nine validation patches are few, so the training patches calibrate, too
    after = record(workplace, "config.json")["calibration"]["cross_entropy_after"]
    # in bfloat16, whose 8 bits move a sure probability by up to 1 %, the model on disk computes another way
    assert after == pytest.approx(log_loss(masks[~test].ravel(), said[~test].ravel()), rel=0.02)


def test_threshold_is_the_best_of_its_curve_and_is_what_evaluate_applies(workplace):
    threshold_record = record(workplace, "threshold.json")
    curve = rows(workplace / "results/small/threshold_curve.csv")
    assert len(curve) == 1001
    best = max(float(row["dice"]) for row in curve)
    assert threshold_record["dice"] == pytest.approx(best, abs=0.01)  # the middle of the plateau: validation is small
    assert threshold_record["split"] == "validation"
    assert record(workplace, "metrics.json")["threshold"] == threshold_record["threshold"]


@pytest.mark.parametrize(
    "name", "training_curves threshold_curve reliability samples/best samples/worst samples/random".split()
)
def test_pictures_are_pictures(workplace, name):
    picture = imread(workplace / "results" / "small" / f"{name}.png")
    assert min(picture.shape[:2]) > 100 and picture.std() > 0.05


def test_augmentations_are_drawn(workplace):
    result = run_script("visualize.py", "--run", "small", "--augmentations", "--samples", 2, cwd=workplace)
    assert result.returncode == 0, result.stderr
    picture = imread(workplace / "results/small/samples/augmentations.png")
    assert picture.std() > 0.1
    (workplace / "results/small/samples/augmentations.png").unlink()


def test_test_time_augmentation_has_a_threshold_and_a_record_of_its_own(workplace):
    before = record(workplace, "metrics.json")
    result = run_script("evaluate.py", "--run", "small", "--tta", cwd=workplace)
    assert_user_error(result, "threshold_tta.json is missing: python optimize_threshold.py --run small --tta makes it")
    for stage in ("optimize_threshold.py", "evaluate.py"):
        result = run_script(stage, "--run", "small", "--tta", cwd=workplace)
        assert result.returncode == 0, result.stderr
    after = record(workplace, "metrics_tta.json")
    assert after["threshold"] == record(workplace, "threshold_tta.json")["threshold"]
    assert after["loss"] != before["loss"] and after["dice"] > 0.8
    assert record(workplace, "metrics.json") == before


@pytest.fixture(scope="module")
def ensemble(workplace):
    """The same folder, with the runs `second` and `both`, the mean of `small` and `second`."""
    flags = ("--run", "second", "--seed", 1, "--epochs", 4, *SMALL)
    assert run_script("train.py", *flags, cwd=workplace).returncode == 0
    result = run_script("ensemble.py", "--members", "small", "second", "--run", "both", cwd=workplace)
    assert result.returncode == 0, result.stderr
    return workplace


@pytest.mark.slow
def test_an_ensemble_is_a_run_that_gives_the_mean_of_its_members(ensemble):
    workplace = ensemble
    for stage in ("optimize_threshold.py", "evaluate.py", "visualize.py"):
        result = run_script(stage, "--run", "both", cwd=workplace)
        assert result.returncode == 0, result.stderr
    assert record(workplace, "metrics.json", "both")["images"] == 9
    code = (
        "import h5py, keras, numpy as np\n"
        "x = np.stack([h5py.File(f'data/images/image_{n}.h5')['img'][()] for n in (1, 2, 3)])\n"
        "p = {n: np.asarray(keras.models.load_model(f'results/{n}/model.keras').predict(x, verbose=0))\n"
        "     for n in ('small', 'second', 'both')}\n"
        "assert abs(p['small'] - p['second']).max() > 0.01\n"
        "assert abs((p['small'] + p['second']) / 2 - p['both']).max() < 1e-3\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    result = run_script("ensemble.py", "--members", "small", "second", "--run", "both", cwd=workplace)
    assert_user_error(result, "run results/both exists", "--overwrite")
    result = run_script("ensemble.py", "--members", "small", "both", "--run", "small", cwd=workplace)
    assert_user_error(result, "--run small is one of the members")


@pytest.mark.slow
def test_an_ensemble_is_neither_trained_further_nor_joined_with_unfinished_runs(ensemble):
    workplace = ensemble
    folder = workplace / "results" / "both"
    before = (folder / "model.keras").read_bytes()
    result = run_script("train.py", "--run", "both", "--resume", cwd=workplace)
    assert result.returncode == 0 and "is finished" in result.stdout
    assert (folder / "model.keras").read_bytes() == before
    shutil.copytree(workplace / "results" / "second", workplace / "results" / "open")
    config = record(workplace, "config.json", "open")
    del config["finished"]
    (workplace / "results/open/config.json").write_text(json.dumps(config))
    result = run_script("ensemble.py", "--members", "small", "open", "--run", "more", cwd=workplace)
    assert_user_error(result, "run open is not finished: python train.py --run open --resume")
    result = run_script("ensemble.py", "--members", "small", "small", "--run", "more", cwd=workplace)
    assert_user_error(result, "two runs or more with --members, each once")


@pytest.mark.slow
def test_logits_of_all_levels_train_to_a_model_that_loads_on_keras_alone(workplace):
    flags = ("--positive-weight", 2, "--multi-scale-logits", *SMALL)
    result = run_script("train.py", "--run", "loss", "--epochs", 1, *flags, cwd=workplace)
    assert result.returncode == 0, result.stderr
    code = "import keras; assert not keras.models.load_model('results/loss/model.keras').compiled"
    result = subprocess.run([sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert run_script("evaluate.py", "--run", "loss", "--threshold", 0.5, cwd=workplace).returncode == 0


@pytest.mark.slow
def test_runs_of_different_splits_are_not_joined(workplace):
    flags = ("--run", "resplit", "--split-seed", 1, "--epochs", 1, *SMALL)
    assert run_script("train.py", *flags, cwd=workplace).returncode == 0
    result = run_script("ensemble.py", "--members", "small", "resplit", "--run", "mixed", cwd=workplace)
    assert_user_error(result, "runs small and resplit have different splits")
    assert not (workplace / "results" / "mixed").exists()


def test_other_splits_and_folders_do_not_overwrite_the_test_record(workplace):
    before = record(workplace, "metrics.json")
    other = workplace / "other"
    write_patches(other / "images", other / "masks", range(100, 106))
    result = run_script("evaluate.py", "--run", "small", "--split", "validation", cwd=workplace)
    assert result.returncode == 0 and "note: these patches chose epoch and threshold of the run" in result.stdout
    result = run_script(*"evaluate.py --run small --data-dir other --split all --threshold 0.3".split(), cwd=workplace)
    assert "6 patches" in result.stdout and "0.300" in result.stdout
    assert record(workplace, "metrics_validation.json")["split"] == "validation"
    (name,) = [path.name for path in (workplace / "results/scores/small").glob("metrics_other_*_all_at0.3.json")]
    assert json.loads((workplace / "results/scores/small" / name).read_text())["images"] == 6
    assert record(workplace, "metrics.json") == before


def test_the_runs_own_data_is_known_where_it_has_moved(workplace):
    shutil.copytree(workplace / "data", workplace / "moved" / "data")
    before = record(workplace, "metrics.json")
    result = run_script("evaluate.py", "--run", "small", "--data-dir", "moved/data", cwd=workplace)
    assert result.returncode == 0, result.stderr
    after = record(workplace, "metrics.json")
    assert (after["images"], after["dice"]) == (before["images"], before["dice"])


@pytest.mark.slow
def test_unlabelled_patches_are_drawn(workplace):
    shutil.copytree(workplace / "data" / "images", workplace / "bare" / "images")
    result = run_script("visualize.py", "--run", "small", "--data-dir", "bare", cwd=workplace)
    assert result.returncode == 0, result.stderr
    assert (workplace / "results/small/samples/bare_random.png").exists()
    result = run_script("evaluate.py", "--run", "small", "--data-dir", "bare", "--split", "all", cwd=workplace)
    assert_user_error(result, "no masks beside the images")


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["official", "mirror"])
def test_layouts_train(tmp_path, layout):
    data = layout_folder(tmp_path / "data", layout)
    result = run_script("train.py", "--epochs", 1, "--bands", "B4", "slope", *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert record(tmp_path, "config.json", "unet")["bands"] == ["B4", "slope"]
    splits = [row["split"] for row in rows(tmp_path / "results/unet/split.csv")]
    assert [splits.count(split) for split in ("train", "validation", "test")] == [6, 3, 2]
    assert data.exists()


@pytest.mark.slow
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


@pytest.mark.slow
def test_numbered_bands_do_not_fit_files_of_another_count(workplace):
    write_patches(workplace / "twelve" / "images", workplace / "twelve" / "masks", range(6), bands=12)
    result = run_script("train.py", "--data-dir", "twelve", "--run", "twelve", "--epochs", 1, *SMALL, cwd=workplace)
    assert result.returncode == 0, result.stderr
    write_patches(workplace / "thirteen" / "images", workplace / "thirteen" / "masks", range(2), bands=13)
    evaluate = "evaluate.py --run twelve --threshold 0.5 --split all --data-dir".split()
    result = run_script(*evaluate, "thirteen", cwd=workplace)
    assert_user_error(result, "thirteen holds 13 bands, and those of the run are known by number alone, in files of 12")
    result = run_script(*evaluate, "data", cwd=workplace)  # of Landslide4Sense, whose bands have names
    assert_user_error(result, "data holds 14 bands, and those of the run are known by number alone, in files of 12")


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
        ("--split exam", "--split: 'exam' is none of train, validation, test, all"),
        ("--threshold 1.5", "--threshold is 1.5: it must be between 0 and 1"),
        ("--batch-size 0", "--batch-size is 0"),
        ("--bootstrap 0", "--bootstrap is 0"),
        ("--data-dir nowhere", "nowhere: no patches"),
        ("--data-dir rgb --split all", "holds red green blue and lacks B1"),
        ("--data-dir large2 --split test", "has no test split with masks"),
    ],
)
def test_what_a_run_cannot_be_scored_on(workplace, flags, message):
    if not (workplace / "rgb").exists():
        for name, size, bands in (("rgb", 32, 3), ("large2", 32, 14)):
            write_patches(workplace / name / "images", workplace / name / "masks", range(3), size, bands)
    assert_user_error(run_script("evaluate.py", "--run", "small", *flags.split(), cwd=workplace), message)


def test_a_threshold_is_not_chosen_on_foreign_data(workplace):
    before = (workplace / "results/small/threshold.json").read_text()
    layout_folder(workplace / "foreign", "official")
    result = run_script("optimize_threshold.py", "--run", "small", "--data-dir", "foreign", cwd=workplace)
    assert_user_error(result, "foreign: not the data that run small was trained on")
    assert (workplace / "results/small/threshold.json").read_text() == before


@pytest.mark.slow
def test_a_split_without_landslides_is_drawn_and_scored(workplace):
    empty = workplace / "empty"
    write_patches(empty / "images", empty / "masks", [4, 8, 12])  # every fourth patch has no landslide
    for script in ("visualize.py", "evaluate.py"):
        result = run_script(script, "--run", "results/small/", "--data-dir", "empty", "--split", "all", cwd=workplace)
        assert result.returncode == 0, result.stderr
    assert not (workplace / "results/small/samples/empty_all_best.png").exists()
    assert (workplace / "results/small/samples/empty_all_worst.png").exists()
