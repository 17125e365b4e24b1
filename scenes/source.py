"""Where each band of a model comes from in a scene."""

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from bands import TERRAIN
from scenes.geodesy import has_ellipsoid
from scenes.opening import damage_told, open_raster
from scenes.pixel_grid import PixelGrid
from scenes.products import recognition
from scenes.products.product import REFLECTANCE, Product
from scenes.scene import Scene
from script import UserError


@dataclass(frozen=True)
class SceneInput:
    """What a scene is read from, as a user says it.

    Attributes:
        paths: of rasters, or one product. bands: the bands to take, in the model's order; see `match_bands`.
        dem: path of an elevation raster or "". scaling: one of scaling.SCALINGS.
        offset: added to what the files hold; None: what the metadata of a product or the tags of a file say, or 0.
        nodata, dem_nodata: value of no data where the files do not say, or None.
    """

    paths: tuple
    bands: tuple = ()
    dem: str = ""
    scaling: str = "auto"
    offset: float | None = None
    nodata: float | None = None
    dem_nodata: float | None = None


@dataclass(frozen=True)
class SceneSource:
    """What is needed to read a scene, in plain values that can be sent to another process.

    Attributes:
        paths: of the files. bands: for each band that comes from them (index of the file, number from 1).
        columns: places of those bands among the model's. reference: index of the file whose grid is the scene's.
        dem: path of an elevation raster or "". terrain: ((name, place among the model's bands), ...), if so.
        nodata: for each file, the value that means no data where it does not say so itself, or None.
        factors, offsets: for each band of the files: value = factor * (number in the file) + offset.
        dem_nodata: value that means no elevation where its file does not say, or None.
        alpha: indices of files whose last band is a mask. blank: groups of places in `bands`; 0 in all
            of a group means no data.
        gain, bias: one for each band of the model: scaled = gain * value + bias. clip: whether to keep it in 0-255.
        reflectance: whether the values are known to be reflectance x 10000.
        product: the product.Product that the files belong to, or None.
        grid: PixelGrid to read the files on; None: that of the reference.
        moves: for each file, (x, y) on the map from the place of a pixel to where the file shows it; none: nothing.
    """

    paths: tuple
    bands: tuple
    columns: tuple
    reference: int
    dem: str
    terrain: tuple
    nodata: tuple
    factors: tuple
    offsets: tuple
    gain: tuple
    bias: tuple
    clip: bool = False
    dem_nodata: float | None = None
    alpha: tuple = ()
    blank: tuple = ()
    reflectance: bool = False
    product: Product | None = None
    grid: PixelGrid | None = None
    moves: tuple = ()


def open_scene(scene, model_bands, product=None):
    """Open a scene with the bands that a model takes, not yet scaled.

    Args:
        scene: SceneInput: a product, one raster, or several rasters of one band each in the model's order.
        model_bands: names of the model's bands. product: product.Product that the scene is, if it is open already.

    Raises:
        UserError: for a file that cannot be opened, bands that are missing, too many or too few, or a coordinate
            system in which nothing can be measured.
    """
    product = product or recognition.open_product(scene.paths)
    source = match_product(product, model_bands, scene) if product else None
    paths = source.paths if product else tuple(map(str, scene.paths))
    with contextlib.ExitStack() as stack:
        files = [open_raster(path) for path in paths]
        for file in files:  # entered as contexts, they would close GDAL's environment for others
            stack.callback(file.close)
        source = source or match_bands(files, model_bands, scene)
        opened = Scene(replace(source, paths=paths, reference=finest(files)), files)
        if opened.grid.crs and not has_ellipsoid(opened.grid.crs):
            raise UserError(
                f"{paths[opened.source.reference]}: nothing can be measured in its coordinate system, which has no "
                "ellipsoid: assign the right one with gdal_edit.py -a_srs"
            )
        stack.pop_all()  # from here on the scene closes them
        return opened


