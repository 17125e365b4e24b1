"""The file <scene>_labels.geojson of the page <scene>_desk.html: whether it is one, and its finished boxes.

It is GeoJSON (RFC 7946) with three members of its own: `landslide_labels`, the version of this format; `scene`, with
the name and digests of the scene (scene_digest.py) and what its coordinates are; and `boxes`, each with its outline,
whether it is finished, when it changed last and, if the person gave a name, by whom. Each feature has its verdict, the
id of its box, and its source: drawn, or the number of a predicted polygon. Without a coordinate system the coordinates
are pixels, and the file is no RFC 7946.
"""

import json
import re
from pathlib import Path

import geopandas
import numpy as np
import shapely

from scenes.shape_repair import repaired
from scenes.styles import VERDICTS
from scenes.verdicts import by_verdict, labels_of
from script import UserError, note

VERSION = 1
DEGREES, PIXELS = "longitude, latitude", "column, row"  # what the coordinates of a file are
LEAST_LEFT = 0.01  # of a polygon beside a later box: less is a sliver, because edges are straight in degrees
MARK = re.compile(rb'"landslide_labels"\s*:')


def is_box_labels(path):
    """Return whether a file is one that the page has saved."""
    if not str(path).lower().endswith((".geojson", ".json")) or not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return bool(MARK.search(file.read(2000)))


def read_content(path):
    """Read the file of a page as a dict of JSON.

    Raises:
        UserError: it is damaged, or a later version of the project has written it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        complete = is_complete(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise UserError(f"{path} is damaged: save it again on the page")
    if content["landslide_labels"] > VERSION:
        raise UserError(f"{path} was saved by a later version of the page: update the project")
    return content


def is_complete(content):
    """Return whether the content of a file holds what is read of it."""
    scene = content["scene"]
    return (
        isinstance(content["landslide_labels"], int)
        and scene["coordinates"] in (DEGREES, PIXELS)
        and isinstance(scene["name"], str)
        and bool(scene["digests"])
        and all({"id", "outline", "finished", "when"} <= box.keys() for box in content["boxes"])
        and all(each["geometry"]["type"] in ("Polygon", "MultiPolygon") for each in content["features"])
        and all({"box", "verdict"} <= each["properties"].keys() for each in content["features"])
    )


def check_coordinates(path, content, crs):
    """Raise UserError if the content of a file is in degrees and a scene has no coordinate system, or the reverse."""
    stated = content["scene"]["coordinates"]
    if (stated == DEGREES) != bool(crs):
        raise UserError(f"{path} holds {stated}, which do not fit a scene with other coordinates")


def finished_boxes(path, content, silent=False):
    """Return the finished boxes of the content of a file, the last changed last; unless `silent`, count the others.

    Raises:
        UserError: no box is finished.
    """
    finished = in_order(content)
    if not finished:
        raise UserError(f"{path}: no box is finished, so nothing is labelled: finish boxes on the page, and save")
    rest = len(content["boxes"]) - len(finished)
    if rest and not silent:
        note(f"{path}: {rest} of {len(content['boxes'])} boxes are not finished: what is drawn in them is left out")
    return finished


def in_order(content):
    """Return the finished boxes of the content of a file, the last changed last."""
    return sorted((box for box in content["boxes"] if box["finished"]), key=lambda box: box["when"] or "")


def decided_ground(outlines):
    """Return the ground on which each box decides, from outlines in order: where boxes overlap, the last one does."""
    ground = []
    for number, outline in enumerate(outlines, 1):
        later = np.array(outlines[number:], object)
        later = later[shapely.intersects(outline, later) & ~shapely.touches(outline, later)]
        ground.append(outline.difference(shapely.union_all(later)) if len(later) else outline)
    return ground


def outlines(path, crs, transform=None):
    """Return the ground of each finished box of a file (`decided_ground`), a geopandas.GeoSeries; there may be none.

    crs: to bring them into; None: of a scene without one, whose `transform` brings pixels to its coordinates.

    Raises:
        UserError: the file is damaged, or its coordinates are others.
    """
    content = read_content(path)
    check_coordinates(path, content, crs)
    shapes = decided_ground([shapely.Polygon(box["outline"]) for box in in_order(content)])
    if crs:
        return geopandas.GeoSeries(shapes, crs=4326).to_crs(crs)
    return geopandas.GeoSeries(shapes).affine_transform(transform.to_shapely())


def judged_ground(path):
    """Return the ground on which it is known what is landslide, as a table of vectors.read_shapes, in degrees.

    These are the finished boxes without the polygons of which a person was unsure.

    Raises:
        UserError: see `outlines` and `finished_boxes`.
    """
    columns = ["geometry", "box", "verdict"]
    table = geopandas.GeoDataFrame.from_features(read_content(path)["features"], crs=4326, columns=columns)
    table = in_finished_boxes(path, table.set_geometry(repaired(table.geometry.to_numpy()), crs=4326), silent=True)
    _, unsure, _ = by_verdict(path, table)
    ground = outlines(path, 4326).difference(unsure.union_all())
    table = geopandas.GeoDataFrame(geometry=ground[~ground.is_empty].to_list(), crs=4326)
    table.attrs = {"empty": 0, "repaired": 0}
    return table


def in_finished_boxes(path, table, silent=False):
    """Return the polygons of a file that lie in its finished boxes; one without a verdict is unsure.

    A polygon counts within its box alone, on the ground on which that decides.

    Args:
        path: of the file. table: of all polygons, with the columns box and verdict unless it is empty.
        silent: see `finished_boxes`.

    Raises:
        UserError: see `outlines` and `finished_boxes`; or a verdict is unknown.
    """
    content = read_content(path)
    check_coordinates(path, content, table.crs)
    boxes = finished_boxes(path, content, silent)
    if not len(table):
        return table
    number_of = {box["id"]: number for number, box in enumerate(boxes)}
    table = table[table["box"].isin(number_of)]
    _, blank = labels_of(path, table["verdict"])
    whole = [shapely.Polygon(box["outline"]) for box in boxes]
    within, shapes = (
        shapely.intersection(table.geometry.to_numpy(), np.array(ground, object)[table["box"].map(number_of)])
        for ground in (whole, decided_ground(whole))
    )
    table = table.assign(verdict=table["verdict"].mask(blank, VERDICTS[2])).set_geometry(shapes, crs=table.crs)
    return table[shapely.area(shapes) > LEAST_LEFT * shapely.area(within)]
