"""A threshold where validation patches are few: training patches, or those of other runs, choose with them."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

import optimize_threshold
import records
from networks.inference import probabilities
from networks.model_files import load_model
from patches import split_table
from script import UserError
from tests.patch_files import open_folder, write_patches
from tests.random_runs import SMALL, write_random_run
from tests.running import call_main

SPLITS = {
    "event": ["train"] * 8 + ["test"] * 2 + ["validation"] * 2,
    "second": ["validation"] * 3 + ["train"] * 5 + ["validation"] + ["train"] * 3,
    "same": ["train"] * 7 + ["test"] * 3 + ["validation"] * 2,
}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Make runs of random weights on one folder of twelve patches, split as SPLITS says; return (workdir, patches)."""
    tmp_path = tmp_path_factory.mktemp("cross_fit")
    write_patches(tmp_path / "data/images", tmp_path / "data/masks", range(1, 13), bands=3)
    patches = open_folder(tmp_path / "data")
    about = {"data_dir": [str(tmp_path / "data")], "data_digest": patches.digest, "file_bands": 3, "left_out": []}
    about |= {"file_dtype": str(patches.dtype), "file_band_names": list(patches.file_bands), "values": patches.values}
    about |= {"band_mean": [1.0] * 3, "band_variance": [0.5] * 3}
    for name, assigned in SPLITS.items():
        write_random_run(tmp_path / "results", name, SMALL, patches.bands, **about)
        split_table.write_split(tmp_path / "results" / name / "split.csv", patches, np.array(assigned))
    write_random_run(tmp_path / "results", "foreign", SMALL, patches.bands, **about | {"data_digest": "0"})
    return tmp_path, patches


@pytest.fixture
def choose(workdir, monkeypatch):
    """Call the script for the run `event`; return its threshold."""
    results = workdir[0] / "results"

    def run(*cross_fit, **more):
        settings = {"RESULTS_DIR": str(results), "RUN": "event", "CROSS_FIT": cross_fit} | more
        call_main(optimize_threshold, monkeypatch, **settings)
        return records.read_json(results / "event/threshold.json", "")

    run.results, run.patches = results, workdir[1]
    return run


@pytest.mark.parametrize(
    ("folds", "asked", "said"),
    [
        (
            (),
            {"event": [*range(8), 10, 11]},
            ("2 patches, and 8 of training", "few validation patches (2), and 8 train"),
        ),
        # patch 8 of the second is a test of the first
        (
            ("second",),
            {"event": [10, 11], "second": [0, 1, 2]},
            ("2 patches, and 3 of second", "few validation patches (5):"),
        ),
    ],
)
def test_the_patches_that_choose_are_predicted_by_the_run_that_they_belong_to(choose, capsys, folds, asked, said):
    chosen = choose(*folds)
    masks, predicted = [], []
    for name, indices in asked.items():
        masks.append(choose.patches.read_masks(indices))
        images = choose.patches.read(indices).astype(np.float32)
        predicted.append(probabilities(load_model(choose.results / name), images) >= chosen["threshold"])
    dice = f1_score(np.concatenate(masks).ravel() == 1, np.concatenate(predicted).ravel())
    assert chosen["dice"] == pytest.approx(dice, abs=1e-4)
    assert chosen["images"] + chosen["training_images"] == sum(map(len, asked.values()))
    assert chosen["cross_fit"] == list(folds)
    printed = capsys.readouterr().out
    assert all(text in printed for text in said)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("same", {}, "run same has the validation patches of run event: train it with another --split-seed"),
        ("foreign", {}, "run foreign has other data or bands than run event"),
        ("second", {"SPLIT": "test"}, "CROSS_FIT chooses on validation patches, and SPLIT is test"),
    ],
)
def test_runs_that_do_not_fit_are_told(choose, name, more, message):
    with pytest.raises(UserError, match=message):
        choose(name, **more)
