"""Data sets: patches are found, paired, checked, cached and split, from files in the published layouts."""

import json
import os
import shutil
import warnings

import h5py
import numpy as np
import pytest
import rasterio
from scipy import ndimage

import dataset
from bands import BANDS_L4S, true_colour
from patches import folder_packing, layouts, packing, reading, splits
from script import UserError
from tests.conftest import layout_folder, make_pair, write_h5, write_patches


def open_here(data, **options):
    return dataset.open_patches(data, data.parent / "cache", **options)


def write_picture(path, image):
    """Write height x width x bands with GDAL, in the format of the file name's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width, bands = image.shape
    form = {"height": height, "width": width, "count": bands, "dtype": image.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **form) as file:
            file.write(np.moveaxis(image, -1, 0))


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_layouts_are_found_and_images_meet_their_masks(tmp_path, layout):
    patches = open_here(layout_folder(tmp_path / "data", layout))
    assert len(patches) == 11
    assert patches.input_shape == (32, 32, 14)
    for i, number in enumerate(patches.numbers):
        image, mask = make_pair(number)
        np.testing.assert_allclose(patches.read([i])[0], image, rtol=2**-10)  # as float16
        np.testing.assert_array_equal(patches.read_masks([i])[0], mask)
    counts = {split: list(patches.own_splits).count(split) for split in layouts.SPLITS}
    assert counts == (
        {"train": 0, "validation": 0, "test": 0} if layout.startswith("flat") else dict(train=6, validation=3, test=2)
    )


@pytest.mark.parametrize(("suffix", "kind"), [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint8)])
def test_pictures_are_patches(tmp_path, suffix, kind):
    """GDAL's PNG of 8 and 16 bits with masks of 0 and 255, and TIFF with other numbers of bands, are read."""
    bands = 3 if suffix == ".png" else 4
    for number in range(1, 5):
        image, mask = make_pair(number, bands=bands)
        image = (image * 60).clip(0, 250).astype(kind)
        write_picture(tmp_path / f"d/train/images/slope {number}{suffix}", image)
        write_picture(tmp_path / f"d/train/masks/slope {number}{suffix}", 255 * mask[..., None])
    patches = open_here(tmp_path / "d")
    assert patches.images.dtype == kind and patches.input_shape == (32, 32, bands)
    assert list(patches.own_splits) == ["train"] * 4
    image, mask = make_pair(3, bands=bands)
    np.testing.assert_array_equal(patches.images[2], (image * 60).clip(0, 250).astype(kind))
    np.testing.assert_array_equal(patches.masks[2], mask)


def test_pictures_without_a_number_each_of_their_own_pair_by_name(tmp_path):
    for name in ("kerala_10_20", "kerala_11_20", "nepal"):
        write_picture(tmp_path / f"d/img/{name}.tif", np.full((8, 8, 3), len(name), np.uint8))
        write_picture(tmp_path / f"d/mask/{name}_mask.tif", np.eye(8, dtype=np.uint8)[..., None])
    patches = open_here(tmp_path / "d")
    assert patches.names == ["img/kerala_10_20.tif", "img/kerala_11_20.tif", "img/nepal.tif"]
    assert patches.labelled.all() and patches.masks.sum() == 24
    (tmp_path / "d/mask/nepal_mask.tif").unlink()
    with pytest.raises(UserError, match=r"img/nepal.tif: its mask is missing \(expected mask/nepal.\*\)"):
        open_here(tmp_path / "d")


def test_a_stray_picture_among_the_masks_does_not_upset_the_pairing(tmp_path):
    for number in range(1, 4):
        write_picture(tmp_path / f"d/images/slope_{number}.png", np.zeros((8, 8, 3), np.uint8))
        write_picture(tmp_path / f"d/masks/mask_{number}.png", np.zeros((8, 8, 1), np.uint8))
    write_picture(tmp_path / "d/masks/legend.png", np.zeros((4, 4, 1), np.uint8))
    with pytest.raises(UserError, match="masks/legend.png: no number in the name"):
        open_here(tmp_path / "d")
    (tmp_path / "d/masks/legend.png").unlink()
    assert open_here(tmp_path / "d").labelled.all()
    write_picture(tmp_path / "d/images/slope_3.tif", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="images/slope_3.tif: has the same number as slope_3.png"):
        open_here(tmp_path / "d")


