"""Scenes made ready for a run: opened, scaled as the run expects, with what hides their ground."""

import tempfile
from dataclasses import replace
from pathlib import Path

from mask_values import EXCLUDED, HIDDEN
from scenes import pairs
from scenes.clouds import open_clouds
from scenes.exclusion import open_excluded
from scenes.products.recognition import open_product
from scenes.scaling import choose_scaling, distance_from_training, scaled
from scenes.source import open_scene
from script import UserError


def open_scenes(scene, before, bands):
    """Open what a model is shown: one scene, one with the bands of two dates, or one after and one before."""
    if pairs.is_pair_run(bands):
        if not before:
            raise UserError("the run takes two dates: give the scene before the event with --before")
        return [pairs.open_pair(scene, before, bands)]
    opened = open_scene(scene, bands)
    if not before:
        return [opened]
    try:  # what a run takes of the terrain, it takes on both dates
        before = replace(before, dem=scene.dem if opened.source.terrain else "")
        return [opened, pairs.open_before(before, bands, opened)]
    except BaseException:
        opened.__exit__()
        raise


def open_covers(stack, scenes, inputs, clouds, exclude="", buffer=0.0):
    """Open what hides ground on either date.

    Args:
        stack: contextlib.ExitStack that closes them. scenes: of `open_scenes`. inputs: SceneInput of each date.
        clouds, exclude, buffer: see the constants of predict.py.

    Returns:
        ([(code in the mask, what to ask), ...], of which the last one decides; what told the clouds of the first).
    """
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clouds-")))
    covers = [(EXCLUDED, open_excluded(exclude, scenes[0].grid, buffer))]
    for i, scene in enumerate(filter(None, inputs)):
        # a model of two dates has both in one scene, which knows the product of the later one
        product = scenes[i].source.product if i < len(scenes) else open_product(scene.paths)
        wanted = clouds if i == 0 or clouds in ("none", "ukis") else "auto"
        covers.append((HIDDEN, open_clouds(wanted, product, scenes[0].grid, folder / f"clouds{i}.tif")))
    told = covers[1][1]
    covers = [(code, cover) for code, cover in covers if cover]
    for _, cover in covers:
        stack.callback(cover.close)
    return covers, told.what if told else "unknown"


def prepare(opened, scene, config):
    """Scale a scene as a run expects it and tell what is unusual about it.

    Args:
        opened: open Scene with the bands of the run. scene: SceneInput. config: of the run; of it bands, values,
            band_mean and band_variance are used. Without the last two, values are not compared with them.

    Returns:
        (name of the scaling, [warning, ...]).
    """
    pixels, dem_share = opened.sample()
    scene = scale(opened, scene, config["bands"], config["values"], pixels)
    return scene.scaling, check_scene(opened, scene, config, pixels, dem_share)


def scale(opened, scene, bands, unit, pixels):
    """Choose and apply the scaling of a scene, to its sample too, and say what was done with its values.

    bands: names of the model's bands. unit: of what the run learnt from, as bands.value_unit tells it.
    Returns the SceneInput with the scaling and the offset that were used.
    """
    source, chosen = opened.source, scene.scaling
    if chosen == "auto":
        chosen = choose_scaling(unit, source, opened.dtype)
    opened.source = scaled(source, chosen, tuple(bands), pixels, unit)
    opened.scale(pixels)
    if source.product:
        offsets = {round(offset / factor) for factor, offset in zip(source.factors, source.offsets, strict=True)}
        shown = " or ".join(f"{offset:+d}" for offset in sorted(offsets))
        print(f"{source.product.name}: {source.product.kind}, offset {shown}, scaling {chosen}")
        if source.product.surface and unit == "l4s":
            print(
                "note: the run learnt from Level-1C. Level-2A has no haze, its blue is about a third darker: expect "
                "more errors, or take the Level-1C product"
            )
    elif source.reflectance and scene.offset is None:
        print(f"note: the scale and offset that the files state are applied: {source.factors[0]:g}")
    if scene.scaling == "auto" and chosen != "none" and not source.product:
        print(f"note: --scaling {chosen}, by what the run learnt from and the type of the files; none takes them as is")
    return replace(scene, scaling=chosen, offset=source.offsets[0])


def check_scene(opened, scene, config, pixels, dem_share):
    """Print before the work what is unusual about a scene; returns its warnings: little elevation, unusual values."""
    warnings = []
    if opened.grid.crs is None:
        print("note: the scene has no coordinate system: areas and --min-area are in pixels, positions too")
    if opened.blank_share:
        print(
            f"note: {opened.blank_share:.1%} of the scene's pixels are 0 in all bands: they count as no data "
            "(--nodata says otherwise)"
        )
    if scene.dem and dem_share == 0:
        raise UserError(f"{scene.dem} does not lie under the scene: there is no elevation for any of its pixels")
    if dem_share < 0.999:
        rest = "is left without data" if opened.source.terrain else "has no slope"
        warnings.append(f"{scene.dem} covers {dem_share:.1%} of the scene; the rest {rest}")
    if "band_mean" in config:
        training = config["band_mean"], config["band_variance"], config["bands"]
        if far := distance_from_training(pixels, *training, scene, opened.source.reflectance):
            warnings.append(far)
    for text in warnings:
        print(f"warning: {text}")
    return warnings
