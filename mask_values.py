"""The values of a mask, and the one rule by which patches, labels and references are understood.

Masks of public sets hold 0 and 1, or 0 and 255. Those of predict.py hold 0 and 1, and above them why a pixel was not
judged. So 255 has two meanings, and only all masks of a folder, or all rows of a raster, tell which one it has: it is
landslide where nothing else can be, and otherwise a pixel that is not labelled.
"""

from typing import NamedTuple

import numpy as np

OTHER, LANDSLIDE = 0, 1
EXCLUDED = 253  # taken out by the user
HIDDEN = 254  # not seen: under clouds, or without data on the earlier date
UNLABELLED = 255  # not labelled, or without data


class WrongValues(Exception):
    """Values that no mask holds; the text lists them."""

    def __init__(self, values):
        super().__init__(", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else ""))


class Labels(NamedTuple):
    """A mask, as far as its values have one meaning.

    Attributes:
        mask: uint8, OTHER, LANDSLIDE and UNLABELLED.
        undecided: bool, where the file holds 255, UNLABELLED in the mask until `MaskRule` decides.
        coded: whether the file holds codes of predict.py, EXCLUDED or HIDDEN.
    """

    mask: np.ndarray
    undecided: np.ndarray
    coded: bool

    def without(self, hidden):
        """Return the labels, none of them where `hidden` (bool)."""
        return self._replace(mask=np.where(hidden, np.uint8(UNLABELLED), self.mask), undecided=self.undecided & ~hidden)

    def decided(self, high_is_landslide):
        """Return the mask when it is known what 255 means; see `MaskRule`."""
        return np.where(self.undecided, np.uint8(LANDSLIDE), self.mask) if high_is_landslide else self.mask


def understood(values, unlabelled=None, nodata=None):
    """Read the values of a mask as far as they have one meaning.

    Args:
        values: array of numbers or bools, as they are in the file.
        unlabelled: bool of the same shape, where the file says otherwise that there is no label; None: nowhere.
        nodata: value that a tag of the file calls no data. Programs that burn polygons into a raster give the
            background the tag: 0 is no landslide all the same.

    Returns:
        Labels.

    Raises:
        WrongValues: there are others.
    """
    values = np.asarray(values)
    codes = (values == EXCLUDED) | (values == HIDDEN)
    silent = codes | (values != values)  # the last: not a number
    if nodata:  # neither None nor 0
        silent |= values == nodata
    if unlabelled is not None:
        silent |= unlabelled
    undecided = (values == UNLABELLED) & ~silent
    landslide, other = (values == LANDSLIDE) & ~silent, (values == OTHER) & ~silent
    wrong = ~(silent | undecided | landslide | other)
    if wrong.any():
        raise WrongValues(np.unique(values[wrong]).tolist())
    mask = np.select([landslide, other], [np.uint8(LANDSLIDE), np.uint8(OTHER)], np.uint8(UNLABELLED))
    return Labels(mask, undecided, bool(codes.any()))


class MaskRule:
    """Decide what 255 means in the masks of a folder, or in the rows of a raster, when all of them are added."""

    def __init__(self):
        self.ones, self.high, self.both = [], [], []  # names of masks with 1 or codes, with 255, with both

    def add(self, labels, name=""):
        """Note what a mask holds."""
        one, high = labels.coded or (labels.mask == LANDSLIDE).any(), labels.undecided.any()
        if one or high:
            (self.both if one and high else self.ones if one else self.high).append(name)

    @property
    def high_is_landslide(self):
        """Whether 255 is landslide: no mask holds 1, nor a code of predict.py."""
        return bool(self.high) and not self.ones and not self.both

    def faults(self):
        """List (name, fault) of the masks that differ from the others, where that leaves the meaning of 255 open."""
        if not (self.ones and self.high) or self.both:
            return []
        few, words = self.high, "0 and 255, the others 0 and 1"
        if len(self.high) > len(self.ones):
            few, words = self.ones, "0 and 1, the others 0 and 255"
        return [(name, f"'mask' holds {words}: write all alike (255 may mark what is not labelled)") for name in few]
