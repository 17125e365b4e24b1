"""A raster of ground that cannot be judged: clouds and their shadows, faulty pixels, or what a user excludes."""

import re
from pathlib import Path

import numpy as np
import scipy
from rasterio.env import ensure_env
from rasterio.warp import transform
from rasterio.windows import Window

from mask_values import WrongValues, as_labels, is_unknown
from patches import band_labels
from patches.image_files import states_scale
from patches.scale_tags import SCALED_MASK, is_fill
from patches.stated_words import is_lossy, words_of_bands
from scenes.opening import BEYOND, damage_reported, nearest_on_grid, open_mask, strips, tags_of
from scenes.pixel_grid import PixelGrid
from script import UserError, note, warn

# Of each coding, the clouds and their shadows, and what else hides ground, which is never widened.
# Classes of Sentinel-2's SCL: cloud shadow, cloud of medium and of high probability, thin cirrus; no data, defective.
SCL_CLOUDS, SCL_GAPS, SCL_CLASSES = (3, 8, 9, 10), (0, 1), set(range(12))
# Bits of Landsat's QA_PIXEL: dilated cloud, cirrus, cloud, cloud shadow; fill.
QA_CLOUDS, QA_GAPS = 0b11110, 0b1
# Classes of Fmask 4 (Qiu et al. 2019): cloud shadow, cloud; no data. Bits of HLS: cloud, beside a cloud, shadow.
FMASK_CLOUDS, HLS_CLOUDS, FMASK_GAP, FMASK_CLASSES = (2, 4), 0b1110, 255, {0, 1, 2, 3, 4, 255}
MASK_VALUES = {0, 1, 2, 3, 255}  # of a mask, at most: clear, cloud, thin cloud, shadow
ORIGINS = {"scl": "classes of the product (SCL)", "qa_pixel": "classes of the product (QA_PIXEL)"}
KINDS = {
    **{"scl": "Sentinel-2's scene classification (SCL)", "qa_pixel": "bits of Landsat's QA_PIXEL"},
    **{"fmask": "classes of Fmask", "hls": "bits of HLS's Fmask"},
}
# Words of a name: of classes and masks of clouds; of a band that is 1 where the ground is seen, and their company; and
# those by which a name may mean that band, or its reverse, or something else.
CODING_WORDS = re.compile(r"\b(?:(?P<scl>scl)|(?P<fmask>fmask\w*)|(?P<qa_pixel>qa pixel)|(?P<mask>cloud\w*|mask))\b")
CLEAR = "clear|valid|seen|usable"
FILLERS = {"mask", "sky", "pixel", "pixels", "ground", "land", "data", "udm2", "band"}
MAYBE_CLEAR = re.compile(rf"\b(?:in|un)?(?:{CLEAR})\w*")
ONE_IS_CLEAR = re.compile(rf"\b1 (?:is )?(?:{CLEAR})\b")
CLOUDLESS = re.compile(
    r"cloud[ _-]?(?:free|less)|(?<![a-z])(?:non?|not|without|(?:free|clear) of)[ _-]*cloud(?:s|y)?(?![a-z])"
)
DENIED = re.compile(r"\b(?:no|non|not|without)\b")
CLEAR_MASK = re.compile(rf"\b(?:{CLEAR})(?: (?:data|land|sky|ground|pixels?))? mask\b")


def udm2_band(file):
    """Return the number of the band "clear" of an open raster of Planet's UDM2, by its descriptions; None of others."""
    names = [words.names[0].lower() if words.names else "" for words in words_of_bands(file)]
    return names.index("clear") + 1 if {"clear", "cloud"} <= set(names) else None


