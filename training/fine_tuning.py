"""Fine-tuning: start training from the weights of another run, the source, after checks that this is possible.

It does not need Keras: weights go from one network to another as arrays.
"""

import numpy as np

from bands import counterparts, far_off, light, true_colour
from networks.architecture import SHAPE
from networks.model_files import all_layers, load_model
from patches import split_table
from patches.pixel_sizes import network_bands
from runs import open_run
from script import UserError, adopt, warn


def open_source(results_dir, name):
    """Open the run to start from; raise UserError if it is not finished, or if it is an ensemble."""
    run = open_run(results_dir, name, "START_FROM")
    if "finished" not in run.config:
        raise UserError(f"start {run.name} is not finished: python train.py --run {run.name} --resume")
    if "members" in run.config:
        raise UserError(f"start {run.name} is an ensemble: name one of its members, {', '.join(run.config['members'])}")
    return run


def start_constants(constants, schedule):
    """Give the constants of train.py (its globals) the network of the run START_FROM, and a schedule of fine-tuning.

    Constants that flags set stay. Raises UserError if they describe another network.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    network = {name: source.constants[name] for name in (*SHAPE, "DATES") if name in source.constants}
    adopted, refused = adopt(constants, network | schedule)
    for name in SHAPE:
        if name in refused:
            raise UserError(f"{name} is {constants[name]}, but start {source.name} has {refused[name]}: leave it out")
    print(f"starting from run {source.name}: {', '.join(f'{name} = {value!r}' for name, value in adopted.items())}")


def known_splits(constants):
    """Return {content hash: split} of the run START_FROM, see split_table.known_splits; {} without it."""
    if not constants["START_FROM"]:
        return {}
    return split_table.known_splits(open_source(constants["RESULTS_DIR"], constants["START_FROM"]))


def start_record(constants, patches, assigned, mean, variance):
    """Check that a run can start from the run START_FROM, and return the record of this start.

    Args:
        constants: of train.py, {NAME: value}. patches, assigned: packing.Patches of the new run, and the split of each.
        mean, variance: of its bands over its training split.

    Returns:
        dict: the source's name, `finished`, revision and data_digest; and band_mean and band_variance, with which the
        network normalises: those of the source for its bands, those of the training split for new ones. If the values
        of its bands differ much from the source's, as in another unit, all optical bands get those of the split, too.

    Raises:
        UserError: the source was trained on patches of the validation or test split, or cannot take these bands.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    split_table.check_held_out("start", source, patches, assigned)
    bands, known = patches.bands, source.config["bands"]
    positions = counterparts(bands, known)
    check_bands(positions, bands, source, constants)
    carried_over = [i for i, position in enumerate(positions) if position is not None]
    if positions != list(range(len(known))):
        print(band_note(positions, bands, known))
    statistics = source.config.get("start") or source.config
    kept_mean, kept_variance = np.array(mean), np.array(variance)
    for i in carried_over:
        kept_mean[i] = statistics["band_mean"][positions[i]]
        kept_variance[i] = statistics["band_variance"][positions[i]]
    deviation = np.sqrt(np.where(kept_variance > 0, kept_variance, 1.0))
    far = far_off(mean, np.sqrt(variance), kept_mean, deviation)
    lit = light(bands)
    optical = [i for i in carried_over if lit[i]]
    if off := [i for i in optical if far[i]]:
        i = off[0]
        warn(
            f"the values in {patches.data_dir} differ much from those that run {source.name} was trained on: "
            f"the mean of {bands[i]} is {mean[i]:.4g} ± {variance[i] ** 0.5:.3g} instead of {kept_mean[i]:.4g} ± "
            f"{deviation[i]:.3g}. Bands are normalised anew, which is right for another unit"
        )
        kept_mean[optical], kept_variance[optical] = mean[optical], variance[optical]
    return {
        "run": source.name,
        "finished": source.config["finished"],
        "revision": source.config.get("finished_revision"),
        "data_digest": source.config["data_digest"],
        "band_mean": kept_mean.tolist(),
        "band_variance": kept_variance.tolist(),
    }


