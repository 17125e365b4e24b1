"""Augmentations: functions (images, masks, rng) -> (images, masks) on a batch, image and mask moved together.

images N x H x W x C, masks N x H x W, rng a numpy Generator; new arrays come back, the given ones are not changed.
`AUGMENTATIONS` names those that train.py offers.
"""

import numpy as np


def flips(images, masks, rng):
    """Flip left-right and top-bottom, each with probability 1/2 and independently for each patch."""
    images, masks = images.copy(), masks.copy()
    for axis in (1, 2):
        chosen = rng.random(len(images)) < 0.5
        images[chosen] = np.flip(images[chosen], axis)
        masks[chosen] = np.flip(masks[chosen], axis)
    return images, masks


def dihedral(images, masks, rng):
    """One of the eight flips and quarter turns of the square, equally likely, for each patch (H must equal W)."""
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"quarter turns need square patches, not {images.shape[1]} x {images.shape[2]}")
    images, masks = images.copy(), masks.copy()
    element = rng.integers(8, size=len(images))
    for turns in range(4):
        for flip in (False, True):
            chosen = element == turns + 4 * flip
            for batch in (images, masks):
                turned = np.rot90(batch[chosen], turns, axes=(1, 2))
                batch[chosen] = np.flip(turned, 2) if flip else turned
    return images, masks


AUGMENTATIONS = {"flips": flips, "dihedral": dihedral}
