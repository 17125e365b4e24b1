"""What NetCDF states of its numbers counts as in HDF5 and GeoTIFF, whatever GDAL makes of it."""

import contextlib
import json
import re

import h5py
import netCDF4
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from patches import reading
from scenes.elevation import Elevation
from scenes.exclusion import open_excluded
from scenes.labels import MaskRaster
from scenes.opening import open_raster
from scenes.pixel_grid import PixelGrid
from script import UserError
from tests.rasters import GRID, UTM, grid_of, open_scene, write_netcdf, write_raster

SIZE, CRS = 32, rasterio.crs.CRS.from_string(UTM)


def write_plain(path, band, **attributes):
    """Write H x W as NetCDF with these attributes alone: without the fill that GDAL states."""
    write_netcdf(path, band)
    with h5py.File(path, "r+") as file:
        file["Band1"].attrs.pop("_FillValue", None)
        for name, value in attributes.items():
            file["Band1"].attrs[name] = np.array(np.ravel(value), band.dtype)
    return path


def write_patch(path, band, **attributes):
    """Write H x W as the three bands of an HDF5 patch."""
    with h5py.File(path, "w") as file:
        file["img"] = np.stack([band] * 3, -1)
        file["img"].attrs.update({name: np.array(value, band.dtype) for name, value in attributes.items()})
    return path


def read(path, **options):
    with open_scene([path], ["red"], **options) as scene:
        return scene.read(0, scene.grid.height)


@pytest.mark.parametrize("metres", [None, 20.0])
@pytest.mark.parametrize("kind", ["uint16", "int16", "int32", "float32"])
def test_a_fill_that_nobody_states_means_what_it_means_in_other_formats(tmp_path, kind, metres):
    """GDAL takes the usual fill of the library for a tag: 65535, of saturated pixels, was no data."""
    band = np.random.default_rng(0).integers(40, 120, (SIZE, SIZE)).astype(kind)
    with rasterio.open(write_plain(tmp_path / "a.nc", band)) as file:
        band[8:12] = file.nodata
    (values, valid), (expected, known) = (
        read(path, pixel_size=metres)
        for path in (write_plain(tmp_path / "a.nc", band), write_raster(tmp_path / "a.tif", [band]))
    )
    np.testing.assert_array_equal(valid, known)
    np.testing.assert_array_equal(values[:, valid], expected[:, known])
    assert valid.all() == (kind == "uint16")
    if kind != "float32" and not metres:
        gap = reading.read_patch(write_patch(tmp_path / "a_1.h5", band), None).gap
        np.testing.assert_array_equal(valid, ~gap if gap is not None else True)


ENDS = [{"valid_range": [10, 120]}, {"valid_min": 10, "valid_max": 120}, {"valid_min": 10}, {"valid_max": 120}]
FILLS = [{}, {"_FillValue": 7}]


def limited_band(kind):
    """Numbers of which some lie beyond 10 to 120."""
    band = np.full((SIZE, SIZE), 100, kind)
    band[:4], band[-4:] = 5, 200
    return band


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("ends", ENDS)
def test_what_lies_beyond_one_end_is_no_data_as_netcdf4_says(tmp_path, kind, fill, ends):
    """GDAL asks for both ends, and knows no number for what lies beyond them in 8 bits without a fill."""
    band = limited_band(kind)
    path = write_plain(tmp_path / "a.nc", band, **fill, **ends)
    with netCDF4.Dataset(path) as file:
        expected = ~np.ma.getmaskarray(file["Band1"][:])
    assert 0 < (~expected).sum() < SIZE * SIZE
    values, valid = read(path)
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(values[0][valid], band[valid])
    coarse, known = read(path, pixel_size=20.0)
    assert coarse[0][known].min() >= band[valid].min() and coarse[0][known].max() <= band[valid].max()  # not blended
    gap = reading.read_patch(write_patch(tmp_path / "a_1.h5", band, **fill, **ends), None).gap
    np.testing.assert_array_equal(~gap, expected)


def test_a_band_of_8_bits_beyond_its_range_is_ground_where_others_hold_data(tmp_path):
    """GDAL reads a 0 there."""
    band = limited_band("uint8")
    paths = [write_plain(tmp_path / "red.nc", band, valid_range=[10, 120])]
    paths += [write_plain(tmp_path / f"{name}.nc", np.minimum(band, 90)) for name in ("green", "blue")]
    with open_scene(paths, ("red", "green", "blue")) as scene:
        values, valid = scene.read(0, SIZE)
    assert valid.all()
    np.testing.assert_array_equal(values[0], band)


