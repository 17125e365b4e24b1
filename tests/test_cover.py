"""What cannot or shall not be judged: clouds of a product or a raster, excluded ground, flat ground."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.transform import from_origin
from rasterio.windows import Window

from bands import BANDS_RGB
from scenes import exclusion
from scenes.clouds import open_clouds
from scenes.hiding_raster import HidingRaster
from script import UserError
from tests.maps import make_bands, read
from tests.product_files import SIDE, make_safe
from tests.rasters import LEFT, TOP, UTM, grid_of, open_scene, write_raster, write_shapes


def test_every_class_of_scl_is_judged_as_documented(tmp_path):
    path = write_raster(tmp_path / "scl.tif", np.arange(12, dtype=np.uint8).reshape(1, 1, 12))
    cover = HidingRaster(path, "scl", grid_of(path))
    assert np.flatnonzero(cover.hidden(0, 1)[0]).tolist() == [0, 1, 3, 8, 9, 10]


def test_landsat_quality_bits(tmp_path):
    # values of USGS's guide to Collection 2 quality bands: clear, fill, cloud, shadow, cirrus, dilated cloud, water
    values = np.array([21824, 1, 22280, 23888, 54596, 21826, 21952], np.uint16)
    path = write_raster(tmp_path / "qa.tif", values.reshape(1, 1, -1))
    cover = HidingRaster(path, "qa_pixel", grid_of(path))
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


def test_a_mask_raster_on_any_grid_hides_ground(call, workdir, capsys):
    bands = make_bands(40, 60)
    write_raster(workdir / "scene.tif", bands)
    hidden = np.zeros((1, 20, 30), np.uint8)  # pixels of 20 m, from one pixel north-west of the scene
    hidden[0, 5:9, 10:12] = 1
    write_raster(workdir / "clouds.tif", hidden, from_origin(LEFT - 20, TOP + 20, 20, 20))
    call("scene.tif", CLOUDS="clouds.tif")
    mask = read("maps/scene_mask.tif")
    assert np.argwhere(mask == 254).min(0).tolist() == [8, 18] and (mask == 254).sum() == 8 * 4
    assert "clouds.tif covers" in capsys.readouterr().out
    write_raster(workdir / "far.tif", hidden, from_origin(LEFT + 1e5, TOP, 20, 20))
    with pytest.raises(UserError, match="far.tif does not lie over the scene"):
        call("scene.tif", CLOUDS="far.tif")
    write_raster(workdir / "plain.tif", hidden, crs=None)
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


def test_ukis_needs_bands_of_a_product(call, workdir):
    write_raster(workdir / "scene.tif", make_bands(40, 60))
    with pytest.raises(UserError, match="--clouds ukis needs "):
        call("scene.tif", CLOUDS="ukis")


# ---------------------------------------------------------------------- excluded ground


def test_excluded_ground_is_neither_landslide_nor_background(call, workdir, capsys):
    write_raster(workdir / "scene.tif", make_bands(40, 60))
    box = shapely.box(LEFT + 100, TOP - 200, LEFT + 300, TOP - 100)
    bow = shapely.Polygon([(LEFT, TOP), (LEFT + 50, TOP - 50), (LEFT + 50, TOP), (LEFT, TOP - 50)])  # crosses itself
    write_shapes(workdir / "lakes.gpkg", shapely.force_3d(box), bow)
    call("scene.tif", EXCLUDE=("lakes.gpkg",), CLOUDS="none")
    mask = read("maps/scene_mask.tif")
    assert (mask[11:19, 11:29] == 253).all() and mask[2, 1] == 253 and (mask[25:] != 253).all()
    assert "excluded" in capsys.readouterr().out
    in_degrees = geopandas.read_file("lakes.gpkg").to_crs(4326)
    in_degrees.to_file("lakes.geojson")
    call("scene.tif", EXCLUDE=("lakes.geojson",), CLOUDS="none")
    assert (read("maps/scene_mask.tif")[11:19, 11:29] == 253).all()


def test_lines_are_widened_by_a_buffer(workdir):
    path = write_raster(workdir / "scene.tif", make_bands(40, 60))
    road = write_shapes(workdir / "road.gpkg", shapely.LineString([(LEFT, TOP - 205), (LEFT + 600, TOP - 205)]))
    plain = exclusion.open_excluded([road], grid_of(path))[0].hidden(0, 40)
    assert np.flatnonzero(plain.any(1)).tolist() == [20]
    wide = exclusion.open_excluded([road], grid_of(path), 20.0)[0]
    assert np.flatnonzero(wide.hidden(0, 40).any(1)).tolist() == [18, 19, 20, 21, 22]
    assert np.array_equal(wide.hidden(18, 22), wide.hidden(0, 40)[18:22])


def test_a_line_that_is_not_widened_says_so(workdir, capsys):
    grid = grid_of(write_raster(workdir / "scene.tif", make_bands(40, 60)))
    road = write_shapes(workdir / "road.gpkg", shapely.LineString([(LEFT, TOP - 205), (LEFT + 600, TOP - 205)]))
    exclusion.open_excluded([road], grid)
    assert "road.gpkg holds lines or points: they take out the pixels that they touch" in capsys.readouterr().out
    exclusion.open_excluded([road], grid, 5.0)
    assert not capsys.readouterr().out


def test_several_files_are_excluded_together(call, workdir, capsys):
    write_raster(workdir / "scene.tif", make_bands(40, 60))
    write_shapes(workdir / "lake.gpkg", shapely.box(LEFT + 100, TOP - 200, LEFT + 200, TOP - 100))
    write_shapes(workdir / "far.gpkg", shapely.box(0, 0, 1, 1))
    roofs = np.zeros((1, 40, 60), np.uint8)
    roofs[0, 30:32, 40:45] = 1
    write_raster(workdir / "roofs.tif", roofs)
    call("scene.tif", EXCLUDE=("lake.gpkg", "far.gpkg", "roofs.tif"), BUFFER=10.0)
    mask = read("maps/scene_mask.tif")
    assert (mask[9:21, 11:19] == 253).all() and (mask[30:32, 40:45] == 253).all() and (mask[29, 40:45] != 253).all()
    assert "warning: far.gpkg does not lie over the scene: it takes nothing out" in capsys.readouterr().out
    with pytest.raises(UserError, match="none of the files of --exclude lies over the scene: far.gpkg, far.gpkg"):
        call("scene.tif", EXCLUDE=("far.gpkg", "far.gpkg"))


def test_what_is_excluded_where_nothing_is_seen_says_so(call, workdir, capsys):
    bands = make_bands(40, 60)
    bands[:, :20] = -1
    write_raster(workdir / "scene.tif", bands, nodata=-1)
    write_shapes(workdir / "lake.gpkg", shapely.box(LEFT + 100, TOP - 100, LEFT + 200, TOP - 50))
    call("scene.tif", EXCLUDE=("lake.gpkg",))
    assert "warning: --exclude takes no pixel out of the map" in capsys.readouterr().out


def test_what_cannot_be_excluded_is_told_in_one_line(workdir):
    grid = grid_of(write_raster(workdir / "scene.tif", make_bands(40, 60)))
    far = shapely.box(0, 0, 1, 1)
    (workdir / "text.gpkg").write_text("lakes")
    for path, message in (
        (write_shapes(workdir / "far.gpkg", far), "none of its 1 shapes lies over the scene"),
        (workdir / "text.gpkg", "cannot be read as a vector file"),
        (workdir / "nowhere.gpkg", "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            exclusion.open_excluded([path], grid)
    write_shapes(workdir / "bare.shp", far)
    (workdir / "bare.prj").unlink()
    with pytest.raises(UserError, match="without a coordinate system"):
        exclusion.open_excluded([workdir / "bare.shp"], grid)
    with pytest.raises(UserError, match="--buffer widens the shapes of a vector file"):
        exclusion.open_excluded(["scene.tif"], grid, 5.0)


# ---------------------------------------------------------------------- flat ground


def test_flat_polygons_are_left_out(call, workdir):
    bands = np.ones((3, 40, 60), np.float32)
    bands[0, 5:15, 5:15] = bands[0, 5:15, 45:55] = 3
    write_raster(workdir / "scene.tif", bands)
    elevation = np.zeros((1, 60, 80), np.float32)
    elevation[0, :, 40:] = 5.0 * np.arange(40)  # east of the middle the ground rises by 5 m in 10
    write_raster(workdir / "dem.tif", elevation, from_origin(LEFT - 100, TOP + 100, 10, 10))
    call("scene.tif", DEM=("dem.tif",))
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides").sort_values("lon")
    assert table["mean_slope_deg"].tolist() == pytest.approx([0, np.degrees(np.arctan(0.5))], abs=0.1)
    assert table["aspect_deg"].iloc[1] == pytest.approx(270, abs=1), "it falls to the west"
    assert table["relief_m"].tolist() == pytest.approx([0, 45])
    call("scene.tif", DEM=("dem.tif",), MIN_SLOPE=8.0)
    kept = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert len(kept) == 1 and kept["mean_slope_deg"][0] > 20
    with pytest.raises(UserError, match="--min-slope needs an elevation raster, --dem"):
        call("scene.tif", MIN_SLOPE=8.0)


# ---------------------------------------------------------------------- masks and shapes as people have them


def test_no_data_of_a_mask_hides_nothing_on_any_grid(call, workdir):
    write_raster(workdir / "scene.tif", make_bands(40, 60))
    mask = np.zeros((1, 40, 60), np.uint8)
    mask[0, 5:10, 5:10], mask[0, 20:] = 1, 255
    write_raster(workdir / "same.tif", mask, nodata=255)
    wide = np.pad(mask, ((0, 0), (3, 3), (3, 3)), constant_values=255)
    write_raster(workdir / "wide.tif", wide, from_origin(LEFT - 30, TOP + 30, 10, 10), nodata=255)
    for name in ("same", "wide"):
        call("scene.tif", CLOUDS=f"{name}.tif")
        assert (read("maps/scene_mask.tif") == 254).sum() == 25


@pytest.mark.parametrize("options", [{"nodata": 0}, {}])
def test_a_mask_without_clouds_lies_over_the_scene(call, workdir, options, capsys):
    write_raster(workdir / "scene.tif", make_bands(40, 60))
    clear = np.zeros((1, 50, 70), np.uint8)
    write_raster(workdir / "clear.tif", clear, from_origin(LEFT - 50, TOP + 50, 10, 10), **options)
    call("scene.tif", CLOUDS="clear.tif", EXCLUDE=("clear.tif",))
    assert "covers" not in capsys.readouterr().out
    write_raster(workdir / "far.tif", clear, from_origin(LEFT + 1e5, TOP, 10, 10))
    with pytest.raises(UserError, match="far.tif does not lie over the scene"):
        call("scene.tif", EXCLUDE=("far.tif",))


def test_shapes_of_the_whole_world_are_widened_by_metres_at_the_scene(workdir):
    path = write_raster(workdir / "scene.tif", make_bands(40, 60))
    point = geopandas.GeoSeries([shapely.Point(LEFT + 305, TOP - 205)], crs=UTM).to_crs(4326).iloc[0]
    world = [point, shapely.Point(-179, -90), shapely.Point(0, 90), shapely.Point(60, -60)]
    write_shapes(workdir / "world.gpkg", *world, crs=4326)
    wide = exclusion.open_excluded([workdir / "world.gpkg"], grid_of(path), 30.0)[0].hidden(0, 40)
    assert np.flatnonzero(wide.any(1)).tolist() == list(range(17, 24))
    assert exclusion.open_excluded([workdir / "world.gpkg"], grid_of(path))[0].hidden(0, 40).sum() == 1
    write_shapes(workdir / "empty.gpkg")
    with pytest.raises(UserError, match="empty.gpkg holds no shapes: it is empty"):
        exclusion.open_excluded([workdir / "empty.gpkg"], grid_of(path), 30.0)


@pytest.mark.parametrize("transform", ["north up", "south up", "turned"])
def test_slopes_face_where_they_face_on_any_grid(workdir, transform):
    """Ground that falls to the north, whichever way the rows of the scene run."""
    elevation = -5.0 * np.repeat(np.arange(120)[::-1, None], 160, 1).astype(np.float32)
    write_raster(workdir / "dem.tif", [elevation], from_origin(LEFT - 300, TOP + 300, 10, 10))
    grid = {
        "north up": from_origin(LEFT, TOP, 10, 10),
        "south up": Affine(10, 0, LEFT, 0, 10, TOP - 400),
        "turned": Affine(0, 10, LEFT, -10, 0, TOP),
    }[transform]
    write_raster(workdir / "scene.tif", make_bands(40, 40), grid)
    with open_scene([workdir / "scene.tif"], BANDS_RGB, dem=(workdir / "dem.tif",)) as scene:
        terrain = scene.read_terrain(Window(5, 5, 20, 20))
    assert terrain["north"].mean() == pytest.approx(-0.5, abs=0.01) and abs(terrain["east"]).max() < 0.01


CLOUD_RASTERS = {  # name of a file: (values of a row of pixels, which of them are hidden)
    "T43_SCL_20m.tif": ([0, 4, 5, 8, 9, 3, 6, 11], [1, 0, 0, 1, 1, 1, 0, 0]),
    "classes.tif": ([4, 4, 5, 8, 9, 3, 7, 6], [0, 0, 0, 1, 1, 1, 0, 0]),
    "scene_Fmask4.tif": ([0, 1, 2, 3, 4, 255, 0, 0], [0, 0, 1, 0, 1, 1, 0, 0]),
    "scene.Fmask.tif": ([0, 1, 2, 3, 4, 255, 0, 0], [0, 0, 1, 0, 1, 1, 0, 0]),
    "HLS.S30.T43PFP.v2.0.Fmask.tif": ([64, 66, 72, 96, 68, 255, 80, 64], [0, 1, 1, 0, 1, 1, 0, 0]),
    "scene_Fmask.tif": ([0, 1, 1, 0, 0, 0, 0, 0], [0] * 8),
    "T33_SCL.tif": ([0, 4, 4, 4, 4, 0, 4, 4], [1, 0, 0, 0, 0, 1, 0, 0]),
    "HLS.T43PFP.v2.0.Fmask.tif": ([0, 64, 64, 0, 0, 0, 0, 0], [0] * 8),
    "LC09_QA_PIXEL.TIF": ([21824, 22280, 1, 23888, 21824, 21824, 54596, 21824], [0, 1, 1, 1, 0, 0, 1, 0]),
    "as_floats.tif": ([4.0, 4, 5, 8, 9, 3, 7, 6], [0, 0, 0, 1, 1, 1, 0, 0]),
    "clouds.tif": ([0, 1, 2, 3, 0, 0, 1, 1], [0, 1, 1, 1, 0, 0, 1, 1]),
    "S2A_SCL_cloudmask.tif": ([0, 1, 0, 1, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0]),
    "eights.tif": ([0, 8, 0, 8, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0]),
    "percent.tif": ([0, 90, 0, 90, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("name", CLOUD_RASTERS)
def test_rasters_of_clouds_are_known_by_their_names_and_values(tmp_path, name):
    values, hidden = CLOUD_RASTERS[name]
    kind = np.float32 if name == "as_floats.tif" else np.uint16 if max(values) > 255 else np.uint8
    path = write_raster(tmp_path / name, np.array(values, kind)[None, None])
    clouds = open_clouds(str(path), None, grid_of(path), tmp_path / "none.tif")
    assert clouds.hidden(0, 1)[0].tolist() == [bool(each) for each in hidden]
    clouds.close()


@pytest.mark.parametrize("coding", ["scl", "mask"])
def test_clouds_are_widened_and_gaps_are_not(tmp_path, coding):
    """Against the distance to the nearest pixel of cloud, on pixels of 10 m, by strips of any height."""
    values = np.full((60, 70), 4, np.uint8)
    values[20:23, 30:34], values[50, 5], values[10, 60:] = 9, 3, 0
    if coding == "mask":
        values = np.isin(values, (9, 3)).astype(np.uint8)
    path = write_raster(tmp_path / "scl.tif", values[None])
    clouds = HidingRaster(path, coding, grid_of(path), margin=45.0)
    rows, columns = np.nonzero(np.isin(values, (9, 3) if coding == "scl" else 1))
    down, right = np.mgrid[:60, :70]
    distance = np.hypot(down[..., None] - rows, right[..., None] - columns).min(-1)
    expected = (distance <= 4.5) | (values == 0 if coding == "scl" else False)
    for height in (60, 7, 1):
        hidden = np.vstack([clouds.hidden(top, min(top + height, 60)) for top in range(0, 60, height)])
        assert np.array_equal(hidden, expected)
    clouds.close()


def test_clouds_of_a_map_are_widened(call, workdir):
    write_raster(workdir / "scene.tif", make_bands(40, 60))
    hidden = np.zeros((1, 40, 60), np.uint8)
    hidden[0, 20, 30] = 1
    write_raster(workdir / "clouds.tif", hidden)
    call("scene.tif", CLOUDS="clouds.tif", CLOUD_BUFFER=20.0)
    assert np.flatnonzero((read("maps/scene_mask.tif") == 254)[20]).tolist() == [28, 29, 30, 31, 32]
    write_raster(workdir / "picture.tif", make_bands(40, 60), crs=None)
    write_raster(workdir / "flat.tif", hidden, crs=None)
    with pytest.raises(UserError, match="--cloud-buffer is in metres, and the scene has no coordinate system"):
        call("picture.tif", CLOUDS="flat.tif", CLOUD_BUFFER=20.0)


def test_a_raster_of_clouds_with_unknown_values_is_refused(tmp_path):
    path = write_raster(tmp_path / "two.tif", np.zeros((2, 6, 10), np.uint8))
    with pytest.raises(UserError, match="two.tif has 2 bands: a raster of clouds or of excluded ground has one"):
        open_clouds(str(path), None, grid_of(path), tmp_path / "none.tif")
    path = write_raster(tmp_path / "probability.tif", np.arange(60, dtype=np.uint8).reshape(1, 6, 10))
    with pytest.raises(UserError, match="probability.tif holds 0 1 2 3 4 5 6 7 ...: a mask of clouds is 0 where"):
        open_clouds(str(path), None, grid_of(path), tmp_path / "none.tif")


def test_no_data_of_a_mask_of_clouds_is_no_class(tmp_path):
    values = np.array([[[0, 1, -3.4e38, 0, 1, 0]]], np.float32)
    path = write_raster(tmp_path / "mask.tif", values, nodata=float(np.float32(-3.4e38)))
    clouds = open_clouds(str(path), None, grid_of(path), tmp_path / "none.tif")
    assert clouds.hidden(0, 1)[0].tolist() == [False, True, False, False, True, False]
    clouds.close()


def test_bits_that_were_saved_as_floats_are_bits(tmp_path):
    path = write_raster(tmp_path / "LC08_QA_PIXEL.tif", np.array([[[21824, 22280, 1, 23888]]], np.float32))
    clouds = open_clouds(str(path), None, grid_of(path), tmp_path / "none.tif")
    assert clouds.hidden(0, 1)[0].tolist() == [False, True, True, True]
    clouds.close()


@pytest.mark.parametrize("coding", ["mask", "scl", "qa_pixel", "hls", "fmask"])
@pytest.mark.parametrize("shift", [0, 3])
def test_an_internal_mask_hides_as_its_kind_says(tmp_path, coding, shift):
    """What a mask of clouds hides is no cloud, as where its tag says so; hidden classes are those of unseen ground."""
    clear = {"scl": 4, "qa_pixel": 21824}.get(coding, 0)
    values = np.full((1, 20, 30), 1 if coding == "mask" else clear, np.uint16)
    path = write_raster(tmp_path / "clouds.tif", values, from_origin(LEFT - shift, TOP, 10, 10))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.arange(30)[None].repeat(20, 0) >= 12)
    scene = write_raster(tmp_path / "scene.tif", np.zeros((1, 20, 30), np.uint8))
    hidden = HidingRaster(path, coding, grid_of(scene)).hidden(0, 20)
    assert hidden[:, :12].all() == (coding != "mask") and hidden[:, 13:29].all() == (coding == "mask")
    assert hidden[:, :11].any() == (coding != "mask") and hidden[:, 13:29].any() == (coding == "mask")


UNKNOWN = {"tag": 60000, "NaN": np.nan, "usual number": -9999}


@pytest.mark.parametrize("coding", ["mask", "scl", "qa_pixel", "hls", "fmask"])
@pytest.mark.parametrize("how", UNKNOWN)
@pytest.mark.parametrize("shift", [0, 3])
def test_what_a_raster_does_not_know_hides_as_its_kind_says(tmp_path, coding, how, shift):
    """A tag, not a number and -9999 are as an internal mask: no cloud of a mask, and unseen ground of classes."""
    clear = {"scl": 4, "qa_pixel": 21824}.get(coding, 0)
    kind = np.uint16 if how == "tag" else np.float32
    values = np.full((1, 20, 30), 1 if coding == "mask" else clear, kind)
    values[..., :12] = UNKNOWN[how]
    tag = UNKNOWN[how] if how == "tag" else None
    path = write_raster(tmp_path / "clouds.tif", values, from_origin(LEFT - shift, TOP, 10, 10), nodata=tag)
    scene = write_raster(tmp_path / "scene.tif", np.zeros((1, 20, 30), np.uint8))
    hidden = HidingRaster(path, coding, grid_of(scene)).hidden(0, 20)
    assert (hidden[:, :11] == (coding != "mask")).all() and (hidden[:, 13:29] == (coding == "mask")).all()


@pytest.mark.parametrize("coding", ["mask", "scl", "qa_pixel", "hls", "fmask"])
def test_nothing_is_hidden_beyond_a_raster(tmp_path, capsys, coding):
    """As the warning says; 0 is a gap among the classes of SCL."""
    clear = {"scl": 4, "qa_pixel": 21824}.get(coding, 0)
    path = write_raster(tmp_path / "clouds.tif", np.full((1, 20, 20), clear, np.uint16))
    scene = write_raster(tmp_path / "scene.tif", np.zeros((1, 20, 30), np.uint8))
    clouds = HidingRaster(path, coding, grid_of(scene))
    assert clouds.check_cover() == pytest.approx(2 / 3) and not clouds.hidden(0, 20).any()
    assert "clouds.tif covers 66.7% of the scene; nothing is hidden in the rest" in capsys.readouterr().out


def test_a_mask_whose_format_changed_its_values_excludes_nothing(tmp_path):
    y, x = np.mgrid[:32, :32]
    disc = np.uint8(255) * ((y - 16) ** 2 + (x - 16) ** 2 < 70)
    path = write_raster(tmp_path / "disc.tif", disc[None], compress="JPEG", JPEG_QUALITY=100)
    grid, blocks = grid_of(path), np.kron(np.eye(4, dtype=np.uint8), np.full((8, 8), 255, np.uint8))
    for opening in (lambda: exclusion.open_excluded([path], grid), lambda: open_clouds(str(path), None, grid, None)):
        with pytest.raises(UserError, match="disc.tif holds 1, 254 in a format that changes values"):
            opening()
    path = write_raster(tmp_path / "blocks.tif", blocks[None], compress="JPEG", JPEG_QUALITY=100)
    assert np.array_equal(exclusion.open_excluded([path], grid)[0].hidden(0, 32), blocks > 0)
