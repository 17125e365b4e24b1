"""compare_maps.py against scikit-learn, SciPy, geodesics, and known ground: pixels, boundaries and objects."""

from datetime import UTC, datetime

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage, optimize
from sklearn import metrics as sk

import script
from mask_values import HIDDEN
from scenes import geopackage, polygons
from scenes.comparing import tally
from tests.comparison import blobs, scattered
from tests.rasters import LEFT, TOP, box, in_degrees, write_raster, write_shapes
from tests.running import rows

# ---------------------------------------------------------------------- pixels and boundaries


def test_pixel_scores_are_those_of_scikit_learn_where_the_map_was_judged(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "ROWS", 7)  # many strips
    mapped, reference = blobs(seed=1), blobs(seed=2)
    mapped[:10], mapped[10:20, :30], mapped[80:] = 255, 254, 253
    write_raster(tmp_path / "map.tif", [mapped], nodata=255)
    write_raster(tmp_path / "ref.tif", [reference])
    write_shapes(tmp_path / "area.gpkg", box(5, 8, 80, 92))
    judged = np.zeros(mapped.shape, bool)
    judged[5:85, 8:100] = True
    judged &= mapped < 2
    scores = compare("map.tif", "ref.tif", "area.gpkg")["pixels"]
    truth, said = reference[judged], mapped[judged]
    assert scores["tp"] + scores["fp"] + scores["fn"] + scores["tn"] == judged.sum()
    assert scores["dice"] == pytest.approx(sk.f1_score(truth, said))
    assert scores["iou"] == pytest.approx(sk.jaccard_score(truth, said))
    assert scores["precision"] == pytest.approx(sk.precision_score(truth, said))
    assert scores["recall"] == pytest.approx(sk.recall_score(truth, said))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_probabilities_take_the_threshold_of_the_file(compare, tmp_path, dtype):
    rng = np.random.default_rng(3)
    reference = blobs(seed=3)
    percent = np.clip(np.round(reference * 30 + 100 * rng.random(reference.shape) ** 2), 0, 100)
    percent[:5] = 255
    values = percent.astype(np.uint8) if dtype == "uint8" else np.where(percent > 100, np.nan, percent / 100)
    path = write_raster(
        tmp_path / "p.tif", [values.astype(dtype)], nodata=255 if dtype == "uint8" else np.nan, tiled=True
    )
    write_raster(tmp_path / "ref.tif", [reference])
    with pytest.raises(script.UserError, match="for probabilities, give the least one of landslide"):
        compare("p.tif", "ref.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(threshold="0.400")
    for threshold, used in ((None, 0.4), (0.55, 0.55)):
        scores = compare("p.tif", "ref.tif", THRESHOLD=threshold)["pixels"]
        truth, probability = reference[5:].ravel(), percent[5:].ravel() / 100
        assert scores["dice"] == pytest.approx(sk.f1_score(truth, probability.astype(np.float32) >= np.float32(used)))
        assert scores["average_precision"] == pytest.approx(sk.average_precision_score(truth, probability), abs=1e-6)


def test_areas_of_several_files_count_together(compare, tmp_path, capsys):
    for name, mask in (("map", blobs(seed=1)), ("ref", blobs(seed=2))):
        write_raster(tmp_path / f"{name}.tif", [mask])
    write_shapes(tmp_path / "whole.gpkg", box(5, 8, 80, 92))
    write_shapes(tmp_path / "west.gpkg", box(5, 8, 80, 40))
    write_shapes(tmp_path / "east.gpkg", *in_degrees([box(5, 48, 80, 52)]), crs="EPSG:4326")
    write_shapes(tmp_path / "far.gpkg", shapely.box(0, 0, 9, 9))
    expected = compare("map.tif", "ref.tif", "whole.gpkg")
    scores = compare("map.tif", "ref.tif", ("west.gpkg", "east.gpkg", "far.gpkg"))
    assert scores["pixels"] == expected["pixels"] and scores["area"] == ["west.gpkg", "east.gpkg", "far.gpkg"]
    assert "warning: far.gpkg does not lie over map.tif" in capsys.readouterr().out


@pytest.mark.parametrize("tolerance", [0.0, 10.0, 25.0])
def test_boundaries_agree_with_distance_transforms(compare, tmp_path, monkeypatch, tolerance):
    """On pixels of 10 x 20 m; the outline is where SciPy's erosion takes pixels away, but not at the raster's edge."""
    monkeypatch.setattr(tally, "ROWS", 8)
    mapped, reference = blobs(seed=4), blobs(seed=5)
    where = from_origin(LEFT, TOP, 10, 20)
    write_raster(tmp_path / "map.tif", [mapped], where)
    write_raster(tmp_path / "ref.tif", [reference], where)
    boundary = compare("map.tif", "ref.tif", TOLERANCE=tolerance)["boundary"]
    edges = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (mapped == 1, reference == 1)]
    near = [ndimage.distance_transform_edt(~edge, sampling=(20, 10)) <= tolerance + 0.02 for edge in edges]
    precision, recall = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    assert boundary["precision"] == pytest.approx(precision) and boundary["recall"] == pytest.approx(recall)
    assert boundary["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_equal_maps_agree_in_everything(compare, tmp_path):
    write_raster(tmp_path / "map.tif", [blobs()])
    scores = compare("map.tif", "map.tif")
    assert scores["pixels"]["dice"] == scores["boundary"]["f1"] == scores["objects"]["f1"] == 1
    assert scores["objects"]["detected_share"] == 1 and scores["objects"]["false"] == 0
    assert not scores["shift"]["significant"] and scores["shift"]["distance_m"] == 0
    assert scores["half_recall"]["reason"].startswith("all of the")
    empty = write_raster(tmp_path / "empty.tif", [np.zeros((90, 110), np.uint8)])
    scores = compare("empty.tif", empty)  # nothing where nothing is to be found is right
    assert scores["pixels"]["dice"] == scores["boundary"]["f1"] == scores["objects"]["f1"] == 1
    assert compare("map.tif", empty)["boundary"]["f1"] == 0


# ---------------------------------------------------------------------- objects


def test_areas_in_degrees_are_those_of_geodesics(compare, tmp_path):
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 5:25, 10:40] = 1
    where = from_origin(25.0, 60.0, 2e-4, 1e-4)  # at 60 degrees a degree of longitude is half as long
    write_raster(tmp_path / "map.tif", mask, where, "EPSG:4326")
    scores = compare("map.tif", "map.tif")
    west, north = where @ (10, 5)
    east, south = where @ (40, 25)
    exact = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.box(west, south, east, north))[0])
    assert scores["area_m2"]["map"] == pytest.approx(exact, rel=1e-5)
    table = rows(tmp_path / "out" / "objects.csv")
    assert [float(row["area_m2"]) for row in table] == pytest.approx([exact] * 2, rel=1e-5)
    assert float(table[0]["lon"]) == pytest.approx((west + east) / 2, abs=1e-6)


