"""Score a run on its test split or on other folders of patches, at the threshold chosen on validation.

    python evaluate.py                                               # run results/unet/, its test split
    python evaluate.py --run first --split validation
    python evaluate.py --run first --data-dir data/other --split all # patches that the run has never seen
    python evaluate.py --run first --landslide-free-dirs data/towns  # and false alarms on ground without landslides

Writes metrics.json, per_image.csv, objects.csv, reliability.csv and reliability.png into the run's folder, of other
data into RESULTS_DIR/scores/<run>/, and false_alarms.csv if there is ground without landslides. For another split,
folder or threshold, and for --tta, the names have a suffix. Next: python visualize.py --run <run>
"""

from pathlib import Path

import numpy as np

import dataset
import metrics
import records
import runs
import script
from networks.inference import predict
from networks.model_files import load_for
from patches import layouts, split_table
from patches.pixel_sizes import by_size_class
from patches.places import find_places
from patches.sources import name_in_files
from scores import false_alarms, objects, thresholds

# ---------------------------------------------------------------------- what is scored
RESULTS_DIR = "results"  # folder of all runs
RUN = "unet"  # name of the run
DATA_DIR = ()  # folders of patches to score; none: the run's own data
SPLIT = "test"  # split to score; for the run's own data, the one in its split.csv
LANDSLIDE_FREE_DIRS = ()  # folders of ground to count false alarms on; none: the run's own, of this split
SKIP_BAD = False  # leave out unusable files instead of stopping
OVERWRITE = False  # replace earlier scores that hold false alarms by scores without them
# ---------------------------------------------------------------------- how
PIXEL_SIZE = None  # float: metres a pixel, where the files do not say; none: as in training, if it is the run's data
TTA = False  # average over the eight flips and turns (eight times the work), with a threshold of its own
THRESHOLD = None  # float: probability from which a pixel is landslide; none: as chosen, of other data for elsewhere
BATCH_SIZE = 32  # patches in a batch
BOOTSTRAP = 2000  # bootstrap draws of the patches for the interval of Dice
SEED = 0  # seed of the bootstrap

CHOICES = {"SPLIT": (*layouts.SPLITS, "all")}
RANGES = {"PIXEL_SIZE": (1e-3, None), "THRESHOLD": (0, 1), "BATCH_SIZE": (1, None), "BOOTSTRAP": (1, None)}
RANGES |= {"SEED": (0, None)}


