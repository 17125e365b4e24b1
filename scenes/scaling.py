"""How the values of a scene are brought to what a run learnt from, and how far from it they lie."""

from dataclasses import replace

import numpy as np

from bands import TERRAIN, far_off, l4s_gains
from script import UserError

SCALINGS = ("auto", "none", "l4s", "stretch")


def choose_scaling(unit, source, dtype):
    """Choose the scaling that brings a scene to what a run learnt from.

    Args:
        unit: of the run's training files, as bands.value_unit tells it. source: SceneSource. dtype: of the scene's
            files. Whole numbers of more than 8 bits without metadata pass for reflectance x 10000 where the run
            expects reflectance; for a run of pictures, whose sensor may be any, they are stretched.
    """
    if not unit or dtype == "uint8" or (not source.reflectance and np.dtype(dtype).kind not in "ui"):
        return "none"
    return "l4s" if source.reflectance or unit == "l4s" else "stretch"


def scaled(source, scaling, model_bands, pixels, unit="l4s"):
    """Return the source with a scaling: "l4s" by the data set's constants, "stretch" by percentiles of the scene.

    Args:
        source: SceneSource without a scaling. scaling: one of SCALINGS but auto. model_bands: names of the model's
            bands. pixels: a sample of the scene without a scaling, model's bands x pixels.
        unit: what the run learnt from. For "display", l4s leads to 0-255 by one factor for all scenes.
    """
    if scaling not in SCALINGS:
        raise UserError(f"scaling {scaling!r} is none of {', '.join(SCALINGS)}")
    if scaling == "l4s":
        return replace(source, gain=l4s_gains(model_bands, unit), clip=unit == "display")
    if scaling == "stretch" and pixels.size:
        low, high = np.percentile(pixels, [2, 98], axis=1).astype(float)
        gain = 255 / np.maximum(high - low, 1e-6)
        return replace(source, gain=tuple(gain.tolist()), bias=tuple((-low * gain).tolist()), clip=True)
    return source


def shifted_bands(pixels, mean, variance):
    """Return the places of bands of a sample (bands x pixels) that are `far_off` from the training data."""
    if not pixels.size:
        return []
    deviation = np.sqrt(np.where(np.asarray(variance) > 0, variance, 1.0))
    here = pixels.mean(1, dtype=np.float64), pixels.std(1, dtype=np.float64)
    return np.flatnonzero(far_off(*here, mean, deviation)).tolist()


def distance_from_training(pixels, mean, variance, bands, scene, stated=False):
    """Say how far a scene lies from the training data, what the likely cause is and which flag to try; "" if near.

    Args:
        pixels: sample of the scene as the model sees it, bands x pixels.
        mean, variance: of each band over the run's training split. bands: their names.
        scene: source.SceneInput, for what was tried. stated: whether the offset is that of the scene's metadata.
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
    elif scene.scaling == "l4s" and not stated and not scene.offset and ratio > 1.5:
        cause = "all bands are brighter: a product of baseline 04.00 or later needs --offset -1000"
    elif scene.scaling == "l4s" and not stated and scene.offset and ratio < 0.5:
        cause = "all bands are darker: the offset may be applied already, leave --offset out"
    elif scene.scaling == "l4s":
        cause = (
            "the order of bands may differ (--scene-bands), or the product be Level-2A, which has no haze in its blue"
        )
    else:
        cause = "another kind of ground or season than in training: check the map"
    return f"far from what the run was trained on: {shown}{more}. Likely: {cause}"
