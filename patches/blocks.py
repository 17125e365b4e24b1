"""Blocks of ground: patches assigned to splits so that no two of different splits are neighbours."""

import numpy as np
import scipy  # which loads its parts on first use

RANKED_SPLITS = ("test", "validation", "train")  # of two near patches, the one of the earlier split stays
TRIES = 2000  # random assignments, of which the best is taken


def split_blocks(boxes, landslide, gap, shares, block=4, seed=0):
    """Assign patches to splits by blocks of ground, with a gap between blocks of different splits.

    Of up to TRIES random assignments of blocks, the one is taken that loses the fewest patches and the least landslide
    to gaps, and whose splits come nearest to their shares of both.

    Args:
        boxes: N x 4, left, bottom, right, top of each patch on the map. landslide: N, landslide pixels of each patch.
        gap: least distance between patches of different splits, along one axis at least.
        shares: {split: share of the patches}, of validation and test or one of them; the rest is for training.
        block: side of a block in patches, at most; smaller if there are too few blocks.

    Returns:
        N names of splits, "" for a patch in a gap; None if no assignment gives every split a landslide.
    """
    boxes, landslide = np.asarray(boxes, float), np.asarray(landslide, float)
    side = np.median(boxes[:, 2] - boxes[:, 0])
    near = pairs_nearer_than(boxes, gap)
    tries = max(100, min(TRIES, 2_000_000 // len(boxes)))  # fewer for many patches, of which any draw is a fair one
    names = [name for name in RANKED_SPLITS if name in shares or name == "train"]
    goal = np.array([shares.get(name, 1 - sum(shares.values())) for name in names])
    rng, best, lowest = np.random.default_rng(seed), None, np.inf
    for block_side in sorted({max(1, block // 2**i) for i in range(8)}, reverse=True):
        blocks = block_numbers(boxes, block_side * side)
        count = blocks.max() + 1
        if count < 8 and block_side > 1:
            continue
        for _ in range(tries):
            order = rng.permutation(count)
            running_share = np.cumsum(np.bincount(blocks, minlength=count)[order]) / len(boxes)
            block_ranks, end = np.full(count, len(goal) - 1), 0
            for rank, reached in enumerate(np.cumsum(goal)[:-1]):
                start, end = end, max(end + 1, np.searchsorted(running_share, reached) + 1)
                block_ranks[order[start:end]] = rank
            ranks = block_ranks[blocks]
            lost = lost_to_gaps(ranks, near)
            patches = np.bincount(ranks[~lost], minlength=len(goal))
            slid = np.bincount(ranks[~lost], landslide[~lost], minlength=len(goal))
            if not (patches > 0).all() or not (slid > 0).all():
                continue
            # as ratios: a validation split of a third of its share is worse than a training split short of a tenth
            off = np.abs(np.log([patches / patches.sum() / goal, slid / slid.sum() / goal])).mean()
            cost = off + lost.mean() + landslide[lost].sum() / landslide.sum()
            if cost < lowest:
                lowest = cost
                best = np.where(lost, "", np.array(names)[ranks])
        if best is not None:
            return best
    return None


def in_patches(boxes):
    """Return boxes (N x 4) in units of the median width and height of a patch."""
    return boxes / np.tile(np.median(boxes[:, 2:] - boxes[:, :2], axis=0), 2)


def block_numbers(boxes, side):
    """Return the number, from 0, of the square block of ground in which the middle of each box lies: N."""
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = np.floor((middles - middles.min(0)) / side + 1e-9).astype(int)
    return np.unique(cells, axis=0, return_inverse=True)[1].ravel()


def pairs_nearer_than(boxes, gap):
    """Return the pairs (2 x M) of boxes that come nearer than `gap` along both axes."""
    low, high = boxes[:, :2], boxes[:, 2:]
    reach = gap + (high - low).max()
    pairs = scipy.spatial.cKDTree((low + high) / 2).query_pairs(reach, p=np.inf, output_type="ndarray")
    first, second = pairs.T
    apart = np.maximum(low[second] - high[first], low[first] - high[second])  # along each axis
    return pairs[(apart < gap * (1 - 1e-6)).all(1)].T  # boxes at exactly this distance are not near


def lost_to_gaps(ranks, near):
    """Return which patches are left out, N bool: of two near ones in different splits, the one of the higher rank.

    ranks: N, of the split of each patch, the lowest first kept. near: 2 x M, pairs of near patches.
    """
    first, second = np.concatenate([near, near[::-1]], axis=1)
    lost = np.zeros(len(ranks), bool)
    for rank in range(1, len(RANKED_SPLITS)):
        lost[first[(ranks[first] == rank) & (ranks[second] < rank) & ~lost[second]]] = True
    return lost
