"""One rule for the values of masks, whoever reads them: patches, labels of a scene, and references."""

import contextlib
import sys

import h5py
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

import dataset
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER, UNLABELLED
from patches import image_files
from patches.reading import ReadOptions, write_array
from scenes.clouds import open_clouds
from scenes.comparing.layers import RasterLayer
from scenes.exclusion import open_excluded
from scenes.labels import MaskRaster
from scenes.pixel_grid import PixelGrid
from script import UserError
from tests.patch_files import open_folder, scar, write_h5, write_patches, write_pictures
from tests.rasters import write_netcdf, write_raster

SIZE = 32
GRID = PixelGrid((SIZE, SIZE), from_origin(500000, 4000000, 10, 10), rasterio.crs.CRS.from_epsg(32633))


def stripes(*values):
    """A mask that holds each of some values in a stripe of its rows."""
    return np.repeat(np.array(values, np.uint8), SIZE // len(values))[:, None].repeat(SIZE, 1)


def write(path, mask, nodata=None, hidden=None, **options):
    """Write a mask as a raster; hidden: pixels under an internal mask."""
    write_raster(path, [mask], GRID.transform, GRID.crs, nodata=nodata, **options)
    if hidden is not None:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(~hidden)


def patch_labels(folder, mask, nodata):
    """The labels of the mask as that of a patch."""
    write(folder / "masks" / "mask_1.tif", mask, nodata)
    write(folder / "images" / "image_1.tif", np.full(mask.shape, 7, np.uint8))
    return dataset.open_patches(folder, folder / "cache").masks[0]


def stored_labels(folder, mask, nodata, **of_array):
    """The same in HDF5, whose tag is an attribute of the file. of_array: attributes of the array."""
    write_h5(folder / "masks" / "mask_1.h5", "mask", mask)
    with h5py.File(folder / "masks" / "mask_1.h5", "a") as file:
        file.attrs.update({} if nodata is None else {"nodata": nodata})
        file["mask"].attrs.update(of_array)
    write_h5(folder / "images" / "image_1.h5", "img", np.ones((*mask.shape, 3), np.float32))
    return dataset.open_patches(folder, folder / "cache").masks[0]


def scene_labels(folder, mask, nodata):
    """The labels of the mask as a raster of labels over a scene."""
    write(folder / "labels.tif", mask, nodata)
    with contextlib.closing(MaskRaster(folder / "labels.tif", GRID)) as raster:
        return raster.read(0, SIZE, 0, SIZE)


def reference_labels(folder, mask, nodata):
    """The labels of the mask as a map or a reference of compare_maps.py."""
    write(folder / "reference.tif", mask, nodata)
    with contextlib.closing(RasterLayer(folder / "reference.tif")) as layer:
        landslide, known, _ = layer.read(0, SIZE)
    return np.where(known, landslide, UNLABELLED)


READERS = [patch_labels, stored_labels, scene_labels, reference_labels]
CASES = {  # values of the file: what they are, and the tag of no data
    "0 and 1": ((0, 1), (OTHER, LANDSLIDE), None),
    "0 and 255": ((0, 255), (OTHER, LANDSLIDE), None),
    "0, 1 and 255": ((0, 1, 255, 0), (OTHER, LANDSLIDE, UNLABELLED, OTHER), None),
    "all that predict.py writes": ((0, 1, 253, 254), (OTHER, LANDSLIDE, UNLABELLED, UNLABELLED), None),
    "a map without landslides": ((0, 254, 255, 0), (OTHER, UNLABELLED, UNLABELLED, OTHER), None),
    "a map under clouds": ((0, 254), (OTHER, UNLABELLED), None),
    "excluded ground": ((0, 253, 1, 255), (OTHER, UNLABELLED, LANDSLIDE, UNLABELLED), None),
    "255 by its tag": ((0, 255), (OTHER, UNLABELLED), 255),
    "burnt polygons, whose 0 is tagged": ((0, 1), (OTHER, LANDSLIDE), 0),
    "burnt polygons of 255": ((0, 255), (OTHER, LANDSLIDE), 0),
    "another tag": ((0, 1, 9, 0), (OTHER, LANDSLIDE, UNLABELLED, OTHER), 9),
}


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("case", CASES)
def test_every_reader_follows_the_rule(tmp_path, reader, case):
    values, expected, nodata = CASES[case]
    np.testing.assert_array_equal(reader(tmp_path, stripes(*values), nodata), stripes(*expected))


@pytest.mark.parametrize("reader", [patch_labels, stored_labels, scene_labels], ids=lambda reader: reader.__name__)
def test_other_values_are_refused_by_name(tmp_path, reader):
    with pytest.raises(UserError, match=r"mask.*7|7.*mask"):
        reader(tmp_path, stripes(0, 1, 7, 0), None)


def test_the_whole_folder_decides(tmp_path):
    """One map of predict.py among masks of 0 and 255: then 255 is not labelled anywhere."""
    for number, values in enumerate([(0, 255), (0, 254), (0, 0)], 1):
        write(tmp_path / "masks" / f"mask_{number}.tif", stripes(*values))
        write(tmp_path / "images" / f"image_{number}.tif", np.full((SIZE, SIZE), number, np.uint8))
    with pytest.raises(UserError, match="mask_1.tif: 'mask' holds 0 and 255, the others 0 and 1"):
        dataset.open_patches(tmp_path, tmp_path / "cache")
    write(tmp_path / "masks" / "mask_3.tif", stripes(0, 1, 255, 0))
    masks = dataset.open_patches(tmp_path, tmp_path / "cache").masks
    np.testing.assert_array_equal(masks[0], stripes(OTHER, UNLABELLED))
    np.testing.assert_array_equal(masks[2], stripes(OTHER, LANDSLIDE, UNLABELLED, OTHER))


def test_255_is_landslide_or_not_labelled_as_the_whole_folder_says(tmp_path):
    """The mask of predict.py: 0, 1, and 255 with a tag; a tile may hold 0 and 255 alone."""
    for kind, one, tag in (("own", 1, 255), ("untagged", 1, None), ("white", 255, None)):
        write_pictures(tmp_path / kind)
        for number in range(12):
            mask = np.zeros((1, 32, 32), np.uint8)
            if number % 2 or kind == "white":
                mask[0, 20:28, 20:28] = one
            if kind != "white" and (number % 2 == 0 or kind == "untagged"):
                mask[0, :, :16] = 255
            write_raster(tmp_path / kind / f"masks/t_{number}.tif", mask, nodata=tag, crs=None)
        patches = open_folder(tmp_path / kind)
        assert (patches.masks == 1).sum() == (12 if kind == "white" else 6) * 64
        assert (patches.masks == 255).sum() == {"own": 6, "untagged": 12, "white": 0}[kind] * 512
    write_raster(tmp_path / "white/masks/t_3.tif", scar(3)[None], crs=None)
    with pytest.raises(UserError, match="masks/t_3.tif: 'mask' holds 0 and 1, the others 0 and 255"):
        open_folder(tmp_path / "white")
    assert len(open_folder(tmp_path / "white", skip_bad=True)) == 11


def test_hdf5_masks_follow_the_same_rule_and_lose_empty_axes(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5))
    for number in range(1, 5):
        shape = (32, 32, 1) if number % 2 else (1, 32, 32)
        write_h5(tmp_path / f"d/masks/mask_{number}.h5", "mask", 255 * scar(number).reshape(shape))
    np.testing.assert_array_equal(open_folder(tmp_path / "d").masks, [scar(number) for number in range(1, 5)])


