"""The record of a split: split.csv, which says of each patch of a run its split, content, event and source."""

import numpy as np

from patches.layouts import SPLITS
from records import read_rows, require, write_csv
from script import UserError

LANDSLIDE_FREE = "landslide-free:"  # in split.csv, before the names of landslide-free patches
NO_MASK = "unlabelled"  # the split of patches without a mask, and of those whose mask is not used


def events_of(places, patches):
    """Return the event of each patch, N names, "" where it is unknown. places: Places or None, of each source."""
    each = zip(places, patches.parts, strict=True)
    return np.concatenate([known.events if known else np.full(len(part), "") for known, part in each])


def write_split(path, patches, assigned, landslide_free=None, events=None):
    """Write split.csv: a row for each patch that is used, landslide-free ones included.

    events: of each patch, see `events_of`; None: unknown.
    """
    events = [""] * len(patches) if events is None else events
    sources = [patches.sources[i] for i in patches.source_of]
    rows = [row for row in zip(patches.names, assigned, patches.contents, events, sources, strict=True) if row[1]]
    if landslide_free:
        names = [LANDSLIDE_FREE + name for name in landslide_free.names]
        rows += [(*row, "", "") for row in zip(names, landslide_free.own_splits, landslide_free.contents, strict=True)]
    write_csv(path, ("image", "split", "content", "event", "source"), rows)


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
        split = split_of(each.folder / "split.csv", f"python train.py --run {each.name}", key)
        name = f"{role} {run.name}" + ("" if each is run else f" (through run {each.name})")
        trained_on = [identity for identity, part in split.items() if part in ("train", NO_MASK)]
        overlap = np.isin(identities[held_out], trained_on)
        if overlap.any():
            raise UserError(
                f"{name} has learnt from {overlap.sum()} patches of this run's validation and test "
                "splits: give both the same SPLIT_SEED, SPLIT_METHOD and TEST_SPLIT, or keep those patches in training"
            )


def known_splits(run):
    """Return {content hash: split} of what a run, and those that it learnt from, were trained, chosen and tested on.

    What any of them was trained on is training.
    """
    known = {}
    for each in run.predecessors(tell=False):  # `check_held_out` tells
        splits = split_of(each.folder / "split.csv", f"python train.py --run {each.name}", "content")
        for content, split in splits.items():
            if split in ("train", NO_MASK) or content not in known:
                known[content] = "train" if split == NO_MASK else split
    return known


def split_of(path, stage, key="image"):
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
    rows = _split_rows(path, stage)
    recorded = {row["image"]: row["split"] for row in rows}
    listed = {row["image"] for row in rows if row.get("source") in (None, "", *patches.sources)}
    gone = {name for name in listed if not name.startswith(LANDSLIDE_FREE)} - set(patches.names)
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
