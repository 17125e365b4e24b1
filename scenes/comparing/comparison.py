"""Comparison of a map with a reference: both opened on one grid, and all figures of scores.json."""

import contextlib
from dataclasses import dataclass

import numpy as np

import metrics
from scenes import vectors
from scenes.box_file import is_box_labels, judged_ground
from scenes.comparing import agreement, estimates
from scenes.comparing.layers import PolygonLayer, RasterLayer, metric_grid, read_polygons
from scenes.geodesy import to_geodetic
from scenes.pixel_grid import PixelGrid
from scenes.vectors import LANDSLIDES, SEEN, Choice, is_vector, joined, on_grid, read_layers, read_shapes
from script import UserError, warn

FILES = ("scores.json", "objects.csv", "by_size.csv", "comparison.png")  # written by compare_maps.py


@dataclass(frozen=True)
class CompareSettings:
    """How a map is compared; see the constants of compare_maps.py."""

    threshold: float | None
    min_confidence: float
    map_choice: Choice
    reference_choice: Choice
    area_choice: Choice
    resolution: float
    tolerance: float
    iou: float
    detection_share: float
    overlap: float
    sizes: tuple
    block: float
    bootstrap: int
    seed: int


@dataclass(frozen=True)
class Pair:
    """A map and a reference on one grid. area: PolygonLayer in which the reference is complete, or None."""

    mapped: PolygonLayer | RasterLayer
    reference: PolygonLayer | RasterLayer
    area: PolygonLayer | None
    grid: PixelGrid


@contextlib.contextmanager
def open_pair(map_path, reference_path, area_paths, settings):
    """Open a map and a reference on one grid: that of the map, else that of the reference, else a metric one.

    Args:
        map_path, reference_path: of rasters or vector files. area_paths: of vector files, whose ground counts together.
        settings: CompareSettings.

    Raises:
        UserError: a file cannot be read, or the two do not lie over each other.
    """
    areas = [read_layers(path, map_path, settings.area_choice, default_layer=SEEN) for path in area_paths]
    if empty := [path for path, table in zip(area_paths, areas, strict=True) if not len(table)]:
        raise UserError(f"{empty[0]} holds no shapes: it is empty")
    area, area_text = joined(areas) if areas else None, ", ".join(area_paths)
    rasters, tables, unsure, seen = {}, {}, {}, {}
    sides = {
        "map": (map_path, reference_path, settings.map_choice, settings.threshold, settings.min_confidence),
        "reference": (reference_path, map_path, settings.reference_choice, None, 0.0),
    }
    with contextlib.ExitStack() as stack:
        for name, (path, other, choice, threshold, least) in sides.items():
            if is_vector(path):
                if threshold is not None:
                    raise UserError(f"{path} holds polygons: --threshold is for probabilities")
                tables[name], unsure[name] = read_polygons(path, other, choice, least)
                seen[name] = judged_by(path, other, choice)
            else:
                if least:
                    raise UserError(f"{path} is a raster: --min-confidence is for polygons")
                own = next(iter(rasters.values())).grid if rasters else None
                rasters[name] = RasterLayer(path, own, threshold)
                stack.callback(rasters[name].close)
        if rasters:
            grid, over = next((layer.grid, layer.path) for layer in rasters.values())
        else:
            frame = next((each for each in (seen["map"], area, seen["reference"]) if each is not None), None)
            if frame is not None and not len(frame):
                raise UserError(f"{map_path} holds no ground that was judged: there is nothing to compare")
            if frame is None:
                raise UserError(
                    "two vector files need --area, the polygons in which the reference is complete: outside of it "
                    "false alarms are unknown"
                )
            grid, over = metric_grid(frame, settings.resolution), map_path
        for path, table in zip(area_paths, areas, strict=True) if len(areas) > 1 else ():
            if not on_grid(table, grid).intersects(grid.box()).any():
                warn(f"{path} does not lie over {over}")
        area = PolygonLayer(area, grid, area_text, over, small=False) if area_paths else None
        layers = dict(rasters)
        for name, table in tables.items():
            path, judged = sides[name][0], seen[name]
            ground = None if judged is None else PolygonLayer(judged, grid, path, over, None, True, small=False)
            if ground is None and name == "map":
                ground = area  # beyond it nothing is known of the map
            doubt = PolygonLayer(unsure[name], grid, path, over, None, True, small=False)
            layers[name] = PolygonLayer(table, grid, path, over, ground, judged is not None, unsure=doubt)
        yield Pair(layers["map"], layers["reference"], area, grid)


