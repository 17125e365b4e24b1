"""The GeoPackage of a map, as QGIS and others read it: layers, columns, classes, and styles found by themselves."""

import sqlite3
from datetime import UTC, datetime
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import shapely

from mask_values import HIDDEN
from scenes import geopackage, polygons, styles
from tests.rasters import UTM, write_raster


@pytest.fixture
def path(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    probability = np.zeros((40, 60), np.float32)
    for i, (value, side) in enumerate(((0.9, 5), (0.6, 4), (0.4, 3))):
        mask[5 : 5 + side, 10 * i + 5 : 10 * i + 5 + side] = 1
        probability[mask == 1] = np.where(probability[mask == 1] == 0, value, probability[mask == 1])
    mask[30:] = HIDDEN
    rasters = write_raster(tmp_path / "m.tif", [mask]), write_raster(tmp_path / "p.tif", [probability])
    table = polygons.landslides(*rasters)
    about = {"run": "rgb", "scene": "x", "seen": "0.7500"}
    date = datetime(2024, 5, 1, tzinfo=UTC)
    geopackage.write(tmp_path / "map.gpkg", table, polygons.seen_ground(rasters[0]), about, date)
    return tmp_path / "map.gpkg"


def test_layers_and_columns(path):
    assert geopandas.list_layers(path)["name"].tolist() == ["landslides", "seen", "scene", "layer_styles"]
    table = geopandas.read_file(path, layer="landslides")
    assert table["id"].tolist() == [1, 2, 3]
    assert table["class"].tolist() == ["at least 0.75", "0.5 to 0.75", "below 0.5"]
    assert table["confidence"].tolist() == pytest.approx([0.9, 0.6, 0.4])
    assert table["perimeter_m"].tolist() == pytest.approx(
        [200, 160, 120], rel=2e-3
    )  # UTM distorts by up to 4 in 10 000
    assert table["length_m"].tolist() == pytest.approx([50, 40, 30], rel=2e-3)
    assert table["verdict"].isna().all() and table["note"].isna().all()
    seen = geopandas.read_file(path, layer="seen")
    assert seen.area.sum() == pytest.approx(30 * 60 * 100) and seen.crs == UTM
    about = geopandas.read_file(path, layer="scene")
    assert about["run"].tolist() == ["rgb"] and about["seen"].tolist() == ["0.7500"]


def test_styles_are_in_the_table_that_qgis_looks_in(path):
    with sqlite3.connect(path) as file:
        rows = file.execute(
            "select f_table_name, f_geometry_column, useAsDefault, styleQML from layer_styles"
        ).fetchall()
        columns = {row[1]: row[1] for row in file.execute("pragma table_info(layer_styles)")}
        geometry = dict(file.execute("select table_name, column_name from gpkg_geometry_columns"))
        kinds = dict(file.execute("select table_name, data_type from gpkg_contents"))
    assert {row[0]: row[1] for row in rows} == geometry and all(row[2] == 1 for row in rows)
    assert kinds["layer_styles"] == "attributes" and {"styleName", "styleSLD", "owner", "update_time"} <= set(columns)
    qml = {row[0]: ElementTree.fromstring(row[3]) for row in rows}
    renderer = qml["landslides"].find("renderer-v2")
    assert renderer.get("attr") == "class"
    assert [each.get("value") for each in renderer.iter("category")] == list(styles.CLASSES)
    assert qml["landslides"].get("labelsEnabled") == "0"


def test_styles_of_rasters_are_sound():
    mask = ElementTree.fromstring(styles.mask_style())
    assert {int(each.get("value")) for each in mask.iter("paletteEntry")} == {0, 1, 253, 254}
    for percent, top in ((True, "100"), (False, "1")):
        items = [each.get("value") for each in ElementTree.fromstring(styles.probability_style(percent)).iter("item")]
        assert items[0] == "0" and items[-1] == top


def test_a_map_without_any_ground_is_still_a_geopackage(tmp_path):
    raster = write_raster(tmp_path / "m.tif", [np.full((20, 20), 255, np.uint8)])
    table = polygons.landslides(raster, raster)
    geopackage.write(tmp_path / "e.gpkg", table, polygons.seen_ground(raster), {"run": "x"}, datetime.now(UTC))
    assert len(geopandas.read_file(tmp_path / "e.gpkg", layer="landslides")) == 0
    assert geopandas.read_file(tmp_path / "e.gpkg", layer="seen").geometry.iloc[0] in (None, shapely.MultiPolygon())
