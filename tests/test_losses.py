"""Losses: compared with Keras and formulas, on extreme cases, and after saving."""

import keras
import numpy as np
import pytest

from losses import BCEDice, binary_crossentropy, dice_loss


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    masks = (rng.random((4, 8, 8, 1)) < 0.2).astype(np.float32)
    return masks, rng.random((4, 8, 8, 1)).astype(np.float32)


def test_cross_entropy_agrees_with_keras(batch):
    expected = np.mean(keras.losses.binary_crossentropy(*batch))
    assert float(binary_crossentropy(*batch)) == pytest.approx(float(expected), rel=1e-5)


def test_positive_weight_agrees_with_weighted_pixels(batch):
    masks, probabilities = batch
    each = -(3 * masks * np.log(probabilities) + (1 - masks) * np.log(1 - probabilities))
    assert float(binary_crossentropy(masks, probabilities, 3.0)) == pytest.approx(each.mean(), rel=1e-5)


def test_dice_agrees_with_keras_and_is_pooled_over_the_batch(batch):
    expected = float(keras.losses.Dice(axis=None)(*batch))
    assert float(dice_loss(*batch, smooth=1e-7)) == pytest.approx(expected, abs=1e-5)


def test_loss_is_the_sum_of_both(batch):
    expected = float(binary_crossentropy(*batch, 2.0)) + float(dice_loss(*batch))
    assert float(BCEDice(positive_weight=2.0)(*batch)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("truth", [0.0, 1.0])
@pytest.mark.parametrize("claim", [0.0, 1.0])
def test_loss_and_gradient_are_finite_on_extremes(dtype, truth, claim):
    tf = pytest.importorskip("tensorflow")
    y_true = tf.fill((2, 8, 8, 1), tf.cast(truth, dtype))
    y_pred = tf.fill((2, 8, 8, 1), tf.cast(claim, dtype))
    with tf.GradientTape() as tape:
        tape.watch(y_pred)
        loss = BCEDice()(y_true, y_pred)
    assert loss.dtype == tf.float32
    assert np.isfinite(loss)
    assert np.isfinite(tf.cast(tape.gradient(loss, y_pred), "float32")).all()
    assert (float(loss) < 0.01) == (truth == claim)


def test_a_compiled_model_loads_without_custom_objects(tmp_path, batch):
    masks, images = batch
    inputs = keras.Input((8, 8, 1))
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same", activation="sigmoid")(inputs))
    model.compile(optimizer="adam", loss=BCEDice(positive_weight=2.0))
    expected = model.evaluate(images, masks, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.evaluate(images, masks, verbose=0) == pytest.approx(expected)


def test_the_loss_of_a_run_is_that_of_its_constants(batch):
    loss = BCEDice.of_constants({"POSITIVE_WEIGHT": 2.0})
    assert float(loss(*batch)) == pytest.approx(float(BCEDice(2.0)(*batch)))


def test_the_loss_tells_right_from_wrong(batch):
    masks, _ = batch
    loss = BCEDice()
    right, unsure, wrong = (float(loss(masks, p)) for p in (masks, np.full_like(masks, 0.5), 1 - masks))
    assert right < unsure < wrong
    assert np.isfinite([right, unsure, wrong]).all()
    assert float(loss(masks * 0, masks * 0)) < 0.5
