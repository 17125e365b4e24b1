"""Scenes, slope, tiles and polygons against references from outside: planes, geodesics, SciPy and GDAL's own tools."""

import shutil
import subprocess
import tracemalloc

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
import rasterio.features
import scipy.ndimage
import shapely
from affine import Affine
from rasterio.transform import from_origin

from bands import BANDS_L4S, SCALE_L4S
from patches.slope import horn_slope
from scenes import components, geodesy, geopackage, polygons, scaling, scene, source, tiling
from scenes.pixel_grid import PixelGrid
from script import UserError

UTM = "EPSG:32651"
RGB = ("red", "green", "blue")


def open_scene(paths, model_bands, bands=(), **given):
    return source.open_scene(source.SceneInput(tuple(paths), tuple(bands), **given), model_bands)


def write_raster(path, bands, transform=None, crs=UTM, descriptions=(), **options):
    """Write bands x H x W as a GeoTIFF; 10 m pixels from (300000, 1500000) unless told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = np.asarray(bands)
    transform = from_origin(300000, 1500000, 10, 10) if transform is None else transform
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=bands.shape[1],
        width=bands.shape[2],
        count=len(bands),
        dtype=bands.dtype,
        crs=crs,
        transform=transform if crs else None,
        **options,
    ) as file:
        file.write(bands)
        for number, description in enumerate(descriptions, 1):
            file.set_band_description(number, description)
    return path


def centres(transform, height, width):
    """Coordinates (x, y) of the pixel centres, each H x W."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return transform @ (columns, rows)


# ---------------------------------------------------------------------- slope and ground


def test_slope_of_a_plane_is_exact_also_beside_gaps():
    rows, columns = np.mgrid[:12, :15].astype(float)
    elevation = 100 + 0.3 * 10 * columns + 0.4 * 20 * rows  # a rise of 0.5 on pixels of 10 x 20 m
    elevation[0], elevation[5, 7], elevation[8:, 14] = np.nan, np.nan, np.nan
    slope = horn_slope(elevation, 10, 20)
    known = np.isfinite(elevation[1:-1, 1:-1])
    assert np.isnan(slope[~known]).all()
    assert slope[known] == pytest.approx(np.degrees(np.arctan(0.5)), abs=1e-4)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:2263"])  # degrees, stretched by 2, feet
def test_pixels_are_measured_on_the_ground(crs):
    """Size of a pixel where the grid does not tell it, against pyproj's geodesics between corners."""
    lon, lat = (25.0, 60.0) if crs != "EPSG:2263" else (-74.0, 40.7)
    there = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    size = 1e-4 if crs == "EPSG:4326" else 20.0
    transform = from_origin(*there.transform(lon, lat), size, size)
    dx, dy = geodesy.ground_lattice(transform, rasterio.CRS.from_string(crs), 40, 60)
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    geod = pyproj.Geod(ellps="WGS84")

    def corner(column, row):
        return back.transform(*(transform @ (column, row)))

    assert np.median(dx) == pytest.approx(geod.inv(*corner(0, 20), *corner(60, 20))[2] / 60, rel=1e-4)
    assert np.median(dy) == pytest.approx(geod.inv(*corner(30, 0), *corner(30, 40))[2] / 40, rel=1e-4)


def terrain_source(path, dem):
    return open_scene([path], (*RGB, "slope", "dem"), dem=str(dem))


@pytest.mark.parametrize("dem_crs", [UTM, "EPSG:4326"])
def test_elevation_lies_where_it_belongs_and_slope_is_that_of_the_ground(tmp_path, dem_crs):
    """A DEM of another grid whose elevation is a plane over the scene's coordinates, warped onto the scene."""
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 40, 50), np.float32))
    dem_grid = from_origin(299905, 1500095, 30, 30)
    if dem_crs == "EPSG:4326":
        lon, lat = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(299905, 1500095)
        dem_grid = from_origin(lon, lat, 2.5e-4, 2.5e-4)
    x, y = pyproj.Transformer.from_crs(dem_crs, UTM, always_xy=True).transform(*centres(dem_grid, 30, 35))

    def height_at(x, y):
        return 500 + 0.3 * (x - 300000) - 0.2 * (y - 1500000)

    dem = write_raster(tmp_path / "dem.tif", [height_at(x, y).astype(np.float32)], dem_grid, dem_crs)
    values, valid = terrain_source(path, dem).read(0, 40)
    assert valid.all()
    expected = height_at(*centres(from_origin(300000, 1500000, 10, 10), 40, 50))
    assert np.abs(values[4] - expected).max() < 0.15  # GDAL warps to an eighth of a pixel
    # the projection shows the ground 0.04 % too small, or less
    assert np.median(values[3]) == pytest.approx(np.degrees(np.arctan(np.hypot(0.3, 0.2))), abs=0.03)