@pytest.mark.parametrize("ends", [{"valid_max": 4000}, {"valid_range": [-100, 4000]}])
def test_elevation_beyond_one_end_is_a_void(tmp_path, ends):
    heights = np.full((SIZE, SIZE), 500, np.int16)
    heights[:4] = 5000
    elevation = Elevation([write_plain(tmp_path / "dem.nc", heights, **ends)], PixelGrid((SIZE, SIZE), GRID, CRS))
    metres = elevation.read(Window(0, 0, SIZE, SIZE))
    elevation.close()
    np.testing.assert_array_equal(np.isnan(metres), heights == 5000)


@pytest.mark.parametrize("coarser", [1, 2])
@pytest.mark.parametrize("ends", [{"valid_range": [0, 1]}, {"valid_max": 1}, {"valid_range": [1, 1]}])
def test_what_lies_beyond_the_range_of_a_mask_is_not_labelled(tmp_path, ends, coarser):
    """GDAL reads 0 there, no landslide; 0 itself has a meaning in every mask."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:8], mask[-8:] = 255, 1
    mask[8:12] = 9
    grid = PixelGrid((SIZE, SIZE), GRID, CRS).coarser(coarser)
    expected = np.where(mask > 1, 255, mask)[::coarser, ::coarser]
    path = write_plain(tmp_path / "labels.nc", mask, **ends)
    with contextlib.closing(MaskRaster(path, grid)) as raster:
        np.testing.assert_array_equal(raster.read(0, grid.height, 0, grid.width), expected)
    (excluded,) = open_excluded([path], grid)
    with contextlib.closing(excluded):
        np.testing.assert_array_equal(excluded.hidden(0, grid.height), expected == 1)
    with h5py.File(tmp_path / "mask_1.h5", "w") as file:
        file["mask"] = mask
        file["mask"].attrs.update({name: np.array(value, np.uint8) for name, value in ends.items()})
    labels = reading.read_patch(write_patch(tmp_path / "a_1.h5", mask // 2 + 40), tmp_path / "mask_1.h5").labels
    np.testing.assert_array_equal(labels.decided(False)[::coarser, ::coarser], expected)
    assert not labels.undecided.any()


def test_the_range_of_unsigned_numbers_in_a_signed_type_is_unsigned(tmp_path):
    band = np.full((SIZE, SIZE), 100, np.int16)
    band[:4], band[4:8] = -1, -20000  # 65535 and 45536
    path = write_plain(tmp_path / "a.nc", band, valid_range=[0, -2])
    with h5py.File(path, "r+") as file:
        file["Band1"].attrs["_Unsigned"] = np.bytes_("true")
    values, valid = read(path)
    np.testing.assert_array_equal(valid, band != -1)
    assert values[0, 5, 0] == 45536


def test_an_attribute_that_is_no_number_is_refused(tmp_path):
    path = write_plain(tmp_path / "a.nc", limited_band("int16"))
    with h5py.File(path, "r+") as file:
        file["Band1"].attrs["valid_max"] = np.bytes_("high")
    with pytest.raises(UserError, match="a.nc states a valid_max that is no number: correct that attribute"):
        read(path)


@pytest.mark.parametrize("write", [write_plain, lambda path, band: write_raster(path, [band])], ids=["nc", "tif"])
def test_nan_of_a_mask_without_a_fill_is_not_labelled_and_excludes_nothing(tmp_path, write):
    """While it reads, GDAL writes the usual fill of the NetCDF library over NaN."""
    band = np.zeros((SIZE, SIZE), np.float32)
    band[:8], band[8:16] = 1, np.nan
    path = write(tmp_path / ("a.tif" if write is not write_plain else "a.nc"), band)
    grid = grid_of(path)
    with contextlib.closing(MaskRaster(path, grid)) as raster:
        labels = raster.read(0, SIZE, 0, SIZE)
    np.testing.assert_array_equal(labels == 255, np.isnan(band))
    np.testing.assert_array_equal(labels == 1, band == 1)
    (excluded,) = open_excluded([path], grid)
    with contextlib.closing(excluded):
        np.testing.assert_array_equal(excluded.hidden(0, SIZE), band == 1)


def write_array(path, band, root=(), **attributes):
    """Write H x W as the array of HDF5 or Zarr that a scene is, with attributes of the array, and of the `root`."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["red"] = band
            file["red"].attrs.update(attributes)
            file.attrs.update(root)
        return path
    write_raster(path, [band], driver="Zarr")
    (path / ".zmetadata").unlink()
    for stated in path.rglob(".zattrs"):
        stated.write_text(json.dumps(json.loads(stated.read_text()) | attributes))
    return path


