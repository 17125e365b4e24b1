"""Shapes in longitudes that differ by a turn from those of a scene: across 180 degrees, or from 0 to 360."""

import geopandas
import numpy as np
import pyproj
import shapely


def utm_at(lon, lat):
    """Return the coordinate system of the UTM zone at a position in degrees, whatever the turn of its longitude."""
    zone = int((lon + 180) % 360 // 6) + 1
    return pyproj.CRS.from_epsg((32600 if lat >= 0 else 32700) + zone)


def utm_of(grid):
    """Return the coordinate system of the UTM zone in which the middle of a PixelGrid lies."""
    return utm_at(*grid.lon_lat(grid.width / 2, grid.height / 2))


def brought_near(shapes, middle):
    """Return shapes in degrees with each of their parts moved by whole turns to within 180 degrees of a longitude.

    The parts of a shape that was cut at 180 degrees, as RFC 7946 asks for, grow together again.

    Args:
        shapes: array of shapely geometries. middle: longitude.
    """
    parts, rows = shapely.get_parts(shapes, return_index=True)
    left, _, right, _ = shapely.bounds(parts).T
    turns = -np.round(((left + right) / 2 - middle) / 360)
    result = np.array(shapes, object)
    for row in np.unique(rows[turns != 0]):
        own = rows == row
        moved = [_moved(part, 360 * turn) for part, turn in zip(parts[own], turns[own], strict=True)]
        result[row] = moved[0] if len(moved) == 1 else shapely.union_all(moved)
    return result


def _moved(shape, degrees):
    return shapely.transform(shape, lambda points: points + (degrees, 0))


def near_grid(table, grid, margin):
    """Return the rows of a table that lie within some metres of a grid; in degrees, they are brought near to it.

    Args:
        table: geopandas.GeoDataFrame with a CRS. grid: PixelGrid with a CRS. margin: metres.
    """
    box = geopandas.GeoSeries([grid.box()], crs=grid.crs).to_crs(utm_of(grid)).buffer(margin)
    near = box.to_crs(table.crs).union_all()
    if table.crs.is_geographic:
        middle = (grid.lon_lat(grid.width / 2, grid.height / 2)[0] + 180) % 360 - 180
        near = shapely.transform(near, lambda points: np.column_stack([turned(points[:, 0], middle), points[:, 1]]))
        if max(map(abs, (*near.bounds[::2], *table.total_bounds[::2]))) > 180 and len(table):
            table = table.set_geometry(brought_near(table.geometry.to_numpy(), middle), crs=table.crs)
    return table[table.intersects(near.envelope)]


def turned(lon, middle):
    """Return longitudes moved by whole turns to within 180 degrees of a middle."""
    return middle + (lon - middle + 180) % 360 - 180


def utm_of_table(table):
    """Return (a table in degrees brought together, if it lies across 180 degrees; its UTM zone)."""
    if table.crs.is_geographic:
        left, _, right, _ = table.total_bounds
        if right - left > 180:
            table = table.set_geometry(brought_near(table.geometry.to_numpy(), 180.0), crs=table.crs)
    left, low, right, high = table.total_bounds
    transformer = pyproj.Transformer.from_crs(table.crs, "EPSG:4326", always_xy=True)
    return table, utm_at(*transformer.transform((left + right) / 2, (low + high) / 2))
