"""Elevation from rasters of any unit and layout: tiles, folders, zips, and ground that crosses 180 degrees."""

import zipfile

import h5py
import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from scenes.elevation import Elevation
from scenes.pixel_grid import PixelGrid
from script import UserError
from tests.rasters import GRID, UTM, write_netcdf, write_raster


def plane(size=140):
    y, x = np.mgrid[:size, :size]
    return 1500 + 3.0 * x + 2 * np.sin(y / 5)  # about 17 degrees


DEMS = {
    "plain": (lambda z: z, {}, {}),
    "tagged void": (lambda z: z, {"nodata": -32768, "dtype": "int16"}, {}),
    "void without a tag": (lambda z: z, {"dtype": "int16"}, {}),
    "decimetres": (lambda z: 10 * z, {"dtype": "int16"}, {"scales": (0.1,)}),
    "from 1000 m": (lambda z: z - 1000, {}, {"offsets": (1000.0,)}),
    "feet": (lambda z: z / 0.3048, {}, {"units": ("ft",)}),
    "survey feet": (lambda z: z * 3937 / 1200, {}, {"units": ("US survey foot",)}),
}


@pytest.mark.parametrize("case", DEMS)
def test_elevation_is_in_metres_whatever_the_raster_holds(tmp_path, case):
    stored, options, tags = DEMS[case]
    z = stored(plane())
    options = {"dtype": "float32"} | options
    if "void" in case:
        z[60:68, 60:68] = -32768
    grid = from_origin(580360, 5102320, 10, 10)
    path = write_raster(
        tmp_path / "dem.tif", [z.astype(options["dtype"])], grid, "EPSG:32632", nodata=options.get("nodata")
    )
    with rasterio.open(path, "r+") as file:
        for name, value in tags.items():
            setattr(file, name, value)
    scene = PixelGrid((96, 96), from_origin(580560, 5102120, 10, 10), rasterio.crs.CRS.from_epsg(32632))
    elevation = Elevation([path], scene).read(Window(0, 0, 96, 96))
    expected = plane()[20:116, 20:116]
    gap = np.isnan(elevation)
    assert gap.sum() == (64 if "void" in case else 0)
    assert np.abs(elevation - expected)[~gap].max() < (1.01 if options["dtype"] == "int16" else 0.01)


def test_an_elevation_that_crosses_180_degrees_covers_the_whole_scene(tmp_path):
    """Longitudes beyond 180 on one side, -180 on the other: a scene in degrees and one in UTM, both ways."""
    z = np.broadcast_to(np.arange(200.0), (100, 200)).astype(np.float32)
    beyond = write_raster(tmp_path / "beyond.tif", [z], from_origin(179, -16, 0.01, 0.01), "EPSG:4326")
    below = write_raster(tmp_path / "below.tif", [z], from_origin(-181, -16, 0.01, 0.01), "EPSG:4326")
    window = Window(0, 0, 20, 20)
    for left, first in ((-179.8, 120), (179.5, 50), (180.3, 130)):  # the first column of elevation under the scene
        scene = PixelGrid((20, 20), from_origin(left, -16.2, 0.01, 0.01), rasterio.crs.CRS.from_epsg(4326))
        for path in (beyond, below):
            elevation = Elevation([path], scene).read(window)
            assert np.abs(elevation[0] - np.arange(first, first + 20)).max() < 0.1, (left, path)
    utm = PixelGrid((20, 20), from_origin(178000, 8190000, 1000, 1000), rasterio.crs.CRS.from_epsg(32701))
    tiles = [
        write_raster(tmp_path / f"tile_{left}.tif", [z[:, :100]], from_origin(left, -16, 0.01, 0.01), "EPSG:4326")
        for left in (179, -180)
    ]
    joined = Elevation(tiles, utm)
    assert len(joined.rasters) == 2 and np.isfinite(joined.read(window)).all()
    for path in (beyond, below):
        assert np.isfinite(Elevation([path], utm).read(window)).all(), path


def test_tiles_of_elevation_are_laid_together(tmp_path):
    """In a folder, in a zip, or named one by one; a tile elsewhere is left aside."""
    z, place = plane(), from_origin(580360, 5102320, 10, 10)
    whole = write_raster(tmp_path / "dem.tif", [z.astype(np.float32)], place, "EPSG:32632")
    tiles = []
    for number, (columns, left) in enumerate((((0, 60), 0), ((60, 140), 600), ((0, 60), 900_000))):
        part, corner = z[:, slice(*columns)].astype(np.float32), from_origin(580360 + left, 5102320, 10, 10)
        tiles.append(write_raster(tmp_path / f"tiles/dem_{number}.tif", [part], corner, "EPSG:32632"))
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        for tile in tiles:
            archive.write(tile, tile.name)
    scene = PixelGrid((96, 96), from_origin(580560, 5102120, 10, 10), rasterio.crs.CRS.from_epsg(32632))
    window = Window(0, 0, 96, 96)
    expected = Elevation([whole], scene).read(window)
    for paths in ([tmp_path / "tiles"], [tmp_path / "tiles.zip"], tiles):
        joined = Elevation(paths, scene)
        assert len(joined.rasters) == 2
        np.testing.assert_allclose(joined.read(window), expected, atol=1e-3)
        joined.close()
    write_raster(tmp_path / "tiles/._dem_0.png", np.zeros((1, 4, 4), np.uint8), crs=None)  # of macOS, or a preview
    assert len(Elevation([tmp_path / "tiles"], scene).rasters) == 2
    write_raster(tmp_path / "tiles/count_0.tif", [z[:, :60].astype(np.float32)], place, "EPSG:32632")
    with pytest.raises(UserError, match="lie on the same ground, and one may hold slope, masks or counts"):
        Elevation([tmp_path / "tiles"], scene)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds no raster of elevation"):
        Elevation([tmp_path / "empty"], scene)


