"""Landslide-free ground: cut, mirrored and split by source, mixed into batches, and scored on its own."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import metrics
from bands import BANDS_RGB, code_of
from patches import landslide_free
from patches.packing import JoinedPatches
from patches.patch_format import PatchFormat
from patches.reading import write_array
from scores import false_alarms
from script import UserError
from tests.patch_files import write_h5
from tests.rasters import write_raster
from tests.running import SMALL, assert_user_error, record, rows, run_script
from training.feed import PatchFeed

PATCH_FORMAT = PatchFormat((32, 32, 3), np.dtype("uint8"), BANDS_RGB, BANDS_RGB)


def write_noise(path, size, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 100, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def free(tmp_path):
    """A folder of 40 pictures in two classes."""
    for number in range(40):
        write_noise(tmp_path / "free" / ("town", "field")[number % 2] / f"{number}.png", (32, 32), number)
    return tmp_path / "free"


def test_pictures_of_any_size_become_patches(tmp_path):
    large = write_noise(tmp_path / "free/large.png", (70, 100), 1)
    high = write_noise(tmp_path / "free/deep/high.tif", (64, 40), 2)
    shutil.copy(tmp_path / "free/large.png", tmp_path / "free/copy.png")
    patch_format = replace(PATCH_FORMAT, shape=(64, 64, 3))
    ground = landslide_free.open_landslide_free([tmp_path / "free"], patch_format, tmp_path / "cache")
    assert ground.names == ["free/copy.png", "free/copy.png@0,64", "free/deep/high.tif"]  # the same picture once
    np.testing.assert_array_equal(ground.extents, [[64, 64], [64, 36], [64, 40]])  # 6 rows are too few for a patch
    np.testing.assert_array_equal(ground.images[0], large[:64, :64])
    padded = np.pad(high, ((0, 0), (0, 24), (0, 0)), mode="reflect")  # NumPy's name for mirroring without the edge
    np.testing.assert_array_equal(ground.images[2], padded)
    assert not ground.masks.any() and ground.labelled.all()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("shores/water_body_7162_206_182.webp", "shores/water_body_7162"),
        ("eurosat/Highway/Highway_1234.jpg", "eurosat/Highway/Highway_1234"),
        ("a/scene.tif@128,0", "a/scene"),
        ("a/tile_3_4.png", "a/tile_3_4"),
    ],
)
def test_crops_of_one_picture_share_a_source(name, source):
    assert landslide_free.source(name) == source


def test_a_source_keeps_its_split_whatever_is_added(free, tmp_path):
    before = landslide_free.open_landslide_free([free], PATCH_FORMAT, tmp_path / "cache")
    write_noise(free / "town" / "0000.png", (32, 32), 99)
    after = landslide_free.open_landslide_free([free], PATCH_FORMAT, tmp_path / "cache")
    split = dict(zip(after.names, after.own_splits, strict=True))
    assert [split[name] for name in before.names] == before.own_splits.tolist()
    assert len(after) == 41 and after.digest != before.digest


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda folder: write_h5(folder / "a.h5", "img", np.zeros((32, 32, 2), np.uint8)),
            "holds band1 band2 and lacks red green blue of the training patches",
        ),
        (
            lambda folder: write_h5(folder / "a.h5", "img", np.zeros((32, 32, 3))),
            "holds float32, the training patches uint8",
        ),
        (lambda folder: write_noise(folder / "a.png", (20, 90)), "is 20 x 90 pixels; 32 a side are the least"),
        (lambda folder: (folder.mkdir(), (folder / "a.jpg").write_bytes(b"no")), "is cut short or not a picture"),
        (lambda folder: folder.mkdir(), "no pictures"),
        (lambda folder: None, "no such folder"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, write, said):
    write(tmp_path / "free")
    with pytest.raises(UserError, match=said):
        landslide_free.open_landslide_free([tmp_path / "free"], PATCH_FORMAT, tmp_path / "cache")


def test_ground_has_the_bands_and_the_unit_of_the_patches(tmp_path):
    """By name and unit, as a second folder of patches has them."""
    image = np.random.default_rng(0).integers(1, 200, (32, 32, 3)).astype(np.uint8)
    wide = np.zeros((32, 32, 14), np.uint8)
    wide[..., [3, 2, 1]] = image + 1
    for number, (values, bands) in enumerate(((image[..., ::-1], ["blue", "B03", "B4"]), (wide, []))):
        attributes = {"bands": bands, "values": "display"} if bands else {}
        write_array(tmp_path / f"free/{number}.h5", "img", values, attributes)
    write_raster(tmp_path / "free/2.tif", np.moveaxis(image[..., ::-1] + 2, -1, 0), descriptions=("B2", "B3", "B4"))
    patch_format = replace(PATCH_FORMAT, unit="display")
    ground = landslide_free.open_landslide_free([tmp_path / "free"], patch_format, tmp_path / "cache")
    np.testing.assert_array_equal(ground.images, [image, image + 1, image + 2])
    with pytest.raises(UserError, match="0.h5: holds values of the unit display, the training patches of l4s"):
        landslide_free.open_landslide_free([tmp_path / "free"], replace(PATCH_FORMAT, unit="l4s"), tmp_path / "cache")


@pytest.mark.parametrize("ending", ["png", "tif", "h5"])
@pytest.mark.parametrize("names", [("B2", "B3", "B4"), ("blue", "green", "red"), ("B03", "B04", "B02")])
def test_three_bands_without_names_are_red_green_and_blue_whatever_the_order_of_the_patches(tmp_path, ending, names):
    image = np.random.default_rng(0).integers(1, 200, (32, 32, 3)).astype(np.uint8)
    path = tmp_path / f"free/a.{ending}"
    path.parent.mkdir()
    write_h5(path, "img", image) if ending == "h5" else Image.fromarray(image).save(path)
    patch_format = replace(PATCH_FORMAT, file_bands=names, bands=names)
    ground = landslide_free.open_landslide_free([tmp_path / "free"], patch_format, tmp_path / "cache")
    order = [BANDS_RGB.index({"B4": "red", "B3": "green", "B2": "blue"}.get(code_of(name), name)) for name in names]
    np.testing.assert_array_equal(ground.images[0], image[..., order])


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        (("B4", "B3", "B2", "B8"), None),
        (("band1", "band2", "band3", "band4", "band5"), None),
        (("B2", "B3", "B4", "B8"), "holds red green blue band4 and lacks B8 of the training patches"),
        (("B2", "B3", "B4", "B8", "slope"), "holds 5 bands without names: which of them are B2 B3 B4 B8 slope of the"),
        (("B4", "B3", "B8"), "holds red green blue and lacks B8 of the training patches"),
    ],
)
def test_bands_without_names_are_taken_in_their_order_where_nothing_contradicts_it(tmp_path, names, lacking):
    image = np.random.default_rng(0).integers(1, 200, (len(names), 32, 32)).astype(np.uint8)
    path = write_raster(tmp_path / "free/a.tif", image)
    form = PatchFormat((32, 32, len(names)), np.dtype("uint8"), names, names)
    if lacking:
        with pytest.raises(UserError, match=lacking):
            landslide_free.read_image(path, form)
    else:
        np.testing.assert_array_equal(landslide_free.read_image(path, form)[0], np.moveaxis(image, 0, -1))


def test_many_bands_without_names_are_no_colours(tmp_path):
    """Of Sentinel-2 the first three are none of red, green and blue; a scene with them is refused, too."""
    write_raster(tmp_path / "free/all_bands.tif", np.ones((13, 32, 32), np.uint16))
    form = PatchFormat((32, 32, 3), np.dtype(np.uint16), ("B4", "B3", "B2"), ("B4", "B3", "B2"))
    with pytest.raises(UserError, match="holds 13 bands without names: which of them are B4 B3 B2 of the training"):
        landslide_free.open_landslide_free([tmp_path / "free"], form, tmp_path / "cache", 10.0)


def test_ground_of_which_no_patch_is_left_is_told(tmp_path):
    image = np.full((32, 32, 3), 9, np.float32)
    image[3, 4] = -9999
    write_h5(tmp_path / "free/image_1.h5", "img", image)
    patch_format = replace(PATCH_FORMAT, dtype=np.dtype(np.float32))
    with pytest.raises(UserError, match="free: no patch is left, because all of them hold pixels without data"):
        landslide_free.open_landslide_free([tmp_path / "free"], patch_format, tmp_path / "cache")


class Fixed:
    """Patches of one value each, by which they are known."""

    bands, sources = BANDS_RGB, ["one"]

    def __init__(self, count, first, mask):
        self.pixel_sizes, self.source_of = np.full(count, np.nan), np.zeros(count, int)
        self.images = np.arange(first, first + count, dtype=np.float32)[:, None, None, None] * np.ones((4, 4, 3))
        self.masks = np.full((count, 4, 4), mask, np.uint8)

    def __len__(self):
        return len(self.images)

    def read(self, indices):
        return self.images[indices].astype(np.float32)

    def read_masks(self, indices):
        return self.masks[indices]


def test_batches_hold_the_share_of_landslide_free_ground():
    joined = JoinedPatches(Fixed(25, 0, 1), Fixed(50, 100, 0))
    targets = np.full((25, 4, 4), 51, np.uint8)
    feed = PatchFeed(
        joined, np.arange(25), 10, seed=1, targets=targets, landslide_free=np.arange(25, 75), landslide_free_share=0.3
    )
    assert len(feed) == 4
    seen = []
    for epoch in range(3):
        feed.start_epoch(epoch)
        labelled, free = [], []
        for i in range(len(feed)):
            images, masks = feed[i]
            values = images[:, 0, 0, 0]
            np.testing.assert_allclose(masks[:, 0, 0, 0], np.where(values < 100, 0.2, 0))  # the teacher's targets
            labelled.extend(values[values < 100])
            free.append(values[values >= 100])
        assert sorted(labelled) == list(range(25))
        assert [len(part) for part in free] == [3] * 4
        seen.append(np.concatenate(free))
        assert len(set(seen[-1])) == 12  # none twice before all were seen
    assert (seen[0] != seen[1]).any()


def test_a_threshold_takes_landslide_free_ground_into_account():
    rng = np.random.default_rng(0)
    masks = rng.random((4, 32, 32)) < 0.3
    curve, ground, joined = metrics.ThresholdCurve(), metrics.ThresholdCurve(), metrics.ThresholdCurve()
    probability = np.clip(masks * 0.5 + rng.random(masks.shape) * 0.5, 0, 1).astype(np.float32)
    alarms = (rng.random((2, 32, 32)) * 0.7).astype(np.float32)
    curve.update(masks, probability)
    ground.update(np.zeros(alarms.shape), alarms)
    for _ in range(2):  # weight 1: as many pixels as the labelled patches have
        joined.update(np.zeros(alarms.shape), alarms)
    joined.update(masks, probability)
    weighted = curve.with_landslide_free(ground, 1.0)
    np.testing.assert_array_equal(weighted.counts(), joined.counts())
    assert metrics.THRESHOLDS[weighted.best()] > metrics.THRESHOLDS[curve.best()]


def test_alarms_are_counted_on_the_part_that_a_picture_covers():
    class Ground:
        extents, names, bands = np.array([[4, 4], [3, 2]]), ["a/b/1.png", "a/c/2.png"], ("red",)
        pixel_sizes = np.array([100.0, 100.0])
        read = staticmethod(lambda indices: np.zeros((len(indices), 4, 4, 1), np.float32))

    probability = np.zeros((2, 4, 4, 1), np.float32)
    probability[0, 0, 0] = probability[0, 1, 1] = probability[0, 3, 0] = 0.9  # the first two touch at a corner
    probability[1, 3, 3] = 0.9  # mirrored ground

    class Model:
        input = np.zeros((2, 4, 4, 1))
        predict_on_batch = staticmethod(lambda images: probability[: len(images)])

    counts = false_alarms.count(Model, Ground, np.arange(2), 0.5)
    np.testing.assert_array_equal(counts, [[16, 6], [3, 0], [2, 0]])
    assert counts[2][0] == ndimage.label(probability[0, ..., 0] > 0.5, np.ones((3, 3)))[1]
    total = false_alarms.summary(*counts, 100.0)
    assert total["pixel_share"] == 3 / 22 and total["patch_share"] == 0.5 and total["km2"] == 0.22
    assert total["alarms_per_100km2"] == pytest.approx(2 / 0.22 * 100)
    assert [row["folder"] for row in false_alarms.by_folder(Ground, [0, 1], counts)] == ["a/b", "a/c"]


@pytest.mark.slow
def test_all_stages_count_false_alarms(free, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(1, 25):
        mask = np.zeros((32, 32), np.uint8)
        mask[8:20, number % 16 : number % 16 + 8] = 1
        image = rng.integers(0, 100, (32, 32, 3)).astype(np.uint8) + 120 * mask[..., None]
        write_h5(tmp_path / f"data/images/image_{number}.h5", "img", image.astype(np.uint8))
        write_h5(tmp_path / f"data/masks/mask_{number}.h5", "mask", mask)

    def call(script, *flags):
        result = run_script(script, "--run", "small", *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return result.stdout

    said = call(
        "train.py", "--landslide-free-dirs", "free", "--epochs", 3, *SMALL, "--augment", "dihedral", "rendering"
    )
    assert "landslide-free training patches, 30% of each batch" in said
    listed = [row for row in rows(tmp_path / "results/small/split.csv") if row["image"].startswith("landslide-free:")]
    assert len(listed) == 40 and {row["split"] for row in listed} == {"train", "validation", "test"}
    assert record(tmp_path, "config.json")["constants"]["LANDSLIDE_FREE_DIRS"] == ["free"]

    assert "predicted; with 1 times as much of it as of the split" in call("optimize_threshold.py")
    threshold_record = record(tmp_path, "threshold.json")
    assert threshold_record["landslide_free_weight"] == 1.0 and threshold_record["landslide_free_patches"] > 0
    with open(tmp_path / "results/small/threshold_curve.csv", newline="") as file:
        assert "landslide_free_pixel_share" in next(csv.reader(file))

    assert "alarms per 100 km2" in call("evaluate.py")
    own = record(tmp_path, "metrics.json")["landslide_free"]
    assert own["patches"] == sum(row["split"] == "test" for row in listed)
    assert {row["folder"] for row in rows(tmp_path / "results/small/false_alarms.csv")} <= {"free/town", "free/field"}
    call("visualize.py")
    assert (tmp_path / "results/small/samples/alarms.png").exists()

    said = call("evaluate.py", "--landslide-free-dirs", "free/town")
    assert "of the 20 patches of free/town" in said  # it was trained on some of them
    town = record(tmp_path, "metrics_landslide_free_town.json")["landslide_free"]
    assert town["patches"] == 20
    flags = ("--runs", "small", "--landslide-free-dirs", "free/town")
    result = run_script("experiments/renderings.py", *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (stored,) = (row for row in rows(tmp_path / "results/figures/renderings.csv") if row["rendering"] == "as stored")
    assert float(stored["dice"]) == pytest.approx(record(tmp_path, "metrics.json")["dice"])
    assert float(stored["ground_pixels"]) == pytest.approx(town["pixel_share"])

    free.rename(tmp_path / "elsewhere")
    result = run_script("evaluate.py", "--run", "small", cwd=tmp_path)
    assert_user_error(result, "metrics.json also holds false alarms on landslide-free ground", "--overwrite drops them")
    assert record(tmp_path, "metrics.json")["landslide_free"] == own
    assert "note: free not found" in call("evaluate.py", "--overwrite")
    assert "landslide_free" not in record(tmp_path, "metrics.json")
    call("evaluate.py", "--landslide-free-dirs", "elsewhere")
    elsewhere = json.loads((tmp_path / "results/small/metrics_landslide_free_elsewhere.json").read_text())[
        "landslide_free"
    ]
    assert elsewhere["patches"] == 40  # under another name: all of it
    (tmp_path / "data").rename(tmp_path / "gone")
    assert "note: data not found: false alarms alone are counted" in call(
        "evaluate.py", "--landslide-free-dirs", "elsewhere"
    )
    alone = json.loads((tmp_path / "results/scores/small/false_alarms_elsewhere.json").read_text())["landslide_free"]
    assert alone == elsewhere
    (tmp_path / "gone").rename(tmp_path / "data")

    write_noise(tmp_path / "free" / "new.png", (32, 32), 5)
    assert_user_error(run_script("evaluate.py", "--run", "small", cwd=tmp_path), "free: changed since run small")
