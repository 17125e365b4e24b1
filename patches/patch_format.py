"""What the patches of a folder have in common: size, number type, bands and unit."""

import contextlib
import math
from collections import Counter
from dataclasses import dataclass, field

import h5py
import numpy as np

from bands import value_unit
from patches.layouts import is_hdf5
from patches.reading import H5_ERRORS, Fault, read_patch, size_text, squeezed
from patches.scale_tags import StoredArray, StoredTags, WrongTag
from patches.usual_values import sampled_statistics


@dataclass(frozen=True)
class PatchFormat:
    """Shape, type and bands that the patches of a folder have in common.

    Attributes:
        shape: height, width and bands of a file; () if no image can be read.
        dtype: type in which images are kept.
        file_bands, bands: names of all bands, and of those that a network takes.
        unit: of the values, as bands.value_unit returns it; "" if it is unknown.
        usual: names of the bands, and mean and variance of each, as in the config.json of a run; {} if unknown.
    """

    shape: tuple
    dtype: np.dtype | None
    file_bands: tuple = ()
    bands: tuple = ()
    unit: str = ""
    usual: dict = field(default_factory=dict)

    @classmethod
    def of(cls, patches):
        """Return the format of packing.Patches, or that of the first of several sources."""
        first, usual = patches.parts[0], []
        for part in patches.parts:
            mean, variance = sampled_statistics(part, np.arange(len(part)))
            usual.append({"bands": first.bands, "band_mean": mean, "band_variance": variance})
        unit = patches.values or value_unit(first.bands, first.dtype, usual[0]["band_mean"])
        usual = usual[0] | {"sources": usual}
        return cls(first.images.shape[1:], np.dtype(first.dtype), first.file_bands, first.bands, unit, usual)

    @classmethod
    def of_run(cls, config):
        """Return the format of the patches that a run was trained on."""
        shape = (*config["input_shape"][:2], config["file_bands"])
        names = tuple(config["file_band_names"]), tuple(config["bands"])
        return cls(shape, np.dtype(config["file_dtype"]), *names, config.get("values", ""), config)

    @property
    def values(self):
        """Number of values in a patch."""
        return math.prod(self.shape) if self.shape else 0

    def check(self, image, others="the other images", hint="", any_size=False):
        """Raise Fault if an image differs; others: words for what it is compared with; hint: for another size."""
        if image.shape[2] != self.shape[2]:
            raise Fault(f"has {image.shape[2]} bands, {others} have {self.shape[2]}")
        if image.shape[:2] != self.shape[:2] and not any_size:
            raise Fault(f"is {size_text(image.shape[:2])} pixels, {others} are {size_text(self.shape[:2])}{hint}")
        self.check_type(image, others)

    def check_type(self, image, others="the other images"):
        """Raise Fault if the values of an image cannot be kept in the type of the others."""
        if self.dtype != np.float32 and not np.can_cast(image.dtype, self.dtype):
            raise Fault(f"'img' holds {image.dtype}, {others} {self.dtype}")


def common_format(entries, options=None):
    """Return the PatchFormat of most images in a sample of at most 50, spread over the folder.

    If none of them can be read, all images are tried. Of HDF5 files only the headers are read. Images that are to be
    cut have the size of the patches.
    """
    formats, cut = Counter(), options.cut if options else None
    for (shape, dtype), count in sampled_formats(entries, options).items():
        formats[(*cut, shape[2]) if cut else shape, dtype] += count
    if not formats:
        return PatchFormat((), None)
    shape, dtype = max(formats, key=formats.get)
    # 8- and 16-bit integers stay as they are; a network does not need the digits beyond float32
    return PatchFormat(shape, dtype if dtype.kind in "ui" and dtype.itemsize <= 2 else np.dtype(np.float32))


def sampled_formats(entries, options=None):
    """Count the formats in the sample of `common_format`: {(shape, dtype): images}."""
    formats = Counter()
    for sample in (entries[:: max(1, len(entries) // 25)], entries):
        for entry in sample:
            with contextlib.suppress(*H5_ERRORS, AttributeError, WrongTag, Fault):
                shape, dtype = format_of_header(entry.image) or format_of_image(entry.image, options)
                if len(shape) == 3:
                    formats[shape, dtype] += 1
        if formats:
            break
    return formats


def format_of_header(path):
    """Return (shape, dtype) of the image in an HDF5 file from its header; None if that alone does not say it."""
    if not is_hdf5(path):
        return None
    with h5py.File(path) as file:
        stored = file["img"]
        if StoredTags(StoredArray.of(stored)).changes:
            return None
        return squeezed(np.broadcast_to(np.uint8(0), stored.shape), 3).shape, stored.dtype


def format_of_image(path, options):
    """Read an image; return (shape, dtype)."""
    image = read_patch(path, None, options).image
    return image.shape, image.dtype
