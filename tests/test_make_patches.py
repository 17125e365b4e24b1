"""Patches cut from a scene and polygons: make_patches.py, labels, and splits by blocks of ground."""

import csv
import zipfile
from pathlib import Path

import geopandas
import h5py
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.warp import transform_geom

import dataset
import make_patches
import script
from scenes import cutting, labels
from scenes.pixel_grid import PixelGrid
from tests.maps import make_bands
from tests.product_files import SIDE, make_safe
from tests.test_scene import UTM, write_raster

DEFAULTS = {name: value for name, (value, *_) in script.constants(vars(make_patches)).items()}
X, Y = 300000, 1500000  # upper left corner of what write_raster writes, at 10 m
HEIGHT, WIDTH = 400, 480


def box(row, column, height, width):
    """A rectangle of pixels, on the map."""
    return shapely.box(X + 10 * column, Y - 10 * (row + height), X + 10 * (column + width), Y - 10 * row)


def write_shapes(path, shapes, crs=UTM, **columns):
    geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=crs).to_file(path, engine="pyogrio")
    return path


@pytest.fixture
def slides():
    """Discs and blobs on the ground of the scene."""
    rng = np.random.default_rng(3)
    places = rng.uniform((20, 20), (HEIGHT - 20, WIDTH - 20), (60, 2))
    return [shapely.Point(X + 10 * c, Y - 10 * r).buffer(rng.uniform(20, 120)) for r, c in places]


@pytest.fixture
def event(place, slides):
    """A folder with scene.tif (float), slides.gpkg and area.gpkg."""
    write_raster(place / "scene.tif", make_bands(HEIGHT, WIDTH))
    write_shapes(place / "slides.gpkg", slides)
    write_shapes(place / "area.gpkg", [box(10, 0, 390, 470)])
    return place


@pytest.fixture
def cut(monkeypatch):
    """Run make_patches.main() in this process with some constants set."""

    def run(*scene, **constants):
        chosen = {"SCENE": tuple(map(str, scene)), "RUN": "pixel", "OUT_DIR": "event", **constants}
        for name, value in (DEFAULTS | chosen).items():
            monkeypatch.setattr(make_patches, name, tuple(map(str, value)) if isinstance(value, list) else value)
        make_patches.main()

    return run


def listed(folder):
    with open(folder / "patches.csv", newline="") as file:
        return list(csv.DictReader(file))


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_patches_hold_the_scene_and_the_polygons_at_their_place(event, cut, slides):
    cut("scene.tif", LABELS=["slides.gpkg"], AREA="area.gpkg")
    with rasterio.open("scene.tif") as file:
        scene, transform = file.read(), file.transform
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=transform, dtype="uint8")
    inside = rasterize([box(10, 0, 390, 470)], (HEIGHT, WIDTH), transform=transform, dtype="uint8") > 0
    truth = np.where(inside | (truth == 1), truth, 255)
    rows = listed(event / "event")
    for row in rows:
        top, left = int(row["row"]), int(row["column"])
        window = slice(top, top + 32), slice(left, left + 32)
        with (
            h5py.File(event / "event" / row["image"]) as file,
            h5py.File(event / "event" / row["image"].replace("image", "mask")) as mask,
        ):
            np.testing.assert_array_equal(file["img"][()], np.moveaxis(scene[:, *window], 0, -1))
            np.testing.assert_array_equal(mask["mask"][()], truth[window])
            assert list(file.attrs["bands"]) == ["red", "green", "blue"] and file.attrs["values"] == ""
            x, y = transform @ (left, top)
            assert file.attrs["transform"].tolist() == [10, 0, x, 0, -10, y]
            assert rasterio.crs.CRS.from_wkt(file.attrs["crs"]) == rasterio.crs.CRS.from_string(UTM)
        assert int(row["landslide"]) == (truth[window] == 1).sum()
    patches = dataset.open_patches("event", event / "cache")
    assert len(patches) == len(rows) and patches.bands == ("red", "green", "blue")
    assert {"split_scene.png", "patches.csv"} <= set(content(event / "event"))


