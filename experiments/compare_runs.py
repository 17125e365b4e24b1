"""Compare finished runs on the same patches: scores, size, speed, and a picture of where they disagree.

    python experiments/compare_runs.py --runs rgb segformer --name transformer

Each run is scored at its own threshold. Speed is that of the network alone with batches in memory; the networks take
turns. Writes results/figures/<name>.csv and .png.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np

import dataset
import records
import runs
import script
from bands import true_colour
from networks import keras_start
from patches import layouts

RUNS = ()  # names of finished runs, each with a threshold
RESULTS_DIR = "results"  # folder of all runs
NAME = "comparison"  # name of the files to write
SPLIT = "test"  # split to score: train, validation or test
DRAWN = 3  # patches in the picture, those where the runs differ most
BATCH_SIZE = 32  # patches in a batch
ROUNDS = 5  # timed rounds of each network, in turn

RANGES = {"DRAWN": (1, None), "BATCH_SIZE": (1, None), "ROUNDS": (1, None)}
CHOICES = {"SPLIT": layouts.SPLITS}


def main():
    """Score and time the runs, and write the table and the picture."""
    if not RUNS:
        raise script.UserError("name finished runs with --runs")
    rows, predicted, models, tested = zip(
        *(judge(runs.open_run(RESULTS_DIR, run, "RUNS")) for run in RUNS), strict=True
    )
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
    """Score a run; return its row, its predicted masks (N x H x W bool), its model and (patches, indices)."""
    keras_start.import_keras()  # before the modules that import it
    import metrics
    from networks.inference import predict
    from networks.model_files import load_model

    patches, indices, _ = dataset.open_for_run(run, SPLIT, "", Path(RESULTS_DIR, "cache"))
    model, threshold = load_model(run.folder), run.threshold()
    predicted = [
        probabilities >= np.float32(threshold) for *_, probabilities in predict(model, patches, indices, BATCH_SIZE)
    ]
    predicted = np.concatenate(predicted)
    tp, fp, fn, _ = metrics.confusion(patches.read_masks(indices), predicted)
    row = {
        "run": run.name,
        "split": SPLIT,
        "patches": len(indices),
        "epochs": run.constants.get("EPOCHS", ""),
        "parameters": model.count_params(),
        "threshold": round(float(threshold), 3),
        **metrics.pooled_summary(tp, fp, fn),
        "revision": run.config["revision"],
    }
    return row, predicted, model, (patches, indices)


def speeds(models, batches):
    """Return the patches per second that each model predicts, as medians over the rounds."""
    rates = np.empty((ROUNDS + 1, len(models)))
    for rates_of_round in rates:
        for i, (model, batch) in enumerate(zip(models, batches, strict=True)):
            began = time.perf_counter()
            for _ in range(3):
                model.predict_on_batch(batch)
            rates_of_round[i] = 3 * len(batch) / (time.perf_counter() - began)
    return np.median(rates[1:], axis=0)  # the first round also builds the graph


def draw(patches, indices, predicted, path):
    """Draw patch, mask and outcome of each run for the patches with the most disputed pixels."""
    from plots import disagreements, stretch

    colours = true_colour(patches.bands)
    disagreements(
        lambda i: {"patch": stretch(patches.read([indices[i]])[0][..., colours])},
        patches.read_masks(indices) == 1,
        dict(zip(RUNS, predicted, strict=True)),
        DRAWN,
        path,
    )


if __name__ == "__main__":
    script.start(main)
