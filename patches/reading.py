"""Read image and mask patches from their files and check them; a `Fault` describes what is wrong with a file."""

import contextlib
import math
from collections import Counter
from dataclasses import dataclass

import h5py
import numpy as np

from mask_values import LANDSLIDE, OTHER, UNLABELLED, Labels, WrongValues, as_labels
from patches import image_files, series
from patches.layouts import HDF5, PICTURES, SERIES
from records import atomic_hdf5

LARGEST = 1e30  # absolute value of an image, at most: larger ones are fill values or damage


@dataclass(frozen=True)
class ReadOptions:
    """Settings for reading patches; each concerns one kind of file.

    Attributes:
        dates: number of dates to choose from a series, see `series.choose_dates`.
        size: pixels a side to which a picture and its mask are resampled; None: they keep their size.
        cut: (rows, columns) of the patches into which single pictures and arrays of other sizes are cut, see
            cutting.cut; None: they stay whole.
        keep_smaller: whether patches stay whole if all of a folder have one size that is no larger than `cut`.
    """

    dates: int = 2
    size: int | None = None
    cut: tuple | None = None
    keep_smaller: bool = False

    @classmethod
    def of_constants(cls, constants):
        """Return the options of a run from the constants of train.py, or the defaults for a run without constants."""
        side = constants.get("PATCH_SIZE")
        return cls(constants.get("DATES", 2), constants.get("SIZE"), (side, side) if side else None)

    def of(self, path):
        """Return the options that apply to a file, and 0 or None for the others."""
        suffix = path.suffix.lower()
        series = suffix == SERIES
        size = self.size if suffix in PICTURES else None
        return ReadOptions(self.dates if series else 0, size, None if series or size else self.cut, self.keep_smaller)


class Fault(Exception):
    """A defect of one file, described by its text.

    Attributes:
        path: of the file, if it is not the image.
        temporary: whether the file may be good and only cannot be read now (locked, no permission, a missing filter).
    """

    def __init__(self, text, temporary=False):
        super().__init__(text)
        self.temporary = temporary


@dataclass(frozen=True)
class Patch:
    """Image and labels of a patch.

    Attributes:
        image: height x width x bands, in file units; 0 in pixels without data.
        labels: mask_values.Labels of the mask, or None without one.
        gap: height x width bool, pixels without data, or None if there are none.
        stated: what the attributes of the image file say, as far as they are there: {"bands": names, "values": unit,
            "pixel_size": metres}.
    """

    image: np.ndarray
    labels: Labels | None
    gap: np.ndarray | None
    stated: dict


@dataclass(frozen=True)
class PatchFormat:
    """Shape, type and bands that the patches of a folder have in common.

    Attributes:
        shape: height, width and bands of a file; () if no image can be read.
        dtype: type in which images are kept.
        file_bands, bands: names of all bands, and of those that a network takes.
    """

    shape: tuple
    dtype: np.dtype | None
    file_bands: tuple = ()
    bands: tuple = ()

    @classmethod
    def of(cls, patches):
        """Return the format of packing.Patches, or that of the first of several sources."""
        first = patches.parts[0]
        return cls(first.images.shape[1:], np.dtype(first.dtype), first.file_bands, first.bands)

    @classmethod
    def of_run(cls, config):
        """Return the format of the patches that a run was trained on."""
        shape = (*config["input_shape"][:2], config["file_bands"])
        return cls(shape, np.dtype(config["file_dtype"]), tuple(config["file_band_names"]), tuple(config["bands"]))

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


# h5py raises one of these for a damaged file, depending on which bytes are damaged
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError)


