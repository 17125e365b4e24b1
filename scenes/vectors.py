"""Vector files: their layers, and their shapes, which are read, repaired, measured and laid over a grid."""

import contextlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import geopandas
import numpy as np
import pandas
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FieldError
from shapely.errors import GEOSException

from product_names import looks_like_product
from scenes.antimeridian import brought_near, near_grid, utm_of
from scenes.box_file import in_finished_boxes, is_box_labels, judged_ground
from scenes.geodesy import has_ellipsoid, to_geodetic
from scenes.opening import RASTERS, check_readable, names_in_zip
from scenes.shape_repair import note_repairs, repaired
from scenes.vector_faults import check_classes, check_degrees, check_whole, class_columns, elsewhere_text
from scenes.vector_rows import rows_where
from script import UserError

VECTORS = tuple(
    ".gpkg .shp .geojson .json .geojsonl .geojsons .topojson .kml .kmz .fgb .gml .gdb .sqlite .tab .mif .gpx .dxf .osm "
    ".pbf .parquet .geoparquet .zip".split()
)
LANDSLIDES, SEEN = "landslides", "seen"  # layers of a map of predict.py: predicted landslides, ground that was judged


class Choice(NamedTuple):
    """Which shapes of a vector file are read.

    Attributes:
        layers: names of its layers; none: see `layers_to_read`.
        where: condition on its columns in SQL, such as "year = 2006"; None: all rows.
        prefix: of the flags --layer and --where that set these, such as "area-", for messages.
    """

    layers: tuple = ()
    where: str | None = None
    prefix: str = ""

    @property
    def layer_flag(self):
        return f"--{self.prefix}layer"

    @property
    def where_flag(self):
        return f"--{self.prefix}where"


EVERYTHING = Choice()


def is_vector(path):
    """Return whether a path is that of a vector file, by its ending; a zip is one unless it holds a single raster."""
    return str(path).lower().endswith(VECTORS) and content_of_zip(path)[0] != "a raster"


def content_of_zip(path):
    """Return what a zip holds ("vectors", "a product", "a raster", "other") and its names; ("", []) of another file."""
    if not (str(path).lower().endswith(".zip") and zipfile.is_zipfile(path)):
        return "", []
    names = names_in_zip(path)
    if any(map(looks_like_product, names)):
        return "a product", names
    if any(part.lower().endswith(VECTORS) for name in names for part in name.split("/")):  # a .gdb is a folder
        return "vectors", names
    return "a raster" if sum(name.lower().endswith(RASTERS) for name in names) == 1 else "other", names


def gdal_path(path):
    """Return the name by which GDAL opens a vector file; GDAL does not look into the folders of a zip by itself."""
    names = [name for name in content_of_zip(path)[1] if name.lower().endswith(VECTORS)]
    folders = {name.rpartition("/")[0] for name in names}
    if len(folders) != 1 or folders == {""}:
        return path
    return f"/vsizip/{Path(path).resolve()}/{names[0] if len(names) == 1 else folders.pop()}"


@contextlib.contextmanager
def faults_reported(path):
    """Turn the errors of GDAL and GEOS within the block into a UserError that names the file."""
    try:
        yield
    except (DataSourceError, DataLayerError, FieldError, GEOSException) as error:
        raise UserError(f"{path} cannot be read as a vector file ({error})") from None


def layers(path):
    """List the names of the layers with shapes in a vector file.

    Raises:
        UserError: it is no vector file.
    """
    check_readable(path)
    check_whole(path)
    content, names = content_of_zip(path)
    hint = "give polygons, such as a GeoPackage or a zipped Shapefile"
    if content == "a product":  # GDAL would read the outlines of its clouds
        raise UserError(f"{path} is a zip of a satellite product, not a vector file; {hint}")
    with faults_reported(path):
        try:
            return [name for name, kind in pyogrio.list_layers(gdal_path(path)) if kind]
        except DataSourceError:
            if content in ("", "vectors"):
                raise
            content_text = f"{', '.join(names[:3]) or 'nothing'}{', ...' * (len(names) > 3)}"
            raise UserError(f"{path} is a zip without a vector file: it holds {content_text}; {hint}") from None