def test_an_srtm_tile_is_read_in_its_zip(tmp_path):
    z = np.broadcast_to(np.arange(1201, dtype=">i2"), (1201, 1201))
    with zipfile.ZipFile(tmp_path / "N45E011.SRTMGL3.hgt.zip", "w") as archive:
        archive.writestr("N45E011.hgt", z.tobytes())
    scene = PixelGrid((20, 20), from_origin(11.5, 45.5, 1 / 1200, 1 / 1200), rasterio.crs.CRS.from_epsg(4326))
    read = Elevation([tmp_path / "N45E011.SRTMGL3.hgt.zip"], scene).read(Window(0, 0, 20, 20))
    np.testing.assert_allclose(read[0], np.arange(600.5, 620), atol=0.01)


@pytest.mark.parametrize("kind", ["int16", "uint16", "float32"])
@pytest.mark.parametrize("tag", [None, 7])
def test_a_number_of_no_elevation_counts_beside_the_tag(tmp_path, kind, tag):
    """The sea at 0 of a model whose tag is another number; a number that the type does not hold does no harm."""
    z = np.full((1, 20, 20), 900, kind)
    z[:, :4], z[:, 4:8] = 7, 0
    path = write_raster(tmp_path / "dem.tif", z, nodata=tag)
    grid, window = PixelGrid.of(rasterio.open(path)), Window(0, 0, 20, 20)
    without = [np.isnan(Elevation([path], grid, nodata).read(window)[:, 0]) for nodata in (0.0, -9999.0, None)]
    assert np.flatnonzero(without[0]).tolist() == [*range(0 if tag else 4, 8)]
    assert np.flatnonzero(without[1]).tolist() == np.flatnonzero(without[2]).tolist() == [*range(4 if tag else 0)]


@pytest.mark.parametrize(
    ("name", "description", "unit", "fault"),
    [
        ("dem.tif", "slope", "", "is called slope: --dem takes elevation"),
        ("dem.tif", "Hillshade (sun 315)", "", "is called hillshade"),
        ("dem_aspect_10m.tif", "", "", "is called aspect"),
        ("dem.tif", "", "degree", "is in degree"),
        ("slope.tif", "elevation", "m", ""),
        ("north_slope_dem.tif", "", "", ""),
        ("heights.tif", "Band 1", "ft", ""),
    ],
)
def test_what_says_that_it_is_no_elevation_is_refused(tmp_path, capsys, name, description, unit, fault):
    path = write_raster(tmp_path / name, np.full((1, 20, 20), 100, np.int16), descriptions=(description,))
    with rasterio.open(path, "r+") as file:
        file.set_band_unit(1, unit)
        grid = PixelGrid.of(file)
    if not fault:
        Elevation([path], grid).close()
        assert not capsys.readouterr().out
        return
    with pytest.raises(UserError, match=f"{name} {fault}"):
        Elevation([path], grid)


def test_what_a_variable_of_netcdf_is_called_counts(tmp_path):
    path = write_netcdf(tmp_path / "terrain.nc", np.full((20, 20), 20, np.float32))
    with h5py.File(path, "r+") as file:
        file["Band1"].attrs["long_name"] = "slope"
    with rasterio.open(path) as file:
        grid = PixelGrid.of(file)
    with pytest.raises(UserError, match="terrain.nc is called slope"):
        Elevation([path], grid)


def test_elevation_of_8_bits_is_noted(tmp_path, capsys):
    path = write_raster(tmp_path / "ground.tif", np.full((1, 20, 20), 100, np.uint8))
    Elevation([path], PixelGrid.of(rasterio.open(path))).close()
    assert "ground.tif has 8 bits, so elevation to 255 m at most: is it a hillshade" in capsys.readouterr().out


def test_missing_values_of_netcdf_are_no_elevation_beside_another_fill(tmp_path):
    heights = np.full((20, 20), 500, np.int16)
    heights[:, :5], heights[:, 5:8] = 7, 8
    path = write_netcdf(tmp_path / "dem.nc", heights, _FillValue=7, missing_value=8)
    elevation = Elevation((path,), PixelGrid((20, 20), GRID, rasterio.crs.CRS.from_string(UTM)))
    metres = elevation.read(Window(0, 0, 20, 20))
    elevation.close()
    assert np.isnan(metres[:, :8]).all() and (metres[:, 8:] == 500).all()