def test_pictures_that_will_not_do_are_told(tmp_path):
    for number in range(1, 6):
        write_picture(tmp_path / f"d/images/a_{number}.png", np.zeros((8, 8, 3), np.uint8))
        write_picture(tmp_path / f"d/masks/a_{number}.png", np.zeros((8, 8, 1), np.uint8))
    write_picture(tmp_path / "d/images/a_1.png", np.full((8, 8, 4), 255, np.uint8))  # alpha is not a band
    write_picture(tmp_path / "d/masks/a_2.png", np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    write_picture(tmp_path / "d/masks/a_3.png", np.full((8, 8, 1), 7, np.uint8))
    write_picture(tmp_path / "d/images/a_4.png", np.zeros((8, 6, 3), np.uint8))
    (tmp_path / "d/images/a_5.png").write_bytes(b"no picture")
    with pytest.raises(UserError) as error:
        open_here(tmp_path / "d")
    lines = str(error.value).splitlines()
    assert lines[1:] == [
        "  masks/a_2.png: is coloured, not a mask of 0 and 1 or 0 and 255",
        "  masks/a_3.png: 'mask' holds values other than 0 and 1 (7)",
        "  images/a_4.png: is 8 x 6 pixels, the other images are 8 x 8; train.py --size brings pictures to one size",
        "  images/a_5.png: is cut short or not a picture: fetch or write it again",
    ]


def test_pictures_of_unlike_sizes_are_brought_to_one(tmp_path):
    """The reference is GDAL's resampling. Pictures that already have the size are unchanged."""
    rng = np.random.default_rng(0)
    sizes = {1: (32, 32), 2: (64, 96), 3: (20, 24), 4: (101, 32)}
    for number, size in sizes.items():
        image = ndimage.gaussian_filter(rng.normal(size=(*size, 3)), (3, 3, 0)) * 300 + 120
        write_picture(tmp_path / f"d/images/a_{number}.png", image.clip(1, 255).astype(np.uint8))
        mask = np.zeros((*size, 1), np.uint8)
        mask[size[0] // 4 : size[0] // 2, size[1] // 4 :] = 255
        write_picture(tmp_path / f"d/masks/a_{number}.png", mask)
    with pytest.raises(UserError, match="train.py --size"):
        open_here(tmp_path / "d")
    patches = dataset.open_patches(tmp_path / "d", tmp_path / "cache", options=reading.ReadOptions(size=32))
    assert patches.images.shape == (4, 32, 32, 3) and patches.images.dtype == np.uint8
    for i, number in enumerate(sizes):
        with rasterio.open(tmp_path / f"d/images/a_{number}.png") as file:
            bilinear = file.read(out_shape=(3, 32, 32), resampling=rasterio.enums.Resampling.bilinear)
        difference = np.abs(patches.images[i].astype(int) - np.moveaxis(bilinear, 0, -1))
        assert difference.max() <= (0 if number == 1 else 2)
        wanted = np.zeros((32, 32), np.uint8)
        wanted[8:16, 8:] = 1
        assert np.count_nonzero(patches.masks[i] != wanted) <= 24  # pixels on the edge may round either way
    assert dataset.open_patches(
        tmp_path / "d", tmp_path / "cache", options=reading.ReadOptions(size=16)
    ).input_shape == (16, 16, 3)


def test_pairs_go_by_number_not_by_position(flat):
    """The mirror of Landslide4Sense has more masks than images, so pairing by position would be wrong."""
    (flat / "images" / "image_3.h5").unlink()
    (flat / "masks" / "mask_3.h5").rename(flat / "masks" / "mask_0100.h5")
    patches = open_here(flat)
    assert 3 not in patches.numbers and 100 not in patches.numbers
    i = list(patches.numbers).index(7)
    np.testing.assert_array_equal(patches.read_masks([i])[0], make_pair(7)[1])


def test_no_patches_and_two_layouts_are_refused(tmp_path, flat):
    with pytest.raises(layouts.NoPatches, match="no patches"):
        dataset.open_patches(tmp_path / "nowhere", tmp_path / "cache")
    layout_folder(flat, "official")
    with pytest.raises(UserError, match=r"more than one layout \(TestData/img, TrainData/img, ValidData/img, images\)"):
        open_here(flat)


def test_all_faults_are_reported_together(flat):
    images, masks = flat / "images", flat / "masks"
    (images / "image_1.h5").write_bytes((images / "image_1.h5").read_bytes()[:5000])
    (images / "image_2.h5").write_text("not HDF5")
    write_h5(images / "image_3.h5", "image", np.zeros((32, 32, 14)))
    write_h5(images / "image_4.h5", "img", np.zeros((32, 32, 12)))
    write_h5(images / "image_5.h5", "img", np.full((32, 32, 14), np.nan))
    write_h5(images / "image_6.h5", "img", np.zeros((16, 16, 14)))
    write_h5(images / "image_7.h5", "img", np.zeros((32, 32)))
    write_h5(masks / "mask_8.h5", "mask", np.full((32, 32), 255, np.uint8))
    write_h5(masks / "mask_9.h5", "mask", np.zeros((16, 16), np.uint8))
    (masks / "mask_10.h5").unlink()
    shutil.copy(images / "image_11.h5", images / "image_011.h5")
    shutil.copy(images / "image_11.h5", images / "image_last.h5")
    expected = {
        "images/image_1.h5: is cut short or not HDF5",
        "images/image_2.h5: is cut short or not HDF5",
        "images/image_3.h5: has no array 'img' (it has: image)",
        "images/image_4.h5: has 12 bands, the other images have 14",
        "images/image_5.h5: 'img' holds NaN or infinite values (14336 of them)",
        "images/image_6.h5: is 16 x 16 pixels, the other images are 32 x 32",
        "images/image_7.h5: 'img' has shape 32 x 32, not height x width x bands",
        "masks/mask_8.h5: 'mask' holds 0 and 255, the others 0 and 1",
        "masks/mask_9.h5: 'mask' has shape 16 x 16, its image 32 x 32",
        "images/image_10.h5: its mask is missing (expected masks/mask_10.h5)",
        "images/image_11.h5: has the same number as image_011.h5",
        "images/image_last.h5: no number in the name",
    }
    with pytest.raises(UserError) as caught:
        open_here(flat)
    text = str(caught.value)
    for fault in expected:
        assert fault in text, fault
    assert "12 files" in text
    assert not list((flat.parent / "cache").glob("data-*/pack.json"))

    patches = open_here(flat, skip_bad=True)
    assert sorted(patches.numbers) == list(range(11, 21))
    assert len(patches.left_out) == 12
    assert len(open_here(flat, skip_bad=True).left_out) == 12  # also from the cache
    with pytest.raises(UserError, match="12 files"):
        open_here(flat)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_faults_name_the_file_inside_the_data_folder(tmp_path, layout):
    data = layout_folder(tmp_path / "data", layout)
    images, masks = (data / folder for folder in list(layouts.LAYOUTS[layout].values())[-1])
    write_h5(masks / "mask_1.h5", "mask", np.full((32, 32), 255))
    shutil.copy(images / "image_2.h5", images / "image_02.h5")
    patches = open_here(data, skip_bad=True)
    assert [(data / name).exists() for name, _ in patches.left_out] == [True, True]


def test_a_folder_without_a_single_pair(tmp_path):
    write_patches(tmp_path / "data" / "images", tmp_path / "elsewhere", range(1, 4))
    write_patches(tmp_path / "elsewhere", tmp_path / "data" / "masks", range(101, 104))
    with pytest.raises(UserError, match="3 files cannot be used"):
        open_here(tmp_path / "data")


def test_groups_dead_links_and_overflow_are_faults(flat):
    images, masks = flat / "images", flat / "masks"
    for path, key in ((images / "image_1.h5", "img"), (masks / "mask_2.h5", "mask")):
        with h5py.File(path, "w") as file:
            file.create_group(key)
    (images / "image_3.h5").unlink()
    (images / "image_3.h5").symlink_to(flat / "nowhere.h5")
    image, _ = make_pair(4)
    image[0, 0, 0] = np.finfo(np.float64).min  # the usual nodata value of float64 rasters; -inf in float32
    write_h5(images / "image_4.h5", "img", image)
    with pytest.raises(UserError) as caught:
        open_here(flat)
    for part in (
        "image_1.h5: has no array",
        "mask_2.h5: has no array",
        "image_3.h5: cannot be opened: No such file",
        "infinite values (1 of",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("gap", "told"),
    [
        (np.eye(7, dtype=bool), "7 x 7 bool"),
        (np.full((8, 8), b"0"), r"8 x 8 \|S1"),
        ("yes", r"1 \|S3"),
    ],
)
def test_gap_that_is_no_array_of_numbers_like_its_image_is_a_fault(tmp_path, gap, told):
    with h5py.File(tmp_path / "image_1.h5", "w") as file:
        file["img"], file["gap"] = np.ones((8, 8, 3)), gap
    with pytest.raises(reading.Fault, match=f"'gap' is {told}: it must be 8 x 8 numbers"):
        reading.read_patch(tmp_path / "image_1.h5", None)


def test_any_damage_within_a_file_is_a_fault(tmp_path):
    """A file with random bytes overwritten is read or raises Fault, whatever h5py raises."""
    write_h5(tmp_path / "image_1.h5", "img", np.zeros((8, 8, 3)))
    whole, rng = (tmp_path / "image_1.h5").read_bytes(), np.random.default_rng(0)
    faults = 0
    for _ in range(300):
        damaged = bytearray(whole)
        at = rng.integers(0, 2048)
        damaged[at : at + 4] = rng.bytes(4)
        (tmp_path / "image_2.h5").write_bytes(damaged)
        try:
            reading.read_patch(tmp_path / "image_2.h5", None)
        except reading.Fault:
            faults += 1
        reading.common_format([layouts.Entry("", 2, "", tmp_path / "image_2.h5", None)])
    assert faults > 10


def test_good_files_are_found_where_the_first_sample_is_all_bad(tmp_path):
    data = tmp_path / "data"
    write_patches(data / "images", data / "masks", range(1, 61), size=8, bands=3)
    for number in range(1, 61, 2):  # every file in an even sample of 25 from 60
        (data / "images" / f"image_{number}.h5").write_text("no")
    assert len(open_here(data, skip_bad=True)) == 30


def test_memory_does_not_grow_with_the_data_read(tmp_path):
    """Pages of the memory map must not accumulate as resident memory; full Landslide4Sense has 3.5 GB of them."""
    resource = pytest.importorskip("resource")
    del resource  # POSIX only
    data = tmp_path / "data"
    for number in range(1, 4):
        write_h5(data / "images" / f"image_{number}.h5", "img", np.full((1024, 1024, 6), number, np.float32))
    patches = open_here(data)

    def resident():
        with open("/proc/self/smaps") as file:
            text = file.read()
        section = text[text.index("images.raw") :]
        return int(section[section.index("Rss:") + 4 :].split()[0]) * 1024

    for i in range(3):
        assert patches.read([i])[0, 0, 0, 0] == i + 1
    assert resident() < 4e6


def test_a_single_fault_is_one_line_and_many_are_counted(tmp_path):
    assert "\n" not in dataset.describe_faults("data", [("images/image_1.h5", "is cut short")])
    many = dataset.describe_faults("data", [(f"images/image_{i}.h5", "is cut short") for i in range(53)])
    assert len(many.splitlines()) == 22
    assert many.endswith("... and 33 more")


KEPT = {"uint8": "uint8", "uint16": "uint16", "float64": "float32", "float16": "float32", "int32": "float32"}


@pytest.mark.parametrize(("dtype", "known_as"), KEPT.items())
def test_integer_pictures_stay_integers_and_others_become_floats(tmp_path, dtype, known_as):
    image = np.random.default_rng(0).integers(150, 250, (16, 16, 3)).astype(dtype)
    for number in (1, 2):
        write_h5(tmp_path / f"d/images/image_{number}.h5", "img", image)
    patches = open_here(tmp_path / "d")
    assert patches.dtype == known_as and patches.images.dtype == known_as.replace("float32", "float16")
    assert patches.read([0]).dtype == np.float32
    np.testing.assert_array_equal(patches.read([0])[0], image)
    assert not patches.labelled.any()


ROUNDED = {  # values of a band beside one of 1 +- 0.4, and whether float16 is fine enough for them
    "reflectance": (0.3, 0.1, True),
    "elevation of a mountain range": (2700, 800, True),
    "elevation of a plain on a plateau": (4200, 3, False),
    "digital numbers": (9000, 300, False),
    "beyond the largest float16": (60_000, 9000, False),
    "smaller than float16 can tell": (1e-7, 1e-8, False),
    "one value": (0.1, 0, False),
    "one value that float16 holds": (0.5, 0, True),
}


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("case", ROUNDED)
def test_floats_are_halved_only_where_hardly_anything_is_lost(tmp_path, monkeypatch, case, many):
    """An error of 0.2 % of a band's standard deviation is allowed; digest and content are those of the files."""
    mean, sd, fine = ROUNDED[case]
    monkeypatch.setattr(folder_packing, "SOON", 3 if many else 100)
    rng = np.random.default_rng(0)
    images = rng.normal((1, mean), (0.4, sd), (6, 16, 16, 2)).astype(np.float32)
    for number, image in enumerate(images, 1):
        write_h5(tmp_path / f"d/images/image_{number}.h5", "img", image)
    patches = open_here(tmp_path / "d")
    assert patches.images.dtype == (np.float16 if fine else np.float32) and patches.dtype == "float32"
    found = patches.read(np.arange(6))
    error = np.sqrt(np.square(found - images, dtype=np.float64).mean((0, 1, 2)))
    assert (error <= (0.002 * images.std((0, 1, 2)) if fine else 0)).all()
    assert list(patches.contents) == [packing.content_hash(image) for image in images]


def test_all_finite_float16_are_widened_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(2, -1)
    np.testing.assert_array_equal(packing.widened(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))


def test_pixels_without_data_do_not_hide_what_float16_loses(tmp_path):
    """They hold 0, far from all others."""
    image = np.random.default_rng(0).normal(4200, 3, (16, 16, 1)).astype(np.float32)
    gap = np.arange(256).reshape(16, 16) < 100
    with packing.PackWriter(tmp_path / "pack", np.float32, packing.HALF) as writer:
        assert not writer.coarse
        writer.add("a", np.where(gap[..., None], np.float32(0), image), np.zeros((16, 16), np.uint8), gap)
        assert writer.coarse


def test_a_mixed_kind_of_numbers_is_a_fault(flat):
    for path in (flat / "images").glob("*.h5"):
        write_h5(path, "img", np.zeros((32, 32, 14), np.uint8))
    write_h5(flat / "images" / "image_20.h5", "img", np.zeros((32, 32, 14)))
    with pytest.raises(UserError, match="image_20.h5: 'img' holds float32, the other images uint8"):
        open_here(flat)


def test_cache_is_used_until_a_file_changes(flat, monkeypatch):
    patches = open_here(flat)
    reads = []
    original = folder_packing.read_patch
    monkeypatch.setattr(folder_packing, "read_patch", lambda path, *more: reads.append(path) or original(path, *more))
    assert open_here(flat).digest == patches.digest
    assert not reads
    image, _ = make_pair(5)
    write_h5(flat / "images" / "image_5.h5", "img", image + 1)
    changed = open_here(flat)
    assert len(reads) == 20 and changed.digest != patches.digest
    np.testing.assert_allclose(changed.read([4])[0], image + 1, rtol=2**-10)  # as float16


@pytest.mark.parametrize("damage", ["cut", "no record", "bad record", "left over"])
def test_partial_caches_are_rebuilt(flat, damage):
    digest = open_here(flat).digest
    (folder,) = (path for path in (flat.parent / "cache").iterdir() if path.is_dir())
    if damage == "cut":
        with open(folder / "images.raw", "r+b") as file:
            file.truncate(1000)
    elif damage == "no record":
        (folder / "pack.json").unlink()
    elif damage == "bad record":
        (folder / "pack.json").write_text('{"key": ')
    else:  # left by a killed packing
        folder.rename(folder.with_suffix(".partial"))
    patches = open_here(flat)
    assert patches.digest == digest
    np.testing.assert_array_equal(patches.read([0])[0], make_pair(1)[0].astype(np.float16))
    assert not list((flat.parent / "cache").glob("*.partial"))


def test_nothing_is_written_into_the_data_folder(flat):
    before = sorted(flat.rglob("*"))
    open_here(flat)
    assert sorted(flat.rglob("*")) == before


def test_a_copy_of_the_data_is_known_by_its_content(flat):
    copy = flat.parent / "copy"
    shutil.copytree(flat, copy)
    assert open_here(copy).digest == open_here(flat).digest


def test_packing_refuses_a_disk_too_small(flat, monkeypatch):
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1e6, 1e6, 1e4))
    with pytest.raises(UserError, match="packing needs 0.0 GB"):
        open_here(flat)


