"""The desk: a page for any browser, without a network, on which boxes of a scene are labelled and its map is judged.

What the page saves is read by box_file.py.
"""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
import shapely
from markupsafe import Markup
from PIL import Image
from rasterio.windows import Window

from bands import true_colour
from mask_values import EXCLUDED, HIDDEN, UNLABELLED
from plots import stretch
from scenes import report, report_pictures
from scenes.before_after import is_pair_run
from scenes.box_file import DEGREES, PIXELS, VERSION
from scenes.lon_lat import LonLat
from scenes.quick_look import NODATA, as_seen
from scenes.scene import Scene
from scenes.shape_repair import repaired
from scenes.styles import VERDICTS
from scenes.web_page import embedded, render

FOLDER = Path(__file__).parent / "desk_page"
LIBRARIES = (report.FOLDER / "leaflet", FOLDER / "leaflet-geoman")
SCRIPTS = ("file.js", "state.js", "drawing.js", "page.js")
MARGIN, LEAST_MARGIN = 1 / 8, 32  # ground around a box: a part of its side, and at least this number of pixels
OVERVIEW = 700  # pixels of the longer side of the picture of the whole scene
QUALITY = 80  # of JPEG: 20 boxes of 512 pixels, with a scene before and a shaded relief, stay below 10 MB
SUN = 315.0, 45.0  # degrees: from where the relief is lit, clockwise from north, and how high above the ground


class View(NamedTuple):
    """A date of the scene.

    Attributes:
        scene: open Scene. bands: positions of red, green and blue among its bands.
        overview: picture of the whole scene as a data address. seen: N x 3, values by which all pictures are stretched.
    """

    scene: Scene
    bands: list
    overview: str
    seen: np.ndarray


def write(path, scenes, bands, table, rasters, boxes, name, digests):
    """Write the page.

    Args:
        path: of the HTML file. scenes: open Scenes: after the event, and before it if there is one.
        bands: names of the model's bands, which may be of two dates.
        table: geopandas.GeoDataFrame of the predicted polygons with id and confidence, in the scene's coordinates.
        rasters: paths {"probability", "mask"} of the map. boxes: [(row, column, pixels a side), ...].
        name: of the scene. digests: of the scene, see scene_digest.py.
    """
    grid = scenes[0].grid
    views = dates(scenes, bands, rasters["mask"])
    tree = shapely.STRtree(grid.in_pixels(table.geometry.to_numpy()))
    lon_lat = LonLat(grid) if grid.crs else None
    entries = []
    with rasterio.open(rasters["probability"]) as probability, rasterio.open(rasters["mask"]) as mask:
        for row, column, size in boxes:
            margin = max(LEAST_MARGIN, round(MARGIN * size))
            top, bottom = max(row - margin, 0), min(row + size + margin, grid.height)
            left, right = max(column - margin, 0), min(column + size + margin, grid.width)
            box, around = shapely.box(column, row, column + size, row + size), shapely.box(left, top, right, bottom)
            near = table.iloc[np.sort(tree.query(box, "intersects"))]
            window = Window.from_slices((top, bottom), (left, right))
            entries.append(
                {
                    "id": f"{row}-{column}-{size}",
                    "box": [row, column, row + size, column + size],
                    "window": [top, left, bottom, right],
                    "pictures": pictures(views, window, probability, mask),
                    "predicted": polygon_entries(near, grid, box, around),
                    "degrees": lon_lat and lon_lat.polynomials(top, bottom, left, right),
                }
            )
    data = {
        "version": VERSION,
        "verdicts": VERDICTS,
        "scene": {"name": name, "digests": list(digests), "coordinates": DEGREES if grid.crs else PIXELS},
        "shape": list(grid.shape),
        "metres": grid.metres,
        "overview": views[0].overview,
        "boxes": entries,
    }
    own = {file: (FOLDER / file).read_text(encoding="utf-8") for file in ("desk.css", *SCRIPTS)}
    library = {
        kind: [file.with_suffix(f".{kind}").read_text(encoding="utf-8") for file in LIBRARIES] for kind in ("css", "js")
    }
    content = {
        "name": name,
        "layers": {kind for entry in entries for kind in entry["pictures"]},
        "data": embedded(data),
        "styles": Markup("\n".join([*library["css"], own["desk.css"]])),
        "libraries": [Markup(text) for text in library["js"]],
        "scripts": [Markup(own[file]) for file in SCRIPTS],
    }
    Path(path).write_text(render(FOLDER / "desk.html", content), encoding="utf-8")