def test_objects_are_those_of_scipy_whatever_the_strips(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "ROWS", 5)
    mapped, reference = blobs(seed=6), blobs(seed=7)
    write_raster(tmp_path / "map.tif", [mapped])
    write_raster(tmp_path / "ref.tif", [reference])
    objects = compare("map.tif", "ref.tif")["objects"]
    (one, count), (other, others) = ndimage.label(mapped), ndimage.label(reference)
    assert (objects["map"], objects["reference"]) == (count, others)
    common = np.zeros((count + 1, others + 1))
    np.add.at(common, (one.ravel(), other.ravel()), 1)
    union = common.sum(1, keepdims=True) + common.sum(0) - common
    iou = (common / union)[1:, 1:]
    best = optimize.linear_sum_assignment(np.where(iou >= 0.5, iou, 0), maximize=True)
    assert objects["matched"] == (iou[best] >= 0.5).sum()
    covered = 1 - common[0, 1:] / common.sum(0)[1:]
    assert objects["detected"] == (covered >= 0.5).sum()
    assert objects["false"] == (1 - common[1:, 0] / common.sum(1)[1:] < 0.1).sum()


def test_one_to_one_and_many_to_one_are_told_apart(compare, tmp_path):
    """Two halves of the map find a landslide that neither matches; a large object finds a small landslide as well."""
    write_shapes(tmp_path / "ref.gpkg", box(10, 10, 10, 10), box(40, 40, 3, 3), box(70, 70, 10, 10))
    mapped = np.zeros((1, 90, 110), np.uint8)
    mapped[0, 10:20, 10:14] = mapped[0, 10:20, 15:19] = 1  # 80 of 100 pixels, in two parts
    mapped[0, 35:48, 35:48] = 1  # 9 of its 169 pixels on the reference
    mapped[0, 70:80, 72:80] = 1
    write_raster(tmp_path / "map.tif", mapped)
    objects = compare("map.tif", "ref.gpkg")["objects"]
    assert (objects["detected"], objects["matched"], objects["false"]) == (3, 1, 1)
    assert objects["precision"] == pytest.approx(1 / 4) and objects["recall"] == pytest.approx(1 / 3)
    table = [row for row in rows(tmp_path / "out" / "objects.csv") if row["side"] == "reference"]
    assert sorted(float(row["overlap"]) for row in table) == pytest.approx([0.8, 0.8, 1])
    assert sorted(float(row["iou"]) for row in table) == pytest.approx([9 / 169, 0.4, 0.8], abs=1e-4)
    sizes = rows(tmp_path / "out" / "by_size.csv")
    assert [row["reference"] for row in sizes] == ["1", "0", "2", "0", "0", "0", "3"]
    assert [row["false"] for row in sizes] == ["0", "0", "0", "1", "0", "0", "1"]


