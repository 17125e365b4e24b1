"""Where each band of a model comes from in a scene, and how its values are scaled."""

import contextlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from bands import BANDS_L4S, SCALE_L4S, TERRAIN
from ground import has_ellipsoid
from scenes.opening import open_raster
from scenes.scene import Scene
from script import UserError

SCALINGS = ("none", "l4s", "stretch")
FAR_MEAN, FAR_DEVIATION = 2.0, 3.0  # limits of a shifted band: its mean in deviations, its deviation as a ratio


@dataclass(frozen=True)
class SceneSource:
    """What is needed to read a scene, in plain values that can be sent to another process.

    Attributes:
        paths: of the files. bands: for each band that comes from them (index of the file, number from 1).
        columns: places of those bands among the model's. reference: index of the file whose grid is the scene's.
        dem: path of an elevation raster or "". terrain: ((name, place among the model's bands), ...), if so.
        nodata: value that means no data where the files do not say, or None. offset: added to what files hold.
        dem_nodata: value that means no elevation where its file does not say, or None.
        alpha: indices of files whose last band is a mask. blank: whether 0 in all bands means no data.
        gain, bias: one for each band of the model: scaled = gain * value + bias. clip: whether to keep it in 0-255.
    """

    paths: tuple
    bands: tuple
    columns: tuple
    reference: int
    dem: str
    terrain: tuple
    nodata: float | None
    offset: float
    gain: tuple
    bias: tuple
    clip: bool = False
    dem_nodata: float | None = None
    alpha: tuple = ()
    blank: bool = False


def open_scene(paths, model_bands, scene_bands=(), dem="", nodata=None, offset=0.0, dem_nodata=None):
    """Open a scene with the bands that a model takes, not yet scaled; see `match_bands` for the arguments.

    Args:
        paths: one raster, or several of one band each in the model's order.
        dem: path of an elevation raster or "".

    Raises:
        UserError: for a file that cannot be opened, bands that are missing, too many or too few, or a coordinate
            system in which nothing can be measured.
    """
    with contextlib.ExitStack() as stack:
        files = [open_raster(path) for path in paths]
        for file in files:  # entered as contexts, they would close GDAL's environment for others
            stack.callback(file.close)
        source = match_bands(files, model_bands, scene_bands, dem, nodata, offset)
        scene = Scene(replace(source, paths=tuple(map(str, paths)), dem_nodata=dem_nodata), files)
        if scene.grid.crs and not has_ellipsoid(scene.grid.crs):
            raise UserError(
                f"{paths[scene.source.reference]}: nothing can be measured in its coordinate system, which has no "
                "ellipsoid: assign the right one with gdal_edit.py -a_srs"
            )
        stack.pop_all()  # from here on the scene closes them
        return scene


def match_bands(files, model_bands, scene_bands=(), dem="", nodata=None, offset=0.0):
    """Find where each band of a model comes from; returns a SceneSource that does not scale.

    Args:
        files: open rasters: one, or several of one band each in the model's order. The grid is that of the first
            among those with the smallest pixels.
        model_bands: names of the model's bands. Slope and dem come from `dem` if it is given, all others (in the
            model's order) from the files.
        scene_bands: bands to take, by number from 1 or by name (GDAL's description of the band, a word of it, or
            what the file is called after: B4 is found in T33UVP_B04.jp2); empty for all in order.
        dem, nodata, offset: see SceneSource.

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
    terrain = terrain_columns(model_bands, dem)
    columns = tuple(i for i in range(len(model_bands)) if i not in dict(terrain).values())
    alpha = tuple(index for index, file in enumerate(files) if has_alpha(file))
    if scene_bands:
        chosen = [find_band(band, found, paths[0]) for band in scene_bands]
    else:  # a last band that GDAL takes for alpha is left out, unless the model needs as many bands
        chosen = found
        if len(found) != len(columns):
            spare = [(i, file.count) for i, file in enumerate(files) if file.colorinterp[-1] == ColorInterp.alpha]
            chosen = [entry for entry in found if entry[:2] not in spare]
    alpha = tuple(index for index in alpha if (index, files[index].count) not in [entry[:2] for entry in chosen])
    if len(chosen) != len(columns):
        wanted = [model_bands[i] for i in columns]
        lacking = [] if dem else [name for name in wanted if name in TERRAIN]
        hint = "choose them, in this order, with --scene-bands"
        if lacking and len(chosen) + len(lacking) == len(wanted):
            hint = f"give an elevation raster with --dem for {' and '.join(lacking)}"
        where = paths[0] if len(paths) == 1 else f"{len(paths)} files"
        raise UserError(f"{where}: {len(chosen)} bands, but the run takes {len(wanted)} ({' '.join(wanted)}): {hint}")
    sizes = [abs(file.transform.determinant) if file.crs == files[0].crs else np.inf for file in files]
    return SceneSource(
        paths=tuple(map(str, paths)),
        bands=tuple((index, number) for index, number, _ in chosen),
        columns=columns,
        reference=int(np.argmin(np.round(np.array(sizes) / sizes[0], 6))),
        dem=str(dem),
        terrain=terrain,
        nodata=nodata,
        offset=offset,
        gain=(1.0,) * len(model_bands),
        bias=(0.0,) * len(model_bands),
        alpha=alpha,
        blank=nodata is None and len(chosen) > 2 and all(is_untagged(file) for file in files),
    )


def has_alpha(file):
    """Return whether the last band of a raster is a mask: GDAL says so, and it holds nothing but 0 and 255."""
    if file.count < 2 or file.colorinterp[-1] != ColorInterp.alpha:
        return False
    shape = tuple(min(size, 1024) for size in file.shape)
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
    """Return ((name, place), ...) of slope and elevation among the model's bands; none without `dem`."""
    if not dem:
        return ()
    columns = tuple((name, model_bands.index(name)) for name in TERRAIN if name in model_bands)
    if not columns and len(model_bands) > 2 and all(name.startswith("band") for name in model_bands):
        columns = tuple(zip(TERRAIN, range(len(model_bands) - 2, len(model_bands)), strict=True))  # unnamed: the last
    if not columns:
        raise UserError(f"the run takes neither slope nor dem (its bands: {' '.join(model_bands)}): leave --dem out")
    return columns


