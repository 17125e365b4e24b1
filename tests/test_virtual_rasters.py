"""Virtual rasters as gdalbuildvrt writes them: what their files state of names, units and formats counts."""

import contextlib

import h5py
import netCDF4
import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from scenes.elevation import Elevation
from scenes.hiding_raster import HidingRaster
from scenes.labels import MaskRaster
from script import UserError
from tests.rasters import GRID, grid_of, open_scene, write_netcdf, write_raster, write_virtual

SIZE = 32


def join_tiles(path, files):
    """Write a virtual raster of files that lie side by side, without the words in them."""
    with rasterio.open(files[0]) as first:
        kind, count, crs = first.dtypes[0], first.count, first.crs
    kind = {"uint8": "Byte"}.get(kind, kind.title().replace("Ui", "UI"))

    def source(file, band, left):
        return (
            f'<SimpleSource><SourceFilename relativeToVRT="1">{file.name}</SourceFilename>'
            f"<SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{SIZE}" ySize="{SIZE}"/>'
            f'<DstRect xOff="{left}" yOff="0" xSize="{SIZE}" ySize="{SIZE}"/></SimpleSource>'
        )

    text = f'<VRTDataset rasterXSize="{SIZE * len(files)}" rasterYSize="{SIZE}"><SRS>{crs.to_wkt()}</SRS>'
    text += f"<GeoTransform>{str(GRID.to_gdal())[1:-1]}</GeoTransform>"
    for number in range(1, count + 1):
        sources = "".join(source(file, number, i * SIZE) for i, file in enumerate(files))
        text += f'<VRTRasterBand dataType="{kind}" band="{number}">{sources}</VRTRasterBand>'
    path.write_text(text + "</VRTDataset>")
    return path


def levels(*values, kind="uint16"):
    return np.stack([np.full((SIZE, SIZE), value, kind) for value in values])


def read_light(*paths, names=("red", "green", "blue")):
    with open_scene(paths, names) as scene:
        return scene.read(0, SIZE)[0].mean((1, 2)).tolist()


def test_bands_of_tiles_are_called_as_in_the_tiles(tmp_path, capsys):
    tiles = [
        write_raster(tmp_path / f"t{n}.tif", levels(1000, 2000, 3000), descriptions=("B2", "B3", "B4")) for n in (0, 1)
    ]
    mosaic = join_tiles(tmp_path / "m.vrt", tiles)
    nested = join_tiles(tmp_path / "n.vrt", [mosaic])
    for path in (tiles[0], mosaic, nested):
        assert read_light(path) == [3000, 2000, 1000]
        assert "red B4 (band 3), green B3 (band 2), blue B2 (band 1)" in capsys.readouterr().out


def test_bands_of_files_of_one_band_are_called_as_the_files(tmp_path):
    files = [
        write_raster(tmp_path / f"T33UVP_{name}.tif", levels(1000 * n))
        for n, name in enumerate(("B02", "B03", "B04", "B08"), 1)
    ]
    stack = write_virtual(tmp_path / "s.vrt", files)
    assert read_light(stack) == read_light(*files) == [3000, 2000, 1000]
    assert read_light(stack, names=("red", "green", "blue", "nir")) == [3000, 2000, 1000, 4000]


def test_tiles_that_contradict_each_other_are_refused(tmp_path):
    tiles = [
        write_raster(tmp_path / f"t{n}.tif", levels(1, 2, 3), descriptions=names)
        for n, names in enumerate((("B2", "B3", "B4"), ("B4", "B3", "B2")))
    ]
    with pytest.raises(
        UserError, match="m.vrt is a virtual raster of files that contradict each other: band 1 is B2 and"
    ):
        read_light(join_tiles(tmp_path / "m.vrt", tiles))


def elevation_of(path):
    with contextlib.closing(Elevation([path], grid_of(path))) as elevation:
        return float(np.nanmean(elevation.read(Window(0, 0, SIZE, SIZE))))


def test_tiles_of_elevation_keep_their_unit_and_what_they_are(tmp_path):
    tiles = [write_raster(tmp_path / f"e{n}.tif", levels(1000, kind="float32")) for n in (0, 1)]
    for tile in tiles:
        with rasterio.open(tile, "r+") as file:
            file.units = ["ft"]
    assert elevation_of(join_tiles(tmp_path / "e.vrt", tiles)) == elevation_of(tiles[0]) == pytest.approx(304.8)
    slope = write_raster(tmp_path / "a_slope.tif", levels(20, kind="float32"))
    with pytest.raises(UserError, match="terrain.vrt is called slope"):
        elevation_of(join_tiles(tmp_path / "terrain.vrt", [slope]))


