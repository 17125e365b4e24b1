"""Shift, size found, area and number against scikit-learn and the figures of Olofsson et al. 2014."""

import numpy as np
import pytest
import shapely
from sklearn import linear_model

from scenes.comparing import agreement, estimates, picture
from tests.comparison import blobs, scattered
from tests.rasters import box, in_degrees, write_raster, write_shapes

# ---------------------------------------------------------------------- shift


@pytest.mark.parametrize(
    ("east", "north", "shift"),
    [(10, 10, "14 m to the north-east"), (-20, 0, "20 m to the west"), (0, -6, "6.0 m to the south")],
)
def test_a_shifted_inventory_is_told(compare, tmp_path, capsys, east, north, shift):
    shapes = scattered()
    write_shapes(tmp_path / "map.gpkg", *shapes)
    moved = [shapely.affinity.translate(each, east, north) for each in shapes]
    write_shapes(tmp_path / "ref.shp", *in_degrees(moved), crs=4326)
    write_shapes(tmp_path / "area.gpkg", box(-10, 0, 170, 250))
    compare("map.gpkg", "ref.shp", "area.gpkg", RESOLUTION=2.0)
    assert f"the reference lies {shift}" in capsys.readouterr().out


def test_a_shift_is_told_if_it_is_no_chance():
    rng = np.random.default_rng(0)
    reported = [agreement.shift(*rng.normal(0, 10, (2, 15)))["significant"] for _ in range(400)]
    assert np.mean(reported) < 0.08, "at most one in twenty unshifted inventories, and a little"
    six, seven = (agreement.shift(np.full(n, 10.0), np.zeros(n)) for n in (6, 7))
    assert not six["significant"] and seven["significant"] and seven["direction"] == "east"
    names = [
        agreement.shift(np.full(9, x), np.full(9, y))["direction"] for x, y in ((1, 1), (-3, -3), (-5, 1), (1, -9))
    ]
    assert names == ["north-east", "south-west", "west", "south"]


def test_what_the_picture_says_of_a_shift_has_its_subject(compare, tmp_path, monkeypatch):
    notes, draw = [], picture.draw
    monkeypatch.setattr(picture, "draw", lambda *arguments: notes.append(arguments[5]) or draw(*arguments))
    write_raster(tmp_path / "map.tif", [blobs(seed=1)])
    write_raster(tmp_path / "ref.tif", [blobs(seed=2)])
    pairs = compare("map.tif", "ref.tif")["shift"]["pairs"]
    assert notes[0][0] == f"no significant shift between map and reference, from {pairs} pairs of objects"


# ---------------------------------------------------------------------- the size found


def test_the_curve_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    x = rng.normal(3, 0.7, 200)
    detected = rng.random(200) < 1 / (1 + np.exp(-3 * (x - 3.2)))
    weights = rng.integers(0, 4, (5, 200))
    intercepts, slopes = agreement.logistic(x, detected, weights)
    for intercept, slope, weight in zip(intercepts, slopes, weights, strict=True):
        model = linear_model.LogisticRegression(C=1e6, tol=1e-10, max_iter=1000).fit(x[:, None], detected, weight)
        assert slope == pytest.approx(model.coef_[0, 0], rel=1e-3)
        assert intercept == pytest.approx(model.intercept_[0], rel=1e-3)


def test_the_size_found_is_near_the_truth_and_its_interval_holds_it():
    hits, halves = 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        area = 10 ** rng.normal(3, 0.7, 150)
        detected = rng.random(150) < 1 / (1 + (1500 / area) ** 1.3)
        half = agreement.half_recall_size(area, detected, 200, seed)
        halves.append(half["area_m2"])
        hits += half["low"] <= 1500 <= half["high"]
    assert np.median(halves) == pytest.approx(1500, rel=0.1) and hits >= 34  # 38 expected


def test_the_size_found_is_not_told_where_it_cannot_be():
    area = np.geomspace(100, 1e5, 40)
    parted = agreement.half_recall_size(area, area > 2000)
    assert parted["area_m2"] == pytest.approx(2000, rel=0.15)
    alternating = np.arange(40) % 2 == 0
    for detected, reason in (
        (np.ones(40, bool), "all of the 40"),
        (np.zeros(40, bool), "none of the 40"),
        (alternating, "does not clearly grow"),
        (area < 2000, "does not clearly grow"),
    ):
        assert reason in agreement.half_recall_size(area, detected)["reason"]
    assert "only 9 landslides" in agreement.half_recall_size(area[:9], alternating[:9])["reason"]
    rising = np.random.default_rng(0).random(4000) < np.linspace(0.6, 0.95, 4000)
    assert "below the smallest, 100 m2" in agreement.half_recall_size(np.geomspace(100, 1e5, 4000), rising)["reason"]


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
    landslide_share = rng.beta(0.3, 6, 900)  # of landslide
    mapped = np.clip(landslide_share * rng.beta(4, 1, 900) + 0.02 * rng.random(900), 0, 1)  # share called landslide
    right = np.minimum(mapped, landslide_share) * rng.beta(6, 1, 900)  # of it rightly
    sampled = np.column_stack([1 - mapped, mapped]) * 2500
    reference = np.column_stack([landslide_share - right, right]) * 2500
    hits, naive = 0, 0
    for _ in range(300):
        known = rng.choice(900, 60, replace=False)
        estimate = estimates.stratified_total(reference[known], sampled[known], sampled.sum(0), 60 / 900)
        low, high = estimates.interval(estimate)
        truth, rates = reference.sum(), reference[known].sum(0) / sampled[known].sum(0)
        hits += low <= truth <= high
        narrow = np.sqrt((sampled.sum(0) ** 2 * rates * (1 - rates) / sampled[known].sum(0)).sum())
        naive += abs(estimate[0] - truth) <= 1.96 * narrow
    assert 0.9 <= hits / 300 <= 0.99 and naive / 300 < 0.5


def test_what_is_known_everywhere_is_not_estimated(compare, tmp_path):
    mapped, reference = blobs(200, 200, 120, 1), blobs(200, 200, 120, 2)
    write_raster(tmp_path / "map.tif", [mapped])
    write_raster(tmp_path / "ref.tif", [reference])
    write_shapes(tmp_path / "half.gpkg", box(0, 0, 200, 100))
    for area, known in (("", True), ("half.gpkg", False)):
        scores = compare("map.tif", "ref.tif", area, BLOCK=200.0)
        assert ("reason" in scores["area_m2"]) == known
    part, pixel = scores["area_m2"], scores["area_m2"]["whole_map"] / 40_000
    assert part["reference_judged"] == pytest.approx(reference[:, :100].sum() * pixel, rel=1e-3)
    shares = [reference[:, :100][mapped[:, :100] == kind].mean() for kind in (0, 1)]
    expected = sum(landslide_share * (mapped == kind).sum() for kind, landslide_share in enumerate(shares)) * pixel
    assert part["estimate"] == pytest.approx(expected, rel=1e-3)
    assert part["low"] < reference.sum() * pixel < part["high"]
    count = scores["count"]
    assert count["estimate"] == pytest.approx(count["reference_judged"] / count["map_judged"] * count["map"])
