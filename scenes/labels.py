"""Labels of a scene, from polygons and masks: landslide, not landslide, or not labelled."""

import geopandas
import numpy as np
import shapely
from rasterio.env import ensure_env
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import distance_transform_edt

from mask_values import LANDSLIDE, OTHER, UNLABELLED, MaskRule, WrongValues, as_labels
from patches.image_files import states_scale
from patches.scale_tags import SCALED_MASK
from patches.stated_words import is_lossy
from scenes.antimeridian import utm_of
from scenes.box_file import is_box_labels
from scenes.box_labels import BoxLabels
from scenes.opening import BEYOND, damage_reported, nearest_on_grid, open_mask, tags_of
from scenes.pixel_grid import PixelGrid
from scenes.styles import VERDICTS
from scenes.vectors import EVERYTHING, SEEN, is_vector, shapes_over
from scenes.verdicts import DRAWING_ORDER, labels_of
from script import UserError, note

STRIP = 1024  # rows of a raster read together


class Labels:
    """Labels of a scene, from vector files, rasters and BoxLabels. Where two files label a pixel, the later one wins.

    Polygons of a vector file are landslides, and the file is complete: the ground between them, within the area, is
    not landslide. In a reviewed file, which has the column `verdict`, a polygon has the label of its verdict. Polygons
    without a verdict are ignored if there is a file of another kind, too; otherwise they are not labelled. BoxLabels
    have an area of their own, their finished boxes, in which they decide alone.

    Attributes:
        silent: paths of the files that hold shapes, but none over this scene; of rasters, that label none of it.
        other_scenes: {path of BoxLabels of another scene: its name}; they are silent, too.
        empty_files: paths of the vector files without a single shape. empty: whether all are, and there is an area.
        parts: polygons in pixels (column, row) of the ground that is labelled, largest first; None: the whole scene.
    """

    def __init__(
        self,
        paths,
        grid,
        area=(),
        min_area=0.0,
        buffer=0.0,
        all_touched=False,
        choice=EVERYTHING,
        area_choice=EVERYTHING,
        scene_paths=(),
    ):
        """Open the files.

        Args:
            paths: of vector files, rasters of 0, 1 and 255, and files of BoxLabels. grid: PixelGrid of the scene.
            area: paths of vector files of the ground in which the labels are complete; beyond it, no pixel is labelled
                as other ground. (): the whole scene.
            min_area: square metres; smaller polygons are not labelled.
            buffer: metres on both sides of a landslide's outline that are not labelled.
            all_touched: whether a polygon holds all pixels that it touches, or those whose centres lie in it.
            choice, area_choice: vectors.Choice of the shapes of vector files with labels, and of the area.
            scene_paths: of the scene, by which BoxLabels recognise it.

        Raises:
            UserError: a file cannot be read or laid over the scene, or a verdict is unknown.
        """
        self.grid, self.buffer, self.all_touched = grid, buffer, all_touched
        self.area = None
        if area and paths and all(map(is_box_labels, paths)):
            raise UserError(f"{paths[0]} says itself which boxes are finished: leave --area out")
        self.sources, self.silent, verdicts, unreviewed = [], [], [], False
        self.empty_files, self.other_scenes, outlines = [], {}, []
        if area:
            options = {"areas": True, "may_miss": True, "default_layer": SEEN, "choice": area_choice}
            grounds = [shapes_over(path, grid, **options).geometry for path in area]
            self.area = shapely.union_all(np.concatenate([ground.to_numpy() for ground in grounds]))
            self.silent += [path for path, ground in zip(area, grounds, strict=True) if not len(ground)]
        for path in paths:
            if is_box_labels(path):
                boxes = BoxLabels(path, grid, scene_paths, min_area, all_touched)
                self.sources.append(boxes)
                outlines += boxes.outlines
                if not boxes.has_landslides:
                    self.empty_files.append(path)
                if boxes.other_scene:
                    self.other_scenes[path] = boxes.other_scene
                    self.silent.append(path)
                continue
            if not is_vector(path):
                if min_area:
                    raise UserError(f"{path} is a raster: --min-area is for polygons")
                self.sources.append(MaskRaster(path, grid))
                if not self.sources[-1].labels_any:
                    self.silent.append(path)
                continue
            table, reviewed = read_polygons(path, grid, min_area, choice)
            self.sources.append(table)
            if not table.attrs["file"]:
                self.empty_files.append(path)
            unreviewed |= not reviewed
            if not len(table) and (table.attrs["file"] or not area):  # without rows: no landslide in the area
                self.silent.append(path)
            if reviewed:
                verdicts += list(table.geometry[~table["blank"]])
        has_boxes = any(isinstance(source, BoxLabels) for source in self.sources)
        self.empty = (bool(area) or has_boxes) and len(self.empty_files) == len(paths)
        rasters = any(isinstance(source, MaskRaster) for source in self.sources)
        self.complete = unreviewed or bool(area and not rasters)
        if unreviewed or rasters or has_boxes:
            self.sources = [
                source[~source["blank"]] if isinstance(source, geopandas.GeoDataFrame) else source
                for source in self.sources
            ]
        self.parts = None
        if area or not (unreviewed or rasters):
            in_pixels = [grid.in_pixels(np.array(shapes, object)) for shapes in (self._area_parts(), verdicts)]
            groups = (in_pixels[0], outlines, in_pixels[1])
            self.parts = [shape for group in groups for shape in sorted(group, key=lambda shape: -shape.area)]

    def _area_parts(self):
        """Return the polygons of the area."""
        return [] if self.area is None else shapely.get_parts(self.area)

    def read(self, top, bottom, left, right):
        """Read the labels of a window: H x W, uint8, 0, 1 or 255."""
        margin = self._buffer_pixels()
        rows = max(top - margin, 0), min(bottom + margin, self.grid.height)
        columns = max(left - margin, 0), min(right + margin, self.grid.width)
        labels = self._labels_without_buffer(*rows, *columns)
        if margin:
            labels[self._near_outlines(labels)] = UNLABELLED
        return labels[top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]

    def _labels_without_buffer(self, top, bottom, left, right):
        shape = bottom - top, right - left
        transform = self.grid.window(top, left, shape).transform
        box = self.grid.box(top, bottom, left, right)
        inside = np.ones(shape, bool)
        if self.area is not None:
            inside = rasterize([self.area], shape, transform=transform, dtype="uint8") > 0 if self.area else ~inside
        labels = np.where(inside & self.complete, np.uint8(OTHER), np.uint8(UNLABELLED))
        for source in self.sources:
            if isinstance(source, BoxLabels):
                values, finished = source.read(top, bottom, left, right)
                labels[finished] = values[finished]
            elif isinstance(source, MaskRaster):
                values = source.read(top, bottom, left, right)
                known = (values == LANDSLIDE) | ((values == OTHER) & inside)
                labels[known] = values[known]
            elif len(shapes := source[source.intersects(box)]):
                pairs = zip(shapes.geometry, shapes["label"], strict=True)
                rasterize(pairs, out=labels, transform=transform, all_touched=self.all_touched, dtype="uint8")
        return labels

    def _buffer_pixels(self):
        """Return the pixels on each side of a window on which its labels depend."""
        if not self.buffer:
            return 0
        smallest = min(float(plane.min()) for plane in self.grid.pixel_size) if self.grid.crs else 1.0
        return int(np.ceil(self.buffer / smallest)) + 1

    def _near_outlines(self, labels):
        """Return which pixels have their centre within `buffer` metres of a pixel of the other label: H x W bool."""
        size = [float(np.median(plane)) for plane in self.grid.pixel_size] if self.grid.crs else [1.0, 1.0]
        near = np.zeros(labels.shape, bool)
        for label, other in ((LANDSLIDE, OTHER), (OTHER, LANDSLIDE)):
            if (labels == other).any():
                distance = distance_transform_edt(labels != other, sampling=size[::-1])
                near |= (labels == label) & (distance <= self.buffer + max(size) / 2)
        return near

    def close(self):
        """Close the rasters."""
        for source in self.sources:
            if isinstance(source, MaskRaster):
                source.close()