def main():
    """Predict the patches, score them, write the records and print the scores."""
    run = runs.open_run(RESULTS_DIR, RUN)
    cache_dir = Path(RESULTS_DIR, "cache")
    if THRESHOLD is None:
        run.threshold(TTA)  # without one, nothing is read
    if LANDSLIDE_FREE_DIRS and not DATA_DIR and not any(map(Path.is_dir, map(Path, run.data_folders))):
        score_ground_alone(run, cache_dir)
        return
    given_sizes = [PIXEL_SIZE] * len(DATA_DIR) if PIXEL_SIZE else ()
    patches, indices, own = dataset.open_for_run(run, SPLIT, DATA_DIR, cache_dir, SKIP_BAD, pixel_sizes=given_sizes)
    threshold = threshold_for(run, own, patches.pixel_sizes[indices]) if THRESHOLD is None else THRESHOLD
    if own and SPLIT in ("train", "all"):
        script.note(f"the {SPLIT} split holds patches that the run was trained on")
    if own and SPLIT == "validation":
        script.note(
            "these patches chose epoch and threshold of the run, so their scores are too good; see --split test"
        )
    ground, ground_indices = None, ()
    if own or LANDSLIDE_FREE_DIRS:
        ground, ground_indices = false_alarms.open_for_run(run, SPLIT, cache_dir, LANDSLIDE_FREE_DIRS, PIXEL_SIZE)
    if own:
        events = split_table.read_events(run.folder / "split.csv", patches.names, "train.py")
    else:
        events = split_table.events_of([find_places(part) for part in patches.parts], patches)
    groups = groups_of(patches, indices, events)
    folder, suffix = run.output if own else run.scores_folder, record_suffix(run, patches, own)
    kept = folder / f"metrics{suffix}.json"
    if not ground and not OVERWRITE and kept.exists() and records.read_json(kept, "").get("landslide_free"):
        raise script.UserError(
            f"{kept} also holds false alarms on landslide-free ground, which is not at hand now: --overwrite drops them"
        )
    model = load_for(run, patches.input_shape[:2])

    import plots  # Matplotlib and Keras are slow to import
    from losses import BCEDice

    record, per_image, by_size, curve = score(
        model, BCEDice.of_constants(run.constants), patches, indices, threshold, groups
    )
    record = {
        "run": run.name,
        "data_dir": str(patches.data_dir),
        "data_digest": patches.digest,
        "split": SPLIT,
        "threshold": threshold,
        "tta": TTA,
        **record,
        "left_out": patches.left_out,
        "revision": script.revision(),
    }
    alarms = []
    if ground:
        ground_size = ground.input_shape[:2]
        ground_model = model if ground_size == patches.input_shape[:2] else load_for(run, ground_size)
        alarms, record["landslide_free"] = count_alarms(ground_model, ground, ground_indices, threshold)
        records.write_csv(folder / f"false_alarms{suffix}.csv", alarms[0], [row.values() for row in alarms])
    header = ("image", "tp", "fp", "fn", "tn", "dice", "iou", "precision", "recall")
    records.write_csv(folder / f"per_image{suffix}.csv", header, per_image)
    rows = [["" if value is None else value for value in row.values()] for row in by_size]
    records.write_csv(folder / f"objects{suffix}.csv", by_size[0], rows)
    columns, header = curve.reliability(), ("mean_probability", "landslide_share", "pixels")
    records.write_csv(folder / f"reliability{suffix}.csv", header, zip(*columns, strict=True))
    title = f"{run.name}: {SPLIT} split, {len(indices)} patches"
    plots.reliability_diagram(*columns, title, folder / f"reliability{suffix}.png")
    records.write_json(folder / f"metrics{suffix}.json", record)
    print(table(record, by_size))
    if ground:
        print(false_alarm_table(alarms, record["landslide_free"]))
    print(f"written: {folder}/metrics{suffix}.json, per_image, objects and reliability in the same folder")


def threshold_for(run, own, sizes):
    """Return the threshold that the run chose: of other data that for elsewhere, and for the size of its pixels.

    own: whether the data is the run's own. sizes: metres a pixel of each patch. Those of several size classes get the
    threshold that was chosen on all sizes together.
    """
    if own:
        return run.threshold(TTA)
    of_one_class = len(by_size_class(sizes)) == 1
    return thresholds.elsewhere(run, TTA, sizes[0] if of_one_class else None)["threshold"]


def count_alarms(model, ground, indices, threshold):
    """Count false alarms; return (rows of false_alarms.csv, record of all of them)."""
    counts = false_alarms.count(model, ground, indices, threshold, BATCH_SIZE, TTA)
    totals = false_alarms.summary(*counts, ground.pixel_sizes[indices])
    return false_alarms.by_folder(ground, indices, counts), {"data_dir": ground.data_dir.as_posix(), **totals}


