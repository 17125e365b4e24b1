"""Patches of a scene: where they lie, and on which side of a split."""

import numpy as np
import shapely

from script import UserError

PARTS = ("test", "validation", "train")  # in the order in which they keep patches that lie too near to each other
TRIES = 2000  # random assignments, of which the best is taken


def lay_patches(shape, size, overlap=0, parts=None):
    """Lay square patches over a scene, or over parts of it.

    Args:
        shape: (height, width) of the scene in pixels, at least `size`. size, overlap: of the patches, in pixels.
        parts: polygons in pixels (column, row); each gets as few patches as cover its box, spread evenly, and none if
            those of others cover it already. None: the whole scene.

    Returns:
        [(row, column), ...] of the upper left pixels, in order.
    """
    found, covered = set(), shapely.Polygon()
    for part in [shapely.box(0, 0, *shape[::-1])] if parts is None else parts:
        part = part.intersection(shapely.box(0, 0, *shape[::-1]))
        left_over = part.difference(covered).area
        if left_over <= 0.05 * part.area:  # also a part that lies beyond the scene
            continue
        left, top, right, bottom = part.bounds
        new = {
            (row, column)
            for row in spread(top, bottom, size, overlap, shape[0])
            for column in spread(left, right, size, overlap, shape[1])
        }
        found |= new
        covered = covered.union(shapely.union_all([shapely.box(c, r, c + size, r + size) for r, c in new]))
    return sorted(found)


def spread(first, last, size, overlap, end):
    """Return the starts of as few patches as cover first ... last, spread evenly and kept within 0 ... end."""
    count = max(1, int(np.ceil((last - first - overlap - 0.5) / (size - overlap))))
    middle = (first + last - size) / 2
    starts = [middle] if count == 1 else np.linspace(min(first, middle), max(last - size, middle), count)
    return sorted({int(np.clip(round(start), 0, end - size)) for start in starts})


def split_rows(rows, shares, empty_share=1.0, block=4, seed=0):
    """Give each row of `patches.write_patches` its `split`, "" if it is left out.

    Args:
        rows: [{column: value}, ...], which are changed. shares, block, seed: see `split_blocks`.
        empty_share: share of the patches without landslides to keep.

    Raises:
        UserError: there is no landslide, or too little ground for three splits.
    """
    keep = np.random.default_rng([seed, 1]).random(len(rows)) < empty_share
    chosen = [row for row, kept in zip(rows, keep, strict=True) if row["landslide"] or kept]
    for row in rows:
        row["split"] = ""
    if not any(row["landslide"] for row in chosen):
        raise UserError("no landslide lies in any patch: do --labels and --area belong together?")
    boxes = np.array([[row[side] for side in ("left", "bottom", "right", "top")] for row in chosen])
    boxes /= np.tile(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), 2)  # in patches
    assigned = split_blocks(boxes, [row["landslide"] for row in chosen], 1.0, shares, block, seed)
    if assigned is None:
        holding = sum(row["landslide"] > 0 for row in chosen)
        raise UserError(
            f"{len(chosen)} patches, {holding} of them with a landslide, lie too close together for a training, a "
            "validation and a test split with a landslide each and a patch between them: label more ground"
        )
    for row, name in zip(chosen, assigned, strict=True):
        row["split"] = str(name)


def split_blocks(boxes, landslide, gap, shares, block=4, seed=0):
    """Assign patches to splits by blocks of ground, with a gap between blocks of different splits.

    Of up to TRIES random assignments of blocks, the one is taken that loses least to gaps and whose splits come nearest
    to their shares, both of patches and of landslide.

    Args:
        boxes: N x 4, left, bottom, right, top of each patch on the map. landslide: N, amount of it in each patch.
        gap: least distance between patches of different splits, along one axis at least.
        shares: {"validation": share of the patches, "test": share}; the rest is for training.
        block: side of a block in patches, at most; smaller if there would be too few blocks.

    Returns:
        N names of splits, "" for a patch in a gap; None if no assignment gives every split a landslide.
    """
    boxes, landslide = np.asarray(boxes, float), np.asarray(landslide, float)
    side = np.median(boxes[:, 2] - boxes[:, 0])
    near = pairs_nearer_than(boxes, gap)
    tries = max(100, min(TRIES, 2_000_000 // len(boxes)))  # fewer for many patches, of which any draw is a fair one
    wanted = np.array([shares["test"], shares["validation"], 1 - sum(shares.values())])
    rng, best, lowest = np.random.default_rng(seed), None, np.inf
    for block_side in sorted({max(1, block // 2**i) for i in range(8)}, reverse=True):
        blocks = group(boxes, block_side * side)
        count = blocks.max() + 1
        if count < 8 and block_side > 1:
            continue
        for _ in range(tries):
            order = rng.permutation(count)
            shown = np.cumsum(np.bincount(blocks, minlength=count)[order]) / len(boxes)
            tested = np.searchsorted(shown, wanted[0]) + 1
            validated = max(tested + 1, np.searchsorted(shown, wanted[:2].sum()) + 1)
            ranks = np.full(count, 2)
            ranks[order[:validated]], ranks[order[:tested]] = 1, 0
            of_patch = ranks[blocks]
            lost = lost_to_gaps(of_patch, near)
            kept = np.bincount(of_patch[~lost], minlength=3)
            slid = np.bincount(of_patch[~lost], landslide[~lost], minlength=3)
            if not (kept > 0).all() or not (slid > 0).all():
                continue
            # as ratios: a validation split of a third of its share is worse than a training split short of a tenth
            off = np.abs(np.log([kept / kept.sum() / wanted, slid / slid.sum() / wanted])).mean()
            cost = off + lost.mean() + landslide[lost].sum() / landslide.sum()
            if cost < lowest:
                lowest = cost
                best = np.where(lost, "", np.array(PARTS)[of_patch])
        if best is not None:
            return best
    return None


def group(boxes, side):
    """Number the squares of a coarse grid in which the middles of boxes lie: N, from 0."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = np.floor((middles - middles.min(0)) / side + 1e-9).astype(int)
    return np.unique(cells, axis=0, return_inverse=True)[1].ravel()


def pairs_nearer_than(boxes, gap):
    """Return the pairs (2 x M) of boxes that come nearer than `gap` along both axes."""
    margin = gap * (1 - 1e-6)  # boxes just that far apart are not near
    shapes, wide = shapely.box(*boxes.T), shapely.box(*(boxes + margin * np.array([-1, -1, 1, 1])).T)
    first, second = shapely.STRtree(shapes).query(wide, predicate="intersects")
    return np.stack([first, second])[:, first < second]


def lost_to_gaps(ranks, near):
    """Return which patches are left out: of two near ones in different splits, the one of the higher rank."""
    first, second = np.concatenate([near, near[::-1]], axis=1)
    lost = np.zeros(len(ranks), bool)
    for rank in (1, 2):
        lost[first[(ranks[first] == rank) & (ranks[second] < rank) & ~lost[second]]] = True
    return lost
