"""What NetCDF states of its numbers counts as in HDF5 and GeoTIFF, whatever GDAL makes of it."""

import h5py
import numpy as np
import pytest
import rasterio

from patches import reading
from tests.rasters import open_scene, write_netcdf, write_raster

SIZE = 32


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
