"""compare_maps.py against scikit-learn, SciPy, geodesics, the figures of Olofsson et al. 2014, and known ground."""

import json
import os
from datetime import UTC, datetime

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin
from scipy import ndimage, optimize
from sklearn import linear_model
from sklearn import metrics as sk

import compare_maps
import script
from mask_values import HIDDEN
from scenes import geopackage, polygons
from scenes.comparing import agreement, estimates, tally
from tests.conftest import assert_user_error, rows, run_script
from tests.test_scene import UTM, write_raster

DEFAULTS = {name: value for name, (value, *_) in script.constants(vars(compare_maps)).items()}
LEFT, TOP = 300000, 1500000  # the corner of write_raster's rasters, pixels of 10 m
WHERE = from_origin(LEFT, TOP, 10, 10)


@pytest.fixture
def compare(tmp_path, monkeypatch):
    """Run compare_maps.main() in this process and return (scores.json, the output folder)."""
    monkeypatch.chdir(tmp_path)

    def run(mapped, reference, area="", **constants):
        chosen = {"MAP": str(mapped), "REFERENCE": str(reference), "AREA": str(area), "OUT_DIR": "out"}
        for name, value in (DEFAULTS | {"OVERWRITE": True, "BOOTSTRAP": 200} | chosen | constants).items():
            monkeypatch.setattr(compare_maps, name, value)
        compare_maps.main()
        return json.loads((tmp_path / "out" / "scores.json").read_text())

    return run


