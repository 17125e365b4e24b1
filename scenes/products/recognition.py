"""Recognition of products as they are downloaded: Sentinel-2, Landsat and STAC items."""

import re
from pathlib import Path

from product_names import is_product_folder, looks_like_product, whole_product
from scenes.products import landsat, safe, stac
from scenes.products.product import Package
from script import UserError


def open_product(paths):
    """Open the product that paths name: a product.Product, or None for plain rasters and patches.

    Products of Sentinel-2 (the .SAFE folder, its zip, or a folder or metadata file in it), of Landsat Collection 2 (its
    folder, a zip of it, or its MTL file) and STAC items (.json) are recognised.

    Raises:
        UserError: the product is damaged, or its layout is not supported.
    """
    path = Path(paths[0])
    if len(paths) > 1 or not path.exists():
        return None
    if re.search(r"_MTL\.(json|txt|xml)$", path.name, re.IGNORECASE):
        return landsat.open_product(Package(path.parent), path.name)
    if path.suffix.lower() == ".json":
        return stac.open_item(path)
    if re.search(r"^L[COT]0[89]_.*\.tar(\.gz)?$", path.name):
        raise UserError(f"{path} is an archive of a Landsat product: unpack it, and give its folder")
    path = whole_product(path)
    if path.suffix.lower() != ".zip" and not (path.is_dir() and is_product_folder(path)):
        return None
    package = Package(path)
    if metadata := package.matching(r"(^|/)MTD_MSIL\w+\.xml$"):
        return safe.open_package(package, metadata)
    if metadata := package.matching(r"(?i)_MTL\.(json|txt|xml)$"):
        scenes = {re.sub(r"_MTL\.\w+$", "", name, flags=re.IGNORECASE) for name in metadata}
        if len(scenes) > 1:
            raise UserError(f"{path} holds {len(scenes)} Landsat scenes: give one of them by its MTL file")
        return landsat.open_product(package, metadata[0])
    if package.matching(r"_OPER_MTD_SAF\w+\.xml$"):
        raise UserError(
            f"{path} has the layout of before December 2016, with several granules: give the bands of one as files, "
            "--input GRANULE/*_T32TPS_*/IMG_DATA/*_B0[432].jp2"
        )
    if any(re.search(r"(^|/)S1[A-D]_\w\w_", name) for name in (path.resolve().name, *package.names)):
        raise UserError(f"{path} is a product of Sentinel-1, which is radar: give one of Sentinel-2 or Landsat")
    if any(looks_like_product(name) for name in (path.name, *package.names)):
        raise UserError(f"{path} lacks its metadata, MTD_MSIL1C.xml or MTD_MSIL2A.xml: download the product again")
    return None
