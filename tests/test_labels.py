"""Labels of a scene: polygons with and without verdicts, masks, archives. tests/labelled_scene.py has the ground."""

import re
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.warp import transform_geom

import script
from scenes import labels, patch_layout
from scenes.pixel_grid import PixelGrid
from scenes.vectors import Choice
from script import UserError
from tests.labelled_scene import HEIGHT, WIDTH
from tests.rasters import LEFT, TOP, UTM, box, grid_of, write_raster, write_shapes


def test_verdicts_of_a_reviewer(event):
    shapes = [box(10, 10, 20, 20), box(50, 10, 20, 20), box(90, 10, 20, 20), box(130, 10, 20, 20)]
    write_shapes("reviewed.gpkg", *shapes, verdict=["Landslide", "not landslide", None, "unsure"])
    values = labels.Labels(["reviewed.gpkg"], grid_of("scene.tif")).read(0, 200, 0, 100)
    expected = np.full((200, 100), 255)
    expected[10:30, 10:30], expected[50:70, 10:30] = 1, 0
    np.testing.assert_array_equal(values, expected)
    values = labels.Labels(["reviewed.gpkg"], grid_of("scene.tif"), ["area.gpkg"]).read(0, 200, 0, 100)
    expected[10:] = np.where(expected[10:] == 255, 0, expected[10:])
    expected[90:110, 10:30] = expected[130:150, 10:30] = 255
    np.testing.assert_array_equal(values, expected)


