"""Verdicts of a reviewer mean the same in a GeoPackage reviewed in QGIS and in a file of the desk, for all scripts."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import scipy
import shapely

from mask_values import LANDSLIDE, OTHER, UNLABELLED
from scenes.comparing.comparison import judged_by
from scenes.comparing.inventory import read_inventory
from scenes.comparing.layers import PolygonLayer, read_polygons
from scenes.exclusion import open_excluded
from scenes.labels import Labels
from scenes.scene_digest import scene_digests
from scenes.suggestions import doubt_of_free_tiles
from scenes.vectors import EVERYTHING, Choice
from tests.rasters import UTM, box, grid_of, in_degrees, write_raster, write_shapes

ROWS = {  # name: (verdict, row, column, height, width); the second unsure one lies in a landslide
    "landslide": ("landslide", 5, 5, 8, 8),
    "refuted": ("not landslide", 5, 25, 8, 8),
    "unsure": ("unsure", 25, 5, 8, 8),
    "unsure in a landslide": ("unsure", 9, 9, 8, 2),
}


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return grid_of(write_raster("scene.tif", np.ones((1, 40, 40), np.uint8)))


def reviewed(kind):
    """Write the polygons of ROWS as a GeoPackage ("gpkg") or as a file of the desk, whose box is the whole scene."""
    verdicts, shapes = [word for word, *_ in ROWS.values()], [box(*place) for _, *place in ROWS.values()]
    if kind == "gpkg":
        return write_shapes("reviewed.gpkg", *shapes, verdict=verdicts, layer="landslides")
    features = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": {"box": "a", "verdict": word}}
        for word, shape in zip(verdicts, in_degrees(shapes), strict=True)
    ]
    outline = shapely.geometry.mapping(in_degrees([box(0, 0, 40, 40)])[0])["coordinates"][0]
    scene = {"name": "scene", "digests": list(scene_digests(["scene.tif"])), "coordinates": "longitude, latitude"}
    boxes = [{"id": "a", "outline": outline, "finished": True, "when": None}]
    content = {"type": "FeatureCollection", "landslide_labels": 1, "scene": scene, "boxes": boxes, "features": features}
    Path("reviewed_labels.geojson").write_text(json.dumps(content))
    return "reviewed_labels.geojson"


@pytest.mark.parametrize("kind", ["gpkg", "desk"])
def test_a_verdict_means_the_same_to_all_scripts(grid, capsys, kind):
    """Where make_patches.py labels a landslide, compare_maps.py sees one, and what it does not label is not judged."""
    path = reviewed(kind)
    areas, _, notes = read_inventory(path)
    assert areas == pytest.approx([6400], rel=0.01)
    assert "rows whose verdict is not landslide, left out: 1" in notes
    assert "rows whose verdict is unsure, left out: 2" in notes
    landslides, unsure = read_polygons(path, "map", EVERYTHING, 0)
    judged = judged_by(path, "map", EVERYTHING)
    tables = [unsure] if judged is None else [unsure, judged]
    layers = [PolygonLayer(table, grid, path, "map", None, True, small=False) for table in tables]
    layer = PolygonLayer(landslides, grid, path, "map", *layers[1:], unsure=layers[0])
    numbers, known, _ = layer.read(0, 40)
    write_shapes("area.gpkg", box(0, 0, 40, 40))
    labels = Labels([path], grid, area=("area.gpkg",) * (kind == "gpkg"), scene_paths=["scene.tif"]).read(0, 40, 0, 40)
    np.testing.assert_array_equal(np.where(known, np.where(numbers > 0, LANDSLIDE, OTHER), UNLABELLED), labels)
    assert (labels == UNLABELLED).sum() == 8 * 8 + 4 * 2


def test_unsure_ground_is_no_part_of_the_searched_ground(grid):
    """Against the areas of GeoPandas."""
    path, area = reviewed("gpkg"), write_shapes("area.gpkg", box(0, 0, 40, 40))
    rest = geopandas.GeoSeries([box(0, 0, 40, 40) - box(25, 5, 8, 8) - (box(9, 9, 8, 2) - box(5, 5, 8, 8))], crs=UTM)
    _, studied, _ = read_inventory(path, area=area)
    assert studied == pytest.approx(rest.area.sum() / 1e6, rel=0.002)


def test_a_landslide_of_the_map_on_unsure_ground_is_no_false_alarm(compare, tmp_path):
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, 5:13, 5:13] = mask[0, 25:33, 5:13] = 1
    write_raster(tmp_path / "map.tif", mask)
    scores = compare("map.tif", reviewed("gpkg"))
    assert (scores["pixels"]["fp"], scores["pixels"]["fn"], scores["pixels"]["tp"]) == (0, 0, 64)
    assert scores["objects"]["map"] == 1 and scores["area_m2"]["judged"] == pytest.approx(100 * (1600 - 72), rel=0.01)


def test_as_ground_polygons_count_whatever_their_verdict(grid):
    """Of --exclude, --area and --labelled; a condition chooses by the verdict."""
    path = reviewed("gpkg")
    every = np.zeros((40, 40), bool)
    for _, row, column, height, width in ROWS.values():
        every[row : row + height, column : column + width] = True
    refuted = np.zeros_like(every)
    refuted[5:13, 25:33] = True
    for choice, expected in ((EVERYTHING, every), (Choice(where="verdict = 'not landslide'"), refuted)):
        (excluded,) = open_excluded([path], grid, choice=choice)
        near = scipy.ndimage.binary_dilation(expected, np.ones((3, 3)))  # pixels that the polygons may touch
        assert excluded.hidden(0, 40)[expected].all() and not excluded.hidden(0, 40)[~near].any()
        area = Labels([write_shapes("one.gpkg", box(6, 26, 2, 2))], grid, area=(path,), area_choice=choice)
        np.testing.assert_array_equal(area.read(0, 40, 0, 40) != UNLABELLED, expected)
        free = doubt_of_free_tiles(np.zeros((40, 40)), grid, 1, labelled=(path,), labelled_choice=choice)
        np.testing.assert_array_equal(np.isnan(free), expected)
