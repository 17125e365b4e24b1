"""The transformer: SegFormer (Xie et al. 2021, arXiv 2105.15203), a hierarchical encoder with an all-MLP decoder.

It uses only Keras's own layers, so a stored model loads without this module. The constants are those of the smallest
variant, B0. Only the first and the last convolution depend on the number of bands and classes.
"""

import keras
from keras import layers

from unet import check_divisible, normalisation

FILTERS = (32, 64, 160, 256)  # of each stage
BLOCKS = (2, 2, 2, 2)  # transformer blocks
HEADS = (1, 2, 5, 8)  # of the attention
REDUCTION = (8, 4, 2, 1)  # of rows and columns before keys and values, to make attention affordable on large images
DECODER_FILTERS = 256


def build_segformer(
    input_shape=(128, 128, 14), stride=4, dropout=0.1, drop_path=0.1, mean=None, variance=None, name="segformer"
):
    """Build a SegFormer B0 that takes bands as they are in the files and predicts the probability of landslide.

    Args:
        input_shape: (height, width, bands), none of them None; `divisor(stride)` must divide height and width.
        stride: of the first stage; each later stage halves the resolution. 4 is the paper's; 2 separates small
            landslides better, at four times the work.
        dropout: share of the channels dropped before the last layer.
        drop_path: share of the patches for which the branches of the last block are skipped; it rises linearly from 0
            at the first block (stochastic depth, Huang et al. 2016, arXiv 1603.09382).
        mean, variance: as in `unet.build_unet`.

    Returns:
        keras.Model: B x height x width x bands -> B x height x width x 1, float32 in [0, 1].

    Raises:
        ValueError: height or width is not divisible by `divisor(stride)`.
    """
    height, width, bands = input_shape
    check_divisible(height, width, divisor(stride))
    image = keras.Input(input_shape, name="bands")
    x = normalisation(bands, mean, variance)(image)
    stages, blocks_before = [], 0
    for stage, filters in enumerate(FILTERS):
        kernel, step = (7, stride) if stage == 0 else (3, 2)
        x = layers.Conv2D(filters, kernel, strides=step, padding="same", name=f"stage{stage}_patches")(x)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"stage{stage}_patches_norm")(x)
        for block in range(BLOCKS[stage]):
            rate = drop_path * blocks_before / (sum(BLOCKS) - 1)
            x = transformer_block(x, HEADS[stage], REDUCTION[stage], rate, f"stage{stage}_block{block}")
            blocks_before += 1
        x = layers.LayerNormalization(epsilon=1e-6, name=f"stage{stage}_norm")(x)
        stages.append(x)

    levels = []
    for stage, x in enumerate(stages):
        x = layers.Dense(DECODER_FILTERS, name=f"decoder{stage}")(x)
        if stage:
            x = layers.UpSampling2D(2**stage, interpolation="bilinear", name=f"decoder{stage}_resize")(x)
        levels.append(x)
    x = layers.Concatenate(name="decoder")(levels)
    x = layers.Conv2D(DECODER_FILTERS, 1, use_bias=False, kernel_initializer="he_normal", name="fuse")(x)
    x = layers.BatchNormalization(momentum=0.9, name="fuse_norm")(x)
    x = layers.Activation("relu", name="fuse_relu")(x)
    x = layers.SpatialDropout2D(dropout, name="fuse_dropout")(x)
    # float32 from here on, as in the U-Net
    logit = layers.Conv2D(1, 1, dtype="float32", name="logit")(x)
    logit = layers.UpSampling2D(stride, interpolation="bilinear", dtype="float32", name="logit_resize")(logit)
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
    return keras.Model(image, probability, name=name)


def divisor(stride):
    """Return the number that must divide height and width: three more stages halve the resolution of the first."""
    return 8 * stride


def transformer_block(x, heads, reduction, drop_path, name):
    """Apply attention over the whole patch, then a mix-FFN: two dense layers around a 3 x 3 depthwise convolution.

    The convolution replaces position codes. Each branch is added to its input; with probability `drop_path` it is
    skipped for a patch. x: B x h x w x filters; the result has the same shape.
    """
    height, width, filters = x.shape[1:]

    def added(x, branch, part):
        if drop_path:
            branch = layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1), name=f"{name}_{part}_path")(branch)
        return layers.Add(name=f"{name}_{part}_sum")([x, branch])

    query = keys = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    if reduction > 1:
        keys = layers.Conv2D(filters, reduction, strides=reduction, padding="same", name=f"{name}_reduce")(keys)
        keys = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_reduce_norm")(keys)
    query = layers.Reshape((-1, filters), name=f"{name}_queries")(query)
    keys = layers.Reshape((-1, filters), name=f"{name}_keys")(keys)
    branch = layers.MultiHeadAttention(heads, filters // heads, name=f"{name}_attention")(query, keys)
    branch = layers.Reshape((height, width, filters), name=f"{name}_attended")(branch)
    x = added(x, branch, "attention")

    branch = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    branch = layers.Dense(4 * filters, name=f"{name}_widen")(branch)
    branch = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_neighbours")(branch)
    branch = layers.Activation("gelu", name=f"{name}_gelu")(branch)
    branch = layers.Dense(filters, name=f"{name}_narrow")(branch)
    return added(x, branch, "ffn")
