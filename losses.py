"""Losses on probabilities, for masks in which landslides are a few per cent of the pixels.

y_true and y_pred are B x H x W x 1 (any equal shapes will do), y_true 0/1, y_pred in [0, 1]. All are computed in
float32, whatever the precision policy of the model, and are finite on empty masks.
"""

import keras
from keras import ops

LOSSES = ("bce_dice", "focal_dice", "bce_tversky", "bce_lovasz")
EPSILON = 1e-7  # keeps log() off zero; float32 resolves 1 - 1e-7


def binary_crossentropy(y_true, y_pred, positive_weight=1.0):
    """Mean binary cross-entropy over all pixels, landslide pixels weighted by `positive_weight`."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    y_pred = ops.clip(y_pred, EPSILON, 1 - EPSILON)
    found = positive_weight * y_true * ops.log(y_pred)
    spared = (1 - y_true) * ops.log(1 - y_pred)
    return -ops.mean(found + spared)


def dice_loss(y_true, y_pred, smooth=1.0):
    """1 - (2 sum(y p) + s) / (sum(y) + sum(p) + s), the soft Dice loss of V-Net (Milletari 2016, arXiv 1606.04797).

    The sums run over the whole batch, not over each patch: two patches in five of Landslide4Sense are empty, and
    a patch's own Dice jumps from 1 to nearly 0 there for a single pixel. `smooth` keeps an empty batch at 0/0 = 1.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    overlap = ops.sum(y_true * y_pred)
    return 1 - (2 * overlap + smooth) / (ops.sum(y_true) + ops.sum(y_pred) + smooth)


def tversky_loss(y_true, y_pred, missed=0.7, smooth=1.0):
    """1 - (tp + s) / (tp + missed fn + (1 - missed) fp + s), of soft counts (Salehi 2017, arXiv 1706.05721).

    `missed` above 1/2 weighs missed pixels more than false alarms; at 1/2 this is the Dice loss (with 2 s).
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    tp = ops.sum(y_true * y_pred)
    fn, fp = ops.sum(y_true) - tp, ops.sum(y_pred) - tp
    return 1 - (tp + smooth) / (tp + missed * fn + (1 - missed) * fp + smooth)


def focal_crossentropy(y_true, y_pred, gamma=2.0):
    """Cross-entropy in which a pixel counts (1 - p)^gamma, p that of its true class (Lin 2017, arXiv 1708.02002)."""
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    y_pred = ops.clip(y_pred, EPSILON, 1 - EPSILON)
    found = (1 - y_pred) ** gamma * y_true * ops.log(y_pred)
    spared = y_pred**gamma * (1 - y_true) * ops.log(1 - y_pred)
    return -ops.mean(found + spared)


def lovasz_loss(y_true, y_pred):
    """Lovasz extension of the Jaccard loss 1 - IoU, over the whole batch (Berman 2018, arXiv 1705.08790).

    Errors |y - p| are sorted; each counts by how much the Jaccard loss grows when its pixel joins the wrong ones. On
    hard predictions it is 1 - IoU.
    """
    y_true = ops.reshape(ops.cast(y_true, "float32"), (-1,))
    errors = ops.abs(y_true - ops.reshape(ops.cast(y_pred, "float32"), (-1,)))
    order = ops.argsort(-errors)
    errors, truth = ops.take(errors, order), ops.take(y_true, order)
    intersection = ops.sum(truth) - ops.cumsum(truth)
    union = ops.sum(truth) + ops.cumsum(1 - truth)
    jaccard = 1 - intersection / ops.maximum(union, 1.0)
    growth = jaccard - ops.concatenate([ops.zeros(1), jaccard[:-1]])
    return ops.sum(errors * ops.stop_gradient(growth))


def named_loss(name, dice_weight=1.0, positive_weight=1.0, label_smoothing=0.0):
    """The loss function of one of LOSSES: a cross-entropy plus `dice_weight` times a loss on the region.

    positive_weight, label_smoothing: of the cross-entropy. Smoothing takes its targets from 0 and 1 to s and 1 - s.
    """
    if name == "bce_dice" and not label_smoothing:
        return BCEDice(dice_weight, positive_weight)
    region = {"bce_tversky": tversky_loss, "bce_lovasz": lovasz_loss}.get(name, dice_loss)

    def loss(y_true, y_pred):
        y_true = ops.cast(y_true, "float32")
        if name == "focal_dice":
            pixels = focal_crossentropy(y_true, y_pred)
        else:
            soft = y_true * (1 - 2 * label_smoothing) + label_smoothing
            pixels = binary_crossentropy(soft, y_pred, positive_weight)
        return pixels + dice_weight * region(y_true, y_pred)

    return loss


def loss_of(constants):
    """The loss that a run was trained with, from the constants in its config.json; older ones had BCE + Dice alone."""
    name, smoothing = constants.get("LOSS", "bce_dice"), constants.get("LABEL_SMOOTHING", 0.0)
    return named_loss(name, constants["DICE_WEIGHT"], constants["POSITIVE_WEIGHT"], smoothing)


@keras.saving.register_keras_serializable("landslide")
class BCEDice(keras.losses.Loss):
    """binary_crossentropy + dice_weight * dice_loss.

    Cross-entropy gives every pixel a gradient from the first step; Dice aims at the score that is reported and
    does not drown in the many easy background pixels.

    Args:
        dice_weight: weight of the Dice term against the cross-entropy's 1.
        positive_weight: weight of landslide pixels in the cross-entropy.
        smooth: see `dice_loss`.
    """

    def __init__(self, dice_weight=1.0, positive_weight=1.0, smooth=1.0, name="bce_dice", **kwargs):
        super().__init__(name=name, **{"dtype": "float32", **kwargs})
        self.dice_weight = dice_weight
        self.positive_weight = positive_weight
        self.smooth = smooth

    def call(self, y_true, y_pred):
        cross_entropy = binary_crossentropy(y_true, y_pred, self.positive_weight)
        return cross_entropy + self.dice_weight * dice_loss(y_true, y_pred, self.smooth)

    def get_config(self):
        return {
            **super().get_config(),
            "dice_weight": self.dice_weight,
            "positive_weight": self.positive_weight,
            "smooth": self.smooth,
        }
