"""Adaptation of a model to data that it was not trained on.

`match_moments` and `match_histogram` change the images before the model sees them; `adapt_batch_norm` changes the
model. None of them needs masks. `fine_tuner` trains the model further on a few patches with masks.
"""

import numpy as np

from networks.keras_start import import_keras
from networks.model_files import all_layers

QUANTILES = np.linspace(0, 1, 257)
SAMPLE = 7  # every 7th pixel of a patch is enough for the quantiles of a data set
WARMUP = 0.1  # share of the steps of `fine_tuner` in which the learning rate rises to its peak


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

    source, target: from `quantiles`. A value at several quantiles becomes the mean of the source's values there.
    """
    steps = []
    for own, wanted in zip(target, source, strict=True):
        values, at = np.unique(own, return_inverse=True)
        steps.append((values, np.bincount(at, wanted) / np.bincount(at)))

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


def fine_tuner(model, constants, learning_rate, steps):
    """Return a function that trains a model further on a few labelled patches, flipped and turned.

    Every call changes the model, starting from its present weights and a fresh optimizer.

    Args:
        model: a network with its weights. constants: of the run that it comes from, {NAME: value}.
        learning_rate: its peak. steps: batches.
    """
    from networks.builder import compile_network
    from training.feed import PatchFeed

    schedule = {"LEARNING_RATE": learning_rate, "EPOCHS": 1, "WARMUP_EPOCHS": WARMUP}
    # only once: it takes longer than a few steps
    compile_network(model, constants | schedule, steps, keep_statistics=True)
    fresh = [np.array(variable) for variable in model.optimizer.variables]

    def fine_tune(patches, indices, batch_size=16, seed=0):
        for variable, value in zip(model.optimizer.variables, fresh, strict=True):
            variable.assign(value)
        square = patches.input_shape[0] == patches.input_shape[1]
        feed = PatchFeed(patches, indices, batch_size, ("dihedral" if square else "flips",), seed, least_batches=steps)
        for step in range(steps):
            model.train_on_batch(*feed[step])

    return fine_tune
