"""The desk: a page on which boxes of a scene are labelled, and the file that it saves, which make_patches.py reads."""

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import scipy
import shapely
from affine import Affine
from rasterio.windows import Window

import script
import suggest_boxes
from scenes import labels
from scenes.box_labels import BoxLabels
from scenes.lon_lat import LonLat
from scenes.mapped_scene import open_mapped
from scenes.pixel_grid import PixelGrid
from scenes.scene_digest import scene_digests
from tests.checks import desk_in_browser
from tests.labelled_scene import HEIGHT, WIDTH
from tests.maps import make_bands
from tests.product_files import SIDE, make_safe
from tests.rasters import GRID, UTM, grid_of, write_raster, write_shapes
from tests.rasters import box as ground_box
from tests.running import call_main, rows

BOXES = ((0, 128), (128, 256))  # row and column of two boxes of 128 pixels


def data_of(path):
    """The data in the page's script."""
    text = Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r"<script>const data = (\{.*?\});</script>", text)[1])


def rectangle(top, left, height, width):
    return shapely.box(left, top, left + width, top + height)


def write_labels(path, scene, features, finished=(True, True), **changes):
    """Write the file of the page for two boxes of a scene; features: (number of the box, verdict, shape in pixels)."""
    grid = grid_of(scene)
    convert = LonLat(grid).of_pixels if grid.crs else np.asarray
    in_degrees = [shapely.transform(shape, convert) for _, _, shape in features]
    outlines = [shapely.transform(rectangle(row, column, 128, 128), convert) for row, column in BOXES]
    content = {
        "type": "FeatureCollection",
        "landslide_labels": 1,
        "scene": {
            "name": "scene",
            "digests": list(scene_digests([scene])),
            "coordinates": "longitude, latitude" if grid.crs else "column, row",
        },
        "boxes": [
            {"id": str(i), "outline": list(outline.exterior.coords), "finished": done, "when": f"2026-01-0{i + 1}"}
            for i, (outline, done) in enumerate(zip(outlines, finished, strict=True))
        ],
        "features": [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(shape),
                "properties": {"box": str(number), "verdict": verdict, "source": "drawn"},
            }
            for (number, verdict, _), shape in zip(features, in_degrees, strict=True)
        ],
    }
    Path(path).write_text(json.dumps(content | changes))
    return path


def centres_in(shape):
    """The pixels of the scene whose centres lie in a shape: H x W bool."""
    rows_of, columns_of = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return shapely.contains_xy(shape, columns_of, rows_of)


FEATURES = [
    (0, "landslide", rectangle(-20, 180, 60, 40)),  # beyond the upper side of its box, and of the scene
    (0, "not landslide", rectangle(60, 140, 20, 20)),
    (0, "unsure", shapely.Point(220.25, 90.5).buffer(22)),
    (1, "landslide", shapely.Point(384, 200).buffer(30) - shapely.Point(384, 200).buffer(12)),  # across the right side
]


def expected(features, finished=(True, True)):
    """The labels of a file, H x W."""
    values = np.full((HEIGHT, WIDTH), 255, np.uint8)
    for number, (row, column) in enumerate(BOXES):
        inside = centres_in(rectangle(row, column, 128, 128))
        if finished[number]:
            values[inside] = 0
            for word, label in (("unsure", 255), ("not landslide", 0), ("landslide", 1)):
                for _, _, shape in (each for each in features if each[:2] == (number, word)):
                    values[inside & centres_in(shape)] = label
    return values


# ---------------------------------------------------------------------- the labels file


