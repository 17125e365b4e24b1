"""A raster of ground that cannot be judged: clouds and their shadows, faulty pixels, or what a user excludes."""

import re
from pathlib import Path

import numpy as np
from rasterio.enums import Resampling
from rasterio.env import ensure_env
from rasterio.warp import transform
from rasterio.windows import Window

from scenes.opening import band_count, damage_reported, open_raster
from scenes.pixel_grid import PixelGrid
from script import UserError, note, warn

# Classes of Sentinel-2's SCL in which the ground is not seen: no data, defective, cloud shadow, cloud of medium and of
# high probability, thin cirrus.
SCL_HIDDEN = (0, 1, 3, 8, 9, 10)
# Bits of Landsat's QA_PIXEL: fill, dilated cloud, cirrus, cloud, cloud shadow.
QA_HIDDEN = 0b11111
# Classes of Fmask 4 (Qiu et al. 2019): cloud shadow, cloud, no data. Bits of HLS: cloud, beside a cloud, shadow.
FMASK_HIDDEN, HLS_HIDDEN = (2, 4, 255), 0b1110
MASK_VALUES = (0, 1, 2, 3, 255)  # of a mask, at most: clear, cloud, thin cloud, shadow
ORIGINS = {"scl": "classes of the product (SCL)", "qa_pixel": "classes of the product (QA_PIXEL)"}


class HidingRaster:
    """Hidden ground on the grid of a scene, read from a raster in any projection.

    Attributes:
        origin: where the raster comes from, for the metadata of a map.
    """

    def __init__(self, path, coding, grid, origin=""):
        """Open it.

        Args:
            path: of the raster. grid: PixelGrid to read it on.
            coding: of its values; "scl", "qa_pixel", "fmask", "hls", or "mask", in which all but 0 is hidden.
            origin: see above; "": the classes of the product, or the path of a mask.

        Raises:
            UserError: it cannot be opened, or laid over the scene.
        """
        self.path, self.coding, self.file = str(path), coding, open_raster(path)
        self.origin = origin or ORIGINS.get(coding, self.path)
        self.view, self.grid = self.file, grid
        if band_count(self.file) != 1:
            self.file.close()
            raise UserError(f"{path} has {self.file.count} bands: a mask of clouds, or classes, have one")
        if not grid.matches(PixelGrid.of(self.file)):
            if grid.crs is None or self.file.crs is None:
                self.file.close()
                raise UserError(f"{path}: neither on the scene's grid nor with a coordinate system to lay it over that")
            # what the file calls no data is known all the same: only ground beyond it is not
            self.view = grid.warped(self.file, resampling=Resampling.nearest, src_nodata=None, nodata=None)

    def check_cover(self):
        """Warn if the raster covers a part of the scene only; raise UserError if it covers none of it."""
        if self.view is self.file:
            return
        step = max(1, max(self.grid.shape) // 500)
        rows, columns = (np.arange(0, size, step) + 0.5 for size in self.grid.shape)
        x, y = self.grid.transform @ tuple(map(np.ravel, np.meshgrid(columns, rows)))
        x, y = transform(self.grid.crs, self.file.crs, x, y)
        column, row = ~self.file.transform @ (np.array(x), np.array(y))
        covered = ((column >= 0) & (column < self.file.width) & (row >= 0) & (row < self.file.height)).mean()
        if not covered:
            self.close()
            raise UserError(f"{self.path} does not lie over the scene")
        if covered < 0.999:
            warn(f"{self.path} covers {covered:.1%} of the scene; nothing is hidden in the rest")

    @ensure_env
    def hidden(self, top, bottom):
        """Return which pixels of some rows are hidden: H x W bool. Ground beyond the raster has value 0."""
        with damage_reported(self.path):
            values = self.view.read(1, window=Window(0, top, self.grid.width, bottom - top))
        if self.coding in ("qa_pixel", "hls"):  # bits, also if a program saved them as floats
            values = np.nan_to_num(values).astype(np.int64)
        if self.coding == "scl":
            return np.isin(values, SCL_HIDDEN)
        if self.coding == "qa_pixel":
            return (values & QA_HIDDEN) > 0
        if self.coding == "fmask":
            return np.isin(values, FMASK_HIDDEN)
        if self.coding == "hls":
            return ((values & HLS_HIDDEN) > 0) | (values == 255)
        return (values != 0) & ~np.isnan(values) & (values != self.file.nodata)

    def recognise(self):
        """Set the coding of a user's raster of clouds, by its name and its values; print a note if it holds classes.

        Raises:
            UserError: the values are neither those of a mask nor of classes that are known.
        """
        step = max(1, max(self.file.shape) // 2000)
        with damage_reported(self.path):
            sample = self.file.read(1, out_shape=tuple(-(-size // step) for size in self.file.shape))
        values = np.unique(sample[(sample == sample) & (sample != self.file.nodata)]).tolist()  # without NaN
        words = re.split(r"[^a-z0-9]+", Path(self.path).name.lower())
        listed = " ".join(f"{value:g}" for value in values[:8]) + " ..." * (len(values) > 8)
        whole = np.dtype(self.file.dtypes[0]).kind in "ui"
        fmask = words[-2].startswith("fmask") if len(words) > 1 else False
        if len(values) <= 2 and 0 in values:
            other = max(values)
            if not (fmask and other < 255) and not ("scl" in words and 1 < other < 255):
                return  # a mask
        classes = whole and set(values) <= set(range(12))
        if "scl" in words or (classes and max(values, default=0) > 4):
            self.coding, kind = "scl", "Sentinel-2's scene classification (SCL)"
        elif any(word.startswith("fmask") for word in words):
            plain = set(values) <= {0, 1, 2, 3, 4, 255}
            self.coding, kind = ("fmask", "classes of Fmask") if plain else ("hls", "bits of HLS's Fmask")
        elif words[-2:-1] == ["pixel"] and "qa" in words:
            self.coding, kind = "qa_pixel", "bits of Landsat's QA_PIXEL"
        elif set(values) <= set(MASK_VALUES) or len(values) <= 2:
            return
        else:
            raise UserError(
                f"{self.path} holds {listed}: a mask of clouds is 0 where the ground is seen, and 1 elsewhere. Classes "
                "are known as SCL, Fmask or QA_PIXEL by the name of the file"
            )
        note(f"{self.path} holds {listed}: taken for {kind}")

    def close(self):
        """Close the raster and the view of it."""
        if self.view is not self.file:
            self.view.close()
        self.file.close()
