"""How much of the training speed the input pipeline costs: model.fit on files against train_on_batch in memory.

    python benchmarks/input_pipeline.py                         # 14 bands, synthetic files made for the purpose
    python benchmarks/input_pipeline.py --base-filters 32 --workers 2

Both are timed in turn in one run, because absolute speeds drift on shared machines; the ratio is what counts.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the scripts lie flat, one level up

import numpy as np
from random_data import write_patches

import dataset
import runs

PATCHES = 480  # patches written and trained on
ROUNDS = 3  # timed epochs of each way, in turn
BASE_FILTERS = 48  # of the first level of the network
BATCH_SIZE = 16  # patches in a step
AUGMENT = ("dihedral", "affine")  # augmentations of the feed
WORKERS = 2  # threads that prepare batches beside the main one


def main():
    keras = runs.import_keras()
    from feed import PatchFeed
    from losses import BCEDice
    from metrics import PooledDice, PooledIoU
    from model_files import fused
    from unet import build_unet

    class EpochWatch(keras.callbacks.Callback):
        """Keeps the seconds of the last epoch, from its start to its end."""

        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds = time.perf_counter() - self.began

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16" if runs.hardware_has_bfloat16() else "float32")
    with tempfile.TemporaryDirectory() as place:
        write_patches(Path(place, "data"), PATCHES)
        patches = dataset.open_patches(Path(place, "data"), Path(place, "cache"))
        feed = PatchFeed(patches, np.arange(PATCHES), BATCH_SIZE, AUGMENT, seed=0, workers=WORKERS)
        model = fused(build_unet(patches.input_shape, BASE_FILTERS, max_filters=4 * BASE_FILTERS))
        model.compile(optimizer="adamw", loss=BCEDice(), metrics=[PooledDice(), PooledIoU()])
        images, masks = feed[0]

        watch = EpochWatch()

        def fit():
            """Seconds of the second epoch of a fit: what is done once a fit is no matter over dozens of epochs."""
            model.fit(feed, epochs=2, shuffle=False, verbose=0, callbacks=[watch])
            return watch.seconds

        def in_memory():
            """Seconds of as many training steps on one batch that lies in memory."""
            began = time.perf_counter()
            for _ in range(len(feed)):
                model.train_on_batch(images, masks)
            return time.perf_counter() - began

        speeds = {fit: [], in_memory: []}
        in_memory()  # traces the graph; each fit has its first epoch for that
        for _ in range(ROUNDS):
            for way, measured in speeds.items():
                measured.append(PATCHES / way())
    ratios = [a / b for a, b in zip(speeds[fit], speeds[in_memory], strict=True)]
    print(f"{keras.config.dtype_policy().name}, {BASE_FILTERS} filters, batch {BATCH_SIZE}, {WORKERS} workers")
    print(f"model.fit from files      {np.median(speeds[fit]):6.1f} images/s")
    print(f"train_on_batch in memory  {np.median(speeds[in_memory]):6.1f} images/s")
    print(f"ratio                     {np.median(ratios):6.2f}  (rounds: {', '.join(f'{r:.2f}' for r in ratios)})")


if __name__ == "__main__":
    runs.start(main)