def test_slope_of_a_cone_in_degrees_of_longitude(tmp_path):
    """A cone of slope 0.5 drawn with geodesics on a grid in degrees at 60 degrees north."""
    grid = from_origin(25.0, 60.0, 2e-4, 1e-4)
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 60, 60), np.float32), grid, "EPSG:4326")
    lon, lat = centres(grid, 60, 60)
    geod = pyproj.Geod(ellps="WGS84")
    away = geod.inv(lon, lat, np.full(lon.shape, 25.006), np.full(lat.shape, 59.997))[2]
    dem = write_raster(tmp_path / "dem.tif", [(900 - 0.5 * away).astype(np.float32)], grid, "EPSG:4326")
    slope = terrain_source(path, dem).read(0, 60)[0][3]
    clear = (away > 60) & (np.minimum(*np.indices(away.shape)) > 0) & (np.maximum(*np.indices(away.shape)) < 59)
    assert slope[clear] == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.3)
    assert np.median(slope[clear]) == pytest.approx(np.degrees(np.arctan(0.5)), abs=0.02)


@pytest.mark.skipif(not shutil.which("gdaldem"), reason="GDAL's command-line tools are not there")
def test_slope_agrees_with_gdaldem(tmp_path):
    rng = np.random.default_rng(0)
    elevation = scipy.ndimage.gaussian_filter(rng.normal(0, 300, (80, 90)), 4).astype(np.float32)
    path = write_raster(tmp_path / "scene.tif", np.ones((3, 80, 90), np.float32))
    dem = write_raster(tmp_path / "dem.tif", [elevation])
    subprocess.run(["gdaldem", "slope", dem, tmp_path / "slope.tif"], check=True, capture_output=True)
    with rasterio.open(tmp_path / "slope.tif") as file:
        reference = file.read(1)[1:-1, 1:-1]
    slope = terrain_source(path, dem).read(0, 80)[0][3][1:-1, 1:-1]
    assert reference.max() > 20
    assert np.abs(slope - reference).max() < 0.05  # gdaldem takes the projection's metres for the ground's


# ---------------------------------------------------------------------- bands


def test_bands_are_chosen_by_number_and_by_name(tmp_path):
    bands = np.arange(4, dtype=np.uint16)[:, None, None] + np.full((4, 5, 6), 10, np.uint16)
    names = ("B4 red", "B3 green", "B02", "nir")
    path = write_raster(tmp_path / "scene.tif", bands, descriptions=names)
    for chosen in (("3", "2", "1"), ("B2", "green", "b4"), ("B02", "B3 green", "red")):
        values, _ = open_scene([path], RGB, chosen).read(0, 5)
        assert values[:, 0, 0].tolist() == [12, 11, 10]
    with pytest.raises(UserError, match="band B8 is not in the scene .*bands 1 to 4, named: B4 red, B3 green"):
        open_scene([path], RGB, ("B8", "1", "2"))
    with pytest.raises(UserError, match="band 5 is not in the scene"):
        open_scene([path], RGB, ("5", "1", "2"))
    with pytest.raises(UserError, match="4 bands, but the run takes 3"):
        open_scene([path], RGB)


