"""Scores, compared with scikit-learn."""

import keras
import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

import metrics
from training import keras_metrics


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    masks = (rng.random((6, 16, 16)) < 0.1).astype(np.uint8)
    masks[2] = 0
    probabilities = np.clip(0.5 * masks + rng.normal(0.3, 0.2, masks.shape), 0, 1).astype(np.float32)
    return masks, probabilities


def test_curve_agrees_with_scikit_learn_at_every_threshold(pixels):
    masks, probabilities = pixels
    # exactly on thresholds, where >= and > differ
    probabilities.ravel()[: len(metrics.THRESHOLDS)] = metrics.THRESHOLDS
    curve = metrics.ThresholdCurve()
    for i in range(0, 6, 2):
        curve.update(masks[i : i + 2], probabilities[i : i + 2])
    counts, scores = np.array(curve.counts()), curve.scores()
    for k in range(0, 1001, 20):
        predicted = probabilities.ravel() >= metrics.THRESHOLDS[k]
        tn, fp, fn, tp = sk.confusion_matrix(masks.ravel(), predicted, labels=[0, 1]).ravel()
        assert tuple(counts[:, k]) == (tp, fp, fn, tn)
        assert scores["dice"][k] == pytest.approx(sk.f1_score(masks.ravel(), predicted))
        assert scores["iou"][k] == pytest.approx(sk.jaccard_score(masks.ravel(), predicted))
        assert scores["precision"][k] == pytest.approx(sk.precision_score(masks.ravel(), predicted, zero_division=1))
        assert scores["recall"][k] == pytest.approx(sk.recall_score(masks.ravel(), predicted))


def test_average_precision_agrees_with_scikit_learn(pixels):
    masks, probabilities = pixels
    quantised = metrics.THRESHOLDS[np.floor(probabilities * 1000).astype(int)]
    curve = metrics.ThresholdCurve()
    curve.update(masks, quantised)
    assert curve.average_precision() == pytest.approx(sk.average_precision_score(masks.ravel(), quantised.ravel()))


def test_best_threshold_is_the_middle_of_the_plateau():
    curve = metrics.ThresholdCurve()
    curve.update([1, 1, 0, 0], [0.8, 0.9, 0.2, 0.1])
    assert curve.scores()["dice"].max() == 1
    assert metrics.THRESHOLDS[curve.best()] == pytest.approx(0.5, abs=0.01)


def test_confusion_of_each_patch_agrees_with_scikit_learn(pixels):
    masks, probabilities = pixels
    predicted = probabilities >= 0.5
    for i, (tp, fp, fn, tn) in enumerate(zip(*metrics.confusion(masks, predicted), strict=True)):
        expected = sk.confusion_matrix(masks[i].ravel(), predicted[i].ravel(), labels=[0, 1])
        assert [[tn, fp], [fn, tp]] == expected.tolist()
        assert metrics.dice(tp, fp, fn) == pytest.approx(
            sk.f1_score(masks[i].ravel(), predicted[i].ravel(), zero_division=1)
        )


def test_nothing_over_nothing_is_one():
    assert metrics.scores(0, 0, 0) == {"dice": 1, "iou": 1, "precision": 1, "recall": 1}
    assert metrics.scores(0, 3, 0) == {"dice": 0, "iou": 0, "precision": 0, "recall": 1}
    empty = metrics.ThresholdCurve()
    empty.update(np.zeros(9), np.full(9, 0.2))
    assert empty.average_precision() == 1.0


def test_pooled_iou_follows_from_dice(pixels):
    tp, fp, fn, _ = (count.sum() for count in metrics.confusion(pixels[0], pixels[1] >= 0.4))
    dice = metrics.dice(tp, fp, fn)
    assert metrics.iou(tp, fp, fn) == pytest.approx(dice / (2 - dice))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_keras_metrics_are_pooled_over_batches(pixels, policy):
    masks, probabilities = pixels
    keras.config.set_dtype_policy(policy)
    try:
        dice, iou = keras_metrics.PooledDice(), keras_metrics.PooledIoU(threshold=0.4)
        for i in range(6):
            for metric in (dice, iou):
                metric.update_state(masks[i : i + 1, ..., None], probabilities[i : i + 1, ..., None])
        truth = masks.ravel()
        assert float(dice.result()) == pytest.approx(sk.f1_score(truth, probabilities.ravel() >= 0.5), rel=1e-5)
        expected = sk.jaccard_score(truth, probabilities.ravel() >= np.float32(0.4))
        assert float(iou.result()) == pytest.approx(expected, rel=1e-5)
        dice.reset_state()
        assert float(dice.result()) == 1.0
    finally:
        keras.config.set_dtype_policy("float32")


def test_bootstrap_interval_covers_as_often_as_it_says():
    """About 95 of 100 intervals contain the pooled Dice of the population that the patches are drawn from."""
    rng = np.random.default_rng(0)
    population = rng.poisson([40, 10, 15], (100_000, 3)) * rng.gamma(1, 1, (100_000, 1))
    truth = metrics.dice(*population.sum(0))
    held = 0
    for seed in range(100):
        sample = population[rng.integers(0, len(population), 200)]
        low, high = metrics.bootstrap_dice(*sample.T, draws=400, seed=seed)
        assert low < high
        held += low <= truth <= high
    assert 87 <= held <= 100


def test_reliability_agrees_with_scikit_learn(pixels):
    masks, probabilities = pixels
    curve = metrics.ThresholdCurve()
    curve.update(masks, probabilities)
    mean, landslide_share, count = curve.reliability(10)
    expected_share, expected_mean = calibration_curve(masks.ravel(), probabilities.ravel(), n_bins=10)
    np.testing.assert_allclose(landslide_share[count > 0], expected_share, atol=0.01)
    np.testing.assert_allclose(mean[count > 0], expected_mean, atol=0.001)
    assert count.sum() == masks.size
    error = np.average(np.abs(mean - landslide_share)[count > 0], weights=count[count > 0])
    assert curve.calibration_error(10) == pytest.approx(error)


def test_a_perfectly_calibrated_forecast_has_no_error():
    rng = np.random.default_rng(0)
    probabilities = rng.random(400_000).astype(np.float32)
    curve = metrics.ThresholdCurve()
    curve.update(rng.random(probabilities.shape) < probabilities, probabilities)
    assert curve.calibration_error() < 0.003


def test_the_middle_of_a_plateau_is_within_a_hundredth_of_the_best_dice():
    """Of three patches, the highest Dice may lie on an edge of what is all the same."""
    rng = np.random.default_rng(0)
    masks = (rng.random((3, 32, 32)) < 0.3).astype(np.uint8)
    probability = np.where(masks == 1, rng.uniform(0.4, 0.9, masks.shape), rng.uniform(0, 0.12, masks.shape))
    curve = metrics.ThresholdCurve()
    curve.update(masks, probability.astype(np.float32))
    dice, low, high = curve.scores()["dice"], *curve.plateau(0.01)[[0, -1]]
    assert (dice[low : high + 1] >= dice.max() - 0.01).all()
    assert dice[low - 1] < dice.max() - 0.01 and dice[high + 1] < dice.max() - 0.01
    assert metrics.THRESHOLDS[curve.best(0.01)] == pytest.approx((0.12 + 0.41) / 2, abs=0.03)
