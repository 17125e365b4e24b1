"""The rasters of a map, probability and mask, written strip by strip as they are computed."""

import contextlib
from dataclasses import dataclass

import numpy as np
from rasterio.env import ensure_env

from map_files import strips_folder
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, UNLABELLED
from networks.threads import BackgroundWriter
from scenes import checkpoints, cluster, pairs, pipeline, tiling
from script import progress


@dataclass(frozen=True)
class Counts:
    """Pixels of a map: predicted as landslide, judged at all, excluded by the user, and all with data."""

    landslide: int
    judged: int
    excluded: int
    with_data: int

    def shares(self):
        """Return the shares of the pixels with data that were seen and excluded, as text."""
        counts = {"seen": self.judged + self.excluded, "excluded": self.excluded}
        return {name: f"{count / max(self.with_data, 1):.4f}" for name, count in counts.items()}


def meanings(percent):
    """Say what the values of probability and mask mean, each in a line for its tags."""
    scale, fill = ("0 to 100 percent", "255") if percent else ("0 to 1", "NaN")
    return (
        f"probability of landslide, {scale}; {fill}: no data, not seen or excluded",
        "1: landslide, a probability of the threshold or more, 0: less; "
        f"{EXCLUDED}: excluded, {HIDDEN}: not seen, {UNLABELLED}: no data",
    )


def write(jobs, scenes, covers, settings, paths, metadata):
    """Compute and write probability and mask.

    Args:
        jobs, scenes: [pipeline.Job, ...] and the open Scenes that they read: after, and before if there is one.
        covers: of mapping.open_covers. settings: mapping.MapSettings.
        paths: {"probability", "mask"}. metadata: {name: text} written into both, beside what their values mean.

    Returns:
        Counts.
    """

    def compute(first):
        if settings.scheduler:
            return cluster.strips_on_cluster(jobs, settings.scheduler, first)
        return pipeline.strips_here(jobs, scenes, first=first)

    kept = strips_folder(paths["mask"].parent, metadata["scene"])
    strips = checkpoints.resumed(kept, [cluster.placed(job) for job in jobs], compute)
    grid, counts = jobs[0].grid, np.zeros(4, np.int64)
    overlap_adds = [tiling.OverlapAdd(grid) for _ in jobs]
    probability_form = {"dtype": "uint8", "nodata": 255} if settings.percent else {"dtype": "float32", "nodata": np.nan}
    probability_form |= {"description": "probability of landslide", "unit": "%" if settings.percent else ""}
    mask_form = {"dtype": "uint8", "nodata": UNLABELLED, "description": "landslide"}
    probability_tags, mask_tags = (metadata | {"meaning": text} for text in meanings(settings.percent))
    with (
        contextlib.closing(strips),  # before the scene is closed, the thread that reads it has to end
        tiling.raster(paths["probability"], scenes[0].grid, probability_tags, **probability_form) as probabilities,
        tiling.raster(paths["mask"], scenes[0].grid, mask_tags, **mask_form) as masks,
    ):

        @ensure_env  # needed in this thread, too, or GDAL prints messages of its own
        def write_strip(strips):
            (top, probability, valid), *earlier = (
                add.add(strip) for add, strip in zip(overlap_adds, strips, strict=True)
            )
            if not len(valid):
                return
            hiding = np.zeros(valid.shape, np.uint8)
            for _, before, known in earlier:
                probability = pairs.new_probability(probability, before)
                hiding[~known] = HIDDEN
            for code, cover in covers:
                hiding[cover.hidden(top, top + len(valid))] = code
            seen = valid & (hiding == 0)
            mask = np.where(seen, probability >= np.float32(settings.threshold), UNLABELLED).astype(np.uint8)
            mask[valid & ~seen] = hiding[valid & ~seen]
            if settings.percent:
                shown = np.where(seen, np.round(probability * 100), 255).astype(np.uint8)
            else:
                shown = np.where(seen, probability, np.float32(np.nan))
            window = ((top, top + len(valid)), (0, grid.width))
            probabilities.write(shown, 1, window=window)
            masks.write(mask, 1, window=window)
            counts[:] += (mask == LANDSLIDE).sum(), seen.sum(), (mask == EXCLUDED).sum(), valid.sum()

        with BackgroundWriter(write_strip) as writer:
            for found in progress(strips, "mapping", len(grid.strips)):
                writer(found)
    return Counts(*counts.tolist())
