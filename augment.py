"""Augmentations: functions (images, masks, rng, photometric) -> (images, masks) on a batch, image and mask together.

images N x H x W x C float32, masks N x H x W, rng a numpy Generator, photometric the positions of the bands that hold
light (slope and elevation do not); new arrays come back, the given ones are not changed. `AUGMENTATIONS` names those
that train.py offers.
"""

import numpy as np
from scipy import ndimage


def flips(images, masks, rng, photometric=()):
    """Flip left-right and top-bottom, each with probability 1/2 and independently for each patch."""
    down, right = rng.random((2, len(images))) < 0.5
    return _move(images, masks, [_flipped(*way) for way in zip(down, right, strict=True)])


def dihedral(images, masks, rng, photometric=()):
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


def affine(images, masks, rng, photometric=(), share=0.5):
    """Turn by any angle, zoom by 0.75 to 1.33 and shift by up to an eighth, `share` of the patches; edges mirror."""
    images, masks = images.copy(), masks.copy()
    size = np.array(images.shape[1:3])
    for i in np.flatnonzero(rng.random(len(images)) < share):
        angle, zoom = rng.uniform(-np.pi, np.pi), np.exp(rng.uniform(-0.288, 0.288))
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
        offset = (size - 1) / 2 - matrix @ ((size - 1) / 2 + size * rng.uniform(-0.125, 0.125, 2))
        for band in range(images.shape[3]):
            images[i, ..., band] = ndimage.affine_transform(
                images[i, ..., band], matrix, offset, order=1, mode="mirror"
            )
        masks[i] = ndimage.affine_transform(masks[i], matrix, offset, order=0, mode="mirror")
    return images, masks


def colour(images, masks, rng, photometric=()):
    """Brighten or darken a patch by up to 15 %, each band by another 5 %, and change contrast by up to 20 %.

    Contrast is about each band's mean over the patch: x becomes c x + (g - c) m, of gain g and contrast c.
    """
    images = images.copy()
    count, bands = len(images), len(photometric)
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.95, 1.05, (count, 1, 1, bands))
    contrast = rng.uniform(0.8, 1.2, (count, 1, 1, 1)) * gain
    light = images[..., photometric]
    middle = light.mean((1, 2), keepdims=True)
    images[..., photometric] = (contrast.astype(np.float32) * light + ((gain - contrast) * middle)).astype(np.float32)
    return images, masks


def noise(images, masks, rng, photometric=()):
    """Add noise to each pixel, of up to 10 % of each band's standard deviation over the patch."""
    images = images.copy()
    light = images[..., photometric]
    deviation = light.std((1, 2), keepdims=True) * rng.uniform(0, 0.1, (len(images), 1, 1, 1))
    images[..., photometric] = light + (deviation * rng.standard_normal(light.shape, np.float32)).astype(np.float32)
    return images, masks


def cutmix(images, masks, rng, photometric=(), share=0.5):
    """Replace a rectangle of `share` of the patches, a quarter to a half of each side, by that of another patch."""
    images, masks = images.copy(), masks.copy()
    others = rng.permutation(len(images))
    source = images.copy(), masks.copy()
    for i in np.flatnonzero(rng.random(len(images)) < share):
        window = []
        for size in images.shape[1:3]:
            length = rng.integers(size // 4, size // 2 + 1)
            start = rng.integers(0, size - length + 1)
            window.append(slice(start, start + length))
        at = (i, *window)
        images[at], masks[at] = source[0][(others[i], *window)], source[1][(others[i], *window)]
    return images, masks


def copy_paste(images, masks, rng, photometric=(), share=0.5):
    """Copy the landslides of another patch of the batch onto `share` of the patches (Ghiasi 2021, arXiv 2012.07177)."""
    others = rng.permutation(len(images))
    chosen = rng.random(len(images)) < share
    pasted = (masks[others] > 0.5) & chosen[:, None, None]
    return np.where(pasted[..., None], images[others], images), np.where(pasted, masks[others], masks)


def mixup(images, masks, rng, photometric=(), share=0.5):
    """Blend `share` of the patches with another one, image and mask alike (Zhang 2018, arXiv 1710.09412)."""
    others = rng.permutation(len(images))
    weight = rng.beta(0.4, 0.4, len(images))
    weight = np.where(rng.random(len(images)) < share, np.maximum(weight, 1 - weight), 1).astype(np.float32)
    weight = weight[:, None, None]
    mixed = weight[..., None] * images + (1 - weight[..., None]) * images[others]
    return mixed, weight * masks + (1 - weight) * masks[others]


AUGMENTATIONS = {
    "flips": flips,
    "dihedral": dihedral,
    "affine": affine,
    "colour": colour,
    "noise": noise,
    "cutmix": cutmix,
    "copy_paste": copy_paste,
    "mixup": mixup,
}
