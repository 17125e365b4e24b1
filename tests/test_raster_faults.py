"""Files that are no rasters, and rasters that cannot be a scene: each has a line that says what to do."""

import zipfile

import numpy as np
import pytest
import rasterio

from bands import BANDS_RGB
from scenes.opening import open_raster
from scenes.products.recognition import open_product
from script import UserError
from tests.maps import make_bands
from tests.rasters import open_scene, write_raster


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("a.npy", "a.npy holds arrays: write them as GeoTIFF"),
        ("list.txt", "list.txt is a table, no raster: --many takes a .csv with a column input"),
        ("a.xlsx", "a.xlsx is a table"),
        ("slides.gpkg", "slides.gpkg is a vector file: a raster is needed here"),
        ("a.kmz", "a.kmz is a KMZ of pictures for the eye: download the scene as GeoTIFF"),
        ("map.qgz", "map.qgz is a project of a GIS"),
        ("a.tif.aux.xml", "goes with a raster and is none: give the raster itself"),
        ("a.dng2", "a.dng2 cannot be opened as a raster \\("),
        ("a.tif", "a.tif cannot be opened as a raster, it may be cut short \\("),
        ("folder", "folder is a folder, and no product or raster in it is known: give its files; .* gdalbuildvrt"),
    ],
)
def test_what_is_no_raster_is_called_what_it_is(tmp_path, name, line):
    (tmp_path / name).mkdir() if name == "folder" else (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=line):
        open_raster(tmp_path / name)


def test_a_virtual_raster_names_the_file_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "a.tif", make_bands(20, 20))
    with rasterio.open("a.tif") as file:
        rasterio.shutil.copy(file, "all.vrt", driver="VRT")
    open_raster("all.vrt").close()
    (tmp_path / "a.tif").unlink()
    with pytest.raises(UserError, match="all.vrt is a virtual raster of other files, and .*a.tif is missing"):
        open_raster("all.vrt")


def test_a_server_that_is_away_is_no_damage(tmp_path):
    """A description of a server of tiles, as QGIS saves it."""
    window = "<UpperLeftX>0</UpperLeftX><UpperLeftY>256</UpperLeftY><LowerRightX>256</LowerRightX>"
    window += "<LowerRightY>0</LowerRightY><TileLevel>0</TileLevel><SizeX>256</SizeX><SizeY>256</SizeY>"
    url = "<Service name='TMS'><ServerUrl>http://127.0.0.1:9/${z}/${x}/${y}.png</ServerUrl></Service>"
    (tmp_path / "tiles.xml").write_text(
        f"<GDAL_WMS>{url}<DataWindow>{window}</DataWindow><Projection>EPSG:32632</Projection>"
        "<BandsCount>3</BandsCount></GDAL_WMS>"
    )
    line = "tiles.xml cannot be read.*: the server did not send it; try again"
    with pytest.raises(UserError, match=line), open_scene([tmp_path / "tiles.xml"], BANDS_RGB) as scene:
        scene.read(0, 10)


def test_complex_numbers_are_no_light(tmp_path):
    path = write_raster(tmp_path / "slc.tif", make_bands(20, 20).astype(np.complex64))
    with pytest.raises(UserError, match="slc.tif holds complex numbers, as radar does"):
        open_scene([path], BANDS_RGB)


def test_a_number_beyond_light_is_asked_about(call, workdir):
    """Programs of the climate and forecast conventions fill gaps with 1e20."""
    bands = make_bands(60, 70).astype(np.float64)
    bands[:, :10] = 1e20
    write_raster(workdir / "scene.tif", bands)
    with pytest.raises(UserError, match=r"scene.tif holds 1e\+20, which is no light: is it no data\? --nodata 1e\+20"):
        call("scene.tif")
    call("scene.tif", NODATA=1e20)


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_radar_is_called_radar(tmp_path, kind):
    name = "S1A_IW_GRDH_1SDV_20230701T053649_20230701T053714_049231_05EB8E_1234"
    if kind == "zip":
        path = tmp_path / "download.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"{name}.SAFE/manifest.safe", "x")
    else:
        path = tmp_path / f"{name}.SAFE"
        path.mkdir()
        (path / "manifest.safe").write_text("x")
    with pytest.raises(UserError, match="is a product of Sentinel-1, which is radar"):
        open_product([path])
