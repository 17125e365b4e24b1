"""Splits: which patches are for training, validation and test."""

import numpy as np

from mask_values import LANDSLIDE, OTHER
from patches.blocks import in_patches, pairs_nearer_than, split_blocks
from patches.layouts import SPLITS, WAYS, other_files
from patches.split_table import NO_MASK
from script import UserError

SPLIT_METHODS = ("random", "blocks")
TEST_SPLITS = ("validation", "test")
FEW = 10  # validation patches below which what is chosen on them is chance: training patches are asked, too


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
    test_elsewhere=False,
    known=None,
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
        test_elsewhere: whether other sources are the test, so that none of these patches are, but those held out.
        known: {content hash: split} that patches keep where a split is cut at random, see split_table.known_splits.
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
        drawn = other_files(patches.data_dir).keys() & {".json", ".txt", ".xml"}
        hint = f". {WAYS['.json']}" if drawn else ""
        raise UserError(f"{patches.data_dir}: no masks beside the images; training and scoring need them{hint}")
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
    unused, boxed = np.zeros(len(patches), bool), places and not np.isnan(places.boxes).all()
    if test_elsewhere:
        assigned[assigned == "test"] = ""
        hold_out = [event for event in hold_out if places and event in places.events]
    if hold_out:
        unused = _hold_out(hold_out, places, assigned, labelled, patches.data_dir, notes)
    elif method == "blocks" and boxed and flat:
        unused = _unused(np.isnan(places.boxes).any(1), notes)
    assigned[unused] = ""

    pool = np.flatnonzero(assigned == "train")
    if not len(pool):
        raise UserError(f"{patches.data_dir}: holds no training patches with masks")
    needed = ("validation",) if test_elsewhere else ("validation", "test")
    missing = [split for split in needed if not (assigned == split).any()]
    shares = {split: fractions[SPLITS.index(split)] for split in missing}
    if method == "blocks" and boxed and missing:
        _cut_blocks(patches, assigned, pool, shares, places, block_size, seed)
    elif missing:
        if known and method == "random":
            pool = _keep_known(patches, assigned, pool, shares, known, notes)
            shares = {s: share for s, share in shares.items() if round(share * len(pool)) or s not in assigned}
        if shares:
            _cut_groups(patches, assigned, pool, shares, block_size if method == "blocks" else 1, seed)
    if not flat:
        notes += [
            f"no {split} split in the folder: {(assigned == split).sum()} patches cut from training ({method})"
            for split in missing
        ]
    if in_gaps := int((assigned[pool] == "").sum()):
        notes.append(f"{in_gaps} patches are not used, because they lie between blocks of different splits")
    notes += leak_notes(patches, assigned)
    if not test_elsewhere:
        check_landslides(patches, assigned)
    train = np.flatnonzero(assigned == "train")
    without_mask = np.random.default_rng([seed, 1]).permutation(train)[max(1, round(labelled_fraction * len(train))) :]
    assigned[without_mask] = NO_MASK
    if method == "blocks" and boxed and missing:
        unused |= _near_held_out(places.boxes, assigned)
    assigned[~labelled & ~unused] = NO_MASK
    if (assigned == NO_MASK).any():
        notes.append(f"{(assigned == NO_MASK).sum()} patches count as unlabelled: they are used only with a teacher")
    return assigned, notes


