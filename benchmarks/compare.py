"""Finished runs side by side on the same patches: scores, size, speed, and a picture of where they disagree.

    python benchmarks/compare.py --runs rgb segformer --name transformer

Each is scored at its own threshold. Speeds are of the network alone, batches in memory, in turn. Writes
results/figures/<name>.csv and .png.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the scripts lie flat, one level up

import numpy as np

import dataset
import patch_files
import records
import runs
import script
from bands import true_colour

RUNS = ()  # names of finished runs, each with a threshold
RESULTS_DIR = "results"  # holds a folder for each run
NAME = "comparison"  # of the files written
SPLIT = "test"  # train, validation or test
DRAWN = 3  # patches on the picture, those where the runs differ most
BATCH_SIZE = 32  # patches predicted at once
ROUNDS = 5  # times that each network is timed, in turn


def main():
    if not RUNS:
        raise script.UserError("name finished runs with --runs")
    script.check_choices(globals(), SPLIT=patch_files.SPLITS)
    script.check_ranges(globals(), DRAWN=(1, None), BATCH_SIZE=(1, None), ROUNDS=(1, None))
    rows, predicted, models, tested = zip(*(judge(runs.open_run(RESULTS_DIR, run)) for run in RUNS), strict=True)
    patches, indices = tested[0]
    if any([each.names[i] for i in at] != [patches.names[i] for i in indices] for each, at in tested):
        raise script.UserError(f"the runs have different {SPLIT} splits: train them on one folder with one SPLIT_SEED")
    batches = [each.read(at[:BATCH_SIZE]) for each, at in tested]
    for row, speed in zip(rows, speeds(models, batches), strict=True):
        row["predicted_patches_per_s"] = round(speed, 1)
    path = Path(RESULTS_DIR, "figures", f"{NAME}.csv")
    records.write_csv(path, rows[0], [row.values() for row in rows])
    draw(patches, indices, predicted, path.with_suffix(".png"))
    print(f"{SPLIT} split, {len(indices)} patches\n{'run':<20} parameters  Dice (95 % interval)      IoU  patches/s")
    for row in rows:
        print(
            f"{row['run']:<20} {row['parameters']:>10,}  {row['dice']:.3f} ({row['dice_low']:.3f} to "
            f"{row['dice_high']:.3f})  {row['iou']:.3f}  {row['predicted_patches_per_s']:>9.1f}"
        )
    print(f"written: {path}, {NAME}.png")


def judge(run):
    """Scores of a run; what it predicted, N x H x W; its model; (patches, indices)."""
    import metrics
    from inference import predict

    patches, indices, own = dataset.open_for_run(run, SPLIT, "", Path(RESULTS_DIR, "cache"))
    if not own:
        raise script.UserError(f"the data of run {run.name} is not at hand")
    model, threshold = run.model(), run.threshold()
    predicted = [
        probabilities >= np.float32(threshold) for *_, probabilities in predict(model, patches, indices, BATCH_SIZE)
    ]
    predicted = np.concatenate(predicted)
    tp, fp, fn, _ = metrics.confusion(patches.read_masks(indices), predicted)
    row = {
        "run": run.name,
        "split": SPLIT,
        "patches": len(indices),
        "epochs": run.constants["EPOCHS"],
        "parameters": model.count_params(),
        "threshold": round(float(threshold), 3),
        **metrics.pooled_summary(tp, fp, fn),
        "revision": run.config["revision"],
    }
    return row, predicted, model, (patches, indices)


def speeds(models, batches):
    """Patches a second that each model predicts: the median of several rounds."""
    found = np.empty((ROUNDS + 1, len(models)))
    for turn in found:
        for i, (model, batch) in enumerate(zip(models, batches, strict=True)):
            began = time.perf_counter()
            for _ in range(3):
                model.predict_on_batch(batch)
            turn[i] = 3 * len(batch) / (time.perf_counter() - began)
    return np.median(found[1:], axis=0)  # the first includes building the graph


def draw(patches, indices, predicted, path):
    """Draw patch, mask and what each run found and missed, for patches where most pixels are in dispute."""
    from plots import disagreements, stretch

    colours = true_colour(patches.bands)
    disagreements(
        lambda i: {"patch": stretch(patches.read([indices[i]])[0][..., colours])},
        patches.read_masks(indices) > 0,
        dict(zip(RUNS, predicted, strict=True)),
        DRAWN,
        path,
    )


if __name__ == "__main__":
    script.start(main)
