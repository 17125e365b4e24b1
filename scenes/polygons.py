"""Polygons of a mask, measured on the ground, as a GeoPackage. The mask is read by strips, never as a whole."""

import warnings

import geopandas
import numpy as np
import pyogrio
import pyogrio.errors
import rasterio
import shapely
from rasterio.windows import Window

from ground import interpolate
from scenes.components import Components
from scenes.pixel_grid import PixelGrid
from script import progress

# what pyogrio raises where it cannot write
ERRORS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)
LAYER = "landslides"
STRIP = 512  # rows looked at together


def landslides(mask_path, probability_path, min_area=0.0, slope=None):
    """Make a table of the polygons of a mask, without those below `min_area` m2 (pixels, without a CRS).

    Areas are sums of pixels, each measured on the ellipsoid of the CRS. Areas that are too small are dropped before
    they become polygons.

    Args:
        mask_path: raster with 1 where there is landslide.
        probability_path: raster of probabilities or, if uint8, of percents.
        min_area: see above.
        slope: function (top, bottom) -> degrees of those rows, NaN where unknown; or None.

    Returns:
        geopandas.GeoDataFrame in the mask's CRS, largest first: area_m2, pixels, mean_probability,
        max_probability, lon, lat (of the centroid, WGS 84) and, with `slope`, mean_slope_deg. Without a CRS there
        is no area but the pixels, and centroid_column, centroid_row stand in for lon, lat.
    """
    with rasterio.open(mask_path) as mask:
        grid = PixelGrid.of(mask)
    components = find(mask_path, probability_path, grid, slope)
    sums, highest = components.joined()
    areas = sums["area"] if grid.crs else sums["pixels"]
    corners, rings, parts, found = components.rings(areas >= min_area)
    del components
    corners = np.column_stack(grid.transform @ tuple(corners.T)) if grid.crs else corners.astype(float)
    polygons = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corners, (rings, parts))
    del corners
    order = np.argsort(-areas[found], kind="stable")
    polygons, found = polygons[order], found[order]
    columns = {"area_m2": areas[found].round(1)} if grid.crs else {}
    columns["pixels"] = sums["pixels"][found].astype(np.int32)
    columns["mean_probability"] = (sums["probability"] / np.maximum(sums["pixels"], 1))[found].round(4)
    columns["max_probability"] = highest["probability"][found].round(4)
    if slope:
        known = sums["slope_known"][found]
        columns["mean_slope_deg"] = np.where(known, sums["slope"][found] / np.maximum(known, 1), np.nan).round(2)
    centroids = geopandas.GeoSeries(shapely.centroid(polygons), crs=grid.crs)
    if grid.crs:
        centroids = centroids.to_crs(4326)
    x, y = ("lon", "lat") if grid.crs else ("centroid_column", "centroid_row")
    columns |= {x: centroids.x.round(7), y: centroids.y.round(7)}
    return geopandas.GeoDataFrame(columns, geometry=polygons, crs=grid.crs)


def find(mask_path, probability_path, grid, slope=None):
    """Find the connected areas of a mask and sum up their pixels; see `landslides` for the arguments."""
    components = Components(grid.shape)
    with rasterio.open(mask_path) as mask, rasterio.open(probability_path) as file:
        unit = np.float32(0.01 if file.dtypes[0] == "uint8" else 1)
        for top in progress(range(0, grid.height, STRIP), "outlining", -(-grid.height // STRIP)):
            bottom = min(top + STRIP, grid.height)
            window = Window(0, top, grid.width, bottom - top)
            # read where nothing is found, too: a map that cannot be read back was not written whole
            inside, probability = mask.read(1, window=window) == 1, file.read(1, window=window) * unit
            sums = {"pixels": np.ones(inside.shape, np.uint8), "probability": probability}
            if grid.crs:
                across, down = (
                    interpolate(plane, grid.shape, np.arange(top, bottom), np.arange(grid.width))
                    for plane in grid.pixel_size
                )
                sums["area"] = across * down
            if slope:
                degrees = slope(top, bottom)
                known = np.isfinite(degrees)
                sums |= {"slope": np.where(known, degrees, 0), "slope_known": known}
            components.add(inside, sums, {"probability": probability})
    return components


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
