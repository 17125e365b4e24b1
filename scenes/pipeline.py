"""Strips of a scene computed in this process: read ahead of the network, written behind it."""

import functools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from model_files import load_model, resized
from scenes.source import SceneSource
from scenes.tiling import TileGrid, predict_strip, read_strip


@dataclass(frozen=True)
class Job:
    """What is needed to compute any strip of a scene, in plain values that can be sent to another process."""

    run: str  # folder of the run
    source: SceneSource
    grid: TileGrid
    fill: tuple  # replaces missing data, a value for each band
    batch_size: int
    tta: bool = False
    stamps: tuple = ()  # when the files changed: a worker keeps what it opened for a job with the same ones


def model_of(job):
    """Load the model of a job, made for the size of its tiles; of several scenes in a row the last one is kept."""
    return _model(job.run, tuple(job.grid.tile), Path(job.run, "model.keras").stat().st_mtime_ns)


@functools.lru_cache(maxsize=1)
def _model(run, tile, changed):
    return resized(load_model(Path(run)), tile)


def prefetch(function, items):
    """Yield function(item) for each item; a thread computes the next one meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque()
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class BackgroundWriter:
    """Call `function` in a thread; each call waits for the one before it and raises its error."""

    def __init__(self, function):
        self.function, self.thread, self.last = function, ThreadPoolExecutor(1), None

    def __enter__(self):
        return self

    def __call__(self, *arguments):
        if self.last:
            self.last.result()
        self.last = self.thread.submit(self.function, *arguments)

    def __exit__(self, kind, error, trace):
        self.thread.shutdown()
        if self.last and kind is None:
            self.last.result()


def strips_here(jobs, scenes, model=None, first=0):
    """Yield, for each strip in order, what each job has of it: (sums, valid), or None without data.

    The next strip is read meanwhile. model: that of the jobs, if it is loaded already. first: strip to begin with.
    """
    model = model or model_of(jobs[0])

    def read(index):
        return [read_strip(scene, job.grid, index, job.fill) for job, scene in zip(jobs, scenes, strict=True)]

    for strips in prefetch(read, range(first, len(jobs[0].grid.strips))):
        yield [
            strip and (predict_strip(model, job.grid, strip, job.batch_size, job.tta), strip.valid)
            for job, strip in zip(jobs, strips, strict=True)
        ]
