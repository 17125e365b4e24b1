"""Patches as people have them: no data, names and folders.

Files are written with rasterio and h5py; values are compared with what was written.
"""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import rasterio
from PIL import Image

import dataset
from bands import BANDS_RGB
from networks.patch_maps import list_patches
from patches import layouts, reading
from script import UserError
from tests.patch_files import open_folder, scar, write_h5, write_patches
from tests.rasters import open_scene, write_raster
from tests.running import SMALL, run_script

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
        write_raster(tmp_path / f"d/images/t_{number}.tif", gap, nodata=tag)
        write_raster(tmp_path / f"d/masks/t_{number}.tif", scar(number)[None])
    patches = open_folder(tmp_path / "d")
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
    assert (open_folder(tmp_path / "d").masks == 255).sum() == 4
    image = np.full((1, 32, 32), 400, np.int16)
    image[0, 0, 0] = -32768
    write_raster(tmp_path / "a_1.tif", image, crs=None)
    patch = reading.read_patch(tmp_path / "a_1.tif", None)
    assert patch.gap.sum() == 1 and patch.gap[0, 0]


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
    result = run_script("predict.py", "--run", "small", *some, "--patch-probabilities", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    with h5py.File(tmp_path / "results/small/maps/mask_3.h5") as file:
        mask = file["mask"][()]
    assert (mask[:8] == 255).all() and (mask[8:] <= 1).all()
    with h5py.File(tmp_path / "results/small/maps/probability_3.h5") as file:
        assert np.isnan(file["probability"][:8]).all() and np.isfinite(file["probability"][8:]).all()
    assert (tmp_path / "results/small/maps/mask_4.h5").exists()


def test_a_pixel_of_8_bits_lacks_data_only_if_all_its_bands_do(tmp_path):
    """A tag of 0 names the collar; dark ground is 0 in one band. A scene of the same file is the reference."""
    image = np.random.default_rng(0).integers(20, 200, (3, 32, 32)).astype(np.uint8)
    image[2, :16] = 0
    image[:, 30:] = 0
    path = write_raster(tmp_path / "a_1.tif", image, nodata=0)
    patch = reading.read_patch(path, None)
    with open_scene([path], BANDS_RGB) as scene:
        np.testing.assert_array_equal(~patch.gap, scene.read(0, 32)[1])
    assert patch.gap.sum() == 64
    with h5py.File(tmp_path / "a_2.h5", "w") as file:
        file["img"] = np.moveaxis(image, 0, -1)
        file["img"].attrs["_FillValue"] = np.uint8(0)
    np.testing.assert_array_equal(reading.read_patch(tmp_path / "a_2.h5", None).gap, patch.gap)


# ---------------------------------------------------------------------- scale and offset


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, -0.1), (1e-4, 0.0), (0.5, 3.0)])
def test_scale_and_offset_mean_the_same_in_patches_and_scenes(tmp_path, scale, offset):
    numbers = np.random.default_rng(0).integers(100, 3000, (3, 32, 32)).astype(np.int16)
    numbers[:, 0, :3] = -9999
    path = write_raster(tmp_path / "a_1.tif", numbers, nodata=-9999)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (scale,) * 3, (offset,) * 3
    with h5py.File(tmp_path / "a_2.h5", "w") as file:
        file["img"] = np.moveaxis(numbers, 0, -1)
        file["img"].attrs.update({"scale_factor": scale, "add_offset": offset, "_FillValue": np.int16(-9999)})
    with open_scene([path], BANDS_RGB) as scene:
        values, valid = scene.read(0, 32)
    for each in (path, tmp_path / "a_2.h5"):
        patch = reading.read_patch(each, None)
        np.testing.assert_array_equal(~patch.gap, valid)
        np.testing.assert_allclose(patch.image[valid], np.moveaxis(values, 0, -1)[valid], rtol=1e-5, atol=1e-3)
        assert (patch.image.dtype == np.int16) == (scale == 1e-4 and not offset)


def test_unsigned_numbers_of_a_signed_type_are_refused(tmp_path):
    """As older NetCDF files hold them: 40000 stands there as -25536. GDAL applies this in scenes."""
    with h5py.File(tmp_path / "a_1.h5", "w") as file:
        file["img"] = np.full((32, 32, 3), -25536, np.int16)
        file["img"].attrs["_Unsigned"] = "true"
    with pytest.raises(reading.Fault, match="'img' holds unsigned numbers as int16 .*: write them as uint16"):
        reading.read_patch(tmp_path / "a_1.h5", None)


def test_a_folder_of_scaled_hdf5_is_packed_in_its_unit(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5), bands=14)
    for path in (tmp_path / "d/images").iterdir():
        with h5py.File(path, "a") as file:
            stored = np.rint(100 * file["img"][()]).astype(np.int16)
            del file["img"]
            file["img"] = stored
            file["img"].attrs["scale_factor"] = 0.001
    patches = open_folder(tmp_path / "d")
    assert patches.dtype == "float32" and patches.notes == ["scale and offset are applied, which 4 files state"]
    np.testing.assert_allclose(patches.read([3])[0][..., 3], 10 * stored_of(tmp_path, 4)[..., 3], rtol=1e-3)
    np.testing.assert_allclose(patches.read([3])[0][..., 12], 0.001 * stored_of(tmp_path, 4)[..., 12], rtol=1e-3)
    with h5py.File(tmp_path / "d/images/image_2.h5", "a") as file:
        file["img"].attrs["scale_factor"] = "ten"
    with pytest.raises(UserError, match="image_2.h5: 'img' states a scale_factor that is no number"):
        open_folder(tmp_path / "d")


