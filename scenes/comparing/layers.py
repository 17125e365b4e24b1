"""What compare_maps.py compares, on the rows of one grid: polygons of a vector file, or a raster of landslides."""

import numpy as np
import shapely
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.windows import Window

from map_files import FILES
from mask_values import LANDSLIDE, UNLABELLED, MaskRule, WrongValues, understood
from scenes.components import Numbering
from scenes.geodesy import has_ellipsoid
from scenes.opening import damage_told, open_raster
from scenes.pixel_grid import PixelGrid
from scenes.vectors import box_of, faults_told, on_grid, read_layers, rows_transform, without_refuted
from script import UserError

ROWS = 256  # read together
POLYGON = 3  # type of geometry of shapely
BEYOND = -1.0  # value beyond a raster that is brought onto another grid


class PolygonLayer:
    """Polygons on a grid. Each part of a multipolygon is one object.

    A pixel belongs to the polygon that its centre lies in; of several, to the smallest.
    """

    what, probability = "polygons", False

    def __init__(self, table, grid, path, over, ground=None, may_be_empty=False, small=True):
        """Lay polygons over a grid.

        Args:
            table: of `vectors.read_layers`. grid: PixelGrid. path, over: of the file and of the grid, for messages.
            ground: PolygonLayer of the ground that was judged; None: all. may_be_empty: whether there may be none.
            small: whether a polygon without the centre of any pixel takes the pixel in which it lies.

        Raises:
            UserError: there are none, some are no polygons, or none lies over the grid.
        """
        if not len(table) and not may_be_empty:
            raise UserError(f"{path} holds no shapes: it is empty")
        if other := sorted({kind for kind in table.geom_type if "Polygon" not in kind} - {"GeometryCollection"}):
            raise UserError(f"{path} holds {', '.join(other)}: only polygons have an area that can be compared")
        with faults_told(path):
            shapes = on_grid(table, grid).geometry.to_numpy()
        parts = shapely.get_parts(shapely.get_parts(shapes))  # of multipolygons in collections, too
        parts = parts[(shapely.get_type_id(parts) == POLYGON) & (shapely.area(parts) > 0)]
        parts = parts[shapely.intersects(parts, box_of(grid, 0, grid.height))]
        if not len(parts) and not may_be_empty:
            raise UserError(f"{path}: none of its {len(table)} polygons lies over {over}")
        self.shapes, self.grid = parts[np.argsort(-shapely.area(parts), kind="stable")], grid
        self.count, self.ground = len(parts), ground
        self.tree, self.points = shapely.STRtree(self.shapes), np.zeros(0, int)
        if small:
            missing = shapely.area(self.shapes) < 4 * abs(grid.transform.determinant)
            wanted = missing.copy()
            for top in range(0, grid.height, ROWS) if wanted.any() else ():
                shown = self.read(top, min(top + ROWS, grid.height), wanted)[0]
                missing[shown[shown > 0] - 1] = False
            self.points = np.flatnonzero(missing)

    def read(self, top, bottom, chosen=None):
        """Read some rows; see RasterLayer.read. The polygons' numbers from 1 on stand for landslide (int32).

        chosen: bool, one for each polygon, of those to draw.
        """
        shape, transform = (bottom - top, self.grid.width), rows_transform(self.grid, top)
        found = np.sort(self.tree.query(box_of(self.grid, top, bottom)))
        found = found if chosen is None else found[chosen[found]]
        numbers = np.zeros(shape, np.int32)
        if len(found):
            pairs = zip(self.shapes[found], (found + 1).tolist(), strict=True)  # the largest first
            numbers = rasterize(pairs, shape, transform=transform, dtype="int32")
        if len(points := self.points[np.isin(self.points, found)]):
            x, y = shapely.get_coordinates(shapely.point_on_surface(self.shapes[points])).T
            column, row = (np.floor(at).astype(int) for at in ~transform @ (x, y))
            inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            numbers[row[inside], column[inside]] = points[inside] + 1
        known = self.ground.read(top, bottom)[0] > 0 if self.ground else np.ones(shape, bool)
        return numbers, known, None

    def number(self, found):
        """Return the numbers of objects in rows that were read, from the top."""
        return found

    def joined(self):
        """Return (number of objects, object of each number)."""
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

    A mask is understood by the rule of `mask_values`. A probability is a float from 0 to 1, or a whole number of
    percent.
    """

    def __init__(self, path, grid=None, threshold=None):
        """Open it.

        Args:
            path: of the raster. grid: PixelGrid to read it on; None for its own.
            threshold: of a probability; None for the one in its tags.

        Raises:
            UserError: it cannot be read, has no coordinate system, is neither a mask nor a probability, or is a
                probability without a threshold.
        """
        self.path, self.file = str(path), open_raster(path)
        try:
            if self.file.count != 1:
                raise UserError(f"{path} has {self.file.count} bands: give a mask or a probability, of one band")
            if self.file.crs is None or not has_ellipsoid(self.file.crs):
                raise UserError(f"{path} has no coordinate system in which its pixels can be measured on the ground")
            own = PixelGrid.of(self.file)
            self.grid = grid or own
            self.nodata = self.file.nodata
            self._look_at_values()
            tag = self.file.tags().get("threshold")
            if self.probability and threshold is None and tag is None:
                raise UserError(
                    f"{path} holds {self.highest:g}: a mask holds 0 and 1; of probabilities say from which on they are "
                    "landslide, with --threshold"
                )
            if not self.probability and threshold is not None:
                raise UserError(f"{path} is a mask: --threshold is for probabilities")
            self.threshold = float(tag if threshold is None else threshold) if self.probability else None
            self.what = f"probability ≥ {self.threshold:g}" if self.probability else "mask"
            fill = {"resampling": Resampling.nearest, "src_nodata": BEYOND, "nodata": BEYOND, "dtype": "float32"}
            self.view = self.file if self.grid.matches(own) else self.grid.warped(self.file, **fill)
        except BaseException:
            self.file.close()
            raise
        self.numbering = Numbering(self.grid.width)

    def _look_at_values(self):
        """Find out from the values whether this is a mask or a probability, and what 255 means in a mask."""
        rule, mask, low, high = MaskRule(), not self.path.endswith(FILES["probability"]), np.inf, -np.inf
        for top in range(0, self.file.height, ROWS):
            values = self._read(self.file, top, min(top + ROWS, self.file.height), self.file.width)
            try:
                rule.add(understood(values, nodata=self.nodata))
            except WrongValues:
                mask = False
            values = values[self._known(values)]
            if values.size:
                low, high = min(low, values.min()), max(high, values.max())
        self.probability, self.high_is_landslide = not mask, rule.high_is_landslide
        if mask:
            return
        most = 1 if np.dtype(self.file.dtypes[0]).kind == "f" else 100
        if low < 0 or high > most:
            raise UserError(
                f"{self.path} holds {low if low < 0 else high:g}: a mask holds 0 and 1, a probability 0 to 1 or, in "
                "whole numbers, percent"
            )
        self.most, self.highest = np.float32(most), high

    def _read(self, file, top, bottom, width):
        with damage_told(self.path):
            return file.read(1, window=Window(0, top, width, bottom - top))

    def _known(self, values):
        """Return where there is a probability."""
        known = values == values  # a number
        return known if self.nodata is None else known & (values != self.nodata)

    def read(self, top, bottom):
        """Read some rows: (landslide, known, both H x W bool; probabilities H x W float32, or None of a mask)."""
        values = self._read(self.view, top, bottom, self.grid.width)
        beyond = values == BEYOND if self.view is not self.file else np.zeros(values.shape, bool)
        if not self.probability:
            mask = understood(values, beyond, self.nodata).decided(self.high_is_landslide)
            return mask == LANDSLIDE, mask != UNLABELLED, None
        known = self._known(values) & ~beyond
        probability = np.where(known, values, 0).astype(np.float32) / self.most
        return known & (probability >= np.float32(self.threshold)), known, probability

    def number(self, found):
        """Return the numbers of objects in rows that were read, from the top."""
        return self.numbering.add(found)

    def joined(self):
        """Return (number of objects, object of each number)."""
        return self.numbering.joined()

    def close(self):
        """Close the raster."""
        if self.view is not self.file:
            self.view.close()
        self.file.close()


# ---------------------------------------------------------------------- opening


def read_polygons(path, other, layer, flag, least):
    """Read polygons that are to be laid over `other`, without those that a reviewer found to be no landslides.

    layer, flag: see `vectors.layers_to_read`. least: confidence from which on they count; 0: all.
    """
    table, refuted = without_refuted(read_layers(path, other, layer, flag, columns=["confidence", "verdict"]))
    if refuted:
        print(f"note: {path}: {refuted} polygons are left out, whose verdict is not landslide")
    if not least:
        return table
    if "confidence" not in table:
        raise UserError(f"{path} has no column confidence: --min-confidence cannot choose by it")
    return table[table["confidence"] >= least]


def metric_grid(table, resolution):
    """Return a PixelGrid of square pixels in the UTM zone of a table of shapes, around all of them."""
    metres = table.estimate_utm_crs()
    left, low, right, high = table.to_crs(metres).total_bounds
    left, high = np.floor(left / resolution) * resolution, np.ceil(high / resolution) * resolution
    shape = tuple(max(1, int(np.ceil(length / resolution))) for length in (high - low, right - left))
    transform = from_origin(left, high, resolution, resolution)
    return PixelGrid(shape, transform, CRS.from_user_input(metres.to_wkt()))
