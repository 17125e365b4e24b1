"""Resample pictures and their masks to another size."""

import numpy as np

from mask_values import LANDSLIDE, OTHER, UNLABELLED


def resampled(image, size):
    """Resample an image to (height, width) by bilinear interpolation, which averages pixels where it shrinks."""
    if image.shape[:2] == tuple(size):
        return image
    from affine import Affine
    from rasterio.warp import Resampling, reproject

    bands = np.empty((image.shape[2], *size), image.dtype)
    frames = [Affine.scale(1 / width, 1 / height) for height, width in (image.shape[:2], size)]
    reproject(
        np.ascontiguousarray(np.moveaxis(image, -1, 0)),
        bands,
        src_transform=frames[0],
        dst_transform=frames[1],
        src_crs="EPSG:3857",  # any CRS does, if it is the same for both
        dst_crs="EPSG:3857",
        resampling=Resampling.bilinear,
    )
    return np.moveaxis(bands, 0, -1)


def to_size(image, gap, side):
    """Resample an image to `side` pixels a side; a pixel that is partly without data has no data."""
    smaller = resampled(image, (side, side))
    if gap is None:
        return smaller, None
    gap = resampled(gap[..., None].astype(np.float32), (side, side))[..., 0] > 0
    return np.where(gap[..., None], image.dtype.type(0), smaller), gap


def resized_labels(labels, size):
    """Resample a mask: each pixel gets the class that covers most of it.

    If two cover as much, the order is: not labelled, undecided, landslide, other.
    """
    mask, undecided = labels.mask, labels.undecided
    classes = (mask == UNLABELLED) & ~undecided, undecided, mask == LANDSLIDE, mask == OTHER
    covered = [resampled(each[..., None].astype(np.float32), size)[..., 0] for each in classes]
    largest = np.argmax(covered, axis=0)
    resized = np.array([UNLABELLED, UNLABELLED, LANDSLIDE, OTHER], np.uint8)[largest]
    return labels._replace(mask=resized, undecided=largest == 1)