def test_bands_by_name_and_by_number(flat):
    by_name = open_here(flat, bands=("B4", "slope", "dem"))
    by_number = open_here(flat, bands=("4", "13", "14"))
    assert by_name.bands == by_number.bands == ("B4", "slope", "dem")
    np.testing.assert_array_equal(by_name.read([2]), by_number.read([2]))
    np.testing.assert_array_equal(by_name.read([2])[0], make_pair(3)[0][..., [3, 12, 13]].astype(np.float16))
    with pytest.raises(UserError, match="band B8A is not in these files"):
        open_here(flat, bands=("B8A",))
    with pytest.raises(UserError, match="same band twice"):
        open_here(flat, bands=("B4", "4"))
    assert [BANDS_L4S[i] for i in true_colour(BANDS_L4S)] == ["B4", "B3", "B2"]


def test_statistics_agree_with_numpy(flat):
    patches = open_here(flat, bands=("B2", "dem"))
    mean, variance = patches.statistics([1, 4, 6])
    pixels = (
        np.stack([make_pair(n)[0][..., [1, 13]] for n in (2, 5, 7)]).reshape(-1, 2).astype(np.float16).astype(float)
    )
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, pixels.var(0), rtol=1e-5)


# ---------------------------------------------------------------------- split


def many_patches(tmp_path, count=100, layout="flat", splits=("train", "validation", "test")):
    data = tmp_path / "many"
    for split, (images, masks) in layouts.LAYOUTS[layout].items():
        if split in ("", *splits):
            write_patches(data / images, data / masks, range(1, count + 1), size=4, bands=3)
    return open_here(data)


