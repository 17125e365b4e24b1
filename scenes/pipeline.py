"""Strips of a scene computed in this process, and read ahead of the network."""

import functools
from dataclasses import dataclass

from networks import engines
from networks.threads import prefetch
from networks.tiles import TileGrid, predict_strip
from scenes.source import SceneSource
from scenes.tiling import read_strip


@dataclass(frozen=True)
class Job:
    """What any strip of a scene is computed from, in plain values that can be sent to another process."""

    run: str  # folder of the run
    source: SceneSource
    grid: TileGrid
    fill: tuple  # replaces missing data: a value for each band
    batch_size: int
    tta: bool = False
    pixel_size: float | None = None  # metres, for a network that is told the size of a pixel
    engine: str = "keras"  # one of engines.ENGINES
    stamps: tuple = ()  # times at which the files changed: a worker keeps files open while these stay the same


def model_of(job):
    """Load the model of a job, made for the size of its tiles. The last loaded model is kept for the next job."""
    changed = tuple(path.stat().st_mtime_ns for path in engines.files(job.run, job.engine))
    return _model(job.run, job.engine, tuple(job.grid.tile), job.pixel_size, changed)


@functools.lru_cache(maxsize=1)
def _model(run, engine, tile, pixel_size, changed):
    return engines.load(run, engine, tile, pixel_size)


def local_strips(jobs, scenes, model=None, first=0):
    """Yield the strips of several jobs in order, computed in this process; the next strip is read meanwhile.

    Args:
        jobs, scenes: [Job, ...], and the open Scene of each. model: of all jobs; None: it is loaded.
        first: number of the first strip to yield.

    Yields:
        a list, for each job (sums, valid) of the strip, or None without data.
    """
    model = model or model_of(jobs[0])

    def read(index):
        return [read_strip(scene, job.grid, index, job.fill) for job, scene in zip(jobs, scenes, strict=True)]

    for strips in prefetch(read, range(first, len(jobs[0].grid.strips))):
        yield [
            strip and (predict_strip(model, job.grid, strip, job.batch_size, job.tta), strip.valid)
            for job, strip in zip(jobs, strips, strict=True)
        ]
