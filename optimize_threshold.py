"""Choose the decision threshold of a run: the one with the highest pooled Dice on the validation split.

    python optimize_threshold.py                 # run results/unet/
    python optimize_threshold.py --run first

If the run was trained with landslide-free ground, false alarms on its validation part count, too.

Writes threshold.json, threshold_curve.csv and .png into the run's folder; with --tta, threshold_tta.json and so on.
Next: python evaluate.py --run <run>
"""

from pathlib import Path

import dataset
import records
import runs
import script
from metrics import THRESHOLDS
from networks.inference import threshold_curve
from networks.model_files import load_model
from patches import layouts, splits
from scores import false_alarms

RESULTS_DIR = "results"  # folder of all runs
RUN = "unet"  # name of the run
DATA_DIR = None  # str: folder of the run's data, if it has moved since training
SPLIT = "validation"  # split to choose on; a threshold chosen on test makes the test scores too optimistic
TTA = False  # average over the eight flips and turns: the threshold for --tta of evaluate.py and predict.py
LANDSLIDE_FREE_WEIGHT = 1.0  # landslide-free ground counts as this many times the pixels of the split; 0: not at all
BATCH_SIZE = 32  # patches in a batch

CHOICES = {"SPLIT": layouts.SPLITS}
RANGES = {"LANDSLIDE_FREE_WEIGHT": (0, None), "BATCH_SIZE": (1, None)}


def main():
    """Predict the split, find the threshold with the highest Dice and write it."""
    run = runs.open_run(RESULTS_DIR, RUN)
    folder = run.folder
    patches, indices, own = dataset.open_for_run(run, SPLIT, DATA_DIR, Path(RESULTS_DIR, "cache"))
    if not own:
        raise script.UserError(
            f"{DATA_DIR} is not the data of run {run.name}: give the folder that it was trained on, or omit --data-dir"
        )
    if not splits.has_landslides(patches, indices):
        raise script.UserError(
            f"no landslide in the {SPLIT} split of {patches.data_dir}: no threshold can be chosen on it"
        )
    ground, ground_indices = None, ()
    if LANDSLIDE_FREE_WEIGHT:
        ground, ground_indices = false_alarms.open_for_run(run, SPLIT, Path(RESULTS_DIR, "cache"))
    model = load_model(run.folder)

    import plots  # Matplotlib is slow to import

    curve = threshold_curve(model, patches, indices, BATCH_SIZE, TTA)
    scores, best = curve.scores(), curve.best()
    alarms = {}
    if ground:
        on_ground = threshold_curve(model, ground, ground_indices, BATCH_SIZE, TTA)
        joined = curve.with_landslide_free(on_ground, LANDSLIDE_FREE_WEIGHT)
        best = joined.best()
        alarm_share = on_ground.counts()[1] / on_ground.negative.sum()
        alarms = {"landslide_free_dice": joined.scores()["dice"], "landslide_free_pixel_share": alarm_share}
    half = list(THRESHOLDS).index(0.5)
    suffix = "_tta" if TTA else ""
    record = {
        "threshold": round(float(THRESHOLDS[best]), 3),
        "split": SPLIT,
        "data_digest": patches.digest,
        "tta": TTA,
        "images": len(indices),
        "average": "pooled over pixels",
        **{name: float(values[best]) for name, values in scores.items()},
        "dice_at_0.5": float(scores["dice"][half]),
        "landslide_free_weight": LANDSLIDE_FREE_WEIGHT if ground else 0.0,
        "landslide_free_patches": len(ground_indices),
        **{name: float(values[best]) for name, values in alarms.items()},
        "average_precision": curve.average_precision(),
        "revision": script.revision(),
    }
    columns = [[round(float(t), 3) for t in THRESHOLDS], *curve.counts(), *scores.values(), *alarms.values()]
    rows, header = zip(*columns, strict=True), ("threshold", "tp", "fp", "fn", "tn", *scores, *alarms)
    records.write_csv(folder / f"threshold_curve{suffix}.csv", header, rows)
    title = f"{folder.name}: {SPLIT} split, {len(indices)} patches"
    plots.threshold_curve(THRESHOLDS, scores | alarms, best, title, folder / f"threshold_curve{suffix}.png")
    records.write_json(folder / f"threshold{suffix}.json", record)
    on_alarms = ""
    if ground:
        on_alarms = (
            f"landslide-free ground, {len(ground_indices)} patches: {record['landslide_free_pixel_share']:.2%} "
            f"predicted; with {LANDSLIDE_FREE_WEIGHT:g} times as much of it as of the split, Dice "
            f"{record['landslide_free_dice']:.3f}\n"
        )
    print(
        f"{title}\n"
        f"threshold {record['threshold']:.3f}: pooled Dice {record['dice']:.3f}, IoU {record['iou']:.3f}, "
        f"precision {record['precision']:.3f}, recall {record['recall']:.3f}; at 0.5 Dice {record['dice_at_0.5']:.3f}\n"
        f"{on_alarms}next: python evaluate.py --run {folder.name}{' --tta' if TTA else ''}"
    )


if __name__ == "__main__":
    script.start(main)
