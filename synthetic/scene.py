"""A synthetic event: a scene before landslides and one after them, elevation, their inventory, and parts of the scene.

The ground is invented. Its coordinates are those of a real place, because maps need some.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import geopandas
import numpy as np
import rasterio
import rasterio.warp
import shapely
from rasterio import features
from rasterio.crs import CRS
from rasterio.transform import array_bounds, from_origin

from records import write_bytes
from synthetic.landscape import make_ground, photograph
from synthetic.terrain import PIXEL

DATE = datetime(2020, 8, 8, tzinfo=UTC)  # of the event
LANDSLIDE_SHARE = 0.025  # fraction of the scene that landslides cover, about
GAP = 128  # pixels between the two parts of the scene: no patch has ground of both
UTM = CRS.from_epsg(32643)
TRANSFORM = from_origin(565000, 1371000, PIXEL, PIXEL)  # near Kodagu, India
WGS84, SECOND = CRS.from_epsg(4326), 1 / 3600  # of elevation, as SRTM has it


@dataclass(frozen=True)
class Event:
    """Two scenes of the same ground, on pixels of TRANSFORM in UTM.

    Attributes:
        before, after: digital numbers of Level-1C (reflectance x 10000), 12 x H x W uint16, without 0.
        elevation: in metres, H x W. mask: H x W uint8, 1 for landslides that are new in `after`.
    """

    before: np.ndarray
    after: np.ndarray
    elevation: np.ndarray
    mask: np.ndarray


def make_event(region, rng, size):
    """Make an Event of size x size pixels without clouds; sun, atmosphere and leaf vigour differ between its scenes."""
    ground = make_ground(region, rng, size, LANDSLIDE_SHARE)
    scenes = []
    for after in (False, True):
        light, _ = photograph(ground, region, rng, after, season=0.15, cloudy=0)
        scenes.append(np.moveaxis(np.clip(np.rint(light), 1, 65534).astype(np.uint16), -1, 0))
    return Event(*scenes, ground.elevation, ground.mask)


def elevation_model(elevation):
    """Resample elevation to one second of arc, about 30 m, in whole metres; return (H x W int16, its transform)."""
    margin = 8  # the grid of the result is a little larger than the scene
    grown = np.pad(elevation, margin, mode="reflect", reflect_type="odd")
    bounds = array_bounds(*elevation.shape, TRANSFORM)
    west, south, east, north = np.array(rasterio.warp.transform_bounds(UTM, WGS84, *bounds)) / SECOND
    west, south, east, north = np.floor(west), np.floor(south), np.ceil(east), np.ceil(north)
    transform = from_origin(west * SECOND, north * SECOND, SECOND, SECOND)
    model, _ = rasterio.warp.reproject(
        grown,
        np.empty((round(north - south), round(east - west))),
        src_transform=TRANSFORM @ TRANSFORM.translation(-margin, -margin),
        src_crs=UTM,
        dst_transform=transform,
        dst_crs=WGS84,
        resampling=rasterio.warp.Resampling.average,
    )
    return np.rint(model).astype(np.int16), transform


def inventory(mask):
    """Return a table of the outlines of the landslides of a mask, with id and area_m2; corners connect pixels."""
    outlines = [shape for shape, _ in features.shapes(mask, mask == 1, connectivity=8, transform=TRANSFORM)]
    # an outline that touches itself at a corner is not valid: it becomes several polygons
    slides = shapely.make_valid([shapely.geometry.shape(outline) for outline in outlines])
    columns = {"id": np.arange(1, len(slides) + 1, dtype=np.int32), "area_m2": shapely.area(slides)}
    return geopandas.GeoDataFrame(columns, geometry=slides, crs=UTM)


def parts(size):
    """Divide a scene for adapting a model and for judging its map: {name: table of one polygon}, GAP between them."""
    width, tables = (size - GAP) // 2, {}
    for name, left in (("label_area", 0), ("test_area", size - width)):
        box = shapely.box(*(TRANSFORM @ (left, size)), *(TRANSFORM @ (left + width, 0)))
        tables[name] = geopandas.GeoDataFrame({"part": [name]}, geometry=[box], crs=UTM)
    return tables


def write_raster(path, values, transform, crs, nodata, tags, names):
    """Write bands x H x W as a tiled GeoTIFF with names of its bands, whole or not at all."""
    count, height, width = values.shape
    profile = {"count": count, "height": height, "width": width, "dtype": values.dtype, "nodata": nodata}
    profile |= {"driver": "GTiff", "crs": crs, "transform": transform}
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2}
    with rasterio.MemoryFile() as content:  # on a full disk GDAL would fail with an error of its own
        with content.open(**profile, **layout) as file:
            file.write(values)
            file.descriptions = names
            file.update_tags(**tags)
        write_bytes(path, content.read())
