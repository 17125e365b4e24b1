"""Slope and elevation of the ground against planes, geodesics and gdaldem."""

import shutil
import subprocess
import zipfile

import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import scipy.ndimage
from rasterio.transform import from_origin

from bands import BANDS_RGB
from patches.slope import horn_slope
from scenes import geodesy
from script import UserError
from tests.rasters import LEFT, TOP, UTM, centres, open_scene, write_raster


def test_slope_of_a_plane_is_exact_also_beside_gaps():
    rows, columns = np.mgrid[:12, :15].astype(float)
    elevation = 100 + 0.3 * 10 * columns + 0.4 * 20 * rows  # a rise of 0.5 on pixels of 10 x 20 m
    elevation[0], elevation[5, 7], elevation[8:, 14] = np.nan, np.nan, np.nan
    slope = horn_slope(elevation, 10, 20)
    known = np.isfinite(elevation[1:-1, 1:-1])
    assert np.isnan(slope[~known]).all()
    assert slope[known] == pytest.approx(np.degrees(np.arctan(0.5)), abs=1e-4)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:2263"])  # degrees, stretched by 2, feet
def test_pixels_are_measured_on_the_ground(crs):
    """Size of a pixel where the grid is not in metres, against pyproj's geodesics between corners."""
    lon, lat = (25.0, 60.0) if crs != "EPSG:2263" else (-74.0, 40.7)
    to_grid = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    size = 1e-4 if crs == "EPSG:4326" else 20.0
    transform = from_origin(*to_grid.transform(lon, lat), size, size)
    dx, dy = geodesy.ground_lattice(transform, rasterio.CRS.from_string(crs), 40, 60)
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    geod = pyproj.Geod(ellps="WGS84")

    def corner(column, row):
        return back.transform(*(transform @ (column, row)))

    assert np.median(dx) == pytest.approx(geod.inv(*corner(0, 20), *corner(60, 20))[2] / 60, rel=1e-4)
    assert np.median(dy) == pytest.approx(geod.inv(*corner(30, 0), *corner(30, 40))[2] / 40, rel=1e-4)


def terrain_source(path, dem):
    return open_scene([path], (*BANDS_RGB, "slope", "dem"), dem=(dem,))


@pytest.mark.parametrize("dem_crs", [UTM, "EPSG:4326"])
def test_elevation_lies_where_it_belongs_and_slope_is_that_of_the_ground(tmp_path, dem_crs):
    """A DEM of another grid whose elevation is a plane over the scene's coordinates, warped onto the scene."""
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 40, 50), np.float32))
    dem_grid = from_origin(299905, 1500095, 30, 30)
    if dem_crs == "EPSG:4326":
        lon, lat = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(299905, 1500095)
        dem_grid = from_origin(lon, lat, 2.5e-4, 2.5e-4)
    x, y = pyproj.Transformer.from_crs(dem_crs, UTM, always_xy=True).transform(*centres(dem_grid, 30, 35))

    def height_at(x, y):
        return 500 + 0.3 * (x - 300000) - 0.2 * (y - 1500000)

    dem = write_raster(tmp_path / "dem.tif", [height_at(x, y).astype(np.float32)], dem_grid, dem_crs)
    values, valid = terrain_source(path, dem).read(0, 40)
    assert valid.all()
    expected = height_at(*centres(from_origin(300000, 1500000, 10, 10), 40, 50))
    assert np.abs(values[4] - expected).max() < 0.15  # GDAL warps to an eighth of a pixel
    # the projection shows the ground 0.04 % too small, or less
    assert np.median(values[3]) == pytest.approx(np.degrees(np.arctan(np.hypot(0.3, 0.2))), abs=0.03)


def test_slope_of_a_cone_in_degrees_of_longitude(tmp_path):
    """A cone of slope 0.5 drawn with geodesics on a grid in degrees at 60 degrees north."""
    grid = from_origin(25.0, 60.0, 2e-4, 1e-4)
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 60, 60), np.float32), grid, "EPSG:4326")
    lon, lat = centres(grid, 60, 60)
    geod = pyproj.Geod(ellps="WGS84")
    away = geod.inv(lon, lat, np.full(lon.shape, 25.006), np.full(lat.shape, 59.997))[2]
    dem = write_raster(tmp_path / "dem.tif", [(900 - 0.5 * away).astype(np.float32)], grid, "EPSG:4326")
    slope = terrain_source(path, dem).read(0, 60)[0][3]
    clear = (away > 60) & (np.minimum(*np.indices(away.shape)) > 0) & (np.maximum(*np.indices(away.shape)) < 59)
    assert slope[clear] == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.3)
    assert np.median(slope[clear]) == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.02)


