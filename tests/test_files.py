"""Patches as people have them: no data, 255 in masks, alpha, palettes, names, folders, and what cannot be read now.

Files are written with rasterio, Pillow and h5py; values are compared with what was written.
"""

import os
import warnings

import h5py
import numpy as np
import pytest
import rasterio
from PIL import Image

import dataset
from patches import layouts, reading
from script import UserError
from tests.conftest import SMALL, assert_user_error, layout_folder, record, run_script, write_h5, write_patches

PLACE = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(6e5, 5e6, 10, 10)}


def write_raster(path, image, **form):
    """Write bands x H x W."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {"count": len(image), "height": image.shape[1], "width": image.shape[2], "dtype": image.dtype} | form
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **form) as file:
            file.write(image)


def scar(number):
    """Make a mask of 32 x 32 with a square landslide."""
    mask = np.zeros((32, 32), np.uint8)
    mask[5 + number % 8 : 15 + number % 8, 8:18] = 1
    return mask


def packed(folder, **options):
    return dataset.open_patches(folder, folder.parent / "cache", **options)


# ---------------------------------------------------------------------- no data in images


GAPS = {
    "tag -3.4e38": (np.finfo("float32").min, np.finfo("float32").min),
    "tag -9999": (-9999, -9999),
    "tag 7": (7, 7),
    "-9999": (-9999, None),
    "-3.4e38": (np.finfo("float32").min, None),
    "NaN": (np.nan, None),
}


@pytest.mark.parametrize("case", GAPS)
def test_pixels_without_data_are_not_labelled_and_hold_the_mean(tmp_path, case):
    value, tag = GAPS[case]
    images = np.random.default_rng(0).normal(0.1, 0.02, (12, 4, 32, 32)).astype(np.float32)
    for number, image in enumerate(images):
        gap = image.copy()
        if number % 2:
            gap[:, :4, :6] = value
        write_raster(tmp_path / f"d/images/t_{number}.tif", gap, nodata=tag, **PLACE)
        write_raster(tmp_path / f"d/masks/t_{number}.tif", scar(number)[None], **PLACE)
    patches = packed(tmp_path / "d")
    known = np.ones((12, 32, 32), bool)
    known[1::2, :4, :6] = False
    np.testing.assert_array_equal(patches.masks == 255, ~known)
    mean = np.moveaxis(images, 1, -1)[known].mean(0, dtype=np.float64)
    np.testing.assert_allclose(patches.images[~known], np.tile(mean, (6 * 24, 1)), rtol=2**-11)
    np.testing.assert_array_equal(patches.images[known], np.moveaxis(images, 1, -1)[known].astype(np.float16))
    assert patches.notes == ["6 of 12 patches have pixels without data, 1.2% of all: not labelled"]


def test_fill_values_in_hdf5_and_integers_are_no_data(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5))
    with h5py.File(tmp_path / "d/images/image_2.h5", "a") as file:
        file["img"][:2, :2, 13] = -9999
    assert (packed(tmp_path / "d").masks == 255).sum() == 4
    image = np.full((1, 32, 32), 400, np.int16)
    image[0, 0, 0] = -32768
    write_raster(tmp_path / "a_1.tif", image)
    patch = reading.read_patch(tmp_path / "a_1.tif", None)
    assert patch.gap.sum() == 1 and patch.gap[0, 0]


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e31, r"holds values beyond 1e\+30 \(1e\+31\)"), (-500.0, r"band 3 holds -500; those of the other images lie")],
)
def test_absurd_values_are_a_fault_of_their_file(tmp_path, value, said):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 21))
    with h5py.File(tmp_path / "d/images/image_7.h5", "a") as file:
        file["img"][3, 4, 2] = value
    with pytest.raises(UserError, match=f"image_7.h5: .*{said}"):
        packed(tmp_path / "d")
    rest = packed(tmp_path / "d", skip_bad=True)
    assert len(rest) == 19 and [name for name, _ in rest.left_out] == ["images/image_7.h5"]


@pytest.mark.slow
def test_a_run_predicts_no_data_where_there_is_none(tmp_path):
    write_patches(tmp_path / "data/images", tmp_path / "data/masks", range(1, 13))
    with h5py.File(tmp_path / "data/images/image_3.h5", "a") as file:
        file["img"][:8] = -9999
    result = run_script("train.py", "--run", "small", "--epochs", 1, *SMALL, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 of 12 patches have pixels without data, 2.1% of all: not labelled" in result.stdout
    assert run_script("optimize_threshold.py", "--run", "small", cwd=tmp_path).returncode == 0
    some = ("--input", "data/images/image_3.h5", "data/images/image_4.h5")
    result = run_script("predict.py", "--run", "small", *some, "--probabilities", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "results/small/maps/mask_3.h5") as file:
        mask = file["mask"][()]
    assert (mask[:8] == 255).all() and (mask[8:] <= 1).all()
    with h5py.File(tmp_path / "results/small/maps/probability_3.h5") as file:
        assert np.isnan(file["probability"][:8]).all() and np.isfinite(file["probability"][8:]).all()
    assert (tmp_path / "results/small/maps/mask_4.h5").exists()


# ---------------------------------------------------------------------- masks


def write_images(folder, count=12):
    for number in range(count):
        image = np.random.default_rng(number).integers(20, 200, (3, 32, 32)).astype(np.uint8)
        write_raster(folder / f"images/t_{number}.png", image)


def test_255_is_landslide_or_not_labelled_as_the_whole_folder_says(tmp_path):
    """The mask of predict.py: 0, 1, and 255 with a tag; a tile may hold 0 and 255 alone."""
    for kind, one, tag in (("own", 1, 255), ("untagged", 1, None), ("white", 255, None)):
        write_images(tmp_path / kind)
        for number in range(12):
            mask = np.zeros((1, 32, 32), np.uint8)
            if number % 2 or kind == "white":
                mask[0, 20:28, 20:28] = one
            if kind != "white" and (number % 2 == 0 or kind == "untagged"):
                mask[0, :, :16] = 255
            write_raster(tmp_path / kind / f"masks/t_{number}.tif", mask, nodata=tag)
        patches = packed(tmp_path / kind)
        assert (patches.masks == 1).sum() == (12 if kind == "white" else 6) * 64
        assert (patches.masks == 255).sum() == {"own": 6, "untagged": 12, "white": 0}[kind] * 512
    write_raster(tmp_path / "white/masks/t_3.tif", scar(3)[None])
    with pytest.raises(UserError, match="masks/t_3.tif: 'mask' holds 0 and 1, the others 0 and 255"):
        packed(tmp_path / "white")
    assert len(packed(tmp_path / "white", skip_bad=True)) == 11


def test_hdf5_masks_follow_the_same_rule_and_lose_empty_axes(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5))
    for number in range(1, 5):
        shape = (32, 32, 1) if number % 2 else (1, 32, 32)
        write_h5(tmp_path / f"d/masks/mask_{number}.h5", "mask", 255 * scar(number).reshape(shape))
    np.testing.assert_array_equal(packed(tmp_path / "d").masks, [scar(number) for number in range(1, 5)])


def as_alpha(mask):
    return Image.fromarray(np.dstack([np.full((32, 32, 3), 255, np.uint8), 255 * mask]), "RGBA")


def as_palette(colours, index):
    def picture(mask):
        image = Image.fromarray(index(mask), "P")
        image.putpalette(sum(colours, ()))
        return image

    return picture


MASKS = {
    "alpha alone": as_alpha,
    "opaque": lambda mask: Image.fromarray(np.dstack([255 * mask] * 3 + [np.full((32, 32), 255, np.uint8)]), "RGBA"),
    "white first": as_palette([(255, 255, 255), (0, 0, 0)], lambda mask: 1 - mask),
    "black, then white at 5": as_palette([(0, 0, 0)] * 5 + [(255, 255, 255)], lambda mask: 5 * mask),
    "red on black": as_palette([(0, 0, 0), (128, 0, 0)], lambda mask: mask),
    "red on black, without a palette": lambda mask: Image.fromarray(np.dstack([mask * 200, 0 * mask, 0 * mask])),
    "one bit": lambda mask: Image.fromarray(mask > 0),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_judged_by_their_colours(tmp_path, kind):
    write_images(tmp_path / "d", 6)
    (tmp_path / "d/masks").mkdir()
    for number in range(6):
        MASKS[kind](scar(number)).save(tmp_path / f"d/masks/t_{number}.png")
    np.testing.assert_array_equal(packed(tmp_path / "d").masks, [scar(number) for number in range(6)])


def test_a_mask_of_three_colours_is_refused(tmp_path):
    write_images(tmp_path / "d", 2)
    (tmp_path / "d/masks").mkdir()
    for number in range(2):
        as_palette([(0, 0, 0), (255, 0, 0), (0, 255, 0)], lambda mask: mask + mask * (np.arange(32) % 2).astype("u1"))(
            scar(number)
        ).save(tmp_path / f"d/masks/t_{number}.png")
    with pytest.raises(UserError, match="masks/t_0.png: is coloured"):
        packed(tmp_path / "d")


# ---------------------------------------------------------------------- palettes and alpha of images


def test_palettes_of_images_are_expanded(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "d/images").mkdir(parents=True)
    colours = {}
    for number in range(4):
        image = Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).quantize(64)
        image.save(tmp_path / f"d/images/t_{number}.png")
        colours[number] = np.asarray(image.convert("RGB"))
    patches = packed(tmp_path / "d")
    assert patches.input_shape == (32, 32, 3)
    np.testing.assert_array_equal(patches.images, list(colours.values()))


def test_the_fourth_band_is_data_unless_it_holds_0_and_255_alone(tmp_path):
    """GDAL takes the fourth band of any 8-bit TIFF for alpha; near infrared is 0 over water."""
    rng = np.random.default_rng(0)
    for kind, fourth in (("infrared", rng.integers(40, 200, (32, 32))), ("alpha", np.full((32, 32), 255))):
        for number in range(3):
            image = rng.integers(40, 200, (4, 32, 32)).astype(np.uint8)
            image[3] = fourth
            image[3, :, :10] = 0
            write_raster(tmp_path / kind / f"images/t_{number}.tif", image)
        lake = image.copy()
        lake[3] = 0 if kind == "infrared" else 255  # water alone; the others say what the band is
        write_raster(tmp_path / kind / "images/t_9.tif", lake)
        patches = packed(tmp_path / kind)
        assert patches.input_shape[2] == (4 if kind == "infrared" else 3)
        assert len(patches) == 4 and bool(patches.notes) == (kind == "alpha")


# ---------------------------------------------------------------------- names and folders


def test_names_pair_before_numbers(tmp_path):
    """Tiles by column and row: the last number alone would give an image the mask of another."""
    for column in range(1, 9):
        name = f"col{column:05d}_row{column + 6:05d}"
        write_raster(tmp_path / f"d/images/{name}.png", np.full((3, 32, 32), column, np.uint8))
        name = name if column > 1 else "col00009_row00007"
        write_raster(tmp_path / f"d/masks/{name}.png", scar(column)[None])
    with pytest.raises(UserError, match="col00001_row00007.png: its mask is missing"):
        packed(tmp_path / "d")
    patches = packed(tmp_path / "d", skip_bad=True)
    assert len(patches) == 7
    np.testing.assert_array_equal(patches.masks, [scar(column) for column in range(2, 9)])


@pytest.mark.parametrize(
    ("image", "mask", "key"),
    [
        ("image_{}", "mask_{:03d}", int),
        ("scene {}", "truth {}", int),
        ("a_{}_img", "a_{}_label", int),
        ("{}", "{}_mask", int),
        ("kerala-{}-2018", "kerala-{}-2018-gt", str),
        ("IMG_{}", "Mask_{}", int),
    ],
)
def test_pairs_of_names(tmp_path, image, mask, key):
    images, masks = [
        [tmp_path / folder / (name.format(number) + ".h5") for number in (9, 10, 11)]
        for folder, name in (("images", image), ("masks", mask))
    ]
    faults = []
    found = layouts.pair(images, masks, tmp_path, faults)
    assert not faults and sorted((a, b) for _, a, b in found) == sorted(zip(images, masks, strict=True))
    assert {type(name) for name, _, _ in found} == {key}


@pytest.mark.parametrize(
    ("train", "validation"),
    [
        ("train/images train/masks", "val/images val/masks"),
        ("Train/Images Train/Labels", "Valid/Images Valid/Labels"),
        ("images/train masks/train", "images/val masks/val"),
        ("train_images train_masks", "validation_images validation_masks"),
        ("training/img training/gt", "test/img test/gt"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".H5", ".hdf5"])
def test_folders_are_known_by_their_words(tmp_path, train, validation, suffix):
    for folders, numbers in ((train, range(1, 6)), (validation, range(6, 9))):
        images, masks = folders.split()
        write_patches(tmp_path / "d" / images, tmp_path / "d" / masks, numbers)
    for path in list((tmp_path / "d").rglob("*.h5")):
        path.rename(path.with_suffix(suffix))
    patches = packed(tmp_path / "d")
    assert list(patches.own_splits).count("train") == 5 and patches.labelled.all() and len(patches) == 8


def test_folders_left_aside_are_told(tmp_path):
    write_patches(tmp_path / "d/train/images", tmp_path / "d/train/masks", range(1, 5))
    write_patches(tmp_path / "d/extra/images", tmp_path / "d/extra/masks", range(1, 4))
    assert packed(tmp_path / "d").notes == [
        f"{tmp_path}/d/extra/images: left aside, 3 files",
        f"{tmp_path}/d/extra/masks: left aside, 3 files",
    ]
    (tmp_path / "d/train").rename(tmp_path / "d/first")
    with pytest.raises(
        UserError, match=r"Found: patches in extra/images/ \(3 files\), extra/masks/ \(3 files\), first"
    ):
        packed(tmp_path / "d")
    write_patches(tmp_path / "e/images/train", tmp_path / "e/masks/train", range(1, 5))
    write_patches(tmp_path / "e/annotations/train", tmp_path / "e/x", range(1, 5))
    with pytest.raises(UserError, match="holds masks in annotations/train and masks/train: leave only one"):
        packed(tmp_path / "e")


def test_images_lose_empty_axes(tmp_path):
    """A whole folder of 1 x H x W x bands, as some programs write batches of one."""
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5), bands=3)
    for path in (tmp_path / "d/images").iterdir():
        with h5py.File(path) as file:
            image = file["img"][()]
        write_h5(path, "img", image[None])
    patches = packed(tmp_path / "d")
    assert patches.input_shape == (32, 32, 3)
    np.testing.assert_array_equal(patches.images[-1], image.astype(np.float16))


def test_arrays_of_other_shapes_are_told(tmp_path):
    for number, shape in ((1, (14, 64, 64)), (2, (0, 0, 3)), (3, (64, 64))):
        write_h5(tmp_path / f"image_{number}.h5", "img", np.zeros(shape))
    for number, said in ((1, "bands come first"), (2, r"is empty \(0 x 0 x 3\)"), (3, "not height x width x bands")):
        with pytest.raises(reading.Fault, match=said):
            reading.read_patch(tmp_path / f"image_{number}.h5", None)


# ---------------------------------------------------------------------- what cannot be read now


def test_a_missing_filter_is_named_and_not_remembered(tmp_path):
    """The chunk is stored with the number of Zstandard (32015), which plain h5py cannot read."""
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 7), bands=3)
    path, kept = tmp_path / "d/images/image_3.h5", (tmp_path / "d/images/image_3.h5").read_bytes()
    with h5py.File(path) as file:
        image = file["img"][()].astype(np.uint8)
    with h5py.File(path, "w") as file:
        form = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        form.set_chunk(image.shape)
        form.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(image.shape)
        data = h5py.h5d.create(file.id, b"img", h5py.h5t.NATIVE_UINT8, space, form)
        data.write_direct_chunk((0, 0, 0), image.tobytes(), 0)
    state = path.stat()
    with pytest.raises(UserError, match="image_3.h5: is compressed with HDF5 filter 32015.*not installed"):
        packed(tmp_path / "d")
    assert len(packed(tmp_path / "d", skip_bad=True)) == 5
    path.write_bytes(kept.ljust(state.st_size, b"\0")[: max(state.st_size, len(kept))])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len(packed(tmp_path / "d", skip_bad=True)) == 6


def test_a_locked_file_is_said_to_be_locked(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5), bands=3)
    with h5py.File(tmp_path / "d/images/image_2.h5", "a"):
        result = run_script("train.py", "--data-dir", tmp_path / "d", cwd=tmp_path)
    assert_user_error(result, "image_2.h5: is locked: another program writes it")


# ---------------------------------------------------------------------- splits that mislead


def test_splits_without_landslides_are_refused(tmp_path):
    layout_folder(tmp_path / "data", "official")
    for number in range(1, 4):
        write_h5(tmp_path / f"data/ValidData/mask/mask_{number}.h5", "mask", np.zeros((32, 32), np.uint8))
    result = run_script("train.py", *SMALL, cwd=tmp_path)
    assert_user_error(result, "no landslide in the masks of the 3 validation patches")
    assert not (tmp_path / "results/unet").exists()
    for number in range(1, 7):
        write_h5(tmp_path / f"data/TrainData/mask/mask_{number}.h5", "mask", np.zeros((32, 32), np.uint8))
    assert_user_error(run_script("train.py", *SMALL, cwd=tmp_path), "of the 6 train patches, so nothing can be learnt")


@pytest.mark.slow
def test_copies_in_other_splits_and_folders_are_told(tmp_path):
    write_patches(tmp_path / "data/TrainData/img", tmp_path / "data/TrainData/mask", range(1, 17))
    write_patches(tmp_path / "data/ValidData/img", tmp_path / "data/ValidData/mask", range(4, 10))
    write_patches(tmp_path / "data/TestData/img", tmp_path / "data/TestData/mask", range(14, 20))
    write_patches(tmp_path / "other/images", tmp_path / "other/masks", range(15, 25))
    result = run_script("train.py", "--run", "small", "--epochs", 1, *SMALL, cwd=tmp_path)
    assert "warning: 6 of 6 validation patches are also in train (the same content)" in result.stdout
    assert "warning: 3 of 6 test patches are also in train (the same content)" in result.stdout
    assert run_script("optimize_threshold.py", "--run", "small", cwd=tmp_path).returncode == 0
    flags = ("--run", "small", "--data-dir", "other", "--split", "all")
    said = run_script("evaluate.py", *flags, cwd=tmp_path).stdout
    assert "warning: run small was trained or chosen on 2 of these 10 patches (the same content)" in said
    assert record(tmp_path, "config.json")["constants"]["EPOCHS"] == 1


def test_copies_stay_on_one_side_of_a_cut(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 21))
    for number in range(1, 21):
        for kind in ("image", "mask"):
            path = tmp_path / f"d/{kind}s/{kind}_{number}.h5"
            (path.with_name(f"{kind}_{number + 100}.h5")).write_bytes(path.read_bytes())
    from patches import splits

    patches = packed(tmp_path / "d")
    assigned, notes = splits.split_patches(patches)
    assert not any("same content" in note for note in notes)
    assert {split: set(patches.contents[assigned == split]) for split in layouts.SPLITS}.keys() == {
        "train",
        "validation",
        "test",
    }
    assert min((assigned == split).sum() for split in layouts.SPLITS) >= 2
