"""Size statistics of inventories: known distributions, SciPy, published figures and other people's programs."""

import json

import geopandas
import numpy as np
import pandas
import pytest
import shapely
from scipy import integrate, optimize, stats

from scenes import vectors
from scores import size_statistics as sizes
from tests.running import assert_user_error, rows, run_script

MALAMUD = sizes.InverseGamma(1.40, 1.28e3, -1.32e2)  # of three events, 1.28e-3 and -1.32e-4 km2, converted to m2
PARETO = sizes.DoublePareto(1.1, 2.2, 900.0, 50.0, 2e5)


def drawn(fit, number, seed, ends=(1e-3, 1e9)):
    """A sample of a distribution, by the inverse of its cumulative on a fine lattice."""
    lattice = np.geomspace(*ends, 200_001)
    return np.interp(np.random.default_rng(seed).random(number), fit.cdf(lattice), lattice)


def power_law(number, exponent, xmin, seed):
    return xmin * np.random.default_rng(seed).random(number) ** (-1 / (exponent - 1))


# ---------------------------------------------------------------------- distributions


@pytest.mark.parametrize(
    ("fit", "ends"),
    [
        (MALAMUD, (MALAMUD.s, 1e13)),
        (PARETO, (PARETO.c, PARETO.m)),
        (sizes.PowerLaw(2.5, 300.0, 0.0, 10), (300.0, 1e13)),
    ],
)
def test_densities_integrate_to_one_and_to_the_cumulative(fit, ends):
    def integral(high):
        def over_logarithm(log):
            return np.exp(log + fit.log_density(ends[0] + np.exp(log)))

        pieces = np.linspace(-20, np.log(high - ends[0]), 20)
        return sum(integrate.quad(over_logarithm, *piece)[0] for piece in zip(pieces[:-1], pieces[1:], strict=True))

    assert integral(ends[1]) == pytest.approx(1, abs=1e-6)
    for area in (400.0, 5000.0):
        assert integral(area) == pytest.approx(fit.cdf(area), abs=1e-6)


def test_distributions_are_those_of_scipy_and_of_the_papers():
    areas = np.geomspace(60, 1e5, 50)
    theirs = stats.invgamma(MALAMUD.rho, loc=MALAMUD.s, scale=MALAMUD.a)
    np.testing.assert_allclose(MALAMUD.log_density(areas), theirs.logpdf(areas))
    np.testing.assert_allclose(MALAMUD.cdf(areas), theirs.cdf(areas))
    alpha, beta, t, c, m = 1.1, 2.2, 900.0, 50.0, 2e5
    dagum = stats.burr(alpha, beta / alpha, scale=t)  # the double Pareto before it is cut
    np.testing.assert_allclose(
        PARETO.cdf(areas), (dagum.cdf(areas) - dagum.cdf(c)) / (dagum.cdf(m) - dagum.cdf(c)), rtol=1e-9
    )
    # equation 2 of Stark and Hovius 2001
    delta = ((1 + (m / t) ** -alpha) / (1 + (c / t) ** -alpha)) ** (beta / alpha)
    rise = (1 + (m / t) ** -alpha) ** (beta / alpha) / (1 + (areas / t) ** -alpha) ** (1 + beta / alpha)
    published = beta / (t * (1 - delta)) * rise * (areas / t) ** (-alpha - 1)
    np.testing.assert_allclose(np.exp(PARETO.log_density(areas)), published)


def test_the_published_inverse_gamma_has_its_published_properties():
    figures = MALAMUD.figures()
    assert figures["tail_exponent"] == pytest.approx(2.40)
    assert figures["rollover_m2"] == pytest.approx(400, rel=0.01)
    mean, _ = integrate.quad(lambda log: np.exp(2 * log + MALAMUD.log_density(np.exp(log))), 0, 40)
    assert mean == pytest.approx(3.07e3, rel=0.01)  # m2


