"""A picture of where the patches of a scene lie, and which split each belongs to."""

from collections import Counter

import numpy as np
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from mask_values import LANDSLIDE, UNLABELLED
from plots import BLUE, GREEN, GREY, ORANGE, PURPLE, plt, save, stretch
from scenes.quick_look import NODATA, add_scale_bar

COLOURS = {"train": BLUE, "validation": GREEN, "test": PURPLE, "": GREY}
WORDS = {"train": "training", "": "left out"}


def draw_splits(rows, cutters, bands, folder):
    """Draw the patches and splits of each scene, split_<scene>.png.

    Args:
        rows: of the patches, with `scene`, `row`, `column` and `split`. cutters: open patch_cutter.PatchCutters.
        bands: positions of red, green and blue. folder: of the pictures.
    """
    for cutter in cutters:
        patches = [(row["row"], row["column"], row["split"]) for row in rows if row["scene"] == cutter.name]
        title = f"{cutter.name}: patches of {cutter.settings.size} pixels"
        draw(folder / f"split_{cutter.name}.png", cutter, patches, bands, title)


def draw(path, cutter, patches, bands, title):
    """Draw a scene with its patches, their labels and splits.

    Args:
        path: of the PNG. cutter: open patch_cutter.PatchCutter. patches: [(row, column, split), ...], split "" for
            those that are left out. bands: positions of red, green and blue. title: above the picture.
    """
    image, valid, factor = cutter.scene.thumbnail(bands)
    picture = np.full(image.shape, NODATA, np.float32)
    if valid.any():
        picture[valid] = stretch(image[valid])
    grid, size = cutter.grid, cutter.settings.size
    dx, dy = (float(np.median(plane)) for plane in grid.pixel_size) if grid.crs else (1.0, 1.0)
    height, width = grid.shape
    scale = 8 / max(height * dy, width * dx)
    figure, axis = plt.subplots(figsize=(max(width * dx * scale, 4), max(height * dy * scale, 2) + 1))
    options = {"aspect": dy / dx, "interpolation": "nearest", "extent": (0, width, height, 0)}
    axis.imshow(picture, **options)
    labels = np.ma.masked_equal(reduced_labels(cutter, patches, valid.shape, factor), 0)
    colours = ListedColormap([to_rgba(ORANGE, 0.75), (1, 1, 1, 0.45)])  # landslide, not labelled
    axis.imshow(labels, cmap=colours, vmin=1, vmax=2, **options)
    for row, column, split in patches:
        axis.add_patch(Rectangle((column, row), size, size, fill=False, edgecolor=COLOURS[split], linewidth=1.4))
    add_scale_bar(axis, width * dx, dx, "m" if grid.crs else "px")
    axis.set(xticks=[], yticks=[], xlim=(0, width), ylim=(height, 0))
    axis.set_title(title, fontsize=9)
    counts = Counter(split for _, _, split in patches)
    keys = [
        Line2D([], [], color=colour, label=f"{WORDS.get(split, split)} ({counts[split]})")
        for split, colour in COLOURS.items()
        if counts[split]
    ]
    keys.append(Rectangle((0, 0), 1, 1, facecolor=ORANGE, alpha=0.75, label="landslide"))
    keys.append(Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="grey", label="not labelled"))
    axis.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=3, frameon=False)
    save(figure, path)


def reduced_labels(cutter, patches, shape, factor):
    """Return the labels for a picture: 1 where patches have landslides, 2 where they are not labelled, 0 elsewhere.

    shape: of the picture. factor: pixels of the scene along a side of a pixel of the picture.
    """
    labels = np.zeros(shape, np.uint8)
    rows, columns = ((np.arange(length) + 0.5) * factor for length in shape)
    size = cutter.settings.size
    for row, column, _ in patches:
        inside_rows = np.flatnonzero((rows >= row) & (rows < row + size))
        inside_columns = np.flatnonzero((columns >= column) & (columns < column + size))
        own_rows, own_columns = rows[inside_rows] - row, columns[inside_columns] - column
        mask = cutter.masks[row, column][np.ix_(own_rows.astype(int), own_columns.astype(int))]
        labels[np.ix_(inside_rows, inside_columns)] = np.select([mask == LANDSLIDE, mask == UNLABELLED], [1, 2])
    return labels
