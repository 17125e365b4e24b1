"""Input of another kind than a stage takes: the line says what it is, and the way to go."""

import zipfile

import h5py
import numpy as np
import pytest

import predict
from patches import layouts, series
from tests.maps import TILE, make_bands
from tests.rasters import write_raster


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
