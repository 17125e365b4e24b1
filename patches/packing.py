"""Patches packed into memory-mapped files: the cache below results/cache, read at random with little memory."""

import contextlib
import hashlib
import json
import mmap
import shutil
from pathlib import Path

import numpy as np

from bands import band_columns, band_names, true_colour
from mask_values import LANDSLIDE
from patches.usual_values import mean_and_variance
from records import atomic_folder, write_json
from script import UserError

PACK_FORMAT = 15  # raise it when the content of a cache changes: caches of another format are rebuilt
RECORD = "pack.json"  # in the folder of a cache
HALF = np.dtype(np.float16)
COARSE = 0.002  # root mean square error of float16, in standard deviations of a band, above which it is not used
SAMPLED = 7  # the error is estimated from every 7th pixel; from all, it would take longer than packing


class Patches:
    """All patches of a folder, packed in memory-mapped arrays, of which some bands are read.

    Attributes:
        names: path of each image inside the data folder, the key of split.csv and per_image.csv.
        numbers, own_splits: number and the folder's own split ("" if none) of each patch.
        images: N x H x W x all bands of the files, in file units; float16 instead of float32 if that is precise enough.
        dtype: name of the type that they were read with. masks: N x H x W, uint8 0, 1 or 255 (not labelled).
        labelled: N bool, False for patches without a mask, whose masks hold 255.
        file_bands, bands: names of all bands of the files, and of those that are read.
        values: unit that the files state for their values, see bands.value_unit; None if they state none.
        dates: number of dates of each series; 0 if the files are no series.
        extents: N x 2, rows and columns of each patch that its file covers; the rest is mirrored.
        pixel_sizes: N, side of a pixel on the ground in metres; NaN where it is unknown.
        left_out: (name, fault) of patches that skip_bad left out.
        notes: lines about what is unusual in the folder.
        digest: hash of the content, which identifies a copy of the folder. contents: hash of each image.
    """

    def __init__(self, data_dir, folder, record, bands=(), file_bands=()):
        self.data_dir = Path(data_dir)
        self.names, self.numbers = record["names"], np.array(record["numbers"])
        self.own_splits, self.labelled = np.array(record["splits"]), np.array(record["labelled"])
        self.left_out, self.digest, self.notes = record["faults"], record["digest"], record["notes"]
        self.contents = np.array(record["contents"])
        shape = (len(self.names), *record["shape"])
        with open(folder / "images.raw", "rb") as images, open(folder / "masks.raw", "rb") as masks:
            self._pages = mmap.mmap(images.fileno(), 0, access=mmap.ACCESS_READ)
            mask_pages = mmap.mmap(masks.fileno(), 0, access=mmap.ACCESS_READ)
        self.images, self.dtype = np.frombuffer(self._pages, record["stored"]).reshape(shape), record["dtype"]
        self.masks = np.frombuffer(mask_pages, np.uint8).reshape(shape[:3])
        self.extents = np.array(record["extents"] or [shape[1:3]] * len(self.names))
        self.pixel_sizes = np.array(record["pixel_sizes"] or [np.nan] * len(self.names), float)  # None becomes NaN
        self.dates, self.values = record["dates"], record["values"]
        self.file_bands = file_bands or tuple(record["bands"]) or band_names(shape[3], self.dates)
        self.use(bands)

    def use(self, bands):
        """Read these bands of the files from now on; names or numbers from 1, empty for all."""
        self.use_columns(band_columns(bands, self.file_bands, self.data_dir))

    def use_columns(self, columns):
        """Read the bands at these positions of the files from now on."""
        self._columns = list(columns)
        self.bands = tuple(self.file_bands[i] for i in self._columns)

    def __len__(self):
        return len(self.names)

    @property
    def parts(self):
        """A list of these patches alone: they are one source, see sources.Sources."""
        return [self]

    @property
    def sources(self):
        """Name of the folder, in a list."""
        return [self.data_dir.resolve().name]

    @property
    def source_of(self):
        """Position of the source of each patch: N zeros."""
        return np.zeros(len(self), int)

    @property
    def input_shape(self):
        """(height, width, number of bands that are read) of a patch."""
        return (*self.images.shape[1:3], len(self.bands))

    def read(self, indices):
        """Read some patches: n x H x W x bands, float32, in file units."""
        images = self.images[indices]
        if hasattr(self._pages, "madvise"):
            # Otherwise the memory of this process grows to the size of the data set, because all pages that were read
            # count. They stay in the system's cache.
            self._pages.madvise(mmap.MADV_DONTNEED)
        if self.bands != self.file_bands:
            images = images[..., self._columns]
        return widened(images) if images.dtype == HALF else images.astype(np.float32, copy=False)

    def read_masks(self, indices):
        """Read the masks of some patches: n x H x W, uint8."""
        return np.array(self.masks[indices])

    def read_pictures(self, indices):
        """Read some patches in true colour, whatever bands are used: n x H x W x 3, in the files' type and units."""
        return self.images[indices][..., true_colour(self.file_bands)]

    def statistics(self, indices):
        """Compute mean and variance of each band over the pixels of some patches, in float64."""
        shift = self.read(indices[:1]).mean((0, 1, 2), dtype=np.float64)
        return mean_and_variance((self.read([i]).reshape(-1, len(self.bands)) for i in indices), shift)