def counts(assigned):
    return {split: int((assigned == split).sum()) for split in layouts.SPLITS}


@pytest.mark.parametrize("method", ["random", "blocks"])
def test_flat_folders_are_split_70_15_15_by_seed(tmp_path, method):
    patches = many_patches(tmp_path)
    first, notes = splits.split_patches(patches, method, seed=1)
    assert counts(first) == (
        {"train": 70, "validation": 15, "test": 15} if method == "random" else dict(train=60, validation=20, test=20)
    )
    assert not notes
    np.testing.assert_array_equal(first, splits.split_patches(patches, method, seed=1)[0])
    assert (first != splits.split_patches(patches, method, seed=2)[0]).any()


def test_blocks_keep_neighbours_together(tmp_path):
    patches = many_patches(tmp_path)
    assigned, _ = splits.split_patches(patches, "blocks", seed=0, block_size=5)
    assert counts(assigned) == {"train": 70, "validation": 15, "test": 15}
    for start in range(0, 100, 5):
        assert len(set(assigned[start : start + 5])) == 1


def test_own_splits_are_kept_and_missing_ones_cut_from_training(tmp_path):
    patches = many_patches(tmp_path, 20, "official", ("train", "validation"))
    assigned, notes = splits.split_patches(patches)
    assert counts(assigned) == {"train": 17, "validation": 20, "test": 3}
    assert (assigned[patches.own_splits == "validation"] == "validation").all()
    assert "no test split" in notes[0] and "3 patches cut from training" in notes[0]
    assert "17 of 20 validation patches are also in train (the same content)" in notes[1]
    with pytest.raises(ValueError, match="'odd' is none of"):
        splits.split_patches(patches, "odd")


