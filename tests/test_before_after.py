"""A scene before and one after: the shift between them, what is new, and what was not seen on either date."""

import json
import shutil

import geopandas
import numpy as np
import pyproj
import pytest
import rasterio
from rasterio.transform import from_origin

from bands import BANDS_RGB
from scenes import before_after, source
from scenes.before_after import open_before
from script import UserError
from tests.maps import assert_same_maps, ground, make_bands, read, report_text, sigmoid, write_run
from tests.product_files import SIDE, make_safe
from tests.rasters import LEFT, TOP, centres, open_scene, write_raster

EDGE = (829000, 1500000)  # in zone 51, beside its border with zone 52


def shift_between(after, before, windows):
    return before_after.measure_shift([before_after.brightness_pair(after, before, window) for window in windows])


@pytest.mark.parametrize("shift", [(0, 0), (0.3, -0.2), (1.5, -0.75), (-2, 2)])
def test_a_shift_is_measured_to_a_tenth_of_a_pixel(tmp_path, shift):
    write_raster(tmp_path / "after.tif", ground())
    write_raster(tmp_path / "before.tif", 0.9 * ground(shift=shift))
    with open_scene([tmp_path / "after.tif"], BANDS_RGB) as after:
        spread = before_after.windows((0, after.grid.height, 0, after.grid.width), 128, 3)
        with open_scene([tmp_path / "before.tif"], BANDS_RGB) as before:
            measured = shift_between(after, before, spread)
        assert (measured.down, measured.right) == pytest.approx(shift, abs=0.1)
        before = open_before(source.SceneInput((tmp_path / "before.tif",)), BANDS_RGB, after)
        with before:
            left = shift_between(after, before, spread)
            assert left.length < max(before_after.TOLERATED_SHIFT, 0.15)
            assert (before.source.moves == ()) == (np.hypot(*shift) <= before_after.TOLERATED_SHIFT)


def test_pictures_that_share_nothing_have_no_shift():
    rng = np.random.default_rng(0)
    assert before_after.measure_shift([(rng.random((64, 64)), rng.random((64, 64))) for _ in range(9)]) is None
    assert before_after.measure_shift([]) is None and before_after.measure_shift([(np.ones((64, 64)),) * 2]) is None


def test_only_what_is_new_is_mapped(call, workdir, capsys):
    after, before = ground() - 0.8, ground() - 0.8  # of low probability
    after[0, 20:40, 20:40] = after[0, 20:40, 100:120] = before[0, 20:40, 20:40] = 3
    after[:, :, :5] = before[:, 280:] = -9
    write_raster(workdir / "after.tif", after, nodata=-9)
    write_raster(workdir / "before.tif", before, nodata=-9)
    call("after.tif", BEFORE=("before.tif",), PROBABILITY_TYPE="float32")
    out = capsys.readouterr().out
    assert "the scene before covers" in out and "nothing to correct" in out
    mask = read("maps/after_mask.tif")
    assert (mask[20:40, 100:120] == 1).all() and (mask == 1).sum() == 400, "the old one is no new landslide"
    assert (mask[:, :5] == 255).all() and (mask[280:, 5:] == 254).all() and (mask[:280, 5:] < 2).all()
    probability = read("maps/after_probability.tif")[:280, 5:]
    expected = sigmoid(after[0]) * (1 - sigmoid(before[0]))
    assert probability == pytest.approx(expected[:280, 5:], abs=2e-3)
    assert len(geopandas.read_file("maps/after_landslides.gpkg", layer="landslides")) == 1
    with rasterio.open("maps/after_mask.tif") as file:
        assert file.tags()["before"] == "before.tif"


