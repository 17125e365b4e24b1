"""Where the pixels of a raster lie: shape, transform and coordinate system as one value."""

import functools
from dataclasses import dataclass

from affine import Affine
from rasterio.crs import CRS
from rasterio.vrt import WarpedVRT

from scenes.geodesy import ground_lattice


@dataclass(frozen=True)
class PixelGrid:
    """Rows and columns of pixels, and their place on the map.

    Attributes:
        shape: (height, width) in pixels.
        transform: from (column, row) to map coordinates.
        crs: coordinate system; None where the file has none.
    """

    shape: tuple
    transform: Affine
    crs: CRS | None

    @classmethod
    def of(cls, file):
        """The grid of an open rasterio dataset."""
        return cls(file.shape, file.transform, file.crs)

    @property
    def height(self):
        """Rows of pixels."""
        return self.shape[0]

    @property
    def width(self):
        """Columns of pixels."""
        return self.shape[1]

    @functools.cached_property
    def pixel_size(self):
        """(dx, dy) of a pixel in metres on the ground, as lattices (see geodesy.py)."""
        return ground_lattice(self.transform, self.crs, *self.shape)

    def matches(self, other):
        """Whether another grid has the same pixels, within a thousandth of one; without a CRS the shape decides."""
        same_place = other.transform.almost_equals(self.transform, 1e-3 * abs(self.transform.a))
        return other.shape == self.shape and other.crs == self.crs and (same_place or self.crs is None)

    def coarser(self, step):
        """The grid whose pixels are `step` times as large; the last ones may reach beyond this grid."""
        shape = -(-self.height // step), -(-self.width // step)
        return PixelGrid(shape, self.transform @ Affine.scale(step), self.crs)

    def window(self, row, column, shape):
        """The grid of a window of a `shape` whose upper left pixel is (row, column)."""
        return PixelGrid(shape, self.transform @ Affine.translation(column, row), self.crs)

    def grown(self, pixels):
        """The grid with a margin of so many pixels on every side."""
        return self.window(-pixels, -pixels, (self.height + 2 * pixels, self.width + 2 * pixels))

    def warped(self, file, **form):
        """A view of an open raster on this grid; form: what else rasterio's WarpedVRT takes, or takes instead."""
        place = {"crs": self.crs, "transform": self.transform, "width": self.width, "height": self.height}
        return WarpedVRT(file, **(place | form))


def reduced_shape(shape, longest):
    """Return ((height, width) reduced to `longest` pixels at most, the factor)."""
    factor = max(1.0, max(shape) / longest)
    return tuple(max(1, round(size / factor)) for size in shape), factor
