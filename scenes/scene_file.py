"""Rasters of a scene on the scene's grid: their numbers, and where they are no data."""

import numpy as np
from affine import Affine
from rasterio.enums import ColorInterp, MaskFlags, Resampling

from patches.scale_tags import LARGEST, beyond, is_fill, usual_fills
from scenes.masked_view import joined, lookup, masked_view
from scenes.opening import ANY_CRS, band_tags
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
    """An open raster on the scene's grid, read as it is.

    A pixel has no data where an internal mask or an alpha band hides it, where it holds NaN or a value beyond LARGEST,
    and where a number of no data stands: the tag of the band, one that is stated beside it, what lies beyond a valid
    range, and in signed numbers and floats one of scale_tags.is_fill, with and without a tag.

    Attributes:
        view: open raster to read. indices: see `open_files`.
        blends: whether averages of GDAL may hold numbers of no data that it does not know, zeros apart. Beside a tag,
            it is not known whether a file has usual ones: it counts as if it had, if all its pixels are read anyway.
        reduced: whether the file holds smaller copies of itself, in which such numbers are averaged already.
    """

    def __init__(self, file, numbers, nodata=(), alpha=False, filled=False):
        """Prepare to read a raster.

        Args:
            file: open raster, which `close` closes. numbers: of the bands that are read, from 1.
            nodata: numbers of no data that the user or a product states.
            alpha: whether the last band says where the file has data. filled: see source.SceneSource.
        """
        self.view, self._alpha = file, alpha
        self._eight_bits = np.array([dtype == "uint8" for dtype in file.dtypes])
        flags = set().union(*file.mask_flag_enums)
        self._masked = MaskFlags.per_dataset in flags and (alpha or MaskFlags.alpha not in flags)
        beside_alpha = file.colorinterp[-1] == ColorInterp.alpha  # then GDAL's masks know only one of both
        fills = [band_tags(file, number).fills for number in file.indexes]
        self._tagged = not np.isnan(np.concatenate(fills)).all() and MaskFlags.nodata in flags and not beside_alpha
        self.reduced = any(file.overviews(number) for number in numbers)
        stated = dict.fromkeys((*fills[0].tolist(), *nodata))
        self._compared = [
            number for number in stated if not np.isnan(number) and not (self._tagged and number == file.nodata)
        ]
        beside_tag = flags != {MaskFlags.all_valid} and usual_fills(common_type(file.dtypes))
        self._valid = band_tags(file).valid
        self._limited = bool(np.isfinite(self._valid).any())
        self.blends = bool(self._compared or self._limited or filled or (beside_tag and not self.reduced))

    def read(self, numbers, window, shape):
        """Read bands by their numbers in a window, averaged to a `shape` if that is smaller.

        Returns:
            (bands x H x W; known, H x W bool: with data; hits). Hits are where bands of 8 bits hold a number of no data
            (such bands x H x W bool), which `known` leaves out, because all bands of the scene decide; None: there are
            no such bands.
        """
        where = {"window": window, "resampling": Resampling.average}
        data = read_bands(self.view, numbers, shape, **where)
        known = within_measure(data)
        if self._masked:
            known &= self.view.read_masks(numbers[0], out_shape=shape, **where) > 0
        if self._alpha:  # GDAL's mask is the internal one, or that of the tag beside it
            known &= self.view.read(self.view.count, out_shape=shape, **where) > 0
        hits = np.zeros((), bool)
        if self._tagged:
            hits = self.view.read_masks(numbers, out_shape=data.shape, **where) == 0
        for number in self._compared:
            hits = hits | (data == number)
        if self._limited:
            hits = hits | beyond(data, self._valid)
        hits, eight_bits = np.broadcast_to(hits, data.shape), self._eight_bits[np.array(numbers) - 1]
        if not eight_bits.all():
            fills = is_fill(data)
            known &= ~(hits if fills is None else hits | fills)[~eight_bits].any(0)
        return data, known, hits[eight_bits] if eight_bits.any() else None

    def close(self):
        """Close the raster."""
        self.view.close()


