"""Folders of patches as arrays: checked once, packed into a memory-mapped cache, selected by band and split.

Landslide4Sense: Ghorbanzadeh et al. 2022 (doi 10.1109/JSTARS.2022.3220845); data: Zenodo record 10463239.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
from filelock import FileLock

from patches import splits
from patches.folder_packing import describe_faults, pack_folder
from patches.layouts import NoPatches, find_patches, unused_folders
from patches.packing import PACK_FORMAT, Patches, read_pack
from patches.reading import ReadOptions, size_text
from script import UserError, warn


def open_patches(data_dir, cache_dir="results/cache", bands=(), skip_bad=False, options=None):
    """Find, check and pack the patches of a folder, or open the cache if the files have not changed since.

    Args:
        data_dir: folder in one of the LAYOUTS. Nothing is written into it.
        cache_dir: where packed folders are kept, one folder for each data folder.
        bands: names or numbers of the bands to use, in order; empty for all.
        skip_bad: leave unusable files out instead of refusing the folder.
        options: reading.ReadOptions; None for the defaults.

    Raises:
        UserError: with all faults of the folder (the first 20, then a count).
    """
    entries, faults = find_patches(data_dir)
    options = (options or ReadOptions()).of(entries[0].image if entries else Path())
    path_hash = hashlib.sha256(str(Path(data_dir).resolve()).encode()).hexdigest()[:12]
    variant = f"-{options.dates or options.size}" if options.dates or options.size else ""
    folder = Path(cache_dir, f"{Path(data_dir).resolve().name}-{path_hash}{variant}")
    key = _fingerprint(entries, faults)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # of two runs that pack one folder the second waits, and reads
        record = read_pack(folder)
        if record.get("key") != key:
            record = pack_folder(data_dir, entries, faults, folder, key, skip_bad, options)
        if record["faults"] and not skip_bad:
            raise UserError(describe_faults(data_dir, record["faults"]))
        patches = Patches(data_dir, folder, record, bands)
    patches.notes += [f"{data_dir}/{name}: not used, {n} files" for name, n in unused_folders(data_dir, entries)]
    return patches


def _fingerprint(entries, faults):
    """Hash the names, sizes and times of all files, and the faults of pairing them."""
    digest = hashlib.sha256(repr((PACK_FORMAT, faults)).encode())
    for entry in entries:
        for path in filter(None, (entry.image, entry.mask)):
            with contextlib.suppress(OSError):  # a broken link, which reading reports
                state = path.stat()
                digest.update(repr((entry.name, path.name, state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()


def open_for_run(run, split, data_dir="", cache_dir="results/cache", skip_bad=False, masks=True):
    """Open the patches that a run is applied to, with the bands that it was trained on.

    Args:
        run: runs.Run.
        split: train, validation, test, or all. For the run's own data, recognised by its content in any folder, the
            splits are those of split.csv; for other data, those of the folder.
        data_dir: folder of patches; None: the one the run was trained on.
        cache_dir, skip_bad: see `open_patches`.
        masks: whether masks are needed. If not, all patches of a folder without masks are used, for any `split`.

    Returns:
        (patches, indices, own): indices of the labelled patches of the split; own: whether it is the run's data.

    Raises:
        UserError: as `open_patches`; or the run's data has changed, or other data does not fit the run.
    """
    config = run.config
    try:
        # training left these files out, too; the digest shows whether the others are the same
        patches = open_patches(
            data_dir or config["data_dir"],
            cache_dir,
            config["bands"],
            skip_bad or bool(config["left_out"]),
            ReadOptions.of_constants(run.constants),
        )
    except NoPatches as error:
        raise UserError(f"{error}; give the folder of run {run.name}'s data with --data-dir") from None
    own = patches.digest == config["data_digest"]
    if not own and Path(patches.data_dir).resolve() == Path(config["data_dir"]).resolve():
        raise UserError(
            f"{patches.data_dir} has changed since run {run.name} was trained, so it is unknown which "
            "patches it has seen: train again"
        )
    if not own and patches.left_out and not skip_bad:
        raise UserError(describe_faults(patches.data_dir, patches.left_out))
    if len(patches.file_bands) != config["file_bands"] and all(name.startswith("band") for name in config["bands"]):
        raise UserError(
            f"{patches.data_dir}: files of {len(patches.file_bands)} bands, but run {run.name} was trained on "
            f"numbered bands of {config['file_bands']}"
        )
    for name, fault in patches.left_out:
        print(f"left out {name}: {fault}")
    if patches.input_shape[:2] != tuple(config["input_shape"][:2]):
        raise UserError(
            f"{patches.data_dir}: patches of {size_text(patches.input_shape[:2])} pixels, but run {run.name} was "
            f"trained on {size_text(config['input_shape'][:2])}"
        )
    if not patches.labelled.any():
        if masks:
            raise UserError(f"{patches.data_dir}: no masks beside the images, so there is nothing to score against")
        return patches, np.arange(len(patches)), own
    if split == "all":
        indices = np.flatnonzero(patches.labelled)
        if not own:
            warn_if_trained_on(run, patches, indices)
        return patches, indices, own
    if own:
        assigned = splits.read_split(run.folder / "split.csv", patches, f"python train.py --run {run.name}")
    else:
        assigned = patches.own_splits
    indices = np.flatnonzero(patches.labelled & (assigned == split))
    if not len(indices):
        raise UserError(f"{patches.data_dir} has no {split} split with masks: choose another, or --split all")
    if not own:
        warn_if_trained_on(run, patches, indices)
    return patches, indices, own


def warn_if_trained_on(run, patches, indices):
    """Print how many patches of another folder are in the run's training or validation split, by their content."""
    stage = f"python train.py --run {run.name}"
    trained_on = splits.content_hashes(run.folder / "split.csv", stage, ("train", "validation"))
    if known := np.isin(patches.contents[indices], trained_on).sum():
        warn(
            f"{known} of these {len(indices)} patches are in the training or validation split of run "
            f"{run.name} (the same content): the scores are too high"
        )
