"""Clouds of a scene and their shadows: from the classes of its product, computed, or from a mask of the user.

A product of Level-2 brings its classes along. For others the package ukis-csmask (Apache-2, by the German Aerospace
Center) computes the clouds.
"""

from dataclasses import replace

import numpy as np
from rasterio.windows import Window

from bands import REFLECTANCE
from scenes import source
from scenes.hiding_raster import HidingRaster
from scenes.tiling import raster
from script import UserError, note, progress

UKIS_BANDS = {"blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "swir16": "B11", "swir22": "B12"}
UKIS_PIXEL = 30.0  # metres; ukis-csmask was trained on about this
UKIS_WINDOW, UKIS_MARGIN = 1024, 64  # pixels of UKIS_PIXEL computed together, and around them
UKIS_SMALLEST = 256  # pixels a side of the smallest image that it takes


def open_clouds(setting, product, grid, path, margin=0.0, scene=None):
    """Open the clouds of a scene: a HidingRaster, or None without a cloud mask.

    Args:
        setting: "auto" for the classes that come with a product, "none", "ukis" to compute clouds, or the path of a
            mask raster.
        product: product.Product that the scene is, or None. grid: PixelGrid to read the clouds on.
        path: of the raster that is written for "ukis". margin: metres by which clouds are widened.
        scene: SceneInput of the scene, for "ukis"; its --offset and --nodata hold for the clouds, too.

    Raises:
        UserError: the clouds cannot be computed, or the raster cannot be read or laid over the scene.
    """
    if setting == "none":
        return None
    if setting == "auto":
        if product and product.classes:
            return HidingRaster(product.classes, product.coding, grid, margin=margin)
        note("no cloud mask was used: ground under clouds counts as seen (--clouds ukis, or a mask raster)")
        return None
    if setting == "ukis":
        return HidingRaster(compute(product, path, scene), "mask", grid, "computed by ukis-csmask", margin)
    clouds = HidingRaster(setting, "clouds", grid, margin=margin)
    try:
        clouds.recognise()
        clouds.check_cover()
    except BaseException:
        clouds.close()
        raise
    return clouds


def compute(product, path, scene=None):
    """Compute clouds and shadows of a product with ukis-csmask, and write them as a raster.

    Args:
        product: product.Product, or None. path: of the raster; returned.
        scene: SceneInput that the product was opened by; None: without settings of a user.

    Raises:
        UserError: ukis-csmask is not installed, or the scene lacks bands that it needs.
    """
    try:
        from ukis_csmask.mask import CSmask
    except ImportError:
        raise UserError("--clouds ukis needs ukis-csmask: pip install -r requirements-clouds.txt") from None
    lacking = [word for word, band in UKIS_BANDS.items() if not product or band not in product.bands]
    if lacking and (not product or lacking != ["swir16", "swir22"]):
        raise UserError("--clouds ukis needs a product with blue, green, red and near infrared: give a mask raster")
    words = tuple(word for word in UKIS_BANDS if word not in lacking)
    scene = replace(scene or source.SceneInput(()), bands=words, dem=(), pixel_size=None)
    with source.open_scene(scene, words, product) as opened:
        step = max(1, round(UKIS_PIXEL / float(np.median(opened.grid.pixel_size[0])))) if opened.grid.crs else 1
        coarse = opened.grid.coarser(step)
        write_clouds(CSmask, opened, coarse, step, "l2a" if product.surface else "l1c", path)
    return path


def write_clouds(csmask, scene, coarse, step, level, path):
    """Compute clouds and shadows window by window.

    Args:
        csmask: the class CSmask of ukis-csmask. scene: open Scene with bands named as in UKIS_BANDS.
        coarse: PixelGrid `step` times as coarse, to compute on.
        level: "l1c" or "l2a". path: of the raster, 1 where the ground is hidden.
    """
    words = list(UKIS_BANDS)[: len(scene.source.bands)]
    with raster(path, coarse, {}, "uint8", 0) as file:
        for row, column in progress(list(blocks(coarse.shape, UKIS_WINDOW)), "looking for clouds"):
            rows = max(row - UKIS_MARGIN, 0), min(row + UKIS_WINDOW + UKIS_MARGIN, coarse.height)
            columns = max(column - UKIS_MARGIN, 0), min(column + UKIS_WINDOW + UKIS_MARGIN, coarse.width)
            window = Window.from_slices(*([end * step for end in ends] for ends in (rows, columns)))
            window = window.intersection(Window(0, 0, scene.grid.width, scene.grid.height))
            values, valid = scene.read_files(window, shape=(rows[1] - rows[0], columns[1] - columns[0]))
            valid = scene.without_rim(valid)
            image = np.moveaxis(np.where(valid, values, 0) / REFLECTANCE, 0, 2).astype(np.float32)
            down, right = (max(0, UKIS_SMALLEST - size) for size in image.shape[:2])
            image = np.pad(image, ((0, down), (0, right), (0, 0)), "symmetric")
            csm = csmask(image, words, level, providers=["CPUExecutionProvider"])
            hidden = (csm.valid[: len(valid), : valid.shape[1], 0] == 0) & valid
            hidden = hidden[row - rows[0] :, column - columns[0] :][:UKIS_WINDOW, :UKIS_WINDOW]
            window = ((row, row + hidden.shape[0]), (column, column + hidden.shape[1]))
            file.write(hidden.astype(np.uint8), 1, window=window)


def blocks(shape, size):
    """Yield the first row and column of blocks of a raster."""
    for row in range(0, shape[0], size):
        for column in range(0, shape[1], size):
            yield row, column
