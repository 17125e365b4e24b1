"""Pictures of any size cut into patches of one size; what a patch lacks is mirrored."""

import numpy as np

LEAST = 32  # pixels a side: smaller pictures, and smaller rests of a cut picture, show too little ground


def cut(arrays, size):
    """Cut arrays of one picture into patches, side by side from its upper left corner.

    A smaller picture, or a smaller rest of it, lies in the top left corner of a patch, and the remainder is its mirror
    image. Rests below LEAST pixels a side are left out.

    Args:
        arrays: height x width, or height x width x bands; None stays None. The first must not be None.
        size: (rows, columns) of a patch.

    Yields:
        ((row, column) of the upper left pixel, [patch of each array], (rows, columns) that are not mirrored).
    """
    height, width = arrays[0].shape[:2]
    for row in range(0, height, size[0]):
        for column in range(0, width, size[1]):
            extent = min(size[0], height - row), min(size[1], width - column)
            if min(extent) < min(LEAST, *size):
                continue
            beyond = [(0, full - part) for full, part in zip(size, extent, strict=True)]
            window = slice(row, row + extent[0]), slice(column, column + extent[1])
            parts = [
                None if each is None else np.pad(each[window], (*beyond, (0, 0))[: each.ndim], "reflect")
                for each in arrays
            ]
            yield (row, column), parts, extent


def patch_name(name, corner):
    """Return the name of a patch that was cut from a picture; the first keeps the name of the picture."""
    return f"{name}@{corner[0]},{corner[1]}" if any(corner) else name
