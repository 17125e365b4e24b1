"""Segmentation scores from pooled confusion counts.

Unless its name says otherwise, every score is computed from true and false positives and negatives of the landslide
class, summed over all pixels of a split ("pooled"; the F1 of the Landslide4Sense competition). 0/0 is 1 in all scores:
to predict nothing on ground without landslides is right. Pixels whose mask is above 1 (255) are not labelled and do not
count.
"""

import numpy as np

# Thresholds 0, 0.001 ... 1 in float32, the type of the probabilities, so that `p >= threshold` is the same everywhere.
THRESHOLDS = (np.arange(1001) / 1000).astype(np.float32)


def ratio(numerator, denominator):
    """Divide elementwise with 0/0 = 1 (see above), as float64."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.ones(numerator.shape), where=denominator > 0)[()]


def dice(tp, fp, fn):
    """Compute the Dice coefficient 2 tp / (2 tp + fp + fn), on hard masks equal to F1 (Dice 1945, Sorensen 1948)."""
    return ratio(2 * tp, 2 * tp + fp + fn)


def iou(tp, fp, fn):
    """Compute intersection over union tp / (tp + fp + fn), the Jaccard index. Pooled: IoU = Dice / (2 - Dice)."""
    return ratio(tp, tp + fp + fn)


def precision(tp, fp):
    """Compute the share of the pixels predicted as landslide that are landslide."""
    return ratio(tp, tp + fp)


def recall(tp, fn):
    """Compute the share of the landslide pixels that are predicted as landslide."""
    return ratio(tp, tp + fn)


def scores(tp, fp, fn):
    """Compute all four scores from counts, as a dict by name."""
    return {
        "dice": dice(tp, fp, fn),
        "iou": iou(tp, fp, fn),
        "precision": precision(tp, fp),
        "recall": recall(tp, fn),
    }


def confusion(masks, predicted):
    """Count the labelled pixels of each patch: masks and predicted N x H x W -> tp, fp, fn, tn, each N."""
    known, masks = np.asarray(masks) <= 1, np.asarray(masks) == 1
    predicted = np.asarray(predicted, bool) & known
    axes = tuple(range(1, masks.ndim))
    tp = (masks & predicted).sum(axes)
    fp = predicted.sum(axes) - tp
    fn = masks.sum(axes) - tp
    return tp, fp, fn, known.sum(axes) - tp - fp - fn


class ThresholdCurve:
    """Confusion counts at the 1001 THRESHOLDS, accumulated batch by batch without keeping the pixels.

    A pixel is predicted as landslide at threshold t if its probability is >= t. Two histograms over the bins between
    thresholds, of landslide and of other pixels, hold the counts; cumulative sums from the right give the curve.
    """

    def __init__(self):
        self.positive = np.zeros(len(THRESHOLDS), np.int64)
        self.negative = np.zeros(len(THRESHOLDS), np.int64)
        self.sums = np.zeros(len(THRESHOLDS))  # of the probabilities in each bin, only for `reliability`

    def update(self, masks, probabilities):
        """Add pixels: masks 0, 1 or 255 and probabilities in [0, 1], of the same shape."""
        known = np.asarray(masks) <= 1
        masks = np.asarray(masks)[known] > 0
        probabilities = np.asarray(probabilities, np.float32)[known]
        bins = np.searchsorted(THRESHOLDS, probabilities, side="right") - 1
        self.positive += np.bincount(bins[masks], minlength=len(THRESHOLDS))
        self.negative += np.bincount(bins[~masks], minlength=len(THRESHOLDS))
        self.sums += np.bincount(bins, probabilities, len(THRESHOLDS))

    def joined(self, other):
        """Return a ThresholdCurve of the pixels of this one and of another."""
        both = ThresholdCurve()
        both.positive, both.negative = self.positive + other.positive, self.negative + other.negative
        both.sums = self.sums + other.sums
        return both

    def with_landslide_free(self, landslide_free, weight):
        """Return a curve that also counts the false alarms on landslide-free ground.

        landslide_free: ThresholdCurve of that ground. It counts as `weight` times as many pixels as this curve has.
        """
        joined = ThresholdCurve()
        scale = weight * (self.positive.sum() + self.negative.sum()) / landslide_free.negative.sum()
        joined.positive += self.positive
        joined.negative += self.negative + np.rint(scale * landslide_free.negative).astype(np.int64)
        return joined

    def counts(self):
        """Return tp, fp, fn, tn: int64 arrays of 1001 counts, one for each threshold."""
        tp = np.cumsum(self.positive[::-1])[::-1]
        fp = np.cumsum(self.negative[::-1])[::-1]
        return tp, fp, self.positive.sum() - tp, self.negative.sum() - fp

    def scores(self):
        """Return Dice, IoU, precision and recall, each an array over the thresholds."""
        tp, fp, fn, _ = self.counts()
        return scores(tp, fp, fn)

    def average_precision(self):
        """Compute the area under the precision-recall steps, sum of (R_n - R_n-1) P_n, as scikit-learn defines it.

        Without landslide pixels it is 1.
        """
        curve = self.scores()
        if not self.positive.any():
            return 1.0
        gained = -np.diff(curve["recall"], append=0.0)
        return float((gained * curve["precision"]).sum())

    def reliability(self, bins=10):
        """Compute mean probability, share of landslide and number of pixels in `bins` equal ranges of probability.

        `bins` must divide 1000. Returns three arrays of that length; means and shares of an empty range are NaN.
        """
        group = np.minimum(np.arange(len(THRESHOLDS)) * bins // 1000, bins - 1)
        pixels = np.bincount(group, self.positive + self.negative, bins)
        with np.errstate(invalid="ignore"):
            mean = np.bincount(group, self.sums, bins) / pixels
            landslide_share = np.bincount(group, self.positive, bins) / pixels
        return mean, landslide_share, pixels.astype(np.int64)

    def calibration_error(self, bins=10):
        """Compute the expected calibration error of the probability of landslide.

        It is the sum over ranges of pixels / all pixels * |mean probability - share of landslide| (Naeini et al. 2015,
        AAAI; Guo et al. 2017, arXiv 1706.04599). Most pixels are easy background, so it is small if landslides are
        rare; the reliability diagram shows more.
        """
        mean, landslide_share, pixels = self.reliability(bins)
        return float(np.nansum(np.abs(mean - landslide_share) * pixels) / pixels.sum())

    def best(self, within=0.0):
        """Return the index of the threshold with the highest Dice; on a plateau, its middle, the least sensitive.

        within: see `plateau`.
        """
        plateau = self.plateau(within)
        return int(plateau[len(plateau) // 2])

    def plateau(self, within):
        """Return the indices of the thresholds whose Dice is at most `within` below the highest.

        With `within` above 0, those next to the best one alone, without gaps.
        """
        values = self.scores()["dice"]
        if not within:
            return np.flatnonzero(values == values.max())
        low = high = int(values.argmax())
        while low and values[low - 1] >= values.max() - within:
            low -= 1
        while high + 1 < len(values) and values[high + 1] >= values.max() - within:
            high += 1
        return np.arange(low, high + 1)


def bootstrap_dice(tp, fp, fn, draws=2000, seed=0):
    """Estimate the 95 % interval of the pooled Dice by resampling patches (percentile bootstrap, Efron 1979).

    tp, fp, fn: counts of each patch. Returns (low, high). Patches are assumed independent. Neighbouring patches are
    not, so the true interval is somewhat wider.
    """
    counts = np.stack([tp, fp, fn], axis=1).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws) @ counts
    low, high = np.quantile(dice(*drawn.T), [0.025, 0.975])
    return float(low), float(high)


def pooled_summary(tp, fp, fn):
    """Compute pooled scores and the 95 % interval of Dice from counts of each patch, rounded to four digits.

    Returns a dict of dice, iou, precision, recall, dice_low and dice_high.
    """
    low, high = bootstrap_dice(tp, fp, fn)
    pooled = scores(tp.sum(), fp.sum(), fn.sum()) | {"dice_low": low, "dice_high": high}
    return {name: round(float(value), 4) for name, value in pooled.items()}
