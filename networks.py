"""The network that the constants of train.py describe: check that it fits the patches, and build it."""

from bands import date_groups
from script import UserError


def check_fit(constants, input_shape, bands):
    """Raise UserError if the network or the augmentation cannot take patches of this shape and these bands.

    Args:
        constants: of train.py, {NAME: value}. input_shape: (height, width, bands). bands: their names.
    """
    height, width, _ = input_shape
    unet = constants["MODEL"] == "unet"
    divisor, smaller = (2 ** constants["DEPTH"], "DEPTH") if unet else (8 * constants["STRIDE"], "STRIDE")
    if height % divisor or width % divisor:
        raise UserError(
            f"patches of {height} x {width} pixels are not divisible by {divisor}: lower {smaller} or pad them"
        )
    if "dihedral" in constants["AUGMENT"] and height != width:
        raise UserError(f"dihedral needs square patches, not {height} x {width}: use --augment flips affine")
    fusion = constants["FUSION"]
    if fusion == "stack":
        return
    try:
        dates, _ = date_groups(bands)
    except ValueError as error:
        raise UserError(f"BANDS: {error}") from None
    if not unet or len(dates) < 2 or (fusion == "difference" and len(dates) > 2):
        fitting = "two dates" if fusion == "difference" else "two dates or more"
        raise UserError(
            f"FUSION {fusion} needs the unet and series of {fitting}; "
            f"here MODEL is {constants['MODEL']} and the number of dates is {len(dates)}"
        )


def build_network(constants, config):
    """Build the network from Keras's own layers, not compiled.

    Args:
        constants: of train.py, {NAME: value}.
        config: of the run; only input_shape, bands, band_mean and band_variance are used.
    """
    statistics = {"mean": config["band_mean"], "variance": config["band_variance"]}
    if constants["MODEL"] == "segformer":
        from segformer import build_segformer

        return build_segformer(config["input_shape"], constants["STRIDE"], constants["DROPOUT"], **statistics)
    from unet import build_unet

    return build_unet(
        config["input_shape"],
        base_filters=constants["BASE_FILTERS"],
        depth=constants["DEPTH"],
        max_filters=constants["MAX_FILTERS"],
        block=constants["CONV_BLOCK"],
        dropout=constants["DROPOUT"],
        multi_scale_logits=constants["MULTI_SCALE_LOGITS"],
        stem=constants["STEM"],
        dates=None if constants["FUSION"] == "stack" else date_groups(config["bands"]),
        fusion=constants["FUSION"],
        **statistics,
    )
