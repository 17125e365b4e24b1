"""Area and number of landslides over a whole map, corrected by what a reference says in a part of it."""

import numpy as np
from scipy import stats


def stratified_total(reference, sampled, totals, covered=0.0):
    """Estimate a total over a map from blocks in which the reference is known.

    The stratified estimator of Olofsson et al. 2014 (Remote Sensing of Environment 148, equations 9 to 11): the strata
    are the classes of the map, and in each the share that the reference calls landslide is carried over from the blocks
    to the whole map. Where each block is a point, the standard error is theirs. Pixels beside one another are alike, so
    a block of many pixels counts as one draw (cluster sampling, Cochran 1977, chapter 11): the error of a stratum is
    what the blocks differ by, and errors of different strata in one block are added with their signs.

    It assumes that the blocks are as good as drawn at random from the map.

    Args:
        reference: blocks x strata, what the reference has of each stratum in each block (m2, or objects).
        sampled: blocks x strata, what the blocks have of each stratum at all.
        totals: strata, what the whole map has.
        covered: share of the map that the blocks cover: what is known there has no error.

    Returns:
        (total, its standard error, degrees of freedom); None if a stratum of the map has fewer than two blocks.
    """
    reference, sampled, totals = (np.asarray(each, float) for each in (reference, sampled, totals))
    present = totals > 0
    reference, sampled, totals = reference[:, present], sampled[:, present], totals[present]
    blocks = ((sampled > 0) | (reference > 0)).sum(0)
    if not len(totals) or (blocks < 2).any() or not sampled.sum(0).all():
        return None
    rates = reference.sum(0) / sampled.sum(0)
    residuals = (reference - rates * sampled) / sampled.sum(0) * np.sqrt(blocks / (blocks - 1))
    variance = ((residuals * totals).sum(1) ** 2).sum()
    return float((rates * totals).sum()), float(np.sqrt((1 - covered) * variance)), int(blocks.min()) - 1


def interval(estimate, level=0.95):
    """Return (low, high) of a result of `stratified_total`, by Student's t; no total lies below 0."""
    total, error, freedom = estimate
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return max(total - half, 0.0), total + half


def estimated(reference, sampled, totals, covered):
    """Return a record of `stratified_total`: estimate, low, high, standard_error, or only the reason why not."""
    if covered == 1:
        return {"reason": "the reference covers the whole map, nothing is left to estimate"}
    if not np.any(totals):
        return {"reason": "the map holds none"}
    found = stratified_total(reference, sampled, totals, covered)
    if found is None:
        return {"reason": "fewer than two blocks of the area hold what the map has: the area is too small for --block"}
    low, high = interval(found)
    return {"estimate": found[0], "low": low, "high": high, "standard_error": found[1]}
