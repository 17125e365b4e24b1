"""Polygons whose longitudes differ by a turn from those of a scene."""

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from scenes import vectors
from scenes.comparing.layers import metric_grid
from scenes.pixel_grid import PixelGrid
from script import UserError

SIDE = 1e-4  # degrees a pixel


def degrees_from(west):
    return PixelGrid((100, 200), from_origin(west, -16.8, SIDE, SIDE), rasterio.crs.CRS.from_epsg(4326))


def utm_60():
    x, y = pyproj.Transformer.from_crs(4326, 32760, always_xy=True).transform(179.99, -16.8)
    return PixelGrid((110, 220), from_origin(x, y, 10, 10), rasterio.crs.CRS.from_epsg(32760))


WEST, EAST = shapely.box(179.993, -16.808, 180, -16.802), shapely.box(-180, -16.808, -179.995, -16.802)
ALONE = shapely.box(-179.994, -16.807, -179.992, -16.803)


@pytest.mark.parametrize("grid", [degrees_from(179.99), degrees_from(-180.01), utm_60()], ids=["180", "-180", "UTM 60"])
@pytest.mark.parametrize("split", [True, False])
def test_shapes_across_180_degrees_lie_on_the_scene(tmp_path, grid, split):
    """As RFC 7946 cuts them at 180 degrees, and with longitudes beyond 180, as QGIS draws them."""
    whole = shapely.MultiPolygon([WEST, EAST]) if split else shapely.box(179.993, -16.808, 180.005, -16.802)
    far = shapely.box(10, -16.808, 10.1, -16.802)
    geopandas.GeoSeries([whole, ALONE, far], crs=4326).to_file(tmp_path / "slides.geojson")
    table = vectors.shapes_over(str(tmp_path / "slides.geojson"), grid, areas=True)
    assert len(table) == 2 and set(table.geom_type) == {"Polygon"} and table.within(grid.box()).all()
    areas = np.array([0.012 * 0.006, 0.002 * 0.004])
    expected = areas if grid.crs.is_geographic else areas * vectors.ground_areas(table)[0] / areas[0]
    np.testing.assert_allclose(shapely.area(table.geometry.to_numpy()), expected, rtol=2e-3)


def test_a_scene_in_longitudes_of_0_to_360_has_labels_of_the_west(tmp_path):
    grid = degrees_from(285)
    geopandas.GeoSeries([shapely.box(-74.99, -16.805, -74.985, -16.801)], crs=4326).to_file(tmp_path / "a.geojson")
    (shape,) = vectors.shapes_over(str(tmp_path / "a.geojson"), grid).geometry
    np.testing.assert_allclose(shape.bounds, (285.01, -16.805, 285.015, -16.801))
    geopandas.GeoSeries([shapely.box(74.985, -16.805, 74.99, -16.801)], crs=4326).to_file(tmp_path / "b.geojson")
    with pytest.raises(UserError, match="b.geojson: none of its 1 shapes lies over the scene"):
        vectors.shapes_over(str(tmp_path / "b.geojson"), grid)


def test_two_inventories_across_180_degrees_have_one_grid():
    table = geopandas.GeoDataFrame(geometry=[WEST, EAST, ALONE], crs=4326)
    grid = metric_grid(table, 10.0)
    assert grid.width < 200 and grid.crs.to_epsg() in (32760, 32701)