def test_a_scene_before_that_is_the_one_after_is_refused(call, workdir):
    """By its pixels: under its own name, copied, and with another column that lies beyond the scene after."""
    bands = make_bands(300, 60)
    write_raster(workdir / "scene.tif", bands)
    shutil.copy("scene.tif", "copy.tif")
    write_raster(workdir / "wider.tif", np.pad(bands, ((0, 0), (0, 0), (0, 1)), "edge"))
    for name in ("scene.tif", "copy.tif", "wider.tif"):
        with pytest.raises(UserError, match=f"{name} holds the same pixels as the scene after: give a picture"):
            call("scene.tif", BEFORE=(name,))
    bands[2, -1, -1] += 0.1
    write_raster(workdir / "other.tif", bands)
    call("scene.tif", BEFORE=("other.tif",))


def test_a_scene_before_on_another_grid_is_warped_and_one_elsewhere_refused(call, workdir, capsys):
    write_raster(workdir / "after.tif", ground())
    coarse = ground(170, 220, 1)
    write_raster(workdir / "before.tif", coarse, from_origin(LEFT - 200, TOP + 200, 20, 20))
    call("after.tif", BEFORE=("before.tif",))
    assert "cannot be measured" in capsys.readouterr().out
    assert (read("maps/after_mask.tif") < 2).all()
    write_raster(workdir / "far.tif", coarse, from_origin(LEFT + 1e5, TOP, 20, 20))
    with pytest.raises(UserError, match="far.tif: the scene before does not overlap the one after"):
        call("after.tif", BEFORE=("far.tif",))
    with pytest.raises(UserError, match="nowhere.tif does not exist"):
        call("after.tif", BEFORE=("nowhere.tif",))


def test_a_scene_before_in_the_next_zone_lies_where_gdal_warps_it(workdir):
    """Bands that rise to the east and to the north keep their values at each place of the grid of the scene after."""
    write_raster(workdir / "after.tif", ground(), crs="EPSG:32651", transform=from_origin(*EDGE, 10, 10))
    to_before = pyproj.Transformer.from_crs("EPSG:32651", "EPSG:32652", always_xy=True)
    east, north = to_before.transform(EDGE[0] + 2000, EDGE[1] - 1500)
    transform = from_origin(east - 5000, north + 5000, 10, 10)
    x, y = centres(transform, 1000, 1000)
    write_raster(workdir / "before.tif", np.stack([x - east, y - north, x]), crs="EPSG:32652", transform=transform)
    with open_scene([workdir / "after.tif"], BANDS_RGB) as after:
        with open_before(source.SceneInput((workdir / "before.tif",)), BANDS_RGB, after) as before:
            image, valid = before.read(0, 300, 0, 400)
        expected = to_before.transform(*centres(after.grid.transform, 300, 400))
    assert valid.all()
    assert image[0] == pytest.approx(expected[0] - east, abs=0.5)
    assert image[1] == pytest.approx(expected[1] - north, abs=0.5)


def test_scenes_without_a_place_are_compared_pixel_by_pixel(call, workdir, capsys):
    write_raster(workdir / "after.tif", ground(), crs=None)
    write_raster(workdir / "before.tif", ground(shift=(1, 1)), crs=None)
    call("after.tif", BEFORE=("before.tif",))
    assert "lies 1.4 pixels from the one after" in capsys.readouterr().out
    write_raster(workdir / "other.tif", ground(200, 300), crs=None)
    with pytest.raises(UserError, match="other.tif: without a coordinate system it cannot be brought"):
        call("after.tif", BEFORE=("other.tif",))


def test_ground_hidden_on_either_date_is_not_seen(call, tmp_path, monkeypatch):
    parts = {}
    for name, rows in (("after", slice(20, 40)), ("before", slice(60, 80))):
        scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
        scl[rows] = 8
        parts[name] = make_safe(tmp_path / name, scl=scl, brighter=len(parts))
    call(parts["after"], BEFORE=(parts["before"],), SCALING="none")
    mask = read(next((tmp_path / "maps").glob("*_mask.tif")))
    assert (mask[40:80] == 254).all() and (mask[120:160] == 254).all() and (mask[90:110] < 2).all()