def read_patch(image_path, mask_path, options=None, patch_format=None):
    """Read and check a patch, without a mask if `mask_path` is None.

    A pixel has no data if the file marks it so, if a float or 16-bit image holds one of `image_files.FILLS` there, or
    if a picture holds NaN there. Pixels without data are not labelled.

    Args:
        image_path, mask_path: paths of its files; the same one for a series.
        options: ReadOptions.
        patch_format: PatchFormat that the image must have; None: any.

    Returns:
        Patch.

    Raises:
        Fault: its attribute `path` is the file with the defect.
    """
    path, options = image_path, (options or ReadOptions()).of(image_path)
    picture, gap, stated, patch_format = is_picture(path), None, {}, patch_format or PatchFormat((), None)
    try:
        check_readable(path)
        if path.suffix.lower() == SERIES:
            image, mask = read_dates(path, options.dates)
            mask = mask, None
        elif picture:
            image, gap = from_picture(image_files.read, path, patch_format.shape[2] if patch_format.shape else 0)
        else:
            image, gap, stated = read_stored(path)
        image, gap = checked_image(image, gap)
        stored_size = image.shape[:2]
        if options.size:
            image, gap = to_size(image, gap, options.size)
        if patch_format.shape:
            hint = "; train.py --patch-size cuts them" + (", --size resamples them" if picture else "")
            patch_format.check(image, hint=hint, any_size=bool(options.cut))
        if mask_path is None:
            return Patch(image, None, gap, stated)
        if path.suffix.lower() != SERIES:
            path = mask_path
            check_readable(path)
            mask = from_picture(image_files.read_mask, path) if is_picture(path) else (read_stored_mask(path), None)
        labels = checked_labels(*mask, stored_size)
        if options.size and stored_size != image.shape[:2]:
            labels = resized_labels(labels, image.shape[:2])
        return Patch(image, labels if gap is None else labels.without(gap), gap, stated)
    except Fault as fault:
        fault.path = path
        raise


def is_picture(path):
    """Return whether a file is a picture, judged by its ending."""
    return path.suffix.lower() in PICTURES


def from_picture(read, *arguments):
    """Call a function of image_files.py; raise Fault instead of NotAPicture."""
    try:
        return read(*arguments)
    except image_files.NotAPicture as error:
        raise Fault(str(error)) from None


