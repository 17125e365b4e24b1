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
EXCLUDED, HIDDEN, NO_DATA = 253, 254, 255  # in a mask: taken out by the user, not seen, no data; 1 is landslide


def landslides(mask_path, probability_path, min_area=0.0, terrain=None, min_slope=0.0):
    """Make a table of the polygons of a mask, without those below `min_area` m2 (pixels, without a CRS).

    Flat ground does not slide: polygons whose steepest tenth of pixels lies below `min_slope` are left out, too.

    Areas are sums of pixels, each measured on the ellipsoid of the CRS. Areas that are too small are dropped before
    they become polygons.

    Args:
        mask_path: raster with 1 where there is landslide, and EXCLUDED, HIDDEN and NO_DATA.
        probability_path: raster of probabilities or, if uint8, of percents.
        min_area: see above.
        terrain: function (top, bottom) -> terrain of those rows, see Scene.read_terrain; or None.
        min_slope: degrees. A polygon whose slope is unknown stays.

    Returns:
        geopandas.GeoDataFrame in the mask's CRS, largest first: area_m2, pixels, mean_probability,
        max_probability, cut_by_cloud and cut_by_edge (1 if the polygon touches hidden ground, or ground without data
        or the scene's edge), lon, lat (of the centroid, WGS 84) and, with `terrain`, mean_slope_deg, max_slope_deg,
        relief_m (highest less lowest elevation) and aspect_deg (downhill, clockwise from north). Without a CRS there
        is no area but the pixels, and centroid_column, centroid_row stand in for lon, lat.
    """
    with rasterio.open(mask_path) as mask:
        grid = PixelGrid.of(mask)
    components = find(mask_path, probability_path, grid, terrain, min_slope)
    sums, highest = components.joined()
    areas = sums["area"] if grid.crs else sums["pixels"]
    kept = areas >= min_area
    if terrain:
        kept &= (sums["steep"] >= 0.1 * sums["slope_known"]) | (sums["slope_known"] == 0)
    corners, rings, parts, found = components.rings(kept)
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
    for name in ("cut_by_cloud", "cut_by_edge"):
        columns[name] = (sums[name][found] > 0).astype(np.int8)
    if terrain:
        columns |= describe_terrain(sums, highest, found)
    centroids = geopandas.GeoSeries(shapely.centroid(polygons), crs=grid.crs)
    if grid.crs:
        centroids = centroids.to_crs(4326)
    x, y = ("lon", "lat") if grid.crs else ("centroid_column", "centroid_row")
    columns |= {x: centroids.x.round(7), y: centroids.y.round(7)}
    return geopandas.GeoDataFrame(columns, geometry=polygons, crs=grid.crs)


def describe_terrain(sums, highest, found):
    """Return the columns of terrain of the areas `found`; NaN where elevation is unknown."""
    known = sums["slope_known"][found]
    unknown = np.where(known, 0, np.nan)
    aspect = np.degrees(np.arctan2(-sums["east"][found], -sums["north"][found])) % 360
    return {
        "mean_slope_deg": (sums["slope"][found] / np.maximum(known, 1) + unknown).round(2),
        "max_slope_deg": (highest["slope"][found] + unknown).round(2),
        "relief_m": (highest["dem"][found] + highest["depth"][found] + unknown).round(1),
        "aspect_deg": (aspect + unknown).round(1),
    }


def find(mask_path, probability_path, grid, terrain=None, min_slope=0.0):
    """Find the connected areas of a mask and sum up their pixels; see `landslides` for the arguments."""
    components = Components(grid.shape)
    with rasterio.open(mask_path) as mask, rasterio.open(probability_path) as file:
        unit = np.float32(0.01 if file.dtypes[0] == "uint8" else 1)
        for top in progress(range(0, grid.height, STRIP), "outlining", -(-grid.height // STRIP)):
            bottom = min(top + STRIP, grid.height)
            window = Window(0, top, grid.width, bottom - top)
            # read where nothing is found, too: a map that cannot be read back was not written whole
            around, probability = read_around(mask, top, bottom), file.read(1, window=window) * unit
            inside = around[1:-1, 1:-1] == 1
            sums = {"pixels": np.ones(inside.shape, np.uint8), "probability": probability}
            sums |= {"cut_by_cloud": beside(around == HIDDEN), "cut_by_edge": beside(around == NO_DATA)}
            if grid.crs:
                across, down = (
                    interpolate(plane, grid.shape, np.arange(top, bottom), np.arange(grid.width))
                    for plane in grid.pixel_size
                )
                sums["area"] = across * down
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
            elif terrain:  # nothing to describe, but each strip has the same columns
                nothing = np.zeros(inside.shape, np.uint8)
                sums |= dict.fromkeys(("slope", "east", "north", "slope_known", "steep"), nothing)
                highest |= dict.fromkeys(("slope", "dem", "depth"), nothing)
            components.add(inside, sums, highest)
    return components


def read_around(mask, top, bottom):
    """Read rows of a mask and a pixel around them; beyond the mask there is no data."""
    first, last = max(top - 1, 0), min(bottom + 1, mask.height)
    rows = mask.read(1, window=Window(0, first, mask.width, last - first))
    beyond = (first - (top - 1), bottom + 1 - last), (1, 1)
    return np.pad(rows, beyond, constant_values=NO_DATA)


def beside(chosen):
    """Return which pixels have one of `chosen` among their eight neighbours, without the outermost pixels."""
    if not chosen.any():
        return np.zeros((chosen.shape[0] - 2, chosen.shape[1] - 2), bool)
    rows = chosen[:-2] | chosen[1:-1] | chosen[2:]
    return rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]


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
