"""Polygons of a mask, measured on the ground. The mask is read by strips, never as a whole."""

import geopandas
import numpy as np
import rasterio
import shapely
from rasterio import features
from rasterio.windows import Window
from scipy.ndimage import map_coordinates

from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER, UNLABELLED
from scenes.components import Components, Numbering
from scenes.geodesy import LATTICE, interpolate
from scenes.pixel_grid import PixelGrid
from scenes.styles import CLASSES
from script import progress

STRIP = 512  # rows that are read together
FEW_PIXELS = 5  # polygons and holes of fewer are speckle, unless a size is named


def landslides(mask_path, probability_path, min_area=0.0, terrain=None, min_slope=0.0, min_hole=0.0):
    """Return a table of the landslides of a mask: its polygons with their area, shape and terrain.

    The area of a polygon is the sum of its pixels, each measured on the ellipsoid of the CRS.

    Args:
        mask_path: raster of a map's mask: LANDSLIDE, EXCLUDED, HIDDEN and UNLABELLED.
        probability_path: raster of probabilities or, if uint8, of percents.
        min_area: smallest area in m2 (in pixels, without a CRS); smaller polygons are left out. None: FEW_PIXELS.
        terrain: function (top, bottom) -> terrain of those rows, see Scene.read_terrain; or None.
        min_slope: degrees. Flat ground does not slide: a polygon is left out if less than a tenth of its pixels is as
            steep. A polygon whose slope is unknown stays.
        min_hole: the same for holes, ground that is not landslide within landslide: smaller ones are filled, and their
            pixels count as those of the polygon. A hole with ground that was not judged stays.

    Returns:
        geopandas.GeoDataFrame in the mask's CRS, largest first: id; confidence, the mean calibrated probability, and
        class by styles.CLASSES; max_probability; area_m2, perimeter_m, length_m and width_m (of the smallest rectangle
        around it), pixels; cut_by_cloud (1 if the polygon touches hidden ground), cut_by_edge (1 if it touches ground
        without data, or the scene's edge); lon, lat (of the centroid, WGS 84); with `terrain`, mean_slope_deg,
        max_slope_deg, relief_m (highest less lowest elevation) and aspect_deg (downhill, clockwise from north). Without
        a CRS lengths are in pixels (perimeter, length, width), and centroid_column, centroid_row replace lon, lat.
    """
    with rasterio.open(mask_path) as mask:
        grid = PixelGrid.of(mask)
    holes = SmallHoles(mask_path, grid, min_hole)
    components = connected_areas(mask_path, probability_path, grid, holes, terrain, min_slope)
    sums, highest = components.joined()
    areas = sums["area"] if grid.crs else sums["pixels"]
    kept = ~is_small(sums, min_area)
    if terrain:
        kept &= (sums["steep"] >= 0.1 * sums["slope_known"]) | (sums["slope_known"] == 0)
    corners, rings, parts, indices = components.rings(kept)
    del components
    order = np.argsort(-areas[indices], kind="stable")
    measures = measurements(corners, rings, parts, grid).take(order)
    corners = np.column_stack(grid.transform @ tuple(corners.T))  # without a place on the ground: pixels
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corners, (rings, parts))[order]
    del corners
    indices = indices[order]
    confidence = (sums["probability"] / np.maximum(sums["pixels"], 1))[indices]
    columns = {"id": np.arange(1, len(indices) + 1, dtype=np.int32), "confidence": confidence.round(4)}
    names, least = list(CLASSES), np.array(list(CLASSES.values()))
    columns["class"] = np.array(names)[(confidence[:, None] < least).sum(1)] if len(indices) else np.zeros(0, str)
    columns["max_probability"] = highest["probability"][indices].round(4)
    digits = 1 if not len(indices) or areas.min() >= 1 else 4  # pixels of a few centimetres
    columns |= {"area_m2": areas[indices].round(digits)} if grid.crs else {}
    unit = "_m" if grid.crs else "_pixels"
    columns |= {name + unit: measures[name].round(digits) for name in measures.dtype.names}
    columns["pixels"] = sums["pixels"][indices].astype(np.int32)
    for name in ("cut_by_cloud", "cut_by_edge"):
        columns[name] = (sums[name][indices] > 0).astype(np.int8)
    if terrain:
        columns |= terrain_columns(sums, highest, indices)
    centroids = shapely.centroid(polygons)
    if grid.crs:
        centroids = geopandas.GeoSeries(centroids, crs=grid.crs).to_crs(4326)
    else:
        centroids = geopandas.GeoSeries(grid.in_pixels(centroids))
    x, y = ("lon", "lat") if grid.crs else ("centroid_column", "centroid_row")
    columns |= {x: centroids.x.round(7), y: centroids.y.round(7)}
    return geopandas.GeoDataFrame(columns, geometry=polygons, crs=grid.crs)


