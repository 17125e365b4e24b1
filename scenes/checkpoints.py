"""Finished strips of a map on disk, so that a killed run goes on where it stopped, with the same bytes."""

import contextlib
import hashlib
import shutil
import zipfile

import numpy as np

from records import atomic_write


def resumed(folder, jobs, compute):
    """Yield the strips of a map: those that an earlier run of the same jobs left, then computed ones, which are kept.

    Args:
        folder: of the kept strips; what another job left in it is removed. The caller removes it when the map is
            complete.
        jobs: [pipeline.Job, ...] whose paths and times tell them from others; see cluster.placed.
        compute: function (first strip) -> what is to be yielded, from that strip on.
    """
    place = folder / hashlib.sha256(repr(jobs).encode()).hexdigest()[:16]
    for other in folder.glob("*"):
        if other != place:
            shutil.rmtree(other)
    first = 0
    while (strip := read(place / f"{first}.npz", len(jobs))) is not None:
        yield strip
        first += 1
    if first:
        print(f"note: {first} strips of an earlier run that was stopped are taken as they are")
    with contextlib.closing(compute(first)) as computed:
        for index, strip in enumerate(computed, first):
            write(place / f"{index}.npz", strip)
            yield strip


def write(path, strip):
    """Write what each job has of a strip: (sums, valid), or None without data."""
    arrays = {}
    for number, part in enumerate(strip):
        if part is not None:
            arrays[f"sums{number}"], arrays[f"valid{number}"] = part
    with atomic_write(path) as partial:
        np.savez(partial, **arrays)


def read(path, jobs):
    """Read what `write` wrote, for so many jobs; None if there is nothing, or no whole file."""
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
