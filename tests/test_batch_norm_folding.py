"""Batch normalisation folded into convolutions: the same answers from fewer operations."""

import keras
import numpy as np
import pytest
from keras import layers

import bands
import train
from networks import batch_norm_folding, builder, model_files

NETWORKS = {
    "residual": {"CONV_BLOCK": "se", "MULTI_SCALE_LOGITS": True},
    "plain": {"CONV_BLOCK": "plain", "STEM": 1},
    "two dates": {"FUSION": "difference", "STEM": 1},
    "encoder": {"ENCODER": "efficientnet_lite0"},
    "segformer": {"MODEL": "segformer", "STRIDE": 2},
}
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("encoder", "two dates", "segformer")]


def unsettled(model):
    """Give a model statistics and weights of batch normalisation that are neither 0 nor 1."""
    rng = np.random.default_rng(0)
    for layer in model_files.all_layers(model):
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weights.shape) for weights in layer.get_weights()])
    return model


@pytest.mark.parametrize("name", ["residual", "plain", *SLOW])
def test_a_folded_network_gives_the_same_answers(name):
    constants = train.constants() | {"BASE_FILTERS": 6, "DEPTH": 2} | NETWORKS[name]
    names = bands.dated_names(2) if name == "two dates" else ("red", "green", "blue", "dem")
    count = len(names)
    config = {
        "bands": names,
        "input_shape": (32, 32, count),
        "band_mean": [1.0] * count,
        "band_variance": [2.0] * count,
    }
    model = unsettled(model_files.fused(builder.build_network(constants, config)))
    folded = batch_norm_folding.fold(model)
    images = np.random.default_rng(1).normal(1, 1.5, (2, 32, 32, count)).astype(np.float32)
    np.testing.assert_allclose(folded(images), model(images), atol=2e-5)
    norms = [layer for layer in batch_norm_folding.operations(folded) if isinstance(layer, layers.BatchNormalization)]
    assert not norms and (name == "segformer" or len(list(batch_norm_folding.pairs(model))) > 5)
    if name != "segformer":
        larger = model_files.resized(folded, (64, 64))
        assert larger(np.tile(images, (1, 2, 2, 1))).shape == (2, 64, 64, 1)


def test_what_cannot_be_folded_stays():
    """A convolution that is used twice, one with an activation, one that a model gives out; and a normalised image."""
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization(name="of_image")(image)
    shared = layers.Conv2D(4, 3, padding="same")(x)
    x = layers.Add()([layers.BatchNormalization(name="of_shared")(shared), shared])
    x = layers.BatchNormalization(name="of_active")(layers.Conv2D(4, 3, activation="relu")(x))
    out = layers.Conv2D(4, 3, name="out")(x)
    model = unsettled(keras.Model(image, [layers.BatchNormalization(scale=False, name="of_out")(out), out]))
    folded = batch_norm_folding.fold(model)
    assert {layer.name for layer in folded.layers if isinstance(layer, layers.BatchNormalization)} == {
        "of_image",
        "of_shared",
        "of_active",
        "of_out",
    }
    within = keras.Model(image, [model.output[0], out])
    inner = batch_norm_folding.fold(keras.Model(image, layers.Add()(within(image)))).get_layer(within.name)
    assert isinstance(inner.get_layer("of_out"), layers.BatchNormalization)
    alone = keras.Model(image, model.output[0])
    assert batch_norm_folding.fold(alone).get_layer("of_out").__class__ is batch_norm_folding.Folded
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(batch_norm_folding.fold(alone)(images), alone(images), atol=1e-5)


def test_a_folded_convolution_has_the_precision_of_its_normalisation():
    image = keras.Input((8, 8, 3))
    each = layers.DepthwiseConv2D(3, use_bias=False, dtype="float32", name="each")(image)
    model = unsettled(keras.Model(image, layers.BatchNormalization(dtype="mixed_bfloat16")(each)))
    folded = batch_norm_folding.fold(model)
    assert folded.get_layer("each").compute_dtype == "bfloat16"
    images = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(np.float32(folded(images)), np.float32(model(images)), atol=0.1)