def test_every_polygon_counts_once(compare, tmp_path):
    """Parts of a multipolygon, a landslide smaller than a pixel, one on top of another, and a duplicate."""
    write_raster(tmp_path / "map.tif", np.zeros((1, 90, 110), np.uint8))
    small = shapely.box(LEFT + 601, TOP - 603, LEFT + 603, TOP - 601)  # without the centre of a pixel
    parts = shapely.MultiPolygon([box(2, 2, 4, 4), box(2, 20, 4, 4)])
    shapes = parts, small, box(30, 30, 10, 10), box(33, 33, 3, 3), box(33, 33, 3, 3)
    write_shapes(tmp_path / "ref.gpkg", *shapes)
    objects = compare("map.tif", "ref.gpkg")["objects"]
    assert objects["reference"] == 5 and objects["reference_covered"] == 1
    areas = sorted(float(row["area_m2"]) for row in rows(tmp_path / "out" / "objects.csv"))
    assert areas == pytest.approx([100, 900, 1600, 1600, 9100], rel=1e-3)


def test_objects_mostly_on_ground_not_judged_are_left_out(compare, tmp_path):
    mapped = np.zeros((1, 90, 110), np.uint8)
    mapped[0, 20:30, 20:30] = mapped[0, 60:70, 47:57] = 1
    write_raster(tmp_path / "map.tif", mapped)
    write_shapes(tmp_path / "ref.gpkg", box(20, 20, 10, 10), box(60, 47, 10, 10))
    write_shapes(tmp_path / "area.gpkg", box(0, 0, 90, 50))
    scores = compare("map.tif", "ref.gpkg", "area.gpkg")
    assert scores["objects"]["reference"] == scores["objects"]["map"] == 1
    assert scores["objects"]["reference_cut"] == scores["objects"]["map_cut"] == 1
    assert scores["pixels"]["tp"] == 130, "their pixels count all the same"


def test_projections_and_kinds_of_files_do_not_matter(compare, tmp_path):
    """A reference in degrees, and as a raster on another grid, scores as the polygons in the map's projection."""
    write_raster(tmp_path / "map.tif", [blobs(100, 110, seed=8)])
    shapes = [shapely.box(LEFT + x, TOP - y - 90, LEFT + x + 140, TOP - y) for x, y in ((52, 33), (431, 302), (700, 8))]
    write_shapes(tmp_path / "ref.gpkg", *shapes)
    write_shapes(tmp_path / "degrees.geojson", *in_degrees(map(shapely.force_3d, shapes)), crs=4326)
    first = compare("map.tif", "ref.gpkg")
    again = compare("map.tif", "degrees.geojson")
    assert again["pixels"] == first["pixels"] and again["objects"] == first["objects"]
    fine = rasterize(shapes, (700, 700), transform=from_origin(LEFT - 200, TOP + 300, 2, 2), dtype="float32")
    write_raster(tmp_path / "fine.tif", [fine], from_origin(LEFT - 200, TOP + 300, 2, 2), nodata=0)
    assert compare("map.tif", "fine.tif")["pixels"] == first["pixels"]
    write_raster(tmp_path / "white.tif", [blobs(100, 110, seed=8) * np.uint8(255)])
    assert compare("white.tif", "ref.gpkg")["pixels"] == first["pixels"]


def test_two_inventories_are_compared_inside_the_area_alone(compare, tmp_path):
    shapes = box(10, 10, 10, 10), box(40, 40, 10, 10), box(80, 80, 10, 10)
    write_shapes(tmp_path / "one.gpkg", *shapes)
    write_shapes(tmp_path / "other.gpkg", *shapes[1:])
    slant = shapely.Polygon([(LEFT, TOP), (LEFT + 1000, TOP), (LEFT, TOP - 1000)])  # the last lies beyond its long side
    write_shapes(tmp_path / "area.gpkg", slant)
    scores = compare("one.gpkg", "other.gpkg", "area.gpkg", RESOLUTION=5.0)
    assert scores["pixel_m"] == pytest.approx([5, 5], rel=1e-3)
    assert scores["count"]["map"] == scores["count"]["map_judged"] == 2 and scores["count"]["reference_judged"] == 1
    assert scores["area_m2"]["map"] == pytest.approx(scores["area_m2"]["map_judged"])
    assert scores["area_m2"]["map"] == pytest.approx(20_000, rel=1e-2)
    assert scores["objects"]["precision"] == 0.5 and scores["objects"]["recall"] == 1


def test_the_geopackage_of_a_map_scores_as_its_mask(compare, tmp_path):
    mask = blobs(seed=9)
    mask[60:, :40] = HIDDEN
    probability = np.where(mask == 1, 0.9, 0.1).astype(np.float32)
    probability[:, 55:] = np.where(mask[:, 55:] == 1, 0.6, 0.1)
    rasters = write_raster(tmp_path / "m.tif", [mask], nodata=255), write_raster(tmp_path / "p.tif", [probability])
    about = {"run": "x"}
    table = polygons.landslides(*rasters)
    geopackage.write(tmp_path / "m.gpkg", table, polygons.seen_ground(rasters[0]), about, datetime.now(UTC))
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    first, second = (compare(name, "ref.gpkg") for name in ("m.tif", "m.gpkg"))
    assert second["objects"] == first["objects"] and second["pixels"]["dice"] == first["pixels"]["dice"]
    assert second["pixels"]["tn"] == first["pixels"]["tn"], "what was not seen counts nowhere"
    sure = compare("m.gpkg", "ref.gpkg", MIN_CONFIDENCE=0.85)
    assert 0 < sure["objects"]["map"] < second["objects"]["map"]
