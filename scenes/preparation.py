"""Scenes made ready for a run: opened, scaled as the run expects, with the ground that is hidden or excluded."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine

from bands import REFLECTANCE
from mask_values import EXCLUDED, HIDDEN
from patches.pixel_sizes import learnt_by, outside
from patches.usual_values import statistics_of_size, usual_statistics
from scenes import before_after
from scenes.clouds import open_clouds
from scenes.exclusion import open_excluded
from scenes.products.recognition import open_product
from scenes.raster_faults import LARGEST_LIGHT
from scenes.scaling import Known, choose_scaling, distance_from_training, holds_fractions, matched, scaled
from scenes.source import open_scene
from scenes.vectors import EVERYTHING, Choice
from scenes.weaknesses import OTHER_PIXELS, OTHER_VALUES, Weakness
from script import UserError, note, warn


def open_scenes(scene, before, bands):
    """Open the scenes that a run takes.

    Args:
        scene, before: SceneInput; before is None for one date. bands: names of the model's bands.

    Returns:
        [Scene] of one date, [Scene] with the bands of two dates, or [Scene after the event, Scene before it].

    Raises:
        UserError: a scene cannot be opened, or the one before is missing or does not fit.
    """
    if before_after.is_pair_run(bands):
        if not before:
            raise UserError("the run takes two dates: give the scene before the event with --before")
        return [before_after.open_pair(scene, before, bands)]
    opened = open_scene(scene, bands)
    if not before:
        return [opened]
    try:  # a run takes its bands of the terrain on both dates
        before = replace(before, dem=scene.dem if opened.source.terrain else ())
        return [opened, before_after.open_before(before, bands, opened)]
    except BaseException:
        opened.close()
        raise


def open_learnt(scene, before, config):
    """Open the scenes that a run takes, see `open_scenes`, at a pixel size that it has learnt.

    Finer pixels than the run has learnt from are averaged to the finest that it has, unless scene.pixel_size says
    otherwise.

    Args:
        scene, before: see `open_scenes`. config: of the run.

    Returns:
        ([Scene, ...], side of a pixel in metres or None, [Weakness, ...]). Without a coordinate system the size is that
        of scene.pixel_size; if none is given, it is the usual one of the run.
    """
    bands, learnt = tuple(config["bands"]), learnt_by(config)
    scenes = open_scenes(scene, before, bands)
    metres = scenes[0].grid.metres or scene.pixel_size
    if not learnt:
        return scenes, metres, []
    least, most, usual = learnt
    if metres and scene.pixel_size is None and metres < least / 1.1:
        note(
            f"pixels of {metres:.3g} m are averaged to the finest that the run has learnt, {least:.3g} m (--pixel-size)"
        )
        for opened in scenes:
            opened.close()
        scene, before = (each and replace(each, pixel_size=least) for each in (scene, before))
        scenes = open_scenes(scene, before, bands)
        metres = scenes[0].grid.metres
    if metres:
        text = outside(metres, learnt)
        return scenes, metres, [Weakness(OTHER_PIXELS, f"{text}: expect more errors")] if text else []
    so = (
        f"it is taken for {usual:.3g} m"
        if config.get("pixel_size_input")
        else f"the run learnt {least:.3g} to {most:.3g} m"
    )
    text = f"the size of a pixel on the ground is unknown, and {so}: tell it with --pixel-size"
    return scenes, usual, [Weakness("Pixels of unknown size", text)]


@dataclass(frozen=True)
class CoverSettings:
    """What hides ground, and what is excluded; see the constants of predict.py."""

    clouds: str = "auto"
    cloud_buffer: float = 0.0
    exclude: tuple = ()
    exclude_choice: Choice = EVERYTHING
    buffer: float = 0.0


def open_covers(stack, scenes, inputs, settings):
    """Open the rasters and shapes that hide ground on either date, or exclude it.

    Args:
        stack: contextlib.ExitStack that closes them. scenes: of `open_scenes`. inputs: SceneInput of each date.
        settings: CoverSettings.

    Returns:
        ([(code in the mask, HidingRaster or ExcludedShapes), ...], of which the last one decides; the origin of the
        clouds of the first date, "unknown" without a cloud mask).
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clouds-")))
    grid, margin = scenes[0].grid, settings.cloud_buffer
    excluded = open_excluded(settings.exclude, grid, settings.buffer, settings.exclude_choice)
    clouds = []
    for i, scene in enumerate(filter(None, inputs)):
        # a model of two dates has both in one scene, which knows the product of the later one
        product = scenes[i].source.product if i < len(scenes) else open_product(scene.paths)
        setting = settings.clouds if i == 0 or settings.clouds in ("none", "ukis") else "auto"
        clouds.append(open_clouds(setting, product, grid, folder / f"clouds{i}.tif", margin, scene))
    covers = [(EXCLUDED, cover) for cover in excluded] + [(HIDDEN, cover) for cover in clouds if cover]
    for _, cover in covers:
        stack.callback(cover.close)
    return covers, clouds[0].origin if clouds[0] else "unknown"