def carry_over(constants, config, model, band_layers):
    """Give a network the weights of the run that it starts from, so that it predicts the same at first.

    Weights go from layer to layer in order. Convolutions whose input holds the bands get the kernels of the source for
    its bands, and kernels of 0 for new ones. The weights of the source include its calibration.

    Args:
        constants, config: of the new run. model: its network, not trained yet.
        band_layers: see `builder.band_layers`.

    Raises:
        UserError: the source was retrained since the run was started, or its layers differ from those of the network.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    if source.config["finished"] != config["start"]["finished"]:
        raise UserError(f"start {source.name} was retrained since run {config['run']} was started: use --overwrite")
    known = network_bands(source.config)
    positions = counterparts(network_bands(config), known)
    stored = load_model(source.folder, to_store=True)
    layers, source_layers = ([layer for layer in all_layers(each) if layer.weights] for each in (model, stored))
    all_weights = [layer.get_weights() for layer in source_layers]
    fits = len(layers) == len(all_weights)
    if fits:
        for layer, weights in zip(layers, all_weights, strict=True):
            if layer.name in band_layers:
                weights[0] = move_bands(weights[0], positions, len(known), band_layers[layer.name])
        shapes = [[tuple(variable.shape) for variable in layer.weights] for layer in layers]
        fits = shapes == [[array.shape for array in weights] for weights in all_weights]
    if not fits:
        raise UserError(
            f"start {source.name}: its layers differ from those of this network with these bands: leave it out"
        )
    for layer, weights in zip(layers, all_weights, strict=True):
        layer.set_weights(weights)


def move_bands(kernel, positions, count, behind):
    """Return a kernel for other bands.

    Args:
        kernel: ... x channels x filters. The channels are other ones, then those of the bands, then other ones.
        positions: of each new band among the bands of the kernel, or None for a kernel of 0.
        count: number of the bands of the kernel. behind: number of the channels after them.
    """
    start = kernel.shape[-2] - behind - count
    before, bands, after = np.split(kernel, [start, start + count], axis=-2)
    bands = np.append(bands, np.zeros_like(bands[..., :1, :]), axis=-2)  # the last stands for None
    moved = bands[..., [count if position is None else position for position in positions], :]
    return np.concatenate([before, moved, after], axis=-2)


def check_bands(positions, bands, source, constants):
    """Raise UserError if a network cannot take these bands, whose positions among those of the source are given."""
    known = source.config["bands"]
    if not any(position is not None for position in positions):
        raise UserError(f"run {source.name} knows none of the bands {' '.join(bands)}: it takes {' '.join(known)}")
    if constants["FUSION"] != "stack" and positions != list(range(len(known))):
        raise UserError(
            f"FUSION {constants['FUSION']} of run {source.name} takes the bands {' '.join(known)} and no other"
        )
    colours, known_colours = true_colour(bands), true_colour(known)
    # an encoder scales red, green and blue differently, in a layer without weights
    moved = any(
        position is not None and [i == colour for colour in colours] != [position == colour for colour in known_colours]
        for i, position in enumerate(positions)
    )
    if constants["ENCODER"] and moved:
        raise UserError(
            f"run {source.name} takes {' '.join(known[i] for i in known_colours)} as red, green and blue, and these "
            f"BANDS give {' '.join(bands[i] for i in colours)}: choose the same"
        )


def band_note(positions, bands, known):
    """Return a line about which bands are carried over, which are new and which are dropped."""
    pairs = [(known[position], band) for band, position in zip(bands, positions, strict=True) if position is not None]
    parts = ["bands carried over: " + ", ".join(old if old == new else f"{old} to {new}" for old, new in pairs)]
    if new := [band for band, position in zip(bands, positions, strict=True) if position is None]:
        parts.append("new, with weights of 0: " + ", ".join(new))
    if dropped := [band for i, band in enumerate(known) if i not in positions]:
        parts.append("dropped with their weights: " + ", ".join(dropped))
    return "; ".join(parts)
