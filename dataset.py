"""Folders of patches as arrays: checked once, packed into a memory-mapped cache, chosen by band and split.

Landslide4Sense: Ghorbanzadeh et al. 2022 (doi 10.1109/JSTARS.2022.3220845); data: Zenodo record 10463239.
"""

import contextlib
import csv
import hashlib
import json
import mmap
import os
import shutil
from pathlib import Path

import numpy as np

import series
from patch_files import (
    PICTURES,
    SERIES,
    SPLITS,
    Fault,
    NoPatches,
    common_form,
    find_patches,
    read_patch,
    size_text,
)
from runs import UserError, progress, require, write_csv, write_json
from series import TERRAIN

try:
    import fcntl
except ImportError:  # Windows: two runs that pack one folder at the same moment are then on their own
    fcntl = None

# Bands of a 14-band file in order; B8A is left out of the set. Slope in degrees, dem in metres.
BANDS_L4S = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11", "B12", *TERRAIN)
# The released values are digital numbers (slope: degrees, dem: metres) divided by these, band for band: the
# authors' words in issue 4 of the data set's repository.
SCALE_L4S = (
    (1111.8, 824.6, 663.4, 445.2, 645.9, 1547.7, 1960.4, 1941.3, 674.1, 9.05, 1114.0, 519.9)  # B1 ... B12
    + (20.29, 772.8)  # slope, dem
)
BANDS_RGB = ("red", "green", "blue")

SPLIT_METHODS = ("random", "blocks")
TEST_SPLITS = ("validation", "test")
PACK_FORMAT = 2  # raise it when the content of a cache changes: caches of another format are rebuilt
FAULTS_SHOWN = 20
UNLABELLED = 255  # fills the mask of a patch that has none
NO_MASK = "unlabelled"  # the split of a patch without a mask, or whose mask is not to be used


# ---------------------------------------------------------------------- cache


class Patches:
    """All patches of a folder, packed in memory-mapped arrays, with a choice of bands.

    Attributes:
        names: path of each image inside the data folder, the key of split.csv and per_image.csv.
        numbers, own_splits: number and the folder's own split ("" if none) of each patch.
        images: N x H x W x all bands of the files, in file units. masks: N x H x W, uint8 0/1.
        labelled: N bool, False where there is no mask (masks then hold 255).
        file_bands, bands: names of all bands and of the chosen ones.
        dates: how many were chosen of each series; 0 where the files are no series.
        left_out: (name, fault) of patches that skip_bad left out.
        digest: hash of the content, by which a copy of a data folder is known again. contents: hash of each image.
    """

    def __init__(self, data_dir, folder, record, bands=()):
        self.data_dir = Path(data_dir)
        self.names, self.numbers = record["names"], np.array(record["numbers"])
        self.own_splits, self.labelled = np.array(record["splits"]), np.array(record["labelled"])
        self.left_out, self.digest = record["faults"], record["digest"]
        self.contents = np.array(record["contents"])
        shape = (len(self.names), *record["shape"])
        with open(folder / "images.raw", "rb") as images, open(folder / "masks.raw", "rb") as masks:
            self._pages = mmap.mmap(images.fileno(), 0, access=mmap.ACCESS_READ)
            mask_pages = mmap.mmap(masks.fileno(), 0, access=mmap.ACCESS_READ)
        self.images = np.frombuffer(self._pages, record["dtype"]).reshape(shape)
        self.masks = np.frombuffer(mask_pages, np.uint8).reshape(shape[:3])
        self.dates = record.get("dates", 0)
        self.file_bands = band_names(shape[3], self.dates)
        self._columns = band_columns(bands, self.file_bands, data_dir)
        self.bands = tuple(self.file_bands[i] for i in self._columns)

    def __len__(self):
        return len(self.names)

    @property
    def input_shape(self):
        """(height, width, chosen bands) of a patch."""
        return (*self.images.shape[1:3], len(self.bands))

    def read(self, indices):
        """Chosen bands of some patches: n x H x W x bands, float32, in file units."""
        images = self.images[indices]
        if hasattr(self._pages, "madvise"):
            # What was read stays in the system's cache, but no longer counts as memory of this process: it would
            # otherwise grow to the size of the data set.
            self._pages.madvise(mmap.MADV_DONTNEED)
        if self.bands != self.file_bands:
            images = images[..., self._columns]
        return images.astype(np.float32, copy=False)

    def read_masks(self, indices):
        """Masks of some patches: n x H x W, uint8."""
        return np.array(self.masks[indices])

    def statistics(self, indices):
        """Mean and variance of each chosen band over the pixels of some patches, summed in float64."""
        total, squares = np.zeros(len(self.bands)), np.zeros(len(self.bands))
        shift = self.read(indices[:1]).mean((0, 1, 2), dtype=np.float64)  # keeps large offsets from cancelling
        for i in indices:
            pixels = self.read([i]).reshape(-1, len(self.bands)) - shift
            total += pixels.sum(0)
            squares += np.square(pixels).sum(0)
        count = len(indices) * self.images.shape[1] * self.images.shape[2]
        return shift + total / count, squares / count - np.square(total / count)


