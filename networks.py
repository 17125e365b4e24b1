"""The network that the constants of train.py describe: check that it fits the patches, build and compile it."""

from bands import date_groups, optical_bands
from devices import hardware_has_bfloat16, import_keras
from model_files import all_layers
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
    if encoder != "none":
        divisor, hint = 32 // constants["ENLARGE"], ""
        if not unet or constants["FUSION"] != "stack":
            raise UserError(f"ENCODER {encoder} goes with MODEL unet and FUSION stack only")
    if constants["START_FROM"]:
        hint = ""  # the network is that of another run
    if height % divisor or width % divisor:
        raise UserError(f"patches of {height} x {width} pixels are not divisible by {divisor}: {hint}pad them")
    if constants["FREEZE"] == "encoder" and encoder == "none":
        raise UserError("FREEZE encoder is for networks with a pre-trained encoder, and ENCODER is none")
    if "dihedral" in constants["AUGMENT"] and height != width:
        raise UserError(f"dihedral needs square patches, not {height} x {width}: use --augment flips affine")
    if "compression" in constants["AUGMENT"] and len(optical_bands(bands)) != 3:
        raise UserError("AUGMENT compression is for pictures: it needs three bands of light")
    if encoder != "none":
        import_keras()
        from encoders import check_encoder

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
            f"here MODEL is {constants['MODEL']} and the number of dates is {len(dates)}"
        )


def build_network(constants, config):
    """Build the network from Keras's own layers, not compiled.

    Args:
        constants: of train.py, {NAME: value}.
        config: of the run; only input_shape, bands, band_mean and band_variance are used. A run that started from
            another normalises as that one, and has these statistics in `start`.
    """
    known = config.get("start") or config
    statistics = {"mean": known["band_mean"], "variance": known["band_variance"]}
    if constants["MODEL"] == "segformer":
        from segformer import build_segformer

        return build_segformer(config["input_shape"], constants["STRIDE"], constants["DROPOUT"], **statistics)
    if constants["ENCODER"] != "none":
        from encoders import build_encoder_unet

        return build_encoder_unet(
            config["input_shape"],
            config["bands"],
            encoder=constants["ENCODER"],
            enlarge=constants["ENLARGE"],
            dropout=constants["DROPOUT"],
            **statistics,
        )
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


def has_fixed_size(constants):
    """Return whether the network of a run takes only images of the size of its patches."""
    return constants.get("MODEL") == "segformer" or constants.get("FUSION") == "attention"


def total_stride(constants, input_shape):
    """Return the number of pixels of which the sides of an image must be multiples, for the network of a run.

    Of a network of fixed size, or whose constants are unknown, this is the side of its patches.
    """
    if has_fixed_size(constants) or constants.get("MODEL") != "unet" or "DEPTH" not in constants:
        return max(input_shape[:2])
    return 32 if constants["ENCODER"] != "none" else 2 ** constants["DEPTH"]


def band_layers(constants):
    """Return {name: number of other channels behind the bands} of the convolutions that the bands enter unmixed."""
    if constants["MODEL"] == "segformer":
        return {"stage0_patches": 0}
    if constants["ENCODER"] != "none":
        from encoders import DECODER_FILTERS, LITE0

        enlarge = constants["ENLARGE"]
        first = "stem_conv" if constants["ENCODER"] == LITE0 else "as_imagenet"
        return {first: 0, f"up{enlarge}_conv1": DECODER_FILTERS[enlarge]}
    names = ("stem", "full_detail") if constants["STEM"] == 2 else ("down0_conv1", "down0_shortcut")
    return dict.fromkeys(names, 0)


def compile_network(model, constants, steps, keep_statistics=False):
    """Compile a network with the loss, metrics and optimizer of train.py.

    Args:
        model: the network. constants: of train.py, {NAME: value}. steps: batches in an epoch.
        keep_statistics: leave batch normalisation as it is, statistics and weights. That is for fine-tuning: batches of
            a few patches have other statistics than the ground, and the running means of a short training lag behind.
    """
    import keras

    from losses import BCEDice
    from optimizer import ScaledAdamW
    from training_metrics import PooledDice, PooledIoU

    if constants["FREEZE"] == "encoder":
        model.get_layer("encoder").trainable = False
    if keep_statistics:
        for layer in all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
    rate, total = constants["LEARNING_RATE"], constants["EPOCHS"] * steps
    warmup = min(round(constants["WARMUP_EPOCHS"] * steps), total - 1)
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=rate / max(warmup, 1),
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=total - warmup,
    )
    encoder = model.get_layer("encoder").trainable_variables if constants["ENCODER"] != "none" else []
    factors = {variable.path: constants["ENCODER_RATE"] for variable in encoder}
    optimizer = ScaledAdamW(schedule, weight_decay=constants["WEIGHT_DECAY"], factors=factors)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer=optimizer,
        loss=BCEDice.of_constants(constants),
        metrics=[PooledDice(name="dice"), PooledIoU(name="iou")],
    )
    optimizer.build(model.trainable_variables)  # if built in the first step, TensorFlow traces that step twice


def smaller_network(constants):
    """Return a hint to use a smaller U-Net on a processor without bfloat16, or "" where it does not apply."""
    large = constants["MODEL"] == "unet" and constants["ENCODER"] == "none" and constants["BASE_FILTERS"] > 24
    if not large or hardware_has_bfloat16():
        return ""
    return (
        "this processor has no bfloat16: --base-filters 24 --max-filters 96 --epochs 60 takes a fifth of the time, "
        "with a test Dice of 0.709 instead of 0.725 on the RGB subset (docs/training.md)"
    )
