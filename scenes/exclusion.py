"""Ground that the user takes out of a map: water, built-up land, roads, from any vector file or a mask raster."""

from scenes.burning import BurntShapes
from scenes.hiding_raster import HidingRaster
from scenes.vectors import EVERYTHING, is_vector, shapes_over
from script import UserError


class ExcludedShapes:
    """Shapes of a vector file on the grid of a scene: pixels that they touch are excluded."""

    def __init__(self, path, grid, margin=0.0, choice=EVERYTHING):
        """Read the shapes.

        Args:
            path: of the vector file. grid: PixelGrid of the scene. margin: metres by which the shapes are widened.
            choice: vectors.Choice of them.

        Raises:
            UserError: it cannot be read, has no coordinate system, or none of its shapes lies over the scene.
        """
        shapes = shapes_over(path, grid, margin, choice=choice).geometry.to_numpy()
        self.burnt = BurntShapes(shapes, grid, all_touched=True)

    def hidden(self, top, bottom):
        """Return which pixels of some rows are excluded: H x W bool."""
        return self.burnt.rows(top, bottom)

    def close(self):
        """Do nothing: all shapes are read."""


def open_excluded(path, grid, margin=0.0, choice=EVERYTHING):
    """Open the ground to exclude: ExcludedShapes, or a HidingRaster in which all but 0 is; None without a path.

    Args:
        path: of a vector file or a raster, or "". grid: PixelGrid of the scene. margin, choice: see ExcludedShapes.

    Raises:
        UserError: it cannot be read, or does not lie over the scene; or a margin is given for a raster.
    """
    if not path:
        return None
    if is_vector(path):
        return ExcludedShapes(path, grid, margin, choice)
    if margin:
        raise UserError("--buffer widens the shapes of a vector file; a raster is taken as it is")
    raster = HidingRaster(path, "mask", grid)
    raster.check_cover()
    return raster
