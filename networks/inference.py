"""Prediction of patches: probabilities, with or without test-time augmentation."""

import numpy as np

from metrics import ThresholdCurve, confusion
from patches.pixel_sizes import shown


def probabilities(model, images, tta=False):
    """Predict probabilities n x H x W float32 of images n x H x W x bands; with `tta` the mean over flips and turns.

    Images that are smaller than those that the model takes are filled up at their right and lower sides by mirroring.
    """
    height, width = images.shape[1:3]
    lacking = [(0, (full or side) - side) for full, side in zip(model.input.shape[1:3], (height, width), strict=True)]
    if any(after for _, after in lacking):
        filled = np.pad(images, [(0, 0), *lacking, (0, 0)], "reflect")
        return probabilities(model, filled, tta)[:, :height, :width]
    if not tta:
        return np.asarray(model.predict_on_batch(images), np.float32)[..., 0]
    turns = range(4) if images.shape[1] == images.shape[2] else (0, 2)
    total = np.zeros(images.shape[:3], np.float32)
    for turn in turns:
        for step in (1, -1):
            turned = np.ascontiguousarray(np.rot90(images, turn, axes=(1, 2))[:, :, ::step])
            total += np.rot90(probabilities(model, turned)[:, :, ::step], -turn, axes=(1, 2))
    return total / (2 * len(turns))


def predict(model, patches, indices, batch_size=32, tta=False, convert=None):
    """Yield (indices, images, probabilities n x H x W float32) batch by batch; memory does not grow with the split.

    convert: function that is applied to the images before prediction. A network that takes the plane of the pixel size
    gets that of each patch.
    """
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        images = convert(patches.read(batch)) if convert else patches.read(batch)
        yield batch, images, probabilities(model, shown(model, images, patches.pixel_sizes[batch]), tta)


def confusions(model, patches, indices, threshold, batch_size=32, convert=None):
    """Count tp, fp, fn and tn of each patch at a threshold; return four arrays of len(indices)."""
    counts = []
    for batch, _, probability in predict(model, patches, indices, batch_size, convert=convert):
        counts.append(confusion(patches.read_masks(batch), probability >= np.float32(threshold)))
    return tuple(np.concatenate(parts) for parts in zip(*counts, strict=True))


def threshold_curve(model, patches, indices, batch_size=32, tta=False, curve=None, convert=None):
    """Compute the `metrics.ThresholdCurve` of a model on some patches, or add them to a curve.

    convert: function of the images, see `predict`.
    """
    curve = curve or ThresholdCurve()
    for batch, _, probabilities in predict(model, patches, indices, batch_size, tta, convert):
        curve.update(patches.read_masks(batch), probabilities)
    return curve
