"""Who computes the strips of a scene: this process, reading and writing meanwhile, or the workers of a Dask cluster."""

import contextlib
import functools
import hashlib
import logging
import threading
from collections import deque
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from model_files import load_model
from recipes import Recipe
from runs import UserError
from scene import Scene
from tiling import Grid, predict_strip, read_strip

PATIENCE = 15  # seconds within which a cluster must answer and show a worker
# what a worker at an address needs of ours, each after what it needs itself
MODULES = (
    "runs",
    "model_files",
    "patch_files",
    "dataset",
    "ground",
    "scene",
    "recipes",
    "inference",
    "tiling",
    "workers",
)


@dataclass(frozen=True)
class Job:
    """All it takes to compute any strip of a scene, in plain values that can be sent to another process."""

    run: str  # folder of the run
    recipe: Recipe
    grid: Grid
    fill: tuple  # stands in for missing data, a value for each band
    batch_size: int
    tta: bool = False
    stamps: tuple = ()  # when the files were changed: a worker may have kept what it opened for an earlier job


def ahead(function, items):
    """Yield function(item) for each item, the next one being worked out in a thread meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        waiting = deque()
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


class Behind:
    """Calls `function` in a thread, one call after the other; a call waits for the one before it, and so do errors."""

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


def strips_here(job, model, scene):
    """Yield (sums, valid) of each strip in order, or None for strips without data; reading goes on meanwhile."""
    read = functools.partial(read_strip, scene, job.grid)
    for strip in ahead(lambda index: read(index, job.fill), range(len(job.grid.strips))):
        yield strip and (predict_strip(model, job.grid, strip, job.batch_size, job.tta), strip.valid)


def strips_on_cluster(job, scheduler):
    """Yield what `strips_here` yields, computed by the workers of a Dask cluster.

    A strip whose worker is lost is computed again by another; each is taken over once, in order, so nothing is lost
    or doubled. Only a few strips are under way at a time, so that finished ones do not pile up.

    Args:
        scheduler: "local:2" for that many processes on this machine, or the address of a scheduler, whose workers
            must see the run and the scene under the same paths.
    """
    try:
        import distributed
    except ImportError:
        raise UserError("a scheduler needs Dask: pip install -r requirements-scheduler.txt") from None
    recipe = replace(job.recipe, paths=_absolute(job.recipe.paths), dem="".join(_absolute([job.recipe.dem])))
    files = [Path(job.run, "model.keras"), *recipe.paths, *filter(None, [recipe.dem])]
    stamps = tuple(Path(path).stat().st_mtime_ns for path in files)
    job = replace(job, run=str(Path(job.run).resolve()), recipe=recipe, stamps=stamps)
    with open_client(distributed, scheduler) as client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        name = hashlib.sha256(repr(job).encode()).hexdigest()[:12]  # of other jobs on the same cluster
        waiting = deque()
        try:
            for index in range(len(job.grid.strips)):
                waiting.append(client.submit(compute_strip, job, index, key=f"strip-{index}-{name}"))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (distributed.KilledWorker, CancelledError) as error:
            raise UserError(f"the cluster gave up a strip, for want of memory perhaps ({error})") from None


def _absolute(paths):
    return tuple(str(Path(path).resolve()) for path in paths if path)


@contextlib.contextmanager
def open_client(distributed, scheduler):
    """A client of a local cluster, which goes with it, or of the cluster at an address."""
    kind, _, count = scheduler.partition(":")
    local = kind == "local" and count.isdigit() and int(count) > 0
    with contextlib.ExitStack() as stack:
        try:
            if local:
                form = {"n_workers": int(count), "threads_per_worker": 1, "dashboard_address": None}
                scheduler = stack.enter_context(distributed.LocalCluster(silence_logs=logging.CRITICAL, **form))
            client = stack.enter_context(distributed.Client(scheduler, timeout=PATIENCE))
            client.wait_for_workers(1, timeout=PATIENCE)
        except (OSError, ValueError) as error:
            raise UserError(
                f"scheduler {scheduler!r} does not answer ({error}): give local:N or an address like tcp://host:8786"
            ) from None
        if not local:
            for module in MODULES:
                client.upload_file(str(Path(__file__).with_name(f"{module}.py")))
        yield client


_one_at_a_time = threading.Lock()  # GDAL's files do not bear two threads, which a worker may have


def compute_strip(job, index):
    """Compute a strip on a worker: (sums, valid) or None."""
    with _one_at_a_time:
        model, scene = _equipment(job)
        strip = read_strip(scene, job.grid, index, job.fill)
        return strip and (predict_strip(model, job.grid, strip, job.batch_size, job.tta), strip.valid)


@functools.lru_cache(maxsize=1)
def _equipment(job):
    return load_model(Path(job.run)), Scene(job.recipe)