def layers_to_read(path, choice=EVERYTHING, default_layer=LANDSLIDES):
    """Return the names of the layers of a file that are read; [None] of a table without a name.

    Args:
        path: of the file. choice: Choice of layers.
        default_layer: of a map of predict.py, LANDSLIDES or SEEN. It is read if the file has it and none is chosen.

    Raises:
        UserError: the file lacks a chosen layer, or has several and none is chosen.
    """
    names = layers(path)
    if lacking := [layer for layer in choice.layers if layer not in names]:
        raise UserError(f"{path} has no layer {lacking[0]} (it has: {', '.join(names)}): see {choice.layer_flag}")
    if choice.layers:
        return list(choice.layers)
    if default_layer in names:
        return [default_layer]
    if len(names) > 1:
        raise UserError(f"{path} holds several layers, {', '.join(names)}: choose with {choice.layer_flag}")
    return names or [None]


def read_layers(path, over="the Earth", choice=EVERYTHING, default_layer=LANDSLIDES, columns=(), landslides=False):
    """Read the layers of a vector file that `layers_to_read` chooses, as one table; see `read_shapes`.

    The table has the coordinate system of the first layer. Of labels of box_file.py, only finished boxes count: as
    landslides the polygons within them, and as an area (`default_layer` SEEN) the boxes.

    Raises:
        UserError: see both.
    """
    of_boxes = is_box_labels(path)
    if of_boxes and default_layer == SEEN:
        return judged_ground(path)
    columns = (*columns, "box", "verdict") if of_boxes else columns
    names = layers_to_read(path, choice, default_layer)
    tables = [read_shapes(path, over, name, columns, choice, landslides) for name in names]
    table = joined(tables) if len(tables) > 1 else tables[0]
    if of_boxes and landslides:
        table = in_finished_boxes(path, table)
    table.attrs = {name: sum(each.attrs[name] for each in tables) for name in tables[0].attrs}
    return table


def joined(tables):
    """Return tables of shapes as one, in the coordinate system of the first."""
    return pandas.concat([table.to_crs(tables[0].crs) for table in tables], ignore_index=True)


def read_shapes(path, over="the Earth", layer=None, columns=(), choice=EVERYTHING, landslides=False):
    """Read a layer of a vector file; its shapes are made flat and valid, and empty ones are left out.

    Args:
        path: of the file. over: what it is to be laid over, for messages.
        layer: name; None for the first. columns: names of columns to read, in lower case; the file may have them in any
            case, or not at all.
        choice: Choice of rows.
        landslides: whether all shapes have to be landslides; see `check_classes`.

    Returns:
        geopandas.GeoDataFrame; its `attrs` hold the number of shapes that were `empty` and the number `repaired`.

    Raises:
        UserError: it cannot be read or is cut short, holds no shapes, or has no coordinate system; or the condition
            cannot be applied, or is needed.
    """
    with faults_reported(path):
        file = gdal_path(path)
        wanted = (*columns, *class_columns(landslides))
        fields = pyogrio.read_info(file, layer=layer)["fields"]
        first = {field.lower(): field for field in fields[::-1] if field.lower() in wanted}  # two may differ in case
        names = {field: name for name, field in first.items()}
        table = pyogrio.read_dataframe(file, layer=layer, columns=list(names), force_2d=True).rename(columns=names)
        if not isinstance(table, geopandas.GeoDataFrame):
            raise UserError(f"{path}: its {f'layer {layer}' if layer else 'first layer'} holds no shapes")
        if table.crs is None or not has_ellipsoid(table.crs):
            raise UserError(f"{path}: without a coordinate system of the Earth it cannot be laid over {over}")
        check_degrees(path, table)
        if choice.where:  # applied apart, because a condition on columns that are not read holds for no row
            chosen = rows_where(path, file, layer, choice)
            if len(table) and not len(chosen):
                raise UserError(f"{path}: none of its {len(table)} rows meets {choice.where_flag} {choice.where!r}")
            table = table.iloc[chosen]
        elif "verdict" not in table:  # a map of predict.py has its own classes
            check_classes(path, table, choice, landslides)
        shapes = table.geometry.to_numpy()
        broken = int((~shapely.is_valid(shapes) & ~shapely.is_missing(shapes)).sum())
        kept = table.set_geometry(repaired(shapes), crs=table.crs)
        kept = kept[~(kept.geometry.is_empty | kept.geometry.isna())]
        kept.attrs = {"empty": len(table) - len(kept), "repaired": broken}
        return kept