def score_ground_alone(run, cache_dir):
    """Count the false alarms on LANDSLIDE_FREE_DIRS where the run's patches are not at hand."""
    script.note(f"{', '.join(run.data_folders)} not found: false alarms alone are counted")
    ground, indices = false_alarms.open_for_run(run, SPLIT, cache_dir, LANDSLIDE_FREE_DIRS, PIXEL_SIZE)
    threshold = run.threshold(TTA) if THRESHOLD is None else THRESHOLD
    alarms, totals = count_alarms(load_for(run, ground.input_shape[:2]), ground, indices, threshold)
    folder, suffix = run.scores_folder, "".join(f"_{part}" for part in setting_parts())
    records.write_csv(folder / f"false_alarms{suffix}.csv", alarms[0], [row.values() for row in alarms])
    record = {"run": run.name, "threshold": threshold, "tta": TTA, "landslide_free": totals}
    records.write_json(folder / f"false_alarms{suffix}.json", record | {"revision": script.revision()})
    print(false_alarm_table(alarms, totals))
    print(f"written: {folder}/false_alarms{suffix}.json and .csv")


def groups_of(patches, indices, events):
    """Return {"by_event", "by_source": names of the patches at `indices`}, as far as there are several.

    events: of all patches, "" where it is unknown; None: all are.
    """
    groups = {} if events is None else {"by_event": events[indices]}
    if len(patches.sources) > 1:
        groups["by_source"] = np.array(patches.sources)[patches.source_of[indices]]
    return {name: names for name, names in groups.items() if (names != "").any()}


def record_suffix(run, patches, own):
    """Return the suffix of the file names; "" for the run's own test split at its own threshold without TTA."""
    whole = own and len(patches.sources) == len(run.config.get("sources", [None]))
    parts = [] if whole else [name_in_files(patches), patches.digest[:6]]
    parts += [SPLIT] if SPLIT != "test" or not own else []
    parts += setting_parts(["landslide_free"] if LANDSLIDE_FREE_DIRS else [])
    return "".join(f"_{part}" for part in parts)


def setting_parts(before_ground=()):
    """Return the parts of a file name that say how it was scored. before_ground: parts before those of the ground."""
    parts = [f"{PIXEL_SIZE:g}m"] if PIXEL_SIZE else []
    parts += [*before_ground, *(Path(folder).resolve().name for folder in LANDSLIDE_FREE_DIRS)]
    parts += ["tta"] if TTA else []
    return parts + ([] if THRESHOLD is None else [f"at{THRESHOLD:g}"])


def score(model, loss, patches, indices, threshold, groups=None):
    """Predict the patches and score them.

    Scores are pooled over all pixels. Scores named mean_image_... are means over patches, where an empty patch without
    false alarms counts as 1. The loss is the mean over batches, weighted by their number of patches.

    groups: {key of the record: name of the group of each patch, "" for none}, see `groups_of`.

    Returns:
        (record of metrics.json, rows of per_image.csv, rows of objects.csv, metrics.ThresholdCurve).
    """
    curve, counts, outlined, total_loss = metrics.ThresholdCurve(), [], [], 0.0
    for batch, _, probabilities in predict(model, patches, indices, BATCH_SIZE, TTA):
        masks = patches.read_masks(batch)
        curve.update(masks, probabilities)
        predicted = probabilities >= np.float32(threshold)
        counts.append(metrics.confusion(masks, predicted))
        for pair in zip(masks, predicted, strict=True):
            outlined.extend(objects.match_objects(*pair))
        total_loss += len(batch) * float(loss(masks, probabilities))
    tp, fp, fn, tn = (np.concatenate(parts) for parts in zip(*counts, strict=True))
    pooled = metrics.scores(tp.sum(), fp.sum(), fn.sum())
    each = metrics.scores(tp, fp, fn)
    names = (patches.names[i] for i in indices)
    rows = [list(row) for row in zip(names, tp, fp, fn, tn, *each.values(), strict=True)]
    record = {
        "images": len(indices),
        "empty_images": int((tp + fn == 0).sum()),
        "landslide_share": float((tp + fn).sum() / (tp + fp + fn + tn).sum()),
        "loss": total_loss / len(indices),
        **{name: float(value) for name, value in pooled.items()},
        "average_precision": curve.average_precision(),
        "calibration_error": curve.calibration_error(),
        "dice_ci95": metrics.bootstrap_dice(tp, fp, fn, BOOTSTRAP, SEED),
        **{f"mean_image_{name}": float(values.mean()) for name, values in each.items()},
        **{name: int(values.sum()) for name, values in {"tp": tp, "fp": fp, "fn": fn, "tn": tn}.items()},
    }
    for key, names in (groups or {}).items():
        record[key] = score_groups(names, tp, fp, fn)
    return record, rows, objects.by_size(outlined), curve


