"""An inventory of landslides: its polygons, read and measured on the ground."""

import numpy as np
import shapely

from scenes import vectors
from scenes.shape_repair import repaired
from scenes.verdicts import by_verdict
from script import UserError

MOST_SHARED = 0.5  # share of its area that a polygon may have in common with another


def read_inventory(path, choice=vectors.EVERYTHING, split_parts=False, area="", area_choice=vectors.EVERYTHING):
    """Read and measure the landslides of an inventory, without those that a reviewer refuted or is unsure of.

    Args:
        path: vector file of polygons. choice: vectors.Choice of its landslides.
        split_parts: count each part of a multi-part polygon as a landslide of its own.
        area: vector file of the ground that was searched; only landslides with a point inside it count. Ground of
            which a reviewer of the inventory is unsure is no part of it.
        area_choice: vectors.Choice of its shapes.

    Returns:
        (areas of the landslides in m2, area of the searched ground in km2 or None, notes on what is unusual).

    Raises:
        UserError: see `vectors.read_layers`; or no polygon is left to be measured.
    """
    cut = ("cut_by_cloud", "cut_by_edge")  # columns of predict.py
    table = vectors.read_layers(path, choice=choice, columns=(*cut, "verdict"), landslides=True)
    empty, broken = table.attrs["empty"], table.attrs["repaired"]
    table, unsure, left_out = by_verdict(path, table)
    if split_parts:
        table = table.explode(ignore_index=True)
    areas = vectors.ground_areas(table)
    empty += np.count_nonzero(areas == 0)
    table, areas, studied = table[areas > 0], areas[areas > 0], None
    if area and len(table):
        ground = vectors.read_layers(area, choice=area_choice, default_layer=vectors.SEEN).dissolve()
        if not len(ground):
            raise UserError(f"{area} holds no shapes: it is empty")
        unsure = shapely.union_all(repaired(unsure.to_crs(ground.crs).geometry.to_numpy()))
        ground = ground.set_geometry(ground.difference(unsure))
        inside = table.representative_point().within(ground.to_crs(table.crs).geometry.iloc[0]).to_numpy()
        table, areas, studied = table[inside], areas[inside], vectors.ground_areas(ground).sum() / 1e6
    if not len(areas):
        conditions = [name for name, value in (("WHERE", choice.where), ("AREA", area)) if value]
        condition = f", as chosen by {' and '.join(conditions)}" if conditions else ""
        raise UserError(f"{path} holds no polygon to be measured{condition}")
    is_cut = np.any([table[name] > 0 for name in cut if name in table], axis=0)
    unusual = {
        **{f"whose verdict is {verdict}, left out": number for verdict, number in left_out.items()},
        "without a polygon, left out": empty,
        "with an outline that is not valid, repaired": broken,
        "with several parts, one landslide each (--split-parts counts the parts)": table.count_geometries() > 1,
        "cut by cloud or by the edge of the scene, so too small": is_cut,
        "more than half within another polygon, both counted": number_overlapping(table.geometry.to_numpy()),
    }
    return areas, studied, [f"rows {what}: {np.sum(rows)}" for what, rows in unusual.items() if np.sum(rows)]


def number_overlapping(shapes):
    """Count the polygons of an array that have more than MOST_SHARED of their area in common with another."""
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    first, second = first[first != second], second[first != second]
    shared = shapely.area(shapely.intersection(shapes[first], shapes[second]))
    return len(np.unique(first[shared > MOST_SHARED * shapely.area(shapes[first])]))
