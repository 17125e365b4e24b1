"""The SegFormer: published sizes, its first stage, and its receptive field."""

import keras
import numpy as np
import pytest

from networks.segformer import build_segformer


def trainable(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def test_parameters_are_those_of_the_published_b0():
    """nvidia/segformer-b0 with 3 bands and 150 classes: 3,319,392 parameters in the encoder, 3,752,694 in all."""
    model = build_segformer((128, 128, 3))
    decoder = [layer for layer in model.layers if layer.name.startswith(("decoder", "fuse", "logit"))]
    inner = sum(int(np.prod(weight.shape)) for layer in decoder for weight in layer.trainable_weights)
    assert trainable(model) - inner == 3_319_392
    assert trainable(model) + 149 * (256 + 1) == 3_752_694


@pytest.mark.parametrize(("stride", "bands"), [(4, 14), pytest.param(2, 3, marks=pytest.mark.slow)])
def test_stages_halve_from_the_stride_of_the_first(stride, bands):
    model = build_segformer((64, 64, bands), stride)
    first = 64 // stride
    sizes = [model.get_layer(f"stage{i}_norm").output.shape[1:] for i in range(4)]
    assert sizes == [
        (first, first, 32),
        (first // 2,) * 2 + (64,),
        (first // 4,) * 2 + (160,),
        (first // 8,) * 2 + (256,),
    ]
    probability = np.asarray(model.predict_on_batch(np.zeros((2, 64, 64, bands), np.float32)))
    assert probability.shape == (2, 64, 64, 1) and probability.dtype == np.float32


def test_a_size_that_does_not_divide_is_answered_with_one_that_does():
    with pytest.raises(ValueError, match=r"80 x 64 pixels do not fit.*divisible by 32.*pad them to 96 x 64"):
        build_segformer((80, 64, 3))


@pytest.mark.slow
def test_every_place_sees_the_whole_patch():
    """A change in one corner changes the result in the opposite corner."""
    keras.utils.set_random_seed(0)
    model = build_segformer((64, 64, 3))
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    changed = image.copy()
    changed[:, :8, :8] += 5
    difference = np.abs(model.predict_on_batch(changed) - model.predict_on_batch(image))
    assert difference[0, -4:, -4:].min() > 0
