"""Distances on the ground, for any coordinate system of a grid.

The size of a pixel is measured on the ellipsoid, so slope and area are correct on any grid: in degrees, in feet, or in
a projection that distorts distances.
"""

import numpy as np
import pyproj

LATTICE = 17  # points per side at which the ground size of a pixel is measured; between them it is interpolated


def to_geodetic(crs):
    """Return (Transformer from a CRS to longitude and latitude on its own datum, its ellipsoid as pyproj.Geod)."""
    crs = pyproj.CRS.from_user_input(crs.to_wkt())
    return pyproj.Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True), crs.get_geod()


def has_ellipsoid(crs):
    """Return whether a rasterio CRS has an ellipsoid, which distances on the ground need."""
    return pyproj.CRS.from_user_input(crs.to_wkt()).geodetic_crs is not None


def ground_lattice(transform, crs, height, width):
    """Measure a pixel in metres on the ellipsoid, along rows and along columns, at LATTICE x LATTICE points.

    Returns (dx, dy), each LATTICE x LATTICE, at points spread evenly from the first to the last pixel.
    """
    rows, columns = np.meshgrid(np.linspace(0, height - 1, LATTICE), np.linspace(0, width - 1, LATTICE), indexing="ij")
    transformer, geod = to_geodetic(crs)

    def lon_lat(down, right):  # of the lattice, moved by parts of a pixel
        return transformer.transform(*(transform @ (columns + 0.5 + right, rows + 0.5 + down)))

    return tuple(
        np.asarray(geod.inv(*lon_lat(-down, -right), *lon_lat(down, right))[2]) for down, right in ((0, 0.5), (0.5, 0))
    )


def interpolate(lattice, shape, rows, columns):
    """Interpolate a lattice that spans a grid of `shape` bilinearly: rows x columns, at the centres of those pixels."""
    down, right = (
        np.stack([np.interp(at, np.linspace(0, size - 1, LATTICE), unit) for unit in np.eye(LATTICE)])
        for at, size in zip((rows, columns), shape, strict=True)
    )
    return down.T @ lattice @ right