def test_files_of_other_resolutions_are_brought_onto_the_finest_grid(tmp_path):
    """Bands of 60, 10 and 20 m that hold their own coordinates: bilinear warping gives them back."""
    paths = []
    for size, count, name in ((60, 10, "B01"), (10, 60, "B02"), (20, 30, "B05")):
        grid = from_origin(300000, 1500000, size, size)
        x, y = centres(grid, count, count)
        band = (x - 300000) + 2 * (1500000 - y)
        paths.append(write_raster(tmp_path / f"T51_{name}.tif", [band.astype(np.float32)], grid))
    opened = open_scene(paths, RGB)
    assert opened.grid.transform.a == 10 and opened.grid.shape == (60, 60)
    values, valid = opened.read(0, 60)
    x, y = centres(opened.grid.transform, 60, 60)
    inside = np.s_[4:-4, 4:-4]
    for band in values:
        assert np.abs(band - (x - 300000) - 2 * (1500000 - y))[inside].max() < 0.5
    assert valid.all()
    by_name = open_scene(paths, RGB, ("B5", "B1", "B2")).read(7, 9)[0]
    assert np.array_equal(by_name, values[[2, 0, 1], 7:9])
    two = write_raster(tmp_path / "two.tif", np.ones((2, 5, 5), np.float32))
    with pytest.raises(UserError, match="two.tif has 2 bands: of several files each must hold a single one"):
        open_scene([paths[0], two], RGB)


def test_reading_a_strip_takes_little_more_memory_than_its_values(tmp_path):
    """NumPy reports its arrays to tracemalloc."""
    path = write_raster(tmp_path / "scene.tif", np.ones((14, 480, 600), np.uint16))
    grid = tiling.TileGrid.of((480, 600), 512, 32, 16)
    with open_scene([path], BANDS_L4S) as opened:
        tracemalloc.start()
        strip = tiling.read_strip(opened, grid, 0, (0.0,) * 14)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert strip.values.nbytes < peak < 1.4 * strip.values.nbytes


@pytest.mark.parametrize("crs", [UTM, "EPSG:32650"])
def test_a_strip_of_a_view_holds_what_gdal_warps_in_one_piece(tmp_path, crs):
    x, y = pyproj.Transformer.from_crs(UTM, crs, always_xy=True).transform(296000, 1504000)
    coarse = np.random.default_rng(0).normal(100, 20, (1, 700, 1600)).astype(np.float32)
    write_raster(tmp_path / "fine.tif", np.ones((1, 600, 2400), np.float32))
    write_raster(tmp_path / "coarse.tif", coarse, from_origin(x, y, 20, 20), crs)
    with open_scene([tmp_path / "fine.tif", tmp_path / "coarse.tif"], ("red", "green")) as opened:
        values, valid = opened.read(7, 500)
        assert valid.all()
        np.testing.assert_array_equal(values[1], opened.files[1].read(1, window=((7, 500), (0, 2400))))


def test_nodata_of_any_band_and_nan_are_no_data(tmp_path):
    bands = np.ones((3, 6, 6), np.float32)
    bands[0, 0, 0], bands[1, 1, 1], bands[2, 2, 2] = -9, np.nan, 7
    opened = open_scene([write_raster(tmp_path / "a.tif", bands, nodata=-9)], RGB, nodata=7.0)
    valid = opened.read(0, 6)[1]
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_an_alpha_channel_is_a_mask_and_no_band(tmp_path):
    bands = np.full((4, 6, 6), 255, np.uint8)
    bands[3, 2:] = 0
    path = write_raster(tmp_path / "a.tif", bands, photometric="RGB", alpha="YES")
    values, valid = open_scene([path], RGB).read(0, 6)
    assert len(values) == 3 and valid.sum() == 12


