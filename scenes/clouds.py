"""Ground of a scene that cannot be seen: clouds, their shadows and faulty pixels, as a product or a raster tells them.

A product of Level-2 brings its classes along. For others the package ukis-csmask (Apache-2, by the German Aerospace
Center) computes them, or the user gives a mask.
"""

import numpy as np
from rasterio.enums import Resampling
from rasterio.env import ensure_env
from rasterio.warp import transform
from rasterio.windows import Window

from scenes import source
from scenes.opening import damage_told, open_raster
from scenes.pixel_grid import PixelGrid
from scenes.products.product import REFLECTANCE
from scenes.tiling import raster
from script import UserError, progress

# Classes of Sentinel-2's SCL in which the ground is not seen: no data, defective, cloud shadow, cloud of medium and of
# high probability, thin cirrus.
SCL_HIDDEN = (0, 1, 3, 8, 9, 10)
# Bits of Landsat's QA_PIXEL: fill, dilated cloud, cirrus, cloud, cloud shadow.
QA_HIDDEN = 0b11111
UKIS_BANDS = {"blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "swir16": "B11", "swir22": "B12"}
UKIS_PIXEL = 30.0  # metres; ukis-csmask was trained on about this
UKIS_WINDOW, UKIS_MARGIN = 1024, 64  # pixels of UKIS_PIXEL computed together, and beside them


class Clouds:
    """Hidden ground on the grid of a scene, read from a raster in any projection."""

    def __init__(self, path, coding, grid):
        """Open it.

        Args:
            path: of the raster. grid: PixelGrid to read it on.
            coding: of its values; "scl", "qa_pixel", or "mask", in which all but 0 is hidden.

        Raises:
            UserError: it cannot be opened, or laid over the scene.
        """
        self.path, self.coding, self.file = str(path), coding, open_raster(path)
        self.what = {"scl": "classes of the product (SCL)", "qa_pixel": "classes of the product (QA_PIXEL)"}.get(
            coding, self.path
        )
        self.view, self.grid = self.file, grid
        if not grid.matches(PixelGrid.of(self.file)):
            if grid.crs is None or self.file.crs is None:
                self.file.close()
                raise UserError(f"{path}: neither on the scene's grid nor with a coordinate system to lay it over that")
            # what the file calls no data is known all the same: only ground beyond it is not
            self.view = grid.warped(self.file, resampling=Resampling.nearest, src_nodata=None, nodata=None)

    def check_cover(self):
        """Warn if the raster covers a part of the scene only; raise UserError if it covers none of it."""
        if self.view is self.file:
            return
        step = max(1, max(self.grid.shape) // 500)
        rows, columns = (np.arange(0, size, step) + 0.5 for size in self.grid.shape)
        x, y = self.grid.transform @ tuple(map(np.ravel, np.meshgrid(columns, rows)))
        x, y = transform(self.grid.crs, self.file.crs, x, y)
        column, row = ~self.file.transform @ (np.array(x), np.array(y))
        share = ((column >= 0) & (column < self.file.width) & (row >= 0) & (row < self.file.height)).mean()
        if not share:
            self.close()
            raise UserError(f"{self.path} does not lie over the scene")
        if share < 0.999:
            print(f"warning: {self.path} covers {share:.1%} of the scene; nothing is hidden in the rest")

    @ensure_env
    def hidden(self, top, bottom):
        """Return which pixels of some rows are hidden: H x W bool; of ground beyond the raster nothing is known."""
        with damage_told(self.path):
            values = self.view.read(1, window=Window(0, top, self.grid.width, bottom - top))
        if self.coding == "scl":
            return np.isin(values, SCL_HIDDEN)
        if self.coding == "qa_pixel":
            return (values & QA_HIDDEN) > 0
        return (values != 0) & ~np.isnan(values) & (values != self.file.nodata)

    def close(self):
        """Close the raster."""
        if self.view is not self.file:
            self.view.close()
        self.file.close()


def open_clouds(wanted, product, grid, path):
    """Open the clouds of a scene; None where there are none to be had.

    Args:
        wanted: "auto" for the classes that come with a product, "none", "ukis" to compute them, or a mask raster.
        product: product.Product that the scene is, or None. grid: PixelGrid to read them on.
        path: of the raster that ukis computes, if wanted.

    Raises:
        UserError: they cannot be had as wanted.
    """
    if wanted == "none":
        return None
    if wanted == "auto":
        if product and product.classes:
            return Clouds(product.classes, product.coding, grid)
        print("note: nothing tells the clouds of this scene: they count as seen (--clouds ukis, or a mask raster)")
        return None
    if wanted == "ukis":
        clouds = Clouds(compute(product, path), "mask", grid)
        clouds.what = "computed by ukis-csmask"
        return clouds
    clouds = Clouds(wanted, "mask", grid)
    clouds.check_cover()
    return clouds


def compute(product, path):
    """Compute clouds and shadows of a product with ukis-csmask, and write them as a raster.

    Args:
        product: product.Product, or None. path: of the raster; returned.
    """
    try:
        from ukis_csmask.mask import CSmask
    except ImportError:
        raise UserError("--clouds ukis needs ukis-csmask: pip install -r requirements-clouds.txt") from None
    lacking = [word for word, band in UKIS_BANDS.items() if not product or band not in product.bands]
    if lacking and (not product or lacking != ["swir16", "swir22"]):
        raise UserError("--clouds ukis needs a product with blue, green, red and near infrared: give a mask raster")
    words = tuple(word for word in UKIS_BANDS if word not in lacking)
    with source.open_scene(source.SceneInput((), words), words, product) as light:
        step = max(1, round(UKIS_PIXEL / float(np.median(light.grid.pixel_size[0])))) if light.grid.crs else 1
        coarse = light.grid.coarser(step)
        write_clouds(CSmask, light, coarse, step, "l2a" if product.surface else "l1c", path)
    return path


def write_clouds(csmask, light, coarse, step, level, path):
    """Compute clouds and shadows window by window.

    Args:
        csmask: the class CSmask of ukis-csmask. light: open Scene with bands named as in UKIS_BANDS.
        coarse: PixelGrid `step` times as coarse, to compute on.
        level: "l1c" or "l2a". path: of the raster, 1 where the ground is hidden.
    """
    words = list(UKIS_BANDS)[: len(light.source.bands)]
    with raster(path, coarse, {}, "uint8", 0) as file:
        for row, column in progress(list(blocks(coarse.shape, UKIS_WINDOW)), "looking for clouds"):
            rows = max(row - UKIS_MARGIN, 0), min(row + UKIS_WINDOW + UKIS_MARGIN, coarse.height)
            columns = max(column - UKIS_MARGIN, 0), min(column + UKIS_WINDOW + UKIS_MARGIN, coarse.width)
            window = Window.from_slices(*([at * step for at in place] for place in (rows, columns)))
            window = window.intersection(Window(0, 0, light.grid.width, light.grid.height))
            values, valid = light.read_files(window, shape=(rows[1] - rows[0], columns[1] - columns[0]))
            image = np.moveaxis(np.where(valid, values, 0) / REFLECTANCE, 0, 2).astype(np.float32)
            short = [max(0, 256 - size) for size in image.shape[:2]]  # its smallest picture
            image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), "symmetric")
            found = csmask(image, words, level, providers=["CPUExecutionProvider"])
            hidden = (found.valid[: len(valid), : valid.shape[1], 0] == 0) & valid
            hidden = hidden[row - rows[0] :, column - columns[0] :][:UKIS_WINDOW, :UKIS_WINDOW]
            window = ((row, row + hidden.shape[0]), (column, column + hidden.shape[1]))
            file.write(hidden.astype(np.uint8), 1, window=window)


def blocks(shape, size):
    """Yield the first row and column of blocks of a raster."""
    for row in range(0, shape[0], size):
        for column in range(0, shape[1], size):
            yield row, column