def called_coding(file):
    """Return (coding, name) of an open raster by what its band is called; ("", "") where that says nothing.

    Of the names that a band has in scenes, the name of the file last, the first one decides that has a word of a
    coding, and in it the last such word: SCL_cloudmask is a "mask". A band is "clear" if all of its name says so, or
    calls it a mask of that (T33_valid_mask), and a file by the last word of its name. Other names with such a word may
    mean that, the reverse or a place (clear_creek), and are "unclear", unless they have a word of another coding, too.
    """
    index, bands = (udm2_band(file) or 1) - 1, words_of_bands(file)
    of_files = {Path(file.name).stem, *bands[index].files}
    for name in band_labels.candidates(file, bands, by_file=True)[index]:
        words = re.findall(r"[a-z0-9]+", CLOUDLESS.sub("clear", name.lower()))
        text = " ".join(words)
        found = [(match.lastgroup, match[0]) for match in CODING_WORDS.finditer(text)]
        own = set(words[-1:] if name in of_files and "mask" not in dict(found) else words)
        clear = own & {*CLEAR.split("|")}
        plain = (clear and own <= clear | FILLERS) or CLEAR_MASK.search(text)
        if MAYBE_CLEAR.search(text) and re.search(" [01]$", text):  # as of "clear=1 cloud=0"
            return "unclear", name
        if ONE_IS_CLEAR.search(text) or (plain and not DENIED.search(text)):
            return "clear", name
        if MAYBE_CLEAR.search(text) and all(word == "mask" for _, word in found):
            return "unclear", name
        if found:
            return found[-1][0], name
    return "", ""


def coding_of(values):
    """Return the coding of values, a list without a name for them: "mask" or "scl"; "" if they are those of neither.

    A mask holds 0, which is seen ground, or a single value. Two values of which neither is 0 may be any classes.
    """
    alone = len(values) < 2 and set(values) <= MASK_VALUES
    if alone or (0 in values and (len(values) == 2 or set(values) <= MASK_VALUES)):
        return "mask"
    return "scl" if set(values) <= SCL_CLASSES and max(values) > 4 else ""


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
        """Set the coding of a user's raster of clouds, by what it is called, otherwise by its values; print a note.

        Raises:
            UserError: the values are neither those of a mask nor of classes that are known.
        """
        step = max(1, max(self.file.shape) // 2000)
        with damage_reported(self.path):
            sample = self.file.read(1, out_shape=tuple(-(-size // step) for size in self.file.shape))
        values = np.unique(sample[~self._unknown(sample)]).tolist()
        listed = " ".join(f"{value:g}" for value in values[:8]) + " ..." * (len(values) > 8)
        self.coding, name = called_coding(self._opened[-1])
        if self.coding == "clear":
            if len(values) > 2 or (len(values) == 2 and 0 not in values):
                raise UserError(f"{self.path}: its band {name} holds {listed}: 0 is hidden ground, 1 is seen")
            note(f"{self.path}: by its name, {name}, it is 1 where the ground is seen, and 0 where it is hidden")
            return
        if self.coding == "unclear":
            self.coding = coding_of(values)
            if self.coding == "mask":
                raise UserError(
                    f"{self.path}: its name, {name}, does not say whether 0 is ground that is seen or hidden: call the "
                    "band, or the file, clear (1 is seen) or cloud (1 is hidden)"
                )
        if self.coding == "scl" and set(values) <= {0, 1, 255}:  # a mask that was made of SCL and kept its name
            self.coding = "mask"
        if self.coding in ("", "mask"):
            self.coding = coding_of(values)
        if self.coding == "fmask" and not set(values) <= FMASK_CLASSES:
            self.coding = "hls"
        if not self.coding:
            raise UserError(
                f"{self.path} holds {listed}: a mask of clouds is 0 where the ground is seen, and 1 elsewhere. Classes "
                "are known as SCL, Fmask or QA_PIXEL by the name of their band or of the file"
            )
        if self.coding != "mask":
            note(f"{self.path} holds {listed}: taken for {KINDS[self.coding]}")

    def close(self):
        """Close the raster and the views of it."""
        for file in dict.fromkeys((self.view, *self._opened)):
            file.close()
