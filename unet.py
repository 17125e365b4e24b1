"""The network: a U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with batch normalisation and variants of it."""

import keras
import numpy as np
from keras import layers

from fusion import encode_dates

DETAIL_FILTERS = 16  # of the level at full resolution where the stem halves


def build_unet(
    input_shape=(128, 128, 14),
    base_filters=48,
    depth=4,
    max_filters=192,
    block="residual",
    dropout=0.0,
    multi_scale_logits=False,
    stem=2,
    dates=None,
    fusion="stack",
    mean=None,
    variance=None,
    name="unet",
):
    """Build a U-Net that takes bands as they are in the files and gives the probability of landslide.

    Args:
        input_shape: (height, width, bands). Height and width must be divisible by 2 ** depth; None leaves them
            open, and then every batch fed must be divisible so.
        base_filters: filters of the first level; each level below has twice as many, up to max_filters.
        depth: number of halvings between the input and the bottom of the U.
        max_filters: filters of a level, at most.
        block: plain, residual or se, see `conv_block`.
        dropout: share of the channels that are dropped at the bottom (spatial dropout).
        multi_scale_logits: add the logits of all levels of the decoder instead of using the last one's alone.
        stem: 1: all levels alike. 2: a convolution of stride 2 comes first, so that the U works at half the
            resolution, with one level less; a light level at the end joins its answer with detail of the input. Most
            of the work of a U-Net lies in its top level, where it has the fewest filters.
        dates: of a series, (positions of each date's bands, positions of the bands without a date).
        fusion: how dates come together: stack: as one image of all their bands. difference, attention: each date goes
            through the same encoder, and what it gives is joined, see `fusion.encode_dates`.
        mean, variance: each band's mean and variance over the training split, in file units. They become the
            first layer, so that no later stage can normalise otherwise. None leaves the bands as they are.

    Returns:
        keras.Model: B x height x width x bands -> B x height x width x 1, float32 in [0, 1].

    Raises:
        ValueError: for a height or width that 2 ** depth does not divide.
    """
    height, width, bands = input_shape
    check_divisible(height, width, 2**depth)
    image = keras.Input(input_shape, name="bands")
    # float32 also under mixed precision: bfloat16 holds three digits, too few for 8-bit values or elevations
    x = normalisation(bands, mean, variance)(image)
    normalised = x
    filters = [min(base_filters * 2**level, max_filters) for level in range(depth + 1)]
    depth -= stem - 1  # the stem's halving is one of them

    def encode(x):
        """What each level gives, from the top to the bottom."""
        if stem == 2:
            x = layers.Conv2D(filters[0], 4, strides=2, padding="same", name="stem")(x)
        given = []
        for level in range(depth):
            x = conv_block(x, filters[level], block, f"down{level}")
            given.append(x)
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        return [*given, conv_block(x, filters[depth], block, "bottom")]

    *skips, x = encode(x) if fusion == "stack" else encode_dates(x, *dates, encode, fusion)
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="bottom_dropout")(x)
    sides = []
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(filters[level], 2, strides=2, name=f"up{level}_resize")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level], x])
        x = conv_block(x, filters[level], block, f"up{level}")
        if multi_scale_logits and level:
            side = layers.Conv2D(1, 1, name=f"up{level}_logit", dtype="float32")(x)
            side = layers.UpSampling2D(
                2 ** (level + stem - 1), interpolation="bilinear", dtype="float32", name=f"up{level}_side"
            )(side)
            sides.append(side)

    if stem == 2:
        x = layers.Conv2DTranspose(DETAIL_FILTERS, 2, strides=2, name="full_resize")(x)
        detail = layers.Conv2D(DETAIL_FILTERS, 3, padding="same", name="full_detail")(normalised)
        x = layers.Concatenate(name="full_skip")([detail, x])
        x = conv_block(x, DETAIL_FILTERS, "plain", "full")
    # float32 from here: bfloat16 would leave probabilities in steps that a threshold search runs into
    logit = layers.Conv2D(1, 1, dtype="float32", name="logit")(x)
    if sides:
        logit = layers.Add(dtype="float32", name="logit_sum")([logit, *sides])
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def conv_block(x, filters, block, name):
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU.

    plain: no more than that. residual: the input, through a 1 x 1 convolution where the number of channels changes,
    is added before the last ReLU (He et al. 2016, arXiv 1512.03385). se: residual, its branch weighted channel by
    channel by squeeze and excitation (Hu et al. 2018, arXiv 1709.01507).

    Momentum 0.9: at a few dozen steps an epoch, the usual 0.99 would leave validation behind for several epochs.
    """
    entering = x
    for i in (1, 2):
        # the bias would be taken out again by the normalisation that follows
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv{i}"
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm{i}")(x)
        if i == 2 and block == "se":
            weight = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_squeeze")(x)
            weight = layers.Conv2D(max(filters // 8, 4), 1, activation="relu", name=f"{name}_excite1")(weight)
            weight = layers.Conv2D(filters, 1, activation="sigmoid", name=f"{name}_excite2")(weight)
            x = layers.Multiply(name=f"{name}_excited")([x, weight])
        if i == 2 and block != "plain":
            if entering.shape[-1] != filters:
                entering = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(entering)
            x = layers.Add(name=f"{name}_sum")([x, entering])
        x = layers.Activation("relu", name=f"{name}_relu{i}")(x)
    return x


def normalisation(bands, mean=None, variance=None):
    """Layer that takes each band to mean 0 and variance 1; a band that never varies is only centred."""
    mean = np.zeros(bands) if mean is None else np.asarray(mean, np.float64)
    variance = np.ones(bands) if variance is None else np.asarray(variance, np.float64)
    variance = np.where(variance > 0, variance, 1.0)
    return layers.Normalization(mean=mean.tolist(), variance=variance.tolist(), dtype="float32", name="normalisation")


def check_divisible(height, width, divisor):
    """Raise ValueError where a given height or width (None: not given) is no multiple of `divisor`."""
    if any(size is not None and size % divisor for size in (height, width)):
        fitting = " x ".join(str(-(-size // divisor) * divisor) if size else "any" for size in (height, width))
        raise ValueError(
            f"patches of {height} x {width} pixels do not fit: height and width must be divisible by {divisor} "
            f"(2 ** depth); pad them to {fitting}, or build the network less deep"
        )
