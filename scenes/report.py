"""The report of a map: one HTML file that opens in any browser, without a network.

report_page/ holds its template, style and script. What it says of the area of landslides is in report_area.py, because
a comparison changes it.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from markupsafe import Markup, escape
from rasterio.enums import Resampling

from mask_values import EXCLUDED, HIDDEN, UNLABELLED
from scenes.page_grid import page_grid
from scenes.quick_look import extent
from scenes.report_area import area_part
from scenes.report_pictures import cover, picture, probability, reduced, sizes
from scenes.styles import CLASSES, COLOURS, MASK_CLASSES, hex_colour
from scenes.titles import date_text, instant, resolution_text
from scenes.web_page import embedded, render

FOLDER = Path(__file__).parent / "report_page"
LISTED = 5000  # number of polygons that it lists, the largest ones
CORNERS = 200_000  # corners of their outlines that it holds, at most; outlines of more are simplified
LEAST_ALARMS = 1e-4  # below this share of false alarms, the share is not shown, because it would read 0.00 %
PARTS = {f"{name}_{kind}": f"{name}.{kind}" for name in ("leaflet", "report") for kind in ("css", "js")}  # in the page
COLUMNS = {  # columns of the table: label and decimal places shown
    "id": ("number", 0),
    "class": ("class", 0),
    "confidence": ("mean probability", 2),
    "area_m2": ("area, m²", 0),
    "pixels": ("pixels", 0),
    "length_m": ("length, m", 0),
    "width_m": ("width, m", 0),
    "mean_slope_deg": ("slope, °", 1),
    "aspect_deg": ("aspect, °", 0),
    "cut_by_cloud": ("cut by cloud", 0),
    "cut_by_edge": ("cut by edge", 0),
    "lon": ("longitude", 5),
    "lat": ("latitude", 5),
    "centroid_column": ("column", 1),
    "centroid_row": ("row", 1),
}
FINE = {"area_m2": 4, "length_m": 2, "width_m": 2, "lon": 7, "lat": 7}  # where areas are below a square metre


class Remarks(NamedTuple):
    """What a report says of a map in words.

    Attributes:
        summary: one sentence. weaknesses: of weaknesses.list_weaknesses.
        alarms: [(name of landslide-free ground, share of its pixels predicted as landslide), ...], by evaluate.py.
    """

    summary: str
    weaknesses: list
    alarms: list


def write(path, scenes, bands, table, rasters, about, title, remarks):
    """Write the report.

    Args:
        path: of the HTML file. scenes: open Scenes: after the event, and before it if there is one.
        bands: indices of red, green and blue among the model's bands. table: of polygons.landslides.
        rasters: paths {"probability", "mask"}. about: {name: text} of how the map was made. title: of the page.
        remarks: Remarks.
    """
    grid = scenes[0].grid
    names = ("scene", "before")[: len(scenes)]
    codes = reduced(rasters["mask"], Resampling.nearest)[0].filled(UNLABELLED)
    layers = {name: picture(scene, bands, codes) for name, scene in zip(names, scenes, strict=True)}
    layers |= {"cover": cover(codes), "probability": probability(*reduced(rasters["probability"], Resampling.average))}
    area = "area_m2" if grid.crs else "pixels"
    columns = listed_columns(table)
    polygons, tolerance = polygon_entries(table.iloc[:LISTED], columns, area, grid)
    data = {
        "name": about["scene"],
        "made": {key: about[key] for key in ("scene", "acquired", "run", "threshold", "revision") if about.get(key)},
        "grid": page_grid(grid),
        "view": ground_with_data(codes, grid),
        "layers": layers,
        "polygons": polygons,
        "columns": columns,
        "colours": {name: hex_colour(colour) for name, colour in COLOURS.items()},
        "unit": "m²" if grid.crs else "pixels",
    }
    content = {
        "title": title,
        "subtitle": subtitle(about, grid),
        "summary": remarks.summary,
        "weaknesses": remarks.weaknesses,
        "area": Markup(area_part()),
        "layers": layers,
        "crs": grid.crs,
        "classes": [(name, hex_colour(COLOURS[name])) for name in CLASSES],
        "covers": [(label, hex_colour(colour)) for label, colour in map(MASK_CLASSES.get, (HIDDEN, EXCLUDED))],
        "totals": totals(table, area),
        "area_unit": "km²" if grid.crs else "pixels",
        "seen_text": seen_text(about),
        "listed": listed_text(len(table), tolerance),
        "sizes": sizes(table[area].to_numpy(), data["unit"]),
        "name": about["scene"],
        "about": about.items(),
        "caveats": caveats(remarks.alarms),
        "data": embedded(data),
        **{name: Markup((FOLDER / file).read_text(encoding="utf-8")) for name, file in PARTS.items()},
    }
    page = render(FOLDER / "report.html", content, flags_as_code=flags_as_code)
    Path(path).write_text(page, encoding="utf-8")


def ground_with_data(codes, grid):
    """Return the box of a map in which there is data: {"top", "bottom", "left", "right"}, in rows and columns.

    codes: its mask, reduced. grid: PixelGrid of the map. Of a map without data it is the whole map.
    """
    left, right, top, bottom = extent(codes != UNLABELLED)
    down, across = grid.height / codes.shape[0], grid.width / codes.shape[1]
    sides = {"top": top * down, "bottom": bottom * down, "left": left * across, "right": right * across}
    return {name: float(side) for name, side in sides.items()}


# ---------------------------------------------------------------------- polygons


def listed_columns(table):
    """Return the columns of the page's table: [{"key", "label", "digits"}, ...]."""
    fine = FINE if "area_m2" in table and len(table) and table["area_m2"].min() < 1 else {}
    return [
        {"key": key, "label": label, "digits": fine.get(key, digits)}
        for key, (label, digits) in COLUMNS.items()
        if key in table
    ]


