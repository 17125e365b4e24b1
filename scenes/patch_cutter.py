"""Patches of a scene with their labels, as a run reads them."""

import contextlib
from dataclasses import dataclass

import numpy as np
from rasterio.warp import transform_bounds

from bands import light
from map_files import scene_name
from mask_values import LANDSLIDE, UNLABELLED
from patches.reading import write_array
from scenes import before_after
from scenes.dask_cluster import windows_on_cluster
from scenes.labels import Labels
from scenes.patch_layout import lay_patches
from scenes.pixel_grid import PixelGrid
from scenes.preparation import CoverSettings, open_covers, open_scenes, prepare
from scenes.vectors import Choice
from script import UserError, progress


@dataclass(frozen=True)
class CutSettings:
    """How a scene is cut; see the constants of make_patches.py."""

    labels: tuple
    area: tuple
    size: int
    overlap: int
    least_labelled: float
    min_area: float
    buffer: float
    all_touched: bool
    covers: CoverSettings
    scheduler: str
    choice: Choice
    area_choice: Choice


@dataclass(frozen=True)
class CutPatch:
    """A patch, its labels, and where it lies.

    Attributes:
        image: size x size x bands, float32; a pixel without data holds the mean of those with data, for programs that
            do not read `gap`. Packing replaces it by the mean over all patches, predict.py by that over the training
            patches.
        mask: size x size, uint8: 1 landslide, 0 other ground, 255 not labelled, hidden or without data.
        gap: size x size bool, where there is no data.
        row, column: of its upper left pixel in the scene. grid: PixelGrid of the patch.
    """

    image: np.ndarray
    mask: np.ndarray
    gap: np.ndarray
    row: int
    column: int
    grid: PixelGrid

    @property
    def box(self):
        """(left, bottom, right, top) on the map, or in pixels of the scene without a coordinate system."""
        if self.grid.crs is None:
            return self.column, self.row, self.column + self.grid.width, self.row + self.grid.height
        return self.grid.box().bounds

    @property
    def landslide(self):
        """Number of landslide pixels."""
        return int((self.mask == LANDSLIDE).sum())

    @property
    def labelled(self):
        """Number of labelled pixels."""
        return int((self.mask != UNLABELLED).sum())


class PatchCutter(contextlib.ExitStack):
    """Context manager that cuts an open scene and its labels into patches; iterating yields the CutPatches.

    Attributes:
        name: of the scene. grid: PixelGrid of it. scene: open Scene. labels: Labels. settings: CutSettings.
        covers: of preparation.open_covers.
        values: unit of the values of the patches, as bands.value_unit returns it; "" if it is unknown.
        metres: side of a pixel on the ground; None if it is unknown.
        masks: {(row, column): mask} of the patches, still without the pixels that hold no data.
    """

    def __init__(self, scene, before, config, settings):
        """Open the scene, its labels and what hides it, and read the labels.

        Args:
            scene, before: SceneInput; before is None for a run of one date. config: of the run that the patches are
                for, see preparation.prepare. settings: CutSettings.

        Raises:
            UserError: a file cannot be read or does not fit the others, or the scene is smaller than a patch.
        """
        super().__init__()
        self.settings = settings
        if before and not before_after.is_pair_run(config["bands"]):
            raise UserError(f"{before.paths[0]}: the patches have the bands of one date: leave --before out")
        with contextlib.ExitStack() as stack:
            scenes = open_scenes(scene, before, tuple(config["bands"]))
            for opened in scenes:
                stack.enter_context(opened)
            self.scene, self.grid = scenes[0], scenes[0].grid
            self.metres = self.grid.metres or scene.pixel_size
            product = self.scene.source.product
            self.name = product.name if product else scene_name(scene.paths)
            if min(self.grid.shape) < settings.size:
                shape = " x ".join(map(str, self.grid.shape))
                raise UserError(f"{scene.paths[0]}: {shape} pixels, smaller than a patch of {settings.size}")
            self.covers, _ = open_covers(stack, scenes, (scene, before), settings.covers)
            scaling, _ = prepare(self.scene, scene, config, [cover for _, cover in self.covers])
            self.values = {"stretch": "display", "l4s": config["values"]}.get(scaling, "")
            if scaling == "none" and self.scene.dtype == "uint8":
                self.values = "display"
            polygon_settings = settings.min_area, settings.buffer, settings.all_touched
            self.labels = Labels(
                settings.labels,
                self.grid,
                settings.area,
                *polygon_settings,
                choice=settings.choice,
                area_choice=settings.area_choice,
                scene_paths=scene.paths,
            )
            stack.callback(self.labels.close)
            self.masks = self._read_masks()
            self.push(stack.pop_all())

    def __len__(self):
        """Return the number of patches, also of those that turn out to have no data when they are cut."""
        return len(self.masks)

    def _read_masks(self):
        """Return {(row, column): mask} of the patches that are labelled well enough, from top to bottom."""
        settings, size, masks = self.settings, self.settings.size, {}
        hidden_row, hidden = None, []
        for row, column in lay_patches(self.grid.shape, size, settings.overlap, self.labels.parts):
            mask = self.labels.read(row, row + size, column, column + size)
            if row != hidden_row:  # covers are read in whole rows
                hidden_row, hidden = row, [cover.hidden(row, row + size) for _, cover in self.covers]
            for hidden_by_cover in hidden:
                mask[hidden_by_cover[:, column : column + size]] = UNLABELLED
            if self._is_labelled(mask):
                masks[row, column] = mask
        return masks

    def __iter__(self):
        size, scheduler = self.settings.size, self.settings.scheduler
        windows = [(row, row + size, column, column + size) for row, column in self.masks]
        if scheduler:
            windows_read = windows_on_cluster(self.scene.source, windows, scheduler)
        else:
            windows_read = (self.scene.read(*window) for window in windows)
        for ((row, column), mask), (values, valid) in zip(self.masks.items(), windows_read, strict=True):
            mask = np.where(valid, mask, np.uint8(UNLABELLED))
            if self._is_labelled(mask):
                mean = values[:, valid].mean(1, dtype=np.float64).astype(np.float32)
                image = np.where(valid, values, mean[:, None, None])
                grid = self.grid.window(row, column, (size, size))
                yield CutPatch(np.moveaxis(image, 0, -1), mask, ~valid, row, column, grid)

    def _is_labelled(self, mask):
        return (mask != UNLABELLED).mean() >= max(self.settings.least_labelled, 1 / mask.size)


