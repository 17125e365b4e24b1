"""Patches packed into memory-mapped files: the cache below results/cache, read at random with little memory."""

import contextlib
import hashlib
import json
import mmap
import os
import shutil
from pathlib import Path

import numpy as np

from bands import band_columns, band_names
from mask_values import LANDSLIDE
from records import write_json
from script import UserError

PACK_FORMAT = 5  # raise it when the content of a cache changes: caches of another format are rebuilt
HALF = np.dtype(np.float16)
COARSE = 0.002  # root mean square error of float16, in standard deviations of a band, from which on it is not used
SAMPLED = 7  # one pixel of so many tells that error; all would take longer than packing


class Patches:
    """All patches of a folder, packed in memory-mapped arrays, with a choice of bands.

    Attributes:
        names: path of each image inside the data folder, the key of split.csv and per_image.csv.
        numbers, own_splits: number and the folder's own split ("" if none) of each patch.
        images: N x H x W x all bands of the files, in file units; float16 where that is fine enough for float32.
        dtype: that they were read with: str. masks: N x H x W, uint8 0/1.
        labelled: N bool, False where there is no mask (masks then hold 255).
        file_bands, bands: names of all bands and of the chosen ones.
        values: what the files say that their values are, see bands.value_unit; None if they do not say.
        dates: number of dates chosen from each series; 0 if the files are no series.
        extents: N x 2, rows and columns of each patch that its file covers; the rest is mirrored.
        left_out: (name, fault) of patches that skip_bad left out.
        notes: lines that say what is unusual about the folder.
        digest: hash of the content, which identifies a copy of the folder. contents: hash of each image.
    """

    def __init__(self, data_dir, folder, record, bands=(), file_bands=()):
        self.data_dir = Path(data_dir)
        self.names, self.numbers = record["names"], np.array(record["numbers"])
        self.own_splits, self.labelled = np.array(record["splits"]), np.array(record["labelled"])
        self.left_out, self.digest = record["faults"], record["digest"]
        self.notes = record.get("notes", [])
        self.contents = np.array(record["contents"])
        shape = (len(self.names), *record["shape"])
        with open(folder / "images.raw", "rb") as images, open(folder / "masks.raw", "rb") as masks:
            self._pages = mmap.mmap(images.fileno(), 0, access=mmap.ACCESS_READ)
            mask_pages = mmap.mmap(masks.fileno(), 0, access=mmap.ACCESS_READ)
        self.images, self.dtype = np.frombuffer(self._pages, record["stored"]).reshape(shape), record["dtype"]
        self.masks = np.frombuffer(mask_pages, np.uint8).reshape(shape[:3])
        self.extents = np.array(record.get("extents") or [shape[1:3]] * len(self.names))
        self.dates = record.get("dates", 0)
        self.file_bands = file_bands or tuple(record.get("bands", ())) or band_names(shape[3], self.dates)
        self.values = record.get("values")
        self._columns = band_columns(bands, self.file_bands, data_dir)
        self.bands = tuple(self.file_bands[i] for i in self._columns)

    def __len__(self):
        return len(self.names)

    @property
    def input_shape(self):
        """(height, width, chosen bands) of a patch."""
        return (*self.images.shape[1:3], len(self.bands))

    def read(self, indices):
        """Read the chosen bands of some patches: n x H x W x bands, float32, in file units."""
        images = self.images[indices]
        if hasattr(self._pages, "madvise"):
            # Otherwise the pages that were read count as memory of this process, which grows to the size of the data
            # set. They stay in the system's cache.
            self._pages.madvise(mmap.MADV_DONTNEED)
        if self.bands != self.file_bands:
            images = images[..., self._columns]
        return widened(images) if images.dtype == HALF else images.astype(np.float32, copy=False)

    def read_masks(self, indices):
        """Read the masks of some patches: n x H x W, uint8."""
        return np.array(self.masks[indices])

    def statistics(self, indices):
        """Compute mean and variance of each chosen band over the pixels of some patches, in float64."""
        total, squares = np.zeros(len(self.bands)), np.zeros(len(self.bands))
        shift = self.read(indices[:1]).mean((0, 1, 2), dtype=np.float64)  # keeps large offsets from cancelling
        for i in indices:
            pixels = self.read([i]).reshape(-1, len(self.bands)) - shift
            total += pixels.sum(0)
            squares += np.square(pixels).sum(0)
        count = len(indices) * self.images.shape[1] * self.images.shape[2]
        return shift + total / count, squares / count - np.square(total / count)


def widened(halves):
    """Convert finite float16 values to float32, exactly, and several times as fast as NumPy's `astype`.

    Sign, exponent and fraction move to their places in float32. The exponent is then too small by the difference of the
    biases (IEEE 754: 127 and 15), which a factor of 2 ** 112 makes up for.
    """
    bits = halves.view(np.int16).astype(np.int32)  # keeps the sign in the first bit
    bits <<= 13
    bits &= np.int32(~0x70000000)  # copies of the sign
    values = bits.view(np.float32)
    values *= np.float32(2.0**112)
    return values


class JoinedPatches:
    """Patches of two sources as one: the positions of the second follow those of the first.

    Both must have the same shape and bands. Only what feeds and scores need is there: `read`, `read_masks`, `bands`.
    """

    def __init__(self, first, second):
        self.first, self.second, self.bands = first, second, first.bands

    def __len__(self):
        return len(self.first) + len(self.second)

    def read(self, indices):
        """Read the chosen bands of some patches: n x H x W x bands, float32, in file units."""
        return self._joined(indices, "read")

    def read_masks(self, indices):
        """Read the masks of some patches: n x H x W, uint8."""
        return self._joined(indices, "read_masks")

    def _joined(self, indices, method):
        indices = np.asarray(indices)
        later = indices >= len(self.first)
        if not later.any():
            return getattr(self.first, method)(indices)
        other = getattr(self.second, method)(indices[later] - len(self.first))
        found = np.empty((len(indices), *other.shape[1:]), other.dtype)
        found[later] = other
        if not later.all():
            found[~later] = getattr(self.first, method)(indices[~later])
        return found


