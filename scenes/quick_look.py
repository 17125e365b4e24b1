"""A picture of a mapped scene: the scene, the predicted landslides on it, a scale bar and a legend."""

import numpy as np
import rasterio
import shapely
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from mask_values import EXCLUDED, HIDDEN
from plots import ORANGE, plt, stretch
from scenes.styles import MASK_CLASSES

NODATA = 0.93  # grey of pixels without data
HATCH = "////"  # over hidden ground
INCHES = 8.0  # of the longer side of the picture


def draw(path, scene, mask, bands, polygons, title, notes, metadata):
    """Draw the part of a scene that holds data, and its predicted landslides.

    Args:
        path: of the PNG. scene: scene.Scene. mask: path of its mask, from which hidden ground is taken.
        bands: indices of red, green and blue among the model's bands.
        polygons: geometries in the scene's CRS (without one, in pixels). title, notes: above and below the picture.
        metadata: {name: text} written into the PNG.
    """
    image, valid, factor = scene.thumbnail(bands)
    with rasterio.open(mask) as file:
        codes = file.read(1, out_shape=valid.shape)
    picture = as_seen(image, valid, codes)
    left, right, top, bottom = extent(valid)
    # a metre has the same length down and across the picture, also on a grid in degrees
    dx, dy = (
        (float(np.median(plane)) * factor for plane in scene.grid.pixel_size) if scene.grid.crs else (factor, factor)
    )
    across, down = (right - left) * dx, (bottom - top) * dy
    scale = INCHES / max(across, down)
    size = max(across * scale, 4.5) + 0.2, max(down * scale, 1.5) + 1.2
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    covers = [(code, *MASK_CLASSES[code]) for code in (HIDDEN, EXCLUDED) if (codes == code).any()]
    for code, _, colour in covers:
        picture[codes == code] = blended(picture[codes == code], colour)
    # pixels of a small scene stay squares; a large one is reduced by averages
    interpolation = "nearest" if max(valid.shape) < INCHES * figure.dpi else "antialiased"
    axis.imshow(picture, aspect=dy / dx, interpolation=interpolation, extent=(0, picture.shape[1], picture.shape[0], 0))
    if (codes == HIDDEN).any():
        middles = (np.arange(size) + 0.5 for size in valid.shape[::-1])
        axis.contourf(*middles, codes == HIDDEN, levels=[0.5, 1.5], colors="none", hatches=[HATCH])

    polygons = scene.grid.in_pixels(polygons)
    if len(polygons):
        style = {"facecolor": to_rgba(ORANGE, 0.2), "edgecolor": ORANGE, "linewidth": 0.6}
        # add_patch would look for the curve of each line in Python to set limits, which are set below: 20 s of a tile
        axis.add_artist(PathPatch(compound_path(polygons, factor), **style))
    add_scale_bar(axis, (right - left) * dx, dx, "m" if scene.grid.crs else "px")
    axis.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    axis.spines[:].set_visible(False)
    axis.set_xlabel("\n".join([*notes, *(["north is up"] if scene.grid.is_north_up else [])]), fontsize=7)
    figure.suptitle(title, fontsize=9)
    handles = [Line2D([], [], color=ORANGE, linewidth=2, label=f"predicted landslide ({len(polygons)} polygons)")]
    if not valid.all():
        handles.append(Rectangle((0, 0), 1, 1, facecolor=str(NODATA), edgecolor="grey", label="no data"))
    for code, label, colour in covers:
        face, hatch = blended(np.ones(3), colour), HATCH if code == HIDDEN else ""
        handles.append(Rectangle((0, 0), 1, 1, facecolor=face, edgecolor="black", hatch=hatch, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, metadata=metadata)
    plt.close(figure)


def as_seen(image, valid, codes):
    """Return a picture (H x W x 3, 0 to 1), stretched by the ground that was seen: clouds would leave it black.

    valid: H x W bool, where there is data. codes: H x W, of the mask.
    """
    picture = np.full(image.shape, NODATA, np.float32)
    seen = valid & (codes != HIDDEN)
    if valid.any():
        picture[valid] = stretch(image[valid], image[seen if seen.any() else valid])
    return picture


def blended(colours, over):
    """Return colours (... x 3, 0 to 1) under a red, green, blue and opacity of 0 to 255."""
    opacity = over[3] / 255
    return colours * (1 - opacity) + np.array(over[:3]) / 255 * opacity


def extent(valid):
    """Return (left, right, top, bottom) of the pixels with data and a margin around them."""
    height, width = valid.shape
    if not valid.any():
        return 0, width, 0, height
    rows, columns = np.flatnonzero(valid.any(1)), np.flatnonzero(valid.any(0))
    margin = max(height, width) // 50
    return (
        max(columns[0] - margin, 0),
        min(columns[-1] + 1 + margin, width),
        max(rows[0] - margin, 0),
        min(rows[-1] + 1 + margin, height),
    )


def compound_path(polygons, factor):
    """Return all outlines and holes of polygons as one matplotlib path; a pixel of the picture is `factor` pixels.

    One path takes a fraction of the memory and time of one for each polygon.
    """
    points, ring = shapely.get_coordinates(shapely.get_rings(polygons), return_index=True)
    first = np.diff(ring, prepend=-1) > 0
    codes = np.where(first, Path.MOVETO, Path.LINETO).astype(Path.code_type)
    codes[np.append(first[1:], True)] = Path.CLOSEPOLY  # the last point of a ring is its first
    return Path(points / factor, codes)


def add_scale_bar(axis, across, unit, name):
    """Add a scale bar of a round length, at most a quarter of the picture's width.

    across: that width. unit: size of a pixel of the picture. name: "m" or "px", the unit of both.
    """
    power = 10.0 ** np.floor(np.log10(across / 4))
    length = max(step * power for step in (1, 2, 5) if step * power <= across / 4)
    label = f"{length / 1000:g} km" if name == "m" and length >= 1000 else f"{length:g} {name}"
    bar = AnchoredSizeBar(
        axis.transData, length / unit, label, "lower left", borderpad=0.6, sep=3, size_vertical=across / unit / 150
    )
    bar.size_bar.get_children()[0].set_facecolor("black")
    bar.patch.set(alpha=0.8, edgecolor="none")
    axis.add_artist(bar)