def measurements(corners, rings, parts, grid):
    """Measure polygons on the ground; return an array with the fields perimeter, length and width, in metres or pixels.

    Sides run along rows and columns, so each is measured by the size of the pixels at it. Length and width are those of
    the smallest rectangle around the polygon, by the size of pixels in the middle of the grid.

    Args:
        corners, rings, parts: as `Components.rings` returns them, columns and rows. grid: PixelGrid.
    """
    column, row = corners.T.astype(float)
    across, down = np.abs(np.diff(column)), np.abs(np.diff(row))
    middle = np.ones(2)
    if grid.crs:
        nodes = np.stack([row[1:] / max(grid.height, 1), column[1:] / max(grid.width, 1)]) * (LATTICE - 1)
        across, down = (
            side * map_coordinates(plane, nodes, order=1, mode="nearest")
            for side, plane in zip((across, down), grid.pixel_size, strict=True)
        )
        middle = np.array([float(np.median(plane)) for plane in grid.pixel_size])
    total = np.concatenate([[0.0], np.cumsum(across + down)])
    outlines = total[rings[1:] - 1] - total[rings[:-1]]
    perimeter = np.add.reduceat(outlines, parts[:-1]) if len(outlines) else np.zeros(0)
    boxes = shapely.oriented_envelope(
        shapely.from_ragged_array(shapely.GeometryType.POLYGON, corners * middle, (rings, parts))
    )
    sides = np.zeros((len(boxes), 2))
    if len(boxes):
        edges = shapely.get_coordinates(boxes).reshape(len(boxes), 5, 2)
        sides = np.sort(np.linalg.norm(edges[:, 1:3] - edges[:, :2], axis=2), axis=1)
    fields = np.zeros(len(boxes), [("perimeter", float), ("length", float), ("width", float)])
    fields["perimeter"], fields["width"], fields["length"] = perimeter, sides[:, 0], sides[:, 1]
    return fields


def terrain_columns(sums, highest, indices):
    """Return the columns of terrain of some areas, {name: values}; NaN where elevation is unknown."""
    known = sums["slope_known"][indices]
    unknown = np.where(known, 0, np.nan)
    aspect = np.degrees(np.arctan2(-sums["east"][indices], -sums["north"][indices])) % 360
    return {
        "mean_slope_deg": (sums["slope"][indices] / np.maximum(known, 1) + unknown).round(2),
        "max_slope_deg": (highest["slope"][indices] + unknown).round(2),
        "relief_m": (highest["dem"][indices] + highest["depth"][indices] + unknown).round(1),
        "aspect_deg": (aspect + unknown).round(1),
    }


def is_small(sums, least):
    """Return which areas are smaller than `least` in m2 (in pixels, without a CRS); None: than FEW_PIXELS.

    sums: {"pixels", with a CRS also "area"}, one value for each area.
    """
    if least is None:
        return sums["pixels"] < FEW_PIXELS
    return sums.get("area", sums["pixels"]) < least


class SmallHoles:
    """The small holes in the landslides of a mask. Pixels of a hole touch at sides or corners."""

    def __init__(self, mask_path, grid, least):
        """Measure all holes. mask_path, least: see `landslides`, least 0 for no holes. grid: PixelGrid of the mask."""
        self.small, self.numbering = None, Numbering(grid.width, corners=True)
        if least == 0:
            return
        sums = {"pixels": [], "area": [], "open": []}
        with rasterio.open(mask_path) as mask:
            for top, bottom in strips(grid):
                codes = read_around(mask, top, bottom)
                before, other = self.numbering.count, codes[1:-1, 1:-1] == OTHER
                numbers = self.numbering.add(other)
                count = self.numbering.count - before
                # open ones touch ground that was not judged, or the edge of the scene
                kinds = {"pixels": other, "open": other & touching(codes >= EXCLUDED)}
                for name, pixels in kinds.items():
                    sums[name].append(np.bincount(numbers[pixels] - before - 1, minlength=count))
                if grid.crs and least is not None:
                    plane = pixel_areas(grid, top, bottom)
                    sums["area"].append(np.bincount(numbers[other] - before - 1, plane[other], count))
        areas, area = self.numbering.joined()
        totals = {name: np.bincount(area, np.concatenate(parts), areas) for name, parts in sums.items() if parts}
        self.small = (is_small(totals, least) & (totals["open"] == 0))[area] if areas else np.zeros(0, bool)
        self.numbering = Numbering(grid.width, corners=True)

    def within(self, codes):
        """Return which pixels of the next rows of the mask, H x W from the top, lie in small holes: H x W bool."""
        inside = np.zeros(codes.shape, bool)
        if self.small is not None:
            other = codes == OTHER
            inside[other] = self.small[self.numbering.add(other)[other] - 1]
        return inside


