"""Splits: which patches are for training, validation and test, and their record in split.csv."""

import csv

import numpy as np

from patches.layouts import SPLITS
from records import require, write_csv
from script import UserError

SPLIT_METHODS = ("random", "blocks")
TEST_SPLITS = ("validation", "test")
LANDSLIDE_FREE = "landslide-free:"  # in split.csv, before the names of landslide-free patches
NO_MASK = "unlabelled"  # the split of patches without a mask, and of those whose mask is not used


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

    The folder's own splits are kept. If it has no validation or test split, that split is cut from its training
    patches. Neighbouring patches may share a slope, which leaks between random splits; `blocks` keeps runs of
    neighbouring numbers together.

    Args:
        patches: packing.Patches.
        method: "random" or "blocks".
        seed: the same seed gives the same split on every machine.
        test_split: the folder's own split that is held out as test. "validation" is for a folder whose test labels
            are not available; validation is then cut from training.
        block_size: patches in a run, for "blocks".
        labelled_fraction: share of the training patches that keep their masks; the others become "unlabelled".
        fractions: shares of train, validation and test for splits that are cut.

    Returns:
        (assigned, notes): array of N split names, "unlabelled" for patches without a usable mask and "" for patches
        that are not used; lines that say what was cut.

    Raises:
        UserError: there are no masks, no training patches, or too few to cut from.
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
        notes.append(
            f"the validation split of {patches.data_dir} serves as test; its {unused.sum()} test patches are unused"
        )

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
        while groups[1:] and len(taken) < wanted:  # at least one group stays for training
            taken.extend(pool[groups.pop()])
        assigned[taken] = split
        if not flat:
            notes.append(f"no {split} split in the folder: {len(taken)} patches cut from training ({method})")
    if missing:  # the same picture is never on both sides of a cut
        assigned[pool] = assigned[pool[_first_copies(patches.contents[pool])]]
    notes += leaks(patches, assigned)
    check_landslides(patches, assigned)
    train = np.flatnonzero(assigned == "train")
    hidden = np.random.default_rng([seed, 1]).permutation(train)[max(1, round(labelled_fraction * len(train))) :]
    assigned[hidden] = NO_MASK
    assigned[~labelled] = NO_MASK
    if (assigned == NO_MASK).any():
        notes.append(f"{(assigned == NO_MASK).sum()} patches count as unlabelled: they are used only with a teacher")
    return assigned, notes


def _first_copies(contents):
    """Return the position of the first patch with the same content, for each patch."""
    _, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    return first[inverse]


def leaks(patches, assigned):
    """List notes on pictures that are in two splits (the same content, whatever their names)."""
    notes = []
    for split in ("validation", "test"):
        for other in ("train", "validation")[: 1 + (split == "test")]:
            shared = np.isin(patches.contents[assigned == split], patches.contents[assigned == other]).sum()
            if shared:
                notes.append(
                    f"warning: {shared} of {(assigned == split).sum()} {split} patches are also in {other} (the same "
                    f"content): scores on {split} are too good"
                )
    return notes


def has_landslides(patches, indices):
    """Return whether any of some patches has a landslide in its mask."""
    return any((patches.read_masks([i]) == 1).any() for i in indices)


def check_landslides(patches, assigned):
    """Raise UserError if training or validation has no landslide: then nothing can be learnt, or nothing chosen."""
    for split, lost in (("train", "nothing can be learnt"), ("validation", "no epoch and no threshold can be chosen")):
        indices = np.flatnonzero(assigned == split)
        if not has_landslides(patches, indices):
            raise UserError(
                f"{patches.data_dir}: no landslide in the masks of the {len(indices)} {split} patches, so {lost}: "
                "check the masks, or move patches with landslides there"
            )


def _groups(numbers, length, rng):
    """Group the positions of `numbers` (ascending) into runs of `length`, in random order."""
    runs = [np.arange(i, min(i + length, len(numbers))) for i in range(0, len(numbers), length)]
    return [runs[i] for i in rng.permutation(len(runs))]


def write_split(path, patches, assigned, landslide_free=None):
    """Write split.csv: name, split and content hash of each patch that is used, and of landslide-free ground."""
    rows = [row for row in zip(patches.names, assigned, patches.contents, strict=True) if row[1]]
    if landslide_free:
        names = [LANDSLIDE_FREE + name for name in landslide_free.names]
        rows += zip(names, landslide_free.own_splits, landslide_free.contents, strict=True)
    write_csv(path, ("image", "split", "content"), rows)


def check_unseen(role, run, patches, assigned):
    """Raise UserError if a run, or one that it learnt from, was trained on patches that another is judged on.

    Args:
        role: what the run is to the other one: teacher, start. run: runs.Run.
        patches, assigned: packing.Patches of the other run, and the split of each. A folder that is not the run's own
            may hold the same image under another name, so there images are compared by content.
    """
    judged = np.isin(assigned, ("validation", "test"))
    for each in run.predecessors():
        own = patches.digest == each.config["data_digest"]
        key, identities = ("image", np.array(patches.names)) if own else ("content", patches.contents)
        split = split_table(each.folder / "split.csv", f"python train.py --run {each.name}", key)
        name = f"{role} {run.name}" + ("" if each is run else f" (through run {each.name})")
        if None in split:
            print(f"note: cannot check whether {name} has learnt from this run's validation or test split")
        learnt = [identity for identity, part in split.items() if part in ("train", NO_MASK)]
        overlap = np.isin(identities[judged], learnt)
        if overlap.any():
            raise UserError(
                f"{name} has learnt from {overlap.sum()} patches of this run's validation and test "
                "splits: give both the same SPLIT_SEED, SPLIT_METHOD and TEST_SPLIT, or keep those patches in training"
            )


def split_table(path, stage, key="image"):
    """Read split.csv into {image: split}, or {content hash: split}; without hashes (older runs) the key is None."""
    with open(require(path, stage), newline="", encoding="utf-8") as file:
        return {row.get(key): row.get("split") for row in csv.DictReader(file)}


def contents_of(path, stage, parts):
    """Read the content hashes of all patches in some splits from split.csv, as a list; empty for older runs."""
    with open(require(path, stage), newline="", encoding="utf-8") as file:
        return [row["content"] for row in csv.DictReader(file) if row["split"] in parts and row.get("content")]


def read_split(path, patches, stage):
    """Read split.csv into an array of N split names, "" for patches that it does not list."""
    recorded = split_table(path, stage)
    if not recorded or None in recorded or not set(recorded.values()) <= {*SPLITS, NO_MASK}:
        raise UserError(f"{path} is damaged (needs image,split with {', '.join(SPLITS)}): make it again with {stage}")
    gone = {name for name in recorded if not name.startswith(LANDSLIDE_FREE)} - set(patches.names)
    if gone:
        raise UserError(f"{path} lists {len(gone)} patches that are not in {patches.data_dir} (first: {min(gone)})")
    return np.array([recorded.get(name, "") for name in patches.names])
