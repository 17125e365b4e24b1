"""Averages of the pixels of a scene that hold data, for pictures and clouds."""

import numpy as np
from rasterio.windows import Window
from scipy.ndimage import binary_erosion

ROWS = 32  # rows of the files read at once
RIM = 2  # pixels of an average that a pixel of an overview may reach into


def averages(read, window, shape):
    """Average the pixels of a window that hold data, in blocks that are alike to a pixel.

    GDAL's averages leave out what a tag or a mask hides, but no number without a tag. They read all pixels, too, if
    the file has no overviews.

    Args:
        read: function of a Window: (values, bands x H x W float32; valid, H x W bool).
        window: rasterio Window, may begin within a pixel. shape: (H, W) of the result, no larger than the window.

    Returns:
        (bands x H x W float32, 0 where no pixel holds data; H x W bool: where one does).
    """
    rows, columns = (
        np.ceil(start + np.arange(count + 1) * size / count - 1e-6).astype(int)
        for start, size, count in zip(
            (window.row_off, window.col_off), (window.height, window.width), shape, strict=True
        )
    )
    parts, step = [], max(1, round(ROWS * shape[0] / window.height))
    for first in range(0, shape[0], step):
        ends = rows[first : first + step + 1]
        values, valid = read(Window.from_slices((int(ends[0]), int(ends[-1])), (int(columns[0]), int(columns[-1]))))
        values = np.where(valid, values, 0)  # also NaN and infinite ones
        sums = np.concatenate([values, valid[None]])
        for axis, starts in ((1, ends[:-1] - ends[0]), (2, columns[:-1] - columns[0])):
            sums = np.add.reduceat(sums, starts, axis=axis)
        parts.append(sums)
    *sums, counts = np.concatenate(parts, axis=1)
    return np.array(sums) / np.maximum(counts, 1), counts > 0


def without_rim(valid):
    """Return where averages of overviews hold data (H x W bool), without the rim of ground that has none.

    Overviews are averages already, also of numbers of no data without a tag.
    """
    return binary_erosion(valid, np.ones((2 * RIM + 1,) * 2), border_value=1)
