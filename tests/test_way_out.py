"""Input of another kind than a stage takes: the line says what it is, and the way to go."""

import errno
import shlex
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import map_files
import predict
import records
import runs
import suggest_boxes
from patches import layouts, series
from scenes import elevation, inputs
from script import UserError
from tests.maps import TILE, make_bands
from tests.rasters import write_raster
from tests.running import call_main
from training import run_record


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["trainX.npy", "trainY.npy"], "Found: 2 .npy. Write arrays as HDF5, img and mask"),
        (["images/a.bmp", "masks/a.bmp"], "Found: images/, masks/; 2 .bmp. Convert pictures to PNG or TIFF"),
        (["labels/a.txt", "labels/b.txt", "all.json"], r"labels/; 2 .txt, 1 .json. Outlines in .json, .txt or .xml"),
        (["data.zip"], "Found: 1 .zip. Unpack archives"),
        ([], "Found: nothing$"),
    ],
)
def test_a_folder_without_patches_lists_what_it_holds(tmp_path, names, found):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(layouts.NoPatches, match=found):
        layouts.find_patches(tmp_path)


def test_an_archive_is_no_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w"):
        pass
    (tmp_path / "a.h5").touch()
    with pytest.raises(layouts.NoPatches, match="It is an archive: unpack it, and give its folder"):
        layouts.find_patches(tmp_path / "data.zip")
    with pytest.raises(layouts.NoPatches, match="It is a file"):
        layouts.find_patches(tmp_path / "a.h5")
    with pytest.raises(layouts.NoPatches, match="There is no such folder"):
        layouts.find_patches(tmp_path / "nowhere")


def test_a_netcdf_of_bands_is_a_scene(tmp_path):
    """As openEO writes it, and in its older format; a file of Sen12Landslides holds a mask."""
    for name, variables in (("openEO.nc", ("B02", "B03", "B04", "SCL")), ("series.nc", ("B02", "MASK"))):
        with h5py.File(tmp_path / name, "w") as file:
            for variable in variables:
                file[variable] = np.ones((4, 5))
    (tmp_path / "old.nc").write_bytes(b"CDF\x01")
    (tmp_path / "cut.nc").write_bytes(b"\x89HDF\r\n")
    taken = {name: predict.holds_patches(tmp_path / f"{name}.nc") for name in ("openEO", "series", "old", "cut")}
    assert taken == {"openEO": False, "series": True, "old": False, "cut": True}
    assert series.is_series(tmp_path / "series.nc")
    (tmp_path / "scene.zarr").mkdir()
    assert not predict.holds_patches(tmp_path / "scene.zarr")


def test_patches_that_lie_on_the_ground_are_said_to_be_tiles(call, workdir, capsys):
    write_raster(workdir / "tiles" / "a_1.tif", make_bands(TILE, TILE))
    call("tiles")
    assert (
        "lies on the ground, and masks of patches do not: for maps, give the files with --many"
        in capsys.readouterr().out
    )
    write_raster(workdir / "plain" / "a_1.tif", make_bands(TILE, TILE), crs=None)
    call("plain")
    assert "lies on the ground" not in capsys.readouterr().out


# ---------------------------------------------------------------------- commands


def test_the_next_command_can_be_typed(tmp_path):
    assert runs.command("evaluate.py", Path("results", "one")) == "python evaluate.py --run one"
    folder = Path("my results", "after rain")
    words = ["python", "evaluate.py", "--run", "after rain", "--tta", "--results-dir", "my results"]
    assert shlex.split(runs.command("evaluate.py", folder, "--tta")) == words


def test_patterns_that_no_shell_expanded_are_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.tif", "a.tif", "x[1].tif", "pairs.csv"):
        (tmp_path / name).touch()
    assert records.expanded(["*.tif"]) == ("a.tif", "b.tif", "x[1].tif")
    assert records.expanded(["x[1].tif", "none*.tif", "https://a/?x=1", Path("a.tif")]) == (
        *("x[1].tif", "none*.tif", "https://a/?x=1", "a.tif"),
    )
    assert inputs.list_inputs((), ("?.tif",), ()) == [(("a.tif",), ()), (("b.tif",), ())]
    assert inputs.list_inputs(("?.tif",), (), ()) == [(("a.tif", "b.tif"), ())]
    assert elevation.elevation_files(["?.tif"]) == ["a.tif", "b.tif"]
    (tmp_path / "pairs.csv").write_text("input,before\na.tif,b.tif\n,\n , \nb.tif,\n")
    assert len(inputs.list_inputs((), ("pairs.csv",), ())) == 2
    (tmp_path / "pairs.csv").write_text("input,before\n,\n,b.tif\n")
    with pytest.raises(UserError, match="pairs.csv: line 3 names no input"):
        inputs.list_inputs((), ("pairs.csv",), ())


def test_boxes_that_exist_name_the_flag_of_their_stage_and_wait_for_the_right_scene(call, workdir, monkeypatch):
    write_raster(workdir / "scene.tif", make_bands(130, 140))
    write_raster(workdir / "other.tif", make_bands(60, 70))
    call("scene.tif", DESK=False)
    settings = {"MAP": "maps/scene_probability.tif", "SIZE": 32, "BOXES": 2}
    with pytest.raises(UserError):
        call_main(suggest_boxes, monkeypatch, SCENE=("other.tif",), **settings)
    assert not (workdir / "maps" / "scene_boxes.gpkg").exists()
    call_main(suggest_boxes, monkeypatch, **settings)
    with pytest.raises(UserError, match="scene_boxes.gpkg exists: replace it with --overwrite, or .* with --out$"):
        call_main(suggest_boxes, monkeypatch, **settings)
    with pytest.raises(UserError, match="scene_landslides.gpkg is a vector file: a raster is needed"):
        call_main(suggest_boxes, monkeypatch, **settings | {"MAP": "maps/scene_landslides.gpkg"})


def test_a_folder_that_may_not_be_written_to_names_the_flag():
    error = OSError(errno.EROFS, "Read-only file system", "maps")
    line = "maps/ may not be written to (Read-only file system): write elsewhere with --out-dir"
    assert str(map_files.write_error(Path("maps"), error)) == line


def test_a_run_whose_patches_moved_names_the_flag():
    assert "--resume --data-dir FOLDER" in run_record.way_to_data("data", True)
    assert "unzip Landslide4Sense" in run_record.way_to_data("data", False)