def strips(grid):
    """Yield (first row, last row + 1) of the strips of a grid."""
    for top in range(0, grid.height, STRIP):
        yield top, min(top + STRIP, grid.height)


def pixel_areas(grid, top, bottom):
    """Return the areas of the pixels of some rows in m2, H x W."""
    rows, columns = np.arange(top, bottom), np.arange(grid.width)
    across, down = (interpolate(plane, grid.shape, rows, columns) for plane in grid.pixel_size)
    return across * down


def connected_areas(mask_path, probability_path, grid, holes, terrain=None, min_slope=0.0):
    """Return the Components of a mask, with sums over their pixels.

    holes: SmallHoles of the mask, which are filled. For the other arguments see `landslides`.
    """
    components = Components(grid.shape)
    with rasterio.open(mask_path) as mask, rasterio.open(probability_path) as file:
        unit = np.float32(0.01 if file.dtypes[0] == "uint8" else 1)
        for top, bottom in progress(strips(grid), "outlining", -(-grid.height // STRIP)):
            window = Window(0, top, grid.width, bottom - top)
            # read where there is no landslide, too: a map that cannot be read back was not written whole
            around, probability = read_around(mask, top, bottom), file.read(1, window=window) * unit
            codes = around[1:-1, 1:-1]
            inside = (codes == LANDSLIDE) | holes.within(codes)
            sums = {"pixels": np.ones(inside.shape, np.uint8), "probability": probability}
            sums |= {"cut_by_cloud": touching(around == HIDDEN), "cut_by_edge": touching(around == UNLABELLED)}
            if grid.crs:
                sums["area"] = pixel_areas(grid, top, bottom)
            highest = {"probability": probability}
            if terrain and inside.any():
                ground = terrain(top, bottom)
                known = np.isfinite(ground["slope"])
                ground = {name: np.where(known, values, 0) for name, values in ground.items()}
                sums |= {name: ground[name] for name in ("slope", "east", "north")}
                sums |= {"slope_known": known, "steep": known & (ground["slope"] >= min_slope)}
                lowest = {"dem": ground["dem"], "depth": -ground["dem"]}
                highest |= {"slope": ground["slope"]} | {
                    name: np.where(known, values, -np.inf) for name, values in lowest.items()
                }
            elif terrain:  # without landslides the terrain is not read, but each strip needs the same names
                zeros = np.zeros(inside.shape, np.uint8)
                sums |= dict.fromkeys(("slope", "east", "north", "slope_known", "steep"), zeros)
                highest |= dict.fromkeys(("slope", "dem", "depth"), zeros)
            components.add(inside, sums, highest)
    return components


def read_around(mask, top, bottom):
    """Read rows of a mask and a pixel around them, UNLABELLED beyond the mask: (bottom - top + 2) x (width + 2)."""
    first, last = max(top - 1, 0), min(bottom + 1, mask.height)
    rows = mask.read(1, window=Window(0, first, mask.width, last - first))
    beyond = (first - (top - 1), bottom + 1 - last), (1, 1)
    return np.pad(rows, beyond, constant_values=UNLABELLED)


def touching(marked):
    """Return which pixels touch a marked one at a side or corner, or are marked; without the outermost pixels."""
    if not marked.any():
        return np.zeros((marked.shape[0] - 2, marked.shape[1] - 2), bool)
    rows = marked[:-2] | marked[1:-1] | marked[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


def seen_ground(mask_path, longest=2000):
    """Outline the ground that was judged, from a mask reduced to `longest` pixels: a shapely MultiPolygon."""
    with rasterio.open(mask_path) as mask:
        step = max(1, -(-max(mask.shape) // longest))
        shape = tuple(-(-size // step) for size in mask.shape)
        codes = mask.read(1, out_shape=shape)
        transform = mask.transform @ mask.transform.scale(mask.width / shape[1], mask.height / shape[0])
    outlines = features.shapes((codes < EXCLUDED).astype(np.uint8), codes < EXCLUDED, transform=transform)
    return shapely.MultiPolygon([shapely.geometry.shape(outline) for outline, _ in outlines])
