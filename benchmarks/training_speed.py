"""Compare training speed, end to end, with the same network and data in PyTorch and with the machine's peak.

    pip install -r benchmarks/requirements.txt
    python benchmarks/training_speed.py                            # the default, the plain and the pre-trained network
    python benchmarks/training_speed.py --networks default --patches 640
    python benchmarks/training_speed.py --isa avx2    # as without bfloat16

Ways: `fit` trains as train.py does (packed files, augmentation, metrics). `train_on_batch` repeats the same step on one
batch in memory. `torch` is the same network in PyTorch, tuned: all patches in memory, channels last, bfloat16 autocast
where train.py would use bfloat16, freed memory kept as train.py keeps it. Both do the same work on each patch:

- `flips`: two flips, each of half of the patches.
- `turns`: one of eight flips and quarter turns, and half of the patches turned by any angle, zoomed and shifted, as
  train.py does by default. PyTorch does it with Albumentations in a DataLoader, with the --loader-workers.

`torch_published` opens two HDF5 files per patch in a DataLoader, does not augment and computes in float32, like the
official baseline of Landslide4Sense.

Each way has its own process. The ways take turns, one epoch each, because speeds drift on shared machines. Share of
peak: operations per second of the convolutions (three times those of prediction), divided by those of PyTorch's matrix
product in the same precision. In brackets is the interval of 90 % of a ratio, a bootstrap over the rounds. Writes
results/figures/training_speed_<network>_<instructions>.csv.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import h5py
import numpy as np
from random_data import make_batch, write_patches
from turns import ISAS, hold_to, in_turn, interval, processor, second_epoch, write_table

import dataset
import script
import train
from networks import keras_start, model_files

NETWORKS = ("default", "plain 16", "pretrained")  # networks to time
PATCHES = 320  # patches in an epoch, 128 x 128 x 14 float64 as published
BATCH_SIZE = 16  # patches in a batch
ROUNDS = 4  # timed epochs of each way, in turn
LOADER_WORKERS = 1  # processes that augment for PyTorch; on two cores one is as good as any number, or better
ISA = "all"  # instructions that the libraries may use: all, or avx2, as on a processor without bfloat16
RESULTS_DIR = "results"  # the tables go to figures/ in it
bfloat16 = True  # whether train.py would use it here; main() sets it for the processes of all ways

SIZES = {  # arguments of torch_unet.UNet; none: EncoderUNet
    "default": {"base_filters": 48, "max_filters": 192, "block": "residual", "stem": 2},
    "small": {"base_filters": 24, "max_filters": 96, "block": "residual", "stem": 2},
    "plain 16": {"base_filters": 16, "max_filters": 256, "block": "plain", "stem": 1},
    "plain 32": {"base_filters": 32, "max_filters": 512, "block": "plain", "stem": 1},
    "pretrained": {},
}
RANGES = {"PATCHES": (1, None), "BATCH_SIZE": (1, None), "ROUNDS": (1, None), "LOADER_WORKERS": (0, None)}
CHOICES = {"NETWORKS": tuple(SIZES), "ISA": ISAS}


def main():
    """Write random patches, time all ways for each network and write the table."""
    if PATCHES % BATCH_SIZE:
        raise script.UserError(f"PATCHES is {PATCHES}: it must be a multiple of BATCH_SIZE, {BATCH_SIZE}")
    hold_to(ISA)
    global bfloat16
    bfloat16 = keras_start.hardware_has_bfloat16()
    with tempfile.TemporaryDirectory() as folder:
        write_patches(Path(folder, "data"), PATCHES)
        for network in NETWORKS:
            write_table(measure(network, folder), RESULTS_DIR, f"training_speed_{network.replace(' ', '')}", ISA)


def measure(network, folder):
    """Time all ways and the machine's peak in turn for one network; return the rows of the table."""
    ways = (fit_flips, fit_turns, train_on_batch, torch_published, torch_flips, torch_turns, peak)
    settings = {name: globals()[name] for name in ("PATCHES", "BATCH_SIZE", "LOADER_WORKERS", "bfloat16")}
    seconds = in_turn(ways, (network, folder), ROUNDS, settings)
    best = statistics.median(seconds.pop("peak"))
    flops = 3 * model_flops(keras_network(network)) * PATCHES
    rows = []
    machine = processor(ISA)
    precision = "bfloat16" if bfloat16 else "float32"
    print(f"\n{network}: {flops / PATCHES / 1e9:.2f} GFLOP a patch, {precision}, peak {best / 1e9:.0f} GFLOP/s")
    print("  " + ", ".join(machine.values()))
    for name, rounds in seconds.items():
        fit = "fit_turns" if name.endswith("turns") else "fit_flips"
        each = statistics.median(rounds)
        low, high = (1, 1) if name == fit else interval(against, rounds, seconds[fit])
        row = {
            "network": network,
            "way": name,
            "patches_per_s": round(PATCHES / each, 1),
            "compared_with": fit,
            "fit_against_it": round(against(rounds, seconds[fit]), 2),
            "low": round(low, 2),
            "high": round(high, 2),
            "rounds": ROUNDS,
            "share_of_peak": round(flops / each / best, 3),
            "precision": "float32" if name == "torch_published" else precision,
            **machine,
        }
        rows.append(row)
        print(
            f"  {name:<16} {row['patches_per_s']:>7} patches/s   {fit} is {row['fit_against_it']:.2f} "
            f"({low:.2f} to {high:.2f}) times as fast   "
            f"{row['share_of_peak']:.0%} of peak"
        )
    return rows


