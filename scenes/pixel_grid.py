"""Where the pixels of a raster lie: shape, transform and coordinate system as one value."""

import functools
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.vrt import WarpedVRT

from scenes.geodesy import ground_lattice
from script import UserError

SAME_SIZE = 0.1  # relative difference up to which two sizes of pixels count as one
MOST_ENLARGED = 4  # times that the pixels of a scene may be larger than those that it is read at


@dataclass(frozen=True)
class PixelGrid:
    """Rows and columns of pixels, and where they lie on the map.

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
        """Return the grid of an open rasterio dataset."""
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

    @functools.cached_property
    def metres(self):
        """Side of a pixel on the ground in metres, in the middle of the range of both; None without a CRS."""
        return float(np.sqrt(np.prod([np.median(plane) for plane in self.pixel_size]))) if self.crs else None

    @property
    def is_north_up(self):
        """Whether north is up on the map: rows run from west to east, and from north to south."""
        return bool(self.crs) and self.transform.b == self.transform.d == 0 and self.transform.e < 0

    @property
    def reaches_beyond_180(self):
        """Whether a grid in degrees reaches beyond 180 degrees of longitude."""
        left, _, right, _ = self.box().bounds
        return bool(self.crs and self.crs.is_geographic and max(abs(left), abs(right)) > 180)

    def matches(self, other):
        """Return whether another grid has the same pixels, within a thousandth of one.

        Grids without a CRS match if their shapes are equal.
        """
        same_transform = other.transform.almost_equals(self.transform, 1e-3 * abs(self.transform.a))
        return other.shape == self.shape and other.crs == self.crs and (same_transform or self.crs is None)

    def has_axes_of(self, other):
        """Return whether rows and columns of another grid run along those of this one, in the same CRS."""
        relative = ~self.transform @ other.transform
        along = abs(relative.b) < 1e-9 and abs(relative.d) < 1e-9 and relative.a > 0 and relative.e > 0
        return self.crs == other.crs and (along or self.crs is None)

    def coarser(self, step):
        """Return the grid whose pixels are `step` times as large; the last ones may reach beyond this grid."""
        shape = -(-self.height // step), -(-self.width // step)
        return PixelGrid(shape, self.transform @ Affine.scale(step), self.crs)

    def with_pixels(self, factor):
        """Return the grid of the same ground, to half a pixel, whose pixels are `factor` times as large."""
        shape = tuple(max(1, round(size / factor)) for size in self.shape)
        return PixelGrid(shape, self.transform @ Affine.scale(factor), self.crs)

    def window(self, row, column, shape):
        """Return the grid of a window of a `shape` whose upper left pixel is (row, column)."""
        return PixelGrid(shape, self.transform @ Affine.translation(column, row), self.crs)

    def box(self, top=0, bottom=None, left=0, right=None):
        """Return the box around a window, a shapely Polygon in map coordinates; by default around the whole grid."""
        rows = top, self.height if bottom is None else bottom
        columns = left, self.width if right is None else right
        corners = [self.transform @ (column, row) for column in columns for row in rows]
        return shapely.box(*np.min(corners, 0), *np.max(corners, 0))

    def lon_lat(self, columns, rows):
        """Return longitude and latitude (WGS 84) of positions in pixels, which lie between columns and rows.

        columns, rows: numbers or arrays of one shape. For a grid with a CRS alone.
        """
        transformer = pyproj.Transformer.from_crs(self.crs.to_wkt(), "EPSG:4326", always_xy=True)
        return transformer.transform(*(self.transform @ (columns, rows)))

    def in_pixels(self, shapes):
        """Return an array of shapes, which are in map coordinates, in pixels (column, row)."""
        return shapely.transform(shapes, lambda points: np.column_stack(~self.transform @ tuple(points.T)))

    def grown(self, pixels):
        """Return the grid with a margin of `pixels` on every side."""
        return self.window(-pixels, -pixels, (self.height + 2 * pixels, self.width + 2 * pixels))

    def warped(self, file, **options):
        """Return a view of an open raster on this grid.

        options: of rasterio's WarpedVRT; they replace those of the grid.
        """
        own = {"crs": self.crs, "transform": self.transform, "width": self.width, "height": self.height}
        return WarpedVRT(file, **(own | options))


def resized_grid(grid, metres):
    """Return a PixelGrid with pixels of a size in metres for a scene of others; None where they are as large.

    Raises:
        UserError: the pixels of the scene are more than MOST_ENLARGED times larger.
    """
    if metres is None or grid.metres is None or abs(metres / grid.metres - 1) < SAME_SIZE:
        return None
    if metres * MOST_ENLARGED < grid.metres * (1 - SAME_SIZE):
        raise UserError(
            f"pixels of {metres:g} m cannot be made of those of the scene, which are more than {MOST_ENLARGED} times "
            f"larger: {grid.metres:.3g} m"
        )
    return grid.with_pixels(metres / grid.metres)


PICTURE = 2000  # pixels of the longer side of pictures of a scene, at most


def reduced_shape(shape, longest=PICTURE):
    """Return ((height, width) reduced to `longest` pixels at most, the factor)."""
    factor = max(1.0, max(shape) / longest)
    return tuple(max(1, round(size / factor)) for size in shape), factor