def band_names(count, dates=0):
    """Names of the bands of a file with `count` of them: Landslide4Sense's 14, red green blue, or numbers.

    dates: how many were chosen of a series; its bands are named by date.
    """
    if dates:
        return series.band_names(dates)
    return {14: BANDS_L4S, 3: BANDS_RGB}.get(count, tuple(str(i) for i in range(count)))


def band_columns(bands, file_bands, data_dir=""):
    """Positions of the chosen bands, given by name or by number from 0; none chosen means all."""
    columns = []
    for band in map(str, bands or file_bands):
        if band in file_bands:
            columns.append(file_bands.index(band))
        elif band.isdigit() and int(band) < len(file_bands):
            columns.append(int(band))
        else:
            have = f"{', '.join(file_bands)}, or 0 to {len(file_bands) - 1}"
            raise UserError(f"{data_dir}: band {band} is not in these files (they have {have})")
    if len(set(columns)) < len(columns):
        raise UserError(f"bands {', '.join(map(str, bands))} name the same band twice")
    return columns


def true_colour(file_bands):
    """Positions of red, green and blue among the bands of the files; of the first band thrice where unknown."""
    dated = [tuple(f"{band}{name[3:]}" for band in ("B04", "B03", "B02")) for name in file_bands if name[:3] == "B04"]
    for names in (("B4", "B3", "B2"), BANDS_RGB, *dated[-1:]):  # of several dates the last
        if set(names) <= set(file_bands):
            return [file_bands.index(name) for name in names]
    return [0, 1, 2] if len(file_bands) > 2 else [0, 0, 0]


def photometric(bands):
    """Positions of the bands that hold light."""
    return [i for i, band in enumerate(bands) if band not in TERRAIN]


def open_patches(data_dir, cache_dir="results/cache", bands=(), skip_bad=False, dates=2, size=0):
    """Find, check and pack the patches of a folder, or open the cache if the files have not changed since.

    Args:
        data_dir: folder in one of the LAYOUTS. Nothing is written there.
        cache_dir: where packed folders are kept, one folder for each data folder.
        bands: names or numbers of the bands to use, in order; empty for all.
        skip_bad: leave unusable files out instead of refusing the folder.
        dates: how many to choose of a series of dates; without meaning for other files.
        size: pixels to a side to which pictures are resampled, 0: as they are; without meaning for other files.

    Raises:
        UserError: with all faults of the folder (the first 20, then a count).
    """
    entries, faults = find_patches(data_dir)
    suffix = entries[0].image.suffix.lower() if entries else ""
    dates, size = dates if suffix == SERIES else 0, size if suffix in PICTURES else 0
    place = hashlib.sha256(str(Path(data_dir).resolve()).encode()).hexdigest()[:12]
    variant = f"-{dates or size}" if dates or size else ""
    folder = Path(cache_dir, f"{Path(data_dir).resolve().name}-{place}{variant}")
    key = _fingerprint(entries, faults)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock")):
        record = _read_record(folder)
        if record.get("key") != key:
            record = _pack(data_dir, entries, faults, folder, key, skip_bad, dates, size)
        if record["faults"] and not skip_bad:
            raise UserError(describe_faults(data_dir, record["faults"]))
        return Patches(data_dir, folder, record, bands)