def stored_of(folder, number):
    with h5py.File(folder / f"d/images/image_{number}.h5") as file:
        return file["img"][()]


# ---------------------------------------------------------------------- names of bands


@pytest.mark.parametrize(
    ("descriptions", "names"),
    [
        (("B2", "B3", "B4"), ("B2", "B3", "B4")),
        (("Band 2 - Blue", "Green", "B04_10m red"), ("blue", "green", "red")),
        (("B04 before", "B04 after", "elevation"), ("B04 before", "B04 after", "dem")),
        (("Band 1", "Band 2", "Band 3"), BANDS_RGB),
        (("", "", ""), BANDS_RGB),
        (("blue", "green", "Red edge"), ("blue", "green", "rededge")),
        (("B4", "B4", "B4"), BANDS_RGB),  # a name that all bands have says nothing
        (("SR_B4", "SR_B3", "SR_B2"), ("sr_b4", "sr_b3", "sr_b2")),  # of Landsat 8 or of Landsat 7
        (("B2", "cloud mask", ""), ("B2", "cloud_mask", "band3")),
    ],
)
def test_bands_of_patches_are_called_as_the_files_say(tmp_path, capsys, descriptions, names):
    for number in range(3):
        image = np.random.default_rng(number).integers(1, 9, (3, 32, 32)).astype(np.uint8)
        image[:] += np.array([[[20]], [[30]], [[40]]], np.uint8)
        write_raster(tmp_path / f"d/images/t_{number}.tif", image, descriptions=descriptions)
        write_raster(tmp_path / f"d/masks/t_{number}.tif", scar(number)[None])
    patches = open_folder(tmp_path / "d")
    assert patches.file_bands == names
    if names[0] in ("B2", "blue") and names[2] in ("B4", "red"):
        run = dataset.open_sources([tmp_path / "d"], tmp_path / "cache", BANDS_RGB, of_run=3)
        np.testing.assert_array_equal(run.read([1])[0], patches.images[1][..., ::-1])
        said = f"bands are taken by their names: red {names[2]}, green {names[1]}" in capsys.readouterr().out
        assert said == (names[0] == "B2")
        assert (patches.read_pictures([0])[0, 0, 0] // 10).tolist() == [4, 3, 2]


def test_a_run_that_took_named_bands_in_their_order_is_to_be_trained_again(tmp_path):
    for number in range(3):
        image = np.random.default_rng(number).integers(1, 99, (3, 32, 32)).astype(np.uint8)
        write_raster(tmp_path / f"d/images/t_{number}.tif", image, descriptions=("B2", "B3", "B4"))
        write_raster(tmp_path / f"d/masks/t_{number}.tif", scar(number)[None])
    patches = open_folder(tmp_path / "d")
    config = {"bands": list(BANDS_RGB), "file_band_names": list(BANDS_RGB), "file_bands": 3, "left_out": []}
    config |= {"data_digest": patches.digest, "input_shape": [32, 32, 3]}
    old = SimpleNamespace(name="old", config=config, constants={}, data_folders=[str(tmp_path / "d")])
    with pytest.raises(
        UserError, match="d holds the bands B2 B3 B4, and run old took them for red green blue, in this"
    ):
        dataset.open_for_run(old, "all", cache_dir=tmp_path / "cache")
    config |= {"bands": ["B4", "B2"], "file_band_names": ["B2", "B3", "B4"]}
    opened, _, own = dataset.open_for_run(old, "all", cache_dir=tmp_path / "cache")
    assert own and opened.bands == ("B4", "B2")


def test_a_folder_whose_files_name_their_bands_differently_is_refused(tmp_path):
    for number, names in enumerate((("B2", "B3", "B4"), ("blue", "B03", "B4 red"), ("B4", "B3", "B2"), ())):
        image = np.random.default_rng(number).integers(1, 99, (3, 32, 32)).astype(np.uint8)
        write_raster(tmp_path / f"d/images/t_{number}.tif", image, descriptions=names)
        write_raster(tmp_path / f"d/masks/t_{number}.tif", scar(number)[None])
    with pytest.raises(UserError) as error:
        open_folder(tmp_path / "d")
    assert str(error.value).splitlines()[1:] == [
        "  images/t_2.tif: states the bands and values B4 B3 B2, the first file B2 B3 B4: bring all to one",
        "  images/t_3.tif: states the bands and values none, the first file B2 B3 B4: bring all to one",
    ]


def test_bands_of_one_name_are_refused(tmp_path):
    """As a slip of the pen makes them: by their order, green would be taken for blue."""
    image = np.random.default_rng(0).integers(1, 99, (3, 32, 32)).astype(np.uint8)
    path = write_raster(tmp_path / "t_1.tif", image, descriptions=("B2", "B3", "B3"))
    with pytest.raises(reading.Fault, match="calls several bands B3: name each once, or none of them"):
        reading.read_patch(path, None)
    with pytest.raises(UserError, match="lacks red: its bands are called B2, B3, B3"):
        open_scene([path], BANDS_RGB)
    unknown = write_raster(tmp_path / "t_2.tif", image, descriptions=("reflectance",) * 3)
    assert "bands" not in reading.read_patch(unknown, None).stated


def test_colours_of_bands_count_where_nothing_names_them(tmp_path):
    image = np.random.default_rng(0).integers(1, 99, (3, 32, 32)).astype(np.uint8)
    path = write_raster(tmp_path / "d/images/t_1.tif", image)
    write_raster(tmp_path / "d/masks/t_1.tif", scar(1)[None])
    assert open_folder(tmp_path / "d").file_bands == BANDS_RGB
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in BANDS_RGB[::-1]]
    assert open_folder(tmp_path / "d").file_bands == BANDS_RGB[::-1]


