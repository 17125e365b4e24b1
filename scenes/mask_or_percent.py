"""What the values of a raster of one band are: a mask, or probabilities as fractions or percent."""

from dataclasses import dataclass

import numpy as np
from rasterio.windows import Window

from map_files import FILES
from mask_values import MaskRule, WrongValues, as_labels, is_tagged
from patches.image_files import is_lossy
from scenes.opening import damage_reported, tags_of
from script import UserError

ROWS = 256  # read together


@dataclass(frozen=True)
class Meaning:
    """What the values of a raster mean.

    Attributes:
        probability: whether they are probabilities, and no mask. most: the value of a probability of 1.
        highest: the largest of them. high_is_landslide: what 255 means in a mask, see mask_values.MaskRule.
        tags: values of no data.
    """

    probability: bool
    most: float
    highest: float
    high_is_landslide: bool
    tags: tuple

    def known(self, values):
        """Return which values are probabilities: numbers other than those of no data; 0 always is one."""
        return (values == values) & ~is_tagged(values, self.tags)


def meaning_of(path, opened):
    """Look at the values of a raster; return their Meaning.

    The values of a mask are understood by the rule of `mask_values`. A probability is a float from 0 to 1, or a whole
    number of percent. A file that is named as predict.py names its probabilities holds them, and no mask.

    Args:
        path: of the raster. opened: of `opening.open_mask`.

    Raises:
        UserError: the values are neither those of a mask nor probabilities; or it cannot be read.
    """
    file, tags, lossy = opened[0], tuple(tags_of(opened)), is_lossy(opened[-1])
    rule, is_mask, low, high = MaskRule(), not str(path).endswith(FILES["probability"]), np.inf, -np.inf
    meaning = Meaning(False, 1.0, 0.0, False, tags)
    for top in range(0, file.height, ROWS):
        with damage_reported(path):
            values = file.read(1, window=Window(0, top, file.width, min(ROWS, file.height - top)))
        if is_mask:
            try:
                rule.add(as_labels(values, nodata=tags, lossy=lossy))
            except WrongValues:
                is_mask = False
        values = values[meaning.known(values)]
        if values.size:
            low, high = min(low, values.min()), max(high, values.max())
    if is_mask:
        return Meaning(False, 1.0, high, rule.high_is_landslide, tags)
    most = 1 if np.dtype(opened[-1].dtypes[0]).kind == "f" else 100
    if low < 0 or high > most:
        raise UserError(
            f"{path} holds {low if low < 0 else high:g}: a mask holds 0 and 1, a probability 0 to 1 or, in whole "
            "numbers, percent"
        )
    return Meaning(True, most, high, False, tags)
