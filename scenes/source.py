"""Where each band of a model comes from in a scene."""

import contextlib
from dataclasses import dataclass

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from bands import TERRAIN, code_of, light, numbered
from patches.image_files import is_alpha
from patches.scale_tags import is_fill, metres_of, stated_scales, tagged_scaling, usual_fills
from patches.stated_words import words_of_bands
from scenes.geodesy import has_ellipsoid
from scenes.opening import band_tags, damage_reported, open_raster
from scenes.pixel_grid import PixelGrid, resized_grid
from scenes.products import recognition
from scenes.products.product import Product
from scenes.raster_bands import of_sentinel2, own_names, raster_bands, terrain_among
from scenes.scene import Scene
from scenes.scene_file import common_type, read_bands
from script import UserError, note


@dataclass(frozen=True)
class SceneInput:
    """What a scene is read from, as a user names it.

    Attributes:
        paths: of rasters, or one product. bands: the bands to take, in the model's order; see `raster_bands`.
        dem: paths of elevation: rasters, folders or zips of them; (): none. scaling: one of scaling.SCALINGS.
        offset: added to the numbers of bands of light; None: that of a product's metadata or a file's tags, or 0.
        nodata: value of no data beside that of a tag or a product, or None. dem_nodata: of elevation.
        pixel_size: side of the pixels to read in metres, each the average of the finer ones of the files. Of files
            without a coordinate system: that of their own pixels, which are read as they are. None: as in the files.
    """

    paths: tuple
    bands: tuple = ()
    dem: tuple = ()
    scaling: str = "auto"
    offset: float | None = None
    nodata: float | None = None
    dem_nodata: float | None = None
    pixel_size: float | None = None


