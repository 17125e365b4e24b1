"""Calibration: makes probabilities match observed frequencies (Platt 1999; Guo et al. 2017, arXiv 1706.04599).

Region losses such as Dice make a network overconfident: of the pixels predicted at 97 %, four in five are landslide. A
linear map of the logits, fitted on validation, corrects much of that. The map increases, so the order of the pixels
stays the same. So do the scores, if the threshold is mapped, too.
"""

import keras
import numpy as np
from scipy.optimize import minimize

from patches.pixel_sizes import shown

SLOPES = (0.1, 10.0)  # limits: logits that separate the classes perfectly would get an infinite slope


def calibrate(model, patches, indices, batch_size=32):
    """Fit slope x logit + offset on validation, and change the logit layers of a model so that they include it.

    Args:
        model: ends in a sigmoid, whose input is linear in the layers with names that end in "logit". The kernels and
            biases of these layers are changed.
        patches, indices: packing.Patches and the positions of the validation split.

    Returns:
        dict of slope, offset, cross_entropy_before and cross_entropy_after (mean over pixels, in nats).
    """
    logits_of = keras.Model(model.input, model.layers[-1].input)
    logits, masks = [], []
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        labels = patches.read_masks(batch)[..., None]
        images = shown(model, patches.read(batch), patches.pixel_sizes[batch])
        logits.append(np.asarray(logits_of.predict_on_batch(images), np.float32)[labels <= 1])
        masks.append(labels[labels <= 1] > 0)
    logits, masks = np.concatenate(logits), np.concatenate(masks)
    slope, offset = best_line(logits, masks)
    layers = [layer for layer in model.layers if layer.name.endswith("logit")]
    for i, layer in enumerate(layers):
        kernel, bias = layer.get_weights()
        layer.set_weights([slope * kernel, slope * bias + (offset if i == 0 else 0)])
    before, after = cross_entropy(logits, masks), cross_entropy(slope * logits + offset, masks)
    return {"slope": slope, "offset": offset, "cross_entropy_before": before, "cross_entropy_after": after}


def best_line(logits, masks):
    """Fit the (slope, offset) of lowest cross-entropy, the slope within SLOPES; (1, 0) if only one class occurs."""
    if masks.all() or not masks.any():
        return 1.0, 0.0

    def loss_and_gradient(line):
        moved = np.float32(line[0]) * logits + np.float32(line[1])
        excess = 1 / (1 + np.exp(-np.clip(moved, -80, 80))) - masks
        return cross_entropy(moved, masks), [(excess * logits).mean(dtype=np.float64), excess.mean(dtype=np.float64)]

    result = minimize(
        loss_and_gradient, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=(SLOPES, (None, None)), tol=1e-10
    )
    return float(result.x[0]), float(result.x[1])


def cross_entropy(logits, masks):
    """Compute the mean binary cross-entropy of sigmoid(logits), in nats."""
    return float(np.logaddexp(np.float32(0), np.where(masks, -logits, logits)).mean(dtype=np.float64))
