"""Image and mask patches read from their files, and checked; a `Fault` says what is wrong with a file."""

import contextlib
import warnings
from collections import Counter
from dataclasses import dataclass

import h5py
import numpy as np

import series
from patch_files import PICTURES, SERIES
from records import atomic_hdf5


@dataclass(frozen=True)
class ReadOptions:
    """How patches are read, beyond what their files say; each option concerns one kind of file.

    Attributes:
        dates: number of dates to choose from a series, see `series.choose_dates`.
        size: pixels a side to which a picture and its mask are resampled; 0: as they are.
    """

    dates: int = 2
    size: int = 0

    def of(self, path):
        """Return the options that concern a file, with 0 for the others."""
        suffix = path.suffix.lower()
        return ReadOptions(self.dates if suffix == SERIES else 0, self.size if suffix in PICTURES else 0)


class Fault(Exception):
    """A defect of one file; the text says what is wrong."""


# h5py raises any of these for a damaged file, depending on which bytes are damaged
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError)


def read_array(path, key):
    """Read the dataset `key` of an HDF5 file, or raise Fault."""
    try:
        with h5py.File(path) as file:
            if not isinstance(file.get(key), h5py.Dataset):
                raise Fault(f"has no array '{key}' (it has: {', '.join(file) or 'nothing'})")
            return file[key][()]
    except H5_ERRORS:
        raise Fault("is cut short or not HDF5: fetch or write it again") from None


def read_patch(image_path, mask_path, options=None, form=None):
    """Read and check a patch: image height x width x bands; mask height x width, or None if `mask_path` is None.

    options: ReadOptions. form: (shape, dtype) that the image must share with the others of its folder. Raises Fault;
    its attribute `path` is the file with the defect.
    """
    path, options = image_path, (options or ReadOptions()).of(image_path)
    size = options.size
    try:
        if path.suffix == SERIES:
            image, mask = read_dates(path, options.dates)
            mask = mask if mask_path else None
        else:
            image = read_picture(path) if path.suffix.lower() in PICTURES else read_array(path, "img")
            mask = None
        image = checked_image(image)
        own, picture = image.shape[:2], path.suffix.lower() in PICTURES
        image = resampled(image, (size, size)) if size else image
        if form:
            check_form(image, *form, "; train.py --size brings pictures to one size" if picture else "")
        if mask_path and path.suffix != SERIES:
            path = mask_path
            mask = read_picture_mask(path) if path.suffix.lower() in PICTURES else read_array(path, "mask")
        mask = None if mask is None else checked_mask(mask, own)
        if mask is not None and size:
            mask = (resampled(mask[..., None].astype(np.float32), (size, size))[..., 0] >= 0.5).astype(np.uint8)
        return image, mask
    except Fault as fault:
        fault.path = path
        raise


def read_dates(path, dates):
    """Read image and mask of a series of dates, or raise Fault."""
    try:
        return series.read_series(path, dates)
    except series.NotASeries as error:
        raise Fault(str(error)) from None
    except H5_ERRORS:
        raise Fault("is cut short or not NetCDF-4: fetch or write it again") from None


def read_picture(path):
    """Read a picture, height x width x bands, with the values of the file; or raise Fault.

    An alpha band is dropped from PNG only: GDAL takes the fourth band of any 8-bit TIFF for alpha.
    """
    from rasterio.enums import ColorInterp
    from rasterio.errors import RasterioError

    try:
        with _opened(path) as file:
            image = np.moveaxis(file.read(), 0, -1)
            alpha = path.suffix.lower() == ".png" and file.colorinterp[-1] == ColorInterp.alpha
            return image[..., :-1] if alpha else image
    except RasterioError:
        raise Fault("is cut short or not a picture: fetch or write it again") from None


def picture_size(path):
    """Read (height, width) of a picture that is known to be readable."""
    with _opened(path) as file:
        return file.shape


@contextlib.contextmanager
def _opened(path):
    """Open a picture with rasterio, without its warning that the picture is not georeferenced."""
    import rasterio

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            yield file


def resampled(image, size):
    """Resample an image to (height, width) by bilinear interpolation, which averages pixels where it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    from affine import Affine
    from rasterio.warp import Resampling, reproject

    found = np.empty((image.shape[2], *size), image.dtype)
    frames = [Affine.scale(1 / width, 1 / height) for height, width in (image.shape[:2], size)]
    reproject(
        np.ascontiguousarray(np.moveaxis(image, -1, 0)),
        found,
        src_transform=frames[0],
        dst_transform=frames[1],
        src_crs="EPSG:3857",  # any CRS, the same for both
        dst_crs="EPSG:3857",
        resampling=Resampling.bilinear,
    )
    return np.moveaxis(found, 0, -1)


def read_picture_mask(path):
    """Read a mask stored as a grey picture, height x width, with 255 as 1; or raise Fault."""
    picture = read_picture(path)
    if (picture != picture[..., :1]).any():
        raise Fault("is coloured, not a mask of 0 and 1 or 0 and 255")
    mask = picture[..., 0]
    return np.where(mask == 255, 1, mask) if not (mask == 1).any() else mask


def checked_image(image):
    """Check that an image is height x width x bands and finite, or raise Fault; return floats as float32."""
    if np.ndim(image) != 3:
        raise Fault(f"'img' has shape {size_text(np.shape(image)) or 'none'}, not height x width x bands")
    if image.dtype.kind not in "uif":
        raise Fault(f"'img' holds {image.dtype}, not numbers")
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # values beyond float32 (such as a float64 nodata value) become infinite
            image = image.astype(np.float32)
        if not np.isfinite(image).all():
            raise Fault(f"'img' holds NaN or infinite values ({np.count_nonzero(~np.isfinite(image))} of them)")
    return image


def checked_mask(mask, size):
    """Check that a mask is 0 or 1 and has the image's (height, width), or raise Fault; return it as uint8."""
    if np.shape(mask) != size:
        raise Fault(f"'mask' has shape {size_text(np.shape(mask)) or 'none'}, its image {size_text(size)}")
    if mask.dtype.kind not in "buif":
        raise Fault(f"'mask' holds {mask.dtype}, not numbers")
    values = np.unique(mask)
    if not np.isin(values, (0, 1)).all():
        shown = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        raise Fault(f"'mask' holds values other than 0 and 1 ({shown})")
    return mask.astype(np.uint8)


def size_text(shape):
    """Format a shape as 128 x 128 x 14."""
    return " x ".join(map(str, shape))


def write_array(path, key, array, attributes=None):
    """Write one array as HDF5, whole or not at all, with `attributes` of the file."""
    with atomic_hdf5(path) as file:
        file[key] = array
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
                if entry.image.suffix == ".h5":
                    with h5py.File(entry.image) as file:
                        form = file["img"].shape, file["img"].dtype
                else:
                    image, _ = read_patch(entry.image, None, options)
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