def read_polygons(path, grid, min_area, choice=EVERYTHING):
    """Read the polygons of a vector file with their labels; see Labels.

    choice: vectors.Choice of its shapes.

    Returns:
        (geopandas.GeoDataFrame with the columns label and blank (without a verdict), in the order in which polygons are
        rasterised; whether the file is reviewed).

    Raises:
        UserError: the file cannot be read, or its verdicts cannot be used.
    """
    table = shapes_over(path, grid, columns=["verdict"], areas=True, may_miss=True, choice=choice, landslides=True)
    in_file = table.attrs
    reviewed = "verdict" in table
    labels, blank = np.full(len(table), LANDSLIDE, np.uint8), np.zeros(len(table), bool)
    if reviewed:
        labels, blank = labels_of(path, table["verdict"])
    if len(blank) and blank.all():
        raise UserError(
            f"{path}: no polygon has a verdict: write {', '.join(VERDICTS)} into that column in QGIS, or take the "
            "column out if all polygons are landslides"
        )
    if blank.any():
        note(f"{path}: {blank.sum()} of {len(blank)} polygons have no verdict")
    if min_area and len(table):
        metres = table.to_crs(utm_of(grid)).area.to_numpy()
        labels[(metres < min_area) & (labels == LANDSLIDE)] = UNLABELLED
    order = np.argsort([DRAWING_ORDER.index(label) for label in labels], kind="stable").astype(int)
    columns = {"label": labels, "blank": blank}
    table = geopandas.GeoDataFrame(columns, geometry=table.geometry.to_numpy(), crs=grid.crs)
    table = table.iloc[order]
    table.attrs = in_file
    return table, reviewed


