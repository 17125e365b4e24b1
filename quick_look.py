"""A picture of a mapped scene: what the model found drawn on it, with a scale bar and a legend."""

import numpy as np
import shapely
from matplotlib.collections import PatchCollection
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from plots import ORANGE, plt

NODATA = 0.93  # grey where there is no scene
LONGEST = 1400  # pixels of the picture's longer side, at most


def stretch_bands(image, valid):
    """Stretch each band of H x W x 3 from its 2nd to 98th percentile over valid pixels to 0-1; grey elsewhere."""
    picture = np.full(image.shape, NODATA, np.float32)
    if valid.any():
        low, high = np.percentile(image[valid], [2, 98], axis=0)
        picture[valid] = np.clip((image[valid] - low) / np.maximum(high - low, 1e-6), 0, 1)
    return picture


def draw(path, scene, bands, polygons, title, notes, metadata):
    """Draw a scene and the polygons found on it.

    Args:
        path: of the PNG. scene: scene.Scene. bands: places of red, green and blue among the model's bands.
        polygons: in the scene's CRS (without one, in pixels). title, notes: above and below the picture.
        metadata: written into the PNG as text.
    """
    image, valid, factor = scene.thumbnail(bands, LONGEST)
    picture = stretch_bands(image, valid)
    height, width = picture.shape[:2]
    # a pixel is as wide and high on the picture as on the ground, in degrees too
    dx, dy = (float(np.median(plane)) for plane in scene.pixel_size) if scene.crs else (1.0, 1.0)
    across, down = width * dx, height * dy
    inches = 8.5 / max(across, down)
    figure, axis = plt.subplots(figsize=(max(across * inches, 3.5) + 0.4, down * inches + 1.3), layout="constrained")
    axis.imshow(picture, aspect=dy / dx, interpolation="nearest", extent=(0, width, height, 0))

    if scene.crs:
        back = ~scene.transform
        polygons = shapely.transform(polygons, lambda xy: np.column_stack(back @ (xy[:, 0], xy[:, 1])))
    shapes = [
        PathPatch(Outline.make_compound_path(*(Outline(np.array(ring.coords) / factor) for ring in rings(polygon))))
        for polygon in polygons
    ]
    axis.add_collection(PatchCollection(shapes, facecolor=(*_rgb(ORANGE), 0.35), edgecolor=ORANGE, linewidth=0.7))
    scale_bar(axis, width, height, dx * factor if scene.crs else factor, "m" if scene.crs else "px")
    north_up = scene.crs and scene.transform.b == scene.transform.d == 0 and scene.transform.e < 0
    axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("\n".join([*notes, *(["north is up"] if north_up else [])]), fontsize=7)
    axis.spines[:].set_visible(False)
    keys = [Line2D([], [], color=ORANGE, linewidth=2, label=f"called landslide ({len(shapes)} polygons)")]
    if not valid.all():
        keys.append(Rectangle((0, 0), 1, 1, facecolor=str(NODATA), edgecolor="grey", label="no data"))
    figure.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, metadata=metadata)
    plt.close(figure)


def _rgb(colour):
    return tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))


def rings(polygon):
    return [polygon.exterior, *polygon.interiors]


def scale_bar(axis, width, height, unit, name):
    """A bar of a round length, about a fifth of the picture; `unit` is the size of a pixel of it."""
    longest = width * unit / 4
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    label = f"{length / 1000:g} km" if name == "m" and length >= 1000 else f"{length:g} {name}"
    left, bottom = 0.04 * width, height - 0.03 * max(width, height)
    thick = 0.008 * max(width, height)
    box = dict(facecolor="white", alpha=0.75, edgecolor="none")
    pad = 2.5 * thick
    axis.add_patch(
        Rectangle((left - pad, bottom - 4 * thick - pad), length / unit + 2 * pad, 5 * thick + 2 * pad, **box)
    )
    axis.add_patch(Rectangle((left, bottom - thick), length / unit, thick, facecolor="black"))
    axis.text(left + length / unit / 2, bottom - 1.6 * thick, label, ha="center", va="bottom", fontsize=8)
