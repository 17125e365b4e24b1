"""Area and number of landslides over a whole map, corrected by a reference that covers a part of it."""

import numpy as np
from scipy import stats


def stratified_total(reference, sampled, totals, covered=0.0):
    """Estimate a total over a map from blocks in which the reference is known.

    The stratified estimator of Olofsson et al. 2014 (Remote Sensing of Environment 148, equations 9 to 11): the strata
    are the classes of the map, and the share of each that is landslide in the reference is carried over from the blocks
    to the whole map. If each block is a point, the standard error is theirs. Neighbouring pixels are alike, so a block
    of many pixels counts as one draw (cluster sampling, Cochran 1977, chapter 11): the error of a stratum comes from
    the differences between blocks, and errors of different strata in one block are added with their signs.

    It assumes that the blocks are as good as drawn at random from the map.

    Args:
        reference: blocks x strata, landslides of the reference in each stratum of each block (m2, or objects).
        sampled: blocks x strata, size of each stratum in each block.
        totals: strata, size of each over the whole map.
        covered: share of the map that the blocks cover; the total over them has no error.

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
    """Return (low, high) of a result of `stratified_total`, by Student's t; low is 0 or more."""
    total, error, freedom = estimate
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return max(total - half, 0.0), total + half


def corrected(reference, sampled, totals, covered):
    """Return a record of `stratified_total`: estimate, low, high, standard_error; or the reason why it has none."""
    if covered == 1:
        return {"reason": "the reference covers the whole map, nothing is left to estimate"}
    if not np.any(totals):
        return {"reason": "the map holds none"}
    estimate = stratified_total(reference, sampled, totals, covered)
    if estimate is None:
        return {"reason": "a class of the map is in fewer than two blocks of the area: it is too small for --block"}
    low, high = interval(estimate)
    return {"estimate": estimate[0], "low": low, "high": high, "standard_error": estimate[1]}
