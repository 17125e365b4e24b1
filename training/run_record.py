"""The record of a run: written before training, checked when it is resumed, completed at its end."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import augment
import records
import runs
import script
from bands import value_unit
from mask_values import LANDSLIDE, UNLABELLED
from patches import ground, pixel_sizes, split_table, splits
from patches.places import SETS, find_places
from training import fine_tuning
from training.teacher import Teacher


def way_to_data(folder, resumed):
    """Return lines that say where to get patches if a folder has none. resumed: whether the run was started before."""
    if resumed:
        return "  have the patches of this run moved? Give their folder: --resume --data-dir FOLDER"
    return (
        f"  real data: unzip Landslide4Sense (zenodo.org/records/10463239) into {folder}/, see README.md\n"
        "  sample: run python make_sample_data.py, then python train.py --data-dir data/sample"
    )


def open_teacher(constants, patches, assigned):
    """Open the run that TEACHER names; None if there is none. assigned: split of each patch."""
    if not constants["TEACHER"]:
        return None
    run = runs.open_run(constants["RESULTS_DIR"], constants["TEACHER"], "TEACHER")
    return Teacher(run, patches, assigned, Path(constants["RESULTS_DIR"], "cache"), constants["SKIP_BAD"])


def begin(folder, constants, patches, landslide_free):
    """Split the patches and make the folder of a run, with split.csv and config.json.

    Args:
        folder: of the run. constants: of train.py, {NAME: value}. patches, landslide_free: packing.Patches; the latter
            may be None.

    Returns:
        (split of each patch, Teacher or None).

    Raises:
        UserError: the patches cannot be split, or the run cannot learn from its start or its teacher.
    """
    if len(patches.sources) > 1 and constants["PLACES"] not in SETS:
        raise script.UserError("PLACES names a table: of several folders, each needs a table patches.csv of its own")
    places = [find_places(part, constants["PLACES"]) for part in patches.parts]
    assigned, notes = splits.split_sources(
        patches,
        places,
        constants["LEAVE_OUT"],
        method=constants["SPLIT_METHOD"],
        seed=constants["SPLIT_SEED"],
        test_split=constants["TEST_SPLIT"],
        block_size=constants["BLOCK_SIZE"],
        labelled_fraction=constants["LABELLED_FRACTION"],
        own_splits=constants["OWN_SPLITS"],
        hold_out=constants["HOLD_OUT"],
        known=fine_tuning.known_splits(constants),
    )
    teacher = open_teacher(constants, patches, assigned)  # it can raise UserError, so it comes before any writing
    mean, variance = patches.statistics((assigned == "train").nonzero()[0])
    start = None
    if constants["START_FROM"]:
        start = fine_tuning.start_record(constants, patches, assigned, mean, variance)
    runs.clear_run(folder, runs.TRAINED + runs.DERIVED)
    for text in (*patches.notes, *notes):
        print(text)
    for name, fault in patches.left_out:
        print(f"left out {name}: {fault}")
    tell_landslide_shares(patches, assigned)
    warn_of_overlaps(patches, assigned)
    split_table.write_split(
        folder / "split.csv", patches, assigned, landslide_free, split_table.events_of(places, patches)
    )
    config = {
        "run": constants["RUN"],
        "started": now(),
        "constants": constants,
        "data_dir": str(constants["DATA_DIR"][0]) if len(patches.sources) == 1 else constants["DATA_DIR"],
        "data_digest": patches.digest,
        "bands": patches.bands,
        "file_bands": len(patches.file_bands),
        "file_band_names": patches.file_bands,
        "file_dtype": patches.dtype,
        "input_shape": patches.input_shape,
        "band_mean": mean.tolist(),
        "band_variance": variance.tolist(),
        "values": patches.values or value_unit(patches.bands, patches.dtype, mean),
        "sources": source_records(patches, assigned, constants["PIXEL_SIZES"]),
        "source_shares": source_shares(patches, assigned, constants["SOURCE_SHARES"]),
        **pixel_size_record(patches, assigned, constants),
        "landslide_free_digest": landslide_free and landslide_free.digest,
        "seed": constants["SEED"],
        "left_out": patches.left_out,
        "start": start,
        "teacher_finished": teacher.finished if teacher else None,
        **runs.environment(),
    }
    records.write_json(folder / "config.json", config)  # last: a folder with config.json can be resumed
    return assigned, teacher


def tell_landslide_shares(patches, assigned):
    """Print how much of the labelled ground of the training patches is landslide, by source; warn if it is most of it.

    assigned: split of each patch.
    """
    start = 0
    for name, part in zip(patches.sources, patches.parts, strict=True):
        training = np.flatnonzero(assigned[start : start + len(part)] == "train")
        start += len(part)
        masks = (part.read_masks([i]) for i in training)
        counts = np.sum([((mask == LANDSLIDE).sum(), (mask != UNLABELLED).sum()) for mask in masks], axis=0)
        if not np.any(counts):
            continue
        share = counts[0] / counts[1]
        where = f" of {name}" if len(patches.sources) > 1 else ""
        print(f"{share:.2%} of the labelled pixels of the training patches{where} are landslide")
        if share > 0.5:
            script.warn(
                f"more than half of what is labelled{where} is landslide: are the masks inverted? 1 (or 255) is "
                "landslide, 0 is other ground; of a TIFF of MINISWHITE the numbers count, which viewers show inverted"
            )


def warn_of_overlaps(patches, assigned):
    """Warn of held-out patches that lie on the ground of training patches, as tiles that overlap. See split_patches."""
    start = 0
    for part in patches.parts:
        for split, (count, pairs) in ground.overlaps(part, assigned[start : start + len(part)]).items():
            if count:
                script.warn(
                    f"{part.data_dir}: {count} {split} patches overlap training patches on the ground ({pairs} pairs), "
                    f"so scores on {split} are too high: cut tiles without overlap, or split them by place (--places "
                    "with a table, --split-method blocks)"
                )
        start += len(part)


def source_records(patches, assigned, given_sizes):
    """Return what config.json says of each source: a list of dicts.

    assigned: split of each patch; mean and variance of the bands are those of the training split. given_sizes:
    PIXEL_SIZES of train.py.
    """
    records_of = []
    given_sizes = given_sizes or [None] * len(patches.sources)
    for name, part, given in zip(patches.sources, patches.parts, given_sizes, strict=True):
        sizes = pixel_sizes.octave_shares(part.pixel_sizes)
        record = {"name": name, "data_dir": str(part.data_dir), "digest": part.digest, "patches": len(part)}
        record |= {"pixel_size": given, "pixel_sizes": sizes}
        start = sum(each["patches"] for each in records_of)
        training = np.flatnonzero(assigned[start : start + len(part)] == "train")
        if len(training):
            mean, variance = part.statistics(training)
            record |= {"band_mean": mean.tolist(), "band_variance": variance.tolist()}
        records_of.append(record)
    return records_of


def source_shares(patches, assigned, given=()):
    """Return the share of each source among the patches of an epoch; [] for one source, whose patches all come once.

    given: relative shares, one for each source; (): by the square roots of the numbers of training patches, so that a
    large source does not drown a small one, nor a small one come too often.
    """
    if len(patches.sources) == 1:
        return []
    counts = np.bincount(patches.source_of[assigned == "train"], minlength=len(patches.sources))
    shares = np.where(counts, given or np.sqrt(counts), 0)
    return (shares / shares.sum()).tolist()


def pixel_size_record(patches, assigned, constants):
    """Return what config.json says of the size of pixels: the range that is learnt, and whether the network is told it.

    Raises:
        UserError: the network is to be told a size that is not known of any patch.
    """
    sizes = patches.pixel_sizes[assigned == "train"]
    factors = augment.PIXEL_SIZES if "pixel_size" in constants["AUGMENT"] else (1.0, 1.0)
    learnt = pixel_sizes.learnt_from(sizes, factors)
    told = constants["PIXEL_SIZE_INPUT"] == "on"
    if constants["PIXEL_SIZE_INPUT"] == "auto":
        start = constants["START_FROM"] and fine_tuning.open_source(constants["RESULTS_DIR"], constants["START_FROM"])
        differ = len(patches.sources) > 1 and learnt and np.nanmax(sizes) > 1.5 * np.nanmin(sizes)
        told = bool(start and start.config.get("pixel_size_input")) or bool(differ)
        if told and not learnt:
            learnt = pixel_sizes.learnt_by(start.config)
            script.note(f"the size of a pixel is unknown, and run {start.name} is told it: give it with PIXEL_SIZES")
    if told and not learnt:
        raise script.UserError(
            "the network is to be told the size of a pixel, and that of these patches is unknown: give PIXEL_SIZES, or "
            "PIXEL_SIZE_INPUT off"
        )
    record = learnt and learnt._asdict() | {"shares": pixel_sizes.octave_shares(sizes)}
    return {"pixel_size": record, "pixel_size_input": told}


def resume(folder, constants, patches, landslide_free):
    """Read the record of an unfinished run; see `begin` for arguments and what is returned.

    Raises:
        UserError: the data, the landslide-free ground or the teacher are others than when the run was started.
    """
    config, run = records.read_json(folder / "config.json", "train.py"), constants["RUN"]
    if config["data_digest"] != patches.digest:
        raise script.UserError(
            f"{', '.join(constants['DATA_DIR'])} has changed since run {run} was started: start again with --overwrite"
        )
    if config["landslide_free_digest"] != (landslide_free and landslide_free.digest):
        raise script.UserError(
            "LANDSLIDE_FREE_DIRS have changed since the run was started: start again with --overwrite"
        )
    assigned = split_table.read_split(folder / "split.csv", patches, "train.py --overwrite")
    teacher = open_teacher(constants, patches, assigned)
    if teacher and config["teacher_finished"] != teacher.finished:
        raise script.UserError(f"teacher {teacher.run.name} was retrained since run {run} was started: use --overwrite")
    runs.clear_run(folder, runs.DERIVED)  # threshold and scores belong to the unfinished model
    return assigned, teacher


def finish(folder, config, kept_epoch, parameters):
    """Complete config.json, and remove what only an unfinished run needs."""
    record = {
        "finished": now(),
        "kept_epoch": kept_epoch,
        "parameters": parameters,
        "finished_revision": script.revision(),
    }
    records.write_json(folder / "config.json", config | record)
    (folder / "last.weights.h5").unlink(missing_ok=True)


def now():
    """Return the current time in UTC, in ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
