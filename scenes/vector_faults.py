"""What is wrong with a vector file for its purpose: cut short, no degrees, other ground, elsewhere, refuted rows."""

import re
from pathlib import Path

import geopandas
import numpy as np
import pandas
import shapely

from mask_values import OTHER
from scenes.verdicts import verdict_labels
from script import UserError, note

# Columns that say what a polygon is. The second list may also hold kinds of landslides or numbers of polygons, as
# programs that turn rasters into polygons write them (DN, gridcode).
CLASSES = ("class", "classes", "classname", "class_name", "label", "labels", "category", "landcover", "land_cover")
KINDS = ("type", "kind", "fclass", "landslide", "landslides", "is_landslide", "dn", "gridcode", "value")
CLASS_COLUMNS = CLASSES + KINDS
MOST_CLASSES = 20  # a column of more values holds names or numbers of single polygons
OTHER_GROUND = (
    r"\b(non? ?landslide|no|not|non|none|stable|background|other|neg|negative|false|0+|forest|water|river|lake|road|"
    r"building|urban)\b"
)
LANDSLIDE_WORDS = (
    r"slide|slip|slump|flow|fall|topple|scar|creep|avalanche|lahar|erosion|runout|deposit|source|gully|true|yes"
)


def check_whole(path):
    """Raise UserError for a Shapefile without its index, or shorter than its header says, and for GeoParquet.

    GDAL would read empty shapes from a Shapefile that is cut short; the GDAL of pyogrio's wheels reads no Parquet.
    """
    if str(path).lower().endswith("parquet"):
        target = Path(path).with_suffix(".gpkg").name
        raise UserError(
            f"{path} is GeoParquet, which is not read here: write it as GeoPackage, ogr2ogr {target} {path}"
        )
    if not str(path).lower().endswith(".shp"):
        return
    index = Path(path).with_suffix(".shx")
    if not (index.exists() or index.with_suffix(".SHX").exists()):
        raise UserError(f"{path} lacks {index.name}, which lies beside it in a whole Shapefile: copy all its files")
    with open(path, "rb") as file:
        header = file.read(28)
        size = file.seek(0, 2)
    promised = 2 * int.from_bytes(header[24:])
    if size < promised:
        raise UserError(f"{path} is cut short: it has {size} of {promised} bytes; copy it again")


def check_degrees(path, table):
    """Raise UserError if coordinates that count as degrees are none, as those of a GeoJSON in metres."""
    if not (table.crs.is_geographic and len(table)):
        return
    left, low, right, high = table.total_bounds
    farthest_east, farthest_north = max(abs(left), abs(right)), max(abs(low), abs(high))
    if farthest_east <= 90 < farthest_north <= 180:
        raise UserError(f"{path}: latitudes reach {high:g}: latitude and longitude are in each other's place")
    if farthest_east > 720 or farthest_north > 90.001:
        raise UserError(
            f"{path}: its coordinates, such as {left:g} {low:g}, are no degrees, but it names no other coordinate "
            "system: save it anew with the one it has (GeoJSON is in degrees where it names none)"
        )


def check_classes(path, table, choice):
    """Raise UserError if a column of a table seems to tell landslides from other ground, and print one of other kinds.

    Columns of CLASS_COLUMNS are looked at. Words that mean other ground, and values of unknown meaning in a column that
    is called class or label, ask for a condition: other ground would be taken for landslides.
    """
    for name in [name for name in CLASS_COLUMNS if name in table]:
        words = table[name].dropna().astype("string").str.strip().str.removesuffix(".0")
        values = sorted(set(words[words != ""]))
        if not 1 < len(values) <= MOST_CLASSES or len(values) == len(table):
            continue
        plain = [re.sub(r"[\W_]+", " ", value.lower()) for value in values]
        other = any(re.search(OTHER_GROUND, value) for value in plain)
        if not other and all(re.search(LANDSLIDE_WORDS, value) for value in plain):
            continue
        listed = f"{', '.join(values[:5])}{', ...' * (len(values) > 5)}"
        if not other and name in KINDS:
            note(f"{path}: its column {name} holds {listed}: all are landslides here; {choice.where_flag} chooses")
            continue
        kept = next((v for v, word in zip(values, plain, strict=True) if not re.search(OTHER_GROUND, word)), values[-1])
        text = kept if pandas.api.types.is_numeric_dtype(table[name]) else f"'{kept}'"
        raise UserError(
            f"{path}: its column {name} holds {listed}: choose the landslides with {choice.where_flag}, such as "
            f'"{name} = {text}", or say that all are, "{name} IS NOT NULL"'
        )


def elsewhere_text(parts, grid):
    """Return where shapes lie that miss a grid, and where the grid does, in words that follow a message.

    parts: geopandas.GeoSeries. Latitude and longitude in each other's place are recognised.
    """
    own = geopandas.GeoSeries([grid.box()], crs=grid.crs).to_crs(4326).total_bounds
    theirs = pandas.concat([part.to_crs(4326) for part in parts]).total_bounds
    if not np.isfinite(theirs).all():
        return ""
    if shapely.box(*theirs[[1, 0, 3, 2]]).intersects(shapely.box(*own)):
        return ": they would, were latitude and longitude not in each other's place"
    (x, y), (own_x, own_y) = ((bounds[:2] + bounds[2:]) / 2 for bounds in (theirs, own))
    return f": they lie near {y:.2f} N {x:.2f} E, the scene near {own_y:.2f} N {own_x:.2f} E"


def without_refuted(path, table):
    """Leave out the rows that a reviewer refuted; return (table of the others, number of rows left out).

    A row of the verdict unsure, or without one, stays: a landslide unless somebody says that it is none.

    Raises:
        UserError: a verdict is unknown.
    """
    verdicts = verdict_labels(path, table)
    if not verdicts:
        return table, 0
    kept = table[verdicts[0] != OTHER]
    return kept, len(table) - len(kept)
