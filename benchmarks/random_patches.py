"""Patches whose content does not matter, for benchmarks of speed."""

import h5py
import numpy as np


def write_patches(folder, count):
    """Write random patches in the form of Landslide4Sense: images/image_N.h5 and masks/mask_N.h5, N from 1."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(1, count + 1):
        with h5py.File(folder / "images" / f"image_{number}.h5", "w") as file:
            file["img"] = rng.normal(1, 0.5, (128, 128, 14))
        with h5py.File(folder / "masks" / f"mask_{number}.h5", "w") as file:
            file["mask"] = (rng.random((128, 128)) < 0.02).astype(np.uint8)
