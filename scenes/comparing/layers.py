"""Layers that compare_maps.py compares, read by rows of one grid: polygons of a vector file, or a raster."""

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.windows import Window

from mask_values import LANDSLIDE, UNLABELLED, as_labels
from patches.image_files import states_scale
from patches.scale_tags import SCALED_MASK
from scenes.antimeridian import utm_of_table
from scenes.components import Numbering
from scenes.geodesy import has_ellipsoid
from scenes.mask_or_percent import meaning_of
from scenes.opening import BEYOND, damage_reported, nearest_on_grid, open_mask
from scenes.pixel_grid import PixelGrid
from scenes.shape_repair import note_repairs
from scenes.styles import VERDICTS
from scenes.vector_faults import elsewhere_text
from scenes.vectors import faults_reported, on_grid, read_layers
from scenes.verdicts import by_verdict
from script import UserError, note

ROWS = 256  # read together
POLYGON = 3  # type of geometry of shapely


class PolygonLayer:
    """Polygons on a grid. Each part of a multipolygon is one object.

    A pixel belongs to the polygon in which its centre lies; of several, to the smallest.
    """

    what, probability = "polygons", False

    def __init__(self, table, grid, path, over, ground=None, may_be_empty=False, small=True, unsure=None):
        """Lay polygons over a grid.

        Args:
            table: of `vectors.read_layers`. grid: PixelGrid. path, over: of the file and of the grid, for messages.
            ground: PolygonLayer of the ground that was judged; None: all ground. may_be_empty: accept a table without
                polygons. small: give a polygon without the centre of any pixel the pixel in which it lies.
            unsure: PolygonLayer of ground that was not judged; None: there is none.

        Raises:
            UserError: the table is empty, holds other shapes than polygons, or no polygon lies over the grid.
        """
        if not len(table) and not may_be_empty:
            raise UserError(f"{path} holds no shapes: it is empty")
        if other := sorted({kind for kind in table.geom_type if "Polygon" not in kind} - {"GeometryCollection"}):
            raise UserError(f"{path} holds {', '.join(other)}: only polygons have an area that can be compared")
        with faults_reported(path):
            shapes = on_grid(table, grid).geometry.to_numpy()
        parts = shapely.get_parts(shapely.get_parts(shapes))  # of multipolygons in collections, too
        parts = parts[(shapely.get_type_id(parts) == POLYGON) & (shapely.area(parts) > 0)]
        parts = parts[shapely.intersects(parts, grid.box())]
        if not len(parts) and not may_be_empty:
            where = elsewhere_text(table.geometry, grid) if len(table) else ""
            raise UserError(f"{path}: none of its {len(table)} polygons lies over {over}{where}")
        self.shapes, self.grid = parts[np.argsort(-shapely.area(parts), kind="stable")], grid
        self.count, self.ground, self.unsure = len(parts), ground, unsure
        self.tree, self.points = shapely.STRtree(self.shapes), np.zeros(0, int)
        if small:
            is_small = shapely.area(self.shapes) < 4 * abs(grid.transform.determinant)
            without_pixel = is_small.copy()
            for top in range(0, grid.height, ROWS) if is_small.any() else ():
                numbers = self.read(top, min(top + ROWS, grid.height), is_small)[0]
                without_pixel[numbers[numbers > 0] - 1] = False
            self.points = np.flatnonzero(without_pixel)

    def read(self, top, bottom, is_drawn=None):
        """Read some rows; see RasterLayer.read. Instead of True, landslide is the polygon's number, from 1 (int32).

        is_drawn: bool, one for each polygon, whether it is drawn; None: all are.
        """
        rows = self.grid.window(top, 0, (bottom - top, self.grid.width))
        indices = np.sort(self.tree.query(self.grid.box(top, bottom)))
        indices = indices if is_drawn is None else indices[is_drawn[indices]]
        numbers = np.zeros(rows.shape, np.int32)
        if len(indices):
            pairs = zip(self.shapes[indices], (indices + 1).tolist(), strict=True)  # the largest first
            numbers = rasterize(pairs, rows.shape, transform=rows.transform, dtype="int32")
        if len(points := self.points[np.isin(self.points, indices)]):
            x, y = shapely.get_coordinates(shapely.point_on_surface(self.shapes[points])).T
            column, row = (np.floor(position).astype(int) for position in ~rows.transform @ (x, y))
            inside = (row >= 0) & (row < rows.height) & (column >= 0) & (column < rows.width)
            numbers[row[inside], column[inside]] = points[inside] + 1
        known = self.ground.read(top, bottom)[0] > 0 if self.ground else np.ones(rows.shape, bool)
        if self.unsure:
            known &= self.unsure.read(top, bottom)[0] == 0
        return numbers, known, None

    def number(self, landslide):
        """Return the numbers of objects in the rows that `read` returned; call it from the top down."""
        return landslide

    def joined(self):
        """Return (number of objects, index of the object of each number)."""
        return self.count, np.arange(self.count)

    def bounds(self):
        """Return the first and the last row and column, beyond by one: (top, bottom, left, right)."""
        left, low, right, high = shapely.total_bounds(self.shapes)
        corners = [~self.grid.transform @ (x, y) for x in (left, right) for y in (low, high)]
        (column, row), (last_column, last_row) = np.floor(np.min(corners, 0)), np.ceil(np.max(corners, 0))
        height, width = self.grid.shape
        return max(int(row), 0), min(int(last_row), height), max(int(column), 0), min(int(last_column), width)