def blobs(height=90, width=110, number=30, seed=0):
    """A mask of rectangles of many sizes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(number):
        top, left = rng.integers(0, (height, width))
        down, right = rng.integers(1, 12, 2)
        mask[top : top + down, left : left + right] = 1
    return mask


def box(top, left, bottom, right):
    """The ground of some rows and columns of the rasters."""
    return shapely.box(LEFT + 10 * left, TOP - 10 * bottom, LEFT + 10 * right, TOP - 10 * top)


def write_shapes(path, *shapes, crs=UTM, **form):
    geopandas.GeoDataFrame(geometry=list(shapes), crs=UTM).to_crs(crs).to_file(path, **form)
    return path


def cells(*places, seed=0):
    """Squares far from one another, with sides of 30 to 200 m."""
    rng = np.random.default_rng(seed)
    sides = 10 * rng.integers(3, 21, len(places))
    return [shapely.box(x, y, x + side, y + side) for (x, y), side in zip(places, sides, strict=True)]


def scattered(number=40):
    """Squares on a lattice of 300 m, within 2400 m by 1500 m."""
    return cells(*[(LEFT + 50 + 300 * (i % 8), TOP - 290 - 300 * (i // 8)) for i in range(number)])


# ---------------------------------------------------------------------- pixels and boundaries


def test_pixel_scores_are_those_of_scikit_learn_where_the_map_was_judged(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "ROWS", 7)  # many strips
    mapped, reference = blobs(seed=1), blobs(seed=2)
    mapped[:10], mapped[10:20, :30], mapped[80:] = 255, 254, 253
    write_raster(tmp_path / "map.tif", [mapped], nodata=255)
    write_raster(tmp_path / "ref.tif", [reference])
    write_shapes(tmp_path / "area.gpkg", box(5, 8, 85, 100))
    judged = np.zeros(mapped.shape, bool)
    judged[5:85, 8:100] = True
    judged &= mapped < 2
    found = compare("map.tif", "ref.tif", "area.gpkg")["pixels"]
    truth, said = reference[judged], mapped[judged]
    assert found["tp"] + found["fp"] + found["fn"] + found["tn"] == judged.sum()
    assert found["dice"] == pytest.approx(sk.f1_score(truth, said))
    assert found["iou"] == pytest.approx(sk.jaccard_score(truth, said))
    assert found["precision"] == pytest.approx(sk.precision_score(truth, said))
    assert found["recall"] == pytest.approx(sk.recall_score(truth, said))


@pytest.mark.parametrize("form", ["uint8", "float32"])
def test_probabilities_take_the_threshold_of_the_file(compare, tmp_path, form):
    rng = np.random.default_rng(3)
    reference = blobs(seed=3)
    percent = np.clip(np.round(reference * 30 + 100 * rng.random(reference.shape) ** 2), 0, 100)
    percent[:5] = 255
    values = percent.astype(np.uint8) if form == "uint8" else np.where(percent > 100, np.nan, percent / 100)
    path = write_raster(
        tmp_path / "p.tif", [values.astype(form)], nodata=255 if form == "uint8" else np.nan, tiled=True
    )
    write_raster(tmp_path / "ref.tif", [reference])
    with pytest.raises(script.UserError, match="of probabilities say from which on"):
        compare("p.tif", "ref.tif")
    with rasterio.open(path, "r+") as file:
        file.update_tags(threshold="0.400")
    for given, used in ((None, 0.4), (0.55, 0.55)):
        found = compare("p.tif", "ref.tif", THRESHOLD=given)["pixels"]
        truth, share = reference[5:].ravel(), percent[5:].ravel() / 100
        assert found["dice"] == pytest.approx(sk.f1_score(truth, share.astype(np.float32) >= np.float32(used)))
        assert found["average_precision"] == pytest.approx(sk.average_precision_score(truth, share), abs=1e-6)


@pytest.mark.parametrize("tolerance", [0.0, 10.0, 25.0])
def test_boundaries_agree_with_distance_transforms(compare, tmp_path, monkeypatch, tolerance):
    """On pixels of 10 x 20 m; the outline is where SciPy's erosion takes pixels away, but not at the raster's edge."""
    monkeypatch.setattr(tally, "ROWS", 8)
    mapped, reference = blobs(seed=4), blobs(seed=5)
    where = from_origin(LEFT, TOP, 10, 20)
    write_raster(tmp_path / "map.tif", [mapped], where)
    write_raster(tmp_path / "ref.tif", [reference], where)
    found = compare("map.tif", "ref.tif", TOLERANCE=tolerance)["boundary"]
    edges = [mask & ~ndimage.binary_erosion(mask, border_value=1) for mask in (mapped == 1, reference == 1)]
    near = [ndimage.distance_transform_edt(~edge, sampling=(20, 10)) <= tolerance + 0.02 for edge in edges]
    precision, recall = near[1][edges[0]].mean(), near[0][edges[1]].mean()
    assert found["precision"] == pytest.approx(precision) and found["recall"] == pytest.approx(recall)
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_equal_maps_agree_in_everything(compare, tmp_path):
    write_raster(tmp_path / "map.tif", [blobs()])
    found = compare("map.tif", "map.tif")
    assert found["pixels"]["dice"] == found["boundary"]["f1"] == found["objects"]["f1"] == 1
    assert found["objects"]["found_share"] == 1 and found["objects"]["false"] == 0
    assert not found["shift"]["told"] and found["shift"]["distance_m"] == 0
    assert found["half_found"]["reason"].startswith("all of the")
    empty = write_raster(tmp_path / "empty.tif", [np.zeros((90, 110), np.uint8)])
    found = compare("empty.tif", empty)  # nothing where nothing is to be found is right
    assert found["pixels"]["dice"] == found["boundary"]["f1"] == found["objects"]["f1"] == 1
    assert compare("map.tif", empty)["boundary"]["f1"] == 0


# ---------------------------------------------------------------------- objects


def test_areas_in_degrees_are_those_of_geodesics(compare, tmp_path):
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 5:25, 10:40] = 1
    where = from_origin(25.0, 60.0, 2e-4, 1e-4)  # at 60 degrees a degree of longitude is half as long
    write_raster(tmp_path / "map.tif", mask, where, "EPSG:4326")
    found = compare("map.tif", "map.tif")
    west, north = where @ (10, 5)
    east, south = where @ (40, 25)
    exact = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapely.box(west, south, east, north))[0])
    assert found["area_m2"]["map"] == pytest.approx(exact, rel=1e-5)
    table = rows(tmp_path / "out" / "objects.csv")
    assert [float(row["area_m2"]) for row in table] == pytest.approx([exact] * 2, rel=1e-5)
    assert float(table[0]["lon"]) == pytest.approx((west + east) / 2, abs=1e-6)


def test_objects_are_those_of_scipy_whatever_the_strips(compare, tmp_path, monkeypatch):
    monkeypatch.setattr(tally, "ROWS", 5)
    mapped, reference = blobs(seed=6), blobs(seed=7)
    write_raster(tmp_path / "map.tif", [mapped])
    write_raster(tmp_path / "ref.tif", [reference])
    found = compare("map.tif", "ref.tif")["objects"]
    (one, count), (other, others) = ndimage.label(mapped), ndimage.label(reference)
    assert (found["map"], found["reference"]) == (count, others)
    common = np.zeros((count + 1, others + 1))
    np.add.at(common, (one.ravel(), other.ravel()), 1)
    union = common.sum(1, keepdims=True) + common.sum(0) - common
    iou = (common / union)[1:, 1:]
    best = optimize.linear_sum_assignment(np.where(iou >= 0.5, iou, 0), maximize=True)
    assert found["matched"] == (iou[best] >= 0.5).sum()
    covered = 1 - common[0, 1:] / common.sum(0)[1:]
    assert found["found"] == (covered >= 0.5).sum()
    assert found["false"] == (1 - common[1:, 0] / common.sum(1)[1:] < 0.1).sum()


def test_one_to_one_and_many_to_one_are_told_apart(compare, tmp_path):
    """Two halves of the map find a landslide that neither matches; a large object finds a small landslide as well."""
    write_shapes(tmp_path / "ref.gpkg", box(10, 10, 20, 20), box(40, 40, 43, 43), box(70, 70, 80, 80))
    mapped = np.zeros((1, 90, 110), np.uint8)
    mapped[0, 10:20, 10:14] = mapped[0, 10:20, 15:19] = 1  # 80 of 100 pixels, in two parts
    mapped[0, 35:48, 35:48] = 1  # 9 of its 169 pixels on the reference
    mapped[0, 70:80, 72:80] = 1
    write_raster(tmp_path / "map.tif", mapped)
    found = compare("map.tif", "ref.gpkg")["objects"]
    assert (found["found"], found["matched"], found["false"]) == (3, 1, 1)
    assert found["precision"] == pytest.approx(1 / 4) and found["recall"] == pytest.approx(1 / 3)
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
    parts = shapely.MultiPolygon([box(2, 2, 6, 6), box(2, 20, 6, 24)])
    shapes = parts, small, box(30, 30, 40, 40), box(33, 33, 36, 36), box(33, 33, 36, 36)
    write_shapes(tmp_path / "ref.gpkg", *shapes)
    found = compare("map.tif", "ref.gpkg")["objects"]
    assert found["reference"] == 5 and found["reference_covered"] == 1
    areas = sorted(float(row["area_m2"]) for row in rows(tmp_path / "out" / "objects.csv"))
    assert areas == pytest.approx([100, 900, 1600, 1600, 9100], rel=1e-3)


def test_objects_mostly_on_ground_not_judged_are_left_out(compare, tmp_path):
    mapped = np.zeros((1, 90, 110), np.uint8)
    mapped[0, 20:30, 20:30] = mapped[0, 60:70, 47:57] = 1
    write_raster(tmp_path / "map.tif", mapped)
    write_shapes(tmp_path / "ref.gpkg", box(20, 20, 30, 30), box(60, 47, 70, 57))
    write_shapes(tmp_path / "area.gpkg", box(0, 0, 90, 50))
    found = compare("map.tif", "ref.gpkg", "area.gpkg")
    assert found["objects"]["reference"] == found["objects"]["map"] == 1
    assert found["objects"]["reference_cut"] == found["objects"]["map_cut"] == 1
    assert found["pixels"]["tp"] == 130, "their pixels count all the same"


def test_projections_and_kinds_of_files_do_not_matter(compare, tmp_path):
    """A reference in degrees, and as a raster on another grid, scores as the polygons in the map's projection."""
    write_raster(tmp_path / "map.tif", [blobs(100, 110, seed=8)])
    shapes = [shapely.box(LEFT + x, TOP - y - 90, LEFT + x + 140, TOP - y) for x, y in ((52, 33), (431, 302), (700, 8))]
    write_shapes(tmp_path / "ref.gpkg", *shapes)
    write_shapes(tmp_path / "degrees.geojson", *[shapely.force_3d(each) for each in shapes], crs=4326)
    first = compare("map.tif", "ref.gpkg")
    again = compare("map.tif", "degrees.geojson")
    assert again["pixels"] == first["pixels"] and again["objects"] == first["objects"]
    fine = rasterize(shapes, (700, 700), transform=from_origin(LEFT - 200, TOP + 300, 2, 2), dtype="float32")
    write_raster(tmp_path / "fine.tif", [fine], from_origin(LEFT - 200, TOP + 300, 2, 2), nodata=0)
    assert compare("map.tif", "fine.tif")["pixels"] == first["pixels"]
    write_raster(tmp_path / "white.tif", [blobs(100, 110, seed=8) * np.uint8(255)])
    assert compare("white.tif", "ref.gpkg")["pixels"] == first["pixels"]


