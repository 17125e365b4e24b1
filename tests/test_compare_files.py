"""Files and settings of compare_maps.py: what it writes, layers, verdicts, and mistakes."""

import contextlib
import os

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

import compare_maps
import script
from scenes.comparing.layers import RasterLayer
from scenes.suggestions import tile_doubt
from tests.comparison import blobs, scattered
from tests.rasters import LEFT, TOP, UTM, box, grid_of, write_raster, write_shapes
from tests.running import assert_user_error, run_script


def test_files_are_written_beside_the_map_and_replaced_with_leave_alone(tmp_path):
    write_raster(tmp_path / "maps" / "scene_mask.tif", [blobs()])
    write_shapes(tmp_path / "slides.gpkg", *scattered(12))
    flags = "compare_maps.py", "--map", "maps/scene_mask.tif", "--reference", "slides.gpkg"
    result = run_script(*flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "maps" / "scene_mask_against_slides"
    assert sorted(os.listdir(folder)) == ["by_size.csv", "comparison.png", "objects.csv", "scores.json"]
    assert "landslides by size" in result.stdout and "without --area" in result.stdout
    assert_user_error(run_script(*flags, cwd=tmp_path), "scores.json exists", "--overwrite")


def no_crs(workdir):
    write_shapes(workdir / "bad.shp", box(1, 1, 8, 8))
    (workdir / "bad.prj").unlink()
    return "bad.shp"


def cut_raster(workdir):
    values = np.random.default_rng(0).integers(0, 2, (1, 90, 110), np.uint8)
    os.truncate(write_raster(workdir / "bad.tif", values), 5000)
    return "bad.tif"


def cut_vector(workdir):
    os.truncate(write_shapes(workdir / "bad.gpkg", *scattered()), 30_000)
    return "bad.gpkg"


def shapes_of(*shapes):
    return lambda workdir: write_shapes(workdir / "bad.gpkg", *shapes).name


def raster_of(value, **options):
    return lambda workdir: write_raster(workdir / "bad.tif", np.full((1, 90, 110), value), **options).name


FAULTS = {
    "REFERENCE": [
        (no_crs, "bad.shp: without a coordinate system"),
        (lambda workdir: "gone.gpkg", "gone.gpkg does not exist"),
        (cut_vector, "bad.gpkg cannot be read as a vector file"),
        (cut_raster, "bad.tif cannot be read: cut short or damaged"),
        (shapes_of(), "bad.gpkg holds no shapes: it is empty"),
        (
            shapes_of(shapely.LineString([(LEFT, TOP), (LEFT + 99, TOP - 99)])),
            "bad.gpkg holds LineString: only polygons",
        ),
        (shapes_of(box(900, 900, 10, 10)), "bad.gpkg: none of its 1 polygons lies over map.tif"),
        (raster_of(np.uint8(1), transform=from_origin(LEFT + 9e4, TOP, 10, 10)), "bad.tif does not lie over map.tif"),
        (raster_of(np.uint8(17)), "bad.tif holds 17: a mask holds 0 and 1"),
    ],
    "AREA": [
        (shapes_of(box(900, 900, 10, 10)), "bad.gpkg: none of its 1 polygons lies over map.tif"),
        (shapes_of(shapely.box(LEFT + 101, TOP - 104, LEFT + 104, TOP - 101)), "it is smaller than a pixel"),
        (shapes_of(), "bad.gpkg holds no shapes: it is empty"),
    ],
    "MAP": [
        (
            raster_of(np.float32(0.3)),
            "bad.tif holds 0.3: a mask holds 0 and 1; for probabilities, give the least one of landslide",
        ),
        (raster_of(np.float32(3.5)), "bad.tif holds 3.5: a mask holds 0 and 1"),
        (raster_of(np.uint8(1), crs=None), "bad.tif has no coordinate system in which its pixels can be measured"),
        (raster_of(np.uint8(255), nodata=255), "bad.tif holds no ground that was judged"),
        (lambda workdir: write_raster(workdir / "bad.tif", np.zeros((3, 9, 9), np.uint8)).name, "bad.tif has 3 bands"),
        (shapes_of(box(1, 1, 8, 8)), "two vector files need --area"),
        (lambda workdir: "gone.tif", "gone.tif does not exist"),
    ],
}


@pytest.mark.parametrize(
    ("which", "make", "message"), [(which, *case) for which, cases in FAULTS.items() for case in cases]
)
def test_mistakes_are_told_in_one_line(compare, tmp_path, which, make, message):
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    settings = {"MAP": "map.tif", "REFERENCE": "ref.gpkg", "AREA": ""} | {which: make(tmp_path)}
    with pytest.raises(script.UserError) as error:
        compare(settings["MAP"], settings["REFERENCE"], settings["AREA"])
    text = script.with_flags(str(error.value), script.constants(vars(compare_maps)))
    assert message in text and "\n" not in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"MAP": ""}, "no map to compare"),
        ({"THRESHOLD": 0.5}, "map.tif is a mask: --threshold is for probabilities"),
        ({"MAP": "ref.gpkg", "THRESHOLD": 0.5}, "ref.gpkg holds polygons: --threshold is for probabilities"),
        ({"MIN_CONFIDENCE": 0.5}, "map.tif is a raster: --min-confidence is for polygons"),
        ({"SIZES": (10.0, 5.0)}, "SIZES must rise"),
        ({"BLOCK": 0.0}, "BLOCK is 0.0"),
        ({"MAP": "ref.gpkg", "MIN_CONFIDENCE": 0.5}, "ref.gpkg has no column confidence"),
        ({"MAP": "ref.gpkg", "MAP_LAYER": ("slides",)}, r"ref.gpkg has no layer slides \(it has: ref\)"),
    ],
)
def test_settings_that_do_not_fit_are_told(compare, tmp_path, constants, message):
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    with pytest.raises(script.UserError, match=message):
        compare("map.tif", "ref.gpkg", **constants)