LIMITS = [{"missing_value": 5}, {"valid_range": [10, 120]}, {"valid_max": 120}, {"valid_range": "10, 120"}]


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_attributes_of_other_arrays_hold_as_in_patches(tmp_path, name, limits):
    """GDAL knows a `_FillValue` of them, and nothing else."""
    band = limited_band("int16")
    values, valid = read(write_array(tmp_path / name, band, **limits))
    image = write_patch(tmp_path / "a_1.h5", band)
    with h5py.File(image, "r+") as file:
        file["img"].attrs.update(limits)
    gap = reading.read_patch(image, None).gap
    np.testing.assert_array_equal(valid, ~gap)
    assert gap.any() and not gap.all()


@pytest.mark.parametrize("name", ["a.h5", "a.zarr"])
def test_the_attribute_nodata_of_a_mask_holds_as_in_masks_of_patches(tmp_path, name):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:8], mask[8:12] = 255, 1
    path = write_array(tmp_path / name, mask, nodata=1)
    with contextlib.closing(MaskRaster(path, grid_of(path))) as raster:
        labels = raster.read(0, SIZE, 0, SIZE)
    np.testing.assert_array_equal(labels, np.select([mask == 255, mask == 1], [1, 255]))


def test_attributes_of_the_whole_file_hold_in_hdf5_or_are_refused(tmp_path):
    band = limited_band("int16")
    _, valid = read(write_array(tmp_path / "a.h5", band, {"missing_value": 5}))
    np.testing.assert_array_equal(valid, band != 5)
    with pytest.raises(UserError, match="b.h5 states its scale_factor for the whole file, where GDAL does not look"):
        read(write_array(tmp_path / "b.h5", band, {"scale_factor": 0.0001}))
    bands = np.stack([band] * 3)
    with pytest.raises(UserError, match="c.h5 states other numbers of no data for each band: correct"):
        read(write_array(tmp_path / "c.h5", bands, missing_value=[1, 2, 3]))


@pytest.mark.parametrize("name", ["a.nc", "a.h5"])
def test_a_scale_for_each_band_is_refused(tmp_path, name):
    """GDAL applies the first one to all bands of NetCDF, and none of HDF5."""
    bands, path = np.stack([limited_band("int16")] * 3), tmp_path / name
    if name == "a.h5":
        write_array(path, bands, scale_factor=2.0)
    else:
        write_netcdf(path, bands[0])
    with contextlib.closing(open_raster(path)):
        pass  # one number for all
    with h5py.File(path, "r+") as file:
        file["red" if name == "a.h5" else "Band1"].attrs["scale_factor"] = np.array([2.0, 3.0, 2.0])
    with pytest.raises(UserError, match=f"{name} states its scale_factor for each band: correct that attribute"):
        open_raster(path)


@pytest.mark.parametrize("name", ["a.nc", "a.h5", "a.zarr"])
def test_a_virtual_raster_of_arrays_is_refused(tmp_path, name):
    """GDAL writes into it the fill that nobody stated, and no range."""
    path = tmp_path / name
    band = limited_band("int16")
    write_plain(path, band, valid_max=120) if name == "a.nc" else write_array(path, band, valid_max=120)
    rasterio.shutil.copy(path, tmp_path / "a.vrt", driver="VRT")
    text = (tmp_path / "a.vrt").read_text()
    nested = re.sub('relativeToVRT="."(.*)>.*<', rf'relativeToVRT="0"\1>{tmp_path}/a.vrt<', text)
    (tmp_path / "b.vrt").write_text(nested)
    for view in ("a.vrt", "b.vrt"):
        with pytest.raises(UserError, match=rf"{view} is a virtual raster of .*{name}.*, and keeps a part of what"):
            read(tmp_path / view)


def test_a_colour_of_no_data_is_refused(tmp_path):
    """It was lost where pixels are brought onto another grid."""
    path = write_raster(tmp_path / "a.tif", np.full((3, SIZE, SIZE), 7, np.uint8))
    with rasterio.open(path, "r+") as file:
        file.update_tags(NODATA_VALUES="0 0 7")
    with pytest.raises(UserError, match=r"a.tif calls a colour no data \(NODATA_VALUES=0 0 7\): write it with a mask"):
        read(path)
    with pytest.raises(reading.Fault, match="calls a colour no data"):
        reading.read_patch(path, None)
