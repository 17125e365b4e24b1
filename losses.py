"""Losses on probabilities, for masks in which landslides are a few per cent of the pixels.

y_true and y_pred are B x H x W x 1 (or any equal shapes), in [0, 1]. Pixels whose y_true is above 1 (255 in masks) are
not labelled and do not count. Losses are computed in float32 under any precision policy of the model, and are finite on
empty masks.
"""

import keras
from keras import ops

EPSILON = 1e-7  # keeps log() finite; float32 resolves 1 - 1e-7


def binary_crossentropy(y_true, y_pred, positive_weight=1.0):
    """Compute the mean binary cross-entropy over labelled pixels, with landslide weighted by `positive_weight`."""
    y_true, y_pred, known = labelled_pixels(y_true, y_pred)
    y_pred = ops.clip(y_pred, EPSILON, 1 - EPSILON)
    landslide = positive_weight * y_true * ops.log(y_pred)
    other = (1 - y_true) * ops.log(1 - y_pred)
    return -ops.sum(known * (landslide + other)) / ops.maximum(ops.sum(known), 1.0)


def dice_loss(y_true, y_pred, smooth=1.0):
    """Compute the soft Dice loss 1 - (2 sum(y p) + s) / (sum(y) + sum(p) + s), s = smooth.

    Source: V-Net, with sums instead of sums of squares (Milletari 2016, arXiv 1606.04797). The sums run over the whole
    batch, not over each patch: two in five patches of Landslide4Sense are empty, and without `smooth` a single pixel
    changes the Dice of an empty patch from 1 to 0. `smooth` makes the Dice of an empty batch 0/0 = 1.
    """
    y_true, y_pred, known = labelled_pixels(y_true, y_pred)
    overlap = ops.sum(y_true * y_pred)
    return 1 - (2 * overlap + smooth) / (ops.sum(y_true) + ops.sum(known * y_pred) + smooth)


def labelled_pixels(y_true, y_pred):
    """Return y_true (0 where a pixel is not labelled), y_pred and 1 where a pixel is labelled, all float32."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    known = ops.cast(y_true <= 1, "float32")
    return y_true * known, y_pred, known


@keras.saving.register_keras_serializable("landslide")
class BCEDice(keras.losses.Loss):
    """Combined loss, binary_crossentropy + dice_loss.

    Cross-entropy gives every pixel a gradient from the first step. Dice optimises the reported score and is not
    dominated by the many easy background pixels.

    Args:
        positive_weight: weight of landslide pixels in the cross-entropy.
        smooth: see `dice_loss`.
    """

    def __init__(self, positive_weight=1.0, smooth=1.0, name="bce_dice", **kwargs):
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self.positive_weight = positive_weight
        self.smooth = smooth

    def call(self, y_true, y_pred):
        cross_entropy = binary_crossentropy(y_true, y_pred, self.positive_weight)
        return cross_entropy + dice_loss(y_true, y_pred, self.smooth)

    def get_config(self):
        return {**super().get_config(), "positive_weight": self.positive_weight, "smooth": self.smooth}

    @classmethod
    def of_constants(cls, constants):
        """Create the loss of train.py with these constants (`runs.Run.constants`)."""
        return cls(constants["POSITIVE_WEIGHT"])
