"""Image and mask patches on disk: find them in any of the LAYOUTS, pair them, read and check them.

An image file is HDF5 with `img` (height x width x bands, any number of bands), a mask file with `mask` (height x width,
0/1). The number in their names pairs them. Pictures (PNG, TIFF, JPEG; masks 0/1 or 0/255) are read too, and so are
series of dates (series.py), which hold image and mask. A `Fault` says what is wrong with a file.
"""

import contextlib
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

import series
from records import atomic_hdf5
from script import UserError

SPLITS = ("train", "validation", "test")
LAYOUTS = {  # layout: {split: (image folder, mask folder)}; split "" is a folder without splits of its own
    "flat": {"": ("images", "masks")},
    "official": {
        "train": ("TrainData/img", "TrainData/mask"),
        "validation": ("ValidData/img", "ValidData/mask"),
        "test": ("TestData/img", "TestData/mask"),
    },
    "mirror": {split: (f"images/{split}", f"annotations/{split}") for split in SPLITS},
    "folders": {split: (f"{split}/images", f"{split}/masks") for split in SPLITS},
    "flat, img and mask": {"": ("img", "mask")},
    "flat, image and mask": {"": ("image", "mask")},
}
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
SERIES = ".nc"


class NoPatches(UserError):
    """A folder that holds no patches in any layout."""


@dataclass(frozen=True)
class Entry:
    """One patch on disk. `name` is the image's path inside the data folder, `split` the folder's own or "".

    `number` pairs image and mask: the last number in the name, or the name itself. A series is its own mask.
    """

    name: str
    number: int | str
    split: str
    image: Path
    mask: Path | None


# ---------------------------------------------------------------------- find and pair


def find_patches(data_dir, with_masks=True):
    """List the patches of a folder in any of the LAYOUTS, by split and number.

    Without `with_masks`, all images are listed, and their masks are ignored.

    Returns (entries, faults): faults is a list of (name, what is wrong). Patches of a split without a mask folder (such
    as the competition's test images) have no masks. A mask without an image is not a fault. Raises NoPatches if the
    folder holds no patches, and UserError if it holds them in more than one layout.
    """
    data_dir = Path(data_dir)
    layouts = [
        (layout, [split for split, (images, _) in folders.items() if numbered(data_dir, images, [])])
        for layout, folders in LAYOUTS.items()
    ]
    layouts = [(layout, splits) for layout, splits in layouts if splits]
    if not layouts and (series_found := find_series(data_dir, with_masks))[0]:
        return series_found
    if not layouts:
        raise NoPatches(
            f"{data_dir}: no patches (image_N.h5, .png, .tif) found in images/, {{Train,Valid,Test}}Data/img/ or "
            "images/{train,validation,test}/, and no series (.nc) there or in s2/"
        )
    if len(layouts) > 1:
        names = " and ".join(layout for layout, _ in layouts)
        raise UserError(f"{data_dir} holds patches in more than one layout ({names}): leave only one there")
    layout, splits = layouts[0]

    entries, faults = [], []
    for split in splits:
        image_folder, mask_folder = LAYOUTS[layout][split]
        images = numbered(data_dir, image_folder, faults)
        masks = numbered(data_dir, mask_folder, faults, goes_by_name(images.values())) if with_masks else {}
        for number, image in images.items():
            name = image.relative_to(data_dir).as_posix()
            if masks and number not in masks:
                expected = f"mask_{number}{image.suffix}" if isinstance(number, int) else f"{image.stem}.*"
                faults.append((name, f"its mask is missing (expected {mask_folder}/{expected})"))
            else:
                entries.append(Entry(name, number, split, image, masks.get(number)))
    return entries, faults


def find_series(data_dir, with_masks):
    """List (entries, faults) of the series in a folder, in its s2/ and one folder below; each is its own mask."""
    entries, faults, seen = [], [], {}
    files = [path for pattern in ("*", "s2/*", "s2/*/*") for path in data_dir.glob(pattern + SERIES)]
    for path in sorted(path for path in files if not path.name.startswith(".")):
        name = path.relative_to(data_dir).as_posix()
        if path.stem in seen:
            faults.append((name, f"has the same name as {seen[path.stem]}"))
        else:
            seen[path.stem] = name
            entries.append(Entry(name, path.stem, "", path, path if with_masks else None))
    return entries, faults


def numbered(data_dir, folder, faults, by_name=None):
    """Map the last number in the name of each file of a folder to the file, sorted; add duplicates to `faults`.

    by_name: map names without a final "mask" or "label" instead of numbers; None: as `goes_by_name` decides.
    """
    suffixes = (".h5", *PICTURES)
    files = [path for path in (data_dir / folder).glob("*.*") if path.suffix.lower() in suffixes]
    files = sorted(path for path in files if not path.name.startswith("."))
    by_name = goes_by_name(files) if by_name is None else by_name
    found = {}
    for path in files:
        name, numbers = Path(folder, path.name).as_posix(), re.findall(r"\d+", path.stem)
        if by_name:
            key, kind = re.sub(r"[-_ ]?(mask|label)s?$", "", path.stem, flags=re.IGNORECASE), "name"
        elif numbers:
            key, kind = int(numbers[-1]), "number"
        else:
            faults.append((name, "no number in the name to pair image and mask by"))
            continue
        if key in found:
            faults.append((name, f"has the same {kind} as {found[key].name}"))
        else:
            found[key] = path
    return dict(sorted(found.items()))


def goes_by_name(files):
    """Return whether files are pictures whose names lack a number or share their last number."""
    files = list(files)
    last = [tuple(re.findall(r"\d+", path.stem)[-1:]) for path in files]
    return bool(files) and files[0].suffix != ".h5" and (() in last or len(set(last)) < len(last))


# ---------------------------------------------------------------------- read and check


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


def read_patch(image_path, mask_path, dates=2, form=None, size=0):
    """Read and check a patch: image height x width x bands; mask height x width, or None if `mask_path` is None.

    dates: number of dates to choose from a series, see `series.choose_dates`. form: (shape, dtype) that the image must
    share with the others of its folder. size: pixels per side to which a picture and its mask are resampled; 0: as they
    are. Raises Fault; its attribute `path` is the file with the defect.
    """
    path = image_path
    try:
        if path.suffix == SERIES:
            image, mask = read_dates(path, dates)
            mask = mask if mask_path else None
        else:
            image = read_picture(path) if path.suffix.lower() in PICTURES else read_array(path, "img")
            mask = None
        image = checked_image(image)
        own, picture = image.shape[:2], path.suffix.lower() in PICTURES
        size = size if picture else 0
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


def common_form(entries, dates=2, size=0):
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
                    image, _ = read_patch(entry.image, None, dates, size=size)
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
