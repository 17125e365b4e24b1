"""Measure what several dates gain: Dice, and false alarms on ground that was already bare before the event.

    python experiments/dates.py --runs dates_after dates_stack dates_difference

Scores finished runs on one folder of series (make_sample_data.py --dates 4, or Sen12Landslides), each on its test split
at its own threshold. Writes results/figures/dates.csv and .png. Bare ground has no landslide, and its vegetation index
NDVI = (B08 - B04) / (B08 + B04) is below 0.3 before and after the event; water (B08 below 1000) is excluded.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np

import dataset
import records
import runs
import script
from networks import keras_start

RUNS = ()  # names of finished runs, each with a threshold
RESULTS_DIR = "results"  # folder of all runs
DRAWN = 3  # patches in the picture, those where the runs differ most
BATCH_SIZE = 32  # patches in a batch


def main():
    """Score the runs, and write the table and the picture."""
    if not RUNS:
        raise script.UserError("name finished runs with --runs")
    rows, predicted, tests = zip(*(judge(runs.open_run(RESULTS_DIR, run, "RUNS")) for run in RUNS), strict=True)
    if len({tuple(patches.names[i] for i in indices) for patches, indices in tests}) > 1:
        raise script.UserError("the runs have different test splits: train them on one folder with one SPLIT_SEED")
    path = Path(RESULTS_DIR, "figures", "dates.csv")
    records.write_csv(path, rows[0], [row.values() for row in rows])
    draw(*tests[0], predicted, path.with_suffix(".png"))
    print(f"{'run':<24} dates  fusion       Dice    IoU    false alarms on bare ground   elsewhere")
    for row in rows:
        print(
            f"{row['run']:<24} {row['dates']:>5}  {row['fusion']:<11} {row['dice']:.3f}  {row['iou']:.3f}  "
            f"{row['false_alarms_bare']:>27.2%}   {row['false_alarms_elsewhere']:>9.3%}"
        )
    print(f"written: {path}, dates.png")


def judge(run):
    """Score a run on its test split, with false alarms by ground; return (row, N x H x W bool, (patches, indices))."""
    keras_start.import_keras()  # before the modules that import it
    import metrics
    from networks.inference import predict
    from networks.model_files import load_model

    patches, indices, _ = dataset.open_for_run(run, "test", "", Path(RESULTS_DIR, "cache"))
    if not patches.dates:
        raise script.UserError(f"run {run.name} was not trained on series of dates")
    pairs = open_pairs(patches, "B08", "B04")
    model, threshold = load_model(run.folder), np.float32(run.threshold())
    counts, masks_of_run, bare, elsewhere = [], [], np.zeros(2), np.zeros(2)
    for batch, _, probabilities in predict(model, patches, indices, BATCH_SIZE):
        masks, predicted = patches.read_masks(batch) == 1, probabilities >= threshold
        counts.append(metrics.confusion(masks, predicted)[:3])
        masks_of_run.append(predicted)
        ground = bare_ground(pairs.read(batch)) & ~masks
        for sums, where in ((bare, ground), (elsewhere, ~ground & ~masks)):
            sums += (predicted & where).sum(), where.sum()
    scores = metrics.scores(*np.concatenate(counts, axis=1).sum(1))
    row = {
        "run": run.name,
        "dates": patches.dates,
        "fusion": run.constants["FUSION"],
        "patches": len(indices),
        "parameters": run.config["parameters"],
        **{name: round(float(value), 4) for name, value in scores.items()},
        "bare_share": round(float(bare[1] / (bare[1] + elsewhere[1])), 4),
        "false_alarms_bare": round(float(bare[0] / max(bare[1], 1)), 5),
        "false_alarms_elsewhere": round(float(elsewhere[0] / max(elsewhere[1], 1)), 6),
        "revision": run.config["revision"],
    }
    return row, np.concatenate(masks_of_run), (patches, indices)


def open_pairs(patches, *bands):
    """Open the same patches with bands of the date before the event, then of the date after it."""
    names = [f"{band} {word}" for word in ("before", "after") for band in bands]
    return dataset.open_patches(patches.data_dir, Path(RESULTS_DIR, "cache"), names, skip_bad=True)


def bare_ground(pairs):
    """Return which ground is bare on both dates: n x H x W x 4 (B08, B04 before; B08, B04 after) -> n x H x W bool."""
    bare = np.ones(pairs.shape[:3], bool)
    for near_infrared, red in ((pairs[..., 0], pairs[..., 1]), (pairs[..., 2], pairs[..., 3])):
        index = (near_infrared - red) / np.maximum(near_infrared + red, 1)
        bare &= (index < 0.3) & (near_infrared >= 1000)
    return bare


def draw(patches, indices, predicted, path):
    """Draw both dates, mask and outcome of each run for the patches with the most disputed pixels."""
    from plots import disagreements, stretch

    pairs = open_pairs(patches, "B04", "B03", "B02")

    def pictures(i):
        before, after = np.split(pairs.read([indices[i]])[0], 2, axis=-1)
        return {"before": stretch(before), "after": stretch(after)}

    disagreements(pictures, patches.read_masks(indices) == 1, dict(zip(RUNS, predicted, strict=True)), DRAWN, path)


if __name__ == "__main__":
    script.start(main)
