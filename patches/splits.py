"""Splits: which patches are for training, validation and test, and their record in split.csv."""

import numpy as np

from mask_values import LANDSLIDE
from patches.blocks import pairs_nearer_than, split_blocks
from patches.layouts import SPLITS
from records import read_rows, require, write_csv
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
    own_splits=True,
    hold_out=(),
    places=None,
    fractions=(0.70, 0.15, 0.15),
):
    """Assign every labelled patch to train, validation or test.

    The folder's own splits are kept. If it has no validation or test split, that split is cut from its training
    patches. Neighbouring patches may show the same slope, and a random cut can put them into different splits; `blocks`
    keeps blocks of adjoining patches together and leaves the width of a patch between the splits. Where it is not known
    which patches adjoin, it keeps runs of neighbouring numbers together.

    Args:
        patches: packing.Patches.
        method: "random" or "blocks".
        seed: the same seed gives the same split on every machine.
        test_split: the folder's own split that is held out as test. "validation" is for a folder whose test split has
            no masks; validation is then cut from training.
        block_size: number of patches in a block, about.
        labelled_fraction: fraction of the training patches that keep their masks; the others become "unlabelled".
        own_splits: whether the folder's own splits are kept; otherwise all of its patches are split anew.
        hold_out: names of events whose patches are the test. The folder's own test patches of other events are not
            used then.
        places: places.Places of the patches, or None.
        fractions: of train, validation and test, for splits that are cut.

    Returns:
        (assigned, notes): array of N split names, "unlabelled" for patches without a usable mask and "" for patches
        that are not used; lines about what was cut and what is unusual.

    Raises:
        UserError: there are no masks, no training patches, too few to cut from, or no such event.
    """
    if method not in SPLIT_METHODS or test_split not in TEST_SPLITS:
        raise ValueError(f"method {method!r} is none of {SPLIT_METHODS}, or test_split {test_split!r} of {TEST_SPLITS}")
    labelled = patches.labelled
    if not labelled.any():
        raise UserError(f"{patches.data_dir}: no masks beside the images; training and scoring need them")
    assigned = np.where(labelled, patches.own_splits if own_splits else "", "").astype("U10")
    flat = not (assigned != "").any()
    assigned[labelled & flat] = "train"
    notes = [places.source] if places and (hold_out or method == "blocks") else []
    if test_split == "validation" and not flat:
        own_test = assigned == "test"
        assigned[own_test] = ""
        assigned[assigned == "validation"] = "test"
        notes.append(
            f"the validation split of {patches.data_dir} serves as test; its {own_test.sum()} test patches are unused"
        )
    unused = np.zeros(len(patches), bool)
    if hold_out:
        unused = _hold_out(hold_out, places, assigned, labelled, patches.data_dir, notes)
    elif method == "blocks" and places and flat:
        unused = _unplaced(places, notes)
    assigned[unused] = ""

    pool = np.flatnonzero(assigned == "train")
    if not len(pool):
        raise UserError(f"{patches.data_dir}: holds no training patches with masks")
    missing = [split for split in ("validation", "test") if not (assigned == split).any()]
    shares = {split: fractions[SPLITS.index(split)] for split in missing}
    if method == "blocks" and places and missing:
        _cut_blocks(patches, assigned, pool, shares, places, block_size, seed)
    elif missing:
        _cut_groups(patches, assigned, pool, shares, block_size if method == "blocks" else 1, seed)
    if not flat:
        notes += [
            f"no {split} split in the folder: {(assigned == split).sum()} patches cut from training ({method})"
            for split in missing
        ]
    if in_gaps := int((assigned[pool] == "").sum()):
        notes.append(f"{in_gaps} patches are not used, because they lie between blocks of different splits")
    notes += leak_notes(patches, assigned)
    check_landslides(patches, assigned)
    train = np.flatnonzero(assigned == "train")
    without_mask = np.random.default_rng([seed, 1]).permutation(train)[max(1, round(labelled_fraction * len(train))) :]
    assigned[without_mask] = NO_MASK
    if method == "blocks" and places and missing:
        unused |= _near_held_out(places.boxes, assigned)
    assigned[~labelled & ~unused] = NO_MASK
    if (assigned == NO_MASK).any():
        notes.append(f"{(assigned == NO_MASK).sum()} patches count as unlabelled: they are used only with a teacher")
    return assigned, notes


