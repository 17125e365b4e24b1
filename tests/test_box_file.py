"""The labels that the desk saves, where other vector files are read: landslides, an area, labelled ground."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from scenes.box_file import PIXELS
from scenes.comparing.comparison import judged_by
from scenes.comparing.inventory import read_inventory
from scenes.comparing.layers import PolygonLayer, read_polygons
from scenes.labels import Labels
from scenes.scene_digest import scene_digests
from scenes.suggestions import doubt_of_free_tiles
from scenes.vectors import EVERYTHING, Choice, ground_areas, shapes_over
from script import UserError
from tests.rasters import box, grid_of, in_degrees, write_raster

BOXES = {"a": (0, 0, 32, 32), "b": (0, 32, 32, 32)}  # row, column, height, width
POLYGONS = [("a", "landslide", (5, 5, 8, 8)), ("a", "landslide", (28, 2, 8, 8)), ("a", "unsure", (20, 20, 4, 4))]


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return grid_of(write_raster("scene.tif", np.ones((1, 64, 64), np.uint8)))


def write_labels(path, polygons=POLYGONS, finished=("a",), coordinates="longitude, latitude", boxes=BOXES, when=None):
    """Write labels of two boxes. when: {name of a box: when it changed}."""

    def ground(place):
        return shapely.geometry.mapping(in_degrees([box(*place)])[0])

    content = {
        "type": "FeatureCollection",
        "landslide_labels": 1,
        "scene": {"name": "scene", "digests": list(scene_digests(["scene.tif"])), "coordinates": coordinates},
        "boxes": [
            {
                "id": name,
                "outline": ground(place)["coordinates"][0],
                "finished": name in finished,
                "when": when and when[name],
            }
            for name, place in boxes.items()
        ],
        "features": [
            {
                "type": "Feature",
                "geometry": ground(place),
                "properties": {"box": name, "verdict": word, "source": "drawn"},
            }
            for name, word, place in polygons
        ],
    }
    Path(path).write_text(json.dumps(content))
    return path


def test_landslides_are_those_of_finished_boxes_within_them(grid, capsys):
    path = write_labels("scene_labels.geojson", [*POLYGONS, ("b", "landslide", (5, 40, 8, 8))])
    areas, _, _ = read_inventory(path)
    assert sorted(areas) == pytest.approx([4 * 8 * 100, 8 * 8 * 100], rel=0.01)  # one reaches beyond its box
    assert "1 of 2 boxes are not finished: what is drawn in them is left out" in capsys.readouterr().out
    assert len(read_polygons(path, "map", EVERYTHING, 0)[0]) == 2
    assert len(read_polygons(path, "map", Choice(where="verdict = 'landslide'"), 0)[0]) == 2
    write_labels(path, [])
    assert len(read_polygons(path, "map", EVERYTHING, 0)[0]) == 0


def test_the_ground_of_boxes_is_judged_but_for_what_is_unsure(grid):
    """As make_patches.py labels it, as a reference, and as an --area."""
    path = write_labels("scene_labels.geojson")
    known = 32 * 32 - 4 * 4
    assert ground_areas(judged_by(path, "map", EVERYTHING)).sum() == pytest.approx(known * 100, rel=0.01)
    areas = shapes_over(path, grid, areas=True, default_layer="seen")
    assert areas.area.sum() == pytest.approx(known * 100, rel=0.01)
    Path("none.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    labels = Labels(["none.geojson"], grid, area=(path,)).read(0, 64, 0, 64)
    assert (labels == 0).sum() == known and (labels == 255).sum() == 64 * 64 - known


OVERLAPPING = {"a": (0, 0, 32, 32), "b": (16, 16, 32, 32)}
WITHIN_BOTH = (20, 20, 8, 8)


@pytest.mark.parametrize("last", ["a", "b"])
@pytest.mark.parametrize(
    "words",
    [
        {"a": "landslide"},
        {"a": "unsure"},
        {"a": "landslide", "b": "unsure"},
        {"a": "unsure", "b": "not landslide"},
        {"a": "unsure", "b": "landslide"},
    ],
)
def test_where_boxes_overlap_the_one_that_changed_last_decides(grid, words, last):
    """In labels, references, judged ground and inventories alike."""
    when = {name: "2026-01-02T00:00:00Z" if name == last else "2026-01-01T00:00:00Z" for name in OVERLAPPING}
    polygons = [(name, word, WITHIN_BOTH) for name, word in words.items()] + [("a", "landslide", (4, 12, 24, 8))]
    path = write_labels("scene_labels.geojson", polygons, ("a", "b"), boxes=OVERLAPPING, when=when)
    expected = np.full((64, 64), 255)
    for name in sorted(OVERLAPPING, key=when.get):
        row, column, height, width = OVERLAPPING[name]
        drawn = np.zeros((64, 64), int)
        for _, word, (top, left, rows, columns) in (each for each in polygons if each[0] == name):
            label = {"landslide": 1, "not landslide": 0, "unsure": 255}[word]
            drawn[top : top + rows, left : left + columns] = label
        window = slice(row, row + height), slice(column, column + width)
        expected[window] = drawn[window]
    np.testing.assert_array_equal(Labels([path], grid, scene_paths=["scene.tif"]).read(0, 64, 0, 64), expected)
    landslides, unsure = read_polygons(path, "map", EVERYTHING, 0)
    tables = unsure, judged_by(path, "map", EVERYTHING)
    doubt, ground = (PolygonLayer(table, grid, path, "map", None, True, small=False) for table in tables)
    layer = PolygonLayer(landslides, grid, path, "map", ground, True, unsure=doubt)
    numbers, known, _ = layer.read(0, 64)
    np.testing.assert_array_equal(np.where(known, numbers > 0, 255), expected)
    assert ground_areas(tables[1]).sum() == pytest.approx(100 * (expected != 255).sum(), rel=0.01)
    assert read_inventory(path)[0].sum() == pytest.approx(100 * (expected == 1).sum(), rel=0.01)


def test_a_polygon_that_ends_at_the_edge_of_a_later_box_leaves_no_sliver(grid):
    """Predicted polygons follow pixels, as boxes do; edges are straight in degrees, here as in metres."""
    when = {"a": "2026-01-01T00:00:00Z", "b": "2026-01-02T00:00:00Z"}
    polygons = [("a", "landslide", (16, 20, 8, 8)), ("a", "landslide", (4, 4, 8, 8))]
    path = write_labels("scene_labels.geojson", polygons, ("a", "b"), boxes=OVERLAPPING, when=when)
    landslides, _ = read_polygons(path, "map", EVERYTHING, 0)
    assert len(landslides) == 1 and set(landslides.geom_type) == {"Polygon"}
    assert ground_areas(landslides).sum() == pytest.approx(6400, rel=0.01)


def test_boxes_are_labelled_ground_in_any_coordinates(grid):
    path = write_labels("scene_labels.geojson")
    free = doubt_of_free_tiles(np.zeros((2, 2)), grid, 32, labelled=(path,))
    assert np.isnan(free).tolist() == [[True, False], [False, False]]
    with pytest.raises(UserError, match="holds column, row, which do not fit a scene with other coordinates"):
        doubt_of_free_tiles(np.zeros((2, 2)), grid, 32, labelled=(write_labels(path, coordinates=PIXELS),))
    with pytest.raises(UserError, match="holds column, row, which do not fit"):
        read_inventory(path)
    write_raster("picture.tif", np.ones((1, 64, 64), np.uint8), crs=None)
    content = json.loads(Path(path).read_text())
    for each in content["boxes"]:
        each["outline"] = list(shapely.box(*(0, 0, 32, 32) if each["finished"] else (32, 0, 64, 32)).exterior.coords)
    Path(path).write_text(json.dumps(content))
    free = doubt_of_free_tiles(np.zeros((2, 2)), grid_of("picture.tif"), 32, labelled=(path,))
    assert np.isnan(free).tolist() == [[True, False], [False, False]]


def test_without_a_finished_box_nothing_is_known(grid):
    path = write_labels("scene_labels.geojson", finished=())
    for read in (lambda: read_inventory(path), lambda: judged_by(path, "map", EVERYTHING)):
        with pytest.raises(UserError, match="scene_labels.geojson: no box is finished, so nothing is labelled"):
            read()
    assert not np.isnan(doubt_of_free_tiles(np.zeros((2, 2)), grid, 32, labelled=(path,))).any()
