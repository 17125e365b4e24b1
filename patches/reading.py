"""Image and mask patches read from their files, and checked; a `Fault` says what is wrong with a file."""

import contextlib
from collections import Counter
from dataclasses import dataclass

import h5py
import numpy as np

from patches import image_files, series
from patches.layouts import HDF5, PICTURES, SERIES
from records import atomic_hdf5

LARGEST = 1e30  # absolute value of an image, at most: beyond it lie only fill values and damage


@dataclass(frozen=True)
class ReadOptions:
    """How patches are read, beyond what their files say; each option concerns one kind of file.

    Attributes:
        dates: number of dates to choose from a series, see `series.choose_dates`.
        size: pixels a side to which a picture and its mask are resampled; 0: as they are.
    """

    dates: int = 2
    size: int = 0

    @classmethod
    def of_constants(cls, constants):
        """Return the options of a run, by the constants of train.py that it was trained with."""
        return cls(constants.get("DATES", 2), constants.get("SIZE", 0))

    def of(self, path):
        """Return the options that concern a file, with 0 for the others."""
        suffix = path.suffix.lower()
        return ReadOptions(self.dates if suffix == SERIES else 0, self.size if suffix in PICTURES else 0)


class Fault(Exception):
    """A defect of one file; the text says what is wrong.

    Attributes:
        path: of the file, if it is not the image.
        passing: whether the file may be sound and only cannot be read now (locked, no permission, a missing filter).
    """

    def __init__(self, text, passing=False):
        super().__init__(text)
        self.passing = passing


@dataclass(frozen=True)
class Patch:
    """What the files of a patch hold.

    Attributes:
        image: height x width x bands, in file units; 0 where there is no data.
        mask: height x width, uint8, or None: 0, 1, 255 where there is no label, and 254 where the file holds 255, of
            which the whole folder decides (`MaskRule`).
        gap: height x width bool, where there is no data, or None if there is data everywhere.
        stated: what an image file of make_patches.py says of itself, {"bands": names, "values": unit}; of others {}.
    """

    image: np.ndarray
    mask: np.ndarray | None
    gap: np.ndarray | None
    stated: dict


# h5py raises any of these for a damaged file, depending on which bytes are damaged
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError)


def read_patch(image_path, mask_path, options=None, form=None):
    """Read and check a patch, without a mask if `mask_path` is None.

    Pixels are without data where the file says so, where a float or 16-bit image holds one of `image_files.FILLS`, and
    where a picture holds NaN. They are not labelled.

    Args:
        image_path, mask_path: of its files; the same one for a series.
        options: ReadOptions.
        form: (shape, dtype) that the image must share with the others of its folder.

    Returns:
        Patch.

    Raises:
        Fault: its attribute `path` is the file with the defect.
    """
    path, options = image_path, (options or ReadOptions()).of(image_path)
    picture, gap, mask, stated = is_picture(path), None, None, {}
    try:
        check_readable(path)
        if path.suffix.lower() == SERIES:
            image, mask = read_dates(path, options.dates)
        elif picture:
            image, gap = from_picture(image_files.read, path, form[0][2] if form else 0)
        else:
            image, gap, stated = read_stored(path)
        image, gap = checked_image(image, gap)
        own = image.shape[:2]
        if options.size:
            image, gap = to_size(image, gap, options.size)
        if form:
            check_form(image, *form, "; train.py --size brings pictures to one size" if picture else "")
        if mask_path is None:
            return Patch(image, None, gap, stated)
        if path.suffix.lower() != SERIES:
            path = mask_path
            check_readable(path)
            mask = from_picture(image_files.read_mask, path) if is_picture(path) else read_stored_mask(path)
        mask = checked_mask(mask, own)
        if options.size and mask.shape != image.shape[:2]:
            mask = resized_mask(mask, image.shape[:2])
        return Patch(image, mask if gap is None else np.where(gap, np.uint8(255), mask), gap, stated)
    except Fault as fault:
        fault.path = path
        raise


def is_picture(path):
    """Return whether a file is a picture by its ending."""
    return path.suffix.lower() in PICTURES


def from_picture(read, *arguments):
    """Call a function of image_files.py, with Fault for NotAPicture."""
    try:
        return read(*arguments)
    except image_files.NotAPicture as error:
        raise Fault(str(error)) from None


