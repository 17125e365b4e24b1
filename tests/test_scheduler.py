"""Maps whose strips are computed by workers of a Dask scheduler."""

import gc
import os
import shutil
import socket
import subprocess
import sys

import pytest

from bands import BANDS_RGB
from scenes import dask_cluster
from script import UserError
from tests.maps import assert_same_maps, make_bands
from tests.rasters import GRID, open_scene, write_raster
from tests.running import ROOT


@pytest.mark.usefixtures("unet")
@pytest.mark.slow
def test_two_workers_give_the_same_bytes_also_when_one_is_killed(call, workdir, monkeypatch):
    """Strips on two local processes, one of them killed after the second strip, against none."""
    psutil = pytest.importorskip("psutil")
    bands = make_bands(300, 200)
    bands[:, 60:140, 40:] = -1
    write_raster(workdir / "scene.tif", bands, nodata=-1)
    call("scene.tif", RUN="unet", PROBABILITY_TYPE="float32", TILE=32, OVERLAP=8, BATCH_SIZE=8, OUT_DIR="local")
    real, killed = dask_cluster.strips_on_cluster, []

    def losing_a_worker(jobs, scheduler, first):
        for number, strip in enumerate(real(jobs, scheduler, first)):
            yield strip
            if number == 1:
                processes = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
                assert len(processes) == 2
                processes[0].kill()
                killed.append(number)

    monkeypatch.setattr(dask_cluster, "strips_on_cluster", losing_a_worker)
    call("scene.tif", RUN="unet", PROBABILITY_TYPE="float32", TILE=32, OVERLAP=8, BATCH_SIZE=8, SCHEDULER="local:2")
    assert killed
    assert_same_maps(workdir / "maps", workdir / "local")


@pytest.mark.usefixtures("unet")
@pytest.mark.slow
def test_a_worker_in_an_empty_folder_gets_the_sources(call, workdir, tmp_path_factory):
    """Started elsewhere, it finds no file of the project but what is sent to it."""
    pytest.importorskip("distributed")
    write_raster(workdir / "scene.tif", make_bands(120, 90))
    call("scene.tif", RUN="unet", PROBABILITY_TYPE="float32", OUT_DIR="local")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    options = {"cwd": tmp_path_factory.mktemp("empty"), "env": environment, "stderr": subprocess.DEVNULL}
    dask = (sys.executable, "-m", "dask")
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--port", address.rpartition(":")[2], "--no-dashboard"], **options
    )
    worker = subprocess.Popen([*dask, "worker", address, "--nthreads", "1", "--no-dashboard"], **options)
    shutil.copytree(workdir / "results" / "unet", workdir / "results" / "damaged")
    os.truncate(workdir / "results" / "damaged" / "model.keras", 5000)
    try:
        call("scene.tif", RUN="unet", PROBABILITY_TYPE="float32", SCHEDULER=address)
        with pytest.raises(UserError, match="model.keras cannot be loaded"):  # what a worker raises, of a second job
            call("scene.tif", RUN="damaged", SCHEDULER=address)
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(30)
    assert_same_maps(workdir / "maps", workdir / "local")


def test_what_a_worker_is_sent_is_what_it_imports(tmp_path):
    files = {path.relative_to(ROOT).as_posix() for path in dask_cluster.source_files()}
    assert {"scenes/dask_cluster.py", "scenes/scene.py", "bands.py", "networks/tensorflow_parts.py"} <= files
    assert not {"train.py", "predict.py", "unet.py", "dataset.py", "augment.py"} & files
    archive = dask_cluster.write_archive(tmp_path / "sources.zip")
    code = f"import sys; sys.path.insert(0, {archive!r}); import scenes.dask_cluster"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


def test_a_scheduler_that_is_not_there_is_told(call, workdir, monkeypatch):
    write_raster(workdir / "scene.tif", make_bands())
    for scheduler in ("local:none", "tcp://127.0.0.1:1"):
        monkeypatch.setattr(dask_cluster, "PATIENCE", 1)
        with pytest.raises(UserError, match="does not answer"):
            call("scene.tif", SCHEDULER=scheduler)
        gc.collect()  # of Dask's failed client here: met by chance in the next one's thread, it would lock it up
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="pip install -r requirements-scheduler.txt"):
        call("scene.tif", SCHEDULER="local:2")
    assert not (workdir / "maps").exists()


def test_a_changed_tile_in_a_folder_of_elevation_is_another_job(tmp_path):
    """Otherwise a map that was stopped goes on with slopes of the former tile."""
    places = {"a.tif": GRID, "b.tif": GRID @ GRID.translation(4, 0)}
    paths = [write_raster(tmp_path / "tiles" / name, make_bands(8, 8)[:1], place) for name, place in places.items()]
    scene = write_raster(tmp_path / "scene.tif", make_bands(8, 8))
    opened = open_scene([scene], BANDS_RGB, dem=(tmp_path / "tiles",))
    before = dask_cluster.change_times(dask_cluster.files_of(opened.source))
    opened.close()
    os.utime(paths[1], ns=(0, 1))
    assert dask_cluster.change_times(dask_cluster.files_of(opened.source)) != before