def test_two_inventories_are_compared_inside_the_area_alone(compare, tmp_path):
    shapes = box(10, 10, 20, 20), box(40, 40, 50, 50), box(80, 80, 90, 90)
    write_shapes(tmp_path / "one.gpkg", *shapes)
    write_shapes(tmp_path / "other.gpkg", *shapes[1:])
    slant = shapely.Polygon([(LEFT, TOP), (LEFT + 1000, TOP), (LEFT, TOP - 1000)])  # the last lies beyond its long side
    write_shapes(tmp_path / "area.gpkg", slant)
    found = compare("one.gpkg", "other.gpkg", "area.gpkg", RESOLUTION=5.0)
    assert found["pixel_m"] == pytest.approx([5, 5], rel=1e-3)
    assert found["count"]["map"] == found["count"]["map_judged"] == 2 and found["count"]["reference_judged"] == 1
    assert found["area_m2"]["map"] == pytest.approx(found["area_m2"]["map_judged"])
    assert found["area_m2"]["map"] == pytest.approx(20_000, rel=1e-2)
    assert found["objects"]["precision"] == 0.5 and found["objects"]["recall"] == 1


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


# ---------------------------------------------------------------------- shift


@pytest.mark.parametrize(
    ("east", "north", "told"),
    [(10, 10, "14 m to the north-east"), (-20, 0, "20 m to the west"), (0, -6, "6.0 m to the south")],
)
def test_a_shifted_inventory_is_told(compare, tmp_path, capsys, east, north, told):
    shapes = scattered()
    write_shapes(tmp_path / "map.gpkg", *shapes)
    moved = [shapely.affinity.translate(each, east, north) for each in shapes]
    write_shapes(tmp_path / "ref.shp", *moved, crs=4326)
    write_shapes(tmp_path / "area.gpkg", shapely.box(LEFT, TOP - 1600, LEFT + 2500, TOP + 100))
    compare("map.gpkg", "ref.shp", "area.gpkg", RESOLUTION=2.0)
    assert f"the reference lies {told}" in capsys.readouterr().out


