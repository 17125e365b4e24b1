"""The network: a U-Net (Ronneberger et al. 2015, arXiv 1505.04597) with batch normalisation and variants of it.

For several dates of the same ground, one encoder processes each date, and its features are joined level by level.
"""

import keras
import numpy as np
from keras import layers, ops

DETAIL_FILTERS = 16  # of the full-resolution level that stem 2 adds
ATTENTION_MASKS = 4  # weightings of the dates by attention: a single sum would not show which date a feature is from


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
    """Build a U-Net that takes bands as they are in the files and predicts the probability of landslide.

    Args:
        input_shape: (height, width, bands). 2 ** depth must divide height and width; if they are None, it must divide
            those of every batch.
        base_filters: filters of the first level; each level below has twice as many, up to max_filters.
        depth: number of halvings between the input and the bottom of the U.
        max_filters: filters of a level, at most.
        block: plain, residual or se, see `conv_block`.
        dropout: share of the channels that are dropped at the bottom (spatial dropout).
        multi_scale_logits: add the logits of all levels of the decoder instead of using only the last level's.
        stem: 1: plain. 2: downsample before the U-Net and add a light full-resolution level: a convolution of stride 2
            comes first, the U has one level less, and a last level adds detail of the input. This saves time, because
            most of the work of a U-Net lies in its top level.
        dates: for a series, (positions of each date's bands, positions of the bands without a date); None otherwise.
        fusion: how dates are combined. stack: as one image of all their bands. difference, attention: the same encoder
            processes each date, and its features are joined, see `encode_dates`.
        mean, variance: of each band over the training split, in file units. They become the first layer, so that all
            later stages normalise in the same way. None: the bands are not normalised.

    Returns:
        keras.Model: B x height x width x bands -> B x height x width x 1, float32 in [0, 1].

    Raises:
        ValueError: height or width is not divisible by 2 ** depth.
    """
    height, width, bands = input_shape
    check_divisible(height, width, 2**depth)
    image = keras.Input(input_shape, name="bands")
    # float32 also under mixed precision: bfloat16 holds three digits, too few for 8-bit values or elevations
    x = normalisation(bands, mean, variance)(image)
    normalised = x
    filters = [min(base_filters * 2**level, max_filters) for level in range(depth + 1)]
    depth -= stem - 1  # the stem halves once

    def encode(x):
        """Return the features of each level, from the top to the bottom."""
        if stem == 2:
            x = layers.Conv2D(filters[0], 4, strides=2, padding="same", name="stem")(x)
        features = []
        for level in range(depth):
            x = conv_block(x, filters[level], block, f"down{level}")
            features.append(x)
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        return [*features, conv_block(x, filters[depth], block, "bottom")]

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
    # float32 from here on: the steps between bfloat16 probabilities would distort the threshold search
    logit = layers.Conv2D(1, 1, dtype="float32", name="logit")(x)
    if sides:
        logit = layers.Add(dtype="float32", name="logit_sum")([logit, *sides])
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def encode_dates(x, dates, undated, encode, fusion):
    """Encode each date of a series with the same weights and join the features of each level.

    Args:
        x: B x height x width x bands, with the bands of all dates. dates: positions of each date's bands, in order of
            time.
        undated: positions of the bands without a date (slope, elevation), which are inputs of the encoder at each date.
        encode: function B x height x width x bands -> list of features, one for each level, the bottom last.
        fusion: difference: the features of the later of two dates, and their difference from the earlier (Daudt et al.
            2018, arXiv 1810.08462). attention: ATTENTION_MASKS weightings of the dates at each pixel, computed from the
            bottom level; a 1 x 1 convolution joins the weighted sums of each level (reduced from Garnot & Landrieu
            2021, arXiv 2107.07933).

    Returns:
        list of joined features, one for each level.
    """
    one_date = keras.Input((*x.shape[1:3], len(dates[0]) + len(undated)), name="one_date")
    encoder = keras.Model(one_date, encode(one_date), name="encoder")
    features = [encoder(ops.take(x, [*positions, *undated], axis=-1)) for positions in dates]
    levels = list(zip(*features, strict=True))
    if fusion == "difference":
        return [
            layers.Concatenate(name=f"change{i}")([after, layers.Subtract(name=f"difference{i}")([after, before])])
            for i, (before, after) in enumerate(levels)
        ]
    bottom = layers.Concatenate(name="dates")(levels[-1])
    weights = layers.Conv2D(ATTENTION_MASKS * len(dates), 1, name="attention")(bottom)
    joined = []
    for i, level in enumerate(levels):
        size, filters = level[0].shape[1:3], level[0].shape[3]
        enlarge = layers.UpSampling2D(size[0] // weights.shape[1], interpolation="bilinear", name=f"weights{i}")
        weighting = enlarge(weights)
        weighting = layers.Reshape((*size, ATTENTION_MASKS, len(dates)), name=f"weights{i}_by_date")(weighting)
        weighting = layers.Softmax(name=f"weights{i}_softmax")(weighting)
        stacked = layers.Concatenate(axis=-2, name=f"stacked{i}")(
            [layers.Reshape((*size, 1, filters), name=f"date{i}_{d}")(date) for d, date in enumerate(level)]
        )
        sums = layers.Reshape((*size, ATTENTION_MASKS * filters), name=f"sums{i}")(ops.matmul(weighting, stacked))
        joined.append(layers.Conv2D(filters, 1, name=f"joined{i}")(sums))
    return joined


def conv_block(x, filters, block, name):
    """Apply two 3 x 3 convolutions, each with batch normalisation and ReLU.

    plain: nothing else. residual: the input is added before the last ReLU, through a 1 x 1 convolution if the number
    of channels changes (He et al. 2016, arXiv 1512.03385). se: residual, with the channels of its branch weighted by
    squeeze and excitation (Hu et al. 2018, arXiv 1709.01507).

    Momentum is 0.9: with the default 0.99 and a few dozen steps an epoch, the statistics for validation would lag
    several epochs behind.
    """
    entering = x
    for i in (1, 2):
        # no bias: the next layer, a normalisation, would remove it
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
    """Return the layer that scales each band to mean 0 and variance 1; a constant band is only centred."""
    mean = np.zeros(bands) if mean is None else np.asarray(mean, np.float64)
    variance = np.ones(bands) if variance is None else np.asarray(variance, np.float64)
    variance = np.where(variance > 0, variance, 1.0)
    return layers.Normalization(mean=mean.tolist(), variance=variance.tolist(), dtype="float32", name="normalisation")


def check_divisible(height, width, divisor):
    """Raise ValueError if a height or width (None: unknown) is not a multiple of `divisor`."""
    if any(size is not None and size % divisor for size in (height, width)):
        fitting = " x ".join(str(-(-size // divisor) * divisor) if size else "any" for size in (height, width))
        raise ValueError(
            f"patches of {height} x {width} pixels do not fit: height and width must be divisible by {divisor}; "
            f"pad them to {fitting}, or lower the depth or the stride"
        )
