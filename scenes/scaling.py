"""How the values of a scene are brought to what a run learnt from, and how far from it they lie."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bands import l4s_gains, light
from patches.usual_values import describe_unusual, gains_to_match, unusual_bands
from script import UserError

SCALINGS = ("auto", "none", "l4s", "stretch", "match")
HIGHEST_FRACTION = 1.5  # reflectance of snow, and of slopes that face the sun, may exceed 1


class Known(NamedTuple):
    """What is known of a scene, and cannot be the cause of unusual values.

    Attributes:
        product: product.Product, or None. offset: whether the offset is that of the scene's metadata.
        named: whether the files name their bands. covered: whether clouds are hidden.
        size_warned: whether its pixels have another size than in training, which is said already.
    """

    product: object = None
    offset: bool = False
    named: bool = False
    covered: bool = False
    size_warned: bool = False


UNKNOWN = Known()


def choose_scaling(unit, source, dtype, pixels):
    """Choose the scaling that brings a scene to what a run learnt from.

    Whole numbers of more than 8 bits without metadata are taken for reflectance x 10000 if the run expects reflectance,
    or if the files name Sentinel-2's bands and hold numbers of its range. For other files and a run of pictures, whose
    sensor may be any, they are stretched.

    Args:
        unit: of the run's training files, as bands.value_unit returns it. source: SceneSource. dtype: of the scene's
            files. pixels: a sample of the scene without a scaling, model's bands x pixels.

    Returns:
        one of SCALINGS but auto and match.
    """
    if not unit or dtype == "uint8" or (not source.reflectance and np.dtype(dtype).kind not in "ui"):
        return "none"
    reflectance = source.reflectance or (source.sentinel2 and holds_reflectance(pixels[list(source.light)]))
    return "l4s" if reflectance or unit == "l4s" else "stretch"


def holds_fractions(opened, unit, pixels, positions):
    """Return whether a scene of floats without tags holds reflectance from 0 to 1, as Earth Engine and openEO write it.

    Files in the unit of Landslide4Sense have means about 1, so for such a run most values have to lie below that.

    Args:
        opened: open Scene, not scaled. unit: of the run's training files, as bands.value_unit returns it.
        pixels: a sample of it, model's bands x pixels. positions: in source.bands, of the light of one date.
    """
    source = opened.source
    values = pixels[[source.columns[i] for i in positions]]
    tagged = any(source.factors[i] != 1 or source.offsets[i] for i in positions)
    are_floats = all(np.dtype(opened.dtypes[i]).kind == "f" for i in positions)
    if not unit or tagged or not are_floats or not values.size:
        return False
    low, middle, high = np.percentile(values, [0.1, 50, 99.9])
    return bool(low > -0.5 and 0.001 < high <= HIGHEST_FRACTION and (unit == "display" or middle < 0.5))


def holds_reflectance(pixels):
    """Return whether a sample of bands (bands x pixels) may be Sentinel-2's reflectance x 10000.

    Its dark ground lies below 0.4 everywhere but in snow, unlike the numbers of Landsat (from some 7000 on), and its
    bright ground above 0.0255, unlike values of 8 bits in a larger type.
    """
    if not pixels.size:
        return False
    dark, bright = np.percentile(pixels, [2, 98], axis=1)
    return bool((dark < 4000).all() and bright.max() > 255)


def scaled(source, scaling, model_bands, pixels, unit="l4s"):
    """Return the source with a scaling: "l4s" by the data set's constants, "stretch" by percentiles of the scene.

    With "match" the values stay, for `matched`.

    Slope and elevation are not stretched. They come to the run's unit as by "l4s": in degrees and metres for pictures.

    Args:
        source: SceneSource without a scaling. scaling: one of SCALINGS but auto. model_bands: names of the model's
            bands. pixels: a sample of the scene without a scaling, model's bands x pixels.
        unit: what the run learnt from. For "display", l4s leads to 0-255 by one factor for all scenes.

    Raises:
        UserError: the scaling is unknown, or l4s has no constant for a band.
    """
    if scaling not in SCALINGS:
        raise UserError(f"scaling {scaling!r} is none of {', '.join(SCALINGS)}")
    if scaling == "l4s":
        return replace(source, gain=l4s_gains(model_bands, unit), clip=unit == "display")
    if scaling == "stretch" and pixels.size:
        low, high = np.percentile(pixels, [2, 98], axis=1).astype(float)
        gain = 255 / np.maximum(high - low, 1e-6)
        bias, from_dem = -low * gain, {column: name for name, column in source.terrain}
        for i in set(range(len(gain))) - set(source.light):
            (gain[i],), bias[i] = l4s_gains([from_dem.get(i, model_bands[i])], unit or "display"), 0.0
        return replace(source, gain=tuple(gain.tolist()), bias=tuple(bias.tolist()), clip=True)
    return source


def matched(source, pixels, mean, variance, unit):
    """Return the source with the bands of light brought to the mean and variance that they have in training.

    Args:
        source: SceneSource, scaled or not. pixels: a sample of the scene, scaled as by the source, model's bands x
            pixels; at least one. mean, variance: in training, of each of the model's bands. unit: see `scaled`.
    """
    gain, bias = gains_to_match(pixels, mean, variance)
    others = sorted(set(range(len(gain))) - set(source.light))
    gain[others], bias[others] = 1.0, 0.0
    gain_before, bias_before = source.gain or np.ones(len(pixels)), source.bias or np.zeros(len(pixels))
    bias += gain * bias_before
    return replace(source, gain=tuple((gain * gain_before).tolist()), bias=tuple(bias.tolist()), clip=unit == "display")


def distance_from_training(pixels, mean, variance, bands, scene, known=UNKNOWN):
    """Describe how far a scene lies from the training data, the likely cause and the flag to try; "" if it lies near.

    Args:
        pixels: sample of the scene as the model sees it, bands x pixels; at least one.
        mean, variance: of each band over the run's training split. bands: their names.
        scene: source.SceneInput, for the scaling and offset that were used. known: Known.
    """
    mean, variance = np.asarray(mean, float), np.asarray(variance, float)
    scene_mean, scene_variance = pixels.mean(1, dtype=np.float64), pixels.var(1, dtype=np.float64)
    shifted = unusual_bands(scene_mean, scene_variance, mean, variance)
    if not shifted:
        return ""
    described = describe_unusual(bands, shifted, scene_mean, scene_variance, mean, variance)
    lit = light(bands)
    ratio = np.median(scene_mean[lit] / np.where(mean[lit] == 0, 1, mean[lit])) if lit.any() else 1.0
    eight_bits = pixels[lit].max(initial=0) <= 255 and (pixels[lit] == np.rint(pixels[lit])).all()
    display = float(mean[lit].max(initial=0)) > 20  # the run learnt from values of 0 to 255
    if not lit[shifted].any():
        cause = "only slope or elevation differ: other mountains, or --dem in other units"
    elif scene.scaling == "none" and display and ratio > 4:
        cause = "these look like digital numbers, and the run takes 0 to 255: try --scaling stretch"
    elif scene.scaling == "none" and not display and eight_bits:
        cause = "these look like 8-bit display values, which hold no reflectance: give the original product"
    elif scene.scaling == "none" and not display and ratio > 50:
        cause = "these look like digital numbers: try --scaling l4s"
    elif scene.scaling == "none" and ratio < 0.05 and scene.offset:
        cause = "these look like reflectances of 0 to 1, to which --offset is not added: leave it out, or add it first"
    elif scene.scaling == "none" and ratio < 0.05:
        cause = "these look like reflectances of 0 to 1: --scaling l4s takes them as such"
    elif known.size_warned:
        cause = "the pixels have another size than in training (see above)"
    elif scene.scaling == "l4s" and not known.offset and not scene.offset and ratio > 1.5:
        clouds = "" if known.covered else ", and clouds or snow need a mask (--clouds)"
        cause = f"all bands are brighter: a product of baseline 04.00 or later needs --offset -1000{clouds}"
    elif scene.scaling == "l4s" and not known.offset and scene.offset and ratio < 0.5:
        cause = "all bands are darker: the offset may be applied already, leave --offset out"
    elif scene.scaling == "l4s" and known.product and known.product.surface:
        cause = "Level-2 has no haze: its blue is darker than in the Level-1C that the run learnt from"
    elif ratio > 1.5 and not known.covered:
        cause = "clouds or snow, for which no mask was used (--clouds)"
    elif scene.scaling == "l4s" and not known.product:
        order = "" if known.named else "the order of bands may differ (--scene-bands), or "
        cause = f"{order}the scene may be of Level-2A, which has no haze in its blue"
    else:
        cause = "another kind of ground or season than in training: check the map"
    return f"far from what the run was trained on: {described}. Likely: {cause}"
