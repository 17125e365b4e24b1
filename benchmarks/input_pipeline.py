"""Measure what each part of the input pipeline costs: model.fit from files against one batch in memory.

    python benchmarks/input_pipeline.py                         # 14 bands, random files
    python benchmarks/input_pipeline.py --network "plain 16" --workers 1

All ways take turns in one process, because absolute speeds drift on shared machines; compare the ratios. Core time is
the CPU time of all threads. Its increase is the cost of the added work; any further loss of speed is waiting. Writes
results/figures/input_pipeline.csv.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np
import training_speed
from random_data import write_patches
from turns import processor, second_epoch

import dataset
import records
import script
from networks import keras_start

PATCHES = 480  # number of patches to write and train on
ROUNDS = 3  # timed epochs of each way, in turn
NETWORK = "default"  # network to train
BATCH_SIZE = 16  # patches in a batch
AUGMENT = ("dihedral", "affine")  # augmentations of the feed
WORKERS = 2  # extra threads that prepare batches
OUT = "results/figures/input_pipeline.csv"  # file of the table

RANGES = {"PATCHES": (1, None), "ROUNDS": (1, None), "BATCH_SIZE": (1, None), "WORKERS": (0, None)}
CHOICES = {"NETWORK": tuple(training_speed.SIZES)}


def main():
    """Write random patches, time all ways in turn, and print and write the table."""
    keras = keras_start.import_keras()
    from training.feed import PatchFeed

    class OneBatch(keras.utils.PyDataset):
        """Give the same batch every time, without any work."""

        def __len__(self):
            return len(augmented)

        def __getitem__(self, i):
            return images, masks

    model = training_speed.keras_model(NETWORK, keras_start.hardware_has_bfloat16())
    with tempfile.TemporaryDirectory() as folder:
        write_patches(Path(folder, "data"), PATCHES)
        patches = dataset.open_patches(Path(folder, "data"), Path(folder, "cache"))
        read, augmented = (
            PatchFeed(patches, np.arange(PATCHES), BATCH_SIZE, augment, seed=0, workers=WORKERS)
            for augment in ((), AUGMENT)
        )
        images, masks = augmented[0]

        def in_memory():
            """Time the same number of training steps on one batch in memory."""
            began = clocks()
            for _ in range(len(augmented)):
                model.train_on_batch(images, masks)
            return clocks() - began

        ways = {
            "train_on_batch, one batch in memory": in_memory,
            "fit, one batch in memory": lambda: second_epoch(model, OneBatch(workers=WORKERS), clocks),
            "fit, from files": lambda: second_epoch(model, read, clocks),
            "fit, from files, augmented": lambda: second_epoch(model, augmented, clocks),
        }
        in_memory()  # traces the graph; each fit does so in its first epoch
        measured = np.array([[way() for way in ways.values()] for _ in range(ROUNDS)])
    print(f"{keras.config.dtype_policy().name}, {NETWORK}, batch {BATCH_SIZE}, {WORKERS} workers")
    print(f"{'way':<36} patches/s  of train_on_batch (rounds)         core time a patch")
    rows, machine = [], processor()
    for i, name in enumerate(ways):
        seconds, cores = np.median(measured[:, i], axis=0)
        ratios = measured[:, 0, 0] / measured[:, i, 0]
        row = {
            "way": name,
            "patches_per_s": round(PATCHES / seconds, 1),
            "of_train_on_batch": round(float(np.median(ratios)), 3),
            "core_ms_a_patch": round(1000 * cores / PATCHES, 1),
        }
        rows.append(row | machine)
        patches_per_s, ratio, core_ms = list(row.values())[1:]
        spread = ", ".join(f"{each:.2f}" for each in ratios)
        print(f"{name:<36} {patches_per_s:>9}  {ratio:.2f} ({spread:<24}) {core_ms:>8} ms")
    records.write_csv(OUT, rows[0], [row.values() for row in rows])
    print(f"written: {OUT}")


def clocks():
    """Return the wall-clock seconds and the CPU seconds of all threads of this process."""
    return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    script.start(main)