class WarpedFile:
    """A raster, or several of one band each, brought onto the scene's grid: a view of float32.

    What `SceneFile` calls no data is left out before pixels are averaged or warped: the view holds NaN there.

    Attributes:
        view, indices, blends, reduced: see SceneFile.
    """

    blends = False

    def __init__(self, file, grid, numbers, no_data, alpha=False, blank=(), deciding=(), move=(0.0, 0.0), memories=()):
        """Bring a raster onto a grid.

        Args:
            file: open raster, which `close` closes. grid: PixelGrid of the scene.
            numbers: of the bands that are read, from 1. alpha: see SceneFile.
            no_data: for each band of the file, (its numbers of no data, (least, largest) number of data).
            blank: groups of numbers of bands; a pixel that is 0 in all bands of a group has no data.
            deciding: numbers of bands of 8 bits that lack data only together; (): those that are read.
            move: (x, y) on the map from a pixel of the grid to where the file shows its ground.
            memories: MemoryFiles that the file reads from.

        Raises:
            UserError: it cannot be brought onto the grid without a coordinate system.
        """
        self.reduced = any(file.overviews(number) for number in numbers)

        def tables_of(numbers):
            return {number: lookup(file.dtypes[number - 1], *no_data[number - 1]) for number in numbers}

        eight_bits = {number for number, dtype in zip(file.indexes, file.dtypes, strict=True) if dtype == "uint8"}
        self._eight_bits = eight_bits
        groups = [{number: table} for number, table in tables_of(set(numbers) - eight_bits).items()]
        groups.append(tables_of(eight_bits.intersection(deciding or numbers)))
        groups += [{number: lookup(file.dtypes[number - 1], [0]) for number in group} for group in blank]
        masked, memory = masked_view(file, list(dict.fromkeys(numbers)), groups, alpha)
        self._positions = {number: position for position, number in enumerate(dict.fromkeys(numbers), 1)}
        self._opened = [*memories, file, memory, masked]
        self.view = warped(masked, grid, move, file.name)
        self._opened.append(self.view)

    def read(self, numbers, window, shape):
        """Read bands in a window, see SceneFile.read; hits of bands of 8 bits are where the view holds NaN."""
        where = {"window": window, "resampling": Resampling.average}
        data = read_bands(self.view, [self._positions[number] for number in numbers], shape, **where)
        hits = np.isnan(data[[number in self._eight_bits for number in numbers]])
        return data, within_measure(data), hits if len(hits) else None

    def close(self):
        """Close the rasters and the views of them."""
        for file in reversed(self._opened):
            file.close()


def within_measure(data):
    """Return where all bands of bands x H x W hold numbers that are not beyond LARGEST: H x W bool."""
    return (np.abs(data) <= LARGEST).all(0) if data.dtype.kind == "f" else np.ones(data.shape[1:], bool)


def warped(masked, grid, move, name):
    """Return a view of a masked one on a grid, float32, that holds NaN where there is no data; see WarpedFile.

    name: of the raster, for the message.
    """
    crs = {"src_crs": masked.crs, "crs": grid.crs}
    if not all(crs.values()):
        if masked.shape != grid.shape or any(crs.values()):
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


def open_files(source, files, grid):
    """Bring the rasters of a scene onto its grid.

    Files of one band each, whose numbers of no data decide together, are joined first: then ground lacks data by the
    same rule as in one file, before pixels are averaged or warped.

    Args:
        source: source.SceneSource. files: its rasters, open. grid: PixelGrid of the scene.

    Returns:
        ([SceneFile or WarpedFile, ...]; for each band of the source, (position among these, number)). The `indices` of
        each are those of its rasters in `files`.
    """
    moves, opened, places = source.moves or ((0.0, 0.0),) * len(files), [], {}
    grids = [PixelGrid.of(file) for file in files]
    for i, file in enumerate(files):
        if (i, 1) in places:
            continue
        numbers = [number for index, number in source.bands if index == i]
        own, inside = [i], {(i, number): number for number in file.indexes}
        if not numbers or (grid.matches(grids[i]) and not any(moves[i])):
            opened.append(SceneFile(file, numbers, source.nodata[i], i in source.alpha, i in source.filled))
        else:
            if partners := deciding_with(i, source, files, grids):
                own = [j for j in partners if grids[i].matches(grids[j])]
                inside = {(j, 1): number for number, j in enumerate(partners, 1)}
            opened.append(warped_file(own, inside, source, files, grid))
        opened[-1].indices = own
        places |= {band: (len(opened) - 1, number) for band, number in inside.items() if band[0] in own}
    return opened, [places[band] for band in source.bands]


def deciding_with(i, source, files, grids):
    """List the indices of the files of one band that lack data only together with the file i, and i; () if none do.

    Files of 8 bits do, and those of which a pixel is blank if all are 0, each on its date. See `open_files`.
    """
    dates = source.dates or (0,) * len(files)
    blank = {source.bands[position][0] for group in source.blank for position in group}
    read = {index for index, _ in source.bands}
    together = [
        j
        for j, file in enumerate(files)
        if j in read and dates[j] == dates[i] and file.count == 1 and (j in blank or file.dtypes[0] == "uint8")
        if grids[i].has_axes_of(grids[j])
    ]
    return together if i in together and len(together) > 1 else ()


def warped_file(own, inside, source, files, grid):
    """Return the WarpedFile of the rasters `own`, which lie on one grid; see `open_files` and `deciding_with`.

    inside: {band as in source.bands: its number} of the raster, or of several of one band each as one raster.
    """
    file, memories, i = files[own[0]], (), own[0]
    partners = list(dict.fromkeys(index for index, _ in inside))
    if len(partners) > 1:
        file, memories = joined([files[j] for j in partners], file)
        memories = [*(files[j] for j in own), *memories]
    groups = [[inside.get(source.bands[position]) for position in group] for group in source.blank]
    tags = [(band_tags(files[j], number), source.nodata[j]) for j, number in inside]
    return WarpedFile(
        file,
        grid,
        [inside[band] for band in source.bands if band[0] in own],
        [([*each.fills, *nodata], each.valid) for each, nodata in tags],
        alpha=i in source.alpha,
        blank=[group for group in groups if None not in group],
        deciding=list(inside.values()) if memories else (),
        move=source.moves[i] if source.moves else (0.0, 0.0),
        memories=memories,
    )
