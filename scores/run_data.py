"""What a run was trained and validated on, opened together: its patches and its landslide-free ground."""

from pathlib import Path
from typing import NamedTuple

import dataset
from scores import false_alarms
from script import UserError


class RunData(NamedTuple):
    """Patches and landslide-free ground of a run (None without any), with indices: {split: positions}."""

    patches: object
    indices: dict
    ground: object
    ground_indices: dict


def open_data(run, data_dirs, ground_dirs, cache_dir):
    """Open what a run was trained and validated on; raise UserError if any of it is not at hand.

    data_dirs, ground_dirs: folders if they have moved since training, otherwise empty.
    """
    advice = "give the folders with --data-dir and --landslide-free-dirs, or export without --int8"
    needed = f"INT8 needs the data that run {run.name} was trained on, to set scales and to check what they cost"
    folders = *(data_dirs or run.data_folders), *(ground_dirs or run.constants.get("LANDSLIDE_FREE_DIRS", ()))
    if missing := [str(folder) for folder in folders if not Path(folder).is_dir()]:
        raise UserError(f"{needed}: {', '.join(missing)} not found: {advice}")
    opened = {}
    for split in ("train", "validation"):
        patches, indices, own = dataset.open_for_run(run, split, list(data_dirs), cache_dir)
        if not own or len(patches.sources) < len(run.config.get("sources", [None])):
            raise UserError(f"{needed}, and {patches.data_dir} is not all of it: {advice}")
        opened[split] = indices, *false_alarms.open_for_run(run, split, cache_dir, ground_dirs)
    _, ground, _ = opened["train"]
    indices, ground_indices = ({split: part[i] for split, part in opened.items()} for i in (0, 2))
    return RunData(patches, indices, ground, ground_indices)