# ---------------------------------------------------------------------- scaling


def scaled(source, scaling, model_bands, pixels):
    """Return the source with a scaling: "l4s" by the data set's constants, "stretch" by percentiles of the scene.

    Args:
        source: SceneSource without a scaling. scaling: one of SCALINGS. model_bands: names of the model's bands.
        pixels: a sample of the scene without a scaling, model's bands x pixels.
    """
    if scaling not in SCALINGS:
        raise UserError(f"scaling {scaling!r} is none of {', '.join(SCALINGS)}")
    if scaling == "l4s":
        constants = dict(zip(BANDS_L4S, SCALE_L4S, strict=True))
        unknown = [name for name in model_bands if name not in constants]
        if unknown:
            raise UserError(f"scaling l4s knows {' '.join(BANDS_L4S)}; the run's band {unknown[0]} is none of them")
        return replace(source, gain=tuple(1 / constants[name] for name in model_bands))
    if scaling == "stretch" and pixels.size:
        low, high = np.percentile(pixels, [2, 98], axis=1).astype(float)
        gain = 255 / np.maximum(high - low, 1e-6)
        return replace(source, gain=tuple(gain.tolist()), bias=tuple((-low * gain).tolist()), clip=True)
    return source


def shifted_bands(pixels, mean, variance):
    """Find bands of a sample (bands x pixels) that lie far from the training data, given its mean and variance.

    Returns the places of bands whose mean differs by more than 2 standard deviations of the training data, or whose
    standard deviation differs by more than a factor of 3.
    """
    if not pixels.size:
        return []
    deviation = np.sqrt(np.where(np.asarray(variance) > 0, variance, 1.0))
    off = np.abs(pixels.mean(1, dtype=np.float64) - mean) / deviation
    spread = pixels.std(1, dtype=np.float64) / deviation
    return np.flatnonzero((off > FAR_MEAN) | (spread > FAR_DEVIATION) | (spread < 1 / FAR_DEVIATION)).tolist()


def distance_from_training(pixels, mean, variance, bands, scene):
    """Say how far a scene lies from the training data, what the likely cause is and which flag to try; "" if near.

    Args:
        pixels: sample of the scene as the model sees it, bands x pixels.
        mean, variance: of each band over the run's training split. bands: their names.
        scene: mapping.SceneInput, for what was tried.
    """
    shifted = shifted_bands(pixels, mean, variance)
    if not shifted:
        return ""
    mean, deviation = np.asarray(mean, float), np.sqrt(np.where(np.asarray(variance) > 0, variance, 1.0))
    here, spread = pixels.mean(1, dtype=np.float64), pixels.std(1, dtype=np.float64)
    shown = ", ".join(
        f"{bands[i]} {here[i]:.4g} ± {spread[i]:.3g} (in training {mean[i]:.4g} ± {deviation[i]:.3g})"
        for i in shifted[:3]
    )
    more = f" and {len(shifted) - 3} more bands" if len(shifted) > 3 else ""
    light = [i for i in range(len(bands)) if bands[i] not in TERRAIN]
    ratio = np.median(here[light] / np.where(mean[light] == 0, 1, mean[light])) if light else 1.0
    eight_bits = pixels[light].max(initial=0) <= 255 and (pixels[light] == np.rint(pixels[light])).all()
    display = float(mean[light].max(initial=0)) > 20  # the run learnt from values of 0 to 255
    if set(shifted) <= {bands.index(name) for name in TERRAIN if name in bands}:
        cause = "only slope or elevation differ: other mountains, or --dem in other units"
    elif scene.scaling == "none" and display and ratio > 4:
        cause = "these look like digital numbers, and the run takes 0 to 255: try --scaling stretch"
    elif scene.scaling == "none" and not display and eight_bits:
        cause = "these look like 8-bit display values, which hold no reflectance: give the original product"
    elif scene.scaling == "none" and not display and ratio > 50:
        cause = "these look like digital numbers: try --scaling l4s"
    elif scene.scaling == "none" and not display and ratio < 0.05:
        cause = "these look like reflectances of 0 to 1: multiply them by 10000 and use --scaling l4s"
    elif scene.scaling == "l4s" and not scene.offset and ratio > 1.5:
        cause = "all bands are brighter: a product of baseline 04.00 or later needs --offset -1000"
    elif scene.scaling == "l4s" and scene.offset and ratio < 0.5:
        cause = "all bands are darker: the offset may be applied already, leave --offset out"
    elif scene.scaling == "l4s":
        cause = (
            "the order of bands may differ (--scene-bands), or the product be Level-2A, which has no haze in its blue"
        )
    else:
        cause = "another kind of ground or season than in training: check the map"
    return f"far from what the run was trained on: {shown}{more}. Likely: {cause}"
