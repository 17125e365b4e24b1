"""Compare a map with an inventory, or two inventories, on the ground and inside an area.

    python compare_maps.py --map results/event/maps/scene_mask.tif --reference inventory.gpkg --area drawn.gpkg
    python compare_maps.py --map scene_landslides.gpkg --reference inventory.shp --min-confidence 0.5
    python compare_maps.py --map of_one.gpkg --reference of_another.gpkg --area drawn.gpkg --resolution 5

A map is a mask, a raster of probabilities, or polygons; so is a reference, but for probabilities. Writes
<map>_against_<reference>/ beside the map: scores.json, objects.csv, by_size.csv, comparison.png. Of a map of predict.py
that is compared as it is, the report beside it then states the area of landslides, which was unknown.
"""

from pathlib import Path

import records
import script
from map_files import check_targets, scene_name

# ---------------------------------------------------------------------- input and output
MAP = None  # str: mask, probabilities or polygons: GeoTIFF, GeoPackage, Shapefile, GeoJSON, any that GDAL reads
REFERENCE = None  # str: what it is compared with: polygons or a mask
AREA = ()  # polygons in which the reference is complete; none: the whole map, if a raster or of predict.py
MAP_LAYER = ()  # layers of a vector file; none: landslides, as predict.py writes it, or the only one
MAP_WHERE = None  # str: condition on its columns in SQL, such as "class = 'landslide'"; none: all rows
REFERENCE_LAYER = ()  # the same for the reference
REFERENCE_WHERE = None  # str: the same for the reference
AREA_LAYER = ()  # their layers; none: seen, as predict.py writes it, or the only one
AREA_WHERE = None  # str: condition on their columns; none: all rows
OUT_DIR = None  # str: folder for the files; none: <map>_against_<reference> beside the map
OVERWRITE = False  # replace existing files
# ---------------------------------------------------------------------- what counts
THRESHOLD = None  # float: probability from which a pixel is landslide; none: the one in the file of predict.py
MIN_CONFIDENCE = 0.0  # smallest confidence (a column) of the map's polygons that are compared
RESOLUTION = 10.0  # metres of a pixel, if both are vector files; else the raster's pixels are used
TOLERANCE = 20.0  # metres by which boundaries may differ and still agree
IOU = 0.5  # intersection over union from which two objects match one to one
DETECTION_SHARE = 0.5  # smallest share of a landslide that the map covers if it counts as detected
OVERLAP = 0.1  # share of a mapped object that has to lie on the reference for it not to be a false alarm
SIZES = (0.0, 1000.0, 3000.0, 10000.0, 30000.0, 100000.0)  # smallest area of each class of size, in m2
# ---------------------------------------------------------------------- intervals
BLOCK = 500.0  # metres of the side of the blocks that count as independent; larger than most landslides
BOOTSTRAP = 1000  # draws of the bootstrap for the intervals of Dice and of the size at which recall is one half
SEED = 0  # seed of the bootstrap

RANGES = {
    **{"THRESHOLD": (0, 1), "MIN_CONFIDENCE": (0, 1), "RESOLUTION": (1e-3, None), "TOLERANCE": (0, None)},
    **{"IOU": (1e-6, 1), "DETECTION_SHARE": (1e-6, 1), "OVERLAP": (1e-6, 1), "SIZES": (0, None), "BLOCK": (1e-3, None)},
    **{"BOOTSTRAP": (1, None), "SEED": (0, None)},
}
FORMER_NAMES = {"FOUND": "DETECTION_SHARE"}


def main():
    """Compare, write the files and print a table."""
    check_settings()
    from scenes.comparing import comparison, picture, tally  # GDAL and Matplotlib are slow to import
    from scenes.report_area import report_of, state_area
    from scenes.vectors import Choice

    name = f"{scene_name([MAP])}_against_{scene_name([REFERENCE])}"
    folder = Path(OUT_DIR) if OUT_DIR else Path(MAP).parent / name
    check_targets([folder / file for file in comparison.FILES], OVERWRITE)
    settings = comparison.CompareSettings(
        threshold=THRESHOLD,
        min_confidence=MIN_CONFIDENCE,
        map_choice=Choice(MAP_LAYER, MAP_WHERE, "map-"),
        reference_choice=Choice(REFERENCE_LAYER, REFERENCE_WHERE, "reference-"),
        area_choice=Choice(AREA_LAYER, AREA_WHERE, "area-"),
        resolution=RESOLUTION,
        tolerance=TOLERANCE,
        iou=IOU,
        detection_share=DETECTION_SHARE,
        overlap=OVERLAP,
        sizes=SIZES,
        block=BLOCK,
        bootstrap=BOOTSTRAP,
        seed=SEED,
    )
    with comparison.open_pair(MAP, REFERENCE, AREA, settings) as pair:
        if not AREA:
            script.note("without --area the reference is taken to be complete wherever the map was judged")
        counted = tally.count(pair.mapped, pair.reference, pair.area, pair.grid, TOLERANCE, BLOCK)
        comparison.check_judged(counted, MAP, REFERENCE, AREA)
        record, sizes = comparison.scores(counted, pair, settings)
        objects = list(comparison.object_rows(counted, pair.grid))
    if not (record["objects"]["map"] or record["objects"]["reference"]):
        script.note("neither the map nor the reference holds a landslide on judged ground")
    inputs = {"map": MAP, "what": pair.mapped.what, "reference": REFERENCE, "area": AREA}
    pixel = [round(float(side.mean()), 3) for side in pair.grid.pixel_size]
    record = inputs | {"pixel_m": pixel} | record | {"revision": script.revision()}

    records.write_csv(folder / "objects.csv", objects[0], objects[1:])
    rows = [["" if value is None else value for value in row.values()] for row in sizes]
    records.write_csv(folder / "by_size.csv", sizes[0], rows)
    title = f"{Path(MAP).name} against {Path(REFERENCE).name}"
    half = record["half_recall"]
    captions = shift_text(record["shift"]), f"size at which recall is one half: {half_text(half)}".replace("m2", "m²")
    picture.draw(counted, pair.grid, sizes, half, title, captions, folder / "comparison.png")
    records.write_json(folder / "scores.json", record)
    print(table(record, sizes))
    print(f"written: {folder}/: {', '.join(comparison.FILES)}")
    as_it_is = THRESHOLD is None and not (MIN_CONFIDENCE or MAP_LAYER or MAP_WHERE)
    if as_it_is and (report := report_of(MAP)):
        state_area(report, record)


