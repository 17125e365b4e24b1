"""Checks of a network by the constants of train.py, before Keras is imported: whether it fits the patches."""

from bands import date_groups, optical_bands
from networks.keras_start import hardware_has_bfloat16, has_gpu, import_keras
from script import UserError

# Constants that decide which weights a network has.
SHAPE = tuple(
    "MODEL ENCODER ENLARGE BASE_FILTERS MAX_FILTERS DEPTH STEM CONV_BLOCK FUSION STRIDE MULTI_SCALE_LOGITS".split()
)


def check_fit(constants, input_shape, bands):
    """Raise UserError if the network or the augmentation cannot take patches of this shape and these bands.

    Args:
        constants: of train.py, {NAME: value}. input_shape: (height, width, bands). bands: their names.
    """
    height, width, _ = input_shape
    unet, encoder = constants["MODEL"] == "unet", constants["ENCODER"]
    divisor, hint = 2 ** constants["DEPTH"], "lower DEPTH or "
    if not unet:
        divisor, hint = 8 * constants["STRIDE"], "lower STRIDE or "
    if encoder:
        divisor, hint = 32 // constants["ENLARGE"], ""
        if not unet or constants["FUSION"] != "stack":
            raise UserError(f"ENCODER {encoder} goes with MODEL unet and FUSION stack only")
    if constants["START_FROM"]:
        hint = ""  # another run decides the network
    if height % divisor or width % divisor:
        below, above = (step * divisor for step in (min(height, width) // divisor, -(-min(height, width) // divisor)))
        sizes = f"{below} or {above}" if below else f"{above}"
        raise UserError(
            f"patches of {height} x {width} pixels are not divisible by {divisor}: {hint}cut or mirror them, "
            f"--patch-size {sizes}"
        )
    if constants["FREEZE"] == "encoder" and not encoder:
        raise UserError("FREEZE encoder is for networks with a pre-trained encoder, and ENCODER is none")
    if "dihedral" in constants["AUGMENT"] and height != width:
        raise UserError(f"dihedral needs square patches, not {height} x {width}: use --augment flips affine")
    if "compression" in constants["AUGMENT"] and len(optical_bands(bands)) != 3:
        raise UserError("AUGMENT compression is for pictures: it needs three bands of light")
    if encoder:
        import_keras()
        from networks.encoders import check_encoder

        check_encoder(encoder, height * constants["ENLARGE"], width * constants["ENLARGE"])
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
            f"MODEL is {constants['MODEL']} and the number of dates is {len(dates)}"
        )


def smaller_network(constants):
    """Return a hint to use a smaller U-Net on a CPU without bfloat16, or "" where it does not apply."""
    large = constants["MODEL"] == "unet" and not constants["ENCODER"] and constants["BASE_FILTERS"] > 24
    if not large or has_gpu() or hardware_has_bfloat16():
        return ""
    return (
        "this processor has no bfloat16: --base-filters 24 --max-filters 96 --epochs 60 takes a fifth of the time, "
        "with a test Dice of 0.709 instead of 0.725 on the RGB subset (docs/training.md)"
    )