@dataclass(frozen=True)
class SceneSource:
    """What is needed to read a scene, in plain values that can be sent to another process.

    Attributes:
        paths: of the files. bands: for each band that comes from them (index of the file, number from 1).
        columns: positions of those bands among the model's. light: those of them that hold light, see bands.light.
        reference: index of the file whose grid is the scene's.
        dem: paths of elevation, see SceneInput. terrain: ((name, position among the model's bands), ...) of the bands
            that come from it.
        nodata: for each file, the numbers of no data that the user or a product states beside its tags.
        factors, offsets: for each band of the files: value = factor * (number in the file) + offset.
        dem_nodata: value of no elevation beside the tag of its file, or None.
        alpha: indices of files whose last band is a mask. blank: groups of positions in `bands`; a pixel that is 0 in
            all bands of a group has no data. filled: indices of files without a tag that hold usual numbers of no data.
        gain, bias: for each band of the model, scaled = gain * value + bias; (): 1 and 0, as long as scaling.scaled has
            not chosen them. clip: whether scaled values of light are kept in 0-255.
        reflectance: whether the values are known to be reflectance x 10000, by metadata or tags.
        sentinel2: whether the files call all bands of light by names of Sentinel-2 (B4, B08).
        product: the product.Product that the files belong to, or None.
        grid: PixelGrid to read the files on; None: that of the reference.
        moves: for each file, (x, y) on the map from a pixel of the grid to where the file shows its ground; (): 0.
        dates: for each file, the number of its date; (): all are of one.
    """

    paths: tuple
    bands: tuple
    columns: tuple
    light: tuple
    reference: int
    dem: tuple
    terrain: tuple
    nodata: tuple
    factors: tuple
    offsets: tuple
    gain: tuple = ()
    bias: tuple = ()
    clip: bool = False
    dem_nodata: float | None = None
    alpha: tuple = ()
    blank: tuple = ()
    filled: tuple = ()
    reflectance: bool = False
    sentinel2: bool = False
    product: Product | None = None
    grid: PixelGrid | None = None
    moves: tuple = ()
    dates: tuple = ()

    @property
    def light_bands(self):
        """Positions in `bands` of those that hold light."""
        return [self.columns.index(column) for column in self.light]

    @property
    def band_count(self):
        """Number of the model's bands."""
        return len(self.columns) + len(self.terrain)


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
    if product and product.unknown_offset and scene.offset is None:
        raise UserError(
            f"{product.unknown_offset}, so its values are uncertain: download the product again, or, if it was made at "
            "home, state the offset with --offset (-1000 as in ESA's products, 0 if none was added)"
        )
    terrain = terrain_columns(model_bands, scene.dem)
    columns = tuple(i for i in range(len(model_bands)) if i not in dict(terrain).values())
    names = [model_bands[i] for i in columns]
    called = names
    if product:
        band_files = product_bands(product, names, scene.bands)
        paths = tuple(dict.fromkeys(band.path for band in band_files))
    else:
        paths = tuple(map(str, scene.paths))
    with contextlib.ExitStack() as stack:
        files = [open_raster(path) for path in paths]
        for file in files:  # entered as contexts, they would close GDAL's environment for others
            stack.callback(file.close)
        if product:
            bands = tuple((paths.index(band.path), band.number) for band in band_files)
            factors, offsets = tuple(band.factor for band in band_files), tuple(band.offset for band in band_files)
            reflectance, sentinel2 = True, False
        else:
            bands = raster_bands(files, names, scene)
            each = [(files[index], number - 1) for index, number in bands]
            units = [words_of_bands(file)[i].unit for file, i in each]
            tags = [file.scales[i] for file, i in each], [file.offsets[i] for file, i in each], units
            called = own_names(files, bands, names, bool(scene.bands))
            for (index, _), name, unit in zip(bands, called, units, strict=True):
                if code_of(name) == "dem" and metres_of(unit) is None:
                    note(f"{paths[index]}: the unit of its elevation, {unit}, is unknown: taken for metres")
            factors, offsets, reflectance = tagged_scaling(*stated_scales(called, *tags), light(called))
            sentinel2 = of_sentinel2(files, bands, names)
        lit = light(called)
        nodata = [number for number in (product and product.nodata, scene.nodata) if number is not None]
        alphas = [alpha_of(file) for file in files]
        for i in [] if product or scene.bands else range(len(files)):
            if alphas[i] is not None and (i, files[i].count) in bands:
                name = names[bands.index((i, files[i].count))]
                raise UserError(f"{paths[i]}: its last band is one of opacity, and no {name}: see --scene-bands")
        alphas = [None if (i, file.count) in bands else alphas[i] for i, file in enumerate(files)]
        filled = tell_fills(paths, files, alphas, bands)
        if scene.offset is not None:
            stated = zip(factors, offsets, lit, strict=True)
            offsets = tuple(scene.offset * factor if is_lit else offset for factor, offset, is_lit in stated)
        deciding = [band for band, is_lit in zip(bands, lit, strict=True) if is_lit] or bands
        numbers = [[number for of_file, number in deciding if of_file == index] for index in range(len(files))]
        untagged = not nodata and all(map(is_untagged, files, alphas, numbers))
        source = SceneSource(
            paths=paths,
            bands=bands,
            columns=columns,
            light=tuple(i for i, is_lit in zip(columns, light(names), strict=True) if is_lit),
            reference=finest(files),
            dem=tuple(map(str, scene.dem)),
            terrain=terrain,
            nodata=(tuple(nodata),) * len(files),
            factors=factors,
            offsets=offsets,
            dem_nodata=scene.dem_nodata,
            alpha=tuple(i for i, alpha in enumerate(alphas) if alpha is not None),
            blank=blank_groups(lit) if untagged else (),
            filled=filled,
            reflectance=reflectance,
            sentinel2=sentinel2,
            product=product,
            grid=resized_grid(PixelGrid.of(files[finest(files)]), scene.pixel_size),
        )
        opened = Scene(source, files)
        if opened.grid.crs and not has_ellipsoid(opened.grid.crs):
            raise UserError(
                f"{paths[source.reference]}: nothing can be measured in its coordinate system, which has no "
                "ellipsoid: assign the right one with gdal_edit.py -a_srs"
            )
        stack.pop_all()  # from here on the scene closes them
        return opened