@pytest.mark.parametrize("crs", [UTM, None, "rotated"])
def test_finished_boxes_are_labelled_and_nothing_else(event, crs):
    transform = GRID if crs != "rotated" else GRID @ Affine.rotation(25)
    write_raster("scene.tif", make_bands(HEIGHT, WIDTH), transform, UTM if crs == "rotated" else crs)
    path = write_labels("scene_labels.geojson", "scene.tif", FEATURES)
    read = labels.Labels([path], grid_of("scene.tif"), scene_paths=("scene.tif",))
    np.testing.assert_array_equal(read.read(0, HEIGHT, 0, WIDTH), expected(FEATURES))
    np.testing.assert_array_equal(read.read(100, 220, 200, 300), expected(FEATURES)[100:220, 200:300])
    assert [part.bounds for part in read.parts] == [(128, 0, 256, 128), (256, 128, 384, 256)]
    write_labels(path, "scene.tif", FEATURES, finished=(False, True))
    read = labels.Labels([path], grid_of("scene.tif"), scene_paths=("scene.tif",))
    np.testing.assert_array_equal(read.read(0, HEIGHT, 0, WIDTH), expected(FEATURES, (False, True)))


def test_boxes_decide_alone_among_other_labels(event):
    path = write_labels("scene_labels.geojson", "scene.tif", FEATURES)
    options = {"area": ("area.gpkg",), "scene_paths": ("scene.tif",)}
    both = labels.Labels(["slides.gpkg", path], grid_of("scene.tif"), **options).read(0, HEIGHT, 0, WIDTH)
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif"), ("area.gpkg",)).read(0, HEIGHT, 0, WIDTH)
    inside = np.any([centres_in(rectangle(row, column, 128, 128)) for row, column in BOXES], axis=0)
    np.testing.assert_array_equal(both, np.where(inside, expected(FEATURES), alone))
    write_shapes("reviewed.gpkg", ground_box(10, 140, 20, 20), ground_box(50, 20, 9, 9), verdict=["no", None])
    later = labels.Labels([path, "reviewed.gpkg"], grid_of("scene.tif"), scene_paths=("scene.tif",))
    values = expected(FEATURES)
    values[10:30, 140:160] = 0
    np.testing.assert_array_equal(later.read(0, HEIGHT, 0, WIDTH), values)


def test_small_landslides_and_coarser_pixels(event):
    features = [(0, "landslide", rectangle(20, 140, 4, 4)), (1, "landslide", rectangle(140, 280, 40, 40))]
    path = write_labels("scene_labels.geojson", "scene.tif", features)
    read = BoxLabels(path, grid_of("scene.tif"), ("scene.tif",), min_area=5000).read(0, HEIGHT, 0, WIDTH)[0]
    assert (read[20:24, 140:144] == 255).all() and (read == 1).sum() == 1600
    coarse = grid_of("scene.tif").coarser(4)
    values, finished = BoxLabels(path, coarse, ("scene.tif",)).read(0, *[HEIGHT // 4, 0, WIDTH // 4])
    np.testing.assert_array_equal(values, expected(features)[2::4, 2::4])
    assert finished.sum() == 2 * 32 * 32


def test_make_patches_reads_the_file(event, cut, capsys):
    path = write_labels("scene_labels.geojson", "scene.tif", FEATURES, finished=(True, False))
    cut("scene.tif", LABELS=[path], SIZE=128, VALIDATION=0.0, TEST=0.0)
    assert "1 of 2 boxes are not finished" in capsys.readouterr().out
    (row,) = rows("event/patches.csv")
    assert (row["row"], row["column"]) == ("0", "128")
    with h5py.File(f"event/masks/train/mask_{Path(row['image']).stem.split('_')[1]}.h5") as file:
        np.testing.assert_array_equal(file["mask"][()], expected(FEATURES)[:128, 128:256])


def test_boxes_without_a_landslide_are_labels(event, cut, capsys):
    path = write_labels("scene_labels.geojson", "scene.tif", FEATURES[1:2])
    cut("scene.tif", LABELS=[path], SIZE=128)
    assert "hold no landslide" in capsys.readouterr().out and len(rows("event/patches.csv")) == 2


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"SCENE": ("other.tif",)}, "scene_labels.geojson holds labels of another scene, scene: give that one"),
        ({"AREA": ("area.gpkg",)}, "says itself which boxes are finished: leave --area out"),
        ({"LABELS": ("open.geojson",)}, "open.geojson: no box is finished"),
        ({"LABELS": ("later.geojson",)}, "later.geojson was saved by a later version"),
        ({"LABELS": ("cut.geojson",)}, "cut.geojson is damaged: save it again"),
        ({"LABELS": ("word.geojson",)}, "word.geojson: the verdict 'perhaps' is none of"),
    ],
)
def test_mistakes(event, cut, constants, message):
    write_raster("other.tif", make_bands(HEIGHT, WIDTH, seed=1))
    path = write_labels("scene_labels.geojson", "scene.tif", FEATURES)
    write_labels("open.geojson", "scene.tif", FEATURES, finished=(False, False))
    write_labels("later.geojson", "scene.tif", FEATURES, landslide_labels=2)
    write_labels("word.geojson", "scene.tif", [(0, "perhaps", FEATURES[0][2])])
    Path("cut.geojson").write_text(Path(path).read_text()[:-60])
    settings = {"LABELS": (path,), "SIZE": 128} | constants
    with pytest.raises(script.UserError, match=message):
        cut(*settings.pop("SCENE", ("scene.tif",)), **settings)


