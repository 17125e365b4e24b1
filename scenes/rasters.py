"""The rasters of a map, probability and mask, written strip by strip as they are computed."""

import contextlib
from dataclasses import dataclass

import numpy as np
import rasterio
from rasterio.env import ensure_env
from rasterio.windows import Window

from map_files import strips_folder
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER, UNLABELLED
from networks.threads import BackgroundWriter
from scenes import before_after, checkpoints, dask_cluster, pipeline, tiling
from scenes.burning import BurntShapes
from scenes.pixel_grid import PixelGrid
from script import progress

MASK_FORMAT = {"dtype": "uint8", "nodata": UNLABELLED, "description": "landslide"}
NOT_JUDGED = f"{EXCLUDED}: excluded, {HIDDEN}: not seen, {UNLABELLED}: no data"
ROWS = 512  # of a mask that are filtered together


@dataclass(frozen=True)
class Counts:
    """Numbers of pixels of a map: predicted as landslide, judged, excluded by the user, and with data."""

    landslide: int
    judged: int
    excluded: int
    with_data: int

    def shares(self):
        """Return which shares of the pixels with data were seen and excluded, as {name: text}."""
        counts = {"seen": self.judged + self.excluded, "excluded": self.excluded}
        return {name: f"{count / max(self.with_data, 1):.4f}" for name, count in counts.items()}


def meanings(percent):
    """Return what the values of the probability and of the mask mean, as two texts for their tags."""
    scale, fill = ("0 to 100 percent", "255") if percent else ("0 to 1", "NaN")
    return (
        f"probability of landslide, {scale}; {fill}: no data, not seen or excluded",
        f"1: landslide, a probability of the threshold or more, 0: less; {NOT_JUDGED}",
    )


def write(jobs, scenes, covers, settings, paths, metadata):
    """Compute and write probability and mask.

    Args:
        jobs, scenes: [pipeline.Job, ...] and the open Scenes that they read: after the event, and before it, if any.
        covers: of preparation.open_covers. settings: mapping.MapSettings.
        paths: {"probability", "mask"}. metadata: {name: text} for the tags of both; what the values mean is added.

    Returns:
        Counts.
    """

    def compute(first):
        if settings.scheduler:
            return dask_cluster.strips_on_cluster(jobs, settings.scheduler, first)
        return pipeline.local_strips(jobs, scenes, first=first)

    stored = strips_folder(paths["mask"].parent, metadata["scene"])
    strips = checkpoints.resumed_strips(stored, [dask_cluster.portable_job(job) for job in jobs], compute)
    grid, counts = jobs[0].grid, np.zeros(4, np.int64)
    overlap_adds = [tiling.OverlapAdd(grid) for _ in jobs]
    if settings.percent:
        probability_format = {"dtype": "uint8", "nodata": 255, "unit": "%"}
    else:
        probability_format = {"dtype": "float32", "nodata": np.nan, "unit": ""}
    probability_format["description"] = "probability of landslide"
    probability_tags, mask_tags = (metadata | {"meaning": text} for text in meanings(settings.percent))
    with (
        contextlib.closing(strips),  # before the scene is closed, the thread that reads it has to end
        tiling.raster(paths["probability"], scenes[0].grid, probability_tags, **probability_format) as probabilities,
        tiling.raster(paths["mask"], scenes[0].grid, mask_tags, **MASK_FORMAT) as masks,
    ):

        @ensure_env  # without it in the writing thread, GDAL prints messages of its own
        def write_strip(strips):
            (top, probability, valid), *earlier = (
                add.add(strip) for add, strip in zip(overlap_adds, strips, strict=True)
            )
            if not len(valid):
                return
            cover_codes = np.zeros(valid.shape, np.uint8)
            for _, before, known in earlier:
                probability = before_after.new_probability(probability, before)
                cover_codes[~known] = HIDDEN
            for code, cover in covers:
                cover_codes[cover.hidden(top, top + len(valid))] = code
            judged = valid & (cover_codes == 0)
            mask = np.where(judged, probability >= np.float32(settings.threshold), UNLABELLED).astype(np.uint8)
            mask[valid & ~judged] = cover_codes[valid & ~judged]
            if settings.percent:
                values = np.where(judged, np.round(probability * 100), 255).astype(np.uint8)
            else:
                values = np.where(judged, probability, np.float32(np.nan))
            window = ((top, top + len(valid)), (0, grid.width))
            probabilities.write(values, 1, window=window)
            masks.write(mask, 1, window=window)
            counts[:] += (mask == LANDSLIDE).sum(), judged.sum(), (mask == EXCLUDED).sum(), valid.sum()

        with BackgroundWriter(write_strip) as writer:
            for parts in progress(strips, "mapping", len(grid.strips)):
                writer(parts)
    return Counts(*counts.tolist())


def write_filtered(path, mask_path, shapes, metadata):
    """Write the mask of polygons: 1 where the centre of a pixel lies in one; where it was not judged, its code.

    Args:
        path: of the raster. mask_path: of the whole mask. shapes: array of shapely Polygons in map coordinates.
        metadata: {name: text} for its tags; what the values mean is added.
    """
    tags = metadata | {"meaning": f"1: landslide, in one of the polygons, 0: in none; {NOT_JUDGED}"}
    with rasterio.open(mask_path) as mask:
        grid = PixelGrid.of(mask)
        burnt = BurntShapes(shapes, grid)
        with tiling.raster(path, grid, tags, **MASK_FORMAT) as file:
            for top in range(0, grid.height, ROWS):
                window = Window(0, top, grid.width, min(ROWS, grid.height - top))
                values = mask.read(1, window=window)
                landslide = burnt.rows(top, top + window.height)
                judged = values < EXCLUDED
                values[judged] = np.where(landslide[judged], LANDSLIDE, OTHER)
                file.write(values, 1, window=window)