def split_sources(patches, places, leave_out=(), **settings):
    """Assign the patches of several sources to splits, those of each source by themselves.

    A source whose folder has a training split and no other stays training.

    Args:
        patches: sources.Sources, or packing.Patches of one folder.
        places: places.Places or None, of each source.
        leave_out: names of sources that are the test; nothing of them is learnt from.
        settings: of `split_patches`.

    Returns:
        (assigned, notes), see `split_patches`.

    Raises:
        UserError: see `split_patches`; or there is no such source.
    """
    sources, hold_out = patches.sources, settings["hold_out"]
    if unknown := [name for name in leave_out if name not in sources]:
        raise UserError(f"LEAVE_OUT {unknown[0]} is none of the sources, {', '.join(sources)}")
    if len(sources) == 1:
        if leave_out:
            raise UserError(f"LEAVE_OUT {leave_out[0]} is the only source: give other folders, too")
        return split_patches(patches, places=places[0], **settings)
    listed = sorted({event for each in places if each for event in each.events} - {""})
    if unknown := [event for event in hold_out if event not in listed]:
        raise UserError(f"HOLD_OUT {unknown[0]} is none of the events {', '.join(listed) or '(none is known)'}")
    parts, notes = [], []
    for name, part, its_places in zip(sources, patches.parts, places, strict=True):
        if name in leave_out:
            parts.append(np.where(part.labelled, "test", "").astype("U10"))
            continue
        held = hold_out if its_places and set(hold_out) & set(its_places.events) else ()
        if set(part.own_splits) == {"train"} and not held:
            parts.append(np.where(part.labelled, "train", NO_MASK).astype("U10"))
            continue
        own = {"hold_out": held, "test_elsewhere": bool(leave_out or hold_out)}
        own["block_size"] = max(1, min(settings["block_size"], len(set(part.numbers)) // 8))  # of a small source less
        assigned, its_notes = split_patches(part, places=its_places, **settings | own)
        parts.append(assigned)
        notes += [f"{name}: {note}" for note in its_notes]
    assigned = np.concatenate(parts)
    notes += leak_notes(patches, assigned)
    check_landslides(patches, assigned)
    return assigned, notes


def _hold_out(events, places, assigned, labelled, data_dir, notes):
    """Make the patches of some events the test, in place; return which patches must not be learnt from, N bool."""
    if not places:
        raise UserError(
            f"{data_dir}: HOLD_OUT needs the event of each patch, which is unknown here: name it with PLACES "
            "(landslide4sense for training patches of that set, or a table of images and events)"
        )
    listed = sorted(set(places.events) - {""})
    if unknown := [event for event in events if event not in listed]:
        raise UserError(f"{data_dir}: HOLD_OUT {unknown[0]} is none of its events, {', '.join(listed)}")
    held_out, own_test = np.isin(places.events, events), assigned == "test"
    assigned[own_test] = ""
    assigned[held_out & labelled] = "test"
    if left := int((own_test & ~held_out).sum()):
        notes.append(f"{left} patches of the folder's own test split are unused: {', '.join(events)} serve as test")
    return held_out & ~labelled | _unused(places.events == "", notes)


def _unused(unplaced, notes):
    """Return which patches have no known place, N bool, as given: they may show the ground of any other."""
    if unplaced.any():
        notes.append(f"{unplaced.sum()} patches of unknown place are not used: they may show held-out ground")
    return unplaced


def _near_held_out(boxes, assigned):
    """Return which patches lie less than a patch from one of validation or test, N bool. boxes: NaN where unknown."""
    placed = np.flatnonzero(~np.isnan(boxes).any(1))
    first, second = placed[pairs_nearer_than(in_patches(boxes[placed]), 1.0)]
    held_out, near = np.isin(assigned, ("validation", "test")), np.zeros(len(boxes), bool)
    near[first[held_out[second]]] = True
    near[second[held_out[first]]] = True
    return near


def _keep_known(patches, assigned, pool, shares, known, notes):
    """Give the patches at `pool` that are in `known` their split, in place, and return the others.

    shares: {split: fraction} of the splits that are to be cut; no other split is given but training.
    """
    splits = np.array([known.get(content, "") for content in patches.contents[pool]])
    kept = np.isin(splits, ("train", *shares))
    assigned[pool[kept]] = splits[kept]
    if kept.any():
        notes.append(f"{kept.sum()} of {len(pool)} patches keep the split that the start has of them")
    return pool[~kept]


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
    split = split_blocks(in_patches(boxes), landslide, 1.0, shares, max(1, round(size**0.5)), seed)
    if split is None:
        raise UserError(
            f"{patches.data_dir}: {len(pool)} patches lie too close together to cut {' and '.join(shares)} with a "
            "landslide each and a patch between them: use --split-method random, or more ground"
        )
    assigned[pool] = split


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
    """Raise UserError if the masks of the training or of the validation split lack landslides, or other ground."""
    for split, fault in (("train", "nothing can be learnt"), ("validation", "no epoch and no threshold can be chosen")):
        indices = np.flatnonzero(assigned == split)
        if not has_landslides(patches, indices):
            raise UserError(
                f"{patches.data_dir}: no landslide in the masks of the {len(indices)} {split} patches, so {fault}: "
                "check the masks, or move patches with landslides into this split"
            )
        if not any((patches.read_masks([i]) == OTHER).any() for i in indices):
            raise UserError(
                f"{patches.data_dir}: nothing but landslide in the masks of the {len(indices)} {split} patches, so "
                f"{fault}: label ground without landslides, too (0), or give the area that was searched"
            )


def _groups(numbers, length, rng):
    """Group the positions of `numbers` into runs of `length` pictures, in random order.

    numbers: of the picture of each patch; patches of one picture follow each other.
    """
    pictures = np.split(np.arange(len(numbers)), np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
    runs = [np.concatenate(pictures[i : i + length]) for i in range(0, len(pictures), length)]
    return [runs[i] for i in rng.permutation(len(runs))]