def judged_by(path, over, choice):
    """Return the ground that a vector file says it has judged, a table; None if it says nothing.

    That is the layer `seen` of a map of predict.py, and the finished boxes of labels of box_file.py.
    """
    if is_box_labels(path):
        return judged_ground(path)
    has_seen = choice.layers in ((), (LANDSLIDES,)) and {LANDSLIDES, SEEN} <= set(vectors.layers(path))
    return read_shapes(path, over, SEEN) if has_seen else None


def check_judged(tally, map_path, reference_path, area_paths):
    """Raise UserError, with the reason, if no pixel was judged on both sides."""
    area_path = ", ".join(area_paths)
    known, within, judged = tally.known
    if judged:
        return
    if not known:
        raise UserError(f"{map_path} holds no ground that was judged: there is nothing to compare")
    if not within:
        raise UserError(
            f"{area_path} holds the centre of no judged pixel of {map_path}: it is smaller than a pixel, or lies where "
            "the map was not judged"
        )
    raise UserError(f"{reference_path} does not lie over {area_path or map_path}: there is nothing to compare")


# ---------------------------------------------------------------------- figures


def scores(tally, pair, settings):
    """Compute the figures of a Tally; returns (record of scores.json, rows of by_size.csv)."""
    agreement.compare_objects(tally, settings.iou, settings.detection_share, settings.overlap)
    mapped, reference = tally.map_objects, tally.reference_objects
    sizes = agreement.by_size(mapped, reference, settings.sizes)
    counted = reference["counted"]
    record = {
        "pixels": pixel_scores(tally, pair, settings),
        "boundary": {"tolerance_m": settings.tolerance, **boundary_scores(tally.boundary)},
        "objects": {
            **{name: int(objects["counted"].sum()) for name, objects in (("map", mapped), ("reference", reference))},
            **left_out(mapped, reference),
            "iou": settings.iou,
            **agreement.one_to_one(mapped, reference),
            **{key: value for key, value in sizes[-1].items() if key.startswith(("detected", "touched", "false"))},
        },
        "half_recall": agreement.half_recall_size(
            reference["area"][counted], reference["detected"][counted], settings.bootstrap, settings.seed
        ),
        "shift": measured_shift(mapped, reference, pair.grid),
        **totals(tally),
    }
    return record, sizes


def pixel_scores(tally, pair, settings):
    """Return the scores of evaluate.py over all judged pixels; the interval of Dice is a bootstrap over blocks."""
    counts = tally.confusion
    blocks = counts[counts.sum((1, 2)) > 0]
    tn, fn, fp, tp = blocks.reshape(len(blocks), 4).T
    low, high = metrics.bootstrap_dice(tp, fp, fn, settings.bootstrap, settings.seed)
    scores = {name: float(value) for name, value in metrics.scores(tp.sum(), fp.sum(), fn.sum()).items()}
    scores |= {"dice_ci95": [low, high], "blocks": len(blocks), "block_m": settings.block}
    if pair.mapped.probability:
        scores["average_precision"] = tally.curve.average_precision()
    return scores | {
        name: int(part.sum()) for name, part in zip(("tp", "fp", "fn", "tn"), (tp, fp, fn, tn), strict=True)
    }


def boundary_scores(counts):
    """Return precision, recall and F1 of a boundary (Csurka et al. 2013, BMVC) from Tally.boundary."""
    (mapped, near_reference), (reference, near_map) = counts
    precision, recall = float(metrics.ratio(near_reference, mapped)), float(metrics.ratio(near_map, reference))
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}


