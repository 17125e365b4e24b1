"""Temperature scaling: probabilities that mean what they say, without another decision (Guo 2017, arXiv 1706.04599).

Losses on the region drive a network to extremes: what it calls 97 % landslide is so in four pixels of five. Dividing
its logits by one number, found on validation, mends most of that; a threshold on the result moves along, so that the
same pixels are found.
"""

import keras
import numpy as np
from scipy.optimize import minimize_scalar


def calibrate(model, patches, indices, batch_size=32):
    """Divide the logits of a model by the temperature of least cross-entropy on some patches.

    Args:
        model: ends in a sigmoid; what it takes is linear in the layers whose names end in "logit". Their kernels and
            biases are changed.
        patches, indices: dataset.Patches and which of them: the validation split.

    Returns:
        (temperature, cross-entropy before, cross-entropy after), the latter in nats a pixel.
    """
    logits_of = keras.Model(model.input, model.layers[-1].input)
    logits, masks = [], []
    for start in range(0, len(indices), batch_size):
        batch = indices[start : start + batch_size]
        logits.append(np.asarray(logits_of.predict_on_batch(patches.read(batch)), np.float32).ravel())
        masks.append(patches.read_masks(batch).ravel() > 0)
    logits, masks = np.concatenate(logits), np.concatenate(masks)
    temperature = best_temperature(logits, masks)
    for layer in model.layers:
        if layer.name.endswith("logit"):
            layer.set_weights([weight / temperature for weight in layer.get_weights()])
    return temperature, cross_entropy(logits, masks, 1.0), cross_entropy(logits, masks, temperature)


def best_temperature(logits, masks):
    """Temperature of least cross-entropy, between 1/10 and 10."""
    found = minimize_scalar(
        lambda log: cross_entropy(logits, masks, np.exp(log)), bounds=(-np.log(10), np.log(10)), method="bounded"
    )
    return float(np.exp(found.x))


def cross_entropy(logits, masks, temperature):
    """Mean binary cross-entropy of sigmoid(logits / temperature), in nats."""
    signed = np.where(masks, -logits, logits) / np.float32(temperature)
    return float(np.logaddexp(np.float32(0), signed).mean(dtype=np.float64))
