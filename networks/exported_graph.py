"""Graphs of models for other programs: without what their converters lack, and with flips and turns inside."""

import numpy as np

from networks import model_files
from networks.keras_start import import_keras


def convertible(model):
    """Copy a model without what tf2onnx cannot convert; predictions stay the same."""
    keras, copy = import_keras(), model_files.fused(model)
    for layer in model_files.all_layers(copy):
        if isinstance(layer, keras.layers.Normalization):  # it takes tensors that are no variables for inputs
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
        if getattr(layer, "activation", None) is keras.activations.gelu:  # Keras's is made of erfc
            layer.activation = lambda x: x / 2 * (1 + keras.ops.erf(x / np.float32(np.sqrt(2))))
    return copy


def mean_over_turns(model, x):
    """Return the mean of a model over the flips and turns of x that keep its shape, as inference.probabilities."""
    keras = import_keras()
    results = []
    for swapped in (False, True) if x.shape[1] == x.shape[2] else (False,):
        for down in (1, -1):
            for right in (1, -1):
                turned = x[:, ::down, ::right]
                probability = model(keras.ops.swapaxes(turned, 1, 2) if swapped else turned)
                probability = keras.ops.swapaxes(probability, 1, 2) if swapped else probability
                results.append(probability[:, ::down, ::right])
    return keras.layers.Average()(results)
