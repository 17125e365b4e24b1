"""Ground without landslides: folders of pictures or patches, of any size and without masks, packed as patches.

A model that was trained only on patches with landslides predicts them everywhere. All pixels of these folders are
background: training mixes them into each batch, and every stage counts the false alarms on held-out ones.
"""

import hashlib
import re
from pathlib import Path

import numpy as np
from filelock import FileLock

from bands import matching_bands
from patches import image_files
from patches.cutting import LEAST, cut, patch_name
from patches.layouts import HDF5, PICTURES, SPLITS, is_hdf5
from patches.packing import PACK_FORMAT, JoinedPatches, PackWriter, Patches, content_hash, read_pack
from patches.reading import Fault, Patch, check_readable, checked_image, from_picture, read_stored
from patches.usual_values import check_unit, distance_of_patches, sampled_statistics
from script import UserError, progress, warn

SUFFIXES = (*HDF5, *PICTURES)
FRACTIONS = (0.8, 0.1, 0.1)  # of the sources for training, validation and test


def open_landslide_free(folders, patch_format, cache_dir="results/cache", pixel_size=None):
    """Find, check and pack landslide-free ground, or open the cache if no file has changed since.

    Pictures larger than a patch are cut into patches. A smaller picture, or a smaller rest, lies in the top left corner
    of a patch, and the remainder of the patch is its mirror image. Equal patches are kept once.

    Args:
        folders: folders that hold pictures (PNG, TIFF, JPEG, WebP) or HDF5 patches (`img`), at any depth.
        patch_format: PatchFormat of the patches that this ground is used with; its values must have the same units.
        cache_dir: where packed folders are kept.
        pixel_size: side of a pixel in metres, for files that do not state it; None: unknown.

    Returns:
        packing.Patches whose masks are all 0, or None without folders. `own_splits` depend on the name of the source
        alone, `extents` give the part of each patch that is not mirrored.

    Raises:
        UserError: a folder holds no pictures, or a file cannot be used.
    """
    if not folders:
        return None
    files = [pair for folder in folders for pair in find_pictures(folder)]
    state = [(name, path.stat().st_size, path.stat().st_mtime_ns) for name, path in files]
    wanted = PACK_FORMAT, patch_format.shape, str(patch_format.dtype), patch_format.file_bands, patch_format.unit
    key = hashlib.sha256(repr((*wanted, state)).encode()).hexdigest()
    folder = Path(cache_dir, f"landslide_free-{key[:12]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        record = read_pack(folder)
        if record.get("key") != key:
            record = pack(files, patch_format, folder, key)
    ground = Patches(" ".join(map(str, folders)), folder, record, patch_format.bands, patch_format.file_bands)
    if pixel_size:
        ground.pixel_sizes[np.isnan(ground.pixel_sizes)] = pixel_size
    statistics = sampled_statistics(ground, np.arange(len(ground)))
    if patch_format.usual and (text := distance_of_patches(*statistics, patch_format.usual, "the training patches")):
        warn(f"{ground.data_dir}: {text}")
    return ground


def join(patches, landslide_free, validation_count, share, seed=0):
    """Join landslide-free ground to the patches that a network is trained on.

    Validation gets the same share of landslide-free ground as training, so that an epoch with few false alarms is kept.

    Args:
        patches, landslide_free: packing.Patches.
        validation_count: number of patches in the validation split.
        share: share of landslide-free ground in a batch.
        seed: of the draw for validation.

    Returns:
        (packing.JoinedPatches, positions of landslide-free training patches, positions of those for validation).

    Raises:
        UserError: there are too few pictures for three splits.
    """
    positions = {split: len(patches) + np.flatnonzero(landslide_free.own_splits == split) for split in SPLITS}
    if not all(map(len, positions.values())):
        raise UserError("--landslide-free-dirs: too few pictures to split into training, validation and test")
    count = round(validation_count * share / (1 - share))
    held_out = np.random.default_rng(seed).permutation(positions["validation"])[:count]
    return JoinedPatches(patches, landslide_free), positions["train"], np.sort(held_out)


def find_pictures(folder):
    """List (name, path) of the pictures and patches in a folder, at any depth; names start with the folder's own."""
    folder = Path(folder)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.name[0] != ".")
    if not paths:
        missing = "no such folder" if not folder.is_dir() else "no pictures (.png, .tif, .jpg, .webp) or patches (.h5)"
        raise UserError(f"{folder}: {missing}: --landslide-free-dirs takes folders of ground without landslides")
    top = folder.resolve().name
    return [(f"{top}/{path.relative_to(folder).as_posix()}", path) for path in paths]


def pack(files, patch_format, folder, key):
    """Cut all files to patches and write the cache; return its record. Raises UserError if no patch is left."""
    names, extents, pixel_sizes, contents, shape = [], [], [], set(), patch_format.shape
    mask = np.zeros(shape[:2], np.uint8)
    with PackWriter(folder, patch_format.dtype) as writer:
        for name, path in progress(files, f"packing {len(files)} landslide-free pictures"):
            image, gap, pixel_size = read_image(path, patch_format)
            for corner, (patch, hidden), extent in cut((image, gap), shape[:2]):
                content = content_hash(np.ascontiguousarray(patch))
                if content not in contents and not hidden.any():
                    contents.add(content)
                    writer.add(name, patch, mask)
                    names.append(patch_name(name, corner))
                    extents.append(extent)
                    pixel_sizes.append(pixel_size)
        if not names:
            raise UserError(f"{files[0][1].parent}: no patch is left, because all of them hold pixels without data")
        record = writer.record(
            key=key,
            shape=list(shape),
            names=names,
            numbers=[source(name) for name in names],
            splits=[split_of(source(name)) for name in names],
            labelled=[True] * len(names),
            extents=extents,
            pixel_sizes=pixel_sizes,
            faults=[],
        )
        writer.finish(record)
    return record


def read_image(path, patch_format):
    """Read a picture or patch with the bands of the training patches, by name; raise UserError that names the file.

    Returns (image height x width x bands, gap height x width bool: without data, size of a pixel in metres or None).
    """
    try:
        check_readable(path)
        arrays = is_hdf5(path)
        if arrays:
            image, gap, stated = read_stored(path)
        else:
            image, gap, stated = from_picture(image_files.read, path)
        image, gap = checked_image(image, gap)
        names = Patch(image, None, gap, stated).band_names()
        image = image[..., matching_bands(patch_format.file_bands, names, path, "the training patches", arrays=arrays)]
        check_unit(path, stated.get("values"), patch_format.unit, "the training patches")
        if min(image.shape[:2]) < LEAST:
            raise Fault(f"is {image.shape[0]} x {image.shape[1]} pixels; {LEAST} a side are the least")
        patch_format.check_type(image, "the training patches")
    except Fault as fault:
        raise UserError(f"{path}: {fault}") from None
    gap = np.zeros(image.shape[:2], bool) if gap is None else gap
    return image.astype(patch_format.dtype, copy=False), gap, stated.get("pixel_size")


def source(name):
    """Return the source of a patch: one for all crops NAME_ROW_COLUMN of a picture, and for all patches of a file."""
    return re.sub(r"(?<=\d)_\d+_\d+$", "", name.split("@")[0].rsplit(".", 1)[0])


def split_of(source):
    """Return the split of a source. It depends on the name alone, so adding files changes no other split."""
    number = int.from_bytes(hashlib.blake2b(source.encode(), digest_size=4).digest(), "big") / 2**32  # from 0 to 1
    return SPLITS[int(np.searchsorted(np.cumsum(FRACTIONS)[:-1], number, side="right"))]
