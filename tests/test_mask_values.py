"""One rule for the values of masks, whoever reads them: patches, labels of a scene, and references."""

import contextlib

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

import dataset
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER, UNLABELLED
from scenes.comparing.layers import RasterLayer
from scenes.labels import MaskRaster
from scenes.pixel_grid import PixelGrid
from script import UserError
from tests.conftest import write_h5

SIZE = 32
GRID = PixelGrid((SIZE, SIZE), from_origin(500000, 4000000, 10, 10), rasterio.crs.CRS.from_epsg(32633))


def stripes(*values):
    """A mask that holds each of some values in a stripe of its rows."""
    return np.repeat(np.array(values, np.uint8), SIZE // len(values))[:, None].repeat(SIZE, 1)


def write(path, mask, nodata=None):
    form = {"driver": "GTiff", "count": 1, "dtype": mask.dtype, "height": SIZE, "width": SIZE, "nodata": nodata}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", crs=GRID.crs, transform=GRID.transform, **form) as file:
        file.write(mask, 1)


def patch_labels(place, mask, nodata):
    """The labels of the mask as that of a patch."""
    write(place / "masks" / "mask_1.tif", mask, nodata)
    write(place / "images" / "image_1.tif", np.full(mask.shape, 7, np.uint8))
    return dataset.open_patches(place, place / "cache").masks[0]


def stored_labels(place, mask, nodata):
    """The same in HDF5, which has no tag."""
    write_h5(place / "masks" / "mask_1.h5", "mask", mask)
    write_h5(place / "images" / "image_1.h5", "img", np.ones((*mask.shape, 3), np.float32))
    return dataset.open_patches(place, place / "cache").masks[0]


def scene_labels(place, mask, nodata):
    """The labels of the mask as a raster of labels over a scene."""
    write(place / "labels.tif", mask, nodata)
    with contextlib.closing(MaskRaster(place / "labels.tif", GRID)) as raster:
        return raster.read(0, SIZE, 0, SIZE)


def reference_labels(place, mask, nodata):
    """The labels of the mask as a map or a reference of compare_maps.py."""
    write(place / "reference.tif", mask, nodata)
    with contextlib.closing(RasterLayer(place / "reference.tif")) as layer:
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
    if reader is stored_labels and nodata:
        pytest.skip("HDF5 has no tag")
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


def test_the_codes_are_those_of_the_pages():
    assert (OTHER, LANDSLIDE, EXCLUDED, HIDDEN, UNLABELLED) == (0, 1, 253, 254, 255)
