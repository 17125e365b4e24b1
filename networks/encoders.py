"""Encoders with ImageNet weights, and a U-Net over such an encoder.

EfficientNet-Lite0 (Tan & Le 2019, arXiv 1905.11946, with ReLU6 for swish and without squeeze and excitation) comes with
the project: pretrained/README.md. A network of keras.applications is chosen by its name; Keras downloads its weights on
first use.
"""

import functools
import sys
from pathlib import Path

import keras
import numpy as np
from keras import layers

from bands import true_colour
from script import UserError
from unet import check_divisible, conv_block, normalisation

LITE0 = "efficientnet_lite0"
LITE0_WEIGHTS = Path(__file__).parent.parent / "pretrained" / "efficientnet_lite0.npz"
LITE0_STAGES = (  # blocks, kernel size, stride of the first block, expansion, filters
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Mean and standard deviation of red, green and blue in ImageNet, for values of 0 to 255 (torchvision's figures).
IMAGENET_MEAN, IMAGENET_SD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
STRIDES = (2, 4, 8, 16, 32)  # of the feature maps that the decoder uses, in pixels of the enlarged patch
DECODER_FILTERS = {16: 128, 8: 96, 4: 64, 2: 32, 1: 16}  # of the decoder's level at each stride


def build_encoder_unet(
    input_shape, bands, encoder=LITE0, enlarge=2, dropout=0.0, mean=None, variance=None, name="encoder_unet"
):
    """Build a U-Net over a pre-trained encoder, which takes bands as they are in the files.

    The patch is enlarged (bilinear), because networks for ImageNet halve it at once and are made for objects of many
    pixels. The last level of the decoder has the grid of the patch, and the normalised patch is one of its inputs.

    Args:
        input_shape: (height, width, bands). 32 must divide enlarge times height and width; they may be None.
        bands: names of the bands. Red, green and blue (`true_colour`) get the kernels of the encoder, all other bands
            start with kernels of zero.
        encoder: efficientnet_lite0, or a name in keras.applications.
        enlarge: 1 or 2.
        dropout: share of the channels that are dropped at the bottom (spatial dropout).
        mean, variance: see `unet.build_unet`. They bring each band to the mean and variance of ImageNet.

    Returns:
        keras.Model: B x height x width x bands -> B x height x width x 1, float32 in [0, 1]. Its layer "encoder" holds
        the pre-trained weights.

    Raises:
        ValueError: height or width is not divisible.
        UserError: the encoder is unknown, has no maps that the decoder can use, or cannot be downloaded.
    """
    height, width, count = input_shape
    check_divisible(height, width, 32 // enlarge)
    image = keras.Input(input_shape, name="bands")
    normalised = normalisation(count, mean, variance)(image)
    x = normalised
    if enlarge > 1:
        x = layers.UpSampling2D(enlarge, interpolation="bilinear", dtype="float32", name="enlarge")(x)
    enlarged = tuple(size and size * enlarge for size in (height, width))
    build = lite0_encoder if encoder == LITE0 else functools.partial(application_encoder, encoder)
    maps = build((*enlarged, count), true_colour(bands))(x)
    *skips, x = maps
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="bottom_dropout")(x)
    for stride in [stride for stride in DECODER_FILTERS if stride >= enlarge]:
        filters, level = DECODER_FILTERS[stride], f"up{stride}"
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"{level}_resize")(x)
        inputs = [skips[STRIDES.index(stride)]] if stride > 1 else []
        inputs += [normalised] if stride == enlarge else []
        x = layers.Concatenate(name=f"{level}_skip")([*inputs, x])
        x = conv_block(x, filters, "plain", level)
    logit = layers.Conv2D(1, 1, dtype="float32", name="logit")(x)
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def check_encoder(name, height, width):
    """Raise UserError if an encoder is unknown, cannot be downloaded, or has no maps that the decoder can use.

    It builds the network to find out, and discards it: its layers have the current precision, not that of the run.
    """
    if name != LITE0:
        application_encoder(name, (height, width, 3), (0, 1, 2))


# ---------------------------------------------------------------------- EfficientNet-Lite0


def lite0_encoder(input_shape, colours):
    """Build EfficientNet-Lite0 with its ImageNet weights: normalised bands -> feature maps at all STRIDES.

    colours: positions of red, green and blue among the bands.
    """
    bands = input_shape[-1]
    scale, offset = np.full(bands, IMAGENET_SD.mean() / 128), np.zeros(bands)
    for band, mean, sd in zip(colours, IMAGENET_MEAN, IMAGENET_SD, strict=True):
        scale[band], offset[band] = sd / 128, (mean - 127) / 128  # Lite0 was trained on (x - 127) / 128
    image = keras.Input(input_shape, name="normalised_bands")
    x = layers.Rescaling(scale.tolist(), offset.tolist(), dtype="float32", name="as_imagenet")(image)
    model = keras.Model(image, lite0_maps(x), name="encoder")
    load_lite0(model, colours)
    return model


def lite0_maps(x):
    """Apply the stem and the stages of EfficientNet-Lite0; return the last feature map of each stride in STRIDES."""
    x = _conv_norm(x, "stem", layers.Conv2D(32, 3, strides=2, padding="same", use_bias=False, name="stem_conv"))
    maps, number = [], 0
    for blocks, kernel, first_stride, expansion, filters in LITE0_STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            if stride == 2:
                maps.append(x)
            x = _inverted_residual(x, f"block{number}", kernel, stride, expansion, filters)
            number += 1
    return [*maps, x]


def _inverted_residual(x, name, kernel, stride, expansion, filters):
    """Expand the channels, convolve each one alone and project (Sandler et al. 2018, arXiv 1801.04381)."""
    entering, channels = x, x.shape[-1]
    if expansion > 1:
        wide = layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand_conv")
        x = _conv_norm(x, f"{name}_expand", wide)
    # float32: on a CPU, TensorFlow's gradient of this convolution takes up to four times as long in bfloat16
    each = layers.DepthwiseConv2D(
        kernel, strides=stride, padding="same", use_bias=False, dtype="float32", name=f"{name}_depthwise_conv"
    )
    x = _conv_norm(x, f"{name}_depthwise", each)
    narrow = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")
    x = _conv_norm(x, f"{name}_project", narrow, relu=False)
    return layers.Add(name=f"{name}_sum")([entering, x]) if stride == 1 and channels == filters else x


def _conv_norm(x, name, convolution, relu=True):
    """Apply a convolution, batch normalisation and, with `relu`, ReLU6."""
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_norm")(convolution(x))
    return layers.Activation("relu6", name=f"{name}_relu")(x) if relu else x


def load_lite0(model, colours=(0, 1, 2)):
    """Load the ImageNet weights into the layers of Lite0, the stem's kernels into the bands at `colours`."""
    with np.load(LITE0_WEIGHTS) as stored:
        for layer in model.layers:
            values = [stored[f"{layer.name}/{variable.name}"].astype(np.float32) for variable in layer.weights]
            if layer.name == "stem_conv":
                kernel = np.zeros(layer.kernel.shape, np.float32)
                for colour, band in enumerate(colours):
                    kernel[:, :, band] += values[0][:, :, colour]
                values = [kernel]
            layer.set_weights(values)


# ---------------------------------------------------------------------- keras.applications


def application_encoder(name, input_shape, colours):
    """Build a network of keras.applications with its ImageNet weights: normalised bands -> maps at all STRIDES.

    A 1 x 1 convolution comes first. It starts as the map from normalised red, green and blue to the values that the
    network was trained on. So a network for three bands takes any number of them.
    """
    application = find_application(name)
    image = keras.Input(input_shape, name="normalised_bands")
    preprocess = sys.modules[application.__module__].preprocess_input
    shift = np.asarray(preprocess(np.zeros((1, 1, 3), np.float32)))[0, 0]
    matrix = np.asarray(preprocess(np.eye(3, dtype=np.float32)[None]))[0] - shift  # it scales and may swap channels
    kernel = np.zeros((1, 1, input_shape[-1], 3), np.float32)
    for colour, band in enumerate(colours):
        kernel[0, 0, band] += IMAGENET_SD[colour] * matrix[colour]
    as_imagenet = layers.Conv2D(3, 1, dtype="float32", name="as_imagenet")
    rgb = as_imagenet(image)
    as_imagenet.set_weights([kernel, IMAGENET_MEAN @ matrix + shift])
    base = fetched(name, application, (*input_shape[:2], 3))
    return keras.Model(image, feature_maps(base)(rgb), name="encoder")


def find_application(name):
    """Return the function of keras.applications that builds a network, or raise UserError that lists them."""
    names = [each for each in dir(keras.applications) if each[0].isupper()]
    if name not in names:
        listed = ", ".join(names)
        raise UserError(f"--encoder {name} is not known: use none, {LITE0} or one of keras.applications: {listed}")
    return getattr(keras.applications, name)


def fetched(name, application, shape):
    """Build a network of keras.applications with ImageNet weights, which Keras downloads on first use."""
    try:
        return application(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # Keras raises whatever the download raises
        raise UserError(
            f"--encoder {name}: Keras could not build it with its ImageNet weights "
            f"({str(error).strip().splitlines()[0]}); connect to the internet once, or use {LITE0}"
        ) from None


def feature_maps(base):
    """Cut a network to a model of its last feature map at each of STRIDES; raise UserError if one is missing."""
    height = base.input.shape[1]
    last = {}
    for layer in base.layers:
        shape = getattr(layer.output, "shape", ())
        if len(shape) == 4 and shape[1] and height % shape[1] == 0:
            last[height // shape[1]] = layer.output
    missing = [str(stride) for stride in STRIDES if stride not in last]
    if missing:
        raise UserError(f"encoder {base.name} has no feature map at stride {', '.join(missing)}: choose another")
    return keras.Model(base.input, [last[stride] for stride in STRIDES], name=base.name)