def test_a_number_of_no_data_that_is_dropped_is_told(tmp_path):
    """As gdalbuildvrt writes tiles of which the first states none: what the second calls no data becomes 0."""
    tile = write_raster(tmp_path / "e.tif", levels(1000, kind="float32"))
    path = join_tiles(tmp_path / "e.vrt", [tile])
    text = path.read_text().replace("SimpleSource", "ComplexSource")
    for number, refused in (("-9999", True), ("0", False)):
        path.write_text(text.replace("</ComplexSource>", f"<NODATA>{number}</NODATA></ComplexSource>"))
        if refused:
            with pytest.raises(UserError, match="e.vrt is a virtual raster that drops the no-data value of its files"):
                elevation_of(path)
        else:
            assert elevation_of(path) == 1000


@pytest.mark.parametrize("name", ["slope", "slope.img"])
def test_slope_is_no_elevation_whatever_the_ending(tmp_path, name):
    path = write_raster(tmp_path / name, levels(20, kind="float32"), driver="ENVI")
    with pytest.raises(UserError, match="is called slope"):
        elevation_of(path)


def test_an_unknown_unit_of_elevation_is_told(tmp_path, capsys):
    path = write_raster(tmp_path / "a.tif", levels(1, 2, 3, 100), descriptions=("red", "green", "blue", "dem"))
    with rasterio.open(path, "r+") as file:
        file.units = ["", "", "", "cubits"]
    read_light(path, names=("red", "green", "blue", "dem"))
    assert "the unit of its elevation, cubits, is unknown: taken for metres" in capsys.readouterr().out


def hidden(path):
    with contextlib.closing(HidingRaster(path, "clouds", grid_of(path))) as raster:
        raster.recognise()
        return raster.hidden(0, SIZE)


@pytest.mark.parametrize(("name", "description", "values"), [("a.tif", "clear", (0, 1)), ("SCL_x.tif", "", (4, 8))])
def test_masks_of_clouds_mean_what_they_mean_in_their_files(tmp_path, name, description, values):
    band = np.full((SIZE, SIZE), values[1], np.uint8)
    band[:10] = values[0]
    path = write_raster(tmp_path / name, band[None], descriptions=(description,))
    expected = hidden(path)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(hidden(join_tiles(tmp_path / "m.vrt", [path])), expected)


def test_a_mask_in_jpeg_is_refused_in_a_virtual_raster_too(tmp_path):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[4:21, 3:18] = 255
    path = write_raster(tmp_path / "j.tif", mask[None], compress="jpeg", jpeg_quality=30)
    view = join_tiles(tmp_path / "j.vrt", [path])
    for each in (path, view):
        with pytest.raises(UserError, match="in a format that changes values"):
            MaskRaster(each, grid_of(each))


def test_names_in_an_attribute_of_hdf5_count_as_in_patches(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["img"] = levels(1000, 2000, 3000)
        file["img"].attrs["bands"] = ["B02", "B03", "B04"]
    assert read_light(f'HDF5:"{tmp_path}/s.h5"://img') == [3000, 2000, 1000]


@pytest.mark.parametrize("how", ["dimension", "long_name"])
def test_names_that_netcdf_lists_count(tmp_path, how):
    """As xarray writes them: in the coordinate of the bands, or for all bands in one attribute."""
    names = ["B02", "B03", "B04"]
    path = tmp_path / "a.nc"
    write_netcdf(tmp_path / "grid.nc", levels(1)[0])
    with netCDF4.Dataset(path, "w") as file, netCDF4.Dataset(tmp_path / "grid.nc") as like:
        for name, size in (("band", 3), ("y", SIZE), ("x", SIZE)):
            file.createDimension(name, size)
        if how == "dimension":
            file.createVariable("band", str, ("band",))[:] = np.array(names, object)
        for axis in "xy":
            variable = file.createVariable(axis, "f8", (axis,))
            variable[:] = like[axis][:]
            variable.setncatts({key: like[axis].getncattr(key) for key in ("standard_name", "units")})
        light = file.createVariable("light", "u2", ("band", "y", "x"))
        light[:] = levels(1000, 2000, 3000)
        if how == "long_name":
            light.long_name = names
        mapping = file.createVariable("crs", "i4")
        mapping.spatial_ref = grid_of(tmp_path / "grid.nc").crs.to_wkt()
        light.grid_mapping = "crs"
    assert read_light(path) == [3000, 2000, 1000]
