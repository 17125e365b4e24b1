"""Several scenes in one call, full disks, and maps that go on where they were stopped."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scenes import checkpoints, inputs, pipeline
from script import UserError
from tests.maps import DESK, KINDS, TILE, assert_same_maps, ground, make_bands, read, written
from tests.patch_files import write_h5
from tests.rasters import write_raster
from tests.running import ROOT, assert_user_error, run_script


@pytest.fixture
def scenes(workdir):
    for i, name in enumerate("abc"):
        write_raster(workdir / f"{name}.tif", make_bands(seed=i))
    return workdir


def test_one_scene_that_fails_does_not_stop_the_others(call, scenes, capsys):
    (scenes / "b.tif").write_bytes(b"II*\0")
    with pytest.raises(UserError, match="1 of 3 scenes were not mapped: b.tif"):
        call(MANY=("a.tif", "b.tif", "c.tif"))
    assert "failed: b.tif cannot be opened" in capsys.readouterr().out
    assert set(written(scenes)) == {"catalog.json", *(f"{scene}_{kind}" for scene in "ac" for kind in KINDS)}
    (scenes / "b.tif").unlink()
    write_raster(scenes / "b.tif", make_bands(seed=1))
    before = (scenes / "maps" / "a_mask.tif").stat().st_mtime_ns
    call(MANY=("a.tif", "b.tif", "c.tif"), OVERWRITE=False)
    out = capsys.readouterr().out
    assert out.count("skipped: ") == 2 and "b_mask.tif" in out
    assert (scenes / "maps" / "a_mask.tif").stat().st_mtime_ns == before


def test_a_disk_that_fills_during_a_batch_is_told_and_leaves_what_was_done(scenes):
    """A limit on file size stands in for the full disk; only the second scene is large enough to meet it."""
    write_raster(scenes / "b.tif", np.random.default_rng(0).normal(1, 0.5, (3, 500, 500)).astype(np.float32))
    flags = "predict.py --run pixel --out-dir maps --probability-type float32 --tile 128 --many a.tif b.tif c.tif"
    result = run_script(*flags.split(), cwd=scenes, limit=500_000)
    assert_user_error(result, "1 of 3 scenes were not mapped: b.tif")
    (failure,) = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
    assert "maps/ cannot be written to: the disk is full. The same command continues" in failure
    finished = {name for name in written(scenes) if not name.startswith(".partial-")}
    assert finished == {"catalog.json", *(f"{scene}_{kind}" for scene in "ac" for kind in KINDS)}


def test_a_full_disk_is_told_and_leaves_nothing_that_looks_finished(workdir):
    """A limit on file size stands in for the full disk: writing fails the same way."""
    bands = np.random.default_rng(0).normal(1, 0.5, (3, 300, 300)).astype(np.float32)
    write_raster(workdir / "scene.tif", bands)
    write_h5(workdir / "image_1.h5", "img", np.ones((TILE, TILE, 3)))
    for flags, limit in (("--input scene.tif --probability-type float32", 100_000), ("--input image_1.h5", 1000)):
        result = run_script(*f"predict.py --run pixel --out-dir maps {flags}".split(), cwd=workdir, limit=limit)
        assert_user_error(result, "maps/")
        assert result.stderr.splitlines()[-1].startswith("predict.py: error: ")
        assert not (workdir / "maps").exists() or all(name.startswith(".partial-") for name in written(workdir))
        shutil.rmtree(workdir / "maps", ignore_errors=True)


def test_a_table_names_scenes_after_and_before(call, workdir):
    (workdir / "in").mkdir()
    write_raster(workdir / "in" / "after.tif", ground())
    write_raster(workdir / "in" / "before.tif", ground() + 1e-6)
    write_raster(workdir / "in" / "alone.tif", ground())
    (workdir / "in" / "pairs.csv").write_text("input, before\nafter.tif, before.tif\nalone.tif,\n")
    call(MANY=("in/pairs.csv",))
    after, alone = (read(f"maps/{name}_probability.tif").astype(float) / 100 for name in ("after", "alone"))
    assert after == pytest.approx(alone * (1 - alone), abs=0.02)
    (workdir / "in" / "pairs.csv").write_text("scene\nafter.tif\n")
    with pytest.raises(UserError, match="pairs.csv needs rows, a column input"):
        call(MANY=("in/pairs.csv",))
    for text, message in (
        ("before,input\nafter.tif\n", "line 2 names no input"),
        ("input,after\nalone.tif,after.tif\n", "at most a column before"),
        ("input\n", "needs rows"),
    ):
        (workdir / "in" / "pairs.csv").write_text(text)
        with pytest.raises(UserError, match=message):
            call(MANY=("in/pairs.csv",))
    (workdir / "in" / "pairs.csv").write_bytes("input\n\u00fcber.tif\n".encode("latin-1"))
    with pytest.raises(UserError, match="no table of commas or semicolons in UTF-8"):
        call(MANY=("in/pairs.csv",))
    with pytest.raises(UserError, match="either --input .* or --many"):
        call("in/after.tif", MANY=("in/pairs.csv",))


def test_two_scenes_of_one_name_are_not_mapped_onto_each_other(call, workdir):
    for year in ("2019", "2020"):
        (workdir / year).mkdir()
        write_raster(workdir / year / "boa.tif", make_bands())
    with pytest.raises(UserError, match="1 of 2 scenes were not mapped: 2020/boa.tif"):
        call(MANY=("2019/boa.tif", "2020/boa.tif"))


@pytest.mark.usefixtures("unet")
def test_a_map_goes_on_at_the_strip_where_it_stopped(call, workdir, monkeypatch, capsys):
    """Stopped after three strips; the second call computes only the others, and the files have the same bytes."""
    bands = make_bands(300, 200)
    bands[:, 60:140] = -1  # strips without any data
    write_raster(workdir / "scene.tif", bands, nodata=-1)
    settings = {"RUN": "unet", "TILE": 32, "OVERLAP": 8, "BATCH_SIZE": 4, "PROBABILITY_TYPE": "float32"}
    call("scene.tif", OUT_DIR="whole", **settings)
    real, computed = pipeline.local_strips, []

    def stopping(jobs, scenes, first=0):
        for number, strip in enumerate(real(jobs, scenes, first=first), first):
            if number == 3 and not first:
                raise KeyboardInterrupt
            computed.append(number)
            yield strip

    monkeypatch.setattr(pipeline, "local_strips", stopping)
    with pytest.raises(KeyboardInterrupt):
        call("scene.tif", **settings)
    assert [path.name for path in (workdir / "maps").iterdir()] == [".partial-scene_strips"]
    call("scene.tif", **settings)
    assert computed[:4] == [0, 1, 2, 3] and computed == list(range(len(computed)))
    assert "3 strips of an earlier run" in capsys.readouterr().out
    assert {path.name for path in (workdir / "maps").iterdir()} == {f"scene_{kind}" for kind in (*KINDS, DESK)}
    assert_same_maps(workdir / "maps", workdir / "whole")


@pytest.mark.usefixtures("unet")
@pytest.mark.slow
def test_kill_9_leaves_no_file_that_looks_finished(call, workdir):
    bands = np.tile(make_bands(400, 400), (1, 3, 1))
    write_raster(workdir / "scene.tif", bands)
    command = f"{sys.executable} {ROOT / 'predict.py'} --run unet --input scene.tif --out-dir maps --tile 32"
    process = subprocess.Popen(
        [*command.split(), "--overlap", "8", "--tta"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in (workdir / "maps").glob(".partial-*-scene_mask.tif")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(name.startswith(".partial-") for name in written(workdir))
    call("scene.tif", TILE=32, OVERLAP=0)
    assert written(workdir) == sorted(f"scene_{kind}" for kind in (*KINDS, DESK))


def test_strips_of_another_job_or_cut_short_are_not_taken(tmp_path):
    def compute(first):
        for number in range(first, 3):
            taken.append(number)
            yield [(np.full((2, 3), number, np.float32), np.ones((2, 3), bool)), None]

    taken = []
    list(checkpoints.resumed_strips(tmp_path, ["job"], compute))
    (kept,) = tmp_path.iterdir()
    (kept / "1.npz").write_bytes((kept / "1.npz").read_bytes()[:-30])
    taken = []
    again = list(checkpoints.resumed_strips(tmp_path, ["job"], compute))
    assert taken == [1, 2] and [part[0][0, 0] for part, *_ in again] == [0, 1, 2]
    taken = []
    list(checkpoints.resumed_strips(tmp_path, ["other job"], compute))
    assert taken == [0, 1, 2] and not kept.exists()


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_of_a_spreadsheet_is_read(tmp_path, monkeypatch, mark):
    monkeypatch.chdir(tmp_path)
    Path("scenes").mkdir()
    for name in ("after 1.tif", "before.tif"):
        Path("scenes", name).touch()
    lines = [
        f"input{mark}before{mark}",
        f"scenes\\after 1.tif{mark}scenes/before.tif{mark}",
        f"scenes/before.tif{mark}{mark}",
    ]
    Path("pairs.csv").write_text("\r\n".join(lines), encoding="utf-8-sig")
    first, second = inputs.list_inputs((), ("pairs.csv",), ())
    assert first == (("scenes/after 1.tif",), ("scenes/before.tif",))
    assert second == (("scenes/before.tif",), ())
