"""Pixels that are not labelled (255 in masks) change no loss, score, threshold, calibration or gradient."""

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

import augment
import losses
import metrics
import plots
from scores import objects
from training import calibration, keras_metrics


@pytest.fixture
def case():
    """Make masks with a third of the pixels not labelled, and probabilities; also both for the labelled ones only."""
    rng = np.random.default_rng(0)
    masks = (rng.random((4, 16, 16)) < 0.3).astype(np.uint8)
    masks[:, :, 5:10] = 255
    probabilities = rng.random(masks.shape).astype(np.float32)
    known = masks <= 1
    return masks, probabilities, masks[known], probabilities[known]


def test_scores_are_those_of_labelled_pixels(case):
    masks, probabilities, labels, seen = case
    tp, fp, fn, tn = metrics.confusion(masks, probabilities >= 0.5)
    assert metrics.dice(tp.sum(), fp.sum(), fn.sum()) == pytest.approx(f1_score(labels, seen >= 0.5))
    assert (tp + fp + fn + tn == 16 * 11).all()
    whole, part = metrics.ThresholdCurve(), metrics.ThresholdCurve()
    whole.update(masks, probabilities)
    part.update(labels, seen)
    np.testing.assert_array_equal(whole.counts(), part.counts())
    score = keras_metrics.PooledDice()
    score.update_state(masks[..., None].astype(np.float32), probabilities[..., None])
    assert float(score.result()) == pytest.approx(f1_score(labels, seen >= 0.5))


@pytest.mark.parametrize("loss", [losses.binary_crossentropy, losses.dice_loss, losses.BCEDice(0.5, 3.0)])
def test_losses_are_those_of_labelled_pixels(case, loss):
    masks, probabilities, labels, seen = case
    whole = loss(masks.astype(np.float32), probabilities)
    assert float(whole) == pytest.approx(float(loss(labels.astype(np.float32), seen)), rel=1e-5)
    nothing = float(loss(np.full((2, 4, 4), 255, np.float32), np.full((2, 4, 4), 0.7, np.float32)))
    assert nothing == pytest.approx(0, abs=1e-6)


def test_values_there_change_no_weight():
    """Training on pictures that differ where nothing is labelled gives the same weights (1 x 1 convolutions)."""
    rng = np.random.default_rng(0)
    masks = (rng.random((4, 8, 8, 1)) < 0.3).astype(np.float32)
    masks[:, :3] = 255
    images, other = rng.random((2, 4, 8, 8, 2)).astype(np.float32)
    other[:, 3:] = images[:, 3:]
    weights = []
    for picture in (images, other):
        layer = keras.layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer="ones")
        model = keras.Sequential([keras.Input((8, 8, 2)), layer])
        model.compile(optimizer=keras.optimizers.SGD(1.0), loss=losses.BCEDice())
        model.train_on_batch(picture, masks)
        weights.append(layer.get_weights()[0])
    assert (weights[0] != 1).any()
    np.testing.assert_allclose(*weights, atol=1e-6)


def test_objects_and_outcomes_end_where_labels_end():
    mask, predicted = np.zeros((6, 6), np.uint8), np.zeros((6, 6), bool)
    mask[:2, :2], mask[:, 3:] = 1, 255
    predicted[:2] = predicted[5, 5] = True
    (outcome,) = objects.match_objects(mask, predicted)
    assert outcome == {"pixels": 4, "tp": 4, "fn": 0, "fp": 2}  # nothing is charged for the right half
    grey = plots.overlay(np.full((6, 6, 3), 0.5), mask, predicted)
    assert (grey[:, 3:] == grey[5, 0]).all() and (grey[0, 0] != grey[5, 0]).any()


def test_calibration_takes_labelled_pixels(case):
    masks, probabilities, labels, seen = case

    class Patches:
        pixel_sizes = np.full(4, np.nan)
        read = staticmethod(lambda indices: probabilities[indices][..., None])
        read_masks = staticmethod(lambda indices: masks[indices])

    layer = keras.layers.Conv2D(1, 1, name="logit", kernel_initializer="ones")
    image = keras.Input((16, 16, 1))
    model = keras.Model(image, keras.layers.Activation("sigmoid")(layer(image)))
    line = calibration.calibrate(model, Patches, np.arange(4))
    assert (line["slope"], line["offset"]) == pytest.approx(calibration.best_line(seen, labels > 0), rel=1e-5)


@pytest.mark.parametrize("name", ["affine", "pixel_size", "elastic", "cutmix", "copy_paste", "mixup", "dihedral"])
def test_augmentations_keep_unlabelled_pixels_apart(case, name):
    masks, probabilities, _, _ = case
    images = probabilities[..., None]
    _, augmented = augment.AUGMENTATIONS[name](images, masks, np.random.default_rng(2), [0])
    assert ((augmented <= 1) | (augmented == 255)).all() and (augmented == 255).any() and (augmented <= 1).any()
