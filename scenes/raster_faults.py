"""What is wrong with a file that was to be a raster, and what to do: in words that follow its path."""

import re
from pathlib import Path

import rasterio

from patches.band_labels import unlike_sources
from patches.picture_damage import turned
from patches.scale_tags import colour_fault
from patches.stated_words import loses_no_data

RASTERS = (".tif", ".tiff", ".jp2", ".img", ".vrt", ".png", ".jpg", ".hgt", ".asc", ".bil", ".dt1", ".dt2")
TABLES = (".csv", ".tsv", ".txt", ".xlsx", ".xls", ".ods")
SHAPES = ".gpkg .shp .geojson .geojsonl .geojsons .topojson .kml .fgb .gml .gdb .sqlite .tab .mif .gpx .dxf".split()
KINDS = {  # what a file is by its ending, and what to do
    **dict.fromkeys(
        TABLES, "is a table, no raster: --many takes a .csv with a column input; polygons have to be a vector file"
    ),
    **dict.fromkeys(SHAPES, "is a vector file: a raster is needed here"),
    **dict.fromkeys(
        (".npy", ".npz", ".mat", ".pkl"), "holds arrays: write them as GeoTIFF (or, as patches, as HDF5 with img, mask)"
    ),
    ".kmz": "is a KMZ of pictures for the eye: download the scene as GeoTIFF",
    **dict.fromkeys((".qgz", ".qgs", ".aprx", ".mxd"), "is a project of a GIS: give the raster that it shows"),
    **dict.fromkeys((".qml", ".sld", ".lyrx"), "is a style, no raster: give the raster that it is for"),
    **dict.fromkeys((".tar", ".gz", ".7z", ".rar", ".tgz"), "is an archive: unpack it"),
}
ARRAYS = re.compile(r"^(NETCDF|HDF5|ZARR):|\.(nc4?|cdf|h5|hdf5?|he5|zarr)(/|$)", re.IGNORECASE)  # of many attributes
LARGEST_LIGHT = 1e10  # beyond it, values of light are a number of no data


def open_fault(path, error):
    """Return why a path cannot be opened as a raster. error: of GDAL."""
    if Path(path).is_dir():
        return (
            "is a folder, and no product or raster in it is known: give its files; tiles of one ground are joined by "
            f"gdalbuildvrt scene.vrt {path}/*.tif, or mapped one by one with --many"
        )
    name = Path(path).name.lower()
    if name.endswith((".aux.xml", ".ovr", ".msk", ".hdr", ".tfw", ".prj")):
        return f"goes with a raster and is none: give the raster itself ({error})"
    if fault := KINDS.get(Path(name).suffix):
        return fault
    cut = ", it may be cut short" if name.endswith((*RASTERS, ".jpeg", ".webp", ".nc", ".hdf", ".dat", ".ecw")) else ""
    return f"cannot be opened as a raster{cut} ({error})"


def content_fault(file):
    """Return what is wrong with an open raster before a pixel is read; "" if nothing is."""
    if file.driver == "VRT":
        sources = list(sources_of(file))
        local = (name for name in sources if not re.match(r"/vsi|\w{2,}:", name))
        if missing := [name for name in local if not Path(name).exists()]:
            return f"is a virtual raster of other files, and {missing[0]} is missing: bring it back, or make it anew"
        if arrays := [name for name in sources if ARRAYS.search(name)]:
            return (
                f"is a virtual raster of {arrays[0]}, and keeps a part of what that states of its numbers: give such "
                "files themselves, or write them as GeoTIFF"
            )
        if said := unlike_sources(file):
            return f"is a virtual raster of files that contradict each other: {said}: give them apart"
        if loses_no_data(file):
            return (
                "is a virtual raster that drops the no-data value of its files: write it with gdalbuildvrt -vrtnodata"
            )
    if fault := colour_fault(file) or (not file.crs and turned(file.name, file.tags())):
        return fault
    if any(dtype.startswith("complex") for dtype in file.dtypes):
        return "holds complex numbers, as radar does: light is needed, or give their amplitude as a raster of its own"
    return ""


def sources_of(file):
    """Yield the names of the files that an open virtual raster is made of, those of virtual rasters in it, too."""
    for name in file.files[1:]:  # the first one is its own
        yield name
        if name.lower().endswith(".vrt") and Path(name).exists():
            with rasterio.open(name) as inner:
                yield from sources_of(inner)


def read_fault(error):
    """Return why a raster cannot be read. error: of rasterio, whose cause is that of GDAL."""
    reason = str(error.__cause__ or "")
    if re.search(r"HTTP|download|connect|curl", reason, re.IGNORECASE):
        return ": the server did not send it; try again, or download the file first"
    return ": cut short or damaged, fetch it again"