def test_dates_the_wrong_way_round_are_refused(call, tmp_path):
    """The metadata of both products say when they were taken."""
    new, old = make_safe(tmp_path / "new"), make_safe(tmp_path / "old", brighter=1)
    metadata = old / "MTD_MSIL2A.xml"
    metadata.write_text(
        metadata.read_text().replace("<PRODUCT_START_TIME>2023-07-01", "<PRODUCT_START_TIME>2020-06-15")
    )
    with pytest.raises(UserError, match=r"taken at 2023-07-01T.*, after the scene .*\(2020-06-15T.*exchange --before"):
        call(old, BEFORE=(new,), SCALING="none")
    assert not list((tmp_path / "maps").glob("*"))
    call(new, BEFORE=(old,), SCALING="none")


def test_tags_of_pictures_that_are_the_wrong_way_round_are_refused(call, workdir):
    """A camera writes colons, GDAL's tags are in ISO 8601; the date of processing says nothing."""
    for name, domain, tags in (
        ("new", "IMAGERY", {"ACQUISITIONDATETIME": "2018-09-12T10:20:00Z"}),
        ("old", None, {"EXIF_DateTimeOriginal": "2018:09:05 10:20:00", "TIFFTAG_DATETIME": "2024:01:01 00:00:00"}),
        ("undated", None, {"TIFFTAG_DATETIME": "2010:01:01 00:00:00"}),
    ):
        write_raster(workdir / f"{name}.tif", make_bands(seed=ord(name[0])))
        with rasterio.open(workdir / f"{name}.tif", "r+") as file:
            file.update_tags(ns=domain, **tags)
    with pytest.raises(UserError, match=r"taken at 2018-09-12T.*, after the scene .*\(2018:09:05 10"):
        call("old.tif", BEFORE=("new.tif",))
    call("new.tif", BEFORE=("old.tif",))
    call("undated.tif", BEFORE=("new.tif",))


@pytest.mark.usefixtures("unet")
@pytest.mark.slow
def test_a_pair_has_the_same_bytes_from_workers(call, workdir):
    pytest.importorskip("distributed")
    write_raster(workdir / "after.tif", ground(100, 120))
    write_raster(workdir / "before.tif", ground(100, 120, shift=(1, 0)))
    settings = {"BEFORE": ("before.tif",), "RUN": "unet", "PROBABILITY_TYPE": "float32", "BATCH_SIZE": 8}
    call("after.tif", OUT_DIR="local", **settings)
    call("after.tif", SCHEDULER="local:2", **settings)
    assert_same_maps(workdir / "maps", workdir / "local", "after", ("mask.tif", "probability.tif", "landslides.gpkg"))


def test_a_run_of_two_dates_takes_both_in_one_input(call, workdir):
    import keras

    bands = tuple(f"{band} {date}" for date in ("before", "after") for band in ("B04", "B03"))
    image = keras.Input((32, 32, 4))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="c")(image))
    kernel = np.float32([-4, 0, 4, 0]).reshape(1, 1, 4, 1)
    model.get_layer("c").set_weights([kernel, np.float32([-2])])
    if not (workdir / "results" / "dates").exists():
        write_run(workdir / "results", "dates", model, bands, 0.5)
    after, before = ground(), ground()
    after[0, 20:40, 20:40] += 2
    write_raster(workdir / "after.tif", after[:2])
    write_raster(workdir / "before.tif", before[:2])
    call("after.tif", BEFORE=("before.tif",), RUN="dates", PROBABILITY_TYPE="float32")
    expected = 1 / (1 + np.exp(-4 * (after[0] - before[0]) + 2))
    assert read("maps/after_probability.tif") == pytest.approx(expected, abs=2e-3)
    with pytest.raises(UserError, match="the run takes two dates: give the scene before the event with --before"):
        call("after.tif", RUN="dates")