def test_a_shift_is_told_if_it_is_no_chance():
    rng = np.random.default_rng(0)
    told = [agreement.shift(*rng.normal(0, 10, (2, 15)))["told"] for _ in range(400)]
    assert np.mean(told) < 0.08, "at most one in twenty unshifted inventories, and a little"
    six, seven = (agreement.shift(np.full(n, 10.0), np.zeros(n)) for n in (6, 7))
    assert not six["told"] and seven["told"] and seven["direction"] == "east"
    names = [
        agreement.shift(np.full(9, x), np.full(9, y))["direction"] for x, y in ((1, 1), (-3, -3), (-5, 1), (1, -9))
    ]
    assert names == ["north-east", "south-west", "west", "south"]


# ---------------------------------------------------------------------- the size found


def test_the_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    x = rng.normal(3, 0.7, 200)
    found = rng.random(200) < 1 / (1 + np.exp(-3 * (x - 3.2)))
    weights = rng.integers(0, 4, (5, 200))
    intercepts, slopes = agreement.logistic(x, found, weights)
    for intercept, slope, weight in zip(intercepts, slopes, weights, strict=True):
        model = linear_model.LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(x[:, None], found, weight)
        assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
        assert intercept == pytest.approx(model.intercept_[0], rel=1e-3)


