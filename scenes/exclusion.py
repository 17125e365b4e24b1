"""Ground that the user takes out of a map: water, built-up land, roads, from any vector file or a mask raster."""

import shapely

from scenes.burning import BurntShapes
from scenes.hiding_raster import HidingRaster
from scenes.vectors import EVERYTHING, is_vector, shapes_over
from script import UserError, note, warn


class ExcludedShapes:
    """Shapes of a vector file on the grid of a scene: pixels that they touch are excluded.

    Attributes:
        empty: whether none of the shapes lies over the scene.
    """

    def __init__(self, path, grid, margin=0.0, choice=EVERYTHING, may_miss=False):
        """Read the shapes; print a note if lines or points are not widened.

        Args:
            path: of the vector file. grid: PixelGrid of the scene. margin: metres by which the shapes are widened.
            choice: vectors.Choice of them. may_miss: whether all of them may lie elsewhere.

        Raises:
            UserError: it cannot be read, has no coordinate system, or none of its shapes lies over the scene.
        """
        shapes = shapes_over(path, grid, margin, choice=choice, may_miss=may_miss).geometry.to_numpy()
        self.empty = not len(shapes)
        if not margin and (shapely.get_dimensions(shapes) < 2).any():
            note(f"{path} holds lines or points: they take out the pixels that they touch, --buffer METRES widens them")
        self.burnt = BurntShapes(shapes, grid, all_touched=True)

    def hidden(self, top, bottom):
        """Return which pixels of some rows are excluded: H x W bool."""
        return self.burnt.rows(top, bottom)

    def close(self):
        """Do nothing: all shapes are read."""


def open_excluded(paths, grid, margin=0.0, choice=EVERYTHING):
    """Open the ground to exclude: for each file ExcludedShapes, or a HidingRaster in which all but 0 is excluded.

    Of several files some may lie elsewhere, which is warned of.

    Args:
        paths: of vector files and rasters. grid: PixelGrid of the scene. margin, choice: see ExcludedShapes.

    Raises:
        UserError: a file cannot be read, none lies over the scene, or a margin is given for rasters alone.
    """
    if paths and margin and not any(map(is_vector, paths)):
        raise UserError("--buffer widens the shapes of a vector file; a raster is taken as it is")
    covers, missing, several = [], [], len(paths) > 1
    for path in paths:
        if is_vector(path):
            cover = ExcludedShapes(path, grid, margin, choice, may_miss=several)
            misses = cover.empty
        else:
            cover = HidingRaster(path, "mask", grid)
            misses = not cover.check_cover(may_miss=several)
        (missing if misses else covers).append(cover)
        if misses:
            cover.close()
            warn(f"{path} does not lie over the scene: it takes nothing out of the map")
    if missing and not covers:
        raise UserError(f"none of the files of --exclude lies over the scene: {', '.join(map(str, paths))}")
    return covers