def test_of_several_scenes_each_takes_its_own_file(event, cut):
    write_raster("other.tif", make_bands(HEIGHT, WIDTH, seed=1))
    paths = [write_labels(f"{name}.geojson", f"{name}.tif", FEATURES) for name in ("scene", "other")]
    cut(MANY=["scene.tif", "other.tif"], LABELS=paths, SIZE=128, VALIDATION=0.0, TEST=0.0)
    assert sorted((row["scene"], row["row"]) for row in rows("event/patches.csv")) == [
        *(("other", "0"), ("other", "128"), ("scene", "0"), ("scene", "128"))
    ]


# ---------------------------------------------------------------------- where pixels lie, and which scene it is


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (UTM, GRID),
        ("EPSG:4326", Affine(1e-4, 0, 30, 0, -1e-4, 45)),
        ("EPSG:32761", Affine(30, 5, 2.3e6, 5, -30, 1.9e6)),  # polar, turned
        ("EPSG:32660", Affine(10, 0, 815000, 0, -10, 1e6)),  # across 180 degrees
    ],
)
def test_polynomials_follow_the_projection(crs, transform):
    lon_lat = LonLat(PixelGrid((3000, 4000), transform, rasterio.crs.CRS.from_string(crs)))
    points = np.random.default_rng(0).uniform((1200, 700), (1800, 1300), (500, 2))
    np.testing.assert_allclose(lon_lat.in_pixels(lon_lat.of_pixels(points)), points, atol=1e-6)
    fitted = lon_lat.polynomials(700, 1300, 1200, 1800)
    u, v = ((points - (1500, 1000)) / 300).T
    powers = [(i, j) for i in range(fitted["degree"] + 1) for j in range(fitted["degree"] + 1 - i)]
    written = [sum(c * u**i * v**j for c, (i, j) in zip(fitted[name], powers, strict=True)) for name in ("lon", "lat")]
    np.testing.assert_allclose(lon_lat.in_pixels(np.transpose(written)), points, atol=2e-3)


def test_a_digest_knows_a_scene_by_its_pixels(event):
    with rasterio.open("scene.tif") as file:
        values = file.read()
    write_raster("copy.tif", values, compress="deflate", tiled=True, blockxsize=64, blockysize=64)
    assert scene_digests(["copy.tif"]) == scene_digests(["scene.tif"])
    write_raster("moved.tif", values, Affine(10, 0, 300010, 0, -10, 1500000))
    values[1, 5, 5] += 1
    write_raster("other.tif", values)
    assert len({*scene_digests(["scene.tif"]), *scene_digests(["moved.tif", "other.tif"])}) == 3


# ---------------------------------------------------------------------- the page


@pytest.fixture
def mapped(call, workdir):
    """A map of a scene with a scene before it: 2 x 3 boxes."""
    write_raster("after.tif", make_bands(300, 400))
    write_raster("before.tif", make_bands(300, 400, seed=5))
    call("after.tif", BEFORE=("before.tif",), MIN_AREA=0.0)
    return workdir / "maps"


