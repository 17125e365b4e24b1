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

from networks import engines
from networks.tiles import predict_strip
from scenes.elevation import elevation_files
from scenes.opening import rasterio_path
from scenes.pipeline import model_of
from scenes.scene import Scene
from scenes.source import SceneSource
from scenes.tiling import read_strip
from script import UserError

PATIENCE = 15  # seconds within which a cluster must answer and show a worker
ROOT = Path(__file__).parent.parent
# The sources go to scheduler and workers as an archive. Dask's UploadDirectory is no substitute: it leaves the modules
# of an earlier call in the scheduler, needs workers with a nanny, and restarts them, which takes 20 s for each scene.
ARCHIVE = "landslide_sources.zip"
# Dask imports the top-level modules of an archive in order of their names. This one comes first, because GDAL must be
# loaded before TensorFlow:
FIRST = "import scenes\n"
# This one comes last. It removes all modules that were imported from an archive, of this call or an earlier one. So all
# are imported again, from this archive.
FORGET = f"""import sys

for name, module in list(sys.modules.items()):
    if name != __name__ and {ARCHIVE!r} in (getattr(module, "__file__", None) or ""):
        del sys.modules[name]
"""


@dataclass(frozen=True)
class Reading:
    """A scene whose windows are read, and the times at which its files changed, in plain values."""

    source: SceneSource
    stamps: tuple


def strips_on_cluster(jobs, scheduler, first=0):
    """Yield what `local_strips` yields, computed by the workers of a Dask cluster.

    Args:
        jobs: [pipeline.Job, ...]. scheduler: see `on_cluster`; workers must also see the folder of the run.
        first: number of the first strip to yield.
    """
    jobs = [portable_job(job) for job in jobs]
    digests = [_digest(job) for job in jobs]
    tasks = (
        (f"strip-{index}-{digest}", compute_strip, job, index)
        for index in range(first, len(jobs[0].grid.strips))
        for job, digest in zip(jobs, digests, strict=True)
    )
    strips = on_cluster(tasks, scheduler, len(jobs))
    yield from map(list, zip(*[strips] * len(jobs), strict=True))


def windows_on_cluster(source, windows, scheduler, group_size=16):
    """Yield Scene.read(*window) for each window, read by the workers of a Dask cluster.

    Args:
        source: SceneSource. windows: list of arguments of Scene.read. scheduler: see `on_cluster`.
        group_size: number of windows that a task reads.
    """
    source = portable_source(source)
    reading = Reading(source, change_times(files_of(source)))
    digest = _digest(reading)
    groups = [windows[i : i + group_size] for i in range(0, len(windows), group_size)]
    tasks = ((f"windows-{i}-{digest}", read_windows, reading, group) for i, group in enumerate(groups))
    for group in on_cluster(tasks, scheduler):
        yield from group


def on_cluster(tasks, scheduler, group_size=1):
    """Yield the results of tasks in order, computed by the workers of a Dask cluster.

    If a worker is lost, another computes its task again. Only a few tasks are submitted at a time, so that finished
    results do not fill the memory.

    Args:
        tasks: iterator over (name, function, argument, ...).
        scheduler: "local:2" for two processes on this machine, or the address of a scheduler, whose workers must see
            all files under the same paths.
        group_size: number of consecutive tasks whose results are used together.

    Raises:
        UserError: Dask is missing, the scheduler does not answer, or the cluster cannot compute a task.
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
                if len(waiting) > 2 * workers * group_size:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except (distributed.KilledWorker, CancelledError) as error:
            raise UserError(f"the cluster gave up a task, perhaps because memory ran out ({error})") from None


def portable_job(job):
    """Return the job with paths that any process can open, and with the times at which its files changed."""
    source = portable_source(job.source)
    times = change_times((*engines.files(job.run, job.engine), *files_of(source)))
    return replace(job, run=str(Path(job.run).resolve()), source=source, stamps=times)


def portable_source(source):
    """Return the source of a scene with paths that any process can open, without its product."""
    source = replace(source, paths=_absolute_paths(source.paths), dem=_absolute_paths(source.dem))
    return replace(source, product=None)  # a worker does not need it


def files_of(source):
    """Return the paths of all files that a scene is read from, also those in a folder of elevation."""
    return (*source.paths, *source.dem, *elevation_files(source.dem))


def change_times(paths):
    """Return the times at which files changed, in ns; a path that is no file, such as one into an archive, has none."""
    return tuple(Path(path).stat().st_mtime_ns for path in paths if Path(path).exists())


def _digest(job):
    return hashlib.sha256(repr(job).encode()).hexdigest()[:12]


def _absolute_paths(paths):
    return tuple(str(Path(path).resolve()) if Path(path).exists() else rasterio_path(path) for path in paths if path)


@contextlib.contextmanager
def open_client(distributed, scheduler):
    """Open a client of a local cluster, which closes with the client, or of the cluster at an address."""
    kind, _, count = scheduler.partition(":")
    local = kind == "local" and count.isdigit() and int(count) > 0
    with contextlib.ExitStack() as stack:
        try:
            if local:
                options = {"n_workers": int(count), "threads_per_worker": 1, "dashboard_address": None}
                scheduler = stack.enter_context(distributed.LocalCluster(silence_logs=logging.CRITICAL, **options))
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
                f"{scheduler} cannot import {error.name or error}: install requirements.txt on all its machines"
            ) from None


def source_files():
    """List the files of the project that a worker imports: two modules, what they import, and so on."""
    files, pending = set(), ["scenes.dask_cluster", "scenes.pipeline"]
    while pending:
        path = ROOT.joinpath(*pending.pop().split(".")).with_suffix(".py")
        if path in files or not path.exists():
            continue
        rooms = (folder for folder in path.parents if folder.is_relative_to(ROOT) and folder != ROOT)
        files |= {path, *(room / "__init__.py" for room in rooms)}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):  # also imports within functions
            if isinstance(node, ast.Import):
                pending += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                pending += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(files)


def write_archive(path):
    """Write the files that a worker needs into an archive from which Python can import; returns its path."""
    with zipfile.ZipFile(path, "w") as archive:
        for file in source_files():
            archive.write(file, file.relative_to(ROOT))
        archive.writestr("aa_first.py", FIRST)
        archive.writestr("zz_forget.py", FORGET)
    return str(path)


_one_at_a_time = threading.Lock()  # a worker may have several threads, and they must not share a GDAL file


def compute_strip(job, index):
    """Compute a strip on a worker; returns (sums, valid), or None without data."""
    with _one_at_a_time:
        model, scene = _model_and_scene(job)
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
def _model_and_scene(job):
    return model_of(job), Scene(job.source)