def test_validation_can_serve_as_test(tmp_path):
    patches = many_patches(tmp_path, 20, "official")
    assigned, notes = splits.split_patches(patches, test_split="validation")
    assert (assigned[patches.own_splits == "validation"] == "test").all()
    assert not (assigned[patches.own_splits == "test"] != "").any()
    assert (assigned[patches.own_splits == "train"] == "validation").sum() == 3
    assert "validation split of" in notes[0] and "serves as test; its 20 test patches are unused" in notes[0]
    assert "no validation split in the folder: 3 patches cut" in notes[1]


def test_images_without_a_mask_folder_are_unlabelled(tmp_path):
    """The competition's test images have no masks: such a split is neither a fault nor used."""
    data = layout_folder(tmp_path / "data", "official")
    shutil.rmtree(data / "TestData" / "mask")
    patches = open_here(data)
    assert counts(np.where(patches.labelled, patches.own_splits, "")) == {"train": 6, "validation": 3, "test": 0}
    assigned, notes = splits.split_patches(patches)
    assert counts(assigned) == {"train": 5, "validation": 3, "test": 1}
    assert any("2 patches count as unlabelled" in note for note in notes)
    assert (assigned[~patches.labelled] == "unlabelled").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "blocks"}, "too few runs of 20 patches"),
        ({"method": "blocks", "block_size": 10}, "too few runs of 10 patches"),
    ],
)
def test_bad_split_settings(flat, options, message):
    with pytest.raises(UserError, match=message):
        splits.split_patches(open_here(flat), **options)


