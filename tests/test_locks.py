"""What two processes must not write at once."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import locks
import records
from scenes import rasters
from script import UserError
from tests.maps import KINDS, make_bands, written
from tests.patch_files import write_patches
from tests.rasters import write_raster
from tests.running import ROOT, SMALL, Script, assert_user_error, run_script

HOLDER = "import locks, pathlib, time; a = locks.held(pathlib.Path('new/a.lock'), ''); print(a.__enter__(), flush=True)"


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """Another process that holds new/a.lock until it is killed."""
    monkeypatch.chdir(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {HOLDER}; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "True\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lock_is_held_by_one_process_and_ends_with_it(holder):
    path = Path("new", "a.lock")
    with pytest.raises(UserError, match="^busy$"), locks.held(path, "busy"):
        pass
    assert path.exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locks.held(path, "busy") as alone:
        assert alone and path.exists()
    assert not path.exists()


def test_a_lock_leaves_no_folder_that_it_made(tmp_path):
    with locks.held(tmp_path / "results" / "run" / "a.lock", "busy"):
        pass
    assert not (tmp_path / "results").exists()
    with locks.held(tmp_path / "results" / "run" / "a.lock", "busy"):
        (tmp_path / "results" / "run" / "kept").touch()
    assert os.listdir(tmp_path / "results" / "run") == ["kept"]


def test_a_drive_without_locks_is_used_without(tmp_path, monkeypatch):
    def no_locks(file):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks, "_lock", no_locks)
    with locks.held(tmp_path / "a.lock", "busy") as alone:
        assert not alone
    (tmp_path / "file").touch()
    with locks.held(tmp_path / "file" / "a.lock", "busy") as alone:  # a folder that cannot be made
        assert not alone


def test_partial_files_of_two_processes_differ_and_those_of_a_killed_one_are_removed(tmp_path):
    path = tmp_path / "s_mask.tif"
    with records.atomic_write(path) as partial:
        assert re.fullmatch(rf"\.partial-{os.getpid()}-s_mask\.tif", partial.name)
        partial.touch()
    for name in (
        ".partial-12-s_mask.tif",
        ".partial-12-s_mask.tif.ovr.tmp",
        ".partial-s_mask.tif",
        ".partial-12-other-s_mask.tif",
    ):
        (tmp_path / name).touch()
    records.remove_partials([path])
    assert sorted(os.listdir(tmp_path)) == [".partial-12-other-s_mask.tif", "s_mask.tif"]


def test_a_scene_is_not_mapped_by_two_processes(call, workdir, monkeypatch):
    """The second is refused while the first one works, which then ends well."""
    write_raster(workdir / "scene.tif", make_bands())
    real, refused = rasters.write, []

    def with_another(*arguments):
        flags = "predict.py --run pixel --out-dir maps --input scene.tif --overwrite"
        refused.append(run_script(*flags.split(), cwd=workdir))
        return real(*arguments)

    monkeypatch.setattr(rasters, "write", with_another)
    call("scene.tif")
    assert_user_error(refused[0], "another process maps scene into maps/")
    assert written(workdir) == sorted(f"scene_{kind}" for kind in KINDS)


def test_what_gdal_cannot_write_is_not_a_full_disk(call, workdir, monkeypatch):
    write_raster(workdir / "scene.tif", make_bands())

    def vanishing(*arguments):
        raise rasters.rasterio.errors.RasterioIOError("Permission denied by the server")

    monkeypatch.setattr(rasters, "write", vanishing)
    with pytest.raises(UserError, match=r"maps/ cannot be written to \(Permission denied by the server\)"):
        call("scene.tif")


def test_a_run_is_not_trained_by_two_processes(tmp_path):
    write_patches(tmp_path / "data" / "images", tmp_path / "data" / "masks", range(1, 31))
    flags = ("train.py", "--run", "one", "--epochs", 500, *SMALL)
    first = Script(*flags, cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "results" / "one" / "config.json").exists():
        assert first.running() and time.monotonic() < deadline
        time.sleep(0.05)
    for more in ((), ("--overwrite",), ("--resume",)):
        result = run_script(
            "train.py", "--run", "one", *(more if more == ("--resume",) else (*flags[3:], *more)), cwd=tmp_path
        )
        assert_user_error(result, "another process trains the run results/one")
    first.send_signal(signal.SIGKILL)
    first.result()
