"""Polygons of a mask, measured on the ground, as a GeoPackage. The mask is read by strips, never as a whole."""

import warnings

import geopandas
import numpy as np
import pyogrio
import pyogrio.errors
import rasterio
import shapely
from affine import Affine
from rasterio.features import rasterize, shapes
from rasterio.windows import Window

from ground import to_geodetic

# what pyogrio raises where it cannot write
ERRORS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)
LAYER = "landslides"
STRIP = 512  # rows looked at together


def strips(height):
    """(first row, last row + 1) of each strip."""
    return [(top, min(top + STRIP, height)) for top in range(0, height, STRIP)]


def outlines(mask_path):
    """Trace the areas of value 1 in a mask, pixels joined by their sides; returns polygons in pixels (column, row).

    Polygons touching a strip's last row wait and are merged with their continuation.
    """
    finished, pending = [], []
    with rasterio.open(mask_path) as mask:
        for top, bottom in strips(mask.height):
            rows = mask.read(1, window=Window(0, top, mask.width, bottom - top))
            traced = shapes(rows, rows == 1, connectivity=4, transform=Affine.translation(0, top))
            found = [shapely.geometry.shape(outline) for outline, _ in traced]
            if pending:
                joining = [polygon for polygon in found if polygon.bounds[1] == top]
                found = [polygon for polygon in found if polygon.bounds[1] != top]
                # the merge leaves corners on straight sides at the seam; simplifying by 0 removes them
                joined = shapely.simplify(shapely.union_all(pending + joining), 0)
                found += shapely.get_parts(joined).tolist()
            pending = [polygon for polygon in found if polygon.bounds[3] == bottom]
            finished += [polygon for polygon in found if polygon.bounds[3] != bottom]
    finished += pending
    return sorted(finished, key=lambda polygon: (polygon.bounds[1], polygon.bounds[0], polygon.wkb))


def ground_areas(polygons, crs):
    """Return the area of each polygon in m2 on the ellipsoid of its CRS, with geodesics for sides."""
    transformer, geod = to_geodetic(crs)
    geodetic = shapely.transform(polygons, transformer.transform, interleaved=False)
    return np.array([abs(geod.geometry_area_perimeter(polygon)[0]) for polygon in geodetic])


def measure(polygons, probability_path, slope=None):
    """Measure mean and maximum probability and mean slope over the pixels of each polygon.

    Args:
        polygons: as `outlines` gives them. probability_path: raster of probabilities or, if uint8, of percents.
        slope: function (top, bottom) -> degrees of those rows, NaN where unknown; or None.

    Returns:
        {column: array of one value for each polygon}.
    """
    count = len(polygons)
    pixels, total, highest = np.zeros(count + 1), np.zeros(count + 1), np.zeros(count + 1, np.float32)
    steep, known = np.zeros(count + 1), np.zeros(count + 1)
    bounds = shapely.bounds(np.array(polygons, object)).reshape(-1, 4)
    with rasterio.open(probability_path) as file:
        unit = np.float32(0.01 if file.dtypes[0] == "uint8" else 1)
        for top, bottom in strips(file.height):
            # read where no polygon lies, too: a map that cannot be read back was not written whole
            probability = file.read(1, window=Window(0, top, file.width, bottom - top))
            here = np.flatnonzero((bounds[:, 1] < bottom) & (bounds[:, 3] > top))
            if not len(here):
                continue
            owner = rasterize(
                [(polygons[i], i + 1) for i in here],
                out_shape=probability.shape,
                transform=Affine.translation(0, top),
                dtype="int32",
            )
            inside = owner > 0
            owner, values = owner[inside], probability[inside].astype(np.float32) * unit
            pixels += np.bincount(owner, minlength=count + 1)
            total += np.bincount(owner, values, count + 1)
            np.maximum.at(highest, owner, values)
            if slope:
                degrees = slope(top, bottom)[inside]
                there = np.isfinite(degrees)
                steep += np.bincount(owner[there], degrees[there], count + 1)
                known += np.bincount(owner[there], minlength=count + 1)
    columns = {
        "pixels": pixels[1:].astype(np.int32),
        "mean_probability": (total / np.maximum(pixels, 1))[1:].round(4),
        "max_probability": highest[1:].astype(float).round(4),
    }
    if slope:
        columns["mean_slope_deg"] = np.where(known > 0, steep / np.maximum(known, 1), np.nan)[1:].round(2)
    return columns


def landslides(mask_path, probability_path, min_area=0.0, slope=None):
    """Make a table of the polygons of a mask, without those below `min_area` m2 (pixels, without a CRS).

    Returns:
        geopandas.GeoDataFrame in the mask's CRS, largest first: area_m2, pixels, mean_probability,
        max_probability, lon, lat (of the centroid, WGS 84) and, with `slope`, mean_slope_deg. Without a CRS there
        is no area but the pixels, and centroid_column, centroid_row stand in for lon, lat.
    """
    polygons = np.array(outlines(mask_path), object)
    with rasterio.open(mask_path) as mask:
        transform, crs = mask.transform, mask.crs

    def placed(xy):
        return np.column_stack(transform @ (xy[:, 0], xy[:, 1]))

    on_map = shapely.transform(polygons, placed) if crs else polygons
    areas = ground_areas(on_map, crs) if crs else shapely.area(polygons).astype(float)
    order = [i for i in np.argsort(-areas, kind="stable") if areas[i] >= min_area]
    polygons, on_map, areas = polygons[order], on_map[order], areas[order]
    columns = {"area_m2": areas.round(1)} if crs else {}
    columns |= measure(polygons, probability_path, slope)
    centroids = geopandas.GeoSeries(shapely.centroid(on_map), crs=crs)
    if crs:
        centroids = centroids.to_crs(4326)
    x, y = ("lon", "lat") if crs else ("centroid_column", "centroid_row")
    columns |= {x: centroids.x.round(7), y: centroids.y.round(7)}
    return geopandas.GeoDataFrame(columns, geometry=on_map, crs=crs)


def write(table, path, metadata, date):
    """Write a GeoPackage with the layer "landslides", `metadata` in file and layer.

    The format holds the date of the last change; a given `date` (datetime) makes the bytes of a map reproducible.
    """
    options = {
        "OGR_CURRENT_DATE": date.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "OGR_GPKG_ALLOW_THREADED_RTREE": "NO",  # otherwise the layout of the spatial index depends on timing
    }
    pyogrio.set_gdal_config_options(options)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "'crs' was not provided")  # known, and said
            pyogrio.write_dataframe(
                table,
                path,
                layer=LAYER,
                driver="GPKG",
                geometry_type="Polygon",
                layer_metadata=metadata,
                dataset_metadata=metadata,
            )
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(options))
