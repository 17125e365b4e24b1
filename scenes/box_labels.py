"""Labels of boxes of a scene, as the page <scene>_desk.html saves them in <scene>_labels.geojson (box_file.py)."""

import geopandas
import numpy as np
import shapely
from affine import Affine
from rasterio.features import rasterize

from mask_values import LANDSLIDE, OTHER, UNLABELLED
from scenes.box_file import check_coordinates, decided_ground, finished_boxes, read_content
from scenes.lon_lat import LonLat
from scenes.scene_digest import scene_digests
from scenes.shape_repair import repaired
from scenes.vectors import ground_areas
from scenes.verdicts import DRAWING_ORDER, labels_of

STEP = 100  # positions are kept to the hundredth of a pixel, on the page as in the file


class BoxLabels:
    """Labels of the finished boxes of a scene: within them every pixel is labelled or unsure, beyond them none is.

    A polygon counts within its box alone. Where boxes overlap, the one that changed last decides.

    Attributes:
        other_scene: name of the scene that the file belongs to, if that is another one; then it has no boxes. "": it
            belongs to this one.
        outlines: polygons of the finished boxes in pixels (column, row). has_landslides: whether one lies in them.
    """

    def __init__(self, path, grid, scene_paths, min_area=0.0, all_touched=False):
        """Read the file.

        Args:
            path: of the file. grid: PixelGrid of the scene. scene_paths: of the scene, see `scene_digests`.
            min_area: square metres (pixels, without a coordinate system); smaller landslides are not labelled.
            all_touched: whether a polygon holds all pixels that it touches, or those whose centres lie in it.

        Raises:
            UserError: the file is damaged or of a later version, or no box is finished.
        """
        self.path, self.all_touched = path, all_touched
        self.other_scene, self.outlines, self.has_landslides, self._boxes = "", [], False, []
        content = read_content(path)
        scene = content["scene"]
        if not set(scene["digests"]) & set(scene_digests(scene_paths)):
            self.other_scene = scene["name"] or "unknown"
            return
        check_coordinates(path, content, grid.crs)
        finished = finished_boxes(path, content)
        ids = {box["id"] for box in finished}
        inside = [feature for feature in content["features"] if feature["properties"]["box"] in ids]
        self._convert = LonLat(grid).in_pixels if grid.crs else np.asarray
        self.outlines = [self._in_pixels(shapely.Polygon(box["outline"])) for box in finished]
        tables = {box_id: [] for box_id in ids}
        for feature, (shape, label) in zip(inside, self._labelled(inside, grid, min_area), strict=True):
            tables[feature["properties"]["box"]].append((shape, label))
        for box, ground in zip(finished, decided_ground(self.outlines), strict=True):
            shapes = sorted(tables[box["id"]], key=lambda pair: DRAWING_ORDER.index(pair[1]))
            self._boxes.append((ground, shapes))
            self.has_landslides |= any(label == LANDSLIDE and shape.intersects(ground) for shape, label in shapes)

    def _labelled(self, features, grid, min_area):
        """Return [(polygon in pixels, label), ...] of features."""
        labels, _ = labels_of(self.path, [feature["properties"]["verdict"] for feature in features])
        shapes = [repaired(shapely.geometry.shape(feature["geometry"])) for feature in features]
        if min_area and shapes:
            table = geopandas.GeoDataFrame(geometry=shapes, crs=4326)
            areas = ground_areas(table) if grid.crs else shapely.area(shapes)
            labels[(areas < min_area) & (labels == LANDSLIDE)] = UNLABELLED
        return [(self._in_pixels(shape), label) for shape, label in zip(shapes, labels, strict=True)]

    def _in_pixels(self, shape):
        """Return a shape of the file in pixels (column, row), to the hundredth that the page works in."""
        in_pixels = shapely.transform(shape, lambda points: np.round(self._convert(points) * STEP) / STEP)
        return repaired(in_pixels)

    def read(self, top, bottom, left, right):
        """Read a window: (labels H x W uint8, 0, 1 or 255; H x W bool: in a finished box)."""
        shape, window = (bottom - top, right - left), shapely.box(left, top, right, bottom)
        options = {"out_shape": shape, "transform": Affine.translation(left, top), "dtype": "uint8"}
        labels, finished = np.full(shape, UNLABELLED, np.uint8), np.zeros(shape, bool)
        for ground, shapes in self._boxes:
            if not ground.intersects(window):
                continue
            inside = rasterize([ground], **options) > 0
            labels[inside], finished[inside] = OTHER, True
            if near := [(shape, int(label)) for shape, label in shapes if shape.intersects(window)]:
                of_box = rasterize(near, fill=OTHER, all_touched=self.all_touched, **options)
                labels[inside] = of_box[inside]
        return labels, finished
