"""Boxes of a mapped scene to label next: where the network is least sure."""

import contextlib

import geopandas
import numpy as np
import pyogrio
import shapely
from rasterio.features import rasterize
from rasterio.windows import Window

from records import atomic_write
from scenes.box_file import is_box_labels, outlines
from scenes.geopackage import reproducible
from scenes.mask_or_percent import meaning_of
from scenes.opening import damage_reported, open_mask
from scenes.pixel_grid import PixelGrid
from scenes.vectors import EVERYTHING, SEEN, shapes_over
from script import UserError, warn

BOXES, SIZES = 20, (128, 512)  # of the page that predict.py writes: number of boxes, range of their pixels a side
LEAST_SEEN = 0.5  # share of the pixels of a tile that must have a probability


def entropy(probability):
    """Return the entropy of landslide or not, in bits: 0 where the network is sure, 1 at a probability of 0.5."""
    p = np.clip(np.asarray(probability, np.float64), 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def tile_doubt(path, size):
    """Cut a raster of probabilities into tiles and average the entropy of their pixels.

    Args:
        path: of the raster that predict.py writes. size: pixels a side.

    Returns:
        (PixelGrid of the raster, rows x columns of tiles: mean entropy, NaN where less than half of a tile was seen).
        Rows and columns of pixels that do not fill a tile are left out.

    Raises:
        UserError: it cannot be read, is no raster of probabilities, or is smaller than a tile.
    """
    with contextlib.ExitStack() as stack:
        opened = open_mask(path, "a probability")
        for each in opened[::-1]:
            stack.callback(each.close)
        file, grid, meaning = opened[0], PixelGrid.of(opened[0]), meaning_of(path, opened)
        if not meaning.probability:
            raise UserError(f"{path} is a mask: give the probabilities, <scene>_probability.tif of predict.py")
        rows, columns = grid.height // size, grid.width // size
        if not rows or not columns:
            raise UserError(f"{path}: {grid.height} x {grid.width} pixels, smaller than a box of {size}")
        doubt = np.full((rows, columns), np.nan)
        for row in range(rows):
            with damage_reported(path):
                values = file.read(1, window=Window(0, row * size, columns * size, size))
            if values.dtype == np.uint8:  # of few values each is computed once
                bits = entropy(meaning.fractions(np.arange(256)))[values]
            else:
                bits = entropy(meaning.fractions(values))
            bits = np.where(meaning.known(values), bits, np.nan)
            tiles = bits.reshape(size, columns, size).swapaxes(0, 1).reshape(columns, -1)
            seen = np.isfinite(tiles)
            enough = seen.mean(1) >= LEAST_SEEN
            doubt[row, enough] = np.nanmean(tiles[enough], axis=1)
    return grid, doubt


def choose_tiles(doubt, count, seed=None):
    """Choose tiles to label: those of the highest doubt, or with a seed random ones, spread over the scene.

    Neighbours look alike, so a tile next to a chosen one is taken only if there are no others left.

    Args:
        doubt: rows x columns, NaN for tiles that cannot be taken. count: number of tiles. seed: of the random choice.

    Returns:
        [(row, column), ...], the most doubtful first, and tiles next to others last.
    """
    order = np.argwhere(np.isfinite(doubt))
    rng = np.random.default_rng(seed)
    rank = rng.random(len(order)) if seed is not None else -doubt[tuple(order.T)]
    order = order[np.argsort(rank, kind="stable")]
    tiles, neighbours = [], []
    for tile in order:
        if len(tiles) == count:
            break
        is_neighbour = any(np.abs(tile - other).max() <= 1 for other in tiles)
        (neighbours if is_neighbour else tiles).append(tile)
    tiles += neighbours[: count - len(tiles)]
    return [tuple(map(int, tile)) for tile in tiles]


def labelled_ground(path, grid, choice):
    """Return the ground that a file calls labelled: its shapes, or of a file of box_file.py its finished boxes."""
    if is_box_labels(path):
        return outlines(path, grid.crs, grid.transform).union_all()
    return shapes_over(path, grid, areas=True, may_miss=True, choice=choice).geometry.union_all()


def doubt_of_free_tiles(doubt, grid, size, area=(), labelled=(), area_choice=EVERYTHING, labelled_choice=EVERYTHING):
    """Return the doubt with NaN for tiles that are not wholly inside an area, or that hold labelled ground already.

    Args:
        doubt: rows x columns of tiles. grid: PixelGrid of the map. size: pixels a side of a tile.
        area, labelled: paths of vector files. Several have their ground together, and some of them may lie elsewhere.
            Of a file of box_file.py, finished boxes are labelled.
        area_choice, labelled_choice: vectors.Choice of their shapes.

    Raises:
        UserError: a file cannot be read, or no area lies over the map.
    """
    doubt, barred = doubt.copy(), []
    if area:
        barred.append(grid.box() - areas_over(area, grid, area_choice))
    for path in labelled:
        barred.append(labelled_ground(path, grid, labelled_choice))
    # a box that only touches another at its side is free
    barred = shapely.get_parts(shapely.buffer(barred, -1e-3 * abs(grid.transform.a)))
    if len(barred := barred[~shapely.is_empty(barred)]):
        coarse = grid.coarser(size).transform
        doubt[rasterize(barred, doubt.shape, transform=coarse, all_touched=True, dtype="uint8") > 0] = np.nan
    return doubt


def areas_over(paths, grid, choice):
    """Return the ground of several areas over a map, a shapely geometry; warn of those that lie elsewhere.

    Raises UserError if no area lies over the map.
    """
    options = {"areas": True, "default_layer": SEEN, "choice": choice}
    if len(paths) == 1:
        return shapes_over(paths[0], grid, **options).geometry.union_all()
    grounds = {path: shapes_over(path, grid, may_miss=True, **options).geometry.union_all() for path in paths}
    missing = [path for path, ground in grounds.items() if ground.is_empty]
    if len(missing) == len(grounds):
        raise UserError(f"none of the areas lies over the map: {', '.join(paths)}")
    for path in missing:
        warn(f"{path} does not lie over the map")
    return shapely.union_all(list(grounds.values()))


def boxes(grid, size, tiles, doubt):
    """Return the boxes of tiles with id and doubt: a geopandas.GeoDataFrame."""
    shapes = [grid.box(r * size, (r + 1) * size, c * size, (c + 1) * size) for r, c in tiles]
    columns = {"id": np.arange(1, len(tiles) + 1, dtype=np.int32), "doubt": [round(doubt[tile], 4) for tile in tiles]}
    return geopandas.GeoDataFrame(columns, geometry=shapes, crs=grid.crs)


def write(path, table, date):
    """Write a table as a GeoPackage, whole or not at all; the same table and `date`, a datetime, give equal bytes."""
    with reproducible(date), atomic_write(path) as partial:
        pyogrio.write_dataframe(table, partial, layer="boxes", driver="GPKG", geometry_type="Polygon", VERSION="1.2")
