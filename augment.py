"""Augmentations: functions (images, masks, rng, optical_bands) -> (images, masks) on a batch, image and mask together.

images: N x H x W x C float32. masks: N x H x W, 0 to 1, and 255 where a pixel is not labelled. rng: a NumPy Generator.
optical_bands: positions of the bands that hold light (slope and elevation do not); the functions of rendering.py need
bands.OpticalBands, with wavelengths. fraction: of the patches that change. The functions return new arrays and
leave their inputs unchanged. A zoom changes the plane of the pixel size, if images have one. `AUGMENTATIONS` lists
those that train.py offers. No named band depends on direction, so flips and turns leave band values correct.
"""

import numpy as np
import scipy  # which loads its parts on first use

import rendering
from mask_values import UNLABELLED

PIXEL_SIZES = (0.3, 2.0)  # factors of the augmentation pixel_size, smallest and largest


def flips(images, masks, rng, optical_bands=()):
    """Flip left-right and top-bottom, each with probability 1/2 and independently for each patch."""
    down, right = rng.random((2, len(images))) < 0.5
    return _move(images, masks, [_flipped(*flip) for flip in zip(down, right, strict=True)])


def dihedral(images, masks, rng, optical_bands=()):
    """Apply one of the square's eight flips and quarter turns, equally likely, to each patch (H must equal W)."""
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"quarter turns need square patches, not {images.shape[1]} x {images.shape[2]}")
    down, right, turned = rng.random((3, len(images))) < 0.5  # two flips and a transpose give all eight
    return _move(images, masks, [_flipped(*flip) for flip in zip(down, right, turned, strict=True)])


def _flipped(down, right, turned=False):
    """Return a function that flips and transposes one H x W (x C) array, as a view."""

    def view(array):
        array = array[:: -1 if down else 1, :: -1 if right else 1]
        return array.swapaxes(0, 1) if turned else array

    return view


def _move(images, masks, views):
    """Apply one function to the image and mask of each patch, copying every pixel only once."""
    moved = np.empty_like(images), np.empty_like(masks)
    for i, view in enumerate(views):
        moved[0][i], moved[1][i] = view(images[i]), view(masks[i])
    return moved


def affine(images, masks, rng, optical_bands=(), fraction=0.5):
    """Rotate (any angle), zoom (0.75 to 1.33) and shift (up to 1/8) a `fraction` of the patches; edges are mirrored."""
    images, masks = images.copy(), masks.copy()
    size = np.array(images.shape[1:3])
    pixels = np.indices(size, np.float32).reshape(2, -1)
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        angle, zoom = rng.uniform(-np.pi, np.pi), np.exp(rng.uniform(-0.288, 0.288))
        matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / zoom
        offset = (size - 1) / 2 - matrix @ ((size - 1) / 2 + size * rng.uniform(-0.125, 0.125, 2))
        source = matrix.astype(np.float32) @ pixels + offset.astype(np.float32)[:, None]
        images[i], masks[i] = _resample(images[i], masks[i], source.reshape(2, *size))
        _tell_zoom(images[i], optical_bands, 1 / zoom)
    return images, masks


def pixel_size(images, masks, rng, optical_bands=(), fraction=0.35):
    """Resample a `fraction` of the patches as if their pixels were 0.3 to 2 times as large; edges are mirrored.

    Patches of 10 m then look as 3 m to 20 m do.
    """
    images, masks = images.copy(), masks.copy()
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        factor = np.exp(rng.uniform(*np.log(PIXEL_SIZES)))
        images[i], masks[i] = with_pixels(images[i], masks[i], factor)
        _tell_zoom(images[i], optical_bands, factor)
    return images, masks


def _tell_zoom(image, optical_bands, factor):
    """Change the plane of the pixel size of a patch, in place, whose pixels have become `factor` times as large."""
    plane = getattr(optical_bands, "size_plane", None)
    if plane is not None:
        image[..., plane] -= np.float32(np.log2(factor))


def with_pixels(image, mask, factor, shift=0.0):
    """Resample one patch to pixels `factor` times as large around its middle, moved down and right by `shift` pixels.

    Larger pixels average the ground that they cover. Edges are mirrored.
    """
    if factor > 1:  # a box `factor` pixels wide instead of one pixel; its variance is width squared / 12
        image = scipy.ndimage.gaussian_filter(image, np.sqrt((factor**2 - 1) / 12), axes=(0, 1), mode="mirror")
    size = np.array(mask.shape)
    middle = (size - 1).reshape(2, 1, 1) / 2
    source = middle + factor * (np.indices(size) - middle) - shift
    return _resample(image, mask, source.astype(np.float32))


