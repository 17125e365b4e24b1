"""The threshold of a run for a map or for other data: optimize_threshold.py chooses, these functions look it up."""

from patches.pixel_sizes import size_class
from records import read_csv


def elsewhere(run, tta=False, pixel_size=None):
    """Read what was chosen for ground that the run has not seen; without such a choice, what was chosen at home.

    Args:
        run: runs.Run. tta: see `Run.threshold_record`. pixel_size: of that ground, in metres. If a threshold was chosen
            on pixels of this size class, it is that one; otherwise the one of all sizes together.

    Returns:
        {"threshold", "precision", "recall", ...}; for other ground also "runs" and, of a size class, "pixel_size".
    """
    record = run.threshold_record(tta)
    if "elsewhere" not in record:
        return record
    record = record["elsewhere"]
    return record.get("by_pixel_size", {}).get(size_class(pixel_size), record) if pixel_size else record


def own_of_tta(run, tta):
    """Return whether to take the threshold of test-time augmentation; without one, the usual one is nearly the same.

    run: runs.Run. tta: whether flips and turns are averaged.
    """
    return tta and run.path_of("threshold_tta.json").exists()


def for_map(run, metadata, tta=False, threshold=None, recall=None, scene=True, pixel_size=None, scaling=""):
    """Return the threshold of a map, and add it to the metadata of the map, a dict.

    Args:
        run: runs.Run. tta: see `own_of_tta`.
        threshold: of the user; None: the one that was chosen, and it is printed on what, and how good it was there.
        recall: the highest threshold with at least this recall is taken instead of that of the highest Dice.
        scene: whether a scene is mapped, which counts as ground that the run has not seen. pixel_size: see `elsewhere`.
        scaling: of the scene; one that is matched to the training has its own threshold.
    """
    if threshold is None:
        tta = own_of_tta(run, tta)
        chosen = elsewhere(run, tta, pixel_size) if scene else run.threshold_record(tta)
        chosen = chosen.get("matched", chosen) if scaling == "match" else chosen
        split = "training and validation" if chosen.get("training_images") else "validation"
        where = f"on {split} patches of its own data"
        if unseen := "runs" in chosen:
            of_size = f" with pixels of {chosen['pixel_size']}" if "pixel_size" in chosen else ""
            where = f"on ground{of_size} that the model had not seen"
        if recall is not None:
            usual = f"threshold_curve{'_elsewhere' if unseen else ''}{'_tta' if tta else ''}.csv"
            path = run.path_of(chosen.get("curve", usual))
            rows = read_csv(path, f"python optimize_threshold.py --run {run.name}")
            chosen = [row for row in rows if row["recall"] >= recall][-1]
        threshold = chosen["threshold"]
        meaning = f"{where}, precision {chosen['precision']:.2f} and recall {chosen['recall']:.2f}"
        print(f"threshold {threshold:.3f}: {meaning}")
        metadata["threshold_chosen"] = meaning
    metadata["threshold"] = f"{threshold:.3f}"
    return threshold
