"""What the values of a raster of one band are: a mask, or probabilities as fractions or percent."""

from dataclasses import dataclass

import numpy as np

from map_files import FILES
from mask_values import MaskRule, WrongValues, as_labels, is_unknown
from patches.image_files import states_scale
from patches.stated_words import is_lossy
from scenes.opening import strips, tags_of
from script import UserError

ROUNDING = 1e-6  # of float32, by which a fraction may lie beyond 0 to 1


@dataclass(frozen=True)
class Meaning:
    """What the values of a raster mean.

    Attributes:
        probability: whether they are probabilities, and no mask.
        factor, offset: of probabilities: fraction = factor * value + offset.
        highest: the largest value. high_is_landslide: what 255 means in a mask, see mask_values.MaskRule.
        tags: values of no data.
    """

    probability: bool
    highest: float
    tags: tuple
    factor: float = 1.0
    offset: float = 0.0
    high_is_landslide: bool = False

    def known(self, values):
        """Return which values are probabilities: numbers other than those of no data; 0 always is one."""
        return ~is_unknown(values, self.tags)

    def fractions(self, values):
        """Return the probabilities, 0 to 1, that values mean: float64. They are right where the values are `known`."""
        return np.asarray(values, np.float64) * self.factor + self.offset


def meaning_of(path, opened):
    """Look at the values of a raster; return their Meaning.

    The values of a mask are understood by the rule of `mask_values`. A probability is a float from 0 to 1, or a whole
    number of percent, or what a scale and an offset of the file make of its numbers, from 0 to 1. A file that has them,
    or that is named as predict.py names its probabilities, holds no mask.

    Args:
        path: of the raster. opened: of `opening.open_mask`.

    Raises:
        UserError: the values are neither those of a mask nor probabilities; or it cannot be read.
    """
    file, tags, lossy = opened[-1], tuple(tags_of(opened)), is_lossy(opened[-1])
    is_scaled, percent = states_scale(file), np.dtype(file.dtypes[0]).kind != "f"
    rule, is_mask, wrong = MaskRule(), not is_scaled and not str(path).endswith(FILES["probability"]), None
    low, high = np.inf, -np.inf
    for values in strips(opened[0], path):
        if is_mask:
            try:
                rule.add(as_labels(values, nodata=tags, lossy=lossy))
            except WrongValues as values_of_none:
                is_mask, wrong = False, values_of_none
        values = values[~is_unknown(values, tags)]
        if values.size:
            low, high = min(low, values.min()), max(high, values.max())
    if is_mask:
        return Meaning(False, high, tags, high_is_landslide=rule.high_is_landslide)
    factor, offset = (file.scales[0], file.offsets[0]) if is_scaled else (0.01 if percent else 1.0, 0.0)
    meaning = Meaning(True, high, tags, factor, offset)
    least, most = sorted(meaning.fractions([low, high]))
    if high >= low and not -ROUNDING <= least <= most <= 1 + ROUNDING:
        if lossy and wrong:
            raise UserError(f"{path} holds {wrong}")
        stated = f", {least if least < 0 else most:g} by its scale" if is_scaled else ""
        raise UserError(
            f"{path} holds {low if least < 0 else high:g}{stated}: a mask holds 0 and 1, a probability 0 to 1 or, in "
            "whole numbers, percent"
        )
    return meaning
