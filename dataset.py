"""Folders of patches as arrays: checked once, packed into a memory-mapped cache, selected by band and split.

Landslide4Sense: Ghorbanzadeh et al. 2022 (doi 10.1109/JSTARS.2022.3220845); data: Zenodo record 10463239.
"""

import contextlib
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from bands import matching_bands, renamed
from patches import places, split_table
from patches.folder_packing import describe_faults, pack_folder
from patches.layouts import NoPatches, find_patches, is_hdf5, unused_folders
from patches.packing import PACK_FORMAT, Patches, read_pack
from patches.patch_format import PatchFormat, sampled_formats
from patches.pixel_sizes import known_or_usual, learnt_by
from patches.reading import ReadOptions, size_text
from patches.sources import Sources
from patches.usual_values import check_unit, distance_of_patches, sampled_statistics
from script import UserError, note, warn


def open_sources(
    data_dirs,
    cache_dir="results/cache",
    bands=(),
    skip_bad=False,
    options=None,
    pixel_sizes=(),
    of_run=0,
    places_of="auto",
):
    """Open the patches of one folder or of several, whose bands and patch size are those of the first.

    Args:
        data_dirs: folders, each a source. cache_dir, skip_bad, options: see `open_patches`.
        bands: names or numbers of the bands of the first folder, empty for all; those of the others are found by name.
        pixel_sizes: side of a pixel of each source in metres, for files that do not state it; 0: unknown. Without it,
            the sets that places.known_set knows, or that `places_of` names, have pixels of 10 m.
        of_run: number of bands of the files of a run whose bands `bands` are: they are found by name in the first
            folder, too. 0: they are of no run.
        places_of: PLACES of train.py.

    Returns:
        packing.Patches of one folder, or sources.Sources.

    Raises:
        UserError: see `open_patches`; or the sources have unlike bands or units.
    """
    if pixel_sizes and len(pixel_sizes) != len(data_dirs):
        raise UserError(f"{len(pixel_sizes)} PIXEL_SIZES for {len(data_dirs)} folders: give one for each, 0 if unknown")
    first, *others = data_dirs
    options = options or ReadOptions()
    parts = [open_patches(first, cache_dir, () if of_run else bands, skip_bad, options)]
    if of_run:
        use_matching(parts[0], bands, "the run", of_run)
    options = replace(options, cut=parts[0].input_shape[:2], keep_smaller=False)
    bands, count, hint = parts[0].bands, len(parts[0].file_bands), ": name with --bands those of all"
    for data_dir in others:
        parts.append(open_patches(data_dir, cache_dir, (), skip_bad, options))
        use_matching(parts[-1], bands, "the other sources", count, hint)
        if parts[-1].dates != parts[0].dates:
            raise UserError(f"{first} and {data_dir}: series of dates and single pictures do not go together")
    if others and not of_run:
        usual = PatchFormat.of(parts[0])
        for part in parts[1:]:
            check_unit(part.data_dir, part.values, usual.unit, first)
            warn_if_far(part, np.arange(len(part)), usual.usual, f"the patches of {first}", f"{part.data_dir}: ")
    for part, size in zip(parts, pixel_sizes or [None] * len(parts), strict=True):
        fill_pixel_sizes(part, size, places_of)
    return Sources(parts) if others else parts[0]


def use_matching(patches, bands, whose, count, hint=""):
    """Read from now on those bands of packing.Patches that are some bands by name, see bands.matching_bands."""
    arrays = is_hdf5(patches.names[0].split("@")[0])
    positions = matching_bands(bands, patches.file_bands, patches.data_dir, whose, count, hint, arrays)
    patches.use_columns(positions)  # a number might be the name of another band
    if text := renamed(bands, patches.file_bands, positions):
        note(f"{patches.data_dir}: {text}")


