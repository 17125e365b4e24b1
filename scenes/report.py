"""The report of a map: one HTML file that opens in any browser, without a network."""

import base64
import io
import json
from pathlib import Path

import jinja2
import numpy as np
import rasterio
import shapely
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image
from rasterio.enums import Resampling

from mask_values import EXCLUDED, HIDDEN, UNLABELLED
from scenes.pixel_grid import reduced_shape
from scenes.quick_look import as_seen
from scenes.styles import CLASSES, COLOURS, MASK_CLASSES, PROBABILITY_RAMP, class_ranges, hex_colour

FOLDER = Path(__file__).parent / "report_page"
LONGEST = 2000  # pixels of the longer side of its pictures
LISTED = 2000  # number of polygons that it lists, the largest ones
LEAST_ALARMS = 1e-4  # below this share of false alarms, the share is not shown, because it would read 0.00 %
COLUMNS = {  # columns of the table: label and decimal places
    "id": ("number", 0),
    "class": ("class", 0),
    "confidence": ("confidence", 2),
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
}


def write(path, scenes, bands, table, rasters, about, summary, warnings, alarms):
    """Write the report.

    Args:
        path: of the HTML file. scenes: open Scenes: after the event, and before it if there is one.
        bands: indices of red, green and blue among the model's bands. table: of polygons.landslides.
        rasters: paths {"probability", "mask"}. about: {name: text} of how the map was made.
        summary: one sentence. warnings: texts. alarms: [(name of landslide-free ground, share of its pixels predicted
            as landslide), ...], as evaluate.py measured them for the run.
    """
    grid = scenes[0].grid
    names = ("scene", "before")[: len(scenes)]
    codes = reduced(rasters["mask"], Resampling.nearest)[0].filled(UNLABELLED)
    layers = {name: picture(scene, bands, codes) for name, scene in zip(names, scenes, strict=True)}
    layers |= {"cover": cover(codes), "probability": probability(*reduced(rasters["probability"], Resampling.average))}
    area = "area_m2" if grid.crs else "pixels"
    columns = [{"key": key, "label": label} for key, (label, _) in COLUMNS.items() if key in table]
    data = {
        "height": grid.height,
        "width": grid.width,
        "layers": layers,
        "polygons": polygon_entries(table.iloc[:LISTED], columns, area, grid),
        "columns": columns,
        "colours": {name: hex_colour(colour) for name, colour in COLOURS.items()},
        "unit": "m²" if grid.crs else "pixels",
    }
    rest = f", {len(table)} in all: the GeoPackage has them" if len(table) > LISTED else ""
    content = {
        "name": about["scene"],
        "summary": summary,
        "warnings": warnings,
        "layers": layers,
        "classes": [
            {"name": name, "range": confidence, "colour": hex_colour(COLOURS[name])}
            for name, confidence in class_ranges().items()
        ],
        "covers": [(label, hex_colour(colour)) for label, colour in map(MASK_CLASSES.get, (HIDDEN, EXCLUDED))],
        "totals": totals(table, area),
        "area_unit": "km²" if grid.crs else "pixels",
        "seen_text": seen_text(about),
        "columns": columns,
        "listed": f"{min(len(table), LISTED)} polygons{', the largest' if rest else ''}{rest}.",
        "sizes": sizes(table[area].to_numpy(), data["unit"]),
        "about": about.items(),
        "caveats": caveats(about, alarms, len(scenes) > 1),
        # "</" would end the script
        "data": Markup(json.dumps(data, allow_nan=False).replace("</", "<\\/")),
        "leaflet_css": Markup((FOLDER / "leaflet.css").read_text(encoding="utf-8")),
        "leaflet_js": Markup((FOLDER / "leaflet.js").read_text(encoding="utf-8")),
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string((FOLDER / "report.html").read_text(encoding="utf-8"))
    Path(path).write_text(page.render(content), encoding="utf-8")


# ---------------------------------------------------------------------- pictures


def picture(scene, bands, codes):
    """Draw a scene as a JPEG, in a data address. codes: its mask, reduced to LONGEST pixels."""
    image, valid, _ = scene.thumbnail(bands, LONGEST)
    colours = as_seen(image, valid, codes)
    return encoded(Image.fromarray(np.rint(255 * np.clip(colours, 0, 1)).astype(np.uint8)), "jpeg", quality=80)


def reduced(path, resampling):
    """Read a raster of a map, reduced to LONGEST pixels; return (H x W, masked where it has no data; its data type)."""
    with rasterio.open(path) as file:
        shape, _ = reduced_shape(file.shape, LONGEST)
        return file.read(1, out_shape=shape, masked=True, resampling=resampling), file.dtypes[0]


def probability(values, dtype):
    """Draw probabilities as a PNG with the colours of their style, in a data address.

    values: H x W, masked where there is none. dtype: of their file, "uint8" for percent.
    """
    probabilities = np.clip(values.filled(0).astype(np.float32) / (100 if dtype == "uint8" else 1), 0, 1)
    stops, colours = zip(*PROBABILITY_RAMP, strict=True)
    levels = np.linspace(0, 1, 64)
    palette = np.stack([np.interp(levels, stops, channel) for channel in zip(*colours, strict=True)], 1)
    index = np.where(np.ma.getmaskarray(values), 0, np.rint(probabilities * 63)).astype(np.uint8)
    return encoded(paletted(index, palette), "png", optimize=True)


def cover(codes):
    """Draw the ground that is hidden or excluded as a PNG, in a data address. codes: the mask, reduced."""
    index = np.select([codes == HIDDEN, codes == EXCLUDED], [1, 2], 0).astype(np.uint8)
    palette = np.array([(0, 0, 0, 0), *(MASK_CLASSES[code][1] for code in (HIDDEN, EXCLUDED))], float)
    return encoded(paletted(index, palette), "png", optimize=True)


def paletted(index, palette):
    """Return a picture of palette indices (H x W uint8) with colours (n x 4: red, green, blue, opacity)."""
    image = Image.fromarray(index, "P")
    image.putpalette(np.rint(palette[:, :3]).astype(np.uint8).tobytes(), "RGB")
    image.info["transparency"] = bytes(np.rint(palette[:, 3]).astype(np.uint8).tolist())
    return image


def encoded(image, file_format, **options):
    """Return a picture as a data address. file_format: "jpeg" or "png"."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return data_address(file, file_format)


def data_address(file, file_format):
    """Return the content of a file in memory as a data address."""
    return f"data:image/{file_format};base64,{base64.b64encode(file.getvalue()).decode()}"


def sizes(areas, unit):
    """Draw the density of the areas of polygons, on logarithmic axes, as a PNG in a data address.

    Returns "" for fewer than ten polygons, and if all have the same area.
    """
    areas = areas[areas > 0]
    if len(areas) < 10 or areas.min() == areas.max():
        return ""
    edges = np.geomspace(areas.min(), areas.max() * 1.0001, max(5, min(25, round(np.sqrt(len(areas))))))
    counts, _ = np.histogram(areas, edges)
    density = counts / np.diff(edges) / len(areas)
    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=90)
    axis = figure.add_subplot()
    axis.loglog(np.sqrt(edges[1:] * edges[:-1])[counts > 0], density[counts > 0], "o-", color="#b2182b", markersize=4)
    axis.set(xlabel=f"area, {unit}", ylabel=f"share of polygons per {unit}")
    axis.grid(alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, metadata={"Software": None})
    return data_address(file, "png")


# ---------------------------------------------------------------------- words and numbers


def polygon_entries(table, columns, area, grid):
    """Return the entry of each polygon for the page: {key of a column: value} and its rings, in columns and rows."""
    shapes = table.geometry.to_numpy()
    shapes = grid.in_pixels(shapes)
    pixel = max(1.0, max(grid.shape) / LONGEST)
    shapes = shapely.simplify(shapes, 0.5 * pixel)
    entries = []
    for shape, (_, row) in zip(shapes, table.iterrows(), strict=True):
        entry = {"area": float(row[area])}
        for column in columns:
            value, digits = row[column["key"]], COLUMNS[column["key"]][1]
            if isinstance(value, str):
                entry[column["key"]] = value
            elif np.isnan(value):
                entry[column["key"]] = "unknown"
            else:
                entry[column["key"]] = round(float(value), digits) if digits else round(float(value))
        entry["confidence"] = round(float(row["confidence"]), 2)
        entry["class"] = row["class"]
        outlines = (shape.exterior, *shape.interiors)
        entry["rings"] = [np.round(ring.coords, 1).tolist() for ring in outlines]
        entries.append(entry)
    return entries


def totals(table, area):
    """Return number and area of the certain polygons, of the certain and probable ones, and of all."""
    unit, digits = (1e6, 3) if area == "area_m2" else (1, 0)
    sets = {"certain": ["certain"], "certain and probable": ["certain", "probable"], "all": list(CLASSES)}
    rows = []
    for name, classes in sets.items():
        part = table[table["class"].isin(classes)]
        rows.append({"name": name, "count": len(part), "area": f"{part[area].sum() / unit:.{digits}f}"})
    return rows


def seen_text(about):
    """Return a sentence on the share of the scene that was seen."""
    if about["clouds"] == "unknown":
        return "No cloud mask was used: ground under clouds counts as seen."
    seen, excluded = float(about["seen"]), float(about["excluded"])
    text = f"{seen:.0%} of the scene's ground was seen" if seen < 1 else "All of the scene's ground was seen"
    hidden = "; under clouds there may be more" if seen < 1 else ""
    return text + (f", and {excluded:.0%} was excluded" if excluded else "") + hidden + "."


def caveats(about, alarms, compared):
    """Return the limits of the map, as sentences. compared: whether there is a scene before the event."""
    sentences = [
        f"Of landslide-free ground ({name}), the model calls "
        + (f"{share:.2%} of the pixels landslide." if share >= LEAST_ALARMS else "less than 0.01 % landslide.")
        for name, share in alarms
    ]
    if not alarms:
        sentences.append("How much landslide-free ground this model calls landslide was not measured.")
    if not compared:
        sentences.append(
            "One picture does not show when a landslide happened. Old scars, quarries, river beds and bare fields look "
            "alike; a picture from before (--before) separates them."
        )
    if "dem" not in about:
        sentences.append("No elevation was used, so flat ground was not left out (--dem, --min-slope).")
    sentences.append(
        "Confidence is calibrated on the validation patches of the training data. In other regions it can be too high "
        "or too low. Check polygons before you act on them; the GeoPackage has the columns verdict and note for it."
    )
    return sentences
