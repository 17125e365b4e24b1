"""Slope of the ground from a grid of elevation, by the method of Horn 1981 (doi 10.1109/PROC.1981.11918)."""

import numpy as np


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
        values = shifted(down, right)
        if not gaps:
            return values
        opposite = shifted(-down, -right)
        return np.where(np.isnan(values), np.where(np.isnan(opposite), centre, 2 * centre - opposite), values)

    east = neighbour(-1, 1) + 2 * neighbour(0, 1) + neighbour(1, 1)
    west = neighbour(-1, -1) + 2 * neighbour(0, -1) + neighbour(1, -1)
    south = neighbour(1, -1) + 2 * neighbour(1, 0) + neighbour(1, 1)
    north = neighbour(-1, -1) + 2 * neighbour(-1, 0) + neighbour(-1, 1)
    unknown = np.isnan(centre)
    return tuple(np.where(unknown, np.nan, rise) for rise in ((east - west) / (8 * dx), (north - south) / (8 * dy)))