def left_out(mapped, reference):
    """Return the numbers of objects that do not count: mostly on ground not judged, or wholly under other polygons."""
    cut = [int(((each["judged_area"] > 0) & ~each["counted"]).sum()) for each in (mapped, reference)]
    hidden = [int((each["pixels"] == 0).sum()) for each in (mapped, reference)]
    return {"map_cut": cut[0], "reference_cut": cut[1], "map_covered": hidden[0], "reference_covered": hidden[1]}


def lon_lat(objects, grid):
    """Return longitude and latitude of the centroids of objects, on the datum of the grid."""
    transformer, _ = to_geodetic(grid.crs)
    return transformer.transform(*(grid.transform @ (objects["column"] + 0.5, objects["row"] + 0.5)))


def measured_shift(mapped, reference, grid):
    """Return the shift of pairs of whole objects of like size: neither has twice the area of the other."""
    own = np.flatnonzero(reference["partner"] >= 0)
    partner = reference["partner"][own]
    ratio = reference["area"][own] / mapped["area"][partner]
    whole = (ratio > 0.5) & (ratio < 2)
    for objects, i in ((reference, own), (mapped, partner)):
        whole &= (objects["judged_pixels"] == objects["pixels"])[i] & (objects["edge_pixels"] == 0)[i]
    own, partner = own[whole], partner[whole]
    (lon, lat), (from_lon, from_lat) = lon_lat(reference, grid), lon_lat(mapped, grid)
    azimuth, _, distance = to_geodetic(grid.crs)[1].inv(from_lon[partner], from_lat[partner], lon[own], lat[own])
    angle = np.radians(azimuth)
    return agreement.shift(distance * np.sin(angle), distance * np.cos(angle))


def totals(tally):
    """Return area and number of landslides over the whole map: as mapped, and as the reference corrects them."""
    mapped, reference = tally.map_objects, tally.reference_objects
    areas, (down, right, across) = tally.areas, tally.blocks
    covered = float(areas.sum() / tally.mapped.sum())
    covered = 1.0 if covered > 1 - 1e-9 else covered

    def per_block(objects):
        row, column = (objects[name][objects["counted"]].astype(int) for name in ("row", "column"))
        return np.bincount(row // down * across + column // right, minlength=len(areas))[:, None]

    counts = [per_block(objects) for objects in (reference, mapped)]
    map_number = int((mapped["known_pixels"] > 0).sum())
    return {
        "covered_share": covered,
        "area_m2": {
            "judged": float(areas.sum()),
            "whole_map": float(tally.mapped.sum()),
            "reference_judged": float(areas[:, :, 1].sum()),
            "map_judged": float(areas[:, 1].sum()),
            "map": float(tally.mapped[1]),
            **estimates.corrected(areas[:, :, 1], areas.sum(2), tally.mapped, covered),
        },
        "count": {
            "reference_judged": int(reference["counted"].sum()),
            "map_judged": int(mapped["counted"].sum()),
            "map": map_number,
            **estimates.corrected(*counts, [map_number], covered),
        },
    }


def object_rows(tally, grid):
    """Yield the header of objects.csv, then a row for each object of the reference and of the map."""
    yield "side", "id", "area_m2", "lon", "lat", "counted", "overlap", "iou", "matched", "partner", "outcome"
    for side, objects in (("reference", tally.reference_objects), ("map", tally.map_objects)):
        lon, lat = lon_lat(objects, grid)
        if side == "reference":
            outcome = np.where(objects["detected"], "detected", "missed")
        else:
            outcome = np.where(objects["false"], "false alarm", "on the reference")
        for i in np.flatnonzero(objects["judged_area"] > 0):
            partner = objects["partner"][i]
            yield (
                side,
                i + 1,
                round(objects["area"][i], 1),
                round(lon[i], 7),
                round(lat[i], 7),
                int(objects["counted"][i]),
                round(objects["overlap"][i], 4),
                round(objects["iou"][i], 4),
                int(objects["matched"][i]),
                partner + 1 if partner >= 0 else "",
                outcome[i],
            )
