"""Temperature scaling against a known temperature and scikit-learn, and on a model."""

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import calibration
import dataset


@pytest.fixture
def forecast():
    """Logits three times as extreme as they should be, and what came."""
    rng = np.random.default_rng(0)
    honest = rng.normal(-2, 2, 200_000)
    came = rng.random(honest.shape) < 1 / (1 + np.exp(-honest))
    return (3 * honest).astype(np.float32), came


def test_a_known_temperature_is_found(forecast):
    logits, came = forecast
    temperature = calibration.best_temperature(logits, came)
    assert temperature == pytest.approx(3, rel=0.02)
    fitted = LogisticRegression(fit_intercept=False, C=1e9).fit(logits[:, None], came)
    assert 1 / temperature == pytest.approx(fitted.coef_[0, 0], rel=1e-2)


def test_cross_entropy_agrees_with_scikit_learn_also_of_extremes(forecast):
    logits, came = forecast
    expected = log_loss(came, 1 / (1 + np.exp(-logits.astype(float) / 3)))
    assert calibration.cross_entropy(logits, came, 3.0) == pytest.approx(expected, rel=1e-4)
    assert calibration.cross_entropy(np.float32([1000, -1000]), np.array([True, True]), 1.0) == pytest.approx(500)


def test_a_model_is_scaled_in_place_and_once(flat, tmp_path):
    patches = dataset.open_patches(flat, tmp_path / "cache")
    image = keras.Input((32, 32, 14))
    logit = keras.layers.Conv2D(1, 1, name="logit")(image)
    model = keras.Model(image, keras.layers.Activation("sigmoid")(logit))
    kernel = np.full((1, 1, 14, 1), 1.0, np.float32)
    model.get_layer("logit").set_weights([kernel, np.float32([-15])])  # bands are about 1, 2.5 in a landslide
    indices = np.arange(20)
    before = model.predict_on_batch(patches.read(indices))
    temperature, worse, better = calibration.calibrate(model, patches, indices)
    assert abs(temperature - 1) > 0.1 and better < worse
    after = model.predict_on_batch(patches.read(indices))
    np.testing.assert_array_equal(after > 0.5, before > 0.5)
    assert calibration.calibrate(model, patches, indices)[0] == pytest.approx(1, abs=1e-3)