def match_product(product, model_bands, scene):
    """Find the bands of a model in a product by their names; returns a SceneSource that does not scale.

    Args:
        product: product.Product. model_bands: names of the model's bands. scene: SceneInput; its `bands` name those
            to take instead, in the model's order.

    Raises:
        UserError: for bands that the product lacks, or too many or too few.
    """
    terrain, columns = split_columns(model_bands, scene.dem)
    wanted = [model_bands[i] for i in columns]
    if lacking := [name for name in wanted if name in TERRAIN]:
        raise UserError(f"{product.name}: give an elevation raster with --dem for {' and '.join(lacking)}")
    if scene.bands and len(scene.bands) != len(wanted):
        raise UserError(f"{len(scene.bands)} --scene-bands, but the run takes {len(wanted)} ({' '.join(wanted)})")
    files = [product.find(name) for name in scene.bands or wanted]
    paths = tuple(dict.fromkeys(file.path for file in files))
    offsets = tuple(file.offset if scene.offset is None else scene.offset * file.factor for file in files)
    return SceneSource(
        paths=paths,
        bands=tuple((paths.index(file.path), file.number) for file in files),
        columns=columns,
        reference=0,  # until the files are compared
        dem=str(scene.dem),
        terrain=terrain,
        nodata=(product.nodata if scene.nodata is None else scene.nodata,) * len(paths),
        factors=tuple(file.factor for file in files),
        offsets=offsets,
        gain=(1.0,) * len(model_bands),
        bias=(0.0,) * len(model_bands),
        dem_nodata=scene.dem_nodata,
        reflectance=True,
        product=product,
    )


def finest(files):
    """Return the index of the first among the rasters with the smallest pixels."""
    sizes = [abs(file.transform.determinant) if file.crs == files[0].crs else np.inf for file in files]
    return int(np.argmin(np.round(np.array(sizes) / sizes[0], 6)))


def split_columns(model_bands, dem):
    """Return (((name, place), ...) of bands that come from `dem`, places of the model's other bands)."""
    terrain = terrain_columns(model_bands, dem)
    return terrain, tuple(i for i in range(len(model_bands)) if i not in dict(terrain).values())


def match_bands(files, model_bands, scene):
    """Find where each band of a model comes from; returns a SceneSource that does not scale.

    Args:
        files: open rasters: one, or several of one band each in the model's order. The grid is that of the first
            among those with the smallest pixels.
        model_bands: names of the model's bands. Slope and dem come from `scene.dem` if it is given, all others (in
            the model's order) from the files.
        scene: SceneInput. Its `bands` say which to take, by number from 1 or by name (GDAL's description of the
            band, a word of it, or what the file is called after: B4 is found in T33UVP_B04.jp2); none: all in order.

    Raises:
        UserError: for bands that are missing, too many or too few.
    """
    paths = [file.name for file in files]
    if len(files) > 1:
        for file in files:
            if file.count > 1:
                raise UserError(f"{file.name} has {file.count} bands: of several files each must hold a single one")
    found = [
        (index, number, file.descriptions[number - 1] or (Path(file.name).stem if len(files) > 1 else ""))
        for index, file in enumerate(files)
        for number in file.indexes
    ]
    terrain, columns = split_columns(model_bands, scene.dem)
    alpha = tuple(index for index, file in enumerate(files) if has_alpha(file))
    if scene.bands:
        chosen = [find_band(band, found, paths[0]) for band in scene.bands]
    else:  # a last band that GDAL takes for alpha is left out, unless the model needs as many bands
        chosen = found
        if len(found) != len(columns):
            spare = [(i, file.count) for i, file in enumerate(files) if file.colorinterp[-1] == ColorInterp.alpha]
            chosen = [entry for entry in found if entry[:2] not in spare]
    alpha = tuple(index for index in alpha if (index, files[index].count) not in [entry[:2] for entry in chosen])
    if len(chosen) != len(columns):
        wanted = [model_bands[i] for i in columns]
        lacking = [] if scene.dem else [name for name in wanted if name in TERRAIN]
        hint = "choose them, in this order, with --scene-bands"
        if lacking and len(chosen) + len(lacking) == len(wanted):
            hint = f"give an elevation raster with --dem for {' and '.join(lacking)}"
        where = paths[0] if len(paths) == 1 else f"{len(paths)} files"
        raise UserError(f"{where}: {len(chosen)} bands, but the run takes {len(wanted)} ({' '.join(wanted)}): {hint}")
    factors, offsets, reflectance = tagged_scaling(files, chosen, scene.offset)
    untagged = scene.nodata is None and all(is_untagged(file) for file in files)
    return SceneSource(
        paths=tuple(map(str, paths)),
        bands=tuple((index, number) for index, number, _ in chosen),
        columns=columns,
        reference=0,  # until the files are compared
        dem=str(scene.dem),
        terrain=terrain,
        nodata=(scene.nodata,) * len(paths),
        factors=factors,
        offsets=offsets,
        gain=(1.0,) * len(model_bands),
        bias=(0.0,) * len(model_bands),
        dem_nodata=scene.dem_nodata,
        alpha=alpha,
        blank=(tuple(range(len(chosen))),) if untagged and len(chosen) > 2 else (),
        reflectance=reflectance,
    )


