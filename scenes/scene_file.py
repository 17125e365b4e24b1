"""One raster of a scene on the scene's grid: its numbers, and where they are no data."""

from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy

from patches.image_files import has_own_mask
from patches.scale_tags import LARGEST, is_fill, usual_fills
from scenes.opening import ANY_CRS, hidden, without_alpha
from scenes.pixel_grid import PixelGrid
from script import UserError

# Options of GDAL's warper. A number of no data counts in its own band, or only where all bands of the file hold it.
PER_BAND, ALL_BANDS = {"UNIFIED_SRC_NODATA": "NO"}, {"UNIFIED_SRC_NODATA": "YES"}


def common_type(dtypes):
    """Return the type that holds the numbers of all of some types, as text."""
    return np.result_type(*map(np.dtype, dtypes)).name


def read_bands(file, numbers, shape=None, **where):
    """Read bands of an open raster by their numbers, bands x H x W; a virtual raster may hold them in several types.

    shape: (H, W) of the result, if it differs from that of the window. where: arguments of rasterio's `read`.
    """
    if len({file.dtypes[number - 1] for number in numbers}) == 1:
        return file.read(numbers, out_shape=shape and (len(numbers), *shape), **where)
    return np.stack([file.read(number, out_shape=shape, **where) for number in numbers])


def with_bands(file, numbers):
    """Open a view (a VRT of GDAL) of some bands of a raster, in their order.

    Returns:
        (MemoryFile that holds the view, the open view); close the view first.
    """
    with MemoryFile(ext=".vrt") as whole:
        copy(file, whole.name, driver="VRT")
        root = ElementTree.fromstring(whole.read())
    for band in root.findall("VRTRasterBand"):
        if (number := int(band.get("band"))) in numbers:
            band.set("band", str(list(numbers).index(number) + 1))
        else:
            root.remove(band)
    memory = MemoryFile(ElementTree.tostring(root), ext=".vrt")
    return memory, rasterio.open(memory.name)


