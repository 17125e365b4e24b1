"""The record of a run: written before training, checked when it is resumed, completed at its end."""

from datetime import UTC, datetime
from pathlib import Path

import records
import runs
import script
from bands import value_unit
from patches import splits
from patches.places import find_places
from training import fine_tuning
from training.teacher import Teacher


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
    places = find_places(patches, constants["PLACES"])
    assigned, notes = splits.split_patches(
        patches,
        method=constants["SPLIT_METHOD"],
        seed=constants["SPLIT_SEED"],
        test_split=constants["TEST_SPLIT"],
        block_size=constants["BLOCK_SIZE"],
        labelled_fraction=constants["LABELLED_FRACTION"],
        own_splits=constants["OWN_SPLITS"],
        hold_out=constants["HOLD_OUT"],
        places=places,
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
    splits.write_split(folder / "split.csv", patches, assigned, landslide_free, places)
    config = {
        "run": constants["RUN"],
        "started": now(),
        "constants": constants,
        "data_dir": constants["DATA_DIR"],
        "data_digest": patches.digest,
        "bands": patches.bands,
        "file_bands": len(patches.file_bands),
        "file_band_names": patches.file_bands,
        "file_dtype": patches.dtype,
        "input_shape": patches.input_shape,
        "band_mean": mean.tolist(),
        "band_variance": variance.tolist(),
        "values": patches.values or value_unit(patches.bands, patches.dtype, mean),
        "landslide_free_digest": landslide_free and landslide_free.digest,
        "seed": constants["SEED"],
        "left_out": patches.left_out,
        "start": start,
        "teacher_finished": teacher.finished if teacher else None,
        **runs.environment(),
    }
    records.write_json(folder / "config.json", config)  # last: a folder with config.json can be resumed
    return assigned, teacher


def resume(folder, constants, patches, landslide_free):
    """Read the record of an unfinished run; see `begin` for arguments and what is returned.

    Raises:
        UserError: the data, the landslide-free ground or the teacher are others than when the run was started.
    """
    config, run = records.read_json(folder / "config.json", "train.py"), constants["RUN"]
    if config["data_digest"] != patches.digest:
        raise script.UserError(
            f"{constants['DATA_DIR']} has changed since run {run} was started: start again with --overwrite"
        )
    if config["landslide_free_digest"] != (landslide_free and landslide_free.digest):
        raise script.UserError(
            "LANDSLIDE_FREE_DIRS have changed since the run was started: start again with --overwrite"
        )
    assigned = splits.read_split(folder / "split.csv", patches, "train.py --overwrite")
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
