"""The network that the constants of train.py describe: built, given the weights of another run, and compiled."""

import keras
import numpy as np

from bands import counterparts, date_groups
from encoders import DECODER_FILTERS, LITE0, build_encoder_unet
from fine_tuning import open_source
from losses import BCEDice
from model_files import all_layers
from optimizer import ScaledAdamW
from script import UserError
from segformer import build_segformer
from training_metrics import PooledDice, PooledIoU
from unet import build_unet


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
        return build_segformer(config["input_shape"], constants["STRIDE"], constants["DROPOUT"], **statistics)
    if constants["ENCODER"] != "none":
        return build_encoder_unet(
            config["input_shape"],
            config["bands"],
            encoder=constants["ENCODER"],
            enlarge=constants["ENLARGE"],
            dropout=constants["DROPOUT"],
            **statistics,
        )
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


def band_layers(constants):
    """Return {name: number of other channels behind the bands} of the convolutions that the bands enter unmixed."""
    if constants["MODEL"] == "segformer":
        return {"stage0_patches": 0}
    if constants["ENCODER"] != "none":
        enlarge = constants["ENLARGE"]
        first = "stem_conv" if constants["ENCODER"] == LITE0 else "as_imagenet"
        return {first: 0, f"up{enlarge}_conv1": DECODER_FILTERS[enlarge]}
    if constants["FUSION"] != "stack":  # the encoder sees one date; fine_tuning.check_bands wants the same bands
        return {}
    names = ("stem", "full_detail") if constants["STEM"] == 2 else ("down0_conv1", "down0_shortcut")
    return dict.fromkeys(names, 0)


def carry_over(constants, config, model):
    """Give a network the weights of the run that it starts from, so that it predicts the same at first.

    Weights go from layer to layer in order. Convolutions that bands enter get the kernels of the bands that the source
    knows, and kernels of 0 for new ones. The source is calibrated, and the new run starts from that.

    Args:
        constants, config: of the new run. model: its network, not trained yet.

    Raises:
        UserError: the source was retrained since the run was started, or its layers are others.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    if source.config["finished"] != config["start"]["finished"]:
        raise UserError(f"start {source.name} was retrained since run {config['run']} was started: use --overwrite")
    places = counterparts(config["bands"], source.config["bands"])
    behind = band_layers(constants)
    mine, given = (
        [layer for layer in all_layers(each) if layer.weights] for each in (model, source.model(to_store=True))
    )
    kernels = [layer.get_weights() for layer in given]
    fits = len(mine) == len(kernels)
    if fits:
        for layer, weights in zip(mine, kernels, strict=True):
            if layer.name in behind:
                weights[0] = move_bands(weights[0], places, len(source.config["bands"]), behind[layer.name])
        shapes = [[tuple(variable.shape) for variable in layer.weights] for layer in mine]
        fits = shapes == [[array.shape for array in weights] for weights in kernels]
    if not fits:
        raise UserError(f"start {source.name} has not the layers that this network has with these bands: leave it out")
    for layer, weights in zip(mine, kernels, strict=True):
        layer.set_weights(weights)


def move_bands(kernel, places, count, behind):
    """Return a kernel for other bands.

    Args:
        kernel: ... x channels x filters. Its channels are others, `count` bands, and `behind` others.
        places: of each new band among the bands of the kernel, or None for a kernel of 0.
    """
    start = kernel.shape[-2] - behind - count
    before, bands, after = np.split(kernel, [start, start + count], axis=-2)
    bands = np.append(bands, np.zeros_like(bands[..., :1, :]), axis=-2)  # the last stands for None
    taken = bands[..., [count if place is None else place for place in places], :]
    return np.concatenate([before, taken, after], axis=-2)


def compile_network(model, constants, steps, keep_statistics=False):
    """Compile a network with the loss, metrics and optimizer of train.py.

    Args:
        model: the network. constants: of train.py, {NAME: value}. steps: batches in an epoch.
        keep_statistics: leave batch normalisation as it is, statistics and weights. That is for fine-tuning: batches of
            a few patches have other statistics than the ground, and the running means of a short training lag behind.
    """
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