def elastic(images, masks, rng, optical_bands=(), fraction=0.5, shift=6.0):
    """Deform a `fraction` of the patches by a smooth field of about half of `shift` pixels (Simard 2003, ICDAR)."""
    images, masks = images.copy(), masks.copy()
    size = images.shape[1:3]
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        source = np.indices(size, np.float32) + shift * np.stack([_smooth(rng, size), _smooth(rng, size)])
        images[i], masks[i] = _resample(images[i], masks[i], source)
    return images, masks


def _resample(image, mask, source):
    """Sample one patch at `source` (2 x H x W): the image bilinearly, the mask at the nearest pixel; edges mirrored.

    A sparse matrix of the four weights for each pixel resamples all bands in one pass with little memory. This must be
    fast, because augmentation competes with the network for the processor.
    """
    height, width = mask.shape
    first = np.floor(source)
    (down, right), (row, column) = (source - first).reshape(2, -1), first.reshape(2, -1).astype(np.int32)
    rows = [mirrored(row + i, height) * width for i in (0, 1)]
    columns = [mirrored(column + j, width) for j in (0, 1)]
    pixels, weights = np.empty((mask.size, 4), np.int32), np.empty((mask.size, 4), np.float32)
    for corner in range(4):
        i, j = divmod(corner, 2)
        np.add(rows[i], columns[j], out=pixels[:, corner])
        np.multiply((1 - down, down)[i], (1 - right, right)[j], out=weights[:, corner])
    starts = np.arange(0, pixels.size + 1, 4, dtype=np.int32)
    matrix = scipy.sparse.csr_array((weights.ravel(), pixels.ravel(), starts), shape=(mask.size, mask.size))
    moved = matrix @ image.reshape(mask.size, -1)
    nearest = np.where(down < 0.5, *rows) + np.where(right < 0.5, *columns)
    return moved.reshape(image.shape), mask.ravel()[nearest].reshape(mask.shape)


def mirrored(index, size):
    """Return indices on a line of `size` pixels; those beyond its ends are mirrored, as often as needed."""
    period = max(2 * size - 2, 1)
    index = np.abs(index) % period
    return np.minimum(index, period - index)


def _smooth(rng, size, cells=4):
    """Return a smooth random field of (height, width), centred on 0 and seldom outside -1 ... 1."""
    coarse = 0.5 * rng.standard_normal((cells, cells))
    return scipy.ndimage.zoom(coarse, np.divide(size, cells), order=3, mode="mirror", grid_mode=True).astype(np.float32)


def colour(images, masks, rng, optical_bands=()):
    """Change the brightness of a patch by up to 15 %, of each band by another 5 %, and the contrast by up to 20 %.

    Contrast is relative to each band's mean m over the patch: x becomes c x + (g - c) m, with gain g and contrast c.
    """
    images = images.copy()
    count, bands = len(images), len(optical_bands)
    gain = rng.uniform(0.85, 1.15, (count, 1, 1, 1)) * rng.uniform(0.95, 1.05, (count, 1, 1, bands))
    contrast = rng.uniform(0.8, 1.2, (count, 1, 1, 1)) * gain
    light = images[..., optical_bands]
    middle = light.mean((1, 2), keepdims=True)
    images[..., optical_bands] = (contrast.astype(np.float32) * light + ((gain - contrast) * middle)).astype(np.float32)
    return images, masks


def noise(images, masks, rng, optical_bands=()):
    """Add normal noise to each pixel, of up to 10 % of each band's standard deviation over the patch."""
    images = images.copy()
    light = images[..., optical_bands]
    deviation = light.std((1, 2), keepdims=True) * rng.uniform(0, 0.1, (len(images), 1, 1, 1))
    images[..., optical_bands] = light + (deviation * rng.standard_normal(light.shape, np.float32)).astype(np.float32)
    return images, masks


def band_dropout(images, masks, rng, optical_bands=(), fraction=0.5):
    """Replace one band of a `fraction` of the patches by its mean over the batch, as if the sensor lacked it."""
    if not len(optical_bands):
        return images, masks
    images = images.copy()
    means = images.mean((0, 1, 2))
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        band = rng.choice(optical_bands)
        images[i, ..., band] = means[band]
    return images, masks


