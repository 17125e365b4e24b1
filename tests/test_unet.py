"""The network: sizes, its first layer, precision, and the parameter count of an outside implementation."""

import keras
import numpy as np
import pytest

from unet import build_unet


def test_parameters_equal_those_of_the_widely_used_pytorch_unet():
    """milesial/Pytorch-UNet, 3 bands in, 1 class out, transposed convolutions: 31,037,633 trainable parameters."""
    model = build_unet((None, None, 3), base_filters=64)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 31_037_633


@pytest.mark.parametrize("shape", [(128, 128, 14), (32, 64, 3), (None, None, 5)])
def test_any_number_of_bands_and_any_fitting_size(shape):
    model = build_unet(shape, base_filters=2)
    batch = np.zeros((2, shape[0] or 48, shape[1] or 16, shape[2]), np.float32)
    probability = np.asarray(model.predict_on_batch(batch))
    assert probability.shape == (*batch.shape[:3], 1)
    assert probability.dtype == np.float32
    assert (probability >= 0).all() and (probability <= 1).all()


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
    """A difference of 1 in 4000 (metres, say) is lost in bfloat16 unless the first layer is float32."""
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