def test_scalings(tmp_path):
    rng = np.random.default_rng(0)
    raw = rng.integers(1, 4000, (14, 30, 40)).astype(np.uint16)
    raw[:, :, :5] = 0
    opened = open_scene([write_raster(tmp_path / "a.tif", raw, nodata=0)], BANDS_L4S, offset=-1000.0)
    plain, (pixels, _) = opened.source, opened.sample()
    opened.source = scaling.scaled(plain, "l4s", BANDS_L4S, pixels)
    values, valid = opened.read(0, 30)
    expected = (raw - 1000.0) / np.array(SCALE_L4S)[:, None, None]
    assert values[:, valid] == pytest.approx(expected[:, valid], rel=1e-5)
    opened.source = scaling.scaled(plain, "stretch", BANDS_L4S, pixels)
    values, _ = opened.read(0, 30)
    for band, stretched in zip(raw[:, valid], values[:, valid], strict=True):
        low, high = np.percentile(band, [2, 98])
        assert stretched == pytest.approx(np.clip((band - low) / (high - low), 0, 1) * 255, abs=0.01)
    assert scaling.scaled(plain, "none", BANDS_L4S, pixels) == plain
    with pytest.raises(UserError, match="scaling l4s knows .*; the run's band band1 is none of them"):
        scaling.scaled(plain, "l4s", ("band1", "band2", "band3"), pixels)
    with pytest.raises(UserError, match="scaling 'l5s' is none of auto, none, l4s, stretch"):
        scaling.scaled(plain, "l5s", RGB, pixels)


def test_bands_far_from_training_are_found():
    pixels = np.random.default_rng(0).normal([[0.0], [5.0], [0.0], [0.0]], [[1.0], [1.0], [5.0], [0.2]], (4, 5000))
    assert scaling.shifted_bands(pixels, np.zeros(4), np.ones(4)) == [1, 2, 3]
    assert scaling.shifted_bands(np.zeros((4, 0)), np.zeros(4), np.ones(4)) == []


def test_a_large_scene_is_judged_by_windows_spread_over_it(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    bands = rng.normal(np.linspace(0, 9, 700)[:, None], 1, (3, 700, 500)).astype(np.float32)
    opened = open_scene([write_raster(tmp_path / "a.tif", bands)], RGB)
    whole, _ = opened.sample()
    monkeypatch.setattr(scene, "SAMPLE_PIXELS", 200_000)
    part, _ = opened.sample()
    assert part.shape[1] < whole.shape[1] == 350_000
    assert part.mean() == pytest.approx(whole.mean(), abs=0.1) and part.std() == pytest.approx(whole.std(), abs=0.1)


# ---------------------------------------------------------------------- tiles


@pytest.mark.parametrize("overlap", [0, 1, 7, 16])
@pytest.mark.parametrize("size", [(1, 1), (20, 33), (32, 64), (95, 130)])
def test_tiles_cover_every_pixel_and_weights_are_above_zero(overlap, size):
    grid = tiling.TileGrid(*size, (32, 32), overlap)
    total = np.zeros(size)
    for top in grid.tops:
        for left in grid.lefts:
            rows, columns = np.arange(top, top + 32), np.arange(left, left + 32)
            down, right = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
            total[np.ix_(rows[down], columns[right])] += grid.window[np.ix_(down, right)]
    assert total.min() > 0.24  # no pixel hangs on the mere corner of a tile
    assert total == pytest.approx(np.outer(*grid.totals), abs=1e-5)
    assert total[overlap:-overlap, overlap:-overlap] == pytest.approx(1) if min(size) > 64 and overlap else True


@pytest.mark.parametrize("size", [2, 5, 40])
def test_mirroring_is_numpys_reflection(size):
    expected = np.pad(np.arange(size), (13, 29), mode="reflect")
    assert tiling.mirrored(-13, size + 29, size).tolist() == expected.tolist()
    assert set(tiling.mirrored(-3, 4, 1)) == {0}


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(115, 32, [32, 32, 32, 24]), (64, 32, [32, 32]), (1, 32, [8]), (5, 2, [2, 2, 1]), (3, 1, [1, 1, 1])],
)
def test_batches_keep_order_and_have_few_sizes(count, size, sizes):
    cut = list(tiling.batches(list(range(count)), size))
    assert [item for batch, _ in cut for item in batch] == list(range(count))
    assert [size for _, size in cut] == sizes
    assert all(len(batch) <= size for batch, size in cut)


def test_strips_fill_two_batches_and_hold_each_row_of_tiles_once():
    grid = tiling.TileGrid(1152, 2048, (128, 128), 64)
    strips = grid.filling(32).strips
    assert [top for strip in strips for top in strip] == grid.tops
    full = [len(strip) * len(grid.lefts) for strip in strips[:-1]]
    assert min(full) >= 64 > max(full) - len(grid.lefts)
    assert grid.strips == [[top] for top in grid.tops]


