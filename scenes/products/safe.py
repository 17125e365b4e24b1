"""Sentinel-2 products as ESA publishes them, Level-1C and Level-2A, from processing baseline 02.04 on.

The band files are read directly, because GDAL's SENTINEL2 driver takes the nominal size of a granule and does not apply
offsets. Names of elements: Sentinel-2 Products Specification Document, issue 14.9 and 15.
"""

import posixpath
import re
from xml.etree import ElementTree

from bands import BANDS_SENTINEL2, REFLECTANCE, sentinel2_band
from scenes.products.product import BandFile, Product
from script import UserError

OFFSET_BASELINE = (4, 0)  # from this processing baseline on, values have an offset, which the metadata state


def open_package(package, metadata):
    """Open a product in a folder or zip.

    Args:
        package: product.Package. metadata: names of its files MTD_MSI*.xml.

    Returns:
        product.Product.

    Raises:
        UserError: it holds several products or granules, a band of another tile, or incomplete metadata.
    """
    if len(metadata) > 1:
        raise UserError(f"{package.path} holds {len(metadata)} products ({', '.join(metadata[:3])}): give one of them")
    root = posixpath.dirname(metadata[0])
    tree = _element_tree(package, metadata[0])
    level = re.search(r"MSIL(1C|2A)", metadata[0])
    if not level:
        raise UserError(f"{package.path}: {metadata[0]} is of neither Level-1C nor Level-2A, which are read")
    level = level[1]
    baseline = _element_text(tree, "PROCESSING_BASELINE", package)
    name = re.sub(r"\.SAFE$", "", tree.findtext(".//PRODUCT_URI") or posixpath.basename(root) or package.path.stem)
    granules = {match[1] for each in package.names if (match := re.search(r"(?:^|/)GRANULE/([^/]+)/", each))}
    if len(granules) > 1:
        raise UserError(
            f"{package.path} holds {len(granules)} granules, as products of before December 2016 do: give the bands of "
            f"one as files, --input {package.path}/GRANULE/*_T32TPS_*/IMG_DATA/*_B0[432].jp2"
        )
    factor, offsets, unknown_offset = _factor_and_offsets(tree, level, baseline, package)
    files = _band_files(package, root, name)
    bands = {
        band: BandFile(package.rasterio_path(files[band]), 1, factor, offsets.get(band, 0.0) * factor)
        for band in BANDS_SENTINEL2
        if band in files
    }
    for file in files.values():
        package.check_jpeg2000(file)
    return Product(
        name=name,
        kind=f"Sentinel-2 Level-{level}, baseline {baseline}",
        bands=bands,
        classes=package.rasterio_path(files["SCL"]) if "SCL" in files else "",
        coding="scl",
        time=tree.findtext(".//PRODUCT_START_TIME") or "",
        surface=level == "2A",
        unknown_offset=unknown_offset,
    )


def _element_tree(package, name):
    """Parse a metadata file of a product."""
    try:
        return ElementTree.ElementTree(ElementTree.fromstring(package.read(name)))
    except ElementTree.ParseError as error:
        raise UserError(f"{package.path}: {name} is damaged ({error}): download the product again") from None


def _element_text(tree, tag, package):
    """Return the text of the first element of a tag."""
    text = tree.findtext(f".//{tag}")
    if text is None:
        raise UserError(f"{package.path}: its metadata lack {tag}: download the product again")
    return text.strip()


def _factor_and_offsets(tree, level, baseline, package):
    """Return (factor to reflectance x 10000, {band: offset in digital numbers}, why it is unknown) from the metadata.

    Programs for atmospheric correction at home write baselines such as 99.99, and the older ones no offset.
    """
    tags = {"1C": ("QUANTIFICATION_VALUE", "RADIO_ADD_OFFSET"), "2A": ("BOA_QUANTIFICATION_VALUE", "BOA_ADD_OFFSET")}
    quantification, added = tags[level]
    value = tree.findtext(f".//{quantification}") or tree.findtext(f".//L2A_{quantification}")
    if value is None:
        raise UserError(f"{package.path}: its metadata lack {quantification}: download the product again")
    offsets = {BANDS_SENTINEL2[int(each.get("band_id"))]: float(each.text) for each in tree.iterfind(f".//{added}")}
    unknown = ""
    if not offsets and tuple(int(part) for part in re.findall(r"\d+", baseline)[:2]) >= OFFSET_BASELINE:
        unknown = f"{package.path}: of processing baseline {baseline}, but its metadata lack {added}"
    return REFLECTANCE / float(value), offsets, unknown


def _band_files(package, root, product):
    """Find the finest file of each band, and of SCL: {band: name}; raise UserError for a file of another tile."""
    candidates = {}
    for name in package.names:
        match = re.search(r"IMG_DATA/(?:.*/)?([^/]*)_(B\d\d|B8A|SCL)(?:_(\d\d)m)?\.jp2$", name)
        if match and name.startswith(root):
            label = match[2] if match[2] == "SCL" else sentinel2_band(match[2])
            candidates.setdefault(label, []).append((int(match[3] or 0), name))
    files = {label: min(sizes_and_names)[1] for label, sizes_and_names in candidates.items()}
    product_tile = re.search(r"_T(\d\d[A-Z]{3})_", product)
    for name in files.values():
        tile = re.search(r"(?:^|_)T(\d\d[A-Z]{3})_", posixpath.basename(name))
        if product_tile and tile and tile[1] != product_tile[1]:
            raise UserError(
                f"{package.path}: {posixpath.basename(name)} is of tile {tile[1]}, the product of {product_tile[1]}: "
                "files of two products are mixed, download it again"
            )
    if not files:
        raise UserError(f"{package.path} holds no band files (GRANULE/*/IMG_DATA/*.jp2): download the product again")
    return files
