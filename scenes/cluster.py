"""Strips of a scene, computed by the workers of a Dask cluster with the same bytes as in this process."""

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
from dataclasses import replace
from pathlib import Path

from scenes.opening import member
from scenes.pipeline import model_of
from scenes.scene import Scene
from scenes.tiling import predict_strip, read_strip
from script import UserError

PATIENCE = 15  # seconds within which a cluster must answer and show a worker
ROOT = Path(__file__).parent.parent
ARCHIVE = "landslide_sources.zip"
# Dask imports the top-level modules of an archive by name, this one last: what they were before, and what they have
# imported meanwhile, goes, so that all of it is imported again and from one archive.
FORGET = f"""import sys

for name, module in list(sys.modules.items()):
    if name != __name__ and {ARCHIVE!r} in (getattr(module, "__file__", None) or ""):
        del sys.modules[name]
"""


def strips_on_cluster(jobs, scheduler, first=0):
    """Yield what `strips_here` yields, computed by the workers of a Dask cluster.

    If a worker is lost, another computes its strip again. Strips arrive once each and in order. Only a few are computed
    at a time, so that finished ones do not pile up.

    Args:
        scheduler: "local:2" for that many processes on this machine, or the address of a scheduler, whose workers
            must see the run and the scene under the same paths.
        first: strip to begin with.
    """
    try:
        import distributed
    except ImportError:
        raise UserError("a scheduler needs Dask: pip install -r requirements-scheduler.txt") from None
    jobs = [placed(job) for job in jobs]
    with open_client(distributed, scheduler) as client:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        names = [hashlib.sha256(repr(job).encode()).hexdigest()[:12] for job in jobs]  # tell these jobs from others
        waiting = deque()
        try:
            for index in range(first, len(jobs[0].grid.strips)):
                for job, name in zip(jobs, names, strict=True):
                    waiting.append(client.submit(compute_strip, job, index, key=f"strip-{index}-{name}"))
                if len(waiting) > 2 * workers * len(jobs):
                    yield [waiting.popleft().result() for _ in jobs]
            while waiting:
                yield [waiting.popleft().result() for _ in jobs]
        except (distributed.KilledWorker, CancelledError) as error:
            raise UserError(f"the cluster gave up a strip, for want of memory perhaps ({error})") from None


def placed(job):
    """Return the job with paths that any process can open, and the times of its files."""
    source = replace(job.source, paths=_absolute(job.source.paths), dem="".join(_absolute([job.source.dem])))
    source = replace(source, product=None)  # of which a worker needs no more
    files = [Path(job.run, "model.keras"), *source.paths, *filter(None, [source.dem])]
    stamps = tuple(Path(path).stat().st_mtime_ns for path in files if Path(path).exists())  # others have no time
    return replace(job, run=str(Path(job.run).resolve()), source=source, stamps=stamps)


def _absolute(paths):
    return tuple(str(Path(path).resolve()) if Path(path).exists() else member(path) for path in paths if path)


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
    found, wanted = {ROOT / "scenes" / "__init__.py"}, ["scenes.cluster", "scenes.pipeline"]
    while wanted:
        path = ROOT.joinpath(*wanted.pop().split(".")).with_suffix(".py")
        if path in found or not path.exists():
            continue
        found.add(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
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
        archive.writestr("zz_forget.py", FORGET)
    return str(path)


_one_at_a_time = threading.Lock()  # two threads, which a worker may have, must not use a GDAL file


def compute_strip(job, index):
    """Compute a strip on a worker; returns (sums, valid) or None."""
    with _one_at_a_time:
        model, scene = _equipment(job)
        strip = read_strip(scene, job.grid, index, job.fill)
        return strip and (predict_strip(model, job.grid, strip, job.batch_size, job.tta), strip.valid)


@functools.lru_cache(maxsize=2)  # a scene after and one before
def _equipment(job):
    return model_of(job), Scene(job.source)