def prepare(opened, scene, config, covers=(), size_warned=False):
    """Scale a scene as a run expects it, and report what is unusual about it.

    Args:
        opened: open Scene with the bands of the run. scene: SceneInput that it was opened by.
        config: of the run, with bands, values, band_mean and band_variance. Without the last two, the scene is not
            compared with the training data.
        covers: HidingRasters and the like of ground that is not seen, whose values mean nothing.
        size_warned: whether the size of the pixels was found to be another than in training.

    Returns:
        (name of the scaling, [Weakness, ...]).

    Raises:
        UserError: a value is too large for light.
    """
    pixels, dem_share = opened.sample(covers)
    lit = pixels[list(opened.source.light)]
    if lit.size and (largest := float(lit.flat[np.abs(lit).argmax()])) and abs(largest) > LARGEST_LIGHT:
        raise UserError(f"{scene.paths[0]} holds {largest:g}, which is no light: is it no data? --nodata {largest:g}")
    setting, unit = scene.scaling, config["values"]
    scene = replace(scene, scaling="auto") if setting == "match" else scene  # the values are brought near first
    scene = apply_scaling(opened, scene, config["bands"], unit, pixels)
    unscaled = pixels.copy()
    opened.scale(pixels)
    found = scene_warnings(opened, scene, config, pixels, dem_share, bool(covers), size_warned)
    usual = statistics_of_size(config, opened.grid.metres or scene.pixel_size)
    near = scene.scaling == "l4s" and unit == "display" and not any(each.title == OTHER_VALUES for each in found)
    if setting == "match":
        usual = usual or training_alone(config)
    elif setting != "auto" or not near:
        usual = None
    if usual and pixels.size:
        opened.source = replace(opened.source, clip=False)  # what l4s clips has its say in mean and variance
        opened.scale(unscaled)
        opened.source = matched(opened.source, unscaled, *usual, unit)
        note("--scaling match: each band gets the mean and variance of training pictures with such pixels, as well")
        return "match", found
    return scene.scaling, found


def training_alone(config):
    """Return (mean, variance) of each band over the training of a run of one source, for `--scaling match`."""
    if len(config.get("sources", ())) > 1 or "band_mean" not in config:
        raise UserError("--scaling match: the run learnt from no pictures with pixels of this size: --scaling auto")
    return config["band_mean"], config["band_variance"]


