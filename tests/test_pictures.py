"""Patches in PNG and TIFF, written with rasterio and Pillow: sizes, colours of masks, palettes and alpha."""

import unicodedata

import numpy as np
import pytest
import rasterio
from PIL import Image
from scipy import ndimage

import dataset
from patches import image_files, layouts, picture_damage, reading
from scenes.before_after import reopened
from scenes.opening import open_raster
from script import UserError
from tests.patch_files import make_pair, open_folder, scar, write_pictures
from tests.rasters import open_scene, write_picture, write_raster


@pytest.mark.parametrize(("suffix", "kind"), [(".png", np.uint8), (".png", np.uint16), (".tif", np.uint8)])
def test_pictures_are_patches(tmp_path, suffix, kind):
    """GDAL's PNG of 8 and 16 bits with masks of 0 and 255, and TIFF with other numbers of bands, are read."""
    bands = 3 if suffix == ".png" else 4
    for number in range(1, 5):
        image, mask = make_pair(number, bands=bands)
        image = (image * 60).clip(0, 250).astype(kind)
        write_picture(tmp_path / f"d/train/images/slope {number}{suffix}", image)
        write_picture(tmp_path / f"d/train/masks/slope {number}{suffix}", 255 * mask[..., None])
    patches = open_folder(tmp_path / "d")
    assert patches.images.dtype == kind and patches.input_shape == (32, 32, bands)
    assert list(patches.own_splits) == ["train"] * 4
    image, mask = make_pair(3, bands=bands)
    np.testing.assert_array_equal(patches.images[2], (image * 60).clip(0, 250).astype(kind))
    np.testing.assert_array_equal(patches.masks[2], mask)


def test_pictures_without_a_number_each_of_their_own_pair_by_name(tmp_path):
    for name in ("kerala_10_20", "kerala_11_20", "nepal"):
        write_picture(tmp_path / f"d/img/{name}.tif", np.full((8, 8, 3), len(name), np.uint8))
        write_picture(tmp_path / f"d/mask/{name}_mask.tif", np.eye(8, dtype=np.uint8)[..., None])
    patches = open_folder(tmp_path / "d")
    assert patches.names == ["img/kerala_10_20.tif", "img/kerala_11_20.tif", "img/nepal.tif"]
    assert patches.labelled.all() and patches.masks.sum() == 24
    (tmp_path / "d/mask/nepal_mask.tif").unlink()
    with pytest.raises(UserError, match=r"img/nepal.tif: its mask is missing \(expected mask/nepal.\*\)"):
        open_folder(tmp_path / "d")