def ground_areas(table):
    """Measure the polygons of a GeoDataFrame on the ellipsoid of its coordinate system.

    Returns N areas in m2; 0 for points and lines.
    """
    transformer, geod = to_geodetic(table.crs)
    parts, rows = table.geometry.to_numpy(), np.arange(len(table))
    for _ in range(2):  # a repaired shape may be a collection of polygons and collections
        parts, inner = shapely.get_parts(parts, return_index=True)
        rows = rows[inner]
    polygons = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    parts, rows = shapely.orient_polygons(parts[polygons]), rows[polygons]
    parts = shapely.transform(parts, lambda points: np.column_stack(transformer.transform(*points.T)))
    areas = [abs(geod.geometry_area_perimeter(part)[0]) for part in parts]
    return np.bincount(rows, areas, len(table))


# ---------------------------------------------------------------------- over a grid


def on_grid(table, grid, margin=0.0):
    """Return the rows of a table whose shapes lie near a grid, with valid shapes in the grid's coordinate system.

    Shapes far away are left out first, because the projection of the grid may not be defined there.

    Args:
        table: geopandas.GeoDataFrame. grid: PixelGrid with a CRS. margin: metres by which the shapes are widened.
    """
    table = near_grid(table, grid, margin + 1000)
    shapes = table.geometry.to_crs(utm_of(grid)).buffer(margin) if margin and len(table) else table.geometry
    shapes = shapes.to_crs(grid.crs).to_numpy()
    if grid.crs.is_geographic:
        shapes = brought_near(shapes, (grid.transform @ (grid.width / 2, 0))[0])
    return table.set_geometry(repaired(shapes), crs=grid.crs)


def shapes_over(
    path,
    grid,
    margin=0.0,
    columns=(),
    areas=False,
    may_miss=False,
    default_layer=LANDSLIDES,
    choice=EVERYTHING,
    landslides=False,
):
    """Read the shapes of a vector file that lie near a scene, in the coordinate system of its grid.

    Args:
        path: of the file. default_layer, choice: see `layers_to_read`.
        grid: PixelGrid of the scene. margin: metres by which the shapes are widened.
        columns, landslides: see `read_shapes`.
        areas: whether lines and points are a mistake. may_miss: whether all shapes may lie elsewhere.

    Returns:
        geopandas.GeoDataFrame; without rows if no shape lies over the scene. Its `attrs` hold the number of shapes in
        the `file`.

    Raises:
        UserError: see `read_shapes`; or none of the shapes lies over the scene, unless it `may_miss`.
    """
    check_readable(path)
    if grid.crs is None:
        raise UserError(f"{path}: the scene has no coordinate system to lay it over")
    table = read_layers(path, "the scene", choice, default_layer, columns, landslides)
    note_repairs(path, table)
    if areas and not (shapely.get_dimensions(table.geometry.to_numpy()) == 2).all():
        raise UserError(f"{path} holds lines or points: areas are needed, so draw polygons")
    with faults_reported(path):
        near = on_grid(table, grid, margin)
    count = len(table) + table.attrs["empty"]
    if not near.intersects(grid.box()).any():
        if count and not may_miss:
            where = elsewhere_text(table.geometry, grid)
            raise UserError(f"{path}: none of its {count} shapes lies over the scene{where}")
        if not may_miss:
            raise UserError(f"{path} holds no shapes: it is empty")
        near = near.iloc[:0]
    near.attrs = {"file": count}
    return near