def fill_pixel_sizes(patches, size=None, places_of="auto"):
    """Give the patches whose files do not state the size of their pixels one in metres.

    size: None: 10 m for series of Sentinel-2 and for the sets that places.known_set knows, or PLACES (`places_of`)
    names. 0: it stays unknown.
    """
    if size is None and (patches.dates or places_of in places.KNOWN_SETS or places.known_set(patches)):
        size = places.PIXEL_SIZE
    if size:
        patches.pixel_sizes[np.isnan(patches.pixel_sizes)] = size


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
    if options.cut and fit_whole({shape[:2] for shape, _ in sampled_formats(entries, options)}, options):
        options = replace(options, cut=None)
    path_hash = hashlib.sha256(str(Path(data_dir).resolve()).encode()).hexdigest()[:12]
    variant = f"-{options.dates or options.size}" if options.dates or options.size else ""
    variant += "-{}x{}".format(*options.cut) if options.cut else ""
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


def fit_whole(sizes, options):
    """Return whether patches of these (height, width) need not be cut. options: ReadOptions with `cut`."""
    if len(sizes) == 1 and options.keep_smaller:
        return all(side <= most for side, most in zip(*sizes, options.cut, strict=True))
    return sizes == {tuple(options.cut)}


def _fingerprint(entries, faults):
    """Hash the names, sizes and times of all files, and the faults of pairing them."""
    digest = hashlib.sha256(repr((PACK_FORMAT, faults)).encode())
    for entry in entries:
        for path in filter(None, (entry.image, entry.mask)):
            with contextlib.suppress(OSError):  # a broken link, which reading reports
                state = path.stat()
                digest.update(repr((entry.name, path.name, state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()


def recognised(patches, config):
    """Return (whether patches are all or some of the sources of a run, the patches with the names that it gave them).

    config: of the run. Sources are recognised by their content, in any folder.
    """
    recorded = {source["digest"]: source for source in config.get("sources", [{"digest": config["data_digest"]}])}
    of_parts = [recorded.get(part.digest) for part in patches.parts]
    if None in of_parts:
        return False, patches
    for part, source in zip(patches.parts, of_parts, strict=True):
        fill_pixel_sizes(part, source.get("pixel_size"))
    return True, Sources(patches.parts, [source["name"] for source in of_parts]) if len(recorded) > 1 else patches


def open_for_run(run, split, data_dir="", cache_dir="results/cache", skip_bad=False, masks=True, pixel_sizes=()):
    """Open the patches that a run is applied to, with the bands that it was trained on.

    Args:
        run: runs.Run.
        split: train, validation, test, or all. For the run's own data, recognised by its content in any folder, the
            splits are those of split.csv; for other data, those of the folder.
        data_dir: folder of patches, or a list of several; None: what the run was trained on. One of several sources of
            the run is recognised, too.
        cache_dir, skip_bad: see `open_patches`.
        pixel_sizes: metres a pixel of each folder whose files do not say; (): as in training, if it is the run's data.
        masks: whether masks are needed. If not, all patches of a folder without masks are used, for any `split`.

    Returns:
        (patches, indices, own): indices of the labelled patches of the split; own: whether it is the run's data.
        Larger patches of other data are cut to the size of the run's; where all are smaller, they stay as they are.

    Raises:
        UserError: as `open_patches`; or the run's data has changed, or other data does not fit the run.
    """
    config = run.config
    own_folders = run.data_folders
    folders = own_folders if not data_dir else [data_dir] if isinstance(data_dir, str | Path) else list(data_dir)
    options = ReadOptions.of_constants(run.constants)
    if folders != own_folders:
        options = replace(options, cut=tuple(config["input_shape"][:2]), keep_smaller=True)
    try:
        # training left these files out, too; the digest shows whether the others are the same
        patches = open_sources(
            folders,
            cache_dir,
            config["bands"],
            skip_bad or bool(config["left_out"]),
            options,
            pixel_sizes or (run.constants.get("PIXEL_SIZES") if folders == own_folders else ()),
            of_run=config["file_bands"],
            places_of=run.constants.get("PLACES", "auto") if folders == own_folders else "auto",
        )
    except NoPatches as error:
        raise UserError(f"{error}; give the folder of run {run.name}'s data with --data-dir") from None
    own, patches = recognised(patches, config)
    if not own and {Path(folder).resolve() for folder in folders} & {Path(folder).resolve() for folder in own_folders}:
        raise UserError(
            f"{patches.data_dir} has changed since run {run.name} was trained, so it is unknown which "
            "patches it has seen: train again"
        )
    first = patches.parts[0]
    if own and not same_columns(config, first):
        raise UserError(
            f"{first.data_dir} holds the bands {' '.join(first.file_bands)}, and run {run.name} took them for "
            f"{' '.join(config['file_band_names'])}, in this order: train again"
        )
    for part in [] if own else patches.parts:
        check_unit(part.data_dir, part.values, config.get("values"), "the training patches")
    if not own and patches.left_out and not skip_bad:
        raise UserError(describe_faults(patches.data_dir, patches.left_out))
    for name, fault in patches.left_out:
        print(f"left out {name}: {fault}")
    if any(side > most for side, most in zip(patches.input_shape[:2], config["input_shape"][:2], strict=True)):
        raise UserError(
            f"{patches.data_dir}: patches of {size_text(patches.input_shape[:2])} pixels, but run {run.name} was "
            f"trained on {size_text(config['input_shape'][:2])}"
        )
    if config.get("pixel_size_input"):
        tell_usual_size(patches, run)
    if not patches.labelled.any():
        if masks:
            raise UserError(f"{patches.data_dir}: no masks beside the images, so there is nothing to score against")
        return patches, np.arange(len(patches)), own
    if split == "all":
        indices = np.flatnonzero(patches.labelled)
        if not own:
            warn_of_other_data(run, patches, indices)
        return patches, indices, own
    if own:
        assigned = split_table.read_split(run.folder / "split.csv", patches, f"python train.py --run {run.name}")
    else:
        assigned = patches.own_splits
    indices = np.flatnonzero(patches.labelled & (assigned == split))
    if not len(indices):
        raise UserError(f"{patches.data_dir} has no {split} split with masks: choose another, or --split all")
    if not own:
        warn_of_other_data(run, patches, indices)
    return patches, indices, own


def same_columns(config, patches):
    """Return whether a run takes the bands of its own data from where it took them in training.

    config: of the run. patches: packing.Patches of one of its sources; the record is of the bands of the first.
    """
    if patches.digest != config.get("sources", [{"digest": config["data_digest"]}])[0]["digest"]:
        return True
    names = config["file_band_names"]
    return [names.index(name) for name in config["bands"]] == [patches.file_bands.index(name) for name in patches.bands]


def warn_of_other_data(run, patches, indices):
    """Print what makes scores on data of others mean less: the run has seen them, or their values are unusual."""
    warn_if_trained_on(run, patches, indices)
    warn_if_far(patches, indices, run.config)


def warn_if_far(patches, indices, config, usual_values="what the run was trained on", whose=""):
    """Print a warning if the values of some patches lie far from those that a run was trained on.

    config, usual_values: see usual_values.distance_of_patches. whose: words before the warning.
    """
    if text := distance_of_patches(*sampled_statistics(patches, indices), config, usual_values):
        warn(whose + text)


def tell_usual_size(patches, run):
    """Give patches of unknown pixel size the usual one of a run that is told the size, and say so."""
    unknown = np.isnan(patches.pixel_sizes)
    patches.pixel_sizes = known_or_usual(patches.pixel_sizes, learnt_by(run.config))
    if unknown.any():
        warn(
            f"the size of a pixel is not known of {unknown.sum()} of {len(patches)} patches: it is taken for "
            f"{patches.pixel_sizes[unknown][0]:g} m, and the scores may be too low: tell it with --pixel-size"
        )


def warn_if_trained_on(run, patches, indices):
    """Print how many patches of another folder are in the run's training or validation split, by their content."""
    stage = f"python train.py --run {run.name}"
    trained_on = split_table.content_hashes(run.folder / "split.csv", stage, ("train", "validation"))
    if known := np.isin(patches.contents[indices], trained_on).sum():
        warn(
            f"{known} of these {len(indices)} patches are in the training or validation split of run "
            f"{run.name} (the same content): the scores are too high"
        )