@pytest.mark.parametrize("reader", [patch_labels, scene_labels, reference_labels], ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("kind", ["internal mask", "black and white palette", "red palette", "one bit"])
def test_masks_and_palettes_of_tiffs_mean_the_same_to_every_reader(tmp_path, monkeypatch, reader, kind):
    """A palette is how a GIS draws the values; what an internal mask hides is not labelled."""
    expected = stripes(OTHER, LANDSLIDE)
    if kind == "internal mask":
        expected[:, :8] = UNLABELLED

    def write_kind(path, mask, nodata=None):
        options = {"nbits": 1, "photometric": "MINISWHITE"} if kind == "one bit" else {}
        write_raster(path, [mask], GRID.transform, GRID.crs, **options)
        if path.parent.name == "images":
            return
        with rasterio.open(path, "r+") as file:
            if kind == "internal mask":
                file.write_mask(np.arange(SIZE)[None].repeat(SIZE, 0) >= 8)
            elif kind != "one bit":
                file.write_colormap(1, {0: (255,) * 4, 1: (0, 0, 0, 255) if "black" in kind else (255, 0, 0, 255)})

    monkeypatch.setattr(sys.modules[__name__], "write", write_kind)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        np.testing.assert_array_equal(reader(tmp_path, stripes(OTHER, LANDSLIDE), None), expected)


def test_our_own_masks_state_that_255_is_not_labelled(tmp_path):
    """A folder without a landslide does not show it."""
    write_array(tmp_path / "masks/mask_1.h5", "mask", stripes(OTHER, UNLABELLED))
    write_h5(tmp_path / "images/image_1.h5", "img", np.ones((SIZE, SIZE, 3), np.float32))
    np.testing.assert_array_equal(open_folder(tmp_path).masks[0], stripes(OTHER, UNLABELLED))


def test_the_mirror_image_beside_a_cut_patch_is_not_labelled_in_masks_of_255(tmp_path):
    for highest in (1, 255):
        write_h5(tmp_path / f"{highest}/masks/mask_1.h5", "mask", np.uint8(highest) * np.eye(96, dtype=np.uint8))
        write_h5(tmp_path / f"{highest}/images/image_1.h5", "img", np.ones((96, 96, 3), np.float32))
    packed = [open_folder(tmp_path / str(h), options=ReadOptions(cut=(64, 64))).masks for h in (1, 255)]
    assert (packed[0] == LANDSLIDE).sum() == 96
    np.testing.assert_array_equal(*packed)


def test_the_codes_are_those_of_the_pages():
    assert (OTHER, LANDSLIDE, EXCLUDED, HIDDEN, UNLABELLED) == (0, 1, 253, 254, 255)


# ---------------------------------------------------------------------- what is not labelled

RASTER_READERS = [patch_labels, scene_labels, reference_labels]
LEFT_HALF = np.arange(SIZE)[None].repeat(SIZE, 0) < SIZE // 2


@pytest.mark.parametrize("reader", RASTER_READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("kind", ["uint8", "int8", "uint16", "float32"])
@pytest.mark.parametrize("tag", [None, 0, 9, 1000])
def test_internal_masks_and_tags_hold_together_in_every_type(tmp_path, monkeypatch, reader, kind, tag):
    tag = 99 if tag == 1000 and kind in ("uint8", "int8") else tag  # the type holds no 1000
    mask, expected = stripes(0, 1, 0, 1).astype(kind), stripes(OTHER, LANDSLIDE, OTHER, LANDSLIDE)
    if tag:
        mask[:4], expected[:4] = tag, UNLABELLED
    expected[LEFT_HALF] = UNLABELLED

    def write_hidden(path, mask, nodata=None, plain=write):
        plain(path, mask, nodata, LEFT_HALF if path.parent.name != "images" else None)

    monkeypatch.setattr(sys.modules[__name__], "write", write_hidden)
    np.testing.assert_array_equal(reader(tmp_path, mask, tag), expected)


@pytest.mark.parametrize("reader", RASTER_READERS, ids=lambda reader: reader.__name__)
@pytest.mark.parametrize("values", [(0, 0), (0, 1), (0, 255), (255, 255)])
def test_what_an_alpha_band_of_a_tiff_hides_is_not_labelled(tmp_path, monkeypatch, reader, values):
    """A tile without a landslide at the edge of the swath holds one colour, too."""

    def write_alpha(path, mask, nodata=None, plain=write):
        if path.parent.name == "images":
            return plain(path, mask)
        bands = [mask, np.where(LEFT_HALF, 0, 255).astype(np.uint8)]
        return write_raster(path, bands, GRID.transform, GRID.crs, photometric="MINISBLACK", alpha="YES")

    monkeypatch.setattr(sys.modules[__name__], "write", write_alpha)
    expected = (stripes(*values) > 0).astype(np.uint8)
    expected[LEFT_HALF] = UNLABELLED
    np.testing.assert_array_equal(reader(tmp_path, stripes(*values), None), expected)


@pytest.mark.parametrize("reader", RASTER_READERS, ids=lambda reader: reader.__name__)
def test_a_second_band_without_a_meaning_is_refused(tmp_path, monkeypatch, reader):
    def write_two(path, mask, nodata=None):
        write_raster(path, [mask, 255 * LEFT_HALF.astype(np.uint8)], GRID.transform, GRID.crs)

    monkeypatch.setattr(sys.modules[__name__], "write", write_two)
    with pytest.raises(UserError, match="has 2 bands: a mask"):
        reader(tmp_path, stripes(0, 0), None)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)
def test_not_a_number_is_not_labelled(tmp_path, reader):
    mask, expected = stripes(0, 1, 0, 1).astype(np.float32), stripes(OTHER, LANDSLIDE, OTHER, LANDSLIDE)
    mask[:3], expected[:3] = np.nan, UNLABELLED
    np.testing.assert_array_equal(reader(tmp_path, mask, None), expected)


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
def test_values_of_no_data_of_hdf5_are_not_labelled(tmp_path, name):
    expected = stripes(OTHER, UNLABELLED)
    np.testing.assert_array_equal(stored_labels(tmp_path / "a", stripes(0, 255), None, **{name: 255}), expected)
    np.testing.assert_array_equal(stored_labels(tmp_path / "b", stripes(0, 1), None, **{name: 0}), stripes(0, 1))
    both = stored_labels(tmp_path / "c", stripes(0, 1, 7, 255), [0, 255], **{name: 7})
    np.testing.assert_array_equal(both, stripes(OTHER, LANDSLIDE, UNLABELLED, UNLABELLED))


@pytest.mark.parametrize("coarser", [1, 2])
def test_missing_values_of_netcdf_are_tags_beside_another_fill(tmp_path, coarser):
    """As of HDF5, for all readers of rasters; GDAL knows the _FillValue alone."""
    mask, grid = stripes(0, 1, 7, 8).astype(np.int16), GRID.coarser(coarser)
    fills, expected = {"_FillValue": 7, "missing_value": 8}, stored_labels(tmp_path, stripes(0, 1, 7, 8), [7, 8])
    expected, height = expected[::coarser, ::coarser], SIZE // coarser
    path = write_netcdf(tmp_path / "mask.nc", mask, GRID.transform, GRID.crs, **fills)
    with contextlib.closing(MaskRaster(path, grid)) as raster:
        np.testing.assert_array_equal(raster.read(0, height, 0, height), expected)
    with contextlib.closing(RasterLayer(path, grid)) as layer:
        landslide, known, _ = layer.read(0, height)
    np.testing.assert_array_equal(np.where(known, landslide, UNLABELLED), expected)
    (excluded,) = open_excluded([path], grid)
    clouds = open_clouds(path, None, grid, None)
    for cover in (excluded, clouds):
        with contextlib.closing(cover):
            np.testing.assert_array_equal(cover.hidden(0, height), expected == LANDSLIDE)


def test_tags_of_hdf5_masks_that_cannot_be_applied_are_refused(tmp_path):
    with pytest.raises(UserError, match="mask_1.h5: 'mask' states a nodata that is no number"):
        stored_labels(tmp_path, stripes(0, 255), "none")
    with pytest.raises(UserError, match="mask_1.h5: 'mask' states a scale or an offset: write the values of a mask as"):
        stored_labels(tmp_path, stripes(0, 100), None, scale_factor=0.01)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tag", [np.finfo(np.float64).min, np.finfo(np.float32).min, -9999.0])
def test_a_tag_beyond_the_type_is_one_without_a_word_of_numpy(tmp_path, tag):
    """Rasters on another grid are read as float32."""
    mask, expected = stripes(0, 1, 0, 1).astype(np.float64), stripes(OTHER, LANDSLIDE, OTHER, LANDSLIDE)
    mask[:4], expected[:4] = tag, UNLABELLED
    write(tmp_path / "mask.tif", mask, tag)
    coarser = GRID.coarser(2)
    with contextlib.closing(RasterLayer(tmp_path / "mask.tif", coarser)) as layer:
        landslide, known, _ = layer.read(0, SIZE // 2)
    np.testing.assert_array_equal(np.where(known, landslide, UNLABELLED), expected[::2, ::2])
    np.testing.assert_array_equal(scene_labels(tmp_path, mask, tag), expected)


@pytest.mark.parametrize("reader", RASTER_READERS, ids=lambda reader: reader.__name__)
def test_a_mask_with_a_scale_is_refused(tmp_path, monkeypatch, reader):
    def write_scaled(path, mask, nodata=None, plain=write):
        plain(path, mask, nodata)
        with rasterio.open(path, "r+") as file:
            file.scales = (0.5 if path.parent.name != "images" else 1.0,)

    monkeypatch.setattr(sys.modules[__name__], "write", write_scaled)
    with pytest.raises(UserError, match="states a scale or an offset: write the values of a mask as they are"):
        reader(tmp_path, stripes(0, 1), None)


# ---------------------------------------------------------------------- lossy formats


def disc():
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.uint8(255) * ((y - 16) ** 2 + (x - 16) ** 2 < 70)


@pytest.mark.parametrize("reader", RASTER_READERS, ids=lambda reader: reader.__name__)
def test_masks_whose_format_changed_their_values_are_refused(tmp_path, monkeypatch, reader):
    """JPEG of the best quality makes 254 of 255 and 1 of 0: the rim would be the landslide."""

    def write_jpeg(path, mask, nodata=None, plain=write):
        plain(path, mask, **{} if path.parent.name == "images" else {"compress": "JPEG", "JPEG_QUALITY": 100})

    monkeypatch.setattr(sys.modules[__name__], "write", write_jpeg)
    with pytest.raises(UserError, match=r"holds 1, 254 in a format that changes values"):
        reader(tmp_path / "disc", disc(), None)
    if reader is not reference_labels:  # where it may be one percent
        with pytest.raises(UserError, match="holds 1 in a format that changes values"):
            reader(tmp_path / "one", disc() // 255, None)
    np.testing.assert_array_equal(reader(tmp_path / "half", stripes(0, 255), None), stripes(OTHER, LANDSLIDE))


def test_a_jpeg_is_refused_by_the_same_rule(tmp_path):
    write_raster(tmp_path / "d/images/image_1.tif", np.full((3, SIZE, SIZE), 7, np.uint8))
    (tmp_path / "d/masks").mkdir()
    Image.fromarray(disc()).save(tmp_path / "d/masks/mask_1.jpg", quality=100)
    with pytest.raises(UserError, match=r"mask_1.jpg: 'mask' holds 1, 254 in a format that changes values \(lossy\)"):
        open_folder(tmp_path / "d")


@pytest.mark.parametrize("error", [0, 0.6])
def test_lerc_is_lossy_if_it_allows_for_an_error(tmp_path, error):
    write_raster(tmp_path / "mask.tif", [disc()], compress="LERC", MAX_Z_ERROR=error)
    with rasterio.open(tmp_path / "mask.tif") as file:
        assert image_files.is_lossy(file) == (error > 0)


@pytest.mark.parametrize("lossless", [True, False])
def test_webp_says_itself_whether_it_is_lossy(tmp_path, lossless):
    Image.fromarray(disc()).convert("RGB").save(tmp_path / "mask.webp", lossless=lossless)
    with rasterio.open(tmp_path / "mask.webp") as file:
        assert image_files.is_lossy(file) != lossless


def test_a_picture_drawn_in_black_is_no_landslide(tmp_path):
    """An empty tile of 0 and 1 whose edge is transparent cannot be told from it."""
    for grey, expected in ((0, OTHER), (255, LANDSLIDE)):
        path = tmp_path / "mask.png"
        Image.fromarray(np.dstack([np.full((SIZE, SIZE), grey, np.uint8), disc()]), "LA").save(path)
        values, unlabelled, *_ = image_files.read_mask(path)
        assert (values[disc() > 0] == expected).all() and unlabelled.any() == (grey == 0)


def test_indices_beyond_a_palette_are_refused(tmp_path):
    """Pillow writes a palette of one colour for an image that was made of numbers."""
    image = Image.fromarray(np.eye(32, dtype=np.uint8)).convert("P")
    image.putpalette((0, 0, 0))
    image.save(tmp_path / "mask.png")
    with pytest.raises(image_files.NotAPicture, match="holds index 1 of a palette of 1 colours"):
        image_files.read_mask(tmp_path / "mask.png")
