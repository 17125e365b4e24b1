"""Choose the decision threshold of a run: the one with the highest pooled Dice on the validation split.

    python optimize_threshold.py                 # run results/unet/
    python optimize_threshold.py --run first
    python optimize_threshold.py --run all --elsewhere without_iburi without_uav    # and one for ground it never saw
    python optimize_threshold.py --run event --cross-fit event_1 event_2            # on more than its few patches

If the run was trained with landslide-free ground, false alarms on its validation part count, too.

On ground that it has not seen, a network is less certain, and the threshold of its validation split misses much. Runs
of the same recipe that left events or sources out (train.py --hold-out, --leave-out) show by how much: ELSEWHERE pools
their predictions on what they left out. predict.py takes the threshold chosen there for scenes, evaluate.py for other
folders. If what was left out has pixels of several sizes, each size class (8 to 16 m and so on) has its own, because a
network may be sure of itself at one size and not at another. Pictures that are matched to the training (predict.py
--scaling match) have one more.

Fewer than ten validation patches choose a threshold by chance. The training patches choose with them then: the network
is surer of these, but they show how much it calls landslide where none is. With CROSS_FIT, more patches choose that no
network has learnt from. It takes runs of the same recipe and data with another SPLIT_SEED (and --no-own-splits, if the
folder has splits), and each predicts its own validation patches. Test patches of this run are left out.

Writes threshold.json, threshold_curve.csv and .png into the run's folder (with --tta threshold_tta.json and so on), and
with --elsewhere threshold_curve_elsewhere and reliability_elsewhere. Next: python evaluate.py --run <run>
"""

import functools
from collections import Counter
from pathlib import Path

import numpy as np

import dataset
import records
import runs
import script
from metrics import THRESHOLDS, ThresholdCurve
from networks.inference import threshold_curve
from networks.model_files import load_model
from patches import layouts, split_table, splits
from patches.pixel_sizes import by_size_class
from patches.usual_values import gains_to_match, statistics_of_size
from scores import false_alarms

RESULTS_DIR = "results"  # folder of all runs
RUN = "unet"  # name of the run
DATA_DIR = ()  # folders of the run's data, if they have moved since training
SPLIT = "validation"  # split to choose on; a threshold chosen on test makes the test scores too optimistic
ELSEWHERE = ()  # runs of this recipe that left ground out: a second threshold is chosen on what they left out
CROSS_FIT = ()  # runs of this recipe and data with another split: their validation patches choose, too
TTA = False  # average over the eight flips and turns: the threshold for --tta of evaluate.py and predict.py
LANDSLIDE_FREE_WEIGHT = 1.0  # landslide-free ground counts as this many times the pixels of the split; 0: not at all
BATCH_SIZE = 32  # patches in a batch

CHOICES = {"SPLIT": layouts.SPLITS}
RANGES = {"LANDSLIDE_FREE_WEIGHT": (0, None), "BATCH_SIZE": (1, None)}


def main():
    """Predict the split, find the threshold with the highest Dice and write it."""
    run = runs.open_run(RESULTS_DIR, RUN)
    folder, cache_dir = run.output, Path(RESULTS_DIR, "cache")
    patches, indices, own = dataset.open_for_run(run, SPLIT, DATA_DIR, cache_dir)
    if not own:
        raise script.UserError(
            f"{', '.join(DATA_DIR)}: not the data that run {run.name} was trained on: give that, or omit --data-dir"
        )
    if not splits.has_landslides(patches, indices):
        raise script.UserError(
            f"no landslide in the {SPLIT} split of {patches.data_dir}: no threshold can be chosen on it"
        )
    left_out = [open_left_out(name, run, cache_dir) for name in ELSEWHERE]
    folds = open_folds(run, patches, indices, cache_dir) if CROSS_FIT else []
    ground, ground_indices = None, ()
    if LANDSLIDE_FREE_WEIGHT:
        ground, ground_indices = false_alarms.open_for_run(run, SPLIT, cache_dir)
    model = load_model(run.folder)

    import plots  # Matplotlib is slow to import

    suffix = "_tta" if TTA else ""
    curve = threshold_curve(model, patches, indices, BATCH_SIZE, TTA)
    for fold, fold_patches, fold_indices in folds:
        curve = threshold_curve(load_model(fold.folder), fold_patches, fold_indices, BATCH_SIZE, TTA, curve)
    count = len(indices) + sum(len(fold_indices) for *_, fold_indices in folds)
    learnt = ()
    if SPLIT == "validation" and not folds and count < splits.FEW:
        learnt = indices_of(run, patches, "train")
        curve = threshold_curve(model, patches, learnt, BATCH_SIZE, TTA, curve)
    on_ground = threshold_curve(model, ground, ground_indices, BATCH_SIZE, TTA) if ground else None
    title = f"{folder.name}: {SPLIT} split, {len(indices)} patches"
    title += f", and {count - len(indices)} of {', '.join(CROSS_FIT)}" if folds else ""
    title += f", and {len(learnt)} of training" if len(learnt) else ""
    best, text = choose(curve, on_ground, count, title, folder / f"threshold_curve{suffix}", plots)
    record = {
        "threshold": best["threshold"],
        "split": SPLIT,
        "data_digest": patches.digest,
        "tta": TTA,
        "images": count,
        "training_images": len(learnt),
        "cross_fit": list(CROSS_FIT),
        "average": "pooled over pixels",
        **best,
        "dice_at_0.5": float(curve.scores()["dice"][list(THRESHOLDS).index(0.5)]),
        "landslide_free_weight": LANDSLIDE_FREE_WEIGHT if ground else 0.0,
        "landslide_free_patches": len(ground_indices),
        "average_precision": curve.average_precision(),
        "revision": script.revision(),
    }
    if count < splits.FEW:
        low, high = best["plateau"]
        known = f", and {len(learnt)} training patches, which the network knows" if len(learnt) else ""
        script.warn(
            f"the threshold comes from few validation patches ({count}){known}: any from {low:.3f} to {high:.3f} is "
            f"within {EVEN} of the best Dice, and their middle is taken; for a better choice, label more patches, or "
            "give runs with other validation patches to CROSS_FIT"
        )
    print(f"{title}\n{text}; at 0.5 Dice {record['dice_at_0.5']:.3f}")
    if left_out:
        record["elsewhere"] = choose_elsewhere(left_out, on_ground, folder, suffix, plots)
    elif kept := kept_elsewhere(run, suffix):
        record["elsewhere"] = kept
    records.write_json(folder / f"threshold{suffix}.json", record)
    if ground:
        print(
            f"landslide-free ground, {len(ground_indices)} patches: {record['landslide_free_pixel_share']:.2%} "
            f"predicted; with {LANDSLIDE_FREE_WEIGHT:g} times as much of it as of the split, Dice "
            f"{record['landslide_free_dice']:.3f}"
        )
    print(f"next: {runs.command('evaluate.py', folder, *['--tta'] * TTA)}")


