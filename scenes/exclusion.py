"""Ground that the user takes out of a map: water, built-up land, roads, from any vector file or a mask raster."""

import geopandas
import numpy as np
import shapely
from rasterio.features import rasterize
from shapely.errors import GEOSException

from scenes.clouds import Clouds
from scenes.vectors import read_shapes
from script import UserError

VECTORS = (".gpkg", ".shp", ".geojson", ".json", ".kml", ".fgb", ".gml", ".gdb", ".zip")


class Excluded:
    """Shapes of a vector file on the grid of a scene: pixels that they touch are excluded."""

    def __init__(self, path, grid, margin=0.0):
        """Read it. grid: PixelGrid. margin: metres by which the shapes are widened.

        Raises:
            UserError: it cannot be read, has no coordinate system, or none of its shapes lies over the scene.
        """
        if grid.crs is None:
            raise UserError(f"{path}: the scene has no coordinate system to lay it over")
        frame = geopandas.GeoSeries([box_of(grid, 0, grid.height)], crs=grid.crs)
        metres = frame.estimate_utm_crs()
        near = frame.to_crs(metres).buffer(margin + 1000)
        table, _, _ = read_shapes(path)
        try:
            shapes = table.geometry
            # only what lies near the scene: elsewhere its projections do not hold
            shapes = shapes[shapes.intersects(near.to_crs(table.crs).union_all().envelope)]
            if margin and len(shapes):
                shapes = shapes.to_crs(metres).buffer(margin)
            shapes = shapely.make_valid(shapes.to_crs(grid.crs).to_numpy())
        except GEOSException as error:
            raise UserError(f"{path} cannot be laid over the scene ({error})") from None
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
        transform = self.grid.transform @ self.grid.transform.translation(0, top)
        return rasterize(self.shapes[over], shape, transform=transform, all_touched=True, dtype="uint8") > 0

    def close(self):
        """Nothing is open."""


def box_of(grid, top, bottom):
    """Return the box around some rows of a grid, in its coordinates."""
    corners = [grid.transform @ (column, row) for column in (0, grid.width) for row in (top, bottom)]
    return shapely.box(*np.min(corners, 0), *np.max(corners, 0))


def open_excluded(path, grid, margin=0.0):
    """Open what is excluded: a vector file, or a raster in which all but 0 is; None without a path."""
    if not path:
        return None
    if str(path).lower().endswith(VECTORS):
        return Excluded(path, grid, margin)
    if margin:
        raise UserError("--buffer widens the shapes of a vector file; a raster is taken as it is")
    raster = Clouds(path, "mask", grid)
    raster.check_cover()
    return raster