class SceneFile:
    """An open raster of a scene, and the views of it that are warped to the scene's grid where its own is another.

    A pixel has no data where an internal mask or an alpha band hides it, where it holds NaN or a value beyond LARGEST,
    and where a number of no data stands: the tag of the band, one that is stated beside it, and in signed numbers and
    floats one of scale_tags.is_fill, with and without a tag.

    Attributes:
        view: open raster to read: the file itself, or a view of it, which holds float32; of several, the first.
        blends: whether averages of GDAL may hold numbers of no data that it does not know, zeros apart. Beside a tag,
            it is not known whether a file has usual ones: it counts as if it had, if all its pixels are read anyway.
        reduced: whether the file holds smaller copies of itself, in which such numbers are averaged already.
    """

    def __init__(
        self, file, grid, numbers, nodata=(), alpha=False, filled=False, blank=(), alone=True, move=(0.0, 0.0)
    ):
        """Bring a raster onto a grid.

        Args:
            file: open raster, which `close` closes. grid: PixelGrid of the scene.
            numbers: of the bands that are read, from 1.
            nodata: numbers of no data that the user or a product states.
            alpha: whether the last band says where the file has data. filled: see source.SceneSource.
            blank: numbers of the bands of which a pixel has no data if it is 0 in all, see source.SceneSource.
            alone: whether the scene has no other file of this date.
            move: (x, y) on the map from a pixel of the grid to where the file shows its ground.

        Raises:
            UserError: it cannot be brought onto the grid without a coordinate system.
        """
        self._opened, self._alpha = [file], alpha
        self._eight_bits = np.array([dtype == "uint8" for dtype in file.dtypes])
        flags = set().union(*file.mask_flag_enums)
        self._masked = MaskFlags.per_dataset in flags and (alpha or MaskFlags.alpha not in flags)
        beside_alpha = file.colorinterp[-1] == ColorInterp.alpha  # then GDAL's masks know only one of both
        tags = [tag for tag in file.nodatavals if tag is not None and not np.isnan(tag)]
        self._tagged = MaskFlags.nodata in flags and bool(tags) and not beside_alpha
        self.reduced = any(file.overviews(number) for number in numbers)
        if grid.matches(PixelGrid.of(file)) and not any(move):
            stated = dict.fromkeys((file.nodata, *nodata))
            known = (None, file.nodata) if self._tagged else (None,)
            self._compared = [number for number in stated if number not in known and not np.isnan(number)]
            beside_tag = flags != {MaskFlags.all_valid} and usual_fills(common_type(file.dtypes))
            self.blends = bool(self._compared or filled or (beside_tag and not self.reduced))
            self.view, self._views = file, {number: (file, number) for number in numbers}
            return
        # of several files of one band, a pixel of 8 bits lacks data only if it does in all of them
        apart = self._eight_bits[0] and file.count == 1 and not alone
        stated = [number for number in dict.fromkeys((file.nodata, *nodata)) if number is not None]
        self._compared, self.blends, self._views = stated if apart else [], False, {}
        groups = {}  # bands of one number of no data, which one view holds
        for number in numbers:
            groups.setdefault((str(file.nodatavals[number - 1]), number in blank), []).append(number)
        for (_, is_blank), group in groups.items():
            tag = file.nodatavals[group[0] - 1]
            stated = [number for number in dict.fromkeys((tag, *nodata)) if number is not None]
            self._add_view(grid, group, [] if apart else stated, is_blank and not stated, move)
        self.view = self._views[numbers[0]][0]
        self._masked = self._tagged = self._alpha = False  # the view holds NaN there

    def _add_view(self, grid, group, stated, blank, move):
        """Add a view on a grid that holds NaN where there is no data.

        group: numbers of the bands that are read from it. stated: numbers of no data. blank: whether 0 in all bands of
        the group is none.
        """
        file, eight_bits = self._opened[0], self._eight_bits[np.array(group) - 1].all()
        crs = {"src_crs": file.crs, "crs": grid.crs}
        if not all(crs.values()):
            if file.shape != grid.shape or any(crs.values()):
                raise UserError(f"{file.name}: without a coordinate system it cannot be brought onto the scene's grid")
            crs = dict.fromkeys(crs, ANY_CRS)
        if self._alpha and has_own_mask(file):  # GDAL's warper knows one of both
            raise UserError(f"{file.name} has an alpha band and a mask of its own: write it with one of them")
        own = {number: number for number in group}
        kept = (*group, *([file.count] if self._alpha else []))
        if blank and len(kept) < file.count:  # or zeros would count only where the other bands are 0, too
            memory, file = with_bands(file, kept)
            self._opened += [memory, file]
            own = {number: position for position, number in enumerate(group, 1)}
        if file.colorinterp[-1] == ColorInterp.alpha and not self._alpha:
            memory, file = without_alpha(file)
            self._opened += [memory, file]
        blank = blank and (len(group) > 1 or not eight_bits)
        apart = bool(self._compared)
        numbers = [] if apart else list(dict.fromkeys((*stated, *usual_fills(common_type(file.dtypes)))))
        if numbers:
            nodata, options = numbers[0], {} if eight_bits else PER_BAND
            replaced = [(None, {})] * self._masked + [(0, ALL_BANDS)] * blank
            for number, how in [*replaced, *((number, options) for number in numbers[1:])]:
                how = how if len(set(file.dtypes)) == 1 else how | {"dtype": common_type(file.dtypes)}
                file = hidden(file, number, nodata, **how)
                self._opened.append(file)
        else:
            nodata, options = (0, ALL_BANDS) if blank else (None, {})
        pixels = PixelGrid.of(file)
        finer = pixels.crs and grid.crs and pixels.metres < grid.metres / 1.5  # several pixels of the file lie in one
        view = grid.warped(
            file,
            **crs,
            **options,
            transform=Affine.translation(*move) @ grid.transform,
            resampling=Resampling.average if finer else Resampling.bilinear,
            src_nodata=nodata,
            nodata=np.nan,
            dtype="float32",
        )
        self._opened.append(view)
        self._views |= {number: (view, position) for number, position in own.items()}

    def read(self, numbers, window, shape):
        """Read bands by their numbers in a window, averaged to a `shape` if that is smaller.

        Returns:
            (bands x H x W; known, H x W bool: with data; hits). Hits are where bands of 8 bits hold a number of no data
            (such bands x H x W bool), which `known` leaves out, because all bands of the scene decide; None: nowhere.
        """
        where = {"window": window, "resampling": Resampling.average}
        data = self._data(numbers, shape, where)
        known, hits = np.ones(shape, bool), None
        if data.dtype.kind == "f":
            known = (np.abs(data) < LARGEST).all(0)  # not of NaN
        if self._masked:
            known &= self.view.read_masks(numbers[0], out_shape=shape, **where) > 0
        if self._alpha:  # GDAL's mask is the internal one, or that of the tag beside it
            known &= self.view.read(self.view.count, out_shape=shape, **where) > 0
        if self._tagged:
            hits = self.view.read_masks(numbers, out_shape=data.shape, **where) == 0
        for number in self._compared:
            hits = data == number if hits is None else hits | (data == number)
        eight_bits = self._eight_bits[np.array(numbers) - 1]
        for lacking in (hits, is_fill(data)) if not eight_bits.all() else ():
            if lacking is not None:
                known &= ~lacking[~eight_bits].any(0)
        return data, known, hits[eight_bits] if hits is not None and eight_bits.any() else None

    def _data(self, numbers, shape, where):
        """Read bands by their numbers, each from its view: bands x H x W."""
        views = [self._views[number] for number in numbers]
        if all(view is views[0][0] for view, _ in views):
            return read_bands(views[0][0], [position for _, position in views], shape, **where)
        return np.stack([view.read(position, out_shape=shape, **where) for view, position in views])

    def close(self):
        """Close the raster and the views of it."""
        for file in reversed(self._opened):
            file.close()
