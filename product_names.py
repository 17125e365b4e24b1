"""Names of files and folders by which products of Sentinel-2 and Landsat are recognised."""

import re


def is_product_folder(path):
    """Return whether a folder is a product, holds one or lies in one, by names alone."""
    path = whole_product(path)
    return any(looks_like_product(entry.name) for entry in (path.resolve(), *path.iterdir()))


def whole_product(path):
    """Return the folder of the product in which a folder or a file of metadata lies; otherwise the path itself."""
    if not path.is_dir() and path.suffix.lower() not in (".xml", ".safe"):
        return path
    return next((folder for folder in (path, *path.parents) if any(folder.glob("MTD_MSIL*.xml"))), path)


def looks_like_product(name):
    """Return whether a file or folder of this name is a product or metadata of one."""
    return bool(
        re.search(r"\.SAFE(/|\.zip$|$)|^MTD_\w+\.xml$|_MTL\.(json|txt|xml)$|^manifest\.safe$", name, re.IGNORECASE)
    )
