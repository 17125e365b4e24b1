"""STAC items of maps, and a catalogue of all maps in a folder, for catalogues of imagery (stacspec.org)."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import geopandas
import numpy as np
import pystac
import rasterio
import shapely
from pystac.extensions.file import FileExtension, MappingObject
from pystac.extensions.projection import ProjectionExtension
from pystac.extensions.raster import RasterBand, RasterExtension, Sampling
from pystac.utils import datetime_to_str

import records
from map_files import FILES
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER, UNLABELLED
from scenes.titles import instant
from script import UserError

PREFIX = "landslide:"  # of the properties that STAC does not define
CATALOGUE, CATALOGUE_ID = "catalog.json", "landslide-maps"
COG, GEOPACKAGE = pystac.MediaType.COG, pystac.MediaType.GEOPACKAGE
ASSETS = {  # kind of the file: title, media type, role
    "probability": ("probability of landslide", COG, "data"),
    "mask": ("landslide or not", COG, "data"),
    "filtered_mask": ("landslide or not, as the polygons show it", COG, "data"),
    "landslides": ("polygons of landslides, and the ground that was seen", GEOPACKAGE, "data"),
    "quicklook": ("picture of the scene and its landslides", pystac.MediaType.PNG, "overview"),
    "report": ("report to read in a browser", pystac.MediaType.HTML, "metadata"),
}
MASK_VALUES = {
    LANDSLIDE: "landslide",
    OTHER: "no landslide",
    EXCLUDED: "excluded",
    HIDDEN: "not seen",
    UNLABELLED: "no data",
}
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)  # of a scene whose time is unknown
OUTLINE_POINTS = 20  # on each side of a footprint: in another projection, sides are curves


def write_item(path, files, names, grid, about, summary, changed):
    """Write the STAC item of a map, the one file of it that holds the time of its making.

    SOURCE_DATE_EPOCH in the environment sets another time (reproducible-builds.org).

    Args:
        path: of the JSON. files: {kind of the file: path at which it is complete}. names: {kind: final name}.
        grid: PixelGrid of the map; without a coordinate system, the item has no geometry.
        about: {name: text} of how the map was made. summary: a sentence or two.
        changed: datetime at which the scene was last changed, None if it is no file: it was taken before that.
    """
    created = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())), UTC)
    geometry, bbox = footprint(grid)
    taken = instant(about.get("acquired", ""))
    taken = taken and taken.replace(tzinfo=UTC)
    span = {} if taken else {"start_datetime": EARLIEST, "end_datetime": changed or created}
    properties = {"title": f"Landslides of {about['scene']}", "description": summary}
    properties |= {"created": datetime_to_str(created)} | ({"gsd": float(f"{grid.metres:.3g}")} if grid.crs else {})
    properties |= {PREFIX + name: text for name, text in about.items()}
    item = pystac.Item(about["scene"], geometry, bbox, taken, properties, **span)
    code = grid.crs and grid.crs.to_epsg()
    ProjectionExtension.ext(item, add_if_missing=True).apply(
        code=f"EPSG:{code}" if code else None,
        wkt2=grid.crs.to_wkt(version="WKT2_2019") if grid.crs and not code else None,
        bbox=list(grid.box().bounds),
        shape=list(grid.shape),
        transform=list(grid.transform[:6]),
    )
    for kind in filter(files.__contains__, ASSETS):
        title, media_type, role = ASSETS[kind]
        asset = pystac.Asset(f"./{names[kind]}", title, media_type=media_type, roles=[role])
        item.add_asset(kind, asset)
        if kind == "report":
            continue  # compare_maps.py writes the area into it later
        described = FileExtension.ext(asset, add_if_missing=True)
        checksum = f"1220{records.file_digest(files[kind])}"  # a multihash: SHA-256, of 32 bytes
        described.apply(size=Path(files[kind]).stat().st_size, checksum=checksum)
        if kind.endswith("mask"):
            described.values = [MappingObject.create([value], text) for value, text in MASK_VALUES.items()]
        if media_type == COG:
            RasterExtension.ext(asset, add_if_missing=True).apply([raster_band(files[kind], grid)])
    Path(path).write_text(json.dumps(item.to_dict(include_self_link=False), indent=2) + "\n", encoding="utf-8")


def raster_band(path, grid):
    """Return the RasterBand of a raster with one band."""
    with rasterio.open(path) as file:
        nodata = "nan" if np.isnan(file.nodata) else file.nodata
        return RasterBand.create(
            nodata=nodata,
            sampling=Sampling.AREA,
            data_type=file.dtypes[0],
            unit=file.units[0] or None,
            spatial_resolution=float(f"{grid.metres:.3g}") if grid.crs else None,
        )


def footprint(grid):
    """Return the outline of a grid in WGS 84 as GeoJSON, and its box; (None, None) without a coordinate system.

    Of an outline across 180 degrees, the parts on both sides are two polygons, and the box begins in the west (RFC
    7946).
    """
    if grid.crs is None:
        return None, None
    corners = [grid.transform @ corner for corner in ((0, 0), (0, grid.height), grid.shape[::-1], (grid.width, 0))]
    outline = shapely.Polygon(corners)
    outline = shapely.segmentize(outline, outline.length / (4 * OUTLINE_POINTS))
    points = shapely.get_coordinates(geopandas.GeoSeries([outline], crs=grid.crs).to_crs(4326)[0])
    if np.ptp(points[:, 0]) > 180:  # across 180 degrees, where longitudes jump
        points[:, 0] %= 360
    outline = shapely.simplify(shapely.Polygon(points), 1e-6)  # degrees: a side that is straight needs no points
    outline = shapely.transform(outline, lambda points: points.round(7))
    west, south, east, north = outline.bounds
    parts = [outline]
    if east > 180:
        inside, beyond = (shapely.intersection(outline, shapely.box(low, -90, low + 360, 90)) for low in (-180, 180))
        parts = [inside, shapely.transform(beyond, lambda points: points - (360, 0))]
        parts, east = [part for part in parts if not part.is_empty], east - 360
        west = west if west < 180 else west - 360
    parts = shapely.orient_polygons(parts)
    shape = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return json.loads(shapely.to_geojson(shape)), [west, south, east, north]


# ---------------------------------------------------------------------- the catalogue of a folder


def check_catalogue(folder):
    """Raise UserError if a folder holds a catalogue that is not one of maps, which would be replaced."""
    path = Path(folder, CATALOGUE)
    if path.exists() and records.read_json(path, "predict.py --many").get("id") != CATALOGUE_ID:
        raise UserError(f"{path} is no catalogue of maps: write them elsewhere with --out-dir")


def write_catalogue(folder):
    """Write a STAC catalogue of all maps in a folder; returns its path, or None if there is no map."""
    items = sorted(Path(folder).glob(f"*{FILES['stac']}"))
    if not items:
        return None
    catalogue = pystac.Catalog(CATALOGUE_ID, "The landslide maps in this folder.", "Landslide maps")
    for path in items:
        name = path.name.removesuffix(FILES["stac"])
        catalogue.add_link(pystac.Link("item", f"./{path.name}", pystac.MediaType.GEOJSON, name))
    record = catalogue.to_dict(include_self_link=False)
    records.write_json(Path(folder, CATALOGUE), record)
    return Path(folder, CATALOGUE)