def test_split_csv_goes_round_and_missing_patches_are_noticed(flat):
    patches = open_here(flat)
    assigned, _ = splits.split_patches(patches)
    path = flat.parent / "split.csv"
    splits.write_split(path, patches, assigned)
    assert path.read_text().startswith("image,split,content\nimages/image_1.h5,")
    np.testing.assert_array_equal(splits.read_split(path, patches, "train.py"), assigned)
    path.write_text(path.read_text() + "\n")  # a blank last line is ignored
    np.testing.assert_array_equal(splits.read_split(path, patches, "train.py"), assigned)
    (flat / "images" / "image_4.h5").unlink()
    with pytest.raises(UserError, match=r"lists 1 patches that are not in .* \(first: images/image_4.h5\)"):
        splits.read_split(path, open_here(flat), "train.py")


def test_damaged_split_csv_is_told(flat):
    path = flat.parent / "split.csv"
    for text in ("", "image,split\nimages/image_1.h5,val\n", "a,b\n1,2\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            splits.read_split(path, open_here(flat), "train.py")


def test_record_of_the_cache_names_every_patch(flat):
    open_here(flat)
    (path,) = (flat.parent / "cache").glob("data-*/pack.json")
    record = json.loads(path.read_text())
    assert record["shape"] == [32, 32, 14] and record["dtype"] == "float32"
    assert record["names"][0] == "images/image_1.h5" and len(record["names"]) == 20
    with h5py.File(flat / "images" / "image_1.h5") as file:
        assert list(file) == ["img"]


def test_images_that_state_other_bands_than_the_first_are_refused(flat, tmp_path):
    for number in range(1, 21):
        with h5py.File(flat / "images" / f"image_{number}.h5", "a") as file:
            names = [f"x{i}" for i in range(14)]
            file.attrs.update({"bands": names if number != 7 else names[::-1], "values": ""})
    with pytest.raises(UserError, match="image_7.h5: says that it holds x13 x12"):
        dataset.open_patches(flat, tmp_path / "cache")
    assert dataset.open_patches(flat, tmp_path / "cache", skip_bad=True).bands[0] == "x0"
    os.truncate(flat / "images" / "image_1.h5", 4000)  # then the second image is the one to compare with
    patches = dataset.open_patches(flat, tmp_path / "cache", skip_bad=True)
    assert (len(patches), patches.bands[0]) == (18, "x0")


def test_packing_opens_an_image_once_for_its_form_and_once_to_read_it(flat, monkeypatch):
    opened, file_class = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, *mode: opened.append(path.name) or file_class(path, *mode))
    open_here(flat)
    assert (opened.count("image_2.h5"), opened.count("mask_2.h5")) == (2, 1)