def tagged_scaling(files, chosen, offset):
    """Return (factors, offsets, whether they lead to reflectance x 10000) of bands, from the scale tags of rasters.

    A scale below 0.01 makes reflectance of whole numbers. An `offset` that is given replaces that of the tags.
    """
    scales = np.array([files[index].scales[number - 1] for index, number, _ in chosen])
    offsets = np.array([files[index].offsets[number - 1] for index, number, _ in chosen])
    reflectance = bool((scales < 0.01).all())
    unit = REFLECTANCE if reflectance else 1
    factors = scales * unit
    offsets = offsets * unit if offset is None else offset * factors
    return tuple(factors.tolist()), tuple(offsets.tolist()), reflectance


def has_alpha(file):
    """Return whether the last band of a raster is a mask: GDAL says so, and it holds nothing but 0 and 255."""
    if file.count < 2 or file.colorinterp[-1] != ColorInterp.alpha:
        return False
    shape = tuple(min(size, 1024) for size in file.shape)
    with damage_told(file.name):
        return bool(np.isin(file.read(file.count, out_shape=shape), (0, 255)).all())


def is_untagged(file):
    """Return whether a raster holds whole numbers and says of no pixel that it has no data."""
    flags = file.mask_flag_enums[0]
    return np.dtype(file.dtypes[0]).kind in "ui" and (flags == [MaskFlags.all_valid] or MaskFlags.alpha in flags)


def find_band(wanted, found, path):
    """Return the one of `found` (index, number, label) that is named `wanted`; B4 and B04 are the same."""

    def plain(name):
        return re.sub(r"^B0*(?=\d)", "B", name.upper())

    if wanted.isdigit() and 1 <= int(wanted) <= len(found):
        return found[int(wanted) - 1]
    named = [entry for entry in found if plain(wanted) == plain(entry[2])] or [
        entry for entry in found if plain(wanted) in map(plain, re.split(r"[^A-Za-z0-9]+", entry[2]))
    ]
    if len(named) != 1:
        have = ", ".join(filter(None, (label for _, _, label in found))) or "no names"
        what = "is not in the scene" if not named else "is there more than once"
        raise UserError(f"{path}: band {wanted} {what} (it has bands 1 to {len(found)}, named: {have})")
    return named[0]


def terrain_columns(model_bands, dem):
    """Return ((name, place), ...) of slope and elevation among the model's bands; none without `dem`.

    A run that takes neither has no use for elevation in its bands; its polygons are described by it all the same.
    """
    if not dem:
        return ()
    if len(model_bands) > 2 and all(name.startswith("band") for name in model_bands):
        return tuple(zip(TERRAIN, range(len(model_bands) - 2, len(model_bands)), strict=True))  # unnamed: the last
    return tuple((name, model_bands.index(name)) for name in TERRAIN if name in model_bands)
