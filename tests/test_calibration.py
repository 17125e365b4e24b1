"""Calibration: compared with a known line and scikit-learn, and applied to a model."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import dataset
from tests.patch_files import write_h5
from training import calibration


@pytest.fixture
def forecast():
    """Make logits that are three times too extreme and 2 too high, and the outcomes."""
    rng = np.random.default_rng(0)
    honest = rng.normal(-2, 2, 200_000)
    came = rng.random(honest.shape) < 1 / (1 + np.exp(-honest))
    return (3 * honest + 2).astype(np.float32), came


def test_a_known_line_is_found(forecast):
    slope, offset = calibration.best_line(*forecast)
    assert (slope, offset) == (pytest.approx(1 / 3, rel=0.02), pytest.approx(-2 / 3, abs=0.03))
    fitted = LogisticRegression(C=1e9).fit(forecast[0][:, None], forecast[1])
    assert (slope, offset) == pytest.approx((fitted.coef_[0, 0], fitted.intercept_[0]), abs=1e-3)


def test_cross_entropy_agrees_with_scikit_learn_also_of_extremes(forecast):
    logits, came = forecast
    expected = log_loss(came, 1 / (1 + np.exp(-logits.astype(float))))
    assert calibration.cross_entropy(logits, came) == pytest.approx(expected, rel=1e-4)
    assert calibration.cross_entropy(np.float32([1000, -1000]), np.array([True, True])) == pytest.approx(500)


def test_patches_of_one_class_change_nothing_and_separable_ones_stay_finite():
    logits = np.float32([-3, -1, 2])
    assert calibration.best_line(logits, np.zeros(3, bool)) == (1.0, 0.0)
    slope, offset = calibration.best_line(logits, logits > 0)
    assert slope <= calibration.SLOPES[1] and np.isfinite(offset)


def test_a_model_is_corrected_in_place_and_once(tmp_path):
    """One band of noise is higher by 1 on landslides: the log-odds are x - 1/2 + log(share / (1 - share))."""
    rng = np.random.default_rng(0)
    for number in range(1, 13):
        mask = np.zeros((32, 32), np.uint8)
        mask[:8, :16] = 1
        write_h5(tmp_path / f"data/images/image_{number}.h5", "img", rng.normal(mask[..., None], 1))
        write_h5(tmp_path / f"data/masks/mask_{number}.h5", "mask", mask)
    patches = dataset.open_patches(tmp_path / "data", tmp_path / "cache")
    image = keras.Input((32, 32, 1))
    logit = keras.layers.Conv2D(1, 1, name="logit")
    model = keras.Model(image, keras.layers.Activation("sigmoid")(logit(image)))
    logit.set_weights([np.full((1, 1, 1, 1), 3.0), np.float32([1])])
    line = calibration.calibrate(model, patches, np.arange(12), batch_size=5)
    assert line["cross_entropy_after"] < 0.5 * line["cross_entropy_before"]
    kernel, bias = logit.get_weights()
    assert kernel.item() == pytest.approx(1, abs=0.06)
    assert bias.item() == pytest.approx(-0.5 + np.log(1 / 7), abs=0.06)
    again = calibration.calibrate(model, patches, np.arange(12))
    assert (again["slope"], again["offset"]) == pytest.approx((1, 0), abs=0.01)
