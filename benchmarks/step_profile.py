"""Measure which kinds of operations a training step spends its time in, under TensorFlow.

    python benchmarks/step_profile.py
    python benchmarks/step_profile.py --networks pretrained

The step is that of train.py on one batch in memory. Times are those of TensorFlow's profiler, summed over the threads,
as shares of all operations. Writes results/figures/step_profile.csv.
"""

import collections
import glob
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import training_speed
from random_data import make_batch
from turns import alone, processor

import records
import script
from networks import keras_start

NETWORKS = ("default", "plain 16", "pretrained")  # networks to profile
BATCH_SIZE = 16  # patches in a batch
STEPS = 3  # profiled steps
OUT = "results/figures/step_profile.csv"  # file of the table

RANGES = {"BATCH_SIZE": (1, None), "STEPS": (1, None)}
CHOICES = {"NETWORKS": tuple(training_speed.SIZES)}
KINDS = {  # the first kind of which a part of an operation's name is one, in this order
    "depthwise convolution": ("Depthwise",),
    "convolution": ("Conv2D",),
    "normalisation": ("BatchNorm",),
    "activation": ("Relu", "Sigmoid"),
    "change of precision": ("Cast",),
    "joining and summing": ("Slice", "Concat", "AddN", "Pad", "Resize", "MaxPool"),
}


def main():
    """Profile the networks, each in its own process; print and write the table."""
    rows, machine = [], processor()
    for network in NETWORKS:
        shares = alone(profile, network, BATCH_SIZE, STEPS)
        print(f"{network}: " + ", ".join(f"{kind} {time_share:.0%}" for kind, time_share in shares.items()))
        rows += [(network, kind, round(time_share, 3), *machine.values()) for kind, time_share in shares.items()]
    records.write_csv(OUT, ("network", "kind", "share", *machine), rows)
    print(f"written: {OUT}")


def profile(network, batch_size, steps):
    """Return {kind: share of the time of all operations}, the largest first."""
    model = training_speed.keras_model(network, keras_start.hardware_has_bfloat16())
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    images, masks = make_batch(batch_size)
    for _ in range(3):  # compiles, and fills caches
        model.train_on_batch(images, masks)
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder):
            for _ in range(steps):
                model.train_on_batch(images, masks)
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        space = xplane_pb2.XSpace.FromString(Path(path).read_bytes())
    took = collections.Counter()
    for plane in space.planes:
        for event in (event for line in plane.lines for event in line.events):
            name = plane.event_metadata[event.metadata_id].name  # layer:operation
            layer, colon, operation = name.rpartition(":")
            if colon and not layer.endswith(":") and " " not in name:
                took[kind_of(operation)] += event.duration_ps
    return {kind: seconds / took.total() for kind, seconds in took.most_common()}


def kind_of(operation):
    """Return the kind of an operation of TensorFlow."""
    kinds = (kind for kind, parts in KINDS.items() if any(part in operation for part in parts))
    return next(kinds, "optimizer, loss and the rest")


if __name__ == "__main__":
    script.start(main)
