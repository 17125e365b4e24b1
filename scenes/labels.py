"""What is known of the ground of a scene: landslide, not landslide, or not labelled."""

import geopandas
import numpy as np
import shapely
from rasterio.enums import Resampling
from rasterio.env import ensure_env
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import distance_transform_edt

from patch_reading import MaskRule
from scenes.opening import open_raster
from scenes.pixel_grid import PixelGrid
from scenes.polygons import EXCLUDED, HIDDEN
from scenes.styles import VERDICTS
from scenes.vectors import box_of, is_vector, rows_transform, shapes_over
from script import UserError

LANDSLIDE, OTHER, UNLABELLED = 1, 0, 255  # values of a mask
HIGH = 254  # stands for a 255 whose meaning is not decided yet, as in patch_reading.MaskRule
MEANING = {  # of what a reviewer writes into the column verdict
    **dict.fromkeys((VERDICTS[0], "yes", "y", "true", "1"), LANDSLIDE),
    **dict.fromkeys((VERDICTS[1], "no landslide", "no", "n", "false", "0"), OTHER),
    **dict.fromkeys((VERDICTS[2], "unknown", "?", ""), UNLABELLED),
}
STRIP = 1024  # rows of a raster looked at together


class Labels:
    """Labels of a scene, from vector files and mask rasters; where two say something, the later one counts.

    Polygons of a vector file are landslides. In a reviewed file, which has the column `verdict`, each polygon is what
    its verdict says, and the ground between them is not labelled.
    """

    def __init__(self, paths, grid, area="", min_area=0.0, buffer=0.0, all_touched=False):
        """Open them.

        Args:
            paths: of vector files and rasters of 0, 1 and 255. grid: PixelGrid of the scene.
            area: path of a vector file of the ground in which the labels are complete; beyond it, nothing counts as
                background. Without it, vector files that are not reviewed count as complete in the whole scene.
            min_area: square metres; smaller polygons are not labelled.
            buffer: metres on both sides of a landslide's outline that are not labelled.
            all_touched: whether a polygon holds all pixels that it touches, or those whose centres lie in it.

        Raises:
            UserError: a file cannot be read or laid over the scene, or a verdict is no word that is known.
        """
        self.grid, self.buffer, self.all_touched = grid, buffer, all_touched
        self.area = shapes_over(area, grid, areas=True).geometry.union_all() if area else None
        self.sources, complete = [], bool(area)
        for path in paths:
            if is_vector(path):
                source, reviewed = read_polygons(path, grid, min_area)
                complete |= not reviewed
            else:
                source = MaskRaster(path, grid)
            self.sources.append(source)
        self.complete = complete

    def read(self, top, bottom, left, right):
        """Return the labels of a window: H x W, uint8, 0, 1 or 255."""
        margin = self._margin()
        rows, columns = (max(top - margin, 0), bottom + margin), (max(left - margin, 0), right + margin)
        rows, columns = (rows[0], min(rows[1], self.grid.height)), (columns[0], min(columns[1], self.grid.width))
        labels = self._painted(*rows, *columns)
        if margin:
            labels[self._near_outlines(labels)] = UNLABELLED
        return labels[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]

    def _painted(self, top, bottom, left, right):
        shape = bottom - top, right - left
        transform = rows_transform(self.grid, top, left)
        box = box_of(self.grid, top, bottom, left, right)
        inside = np.full(shape, self.complete)
        if self.area is not None:
            inside = rasterize([self.area], shape, transform=transform, dtype="uint8") > 0
        labels = np.where(inside, np.uint8(OTHER), np.uint8(UNLABELLED))
        for source in self.sources:
            if isinstance(source, MaskRaster):
                values = source.read(top, bottom, left, right)
                known = (values == LANDSLIDE) | ((values == OTHER) & (inside if self.area is not None else True))
                labels[known] = values[known]
            elif len(shapes := source[source.intersects(box)]):
                painted = zip(shapes.geometry, shapes["label"], strict=True)
                form = {"transform": transform, "all_touched": self.all_touched, "dtype": "uint8"}
                rasterize(painted, out=labels, **form)
        return labels

    def _margin(self):
        if not self.buffer:
            return 0
        smallest = min(float(plane.min()) for plane in self.grid.pixel_size) if self.grid.crs else 1.0
        return int(np.ceil(self.buffer / smallest)) + 1

    def _near_outlines(self, labels):
        """Return which pixels have the other label within `buffer` metres of their centre, less half a pixel."""
        size = [float(np.median(plane)) for plane in self.grid.pixel_size] if self.grid.crs else [1.0, 1.0]
        near = np.zeros(labels.shape, bool)
        for label, other in ((LANDSLIDE, OTHER), (OTHER, LANDSLIDE)):
            if (labels == other).any():
                away = distance_transform_edt(labels != other, sampling=size[::-1])
                near |= (labels == label) & (away <= self.buffer + max(size) / 2)
        return near

    def close(self):
        """Close the rasters."""
        for source in self.sources:
            if isinstance(source, MaskRaster):
                source.close()


