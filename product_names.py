"""Names of products as they are downloaded: Sentinel-2 and Landsat, by which their folders are recognised."""

import re


def is_product_folder(path):
    """Return whether a folder is, or holds, or lies in a product; judged by names alone."""
    path = whole_product(path)
    return any(looks_like_product(each.name) for each in (path.resolve(), *path.iterdir()))


def whole_product(path):
    """Return the folder of the product that a path lies in, of a folder or of metadata; otherwise the path itself."""
    if not path.is_dir() and path.suffix.lower() not in (".xml", ".safe"):
        return path
    return next((each for each in (path, *path.parents) if any(each.glob("MTD_MSIL*.xml"))), path)


def looks_like_product(name):
    """Return whether a file or folder of this name is a product or its metadata."""
    return bool(re.search(r"\.SAFE(/|\.zip$|$)|^MTD_\w+\.xml$|_MTL\.(json|txt)$|^manifest\.safe$", name, re.IGNORECASE))
