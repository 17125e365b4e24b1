"""Polygons of a mask against SciPy and GDAL: outlines, areas, and figures of each."""

from datetime import UTC, datetime

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import scipy.ndimage
import shapely
from affine import Affine
from rasterio.transform import from_origin

from scenes import components, geopackage, outlines, polygons
from scenes.pixel_grid import PixelGrid
from tests.rasters import UTM, write_raster


def random_mask(size=(90, 70), seed=0):
    field = scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=size), 1.5)
    return (field > 0.07).astype(np.uint8)


def flat_but(steep):
    """Terrain of some slope, with ten times that as elevation, which falls to the south-east."""

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
            connected = components.Components(mask.shape)
            for top in range(0, len(mask), rows):
                connected.add(mask[top : top + rows] > 0, {"pixels": np.ones_like(mask[top : top + rows])}, {})
            sums, _ = connected.joined()
            corners, *offsets, areas = connected.rings(np.ones(len(sums["pixels"]), bool))
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
    date = datetime(2020, 1, 1, tzinfo=UTC)
    geopackage.write(tmp_path / "none.gpkg", none, polygons.seen_ground(path), {"run": "x"}, date)
    read = geopandas.read_file(tmp_path / "none.gpkg", layer="landslides")
    assert len(read) == 0 and read.crs == UTM and {"area_m2", "confidence", "lon"} <= set(read.columns)


def test_small_holes_are_filled_however_the_mask_is_cut(tmp_path, monkeypatch):
    """Holes are those of SciPy, of pixels that touch at sides or corners. One with a cloud in it stays."""
    mask = random_mask((90, 70), seed=3)
    mask[40:47, 30:37] = 1
    mask[42:44, 32:34] = 0  # a hole of four pixels, of which one is not seen
    mask[43, 33] = 254
    label, count = scipy.ndimage.label(mask == 0, np.ones((3, 3)))
    filled = mask.copy()
    for number in range(1, count + 1):
        part = label == number
        grown = scipy.ndimage.binary_dilation(part, np.ones((3, 3)))
        at_edge = part[[0, -1]].any() or part[:, [0, -1]].any()
        if part.sum() < 5 and not at_edge and not (grown & (mask == 254)).any():
            filled[part] = 1
    assert (filled != mask).any() and not filled[42, 32]
    paths = [write_raster(tmp_path / f"{name}.tif", [each], nodata=255) for name, each in (("a", mask), ("b", filled))]
    expected = polygons.landslides(paths[1], paths[1])
    for rows in (1, 16, 90):
        monkeypatch.setattr(polygons, "STRIP", rows)
        table = polygons.landslides(paths[0], paths[1], min_hole=None)
        assert table.drop(columns="confidence").equals(expected.drop(columns="confidence"))
        by_area = polygons.landslides(paths[0], paths[1], min_hole=401.0)  # pixels of 100 m2 and a little less
        assert by_area["area_m2"].sum() == expected["area_m2"].sum()
    assert polygons.landslides(paths[0], paths[1])["pixels"].sum() == (mask == 1).sum()


def test_a_polygon_has_five_pixels_at_least_unless_its_area_is_named(tmp_path):
    path = write_raster(tmp_path / "mask.tif", [random_mask()])
    every = polygons.landslides(path, path)
    some = polygons.landslides(path, path, min_area=None)
    assert (every["pixels"] < 5).any() and len(some) == (every["pixels"] >= 5).sum()


def test_outlines_are_smoothed_without_losing_their_area(tmp_path):
    """Against the stairs: no point is far from them, areas stay, no two overlap, and there are far fewer corners."""
    path = write_raster(tmp_path / "mask.tif", [random_mask((300, 260))])
    table = polygons.landslides(path, path, min_area=None, min_hole=None)
    with rasterio.open(path) as file:
        grid = PixelGrid.of(file)
    for tolerance, least_dice in ((5.0, 0.99), (10.0, 0.99), (20.0, 0.9), (60.0, 0.8)):
        smooth = outlines.smoothed(table, tolerance, grid)
        assert shapely.is_valid(smooth).all() and (shapely.get_type_id(smooth) == 3).all()
        np.testing.assert_allclose(shapely.area(smooth), table.area, rtol=0.02)
        points, owner = shapely.get_coordinates(smooth, return_index=True)
        far = shapely.distance(shapely.points(points), shapely.boundary(table.geometry.to_numpy())[owner])
        assert far.max() <= tolerance
        first, second = shapely.STRtree(smooth).query(smooth, predicate="overlaps")
        assert not len(first) and not len(second)
        burnt = rasterio.features.rasterize(smooth, grid.shape, transform=grid.transform)
        stairs = rasterio.features.rasterize(table.geometry, grid.shape, transform=grid.transform)
        dice = 2 * (burnt & stairs).sum() / (burnt.sum() + stairs.sum())
        assert dice > least_dice
    corners = [shapely.get_num_coordinates(shapes).sum() for shapes in (smooth, table.geometry)]
    assert corners[0] < 0.7 * corners[1]
    nothing = outlines.smoothed(table.iloc[:0], 10.0, grid)
    assert len(nothing) == 0


def test_a_round_landslide_is_drawn_round(tmp_path):
    """A disc of 20 pixels: its smooth outline has the length of a circle, its stairs have that of the square."""
    down, right = np.mgrid[:60, :60] - 29.5
    path = write_raster(tmp_path / "mask.tif", [(down**2 + right**2 < 20**2).astype(np.uint8)])
    table = polygons.landslides(path, path)
    with rasterio.open(path) as file:
        smooth = outlines.smoothed(table, 10.0, PixelGrid.of(file))
    assert smooth[0].length == pytest.approx(2 * np.pi * 200, rel=0.02)
    assert table.length[0] == pytest.approx(8 * 200, rel=0.02)


def test_rotated_grids_are_followed(tmp_path):
    mask = np.zeros((30, 30), np.uint8)
    mask[10:12, 5:9] = 1
    grid = Affine.translation(300000, 1500000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    path = write_raster(tmp_path / "mask.tif", [mask], grid)
    table = polygons.landslides(path, path)
    x, y = grid @ (7, 11)
    assert table.geometry[0].centroid.coords[0] == pytest.approx((x, y), abs=1e-6)
    assert table["area_m2"][0] == pytest.approx(800, rel=0.002)


def test_polygons_of_a_picture_with_a_world_file_lie_on_its_raster(tmp_path):
    """A world file gives positions without a coordinate system, as an export of a GIS does."""
    mask = np.zeros((40, 50), np.uint8)
    mask[10:14, 20:26] = 1
    place = from_origin(500000, 4000000, 10, 10)
    for name, values in (("mask", mask), ("probability", (90 * mask).astype(np.uint8))):
        options = {"driver": "GTiff", "count": 1, "height": 40, "width": 50, "dtype": "uint8", "transform": place}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **options) as file:
            file.write(values, 1)
    table = polygons.landslides(tmp_path / "mask.tif", tmp_path / "probability.tif")
    assert table.total_bounds.tolist() == [500200, 3999860, 500260, 3999900]
    (row,) = table.to_dict("records")
    assert (row["centroid_column"], row["centroid_row"], row["pixels"]) == (23, 12, 24)
    assert shapely.box(*polygons.seen_ground(tmp_path / "mask.tif").bounds).bounds == (500000, 3999600, 500500, 4000000)
