"""Adaptation of a model, without masks, to data that it was not trained on.

`match_moments` and `match_histogram` change the images that enter the model; `adapt_batch_norm` changes the model.
"""

import numpy as np

from networks.keras_start import import_keras
from networks.model_files import all_layers

QUANTILES = np.linspace(0, 1, 257)
SAMPLE = 7  # every 7th pixel of a patch is enough for the quantiles of a data set


def match_moments(source, target):
    """Return a function that gives images of the target the mean and variance of the source, band by band.

    source, target: (mean, variance) of each band, as `packing.Patches.statistics` gives them.
    """
    (mean, variance), (own_mean, own_variance) = source, target
    gain = np.sqrt(variance / np.where(own_variance > 0, own_variance, np.inf))
    return lambda images: ((images - own_mean) * gain + mean).astype(np.float32)


def quantiles(patches, indices):
    """Compute the quantiles of each band over the pixels of some patches: bands x 257."""
    pixels = [patches.read([i]).reshape(-1, len(patches.bands))[::SAMPLE] for i in indices]
    return np.quantile(np.concatenate(pixels), QUANTILES, axis=0).T


def match_histogram(source, target):
    """Return a function that gives images of the target the histogram of the source, band by band.

    source, target: from `quantiles`. A value at several quantiles becomes the mean of the source's values at them.
    """
    steps = []
    for target_quantiles, source_quantiles in zip(target, source, strict=True):
        values, index = np.unique(target_quantiles, return_inverse=True)
        steps.append((values, np.bincount(index, source_quantiles) / np.bincount(index)))

    def match(images):
        return np.stack([np.interp(images[..., band], *step) for band, step in enumerate(steps)], -1).astype(np.float32)

    return match


def adapt_batch_norm(model, patches, indices, batch_size=16):
    """Replace the statistics of batch normalisation by those of other images (AdaBN, Li et al. 2016, arXiv 1603.04779).

    They become the mean over the batches. The model is changed; its weights are not.
    """
    keras = import_keras()
    layers = list(all_layers(model))
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    drops = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in drops]
    for layer in drops:
        layer.rate = 0.0  # prediction runs without dropout
    for count, batch in enumerate(np.array_split(indices, -(-len(indices) // batch_size))):
        for layer in norms:
            layer.momentum = count / (count + 1)  # gives the plain mean over the batches
        model(patches.read(batch), training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum
    for layer, rate in zip(drops, rates, strict=True):
        layer.rate = rate
