"""Outlines that are not valid, repaired: rings that cross themselves, parts that overlap."""

import numpy as np
import shapely

from script import note


def repaired(shapes):
    """Return shapes with those that are not valid repaired; valid ones stay as they are.

    Ground that several parts of a shape cover, or that a ring encloses twice, is inside. GEOS's other method, which
    shapely takes by default, counts crossings: there such ground is a hole. Lines and points into which an outline
    collapses are left out, so that a shape may be empty.

    Args:
        shapes: one shape, or an array of them.
    """
    valid = shapely.is_valid(shapes)
    if np.all(valid):
        return shapes
    return np.where(valid, shapes, shapely.make_valid(shapes, method="structure", keep_collapsed=False))[()]


def note_repairs(path, table):
    """Print how many shapes of a table of vectors.read_layers were repaired. path: of its file."""
    if count := table.attrs["repaired"]:
        note(f"{path}: {count} of its {len(table)} outlines are not valid (they cross or overlap) and are repaired")