def against(seconds, ours):
    """Return how many times as fast `ours` are, from the seconds of rounds."""
    return statistics.median(seconds) / statistics.median(ours)


# ---------------------------------------------------------------------- ways


def keras_network(network, bands=14):
    """Build a network as train.py does."""
    keras_start.import_keras()
    from bands import band_names
    from networks import builder

    config = {"input_shape": (128, 128, bands), "bands": band_names(bands), "band_mean": [1.0] * bands}
    return builder.build_network(constants(network), config | {"band_variance": [0.1] * bands})


def constants(network):
    """Return the constants of train.py that describe a network: {NAME: value}."""
    size = {"CONV_BLOCK" if name == "block" else name.upper(): value for name, value in SIZES[network].items()}
    return train.constants() | size | {"ENCODER": None if size else "efficientnet_lite0"}


def keras_model(network, in_bfloat16, bands=14):
    """Build a network and compile it, as train.py does."""
    keras = keras_start.import_keras()
    keras.config.set_dtype_policy("mixed_bfloat16" if in_bfloat16 else "float32")
    from training import optimizer

    model = model_files.fused(keras_network(network, bands))
    optimizer.compile_network(model, constants(network), steps=1000)
    return model


def fit(network, folder, augment):
    model = keras_model(network, bfloat16)
    from training.feed import PatchFeed

    patches = dataset.open_patches(Path(folder, "data"), Path(folder, "cache"))
    feed = PatchFeed(patches, np.arange(PATCHES), BATCH_SIZE, augment, seed=0, workers=train.WORKERS)
    return lambda: second_epoch(model, feed)


def fit_flips(network, folder):
    return fit(network, folder, ("flips",))


def fit_turns(network, folder):
    return fit(network, folder, ("dihedral", "affine"))


def train_on_batch(network, folder):
    model = keras_model(network, bfloat16)
    images, masks = make_batch(BATCH_SIZE)

    def epoch():
        for _ in range(PATCHES // BATCH_SIZE):
            model.train_on_batch(images, masks)

    return epoch


def torch_network(network, bands=14):
    """Build a network in PyTorch."""
    from torch_unet import EncoderUNet, UNet

    return UNet(bands, **SIZES[network]) if SIZES[network] else EncoderUNet(bands)


def torch_step(network, channels_last=False, autocast=False):
    """Return a function that trains the PyTorch network on a batch: BCE + Dice, AdamW."""
    import torch
    from torch_unet import bce_dice

    model = torch_network(network)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)

    def step(images, masks):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(images).float()
        loss = bce_dice(logits, masks)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