@pytest.mark.parametrize("fit", [MALAMUD, PARETO])
def test_the_rollover_is_the_mode(fit):
    mode = optimize.minimize_scalar(lambda area: -fit.log_density(area), bounds=(60, 5000), method="bounded")
    assert fit.figures()["rollover_m2"] == pytest.approx(mode.x, rel=1e-3)


@pytest.mark.parametrize("seed", [1, 2])
def test_fits_are_maxima_of_the_likelihood(seed):
    areas = drawn(MALAMUD, 600, seed)
    ours = sizes.InverseGamma.fit(areas)
    theirs = stats.invgamma(*stats.invgamma.fit(areas, ours.rho * 1.2, loc=ours.s * 0.8, scale=ours.a))
    assert ours.log_density(areas).sum() >= theirs.logpdf(areas).sum() - 1e-3
    assert ours.log_density(areas).sum() == pytest.approx(theirs.logpdf(areas).sum(), abs=0.5)
    areas = drawn(PARETO, 600, seed, (PARETO.c, PARETO.m))
    ours = sizes.DoublePareto.fit(areas)
    ends = areas.min(), areas.max()
    widest = optimize.differential_evolution(
        lambda logs: -sizes.DoublePareto(*np.exp(logs), *ends).log_density(areas).sum(),
        [(-2, 2), (-2, 2), np.log(ends)],
        rng=seed,
        tol=1e-8,
    )
    np.testing.assert_allclose((ours.alpha, ours.beta, ours.t), np.exp(widest.x), rtol=0.01)


def test_the_figures_of_known_distributions_are_recovered_within_their_intervals():
    for name, fit, areas in (
        ("inverse_gamma", MALAMUD, drawn(MALAMUD, 1500, 3)),
        ("double_pareto", PARETO, drawn(PARETO, 1500, 3, (PARETO.c, PARETO.m))),
        ("power_law", sizes.PowerLaw(2.4, 500.0, 0.0, 0), power_law(1000, 2.4, 500.0, 3)),
    ):
        fits, intervals, _ = sizes.fit_all(areas)
        again = sizes.resampled(areas, {name: fits[name]}, 100, np.random.default_rng(0))
        ends = sizes.intervals(list(again))[name]
        truth = fit.figures()
        for figure in truth.keys() - {"xmin_m2"}:  # the least area of a sample is never below it
            low, high = ends[figure]
            assert low < truth[figure] < high, (name, figure)
            assert low < intervals[name][figure] < high


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    held = []
    for seed in range(60):
        areas = drawn(MALAMUD, 400, seed)
        fits, _, _ = sizes.fit_all(areas)
        again = sizes.resampled(areas, {"inverse_gamma": fits["inverse_gamma"]}, 60, np.random.default_rng(0))
        ends = sizes.intervals(list(again))["inverse_gamma"]
        held.append([low < MALAMUD.figures()[figure] < high for figure, (low, high) in ends.items()])
    assert (np.mean(held, axis=0) > 0.85).all()  # 95 % less three standard deviations of 60 samples


# ---------------------------------------------------------------------- the power law