def test_a_stray_picture_among_the_masks_does_not_upset_the_pairing(tmp_path):
    for number in range(1, 4):
        write_picture(tmp_path / f"d/images/slope_{number}.png", np.zeros((8, 8, 3), np.uint8))
        write_picture(tmp_path / f"d/masks/mask_{number}.png", np.zeros((8, 8, 1), np.uint8))
    write_picture(tmp_path / "d/masks/legend.png", np.zeros((4, 4, 1), np.uint8))
    with pytest.raises(UserError, match="masks/legend.png: no number in the name"):
        open_folder(tmp_path / "d")
    (tmp_path / "d/masks/legend.png").unlink()
    assert open_folder(tmp_path / "d").labelled.all()
    write_picture(tmp_path / "d/images/slope_3.tif", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UserError, match="images/slope_3.tif: has the same number as slope_3.png"):
        open_folder(tmp_path / "d")


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
        open_folder(tmp_path / "d")
    lines = str(error.value).splitlines()
    assert lines[1:] == [
        "  masks/a_2.png: is coloured, not a mask of 0 and 1 or 0 and 255",
        "  masks/a_3.png: 'mask' holds values other than 0 and 1 (7)",
        "  images/a_4.png: is 8 x 6 pixels, the other images are 8 x 8; train.py --patch-size cuts them, "
        "--size resamples them",
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
    with pytest.raises(UserError, match="--size resamples them"):
        open_folder(tmp_path / "d")
    patches = dataset.open_patches(tmp_path / "d", tmp_path / "cache", options=reading.ReadOptions(size=32))
    assert patches.images.shape == (4, 32, 32, 3) and patches.images.dtype == np.uint8
    for i, number in enumerate(sizes):
        with rasterio.open(tmp_path / f"d/images/a_{number}.png") as file:
            bilinear = file.read(out_shape=(3, 32, 32), resampling=rasterio.enums.Resampling.bilinear)
        difference = np.abs(patches.images[i].astype(int) - np.moveaxis(bilinear, 0, -1))
        assert difference.max() <= (0 if number == 1 else 2)
        expected = np.zeros((32, 32), np.uint8)
        expected[8:16, 8:] = 1
        assert np.count_nonzero(patches.masks[i] != expected) <= 24  # pixels on the edge may round either way
    assert dataset.open_patches(
        tmp_path / "d", tmp_path / "cache", options=reading.ReadOptions(size=16)
    ).input_shape == (16, 16, 3)


# ---------------------------------------------------------------------- colours of masks


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
TRANSPARENT = {  # pictures whose tag of transparency (tRNS) is their background
    "grey": lambda mask: Image.fromarray(255 * mask),
    "colours": lambda mask: Image.fromarray(np.dstack([255 * mask] * 3)),
    "palette": as_palette([(0, 0, 0), (255, 0, 0)], lambda mask: mask),
    "palette, white there": as_palette([(255, 255, 255), (255, 0, 0)], lambda mask: mask),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_are_judged_by_their_colours(tmp_path, kind):
    write_pictures(tmp_path / "d", 6)
    (tmp_path / "d/masks").mkdir()
    for number in range(6):
        MASKS[kind](scar(number)).save(tmp_path / f"d/masks/t_{number}.png")
    np.testing.assert_array_equal(open_folder(tmp_path / "d").masks, [scar(number) for number in range(6)])


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_a_transparent_background_is_no_landslide(tmp_path, kind):
    """As a tag that calls 0 no data in any other format."""
    picture = TRANSPARENT[kind](scar(1))
    picture.save(tmp_path / "mask.png", transparency=(0, 0, 0) if picture.mode == "RGB" else 0)
    values, unlabelled, *_ = image_files.read_mask(tmp_path / "mask.png")
    assert not unlabelled.any()
    np.testing.assert_array_equal(values > 0, scar(1) > 0)


def test_a_transparent_colour_is_not_labelled(tmp_path):
    colours = np.dstack([255 * scar(1)] * 3)
    colours[:4] = 0, 0, 255
    Image.fromarray(colours).save(tmp_path / "mask.png", transparency=(0, 0, 255))
    values, unlabelled, *_ = image_files.read_mask(tmp_path / "mask.png")
    assert unlabelled[:4].all() and not unlabelled[4:].any()
    np.testing.assert_array_equal(values[4:] > 0, scar(1)[4:] > 0)


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_one_colour_is_landslide_in_a_whole_folder(tmp_path, ending):
    """Two classes, of which no tile holds both, are no landslides alike."""
    write_pictures(tmp_path / "d", 5)
    (tmp_path / "d/masks").mkdir()
    colours = [(0, 0, 0), (255, 0, 0), (0, 0, 255)]
    for number in range(5):
        mask = as_palette(colours, lambda mask, index=1 if number < 3 else 2: index * mask)(scar(number))
        if ending == "tif":
            path = write_raster(tmp_path / f"d/masks/t_{number}.tif", np.asarray(mask)[None], crs=None)
            with rasterio.open(path, "r+") as file:
                file.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(colours)})
        else:
            mask.convert("RGB" if number % 2 else "P").save(tmp_path / f"d/masks/t_{number}.png")
    with pytest.raises(UserError) as error:
        open_folder(tmp_path / "d")
    text = {
        "png": "draws landslides in the colour 0 0 255, the others in 255 0 0: write one class, in one colour",
        "tif": "holds values other than 0 and 1 (2)",
    }[ending]
    assert str(error.value).splitlines()[1:] == [f"  masks/t_{n}.{ending}: 'mask' {text}" for n in (3, 4)]
    patches = open_folder(tmp_path / "d", skip_bad=True)
    np.testing.assert_array_equal(patches.masks, [scar(number) for number in range(3)])


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_layers_of_classes_are_no_colours(tmp_path, kind):
    """One-hot classes: landslide, cloud and the rest."""
    write_pictures(tmp_path / "d", 1)
    layers = np.stack([scar(1), 0 * scar(1), 1 - scar(1)]).astype(kind)
    write_raster(tmp_path / "d/masks/t_0.tif", layers, crs=None)
    with pytest.raises(UserError, match="masks/t_0.tif: has 3 bands.*: a mask has one"):
        open_folder(tmp_path / "d")
    layers[:2] = 0  # a tile of the third class alone
    write_raster(tmp_path / "d/masks/t_0.tif", layers, crs=None)
    with pytest.raises(UserError, match="masks/t_0.tif: has 3 bands.*: a mask has one"):
        open_folder(tmp_path / "d")


