"""What a run was trained and validated on, opened together: its patches and its landslide-free ground."""

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
    needed = "INT8 is quantised on training patches and checked on validation"
    opened = {}
    for split in ("train", "validation"):
        try:
            patches, indices, own = dataset.open_for_run(run, split, list(data_dirs), cache_dir)
        except UserError as error:
            raise UserError(f"{needed}, and they are not at hand ({error}): {advice}") from None
        if not own:
            raise UserError(f"{patches.data_dir}: not all of the data of run {run.name}; {needed}: {advice}")
        ground, ground_indices = false_alarms.open_for_run(run, split, cache_dir, ground_dirs)
        if ground is None and run.constants.get("LANDSLIDE_FREE_DIRS"):
            raise UserError(f"{needed}, also of landslide-free ground, which is not at hand: {advice}")
        opened[split] = indices, ground_indices
    indices, ground_indices = ({split: pair[i] for split, pair in opened.items()} for i in (0, 1))
    return RunData(patches, indices, ground, ground_indices)