def test_the_size_found_is_near_the_truth_and_its_interval_holds_it():
    hits, halves = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        area = 10 ** rng.normal(3, 0.7, 150)
        found = rng.random(150) < 1 / (1 + (1500 / area) ** 1.3)
        half = agreement.half_found(area, found, 200, seed)
        halves.append(half["area_m2"])
        hits += half["low"] <= 1500 <= half["high"]
    assert np.median(halves) == pytest.approx(1500, rel=0.1) and hits >= 34  # 38 expected


def test_the_size_found_is_not_told_where_it_cannot_be():
    area = np.geomspace(100, 1e5, 40)
    parted = agreement.half_found(area, area > 2000)
    assert parted["area_m2"] == pytest.approx(2000, rel=0.15)
    alternating = np.arange(40) % 2 == 0
    for found, reason in (
        (np.ones(40, bool), "all of the 40"),
        (np.zeros(40, bool), "none of the 40"),
        (alternating, "does not clearly grow"),
        (area < 2000, "does not clearly grow"),
    ):
        assert reason in agreement.half_found(area, found)["reason"]
    assert "only 9 landslides" in agreement.half_found(area[:9], alternating[:9])["reason"]
    rising = np.random.default_rng(0).random(4000) < np.linspace(0.6, 0.95, 4000)
    assert "below the smallest, 100 m2" in agreement.half_found(np.geomspace(100, 1e5, 4000), rising)["reason"]


# ---------------------------------------------------------------------- area and number


def test_areas_are_those_of_olofsson_et_al_2014():
    """Their example: error matrix in Table 8, and 95 % intervals of four classes in section 5.2."""
    matrix = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    mapped = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 0.09  # hectares
    points = [(i, j) for i, row in enumerate(matrix) for j, number in enumerate(row) for _ in range(number)]
    sampled = np.array([np.eye(4)[i] for i, _ in points])
    published = ((21_158, 6_158), (11_686, 3_756), (285_770, 15_510), (581_386, 16_282))
    for kind, (area, half) in enumerate(published):
        reference = sampled * np.array([[j == kind] for _, j in points])
        total, error, freedom = estimates.stratified_total(reference, sampled, mapped)
        assert total == pytest.approx(area, abs=0.5) and 1.96 * error == pytest.approx(half, abs=0.5)
        assert freedom == 74


def test_blocks_of_like_pixels_give_intervals_that_hold_the_truth():
    """Ground of 900 blocks that differ; 60 of them known. Pixels taken as independent would say far too little."""
    rng = np.random.default_rng(0)
    share = rng.beta(0.3, 6, 900)  # of landslide
    mapped = np.clip(share * rng.beta(4, 1, 900) + 0.02 * rng.random(900), 0, 1)  # share called landslide
    right = np.minimum(mapped, share) * rng.beta(6, 1, 900)  # of it rightly
    sampled = np.column_stack([1 - mapped, mapped]) * 2500
    reference = np.column_stack([share - right, right]) * 2500
    hits, naive = 0, 0
    for _ in range(300):
        known = rng.choice(900, 60, replace=False)
        found = estimates.stratified_total(reference[known], sampled[known], sampled.sum(0), 60 / 900)
        low, high = estimates.interval(found)
        truth, rates = reference.sum(), reference[known].sum(0) / sampled[known].sum(0)
        hits += low <= truth <= high
        narrow = np.sqrt((sampled.sum(0) ** 2 * rates * (1 - rates) / sampled[known].sum(0)).sum())
        naive += abs(found[0] - truth) <= 1.96 * narrow
    assert 0.9 <= hits / 300 <= 0.99 and naive / 300 < 0.5