def haze(images, masks, rng, optical_bands=(), fraction=0.5):
    """Add uneven haze of up to 60 % opacity to a `fraction` of the patches.

    Koschmieder's law (1924): x becomes t x + (1 - t) a, where a is each band's 98th percentile over the patch.
    """
    images = images.copy()
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        light = images[i][..., optical_bands]
        airlight = np.percentile(light, 98, axis=(0, 1)).astype(np.float32)
        opacity = np.float32(rng.uniform(0, 0.6)) * np.clip(0.7 + 0.6 * _smooth(rng, light.shape[:2]), 0, 1)[..., None]
        images[i][..., optical_bands] = light + opacity * (airlight - light)
    return images, masks


def shadow(images, masks, rng, optical_bands=(), fraction=0.5):
    """Add a soft-edged shadow to a part of a `fraction` of the patches, as a cloud or a ridge does.

    The shadow removes 20 to 70 % of each pixel's value above its band's 1st percentile over the patch. That percentile
    stands for light scattered by the air, which a shadow does not remove.
    """
    images = images.copy()
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        light = images[i][..., optical_bands]
        scattered = np.percentile(light, 1, axis=(0, 1)).astype(np.float32)
        dark = np.float32(rng.uniform(0.2, 0.7)) * np.clip(4 * _smooth(rng, light.shape[:2]), 0, 1)[..., None]
        images[i][..., optical_bands] = light - dark * np.maximum(light - scattered, 0)
    return images, masks


def _partners(count, rng):
    """Return the position of another patch of the batch for each patch."""
    return (np.arange(count) + rng.integers(1, max(count, 2))) % count


def cutmix(images, masks, rng, optical_bands=(), fraction=0.5):
    """Paste a rectangle of another patch into a `fraction` of the patches (Yun 2019, arXiv 1905.04899).

    It has the same position in both patches; its sides are 1/4 to 1/2 of those of a patch.
    """
    images, masks = images.copy(), masks.copy()
    others = _partners(len(images), rng)
    source = images.copy(), masks.copy()
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        window = []
        for size in images.shape[1:3]:
            length = rng.integers(size // 4, size // 2 + 1)
            start = rng.integers(0, size - length + 1)
            window.append(slice(start, start + length))
        at = (i, *window)
        images[at], masks[at] = source[0][(others[i], *window)], source[1][(others[i], *window)]
    return images, masks


def copy_paste(images, masks, rng, optical_bands=(), fraction=0.5):
    """Copy the landslides of another patch onto a `fraction` of the patches (Ghiasi 2021, arXiv 2012.07177)."""
    others = _partners(len(images), rng)
    changes = rng.random(len(images)) < fraction
    pasted = (masks[others] > 0.5) & (masks[others] <= 1) & changes[:, None, None]
    return np.where(pasted[..., None], images[others], images), np.where(pasted, masks[others], masks)


def mixup(images, masks, rng, optical_bands=(), fraction=0.5):
    """Blend a `fraction` of the patches with another one, image and mask alike (Zhang 2018, arXiv 1710.09412)."""
    others = _partners(len(images), rng)
    weight = rng.beta(0.4, 0.4, len(images))
    weight = np.where(rng.random(len(images)) < fraction, np.maximum(weight, 1 - weight), 1).astype(np.float32)
    weight = weight[:, None, None]
    mixed = weight[..., None] * images + (1 - weight[..., None]) * images[others]
    unlabelled = (masks > 1) | ((masks[others] > 1) & (weight < 1))
    return mixed, np.where(unlabelled, UNLABELLED, weight * masks + (1 - weight) * masks[others])


AUGMENTATIONS = {
    "flips": flips,
    "dihedral": dihedral,
    "affine": affine,
    "elastic": elastic,
    "colour": colour,
    "noise": noise,
    "band_dropout": band_dropout,
    "haze": haze,
    "shadow": shadow,
    "pixel_size": pixel_size,
    "tilt": rendering.tilt,
    "stretched": rendering.stretched,
    "gain": rendering.gain,
    "airlight": rendering.airlight,
    "gamma": rendering.gamma,
    "compression": rendering.compression,
    "rendering": rendering.rendering,
    "cutmix": cutmix,
    "copy_paste": copy_paste,
    "mixup": mixup,
}
