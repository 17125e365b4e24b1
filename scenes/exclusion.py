"""Ground that the user takes out of a map: water, built-up land, roads, from any vector file or a mask raster."""

import numpy as np
import shapely
from rasterio.features import rasterize

from scenes.clouds import Clouds
from scenes.opening import check_readable
from scenes.vectors import box_of, faults_told, is_vector, on_grid, read_shapes, rows_transform
from script import UserError


class Excluded:
    """Shapes of a vector file on the grid of a scene: pixels that they touch are excluded."""

    def __init__(self, path, grid, margin=0.0):
        """Read it. grid: PixelGrid. margin: metres by which the shapes are widened.

        Raises:
            UserError: it cannot be read, has no coordinate system, or none of its shapes lies over the scene.
        """
        check_readable(path)
        if grid.crs is None:
            raise UserError(f"{path}: the scene has no coordinate system to lay it over")
        table = read_shapes(path, "the scene")
        with faults_told(path):
            shapes = on_grid(table, grid, margin)
        self.shapes, self.grid = shapes, grid
        self.tree = shapely.STRtree(shapes)
        if not len(self._over(0, grid.height)):
            raise UserError(f"{path}: none of its {len(table)} shapes lies over the scene")

    def _over(self, top, bottom):
        return self.tree.query(box_of(self.grid, top, bottom))

    def hidden(self, top, bottom):
        """Return which pixels of some rows are excluded: H x W bool."""
        shape = bottom - top, self.grid.width
        over = self._over(top, bottom)
        if not len(over):
            return np.zeros(shape, bool)
        form = {"transform": rows_transform(self.grid, top), "all_touched": True, "dtype": "uint8"}
        return rasterize(self.shapes[over], shape, **form) > 0

    def close(self):
        """Nothing is open."""


def open_excluded(path, grid, margin=0.0):
    """Open what is excluded: a vector file, or a raster in which all but 0 is; None without a path."""
    if not path:
        return None
    if is_vector(path):
        return Excluded(path, grid, margin)
    if margin:
        raise UserError("--buffer widens the shapes of a vector file; a raster is taken as it is")
    raster = Clouds(path, "mask", grid)
    raster.check_cover()
    return raster