def _hold_out(events, places, assigned, labelled, data_dir, notes):
    """Make the patches of some events the test, in place; return which patches must not be learnt from, N bool."""
    if not places:
        raise UserError(f"{data_dir}: HOLD_OUT needs the event of each patch, which is unknown here: see PLACES")
    listed = sorted(set(places.events) - {""})
    if unknown := [event for event in events if event not in listed]:
        raise UserError(f"{data_dir}: HOLD_OUT {unknown[0]} is none of its events, {', '.join(listed)}")
    held_out, own_test = np.isin(places.events, events), assigned == "test"
    assigned[own_test] = ""
    assigned[held_out & labelled] = "test"
    if left := int((own_test & ~held_out).sum()):
        notes.append(f"{left} patches of the folder's own test split are unused: {', '.join(events)} serve as test")
    return held_out & ~labelled | _unplaced(places, notes)


def _unplaced(places, notes):
    """Return which patches have no known place, N bool: they may show the ground of any other."""
    unplaced = np.isnan(places.boxes).any(1)
    if unplaced.any():
        notes.append(f"{unplaced.sum()} patches of unknown place are not used: they may show held-out ground")
    return unplaced


def _near_held_out(boxes, assigned):
    """Return which patches lie less than a patch from one of validation or test, N bool. boxes: NaN where unknown."""
    placed = np.flatnonzero(~np.isnan(boxes).any(1))
    first, second = placed[pairs_nearer_than(_in_patches(boxes[placed]), 1.0)]
    held_out, near = np.isin(assigned, ("validation", "test")), np.zeros(len(boxes), bool)
    near[first[held_out[second]]] = True
    near[second[held_out[first]]] = True
    return near


def _cut_groups(patches, assigned, pool, shares, size, seed):
    """Cut splits at random from the patches at `pool`, in runs of `size` neighbouring numbers, in place."""
    groups = _groups(patches.numbers[pool], size, np.random.default_rng(seed))
    if len(groups) <= len(shares):
        unit = "patches" if size == 1 else f"runs of {size} patches"
        raise UserError(f"{patches.data_dir}: too few {unit} ({len(groups)}) to cut {' and '.join(shares)} from")
    for split, share in shares.items():
        count, taken = max(1, round(share * len(pool))), []
        while groups[1:] and len(taken) < count:  # at least one group stays for training
            taken.extend(pool[groups.pop()])
        assigned[taken] = split
    # all copies of a picture go into one split
    assigned[pool] = assigned[pool[_first_positions(patches.contents[pool])]]


def _cut_blocks(patches, assigned, pool, shares, places, size, seed):
    """Cut splits from the patches at `pool` in blocks of about `size` adjoining patches, a patch apart, in place."""
    boxes = places.boxes[pool]
    if np.isnan(boxes).any():
        raise UserError(f"{patches.data_dir}: the place of some training patches is unknown, so no blocks can be cut")
    landslide = [np.count_nonzero(patches.read_masks([i]) == LANDSLIDE) for i in pool]
    split = split_blocks(_in_patches(boxes), landslide, 1.0, shares, max(1, round(size**0.5)), seed)
    if split is None:
        raise UserError(
            f"{patches.data_dir}: {len(pool)} patches lie too close together to cut {' and '.join(shares)} with a "
            "landslide each and a patch between them: use --split-method random, or more ground"
        )
    assigned[pool] = split


def _in_patches(boxes):
    """Return boxes (N x 4) in units of the median width and height of a patch."""
    return boxes / np.tile(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), 2)


def _first_positions(contents):
    """Return, for each patch, the position of the first patch with the same content."""
    _, first, inverse = np.unique(contents, return_index=True, return_inverse=True)
    return first[inverse]


def leak_notes(patches, assigned):
    """List notes on pictures that are in two splits, by their content."""
    notes = []
    for split in ("validation", "test"):
        for other in ("train", "validation")[: 1 + (split == "test")]:
            shared = np.isin(patches.contents[assigned == split], patches.contents[assigned == other]).sum()
            if shared:
                notes.append(
                    f"warning: {shared} of {(assigned == split).sum()} {split} patches are also in {other} (the same "
                    f"content): scores on {split} are too high"
                )
    return notes