def polygon_entries(table, columns, area, grid):
    """Return the polygons of a table for the page, and the pixels by which their outlines are simplified.

    Each has {key of a column: value, None where it is unknown}, "area", by the column of that name, and "rings" in
    columns and rows of the grid.
    """
    shapes, tolerance = few_corners(grid.in_pixels(table.geometry.to_numpy()))
    values = {column["key"]: plain_values(table[column["key"]]) for column in columns}
    values["area"] = table[area].tolist()
    outlines = ([ring_points(ring) for ring in (shape.exterior, *shape.interiors)] for shape in shapes)
    rows = (dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True))
    return [row | {"rings": rings} for row, rings in zip(rows, outlines, strict=True)], tolerance


def few_corners(shapes):
    """Simplify polygons until they have CORNERS corners or fewer; returns (shapes, the tolerance, 0 if they have)."""
    tolerance, few = 0, shapes
    while shapely.get_num_coordinates(few).sum() > CORNERS and tolerance < 64:
        tolerance = tolerance * 2 or 0.5
        few = shapely.simplify(shapes, tolerance)
    return few, tolerance


def ring_points(ring):
    """Return the points of a ring as [[column, row], ...]; along the sides of pixels they are whole numbers."""
    points = np.round(ring.coords, 2)
    whole = np.rint(points)
    return (whole.astype(int) if np.array_equal(points, whole) else points).tolist()


def plain_values(column):
    """Return a column of a table as a list of texts or numbers, None where a number is unknown."""
    if column.dtype.kind != "f":
        return column.tolist()
    return [None if np.isnan(value) else round(value, 7) for value in column.tolist()]


# ---------------------------------------------------------------------- words and numbers


def subtitle(about, grid):
    """Return what names the scene in full: its file or product, when it was acquired, its pixels."""
    acquired = about.get("acquired", "")
    taken = instant(acquired)
    clock = f", {taken:%H:%M} UTC" if taken and taken.tzinfo else ""
    date = f"acquired {date_text(acquired)}{clock}" if taken else "date of acquisition unknown"
    parts = [about["scene"], about.get("product", ""), date, resolution_text(grid)]
    if earlier := date_text(about.get("acquired_before", "")):
        parts.append(f"compared with a picture of {earlier}")
    return " · ".join(filter(None, parts))


def flags_as_code(text):
    """Return a text as HTML in which a flag is code, which does not break between lines."""
    return Markup(re.sub(r"(--[a-z][a-z-]+)", r"<code>\1</code>", str(escape(text))))


def totals(table, area):
    """Return number and mapped area of the polygons from each class on: [{"name", "count", "area"}, ...]."""
    unit, digits = (1e6, 3) if area == "area_m2" else (1, 0)
    rows, names = [], list(CLASSES)
    for i, least in enumerate(CLASSES.values(), 1):
        part = table[table["class"].isin(names[:i])]
        name = f"mean probability at least {least:g}" if least else "all polygons"
        rows.append({"name": name, "count": len(part), "area": f"{part[area].sum() / unit:.{digits}f}"})
    return rows


def listed_text(number, tolerance):
    """Return sentences on which polygons the page lists, and how exact their outlines are."""
    text = f"{number} polygons." if number <= LISTED else f"The {LISTED} largest of {number} polygons."
    lacks = ["has them all"] * (number > LISTED) + ["has their exact outlines"] * bool(tolerance)
    if tolerance:
        text += f" Outlines are simplified by up to {tolerance:g} pixels."
    return text + (f" The GeoPackage {' and '.join(lacks)}." if lacks else "")


def seen_text(about):
    """Return a sentence on the share of the scene that was seen."""
    if about["clouds"] == "unknown":
        return "No cloud mask was used: ground under clouds counts as seen."
    seen, excluded = float(about["seen"]), float(about["excluded"])
    text = f"{seen:.0%} of the scene's ground was seen" if seen < 1 else "All of the scene's ground was seen"
    hidden = "; under clouds there may be more" if seen < 1 else ""
    return text + (f", and {excluded:.0%} was excluded" if excluded else "") + hidden + "."


def caveats(alarms):
    """Return what holds for every map of a run, as sentences. alarms: see Remarks."""
    sentences = [
        f"Of landslide-free ground ({name}), the model calls "
        + (f"{share:.2%} of the pixels landslide." if share >= LEAST_ALARMS else "less than 0.01 % landslide.")
        for name, share in alarms
    ]
    if not alarms:
        sentences.append("How much landslide-free ground this model calls landslide was not measured.")
    sentences.append(
        "Probabilities are calibrated on the validation patches of the training data. On other ground they can be too "
        "high or too low: clouds and bare soil can have high ones, and a real landslide a low one."
    )
    sentences.append("Check polygons before you act on them; the GeoPackage has the columns verdict and note for it.")
    return sentences