def test_what_is_known_everywhere_is_not_estimated(compare, tmp_path):
    mapped, reference = blobs(200, 200, 120, 1), blobs(200, 200, 120, 2)
    write_raster(tmp_path / "map.tif", [mapped])
    write_raster(tmp_path / "ref.tif", [reference])
    write_shapes(tmp_path / "half.gpkg", box(0, 0, 200, 100))
    for area, known in (("", True), ("half.gpkg", False)):
        found = compare("map.tif", "ref.tif", area, BLOCK=200.0)
        assert ("reason" in found["area_m2"]) == known
    part, pixel = found["area_m2"], found["area_m2"]["whole_map"] / 40_000
    assert part["reference_judged"] == pytest.approx(reference[:, :100].sum() * pixel, rel=1e-3)
    shares = [reference[:, :100][mapped[:, :100] == kind].mean() for kind in (0, 1)]
    expected = sum(share * (mapped == kind).sum() for kind, share in enumerate(shares)) * pixel
    assert part["estimate"] == pytest.approx(expected, rel=1e-3)
    assert part["low"] < reference.sum() * pixel < part["high"]
    count = found["count"]
    assert count["estimate"] == pytest.approx(count["reference_judged"] / count["map_judged"] * count["map"])


# ---------------------------------------------------------------------- files and mistakes


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


def no_crs(place):
    write_shapes(place / "bad.shp", box(1, 1, 9, 9))
    (place / "bad.prj").unlink()
    return "bad.shp"


def cut_raster(place):
    values = np.random.default_rng(0).integers(0, 2, (1, 90, 110), np.uint8)
    os.truncate(write_raster(place / "bad.tif", values), 5000)
    return "bad.tif"


def cut_vector(place):
    os.truncate(write_shapes(place / "bad.gpkg", *scattered()), 30_000)
    return "bad.gpkg"


def shapes_of(*shapes):
    return lambda place: write_shapes(place / "bad.gpkg", *shapes).name


def raster_of(value, **form):
    return lambda place: write_raster(place / "bad.tif", np.full((1, 90, 110), value), **form).name


FAULTS = {
    "REFERENCE": [
        (no_crs, "bad.shp: without a coordinate system"),
        (lambda place: "gone.gpkg", "gone.gpkg does not exist"),
        (cut_vector, "bad.gpkg cannot be read as a vector file"),
        (cut_raster, "bad.tif cannot be read: cut short or damaged"),
        (shapes_of(), "bad.gpkg holds no shapes: it is empty"),
        (
            shapes_of(shapely.LineString([(LEFT, TOP), (LEFT + 99, TOP - 99)])),
            "bad.gpkg holds LineString: only polygons",
        ),
        (shapes_of(box(900, 900, 910, 910)), "bad.gpkg: none of its 1 polygons lies over map.tif"),
        (raster_of(np.uint8(1), transform=from_origin(LEFT + 9e4, TOP, 10, 10)), "bad.tif does not lie over map.tif"),
        (raster_of(np.uint8(17)), "bad.tif holds 17: a mask holds 0 and 1"),
    ],
    "AREA": [
        (shapes_of(box(900, 900, 910, 910)), "bad.gpkg: none of its 1 polygons lies over map.tif"),
        (shapes_of(shapely.box(LEFT + 101, TOP - 104, LEFT + 104, TOP - 101)), "it is smaller than a pixel"),
        (shapes_of(), "bad.gpkg holds no shapes: it is empty"),
    ],
    "MAP": [
        (
            raster_of(np.float32(0.3)),
            "bad.tif holds 0.3: a mask holds 0 and 1; of probabilities say from which on",
        ),
        (raster_of(np.float32(3.5)), "bad.tif holds 3.5: a mask holds 0 and 1"),
        (raster_of(np.uint8(1), crs=None), "bad.tif has no coordinate system in which its pixels can be measured"),
        (raster_of(np.uint8(255), nodata=255), "bad.tif holds no ground that was judged"),
        (lambda place: write_raster(place / "bad.tif", np.zeros((3, 9, 9), np.uint8)).name, "bad.tif has 3 bands"),
        (shapes_of(box(1, 1, 9, 9)), "two vector files need --area"),
        (lambda place: "gone.tif", "gone.tif does not exist"),
    ],
}