def product_bands(product, names, instead=()):
    """Find the bands of a model in a product; returns their product.BandFiles, in the model's order.

    Args:
        product: product.Product. names: of the model's bands that come from files. instead: names of the bands to take
            for them, in the same order; none: those bands themselves.

    Raises:
        UserError: for bands that the product lacks, or too many or too few.
    """
    if lacking := terrain_among(names):
        raise UserError(f"{product.name}: give an elevation raster with --dem for {' and '.join(lacking)}")
    if instead and len(instead) != len(names):
        raise UserError(f"{len(instead)} --scene-bands, but the run takes {len(names)} ({' '.join(names)})")
    return [product.band_file(name, chosen=bool(instead)) for name in instead or names]


def blank_groups(lit):
    """Return the positions of bands that are 0 together only where an untagged scene has no data, see `blank`.

    Those of light decide, because there is an elevation beyond the edge of a swath, too. A pixel that is 0 in one or
    two bands may be dark ground. lit: whether each band holds light.
    """
    positions = np.flatnonzero(lit).tolist()
    positions = positions if len(positions) > 2 else range(len(lit))
    return (tuple(positions),) if len(positions) > 2 else ()


def finest(files):
    """Return the index of the first among the rasters with the smallest pixels."""
    sizes = [abs(file.transform.determinant) if file.crs == files[0].crs else np.inf for file in files]
    return int(np.argmin(np.round(np.array(sizes) / sizes[0], 6)))


def alpha_of(file):
    """Read the last band of a raster, reduced, if it is a mask (image_files.is_alpha); None if it is not."""
    if file.count < 2 or file.colorinterp[-1] != ColorInterp.alpha:
        return None
    shape = tuple(min(size, 1024) for size in file.shape)
    with damage_reported(file.name):
        band = file.read(file.count, out_shape=shape)
        found = is_alpha(file, band, lambda: read_bands(file, file.indexes[:-1], shape))
    return band if found else None


def is_untagged(file, alpha, numbers):
    """Return whether a raster says nowhere where some bands have no data: by a value, a mask or a band of opacity.

    alpha: that band, reduced, or None. One that is opaque everywhere says nothing. numbers: of the bands, from 1.
    """
    if any(band_tags(file, number).fills.size for number in numbers):
        return False
    if alpha is not None:
        return bool(alpha.all())
    no_mask = {MaskFlags.all_valid, MaskFlags.alpha, MaskFlags.nodata}  # the last one is a fill that nobody stated
    return all(no_mask.intersection(file.mask_flag_enums[number - 1]) for number in numbers)


def tell_fills(paths, files, alphas, bands):
    """Print which files hold usual numbers of no data in bands without a tag, by a reduced copy; return their indices.

    paths, files: of open rasters. alphas: see `is_untagged`, of each. bands: (index of the file, number from 1), ...
    """
    filled = []
    for index, (path, file, alpha) in enumerate(zip(paths, files, alphas, strict=True)):
        numbers = [number for of_file, number in bands if of_file == index and is_untagged(file, alpha, [number])]
        if not numbers or not usual_fills(common_type(file.dtypes[number - 1] for number in numbers)):
            continue
        with damage_reported(path):
            sample = read_bands(file, numbers, tuple(min(size, 2048) for size in file.shape))
        if (hits := is_fill(sample)) is not None and hits.any():
            values = " and ".join(f"{value:g}" for value in np.unique(sample[hits])[::-1])
            verb = "count" if " and " in values else "counts"
            note(f"{path}: {values} {verb} as no data ({hits.any(0).mean():.1%} of its pixels)")
            filled.append(index)
    return tuple(filled)


def terrain_columns(model_bands, dem):
    """Return ((name, position), ...) of slope and elevation among the model's bands; () without a `dem`.

    A model that takes neither gets no band of `dem`, which then only describes the polygons.
    """
    if not dem:
        return ()
    if len(model_bands) > 2 and numbered(model_bands):
        return tuple(zip(TERRAIN, range(len(model_bands) - 2, len(model_bands)), strict=True))  # unnamed: the last
    codes = list(map(code_of, model_bands))
    return tuple((name, codes.index(name)) for name in TERRAIN if name in codes)
