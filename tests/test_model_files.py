"""The two forms of a model, stored and in use: the same probabilities and the same training."""

import keras
import numpy as np
import pytest

from networks import tensorflow_parts
from networks.model_files import all_layers, fused, load_model, portable, save_model
from networks.segformer import build_segformer
from unet import build_unet


def build(kind):
    """Build a small network with the current precision policy."""
    statistics = {"mean": [0.5] * 3, "variance": [0.1] * 3}
    if kind == "segformer":
        return build_segformer((32, 32, 3), **statistics)
    return build_unet((32, 32, 3), 8, 2, block="residual", **statistics)


@pytest.fixture(
    scope="module",
    params=["float32", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mixed_bfloat16", "segformer"))],
)
def trained(request):
    """Train a network for some steps on noise, so that no statistics are initial; return (kind, network, images)."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if request.param == "segformer" else request.param)
    try:
        model = fused(build(request.param))
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(0)
    images, masks = rng.random((8, 32, 32, 3)), rng.random((8, 32, 32, 1)) > 0.8
    model.compile("adam", "binary_crossentropy")
    model.optimizer.build(model.trainable_variables)
    model.fit(images, masks.astype(np.float32), epochs=5, verbose=0)
    return request.param, model, images


def test_stored_model_gives_the_same_answers_on_keras_alone(trained, tmp_path):
    _, model, images = trained
    before = model.get_weights()
    save_model(model, tmp_path / "model.keras")
    for kept, weights in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weights)  # saving does not change the model
    stored = keras.models.load_model(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in stored.layers} == {"keras"}
    expected = model.predict_on_batch(images)
    # bfloat16 resolves 1/128 of a value, and the fused kernel rounds at other places than Keras
    tolerance = 1e-5 if stored.layers[2].compute_dtype == "float32" else 0.02
    np.testing.assert_allclose(stored.predict_on_batch(images), expected, atol=tolerance)


def precisions(model):
    return {layer.compute_dtype for layer in all_layers(model) if layer.weights}


def test_a_loaded_model_answers_as_it_was_stored_or_in_float32(trained, both_processors, tmp_path):
    """Without bfloat16, results are those of the weights in float32; with it, they are close to what was trained."""
    kind, model, images = trained
    save_model(model, tmp_path / "model.keras")
    loaded, expected = load_model(tmp_path), model.predict_on_batch(images)
    if both_processors == "1" or kind == "float32":
        assert precisions(loaded) == precisions(model)
        tolerance = 1e-5 if kind == "float32" else 0.02
        np.testing.assert_allclose(loaded.predict_on_batch(images), expected, atol=tolerance)
        stored = load_model(tmp_path, to_store=True)
        np.testing.assert_array_equal(stored.predict_on_batch(images), expected)
        return
    assert precisions(loaded) == {"float32"}
    reference = build(kind)
    reference.set_weights(keras.models.load_model(tmp_path / "model.keras").get_weights())
    answers = loaded.predict_on_batch(images)
    np.testing.assert_allclose(answers, reference.predict_on_batch(images), atol=1e-5)
    assert 0 < np.abs(answers - expected).max() < 0.02


def test_bfloat16_halves_the_file(tmp_path):
    sizes = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            save_model(build_unet((32, 32, 3), 16, 3), tmp_path / f"{policy}.keras")
        finally:
            keras.config.set_dtype_policy("float32")
        sizes.append((tmp_path / f"{policy}.keras").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]


@pytest.mark.parametrize("channels", [24, 32])  # a multiple of 16 or none: two ways through oneDNN
@pytest.mark.parametrize("training", [True, False])
def test_fused_normalisation_in_bfloat16_is_that_of_keras_in_float32(channels, training):
    rng = np.random.default_rng(0)
    images = keras.ops.cast(rng.normal(3, 2, (4, 16, 16, channels)), "bfloat16")
    ours, theirs = tensorflow_parts.FusedBatchNormalization(dtype="mixed_bfloat16"), keras.layers.BatchNormalization()
    output, expected = ours(images, training=training), theirs(keras.ops.cast(images, "float32"), training=training)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    np.testing.assert_allclose(keras.ops.cast(output, "float32"), expected, atol=0.02)  # bfloat16 up to 4
    for mine, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-3)


def test_fused_normalisation_trains_like_that_of_keras():
    """One float32 step gives the same loss, gradients and statistics, except for N - 1 in the variance."""
    images = np.random.default_rng(0).random((8, 16, 16, 3))
    masks = (images.mean(3, keepdims=True) > 0.5).astype(np.float32)
    keras.utils.set_random_seed(0)
    plain = build_unet((16, 16, 3), 4, 2)
    losses = []
    for model in (plain, quick := fused(portable(plain))):
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
        losses.append(model.train_on_batch(images, masks))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for ours, theirs in zip(quick.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=5e-4, rtol=5e-3)
