"""Vector files over the grid of a raster: read, repaired and reprojected."""

import contextlib

import geopandas
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError
from shapely.errors import GEOSException

from scenes.opening import check_readable
from script import UserError

VECTORS = (".gpkg", ".shp", ".geojson", ".json", ".kml", ".fgb", ".gml", ".gdb", ".zip")


def is_vector(path):
    """Return whether a path is that of a vector file, by its ending."""
    return str(path).lower().endswith(VECTORS)


@contextlib.contextmanager
def faults_told(path):
    """Turn the errors of GDAL and GEOS within the block into a UserError that names the file."""
    try:
        yield
    except (DataSourceError, DataLayerError, FieldError, GEOSException) as error:
        raise UserError(f"{path} cannot be read as a vector file ({error})") from None


def layers(path):
    """List the names of the layers with shapes in a vector file."""
    check_readable(path)
    with faults_told(path):
        return [name for name, kind in pyogrio.list_layers(path) if kind]


def read_shapes(path, over, layer=None, columns=()):
    """Read a vector file; its shapes are made flat and valid, and empty ones are left out.

    Args:
        path: of the file. over: what it is to be laid over, for messages.
        layer: name; None for the first. columns: names of the columns that are wanted.

    Returns:
        geopandas.GeoDataFrame.

    Raises:
        UserError: it cannot be read, holds no shapes or has no coordinate system.
    """
    check_readable(path)
    with faults_told(path):
        table = pyogrio.read_dataframe(path, layer=layer, columns=list(columns), force_2d=True)
        if not isinstance(table, geopandas.GeoDataFrame):
            raise UserError(f"{path}: its {f'layer {layer}' if layer else 'first layer'} holds no shapes")
        if table.crs is None:
            raise UserError(f"{path}: without a coordinate system it cannot be laid over {over}")
        table = table[~(table.geometry.is_empty | table.geometry.isna())]
        return table.set_geometry(table.geometry.make_valid())


def on_grid(table, grid, margin=0.0):
    """Return the shapes of a table that lie near a grid, in the grid's CRS, valid, as an array.

    Elsewhere the projections of the grid do not hold. margin: metres by which the shapes are widened.
    """
    frame = geopandas.GeoSeries([box_of(grid, 0, grid.height)], crs=grid.crs)
    metres = frame.estimate_utm_crs()
    near = frame.to_crs(metres).buffer(margin + 1000)
    shapes = table.geometry[table.intersects(near.to_crs(table.crs).union_all().envelope)]
    if margin and len(shapes):
        shapes = shapes.to_crs(metres).buffer(margin)
    return shapely.make_valid(shapes.to_crs(grid.crs).to_numpy())


def box_of(grid, top, bottom):
    """Return the box around some rows of a grid, in its coordinates."""
    corners = [grid.transform @ (column, row) for column in (0, grid.width) for row in (top, bottom)]
    return shapely.box(*np.min(corners, 0), *np.max(corners, 0))


def rows_transform(grid, top):
    """Return the transform of the rows of a grid from `top` on."""
    return grid.transform @ grid.transform.translation(0, top)
