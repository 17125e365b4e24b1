"""A raster of ground that cannot be judged: clouds and their shadows, faulty pixels, or what a user excludes."""

import re
from pathlib import Path

import numpy as np
import scipy
from rasterio.env import ensure_env
from rasterio.warp import transform
from rasterio.windows import Window

from mask_values import WrongValues, as_labels, is_unknown
from patches.image_files import is_lossy, states_scale
from patches.scale_tags import SCALED_MASK, is_fill
from scenes.opening import BEYOND, damage_reported, nearest_on_grid, open_mask, strips, tags_of
from scenes.pixel_grid import PixelGrid
from script import UserError, note, warn

# Of each coding, the clouds and their shadows, and what else hides ground, which is never widened.
# Classes of Sentinel-2's SCL: cloud shadow, cloud of medium and of high probability, thin cirrus; no data, defective.
SCL_CLOUDS, SCL_GAPS = (3, 8, 9, 10), (0, 1)
# Bits of Landsat's QA_PIXEL: dilated cloud, cirrus, cloud, cloud shadow; fill.
QA_CLOUDS, QA_GAPS = 0b11110, 0b1
# Classes of Fmask 4 (Qiu et al. 2019): cloud shadow, cloud; no data. Bits of HLS: cloud, beside a cloud, shadow.
FMASK_CLOUDS, HLS_CLOUDS, FMASK_GAP = (2, 4), 0b1110, 255
MASK_VALUES = (0, 1, 2, 3, 255)  # of a mask, at most: clear, cloud, thin cloud, shadow
ORIGINS = {"scl": "classes of the product (SCL)", "qa_pixel": "classes of the product (QA_PIXEL)"}
# Words of a band that is 1 where the ground is seen, and others that may stand with them.
CLEAR_WORDS, FILLERS = (
    {"clear", "valid", "seen", "usable"},
    {"mask", "sky", "pixel", "pixels", "ground", "udm2", "band"},
)


def udm2_band(file):
    """Return the number of the band "clear" of an open raster of Planet's UDM2, by its descriptions; None of others."""
    names = [(name or "").lower() for name in file.descriptions]
    return names.index("clear") + 1 if {"clear", "cloud"} <= set(names) else None


def called_clear(file):
    """Return the name by which an open mask is 1 where the ground is seen; "" if it says nothing like that.

    That is the description of its band, or the last word in the name of a file that states none.
    """
    if udm2_band(file):
        return "clear"
    text = file.descriptions[0] or ""
    if not text:
        words = re.split(r"[^a-z0-9]+", Path(file.name).stem.lower())
        return words[-1] if words[-1] in CLEAR_WORDS and not any(word.startswith("cloud") for word in words) else ""
    words = set(re.findall(r"[a-z0-9]+", re.sub(r"cloud[ _-]?free", "clear", text.lower())))
    return text if words & CLEAR_WORDS and words <= CLEAR_WORDS | FILLERS else ""