def test_pages_of_a_tiff_are_no_bands(tmp_path):
    """As tifffile writes bands x height x width, and Pillow several pictures; GDAL reads the first page alone."""
    write_pictures(tmp_path / "d", 2)
    (tmp_path / "d/masks").mkdir()
    for number in range(2):
        pages = [Image.fromarray(page * scar(number)) for page in (0, 1)]
        pages[0].save(tmp_path / f"d/masks/t_{number}.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match=r"masks/t_0.tif: holds 2 pages, of which one would be read: write all bands"):
        open_folder(tmp_path / "d")
    with pytest.raises(image_files.NotAPicture, match="holds 2 pages"):
        image_files.read(tmp_path / "d/masks/t_0.tif")


def test_a_palette_of_16_bits_is_expanded(tmp_path):
    index = np.uint16(300) * scar(1)
    path = write_raster(tmp_path / "image.tif", index[None], crs=None)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0, 255), 300: (9, 8, 7, 255)})
    np.testing.assert_array_equal(image_files.read(path)[0], scar(1)[..., None] * np.array([9, 8, 7]))


def test_a_mask_of_three_colours_is_refused(tmp_path):
    write_pictures(tmp_path / "d", 2)
    (tmp_path / "d/masks").mkdir()
    for number in range(2):
        as_palette([(0, 0, 0), (255, 0, 0), (0, 255, 0)], lambda mask: mask + mask * (np.arange(32) % 2).astype("u1"))(
            scar(number)
        ).save(tmp_path / f"d/masks/t_{number}.png")
    with pytest.raises(UserError, match="masks/t_0.png: is coloured"):
        open_folder(tmp_path / "d")


# ---------------------------------------------------------------------- palettes and alpha of images


def test_palettes_of_images_are_expanded(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "d/images").mkdir(parents=True)
    colours = {}
    for number in range(4):
        image = Image.fromarray(rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)).quantize(64)
        image.save(tmp_path / f"d/images/t_{number}.png")
        colours[number] = np.asarray(image.convert("RGB"))
    patches = open_folder(tmp_path / "d")
    assert patches.input_shape == (32, 32, 3)
    np.testing.assert_array_equal(patches.images, list(colours.values()))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("fourth", ["infrared", "alpha"])
@pytest.mark.parametrize("tag", [None, 7])
def test_mask_tag_and_alpha_of_a_picture_hold_together(tmp_path, kind, fourth, tag):
    """GDAL's masks know the internal one alone; the scene reader is asked as well."""
    image = np.random.default_rng(0).integers(40, 200, (4, 32, 32)).astype(kind)
    if fourth == "alpha":
        image[3], image[3, :, :4] = np.iinfo(kind).max, 0
    image[: 3 if fourth == "alpha" else 4, :2] = 7
    write_raster(tmp_path / "a.tif", image, photometric="RGB", alpha="YES", nodata=tag)
    hidden = np.zeros((32, 32), bool)
    hidden[:, 28:] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.write_mask(~hidden)
    hidden[:, :4] |= fourth == "alpha"
    hidden[:2] |= tag is not None
    read, gap, _ = image_files.read(tmp_path / "a.tif")
    assert read.shape[2] == (3 if fourth == "alpha" else 4)
    np.testing.assert_array_equal(gap, hidden)
    with open_scene([tmp_path / "a.tif"], ("red", "green", "blue"), ("1", "2", "3")) as scene:
        np.testing.assert_array_equal(~scene.read(0, 32)[1], hidden)
    if fourth == "alpha":
        scene = open_scene([tmp_path / "a.tif"], ("red", "green", "blue"))
        with reopened(scene, scene.grid.grown(1)) as moved:
            np.testing.assert_array_equal(~moved.read(0, 34)[1][1:-1, 1:-1], hidden)


# ---------------------------------------------------------------------- damage