def describe_faults(data_dir, faults):
    """Text of a UserError that lists faults: one line for one, a list for several."""
    if len(faults) == 1:
        name, fault = faults[0]
        return f"{Path(data_dir, name)}: {fault} (or leave it out with --skip-bad)"
    lines = [f"{data_dir}: {len(faults)} files cannot be used; mend them or leave them out with --skip-bad"]
    lines += [f"  {name}: {fault}" for name, fault in faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"  ... and {len(faults) - FAULTS_SHOWN} more")
    return "\n".join(lines)


def _fingerprint(entries, faults):
    """Hash of the names, sizes and times of all files, and of what was amiss in pairing them."""
    digest = hashlib.sha256(repr((PACK_FORMAT, faults)).encode())
    for entry in entries:
        for path in filter(None, (entry.image, entry.mask)):
            with contextlib.suppress(OSError):  # a broken link: reading it will tell
                state = path.stat()
                digest.update(repr((entry.name, path.name, state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()


def _read_record(folder):
    """The record of a finished cache; empty if there is none or it is damaged or incomplete."""
    try:
        record = json.loads((folder / "pack.json").read_text())
        pixels = len(record["names"]) * int(np.prod(record["shape"][:2]))
        sizes = {"masks.raw": pixels, "images.raw": pixels * record["shape"][2] * np.dtype(record["dtype"]).itemsize}
        complete = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return {}
    return record if complete else {}


def _pack(data_dir, entries, faults, folder, key, skip_bad, dates, size):
    """Read and check every file and write the cache; without `skip_bad` only if there is no fault."""
    shape, dtype = common_form(entries, dates, size)
    needed = len(entries) * int(np.prod(shape)) * dtype.itemsize if shape else 0
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise UserError(f"{folder.parent}: packing needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    faults, kept, contents, digest = list(faults), [], [], hashlib.blake2b(digest_size=16)
    try:
        with open(partial / "images.raw", "wb") as images, open(partial / "masks.raw", "wb") as masks:
            for entry in progress(entries, f"packing {len(entries)} patches"):
                try:
                    form = (shape, dtype) if shape else None
                    image, mask = read_patch(entry.image, entry.mask, dates, form, size)
                except Fault as fault:
                    path = getattr(fault, "path", entry.image)
                    faults.append((path.relative_to(data_dir).as_posix(), str(fault)))
                    continue
                if mask is None:
                    mask = np.full(image.shape[:2], UNLABELLED, np.uint8)
                image, mask = np.ascontiguousarray(image, dtype), np.ascontiguousarray(mask)
                contents.append(hashlib.blake2b(image.data, digest_size=8).hexdigest())
                for file, array in ((images, image), (masks, mask)):
                    file.write(array.data)
                    digest.update(array.data)
                digest.update(entry.name.encode())
                kept.append(entry)
            for file in (images, masks):
                file.flush()
                os.fsync(file.fileno())
        record = {
            "key": key,
            "digest": digest.hexdigest(),
            "shape": shape,
            "dtype": str(dtype),
            "names": [entry.name for entry in kept],
            "numbers": [entry.number for entry in kept],
            "splits": [entry.split for entry in kept],
            "labelled": [entry.mask is not None for entry in kept],
            "contents": contents,
            "faults": faults,
            "dates": dates,
        }
        if kept and (skip_bad or not faults):
            write_json(partial / "pack.json", record)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        elif skip_bad:
            raise UserError(describe_faults(data_dir, faults) + "\n  no usable patch is left")
        return record
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _locked(path):
    """Hold a lock file, so that of two runs that pack the same folder the second waits and finds it done."""
    with open(path, "w") as file:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ---------------------------------------------------------------------- split


def split_patches(
    patches, method="random", seed=0, test_split="test", block=20, label_share=1.0, fractions=(0.70, 0.15, 0.15)
):
    """Assign every labelled patch to train, validation or test.

    The folder's own splits are kept; of validation and test, what the folder lacks is cut from its training
    patches. Slopes that neighbouring patches share can leak between splits cut at random; `blocks` keeps runs of
    neighbouring numbers together.

    Args:
        patches: Patches.
        method: "random" or "blocks".
        seed: the same seed gives the same split on every machine.
        test_split: the folder's own split that is held out as test. "validation" serves a folder whose test labels
            are not at hand; validation is then cut from training.
        block: patches in a run, for "blocks".
        label_share: of the training patches keep their masks; the others become "unlabelled".
        fractions: shares of train, validation and test where they are cut.

    Returns:
        (assigned, notes): array of N split names, "unlabelled" for patches without a mask and "" for what is not
        used; lines that say what was cut.

    Raises:
        UserError: no masks, no training patches, or too few to cut.
    """
    if method not in SPLIT_METHODS or test_split not in TEST_SPLITS:
        raise ValueError(f"method {method!r} is none of {SPLIT_METHODS}, or test_split {test_split!r} of {TEST_SPLITS}")
    labelled = patches.labelled
    if not labelled.any():
        raise UserError(f"{patches.data_dir}: no masks beside the images; training and scoring need them")
    assigned = np.where(labelled, patches.own_splits, "").astype("U10")
    notes = []
    if test_split == "validation":
        unused = assigned == "test"
        assigned[unused] = ""
        assigned[assigned == "validation"] = "test"
        notes.append(f"the validation split of {patches.data_dir} serves as test; {unused.sum()} of its own are unused")

    flat = not (patches.own_splits != "").any()
    pool = np.flatnonzero(labelled if flat else assigned == "train")
    if not len(pool):
        raise UserError(f"{patches.data_dir}: holds no training patches with masks")
    missing = [split for split in ("validation", "test") if not (assigned == split).any()]
    groups = _groups(patches.numbers[pool], block if method == "blocks" else 1, np.random.default_rng(seed))
    if len(groups) <= len(missing):
        unit = "patches" if method == "random" else f"runs of {block} patches"
        raise UserError(f"{patches.data_dir}: too few {unit} ({len(groups)}) to cut {' and '.join(missing)} from")
    assigned[pool] = "train"
    for split in missing:
        wanted = max(1, round(fractions[SPLITS.index(split)] * len(pool)))
        taken = []
        while groups[1:] and len(taken) < wanted:  # one group at least stays for training
            taken.extend(pool[groups.pop()])
        assigned[taken] = split
        if not flat:
            notes.append(f"no {split} split to keep: {len(taken)} patches cut from training ({method})")
    train = np.flatnonzero(assigned == "train")
    hidden = np.random.default_rng([seed, 1]).permutation(train)[max(1, round(label_share * len(train))) :]
    assigned[hidden] = NO_MASK
    assigned[~labelled] = NO_MASK
    if (assigned == NO_MASK).any():
        notes.append(f"{(assigned == NO_MASK).sum()} patches count as unlabelled: only a teacher makes use of them")
    return assigned, notes


def _groups(numbers, length, rng):
    """Positions of `numbers` (ascending) in runs of `length`, the runs in random order."""
    runs = [np.arange(i, min(i + length, len(numbers))) for i in range(0, len(numbers), length)]
    return [runs[i] for i in rng.permutation(len(runs))]


def write_split(path, patches, assigned):
    rows = [row for row in zip(patches.names, assigned, patches.contents, strict=True) if row[1]]
    write_csv(path, ("image", "split", "content"), rows)


def split_table(path, stage, key="image"):
    """Read split.csv into {image, or hash of its content: split}; runs of earlier versions have no such hashes."""
    with open(require(path, stage), newline="", encoding="utf-8") as file:
        return {row.get(key): row.get("split") for row in csv.DictReader(file)}


def read_split(path, patches, stage):
    """Read split.csv into an array of N split names, "" for patches that it does not list."""
    recorded = split_table(path, stage)
    if not recorded or None in recorded or not set(recorded.values()) <= {*SPLITS, NO_MASK}:
        raise UserError(f"{path} is damaged (image,split with {', '.join(SPLITS)}): make it again with {stage}")
    gone = recorded.keys() - set(patches.names)
    if gone:
        raise UserError(f"{path} lists {len(gone)} patches that {patches.data_dir} lacks, {min(gone)} for one")
    return np.array([recorded.get(name, "") for name in patches.names])


def open_for_run(folder, config, split, data_dir="", cache_dir="results/cache", skip_bad=False, masks=True):
    """Open the patches on which a run is applied, with the bands it was trained on.

    Args:
        folder, config: of the run, as `runs.open_run` gives them.
        split: train, validation, test, or all. In the run's own data (known by content, wherever it lies) splits
            are read from split.csv; in another folder they are the folder's own.
        data_dir: folder of patches; "" for the one the run was trained on.
        cache_dir, skip_bad: see `open_patches`.
        masks: whether masks are needed. If not, a folder that has none counts as a whole, whatever `split` says.

    Returns:
        (patches, indices, own): indices of the labelled patches of the split; own: whether it is the run's data.

    Raises:
        UserError: as `open_patches`; or the run's data has changed, or other data does not fit the run.
    """
    try:
        # faults that training left out are left out again; whether these are the same is told by the digest
        patches = open_patches(
            data_dir or config["data_dir"],
            cache_dir,
            config["bands"],
            skip_bad or bool(config["left_out"]),
            config["constants"].get("DATES", 2),
            config["constants"].get("SIZE", 0),
        )
    except NoPatches as error:
        raise UserError(f"{error}; where run {folder.name}'s data lies now is said by --data-dir") from None
    own = patches.digest == config["data_digest"]
    if not own and Path(patches.data_dir).resolve() == Path(config["data_dir"]).resolve():
        raise UserError(
            f"{patches.data_dir} has changed since run {folder.name} was trained, so which patches it has seen is "
            "unknown: train again"
        )
    if not own and patches.left_out and not skip_bad:
        raise UserError(describe_faults(patches.data_dir, patches.left_out))
    if len(patches.file_bands) != config["file_bands"] and set(config["bands"]) <= set(map(str, range(1000))):
        raise UserError(
            f"{patches.data_dir}: files of {len(patches.file_bands)} bands, but run {folder.name} was trained on "
            f"numbered bands of {config['file_bands']}"
        )
    for name, fault in patches.left_out:
        print(f"left out {name}: {fault}")
    if patches.input_shape[:2] != tuple(config["input_shape"][:2]):
        raise UserError(
            f"{patches.data_dir}: patches of {size_text(patches.input_shape[:2])} pixels, but run {folder.name} was "
            f"trained on {size_text(config['input_shape'][:2])}"
        )
    if not patches.labelled.any():
        if masks:
            raise UserError(f"{patches.data_dir}: no masks beside the images, so there is nothing to score against")
        return patches, np.arange(len(patches)), own
    if split == "all":
        return patches, np.flatnonzero(patches.labelled), own
    assigned = (
        read_split(folder / "split.csv", patches, f"python train.py --run {folder.name}") if own else patches.own_splits
    )
    indices = np.flatnonzero(patches.labelled & (assigned == split))
    if not len(indices):
        raise UserError(f"{patches.data_dir} has no {split} split with masks: choose another, or --split all")
    return patches, indices, own
