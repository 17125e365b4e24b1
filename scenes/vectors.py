"""Vector files: their layers, their shapes read and repaired, and areas on the ellipsoid."""

import geopandas
import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from shapely.errors import GEOSException

from ground import has_ellipsoid, to_geodetic
from scenes.opening import check_readable
from script import UserError

MOST_SHARED = 0.5  # of its ground that a polygon may share with another


def choose_layer(path, preferred, advice="name one with LAYER"):
    """Return the layer of a file that has the preferred name, or else its only layer with shapes.

    Raises:
        UserError: the file cannot be read, or holds several layers, none of that name.
    """
    check_readable(path)
    try:
        names = [name for name, kind in pyogrio.list_layers(path) if kind]
    except DataSourceError as error:
        raise UserError(f"{path} cannot be read as a vector file ({error})") from None
    if preferred in names:
        return preferred
    if not names:
        raise UserError(f"{path} holds no shapes")
    if len(names) > 1:
        raise UserError(f"{path} holds the layers {', '.join(names)}: {advice}")
    return names[0]


def read_shapes(path, layer=None, where="", columns=()):
    """Read the shapes of a layer in two dimensions, without empty ones, and repair those that are not valid.

    Args:
        path: any vector file that GDAL reads.
        layer: its name; None: the first.
        where: condition on the columns in SQL, such as "year = 2006"; empty: all rows.
        columns: columns to read, where the file has them.

    Returns:
        (GeoDataFrame, number of empty shapes, number of repaired shapes)

    Raises:
        UserError: the file cannot be read or is cut short, holds no shapes, or has no coordinate system; or the
            condition cannot be applied.
    """
    check_readable(path)
    check_whole(path)
    try:
        table = pyogrio.read_dataframe(path, layer=layer, columns=list(columns), force_2d=True)
        if not isinstance(table, geopandas.GeoDataFrame):
            raise UserError(f"{path}: its {f'layer {layer}' if layer else 'first layer'} holds no shapes")
        if table.crs is None or not has_ellipsoid(table.crs):
            raise UserError(f"{path} is without a coordinate system of the Earth: assign one in a GIS")
        if where:  # read again, because a condition on columns that are not read holds for no row
            table = table.iloc[chosen_rows(path, layer, where)]
        kept = table[~(table.geometry.is_empty | table.geometry.isna())]
        valid = kept.geometry.is_valid
        repaired = kept.set_geometry(kept.geometry.where(valid, kept.geometry.make_valid()))
    except (DataSourceError, DataLayerError, GEOSException) as error:
        raise UserError(f"{path} cannot be read as a vector file ({error})") from None
    return repaired, len(table) - len(kept), int((~valid).sum())


def check_whole(path):
    """Raise UserError for a shapefile that is shorter than its header says: GDAL would read empty shapes from it."""
    if not str(path).lower().endswith(".shp"):
        return
    with open(path, "rb") as file:
        header = file.read(28)
        size = file.seek(0, 2)
    promised = 2 * int.from_bytes(header[24:])
    if size < promised:
        raise UserError(f"{path} is cut short: it has {size} of {promised} bytes; copy it again")


def chosen_rows(path, layer, where):
    """Return the places of the rows of a layer for which a condition in SQL holds."""
    every = pyogrio.read_dataframe(path, layer=layer, columns=[], read_geometry=False, fid_as_index=True).index
    try:
        chosen = pyogrio.read_dataframe(path, layer=layer, where=where, read_geometry=False, fid_as_index=True).index
    except (ValueError, DataSourceError, DataLayerError):  # which of them depends on the format
        columns = ", ".join(pyogrio.read_info(path, layer=layer)["fields"])
        raise UserError(f"{path}: WHERE {where!r} is no condition on its columns {columns}") from None
    return every.get_indexer(chosen)


def ground_areas(table):
    """Measure the polygons of a GeoDataFrame on the ellipsoid of its coordinate system.

    Returns N areas in m2; 0 for points and lines.
    """
    transformer, geod = to_geodetic(table.crs)
    parts, rows = table.geometry.to_numpy(), np.arange(len(table))
    for _ in range(2):  # a repaired shape may be a collection of polygons and collections
        parts, inner = shapely.get_parts(parts, return_index=True)
        rows = rows[inner]
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, rows = shapely.orient_polygons(parts[polygons]), rows[polygons]
    parts = shapely.transform(parts, lambda points: np.column_stack(transformer.transform(*points.T)))
    areas = [abs(geod.geometry_area_perimeter(part)[0]) for part in parts]
    return np.bincount(rows, areas, len(table))


def overlapping(shapes):
    """Count the polygons, of an array of them, that share more than MOST_SHARED of their ground with another."""
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    first, second = first[first != second], second[first != second]
    shared = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    return len(np.unique(first[shared > MOST_SHARED * shapely.area(shapes[first])]))
