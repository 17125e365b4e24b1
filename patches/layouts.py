"""Image and mask patches on disk: find them in any of the LAYOUTS, and pair them.

An image file is HDF5 with `img` (height x width x bands), a mask file HDF5 with `mask` (height x width). Pictures (PNG,
TIFF, JPEG, WebP) are read too, and so are series of dates (series.py), which hold image and mask.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from script import UserError

SPLITS = ("train", "validation", "test")
# Published layouts: {split: (image folder, mask folder)}; split "" is a folder without splits of its own. Folders are
# recognised by the words in their names, so similar layouts work, too: val/Images with val/Labels.
LAYOUTS = {
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
    # image and mask side by side, told apart by the word in the mask's name: x.jpg and x_mask.png
    "together": {"": (".", ".")},
    "together, by splits": {split: (split, split) for split in SPLITS},
}
WORDS = {  # meanings of the words in the name of a folder; in the name of a file, only the last two count
    "train": ("train", "training", "traindata"),
    "validation": ("validation", "valid", "val", "validdata", "valdata", "validationdata"),
    "test": ("test", "testing", "testdata"),
    "image": ("image", "images", "img", "imgs"),
    "mask": ("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "msk", "groundtruth"),
}
MEANING = {word: meaning for meaning, words in WORDS.items() for word in words}
HDF5 = (".h5", ".hdf5")
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
SERIES = ".nc"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
WAYS = {  # from files that are no patches to such that are, by their ending
    **dict.fromkeys(
        (".npy", ".npz", ".mat"), "Write arrays as HDF5, img and mask, or as PNG or TIFF, one for each patch"
    ),
    **dict.fromkeys((".bmp", ".jfif", ".jp2", ".gif"), "Convert pictures to PNG or TIFF"),
    **dict.fromkeys(
        (".json", ".txt", ".xml"), "Outlines in .json, .txt or .xml (COCO, YOLO, VOC) have to be drawn as masks"
    ),
    **dict.fromkeys(ARCHIVES, "Unpack archives"),
}


def is_hdf5(path):
    """Return whether a file is HDF5, judged by its ending. path: str or Path."""
    return str(path).lower().endswith(HDF5)


class NoPatches(UserError):
    """A folder that holds no patches in any layout."""


@dataclass(frozen=True)
class Entry:
    """One patch on disk. `name` is the image's path inside the data folder, `split` the folder's own or "".

    `number` pairs image and mask: a number, or text where the names hold more than one that differs. A series is its
    own mask.
    """

    name: str
    number: int | str
    split: str
    image: Path
    mask: Path | None


# ---------------------------------------------------------------------- find


def find_patches(data_dir, with_masks=True):
    """List the patches of a folder in any of the LAYOUTS, by split and number.

    Without `with_masks`, all images are listed, and their masks are ignored.

    Returns:
        (entries, faults): faults is a list of (name, what is wrong). Patches of a split without a mask folder (such as
        the competition's test images) have no masks. A mask without an image is not a fault.

    Raises:
        NoPatches: the folder holds no patches.
        UserError: it holds them in more than one layout.
    """
    data_dir = Path(data_dir)
    folders = find_folders(data_dir, with_masks)
    images = {split: names for (split, kind), names in folders.items() if kind == "image"}
    if not images and (series := find_series(data_dir, with_masks))[0]:
        return series
    if together := not images:
        folders = find_together(data_dir)
        images = {split: names for (split, kind), names in folders.items() if kind == "image"}
    if not images:
        raise NoPatches(f"{data_dir}: no patches found. {contents_text(data_dir)}")
    several = [name for names in images.values() if len(names) > 1 for name in names]
    if len(images) > 1 and "" in images:
        several = [name for names in images.values() for name in names]
    if several:
        listed = ", ".join(sorted(several))
        raise UserError(f"{data_dir} holds patches in more than one layout ({listed}): leave only one there")

    entries, faults = [], []
    for split in sorted(images, key=("", *SPLITS).index):
        (image_folder,) = images[split]
        mask_folders = folders.get((split, "mask"), []) if with_masks else []
        if len(mask_folders) > 1:
            raise UserError(f"{data_dir} holds masks in {' and '.join(mask_folders)}: leave only one there")
        files = list_files(data_dir, image_folder)
        masks = list_files(data_dir, mask_folders[0]) if mask_folders else []
        if together:
            files = [path for path in files if not is_mask(path)]
            masks = [path for path in masks if is_mask(path)]
        for key, image, mask in pair(files, masks, data_dir, faults):
            name = image.relative_to(data_dir).as_posix()
            if masks and mask is None:
                expected = f"mask_{key}{image.suffix}" if isinstance(key, int) else f"{image.stem}.*"
                faults.append((name, f"its mask is missing (expected {mask_folders[0]}/{expected})"))
            else:
                entries.append(Entry(name, key, split, image, mask))
    return entries, faults


def find_folders(data_dir, with_masks=True):
    """Find folders of images and of masks, up to two levels down: {(split or "", image or mask): [folder, ...]}.

    with_masks: whether masks in folders of their classes are looked for, and several refused.
    """
    folders = {}
    for path in sorted([*data_dir.glob("*/"), *data_dir.glob("*/*/")]):
        name = path.relative_to(data_dir).as_posix()
        meanings = [MEANING.get(word) for word in re.split(r"[/_ -]+", name.lower())]
        kinds = [meaning for meaning in meanings if meaning in ("image", "mask")]
        splits = [meaning for meaning in meanings if meaning in SPLITS]
        known = None not in meanings and len(kinds) == 1 and len(splits) < 2
        if not known:
            continue
        holding = name if list_files(data_dir, name) else ""
        if not holding and with_masks and kinds[0] == "mask":
            holding = folder_of_class(data_dir, name)
        if holding:
            folders.setdefault((splits[0] if splits else "", kinds[0]), []).append(holding)
    return folders


def folder_of_class(data_dir, name):
    """Return the only folder with patches within a folder of masks, as ArcGIS writes one for each class; or "".

    Raises UserError if there are several: which class is landslide, only the user knows.
    """
    inside = [path.name for path in sorted((data_dir / name).glob("*/")) if list_files(data_dir, f"{name}/{path.name}")]
    if any(MEANING.get(word) for each in inside for word in re.split(r"[_ -]+", each.lower())):
        return ""
    if len(inside) > 1:
        raise UserError(
            f"{data_dir / name} holds a folder for each of {len(inside)} classes ({', '.join(inside[:5])}): move the "
            f"masks of landslides into {name}/ itself, and the other folders away"
        )
    return f"{name}/{inside[0]}" if inside else ""


def find_together(data_dir):
    """Find folders with images and masks side by side, told apart by their names, as `find_folders` returns them."""
    folders = {"": "."} | {
        MEANING[path.name.lower()]: path.name
        for path in data_dir.glob("*/")
        if MEANING.get(path.name.lower()) in SPLITS
    }
    return {
        (split, kind): [name]
        for split, name in folders.items()
        for kind in ("image", "mask")
        if {is_mask(path) for path in list_files(data_dir, name)} == {False, True}
    }


def is_mask(path):
    """Return whether the name of a file has a word for masks in it."""
    return any(MEANING.get(word) == "mask" for word in re.split(r"[_ .-]+", path.stem.lower()))


def unused_folders(data_dir, entries):
    """List folders with files that look like patches but that `find_patches` does not use: [(folder, files), ...]."""
    data_dir = Path(data_dir)
    used = {path.parent for entry in entries for path in (entry.image, entry.mask) if path}
    counts = Counter()
    for path in data_dir.rglob("*"):
        hidden = path.name.startswith((".", "split_"))  # the last are pictures of make_patches.py
        if path.suffix.lower() in (*HDF5, *PICTURES) and path.parent not in used and not hidden:
            counts[path.parent.relative_to(data_dir).as_posix()] += 1
    return sorted(counts.items())


def contents_text(data_dir):
    """Return a text that lists the known layouts, and what a folder without patches holds instead."""
    layouts = (
        "Expected: .h5, .png or .tif files in images/ and masks/, in TrainData/img/ and TrainData/mask/, in "
        "images/train/ and masks/train/ or in train/images/ and train/masks/, x.png beside x_mask.png, or series (.nc)"
    )
    if data_dir.is_file():
        what = "an archive: unpack it, and give its folder" if data_dir.suffix.lower() in ARCHIVES else "a file"
        return f"{layouts}. It is {what}"
    if not data_dir.is_dir():
        return f"{layouts}. There is no such folder"
    unknown = [f"{folder}/ ({count} files)" for folder, count in unused_folders(data_dir, [])]
    folders = [path.name + "/" for path in sorted(data_dir.iterdir()) if path.is_dir()]
    contents = "patches in " + ", ".join(unknown[:5]) if unknown else ", ".join(folders[:10])
    others = other_files(data_dir)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
    hints = dict.fromkeys(hint for suffix in others for hint in [WAYS.get(suffix)] if hint)
    return ". ".join([layouts, f"Found: {'; '.join(filter(None, (contents, listed))) or 'nothing'}", *hints])


def other_files(data_dir):
    """Count the files of a folder, and below, that are no patches, by their endings: a Counter."""
    files = (path for path in data_dir.rglob("*") if path.is_file() and not path.name.startswith("."))
    suffixes = Counter(path.suffix.lower() for path in files)
    return Counter({suffix: count for suffix, count in suffixes.items() if suffix not in (*HDF5, *PICTURES, "")})


def list_files(data_dir, folder):
    """List the HDF5 files and pictures of a folder, sorted by name."""
    files = (data_dir / folder).glob("*.*")
    return sorted(path for path in files if path.suffix.lower() in (*HDF5, *PICTURES) and not path.name.startswith("."))


def find_series(data_dir, with_masks):
    """List (entries, faults) of the series in a folder, in its s2/ and one folder below; each is its own mask."""
    entries, faults, names = [], [], {}
    files = [path for pattern in ("*", "s2/*", "s2/*/*") for path in data_dir.glob(pattern + SERIES)]
    for path in sorted(path for path in files if not path.name.startswith(".")):
        name = path.relative_to(data_dir).as_posix()
        if path.stem in names:
            faults.append((name, f"has the same name as {names[path.stem]}"))
        else:
            names[path.stem] = name
            entries.append(Entry(name, path.stem, "", path, path if with_masks else None))
    return entries, faults


# ---------------------------------------------------------------------- pair


def pair(images, masks, data_dir, faults):
    """Pair images and masks; return [(key, image, mask or None), ...], sorted by key. Add other files to `faults`.

    Files pair by their names without words such as image, mask or label. Only where that leaves images without a mask,
    and the names of each folder differ in their last number alone, do they pair by this number: scene_7 and truth_007.
    The key is that number where it is the only difference, otherwise the name.
    """
    names = {path: plain_name(path) for path in (*images, *masks)}
    folders = [[names[path] for path in images], [names[path] for path in masks]]
    complete = not masks or set(folders[0]) <= set(folders[1])
    by_number = all(differ_in_one_number(folder) for folder in folders) and (not complete or unique_numbers(folders[0]))
    kind, paths_by_key = "number" if by_number else "name", []
    for files in (images, masks):
        paths = {}
        for path in files:
            name, key = path.relative_to(data_dir).as_posix(), last_number(names[path]) if by_number else names[path]
            if key is None:
                if not complete or files is images:
                    faults.append((name, "no number in the name to pair image and mask by"))
            elif key in paths:
                faults.append((name, f"has the same {kind} as {paths[key].name}"))
            else:
                paths[key] = path
        paths_by_key.append(paths)
    image_paths, mask_paths = paths_by_key
    return [(key, path, mask_paths.get(key)) for key, path in sorted(image_paths.items())]


def plain_name(path):
    """Return the name of a file in lower case, without its ending and the words for image and mask."""
    # macOS writes an accent apart from its letter
    words = re.split(r"([_ .-]+)", unicodedata.normalize("NFC", path.stem).lower())
    return "".join(word for word in words if MEANING.get(word) not in ("image", "mask")).strip("_ .-")


def last_number(name):
    """Return the last number in a name; None if there is none."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else None


def differ_in_one_number(names):
    """Return whether names that hold a number differ in their last one alone."""
    return len({re.sub(r"\d+(?=\D*$)", "", name) for name in names if last_number(name) is not None}) < 2


def unique_numbers(names):
    """Return whether all names have a last number, each its own."""
    numbers = [last_number(name) for name in names]
    return None not in numbers and len(set(numbers)) == len(numbers)
