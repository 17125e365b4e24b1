"""What quantisation may cost: a run's network goes into 8-bit integers only if its maps stay as good on validation."""

from typing import NamedTuple

import numpy as np

from metrics import confusion, scores
from networks.inference import predict
from networks.openvino_files import RECORD, Engine, save
from networks.quantisation import operation_types, quantised
from patches.pixel_sizes import shown
from records import read_json
from scores import false_alarms
from script import note, progress

DICE_LOSS = 0.003  # by which Dice on validation may fall at the run's threshold
ALARM_RISE = 0.1  # share by which the false alarms on landslide-free ground may rise
MEAN_CHANGE = 0.003  # largest mean change of a probability on validation
PATCHES = 128  # training patches that set the scales, of all sources together
GROUND = 64  # patches of landslide-free ground that set them, too
# Attempts, the fastest first: types of operations that stay in floating point.
ATTEMPTS = {"int8": (), "int8, depthwise convolutions in floating point": ("GroupConvolution",)}


class Measured(NamedTuple):
    """What an engine scores: Dice on validation, share of false alarms on ground (None without any), mean change."""

    dice: float
    alarms: float | None
    mean_change: float = 0.0


def calibration_images(data, model, seed):
    """Draw training patches, equally many of each source, and landslide-free ground: n x H x W x inputs float32."""
    rng = np.random.default_rng(seed)
    train = data.indices["train"]
    source_of = data.patches.source_of[train]
    groups = [train[source_of == source] for source in np.unique(source_of)]
    drawn = [(data.patches, group, PATCHES // len(groups)) for group in groups]
    if data.ground:
        drawn.append((data.ground, data.ground_indices["train"], GROUND))
    images = []
    for patches, group, count in drawn:
        some = np.sort(rng.permutation(group)[:count])
        images.append(shown(model, patches.read(some).astype(np.float32), patches.pixel_sizes[some]))
    return np.concatenate(images)


def quantise(folder, run, data, threshold, seed):
    """Replace the float32 model in a folder by the fastest quantised one that is within the bound, if there is one.

    Prints what each attempt costs. The record in the folder says which precision the model has, and what it costs.

    Args:
        folder: see openvino_files. run: runs.Run. data: RunData. threshold: at which Dice and alarms are counted.
        seed: of the draw of patches.
    """
    size = tuple(run.config["input_shape"][:2])
    reference = Engine(folder, size, precision="f32")
    images = calibration_images(data, reference, seed)
    kinds = operation_types(folder)
    for precision, exempt in ATTEMPTS.items():
        if not kinds.issuperset(exempt):
            continue
        for _ in progress([0], f"quantising on {len(images)} patches ({precision})"):
            model = quantised(folder, images, exempt)
        engine = Engine(model, size)
        before, after = measure(reference, engine, data, threshold)
        faults = broken(before, after)
        print(f"{precision}: {text_of(before, after)}; {'beyond: ' + ', '.join(faults) if faults else 'within bounds'}")
        if not faults:
            record = read_json(folder / RECORD, "export.py") | {"precision": precision, "calibrated_on": len(images)}
            cost = {"threshold": threshold, "float32": before._asdict(), "int8": after._asdict()}
            save(model, folder, record | {"cost": cost})
            return
    note("int8 is beyond its bounds for this run, so the file holds float32, which is computed in bfloat16 if possible")


def measure(reference, engine, data, threshold):
    """Return the Measured of a reference and of an engine on validation, at a threshold."""
    indices, counts, change, alarms = data.indices["validation"], np.zeros((2, 3)), [], [None, None]
    pairs = zip(*(predict(model, data.patches, indices) for model in (reference, engine)), strict=True)
    for (batch, _, expected), (_, _, probability) in progress(pairs, "comparing", -(-len(indices) // 32)):
        masks = data.patches.read_masks(batch)
        for count, values in zip(counts, (expected, probability), strict=True):
            count += [part.sum() for part in confusion(masks, values >= np.float32(threshold))[:3]]
        change.append(np.abs(probability - expected).mean((1, 2)))
    if data.ground:
        ground_indices = data.ground_indices["validation"]
        for i, model in enumerate((reference, engine)):
            pixels, alarmed, _ = false_alarms.count(model, data.ground, ground_indices, threshold)
            alarms[i] = float(alarmed.sum() / pixels.sum())
    dice = [float(scores(*count)["dice"]) for count in counts]
    return Measured(dice[0], alarms[0]), Measured(dice[1], alarms[1], float(np.concatenate(change).mean()))


def broken(before, after):
    """List the bounds that an engine breaks, as texts. before, after: Measured of the reference and of the engine."""
    faults = []
    if not before.dice - after.dice <= DICE_LOSS:
        faults.append(f"Dice falls by more than {DICE_LOSS:g}")
    if before.alarms is not None and not after.alarms <= before.alarms * (1 + ALARM_RISE):
        faults.append(f"false alarms rise by more than {ALARM_RISE:.0%}")
    if not after.mean_change < MEAN_CHANGE:
        faults.append(f"probabilities change by {MEAN_CHANGE:g} or more")
    return faults


def text_of(before, after):
    """Return what an engine scores beside its reference, as a text."""
    alarms = ""
    if before.alarms is not None:
        alarms = f"false alarms {after.alarms:.3%} instead of {before.alarms:.3%}, "
    return (
        f"Dice {after.dice:.4f} instead of {before.dice:.4f} on validation, {alarms}"
        f"mean change of a probability {after.mean_change:.4f}"
    )
