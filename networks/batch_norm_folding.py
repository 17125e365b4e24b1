"""Fold batch normalisation into the convolutions before it: the same network in fewer operations, for prediction."""

from collections import Counter

import keras
import numpy as np

CONVOLUTIONS = keras.layers.Conv2D, keras.layers.DepthwiseConv2D


class Folded(keras.layers.Layer):
    """Placeholder for a batch normalisation that was folded into a convolution; returns its input."""

    def call(self, inputs, training=None, mask=None):
        return inputs


def fold(model, exchange=None, dtype=None):
    """Copy a model, with each batch normalisation folded into the convolution before it if nothing else uses that.

    gamma (conv(x) - mean) / sqrt(variance + epsilon) + beta is a convolution with scaled kernels and another bias
    (Jacob et al. 2018, arXiv 1712.05877, section 3.2). It computes in the precision of the normalisation, because a
    precision that is chosen for the gradient of a convolution slows prediction. The copy is not for training or saving.

    Args:
        model: keras.Model. exchange: {class of a layer: class that replaces it}. dtype: precision policy of all layers;
            None: each layer keeps its own.
    """
    norms = {id(convolution): norm for convolution, norm in pairs(model)}
    gone, copies = {id(norm) for norm in norms.values()}, []

    def clone(layer):
        config, norm = layer.get_config(), norms.get(id(layer))
        if norm:
            config |= {"use_bias": True, "dtype": norm.get_config()["dtype"]}
        if not isinstance(layer, keras.layers.Layer):  # an operation such as ops.take keeps its input's type
            return type(layer).from_config(config)
        if dtype:
            config["dtype"] = dtype
        if id(layer) in gone:
            return Folded(name=layer.name, dtype=config["dtype"])
        copy = (exchange or {}).get(type(layer), type(layer)).from_config(config)
        copies.append((copy, layer, norm))
        return copy

    bare = keras.Model(model.input, model.output, name=model.name)
    folded = keras.models.clone_model(bare, clone_function=clone, recursive=True)
    for copy, layer, norm in copies:
        copy.set_weights(folded_weights(layer, norm) if norm else layer.get_weights())
    return folded


def pairs(model):
    """Yield (convolution, batch normalisation after it) of a model if nothing else uses the convolution."""
    all_operations = list(operations(model))
    nodes = [node for operation in all_operations for node in operation._inbound_nodes]
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    for operation in (model, *all_operations):
        if isinstance(operation, keras.Model):
            uses.update(map(id, operation.outputs))
    for norm in all_operations:
        if not isinstance(norm, keras.layers.BatchNormalization) or len(norm._inbound_nodes) > 1:
            continue
        (entering,) = norm._inbound_nodes[0].input_tensors
        before = entering._keras_history.operation
        linear = isinstance(before, CONVOLUTIONS) and before.activation is keras.activations.linear
        if linear and len(before._inbound_nodes) == 1 and uses[id(entering)] == 1:
            yield before, norm


def operations(model):
    """Yield the operations of a model and of the models within it."""
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            yield from operations(operation)
        yield operation


def folded_weights(convolution, norm):
    """Return [kernel, bias] of the convolution that equals a convolution and a batch normalisation after it."""
    kernel, *bias = convolution.get_weights()
    mean, variance = np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)
    gamma = np.asarray(norm.gamma) if norm.scale else 1.0
    beta = np.asarray(norm.beta) if norm.center else 0.0
    factor = gamma / np.sqrt(variance + norm.epsilon)
    shape = kernel.shape[2:] if isinstance(convolution, keras.layers.DepthwiseConv2D) else (-1,)
    return [kernel * factor.reshape(shape), beta + ((bias[0] if bias else 0.0) - mean) * factor]