def check_readable(path):
    """Raise Fault with the words of the system if a file cannot be opened at all."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Fault(f"cannot be opened: {error.strerror or error}", passing=True) from None


@contextlib.contextmanager
def opened(path):
    """Open an HDF5 file; Fault says what is wrong if it, or what the block reads from it, cannot be read."""
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
        raise Fault(f"is compressed with {lacking}, which is not installed", passing=True)
    return data[()]


def read_stored(path):
    """Read an image from HDF5, or raise Fault: (image, gap or None, stated); see Patch and `write_array`."""
    with opened(path) as file:
        image, stated = read_array(file, "img"), {}
        gap = squeezed(read_array(file, "gap"), 2) if "gap" in file else None
        with contextlib.suppress(*H5_ERRORS):
            stated = {"bands": [str(name) for name in file.attrs["bands"]], "values": str(file.attrs["values"])}
        return image, gap, stated


def missing_filter(data):
    """Name the HDF5 filter that an array needs and that is not installed; "" if there is none."""
    creation = data.id.get_create_plist()
    for place in range(creation.get_nfilters()):
        number, _, _, name = creation.get_filter(place)
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

    Returns (image, gap): floats as float32, 0 where there is no data; gap None if there is data everywhere.
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
    """Drop axes of length 1 before and behind, as long as an array has more than `axes`."""
    while np.ndim(array) > axes and 1 in (array.shape[0], array.shape[-1]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    return array


def read_stored_mask(path):
    """Read a mask from HDF5 as `image_files.read_mask` does, without axes of length 1 before and behind."""
    with opened(path) as file:
        mask = squeezed(read_array(file, "mask"), 2)
    return np.where(mask == 255, 254, mask).astype(mask.dtype) if mask.dtype.kind in "uif" else mask


def checked_mask(mask, size):
    """Check that a mask holds 0, 1, 254 or 255 and has the image's (height, width), or raise Fault; return uint8."""
    if np.shape(mask) != size:
        raise Fault(f"'mask' has shape {size_text(np.shape(mask)) or 'none'}, its image {size_text(size)}")
    if mask.dtype.kind not in "buif":
        raise Fault(f"'mask' holds {mask.dtype}, not numbers")
    values = np.unique(mask)
    if not np.isin(values, (0, 1, 254, 255)).all():
        values = np.where(values == 254, 255, values)
        shown = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise Fault(f"'mask' holds values other than 0 and 1 ({shown})")
    return mask.astype(np.uint8)


def to_size(image, gap, side):
    """Resample an image to `side` pixels a side; a pixel with a part of it without data has none."""
    resampled = image_files.resampled(image, (side, side))
    if gap is None:
        return resampled, None
    gap = image_files.resampled(gap[..., None].astype(np.float32), (side, side))[..., 0] > 0
    return np.where(gap[..., None], image.dtype.type(0), resampled), gap


def resized_mask(mask, size):
    """Resample a mask of 0, 1, 254 and 255: the value that covers most of a pixel, of equals the larger."""
    values = np.unique(mask)
    shares = [image_files.resampled((mask == value)[..., None].astype(np.float32), size)[..., 0] for value in values]
    return values[len(values) - 1 - np.argmax(shares[::-1], axis=0)]


class MaskRule:
    """Decide for a folder what 255 in its masks means, from all of them.

    If some masks hold 1, the folder's landslides are 1, and 255 says that there is no label (as in the maps of
    predict.py). If none does, landslides are 255.
    """

    def __init__(self):
        self.ones, self.high, self.both = [], [], []

    def add(self, name, mask):
        """Note what the mask `name` holds: 1, 254 (255 in the file), or both."""
        one, high = (mask == 1).any(), (mask == 254).any()
        if one or high:
            (self.both if one and high else self.ones if one else self.high).append(name)

    @property
    def value(self):
        """What 254 stands for: 255, no label, or 1, landslide."""
        return 255 if self.ones or self.both else 1

    def faults(self):
        """List (name, fault) of the masks that differ from the others, where that leaves the meaning of 255 open."""
        if not (self.ones and self.high) or self.both:
            return []
        few, words = self.high, "0 and 255, the others 0 and 1"
        if len(self.high) > len(self.ones):
            few, words = self.ones, "0 and 1, the others 0 and 255"
        return [(name, f"'mask' holds {words}: write all alike (255 may mark what is not labelled)") for name in few]


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


def common_form(entries, options=None):
    """Find the (shape, dtype to keep) of most images in a sample of at most 50, spread over the folder.

    If none of those can be read, all images are tried; (None, None) if no image can be read. Only the headers of HDF5
    files are read.
    """
    forms = Counter()
    for sample in (entries[:: max(1, len(entries) // 25)], entries):
        for entry in sample:
            with contextlib.suppress(*H5_ERRORS, AttributeError, Fault):
                if entry.image.suffix.lower() in HDF5:
                    with h5py.File(entry.image) as file:
                        stored = file["img"]
                        form = squeezed(np.broadcast_to(np.uint8(0), stored.shape), 3).shape, stored.dtype
                else:
                    image = read_patch(entry.image, None, options).image
                    form = image.shape, image.dtype
                if len(form[0]) == 3:
                    forms[form] += 1
        if forms:
            shape, dtype = max(forms, key=forms.get)
            # 8- and 16-bit integers stay as they are; a network does not need the digits beyond float32
            return shape, dtype if dtype.kind in "ui" and dtype.itemsize <= 2 else np.dtype(np.float32)
    return None, None


def check_form(image, shape, dtype, hint=""):
    """Raise Fault if an image differs from the rest of the folder; hint: what to do if its size differs."""
    if image.shape[2] != shape[2]:
        raise Fault(f"has {image.shape[2]} bands, the other images have {shape[2]}")
    if image.shape != shape:
        raise Fault(f"is {size_text(image.shape[:2])} pixels, the other images are {size_text(shape[:2])}{hint}")
    if dtype != np.float32 and not np.can_cast(image.dtype, dtype):
        raise Fault(f"'img' holds {image.dtype}, the other images {dtype}")
