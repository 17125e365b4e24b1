"""What is wrong with a vector file for its purpose: cut short, no degrees, other ground, elsewhere."""

import re
from pathlib import Path

import geopandas
import numpy as np
import pandas
import shapely

from mask_values import EXCLUDED, HIDDEN, UNLABELLED, landslides_among
from script import UserError, note


def with_cut(*names):
    """Return names of columns, and what a Shapefile makes of them, which has ten letters for each."""
    return tuple(dict.fromkeys((*names, *(name[:10] for name in names))))


# Columns that say what a polygon is: its class, or a number or name that may be one; its kind, or whether it is a
# landslide; the value of the raster from which a program drew it (GDAL and QGIS: DN, ArcGIS: gridcode), of which 0 is
# the background. Of a mask, its codes are no landslides either.
CLASSES = (
    *with_cut("class", "classes", "classname", "class_name", "class_id", "classid", "classvalue", "classification"),
    *("category", "landcover", "land_cover"),
)
LABELS = ("label", "labels")
KINDS = (
    *with_cut("landslide", "landslides", "is_landslide", "pred", "predicted", "prediction", "mask", "gt"),
    *with_cut("type", "kind", "fclass", "ground_truth", "value"),
)
RASTER_VALUES = with_cut("dn", "gridcode", "grid_code", "raster_val", "raster_value", "pixel_value")
CLASS_COLUMNS = CLASSES + LABELS + KINDS + RASTER_VALUES
MASK_CODES = {str(code) for code in (EXCLUDED, HIDDEN, UNLABELLED)}
MOST_CLASSES = 20  # a column of more values holds names or numbers of single polygons
OTHER_GROUND = (
    r"\b((no|non|not)(?! \d)( ?(land)?slides?)?|none|stable|background|bg|other|neg|negative|false|absent|forest|water|"
    r"river|lake|road|building|urban|vegetation|cropland)( (area|ground|land|terrain|slope|body))?s?\b|"
    r"(?<![.\d])0+(?![.\d])|^[nf]$"
)
REST_OF_KINDS = r"other|none|(not |un)classified|unknown"  # beside kinds of landslides, another kind
# A text with one of these words is a landslide, also with a word of other ground ("road-cut slide"), unless denied.
SLIDES = r"slide|slip|slump|flow|rock ?fall|topple|avalanche|lahar"
DENIED = r"\b(no|non|not|false|absent|without)( an?)? ?(land)?slides?\b|slides? (free|absent)|\bfalse (pos|alarm|land)"
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


def class_columns(landslides):
    """Return the names of the columns that `check_classes` looks at, see there."""
    return CLASS_COLUMNS if landslides else RASTER_VALUES