def apply_scaling(opened, scene, bands, unit, pixels):
    """Scale a scene, and print how. Fractions become reflectance x 10000, also in the sample, which is not scaled.

    Args:
        opened: open Scene. scene: SceneInput, whose scaling may be "auto". bands: names of the model's bands.
        unit: of the run's training files, as bands.value_unit returns it. pixels: sample of the scene.

    Returns:
        SceneInput with the scaling and the offset that were used.
    """
    scaling, of_dates, source = scene.scaling, {}, opened.source
    tagged = source.reflectance or set(source.factors) != {1.0} or (scene.offset is None and any(source.offsets))
    for position in source.light_bands:
        of_dates.setdefault(bands[source.columns[position]].partition(" ")[2], []).append(position)
    for date, positions in of_dates.items() if scaling in ("auto", "l4s") else ():
        if holds_fractions(opened, unit, pixels, positions):
            whose = f" of the scene {date}" if date else ""
            note(f"values{whose} of 0 to 1.5 in floats are taken for reflectance, and multiplied by {REFLECTANCE}")
            factors = np.array(opened.source.factors)
            factors[positions] *= REFLECTANCE
            opened.source = replace(opened.source, factors=tuple(factors.tolist()), reflectance=True)
            pixels[[opened.source.columns[i] for i in positions]] *= np.float32(REFLECTANCE)
    source = opened.source
    if scaling == "auto":
        scaling = choose_scaling(unit, source, opened.dtype, pixels)
    opened.source = scaled(source, scaling, tuple(bands), pixels, unit)
    if source.product:
        offsets = {round(offset / factor) for factor, offset in zip(source.factors, source.offsets, strict=True)}
        offset_text = " or ".join(f"{offset:+d}" for offset in sorted(offsets))
        print(f"{source.product.name}: {source.product.kind}, offset {offset_text}, scaling {scaling}")
    elif tagged:
        factors = ", ".join(f"{factor:g}" for factor in dict.fromkeys(source.factors))
        note(f"the scale and offset that the files state are applied: {factors}")
    if scene.scaling == "auto" and scaling != "none" and not source.product:
        reason = "what the run learnt from and the type of the files"
        if scaling == "l4s" and unit != "l4s" and source.sentinel2:
            reason = "the files name bands of Sentinel-2 and hold reflectance x 10000"
        note(f"--scaling {scaling}: {reason}; none takes them as is")
    offset = next((source.offsets[position] for position in source.light_bands), 0.0)
    return replace(scene, scaling=scaling, offset=offset)


def usual_of_scene(config, pixels):
    """Return usual_values.usual_statistics for a sample of a scene, bands x pixels."""
    return usual_statistics(config, pixels.mean(1, dtype=np.float64), pixels.var(1, dtype=np.float64))


def scene_warnings(opened, scene, config, pixels, dem_share, covered, size_warned):
    """Print notes and warnings on a scene before the work; return the Weaknesses: its level, elevation and values."""
    found = []
    if opened.source.product and opened.source.product.surface and config["values"] == "l4s":
        text = (
            "the run learnt from Level-1C. Level-2A has no haze, its blue is about a third darker: expect more errors, "
            "or take the Level-1C product"
        )
        found.append(Weakness("Another product than in training", text))
    if opened.grid.crs is None:
        where = "those of its world file" if opened.grid.transform != Affine.identity() else "in pixels, too"
        note(f"the scene has no coordinate system: areas and --min-area are in pixels, positions are {where}")
    if opened.blank_share:
        of_light = "" if len(opened.source.light) == len(opened.source.columns) else " of light"
        note(
            f"{opened.blank_share:.1%} of the scene's pixels are 0 in all bands{of_light}: they count as no data "
            "(--nodata says otherwise)"
        )
    dem = " ".join(map(str, scene.dem))
    if dem and dem_share == 0:
        raise UserError(f"{dem} does not lie under the scene: there is no elevation for any of its pixels")
    if dem_share < 0.999:
        rest = "is left without data" if opened.source.terrain else "has no slope"
        found.append(Weakness("Elevation is missing", f"{dem} covers {dem_share:.1%} of the scene; the rest {rest}"))
    if "band_mean" in config and pixels.size:
        training = *usual_of_scene(config, pixels), config["bands"]
        source = opened.source
        known = Known(source.product, source.reflectance, source.sentinel2, covered, size_warned)
        if text := distance_from_training(pixels, *training, scene, known):
            found.append(Weakness(OTHER_VALUES, text))
    for each in found:
        warn(each.text)
    return found