class HidingRaster:
    """Hidden ground on the grid of a scene, read from a raster in any projection.

    Attributes:
        origin: where the raster comes from, for the metadata of a map.
    """

    def __init__(self, path, coding, grid, origin="", margin=0.0):
        """Open it.

        Args:
            path: of the raster. grid: PixelGrid to read it on.
            coding: of its values; "scl", "qa_pixel", "fmask", "hls", "mask", in which all but 0 is hidden, or "clear",
                in which 0 is hidden; "clouds": one of these, as `recognise` will find.
            origin: see above; "": the classes of the product, or the path of a mask.
            margin: metres by which clouds and their shadows are widened, from the middles of their pixels.

        Raises:
            UserError: it cannot be opened, or laid over the scene; it is a mask with a scale, or in a format that
                changed its values; or there is a margin and no coordinate system.
        """
        if margin and grid.crs is None:
            raise UserError("--cloud-buffer is in metres, and the scene has no coordinate system to measure them in")
        self.margin = margin
        self.path, self.coding = str(path), coding
        unknown_coding = coding == "clouds"
        self._opened = open_mask(path, "a raster of clouds or of excluded ground", unknown_coding and udm2_band)
        self.file = self.view = self._opened[0]
        self.origin, self.grid = origin or ORIGINS.get(coding, self.path), grid
        try:
            if coding in ("mask", "clouds") and states_scale(self._opened[-1]):
                raise UserError(f"{path} {SCALED_MASK}")
            if coding in ("mask", "clouds") and is_lossy(self._opened[-1]):
                self._check_lossy()
        except BaseException:
            self.close()
            raise
        if not grid.matches(PixelGrid.of(self.file)):
            if grid.crs is None or self.file.crs is None:
                self.close()
                raise UserError(f"{path}: neither on the scene's grid nor with a coordinate system to lay it over that")
            self.view = nearest_on_grid(self.file, grid)

    def _check_lossy(self):
        """Raise UserError if a mask in a lossy format holds other values than 0 and 255."""
        try:
            for values in strips(self.file, self.path):
                as_labels(values, nodata=tags_of(self._opened), lossy=True)
        except WrongValues as wrong:
            raise UserError(f"{self.path} holds {wrong}") from None

    def check_cover(self, may_miss=False):
        """Warn if the raster covers a part of the scene only; raise UserError if it covers none, unless it `may_miss`.

        Returns the share of the scene that it covers.
        """
        if self.view is self.file:
            return 1.0
        step = max(1, max(self.grid.shape) // 500)
        rows, columns = (np.arange(0, size, step) + 0.5 for size in self.grid.shape)
        x, y = self.grid.transform @ tuple(map(np.ravel, np.meshgrid(columns, rows)))
        x, y = transform(self.grid.crs, self.file.crs, x, y)
        column, row = ~self.file.transform @ (np.array(x), np.array(y))
        covered = ((column >= 0) & (column < self.file.width) & (row >= 0) & (row < self.file.height)).mean()
        if not covered and not may_miss:
            self.close()
            raise UserError(f"{self.path} does not lie over the scene")
        if 0 < covered < 0.999:
            warn(f"{self.path} covers {covered:.1%} of the scene; nothing is hidden in the rest")
        return float(covered)

    def hidden(self, top, bottom):
        """Return which pixels of some rows are hidden: H x W bool. Nothing is hidden beyond the raster."""
        if not self.margin:
            return np.logical_or(*self._clouds_and_gaps(top, bottom))
        across, down = (float(np.median(plane)) for plane in self.grid.pixel_size)
        reach = int(self.margin / down) + 1
        first, last = max(top - reach, 0), min(bottom + reach, self.grid.height)
        clouds, gaps = self._clouds_and_gaps(first, last)
        if clouds.any():
            clouds = scipy.ndimage.distance_transform_edt(~clouds, (down, across)) <= self.margin
        return (clouds | gaps)[top - first : bottom - first]

    @ensure_env
    def _clouds_and_gaps(self, top, bottom):
        """Return which pixels of some rows are clouds or shadows, and which are hidden otherwise: H x W bool, each."""
        with damage_reported(self.path):
            values = self.view.read(1, window=Window(0, top, self.grid.width, bottom - top))
        unknown, within = self._unknown(values), np.ones(values.shape, bool)
        if self.view is not self.file:
            within = values != BEYOND
        if self.coding == "mask":
            return within & ~unknown & (values != 0), np.zeros_like(within)
        if self.coding == "clear":
            return within & ~unknown & (values == 0), within & unknown
        values = np.where(within & ~unknown, values, 0).astype(np.int64)  # bits, also if a program saved them as floats
        if self.coding == "qa_pixel":
            clouds, gaps = (values & QA_CLOUDS) > 0, (values & QA_GAPS) > 0
        elif self.coding == "scl":
            clouds, gaps = np.isin(values, SCL_CLOUDS), np.isin(values, SCL_GAPS)
        elif self.coding == "fmask":
            clouds, gaps = np.isin(values, FMASK_CLOUDS), values == FMASK_GAP
        else:
            gaps = values == FMASK_GAP
            clouds = (values & HLS_CLOUDS > 0) & ~gaps
        # ground whose class is unknown is not seen
        return clouds & ~unknown & within, (gaps | unknown) & within

    def _unknown(self, values):
        """Return where values are neither a class nor one of a mask: by a tag, a mask, or a usual number of no data."""
        fills = is_fill(values)
        unknown = is_unknown(values, tags_of(self._opened))
        return unknown if fills is None else unknown | fills

    def recognise(self):
        """Set the coding of a user's raster of clouds, by its name, that of its band, and its values; print a note.

        Raises:
            UserError: the values are neither those of a mask nor of classes that are known.
        """
        step = max(1, max(self.file.shape) // 2000)
        with damage_reported(self.path):
            sample = self.file.read(1, out_shape=tuple(-(-size // step) for size in self.file.shape))
        values = np.unique(sample[~self._unknown(sample)]).tolist()
        words = re.split(r"[^a-z0-9]+", Path(self.path).name.lower())
        listed = " ".join(f"{value:g}" for value in values[:8]) + " ..." * (len(values) > 8)
        self.coding = "mask"
        if called := called_clear(self._opened[-1]):
            if len(values) > 2 or (len(values) == 2 and 0 not in values):
                raise UserError(f"{self.path}: its band {called} holds {listed}: 0 is hidden ground, 1 is seen")
            self.coding = "clear"
            note(f"{self.path}: by its name, {called}, it is 1 where the ground is seen, and 0 where it is hidden")
            return
        whole = all(float(value).is_integer() for value in values)  # a program may have saved classes as floats
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
        """Close the raster and the views of it."""
        for file in dict.fromkeys((self.view, *self._opened)):
            file.close()
