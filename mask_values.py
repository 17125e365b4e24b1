"""The values of a mask, and the one rule for their meaning in patches, labels and references.

Masks of public data sets hold 0 and 1, or 0 and 255. Those of predict.py hold 0 and 1, and codes for pixels that were
not judged. So 255 has two meanings. Which one it has depends on all masks of a folder, or on all rows of a raster: if
none of them holds 1 or a code, 255 is landslide; otherwise it marks pixels that are not labelled.
"""

from typing import NamedTuple

import numpy as np

OTHER, LANDSLIDE = 0, 1
EXCLUDED = 253  # taken out by the user
HIDDEN = 254  # not seen: under clouds, or without data on the earlier date
UNLABELLED = 255  # not labelled, or without data


class WrongValues(Exception):
    """Values that have no meaning in a mask; the text lists them, to follow a word such as "holds".

    values: list of them. lossy: see `as_labels`.
    """

    def __init__(self, values, lossy=False):
        listed = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
        reason = f"{listed} in a format that changes values (lossy): write masks as PNG or TIFF without JPEG"
        super().__init__(reason if lossy else f"values other than 0 and 1 ({listed})")


class Labels(NamedTuple):
    """A mask of which all values but 255 have one meaning.

    Attributes:
        mask: uint8, OTHER, LANDSLIDE and UNLABELLED.
        undecided: bool, pixels with 255 in the file, which are UNLABELLED in the mask until `MaskRule` decides.
        coded: whether the file holds codes of predict.py, EXCLUDED or HIDDEN.
        colour: (red, green, blue) of what a picture draws as landslide; () of values.
    """

    mask: np.ndarray
    undecided: np.ndarray
    coded: bool
    colour: tuple = ()

    def without(self, hidden):
        """Return the labels with the pixels of `hidden` (bool) as UNLABELLED."""
        return self._replace(mask=np.where(hidden, np.uint8(UNLABELLED), self.mask), undecided=self.undecided & ~hidden)

    def decided(self, high_is_landslide):
        """Return the mask with 255 in the meaning that `MaskRule.high_is_landslide` gives it."""
        return np.where(self.undecided, np.uint8(LANDSLIDE), self.mask) if high_is_landslide else self.mask


def equals(values, number):
    """Return where values are a number, which their type may be too small for: bool."""
    with np.errstate(over="ignore"):  # the least float64 becomes infinite as float32
        return values == number


def is_tagged(values, nodata):
    """Return where the values of a mask, or of percentages, are those that tags of the file call no data: bool.

    A tag of 0 is ignored: programs that burn polygons into a raster write it, and there 0 is no landslide.

    Args:
        values: array of numbers. nodata: the value of a tag, several of them, or None.
    """
    tags = [tag for tag in np.ravel(nodata).tolist() if tag]  # neither None nor 0
    return np.logical_or.reduce([equals(values, tag) for tag in tags]) if tags else np.zeros(np.shape(values), bool)


def is_unknown(values, nodata):
    """Return where values say nothing: those that tags call no data, see `is_tagged`, and what is not a number."""
    return is_tagged(values, nodata) | (values != values)


def as_labels(values, unlabelled=None, nodata=None, lossy=False, colour=()):
    """Return the Labels that the values of a mask stand for.

    Args:
        values: array of numbers or bools, as they are in the file.
        unlabelled: bool of the same shape, pixels that the file marks as not labelled by other means; None: none.
        nodata: what tags of the file call no data, see `is_tagged`.
        lossy: whether the format of the file changes values, as JPEG does: 255 becomes 254, and 0 becomes 1. Then only
            0 and 255 have a meaning, because 1, 253 and 254 may stand for another value.
        colour: see Labels.

    Raises:
        WrongValues: the mask holds values without a meaning.
    """
    values = np.asarray(values)
    codes = (values == EXCLUDED) | (values == HIDDEN)
    without_label = is_unknown(values, nodata)
    if unlabelled is not None:
        without_label |= unlabelled
    if lossy and (changed := ~without_label & (values != OTHER) & (values != UNLABELLED)).any():
        raise WrongValues(np.unique(values[changed]).tolist(), lossy=True)
    without_label |= codes
    undecided = (values == UNLABELLED) & ~without_label
    landslide, other = (values == LANDSLIDE) & ~without_label, (values == OTHER) & ~without_label
    wrong = ~(without_label | undecided | landslide | other)
    if wrong.any():
        raise WrongValues(np.unique(values[wrong]).tolist())
    mask = np.select([landslide, other], [np.uint8(LANDSLIDE), np.uint8(OTHER)], np.uint8(UNLABELLED))
    return Labels(mask, undecided, bool(codes.any()), colour)


def landslides_among(values):
    """Return which of the values that a mask holds are landslide, as an array of bool; None if they are of no mask.

    values: array of numbers, all that the mask holds.
    """
    rule = MaskRule()
    try:
        labels = as_labels(values)
    except WrongValues:
        return None
    rule.add(labels)
    return labels.decided(rule.high_is_landslide) == LANDSLIDE


class MaskRule:
    """Decides what 255 means in the masks of a folder, or in the rows of a raster, once all of them are added."""

    def __init__(self):
        self.ones, self.high, self.both = [], [], []  # names of masks with 1 or codes, with 255, with both
        self.colours = {}  # names of the masks of each colour

    def add(self, labels, name=""):
        """Record whether a mask holds 1 or codes, whether it holds 255, and its colour."""
        one, high = labels.coded or (labels.mask == LANDSLIDE).any(), labels.undecided.any()
        if one or high:
            (self.both if one and high else self.ones if one else self.high).append(name)
        if labels.colour:
            self.colours.setdefault(labels.colour, []).append(name)

    @property
    def high_is_landslide(self):
        """Whether 255 is landslide: no mask holds 1, nor a code of predict.py."""
        return bool(self.high) and not self.ones and not self.both

    def faults(self):
        """List (name, fault) of the masks that differ from the others in what landslide is: its colour, or its value.

        Values are a fault only if they leave the meaning of 255 open. A colour may be that of another class.
        """
        if len(self.colours) > 1:
            usual = max(self.colours, key=lambda colour: len(self.colours[colour]))
            text = "'mask' draws landslides in the colour {}, the others in {}: write one class, in one colour"
            texts = {
                colour: text.format(*(" ".join(map(str, each)) for each in (colour, usual))) for colour in self.colours
            }
            return [
                (name, texts[colour]) for colour in self.colours if colour != usual for name in self.colours[colour]
            ]
        if not (self.ones and self.high) or self.both:
            return []
        few, words = self.high, "0 and 255, the others 0 and 1"
        if len(self.high) > len(self.ones):
            few, words = self.ones, "0 and 1, the others 0 and 255"
        return [(name, f"'mask' holds {words}: write all alike (255 may mark what is not labelled)") for name in few]