class RasterLayer:
    """A mask or probabilities on a grid. Pixels that touch at a side are one object, as in predict.py's polygons.

    Its values mean what mask_or_percent.meaning_of says.
    """

    def __init__(self, path, grid=None, threshold=None):
        """Open a raster.

        Args:
            path: of the raster. grid: PixelGrid to read it on; None: its own.
            threshold: of probabilities; None: the one in the raster's tags.

        Raises:
            UserError: it cannot be read, has no coordinate system, is neither a mask nor a probability, or is a
                probability without a threshold.
        """
        self.path, self._opened = str(path), open_mask(path, "a mask or a probability")
        self.file = self.view = self._opened[0]
        try:
            if self.file.crs is None or not has_ellipsoid(self.file.crs):
                raise UserError(f"{path} has no coordinate system in which its pixels can be measured on the ground")
            own = PixelGrid.of(self.file)
            self.grid = grid or own
            self.meaning = meaning_of(self.path, self._opened)
            self.probability = self.meaning.probability
            tag = self._opened[-1].tags().get("threshold")
            if self.probability and threshold is None and tag is None:
                reason = f"holds {self.meaning.highest:g}: a mask holds 0 and 1"
                raise UserError(
                    f"{path} {SCALED_MASK if states_scale(self._opened[-1]) else reason}; for probabilities, give the "
                    "least one of landslide with --threshold"
                )
            if not self.probability and threshold is not None:
                raise UserError(f"{path} is a mask: --threshold is for probabilities")
            self.threshold = float(tag if threshold is None else threshold) if self.probability else None
            self.what = f"probability ≥ {self.threshold:g}" if self.probability else "mask"
            self.view = self.file if self.grid.matches(own) else nearest_on_grid(self.file, self.grid)
        except BaseException:
            self.close()
            raise
        self.numbering = Numbering(self.grid.width)

    def read(self, top, bottom):
        """Read some rows: landslide and known (H x W bool), and probabilities (H x W float32; None of a mask)."""
        with damage_reported(self.path):
            values = self.view.read(1, window=Window(0, top, self.grid.width, bottom - top))
        beyond = values == BEYOND if self.view is not self.file else np.zeros(values.shape, bool)
        if not self.probability:
            mask = as_labels(values, beyond, self.meaning.tags).decided(self.meaning.high_is_landslide)
            return mask == LANDSLIDE, mask != UNLABELLED, None
        known = self.meaning.known(values) & ~beyond
        probability = np.where(known, self.meaning.fractions(values), 0).astype(np.float32)
        return known & (probability >= np.float32(self.threshold)), known, probability

    def number(self, landslide):
        """Return the numbers of objects in the rows that `read` returned; call it from the top down."""
        return self.numbering.add(landslide)

    def joined(self):
        """Return (number of objects, index of the object of each number)."""
        return self.numbering.joined()

    def close(self):
        """Close the raster."""
        for file in dict.fromkeys((self.view, *self._opened)):
            file.close()


# ---------------------------------------------------------------------- opening


def read_polygons(path, other, choice, least):
    """Read polygons that are to be laid over `other`: (landslides, unsure ground), see verdicts.by_verdict.

    choice: vectors.Choice of them. least: smallest confidence of a landslide that counts; 0: all count.
    """
    table = read_layers(path, other, choice, columns=["confidence", "verdict"], landslides=True)
    note_repairs(path, table)
    table, unsure, left_out = by_verdict(path, table)
    for verdict, number in left_out.items():
        if number:
            not_judged = " and their ground is not judged" if verdict == VERDICTS[2] else ""
            note(f"{path}: {number} polygons are left out{not_judged}: their verdict is {verdict}")
    if not least:
        return table, unsure
    if "confidence" not in table:
        raise UserError(f"{path} has no column confidence, which --min-confidence needs")
    return table[table["confidence"] >= least], unsure


def metric_grid(table, resolution):
    """Return a PixelGrid of square pixels, `resolution` metres a side, around a table of shapes in their UTM zone."""
    table, metres = utm_of_table(table)
    left, low, right, high = table.to_crs(metres).total_bounds
    left, high = np.floor(left / resolution) * resolution, np.ceil(high / resolution) * resolution
    shape = tuple(max(1, int(np.ceil(length / resolution))) for length in (high - low, right - left))
    transform = from_origin(left, high, resolution, resolution)
    return PixelGrid(shape, transform, CRS.from_user_input(metres.to_wkt()))
