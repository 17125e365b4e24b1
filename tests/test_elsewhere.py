"""A threshold for ground that a run has not seen, for each size of its pixels."""

import h5py
import numpy as np
import pytest
from sklearn.metrics import f1_score

import evaluate
import metrics
import optimize_threshold
import plots
import records
import runs
from networks.inference import probabilities
from networks.model_files import load_model
from patches import split_table
from scores import thresholds
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


def test_pictures_of_an_event_are_matched_together(left_out, monkeypatch):
    """Against NumPy and scikit-learn; a map of a matched scene takes the threshold that was chosen on them."""
    run, patches, indices = left_out
    of_size = np.flatnonzero(np.array(SIZES) == 10.0)
    model = load_model(run.folder)
    assert optimize_threshold.matched_curve(run, model, patches, of_size) is None  # of one source
    usual = {"band_mean": [50.0, 60.0, 70.0], "band_variance": [400.0, 300.0, 200.0]}
    sources = [usual | {"patches": 5, "pixel_sizes": {"8 to 16 m": 1.0}}, usual | {"patches": 5, "pixel_sizes": {}}]
    run.config.update(sources=sources, values="display")
    events = np.array(["north", "south"])[indices % 2]
    split_table.write_split(run.folder / "split.csv", patches, np.full(len(indices), "test"), events=events)
    curve = optimize_threshold.matched_curve(run, model, patches, of_size)
    scores, truth = [], []
    for event in ("north", "south"):
        of_event = of_size[events[of_size] == event]
        images = patches.read(of_event).astype(float)
        sample = images[:, ::4, ::4].reshape(-1, 3)
        kept = np.clip(sample, *np.percentile(sample, [1, 99], axis=0))
        images = (images - kept.mean(0)) / kept.std(0) * np.sqrt(usual["band_variance"]) + usual["band_mean"]
        scores.append(probabilities(model, np.clip(images, 0, 255).astype(np.float32)).ravel())
        truth.append(patches.masks[of_event].ravel() == 1)
    scores, truth = np.concatenate(scores), np.concatenate(truth)
    expected = [f1_score(truth, scores >= np.float32(t), zero_division=0) for t in metrics.THRESHOLDS[::200]]
    np.testing.assert_allclose(curve.scores()["dice"][::200], expected, atol=2e-3)
    part = {"threshold": 0.2, "precision": 0.5, "recall": 0.5, "pixel_size": "8 to 16 m", "runs": ["own"]}
    record = part | {"by_pixel_size": {"8 to 16 m": part | {"matched": part | {"threshold": 0.4}}}}
    records.write_json(run.folder / "threshold.json", part | {"elsewhere": record})
    for scaling, threshold in (("l4s", 0.2), ("match", 0.4)):
        assert thresholds.for_map(run, {}, pixel_size=10.0, scaling=scaling) == threshold
    assert thresholds.for_map(run, {}, pixel_size=3.0, scaling="match") == 0.2
