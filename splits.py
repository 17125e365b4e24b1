"""Splits: which patches are for training, validation and test, and the record of that in split.csv."""

import csv

import numpy as np

from patch_files import SPLITS
from records import require, write_csv
from script import UserError

SPLIT_METHODS = ("random", "blocks")
TEST_SPLITS = ("validation", "test")
NO_MASK = "unlabelled"  # the split of a patch without a mask, or whose mask is not to be used


def split_patches(
    patches,
    method="random",
    seed=0,
    test_split="test",
    block_size=20,
    labelled_fraction=1.0,
    fractions=(0.70, 0.15, 0.15),
):
    """Assign every labelled patch to train, validation or test.

    The folder's own splits are kept; of validation and test, what the folder lacks is cut from its training
    patches. Slopes that neighbouring patches share can leak between splits cut at random; `blocks` keeps runs of
    neighbouring numbers together.

    Args:
        patches: Patches.
        method: "random" or "blocks".
        seed: the same seed gives the same split on every machine.
        test_split: the folder's own split that is held out as test. "validation" serves a folder whose test labels
            are not at hand; validation is then cut from training.
        block_size: patches in a run, for "blocks".
        labelled_fraction: of the training patches keep their masks; the others become "unlabelled".
        fractions: shares of train, validation and test where they are cut.

    Returns:
        (assigned, notes): array of N split names, "unlabelled" for patches without a mask and "" for what is not
        used; lines that say what was cut.

    Raises:
        UserError: no masks, no training patches, or too few to cut.
    """
    if method not in SPLIT_METHODS or test_split not in TEST_SPLITS:
        raise ValueError(f"method {method!r} is none of {SPLIT_METHODS}, or test_split {test_split!r} of {TEST_SPLITS}")
    labelled = patches.labelled
    if not labelled.any():
        raise UserError(f"{patches.data_dir}: no masks beside the images; training and scoring need them")
    assigned = np.where(labelled, patches.own_splits, "").astype("U10")
    notes = []
    if test_split == "validation":
        unused = assigned == "test"
        assigned[unused] = ""
        assigned[assigned == "validation"] = "test"
        notes.append(f"the validation split of {patches.data_dir} serves as test; {unused.sum()} of its own are unused")

    flat = not (patches.own_splits != "").any()
    pool = np.flatnonzero(labelled if flat else assigned == "train")
    if not len(pool):
        raise UserError(f"{patches.data_dir}: holds no training patches with masks")
    missing = [split for split in ("validation", "test") if not (assigned == split).any()]
    groups = _groups(patches.numbers[pool], block_size if method == "blocks" else 1, np.random.default_rng(seed))
    if len(groups) <= len(missing):
        unit = "patches" if method == "random" else f"runs of {block_size} patches"
        raise UserError(f"{patches.data_dir}: too few {unit} ({len(groups)}) to cut {' and '.join(missing)} from")
    assigned[pool] = "train"
    for split in missing:
        wanted = max(1, round(fractions[SPLITS.index(split)] * len(pool)))
        taken = []
        while groups[1:] and len(taken) < wanted:  # one group at least stays for training
            taken.extend(pool[groups.pop()])
        assigned[taken] = split
        if not flat:
            notes.append(f"no {split} split to keep: {len(taken)} patches cut from training ({method})")
    train = np.flatnonzero(assigned == "train")
    hidden = np.random.default_rng([seed, 1]).permutation(train)[max(1, round(labelled_fraction * len(train))) :]
    assigned[hidden] = NO_MASK
    assigned[~labelled] = NO_MASK
    if (assigned == NO_MASK).any():
        notes.append(f"{(assigned == NO_MASK).sum()} patches count as unlabelled: only a teacher makes use of them")
    return assigned, notes


def _groups(numbers, length, rng):
    """Positions of `numbers` (ascending) in runs of `length`, the runs in random order."""
    runs = [np.arange(i, min(i + length, len(numbers))) for i in range(0, len(numbers), length)]
    return [runs[i] for i in rng.permutation(len(runs))]


def write_split(path, patches, assigned):
    rows = [row for row in zip(patches.names, assigned, patches.contents, strict=True) if row[1]]
    write_csv(path, ("image", "split", "content"), rows)


def split_table(path, stage, key="image"):
    """Read split.csv into {image, or hash of its content: split}; runs of earlier versions have no such hashes."""
    with open(require(path, stage), newline="", encoding="utf-8") as file:
        return {row.get(key): row.get("split") for row in csv.DictReader(file)}


def read_split(path, patches, stage):
    """Read split.csv into an array of N split names, "" for patches that it does not list."""
    recorded = split_table(path, stage)
    if not recorded or None in recorded or not set(recorded.values()) <= {*SPLITS, NO_MASK}:
        raise UserError(f"{path} is damaged (image,split with {', '.join(SPLITS)}): make it again with {stage}")
    gone = recorded.keys() - set(patches.names)
    if gone:
        raise UserError(f"{path} lists {len(gone)} patches that {patches.data_dir} lacks, {min(gone)} for one")
    return np.array([recorded.get(name, "") for name in patches.names])