class MaskRaster:
    """A raster of labels on the grid of a scene, by the rule of `mask_values`.

    Attributes:
        labels_any: whether it labels any pixel of the scene.
    """

    def __init__(self, path, grid):
        """Open it. grid: PixelGrid of the scene.

        Raises:
            UserError: it cannot be read or laid over the scene, has several bands, or values that no mask has.
        """
        self.path, self._opened = str(path), open_mask(path, "a mask")
        self.file = self.view = self._opened[0]
        self._tags, self._lossy = tags_of(self._opened), is_lossy(self._opened[-1])
        try:
            if states_scale(self._opened[-1]):
                raise UserError(f"{path} {SCALED_MASK}")
            if not grid.matches(PixelGrid.of(self.file)):
                if grid.crs is None or self.file.crs is None:
                    raise UserError(f"{path}: neither on the scene's grid nor with a coordinate system to lay it over")
                self.view = nearest_on_grid(self.file, grid)
            rule = MaskRule()
            for top in range(0, self.file.height, STRIP):
                bottom = min(top + STRIP, self.file.height)
                rule.add(self._labels(self.file, (top, bottom), (0, self.file.width)))
            self.high_is_landslide = rule.high_is_landslide
            strips = ((top, min(top + STRIP, grid.height)) for top in range(0, grid.height, STRIP))
            self.labels_any = any((self.read(*strip, 0, grid.width) != UNLABELLED).any() for strip in strips)
        except BaseException:
            self.close()
            raise

    @ensure_env
    def _labels(self, file, rows, columns):
        """Read a window of the file, or of the view of it, as mask_values.Labels."""
        with damage_reported(self.path):
            values = file.read(1, window=Window.from_slices(rows, columns))
        try:
            return as_labels(values, nodata=(*self._tags, BEYOND), lossy=self._lossy)
        except WrongValues as wrong:
            raise UserError(
                f"{self.path} holds {wrong}; a mask has 1 for landslide, 0 for other ground, 255 for no label"
            ) from None

    def read(self, top, bottom, left, right):
        """Read the labels of a window: H x W uint8, 0, 1 or 255."""
        return self._labels(self.view, (top, bottom), (left, right)).decided(self.high_is_landslide)

    def close(self):
        """Close the raster and the view of it."""
        for file in dict.fromkeys((self.view, *self._opened)):
            file.close()
