"""Build the network that the constants of train.py describe."""

from bands import date_groups
from networks.encoders import DECODER_FILTERS, LITE0, build_encoder_unet
from networks.segformer import build_segformer
from patches.pixel_sizes import network_bands
from unet import build_unet


def build_network(constants, config):
    """Build the network from Keras's own layers, not compiled.

    Args:
        constants: of train.py, {NAME: value}.
        config: of the run; only input_shape, bands, band_mean, band_variance and pixel_size_input are used. A run that
            started from another normalises in the same way; `start` holds the statistics for this.
    """
    normalised_by = config.get("start") or config
    bands = network_bands(config)
    untouched = len(bands) - len(config["bands"])  # the plane of the pixel size is normalised by construction
    statistics = {
        "mean": [*normalised_by["band_mean"], *[0.0] * untouched],
        "variance": [*normalised_by["band_variance"], *[1.0] * untouched],
    }
    input_shape = (*config["input_shape"][:2], len(bands))
    if constants["MODEL"] == "segformer":
        return build_segformer(input_shape, constants["STRIDE"], constants["DROPOUT"], **statistics)
    if constants["ENCODER"]:
        return build_encoder_unet(
            input_shape,
            bands,
            encoder=constants["ENCODER"],
            enlarge=constants["ENLARGE"],
            dropout=constants["DROPOUT"],
            **statistics,
        )
    return build_unet(
        input_shape,
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


def band_layers(constants):
    """Return {name: number of channels after those of the bands} of the convolutions whose input holds the bands."""
    if constants["MODEL"] == "segformer":
        return {"stage0_patches": 0}
    if constants["ENCODER"]:
        enlarge = constants["ENLARGE"]
        first = "stem_conv" if constants["ENCODER"] == LITE0 else "as_imagenet"
        return {first: 0, f"up{enlarge}_conv1": DECODER_FILTERS[enlarge]}
    if constants["FUSION"] != "stack":  # the encoder sees one date; fine_tuning.check_bands requires the same bands
        return {}
    names = ("stem", "full_detail") if constants["STEM"] == 2 else ("down0_conv1", "down0_shortcut")
    return dict.fromkeys(names, 0)
