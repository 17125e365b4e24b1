"""The ground on which pictures lie: whether a mask lies on its image, and whether patches of two splits overlap."""

import contextlib
from pathlib import Path

import numpy as np

from patches import image_files

GEOTIFF = (".tif", ".tiff")
TOLERANCE = 1.0  # pixels that the corners of a mask may lie from those of its image; programs differ by half a pixel
LEAST_OVERLAP = 0.01  # share of a patch


def place(path):
    """Return (coordinate system as text, [left, bottom, right, top], affine transform) of a GeoTIFF; None of others."""
    path = Path(path)
    if path.suffix.lower() not in GEOTIFF or not path.is_file():
        return None
    with contextlib.suppress(image_files.NotAPicture), image_files.opened(path) as file:
        if file.crs and not file.transform.is_identity:
            left, bottom, right, top = file.bounds
            box = [min(left, right), min(bottom, top), max(left, right), max(bottom, top)]
            return file.crs.to_wkt(), box, file.transform
    return None


def mask_fault(image_path, mask_path):
    """Return how a mask lies elsewhere than its image, in words that follow its path; "" if it does not, or is unknown.

    Both have to be GeoTIFFs of one coordinate system.
    """
    image, mask = place(image_path), place(mask_path)
    if not image or not mask or image[0] != mask[0]:
        return ""
    name, transforms = Path(image_path).name, (image[2], mask[2])
    if any(np.sign(transforms[0][i]) != np.sign(transforms[1][i]) for i in (0, 1, 3, 4)):
        return f"runs in other directions on the ground than its image {name} (south up?): write both the same way"
    pixel = np.hypot(transforms[0].a, transforms[0].d)
    apart = np.abs(np.subtract(image[1], mask[1])).max() / pixel
    if apart <= TOLERANCE:
        return ""
    return f"lies elsewhere than its image {name}, by {apart:.0f} pixels: is it that of another one? Name pairs alike"


def overlaps(patches, assigned):
    """Count the pairs of a held-out and a training patch that lie on the same ground, by the GeoTIFFs of the images.

    Args:
        patches: packing.Patches of one folder. assigned: split of each.

    Returns:
        {split: (number of its patches that overlap a training patch, number of pairs)} of validation and test.
    """
    places = [place(patches.data_dir / name) for name in patches.names]
    systems = {each[0] for each in places if each}
    counts = {split: np.zeros(2, int) for split in ("validation", "test")}
    boxes = np.array([each[1] if each else [np.nan] * 4 for each in places])
    for system in systems:
        own = np.array([bool(each) and each[0] == system for each in places])
        training = boxes[own & (assigned == "train")]
        for split, (patches_count, pairs) in list(counts.items()):
            found = [overlapping(box, training).sum() for box in boxes[own & (assigned == split)]]
            counts[split] = np.array([patches_count + np.count_nonzero(found), pairs + sum(found)])
    return {split: tuple(map(int, each)) for split, each in counts.items()}


def overlapping(box, others):
    """Return which boxes share more than LEAST_OVERLAP of a box with it. others: N x 4, left, bottom, right, top."""
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    return np.clip(shared, 0, None).prod(1) > LEAST_OVERLAP * np.subtract(box[2:], box[:2]).prod()
