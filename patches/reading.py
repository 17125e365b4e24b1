"""Read image and mask patches from their files and check them; a `Fault` describes what is wrong with a file."""

import contextlib
from dataclasses import dataclass

import h5py
import numpy as np

from bands import band_names, light
from mask_values import UNLABELLED, Labels, WrongValues, as_labels
from patches import ground, image_files, resizing, series
from patches.band_labels import SameNames, listed_bands
from patches.layouts import PICTURES, SERIES
from patches.scale_tags import LARGEST, StoredArray, StoredTags, WrongTag, scaled, without_class, without_data
from records import atomic_hdf5


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
        stated: what the image file says, as far as it does: {"bands": names, "values": unit, "pixel_size": metres,
            "scaled": True if a scale or offset was applied}.
    """

    image: np.ndarray
    labels: Labels | None
    gap: np.ndarray | None
    stated: dict

    def band_names(self, dates=0):
        """Return the names of its bands: those that the file states, or by their number. dates: of a series."""
        return tuple(self.stated.get("bands") or band_names(self.image.shape[2], dates))


# h5py raises one of these for a damaged file, depending on which bytes are damaged
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError)


def read_patch(image_path, mask_path, options=None, patch_format=None):
    """Read and check a patch, without a mask if `mask_path` is None.

    A pixel has no data if the file marks it so, if signed numbers or floats are one of scale_tags.is_fill there, or if
    a picture holds NaN there. Pixels without data are not labelled.

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
    picture, stated = is_picture(path), {}
    expected = patch_format.shape if patch_format else ()
    try:
        check_readable(path)
        if path.suffix.lower() == SERIES:
            image, mask, gap = read_dates(path, options.dates)
        elif picture:
            image, gap, stated = from_picture(image_files.read, path)
        else:
            image, gap, stated = read_stored(path)
        image, gap = checked_image(image, gap)
        stored_size = image.shape[:2]
        if options.size:
            image, gap = resizing.to_size(image, gap, options.size)
        if expected:
            hint = "; train.py --patch-size cuts them" + (", --size resamples them" if picture else "")
            patch_format.check(image, hint=hint, any_size=bool(options.cut))
        if mask_path is None:
            return Patch(image, None, gap, stated)
        if path.suffix.lower() != SERIES:
            path = mask_path
            check_readable(path)
            mask = from_picture(image_files.read_mask, path) if is_picture(path) else read_stored_mask(path)
            if fault := ground.mask_fault(image_path, path):
                raise Fault(fault)
        labels = checked_labels(stored_size, *mask)
        if options.size and stored_size != image.shape[:2]:
            labels = resizing.resized_labels(labels, image.shape[:2])
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
        image, stated = squeezed(read_array(file, "img"), 3), {}
        gap = squeezed(read_array(file, "gap"), 2) if "gap" in file else None
        attributes = StoredArray.of(file["img"]).attrs
        if "values" in attributes:
            stated["values"] = text_of(attributes["values"], "values")
        if names := stored_names(attributes.get("bands"), image.shape[-1], path):
            stated["bands"] = list(names)
        with contextlib.suppress(*H5_ERRORS):
            if 0 < (size := float(attributes["pixel_size"])) < np.inf:
                stated["pixel_size"] = size
        if image.ndim == 3 and image.dtype.kind in "uif":
            check_gap(gap, image.shape[:2])
            reflectance = light(stated.get("bands") or band_names(image.shape[2])) & (not stated.get("values"))
            stored, (image, hidden) = image, with_tags_applied(image, file["img"], reflectance)
            stated |= {} if image is stored else {"scaled": True}
            gap = hidden if gap is None else (gap != 0) | hidden
    return image, gap, stated


def stored_names(listed, count, path):
    """Return the names of `count` bands by the attribute of an HDF5 file that lists them; () if there is none.

    path: of the file, whose name may say which satellite it is of.

    Raises:
        Fault: it is no list of as many names, or several are the same.
    """
    if listed is None:
        return ()
    if np.ndim(listed) != 1:
        raise Fault(f"states its bands as {listed!r}: write a list of names, one for each band")
    texts = [text_of(name, "bands") for name in listed]
    if len(texts) != count:
        raise Fault(f"names {len(texts)} bands ({' '.join(texts)}), and 'img' holds {count}")
    try:
        return listed_bands(texts, path)
    except SameNames as fault:
        raise Fault(str(fault)) from None


def text_of(value, name):
    """Return an attribute of HDF5, or an element of one, as text; raise Fault if it is none. name: of the attribute."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        raise Fault(f"states {name} that are no text: {value!r}")
    return value


def check_gap(gap, size):
    """Raise Fault if an array of pixels without data is not as large as its image, or holds no numbers."""
    if gap is None:
        return
    shape, kind = np.shape(gap), np.asarray(gap).dtype
    if shape != size or kind.kind not in "buif":
        raise Fault(f"'gap' is {size_text(shape) or 1} {kind}: it must be {size_text(size)} numbers")


def with_tags_applied(image, array, reflectance):
    """Apply scale, offset and values of no data that an array of HDF5 states, or raise Fault.

    image: numbers of the array, height x width x bands. reflectance: see scale_tags.tagged_scaling.
    Returns (image, height x width bool: without data).
    """
    try:
        tags = StoredTags(StoredArray.of(array))
        hidden = without_data(tags.lacking(image), image.dtype) | image_files.holds_fill(image)
        return scaled(image, tags.scales, tags.offsets, reflectance), hidden
    except WrongTag as wrong:
        raise Fault(f"'img' {wrong}") from None


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
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 (such as a float64 nodata value) become infinite
            image = image.astype(np.float32)
    gap = np.zeros(image.shape[:2], bool) if gap is None else gap
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
    """Read a mask from HDF5, without leading and trailing axes of length 1; see `write_array`.

    Returns:
        (values; unlabelled, bool of the same shape: by the attributes `nodata`, `_FillValue` and `missing_value`).
    """
    with opened(path) as file:
        values = squeezed(read_array(file, "mask"), 2)
        try:
            return values, without_class(values, StoredArray.of(file["mask"]))
        except WrongTag as wrong:
            raise Fault(f"'mask' {wrong}") from None


def checked_labels(size, values, unlabelled, lossy=False, colour=()):
    """Return mask_values.Labels of a mask; raise Fault if its values or its size, that of the image, are wrong."""
    if np.shape(values) != size:
        raise Fault(f"'mask' has shape {size_text(np.shape(values)) or 'none'}, its image {size_text(size)}")
    if values.dtype.kind not in "buif":
        raise Fault(f"'mask' holds {values.dtype}, not numbers")
    try:
        return as_labels(values, unlabelled, lossy=lossy, colour=colour)
    except WrongValues as wrong:
        raise Fault(f"'mask' holds {wrong}") from None


def size_text(shape):
    """Format a shape as 128 x 128 x 14."""
    return " x ".join(map(str, shape))


def write_array(path, key, array, attributes=None, gap=None):
    """Write an array as HDF5, whole or not at all, with `attributes` of the file and the `gap` of an image, if any.

    A mask states that its 255 is not labelled: a folder of masks without a landslide does not show it.
    """
    with atomic_hdf5(path) as file:
        file[key] = array
        if gap is not None and gap.any():
            file["gap"] = gap
        file.attrs.update({"nodata": UNLABELLED} if key == "mask" else {})
        file.attrs.update(attributes or {})
