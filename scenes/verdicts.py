"""Verdicts of a reviewer on polygons, and the labels that they mean."""

import numpy as np

from mask_values import LANDSLIDE, OTHER, UNLABELLED
from scenes.styles import VERDICTS
from script import UserError

VERDICT_LABELS = {  # what a reviewer may write into the column verdict, and the label that it means
    **dict.fromkeys((VERDICTS[0], "yes", "y", "true", "1"), LANDSLIDE),
    **dict.fromkeys((VERDICTS[1], "no landslide", "no", "n", "false", "0"), OTHER),
    **dict.fromkeys((VERDICTS[2], "unknown", "?", ""), UNLABELLED),
}
DRAWING_ORDER = (UNLABELLED, OTHER, LANDSLIDE)  # where polygons overlap, the last one counts


def normalised(verdict):
    """Return a verdict in the spelling of VERDICT_LABELS."""
    return str(verdict).strip().lower().replace("_", " ").removesuffix(".0")


def check_verdicts(path, verdicts):
    """Raise UserError if one of the `verdicts`, in normal spelling, of a file is unknown."""
    if unknown := sorted(set(verdicts) - VERDICT_LABELS.keys()):
        raise UserError(f"{path}: the verdict {unknown[0]!r} is none of {', '.join(VERDICTS)}")


def verdict_labels(path, table):
    """Return what the verdicts of a table mean: LANDSLIDE, OTHER or UNLABELLED of mask_values, and which are blank.

    Returns:
        (N uint8, N bool); None without a column `verdict`.

    Raises:
        UserError: a verdict is unknown.
    """
    if "verdict" not in table:
        return None
    words = [normalised(word) for word in table["verdict"].astype("string").fillna("")]
    check_verdicts(path, words)
    return np.array([VERDICT_LABELS[word] for word in words], np.uint8), np.array([not word for word in words], bool)
