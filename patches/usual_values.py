"""Whether values lie far from those that a run was trained on, band by band, or are of another unit."""

import numpy as np

from bands import far_off
from patches.pixel_sizes import size_class
from script import UserError

MOST_COMPARED = 100  # patches whose values are compared with those of training, spread over all


def check_unit(files, stated, usual, whose):
    """Raise UserError if files state another unit for their values than the usual one.

    stated, usual: as bands.value_unit returns it; empty if unknown. files, whose: words for the files and for the owner
    of the usual unit.
    """
    if stated and usual and stated != usual:
        raise UserError(f"{files}: holds values of the unit {stated}, {whose} of {usual}: bring them to one")


def sampled_statistics(patches, indices):
    """Compute mean and variance of each band over some of the patches of these indices, see packing.Patches."""
    return patches.statistics(indices[:: max(1, len(indices) // MOST_COMPARED)])


def mean_and_variance(parts, shift):
    """Return mean and variance of each band over all pixels of some arrays, in float64; NaN without pixels.

    Args:
        parts: iterable of arrays, pixels x bands: only one is in memory at a time.
        shift: of each band, near the mean: it avoids cancellation at large offsets.
    """
    count, total, squares = 0, np.zeros(len(shift)), np.zeros(len(shift))
    for part in parts:
        pixels = part - shift
        count += len(pixels)
        total += pixels.sum(0)
        squares += np.square(pixels).sum(0)
    with np.errstate(invalid="ignore"):
        return shift + total / count, squares / count - np.square(total / count)


def statistics_of_size(config, metres):
    """Return (mean, variance) of each band over what a run of several sources learnt from, for pixels of a size.

    They are those of the largest source, most patches of which are of this size class; None if there is none, or one
    source alone, whose patches the user may have cut from scenes like the one at hand.

    config: of the run. metres: a pixel; None: unknown.
    """
    sources = [source for source in config.get("sources", ()) if "band_mean" in source]
    if len(sources) < 2 or not metres:
        return None
    of_size = [source for source in sources if source["pixel_sizes"].get(size_class(metres), 0.0) > 0.5]
    most = max(of_size, key=lambda source: source["patches"], default=None)
    return most and (most["band_mean"], most["band_variance"])


def gains_to_match(pixels, mean, variance):
    """Return (gain, bias) of each band, which bring pixels to a mean and a variance.

    Images of another place, season or sensor then look as those that a run learnt from (Reinhard et al. 2001, doi
    10.1109/38.946629, for colours). The darkest and the brightest hundredth count as the next ones.

    Args:
        pixels: bands x n; at least one. mean, variance: of each band.
    """
    lowest, highest = np.percentile(pixels, [1, 99], axis=1, keepdims=True)
    kept = np.clip(pixels, lowest, highest).astype(float)
    gain = np.sqrt(variance) / np.maximum(kept.std(1), 1e-6)
    return gain, mean - gain * kept.mean(1)


def usual_statistics(config, mean, variance):
    """Return (mean, variance) of the bands in training; of several sources, those of the one most like some values.

    config: of the run. mean, variance: of each band over these values.
    """
    sources = [source for source in config.get("sources", ()) if "band_mean" in source]
    usual = [(each["band_mean"], each["band_variance"]) for each in (sources if len(sources) > 1 else [config])]
    return min(usual, key=lambda statistics: len(unusual_bands(mean, variance, *statistics)))


def unusual_bands(mean, variance, usual_mean, usual_variance):
    """Return the positions of the bands that are bands.far_off from the usual ones."""
    usual_deviation = np.sqrt(np.where(np.asarray(usual_variance) > 0, usual_variance, 1.0))
    return np.flatnonzero(far_off(mean, np.sqrt(variance), usual_mean, usual_deviation)).tolist()


def describe_unusual(bands, positions, mean, variance, usual_mean, usual_variance):
    """Return a text on unusual bands: "red 1200 ± 80 (in training 55.7 ± 31.6), green ... and 3 more bands"."""
    listed = ", ".join(
        f"{bands[i]} {mean[i]:.4g} ± {np.sqrt(variance[i]):.3g} (in training {usual_mean[i]:.4g} ± "
        f"{np.sqrt(usual_variance[i]):.3g})"
        for i in positions[:3]
    )
    return listed + (f" and {len(positions) - 3} more bands" if len(positions) > 3 else "")


def distance_of_patches(mean, variance, config, usual_values="what the run was trained on"):
    """Return a warning on patches whose values are unusual for a run, "" if they are usual.

    mean, variance: of each band over the patches. config: of the run, or as much of it as patch_format.PatchFormat has.
    usual_values: words for what they are compared with.
    """
    usual = usual_statistics(config, mean, variance)
    positions = unusual_bands(mean, variance, *usual)
    if not positions:
        return ""
    text = describe_unusual(config["bands"], positions, mean, variance, *usual)
    return (
        f"far from {usual_values}: {text}. Likely: another unit, bit depth or stretch than in training; "
        "results mean little"
    )