def test_splits_lie_a_patch_apart_and_have_their_shares(event, cut):
    cut("scene.tif", LABELS=["slides.gpkg"], AREA="area.gpkg")
    rows = listed(event / "event")
    shapes = {split: [] for split in ("train", "validation", "test")}
    for row in rows:
        shapes[row["split"]].append(shapely.box(*(float(row[side]) for side in ("left", "bottom", "right", "top"))))
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert shapely.union_all(shapes[first]).distance(shapely.union_all(shapes[second])) >= 320
    assert 0.05 < len(shapes["test"]) / len(rows) < 0.3 and 0.05 < len(shapes["validation"]) / len(rows) < 0.3
    first = content(event / "event")
    cut("scene.tif", LABELS=["slides.gpkg"], AREA="area.gpkg", OVERWRITE=True)
    assert content(event / "event") == first


def test_a_patch_has_the_same_number_in_every_split(event, cut):
    numbers = []
    for seed in (0, 1):
        cut("scene.tif", LABELS=["slides.gpkg"], AREA="area.gpkg", SEED=seed, OVERWRITE=True)
        rows = listed(event / "event")
        numbers.append({(row["row"], row["column"]): row["image"].rsplit("_", 1)[1] for row in rows})
    both = numbers[0].keys() & numbers[1].keys()
    assert numbers[0].keys() != numbers[1].keys() and all(numbers[0][place] == numbers[1][place] for place in both)


def test_several_boxes_give_a_patch_each(event, cut):
    boxes = [box(r, c, 30, 31) for r in (5, 133, 261, 360) for c in (3, 100, 200, 300, 420)]
    write_shapes("boxes.gpkg", boxes)
    cut("scene.tif", LABELS=["slides.gpkg"], AREA="boxes.gpkg")
    rows = listed(event / "event")
    assert len(rows) == 20
    found = [shapely.box(*(float(row[side]) for side in ("left", "bottom", "right", "top"))) for row in rows]
    assert all(any(patch.contains(each) for patch in found) for each in boxes)


def test_spread_covers_every_length():
    for length in range(5, 300):
        for first in (0.0, 3.4, 40.0):
            starts = cutting.spread(first, min(first + length, 320), 32, 8, 320)
            assert starts[0] >= 0 and starts[-1] <= 288
            steps = np.diff(starts)
            assert (steps <= 25).all() and (len(starts) == 1 or length > 32)
            assert starts[0] <= first + 1 and starts[-1] + 32 >= min(first + length, 320) - 1


def test_a_split_that_cannot_be_made_is_none():
    row = np.arange(4)
    boxes = np.column_stack([row, 0 * row, row + 1, 0 * row + 1])
    apart = boxes + 2 * row[:, None] * [1, 0, 1, 0]
    shares = {"validation": 0.2, "test": 0.2}
    assert cutting.split_blocks(boxes, [1, 1, 1, 1], 1, shares) is None  # no room for two gaps
    assigned = cutting.split_blocks(apart, [1, 1, 1, 0], 1, shares)
    assert sorted(assigned[:3]) == ["test", "train", "validation"]


# ---------------------------------------------------------------------- labels


def grid_of(path):
    with rasterio.open(path) as file:
        return PixelGrid.of(file)


def test_verdicts_of_a_reviewer(event):
    shapes = [box(10, 10, 20, 20), box(50, 10, 20, 20), box(90, 10, 20, 20), box(130, 10, 20, 20)]
    write_shapes("reviewed.gpkg", shapes, verdict=["Landslide", "not landslide", None, "unsure"])
    found = labels.Labels(["reviewed.gpkg"], grid_of("scene.tif")).read(0, 200, 0, 100)
    expected = np.full((200, 100), 255)
    expected[10:30, 10:30], expected[50:70, 10:30] = 1, 0
    np.testing.assert_array_equal(found, expected)
    found = labels.Labels(["reviewed.gpkg"], grid_of("scene.tif"), "area.gpkg").read(0, 200, 0, 100)
    expected[10:] = np.where(expected[10:] == 255, 0, expected[10:])
    expected[90:110, 10:30] = expected[130:150, 10:30] = 255
    np.testing.assert_array_equal(found, expected)