@pytest.mark.parametrize(
    ("which", "make", "told"), [(which, *case) for which, cases in FAULTS.items() for case in cases]
)
def test_mistakes_are_told_in_one_line(compare, tmp_path, which, make, told):
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    given = {"MAP": "map.tif", "REFERENCE": "ref.gpkg", "AREA": ""} | {which: make(tmp_path)}
    with pytest.raises(script.UserError) as error:
        compare(given["MAP"], given["REFERENCE"], given["AREA"])
    text = script.with_flags(str(error.value), script.constants(vars(compare_maps)))
    assert told in text and "\n" not in text
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("constants", "told"),
    [
        ({"MAP": ""}, "no map to compare"),
        ({"THRESHOLD": 0.5}, "map.tif is a mask: --threshold is for probabilities"),
        ({"MAP": "ref.gpkg", "THRESHOLD": 0.5}, "ref.gpkg holds polygons: --threshold is for probabilities"),
        ({"MIN_CONFIDENCE": 0.5}, "map.tif is a raster: --min-confidence is for polygons"),
        ({"SIZES": (10.0, 5.0)}, "SIZES must rise"),
        ({"BLOCK": 0.0}, "BLOCK is 0.0"),
        ({"MAP": "ref.gpkg", "MIN_CONFIDENCE": 0.5}, "ref.gpkg has no column confidence"),
        ({"MAP": "ref.gpkg", "MAP_LAYER": "slides"}, r"ref.gpkg has no layer slides \(it has: ref\)"),
    ],
)
def test_settings_that_do_not_fit_are_told(compare, tmp_path, constants, told):
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    with pytest.raises(script.UserError, match=told):
        compare("map.tif", "ref.gpkg", **constants)


def test_all_layers_of_a_reference_count_unless_one_is_chosen(compare, tmp_path, capsys):
    shapes = scattered(12)
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "whole.gpkg", *shapes)
    for layer, part in (("north", shapes[:8]), ("south", shapes[8:])):
        write_shapes(tmp_path / "two.gpkg", *part, layer=layer)
    whole, both = (compare("map.tif", f"{name}.gpkg") for name in ("whole", "two"))
    assert both["pixels"] == whole["pixels"]
    assert "two.gpkg: its layers north, south are read together; --reference-layer takes one" in capsys.readouterr().out
    assert compare("map.tif", "two.gpkg", REFERENCE_LAYER="north")["pixels"]["tp"] < both["pixels"]["tp"]


def test_what_the_picture_says_of_a_shift_has_its_subject(compare, tmp_path, monkeypatch):
    from scenes.comparing import picture

    told, draw = [], picture.draw
    monkeypatch.setattr(picture, "draw", lambda *given: told.append(given[5]) or draw(*given))
    write_raster(tmp_path / "map.tif", [blobs(seed=1)])
    write_raster(tmp_path / "ref.tif", [blobs(seed=2)])
    pairs = compare("map.tif", "ref.tif")["shift"]["pairs"]
    assert told[0][0] == f"no shift between map and reference can be told from {pairs} pairs of objects"


def test_the_area_of_a_map_is_the_ground_that_was_judged(compare, tmp_path):
    write_raster(tmp_path / "map.tif", [blobs()])
    write_shapes(tmp_path / "ref.gpkg", *scattered(12))
    write_shapes(tmp_path / "area.gpkg", box(5, 8, 60, 70))
    write_shapes(tmp_path / "other.gpkg", box(10, 10, 20, 20), layer="landslides")
    write_shapes(tmp_path / "other.gpkg", box(5, 8, 60, 70), layer="seen")
    first, second = (compare("map.tif", "ref.gpkg", area) for area in ("area.gpkg", "other.gpkg"))
    assert first["pixels"] == second["pixels"]


def test_polygons_that_a_reviewer_refuted_do_not_count(compare, tmp_path, capsys):
    shapes = scattered()
    table = geopandas.GeoDataFrame({"Verdict": ["Not landslide "] + [None] * 39}, geometry=shapes, crs=UTM)
    table.to_file(tmp_path / "map.gpkg")
    write_shapes(tmp_path / "ref.gpkg", *shapes[1:])
    write_shapes(tmp_path / "area.gpkg", shapely.box(*shapely.total_bounds(shapes)))
    found = compare("map.gpkg", "ref.gpkg", "area.gpkg")
    assert found["pixels"]["dice"] == 1 and found["objects"]["map"] == 39
    assert "1 polygons are left out" in capsys.readouterr().out
