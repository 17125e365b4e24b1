"""Fine-tuning: training that starts from the weights of another run, the source, and the checks that it can.

Keras is not needed here: weights go from one network to another as arrays.
"""

import numpy as np

from bands import TERRAIN, counterparts, far_off, true_colour
from networks.architecture import SHAPE
from networks.model_files import all_layers, load_model
from patches import splits
from runs import open_run
from script import UserError, adopt


def open_source(results_dir, name):
    """Open the run to start from; raise UserError if it is not finished, or if it is an ensemble."""
    run = open_run(results_dir, name)
    if "finished" not in run.config:
        raise UserError(f"start {run.name} is not finished: python train.py --run {run.name} --resume")
    if "members" in run.config:
        raise UserError(f"start {run.name} is an ensemble: name one of its members, {', '.join(run.config['members'])}")
    return run


def start_constants(constants, schedule):
    """Give the constants of train.py (its globals) the network of the run START_FROM, and a schedule of fine-tuning.

    Constants that flags set stay. Raises UserError if they ask for another network.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    network = {name: source.constants[name] for name in (*SHAPE, "DATES") if name in source.constants}
    adopted, refused = adopt(constants, network | schedule)
    for name in SHAPE:
        if name in refused:
            raise UserError(f"{name} is {constants[name]}, but start {source.name} has {refused[name]}: leave it out")
    print(f"starting from run {source.name}: {', '.join(f'{name} = {value!r}' for name, value in adopted.items())}")


def start_record(constants, patches, assigned, mean, variance):
    """Check that a run can start from the run START_FROM, and say what it takes over.

    Args:
        constants: of train.py, {NAME: value}. patches, assigned: packing.Patches of the new run, and the split of each.
        mean, variance: of its bands over its training split.

    Returns:
        dict: the source's name, `finished`, revision and data_digest; and band_mean and band_variance, with which the
        network normalises: the source's for its bands, those of the training split for new ones.

    Raises:
        UserError: the source has learnt from the validation or test split, or cannot take these bands.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    splits.check_unseen("start", source, patches, assigned)
    bands, known = patches.bands, source.config["bands"]
    places = counterparts(bands, known)
    check_bands(places, bands, source, constants)
    carried = [i for i, place in enumerate(places) if place is not None]
    if places != list(range(len(known))):
        print(band_note(places, bands, known))
    usual = source.config.get("start") or source.config
    kept_mean, kept_variance = np.array(mean), np.array(variance)
    for i in carried:
        kept_mean[i], kept_variance[i] = usual["band_mean"][places[i]], usual["band_variance"][places[i]]
    deviation = np.sqrt(np.where(kept_variance > 0, kept_variance, 1.0))
    far = far_off(mean, np.sqrt(variance), kept_mean, deviation)
    if off := [i for i in carried if far[i] and bands[i] not in TERRAIN]:
        i = off[0]
        here, there = f"{mean[i]:.4g} ± {variance[i] ** 0.5:.3g}", f"{kept_mean[i]:.4g} ± {deviation[i]:.3g}"
        print(
            f"warning: {patches.data_dir} lies far from what run {source.name} learnt from: {bands[i]} is {here}, "
            f"there {there}; check that both have the same unit"
        )
    return {
        "run": source.name,
        "finished": source.config["finished"],
        "revision": source.config.get("finished_revision", source.config.get("revision")),
        "data_digest": source.config["data_digest"],
        "band_mean": kept_mean.tolist(),
        "band_variance": kept_variance.tolist(),
    }


def carry_over(constants, config, model, band_layers):
    """Give a network the weights of the run that it starts from, so that it predicts the same at first.

    Weights go from layer to layer in order. Convolutions that bands enter get the kernels of the bands that the source
    knows, and kernels of 0 for new ones. The source is calibrated, and the new run starts from that.

    Args:
        constants, config: of the new run. model: its network, not trained yet.
        band_layers: of `builder.band_layers`, the layers that the bands enter.

    Raises:
        UserError: the source was retrained since the run was started, or its layers are others.
    """
    source = open_source(constants["RESULTS_DIR"], constants["START_FROM"])
    if source.config["finished"] != config["start"]["finished"]:
        raise UserError(f"start {source.name} was retrained since run {config['run']} was started: use --overwrite")
    places = counterparts(config["bands"], source.config["bands"])
    stored = load_model(source.folder, to_store=True)
    mine, theirs = ([layer for layer in all_layers(each) if layer.weights] for each in (model, stored))
    kernels = [layer.get_weights() for layer in theirs]
    fits = len(mine) == len(kernels)
    if fits:
        for layer, weights in zip(mine, kernels, strict=True):
            if layer.name in band_layers:
                weights[0] = move_bands(weights[0], places, len(source.config["bands"]), band_layers[layer.name])
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


def check_bands(places, bands, source, constants):
    """Raise UserError if a network cannot take over bands at these places among the source's."""
    known = source.config["bands"]
    if not any(place is not None for place in places):
        raise UserError(f"run {source.name} knows none of the bands {' '.join(bands)}: it takes {' '.join(known)}")
    if constants["FUSION"] != "stack" and places != list(range(len(known))):
        raise UserError(
            f"FUSION {constants['FUSION']} of run {source.name} takes the bands {' '.join(known)} and no other"
        )
    colours, usual = true_colour(bands), true_colour(known)
    # an encoder scales red, green and blue each in its own way, in a layer without weights
    moved = any(
        place is not None and [i == colour for colour in colours] != [place == colour for colour in usual]
        for i, place in enumerate(places)
    )
    if constants["ENCODER"] != "none" and moved:
        raise UserError(
            f"run {source.name} takes {' '.join(known[place] for place in usual)} as red, green and blue, and these "
            f"BANDS give {' '.join(bands[place] for place in colours)}: choose the same"
        )


def band_note(places, bands, known):
    """Say which bands are carried over, which are new and which are dropped."""
    pairs = [(known[place], band) for band, place in zip(bands, places, strict=True) if place is not None]
    parts = ["bands carried over: " + ", ".join(old if old == new else f"{old} to {new}" for old, new in pairs)]
    if new := [band for band, place in zip(bands, places, strict=True) if place is None]:
        parts.append("new, with weights of 0: " + ", ".join(new))
    if gone := [band for i, band in enumerate(known) if i not in places]:
        parts.append("dropped with their weights: " + ", ".join(gone))
    return "; ".join(parts)