def test_a_later_file_counts_where_both_say_something(event):
    write_shapes("reviewed.gpkg", [box(10, 10, 20, 20)], verdict=["no"])
    found = labels.Labels(["slides.gpkg", "reviewed.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    alone[10:30, 10:30] = 0
    np.testing.assert_array_equal(found, alone)


def test_outlines_get_a_buffer_that_is_not_labelled(event):
    shape = shapely.Point(X + 2000, Y - 2000).buffer(600)
    write_shapes("one.gpkg", [shape])
    whole = labels.Labels(["one.gpkg"], grid_of("scene.tif"), buffer=40)
    found = whole.read(0, HEIGHT, 0, WIDTH)
    with rasterio.open("scene.tif") as file:
        band = rasterize([shape.boundary.buffer(40)], (HEIGHT, WIDTH), transform=file.transform) > 0
    assert np.count_nonzero((found == 255) != band) < 0.1 * band.sum()
    np.testing.assert_array_equal(whole.read(120, 200, 130, 210), found[120:200, 130:210])


def test_small_polygons_are_not_labelled(event):
    write_shapes("sizes.gpkg", [box(10, 10, 5, 5), box(50, 10, 20, 20)])
    found = labels.Labels(["sizes.gpkg"], grid_of("scene.tif"), min_area=10_000).read(0, 100, 0, 100)
    assert (found[10:15, 10:15] == 255).all() and (found[50:70, 10:30] == 1).all() and (found == 255).sum() == 25


def test_polygons_in_other_coordinates_lie_at_the_same_place(event, slides):
    table = geopandas.read_file("slides.gpkg").to_crs(4326)
    table.to_file("degrees.gpkg")
    here = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    there = labels.Labels(["degrees.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    assert (here != there).sum() <= 3  # corners moved by less than a millimetre


@pytest.mark.parametrize("form", ["1 and 255", "255", "tagged"])
def test_mask_rasters(event, slides, form):
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform, dtype="uint8")
    mask, expected = truth.copy(), truth.copy()
    if form == "1 and 255":  # also what predict.py calls excluded and hidden
        mask[:50], mask[50:60], mask[60:70] = 255, 254, 253
        expected[:70] = 255
    if form == "255":
        mask[mask == 1] = 255
    if form == "tagged":
        mask[:50] = 7
        expected[:50] = 255
    write_raster(Path("mask.tif"), mask[None], nodata=7 if form == "tagged" else None)
    found = labels.Labels(["mask.tif"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(found, expected)


def test_clouds_and_no_data_are_not_labelled(place, cut):
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    scl[20:40, 30:50] = 9
    safe = make_safe(place, scl=scl)
    with rasterio.open(next(safe.rglob("*B04_10m.jp2"))) as file:
        place_of = file.transform
        crs = file.crs
    corners = [
        place_of @ (c + k, r + m) for r in range(5, SIDE, 30) for c in range(5, SIDE, 30) for k, m in ((0, 0), (20, 20))
    ]
    shapes = [shapely.box(*np.min(pair, 0), *np.max(pair, 0)) for pair in zip(corners[::2], corners[1::2], strict=True)]
    write_shapes("slides.gpkg", shapes, crs)
    cut(safe, LABELS=["slides.gpkg"], SIZE=16)
    hidden = np.kron(scl == 9, np.ones((2, 2), bool))
    hidden[:6] = True  # rows without data
    for row in listed(place / "event"):
        top, left = int(row["row"]), int(row["column"])
        with h5py.File(place / "event" / row["image"].replace("image", "mask")) as file:
            np.testing.assert_array_equal(file["mask"][()] == 255, hidden[top : top + 16, left : left + 16])


@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_pixels_without_data_are_so_in_training_and_in_maps(place, slides, cut, call, kind):
    scene = make_bands(HEIGHT, WIDTH) if kind == "float32" else (60 * make_bands(HEIGHT, WIDTH)).clip(1, 255)
    fill = -9999 if kind == "float32" else 0
    scene[:, 100:140, 150:] = fill
    write_raster(Path("scene.tif"), scene.astype(kind), nodata=fill)
    write_shapes("slides.gpkg", slides)
    cut("scene.tif", LABELS=["slides.gpkg"])
    rows = listed(place / "event")
    windows = {row["image"]: np.s_[:, int(row["row"]) :, int(row["column"]) :] for row in rows}
    cut_scene = {name: np.moveaxis(scene[window][:, :32, :32], 0, -1) for name, window in windows.items()}
    patches = dataset.open_patches("event", place / "cache")
    pixels = np.stack([cut_scene[name] for name in patches.names])
    gap = (pixels == fill).all(-1)
    expected = pixels[~gap].astype(patches.dtype).mean(0)  # what stands for no data of files of other kinds, too
    np.testing.assert_allclose(patches.images[gap], np.broadcast_to(expected, (gap.sum(), 3)), atol=1e-3 + (fill == 0))
    assert patches.dtype == kind and (patches.masks[gap] == 255).all()
    call("event")
    for name in patches.names[::7]:
        mask = Path("maps", name.split("/")[1], Path(name).name.replace("image", "mask"))
        with h5py.File(mask) as file:
            np.testing.assert_array_equal(file["mask"][()] == 255, gap[patches.names.index(name)])


def test_bands_of_the_terrain_and_the_bytes_of_a_picture(event, cut):
    picture = np.clip(60 * make_bands(HEIGHT, WIDTH), 1, 255).astype(np.uint8)
    write_raster(Path("picture.tif"), picture)
    slope = np.broadcast_to(np.arange(WIDTH, dtype=np.float32) * 5, (1, HEIGHT, WIDTH))
    write_raster(Path("dem.tif"), slope)
    cut(
        "picture.tif",
        LABELS=["slides.gpkg"],
        RUN="",
        BANDS=["red", "green", "blue", "slope", "dem"],
        DEM="dem.tif",
        SIZE=32,
    )
    patches = dataset.open_patches("event", event / "cache")
    assert patches.bands == ("red", "green", "blue", "slope", "dem")
    image = patches.read([0])[0]
    (row,) = (row for row in listed(event / "event") if row["image"] == patches.names[0])
    top, left = int(row["row"]), int(row["column"])
    np.testing.assert_array_equal(image[..., :3], np.moveaxis(picture[:, top : top + 32, left : left + 32], 0, -1))
    np.testing.assert_allclose(image[..., 4], slope[0, top : top + 32, left : left + 32], atol=1e-3)
    assert np.abs(image[4:-4, 4:-4, 3] - np.degrees(np.arctan(0.5))).max() < 0.1


def test_scenes_of_one_place_are_split_together(event, cut):
    write_raster(Path("later.tif"), make_bands(HEIGHT, WIDTH, seed=1))
    cut(SCENES=["scene.tif", "later.tif"], LABELS=["slides.gpkg"], AREA="area.gpkg")
    splits = {}
    for row in listed(event / "event"):
        splits.setdefault((row["row"], row["column"]), set()).add(row["split"])
    assert all(len(each) == 1 for each in splits.values()) and len(listed(event / "event")) == 2 * len(splits)


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(event, cut):
    cut("scene.tif", LABELS=["slides.gpkg"], AREA="area.gpkg")
    first = content(event / "event")
    cut("scene.tif", LABELS=["slides.gpkg"], AREA="area.gpkg", SCHEDULER="local:2", OVERWRITE=True)
    assert content(event / "event") == first


def test_nothing_is_replaced_without_leave(event, cut):
    cut("scene.tif", LABELS=["slides.gpkg"])
    (event / "event" / "mine.txt").write_text("notes")
    before = content(event / "event")
    with pytest.raises(script.UserError, match="--overwrite"):
        cut("scene.tif", LABELS=["slides.gpkg"])
    with pytest.raises(
        script.UserError, match="none of its labels lies over the scene"
    ):  # a failure leaves what was there
        write_shapes("elsewhere.gpkg", [shapely.box(0, 0, 10, 10)], 4326)
        cut("scene.tif", LABELS=["elsewhere.gpkg"], OVERWRITE=True)
    assert content(event / "event") == before
    cut("scene.tif", LABELS=["slides.gpkg"], SIZE=64, OVERWRITE=True)
    assert (event / "event" / "mine.txt").read_text() == "notes"
    assert not list((event / "event").glob(".*"))
    (event / "other").mkdir()
    (event / "other" / "precious.h5").touch()
    with pytest.raises(script.UserError, match="other files"):
        cut("scene.tif", LABELS=["slides.gpkg"], OUT_DIR="other", OVERWRITE=True)


def bad_labels(kind):
    """Write labels with a fault; return (constants, part of the message)."""
    square = box(50, 50, 60, 60)
    if kind == "lines":
        return {"LABELS": [write_shapes("x.gpkg", [square.boundary])]}, "lines or points"
    if kind == "empty":
        return {"LABELS": [write_shapes("x.gpkg", [shapely.Polygon()])]}, "none of its labels lies over the scene"
    if kind == "no CRS":
        return {"LABELS": [write_shapes("x.shp", [square], None)]}, "without a coordinate system"
    if kind == "no verdict":
        return {"LABELS": [write_shapes("x.gpkg", [square], verdict=[None], id=[1])]}, "no polygon has a verdict"
    if kind == "unknown verdict":
        return {"LABELS": [write_shapes("x.gpkg", [square], verdict=["perhaps"])]}, "'perhaps' is none of"
    if kind == "small area":
        area = write_shapes("a.gpkg", [box(50, 50, 4, 4)])
        return {"LABELS": ["slides.gpkg"], "AREA": str(area)}, "smaller than a patch"
    if kind == "no landslide in the area":
        area = write_shapes("a.gpkg", [box(0, 0, 32, 32), box(0, 100, 32, 32)])
        return {"LABELS": [write_shapes("x.gpkg", [box(300, 300, 5, 5)])], "AREA": str(area)}, "no landslide lies"
    if kind == "too few":
        return {"LABELS": [write_shapes("x.gpkg", [square])]}, "label more ground"
    if kind == "values":
        write_raster(Path("m.tif"), np.full((1, HEIGHT, WIDTH), 9, np.uint8))
        return {"LABELS": ["m.tif"]}, "holds 9"
    return {"LABELS": ["slides.gpkg"], "SIZE": 512}, "smaller than a patch of 512"


@pytest.mark.parametrize(
    "kind",
    ["lines", "empty", "no CRS", "no verdict", "unknown verdict", "small area", "no landslide in the area"]
    + ["too few", "values", "small scene"],
)
def test_faults_are_told_in_a_line(event, cut, kind):
    constants, message = bad_labels(kind)
    with pytest.raises(script.UserError, match=message) as error:
        cut("scene.tif", **constants)
    assert "\n" not in str(error.value) and not (event / "event").exists()


def test_self_crossing_polygons_are_mended(event):
    bow = shapely.Polygon([(X, Y), (X + 400, Y - 400), (X + 400, Y), (X, Y - 400)])
    write_shapes("bow.gpkg", [bow])
    found = labels.Labels(["bow.gpkg"], grid_of("scene.tif")).read(0, 40, 0, 40)
    assert found.sum() == pytest.approx(800, abs=45)  # two triangles


def test_reprojected_masks_follow_gdal(event, slides):
    """A mask raster in degrees lands where its polygons do, to a pixel of their outlines."""
    degrees = [shapely.geometry.shape(transform_geom(UTM, "EPSG:4326", shapely.geometry.mapping(s))) for s in slides]
    west, south, east, north = shapely.total_bounds(degrees)
    shape, step = (1200, 1200), max(east - west, north - south) / 1190
    transform = rasterio.transform.from_origin(west - 5 * step, north + 5 * step, step, step)
    mask = rasterize(degrees, shape, transform=transform, dtype="uint8")
    with rasterio.open(
        "m.tif", "w", driver="GTiff", width=1200, height=1200, count=1, dtype="uint8", crs=4326, transform=transform
    ) as file:
        file.write(mask, 1)
    found = labels.Labels(["m.tif"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    truth = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    known = found != 255
    assert known.mean() > 0.6 and (found != truth)[known].mean() < 0.01


# ---------------------------------------------------------------------- a second round of labels


def test_polygons_without_a_verdict_leave_drawn_labels_alone(event, slides, capsys):
    verdicts = ["landslide", "not landslide", "unsure"] + [None] * (len(slides) - 3)
    write_shapes("reviewed.gpkg", slides, Verdict=verdicts)  # in whatever case
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    found = labels.Labels(["slides.gpkg", "reviewed.gpkg"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    assert "57 of 60 polygons have no verdict" in capsys.readouterr().out
    changed = rasterize(slides[1:3], (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform) > 0
    np.testing.assert_array_equal(found[~changed], alone[~changed])
    assert (found != alone)[changed].any()


def test_reviewed_polygons_beyond_the_area_get_patches(event):
    write_shapes("small.gpkg", [box(0, 0, 150, 480)])
    write_shapes("reviewed.gpkg", [box(300, 300, 20, 20)], verdict=["not landslide"])
    known = labels.Labels(["slides.gpkg", "reviewed.gpkg"], grid_of("scene.tif"), "small.gpkg")
    found = known.read(280, 340, 280, 340)
    assert (found[20:40, 20:40] == 0).all() and not (found == 0).sum() > 400
    patches = cutting.lay_patches((HEIGHT, WIDTH), 32, 0, known.parts)
    assert any(row <= 300 and row + 32 >= 320 and column <= 300 and column + 32 >= 320 for row, column in patches)
    alone = labels.Labels(["slides.gpkg"], grid_of("scene.tif"), "small.gpkg")
    assert set(cutting.lay_patches((HEIGHT, WIDTH), 32, 0, alone.parts)) < set(patches)


def test_values_beyond_a_picture_are_kept_as_they_are(event, cut):
    write_raster(Path("floats.tif"), 1000 * make_bands(HEIGHT, WIDTH))
    cut("floats.tif", LABELS=["slides.gpkg"])
    patches = dataset.open_patches("event", event / "cache")
    assert patches.images.dtype == np.float32 and patches.images.max() > 1000 and not patches.values


def test_255_in_masks_means_the_same_in_all_scenes_and_is_no_background(event):
    mask = np.zeros((1, HEIGHT, WIDTH), np.uint8)
    mask[0, :50, :50], mask[0, 200:300, 300:400] = 1, 255
    write_raster(Path("mask.tif"), mask)
    with rasterio.open("scene.tif") as file:
        right = PixelGrid.of(file).window(0, 240, (HEIGHT, 240))  # a scene with none of the 1
    for area in ("", "area.gpkg"):
        found = labels.Labels(["mask.tif"], right, area).read(200, 300, 60, 160)
        assert (found == 255).all(), area


def test_a_mask_that_calls_0_no_data_means_no_landslide(event, slides):
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform, dtype="uint8")
    write_raster(Path("mask.tif"), truth[None], nodata=0)
    found = labels.Labels(["mask.tif"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(found, truth)


def test_zips_of_vector_files_and_of_a_mask_are_labels(event, slides):
    write_shapes("slides.shp", slides)
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=grid_of("scene.tif").transform, dtype="uint8")
    write_raster(Path("mask.tif"), truth[None])
    for stem, endings, folder in (
        ("shapes", ("shp", "shx", "dbf", "prj"), ""),
        ("shapes", ("shp", "shx", "dbf", "prj"), "download of today/shapes/"),
        ("mask", ("tif",), "masks/"),
    ):
        with zipfile.ZipFile(f"{stem}.zip", "w") as archive:
            for ending in endings:
                name = f"{'slides' if stem == 'shapes' else stem}.{ending}"
                archive.write(name, folder + name)
                archive.writestr(f"__MACOSX/{folder}._{name}", "what macOS adds")
        found = labels.Labels([f"{stem}.zip"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
        np.testing.assert_array_equal(found, truth)


def test_a_file_geodatabase_in_a_zip_is_a_vector_file(event, slides):
    geopandas.GeoDataFrame(geometry=slides, crs=UTM).to_file("slides.gdb", driver="OpenFileGDB")
    with zipfile.ZipFile("slides.gdb.zip", "w") as archive:
        for path in Path("slides.gdb").iterdir():
            archive.write(path)
        archive.writestr("preview.png", b"x")
    found = labels.Labels(["slides.gdb.zip"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    truth = labels.Labels(["slides.gdb"], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH)
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("a.txt", "b/c.pdf"), "bad.zip is a zip without a vector file: it holds a.txt, b/c.pdf"),
        (("a.tif", "b.tif"), "bad.zip is a zip without a vector file: it holds a.tif, b.tif"),
        ((), "bad.zip is a zip without a vector file: it holds nothing"),
        (
            ("S2A.SAFE/MTD_MSIL1C.xml", "S2A.SAFE/QI_DATA/MSK_CLOUDS_B00.gml", "S2A.SAFE/IMG_DATA/B04.jp2"),
            "bad.zip is a zip of a satellite product, not a vector file",
        ),
    ],
)
def test_a_zip_without_a_vector_file_is_told(event, names, told):
    with zipfile.ZipFile("bad.zip", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    for given in ((["bad.zip"], ""), (["slides.gpkg"], "bad.zip")):
        with pytest.raises(script.UserError) as error:
            labels.Labels(given[0], grid_of("scene.tif"), given[1])
        assert str(error.value).startswith(told) and "\n" not in str(error.value)


def test_all_layers_of_a_file_count(event, slides):
    for layer, part in (("north", slides[:20]), ("south", slides[20:])):
        geopandas.GeoDataFrame(geometry=part, crs=UTM).to_file("layers.gpkg", layer=layer)
    found, alone = (
        labels.Labels([path], grid_of("scene.tif")).read(0, HEIGHT, 0, WIDTH) for path in ("layers.gpkg", "slides.gpkg")
    )
    np.testing.assert_array_equal(found, alone)


def test_a_file_need_not_lie_over_every_scene(event, cut, slides):
    far = rasterio.transform.from_origin(X + 20000, Y, 10, 10)
    write_raster(Path("far.tif"), make_bands(HEIGHT, WIDTH, 2), far)
    moved = [shapely.transform(shape, lambda xy: xy + [20000, 0]) for shape in slides]
    write_shapes("far.gpkg", moved)
    cut(SCENES=["scene.tif", "far.tif"], LABELS=["slides.gpkg", "far.gpkg"])
    counts = {
        name: sum(int(r["landslide"]) for r in listed(event / "event") if r["scene"] == name)
        for name in ("scene", "far")
    }
    assert min(counts.values()) > 1000


@pytest.mark.slow
def test_patches_on_another_disk_and_a_kill_while_they_are_put_in_place(event, cut, monkeypatch):
    (event / "elsewhere").mkdir()
    (event / "event").symlink_to(event / "elsewhere")
    cut("scene.tif", LABELS=["slides.gpkg"])
    first = content(event / "elsewhere")
    rename = Path.rename

    def killed(path, target):
        if path.name == "masks" and path.parent.name == ".partial":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        cut("scene.tif", LABELS=["slides.gpkg"], SEED=1, OVERWRITE=True)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(script.UserError, match="holds patches already"):  # the old ones are back
        cut("scene.tif", LABELS=["slides.gpkg"], SEED=1)
    assert content(event / "elsewhere") == first
    cut("scene.tif", LABELS=["slides.gpkg"], SEED=1, OVERWRITE=True)
    assert content(event / "elsewhere") != first and not list((event / "event").glob(".*"))
