"""Digests that identify a scene by its pixels, so that labels drawn on one scene are not laid over another."""

import hashlib

import numpy as np
from rasterio.env import ensure_env
from rasterio.windows import Window

from scenes.opening import damage_reported, open_raster
from scenes.products.recognition import open_product
from scenes.scene_file import read_bands

WINDOWS, SIDE = 8, 32  # windows along each side of a raster, and their pixels a side
LENGTH = 16  # hexadecimal digits of a digest


def scene_digests(paths):
    """Return the digests of a scene, as a tuple of text: one for each raster, or that of a product.

    Two scenes are the same if they have a digest in common: a map may have been made of three of ten files of bands. A
    product is identified by its name, which holds its time and processing. The digest of a raster is the SHA-256 of its
    size, number type, transform, and of the pixels of 8 x 8 windows spread over it. Tags, overviews, compression and
    names of files do not count.

    Args:
        paths: of a product, or of rasters.

    Raises:
        UserError: a file cannot be read.
    """
    if product := open_product(paths):
        return (hashlib.sha256(f"product {product.name}".encode()).hexdigest()[:LENGTH],)
    return tuple(raster_digest(path) for path in paths)


@ensure_env
def raster_digest(path):
    """Return the digest of a raster; see `scene_digests`."""
    with open_raster(path) as file:
        transform = " ".join(f"{value:.9g}" for value in file.transform[:6])
        digest = hashlib.sha256(f"{file.count} {file.shape} {file.dtypes[0]} {transform}".encode())
        tops, lefts = (np.linspace(0, max(size - SIDE, 0), WINDOWS).astype(int) for size in file.shape)
        for top in np.unique(tops).tolist():
            for left in np.unique(lefts).tolist():
                window = Window(left, top, min(SIDE, file.width), min(SIDE, file.height))
                with damage_reported(path, f"at rows {top} to {top + window.height}"):
                    digest.update(read_bands(file, file.indexes, window=window).tobytes())
    return digest.hexdigest()[:LENGTH]
