"""Image and mask patches on disk: find them in any of the LAYOUTS, and pair them.

An image file is HDF5 with `img` (height x width x bands, any number of bands), a mask file with `mask` (height x width,
0/1). The number in their names pairs them. Pictures (PNG, TIFF, JPEG; masks 0/1 or 0/255) are read too, and so are
series of dates (series.py), which hold image and mask. patch_reading.py reads them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

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