# ---------------------------------------------------------------------- names and folders


def test_names_pair_before_numbers(tmp_path):
    """Tiles by column and row: the last number alone would give an image the mask of another."""
    for column in range(1, 9):
        name = f"col{column:05d}_row{column + 6:05d}"
        write_raster(tmp_path / f"d/images/{name}.png", np.full((3, 32, 32), column, np.uint8), crs=None)
        name = name if column > 1 else "col00009_row00007"
        write_raster(tmp_path / f"d/masks/{name}.png", scar(column)[None], crs=None)
    with pytest.raises(UserError, match="col00001_row00007.png: its mask is missing"):
        open_folder(tmp_path / "d")
    patches = open_folder(tmp_path / "d", skip_bad=True)
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
    pairs = layouts.pair(images, masks, tmp_path, faults)
    assert not faults and sorted((a, b) for _, a, b in pairs) == sorted(zip(images, masks, strict=True))
    assert {type(name) for name, _, _ in pairs} == {key}


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
    patches = open_folder(tmp_path / "d")
    assert list(patches.own_splits).count("train") == 5 and patches.labelled.all() and len(patches) == 8


def test_folders_left_aside_are_told(tmp_path):
    write_patches(tmp_path / "d/train/images", tmp_path / "d/train/masks", range(1, 5))
    write_patches(tmp_path / "d/extra/images", tmp_path / "d/extra/masks", range(1, 4))
    assert open_folder(tmp_path / "d").notes == [
        f"{tmp_path}/d/extra/images: not used, 3 files",
        f"{tmp_path}/d/extra/masks: not used, 3 files",
    ]
    (tmp_path / "d/train").rename(tmp_path / "d/first")
    with pytest.raises(
        UserError, match=r"Found: patches in extra/images/ \(3 files\), extra/masks/ \(3 files\), first"
    ):
        open_folder(tmp_path / "d")
    write_patches(tmp_path / "e/images/train", tmp_path / "e/masks/train", range(1, 5))
    write_patches(tmp_path / "e/annotations/train", tmp_path / "e/x", range(1, 5))
    with pytest.raises(UserError, match="holds masks in annotations/train and masks/train: leave only one"):
        open_folder(tmp_path / "e")


def test_webp_pictures_are_patches_beside_others(tmp_path):
    """Pillow says what they hold; a transparent part has no data."""
    expected = {}
    for number in range(1, 5):
        image = np.random.default_rng(number).integers(1, 255, (32, 32, 4), np.uint8)
        image[..., 3] = np.where(np.arange(32) < (8 if number == 4 else 0), 0, 255)
        ending, shown = ("png" if number % 2 else "webp"), image if number == 4 else image[..., :3]
        for kind, pixels in (("images", shown), ("masks", scar(number) * np.uint8(255))):
            (tmp_path / f"d/{kind}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / f"d/{kind}/t_{number}.{ending}", lossless=True, exact=True)
        expected[f"images/t_{number}.{ending}"] = image[..., :3], scar(number)
    patches = open_folder(tmp_path / "d")
    assert patches.names == list(expected) and (patches.masks[3, :, :8] == 255).all()
    for i, (image, mask) in enumerate(expected.values()):
        kept = patches.masks[i] != 255
        np.testing.assert_array_equal(patches.images[i][kept], image[kept])
        np.testing.assert_array_equal(patches.masks[i][kept], mask[kept])
    assert [entry.image.suffix for entry in list_patches([tmp_path / "d"])] == [".png", ".webp"] * 2


def test_images_lose_empty_axes(tmp_path):
    """A whole folder of 1 x H x W x bands, as some programs write batches of one."""
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5), bands=3)
    for path in (tmp_path / "d/images").iterdir():
        with h5py.File(path) as file:
            image = file["img"][()]
        write_h5(path, "img", image[None])
    patches = open_folder(tmp_path / "d")
    assert patches.input_shape == (32, 32, 3)
    np.testing.assert_array_equal(patches.images[-1], image.astype(np.float16))
