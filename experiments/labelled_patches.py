"""Labelled patches for adapting a model: drawn for training and validation, and linked in a folder for train.py."""

import os
import shutil

import numpy as np


def draw_patches(patches, candidates, count, rng):
    """Draw patches for training, and a fifth of them for validation; both parts have a landslide, where two have one.

    Args:
        patches: packing.Patches. candidates: indices to draw from. count: patches of both parts together, two or more.
        rng: random generator.

    Returns:
        {"train": indices, "validation": indices}
    """
    with_landslide = np.array([(patches.read_masks([i]) == 1).any() for i in candidates])
    order = rng.permutation(candidates[with_landslide])
    first, rest = order[:2], rng.permutation(np.setdiff1d(candidates, order[:2]))[: count - 2]
    validation_count = max(1, round(0.2 * count))
    return {
        "train": np.append(first[:1], rest[validation_count - 1 :]),
        "validation": np.append(first[1:], rest[: validation_count - 1]),
    }


def link_patches(folder, entries_of_splits):
    """Fill a folder with links to patches, images/<split>/image_N and masks/<split>/mask_N; return the folder.

    What is in the folder is removed.

    Args:
        entries_of_splits: {split: list of layouts.Entry with masks}; split "" is a folder without splits.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for split, entries in entries_of_splits.items():
        for kind in ("image", "mask"):
            directory = folder / f"{kind}s" / split
            directory.mkdir(parents=True)
            for number, entry in enumerate(entries, 1):
                path = getattr(entry, kind)
                os.symlink(path.resolve(), directory / f"{kind}_{number}{path.suffix}")
    return folder
