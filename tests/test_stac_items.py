"""STAC items of maps and their catalogue: by the schemas of the specification, and against the files they describe."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from pystac.validation import RegisteredValidator
from rasterio.crs import CRS
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds

from scenes import stac_items
from scenes.pixel_grid import PixelGrid
from script import UserError
from tests.maps import make_bands, read
from tests.product_files import make_safe
from tests.rasters import UTM, write_raster

NUMBERS = {"type": "array", "items": {"type": "number"}}
# What the three extensions say of the fields that are used: their own schemas lie on the network.
PROPERTIES = {
    "proj:code": {"type": ["string", "null"], "pattern": "^EPSG:[0-9]+$"},
    "proj:wkt2": {"type": ["string", "null"]},
    "proj:bbox": NUMBERS | {"minItems": 4, "maxItems": 4},
    "proj:shape": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
    "proj:transform": NUMBERS | {"minItems": 6, "maxItems": 6},
}
BAND = {
    "data_type": {"enum": ["uint8", "float32"]},
    "nodata": {"anyOf": [{"type": "number"}, {"const": "nan"}]},
    "unit": {"type": "string"},
    "sampling": {"enum": ["area", "point"]},
    "spatial_resolution": {"type": "number"},
}
FIELDS = {
    "file:size": {"type": "integer", "minimum": 0},
    "file:checksum": {"type": "string", "pattern": "^1220[a-f0-9]{64}$"},
    "file:values": {"type": "array", "items": {"required": ["values", "summary"]}, "minItems": 1},
    "raster:bands": {"type": "array", "minItems": 1, "items": {"properties": BAND, "additionalProperties": False}},
}


def no_others(prefix, properties):
    """Return a schema in which names that begin with a prefix are those of `properties`."""
    return {"properties": properties, "patternProperties": {f"^(?!({prefix}):)": {}}, "additionalProperties": False}


def validated(path):
    """Read an item or a catalogue by pystac, and hold it against the schemas of STAC, which come with pystac."""
    record = json.loads(Path(path).read_text())
    kind = pystac.STACObjectType.ITEM if record["type"] == "Feature" else pystac.STACObjectType.CATALOG
    RegisteredValidator.get_validator().validate_core(record, kind, record["stac_version"])
    if kind == pystac.STACObjectType.ITEM:
        names = [uri.removeprefix("https://stac-extensions.github.io/") for uri in record["stac_extensions"]]
        assert sorted(name.partition("/")[0] for name in names) == ["file", "projection", "raster"]
        jsonschema.validate(record["properties"], no_others("proj", PROPERTIES))
        for asset in record["assets"].values():
            jsonschema.validate(asset, no_others("file|raster", FIELDS))
    return pystac.read_file(str(path))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_item_describes_the_files_of_the_map(call, workdir, dtype):
    write_raster(workdir / "scene.tif", make_bands())
    call("scene.tif", PROBABILITY_TYPE=dtype, FILTERED_MASK=True, MIN_AREA=700.0)
    item = validated("maps/scene_stac.json")
    assert item.id == "scene" and item.ext.proj.code == UTM and item.properties["created"] == "2020-09-13T12:26:40Z"
    with rasterio.open("maps/scene_mask.tif") as file:
        assert Affine(*item.ext.proj.transform) == file.transform and tuple(item.ext.proj.shape) == file.shape
        assert item.ext.proj.bbox == list(file.bounds)
        np.testing.assert_allclose(item.bbox, transform_bounds(file.crs, 4326, *file.bounds), atol=1e-6)
        assert item.properties["landslide:settings"] == file.tags()["settings"]
    assert shapely.geometry.shape(item.geometry).exterior.is_ccw
    assert item.properties["landslide:polygons"].startswith("of 700 m2 or more") and item.properties["gsd"] == 10.0
    assert item.datetime is None and item.properties["start_datetime"] == "1970-01-01T00:00:00Z"
    changed = datetime.fromtimestamp(int((workdir / "scene.tif").stat().st_mtime), UTC)
    assert abs(item.common_metadata.end_datetime - changed).total_seconds() < 1
    assert set(item.assets) == {"probability", "mask", "filtered_mask", "landslides", "quicklook", "report"}
    assert "file:checksum" not in item.assets.pop("report").extra_fields  # compare_maps.py writes into it
    for asset in item.assets.values():
        content = Path(asset.get_absolute_href()).read_bytes()
        assert asset.ext.file.size == len(content)
        assert asset.ext.file.checksum == "1220" + hashlib.sha256(content).hexdigest()
    (band,) = item.assets["probability"].ext.raster.bands
    assert (band.data_type, band.nodata) == ((dtype, 255) if dtype == "uint8" else (dtype, "nan"))
    for kind in ("mask", "filtered_mask"):
        values = {value for entry in item.assets[kind].ext.file.values for value in entry.values}
        assert set(np.unique(read(f"maps/scene_{kind}.tif"))) <= values


def test_a_product_gives_the_item_its_time(call, tmp_path):
    call(make_safe(tmp_path), SCALING="none")
    item = validated(next((tmp_path / "maps").glob("*_stac.json")))
    assert item.datetime == datetime.fromisoformat(item.properties["landslide:acquired"])
    assert "start_datetime" not in item.properties


def test_a_scene_without_a_coordinate_system_has_an_item_without_geometry(call, workdir):
    write_raster(workdir / "drone.tif", make_bands(), crs=None)
    call("drone.tif")
    item = validated("maps/drone_stac.json")
    assert item.geometry is None and item.bbox is None and item.ext.proj.code is None and "gsd" not in item.properties


@pytest.mark.parametrize(("zone", "left"), [(1, 200_000), (60, 770_000)])
def test_a_footprint_across_180_degrees_has_two_parts(zone, left):
    grid = PixelGrid((1000, 12000), from_origin(left - 60_000, 4e6, 10, 10), CRS.from_epsg(32600 + zone))
    shape, (west, south, east, north) = stac_items.footprint(grid)
    polygon = shapely.geometry.shape(shape)
    expected = transform_bounds(grid.crs, 4326, *grid.box().bounds)
    np.testing.assert_allclose((west, south, east, north), expected, atol=1e-3)
    assert west > 170 and east < -170 and polygon.geom_type == "MultiPolygon" and polygon.is_valid
    assert polygon.bounds[0] == -180 and polygon.bounds[2] == 180 and polygon.area < 2


def test_a_footprint_follows_a_turned_grid():
    grid = PixelGrid(
        (300, 200), Affine.translation(3e5, 15e5) @ Affine.rotation(30) @ Affine.scale(10, -10), CRS.from_string(UTM)
    )
    shape, bbox = stac_items.footprint(grid)
    polygon = shapely.geometry.shape(shape)
    assert bbox == list(polygon.bounds) and polygon.area < 0.8 * polygon.envelope.area


def test_many_scenes_get_a_catalogue_of_all_maps(call, workdir, capsys):
    names = ("a", "b")
    for seed, name in enumerate(names):
        write_raster(workdir / f"{name}.tif", make_bands(seed=seed))
    call("a.tif")
    with pytest.raises(UserError, match="1 of 3 scenes were not mapped: c.tif"):
        call(INPUT=(), MANY=("a.tif", "b.tif", "c.tif"), OVERWRITE=False)
    assert "catalogue of all maps: maps/catalog.json" in capsys.readouterr().out
    catalogue = validated("maps/catalog.json")
    items = list(catalogue.get_items())
    assert [item.id for item in items] == list(names)
    assert all(Path(item.assets["mask"].get_absolute_href()).exists() for item in items)
    (workdir / "maps/catalog.json").write_text('{"id": "mine"}')
    with pytest.raises(UserError, match="maps/catalog.json is no catalogue of maps"):
        call(INPUT=(), MANY=("a.tif", "b.tif"))
