"""Vector files as people keep them: formats, coordinates, and what is said of those that do not fit."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from scenes import vectors
from script import UserError
from tests.rasters import box, grid_of, write_raster, write_shapes

KML = """<?xml version="1.0" encoding="UTF-8"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document><Folder>
<name>slides</name>{}</Folder></Document></kml>"""
PLACEMARK = """<Placemark><Polygon><outerBoundaryIs><LinearRing><coordinates>{}</coordinates></LinearRing>
</outerBoundaryIs></Polygon></Placemark>"""


@pytest.fixture
def scene(tmp_path, monkeypatch):
    """A scene of 64 x 64 pixels and two polygons over it, in its coordinate system."""
    monkeypatch.chdir(tmp_path)
    write_raster("scene.tif", np.ones((1, 64, 64), np.uint8))
    grid = grid_of("scene.tif")
    return grid, geopandas.GeoSeries([box(4, 4, 10, 20), box(30, 30, 12, 9)], crs=grid.crs)


def write_as(name, shapes):
    """Write polygons in the format of the name's ending."""
    table = geopandas.GeoDataFrame({"id": range(len(shapes))}, geometry=shapes)
    if name.endswith((".kml", ".kmz")):
        rings = [" ".join(f"{x:.9f},{y:.9f},900" for x, y in each.exterior.coords) for each in shapes.to_crs(4326)]
        text = KML.format("".join(map(PLACEMARK.format, rings)))
        if name.endswith(".kmz"):
            with zipfile.ZipFile(name, "w") as archive:
                archive.writestr("doc.kml", text)
        else:
            Path(name).write_text(text)
    else:
        drivers = {"tab": "MapInfo File", "sqlite": "SQLite", "geojsonl": "GeoJSONSeq"}
        table.to_file(name, driver=drivers.get(name.rpartition(".")[2]))


@pytest.mark.parametrize("ending", ["gpkg", "shp", "geojson", "geojsonl", "kml", "kmz", "tab", "sqlite", "fgb"])
def test_polygons_of_any_format_lie_where_they_are(scene, ending):
    grid, shapes = scene
    write_as(f"slides.{ending}", shapes)
    assert vectors.is_vector(f"slides.{ending}")
    table = vectors.shapes_over(f"slides.{ending}", grid, areas=True, landslides=True)
    assert len(table) == len(shapes)
    assert table.union_all().symmetric_difference(shapes.union_all()).area < 1e-3 * shapes.area.sum()