def check_readable(path):
    """Raise Fault with the error message of the system if a file cannot be opened."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Fault(f"cannot be opened: {error.strerror or error}", temporary=True) from None


@contextlib.contextmanager
def opened(path):
    """Open an HDF5 file; raise Fault if it, or what the block reads from it, cannot be read."""
    try:
        with h5py.File(path) as file:
            yield file
    except BlockingIOError:
        raise Fault("is locked: another program writes it; wait, or set HDF5_USE_FILE_LOCKING=FALSE", True) from None
    except H5_ERRORS:
        raise Fault("is cut short or not HDF5: fetch or write it again") from None


def read_array(file, key):
    """Read the dataset `key` of an open HDF5 file, or raise Fault."""
    data = file.get(key)
    if not isinstance(data, h5py.Dataset):
        raise Fault(f"has no array '{key}' (it has: {', '.join(file) or 'nothing'})")
    if lacking := missing_filter(data):
        raise Fault(f"is compressed with {lacking}, which is not installed", temporary=True)
    return data[()]


def read_stored(path):
    """Read an image from HDF5, or raise Fault: (image, gap or None, stated); see Patch and `write_array`."""
    with opened(path) as file:
        image, stated = read_array(file, "img"), {}
        gap = squeezed(read_array(file, "gap"), 2) if "gap" in file else None
        with contextlib.suppress(*H5_ERRORS):
            stated = {"bands": [str(name) for name in file.attrs["bands"]], "values": str(file.attrs["values"])}
        with contextlib.suppress(*H5_ERRORS):
            if 0 < (size := float(file.attrs["pixel_size"])) < np.inf:
                stated["pixel_size"] = size
        return image, gap, stated


def missing_filter(data):
    """Return the name of the HDF5 filter that an array needs and that is not installed; "" if there is none."""
    creation = data.id.get_create_plist()
    for i in range(creation.get_nfilters()):
        number, _, _, name = creation.get_filter(i)
        if not h5py.h5z.filter_avail(number):
            return f"HDF5 filter {number} {name.decode(errors='replace')}".strip()
    return ""


def read_dates(path, dates):
    """Read image and mask of a series of dates, or raise Fault."""
    try:
        return series.read_series(path, dates)
    except series.NotASeries as error:
        raise Fault(str(error)) from None
    except H5_ERRORS:
        raise Fault("is cut short or not NetCDF-4: fetch or write it again") from None


def checked_image(image, gap=None):
    """Check that an image is height x width x bands and finite, or raise Fault.

    Returns (image, gap): floats as float32, 0 in pixels without data; gap is None if there are none.
    """
    image = squeezed(image, 3)
    shape = np.shape(image)
    if len(shape) != 3:
        raise Fault(f"'img' has shape {size_text(shape) or 'none'}, not height x width x bands")
    if 0 in shape:
        raise Fault(f"'img' is empty ({size_text(shape)})")
    if shape[0] < 32 < min(shape[1:]):
        raise Fault(f"'img' has shape {size_text(shape)}: the bands come first; store height x width x bands")
    if image.dtype.kind not in "uif":
        raise Fault(f"'img' holds {image.dtype}, not numbers")
    gap = np.zeros(shape[:2], bool) if gap is None else np.asarray(gap)
    if gap.shape != shape[:2] or gap.dtype.kind not in "buif":
        raise Fault(f"'gap' is {size_text(gap.shape) or 1} {gap.dtype}: it must be {size_text(shape[:2])} numbers")
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 (such as a float64 nodata value) become infinite
            image = image.astype(np.float32)
    fills = image_files.FILLS if image.dtype.kind == "f" or image.dtype.itemsize > 1 else ()
    gap = (gap != 0) | np.isin(image, np.array(fills, np.float32)).any(-1)
    if gap.all():
        raise Fault("holds no data at all")
    if gap.any():
        image = np.where(gap[..., None], image.dtype.type(0), image)
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            raise Fault(f"'img' holds NaN or infinite values ({np.count_nonzero(~np.isfinite(image))} of them)")
        if np.abs(image).max() > LARGEST:
            raise Fault(f"'img' holds values beyond {LARGEST:g} ({image.flat[np.abs(image).argmax()]:g})")
    return image, gap if gap.any() else None


def squeezed(array, axes):
    """Drop leading and trailing axes of length 1, as long as an array has more than `axes`."""
    while np.ndim(array) > axes and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    return array


def read_stored_mask(path):
    """Read the values of a mask from HDF5, without leading and trailing axes of length 1."""
    with opened(path) as file:
        return squeezed(read_array(file, "mask"), 2)


def checked_labels(values, unlabelled, size):
    """Return mask_values.Labels of a mask; raise Fault if its values or its size, that of the image, are wrong."""
    if np.shape(values) != size:
        raise Fault(f"'mask' has shape {size_text(np.shape(values)) or 'none'}, its image {size_text(size)}")
    if values.dtype.kind not in "buif":
        raise Fault(f"'mask' holds {values.dtype}, not numbers")
    try:
        return as_labels(values, unlabelled)
    except WrongValues as wrong:
        raise Fault(f"'mask' holds values other than 0 and 1 ({wrong})") from None


def to_size(image, gap, side):
    """Resample an image to `side` pixels a side; a pixel that is partly without data has no data."""
    resampled = image_files.resampled(image, (side, side))
    if gap is None:
        return resampled, None
    gap = image_files.resampled(gap[..., None].astype(np.float32), (side, side))[..., 0] > 0
    return np.where(gap[..., None], image.dtype.type(0), resampled), gap


def resized_labels(labels, size):
    """Resample a mask: each pixel gets the class that covers most of it.

    If two cover as much, the order is: not labelled, undecided, landslide, other.
    """
    mask, undecided, coded = labels
    classes = (mask == UNLABELLED) & ~undecided, undecided, mask == LANDSLIDE, mask == OTHER
    covered = [image_files.resampled(each[..., None].astype(np.float32), size)[..., 0] for each in classes]
    largest = np.argmax(covered, axis=0)
    return Labels(np.array([UNLABELLED, UNLABELLED, LANDSLIDE, OTHER], np.uint8)[largest], largest == 1, coded)


def size_text(shape):
    """Format a shape as 128 x 128 x 14."""
    return " x ".join(map(str, shape))


def write_array(path, key, array, attributes=None, gap=None):
    """Write an array as HDF5, whole or not at all, with `attributes` of the file and the `gap` of an image, if any."""
    with atomic_hdf5(path) as file:
        file[key] = array
        if gap is not None and gap.any():
            file["gap"] = gap
        file.attrs.update(attributes or {})


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
            with contextlib.suppress(*H5_ERRORS, AttributeError, Fault):
                if entry.image.suffix.lower() in HDF5:
                    with h5py.File(entry.image) as file:
                        stored = file["img"]
                        shape, dtype = squeezed(np.broadcast_to(np.uint8(0), stored.shape), 3).shape, stored.dtype
                else:
                    image = read_patch(entry.image, None, options).image
                    shape, dtype = image.shape, image.dtype
                if len(shape) == 3:
                    formats[shape, dtype] += 1
        if formats:
            break
    return formats