def has_landslides(patches, indices):
    """Return whether the mask of any of these patches has a landslide."""
    return any((patches.read_masks([i]) == 1).any() for i in indices)


def check_landslides(patches, assigned):
    """Raise UserError if no mask of the training or of the validation split has a landslide."""
    for split, fault in (("train", "nothing can be learnt"), ("validation", "no epoch and no threshold can be chosen")):
        indices = np.flatnonzero(assigned == split)
        if not has_landslides(patches, indices):
            raise UserError(
                f"{patches.data_dir}: no landslide in the masks of the {len(indices)} {split} patches, so {fault}: "
                "check the masks, or move patches with landslides into this split"
            )


def _groups(numbers, length, rng):
    """Group the positions of `numbers` (ascending) into runs of `length`, in random order."""
    runs = [np.arange(i, min(i + length, len(numbers))) for i in range(0, len(numbers), length)]
    return [runs[i] for i in rng.permutation(len(runs))]


def write_split(path, patches, assigned, landslide_free=None, places=None):
    """Write split.csv: name, split, content hash and event of each patch that is used, landslide-free ones included."""
    events = places.events if places else [""] * len(patches)
    rows = [row for row in zip(patches.names, assigned, patches.contents, events, strict=True) if row[1]]
    if landslide_free:
        names = [LANDSLIDE_FREE + name for name in landslide_free.names]
        rows += [(*row, "") for row in zip(names, landslide_free.own_splits, landslide_free.contents, strict=True)]
    write_csv(path, ("image", "split", "content", "event"), rows)


def check_held_out(role, run, patches, assigned):
    """Raise UserError if a run, or one that it learnt from, was trained on validation or test patches of a new run.

    Args:
        role: of the run in the new one: teacher, start. run: runs.Run.
        patches, assigned: packing.Patches of the new run, and the split of each. If they are other data than the run's
            own, they are compared by content, because the same image may have another name.
    """
    held_out = np.isin(assigned, ("validation", "test"))
    for each in run.predecessors():
        own = patches.digest == each.config["data_digest"]
        key, identities = ("image", np.array(patches.names)) if own else ("content", patches.contents)
        split = split_table(each.folder / "split.csv", f"python train.py --run {each.name}", key)
        name = f"{role} {run.name}" + ("" if each is run else f" (through run {each.name})")
        trained_on = [identity for identity, part in split.items() if part in ("train", NO_MASK)]
        overlap = np.isin(identities[held_out], trained_on)
        if overlap.any():
            raise UserError(
                f"{name} has learnt from {overlap.sum()} patches of this run's validation and test "
                "splits: give both the same SPLIT_SEED, SPLIT_METHOD and TEST_SPLIT, or keep those patches in training"
            )


def split_table(path, stage, key="image"):
    """Read split.csv into {image: split}, or with key "content" into {content hash: split}."""
    return {row[key]: row["split"] for row in _split_rows(path, stage)}


def read_events(path, names, stage):
    """Read the event of each patch from split.csv as an array of N names, "" where it is unknown; None if all are."""
    events = {row["image"]: row.get("event") or "" for row in _split_rows(path, stage)}
    return np.array([events.get(name, "") for name in names]) if any(events.values()) else None


def content_hashes(path, stage, splits):
    """Read the content hashes of all patches in some splits from split.csv, as a list."""
    return [row["content"] for row in _split_rows(path, stage) if row["split"] in splits]


def read_split(path, patches, stage):
    """Read split.csv into an array of N split names, "" for patches that it does not list."""
    recorded = split_table(path, stage)
    gone = {name for name in recorded if not name.startswith(LANDSLIDE_FREE)} - set(patches.names)
    if gone:
        raise UserError(f"{path} lists {len(gone)} patches that are not in {patches.data_dir} (first: {min(gone)})")
    return np.array([recorded.get(name, "") for name in patches.names])


def _split_rows(path, stage):
    """Read the rows of split.csv, {column: text}; raise UserError if it is damaged."""
    rows = read_rows(require(path, stage))
    columns, names = ("image", "split", "content"), {*SPLITS, NO_MASK}
    if not rows or any(None in map(row.get, columns) or row["split"] not in names for row in rows):
        raise UserError(
            f"{path} is damaged (needs {','.join(columns)} with {', '.join(SPLITS)}): make it again with {stage}"
        )
    return rows
