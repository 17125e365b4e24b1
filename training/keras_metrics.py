"""Pooled scores as metrics of Keras, for `model.fit`; metrics.py computes the same with NumPy."""

import keras
from keras import ops


class PooledScore(keras.metrics.Metric):
    """A score from tp, fp and fn summed over all pixels since the last reset, for `model.fit`.

    y_true (0, 1 or 255) and y_pred (probabilities) have any equal shapes. Counts are float32 under any precision policy
    of the model: exact up to 16.7 million, with a relative error of 1e-7 beyond.
    """

    def __init__(self, threshold=0.5, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.counts = self.add_variable(shape=(3,), initializer="zeros", name="counts", dtype="float32")

    def update_state(self, y_true, y_pred, sample_weight=None):
        true = ops.cast(y_true, "float32")
        known = ops.cast(true <= 1, "float32")
        true, predicted = known * true, known * ops.cast(ops.cast(y_pred, "float32") >= self.threshold, "float32")
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
    """Pooled Dice at one threshold; see metrics.dice."""

    @staticmethod
    def parts(tp, fp, fn):
        return 2 * tp, 2 * tp + fp + fn


@keras.saving.register_keras_serializable("landslide")
class PooledIoU(PooledScore):
    """Pooled intersection over union at one threshold; see metrics.iou."""

    @staticmethod
    def parts(tp, fp, fn):
        return tp, tp + fp + fn
