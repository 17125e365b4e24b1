"""Renderings of a picture: stretch, brightness, haze, gamma and compression, as augmentations of augment.py.

The same ground comes in many renderings: each data set, product and viewer stretches, corrects and compresses it in its
own way. A network that has seen one rendering takes others for other ground. Worse, if ground with landslides comes in
one rendering and ground without in another, it learns the rendering. So these are applied to both alike.

All functions have the form of augment.py and change a `share` of the patches. Values stay between 0 and the largest
value of the batch (255 for 8-bit pictures): what a rendering makes brighter than that is lost, as in a file.
"""

import io

import numpy as np
from PIL import Image


def tilt(images, masks, rng, optical_bands, share=0.7, most=2.6):
    """Multiply each band by (wavelength / 560 nm) ** k, with -most < k < most, more often near the ends than near 0.

    Landslide4Sense divides red, green and blue by 445, 663 and 825, EuroSAT all of them by one number: k = -2 leads
    from the first to the second, and k = 2 back. These are the two that pictures come in, so they are drawn most: |k|
    has a density that rises from 0 in a straight line. Beyond red and blue the factor stays at theirs.
    """
    colour = np.clip(optical_bands.wavelengths, 490, 665) / 560

    def change(light, top):
        return light * colour ** (most * np.sqrt(rng.random()) * rng.choice((-1, 1)))

    return _change(images, masks, rng, optical_bands, share, change)


def stretched(images, masks, rng, optical_bands, share=0.5):
    """Stretch each band from its 2nd and 98th percentile towards 0 and the largest value, by a random part of the way.

    A viewer that stretches each band by itself goes the whole way.
    """

    def change(light, top):
        return stretch(light, top, rng.uniform(0, 1))

    return _change(images, masks, rng, optical_bands, share, change)


def stretch(light, top, way=1.0, percent=2):
    """Stretch the bands of a patch from their percentiles to 0 ... top; way 0 leaves them, 1 is the full stretch."""
    low, high = np.percentile(light, (percent, 100 - percent), axis=(0, 1))
    high = np.maximum(high, low + 0.05 * top)  # even ground, such as the sea, stays even
    return (1 - way) * light + way * top * (light - low) / (high - low)


def gain(images, masks, rng, optical_bands, share=0.5):
    """Multiply a patch by 0.45 to 1.9, and each of its bands by another 0.9 to 1.1."""

    def change(light, top):
        return light * np.exp(rng.uniform(np.log(0.45), np.log(1.9))) * rng.uniform(0.9, 1.1, light.shape[-1])

    return _change(images, masks, rng, optical_bands, share, change)


def airlight(images, masks, rng, optical_bands, share=0.5):
    """Add or take away the light that clear air scatters: even over the patch, and most in the shortest wavelength.

    It is up to half the mean of that band, and falls with the wavelength squared. Level-2A lacks it, Level-1C has it.
    Of the light of each band's darkest pixels, a tenth is left.
    """

    def change(light, top):
        weight = (optical_bands.wavelengths.min() / optical_bands.wavelengths) ** 2
        added = rng.uniform(-0.5, 0.5) * light[..., optical_bands.wavelengths.argmin()].mean() * weight
        return light + np.maximum(added, -0.9 * np.percentile(light, 1, axis=(0, 1)))

    return _change(images, masks, rng, optical_bands, share, change)


def gamma(images, masks, rng, optical_bands, share=0.5):
    """Raise the values, as shares of the largest, to a power of 0.6 to 1.6."""

    def change(light, top):
        return top * (np.maximum(light, 0) / top) ** np.exp(rng.uniform(np.log(0.6), np.log(1.6)))

    return _change(images, masks, rng, optical_bands, share, change)


def compression(images, masks, rng, optical_bands, share=0.6):
    """Compress patches of three bands as JPEG or WebP, of quality 40 to 98, and half of them of 83 or more."""

    def change(light, top):
        kind = ("JPEG", "WEBP")[rng.integers(2)]
        eight_bits = np.rint(np.clip(light * (255 / top), 0, 255)).astype(np.uint8)
        return compressed(eight_bits, kind, round(98 - 58 * rng.random() ** 2)) * (top / 255)

    return _change(images, masks, rng, optical_bands, share, change)


def compressed(picture, kind, quality):
    """Write a picture (H x W x 3, uint8) in a lossy format, JPEG or WEBP, and read it again, as float32."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, quality=quality)
    return np.asarray(Image.open(file), np.float32)


def rendering(images, masks, rng, optical_bands, share=0.7):
    """Render a `share` of the patches anew, by each function above with its own chance, and compress all patches.

    All are compressed, because some data sets come compressed: their patches must not be known by it.
    With more than three bands of light, which nobody views or compresses together, only gain and airlight change.
    """
    picture = len(optical_bands) == 3
    chosen, changed = rng.random(len(images)) < share, images
    for function in (tilt, stretched, gain, airlight, gamma) if picture else (gain, airlight):
        changed, masks = function(changed, masks, rng, optical_bands)
    images = np.where(chosen[:, None, None, None], changed, images)
    return compression(images, masks, rng, optical_bands, 1.0) if picture else (images, masks)


def _change(images, masks, rng, optical_bands, share, change):
    """Apply change(light H x W x bands, largest value) to the bands of light of a `share` of the patches."""
    top = float(images[..., optical_bands].max())
    if top <= 0:
        return images, masks
    images = images.copy()
    for i in np.flatnonzero(rng.random(len(images)) < share):
        images[i][..., optical_bands] = np.clip(change(images[i][..., optical_bands], top), 0, top)
    return images, masks
