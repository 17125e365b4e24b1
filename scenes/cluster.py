"""Strips and windows of a scene, computed by the workers of a Dask cluster with the same bytes as in this process."""

import ast
import contextlib
import functools
import hashlib
import logging
import tempfile
import threading
import zipfile
from collections import deque
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path

from scenes.opening import rasterio_path
from scenes.pipeline import model_of
from scenes.scene import Scene
from scenes.source import SceneSource
from scenes.tiling import predict_strip, read_strip
from script import UserError

PATIENCE = 15  # seconds within which a cluster must answer and show a worker
ROOT = Path(__file__).parent.parent
ARCHIVE = "landslide_sources.zip"
# Dask imports the top-level modules of an archive in order of their names. This one comes first, because GDAL must be
# loaded before TensorFlow:
FIRST = "import scenes\n"
# This one comes last: what the modules were before, and what they have imported meanwhile, goes, so that all of it is
# imported again and from one archive.
FORGET = f"""import sys

for name, module in list(sys.modules.items()):
    if name != __name__ and {ARCHIVE!r} in (getattr(module, "__file__", None) or ""):
        del sys.modules[name]
"""


@dataclass(frozen=True)
class Reading:
    """A scene to read windows of, and the times of its files, in plain values."""

    source: SceneSource
    stamps: tuple


def strips_on_cluster(jobs, scheduler, first=0):
    """Yield what `strips_here` yields, computed by the workers of a Dask cluster.

    Args:
        scheduler: see `on_cluster`; workers must see the run, too. first: strip to begin with.
    """
    jobs = [placed(job) for job in jobs]
    names = [_name(job) for job in jobs]  # tell these jobs from others
    tasks = (
        (f"strip-{index}-{name}", compute_strip, job, index)
        for index in range(first, len(jobs[0].grid.strips))
        for job, name in zip(jobs, names, strict=True)
    )
    strips = on_cluster(tasks, scheduler, len(jobs))
    yield from map(list, zip(*[strips] * len(jobs), strict=True))


def windows_on_cluster(source, windows, scheduler, together=16):
    """Yield Scene.read(*window) for each of some windows, read by the workers of a Dask cluster."""
    source = placed_source(source)
    reading = Reading(source, stamps(source.paths, source.dem))
    name = _name(reading)
    groups = [windows[i : i + together] for i in range(0, len(windows), together)]
    tasks = ((f"windows-{i}-{name}", read_windows, reading, group) for i, group in enumerate(groups))
    for group in on_cluster(tasks, scheduler):
        yield from group


def on_cluster(tasks, scheduler, together=1):
    """Yield the results of tasks, (name, function, argument ...), from the workers of a Dask cluster, in order.

    If a worker is lost, another computes its task again. Only a few tasks are computed at a time, so that finished ones
    do not pile up.

    Args:
        scheduler: "local:2" for that many processes on this machine, or the address of a scheduler, whose workers
            must see all files under the same paths.
        together: tasks that are of use only together.
    """
    try:
        import distributed
    except ImportError:
        raise UserError("a scheduler needs Dask: pip install -r requirements-scheduler.txt") from None
    with open_client(distributed, scheduler) as client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        waiting = deque()
        try:
            for name, function, *arguments in tasks:
                waiting.append(client.submit(function, *arguments, key=name))
                if len(waiting) > 2 * workers * together:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (distributed.KilledWorker, CancelledError) as error:
            raise UserError(f"the cluster gave up a task, for want of memory perhaps ({error})") from None


def placed(job):
    """Return the job with paths that any process can open, and the times of its files."""
    source = placed_source(job.source)
    times = stamps((Path(job.run, "model.keras"), *source.paths), source.dem)
    return replace(job, run=str(Path(job.run).resolve()), source=source, stamps=times)


def placed_source(source):
    """Return the source of a scene with paths that any process can open."""
    source = replace(source, paths=_absolute(source.paths), dem="".join(_absolute([source.dem])))
    return replace(source, product=None)  # of which a worker needs no more


def stamps(paths, dem):
    """Return the times of files, of those that have one."""
    return tuple(Path(path).stat().st_mtime_ns for path in (*paths, *filter(None, [dem])) if Path(path).exists())


def _name(job):
    return hashlib.sha256(repr(job).encode()).hexdigest()[:12]


def _absolute(paths):
    return tuple(str(Path(path).resolve()) if Path(path).exists() else rasterio_path(path) for path in paths if path)


@contextlib.contextmanager
def open_client(distributed, scheduler):
    """Open a client of a local cluster, which is closed with it, or of the cluster at an address."""
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
        try:
            if not local:
                with tempfile.TemporaryDirectory() as folder:
                    client.upload_file(write_archive(Path(folder, ARCHIVE)))
            yield client
        except ImportError as error:
            raise UserError(
                f"{scheduler} cannot import {error.name or error}: install requirements.txt there"
            ) from None


def source_files():
    """List the files of the project that a worker imports: two modules, what they import, and so on."""
    found, wanted = set(), ["scenes.cluster", "scenes.pipeline"]
    while wanted:
        path = ROOT.joinpath(*wanted.pop().split(".")).with_suffix(".py")
        if path in found or not path.exists():
            continue
        found |= {
            path,
            *(folder / "__init__.py" for folder in path.parents if folder.is_relative_to(ROOT) and folder != ROOT),
        }
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):  # also imports within functions
            if isinstance(node, ast.Import):
                wanted += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                wanted += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(found)


def write_archive(path):
    """Write the files that a worker needs into one archive, which Python can import from; returns its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in source_files():
            archive.write(file, file.relative_to(ROOT))
        archive.writestr("aa_first.py", FIRST)
        archive.writestr("zz_forget.py", FORGET)
    return str(path)


_one_at_a_time = threading.Lock()  # two threads, which a worker may have, must not use a GDAL file


def compute_strip(job, index):
    """Compute a strip on a worker; returns (sums, valid) or None."""
    with _one_at_a_time:
        model, scene = _equipment(job)
        strip = read_strip(scene, job.grid, index, job.fill)
        return strip and (predict_strip(model, job.grid, strip, job.batch_size, job.tta), strip.valid)


def read_windows(reading, windows):
    """Read windows of a scene on a worker; returns [(values, valid), ...]."""
    with _one_at_a_time:
        scene = _scene(reading)
        return [scene.read(*window) for window in windows]


@functools.lru_cache(maxsize=1)
def _scene(reading):
    return Scene(reading.source)


@functools.lru_cache(maxsize=2)  # a scene after and one before
def _equipment(job):
    return model_of(job), Scene(job.source)
