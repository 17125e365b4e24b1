"""What a page in a browser needs to know of a grid: proportions, lengths, coordinates and north."""

import numpy as np
import pyproj

LATTICES = (3, 5, 9, 17, 33, 65)  # points a side of a lattice of longitudes and latitudes: the first fine enough
METRES_OF_DEGREE = 111_200  # of latitude
TOLERANCE = 0.05  # pixels by which a position between its points may be off


def page_grid(grid):
    """Describe a PixelGrid in plain values, for JSON.

    Returns:
        {"height", "width": in pixels; "metres": [width, height] of a pixel on the ground, in its middle; "aspect": its
        width by its height; "transform": [a, b, c, d, e, f] from (column, row) to the map; "crs": name of its
        coordinate system; "lattice": see `lon_lat_lattice`; "north": direction of true north in the picture, in degrees
        clockwise from up}. Without a CRS "metres" is [1, 1], and the last four are None.
    """
    described = {"height": grid.height, "width": grid.width, "metres": [1.0, 1.0], "aspect": 1.0}
    if grid.crs is None:
        return described | {"transform": None, "crs": None, "lattice": None, "north": None}
    metres = [float(np.median(plane)) for plane in grid.pixel_size]
    return described | {
        "metres": metres,
        "aspect": metres[0] / metres[1],
        "transform": list(grid.transform[:6]),
        "crs": crs_name(grid.crs),
        "lattice": lon_lat_lattice(grid),
        "north": north(grid, metres),
    }


def crs_name(crs):
    """Return the name of a coordinate system: its code, such as EPSG:32632, or what its definition calls it."""
    crs = pyproj.CRS.from_user_input(crs.to_wkt())
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else crs.name


def lon_lat_lattice(grid):
    """Return {"size": n, "lon", "lat": n x n numbers, row by row}: WGS 84 at points from the first to the last corner.

    The positions between are linear to TOLERANCE, if 65 points a side are enough for that. Longitudes are continuous
    across 180 degrees.
    """
    for size in LATTICES:
        lon, lat = _positions(grid, size)
        true_lon, true_lat = _positions(grid, 2 * size - 1)
        east = (_halved(lon) - true_lon) * np.cos(np.radians(true_lat))
        if METRES_OF_DEGREE * np.hypot(east, _halved(lat) - true_lat).max() <= TOLERANCE * grid.metres:
            break
    return {"size": size, "lon": lon.round(8).ravel().tolist(), "lat": lat.round(8).ravel().tolist()}


def _halved(values):
    """Return a lattice of n x n with half the spacing, (2n - 1) x (2n - 1), linear between the points that it has."""
    size = len(values)
    finer = np.zeros((2 * size - 1, 2 * size - 1))
    finer[::2, ::2] = values
    finer[1::2, ::2] = (values[:-1] + values[1:]) / 2
    finer[:, 1::2] = (finer[:, :-1:2] + finer[:, 2::2]) / 2
    return finer


def _positions(grid, size):
    """Return longitudes and latitudes, size x size each, spread evenly over a grid from corner to corner."""
    columns, rows = np.meshgrid(np.linspace(0, grid.width, size), np.linspace(0, grid.height, size))
    lon, lat = grid.lon_lat(columns, rows)
    lon = np.unwrap(np.unwrap(lon, period=360, axis=1), period=360, axis=0)
    return lon, lat


def north(grid, metres):
    """Return the direction of true north in the middle of a picture of a grid, in degrees clockwise from up."""
    middle = grid.width / 2, grid.height / 2
    lon, lat = grid.lon_lat(*middle)
    there = lat + np.copysign(1e-3, -lat)  # towards the equator, because there may be nothing beyond a pole
    transformer = pyproj.Transformer.from_crs("EPSG:4326", grid.crs.to_wkt(), always_xy=True)
    column, row = ~grid.transform @ transformer.transform(lon, there)
    across, down = (column - middle[0]) * metres[0], (row - middle[1]) * metres[1]
    sign = np.sign(there - lat)
    return float(np.degrees(np.arctan2(sign * across, -sign * down)))