def test_a_scene_before_on_another_grid_is_scaled_as_the_one_after(workdir):
    """The view that is warped to the grid holds floats, whatever the file does."""
    values = (1000 * ground()).astype(np.uint16)
    write_raster(workdir / "after.tif", values)
    padded = np.pad(values + 1, ((0, 0), (5, 5), (5, 5)), "edge")
    write_raster(workdir / "before.tif", padded, from_origin(LEFT - 50, TOP + 50, 10, 10))
    inputs = source.SceneInput((workdir / "before.tif",))
    with (
        open_scene([workdir / "after.tif"], BANDS_RGB) as after,
        open_before(inputs, BANDS_RGB, after) as before,
    ):
        assert before.dtype == after.dtype == "uint16"


def test_a_small_scene_before_anywhere_in_a_large_one_overlaps(workdir, capsys):
    write_raster(workdir / "after.tif", np.ones((3, 2600, 2600), np.uint8))
    write_raster(workdir / "before.tif", np.ones((3, 290, 290), np.uint8), from_origin(LEFT + 2700, TOP - 2700, 10, 10))
    with open_scene([workdir / "after.tif"], BANDS_RGB) as after:
        open_before(source.SceneInput((workdir / "before.tif",)), BANDS_RGB, after).close()
    assert "covers 1." in capsys.readouterr().out


def test_each_date_has_its_own_no_data(workdir):
    after, before = (np.full((2, 40, 60), 1000, np.uint16) for _ in range(2))
    after[:, :, :5] = before[:, :, 50:] = 7
    write_raster(workdir / "after.tif", after, nodata=7)
    write_raster(workdir / "before.tif", before)
    bands = tuple(f"{band} {date}" for date in ("before", "after") for band in ("B04", "B03"))
    inputs = (source.SceneInput((workdir / f"{name}.tif",)) for name in ("after", "before"))
    with before_after.open_pair(*inputs, bands) as opened:
        valid = opened.read(0, 40)[1]
    assert not valid[:, :5].any() and valid[:, 5:].all()
    three = np.full((3, 40, 60), 1000, np.uint16)
    blank = three.copy()
    blank[:, :, 50:] = 0
    write_raster(workdir / "three.tif", three)
    write_raster(workdir / "blank.tif", blank)
    bands = tuple(f"{band} {date}" for date in ("before", "after") for band in ("B04", "B03", "B02"))
    inputs = (source.SceneInput((workdir / f"{name}.tif",)) for name in ("three", "blank"))
    with before_after.open_pair(*inputs, bands) as opened:
        assert not opened.read(0, 40)[1][:, 50:].any()


def test_a_run_with_terrain_takes_it_on_both_dates(call, workdir):
    write_raster(workdir / "after.tif", np.ones((12, 40, 60), np.float32))
    write_raster(workdir / "before.tif", np.full((12, 40, 60), 1.1, np.float32))
    write_raster(workdir / "dem.tif", [np.ones((60, 80), np.float32)], from_origin(LEFT - 100, TOP + 100, 10, 10))
    call("after.tif", BEFORE=("before.tif",), RUN="terrain", DEM=("dem.tif",))
    assert (read("maps/after_mask.tif") < 2).all()


def test_scenes_that_are_scaled_in_different_ways_are_reported(call, workdir, capsys):
    run = workdir / "results" / "pictures"
    shutil.copytree(workdir / "results" / "pixel", run)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"values": "display"}))
    values = (1000 * ground()).astype(np.uint16)
    write_raster(workdir / "after.tif", values, descriptions=("B4", "B3", "B2"))
    write_raster(workdir / "before.tif", values + 1)
    call("after.tif", BEFORE=("before.tif",), RUN="pictures")
    text = "scaling stretch before the event, l4s after: --scaling sets one for both"
    assert f"warning: {text}" in capsys.readouterr().out
    assert text in report_text(workdir / "maps" / "after_report.html")