def test_a_later_file_counts_where_both_say_something(event):
    write_shapes("reviewed.gpkg", box(10, 10, 20, 20), verdict=["no"])
    values = labels.Labels(["slides.gpkg", "reviewed.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    alone[10:30, 10:30] = 0
    np.testing.assert_array_equal(values, alone)


def test_outlines_get_a_buffer_that_is_not_labelled(event):
    shape = shapely.Point(LEFT + 2000, TOP - 2000).buffer(600)
    write_shapes("one.gpkg", shape)
    whole = labels.Labels(["one.gpkg"], grid_of("scene.tif"), buffer=40)
    values = whole.read(0, HEIGHT, 0, WIDTH)
    with rasterio.open("scene.tif") as file:
        band = rasterize([shape.boundary.buffer(40)], (HEIGHT, WIDTH), transform=file.transform) > 0
    assert np.count_nonzero((values == 255) != band) < 0.1 * band.sum()
    np.testing.assert_array_equal(whole.read(120, 200, 130, 210), values[120:200, 130:210])


def test_small_polygons_are_not_labelled(event):
    write_shapes("sizes.gpkg", box(10, 10, 5, 5), box(50, 10, 20, 20))
    values = labels.Labels(["sizes.gpkg"], grid_of("scene.tif"), min_area=10_000).read(0, 100, 0, 100)
    assert (values[10:15, 10:15] == 255).all() and (values[50:70, 10:30] == 1).all() and (values == 255).sum() == 25


def test_polygons_in_other_coordinates_lie_at_the_same_place(event, slides):
    table = geopandas.read_file("slides.gpkg").to_crs(4326)
    table.to_file("degrees.gpkg")
    from_utm = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    from_degrees = labels.Labels(["degrees.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    assert (from_utm != from_degrees).sum() <= 3  # corners moved by less than a millimetre


def test_self_crossing_polygons_are_mended(event):
    bow = shapely.Polygon([(LEFT, TOP), (LEFT + 400, TOP - 400), (LEFT + 400, TOP), (LEFT, TOP - 400)])
    write_shapes("bow.gpkg", bow)
    values = labels.Labels(["bow.gpkg"], grid_of("scene.tif")).read(0, 40, 0, 40)
    assert values.sum() == pytest.approx(800, abs=45)  # two triangles


def test_polygons_without_a_verdict_leave_drawn_labels_alone(event, slides, capsys):
    verdicts = ["landslide", "not landslide", "unsure"] + [None] * (len(slides) - 3)
    write_shapes("reviewed.gpkg", *slides, Verdict=verdicts)  # in whatever case
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    values = labels.Labels(["slides.gpkg", "reviewed.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    assert "27 of 30 polygons have no verdict" in capsys.readouterr().out
    changed = rasterize(slides[1:3], (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform) > 0
    np.testing.assert_array_equal(values[~changed], alone[~changed])
    assert (values != alone)[changed].any()


def test_reviewed_polygons_beyond_the_area_get_patches(event):
    write_shapes("small.gpkg", box(0, 0, 120, 384))
    write_shapes("reviewed.gpkg", box(220, 300, 20, 20), verdict=["not landslide"])
    known = labels.Labels(["slides.gpkg", "reviewed.gpkg"], grid_of("scene.tif"), ["small.gpkg"])
    values = known.read(200, 260, 280, 340)
    assert (values[20:40, 20:40] == 0).all() and not (values == 0).sum() > 400
    patches = patch_layout.lay_patches((HEIGHT, WIDTH), 32, 0, known.parts)
    assert any(row <= 220 and row + 32 >= 240 and column <= 300 and column + 32 >= 320 for row, column in patches)
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif"), ["small.gpkg"])
    assert set(patch_layout.lay_patches((HEIGHT, WIDTH), 32, 0, alone.parts)) < set(patches)


# ---------------------------------------------------------------------- masks


@pytest.mark.parametrize("kind", ["1 and 255", "255", "tagged"])
def test_mask_rasters(event, slides, kind):
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform, dtype="uint8")
    mask, expected = truth.copy(), truth.copy()
    if kind == "1 and 255":  # also what predict.py calls excluded and hidden
        mask[:50], mask[50:60], mask[60:70] = 255, 254, 253
        expected[:70] = 255
    if kind == "255":
        mask[mask == 1] = 255
    if kind == "tagged":
        mask[:50] = 7
        expected[:50] = 255
    write_raster(Path("mask.tif"), mask[None], nodata=7 if kind == "tagged" else None)
    values = labels.Labels(["mask.tif"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(values, expected)


def test_reprojected_masks_follow_gdal(event, slides):
    """A mask raster in degrees lands where its polygons do, to a pixel of their outlines."""
    degrees = [shapely.geometry.shape(transform_geom(UTM, "EPSG:4326", shapely.geometry.mapping(s))) for s in slides]
    west, south, east, north = shapely.total_bounds(degrees)
    shape, step = (1200, 1200), max(east - west, north - south) / 1190
    transform = rasterio.transform.from_origin(west - 5 * step, north + 5 * step, step, step)
    mask = rasterize(degrees, shape, transform=transform, dtype="uint8")
    with rasterio.open(
        "m.tif", "w", driver="GTiff", width=1200, height=1200, count=1, dtype="uint8", crs=4326, transform=transform
    ) as file:
        file.write(mask, 1)
    values = labels.Labels(["m.tif"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    truth = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    known = values != 255
    assert known.mean() > 0.6 and (values != truth)[known].mean() < 0.01


def test_255_in_masks_means_the_same_in_all_scenes_and_is_no_background(event):
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, :50, :50], mask[0, 200:300, 300:400] = 1, 255
    write_raster(Path("mask.tif"), mask)
    with rasterio.open("scene.tif") as file:
        right = PixelGrid.of(file).window(0, 240, (HEIGHT, 240))  # a scene with none of the 1
    for area in ([], ["area.gpkg"]):
        values = labels.Labels(["mask.tif"], right, area).read(200, 300, 60, 160)
        assert (values == 255).all(), area


def test_a_mask_that_calls_0_no_data_means_no_landslide(event, slides):
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform, dtype="uint8")
    write_raster(Path("mask.tif"), truth[None], nodata=0)
    values = labels.Labels(["mask.tif"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(values, truth)


# ---------------------------------------------------------------------- archives and layers


def test_zips_of_vector_files_and_of_a_mask_are_labels(event, slides):
    write_shapes("slides.shp", *slides)
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform, dtype="uint8")
    write_raster(Path("mask.tif"), truth[None])
    for stem, endings, folder in (
        ("shapes", ("shp", "shx", "dbf", "prj"), ""),
        ("shapes", ("shp", "shx", "dbf", "prj"), "download of today/shapes/"),
        ("mask", ("tif",), "masks/"),
    ):
        with zipfile.ZipFile(f"{stem}.zip", "w") as archive:
            for ending in endings:
                name = f"{'slides' if stem == 'shapes' else stem}.{ending}"
                archive.write(name, folder + name)
                archive.writestr(f"__MACOSX/{folder}._{name}", "what macOS adds")
        values = labels.Labels([f"{stem}.zip"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
        np.testing.assert_array_equal(values, truth)


def test_a_file_geodatabase_in_a_zip_is_a_vector_file(event, slides):
    geopandas.GeoDataFrame(geometry=slides, crs=UTM).to_file("slides.gdb", driver="OpenFileGDB")
    with zipfile.ZipFile("slides.gdb.zip", "w") as archive:
        for path in Path("slides.gdb").iterdir():
            archive.write(path)
        archive.writestr("preview.png", b"x")
    values = labels.Labels(["slides.gdb.zip"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    truth = labels.Labels(["slides.gdb"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(values, truth)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.txt", "b/c.pdf"), "bad.zip is a zip without a vector file: it holds a.txt, b/c.pdf"),
        (("a.tif", "b.tif"), "bad.zip is a zip without a vector file: it holds a.tif, b.tif"),
        ((), "bad.zip is a zip without a vector file: it holds nothing"),
        (
            ("S2A.SAFE/MTD_MSIL1C.xml", "S2A.SAFE/QI_DATA/MSK_CLOUDS_B00.gml", "S2A.SAFE/IMG_DATA/B04.jp2"),
            "bad.zip is a zip of a satellite product, not a vector file",
        ),
    ],
)
def test_a_zip_without_a_vector_file_is_told(event, names, message):
    with zipfile.ZipFile("bad.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    for arguments in ((["bad.zip"], []), (["slides.gpkg"], ["bad.zip"])):
        with pytest.raises(script.UserError) as error:
            labels.Labels(arguments[0], grid_of("scene.tif"), arguments[1])
        assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_of_several_layers_those_count_that_are_chosen(event, slides):
    for layer, part in (("north", slides[:20]), ("south", slides[20:])):
        write_shapes("layers.gpkg", *part, layer=layer)
    grid = grid_of("scene.tif")
    with pytest.raises(UserError, match="layers.gpkg holds several layers, north, south: choose with --layer"):
        labels.Labels(["layers.gpkg"], grid)
    layered = labels.Labels(["layers.gpkg"], grid, choice=Choice(("north", "south"))).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(layered, labels.Labels(["slides.gpkg"], grid).read(0, HEIGHT, 0, WIDTH))


def polygons_of_classes(path, shapes, **columns):
    geopandas.GeoDataFrame(columns, geometry=shapes, crs=grid_of("scene.tif").crs).to_file(path)


@pytest.mark.parametrize(
    ("columns", "condition"),
    [
        ({"class": ["landslide", "stable"]}, "class = 'landslide'"),
        ({"Label": [1, 0]}, "label = 1"),
        ({"type": ["debris flow", "no landslide"]}, "type = 'debris flow'"),
        ({"DN": [1, 0]}, "dn = 1"),
        ({"is_landslide": [1, 0]}, "is_landslide = 1"),
        ({"fclass": ["slide", "stable"]}, "fclass = 'slide'"),
    ],
)
def test_other_ground_among_labels_asks_for_a_condition(event, slides, columns, condition):
    grid, half = grid_of("scene.tif"), len(slides) // 2
    columns = {name: [values[0]] * half + [values[1]] * (len(slides) - half) for name, values in columns.items()}
    polygons_of_classes("classes.gpkg", slides, **columns)
    with pytest.raises(UserError, match=re.escape(f'choose the landslides with --where, such as "{condition}"')):
        labels.Labels(["classes.gpkg"], grid)
    write_shapes("half.gpkg", *slides[:half])
    chosen = labels.Labels(["classes.gpkg"], grid, choice=Choice(where=condition)).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(chosen, labels.Labels(["half.gpkg"], grid).read(0, HEIGHT, 0, WIDTH))


@pytest.mark.parametrize(
    "columns",
    [
        {"class": ["debris flow", "rock fall"]},
        {"type": ["A", "B"]},
        {"label": ["Landslide", "Landslide"]},
        {"year": [0, 1]},
        {"gridcode": [1, 2]},
    ],
)
def test_kinds_of_landslides_are_all_labels(event, slides, columns):
    columns = {name: [values[i % 2] for i in range(len(slides))] for name, values in columns.items()}
    polygons_of_classes("kinds.gpkg", slides, **columns)
    read = [
        labels.Labels([path], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH) for path in ("kinds.gpkg", "slides.gpkg")
    ]
    np.testing.assert_array_equal(*read)


def test_a_layer_without_rows_and_an_area_mean_no_landslide(event):
    write_shapes("corner.gpkg", box(0, 0, 32, 32))
    polygons_of_classes("none.gpkg", [], id=np.zeros(0, int))
    empty = labels.Labels(["none.gpkg"], grid_of("scene.tif"), area=("corner.gpkg",))
    read = empty.read(0, HEIGHT, 0, WIDTH)
    assert not empty.silent
    assert (read[:32, :32] == 0).all() and (read[32:] == 255).all() and (read[:, 32:] == 255).all()
    assert labels.Labels(["none.gpkg"], grid_of("scene.tif")).silent == ["none.gpkg"]  # complete where?
