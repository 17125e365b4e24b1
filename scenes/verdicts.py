"""Verdicts of a reviewer on polygons, and the labels that they mean: one rule for all files and scripts."""

import geopandas
import numpy as np
import pandas
import shapely

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


def labels_of(path, verdicts):
    """Return what verdicts mean: LANDSLIDE, OTHER or UNLABELLED of mask_values, and which are blank.

    path: of their file. verdicts: N texts, or what pandas takes for missing.

    Returns:
        (N uint8, N bool). Blank ones are UNLABELLED.

    Raises:
        UserError: a verdict is unknown.
    """
    words = ["" if pandas.isna(word) else normalised(word) for word in verdicts]
    if unknown := sorted(set(words) - VERDICT_LABELS.keys()):
        raise UserError(f"{path}: the verdict {unknown[0]!r} is none of {', '.join(VERDICTS)}")
    return np.array([VERDICT_LABELS[word] for word in words], np.uint8), np.array([not word for word in words], bool)


def by_verdict(path, table):
    """Divide the polygons of a vector file: (landslides, ground on which it is unsure what is landslide, left out).

    A polygon without a verdict stays: a landslide unless somebody says that it is none. Where one that is unsure
    overlaps with others, these count, as in the labels that are drawn (DRAWING_ORDER).

    Args:
        path: of the file. table: geopandas.GeoDataFrame of valid shapes; without a column verdict, all are landslides.

    Returns:
        Two geopandas.GeoDataFrame, and {verdict: number of polygons that it leaves out}.

    Raises:
        UserError: a verdict is unknown.
    """
    labels = np.full(len(table), LANDSLIDE, np.uint8)
    if "verdict" in table:
        labels, blank = labels_of(path, table["verdict"])
        labels[blank] = LANDSLIDE
    unsure = shapely.union_all(table.geometry[labels == UNLABELLED].to_numpy())
    others = table.geometry[labels != UNLABELLED].to_numpy()
    ground = shapely.difference(unsure, shapely.union_all(others[shapely.intersects(others, unsure)]))
    parts = shapely.get_parts(ground)
    parts = parts[shapely.get_dimensions(parts) == 2]
    counts = {VERDICTS[1]: int((labels == OTHER).sum()), VERDICTS[2]: int((labels == UNLABELLED).sum())}
    return table[labels == LANDSLIDE], geopandas.GeoDataFrame(geometry=parts, crs=table.crs), counts