def test_a_map_has_a_page_and_suggested_boxes_have_theirs(mapped, monkeypatch, capsys):
    data = data_of(mapped / "after_desk.html")
    assert len(data["boxes"]) == 6 and data["scene"]["digests"] == list(scene_digests(["after.tif"]))
    box = data["boxes"][0]
    assert set(box["pictures"]) == {"after", "before", "probability"} and len(box["predicted"]) > 1
    assert box["id"] == f"{box['box'][0]}-{box['box'][1]}-128"
    call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", BOXES=6)
    assert data_of(mapped / "after_desk.html") == data, "the map's tags say all that the page needs"
    assert "save after_labels.geojson" in capsys.readouterr().out
    Path("after.tif").rename("moved.tif")
    call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", OVERWRITE=True)
    assert "no page to label on is written: after.tif, of which" in capsys.readouterr().out
    call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", OVERWRITE=True, SCENE=("moved.tif",))
    assert data_of(mapped / "after_desk.html")["boxes"] == data["boxes"]
    with pytest.raises(script.UserError, match="other.tif covers other ground than maps/after_probability.tif"):
        write_raster("other.tif", make_bands(200, 200))
        call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", OVERWRITE=True, SCENE=("other.tif",))


def test_a_product_with_clouds_has_a_page_and_its_name_is_its_digest(call, workdir, monkeypatch):
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    scl[10:30] = 8
    product = make_safe(workdir, scl=scl)
    call(product, SCALING="none")
    (page,) = (workdir / "maps").glob("*_desk.html")
    data = data_of(page)
    assert "cover" in data["boxes"][0]["pictures"]
    assert data["scene"]["digests"] == list(scene_digests([str(product)]))
    (probability,) = (workdir / "maps").glob("*_probability.tif")
    call_main(suggest_boxes, monkeypatch, MAP=str(probability))
    assert data_of(page) == data


def test_the_page_of_suggested_boxes_has_the_bands_of_the_map(call, workdir, monkeypatch):
    names = ("B4 red", "B3 green", "B2 blue")
    write_raster("named.tif", make_bands(128, 128), descriptions=names)
    call("named.tif", SCENE_BANDS=names, DESK=False)
    call_main(suggest_boxes, monkeypatch, MAP="maps/named_probability.tif")
    assert len(data_of("maps/named_desk.html")["boxes"]) == 1


def test_the_page_of_suggested_boxes_leaves_out_what_the_map_did(call, workdir, monkeypatch):
    """Ground that the user calls no data, of the scene, the one before and the elevation, is not drawn as data."""
    for seed, name in enumerate(("after.tif", "before.tif")):
        bands = make_bands(128, 128, seed)
        bands[:, :, :40] = 0.25
        write_raster(name, bands)
    write_raster("dem.tif", np.where(np.arange(128) < 100, 500, 8000).astype(np.float32)[None, None].repeat(128, 1))
    call("after.tif", BEFORE=("before.tif",), DEM=("dem.tif",), NODATA=0.25, DEM_NODATA=8000.0)
    data = data_of("maps/after_desk.html")
    call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", BOXES=1)
    assert data_of("maps/after_desk.html")["boxes"] == data["boxes"]
    with open_mapped("maps/after_probability.tif") as again:
        for scene in again.scenes:
            assert (scene.read(0, 128)[1] == (np.arange(128) >= 40)).all()
        assert np.nanmax(again.scenes[0].read_terrain(Window(0, 0, 128, 128))["dem"]) == 500


def test_names_of_files_cannot_break_the_page(call, workdir):
    write_raster(workdir / "a<script>'b&.tif", make_bands(128, 128))
    call("a<script>'b&.tif")
    (page,) = (workdir / "maps").glob("*_desk.html")
    assert data_of(page)["scene"]["name"] == "a<script>'b&" and "a<script>" not in page.read_text(encoding="utf-8")


def test_finished_boxes_are_not_suggested_again(mapped, monkeypatch):
    write_labels("after_labels.geojson", "after.tif", [], finished=(True, False))
    call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", LABELLED=("after_labels.geojson",))
    assert {tuple(box["box"][:2]) for box in data_of(mapped / "after_desk.html")["boxes"]} == {
        *((0, 0), (0, 256), (128, 0), (128, 128), (128, 256))
    }


