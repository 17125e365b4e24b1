"""Fusion of several dates of one place: one shared encoder, whose features of each date are joined level by level."""

import keras
from keras import layers, ops

MASKS = 4  # attention weightings of the dates: one sum alone would lose which date a feature comes from


def encode_dates(x, dates, undated, encode, fusion):
    """Encode each date of a series with the same weights and join the features of each level.

    Args:
        x: B x height x width x bands, with the bands of all dates. dates: positions of each date's bands, in order of
            time.
        undated: positions of the bands without a date (slope, elevation), given to the encoder with each date.
        encode: function B x height x width x bands -> list of features, one for each level, the bottom last.
        fusion: difference: the features of the later of two dates, and their difference from the earlier (Daudt et al.
            2018, arXiv 1810.08462). attention: the bottom gives MASKS weightings of the dates at each pixel; a 1 x 1
            convolution joins the weighted sums of each level (Garnot & Landrieu 2021, arXiv 2107.07933, reduced).

    Returns:
        list of joined features, one for each level.
    """
    one_date = keras.Input((*x.shape[1:3], len(dates[0]) + len(undated)), name="one_date")
    encoder = keras.Model(one_date, encode(one_date), name="encoder")
    given = [encoder(ops.take(x, [*positions, *undated], axis=-1)) for positions in dates]
    levels = list(zip(*given, strict=True))
    if fusion == "difference":
        return [
            layers.Concatenate(name=f"change{i}")([after, layers.Subtract(name=f"difference{i}")([after, before])])
            for i, (before, after) in enumerate(levels)
        ]
    weights = layers.Conv2D(MASKS * len(dates), 1, name="attention")(layers.Concatenate(name="dates")(levels[-1]))
    joined = []
    for i, level in enumerate(levels):
        size, filters = level[0].shape[1:3], level[0].shape[3]
        here = layers.UpSampling2D(size[0] // weights.shape[1], interpolation="bilinear", name=f"weights{i}")(weights)
        here = layers.Reshape((*size, MASKS, len(dates)), name=f"weights{i}_by_date")(here)
        here = layers.Softmax(name=f"weights{i}_softmax")(here)
        stacked = layers.Concatenate(axis=-2, name=f"stacked{i}")(
            [layers.Reshape((*size, 1, filters), name=f"date{i}_{d}")(date) for d, date in enumerate(level)]
        )
        sums = layers.Reshape((*size, MASKS * filters), name=f"sums{i}")(ops.matmul(here, stacked))
        joined.append(layers.Conv2D(filters, 1, name=f"joined{i}")(sums))
    return joined
