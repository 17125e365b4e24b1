"""Pixels of a scene in longitude and latitude (WGS 84), as a GeoJSON file has them, and back."""

import numpy as np
import pyproj

from script import UserError

DEGREES = (1, 3, 5, 7)  # of the polynomials that are tried
DECIMALS = 10  # of longitude and latitude in a file: a hundredth of a millimetre
ERROR = 1e-3  # pixels by which a polynomial may miss


class LonLat:
    """Positions in a grid with a coordinate system, rotated or not, as longitude and latitude on WGS 84.

    Longitudes are continuous across 180 degrees: they stay within 180 degrees of the middle of the grid.
    """

    def __init__(self, grid):
        """grid: PixelGrid with a CRS."""
        self.grid = grid
        crs = pyproj.CRS.from_user_input(grid.crs.to_wkt())
        self._there = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        self._back = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        self._middle = self._there.transform(*(grid.transform @ (grid.width / 2, grid.height / 2)))[0]

    def of_pixels(self, points):
        """Convert N x 2 (column, row) to N x 2 (longitude, latitude)."""
        lon, lat = self._there.transform(*(self.grid.transform @ tuple(np.asarray(points, float).T)))
        return np.column_stack([self._unwrapped(lon), lat])

    def in_pixels(self, points):
        """Convert N x 2 (longitude, latitude) to N x 2 (column, row)."""
        lon, lat = np.asarray(points, float).T
        return np.column_stack(~self.grid.transform @ self._back.transform(self._unwrapped(lon), lat))

    def _unwrapped(self, lon):
        return self._middle + (np.asarray(lon) - self._middle + 180) % 360 - 180

    def polynomials(self, top, bottom, left, right):
        """Fit longitude and latitude within a window by polynomials, for programs that know no projections.

        They are in u, v of -1 to 1 from the left to the right side of the window, and from its top to its bottom. The
        terms are u^i v^j for i = 0 ... degree, and for each i, j = 0 ... degree - i.

        Returns:
            {"degree", "lon": coefficients, "lat": coefficients}: the simplest that are right to ERROR pixels.

        Raises:
            UserError: none of degree 7 or less is.
        """
        middle, half = np.array([left + right, top + bottom]) / 2, np.array([right - left, bottom - top]) / 2
        nodes = np.cos(np.pi * (np.arange(12) + 0.5) / 12)  # Chebyshev's
        fitted, checked = (np.stack(np.meshgrid(at, at), -1).reshape(-1, 2) for at in (nodes, np.linspace(-1, 1, 15)))
        positions = self.of_pixels(middle + half * fitted)
        for degree in DEGREES:
            coefficients = np.linalg.lstsq(terms(fitted, degree), positions, rcond=None)[0]
            written = np.round(terms(checked, degree) @ coefficients, DECIMALS)
            if np.abs(self.in_pixels(written) - (middle + half * checked)).max() < ERROR:
                return {"degree": degree, "lon": coefficients[:, 0].tolist(), "lat": coefficients[:, 1].tolist()}
        raise UserError("the coordinate system bends within a box more than labels in degrees can follow")


def terms(points, degree):
    """Return the terms of a polynomial, N x terms, in the order of `LonLat.polynomials`. points: N x 2, u and v."""
    u, v = points.T
    return np.stack([u**i * v**j for i in range(degree + 1) for j in range(degree + 1 - i)], 1)
