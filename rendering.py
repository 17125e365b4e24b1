"""Renderings of a picture: stretch, brightness, haze, gamma and compression, as augmentations of augment.py.

The same ground exists in many renderings: each data set, product and viewer stretches, corrects and compresses it
differently. A network that was trained on one rendering takes others for other ground. Worse, if ground with landslides
has one rendering and ground without landslides another, the network learns the rendering. So these functions are
applied to both.

All functions have the arguments of those in augment.py and change a `fraction` of the patches. Values stay between 0
and the largest value of the batch (255 for 8-bit pictures): brighter ones are clipped, as in a file.
"""

import io

import numpy as np
from PIL import Image


def tilt(images, masks, rng, optical_bands, fraction=0.7, largest=2.6):
    """Multiply each band by (wavelength / 560 nm) ** k, with |k| below `largest` and more often large than near 0.

    Landslide4Sense divides red, green and blue by 445, 663 and 825, EuroSAT all three by one number: k = -2 leads from
    the first to the second, and k = 2 back. Both are common, so large |k| are drawn more often: the density of |k|
    rises linearly from 0. Beyond red and blue the factor stays constant.
    """
    colour = np.clip(optical_bands.wavelengths, 490, 665) / 560

    def change(light, top):
        return light * colour ** (largest * np.sqrt(rng.random()) * rng.choice((-1, 1)))

    return _change(images, masks, rng, optical_bands, fraction, change)


def stretched(images, masks, rng, optical_bands, fraction=0.5):
    """Stretch each band from its 2nd and 98th percentile towards 0 and the largest value, by a random strength.

    A viewer that stretches each band separately has the strength 1.
    """

    def change(light, top):
        return stretch(light, top, rng.uniform(0, 1))

    return _change(images, masks, rng, optical_bands, fraction, change)


def stretch(light, top, strength=1.0, percent=2):
    """Stretch the bands of a patch from their percentiles to 0 ... top; strength: 0 for no stretch, 1 for all of it."""
    low, high = np.percentile(light, (percent, 100 - percent), axis=(0, 1))
    high = np.maximum(high, low + 0.05 * top)  # uniform ground, such as the sea, stays uniform
    return (1 - strength) * light + strength * top * (light - low) / (high - low)


def gain(images, masks, rng, optical_bands, fraction=0.5):
    """Multiply a patch by 0.45 to 1.9, and each of its bands by another 0.9 to 1.1."""

    def change(light, top):
        return light * np.exp(rng.uniform(np.log(0.45), np.log(1.9))) * rng.uniform(0.9, 1.1, light.shape[-1])

    return _change(images, masks, rng, optical_bands, fraction, change)


def airlight(images, masks, rng, optical_bands, fraction=0.5):
    """Add or remove the light that clear air scatters: the same over the patch, and most at the shortest wavelength.

    It is up to half the mean of that band, and falls with the square of the wavelength. Level-1C contains it, Level-2A
    does not. At least a tenth of the light of each band's darkest pixels is left.
    """

    def change(light, top):
        weight = (optical_bands.wavelengths.min() / optical_bands.wavelengths) ** 2
        added = rng.uniform(-0.5, 0.5) * light[..., optical_bands.wavelengths.argmin()].mean() * weight
        return light + np.maximum(added, -0.9 * np.percentile(light, 1, axis=(0, 1)))

    return _change(images, masks, rng, optical_bands, fraction, change)


def gamma(images, masks, rng, optical_bands, fraction=0.5):
    """Raise the values, divided by the largest one, to a power of 0.6 to 1.6."""

    def change(light, top):
        return top * (np.maximum(light, 0) / top) ** np.exp(rng.uniform(np.log(0.6), np.log(1.6)))

    return _change(images, masks, rng, optical_bands, fraction, change)


def compression(images, masks, rng, optical_bands, fraction=0.6):
    """Compress patches of three bands as JPEG or WebP with a quality of 40 to 98, for half of them 83 or more."""

    def change(light, top):
        kind = ("JPEG", "WEBP")[rng.integers(2)]
        eight_bits = np.rint(np.clip(light * (255 / top), 0, 255)).astype(np.uint8)
        return compressed(eight_bits, kind, round(98 - 58 * rng.random() ** 2)) * (top / 255)

    return _change(images, masks, rng, optical_bands, fraction, change)


def compressed(picture, kind, quality):
    """Return a picture (H x W x 3, uint8) after lossy compression as JPEG or WEBP, as float32."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, quality=quality)
    return np.asarray(Image.open(file), np.float32)


def rendering(images, masks, rng, optical_bands, fraction=0.7):
    """Change a `fraction` of the patches by each function above with its own fraction, and compress all patches.

    All are compressed, because some data sets are compressed, and the network must not recognise them by this. Images
    with more than three bands of light are neither viewed nor compressed: only gain and airlight change them.
    """
    picture = len(optical_bands) == 3
    changes, changed = rng.random(len(images)) < fraction, images
    for function in (tilt, stretched, gain, airlight, gamma) if picture else (gain, airlight):
        changed, masks = function(changed, masks, rng, optical_bands)
    images = np.where(changes[:, None, None, None], changed, images)
    return compression(images, masks, rng, optical_bands, 1.0) if picture else (images, masks)


def _change(images, masks, rng, optical_bands, fraction, change):
    """Apply change(light H x W x bands, largest value) to the bands of light of a `fraction` of the patches."""
    top = float(images[..., optical_bands].max())
    if top <= 0:
        return images, masks
    images = images.copy()
    for i in np.flatnonzero(rng.random(len(images)) < fraction):
        images[i][..., optical_bands] = np.clip(change(images[i][..., optical_bands], top), 0, top)
    return images, masks
