"""One raster of a scene on the scene's grid: its numbers, and where they are no data."""

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling

from patches.image_files import has_own_mask
from patches.scale_tags import LARGEST, is_fill, usual_fills, without_data
from scenes.opening import ANY_CRS, hidden, without_alpha
from scenes.pixel_grid import PixelGrid
from script import UserError

# Options of GDAL's warper. A number of no data counts in its own band, or only where all bands of the file hold it.
PER_BAND, ALL_BANDS = {"UNIFIED_SRC_NODATA": "NO"}, {"UNIFIED_SRC_NODATA": "YES"}


class SceneFile:
    """An open raster of a scene, and the view of it that is warped to the scene's grid where its own is another.

    A pixel has no data where an internal mask or an alpha band hides it, where it holds NaN or a value beyond LARGEST,
    and where a number of no data stands: the tag of the file, the one that is stated for it, and in signed numbers and
    floats one of scale_tags.is_fill, with and without a tag.

    Attributes:
        view: open raster to read: the file itself, or a view of it, which holds float32.
    """

    def __init__(self, file, grid, nodata=None, alpha=False, blank=False, alone=True, move=(0.0, 0.0)):
        """Bring a raster onto a grid.

        Args:
            file: open raster, which `close` closes. grid: PixelGrid of the scene.
            nodata: number of no data that the user or a product states, or None.
            alpha: whether the last band says where the file has data.
            blank: whether pixels have no data that are 0 in all bands, see source.SceneSource.
            alone: whether the scene has no other file of this date.
            move: (x, y) on the map from a pixel of the grid to where the file shows its ground.

        Raises:
            UserError: it cannot be brought onto the grid without a coordinate system.
        """
        self._opened, self._alpha, self._eight_bits = [file], alpha, file.dtypes[0] == "uint8"
        flags = set().union(*file.mask_flag_enums)
        self._masked = MaskFlags.per_dataset in flags and (alpha or MaskFlags.alpha not in flags)
        stated = [number for number in dict.fromkeys((file.nodata, nodata)) if number is not None]
        numbers = [number for number in stated if not np.isnan(number)]
        beside_alpha = file.colorinterp[-1] == ColorInterp.alpha  # then GDAL's masks know only one of both
        tags = [tag for tag in file.nodatavals if tag is not None and not np.isnan(tag)]
        self._tagged = MaskFlags.nodata in flags and bool(tags) and not beside_alpha
        if grid.matches(PixelGrid.of(file)) and not any(move):
            self.view = file
            self._compared = [number for number in numbers if not self._tagged or number != file.nodata]
            return
        # of several files of one band, a pixel of 8 bits lacks data only if it does in all of them
        self._compared = stated if self._eight_bits and file.count == 1 and not alone else []
        numbers = list(dict.fromkeys((*stated, *usual_fills(file.dtypes[0]))))
        self.view = self._warped(grid, [] if self._compared else numbers, blank and not stated, move)
        self._masked = self._tagged = self._alpha = False  # the view holds NaN there

    def _warped(self, grid, numbers, blank, move):
        """Return a view on a grid that holds NaN where there is no data, such as one of `numbers`."""
        file = self._opened[0]
        crs = {"src_crs": file.crs, "crs": grid.crs}
        if not all(crs.values()):
            if file.shape != grid.shape or any(crs.values()):
                raise UserError(f"{file.name}: without a coordinate system it cannot be brought onto the scene's grid")
            crs = dict.fromkeys(crs, ANY_CRS)
        if self._alpha and has_own_mask(file):  # GDAL's warper knows one of both
            raise UserError(f"{file.name} has an alpha band and a mask of its own: write it with one of them")
        if file.colorinterp[-1] == ColorInterp.alpha and not self._alpha:
            memory, file = without_alpha(file)
            self._opened += [memory, file]
        blank = blank and (file.count > 1 or not self._eight_bits)
        if numbers:
            nodata, options = numbers[0], {} if self._eight_bits else PER_BAND
            replaced = [(None, {})] * self._masked + [(0, ALL_BANDS)] * blank
            for number, how in [*replaced, *((number, options) for number in numbers[1:])]:
                file = hidden(file, number, nodata, **how)
                self._opened.append(file)
        else:
            nodata, options = (0, ALL_BANDS) if blank else (None, {})
        own = PixelGrid.of(file)
        finer = own.crs and grid.crs and own.metres < grid.metres / 1.5  # several pixels of the file lie in one
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
        return view

    def read(self, numbers, window, shape):
        """Read bands by their numbers in a window, averaged to a `shape` if that is smaller.

        Returns:
            (bands x H x W; known, H x W bool: with data; hits). Of 8 bits, hits are where bands hold a number of no
            data (bands x H x W bool), which `known` leaves out, because all bands of the scene decide; None: nowhere.
        """
        where = {"window": window, "resampling": Resampling.average}
        data = self.view.read(numbers, out_shape=(len(numbers), *shape), **where)
        known, hits = np.ones(shape, bool), None
        if data.dtype.kind == "f":
            known = (np.abs(data) < LARGEST).all(0)  # not of NaN
        if self._masked:
            known &= self.view.read_masks(numbers[0], out_shape=shape, **where) > 0
        if self._alpha:  # GDAL's mask may be that of the tag, or an internal one, beside it
            known &= self.view.read(self.view.count, out_shape=shape, **where) > 0
        if self._tagged:
            hits = self.view.read_masks(numbers, out_shape=data.shape, **where) == 0
        for number in self._compared:
            hits = data == number if hits is None else hits | (data == number)
        if self._eight_bits:
            return data, known, hits
        for lacking in (hits, is_fill(data)):
            if lacking is not None:
                known &= ~without_data(lacking, data.dtype, 0)
        return data, known, None

    def close(self):
        """Close the raster and the views of it."""
        for file in reversed(self._opened):
            file.close()
