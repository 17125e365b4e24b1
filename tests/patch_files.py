"""Small folders of real HDF5 patches."""

import h5py
import numpy as np

import dataset
from patches import layouts
from tests.rasters import write_picture


def write_h5(path, key, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array)


def make_pair(number, size=32, bands=14):
    """A learnable patch: a bright rectangle in all bands, and its mask; every fourth patch is empty."""
    rng = np.random.default_rng(number)
    image = rng.normal(1.0, 0.2, (size, size, bands))
    mask = np.zeros((size, size), np.uint8)
    if number % 4:
        top, left = rng.integers(0, size // 2, 2)
        mask[top : top + size // 3, left : left + size // 3] = 1
    image[mask > 0] += 1.5
    return image, mask


def write_patches(images, masks, numbers, size=32, bands=14):
    """Write image_N.h5 and mask_N.h5 into two folders."""
    for number in numbers:
        image, mask = make_pair(number, size, bands)
        write_h5(images / f"image_{number}.h5", "img", image)
        write_h5(masks / f"mask_{number}.h5", "mask", mask)


def layout_folder(root, layout):
    """Write a folder in one of the layouts with 6 training, 3 validation and 2 test patches (flat: 11)."""
    numbers = {"": range(1, 12), "train": range(1, 7), "validation": range(1, 4), "test": range(1, 3)}
    for split, (images, masks) in layouts.LAYOUTS[layout].items():
        write_patches(root / images, root / masks, numbers[split])
    return root


def open_folder(data, **options):
    """Open the patches of a folder; their cache lies next to it."""
    return dataset.open_patches(data, data.parent / "cache", **options)


def scar(number):
    """Make a mask of 32 x 32 with a square landslide."""
    mask = np.zeros((32, 32), np.uint8)
    mask[5 + number % 8 : 15 + number % 8, 8:18] = 1
    return mask


def write_pictures(folder, count=12):
    """Write images t_N.png of 32 x 32 x 3 without masks."""
    for number in range(count):
        image = np.random.default_rng(number).integers(20, 200, (3, 32, 32)).astype(np.uint8)
        write_picture(folder / f"images/t_{number}.png", np.moveaxis(image, 0, -1))