def open_left_out(name, run, cache_dir):
    """Open what a run left out of its training: (runs.Run, patches, indices).

    Raises:
        UserError: it left nothing out, or its network sees other bands than that of `run`.
    """
    other = runs.open_run(RESULTS_DIR, name, "ELSEWHERE")
    if not other.constants.get("HOLD_OUT") and not other.constants.get("LEAVE_OUT"):
        raise script.UserError(f"run {name} left no event and no source out: ELSEWHERE takes runs that did")
    if other.config["bands"] != run.config["bands"]:
        raise script.UserError(f"run {name} has other bands than run {run.name}: ELSEWHERE takes runs of one recipe")
    patches, indices, _ = dataset.open_for_run(other, "test", (), cache_dir)
    return other, patches, indices


def kept_elsewhere(run, suffix):
    """Return what was chosen for elsewhere before, and say that it stays; None if there is nothing."""
    path = run.path_of(f"threshold{suffix}.json")
    kept = records.read_json(path, "optimize_threshold.py").get("elsewhere") if path.exists() else None
    if kept:
        script.note(f"the threshold for elsewhere stays {kept['threshold']:.3f}: --elsewhere chooses it anew")
    return kept


def open_folds(run, patches, indices, cache_dir):
    """Open the runs of CROSS_FIT, [(Run, patches, indices of its validation split), ...].

    Patches that are the test of `run` are left out. patches: of `run`. indices: of its validation split.

    Raises:
        UserError: a run has other data or bands, or the same validation patches.
    """
    if SPLIT != "validation":
        raise script.UserError(f"CROSS_FIT chooses on validation patches, and SPLIT is {SPLIT}")
    folds, test = [], indices_of(run, patches, "test")
    for name in CROSS_FIT:
        other = runs.open_run(RESULTS_DIR, name, "CROSS_FIT")
        if any(other.config[key] != run.config[key] for key in ("data_digest", "bands")):
            raise script.UserError(f"run {name} has other data or bands than run {run.name}: train it on the same")
        its_patches, its_indices, _ = dataset.open_for_run(other, SPLIT, DATA_DIR, cache_dir)
        if set(its_indices) == set(indices):
            raise script.UserError(
                f"run {name} has the validation patches of run {run.name}: train it with another --split-seed, and "
                "with --no-own-splits if the folder has splits"
            )
        folds.append((other, its_patches, np.setdiff1d(its_indices, test)))
    return folds


def indices_of(run, patches, split):
    """Return the indices of the patches of a split of a run, as its split.csv has them."""
    assigned = split_table.read_split(run.path_of("split.csv"), patches, f"python train.py --run {run.name}")
    return np.flatnonzero(assigned == split)


