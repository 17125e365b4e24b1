"""Measure what a threshold for elsewhere is worth on the next event: chosen on some unseen events, applied to another.

    python experiments/threshold_elsewhere.py --run unseen

The run left events out of its training (train.py --hold-out). For each of them and each size class of its pixels, three
thresholds are scored: that of the run's own validation split, the best one of the other unseen events at all sizes
together, and the best one of the other unseen events at this size. False alarms on the landslide-free ground of
validation count, as in optimize_threshold.py. Writes OUT: Dice, precision and recall at each, and the best Dice that
any threshold has there.
"""

import functools
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import dataset
import records
import runs
import script
from metrics import THRESHOLDS, ThresholdCurve
from networks.inference import threshold_curve
from networks.model_files import load_model
from patches import split_table
from patches.pixel_sizes import by_size_class
from scores import false_alarms

RESULTS_DIR = "results"  # folder of all runs
RUN = "unseen"  # run that left events out
OUT = "results/figures/threshold_elsewhere.csv"  # file of the table


def main():
    """Predict what the run left out, choose and score the thresholds, and write the table."""
    run = runs.open_run(RESULTS_DIR, RUN)
    if not run.constants.get("HOLD_OUT"):
        raise script.UserError(f"run {RUN} left no event out: train one with --hold-out")
    cache_dir = Path(RESULTS_DIR, "cache")
    curves = curves_by_event(run, cache_dir)
    if len({event for event, _ in curves}) < 2:
        raise script.UserError(f"run {RUN} left one event out: a threshold of the others needs two")
    ground, ground_indices = false_alarms.open_for_run(run, "validation", cache_dir)
    on_ground = threshold_curve(load_model(run.folder), ground, ground_indices) if ground else None

    def best(keys):
        curve = functools.reduce(ThresholdCurve.joined, (curves[key] for key in keys))
        return (curve.with_landslide_free(on_ground, 1.0) if on_ground else curve).best(0.0)

    rows = []
    for event, size in curves:
        others = [key for key in curves if key[0] != event]
        of_size = [key for key in others if key[1] == size]
        chosen = {"home": int(np.argmin(np.abs(THRESHOLDS - run.threshold()))), "all sizes": best(others)}
        chosen |= {"this size": best(of_size)} if of_size else {}
        scores = curves[event, size].scores()
        for of, i in chosen.items():
            at = [f"{THRESHOLDS[i]:.3f}", *(f"{scores[name][i]:.4f}" for name in ("dice", "precision", "recall"))]
            rows.append([event, size, of, *at, f"{scores['dice'].max():.4f}"])
            print(f"{event:<10} {size:<10} {of:<10} " + " ".join(at))
    header = ("event", "pixel_size", "chosen_on", "threshold", "dice", "precision", "recall", "best_dice")
    records.write_csv(Path(OUT), header, rows)


def curves_by_event(run, cache_dir):
    """Return {(event, size class): ThresholdCurve of the run on its test patches}, for patches of known events."""
    patches, indices, _ = dataset.open_for_run(run, "test", (), cache_dir)
    events = np.array(split_table.read_events(run.path_of("split.csv"), patches.names, "train.py"))[indices]
    model, curves = load_model(run.folder), {}
    for size, of_size in by_size_class(patches.pixel_sizes[indices]).items():
        for event in sorted(set(events[of_size]) - {""}):
            own = indices[of_size & (events == event)]
            curves[event, size] = threshold_curve(model, patches, own)
    return curves


if __name__ == "__main__":
    script.start(main)