def read_polygons(path, grid, min_area):
    """Read the polygons of a vector file with their labels; see Labels.

    Returns (geopandas.GeoDataFrame with the column label, in the order in which they are painted; reviewed or not).
    """
    table = shapes_over(path, grid, columns=["verdict"], areas=True)
    reviewed = "verdict" in table
    words = table["verdict"].astype("string").fillna("") if reviewed else ["landslide"] * len(table)
    words = [str(word).strip().lower().replace("_", " ").removesuffix(".0") for word in words]
    if unknown := sorted({word for word in words if word not in MEANING}):
        raise UserError(f"{path}: the verdict {unknown[0]!r} is none of landslide, not landslide and unsure")
    if reviewed and not any(words):
        raise UserError(
            f"{path}: no polygon has a verdict: write landslide, not landslide or unsure into that column in QGIS, or "
            "take the column out if all polygons are landslides"
        )
    labels = np.array([MEANING[word] for word in words], np.uint8)
    if min_area:
        metres = table.to_crs(table.estimate_utm_crs()).area.to_numpy()
        labels[(metres < min_area) & (labels == LANDSLIDE)] = UNLABELLED
    order = np.argsort([(UNLABELLED, OTHER, LANDSLIDE).index(label) for label in labels], kind="stable")
    return geopandas.GeoDataFrame({"label": labels}, geometry=table.geometry.to_numpy(), crs=table.crs).iloc[
        order
    ], reviewed


class MaskRaster:
    """A raster of labels on the grid of a scene: 1 landslide, 0 not; 253 to 255 and no data are not labelled.

    If it holds no 1 but 255, landslides are 255, as in the masks of many public sets.
    """

    def __init__(self, path, grid):
        self.path, self.file = str(path), open_raster(path)
        self.view, self.high = self.file, UNLABELLED
        if not grid.matches(PixelGrid.of(self.file)):
            if grid.crs is None or self.file.crs is None:
                self.file.close()
                raise UserError(f"{path}: neither on the scene's grid nor with a coordinate system to lay it over that")
            self.view = grid.warped(self.file, resampling=Resampling.nearest, src_nodata=None, nodata=EXCLUDED)
        rule, found = MaskRule(), set()
        for top in range(0, grid.height, STRIP):
            values = self._coded(top, min(top + STRIP, grid.height), 0, grid.width)
            rule.add(path, values)
            found |= set(np.unique(values).tolist())
        if wrong := sorted(found - {LANDSLIDE, OTHER, HIGH, UNLABELLED}):
            raise UserError(
                f"{path} holds {wrong[0]:g}; a mask has 1 for landslide, 0 for other ground, 255 for neither"
            )
        self.high = rule.value
        if found == {UNLABELLED}:
            raise UserError(f"{path} labels nothing in this scene: does it lie over it?")

    def read(self, top, bottom, left, right):
        """Read the labels of a window: H x W, 0, 1 or 255."""
        values = self._coded(top, bottom, left, right)
        return np.where(values == HIGH, self.high, values)

    @ensure_env
    def _coded(self, top, bottom, left, right):
        """Read a window with HIGH where the file holds 255, and 255 where it says nothing."""
        try:
            values = self.view.read(1, window=Window.from_slices((top, bottom), (left, right)))
        except RasterioError:
            raise UserError(f"{self.path} cannot be read: cut short or damaged, fetch it again") from None
        silent = (values == self.file.nodata) | (values == EXCLUDED) | (values == HIDDEN) | (values != values)
        return np.where(silent, UNLABELLED, np.where(values == UNLABELLED, HIGH, values))

    def close(self):
        """Close the raster."""
        if self.view is not self.file:
            self.view.close()
        self.file.close()


def area_parts(path, grid):
    """Return the parts of an area as polygons in pixels (column, row) of a grid, the largest first."""
    shape = shapes_over(path, grid, areas=True).geometry.union_all()
    shape = shapely.transform(shape, lambda points: np.column_stack(~grid.transform @ tuple(points.T)))
    return sorted(shapely.get_parts(shape), key=lambda part: -part.area)
