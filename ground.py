"""Distances and slope on the ground, for any coordinate system of a grid.

Slope follows Horn 1981 (doi 10.1109/PROC.1981.11918). The size of a pixel is measured on the ellipsoid, so slope is
correct on any grid: in degrees, in feet, or in a projection that distorts distances.
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

    def place(down, right):
        return transformer.transform(*(transform @ (columns + 0.5 + right, rows + 0.5 + down)))

    return tuple(
        np.asarray(geod.inv(*place(-down, -right), *place(down, right))[2]) for down, right in ((0, 0.5), (0.5, 0))
    )


def interpolate(lattice, shape, rows, columns):
    """Interpolate a lattice that spans a grid of `shape` bilinearly at the given rows and columns."""
    down, right = (
        np.stack([np.interp(at, np.linspace(0, size - 1, LATTICE), unit) for unit in np.eye(LATTICE)])
        for at, size in zip((rows, columns), shape, strict=True)
    )
    return down.T @ lattice @ right


def horn_slope(elevation, dx, dy):
    """Compute slope in degrees by Horn's method; see `horn_gradient`. Returns H x W float32, NaN where unknown."""
    east, north = horn_gradient(elevation, dx, dy)
    return np.degrees(np.arctan(np.hypot(east, north))).astype(np.float32)


def horn_gradient(elevation, dx, dy):
    """Compute how steeply the ground rises, by Horn's method (Horn 1981, doi 10.1109/PROC.1981.11918).

    Args:
        elevation: (H + 2) x (W + 2), in metres, with a margin of one pixel; NaN where unknown.
        dx, dy: size of a pixel along rows and columns in metres, numbers or H x W.

    Returns:
        (rise along rows, rise against columns), H x W each: eastwards and northwards where north is up. NaN where the
        pixel's own elevation is unknown. An unknown neighbour is extrapolated linearly from the opposite neighbour and
        the pixel, or takes the pixel's elevation if both neighbours are unknown.
    """
    z = np.asarray(elevation, np.float64)
    height, width = z.shape[0] - 2, z.shape[1] - 2

    def shifted(down, right):
        return z[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    centre = shifted(0, 0)
    gaps = np.isnan(z).any()

    def neighbour(down, right):
        here = shifted(down, right)
        if not gaps:
            return here
        there = shifted(-down, -right)
        return np.where(np.isnan(here), np.where(np.isnan(there), centre, 2 * centre - there), here)

    east = neighbour(-1, 1) + 2 * neighbour(0, 1) + neighbour(1, 1)
    west = neighbour(-1, -1) + 2 * neighbour(0, -1) + neighbour(1, -1)
    south = neighbour(1, -1) + 2 * neighbour(1, 0) + neighbour(1, 1)
    north = neighbour(-1, -1) + 2 * neighbour(-1, 0) + neighbour(-1, 1)
    unknown = np.isnan(centre)
    return tuple(np.where(unknown, np.nan, rise) for rise in ((east - west) / (8 * dx), (north - south) / (8 * dy)))
