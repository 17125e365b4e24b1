"""The GeoPackage of a map: landslides, the ground that was seen, how the map was made, and styles for QGIS."""

import contextlib
import warnings

import geopandas
import pyogrio
import pyogrio.errors
import shapely

from scenes import styles

# what pyogrio raises if it cannot write
ERRORS = (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError)


@contextlib.contextmanager
def reproducible(date):
    """Make the bytes of GeoPackages that are written in the block depend on their content alone.

    The format holds the date of the last change: it becomes `date`, a datetime. The spatial index is written without
    threads, because its layout would depend on their timing.
    """
    options = {
        "OGR_CURRENT_DATE": date.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "OGR_GPKG_ALLOW_THREADED_RTREE": "NO",
    }
    pyogrio.set_gdal_config_options(options)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(dict.fromkeys(options))


def write(path, table, seen, metadata, date):
    """Write a GeoPackage with the layers landslides, seen and scene, and their styles.

    The same map and `date` give the same bytes.

    Args:
        table: of polygons.landslides. It gets the empty columns verdict and note, for a reviewer.
        seen: shapely MultiPolygon of the ground that was judged.
        metadata: {name: text}: the row of the layer scene, and metadata of the file and of each layer. date: datetime.
    """
    landslides = table.assign(verdict=None, note=None).astype({"verdict": "object", "note": "object"})
    frame = shapely.box(*seen.bounds) if not seen.is_empty else shapely.Polygon()
    layers = {
        "landslides": (landslides, "Polygon"),
        "seen": (geopandas.GeoDataFrame({"what": ["judged"]}, geometry=[seen], crs=table.crs), "MultiPolygon"),
        "scene": (
            geopandas.GeoDataFrame({k: [v] for k, v in metadata.items()}, geometry=[frame], crs=table.crs),
            "Polygon",
        ),
    }
    with reproducible(date), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided")  # predict.py prints a note of its own
        for layer, (rows, kind) in layers.items():  # version 1.2: QGIS 3.22 warns of later ones
            options = {"driver": "GPKG", "geometry_type": kind, "layer_metadata": metadata, "VERSION": "1.2"}
            pyogrio.write_dataframe(rows, path, layer=layer, dataset_metadata=metadata, **options)
        qml = {"landslides": styles.polygon_style(), "seen": styles.seen_style(), "scene": styles.seen_style()}
        styles.write_layer_styles(path, qml, date)
