"""False alarms: pixels and areas that a run predicts as landslide on ground without landslides."""

from pathlib import Path

import numpy as np
import scipy

from networks.inference import predict
from patches import landslide_free, split_table
from patches.patch_format import PatchFormat
from patches.pixel_sizes import REFERENCE
from scores.objects import NEIGHBOURS
from script import UserError, note


def open_for_run(run, split, cache_dir, folders=(), pixel_size=None):
    """Open landslide-free ground to score a run on.

    Args:
        run: runs.Run.
        split: train, validation, test or all; it applies to the ground that the run was trained with. Of other ground
            all patches are used.
        cache_dir: see `landslide_free.open_landslide_free`.
        folders: folders of landslide-free ground; empty for the folders that the run was trained with.
        pixel_size: metres a pixel of these folders, where their files do not say; None: as in training.

    Returns:
        (packing.Patches, indices), or (None, ()) if the run was trained without such ground, or if its folders are not
        on this machine (which is printed).

    Raises:
        UserError: see `landslide_free.open_landslide_free`; or the run's own folders have changed.
    """
    config, trained_with = run.config, run.constants.get("LANDSLIDE_FREE_DIRS", ())
    if not folders and not trained_with:
        return None, ()
    if not folders and not all(Path(folder).is_dir() for folder in trained_with):
        note(f"{', '.join(trained_with)} not found: no false alarms on landslide-free ground are counted")
        return None, ()
    pixel_size = pixel_size or run.constants.get("LANDSLIDE_FREE_PIXEL_SIZE") or REFERENCE
    ground = landslide_free.open_landslide_free(
        folders or trained_with, PatchFormat.of_run(config), cache_dir, pixel_size
    )
    if ground.digest == config["landslide_free_digest"]:
        return ground, np.flatnonzero(np.isin(ground.own_splits, (split, "test") if split == "all" else split))
    if not folders:
        raise UserError(
            f"{', '.join(trained_with)}: changed since run {run.name} was trained, so it is unknown which pictures it "
            "has seen; give other landslide-free ground with --landslide-free-dirs"
        )
    trained_on = split_table.content_hashes(run.folder / "split.csv", f"python train.py --run {run.name}", ("train",))
    if known := np.isin(ground.contents, trained_on).sum():
        note(f"run {run.name} was trained on {known} of the {len(ground)} patches of {ground.data_dir}")
    return ground, np.arange(len(ground))


def count(model, ground, indices, threshold, batch_size=32, tta=False):
    """Count all pixels, the pixels at or above the threshold, and the connected areas of these, of each patch.

    Only the part of a patch that its picture covers is counted. Returns three int arrays of len(indices).
    """
    counts = []
    for batch, _, probabilities in predict(model, ground, indices, batch_size, tta):
        for (rows, columns), probability in zip(ground.extents[batch], probabilities, strict=True):
            alarm = probability[:rows, :columns] >= np.float32(threshold)
            counts.append((alarm.size, np.count_nonzero(alarm), scipy.ndimage.label(alarm, NEIGHBOURS)[1]))
    return tuple(np.array(counts, int).reshape(-1, 3).T)


def summary(pixels, alarmed, alarms, pixel_sizes):
    """Sum up the counts of patches: shares of pixels and of patches with false alarms, and alarms per 100 km2.

    pixel_sizes: side of a pixel of each patch on the ground, in metres.
    """
    km2 = (pixels * np.square(pixel_sizes)).sum() / 1e6
    return {
        "patches": len(pixels),
        "km2": round(float(km2), 2),
        "pixel_share": float(alarmed.sum() / pixels.sum()),
        "patch_share": float((alarmed > 0).mean()),
        "alarms_per_100km2": float(100 * alarms.sum() / km2),
    }


def by_folder(ground, indices, counts):
    """Sum up the counts of patches for each folder of their pictures: a list of dicts, `folder` first."""
    folders = np.array([ground.names[i].rsplit("/", 1)[0] for i in indices])
    values = *counts, ground.pixel_sizes[indices]
    return [
        {"folder": str(folder), **summary(*(each[folders == folder] for each in values))}
        for folder in np.unique(folders)
    ]