@pytest.mark.skipif(not shutil.which("gdaldem"), reason="GDAL's command-line tools are not there")
def test_slope_agrees_with_gdaldem(tmp_path):
    rng = np.random.default_rng(0)
    elevation = scipy.ndimage.gaussian_filter(rng.normal(0, 300, (80, 90)), 4).astype(np.float32)
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 80, 90), np.float32))
    dem = write_raster(tmp_path / "dem.tif", [elevation])
    subprocess.run(["gdaldem", "slope", dem, tmp_path / "slope.tif"], check=True, capture_output=True)
    with rasterio.open(tmp_path / "slope.tif") as file:
        reference = file.read(1)[1:-1, 1:-1]
    slope = terrain_source(path, dem).read(0, 80)[0][3][1:-1, 1:-1]
    assert reference.max() > 20
    assert np.abs(slope - reference).max() < 0.05  # gdaldem takes the projection's metres for the ground's


@pytest.mark.parametrize("kind", ["file", "zip"])
@pytest.mark.parametrize("voids", [(-9999, -32768), (None, -32768), (None, -9999, -32768), (-32768, 32767)])
def test_voids_of_several_values_are_left_out_before_warping(tmp_path, voids, kind):
    """An elevation model with a tag for one kind of void and none for others is read as one with a single tag."""
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 60, 60), np.float32))
    rows, columns = np.mgrid[:40, :40]
    heights = (500 + 4.0 * columns + 3.0 * rows).astype(np.int16)
    grid, (tag, *others) = from_origin(LEFT - 90, TOP + 90, 20, 20), voids
    one = heights.copy()
    for i, void in enumerate((others[0] if tag is None else tag, *others)):
        window = np.s_[8 + 8 * i : 12 + 8 * i, 12 : 17 + i]
        heights[window], one[window] = void, -1
    dem, single = (
        write_raster(tmp_path / f"{name}.tif", [array], grid, nodata=value)
        for name, array, value in (("dem", heights, tag), ("single", one, -1))
    )
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "dem.zip", "w") as archive:
            archive.write(dem, "dem.tif")
        dem = tmp_path / "dem.zip"
    values, valid = terrain_source(path, dem).read(0, 60)
    expected, expected_valid = terrain_source(path, single).read(0, 60)
    np.testing.assert_array_equal(valid, expected_valid)
    np.testing.assert_allclose(values[:, valid], expected[:, valid], atol=1e-3)
    assert values[3][valid].max() < 25 and 0.8 < valid.mean() < 1


def test_a_mask_of_an_elevation_model_holds_beside_voids_without_a_tag(tmp_path):
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 40, 40), np.float32))
    heights = np.full((60, 60), 500, np.int16)
    heights[20:24, 20:24], heights[40, 40] = 0, -32768
    dem = write_raster(tmp_path / "dem.tif", [heights], from_origin(LEFT - 105, TOP + 105, 10, 10))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(dem, "r+") as file:
        file.write_mask(heights > 0)
    values, valid = terrain_source(path, dem).read(0, 40)
    assert not valid[10:13, 10:13].any() and valid.mean() > 0.95
    assert (values[4][valid] == 500).all() and (values[3][valid] == 0).all()


def test_other_units_and_several_bands_of_elevation(tmp_path, capsys):
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 40, 40), np.float32))
    dem = write_raster(tmp_path / "dem.tif", [np.full((40, 40), 30000, np.int32)])
    for unit, metres in (("cm", 300), ("dam", None), ("furlong", None)):
        with rasterio.open(dem, "r+") as file:
            file.units = [unit]
        values, valid = terrain_source(path, dem).read(0, 40)
        assert (values[4] == 300).all() if metres else not valid.any()
    assert "dem.tif: its unit, furlong, is unknown: taken for metres" in capsys.readouterr().out
    write_raster(dem, np.ones((2, 40, 40), np.float32))
    with pytest.raises(UserError, match="dem.tif has 2 bands, and elevation has one"):
        terrain_source(path, dem)