@pytest.fixture
def pictures(tmp_path):
    """The same picture in each format."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    paths = {ending: tmp_path / f"a.{ending}" for ending in ("png", "jpg", "webp")}
    for path in paths.values():
        Image.fromarray(image).save(path)
    return paths


@pytest.mark.parametrize("ending", ["png", "jpg", "webp"])
def test_a_picture_that_is_cut_is_refused(pictures, ending):
    path = pictures[ending]
    whole = path.read_bytes()
    assert image_files.read(path)[0].shape == (64, 64, 3)
    path.write_bytes(whole + b"\0\0trailing")
    assert picture_damage.damage(path) == ""
    for length in (900, len(whole) // 2, int(0.9 * len(whole)), len(whole) - 3):
        path.write_bytes(whole[:length])
        with pytest.raises(image_files.NotAPicture, match="is cut short"):
            image_files.read(path)


def test_no_damaged_png_is_read(pictures):
    """Cut, bytes changed, zeroed or taken out, at random: every chunk carries a checksum."""
    whole, rng = pictures["png"].read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        content, at = bytearray(whole), int(rng.integers(8, len(whole) - 8))
        kind = rng.integers(4)
        if kind == 0:
            del content[at:]
        elif kind == 1:
            content[at] ^= int(rng.integers(1, 256))
        elif kind == 2:
            content[at : at + 6] = bytes(6) if content[at : at + 6] != bytes(6) else b"123456"
        else:
            del content[at : at + int(rng.integers(1, 6))]
        pictures["png"].write_bytes(content)
        assert picture_damage.damage(pictures["png"])


def test_a_damaged_picture_is_neither_patch_mask_nor_scene(pictures):
    content = bytearray(pictures["png"].read_bytes())
    content[len(content) // 2] ^= 1
    pictures["png"].write_bytes(content)
    words = "is damaged: one of its checksums is wrong"
    for read in (image_files.read, image_files.read_mask):
        with pytest.raises(image_files.NotAPicture, match=words):
            read(pictures["png"])
    with pytest.raises(UserError, match=words):
        open_raster(pictures["png"])


def test_images_and_masks_side_by_side_are_told_apart_by_their_names(tmp_path):
    """As Roboflow (train/x.jpg and train/x_mask.png) and Deepness (tile_img_0_1.png and tile_mask_0_1.png) write."""
    image, mask = np.full((8, 8, 3), 7, np.uint8), np.eye(8, dtype=np.uint8)[..., None]
    for split in ("train", "valid"):
        for number in range(3):
            write_picture(tmp_path / f"roboflow/{split}/slope{number}_png.rf.{number:08x}.png", image)
            write_picture(tmp_path / f"roboflow/{split}/slope{number}_png.rf.{number:08x}_mask.png", mask)
    for number in range(4):
        write_picture(tmp_path / f"deepness/tile_img_0_{number}.png", image)
        write_picture(tmp_path / f"deepness/tile_mask_0_{number}.png", mask)
    patches = open_folder(tmp_path / "roboflow")
    assert list(patches.own_splits) == ["train"] * 3 + ["validation"] * 3 and patches.masks.sum() == 48
    patches = open_folder(tmp_path / "deepness")
    assert len(patches) == 4 and patches.masks.sum() == 32
    (tmp_path / "deepness/tile_mask_0_2.png").unlink()
    with pytest.raises(UserError, match="tile_img_0_2.png: its mask is missing"):
        open_folder(tmp_path / "deepness")


def test_masks_in_the_folder_of_their_class_are_those_of_landslides(tmp_path):
    """ArcGIS writes labels/<class>/; of several classes only the user knows which is landslide."""
    for number in range(3):
        write_picture(tmp_path / f"chips/images/{number:09d}.tif", np.full((8, 8, 3), 7, np.uint8))
        write_picture(tmp_path / f"chips/labels/1/{number:09d}.tif", np.eye(8, dtype=np.uint8)[..., None])
    assert open_folder(tmp_path / "chips").masks.sum() == 24
    write_picture(tmp_path / "chips/labels/2/000000000.tif", np.eye(8, dtype=np.uint8)[..., None])
    with pytest.raises(UserError, match=r"labels holds a folder for each of 2 classes \(1, 2\): move the masks"):
        open_folder(tmp_path / "chips")
    assert len(layouts.find_patches(tmp_path / "chips", with_masks=False)[0]) == 3  # to be mapped, no mask is needed


def test_names_in_two_forms_of_unicode_are_one(tmp_path):
    for form, folder in (("NFC", "images"), ("NFD", "masks")):
        name = unicodedata.normalize(form, "Säntis_Südwand")
        value = np.full((8, 8, 3), 7) if folder == "images" else np.eye(8)[..., None]
        write_picture(tmp_path / f"d/{folder}/{name}.png", np.uint8(value))
    assert open_folder(tmp_path / "d").masks.sum() == 8
