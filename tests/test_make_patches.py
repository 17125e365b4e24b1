"""Patches cut from a scene and polygons: make_patches.py, and splits by blocks of ground."""

import csv
import json
from pathlib import Path

import geopandas
import h5py
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from rasterio.transform import from_origin

import dataset
import script
from patches import blocks
from scenes import patch_layout
from tests.labelled_scene import AREA, HEIGHT, WIDTH
from tests.maps import make_bands
from tests.product_files import SIDE, make_safe
from tests.rasters import LEFT, TOP, UTM, box, grid_of, write_raster, write_shapes


def listed(folder):
    with open(folder / "patches.csv", newline="") as file:
        return list(csv.DictReader(file))


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_patches_hold_the_scene_and_the_polygons_at_their_place(event, cut, slides):
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",))
    with rasterio.open("scene.tif") as file:
        scene, transform = file.read(), file.transform
    truth = rasterize(slides, (HEIGHT, WIDTH), transform=transform, dtype="uint8")
    inside = rasterize([AREA], (HEIGHT, WIDTH), transform=transform, dtype="uint8") > 0
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
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",))
    rows = listed(event / "event")
    shapes = {split: [] for split in ("train", "validation", "test")}
    for row in rows:
        shapes[row["split"]].append(shapely.box(*(float(row[side]) for side in ("left", "bottom", "right", "top"))))
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert shapely.union_all(shapes[first]).distance(shapely.union_all(shapes[second])) >= 320
    assert 0.05 < len(shapes["test"]) / len(rows) < 0.3 and 0.05 < len(shapes["validation"]) / len(rows) < 0.3
    first = content(event / "event")
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",), OVERWRITE=True)
    assert content(event / "event") == first


def test_a_patch_has_the_same_number_in_every_split(event, cut):
    numbers = []
    for seed in (0, 1):
        cut("scene.tif", LABELS=["slides.gpkg"], SEED=seed, OVERWRITE=True)
        rows = listed(event / "event")
        numbers.append({(row["row"], row["column"]): row["image"].rsplit("_", 1)[1] for row in rows})
    both = numbers[0].keys() & numbers[1].keys()
    assert numbers[0].keys() != numbers[1].keys() and all(
        numbers[0][workdir] == numbers[1][workdir] for workdir in both
    )


def test_several_boxes_give_a_patch_each(event, cut):
    boxes = [box(r, c, 30, 31) for r in (5, 120, 235) for c in (3, 100, 200, 340)]
    write_shapes("boxes.gpkg", *boxes)
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("boxes.gpkg",))
    rows = listed(event / "event")
    assert len(rows) == 12
    extents = [shapely.box(*(float(row[side]) for side in ("left", "bottom", "right", "top"))) for row in rows]
    assert all(any(patch.contains(each) for patch in extents) for each in boxes)


def test_spread_covers_every_length():
    for length in range(5, 300):
        for first in (0.0, 3.4, 40.0):
            starts = patch_layout.patch_starts(first, min(first + length, 320), 32, 8, 320)
            assert starts[0] >= 0 and starts[-1] <= 288
            steps = np.diff(starts)
            assert (steps <= 25).all() and (len(starts) == 1 or length > 32)
            assert starts[0] <= first + 1 and starts[-1] + 32 >= min(first + length, 320) - 1


def test_a_split_that_cannot_be_made_is_none():
    row = np.arange(4)
    boxes = np.column_stack([row, 0 * row, row + 1, 0 * row + 1])
    apart = boxes + 2 * row[:, None] * [1, 0, 1, 0]
    shares = {"validation": 0.2, "test": 0.2}
    assert blocks.split_blocks(boxes, [1, 1, 1, 1], 1, shares) is None  # no room for two gaps
    assigned = blocks.split_blocks(apart, [1, 1, 1, 0], 1, shares)
    assert sorted(assigned[:3]) == ["test", "train", "validation"]


def test_clouds_and_no_data_are_not_labelled(workdir, cut):
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    scl[20:40, 30:50] = 9
    safe = make_safe(workdir, scl=scl)
    with rasterio.open(next(safe.rglob("*B04_10m.jp2"))) as file:
        place_of = file.transform
        crs = file.crs
    corners = [
        place_of @ (c + k, r + m) for r in range(5, SIDE, 30) for c in range(5, SIDE, 30) for k, m in ((0, 0), (20, 20))
    ]
    shapes = [shapely.box(*np.min(pair, 0), *np.max(pair, 0)) for pair in zip(corners[::2], corners[1::2], strict=True)]
    write_shapes("slides.gpkg", *shapes, crs=crs)
    cut(safe, LABELS=["slides.gpkg"], SIZE=16)
    hidden = np.kron(scl == 9, np.ones((2, 2), bool))
    hidden[:6] = True  # rows without data
    for row in listed(workdir / "event"):
        top, left = int(row["row"]), int(row["column"])
        with h5py.File(workdir / "event" / row["image"].replace("image", "mask")) as file:
            np.testing.assert_array_equal(file["mask"][()] == 255, hidden[top : top + 16, left : left + 16])