@pytest.mark.parametrize(
    ("seed", "exponent", "number", "expected"),
    [  # alpha, xmin and D of the package powerlaw 2.0.0, Fit(areas)
        (1, 2.5, 1000, (2.540360005411249, 99.17693340543201, 0.01445394557733537)),
        (2, 2.4, 2000, (2.3698921341071126, 127.10011804766883, 0.013529478769480296)),
    ],
)
def test_power_laws_are_those_of_another_program(seed, exponent, number, expected):
    rng = np.random.default_rng(seed)
    small = rng.uniform(1, 100, number // 2)
    law = sizes.PowerLaw.fit(np.concatenate([small, 100 * rng.random(number) ** (-1 / (exponent - 1))]))
    np.testing.assert_allclose((law.exponent, law.xmin, law.distance), expected, rtol=1e-9)


def test_distances_are_those_of_scipy_and_poisson_intervals_those_of_the_tables():
    areas = drawn(MALAMUD, 200, 5)
    ours = sizes.goodness(MALAMUD, areas)
    assert ours["ks_distance"] == pytest.approx(stats.kstest(areas, MALAMUD.cdf).statistic)
    assert ours["aic"] == pytest.approx(6 - 2 * MALAMUD.log_density(areas).sum())
    edges, counts, low, high = sizes.histogram(np.repeat([1.0, 1000.0], [10, 1]), 1)
    assert edges.tolist() == [1, 10, 100, 1000, 10000] and counts.tolist() == [10, 0, 0, 1]
    np.testing.assert_allclose(low, [4.795, 0, 0, 0.0253], atol=1e-3)  # Garwood 1936
    np.testing.assert_allclose(high, [18.39, 3.689, 3.689, 5.572], atol=1e-2)


def test_a_power_law_is_plausible_and_another_distribution_is_not():
    rng = np.random.default_rng(0)
    assert np.mean(list(sizes.plausibility(power_law(400, 2.5, 100, 8), 100, rng))) > 0.1
    tenfold = np.repeat(power_law(40, 2.5, 100, 8), 10)  # no continuous distribution gives the same areas ten times
    assert np.mean(list(sizes.plausibility(tenfold, 100, rng))) <= 0.1


@pytest.mark.parametrize(
    ("seed", "exponent", "xmin", "number", "expected"),
    [  # of the authors' mLS.m, run by GNU Octave 7.3
        (1, 2.5, 1000.0, 800, 2.964429403171592),
        (2, 2.2, 3000.0, 5000, 4.735123746079113),
        (3, 3.1, 47.0, 200, -1.515534522462946),
    ],
)
def test_event_magnitudes_are_those_of_the_authors_program(seed, exponent, xmin, number, expected):
    areas = power_law(number, exponent, xmin, seed)
    law = sizes.PowerLaw(exponent, xmin, 0.0, number)
    assert sizes.landslide_event_magnitude(areas, law) == pytest.approx(expected, abs=1e-12)
    with pytest.raises(sizes.UnknownFigure, match="where the height of the tail is read"):
        sizes.landslide_event_magnitude(areas, sizes.PowerLaw(exponent, xmin / 100, 0.0, number))


@pytest.mark.parametrize(
    ("areas", "reasons"),
    [
        (np.geomspace(100, 1000, 29), {"distributions": "29 landslides are too few: at least 30 are needed"}),
        (np.full(50, 100.0), {"distributions": "all areas are the same"}),
        (100 * (1 + 1e-9 * np.arange(60)), {"distributions": "all areas are the same"}),  # SciPy never came back
        (np.tile([100.0, 400.0], 30), {"distributions": "the areas have 2 values only"}),
        (np.r_[np.full(40, 100.0), 5000.0], {"distributions": "the areas have 2 values only"}),
        (np.linspace(1000, 1050, 60), {"double_pareto": "no maximum"}),
        (np.r_[np.arange(1.0, 11), np.full(40, 1e2)], {"inverse_gamma": "no maximum", "double_pareto": "no maximum"}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_an_inventory_does_not_tell_is_said(areas, reasons):
    fits, _, untold = sizes.fit_all(areas)
    assert reasons.keys() <= untold.keys(), untold
    assert all(reason in untold[name] for name, reason in reasons.items())
    assert not fits.keys() & untold.keys()
    list(sizes.resampled(areas, fits, 20, np.random.default_rng(0)))


# ---------------------------------------------------------------------- files


UTM = 32643


def squares(areas, crs=UTM):
    """Squares of some areas in m2, in a row near Balakot, and of three dimensions."""
    sides = np.sqrt(areas)
    lefts = 350_000 + np.concatenate([[0], np.cumsum(sides[:-1] + 10)])
    shapes = shapely.force_3d(shapely.box(lefts, 3_830_000, lefts + sides, 3_830_000 + sides), 1500.0)
    return geopandas.GeoDataFrame({"year": 2005 + np.arange(len(areas)) % 2}, geometry=shapes, crs=UTM).to_crs(crs)


@pytest.mark.parametrize("crs", [UTM, 4326, 3857])
def test_areas_are_those_on_the_ellipsoid_in_any_projection(crs):
    table = squares(np.array([100.0, 2500.0, 90_000.0]), crs)
    equal_area = table.to_crs(6933).area  # on the same ellipsoid
    np.testing.assert_allclose(vectors.ground_areas(table), equal_area, rtol=1e-6)
    holed = table.geometry.iloc[[2]].apply(lambda square: square.difference(square.centroid.buffer(1e-4)))
    np.testing.assert_allclose(
        vectors.ground_areas(holed.to_frame("geometry").set_geometry("geometry")), holed.to_crs(6933).area, rtol=1e-6
    )


@pytest.fixture
def inventory(tmp_path):
    """A GeoPackage as predict.py writes it, with all that goes wrong in one; its areas are of MALAMUD."""
    table = squares(np.sort(drawn(MALAMUD, 200, 6))[::-1])
    x, y, _, top = table.geometry.iloc[0].bounds
    bow = shapely.Polygon([(x, y - 900), (x + 50, y - 850), (x + 50, y - 900), (x, y - 850)])
    parts = shapely.MultiPolygon([shapely.box(x, y - 500, x + 20, y - 480), shapely.box(x, y - 450, x + 20, y - 430)])
    inside = shapely.box(x + 1, y + 1, x + 11, y + 11)
    odd = [bow, parts, inside, shapely.Point(x, y), None]
    more = geopandas.GeoDataFrame({"year": 2005}, geometry=odd, index=range(5), crs=UTM)
    table = pandas.concat([table, more], ignore_index=True)
    table["cut_by_edge"] = (np.arange(len(table)) == 3).astype(np.int8)
    table["verdict"] = None
    path = tmp_path / "scene.gpkg"
    ground = geopandas.GeoDataFrame(geometry=[shapely.box(x - 1, y - 1000, x + 2e3, top + 1)], crs=UTM)
    table.to_file(path, layer="landslides")
    ground.to_crs(4326).to_file(path, layer="seen")
    return path


def describe(path, *flags):
    return run_script("describe_inventory.py", "--inventory", path, "--draws", 100, *flags, cwd=path.parent)


def test_the_script_describes_an_inventory(inventory):
    result = describe(inventory)
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    for said in (
        "203 landslides",
        "without a polygon, left out: 2",
        "not valid, repaired: 1",
        "one landslide each (--split-parts counts the parts): 2",
        "cut by cloud or by the edge of the scene, so too small: 1",
        "more than half within another polygon, both counted: 1",
        "inverse gamma  ",
        "magnitude mL 2.31, mLS ",
    ):
        assert said in result.stdout, result.stdout
    folder = inventory.parent / "results" / "inventories" / "scene"
    statistics = json.loads((folder / "statistics.json").read_text())
    assert statistics["landslides"] == 203 and statistics["unknown"] == {} and len(statistics["notes"]) == 5
    low, high = statistics["inverse_gamma"]["tail_exponent_ci95"]
    assert low < 2.4 < high
    bins = rows(folder / "size_frequency.csv")
    assert sum(int(row["landslides"]) for row in bins) == 203
    total = sum(float(row["density_per_m2"]) * (float(row["to_m2"]) - float(row["from_m2"])) for row in bins)
    assert total == pytest.approx(1)
    assert (folder / "size_frequency.png").read_bytes().startswith(b"\x89PNG")
    assert_user_error(describe(inventory), "statistics.json exists: replace it with --overwrite")
    again = describe(inventory, "--overwrite", "--split-parts", "--where", "year = 2005")
    assert "105 landslides" in again.stdout, again.stdout + again.stderr  # of two polygons, both parts


def test_the_ground_that_was_searched_gives_densities(inventory):
    result = describe(inventory, "--area", inventory, "--out-dir", "near")
    assert result.returncode == 0, result.stderr
    statistics = json.loads((inventory.parent / "near" / "statistics.json").read_text())
    table = geopandas.read_file(inventory, layer="landslides")
    ground = geopandas.read_file(inventory, layer="seen")
    points = table[table.geometry.notna()].representative_point()
    number = points.within(ground.to_crs(UTM).geometry.iloc[0]).sum() - 1  # one of them is a point
    assert statistics["landslides"] == number < 203
    assert statistics["landslides_per_km2"] == pytest.approx(number / (ground.to_crs(6933).area.sum() / 1e6), rel=1e-4)


def test_of_several_layers_those_are_read_that_are_chosen(tmp_path):
    table = squares(np.geomspace(100, 1000, 12))
    table.iloc[:5].to_file(tmp_path / "two.gpkg", layer="north")
    table.iloc[5:].to_file(tmp_path / "two.gpkg", layer="south")
    assert_user_error(
        describe(tmp_path / "two.gpkg"), "two.gpkg holds several layers, north, south: choose with --layer"
    )
    assert "12 landslides" in describe(tmp_path / "two.gpkg", "--layer", "north", "south").stdout
    assert "5 landslides" in describe(tmp_path / "two.gpkg", "--layer", "north", "--overwrite").stdout


def test_a_small_inventory_says_what_it_does_not_tell(tmp_path):
    squares(np.array([100.0, 400.0])).to_file(tmp_path / "few.shp")
    result = describe(tmp_path / "few.shp")
    assert result.returncode == 0 and not result.stderr
    assert "unknown: distributions: 2 landslides are too few: at least 30 are needed" in result.stdout
    assert "magnitude mL 0.30\n" in result.stdout
    assert (tmp_path / "results" / "inventories" / "few" / "size_frequency.png").exists()


def test_what_cannot_be_described_is_told_in_one_line(tmp_path, inventory):
    whole = squares(np.geomspace(100, 1000, 40))
    whole.to_file(tmp_path / "cut.shp")
    (tmp_path / "cut.shp").write_bytes((tmp_path / "cut.shp").read_bytes()[:2000])
    whole.set_geometry(whole.centroid).to_file(tmp_path / "points.gpkg")
    whole.set_crs(None, allow_override=True).to_file(tmp_path / "bare.shp")
    whole.iloc[:0].to_file(tmp_path / "empty.gpkg")
    assert_user_error(describe(inventory, "--area", tmp_path / "empty.gpkg"), "empty.gpkg holds no shapes: it is empty")
    whole.to_file(tmp_path / "two.gpkg", layer="old")
    whole.to_crs(4326).to_file(tmp_path / "two.gpkg", layer="new")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    for name, message in (
        ("none.gpkg", "none.gpkg does not exist"),
        ("cut.shp", "cut.shp is cut short: it has 2000 of"),
        ("points.gpkg", "points.gpkg holds no polygon to be measured\n"),
        ("bare.shp", "bare.shp: without a coordinate system"),
        ("table.csv", "table.csv: its first layer holds no shapes"),
    ):
        assert_user_error(describe(tmp_path / name), message)
    result = describe(tmp_path / "two.gpkg", "--layer", "old", "new")  # in degrees, too
    assert result.returncode == 0 and "80 landslides" in result.stdout, result.stderr
    assert_user_error(describe(inventory, "--where", "year = 1900"), "rows meets --where 'year = 1900'")
    message = "--where 'yeer = 2005' is no condition on its layer landslides with columns year, cut_by_edge"
    assert_user_error(describe(inventory, "--where", "yeer = 2005"), message)