def read_pack(folder):
    """Read the record of a finished cache; empty if there is none or it is damaged or incomplete."""
    try:
        record = json.loads((folder / "pack.json").read_text())
        pixels = len(record["names"]) * int(np.prod(record["shape"][:2]))
        sizes = {"masks.raw": pixels, "images.raw": pixels * record["shape"][2] * np.dtype(record["stored"]).itemsize}
        complete = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    return record if complete else {}


class PackWriter:
    """Context manager that writes a cache: whole or, if the block raises or `finish` is not called, not at all.

    Args:
        folder: of the cache; an earlier one is replaced.
        dtype: of the images that are added.
        stored: type to keep them in; HALF halves disk and memory of float32. See `coarse`.
        values: number of values of all images, whose bytes are compared with the space that is free.

    Raises:
        UserError: the disk is too small.
    """

    def __init__(self, folder, dtype, stored=None, values=0):
        self.folder, self.partial = folder, folder.with_suffix(".partial")
        self.dtype, self.stored = np.dtype(dtype), np.dtype(stored or dtype)
        self.contents, self.digest = [], hashlib.blake2b(digest_size=16)
        self.gaps, self.undecided, self.missing, self.pixels = {}, {}, 0, 0
        self.total, self.moments, self.largest = 0.0, 0.0, 0.0
        needed, free = values * self.stored.itemsize, shutil.disk_usage(folder.parent).free
        if needed > free:
            raise UserError(f"{folder.parent}: packing needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")

    def __enter__(self):
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            names = ("images.raw", "masks.raw")
            self.files = [stack.enter_context(open(self.partial / name, "wb")) for name in names]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.close()
        shutil.rmtree(self.partial, ignore_errors=True)

    def add(self, name, image, mask, gap=None, undecided=None):
        """Append a patch: image H x W x bands, mask H x W uint8; gap: H x W bool, without data.

        undecided: H x W bool, where `settle` may turn UNLABELLED into landslide.
        """
        image, mask = np.ascontiguousarray(image, self.dtype), np.ascontiguousarray(mask)
        if gap is not None:
            self.gaps[len(self.contents)] = np.packbits(gap)
            self.missing += np.count_nonzero(gap)
        if undecided is not None and undecided.any():
            self.undecided[len(self.contents)] = np.packbits(undecided)
        self.total = self.total + image.sum((0, 1), dtype=np.float64)  # gaps hold 0
        self.pixels += mask.size
        self.contents.append(content_hash(image))
        kept = image
        if self.stored == HALF:
            self.largest = max(self.largest, image.max(), -image.min())
            with np.errstate(over="ignore"):
                kept = image.astype(HALF)
            known = slice(None) if gap is None else ~gap.ravel()[::SAMPLED]
            exact, rounded = (
                part.reshape(mask.size, -1)[::SAMPLED][known].astype(np.float64) for part in (image, kept)
            )
            each = np.ones_like(exact), exact, np.square(exact), np.square(rounded - exact)
            self.moments = self.moments + np.array([values.sum(0) for values in each])
        for file, array in zip(self.files, (kept, mask), strict=True):
            file.write(array.data)
        self.digest.update(image.data)
        self.digest.update(mask)
        self.digest.update(name.encode())

    @property
    def coarse(self):
        """Whether the type that is kept loses more than COARSE of what was added so far: pack in its own type then."""
        if self.stored != HALF or not np.any(self.moments):
            return False
        count, total, squares, rounding = self.moments  # of each band
        variance = np.maximum(squares / count - np.square(total / count), 0)
        return self.largest > np.finfo(HALF).max or bool((rounding / count > COARSE**2 * variance).any())

    def settle(self, shape, undecided_is_landslide):
        """Complete what only all patches together can tell.

        Pixels without data get the mean of their band over all others, as they do when a scene is mapped.
        """
        for file in self.files:
            file.flush()
        count = len(self.contents)

        def unpacked(bits):
            return np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape[:2]).astype(bool)

        if self.undecided and undecided_is_landslide:
            masks = np.memmap(self.partial / "masks.raw", np.uint8, "r+", shape=(count, *shape[:2]))
            for i, bits in self.undecided.items():
                masks[i][unpacked(bits)] = LANDSLIDE
        if self.gaps:
            images = np.memmap(self.partial / "images.raw", self.stored, "r+", shape=(count, *shape))
            mean = self.total / (self.pixels - self.missing)
            mean = (np.rint(mean) if self.dtype.kind in "ui" else mean).astype(self.stored)
            for i, bits in self.gaps.items():
                images[i][unpacked(bits)] = mean

    def record(self, **fields):
        """Complete the record that `Patches` reads with the hashes of what was added."""
        types = {"dtype": str(self.dtype), "stored": str(self.stored)}
        return {"digest": self.digest.hexdigest(), "contents": self.contents, **types, **fields}

    def finish(self, record):
        """Write the record and put the cache in its place."""
        for file in self.files:
            file.flush()
            os.fsync(file.fileno())
        write_json(self.partial / "pack.json", record)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.partial.rename(self.folder)


def content_hash(image):
    """Hash the pixels of a contiguous image; equal pictures have equal hashes, whatever their names."""
    return hashlib.blake2b(image.data, digest_size=8).hexdigest()