def dates(scenes, bands, mask):
    """Return the Views of the scenes: after the event, and before it if there is one. mask: path of that of the map."""
    if is_pair_run(bands):  # two dates in the bands of one scene
        pairs = [(scenes[0], colours_of(bands, date)) for date in ("after", "before")]
    else:
        pairs = [(scene, true_colour(bands)) for scene in scenes]
    views = []
    for scene, positions in pairs:
        image, valid, _ = scene.thumbnail(positions)
        with rasterio.open(mask) as file:
            codes = file.read(1, out_shape=valid.shape)
        seen = valid & (codes != HIDDEN) & (codes != UNLABELLED)
        values = image[seen if seen.any() else valid] if valid.any() else np.zeros((1, 3))
        views.append(View(scene, positions, jpeg(as_seen(image, valid, codes), OVERVIEW), values))
    return views


def colours_of(bands, date):
    """Return the positions of red, green and blue of a date among names such as "B04 before"."""
    positions = [i for i, name in enumerate(bands) if name.endswith(f" {date}")]
    return [positions[i] for i in true_colour([bands[i].removesuffix(f" {date}") for i in positions])]


# ---------------------------------------------------------------------- a box


def pictures(views, window, probability, mask):
    """Return the pictures of a window at full resolution, {layer: data address}.

    views: of `dates`. probability, mask: open rasters of the map.
    """
    layers = {}
    for name, view in zip(("after", "before"), views, strict=False):
        image, valid = view.scene.picture(view.bands, window)
        colours = np.full(image.shape, NODATA, np.float32)
        if valid.any():
            colours[valid] = stretch(image[valid], view.seen)
        layers[name] = jpeg(colours)
    if views[0].scene.dem:
        layers["relief"] = jpeg(relief(views[0].scene.read_terrain(window)))
    values = probability.read(1, window=window, masked=True)
    layers["probability"] = report_pictures.probability(values, probability.dtypes[0])
    codes = mask.read(1, window=window)
    if np.isin(codes, (HIDDEN, EXCLUDED)).any():
        layers["cover"] = report_pictures.cover(codes)
    return layers


def relief(terrain):
    """Shade slopes as the sun of SUN lights them: H x W, 0 to 1; grey where elevation is unknown.

    terrain: of Scene.read_terrain. A plane of gradient (p, q) to east and north has the normal (-p, -q, 1).
    """
    azimuth, height = np.radians(SUN)
    east, north = terrain["east"], terrain["north"]
    towards_sun = np.sin(height) - np.cos(height) * (east * np.sin(azimuth) + north * np.cos(azimuth))
    light = np.clip(towards_sun / np.sqrt(1 + east**2 + north**2), 0, 1)
    return np.where(np.isfinite(light), light, NODATA)


def jpeg(image, longest=None):
    """Return a picture of 0 to 1, H x W x 3 or H x W, as a JPEG in a data address.

    longest: pixels to which its longer side is reduced; None: it stays as it is.
    """
    picture = Image.fromarray(np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8))
    if longest:
        picture.thumbnail((longest, longest))
    return report_pictures.encoded(picture, "jpeg", quality=QUALITY, optimize=True)


def polygon_entries(table, grid, box, window):
    """Return the predicted polygons that reach into a box, cut to its picture, as the page takes them.

    A polygon that leaves the picture may fall into several. The id holds a digest of the outline, because numbers of
    polygons differ between maps of a scene.

    Args:
        table: of the polygons. grid: PixelGrid. box, window: shapely boxes of the box and of its picture, in pixels.
    """
    entries = []
    shapes = grid.in_pixels(table.geometry.to_numpy())
    for number, confidence, shape in zip(table["id"], table["confidence"], shapes, strict=True):
        parts = shapely.get_parts(shapely.get_parts(repaired(shape.intersection(window))))
        for part in parts:
            if part.geom_type != "Polygon" or not part.intersection(box).area:
                continue
            rings = [np.round(ring.coords[:-1], 2).tolist() for ring in (part.exterior, *part.interiors)]
            digest = hashlib.sha256(json.dumps(rings).encode()).hexdigest()[:6]
            entries.append({"id": f"{number}-{digest}", "confidence": round(float(confidence), 2), "rings": rings})
    return entries