@pytest.mark.parametrize("kind", ["float32", pytest.param("uint8", marks=pytest.mark.slow)])
def test_pixels_without_data_are_so_in_training_and_in_maps(workdir, slides, cut, call, kind):
    scene = make_bands(HEIGHT, WIDTH) if kind == "float32" else (60 * make_bands(HEIGHT, WIDTH)).clip(1, 255)
    fill = -9999 if kind == "float32" else 0
    scene[:, 100:140, 150:] = fill
    write_raster(Path("scene.tif"), scene.astype(kind), nodata=fill)
    write_shapes("slides.gpkg", *slides)
    if kind == "uint8":  # of the unit of the run that maps them
        config = json.loads(Path("results/pixel/config.json").read_text())
        Path("results/pixel/config.json").write_text(json.dumps(config | {"values": "display"}))
    cut("scene.tif", LABELS=["slides.gpkg"])
    rows = listed(workdir / "event")
    windows = {row["image"]: np.s_[:, int(row["row"]) :, int(row["column"]) :] for row in rows}
    cut_scene = {name: np.moveaxis(scene[window][:, :32, :32], 0, -1) for name, window in windows.items()}
    patches = dataset.open_patches("event", workdir / "cache")
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
        DEM=("dem.tif",),
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
    cut(MANY=["scene.tif", "later.tif"], LABELS=["slides.gpkg"], AREA=("area.gpkg",))
    splits = {}
    for row in listed(event / "event"):
        splits.setdefault((row["row"], row["column"]), set()).add(row["split"])
    assert all(len(each) == 1 for each in splits.values()) and len(listed(event / "event")) == 2 * len(splits)


@pytest.mark.slow
def test_areas_of_several_files_count_together_and_a_scene_without_any_says_so(event, cut, capsys):
    write_shapes("west.gpkg", box(10, 0, 200, 200))
    write_shapes("east.gpkg", box(10, 200, 200, 175))
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",))
    whole = [row["labelled"] for row in listed(event / "event")]
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("west.gpkg", "east.gpkg"), OVERWRITE=True)
    assert [row["labelled"] for row in listed(event / "event")] == whole
    assert "no --area" not in capsys.readouterr().out
    write_raster(Path("elsewhere.tif"), make_bands(HEIGHT, WIDTH), from_origin(LEFT + 1e5, TOP, 10, 10))
    cut(MANY=["scene.tif", "elsewhere.tif"], LABELS=["slides.gpkg"], AREA=("area.gpkg",), OVERWRITE=True)
    assert "note: elsewhere: no --area lies over it" in capsys.readouterr().out


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes(event, cut):
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",))
    first = content(event / "event")
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",), SCHEDULER="local:2", OVERWRITE=True)
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
        write_shapes("elsewhere.gpkg", shapely.box(0, 0, 10, 10), crs=4326)
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
        return {"LABELS": [write_shapes("x.gpkg", square.boundary)]}, "lines or points"
    if kind == "empty":
        return {"LABELS": [write_shapes("x.gpkg", shapely.Polygon())]}, "none of its labels lies over the scene"
    if kind == "no CRS":
        return {"LABELS": [write_shapes("x.shp", square, crs=None)]}, "without a coordinate system"
    if kind == "no verdict":
        return {"LABELS": [write_shapes("x.gpkg", square, verdict=[None], id=[1])]}, "no polygon has a verdict"
    if kind == "unknown verdict":
        return {"LABELS": [write_shapes("x.gpkg", square, verdict=["perhaps"])]}, "'perhaps' is none of"
    if kind == "small area":
        area = write_shapes("a.gpkg", box(50, 50, 4, 4))
        return {"LABELS": ["slides.gpkg"], "AREA": (str(area),)}, "smaller than a patch"
    if kind == "no landslide in the area":
        area = write_shapes("a.gpkg", box(0, 0, 32, 32), box(0, 100, 32, 32))
        return {"LABELS": [write_shapes("x.gpkg", box(250, 300, 5, 5))], "AREA": (str(area),)}, "no landslide lies"
    if kind == "too few":
        return {"LABELS": [write_shapes("x.gpkg", square)]}, "label more ground"
    if kind == "values":
        write_raster(Path("m.tif"), np.full((1, HEIGHT, WIDTH), 9, np.uint8))
        return {"LABELS": ["m.tif"]}, "0 and 1 .9.; a mask has"
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


def test_values_beyond_a_picture_are_kept_as_they_are(event, cut):
    write_raster(Path("floats.tif"), 1000 * make_bands(HEIGHT, WIDTH))
    cut("floats.tif", LABELS=["slides.gpkg"])
    patches = dataset.open_patches("event", event / "cache")
    assert patches.images.dtype == np.float32 and patches.images.max() > 1000 and not patches.values


def test_a_file_need_not_lie_over_every_scene(event, cut, slides):
    far = rasterio.transform.from_origin(LEFT + 20000, TOP, 10, 10)
    write_raster(Path("far.tif"), make_bands(HEIGHT, WIDTH, 2), far)
    moved = [shapely.transform(shape, lambda xy: xy + [20000, 0]) for shape in slides]
    write_shapes("far.gpkg", *moved)
    cut(MANY=["scene.tif", "far.tif"], LABELS=["slides.gpkg", "far.gpkg"])
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


def test_a_layer_without_shapes_and_an_area_make_patches_without_landslides(event, cut):
    table = geopandas.GeoDataFrame({"id": np.zeros(0, int)}, geometry=[], crs=grid_of("scene.tif").crs)
    table.to_file("none.gpkg")
    with pytest.raises(script.UserError, match="none.gpkg holds no shapes: with --area they would mean no landslide"):
        cut("scene.tif", LABELS=["none.gpkg"])
    cut("scene.tif", LABELS=["none.gpkg"], AREA=("area.gpkg",))
    assert {(row["split"], row["landslide"]) for row in listed(Path("event"))} == {("train", "0")}