def widened(halves):
    """Convert finite float16 values to float32, exactly, and several times as fast as NumPy's `astype`.

    The bits of sign, exponent and fraction are shifted to where float32 has them. The exponent is then too small by the
    difference of the biases (IEEE 754: 127 and 15), which a factor of 2 ** 112 corrects.
    """
    bits = halves.view(np.int16).astype(np.int32)  # keeps the sign in the first bit
    bits <<= 13
    bits &= np.int32(~0x70000000)  # copies of the sign
    values = bits.view(np.float32)
    values *= np.float32(2.0**112)
    return values


class JoinedPatches:
    """Patches of several folders as one, one after the other; all have the same shape and bands.

    It has what feeds and scores need: `read`, `read_masks`, `bands`, `pixel_sizes` and, of the first, `sources` and
    `source_of`.

    Attributes:
        parts: the patches of each folder. starts: position of the first patch of each, and the number of all.
    """

    def __init__(self, *parts):
        first = parts[0]
        self.parts, self.bands = list(parts), first.bands
        self.starts = np.append(0, np.cumsum(list(map(len, parts))))
        self.sources, self.source_of = first.sources, first.source_of
        self.pixel_sizes = np.concatenate([part.pixel_sizes for part in parts])

    def __len__(self):
        return int(self.starts[-1])

    def read(self, indices):
        """Read some patches: n x H x W x bands, float32, in file units."""
        return self._joined(indices, "read")

    def read_masks(self, indices):
        """Read the masks of some patches: n x H x W, uint8."""
        return self._joined(indices, "read_masks")

    def _joined(self, indices, method):
        indices = np.asarray(indices)
        part_of, joined = np.searchsorted(self.starts, indices, side="right") - 1, None
        for number in np.unique(part_of):
            own = part_of == number
            arrays = getattr(self.parts[number], method)(indices[own] - self.starts[number])
            if own.all():
                return arrays
            joined = np.empty((len(indices), *arrays.shape[1:]), arrays.dtype) if joined is None else joined
            joined[own] = arrays
        return joined


def read_pack(folder):
    """Read the record of a finished cache; return {} if it is missing, damaged or incomplete."""
    try:
        record = json.loads((folder / RECORD).read_text())
        pixels = len(record["names"]) * int(np.prod(record["shape"][:2]))
        sizes = {"masks.raw": pixels, "images.raw": pixels * record["shape"][2] * np.dtype(record["stored"]).itemsize}
        complete = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    return record if complete else {}


class PackWriter:
    """Context manager that writes a cache: whole or, if the block raises or `finish` is not called, not at all.

    Args:
        folder: of the cache; a former one is replaced.
        dtype: of the images that are added.
        stored: type to keep them in; HALF takes half the disk and memory of float32. See `coarse`.
        values: number of values of all images, to check that the disk has space for them.

    Raises:
        UserError: the disk is too small.
    """

    def __init__(self, folder, dtype, stored=None, values=0):
        self.folder = folder
        self.dtype, self.stored = np.dtype(dtype), np.dtype(stored or dtype)
        self.contents, self.digest = [], hashlib.blake2b(digest_size=16)
        self.gaps, self.undecided, self.missing, self.pixels = {}, {}, 0, 0
        self.total, self.moments, self.largest = 0.0, 0.0, 0.0
        needed, free = values * self.stored.itemsize, shutil.disk_usage(folder.parent).free
        if needed > free:
            raise UserError(f"{folder.parent}: packing needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free")

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.partial = stack.enter_context(atomic_folder(self.folder))
            self.partial.mkdir()
            stack.callback(self._remove_unfinished)
            names = ("images.raw", "masks.raw")
            self.files = [stack.enter_context(open(self.partial / name, "wb")) for name in names]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception):
        self._stack.__exit__(*exception)

    def _remove_unfinished(self):
        """Remove a new cache without a record, so that the former one stays."""
        if not (self.partial / RECORD).exists():
            shutil.rmtree(self.partial)

    def add(self, name, image, mask, gap=None, undecided=None):
        """Append a patch.

        Args:
            name: of the patch. image: H x W x bands. mask: H x W uint8.
            gap: H x W bool, pixels without data, where the image holds 0; None if there are none.
            undecided: H x W bool, pixels that `settle` may turn from UNLABELLED into landslide; None if there are none.
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
        """Whether float16 has too large an error for the images so far; then they must be packed in their own type."""
        if self.stored != HALF or not np.any(self.moments):
            return False
        count, total, squares, rounding = self.moments  # of each band
        variance = np.maximum(squares / count - np.square(total / count), 0)
        return self.largest > np.finfo(HALF).max or bool((rounding / count > COARSE**2 * variance).any())

    def settle(self, shape, undecided_is_landslide):
        """Fill in the pixels whose values depend on all patches.

        Undecided mask pixels become landslide if `undecided_is_landslide`. Image pixels without data get the mean of
        their band over all other pixels, as they do when a scene is mapped. shape: of an image.
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
        """Return the record that `Patches` reads: these fields, defaults for missing ones, and the content hashes."""
        types = {"dtype": str(self.dtype), "stored": str(self.stored)}
        defaults = {"bands": (), "values": None, "dates": 0, "extents": None, "pixel_sizes": None, "notes": []}
        return {"digest": self.digest.hexdigest(), "contents": self.contents, **types, **defaults, **fields}

    def finish(self, record):
        """Write the record of the now complete cache, which replaces the former one when the block ends."""
        write_json(self.partial / RECORD, record)


def content_hash(image):
    """Hash the pixels of a contiguous image; equal pictures have equal hashes, whatever their names."""
    return hashlib.blake2b(image.data, digest_size=8).hexdigest()