def test_a_scene_that_is_smaller_than_a_box_has_no_page(call, mapped):
    write_raster("after.tif", make_bands(100, 200))
    call("after.tif")
    assert not (mapped / "after_desk.html").exists(), "that of the former map is no longer true"


def test_without_a_coordinate_system_the_page_works_in_pixels(call, workdir, monkeypatch):
    write_raster("drone.tif", make_bands(150, 140), crs=None)
    call("drone.tif", PIXEL_SIZE=1.0, DESK=False)
    assert not Path("maps/drone_desk.html").exists()
    call_main(suggest_boxes, monkeypatch, MAP="maps/drone_probability.tif")
    data = data_of("maps/drone_desk.html")
    assert data["scene"]["coordinates"] == "column, row" and data["boxes"][0]["degrees"] is None
    assert not Path("maps/drone_boxes.gpkg").exists()


# ---------------------------------------------------------------------- in a browser


@pytest.fixture
def browser():
    pytest.importorskip("playwright")
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed")
    return shutil.which("chromium")


@pytest.mark.slow
@pytest.mark.parametrize("crs", [UTM, None])
def test_what_a_person_draws_is_what_make_patches_cuts(mapped, call, cut, browser, crs):
    """Two boxes are finished on the page; tests/checks/desk_in_browser.py has the steps."""
    if not crs:
        write_raster("after.tif", make_bands(300, 400), crs=None)
        call("after.tif", PIXEL_SIZE=10.0)
    page = mapped / "after_desk.html"
    saved, finished = desk_in_browser.check(page, mapped, browser)
    assert len(finished) == 2 and any(verdict == "unsure" for verdict, _ in next(iter(finished.values())).values())
    cut("after.tif", LABELS=[saved], SIZE=128, VALIDATION=0.0, TEST=0.0)
    patches = rows("event/patches.csv")
    assert len(patches) == 2
    for patch in patches:
        row, column = int(patch["row"]), int(patch["column"])
        rows_of, columns_of = np.mgrid[row : row + 128, column : column + 128] + 0.5
        values = np.zeros((128, 128), np.uint8)
        for word, label in (("unsure", 255), ("not landslide", 0), ("landslide", 1)):
            for verdict, shape in finished[f"{row}-{column}-128"].values():
                if verdict == word:
                    values[shapely.contains_xy(shape, columns_of, rows_of)] = label
        with h5py.File(f"event/masks/train/mask_{Path(patch['image']).stem.split('_')[1]}.h5") as file:
            np.testing.assert_array_equal(file["mask"][()], values)
    if crs:
        desk_in_browser.check_touch(page, mapped, browser)


@pytest.mark.slow
def test_two_hundred_boxes_open_at_once_and_twenty_large_ones_are_light(call, workdir, monkeypatch, browser):
    """Ground as rough as a picture by drone, two dates and elevation."""
    for seed, name in enumerate(("after", "before")):
        rng = np.random.default_rng(seed)
        rough = scipy.ndimage.gaussian_filter(rng.normal(size=(3, 2100, 2600)), (0, 1, 1)) * 100
        smooth = scipy.ndimage.gaussian_filter(rng.normal(size=(2100, 2600)), 12) * 1500
        write_raster(f"{name}.tif", np.clip(rough + smooth + 128, 1, 255).astype(np.uint8))
    dem = scipy.ndimage.gaussian_filter(rng.normal(size=(1, 750, 920)), (0, 3, 3)) * 300
    write_raster("dem.tif", dem.astype(np.float32), Affine(30, 0, 299700, 0, -30, 1500600))
    call("after.tif", BEFORE=("before.tif",), DEM=("dem.tif",), SCALING="none", DESK=False)
    for count, size in ((200, 128), (20, 512)):
        call_main(suggest_boxes, monkeypatch, MAP="maps/after_probability.tif", BOXES=count, SIZE=size, OVERWRITE=True)
        page = Path("maps/after_desk.html")
        boxes = data_of(page)["boxes"]
        assert len(boxes) == count and len(boxes[0]["pictures"]) == 4
        assert desk_in_browser.seconds_to_open(page, browser) < 5
    assert page.stat().st_size < 10 * 2**20
