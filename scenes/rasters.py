"""The rasters of a map, probability and mask, written strip by strip as they are computed."""

import contextlib
from dataclasses import dataclass

import numpy as np
from rasterio.env import ensure_env

from map_files import strips_folder
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, UNLABELLED
from networks.threads import BackgroundWriter
from scenes import before_after, checkpoints, dask_cluster, pipeline, tiling
from script import progress


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
        "1: landslide, a probability of the threshold or more, 0: less; "
        f"{EXCLUDED}: excluded, {HIDDEN}: not seen, {UNLABELLED}: no data",
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
    mask_format = {"dtype": "uint8", "nodata": UNLABELLED, "description": "landslide"}
    probability_tags, mask_tags = (metadata | {"meaning": text} for text in meanings(settings.percent))
    with (
        contextlib.closing(strips),  # before the scene is closed, the thread that reads it has to end
        tiling.raster(paths["probability"], scenes[0].grid, probability_tags, **probability_format) as probabilities,
        tiling.raster(paths["mask"], scenes[0].grid, mask_tags, **mask_format) as masks,
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
