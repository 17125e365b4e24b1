"""A threshold for ground that a run has not seen, for each size of its pixels."""

import h5py
import numpy as np
import pytest
from sklearn.metrics import f1_score

import evaluate
import optimize_threshold
import plots
import records
import runs
from networks.inference import probabilities
from networks.model_files import load_model
from tests.patch_files import open_folder, write_patches
from tests.random_runs import SMALL, write_random_run

SIZES = (3.0,) * 12 + (10.0,) * 11 + (0.5,)  # metres a pixel of each patch


@pytest.fixture
def left_out(tmp_path):
    """A run of random weights, patches that it left out, and their numbers."""
    write_patches(tmp_path / "data/images", tmp_path / "data/masks", range(1, 1 + len(SIZES)), bands=3)
    for number, size in enumerate(SIZES, 1):
        with h5py.File(tmp_path / f"data/images/image_{number}.h5", "a") as file:
            file.attrs["pixel_size"] = size
    write_random_run(tmp_path / "results", "own", SMALL, ("red", "green", "blue"))
    return runs.open_run(tmp_path / "results", "own"), open_folder(tmp_path / "data"), np.arange(len(SIZES))


def test_each_size_of_pixels_has_its_own_threshold(left_out, tmp_path, capsys):
    run, patches, _ = left_out
    chosen = optimize_threshold.choose_elsewhere([left_out], None, run.folder, "", plots)
    assert "elsewhere (12 patches of 2 to 4 m that own left out): threshold" in capsys.readouterr().out
    assert list(chosen["by_pixel_size"]) == ["2 to 4 m", "8 to 16 m"]  # one patch of 0.5 m chooses nothing
    scores = probabilities(load_model(run.folder), patches.read(np.arange(24)).astype(np.float32))
    parts = {size: np.array(SIZES) == size for size in (3.0, 10.0)}
    for record, of_size in ((chosen, slice(None)), *zip(chosen["by_pixel_size"].values(), parts.values(), strict=True)):
        truth, predicted = patches.masks[of_size].ravel() == 1, scores[of_size].ravel()
        assert record["dice"] == pytest.approx(f1_score(truth, predicted >= record["threshold"]), abs=1e-3)
        curve = records.read_csv(run.folder / record["curve"], "")
        assert record["dice"] == pytest.approx(max(row["dice"] for row in curve), abs=1e-9)
    records.write_json(run.folder / "threshold.json", {"threshold": 0.9, "elsewhere": chosen})
    assert optimize_threshold.kept_elsewhere(run, "") == chosen and "stays" in capsys.readouterr().out
    assert optimize_threshold.kept_elsewhere(run, "_tta") is None
    small, large = (part["threshold"] for part in chosen["by_pixel_size"].values())
    of_sizes = (
        ((3.0, 2.5), small),
        ((10.0,), large),
        ((10.0, 3.0), chosen["threshold"]),
        ((0.5,), chosen["threshold"]),
    )
    for sizes, threshold in of_sizes:
        assert evaluate.threshold_for(run, False, np.array(sizes)) == threshold
    assert evaluate.threshold_for(run, True, np.array([10.0])) == 0.9