def check_settings():
    """Find mistakes in the constants before anything is read."""
    for name, what in (("MAP", "map"), ("REFERENCE", "reference")):
        if not globals()[name]:
            raise script.UserError(f"no {what} to compare: give one with {name}")
    if list(SIZES) != sorted(set(SIZES)) or not SIZES or SIZES[0] < 0:
        raise script.UserError("SIZES must rise from 0 or more")


# ---------------------------------------------------------------------- the table


def table(record, sizes):
    """Format the record and the rows by size as tables for the terminal."""
    pixels, boundary, objects, area, number = (
        record[name] for name in ("pixels", "boundary", "objects", "area_m2", "count")
    )
    low, high = pixels["dice_ci95"]
    cut = objects["map_cut"], objects["reference_cut"]
    precise = pixels.get("average_precision")
    lines = [
        f"{record['map']} ({record['what']}) against {record['reference']}: {area['judged'] / 1e6:.3f} km2 judged, "
        f"{record['covered_share']:.0%} of the map",
        f"pixels of {' x '.join(f'{side:g}' for side in record['pixel_m'])} m",
        f"  Dice             {pixels['dice']:.3f} ({low:.3f} to {high:.3f})",
        f"  IoU              {pixels['iou']:.3f}",
        f"  precision        {pixels['precision']:.3f}",
        f"  recall           {pixels['recall']:.3f}",
        *([] if precise is None else [f"  av. precision    {precise:.3f}"]),
        f"boundary F1        {boundary['f1']:.3f} within {boundary['tolerance_m']:g} m (precision "
        f"{boundary['precision']:.3f}, recall {boundary['recall']:.3f})",
        f"objects F1         {objects['f1']:.3f} one to one at IoU {objects['iou']:g} (precision "
        f"{objects['precision']:.3f}, recall {objects['recall']:.3f}): {objects['matched']} pairs",
    ]
    if any(cut):
        lines.append(f"                   left out: {cut[0]} mapped, {cut[1]} reference, mostly on ground not judged")
    lines += [
        f"shift              {shift_text(record['shift'])}",
        f"size at which recall is one half: {half_text(record['half_recall'])}",
        "                   judged: map   reference   whole map: map   corrected",
        f"area, km2          {area['map_judged'] / 1e6:>11.4f}   {area['reference_judged'] / 1e6:>9.4f}   "
        f"{area['map'] / 1e6:>14.4f}   {total_text(area, 1e6, 4)}",
        f"landslides         {number['map_judged']:>11}   {number['reference_judged']:>9}   {number['map']:>14}   "
        f"{total_text(number, 1, 0)}",
        "landslides by size, m2   reference   detected               touched   mapped   false alarms",
    ]
    for row in sizes:
        to = f"to {row['to_m2']:g}" if row["to_m2"] else "or more"
        label = "all" if row["all"] else f"{row['from_m2']:g} {to}"
        detected, false = (interval_text(row, name) for name in ("detected", "false"))
        touched = "" if row["touched_share"] is None else f"{row['touched_share']:.0%}"
        lines.append(f"{label:<24} {row['reference']:>9}   {detected:<20} {touched:>7}   {row['mapped']:>6}   {false}")
    lines.append("(in brackets: 95 % intervals)")
    return "\n".join(line.rstrip() for line in lines)


def interval_text(row, name):
    """Format a share of by_size.csv with its interval; "" if it is unknown."""
    if row[f"{name}_share"] is None:
        return ""
    return f"{row[f'{name}_share']:.0%} ({row[f'{name}_low']:.0%} to {row[f'{name}_high']:.0%})"


def total_text(total, unit, digits):
    """Format a corrected area or count with its interval, or the reason why it is unknown."""
    if "reason" in total:
        return total["reason"]
    estimate, low, high = (f"{total[name] / unit:.{digits}f}" for name in ("estimate", "low", "high"))
    return f"{estimate} ({low} to {high})"


def half_text(half):
    """Format the size at which recall is one half with its interval, or the reason why it is unknown."""
    if "reason" in half:
        return f"unknown ({half['reason']})"
    size, low, high = (f"{float(f'{half[name]:.3g}'):.0f}" for name in ("area_m2", "low", "high"))
    return f"{size} m2 ({low} to {high})"


def shift_text(shift):
    """Format how far and in which direction the reference lies from the map."""
    if not shift["significant"]:
        return f"no significant shift between map and reference, from {shift['pairs']} pairs of objects"
    return (
        f"the reference lies {shift['distance_m']:.{int(shift['distance_m'] < 10)}f} m to the {shift['direction']} "
        f"({shift['pairs']} pairs of objects)"
    )


if __name__ == "__main__":
    script.start(main)
