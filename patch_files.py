"""Image and mask patches on disk: find them in the layouts in use, pair them, read and check them.

An image file is HDF5 with `img` (height x width x bands, any number of bands), a mask file with `mask` (height x
width, 0/1); they belong together by the number in their names. What is wrong with a file is told as a `Fault`.
"""

import contextlib
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from runs import UserError, whole

SPLITS = ("train", "validation", "test")
LAYOUTS = {  # layout: {split: (image folder, mask folder)}; split "" is a folder without splits of its own
    "flat": {"": ("images", "masks")},
    "official": {
        "train": ("TrainData/img", "TrainData/mask"),
        "validation": ("ValidData/img", "ValidData/mask"),
        "test": ("TestData/img", "TestData/mask"),
    },
    "mirror": {split: (f"images/{split}", f"annotations/{split}") for split in SPLITS},
}


class NoPatches(UserError):
    """A folder that holds no patches in any layout."""


@dataclass(frozen=True)
class Entry:
    """One patch on disk. `name` is the image's path inside the data folder, `split` the folder's own or ""."""

    name: str
    number: int
    split: str
    image: Path
    mask: Path | None


# ---------------------------------------------------------------------- find and pair


def find_patches(data_dir, with_masks=True):
    """List the patches of a folder, whichever of the LAYOUTS it has, by split and number.

    Without `with_masks` images are listed whether they have a mask or not, and none is named.

    Returns (entries, faults): faults is a list of (name, what is wrong). A split whose mask folder is absent (the
    competition's test images, say) comes without masks; a mask without an image is nobody's fault.
    """
    data_dir = Path(data_dir)
    layouts = [
        (layout, [split for split, (images, _) in folders.items() if numbered(data_dir, images, [])])
        for layout, folders in LAYOUTS.items()
    ]
    layouts = [(layout, splits) for layout, splits in layouts if splits]
    if not layouts:
        raise NoPatches(
            f"{data_dir}: no patches (image_N.h5) found in images/, {{Train,Valid,Test}}Data/img/ or "
            "images/{train,validation,test}/"
        )
    if len(layouts) > 1:
        names = " and ".join(layout for layout, _ in layouts)
        raise UserError(f"{data_dir} holds patches in more than one layout ({names}): leave only one there")
    layout, splits = layouts[0]

    entries, faults = [], []
    for split in splits:
        image_folder, mask_folder = LAYOUTS[layout][split]
        images = numbered(data_dir, image_folder, faults)
        masks = numbered(data_dir, mask_folder, faults) if with_masks else {}
        for number, image in images.items():
            name = image.relative_to(data_dir).as_posix()
            if masks and number not in masks:
                faults.append((name, f"its mask is missing (expected {mask_folder}/mask_{number}.h5)"))
            else:
                entries.append(Entry(name, number, split, image, masks.get(number)))
    return entries, faults


def numbered(data_dir, folder, faults):
    """Files of a folder by the last number in their names, in its order; doubles are added to `faults`."""
    found = {}
    files = [path for path in (data_dir / folder).glob("*.h5") if not path.name.startswith(".")]
    for path in sorted(files):
        name, numbers = Path(folder, path.name).as_posix(), re.findall(r"\d+", path.stem)
        if not numbers:
            faults.append((name, "no number in the name to pair image and mask by"))
        elif int(numbers[-1]) in found:
            faults.append((name, f"has the same number as {found[int(numbers[-1])].name}"))
        else:
            found[int(numbers[-1])] = path
    return dict(sorted(found.items()))


# ---------------------------------------------------------------------- read and check


class Fault(Exception):
    """What is wrong with one file."""


# h5py answers damage within a file with any of these, depending on which bytes are hit
H5_ERRORS = (OSError, RuntimeError, KeyError, TypeError, ValueError)


def read_array(path, key):
    """Read dataset `key` of an HDF5 file, or raise Fault."""
    try:
        with h5py.File(path) as file:
            if not isinstance(file.get(key), h5py.Dataset):
                raise Fault(f"has no array '{key}' (it has: {', '.join(file) or 'nothing'})")
            return file[key][()]
    except H5_ERRORS:
        raise Fault("is cut short or not HDF5: fetch or write it again") from None


def read_image(path):
    """Read and check the `img` of a file, height x width x bands, finite: integers as they are, else float32."""
    image = read_array(path, "img")
    if np.ndim(image) != 3:
        raise Fault(f"'img' has shape {size_text(np.shape(image)) or 'none'}, not height x width x bands")
    if image.dtype.kind not in "uif":
        raise Fault(f"'img' holds {image.dtype}, not numbers")
    if image.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold (a float64 nodata value, say) becomes infinite
            image = image.astype(np.float32)
        if not np.isfinite(image).all():
            raise Fault(f"'img' holds NaN or infinite values ({np.count_nonzero(~np.isfinite(image))} of them)")
    return image


def read_mask(path, size):
    """Read and check the `mask` of a file: of the image's (height, width), 0 or 1; or raise Fault."""
    mask = read_array(path, "mask")
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
    """A shape as people write it."""
    return " x ".join(map(str, shape))


def write_array(path, key, array, attributes=None):
    """Write one array as HDF5, whole or not at all, with `attributes` of the file.

    It is made in memory first: on a full disk the library would crash in the middle of a file.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file[key] = array
        file.attrs.update(attributes or {})
    try:
        with whole(path) as partial:
            partial.write_bytes(content.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def common_form(entries):
    """(shape, dtype to keep) that most images have, judged by some 25 headers spread over the folder.

    If none of those can be read, by all; (None, None) if there is none at all.
    """
    forms = Counter()
    for sample in (entries[:: max(1, len(entries) // 25)], entries):
        for entry in sample:
            with contextlib.suppress(*H5_ERRORS, AttributeError), h5py.File(entry.image) as file:
                if len(file["img"].shape) == 3:
                    forms[file["img"].shape, file["img"].dtype] += 1
        if forms:
            shape, dtype = max(forms, key=forms.get)
            # 8- and 16-bit pictures stay as they are; float64 digits beyond float32 are of no use to a network
            return shape, dtype if dtype.kind in "ui" and dtype.itemsize <= 2 else np.dtype(np.float32)
    return None, None


def check_form(image, shape, dtype):
    """Raise Fault where an image differs from the rest of the folder."""
    if image.shape[2] != shape[2]:
        raise Fault(f"has {image.shape[2]} bands, the other images have {shape[2]}")
    if image.shape != shape:
        raise Fault(f"is {size_text(image.shape[:2])} pixels, the other images are {size_text(shape[:2])}")
    if dtype != np.float32 and not np.can_cast(image.dtype, dtype):
        raise Fault(f"'img' holds {image.dtype}, the other images {dtype}")
