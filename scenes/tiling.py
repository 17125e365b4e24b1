"""Strips of a scene, as they are read for the network, and the rasters that are written of them.

The unit of work is a strip: some rows of tiles. Each process that computes a strip uses the same batches, so the result
has the same bytes in this process and on a cluster (dask_cluster.py). One process adds the strips in order.
"""

import contextlib
import warnings
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import NotGeoreferencedWarning

from networks.tiles import Strip

BLOCK = 256  # pixels a side of the blocks of written rasters; whole rows of blocks are written, each block once


def read_strip(scene, grid, index, fill):
    """Read strip `index`; None if it has no data at all. Gaps are filled with `fill`, a value for each band."""
    tile_height, tile_width = grid.tile
    rows, columns, corners = grid.laid(grid.strips[index])
    values, valid = scene.read(int(rows.min()), int(rows.max()) + 1)
    if not valid.any():
        return None
    if not valid.all():  # the mean of the training data carries no information for the network
        np.copyto(values, np.asarray(fill, np.float32)[:, None, None], where=~valid)
    rows = rows - rows.min()
    valid = valid[rows]
    covered = valid[:, columns]
    corners = [(top, left) for top, left in corners if covered[top : top + tile_height, left : left + tile_width].any()]
    return Strip(values, rows, columns, valid, corners)


# ---------------------------------------------------------------------- from strips to rasters


class OverlapAdd:
    """Sum of overlapping strips that are added in order; holds a strip and a row of blocks, never the scene."""

    def __init__(self, grid):
        self.grid, self.next, self.top = grid, 0, 0
        self.down, self.right = grid.weight_sums
        self.sums, self.valid = np.zeros((0, grid.width), np.float32), np.zeros((0, grid.width), bool)

    def add(self, strip):
        """Add the next strip, (sums, valid) or None without data.

        Returns (first row, probability H x W float32, valid H x W) of the rows that no later strip changes, in whole
        rows of blocks; H may be 0.
        """
        strips, height = self.grid.strips, self.grid.height
        tops, last = strips[self.next], self.next + 1 == len(strips)
        start = tops[0]
        first, end = max(start, 0), min(tops[-1] + self.grid.tile[0], height)
        self.next += 1
        lacking = end - self.top - len(self.sums)
        if lacking > 0:
            self.sums = np.pad(self.sums, [(0, lacking), (0, 0)])
            self.valid = np.pad(self.valid, [(0, lacking), (0, 0)])
        if strip:
            sums, valid = strip
            self.sums[first - self.top : end - self.top] += sums[first - start : end - start]
            self.valid[first - self.top : end - self.top] = valid[first - start : end - start]
        finished = height if last else max(min(strips[self.next][0], height), 0)
        count = finished - self.top if last else (finished - self.top) // BLOCK * BLOCK
        top, self.top = self.top, self.top + count
        sums, self.sums = self.sums[:count], self.sums[count:]
        valid, self.valid = self.valid[:count], self.valid[count:]
        weights = np.outer(self.down[top : self.top], self.right)
        return top, np.clip(sums / weights, 0, 1), valid


@contextlib.contextmanager
def raster(path, grid, tags, dtype, nodata, description="", unit=""):
    """Open a one-band raster on a PixelGrid for writing; it becomes a Cloud Optimized GeoTIFF when it closes.

    GDAL makes a Cloud Optimized GeoTIFF only of a finished raster. So a plain GeoTIFF is written first, and removed.

    Args:
        tags: {name: text}. description, unit: of the band, as GIS programs show them.
    """
    path = Path(path)
    plain = path.with_name(f"{path.name}.strips.tif")
    profile = {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "count": 1,
        "dtype": dtype,
        "nodata": nodata,
        "crs": grid.crs,
        "transform": grid.transform,
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "lzw",
        "bigtiff": "if_safer",
    }
    options = {"compress": "deflate", "predictor": "yes", "blocksize": BLOCK, "overview_resampling": "nearest"}
    options |= {"num_threads": "all_cpus"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # predict.py prints a note of its own
            opened = rasterio.open(plain, "w", **profile)
        with opened as file:
            file.update_tags(**tags)
            if description:
                file.set_band_description(1, description)
            if unit:
                file.set_band_unit(1, unit)
            yield file
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            rasterio.shutil.copy(plain, path, driver="COG", bigtiff="if_safer", **options)
    finally:
        plain.unlink(missing_ok=True)