# ---------------------------------------------------------------------- polygons


def random_mask(size=(90, 70), seed=0):
    field = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 1.5)
    return (field > 0.07).astype(np.uint8)


def flat_but(steep):
    """Terrain with a given slope, elevation ten times that, which falls to the south-east."""

    def terrain(top, bottom):
        slope = steep[top:bottom]
        return {"slope": slope, "dem": 10 * slope, "east": -np.ones_like(slope), "north": np.ones_like(slope)}

    return terrain


@pytest.mark.parametrize("rows", [1, 16, 90])
def test_polygons_are_the_connected_parts_however_the_mask_is_cut(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(polygons, "STRIP", rows)
    mask = random_mask()
    probability = np.random.default_rng(1).random(mask.shape).astype(np.float32)
    write_raster(tmp_path / "mask.tif", [mask], nodata=255)
    write_raster(tmp_path / "probability.tif", [probability])
    steep = np.linspace(0, 40, mask.size, dtype=np.float32).reshape(mask.shape)
    paths = tmp_path / "mask.tif", tmp_path / "probability.tif"
    table = polygons.landslides(*paths, terrain=flat_but(steep))
    label, count = scipy.ndimage.label(mask)
    assert len(table) == count and table.geometry.is_valid.all() and (table.geom_type == "Polygon").all()
    assert table["pixels"].sum() == mask.sum()
    back = rasterio.features.rasterize(
        [(shape, i + 1) for i, shape in enumerate(table.geometry)],
        mask.shape,
        transform=from_origin(3e5, 1.5e6, 10, 10),
    )
    for i, row in enumerate(table.itertuples(), 1):
        part = label == label[back == i][0]
        assert np.array_equal(back == i, part)
        assert row.pixels == part.sum()
        assert row.confidence == pytest.approx(probability[part].mean(), abs=1e-4)
        assert row.max_probability == pytest.approx(probability[part].max(), abs=1e-4)
        assert row.mean_slope_deg == pytest.approx(steep[part].mean(), abs=0.01)
        assert row.max_slope_deg == pytest.approx(steep[part].max(), abs=0.01)
        assert row.aspect_deg == pytest.approx(135)
        assert row.relief_m == pytest.approx(np.ptp(10 * steep[part]), abs=0.1)
        edge = np.zeros_like(part)
        edge[[0, -1]] = edge[:, [0, -1]] = True
        assert row.cut_by_edge == (part & edge).any() and not row.cut_by_cloud
    steepest_tenth = [
        np.sort(steep[label == i + 1])[-max(1, round(0.1 * (label == i + 1).sum())) :] for i in range(count)
    ]
    kept = polygons.landslides(*paths, terrain=flat_but(steep), min_slope=20)
    assert abs(len(kept) - sum(tenth.min() >= 20 for tenth in steepest_tenth)) <= 1  # of small ones a tenth is no pixel
    traced = rasterio.features.shapes(mask, mask == 1, connectivity=4, transform=from_origin(3e5, 1.5e6, 10, 10))
    expected = {shapely.normalize(shapely.geometry.shape(outline)).wkt for outline, _ in traced}
    assert {shapely.normalize(shape).wkt for shape in table.geometry} == expected  # those of GDAL, corner for corner


def test_outlines_that_touch_themselves_are_valid_and_those_of_gdal():
    """Noise has every kind of corner: holes that touch the outside, areas that touch at a point."""
    for seed in range(20):
        mask = (np.random.default_rng(seed).random((24, 31)) < 0.5).astype(np.uint8)
        for rows in (1, 5, 24):
            found = components.Components(mask.shape)
            for top in range(0, len(mask), rows):
                found.add(mask[top : top + rows] > 0, {"pixels": np.ones_like(mask[top : top + rows])}, {})
            sums, _ = found.joined()
            corners, *offsets, areas = found.rings(np.ones(len(sums["pixels"]), bool))
            shapes = shapely.from_ragged_array(shapely.GeometryType.POLYGON, corners.astype(float), tuple(offsets))
            traced = rasterio.features.shapes(mask, mask == 1, connectivity=4)
            expected = {shapely.normalize(shapely.geometry.shape(outline)).wkt for outline, _ in traced}
            assert {shapely.normalize(shape).wkt for shape in shapes} == expected
            assert shapely.is_valid(shapes).all()
            np.testing.assert_array_equal(shapely.area(shapes), sums["pixels"][areas])


def test_areas_are_those_of_the_ground(tmp_path):
    """A block of 30 x 40 pixels in degrees at 60 degrees north, against the sphere-like integral on the ellipsoid."""
    mask = np.zeros((100, 100), np.uint8)
    mask[20:50, 30:70] = 1
    grid = from_origin(25, 60, 1e-4, 1e-4)
    write_raster(tmp_path / "mask.tif", [mask], grid, "EPSG:4326")
    table = polygons.landslides(tmp_path / "mask.tif", tmp_path / "mask.tif")
    # zone between two parallels of WGS 84, from the closed form of its authalic latitude
    e = np.sqrt(0.00669437999014)

    def q(lat):
        s = np.sin(np.radians(lat))
        return (1 - e**2) * (s / (1 - e**2 * s**2) + np.arctanh(e * s) / e)

    expected = 6378137.0**2 / 2 * np.radians(40e-4) * (q(60 - 20e-4) - q(60 - 50e-4))
    assert table["area_m2"][0] == pytest.approx(expected, rel=1e-5)
    assert (table["lon"][0], table["lat"][0]) == pytest.approx((25.005, 59.9965), abs=1e-6)
    assert table["perimeter_m"][0] == pytest.approx(table.to_crs("EPSG:32635").length[0], rel=1e-3)
    assert (table["length_m"][0], table["width_m"][0]) == pytest.approx((334.5, 223.3), rel=0.01)  # 30 rows, 40 columns
    equal_area = table.to_crs("+proj=laea +lon_0=25 +lat_0=60").area[0]
    assert table["area_m2"][0] == pytest.approx(equal_area, rel=1e-4)


def test_specks_are_dropped_and_nothing_found_is_a_layer_without_polygons(tmp_path):
    mask = random_mask()
    path = write_raster(tmp_path / "mask.tif", [mask])
    every = polygons.landslides(path, path)
    some = polygons.landslides(path, path, min_area=2000)
    assert 0 < len(some) < len(every) and some["area_m2"].min() >= 2000
    none = polygons.landslides(path, path, min_area=1e9)
    date = polygons_date()
    geopackage.write(tmp_path / "none.gpkg", none, polygons.seen_ground(path), {"run": "x"}, date)
    read = geopandas.read_file(tmp_path / "none.gpkg", layer="landslides")
    assert len(read) == 0 and read.crs == UTM and {"area_m2", "confidence", "lon"} <= set(read.columns)


def test_outlines_are_smoothed_without_losing_their_area(tmp_path):
    path = write_raster(tmp_path / "mask.tif", [random_mask()])
    table = polygons.landslides(path, path)
    with rasterio.open(path) as file:
        grid = PixelGrid.of(file)
    smooth = polygons.simplify(table, 10.0, grid)
    assert shapely.is_valid(smooth).all() and not shapely.is_empty(smooth).any()
    np.testing.assert_allclose(shapely.area(smooth), table.area, rtol=0.02)
    assert shapely.get_num_coordinates(smooth).sum() < 0.6 * shapely.get_num_coordinates(table.geometry).sum()


def polygons_date():
    from datetime import UTC, datetime

    return datetime(2020, 1, 1, tzinfo=UTC)


def test_rotated_grids_are_followed(tmp_path):
    mask = np.zeros((30, 30), np.uint8)
    mask[10:12, 5:9] = 1
    grid = Affine.translation(300000, 1500000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    path = write_raster(tmp_path / "mask.tif", [mask], grid)
    table = polygons.landslides(path, path)
    x, y = grid @ (7, 11)
    assert table.geometry[0].centroid.coords[0] == pytest.approx((x, y), abs=1e-6)
    assert table["area_m2"][0] == pytest.approx(800, rel=0.002)
