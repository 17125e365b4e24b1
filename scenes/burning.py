"""Shapes burnt into rows of pixels."""

import numpy as np
import shapely
from rasterio.features import rasterize


class BurntShapes:
    """Shapes on a grid, of which any rows can be asked for."""

    def __init__(self, shapes, grid, all_touched=False):
        """Index the shapes.

        Args:
            shapes: array of shapely geometries in map coordinates. grid: PixelGrid.
            all_touched: whether a shape holds all pixels that it touches, or those whose centres lie in it.
        """
        self.shapes, self.grid, self.all_touched = shapes, grid, all_touched
        self.tree = shapely.STRtree(shapes)

    def rows(self, top, bottom):
        """Return which pixels of some rows the shapes hold: H x W bool."""
        rows = self.grid.window(top, 0, (bottom - top, self.grid.width))
        shapes = self.shapes[self.tree.query(self.grid.box(top, bottom))]
        if not len(shapes):
            return np.zeros(rows.shape, bool)
        options = {"transform": rows.transform, "all_touched": self.all_touched, "dtype": "uint8"}
        return rasterize(shapes, rows.shape, **options) > 0