def test_of_several_layers_of_a_reference_those_are_read_that_are_chosen(compare, tmp_path):
    shapes = scattered(12)
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "whole.gpkg", *shapes)
    for layer, part in (("north", shapes[:8]), ("south", shapes[8:])):
        write_shapes(tmp_path / "two.gpkg", *part, layer=layer)
    with pytest.raises(script.UserError, match="holds several layers, north, south: choose with --reference-layer"):
        compare("map.tif", "two.gpkg")
    whole = compare("map.tif", "whole.gpkg")
    both = compare("map.tif", "two.gpkg", REFERENCE_LAYER=("north", "south"))
    assert both["pixels"] == whole["pixels"]
    assert compare("map.tif", "two.gpkg", REFERENCE_LAYER=("north",))["pixels"]["tp"] < both["pixels"]["tp"]


def test_the_area_of_a_map_is_the_ground_that_was_judged(compare, tmp_path):
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    write_shapes(tmp_path / "area.gpkg", box(5, 8, 55, 62))
    write_shapes(tmp_path / "other.gpkg", box(10, 10, 10, 10), layer="landslides")
    write_shapes(tmp_path / "other.gpkg", box(5, 8, 55, 62), layer="seen")
    first, second = (compare("map.tif", "ref.gpkg", area) for area in ("area.gpkg", "other.gpkg"))
    assert first["pixels"] == second["pixels"]


@pytest.mark.parametrize("word", ["Not landslide ", "no", "0", "false", "not_landslide"])
def test_polygons_that_a_reviewer_refuted_do_not_count(compare, tmp_path, capsys, word):
    shapes = scattered()
    table = geopandas.GeoDataFrame({"Verdict": [word, "unsure"] + [None] * 38}, geometry=shapes, crs=UTM)
    table.to_file(tmp_path / "map.gpkg")
    write_shapes(tmp_path / "ref.gpkg", *shapes[1:])
    write_shapes(tmp_path / "area.gpkg", shapely.box(*shapely.total_bounds(shapes)))
    scores = compare("map.gpkg", "ref.gpkg", "area.gpkg")
    assert scores["pixels"]["dice"] == 1 and scores["objects"]["map"] == scores["objects"]["reference"] == 38
    said = capsys.readouterr().out
    assert "1 polygons are left out: their verdict is not landslide" in said
    assert "1 polygons are left out and their ground is not judged: their verdict is unsure" in said


@pytest.mark.parametrize(
    ("kind", "scale", "offset"), [(np.uint8, 1 / 255, 0.0), (np.uint16, 1e-4, 0.0), (np.int16, 0.01, 0.5)]
)
def test_a_scale_makes_probabilities_of_numbers(tmp_path, kind, scale, offset):
    """As floats, on any grid, and for suggest_boxes.py; percent have none."""
    numbers = np.linspace((0 - offset) / scale, (1 - offset) / scale, 64 * 64).reshape(1, 64, 64).astype(kind)
    for name, values, tags in (("numbers", numbers, (scale, offset)), ("floats", numbers * scale + offset, (1.0, 0.0))):
        path = write_raster(tmp_path / f"{name}.tif", values if name == "numbers" else values.astype(np.float32))
        with rasterio.open(path, "r+") as file:
            file.scales, file.offsets = tags[:1], tags[1:]
    grid = grid_of(path)
    for shifted in (grid, grid.grown(3)):
        read = []
        for name in ("numbers", "floats"):
            with contextlib.closing(RasterLayer(tmp_path / f"{name}.tif", shifted, 0.5)) as layer:
                read.append(layer.read(0, 64))
        np.testing.assert_array_equal(read[0][1], read[1][1])
        np.testing.assert_allclose(read[0][2], read[1][2], atol=1e-6)
    doubts = [tile_doubt(tmp_path / f"{name}.tif", 16)[1] for name in ("numbers", "floats")]
    np.testing.assert_allclose(*doubts, atol=1e-5)
    write_raster(path, numbers + kind(100))
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (scale,), (offset,)
    if kind != np.uint8:
        with pytest.raises(script.UserError, match="by its scale: a mask holds 0 and 1, a probability 0 to 1"):
            RasterLayer(path, grid, 0.5)