def choose_elsewhere(left_out, on_ground, folder, suffix, plots):
    """Choose the threshold for ground that the run has not seen, write its curve, and return its record."""
    curves, matched, images = {}, {}, Counter()  # of each size class of pixels
    for other, patches, indices in left_out:
        model = load_model(other.folder)
        for size, of_size in by_size_class(patches.pixel_sizes[indices]).items():
            curves[size] = threshold_curve(model, patches, indices[of_size], BATCH_SIZE, TTA, curves.get(size))
            matched[size] = matched_curve(other, model, patches, indices[of_size], matched.get(size))
            images[size] += int(of_size.sum())
    names = [other.name for other, *_ in left_out]
    origin = f"that {', '.join(names)} left out"

    def choose_on(curve, count, path, pixels=""):
        title = f"{count} patches{pixels} {origin}"
        best, text = choose(curve, on_ground, count, f"{folder.name}: {title}", path, plots)
        print(f"elsewhere ({title}): {text}")
        about = {"curve": f"{path.name}.csv", "average_precision": curve.average_precision()}
        return {"runs": names, "images": count, **best, **about}

    curve = functools.reduce(ThresholdCurve.joined, curves.values())
    record = choose_on(curve, images.total(), folder / f"threshold_curve_elsewhere{suffix}")
    columns, header = curve.reliability(), ("mean_probability", "landslide_share", "pixels")
    path = folder / f"reliability_elsewhere{suffix}"
    records.write_csv(path.with_suffix(".csv"), header, zip(*columns, strict=True))
    plots.reliability_diagram(*columns, f"{folder.name}: {images.total()} patches {origin}", path.with_suffix(".png"))
    by_size = {}
    for size, of_size in curves.items() if len(curves) > 1 else ():
        if images[size] >= splits.FEW and of_size.positive.any() and size != "unknown":
            path = folder / f"threshold_curve_elsewhere_{size.replace(' ', '_')}{suffix}"
            by_size[size] = choose_on(of_size, images[size], path, f" of {size}") | {"pixel_size": size}
            if matched[size]:
                path = path.with_name(f"threshold_curve_matched_{size.replace(' ', '_')}{suffix}")
                pixels = f" of {size}, matched to the training"
                by_size[size]["matched"] = choose_on(matched[size], images[size], path, pixels) | {"pixel_size": size}
    return record | {"by_pixel_size": by_size}


def matched_curve(other, model, patches, indices, curve=None):
    """Compute the ThresholdCurve of patches whose pictures are brought to the training, or add them to a curve.

    Those of an event are so together, as predict.py --scaling match does with a scene.

    Args:
        other: runs.Run that left them out. model: its network. patches, indices: of one size class. curve: of others.

    Returns:
        None if the run's record does not say how its pictures of such pixels look, or takes no pictures.
    """
    usual = statistics_of_size(other.config, float(patches.pixel_sizes[indices[0]]))
    if not usual or other.config["values"] != "display":
        return curve
    events = split_table.read_events(other.path_of("split.csv"), patches.names, "train.py")
    events = np.full(len(indices), "") if events is None else events[indices]
    for event in np.unique(events):
        of_event = indices[events == event]
        sample = patches.read(of_event)[:, ::4, ::4].reshape(-1, len(patches.bands)).T
        gain, bias = gains_to_match(sample, *usual)

        def convert(images, gain=gain, bias=bias):
            return np.clip(images * gain + bias, 0, 255).astype(np.float32)

        curve = threshold_curve(model, patches, of_event, BATCH_SIZE, TTA, curve, convert)
    return curve


EVEN = 0.01  # Dice below the highest that still counts as the plateau


def choose(curve, on_ground, count, title, path, plots):
    """Choose the threshold of a metrics.ThresholdCurve, and write and draw the curve.

    Args:
        curve: of patches with landslides. on_ground: of landslide-free ground, or None. count: number of the patches.
            title: of the picture. path: of the table and the picture, without ending. plots: the module.

    Returns:
        (threshold and scores there, for threshold.json; a line for the terminal).
    """
    scores, joined, alarms = curve.scores(), curve, {}
    if on_ground:
        joined = curve.with_landslide_free(on_ground, LANDSLIDE_FREE_WEIGHT)
        alarm_share = on_ground.counts()[1] / on_ground.negative.sum()
        alarms = {"landslide_free_dice": joined.scores()["dice"], "landslide_free_pixel_share": alarm_share}
    best = joined.best(EVEN if count < splits.FEW else 0.0)
    ends = joined.plateau(EVEN)[[0, -1]]
    columns = [[round(float(t), 3) for t in THRESHOLDS], *curve.counts(), *scores.values(), *alarms.values()]
    header = ("threshold", "tp", "fp", "fn", "tn", *scores, *alarms)
    records.write_csv(path.with_suffix(".csv"), header, zip(*columns, strict=True))
    plots.threshold_curve(THRESHOLDS, scores | alarms, best, title, path.with_suffix(".png"))
    at_best = {name: float(values[best]) for name, values in (scores | alarms).items()}
    threshold = round(float(THRESHOLDS[best]), 3)
    text = (
        f"threshold {threshold:.3f}: pooled Dice {at_best['dice']:.3f}, IoU {at_best['iou']:.3f}, precision "
        f"{at_best['precision']:.3f}, recall {at_best['recall']:.3f}"
    )
    return {"threshold": threshold, **at_best, "plateau": [round(float(THRESHOLDS[i]), 3) for i in ends]}, text


if __name__ == "__main__":
    script.start(main)