def check_classes(path, table, choice, landslides=True):
    """Raise UserError if a column of a table tells its polygons from other ground, and print a note of other kinds.

    Words that mean other ground, and values of unknown meaning in a column that is called class or label, ask for a
    condition, in however few rows: other ground would count as landslide. A column in which each row has a value of its
    own holds names or numbers of single polygons, but a column called class holds classes if one of them is landslide.
    Among names only one that wholly means other ground counts ("stable", not "Lake Road"), and 0 is a number as any
    other where they are more than MOST_CLASSES, or three and more that are called label or value. Numbers that are all
    values of a mask, with 253, 254 or 255 among them, mean what they mean there.

    Args:
        path, table: of the vector file. choice: vectors.Choice, which has no condition.
        landslides: whether all polygons have to be landslides. Otherwise only numbers of RASTER_VALUES count.
    """
    what, all_of_them = ("landslides", "all are landslides") if landslides else ("polygons", "all polygons count")
    for name in [name for name in class_columns(landslides) if name in table]:
        words = table[name].dropna().astype("string").str.strip().str.removesuffix(".0")
        words = words[words != ""]
        values, is_number = sorted(set(words)), pandas.api.types.is_numeric_dtype(table[name])
        many, single = len(values) > MOST_CLASSES, len(values) == len(words)
        numbered = many or (single and len(values) > 2 and name in (*LABELS, "value"))
        coded = MASK_CODES.intersection(values) and all(map(str.isdigit, values))
        of_mask = landslides_among(np.array(values, float)) if coded else None
        numbered = numbered and is_number and name not in RASTER_VALUES and of_mask is None
        if not values or numbered or not (landslides or is_number):
            continue
        plain = [re.sub(r"(?!\.\d)[\W_]+", " ", value.lower()).strip() for value in values]
        is_slide = [bool(re.search(LANDSLIDE_WORDS, word)) for word in plain]
        is_other = [means_other_ground(word, name, many or single) for word in plain]
        if of_mask is not None:
            is_other = [not landslide for landslide in of_mask]
        names = (many or single) and not (name in CLASSES and not many and not is_number and any(is_slide))
        if not any(is_other) and (names or len(values) == 1 or all(is_slide)):
            continue
        others_first = [value for _, value in sorted(zip(is_other, values, strict=True), key=lambda each: not each[0])]
        listed = f"{', '.join(others_first[:5])}{', ...' * (len(values) > 5)}"
        if not any(is_other) and name not in (*CLASSES, *LABELS):
            if landslides:
                note(f"{path}: its column {name} holds {listed}: all are landslides here; {choice.where_flag} chooses")
            continue
        everything = f'"{name} IS NOT NULL"'
        if all(is_other):
            raise UserError(
                f"{path}: its column {name} holds {listed} alone, which means other ground: leave these polygons out, "
                f"or say with {choice.where_flag} that {all_of_them}, {everything}"
            )
        left_out = is_other if any(is_other) else np.logical_not(is_slide) if any(is_slide) else np.arange(len(values))
        raise UserError(
            f"{path}: its column {name} holds {listed}: choose the {what} with {choice.where_flag}, such as "
            f'"{condition(table[name], name, values, left_out)}", or say that {all_of_them}, {everything}'
        )


def means_other_ground(word, column, is_name):
    """Return whether a value of a column means ground that is no landslide.

    word: in lower case, with words divided by spaces. is_name: whether it may be the name of a single polygon, of which
    only one that wholly means other ground counts.
    """
    if column in ("type", "kind") and re.fullmatch(REST_OF_KINDS, word):
        return False
    if re.search(DENIED, word):
        return True
    return bool((re.fullmatch if is_name else re.search)(OTHER_GROUND, word)) and not re.search(SLIDES, word)


def condition(column, name, values, left_out):
    """Return a condition in SQL on a column that leaves out some of its values.

    column: pandas.Series. name: of it. values: its values as text. left_out: for each, whether it is left out.
    """

    def literal(value):
        if pandas.api.types.is_bool_dtype(column):
            return str(int(value == "True"))
        return value if pandas.api.types.is_numeric_dtype(column) else "'" + value.replace("'", "''") + "'"

    others = [literal(value) for value, is_out in zip(values, left_out, strict=True) if is_out]
    kept = [literal(value) for value, is_out in zip(values, left_out, strict=True) if not is_out]
    if len(kept) == 1:
        return f"{name} = {kept[0]}"
    return f"{name} <> {others[0]}" if len(others) == 1 else f"{name} NOT IN ({', '.join(others)})"


def elsewhere_text(shapes, grid):
    """Return where shapes lie that miss a grid, and where the grid does, in words that follow a message.

    shapes: geopandas.GeoSeries. Latitude and longitude in each other's place are recognised.
    """
    own = geopandas.GeoSeries([grid.box()], crs=grid.crs).to_crs(4326).total_bounds
    theirs = shapes.to_crs(4326).total_bounds
    if not np.isfinite(theirs).all():
        return ""
    if shapely.box(*theirs[[1, 0, 3, 2]]).intersects(shapely.box(*own)):
        return ": they would, were latitude and longitude not in each other's place"
    (x, y), (own_x, own_y) = ((bounds[:2] + bounds[2:]) / 2 for bounds in (theirs, own))
    return f": they lie near {y:.2f} N {x:.2f} E, the scene near {own_y:.2f} N {own_x:.2f} E"
