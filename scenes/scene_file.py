"""One raster of a scene on the scene's grid: its numbers, and where they are no data."""

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling

from patches.scale_tags import LARGEST, is_fill, usual_fills
from scenes.masked_view import lookup, masked_view
from scenes.opening import ANY_CRS
from scenes.pixel_grid import PixelGrid
from script import UserError


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


class SceneFile:
    """An open raster of a scene, and the view of it that is warped to the scene's grid where its own is another.

    A pixel has no data where an internal mask or an alpha band hides it, where it holds NaN or a value beyond LARGEST,
    and where a number of no data stands: the tag of the band, one that is stated beside it, and in signed numbers and
    floats one of scale_tags.is_fill, with and without a tag.

    Attributes:
        view: open raster to read: the file itself, or a view of it, which holds float32 and NaN.
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
            blank: groups of numbers of bands; a pixel that is 0 in all bands of a group has no data.
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
        stated = [number for number in dict.fromkeys((file.nodata, *nodata)) if number is not None]
        self.view, self._positions = file, {number: number for number in numbers}
        if grid.matches(PixelGrid.of(file)) and not any(move):
            self._compared = [
                number for number in stated if not np.isnan(number) and not (self._tagged and number == file.nodata)
            ]
            beside_tag = flags != {MaskFlags.all_valid} and usual_fills(common_type(file.dtypes))
            self.blends = bool(self._compared or filled or (beside_tag and not self.reduced))
            return
        # of several files of one band, a pixel of 8 bits lacks data only if it does in all of them
        apart = self._eight_bits[0] and file.count == 1 and not alone
        self._compared = stated if apart else []
        self._masked = self._tagged = self._alpha = self.blends = False  # the view holds NaN there
        tables = {}
        for number in self._positions:
            tags = [tag for tag in (file.nodatavals[number - 1], *nodata) if tag is not None]
            tables[number] = lookup(file.dtypes[number - 1], tags)
        eight_bits = {number: table for number, table in tables.items() if self._eight_bits[number - 1] and not apart}
        groups = [{number: table} for number, table in tables.items() if not self._eight_bits[number - 1]]
        zeros = [{number: lookup(file.dtypes[number - 1], [0]) for number in group} for group in blank]
        masked, memory = masked_view(file, list(tables), [*groups, eight_bits, *zeros], alpha)
        self._positions = {number: position for position, number in enumerate(tables, 1)}
        self._opened += [memory, masked]
        self.view = self._warped(masked, grid, move)
        self._opened.append(self.view)

    def _warped(self, masked, grid, move):
        """Return a view of a masked one on a grid, float32, that holds NaN where there is no data; see `__init__`."""
        crs = {"src_crs": masked.crs, "crs": grid.crs}
        if not all(crs.values()):
            if masked.shape != grid.shape or any(crs.values()):
                name = self._opened[0].name
                raise UserError(f"{name}: without a coordinate system it cannot be brought onto the scene's grid")
            crs = dict.fromkeys(crs, ANY_CRS)
        pixels = PixelGrid.of(masked)
        finer = pixels.crs and grid.crs and pixels.metres < grid.metres / 1.5  # several pixels of the file lie in one
        return grid.warped(
            masked,
            **crs,
            transform=Affine.translation(*move) @ grid.transform,
            resampling=Resampling.average if finer else Resampling.bilinear,
            src_nodata=None,
            nodata=np.nan,
            dtype="float32",
        )

    def read(self, numbers, window, shape):
        """Read bands by their numbers in a window, averaged to a `shape` if that is smaller.

        Returns:
            (bands x H x W; known, H x W bool: with data; hits). Hits are where bands of 8 bits hold a number of no data
            (such bands x H x W bool), which `known` leaves out, because all bands of the scene decide; None: nowhere.
        """
        where = {"window": window, "resampling": Resampling.average}
        data = read_bands(self.view, [self._positions[number] for number in numbers], shape, **where)
        known, hits = np.ones(shape, bool), None
        if data.dtype.kind == "f":
            known = (np.abs(data) <= LARGEST).all(0)  # not of NaN
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

    def close(self):
        """Close the raster and the views of it."""
        for file in reversed(self._opened):
            file.close()
