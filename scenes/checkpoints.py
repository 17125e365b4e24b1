"""Finished strips of a map on disk: a run that was killed continues from them, with the same bytes."""

import contextlib
import hashlib
import shutil
import zipfile

import numpy as np

from records import atomic_write
from script import note


def resumed_strips(folder, jobs, compute):
    """Yield the strips of a map: first those that an earlier run of the same jobs stored, then computed ones.

    Computed strips are stored for a later run.

    Args:
        folder: of the stored strips; those of other jobs are removed. The caller removes the folder when the map is
            complete.
        jobs: [pipeline.Job, ...] of dask_cluster.portable_job: paths and times of files identify them.
        compute: function (first strip) -> iterator over the strips from that one on.
    """
    job_folder = folder / hashlib.sha256(repr(jobs).encode()).hexdigest()[:16]
    for other in folder.glob("*"):
        if other != job_folder:
            shutil.rmtree(other)
    first = 0
    while (strip := read(job_folder / f"{first}.npz", len(jobs))) is not None:
        yield strip
        first += 1
    if first:
        note(f"{first} strips of an earlier run, which was stopped, are used again")
    with contextlib.closing(compute(first)) as computed:
        for index, strip in enumerate(computed, first):
            write(job_folder / f"{index}.npz", strip)
            yield strip


def write(path, strip):
    """Write a strip: for each job (sums, valid), or None without data."""
    arrays = {}
    for number, part in enumerate(strip):
        if part is not None:
            arrays[f"sums{number}"], arrays[f"valid{number}"] = part
    with atomic_write(path) as partial:
        np.savez(partial, **arrays)


def read(path, jobs):
    """Read a strip that `write` wrote; None if the file is missing or cut short. jobs: number of jobs."""
    if not path.exists():
        return None
    try:
        with np.load(path) as file:
            return [
                (file[f"sums{number}"], file[f"valid{number}"]) if f"sums{number}" in file else None
                for number in range(jobs)
            ]
    except (OSError, ValueError, zipfile.BadZipFile):
        return None
