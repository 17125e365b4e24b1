"""The U-Net: sizes, the first layer, precision, and the parameter count of an outside implementation."""

import keras
import numpy as np
import pytest

from unet import build_unet

PLAIN = {"base_filters": 4, "max_filters": 16, "block": "plain", "stem": 1}


def test_parameters_equal_those_of_the_widely_used_pytorch_unet():
    """milesial/Pytorch-UNet with 3 bands, 1 class and transposed convolutions has 31,037,633 trainable parameters."""
    model = build_unet((None, None, 3), 64, 4, 1024, "plain", stem=1)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 31_037_633


@pytest.mark.parametrize("shape", [(128, 128, 14), (32, 64, 3), (None, None, 5)])
def test_any_number_of_bands_and_any_fitting_size(shape):
    model = build_unet(shape, base_filters=2)
    batch = np.zeros((2, shape[0] or 48, shape[1] or 16, shape[2]), np.float32)
    probability = np.asarray(model.predict_on_batch(batch))
    assert probability.shape == (*batch.shape[:3], 1)
    assert probability.dtype == np.float32
    assert (probability >= 0).all() and (probability <= 1).all()


@pytest.mark.parametrize(
    "variant",
    [
        {"block": "residual"},
        {"block": "se"},
        {"stem": 2},
        {"multi_scale_logits": True},
        {"stem": 2, "multi_scale_logits": True},
    ],
    ids=str,
)
def test_variants_answer_at_full_size(variant):
    model = build_unet((32, 48, 5), **PLAIN | variant)
    probability = np.asarray(model.predict_on_batch(np.ones((2, 32, 48, 5), np.float32)))
    assert probability.shape == (2, 32, 48, 1)
    assert np.isfinite(probability).all()
    plain = build_unet((32, 48, 5), **PLAIN)
    assert model.count_params() != plain.count_params()


def test_half_resolution_halves_once_before_the_u_and_doubles_once_after():
    """The default network halves a 128 x 128 patch to 64, 32, 16 and 8 pixels a side; it skips none and ends there."""
    model = build_unet((128, 128, 14))
    convolutions = [layer for layer in model.layers if layer.name.endswith("conv2")]
    sizes = [(layer.output.shape[1], layer.filters) for layer in convolutions]
    down, up = [(64, 48), (32, 96), (16, 192)], [(16, 192), (32, 96), (64, 48), (128, 16)]
    assert sizes == [*down, (8, 192), *up]


def test_residual_blocks_pass_their_input_on():
    """If the residual branch gives zero, a block of equal channels is the ReLU of its input."""
    model = build_unet((16, 16, 3), 4, 1, max_filters=4, stem=1)
    for layer in model.layers:
        if "norm2" in layer.name:
            layer.set_weights([np.zeros_like(layer.get_weights()[0]), *layer.get_weights()[1:]])
    block = keras.Model(model.get_layer("down0_pool").output, model.get_layer("bottom_relu2").output)
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(block.predict_on_batch(x), np.maximum(x, 0), atol=1e-6)


def test_an_indivisible_size_is_answered_with_one_that_fits():
    with pytest.raises(ValueError, match=r"100 x 128 pixels do not fit.*divisible by 16.*pad them to 112 x 128"):
        build_unet((100, 128, 3))
    build_unet((100, 128, 3), base_filters=2, depth=2)


def test_first_layer_normalises_with_the_given_statistics():
    mean, variance = [100.0, 0.5, 7.0], [25.0, 0.01, 0.0]
    model = build_unet((16, 16, 3), base_filters=2, mean=mean, variance=variance)
    rng = np.random.default_rng(0)
    batch = rng.normal([100, 0.5, 7.0], [5, 0.1, 0], (4, 16, 16, 3))
    first = keras.Model(model.input, model.layers[1].output)
    expected = (batch - mean) / [5, 0.1, 1]
    np.testing.assert_allclose(first.predict_on_batch(batch), expected, atol=1e-4)


def test_mixed_precision_keeps_both_ends_in_float32(tmp_path):
    """A difference of 1 in 4000 (metres, for example) is lost in bfloat16 unless the first layer is float32."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_unet((16, 16, 1), base_filters=2, mean=[4000.0], variance=[1.0])
        first = keras.Model(model.input, model.layers[1].output)
        np.testing.assert_allclose(first.predict_on_batch(np.full((1, 16, 16, 1), 4001.0)), 1.0)
        assert model.output.dtype == "float32"
        assert model.get_layer("bottom_conv1").compute_dtype == "bfloat16"
        batch = np.random.default_rng(0).normal(4000, 1, (2, 16, 16, 1))
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(loaded.predict_on_batch(batch), model.predict_on_batch(batch))
    finally:
        keras.config.set_dtype_policy("float32")