def geojson(shapes, **members):
    features = [{"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(each)} for each in shapes]
    return json.dumps({"type": "FeatureCollection", "features": features} | members)


def test_a_geojson_in_metres_needs_to_say_so(scene):
    grid, shapes = scene
    Path("metres.geojson").write_text(geojson(shapes))
    with pytest.raises(UserError, match="metres.geojson: its coordinates, such as .*, are no degrees"):
        vectors.shapes_over("metres.geojson", grid)
    name = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{grid.crs.to_epsg()}"}}
    Path("said.geojson").write_text(geojson(shapes, crs=name))
    np.testing.assert_allclose(vectors.shapes_over("said.geojson", grid).area, shapes.area, rtol=1e-6)


def test_latitude_before_longitude_is_recognised(scene):
    grid, shapes = scene
    degrees = shapes.to_crs(4326)
    Path("turned.geojson").write_text(geojson([shapely.transform(each, lambda c: c[:, ::-1]) for each in degrees]))
    with pytest.raises(
        UserError, match="turned.geojson: latitudes reach 121.* latitude and longitude are in each other's place"
    ):
        vectors.shapes_over("turned.geojson", grid)
    Path("far.geojson").write_text(geojson([box_at(10, 50)]))
    with pytest.raises(UserError, match=r"they lie near 50.50 N 10.50 E, the scene near "):
        vectors.shapes_over("far.geojson", grid)


def box_at(longitude, latitude):
    return shapely.box(longitude, latitude, longitude + 1, latitude + 1)


def test_a_shapefile_without_its_index_says_what_is_missing(scene):
    grid, shapes = scene
    write_as("whole.shp", shapes)
    for ending in (".shp", ".dbf", ".prj"):
        shutil.copy(f"whole{ending}", f"bare{ending}")
    with pytest.raises(UserError, match="bare.shp lacks bare.shx, which lies beside it in a whole Shapefile"):
        vectors.shapes_over("bare.shp", grid)


def test_geoparquet_is_refused_with_the_way_to_a_file_that_is_read(scene):
    grid, _ = scene
    Path("slides.parquet").write_bytes(b"PAR1")
    assert vectors.is_vector("slides.parquet")
    with pytest.raises(UserError, match="slides.parquet is GeoParquet, .*ogr2ogr slides.gpkg slides.parquet"):
        vectors.shapes_over("slides.parquet", grid)


def test_latitude_before_longitude_is_recognised_where_both_are_small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster("scene.tif", np.ones((1, 64, 64), np.uint8), crs="EPSG:32632")
    grid = grid_of("scene.tif")
    degrees = geopandas.GeoSeries([box(4, 4, 10, 20)], crs=grid.crs).to_crs(4326)
    Path("turned.geojson").write_text(geojson([shapely.transform(degrees[0], lambda c: c[:, ::-1])]))
    with pytest.raises(UserError, match="they would, were latitude and longitude not in each other's place"):
        vectors.shapes_over("turned.geojson", grid)


def test_a_condition_that_no_row_meets_is_a_mistake(scene):
    grid, shapes = scene
    geopandas.GeoDataFrame({"class": ["landslide"] * 2}, geometry=shapes).to_file("classes.gpkg")
    choice = vectors.Choice(where="class = 'Landslide'")
    with pytest.raises(UserError, match="classes.gpkg: none of its 2 rows meets --where \"class = 'Landslide'\""):
        vectors.shapes_over("classes.gpkg", grid, choice=choice, landslides=True)


def test_shapes_without_points_and_columns_of_one_name_are_no_crash(scene):
    grid, shapes = scene
    geopandas.GeoDataFrame({"id": [1]}, geometry=[None], crs=grid.crs).to_file("null.gpkg")
    with pytest.raises(UserError, match="none of its 1 shapes lies over the scene"):
        vectors.shapes_over("null.gpkg", grid)
    table = geopandas.GeoDataFrame({"type": ["flow"] * 2, "Type": ["A"] * 2}, geometry=shapes).to_crs(4326)
    table.to_file("twice.geojson")
    assert len(vectors.shapes_over("twice.geojson", grid, landslides=True)) == 2


# ---------------------------------------------------------------------- other ground


def classes_file(**columns):
    """Write shapes of these columns, side by side, over the scene."""
    count = len(next(iter(columns.values())))
    return write_shapes("classes.geojson", *(box(4, 2 * i, 4, 1) for i in range(count)), **columns)


@pytest.mark.parametrize(
    ("columns", "condition"),
    [
        ({"DN": [1, 0]}, "dn = 1"),
        ({"DN": [*range(1, 30), 0]}, "dn <> 0"),  # numbered areas of a raster, and its background
        ({"grid_code": [0, 2, 2]}, "grid_code = 2"),
        ({"raster_val": [0.0, 1.0]}, "raster_val = 1"),
        ({"class": ["landslide", "stable"]}, "class = 'landslide'"),
        ({"class": ["debris flow", "Stable ground", "River"]}, "class = 'debris flow'"),
        ({"class_id": [0, 1, 2]}, "class_id <> 0"),
        ({"class": ["landslide", "bare soil", "grassland"]}, "class = 'landslide'"),  # dissolved
        ({"type": ["flow", "slide", "stable", "lake"]}, "type NOT IN ('lake', 'stable')"),
        ({"label": [0, 1]}, "label = 1"),
        ({"type": ["false positive slide", "slide", "slide"]}, "type = 'slide'"),
        ({"landslide": [True, False]}, "landslide = 1"),
        ({"DN": [0, 1, 253, 254, 255]}, "dn = 1"),  # the mask of a map
        ({"gridcode": ["254", "1"]}, "gridcode = '1'"),
        ({"raster_val": [1.0, 255.0]}, "raster_val = 1"),
        ({"DN": [0, 255]}, "dn = 255"),
        ({"value": [1, 253, 254]}, "value = 1"),
        *(({name: [0, 1, 1]}, f"{name} = 1") for name in ("pred", "mask", "gt", "value")),
    ],
)
def test_other_ground_asks_for_a_condition_in_however_few_rows(scene, columns, condition):
    with pytest.raises(UserError, match=re.escape(f'landslides with --where, such as "{condition}", or say that all')):
        vectors.read_layers(classes_file(**columns), landslides=True)
    chosen = vectors.read_layers("classes.geojson", choice=vectors.Choice(where=condition), landslides=True)
    assert 0 < len(chosen) < len(next(iter(columns.values())))


@pytest.mark.parametrize(
    "columns", [{"DN": [0]}, {"class": ["stable"] * 3}, {"label": [0, 0]}, {"mask": ["none"]}, {"DN": [253]}]
)
def test_other_ground_alone_asks_as_well(scene, columns):
    ((name, (value, *_)),) = columns.items()
    message = f"its column {name.lower()} holds {value} alone, which means other ground: leave these polygons out, or"
    with pytest.raises(UserError, match=message):
        vectors.read_layers(classes_file(**columns), landslides=True)
    everything = vectors.Choice(where=f"{name} IS NOT NULL")
    assert len(vectors.read_layers("classes.geojson", choice=everything, landslides=True)) == len(columns[name])


@pytest.mark.parametrize(
    "columns",
    [
        {"year": [0, 1, 1]},
        {"DN": list(range(1, 31))},
        {"DN": [1, 1, 1]},
        {"DN": [255, 255]},
        {"DN": [7, 253, 254]},
        {"label": list(range(30))},
        {"label": [1, 2]},
        {"label": [0, 1, 2, 3, 4]},
        {"value": [0, 1200.5, 300.2, 4.4]},
        {"type": ["slide", "slide", "flow", "other", "not classified", "None"]},
        {"type": ["Non-channelised debris flow", "road-cut slide", "slide 0-2 m", "slide 0-2 m"]},
        {"landslide": ["Lake Road slide", "Oso", "Slide No 5", "Water Creek"]},
        {"class": ["at least 0.75", "0.5 to 0.75"]},
        {"class": ["landslide", None, None]},
    ],
)
def test_numbers_and_names_of_polygons_are_no_other_ground(scene, columns):
    table = vectors.read_layers(classes_file(**columns), landslides=True)
    assert len(table) == len(next(iter(columns.values())))


def test_the_background_of_a_raster_is_no_area(scene):
    """Of areas and excluded ground, words of a class column are the user's own."""
    grid, _ = scene
    with pytest.raises(UserError, match='0, 1: choose the polygons with --exclude-where, such as "dn = 1", or say'):
        vectors.shapes_over(classes_file(DN=[0, 1]), grid, choice=vectors.Choice(prefix="exclude-"))
    with pytest.raises(UserError, match='254, 1: choose the polygons with --where, such as "dn = 1", or say'):
        vectors.shapes_over(classes_file(DN=[1, 254]), grid)
    assert len(vectors.shapes_over(classes_file(**{"class": ["water", "forest"]}), grid)) == 2


@pytest.mark.parametrize("column", ["is_landslide", "ground_truth", "pixel_value", "classification"])
def test_columns_whose_names_a_shapefile_cuts_ask_as_well(scene, column):
    _, shapes = scene
    values = ["slide", "lake"] if column == "classification" else [1, 0]
    write_shapes("cut.shp", *(box(4, 2 * i, 4, 1) for i in range(2)), **{column[:10]: values})
    with pytest.raises(UserError, match=f"its column {column[:10]} holds .*: choose the landslides with --where"):
        vectors.read_layers("cut.shp", landslides=True)


def test_ground_that_parts_of_a_shape_cover_twice_is_no_hole(scene, capsys):
    """ArcGIS's Merge and QGIS's Collect join polygons that overlap; a hand that draws a ring crosses it."""
    grid, _ = scene
    first, second = box(4, 4, 10, 20), box(9, 14, 10, 20)
    turns = [(0, 0), (30, 0), (30, 30), (10, 30), (10, 10), (20, 10), (20, 40), (0, 40)]
    corner = np.array(first.bounds)[[0, 1]]
    ring = shapely.Polygon(corner + np.array(turns))
    merged = shapely.MultiPolygon([first, second])
    eight = shapely.Polygon(corner + np.array([(0, 0), (20, 20), (20, 0), (0, 20)]))
    table = geopandas.GeoSeries([merged, ring, eight], crs=grid.crs)
    assert not table.is_valid.any()
    table.to_file("merged.gpkg")
    read = vectors.shapes_over("merged.gpkg", grid, areas=True, landslides=True)
    expected = [first.union(second).area, 1100, 200]  # within the ring, with its loop
    np.testing.assert_allclose(read.area, expected)
    assert "merged.gpkg: 3 of its 3 outlines are not valid" in capsys.readouterr().out


@pytest.mark.parametrize(("encoding", "keep"), [("ISO-8859-1", False), ("ISO-8859-1", True), ("UTF-8", True)])
def test_a_condition_on_letters_beyond_ascii_holds_in_any_shapefile(scene, encoding, keep):
    """A Shapefile of an older program has no .cpg, and is Latin-1."""
    _, shapes = scene
    table = geopandas.GeoDataFrame({"Typ": ["Rutschung groß", "Sturz"]}, geometry=shapes)
    table.to_file("rows.shp", encoding=encoding)
    if not keep:
        Path("rows.cpg").unlink()
    chosen = vectors.Choice((), "Typ = 'Rutschung groß'")
    assert len(vectors.read_shapes("rows.shp", choice=chosen)) == 1
