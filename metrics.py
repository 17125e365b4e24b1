"""Segmentation scores from pooled confusion counts.

Every score is derived from true and false positives and negatives of the landslide class, summed over all pixels
of a split ("pooled"; the F1 of the Landslide4Sense competition) unless a name says otherwise. 0/0 is 1 throughout:
where there is nothing to find and nothing is claimed, the answer is right.
"""

import keras
import numpy as np
from keras import ops

# Thresholds 0, 0.001 ... 1 in float32, the type of the probabilities, so that `p >= threshold` means one thing.
THRESHOLDS = (np.arange(1001) / 1000).astype(np.float32)


def ratio(numerator, denominator):
    """numerator / denominator with 0/0 = 1 (see above), as float64, elementwise."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, float), np.asarray(denominator, float))
    return np.divide(numerator, denominator, out=np.ones(numerator.shape), where=denominator > 0)[()]


def dice(tp, fp, fn):
    """Dice coefficient 2 tp / (2 tp + fp + fn), which on hard masks equals F1 (Dice 1945, Sorensen 1948)."""
    return ratio(2 * tp, 2 * tp + fp + fn)


def iou(tp, fp, fn):
    """Intersection over union tp / (tp + fp + fn), the Jaccard index. Pooled: IoU = Dice / (2 - Dice)."""
    return ratio(tp, tp + fp + fn)


def precision(tp, fp):
    """Share of the pixels called landslide that are."""
    return ratio(tp, tp + fp)


def recall(tp, fn):
    """Share of the landslide pixels that are found."""
    return ratio(tp, tp + fn)


def scores(tp, fp, fn):
    """All four scores by name, from counts."""
    return {
        "dice": dice(tp, fp, fn),
        "iou": iou(tp, fp, fn),
        "precision": precision(tp, fp),
        "recall": recall(tp, fn),
    }


def confusion(masks, predicted):
    """Confusion counts of each patch: masks and predicted N x H x W (0/1 or bool) -> tp, fp, fn, tn, each N."""
    masks, predicted = np.asarray(masks, bool), np.asarray(predicted, bool)
    axes = tuple(range(1, masks.ndim))
    tp = (masks & predicted).sum(axes)
    fp = predicted.sum(axes) - tp
    fn = masks.sum(axes) - tp
    return tp, fp, fn, np.prod(masks.shape[1:], dtype=int) - tp - fp - fn


class ThresholdCurve:
    """Confusion counts at the 1001 THRESHOLDS, gathered batch by batch without keeping the pixels.

    A pixel is called landslide at threshold t if its probability is >= t. The state is two histograms, of landslide
    and of other pixels over the bins between thresholds; a curve is their sum from the right.
    """

    def __init__(self):
        self.positive = np.zeros(len(THRESHOLDS), np.int64)
        self.negative = np.zeros(len(THRESHOLDS), np.int64)
        self.sums = np.zeros(len(THRESHOLDS))  # of the probabilities in each bin, for `reliability` alone

    def update(self, masks, probabilities):
        """Add pixels: masks 0/1 and probabilities in [0, 1], of one shape."""
        masks = np.asarray(masks).ravel() > 0
        probabilities = np.asarray(probabilities, np.float32).ravel()
        bins = np.searchsorted(THRESHOLDS, probabilities, side="right") - 1
        self.positive += np.bincount(bins[masks], minlength=len(THRESHOLDS))
        self.negative += np.bincount(bins[~masks], minlength=len(THRESHOLDS))
        self.sums += np.bincount(bins, probabilities, len(THRESHOLDS))

    def counts(self):
        """tp, fp, fn, tn: int64 arrays of 1001 counts, one a threshold."""
        tp = np.cumsum(self.positive[::-1])[::-1]
        fp = np.cumsum(self.negative[::-1])[::-1]
        return tp, fp, self.positive.sum() - tp, self.negative.sum() - fp

    def scores(self):
        """Dice, IoU, precision and recall, each an array over the thresholds."""
        tp, fp, fn, _ = self.counts()
        return scores(tp, fp, fn)

    def average_precision(self):
        """Area under the precision-recall steps, sum of (R_n - R_n-1) P_n, as scikit-learn defines it."""
        curve = self.scores()
        if not self.positive.any():
            return 1.0
        gained = -np.diff(curve["recall"], append=0.0)
        return float((gained * curve["precision"]).sum())

    def reliability(self, bins=10):
        """Mean probability, share of landslide and number of pixels in `bins` equal ranges of probability.

        Returns three arrays of `bins`, which must divide 1000; means and shares of an empty range are NaN.
        """
        group = np.minimum(np.arange(len(THRESHOLDS)) * bins // 1000, bins - 1)
        pixels = np.bincount(group, self.positive + self.negative, bins)
        with np.errstate(invalid="ignore"):
            mean = np.bincount(group, self.sums, bins) / pixels
            share = np.bincount(group, self.positive, bins) / pixels
        return mean, share, pixels.astype(np.int64)

    def calibration_error(self, bins=10):
        """Expected calibration error: sum over ranges of pixels / all pixels * |mean probability - share of landslide|.

        Naeini et al. 2015 (AAAI), Guo et al. 2017 (arXiv 1706.04599), for the probability of landslide. Most pixels are
        easy background, so that it is small wherever landslides are rare; look at the diagram, too.
        """
        mean, share, pixels = self.reliability(bins)
        return float(np.nansum(np.abs(mean - share) * pixels) / pixels.sum())

    def best(self):
        """Index of the threshold of highest Dice; of a plateau, its middle, which is least sensitive."""
        values = self.scores()["dice"]
        plateau = np.flatnonzero(values == values.max())
        return int(plateau[len(plateau) // 2])


def bootstrap_dice(tp, fp, fn, draws=2000, seed=0):
    """95 % interval of the pooled Dice over patches: the percentile bootstrap (Efron 1979), patches redrawn.

    tp, fp, fn: counts of each patch. Returns (low, high). Patches are taken as independent; neighbours that
    overlap are not quite, so the true interval is somewhat wider.
    """
    counts = np.stack([tp, fp, fn], axis=1).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws) @ counts
    low, high = np.quantile(dice(*drawn.T), [0.025, 0.975])
    return float(low), float(high)


def pooled_summary(tp, fp, fn):
    """Pooled scores and the 95 % interval of Dice, rounded to four digits, from counts of each patch.

    Returns a dict of dice, iou, precision, recall, dice_low and dice_high.
    """
    low, high = bootstrap_dice(tp, fp, fn)
    found = scores(tp.sum(), fp.sum(), fn.sum()) | {"dice_low": low, "dice_high": high}
    return {name: round(float(value), 4) for name, value in found.items()}


class PooledScore(keras.metrics.Metric):
    """A score from tp, fp and fn summed over all pixels since the last reset, for `model.fit`.

    y_true and y_pred: any equal shapes, 0/1 and probabilities. Counts are kept in float32, exact to 16.7 million
    pixels of a kind and to 1e-7 of the count beyond, whatever the precision policy of the model.
    """

    def __init__(self, threshold=0.5, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.counts = self.add_variable(shape=(3,), initializer="zeros", name="counts", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        true = ops.cast(y_true, "float32")
        predicted = ops.cast(ops.cast(y_pred, "float32") >= self.threshold, "float32")
        tp = ops.sum(true * predicted)
        batch = ops.stack([tp, ops.sum(predicted) - tp, ops.sum(true) - tp])
        self.counts.assign(self.counts + batch)

    def result(self):
        numerator, denominator = self.parts(self.counts[0], self.counts[1], self.counts[2])
        return ops.where(denominator > 0, numerator / ops.maximum(denominator, 1.0), 1.0)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("landslide")
class PooledDice(PooledScore):
    """Pooled Dice at one threshold; see `dice`."""

    @staticmethod
    def parts(tp, fp, fn):
        return 2 * tp, 2 * tp + fp + fn


@keras.saving.register_keras_serializable("landslide")
class PooledIoU(PooledScore):
    """Pooled intersection over union at one threshold; see `iou`."""

    @staticmethod
    def parts(tp, fp, fn):
        return tp, tp + fp + fn