def open_cutters(scenes, config, settings):
    """Yield an open PatchCutter for each scene.

    Args:
        scenes: (SceneInput, SceneInput of the scene before it or None) of each. config, settings: see PatchCutter.

    Raises:
        UserError: see PatchCutter; or two scenes have the same name.
    """
    names = set()
    for scene, before in scenes:
        cutter = PatchCutter(scene, before, config, settings)
        if scene.pixel_size and cutter.grid.crs:
            cutter.name += f"_{scene.pixel_size:g}m"
        if cutter.name in names:
            raise UserError(f"{scene.paths[0]}: another scene is called {cutter.name}, too: rename one")
        names.add(cutter.name)
        yield cutter


def write_patches(cutters, bands, folder):
    """Write the patches of all scenes into a folder, as images/image_N.h5 and masks/mask_N.h5.

    Args:
        cutters: open PatchCutters. bands: names of the bands of the patches. folder: pathlib.Path.

    Returns:
        A row for each patch, in the order of N: {column of patches.csv: value}, without `image` and `split`. All boxes
        are in one coordinate system.

    Raises:
        UserError: the values of the scenes differ in their unit.
    """
    units = {cutter.values for cutter in cutters}
    if len(units) > 1:
        raise UserError("the scenes differ in what their values are: give the same --scaling for all")
    (values,) = units
    dtype, rows, crs = stored_type(bands, cutters), [], cutters[0].grid.crs
    for index, cutter in enumerate(cutters):
        for patch in progress(cutter, f"cutting {cutter.name}"):
            image = np.rint(patch.image) if dtype == np.uint8 else patch.image
            attributes = {
                "scene": cutter.name,
                "row": patch.row,
                "column": patch.column,
                "transform": patch.grid.transform[:6],
                "crs": patch.grid.crs.to_wkt() if patch.grid.crs else "",
                "bands": list(bands),
                "values": values,
            }
            if metres := cutter.metres:
                attributes["pixel_size"] = metres
            number = len(rows) + 1
            write_array(folder / "images" / f"image_{number}.h5", "img", image.astype(dtype), attributes, patch.gap)
            write_array(folder / "masks" / f"mask_{number}.h5", "mask", patch.mask, attributes)
            box = patch.box
            if patch.grid.crs and crs and patch.grid.crs != crs:  # scenes of several zones may show the same ground
                box = transform_bounds(patch.grid.crs, crs, *box)
            elif not patch.grid.crs:  # it is unknown which scenes show the same ground, so they are laid far apart
                box = [side + 1e9 * index for side in box]
            row = dict(zip(("left", "bottom", "right", "top"), map(float, box), strict=True))
            row |= {"number": number, "scene": cutter.name, "row": patch.row, "column": patch.column}
            rows.append(row | {"landslide": patch.landslide, "labelled": patch.labelled})
    return rows


def stored_type(bands, cutters):
    """Return the dtype of the images in their files: 8 bits for pictures, which a run of pictures has learnt from."""
    are_pictures = all(
        cutter.values == "display" and (cutter.scene.source.clip or cutter.scene.dtype == "uint8") for cutter in cutters
    )
    return np.dtype(np.uint8 if are_pictures and light(bands).all() else np.float32)
