"""Several scenes in one call, and maps that go on where they were stopped."""

import numpy as np
import pytest

from scenes import checkpoints, pipeline
from script import UserError
from tests.conftest import assert_user_error, run_script
from tests.maps import KINDS, make_bands, read, written
from tests.test_pairs import ground
from tests.test_scene import write_raster


@pytest.fixture
def scenes(place):
    for i, name in enumerate("abc"):
        write_raster(place / f"{name}.tif", make_bands(seed=i))
    return place


def test_one_scene_that_fails_does_not_stop_the_others(call, scenes, capsys):
    (scenes / "b.tif").write_bytes(b"II*\0")
    with pytest.raises(UserError, match="1 of 3 scenes were not mapped: b.tif"):
        call(INPUTS=("a.tif", "b.tif", "c.tif"))
    assert "failed: b.tif cannot be opened" in capsys.readouterr().out
    assert {path.name for path in (scenes / "maps").iterdir()} == {f"{s}_{kind}" for s in "ac" for kind in KINDS}
    (scenes / "b.tif").unlink()
    write_raster(scenes / "b.tif", make_bands(seed=1))
    before = (scenes / "maps" / "a_mask.tif").stat().st_mtime_ns
    call(INPUTS=("a.tif", "b.tif", "c.tif"), OVERWRITE=False)
    out = capsys.readouterr().out
    assert out.count("skipped: ") == 2 and "b_mask.tif" in out
    assert (scenes / "maps" / "a_mask.tif").stat().st_mtime_ns == before


def test_a_disk_that_fills_during_a_batch_is_told_and_leaves_what_was_done(scenes):
    """A limit on file size stands in for the full disk; only the second scene is large enough to meet it."""
    write_raster(scenes / "b.tif", np.random.default_rng(0).normal(1, 0.5, (3, 500, 500)).astype(np.float32))
    flags = "predict.py --run pixel --out-dir maps --probability float32 --tile 128 --inputs a.tif b.tif c.tif"
    result = run_script(*flags.split(), cwd=scenes, limit=500_000)
    assert_user_error(result, "1 of 3 scenes were not mapped: b.tif")
    (told,) = [line for line in result.stdout.splitlines() if line.startswith("failed: ")]
    assert "maps/ cannot be written to: is the disk full?" in told
    finished = {name for name in written(scenes) if not name.startswith(".partial-")}
    assert finished == {f"{scene}_{kind}" for scene in "ac" for kind in KINDS}


def test_a_table_names_scenes_after_and_before(call, place):
    (place / "in").mkdir()
    write_raster(place / "in" / "after.tif", ground())
    write_raster(place / "in" / "before.tif", ground())
    write_raster(place / "in" / "alone.tif", ground())
    (place / "in" / "pairs.csv").write_text("input, before\nafter.tif, before.tif\nalone.tif,\n")
    call(INPUTS=("in/pairs.csv",))
    after, alone = (read(f"maps/{name}_probability.tif").astype(float) / 100 for name in ("after", "alone"))
    assert after == pytest.approx(alone * (1 - alone), abs=0.02)
    (place / "in" / "pairs.csv").write_text("scene\nafter.tif\n")
    with pytest.raises(UserError, match="pairs.csv needs rows, a column input"):
        call(INPUTS=("in/pairs.csv",))
    for text, told in (
        ("before,input\nafter.tif\n", "line 2 names no input"),
        ("input,after\nalone.tif,after.tif\n", "at most a column before"),
        ("input\n", "needs rows"),
    ):
        (place / "in" / "pairs.csv").write_text(text)
        with pytest.raises(UserError, match=told):
            call(INPUTS=("in/pairs.csv",))
    (place / "in" / "pairs.csv").write_bytes("input\n\u00fcber.tif\n".encode("latin-1"))
    with pytest.raises(UserError, match="no table of commas in UTF-8"):
        call(INPUTS=("in/pairs.csv",))
    with pytest.raises(UserError, match="either --input .* or --inputs"):
        call("in/after.tif", INPUTS=("in/pairs.csv",))


def test_two_scenes_of_one_name_are_not_mapped_onto_each_other(call, place):
    for year in ("2019", "2020"):
        (place / year).mkdir()
        write_raster(place / year / "boa.tif", make_bands())
    with pytest.raises(UserError, match="1 of 2 scenes were not mapped: 2020/boa.tif"):
        call(INPUTS=("2019/boa.tif", "2020/boa.tif"))


def test_a_map_goes_on_at_the_strip_where_it_stopped(call, place, monkeypatch, capsys):
    """Stopped after three strips; the second call computes only the others, and the files have the same bytes."""
    bands = make_bands(300, 200)
    bands[:, 60:140] = -1  # strips without any data
    write_raster(place / "scene.tif", bands, nodata=-1)
    form = {"RUN": "unet", "TILE": 32, "OVERLAP": 8, "BATCH_SIZE": 4, "PROBABILITY": "float32"}
    call("scene.tif", OUT_DIR="whole", **form)
    real, computed = pipeline.strips_here, []

    def stopping(jobs, scenes, first=0):
        for number, strip in enumerate(real(jobs, scenes, first=first), first):
            if number == 3 and not first:
                raise KeyboardInterrupt
            computed.append(number)
            yield strip

    monkeypatch.setattr(pipeline, "strips_here", stopping)
    with pytest.raises(KeyboardInterrupt):
        call("scene.tif", **form)
    assert [path.name for path in (place / "maps").iterdir()] == [".partial-scene_strips"]
    call("scene.tif", **form)
    assert computed[:4] == [0, 1, 2, 3] and computed == list(range(len(computed)))
    assert "3 strips of an earlier run" in capsys.readouterr().out
    assert {path.name for path in (place / "maps").iterdir()} == {f"scene_{kind}" for kind in KINDS}
    for kind in KINDS:
        assert (place / "maps" / f"scene_{kind}").read_bytes() == (place / "whole" / f"scene_{kind}").read_bytes(), kind


def test_strips_of_another_job_or_cut_short_are_not_taken(tmp_path):
    def compute(first):
        for number in range(first, 3):
            taken.append(number)
            yield [(np.full((2, 3), number, np.float32), np.ones((2, 3), bool)), None]

    taken = []
    list(checkpoints.resumed(tmp_path, ["job"], compute))
    (kept,) = tmp_path.iterdir()
    (kept / "1.npz").write_bytes((kept / "1.npz").read_bytes()[:-30])
    taken = []
    again = list(checkpoints.resumed(tmp_path, ["job"], compute))
    assert taken == [1, 2] and [part[0][0, 0] for part, *_ in again] == [0, 1, 2]
    taken = []
    list(checkpoints.resumed(tmp_path, ["other job"], compute))
    assert taken == [0, 1, 2] and not kept.exists()
