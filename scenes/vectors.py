"""Shapes of vector files, laid over a scene."""

import geopandas
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from shapely.errors import GEOSException

from scenes.opening import check_readable
from script import UserError

VECTORS = (".gpkg", ".shp", ".geojson", ".json", ".kml", ".fgb", ".gml", ".gdb", ".zip")


def is_vector_file(path):
    """Return whether a path is of a vector file, by its ending."""
    return str(path).lower().endswith(VECTORS)


def read_shapes(path, grid, margin=0.0, columns=(), areas=False):
    """Read the shapes of a vector file that lie near a scene: 2D, valid, in the coordinate system of its grid.

    Args:
        path: of the file; of several layers the first is read, or the one called landslides.
        grid: scenes.pixel_grid.PixelGrid with a coordinate system.
        margin: metres by which the shapes are widened.
        columns: names of the columns to read; those that the file lacks are left out.
        areas: whether shapes without an area (lines, points) are a mistake.

    Returns:
        geopandas.GeoDataFrame; rows without a shape are left out.

    Raises:
        UserError: the file cannot be read, has no coordinate system, or none of its shapes lies over the scene.
    """
    check_readable(path)
    if grid.crs is None:
        raise UserError(f"{path}: the scene has no coordinate system to lay it over")
    frame = geopandas.GeoSeries([box_of(grid, 0, grid.height)], crs=grid.crs)
    metres = frame.estimate_utm_crs()
    near = frame.to_crs(metres).buffer(margin + 1000)
    try:
        layers = pyogrio.list_layers(path)[:, 0]
        layer = "landslides" if "landslides" in layers else 0
        table = pyogrio.read_dataframe(path, layer=layer, columns=list(columns), force_2d=True)
        if not isinstance(table, geopandas.GeoDataFrame):
            raise UserError(f"{path}: its first layer holds no shapes")
        if table.crs is None:
            raise UserError(f"{path}: without a coordinate system it cannot be laid over the scene")
        count = len(table)
        table = table[~(table.geometry.is_empty | table.geometry.isna())]
        if areas and len(table) and not (shapely.get_dimensions(table.geometry) == 2).all():
            raise UserError(f"{path} holds lines or points: areas are needed, so draw polygons")
        table = table.set_geometry(table.geometry.make_valid())
        # only what lies near the scene: elsewhere its projections do not hold
        table = table[table.intersects(near.to_crs(table.crs).union_all().envelope)]
        if margin and len(table):
            table = table.set_geometry(table.to_crs(metres).buffer(margin))
        table = table.to_crs(grid.crs)
        table = table.set_geometry(shapely.make_valid(table.geometry.to_numpy()), crs=grid.crs)
    except (DataSourceError, DataLayerError, GEOSException) as error:
        raise UserError(f"{path} cannot be read as a vector file ({error})") from None
    if not table.intersects(frame[0]).any():
        raise UserError(f"{path}: none of its {count} shapes lies over the scene")
    return table


def box_of(grid, top, bottom, left=0, right=None):
    """Return the box around a window of a grid, all columns if none are given, in the grid's coordinates."""
    columns = left, grid.width if right is None else right
    corners = [grid.transform @ (column, row) for column in columns for row in (top, bottom)]
    return shapely.box(*np.min(corners, 0), *np.max(corners, 0))
