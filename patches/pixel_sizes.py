"""The size of a pixel on the ground: that of each patch, and as one more input of a network.

The same landslide covers 1 pixel at 30 m and 3600 at 0.5 m, and what surrounds it looks different, too. A network that
is told the size keeps both kinds of pictures apart. The input is a plane of `octaves`, which follows the bands.
"""

from typing import NamedTuple

import numpy as np

REFERENCE = 10.0  # metres: pixels of this size are 0 octaves
PLANE = "pixel_size"  # stands for the plane behind the names of the bands


class LearntSizes(NamedTuple):
    """The sizes of pixels that a network learns landslides from, in metres.

    Attributes:
        least, most: from the smallest to the largest. usual: their median, for patches of unknown size.
    """

    least: float
    most: float
    usual: float


def octaves(sizes):
    """Return log2(10 m / size): 0 at 10 m, 1 at 5 m. sizes: in metres, a number or an array."""
    return np.log2(REFERENCE / np.asarray(sizes, float))


def with_plane(images, sizes):
    """Append the plane of the pixel size to images, N x H x W x bands; sizes: N, in metres."""
    plane = np.broadcast_to(octaves(sizes).astype(np.float32)[:, None, None, None], (*images.shape[:3], 1))
    return np.concatenate([images, plane], axis=-1)


def shown(model, images, sizes):
    """Return images, N x H x W x bands, as a network takes them: with the plane of the pixel size, if it takes one.

    sizes: N, in metres.
    """
    takes_plane = model.input.shape[-1] == images.shape[-1] + 1
    return with_plane(images, sizes) if takes_plane else images


def network_bands(config):
    """Return the names of all inputs of the network of a run: its bands, and the plane if it is told the size."""
    return (*config["bands"], PLANE) if config.get("pixel_size_input") else tuple(config["bands"])


def learnt_from(sizes, factors=(1.0, 1.0)):
    """Return the LearntSizes of some patches; None if no size is known.

    sizes: N, in metres, NaN where it is unknown. factors: smallest and largest, by which augmentation changes them.
    """
    known = np.sort(sizes[~np.isnan(sizes)])
    if not len(known):
        return None
    return LearntSizes(float(known[0]) * factors[0], float(known[-1]) * factors[1], float(known[len(known) // 2]))


def learnt_by(config):
    """Return the LearntSizes of a run from its config.json; None if they are unknown, as in runs of former versions."""
    record = config.get("pixel_size")
    return record and LearntSizes(*(record[name] for name in LearntSizes._fields))


def known_or_usual(sizes, learnt):
    """Return sizes in metres, where they are unknown (NaN) the usual one of LearntSizes."""
    return np.where(np.isnan(sizes), learnt.usual, sizes)


def outside(size, learnt):
    """Return a text that says how far a pixel size lies outside LearntSizes, "" if it does not.

    A finer pixel counts as outside by more than a tenth, a coarser one by more than half: detail that was never seen
    misleads sooner than detail that is missing. size: in metres.
    """
    least, most, _ = learnt
    if least / 1.1 <= size <= most * 1.5:
        return ""
    return f"pixels of {size:.3g} m, and the run learnt from pixels of {least:.3g} to {most:.3g} m"


def size_class(size):
    """Return the octave that a pixel size in metres lies in: "8 to 16 m" of 10; "unknown" of NaN."""
    if np.isnan(size):
        return "unknown"
    step = np.floor(np.log2(size) + 1e-9)
    return f"{2**step:g} to {2 ** (step + 1):g} m"


def by_size_class(sizes):
    """Return {size class: N booleans, where `sizes` lie in it}, the smallest first; "unknown" comes last."""
    values, positions = np.unique(sizes, return_inverse=True)
    names = list(map(size_class, values))
    classes = np.array(names, object)[positions]
    return {name: classes == name for name in dict.fromkeys(names)}


def octave_shares(sizes):
    """Return {"8 to 16 m": share of the patches with such pixels, ...}, in the order of `by_size_class`."""
    return {name: float(np.mean(of_class)) for name, of_class in by_size_class(sizes).items()}
