"""Which sizes of images the network of a run takes."""


def has_fixed_size(constants):
    """Return whether the network of a run takes images of one size only, that of its patches."""
    return constants.get("MODEL") == "segformer" or constants.get("FUSION") == "attention"


def total_stride(constants, input_shape):
    """Return the number of pixels that must divide the sides of an image for the network of a run.

    For a network of fixed size, or one whose constants are unknown, this is the side of its patches.
    """
    if has_fixed_size(constants) or constants.get("MODEL") != "unet" or "DEPTH" not in constants:
        return max(input_shape[:2])
    return 32 if constants.get("ENCODER") else 2 ** constants["DEPTH"]


def padded_size(constants, input_shape, size):
    """Return the least (height, width) that the network of a run takes and that holds an image of a size.

    constants: of train.py. input_shape: (height, width, bands) of the patches of the training, which may be smaller or
    larger than the image.
    """
    if has_fixed_size(constants):
        return tuple(input_shape[:2])
    stride = total_stride(constants, input_shape)
    return tuple(-(-side // stride) * stride for side in size)