def score_groups(names, tp, fp, fn):
    """Return {group: {"images": number of patches, "dice": ..., ...}}, pooled over the pixels of each group but ""."""
    scored = {}
    for name in sorted(set(names) - {""}):
        own = names == name
        pooled = metrics.scores(*(counts[own].sum() for counts in (tp, fp, fn)))
        scored[str(name)] = {"images": int(own.sum()), **{key: float(value) for key, value in pooled.items()}}
    return scored


def table(record, by_size):
    """Format the record and the scores by size of landslide as tables for the terminal."""
    low, high = record["dice_ci95"]
    lines = [
        f"run {record['run']}, {record['split']} split of {record['data_dir']}: {record['images']} patches, "
        f"{record['empty_images']} of them without landslide; landslide share {record['landslide_share']:.2%}",
        f"threshold          {record['threshold']:.3f}",
        f"loss               {record['loss']:.4f}",
        "                   pooled over pixels        mean over patches",
        f"Dice               {record['dice']:.3f} ({low:.3f} to {high:.3f})    {record['mean_image_dice']:.3f}",
    ]
    for label, name in (("IoU", "iou"), ("precision", "precision"), ("recall", "recall")):
        lines.append(f"{label:<18} {record[name]:.3f}                     {record[f'mean_image_{name}']:.3f}")
    lines += [
        f"average precision  {record['average_precision']:.3f}",
        f"calibration error  {record['calibration_error']:.4f}",
        f"pixels             {record['tp']} detected, {record['fp']} false alarms, {record['fn']} missed, "
        f"{record['tn']} true negatives",
        "(in brackets: 95 % bootstrap interval over patches)",
        "landslides by size   number   detected     touched   Dice    false objects",
    ]
    for row in by_size:
        to = f"to {row['pixels_to']}" if row["pixels_to"] else "or more"
        size = f"{row['pixels_from']} {to} pixels"
        shown = " " * 29
        if row["objects"]:
            shown = f"{row['detected']:>8.0%}   {row['touched']:>9.0%}   {row['dice']:>6.3f}"
        lines.append(f"{size:<20} {row['objects']:>6}   {shown}   {row['false_objects']:>12}")
    for key, heading in (("by_event", "by event"), ("by_source", "by source")):
        if key not in record:
            continue
        width = max(18, *map(len, record[key]))
        lines.append(f"{heading:<{width}} patches   Dice     IoU     precision   recall")
        for name, row in record[key].items():
            lines.append(
                f"{name:<{width}} {row['images']:>7}   {row['dice']:.3f}   {row['iou']:.3f}   {row['precision']:>9.3f}"
                f"   {row['recall']:.3f}"
            )
    return "\n".join(lines)


def false_alarm_table(rows, total):
    """Format the false alarms on landslide-free ground as a table for the terminal."""
    width = max(len("all"), *(len(row["folder"]) for row in rows))
    lines = [
        f"false alarms on {total['km2']:g} km2 of landslide-free ground",
        f"{'folder':<{width}}   patches   of pixels   of patches   alarms per 100 km2",
    ]
    for row in [*rows, {"folder": "all", **total}]:
        pixels, patches = row["pixel_share"], row["patch_share"]
        lines.append(
            f"{row['folder']:<{width}}   {row['patches']:>7}   {pixels:>9.2%}   {patches:>10.1%}   "
            f"{row['alarms_per_100km2']:>18.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    script.start(main)