class Files:
    """A data set like that of the official baseline, which opens two files for each patch."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return PATCHES

    def __getitem__(self, i):
        with h5py.File(self.folder / "images" / f"image_{i + 1}.h5") as file:
            image = file["img"][:]
        with h5py.File(self.folder / "masks" / f"mask_{i + 1}.h5") as file:
            mask = file["mask"][:]
        return (image.astype(np.float32).transpose(2, 0, 1) - 1) / 0.3, mask.astype(np.float32)[None]


def torch_published(network, folder):
    import torch

    step = torch_step(network)
    loader = torch.utils.data.DataLoader(Files(Path(folder, "data")), BATCH_SIZE, shuffle=True, num_workers=2)

    def epoch():
        for images, masks in loader:
            step(images, masks)

    return epoch


def torch_flips(network, folder):
    keras_start.keep_freed_memory()
    import torch

    step = torch_step(network, channels_last=True, autocast=bfloat16)
    files = Files(Path(folder, "data"))
    images, masks = (torch.from_numpy(np.stack(part)) for part in zip(*(files[i] for i in range(PATCHES)), strict=True))
    images = images.contiguous(memory_format=torch.channels_last)

    def epoch():
        order = torch.randperm(PATCHES)
        for start in range(0, PATCHES, BATCH_SIZE):
            batch = [part[order[start : start + BATCH_SIZE]] for part in (images, masks)]
            for dim in (2, 3):
                flipped = torch.rand(BATCH_SIZE) < 0.5
                for part in batch:
                    part[flipped] = part[flipped].flip(dim)
            step(*batch)

    return epoch


class Augmented:
    """A data set in memory, augmented as train.py augments by default, by Albumentations; bands last."""

    def __init__(self, folder):
        import albumentations
        import cv2

        cv2.setNumThreads(0)  # as Albumentations advises beside a DataLoader's processes
        files = Files(folder)
        self.patches = [
            (image.transpose(1, 2, 0).copy(), mask[0]) for image, mask in map(files.__getitem__, range(PATCHES))
        ]
        moved = {"scale": (0.75, 1.33), "rotate": (-180, 180), "translate_percent": (-0.125, 0.125)}
        edges = {"border_mode": cv2.BORDER_REFLECT_101, "p": 0.5}
        self.augment = albumentations.Compose([albumentations.D4(p=1), albumentations.Affine(**moved, **edges)])

    def __len__(self):
        return PATCHES

    def __getitem__(self, i):
        image, mask = self.patches[i]
        moved = self.augment(image=image, mask=mask)
        return moved["image"], moved["mask"][None]


def torch_turns(network, folder):
    keras_start.keep_freed_memory()
    import torch

    step = torch_step(network, channels_last=True, autocast=bfloat16)
    loader = torch.utils.data.DataLoader(
        Augmented(Path(folder, "data")),
        BATCH_SIZE,
        shuffle=True,
        num_workers=LOADER_WORKERS,
        persistent_workers=LOADER_WORKERS > 0,
    )

    def epoch():
        for images, masks in loader:
            step(images.permute(0, 3, 1, 2), masks)  # channels last in memory

    return epoch


def peak(network, folder):
    """Return an "epoch" that returns the FLOP/s of a 4096 x 4096 matrix product, the best of five."""
    import torch

    a = torch.randn(4096, 4096, dtype=torch.bfloat16 if bfloat16 else torch.float32)

    def epoch():
        best = 0.0
        for _ in range(5):
            began = time.perf_counter()
            a @ a
            best = max(best, 2 * 4096**3 / (time.perf_counter() - began))
        return best

    return epoch


def model_flops(model):
    """Count the floating-point operations of all convolutions of a Keras model, nested ones too, for one patch."""
    total = 0
    for layer in model_files.all_layers(model):
        if "Conv2D" in type(layer).__name__:
            rows, columns, _ = layer.output.shape[1:]
            spread = layer.strides[0] * layer.strides[1] if "Transpose" in type(layer).__name__ else 1
            total += 2 * int(np.prod(layer.kernel.shape)) * rows * columns // spread
    return total


if __name__ == "__main__":
    script.start(main)
