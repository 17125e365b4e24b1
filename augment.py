"""Augmentations: functions (images, masks, rng) -> (images, masks) on a batch, image and mask moved together.

images N x H x W x C, masks N x H x W, rng a numpy Generator; new arrays come back, the given ones are not changed.
`AUGMENTATIONS` names those that train.py offers.
"""

import numpy as np


def flips(images, masks, rng):
    """Flip left-right and top-bottom, each with probability 1/2 and independently for each patch."""
    down, right = rng.random((2, len(images))) < 0.5
    return _move(images, masks, [_flipped(*way) for way in zip(down, right, strict=True)])


def dihedral(images, masks, rng):
    """One of the eight flips and quarter turns of the square, equally likely, for each patch (H must equal W)."""
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"quarter turns need square patches, not {images.shape[1]} x {images.shape[2]}")
    down, right, turned = rng.random((3, len(images))) < 0.5  # flips, and swapping rows and columns, make all eight
    return _move(images, masks, [_flipped(*way) for way in zip(down, right, turned, strict=True)])


def _flipped(down, right, turned=False):
    """A function that flips, and swaps rows and columns of, one H x W (x C) array, as a view."""

    def view(array):
        array = array[:: -1 if down else 1, :: -1 if right else 1]
        return array.swapaxes(0, 1) if turned else array

    return view


def _move(images, masks, views):
    """Apply one function to image and mask of each patch. Every pixel is copied once: this runs for every batch."""
    moved = np.empty_like(images), np.empty_like(masks)
    for i, view in enumerate(views):
        moved[0][i], moved[1][i] = view(images[i]), view(masks[i])
    return moved


AUGMENTATIONS = {"flips": flips, "dihedral": dihedral}
