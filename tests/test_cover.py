"""What cannot or shall not be judged: clouds of a product or a raster, excluded ground, flat ground."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.transform import from_origin

from scenes import clouds, exclusion
from scenes.pixel_grid import PixelGrid
from script import UserError
from tests.maps import make_bands, read
from tests.product_files import SIDE, make_safe
from tests.test_scene import UTM, write_raster

CORNER = (300000, 1500000)  # of what write_raster writes


def grid_of(path):
    with rasterio.open(path) as file:
        return PixelGrid.of(file)


def test_every_class_of_scl_is_judged_as_documented(tmp_path):
    path = write_raster(tmp_path / "scl.tif", np.arange(12, dtype=np.uint8).reshape(1, 1, 12))
    cover = clouds.Clouds(path, "scl", grid_of(path))
    assert np.flatnonzero(cover.hidden(0, 1)[0]).tolist() == [0, 1, 3, 8, 9, 10]


def test_landsat_quality_bits(tmp_path):
    # values of USGS's guide to Collection 2 quality bands: clear, fill, cloud, shadow, cirrus, dilated cloud, water
    values = np.array([21824, 1, 22280, 23888, 54596, 21826, 21952], np.uint16)
    path = write_raster(tmp_path / "qa.tif", values.reshape(1, 1, -1))
    cover = clouds.Clouds(path, "qa_pixel", grid_of(path))
    assert cover.hidden(0, 1)[0].tolist() == [False, True, True, True, True, True, False]


def test_clouds_of_a_product_are_written_as_not_seen(call, tmp_path, capsys):
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    scl[20:40, 30:50] = 9
    safe = make_safe(tmp_path, scl=scl)
    call(safe, SCALING="none")
    out = capsys.readouterr().out
    assert "Sentinel-2 Level-2A, baseline 05.10, offset -1000, scaling none" in out and "97% of them seen" in out
    mask = read(next((tmp_path / "maps").glob("*_mask.tif")))
    hidden = np.kron(scl == 9, np.ones((2, 2), bool))
    assert (mask[hidden] == 254).all() and (mask[:6] == 255).all() and set(np.unique(mask[6:][~hidden[6:]])) <= {0, 1}
    assert (read(next((tmp_path / "maps").glob("*_probability.tif")))[hidden] == 255).all()
    table = geopandas.read_file(next((tmp_path / "maps").glob("*.gpkg")), layer="landslides")
    assert table["cut_by_cloud"].tolist() == [1] and table["cut_by_edge"].tolist() == [1]
    call(safe, SCALING="none", CLOUDS="none")
    assert not (read(next((tmp_path / "maps").glob("*_mask.tif"))) == 254).any()


def test_a_scene_that_is_all_cloud_gives_an_empty_map(call, tmp_path, capsys):
    call(make_safe(tmp_path, scl=np.full((SIDE // 2, SIDE // 2), 8, np.uint8)))
    assert "clouds hide the whole scene" in capsys.readouterr().out
    assert len(geopandas.read_file(next((tmp_path / "maps").glob("*.gpkg")), layer="landslides")) == 0


def test_a_mask_raster_on_any_grid_hides_ground(call, place, capsys):
    bands = make_bands(40, 60)
    write_raster(place / "scene.tif", bands)
    hidden = np.zeros((1, 20, 30), np.uint8)  # pixels of 20 m, from one pixel north-west of the scene
    hidden[0, 5:9, 10:12] = 1
    write_raster(place / "clouds.tif", hidden, from_origin(CORNER[0] - 20, CORNER[1] + 20, 20, 20))
    call("scene.tif", CLOUDS="clouds.tif")
    mask = read("maps/scene_mask.tif")
    assert np.argwhere(mask == 254).min(0).tolist() == [8, 18] and (mask == 254).sum() == 8 * 4
    assert "clouds.tif covers" in capsys.readouterr().out
    write_raster(place / "far.tif", hidden, from_origin(CORNER[0] + 1e5, CORNER[1], 20, 20))
    with pytest.raises(UserError, match="far.tif does not lie over the scene"):
        call("scene.tif", CLOUDS="far.tif")
    write_raster(place / "plain.tif", hidden, crs=None)
    with pytest.raises(UserError, match="plain.tif: neither on the scene's grid nor with a coordinate system"):
        call("scene.tif", CLOUDS="plain.tif")
    with pytest.raises(UserError, match="nowhere.tif does not exist"):
        call("scene.tif", CLOUDS="nowhere.tif")


@pytest.mark.slow
def test_clouds_computed_by_ukis(call, tmp_path):
    pytest.importorskip("ukis_csmask")
    safe = make_safe(tmp_path, "1C")
    call(safe, CLOUDS="ukis", SCALING="none")
    assert set(np.unique(read(next((tmp_path / "maps").glob("*_mask.tif"))))) <= {0, 1, 254, 255}


def test_ukis_needs_bands_of_a_product(call, place):
    write_raster(place / "scene.tif", make_bands(40, 60))
    with pytest.raises(UserError, match="--clouds ukis needs "):
        call("scene.tif", CLOUDS="ukis")


# ---------------------------------------------------------------------- excluded ground


def shapes(path, *geometries, crs=UTM):
    geopandas.GeoDataFrame(geometry=list(geometries), crs=crs).to_file(path)
    return path


def test_excluded_ground_is_neither_landslide_nor_background(call, place, capsys):
    write_raster(place / "scene.tif", make_bands(40, 60))
    left, top = CORNER
    box = shapely.box(left + 100, top - 200, left + 300, top - 100)
    bow = shapely.Polygon([(left, top), (left + 50, top - 50), (left + 50, top), (left, top - 50)])  # crosses itself
    shapes(place / "lakes.gpkg", shapely.force_3d(box), bow)
    call("scene.tif", EXCLUDE="lakes.gpkg", CLOUDS="none")
    mask = read("maps/scene_mask.tif")
    assert (mask[11:19, 11:29] == 253).all() and mask[2, 1] == 253 and (mask[25:] != 253).all()
    assert "excluded" in capsys.readouterr().out
    in_degrees = geopandas.read_file("lakes.gpkg").to_crs(4326)
    in_degrees.to_file("lakes.geojson")
    call("scene.tif", EXCLUDE="lakes.geojson", CLOUDS="none")
    assert (read("maps/scene_mask.tif")[11:19, 11:29] == 253).all()


def test_lines_are_widened_by_a_buffer(place):
    path = write_raster(place / "scene.tif", make_bands(40, 60))
    left, top = CORNER
    road = shapes(place / "road.gpkg", shapely.LineString([(left, top - 205), (left + 600, top - 205)]))
    plain = exclusion.open_excluded(road, grid_of(path)).hidden(0, 40)
    assert np.flatnonzero(plain.any(1)).tolist() == [20]
    wide = exclusion.open_excluded(road, grid_of(path), 20.0)
    assert np.flatnonzero(wide.hidden(0, 40).any(1)).tolist() == [18, 19, 20, 21, 22]
    assert np.array_equal(wide.hidden(18, 22), wide.hidden(0, 40)[18:22])


def test_what_cannot_be_excluded_is_told_in_one_line(place):
    grid = grid_of(write_raster(place / "scene.tif", make_bands(40, 60)))
    far = shapely.box(0, 0, 1, 1)
    (place / "text.gpkg").write_text("lakes")
    for path, told in (
        (shapes(place / "far.gpkg", far), "none of its 1 shapes lies over the scene"),
        (place / "text.gpkg", "cannot be read as a vector file"),
        (place / "nowhere.gpkg", "does not exist"),
    ):
        with pytest.raises(UserError, match=told):
            exclusion.open_excluded(path, grid)
    shapes(place / "bare.shp", far)
    (place / "bare.prj").unlink()
    with pytest.raises(UserError, match="without a coordinate system"):
        exclusion.open_excluded(place / "bare.shp", grid)
    with pytest.raises(UserError, match="--buffer widens the shapes of a vector file"):
        exclusion.open_excluded("scene.tif", grid, 5.0)


# ---------------------------------------------------------------------- flat ground


def test_flat_polygons_are_left_out(call, place):
    bands = np.ones((3, 40, 60), np.float32)
    bands[0, 5:15, 5:15] = bands[0, 5:15, 45:55] = 3
    write_raster(place / "scene.tif", bands)
    elevation = np.zeros((1, 60, 80), np.float32)
    elevation[0, :, 40:] = 5.0 * np.arange(40)  # east of the middle the ground rises by 5 m in 10
    write_raster(place / "dem.tif", elevation, from_origin(CORNER[0] - 100, CORNER[1] + 100, 10, 10))
    call("scene.tif", DEM="dem.tif")
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides").sort_values("lon")
    assert table["mean_slope_deg"].tolist() == pytest.approx([0, np.degrees(np.arctan(0.5))], abs=0.1)
    assert table["aspect_deg"].iloc[1] == pytest.approx(270, abs=1), "it falls to the west"
    assert table["relief_m"].tolist() == pytest.approx([0, 45])
    call("scene.tif", DEM="dem.tif", MIN_SLOPE=8.0)
    kept = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert len(kept) == 1 and kept["mean_slope_deg"][0] > 20
    with pytest.raises(UserError, match="--min-slope needs an elevation raster, --dem"):
        call("scene.tif", MIN_SLOPE=8.0)


# ---------------------------------------------------------------------- masks and shapes as people have them


def test_no_data_of_a_mask_hides_nothing_on_any_grid(call, place):
    write_raster(place / "scene.tif", make_bands(40, 60))
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 5:10, 5:10], mask[0, 20:] = 1, 255
    write_raster(place / "same.tif", mask, nodata=255)
    wide = np.pad(mask, ((0, 0), (3, 3), (3, 3)), constant_values=255)
    write_raster(place / "wide.tif", wide, from_origin(CORNER[0] - 30, CORNER[1] + 30, 10, 10), nodata=255)
    for name in ("same", "wide"):
        call("scene.tif", CLOUDS=f"{name}.tif")
        assert (read("maps/scene_mask.tif") == 254).sum() == 25


@pytest.mark.parametrize("form", [{"nodata": 0}, {}])
def test_a_mask_without_clouds_lies_over_the_scene(call, place, form, capsys):
    write_raster(place / "scene.tif", make_bands(40, 60))
    clear = np.zeros((1, 50, 70), np.uint8)
    write_raster(place / "clear.tif", clear, from_origin(CORNER[0] - 50, CORNER[1] + 50, 10, 10), **form)
    call("scene.tif", CLOUDS="clear.tif", EXCLUDE="clear.tif")
    assert "covers" not in capsys.readouterr().out
    write_raster(place / "far.tif", clear, from_origin(CORNER[0] + 1e5, CORNER[1], 10, 10))
    with pytest.raises(UserError, match="far.tif does not lie over the scene"):
        call("scene.tif", EXCLUDE="far.tif")


def test_shapes_of_the_whole_world_are_widened_by_metres_at_the_scene(place):
    path = write_raster(place / "scene.tif", make_bands(40, 60))
    left, top = CORNER
    here = geopandas.GeoSeries([shapely.Point(left + 305, top - 205)], crs=UTM).to_crs(4326).iloc[0]
    world = [here, shapely.Point(-179, -90), shapely.Point(0, 90), shapely.Point(60, -60)]
    shapes(place / "world.gpkg", *world, crs=4326)
    wide = exclusion.open_excluded(place / "world.gpkg", grid_of(path), 30.0).hidden(0, 40)
    assert np.flatnonzero(wide.any(1)).tolist() == list(range(17, 24))
    assert exclusion.open_excluded(place / "world.gpkg", grid_of(path)).hidden(0, 40).sum() == 1
    shapes(place / "empty.gpkg")
    with pytest.raises(UserError, match="none of its 0 shapes lies over the scene"):
        exclusion.open_excluded(place / "empty.gpkg", grid_of(path), 30.0)


@pytest.mark.parametrize("transform", ["north up", "south up", "turned"])
def test_slopes_face_where_they_face_on_any_grid(place, transform):
    """Ground that falls to the north, whichever way the rows of the scene run."""
    from affine import Affine

    from tests.test_scene import RGB, open_scene

    left, top = CORNER
    elevation = -5.0 * np.repeat(np.arange(120)[::-1, None], 160, 1).astype(np.float32)
    write_raster(place / "dem.tif", [elevation], from_origin(left - 300, top + 300, 10, 10))
    grid = {
        "north up": from_origin(left, top, 10, 10),
        "south up": Affine(10, 0, left, 0, 10, top - 400),
        "turned": Affine(0, 10, left, -10, 0, top),
    }[transform]
    write_raster(place / "scene.tif", make_bands(40, 40), grid)
    with open_scene([place / "scene.tif"], RGB, dem=str(place / "dem.tif")) as scene:
        from rasterio.windows import Window

        terrain = scene.read_terrain(Window(5, 5, 20, 20))
    assert terrain["north"].mean() == pytest.approx(-0.5, abs=0.01) and abs(terrain["east"]).max() < 0.01
