"""Patches of a scene: where they lie, and which split they belong to."""

import numpy as np
import shapely

from patches.blocks import in_patches, split_blocks
from script import UserError


def lay_patches(shape, size, overlap=0, parts=None):
    """Lay square patches over a scene, or over parts of it.

    Args:
        shape: (height, width) of the scene in pixels, at least `size`. size, overlap: of the patches, in pixels.
        parts: polygons in pixels (column, row); each gets as few patches as cover its box, spread evenly, and none if
            the patches of earlier ones cover it already. None: the whole scene.

    Returns:
        [(row, column), ...] of the upper left pixels, in order.
    """
    corners, covered = set(), shapely.Polygon()
    for part in [shapely.box(0, 0, *shape[::-1])] if parts is None else parts:
        part = part.intersection(shapely.box(0, 0, *shape[::-1]))
        left_over = part.difference(covered).area
        if left_over <= 0.05 * part.area:  # also a part that lies beyond the scene
            continue
        left, top, right, bottom = part.bounds
        new = {
            (row, column)
            for row in patch_starts(top, bottom, size, overlap, shape[0])
            for column in patch_starts(left, right, size, overlap, shape[1])
        }
        corners |= new
        covered = covered.union(shapely.union_all([shapely.box(c, r, c + size, r + size) for r, c in new]))
    return sorted(corners)


def patch_starts(first, last, size, overlap, end):
    """Return the first pixels of as few patches as cover first ... last, spread evenly and kept within 0 ... end."""
    count = max(1, int(np.ceil((last - first - overlap - 0.5) / (size - overlap))))
    middle = (first + last - size) / 2
    starts = [middle] if count == 1 else np.linspace(min(first, middle), max(last - size, middle), count)
    return sorted({int(np.clip(round(start), 0, end - size)) for start in starts})


def split_rows(rows, shares, empty_share=1.0, block=4, seed=0, without_landslides=False):
    """Set the `split` of each row of `patch_cutter.write_patches`, "" for a patch that is left out.

    Args:
        rows: [{column: value}, ...], which are changed. shares, block, seed: see `split_blocks`; with shares of 0 all
            patches are for training.
        empty_share: share of the patches without landslides to keep.
        without_landslides: whether the labels say that there is no landslide; then all patches are for training.

    Raises:
        UserError: there is no landslide, or too little ground for three splits.
    """
    keep = np.random.default_rng([seed, 1]).random(len(rows)) < empty_share
    kept = [row for row, keep_empty in zip(rows, keep, strict=True) if row["landslide"] or keep_empty]
    for row in rows:
        row["split"] = ""
    if not without_landslides and not any(row["landslide"] for row in kept):
        raise UserError("no landslide lies in any patch: do --labels and --area belong together?")
    if without_landslides or not any(shares.values()):
        for row in kept:
            row["split"] = "train"
        return
    boxes = np.array([[row[side] for side in ("left", "bottom", "right", "top")] for row in kept])
    assigned = split_blocks(in_patches(boxes), [row["landslide"] for row in kept], 1.0, shares, block, seed)
    if assigned is None:
        with_landslide = sum(row["landslide"] > 0 for row in kept)
        raise UserError(
            f"{len(kept)} patches, {with_landslide} of them with a landslide, lie too close together for a training, a "
            "validation and a test split with a landslide each and a patch between them: label more ground"
        )
    for row, name in zip(kept, assigned, strict=True):
        row["split"] = str(name)
