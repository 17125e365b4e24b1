"""Small rasters and vector files on one piece of ground, and how scenes are opened from them."""

from pathlib import Path

import geopandas
import h5py
import numpy as np
import rasterio
import rasterio.shutil
import shapely
from rasterio.transform import from_origin

from scenes import source
from scenes.pixel_grid import PixelGrid

UTM = "EPSG:32651"
LEFT, TOP = 300000, 1500000  # the upper left corner, in UTM
GRID = from_origin(LEFT, TOP, 10, 10)


def write_raster(path, bands, transform=GRID, crs=UTM, descriptions=(), **options):
    """Write bands x H x W in the format of the file name's suffix; without a place on the ground where crs is None."""
    bands = np.asarray(bands)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    options = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype} | options
    with rasterio.open(path, "w", crs=crs, transform=transform if crs else None, **options) as file:
        file.write(bands)
        for number, description in enumerate(descriptions, 1):
            file.set_band_description(number, description)
    return path


def write_netcdf(path, band, transform=GRID, crs=UTM, **attributes):
    """Write H x W as the variable Band1 of NetCDF, by GDAL, with attributes of the variable."""
    plain = write_raster(Path(path).with_suffix(".tif"), [band], transform, crs)
    rasterio.shutil.copy(plain, path, driver="netCDF", FORMAT="NC4", WRITE_BOTTOMUP="NO")
    with h5py.File(path, "r+") as file:
        for name, value in attributes.items():
            file["Band1"].attrs[name] = np.array([value], band.dtype)
    return path


def write_picture(path, image):
    """Write H x W x bands without a place on the ground."""
    return write_raster(path, np.moveaxis(image, -1, 0), crs=None)


def open_scene(paths, model_bands, bands=(), **options):
    return source.open_scene(source.SceneInput(tuple(paths), tuple(bands), **options), model_bands)


def write_virtual(path, parts):
    """Write a virtual raster of the first bands of some files, each with its own type and tag; return its path."""
    bands = ""
    for number, part in enumerate(parts, 1):
        with rasterio.open(part) as file:
            tag = "" if file.nodata is None else f"<NoDataValue>{file.nodata}</NoDataValue>"
            kind, name = {"uint8": "Byte"}.get(file.dtypes[0], file.dtypes[0].title().replace("Ui", "UI")), file.name
            bands += (
                f'<VRTRasterBand dataType="{kind}" band="{number}">{tag}<SimpleSource><SourceFilename>{name}'
                "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
            )
            head = f"<SRS>{file.crs.to_string()}</SRS><GeoTransform>{str(GRID.to_gdal())[1:-1]}</GeoTransform>"
            size = f'rasterXSize="{file.width}" rasterYSize="{file.height}"'
    path.write_text(f"<VRTDataset {size}>{head}{bands}</VRTDataset>")
    return path


def grid_of(path):
    with rasterio.open(path) as file:
        return PixelGrid.of(file)


def centres(transform, height, width):
    """Return the coordinates (x, y) of the pixel centres, each H x W."""
    rows, columns = np.mgrid[:height, :width] + 0.5
    return transform @ (columns, rows)


def box(row, column, height, width):
    """Return the ground of some rows and columns of a raster on GRID."""
    return shapely.box(LEFT + 10 * column, TOP - 10 * (row + height), LEFT + 10 * (column + width), TOP - 10 * row)


def write_shapes(path, *shapes, crs=UTM, layer=None, **columns):
    """Write a vector file of shapes whose coordinates are those of `crs`."""
    geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=crs).to_file(path, layer=layer)
    return path


def in_degrees(shapes):
    """Convert shapes from UTM to degrees."""
    return list(geopandas.GeoSeries(list(shapes), crs=UTM).to_crs(4326))
