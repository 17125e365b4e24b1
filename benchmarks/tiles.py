"""Measure speed and seams of tiles of several sizes over a scene, with the network of a run.

    python benchmarks/tiles.py --scene sentinel2_rgbn.tif --scene-bands 1 2 3 --window 44 413 1500 250 --side 2048

The seams are measured by moving all tiles by half of their distance: the mean and the largest change of the probability
where the scene has data. Writes OUT, a table; its first row has tiles of the size of patches, as they were at first.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import records
import runs
import script
from networks.image_sizes import total_stride

RESULTS_DIR = "results"  # folder of all runs
RUN = "rgb"  # name of the run
SCENE = None  # str: raster to map
SCENE_BANDS = ()  # its bands in the run's order
WINDOW = ()  # first row, first column, height and width of the part to use; none: the whole scene
SIDE = 0  # mirror the part to this many pixels a side; 0: leave it
BATCH_SIZE = 32  # patches at once, as in predict.py
OUT = "results/figures/tiles.csv"  # the table

WAYS = ((128, 0), (128, 16), (128, 32), (128, 48), (128, 64), (256, 48), (512, 48))  # sides and overlaps, in pixels


def main():
    """Map the scene in each way, with the tiles at two positions, and write the table."""
    import tempfile

    import rasterio
    from rasterio.windows import Window

    from networks.tiles import TileGrid, mirrored_indices
    from scenes import pipeline, tiling
    from scenes.scaling import scaled
    from scenes.source import SceneInput, open_scene

    if not SCENE:
        raise script.UserError("name a raster with --scene")
    run = runs.open_run(RESULTS_DIR, RUN)
    with tempfile.TemporaryDirectory() as folder, rasterio.open(SCENE) as file:
        top, left, height, width = map(int, WINDOW or (0, 0, *file.shape))
        path = Path(folder, "part.tif")
        values = file.read(window=Window(left, top, width, height))
        if SIDE:
            row_indices, column_indices = (mirrored_indices(0, SIDE, size) for size in values.shape[1:])
            values = values[:, row_indices][:, :, column_indices]
        profile = file.profile | {"height": values.shape[1], "width": values.shape[2], "driver": "GTiff"}
        with rasterio.open(path, "w", **profile) as part:
            part.write(values)
        opened = open_scene(SceneInput((path,), tuple(SCENE_BANDS)), tuple(run.config["bands"]))
        pixels, _ = opened.sample()
        opened.source = scaled(opened.source, "stretch", tuple(run.config["bands"]), pixels)
        trained = tuple(run.config["input_shape"][:2])
        fill = tuple(run.config["band_mean"])
        told = opened.grid.metres if run.config.get("pixel_size_input") else None
        rows = []
        for side, overlap in WAYS:
            plain = TileGrid.of(opened.grid.shape, side, overlap, total_stride(run.constants, trained))
            size = max(1, round(BATCH_SIZE * np.prod(trained) / np.prod(plain.tile)))
            maps, seconds, model = [], [], None
            for shift in (0, (min(plain.tile) - overlap) // 2):
                grid = replace(plain, shift=shift).filling(size)
                job = pipeline.Job(str(run.folder), opened.source, grid, fill, size, pixel_size=told)
                model = model or pipeline.model_of(job)
                model.predict_on_batch(np.zeros((size, *grid.tile, len(run.config["bands"])), np.float32))
                overlap_add, began = tiling.OverlapAdd(grid), time.perf_counter()
                parts = [overlap_add.add(strip) for (strip,) in pipeline.local_strips([job], [opened], model)]
                seconds.append(time.perf_counter() - began)
                maps.append(np.concatenate([part[1] for part in parts]))
                valid = np.concatenate([part[2] for part in parts])
            change = np.abs(maps[1] - maps[0])[valid]
            rows.append(
                {
                    "tile": side,
                    "overlap": overlap,
                    "megapixels_per_s": round(valid.sum() / 1e6 / seconds[0], 4),
                    "mean_change": round(float(change.mean()), 6),
                    "largest_change": round(float(change.max()), 4),
                }
            )
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()))
    records.write_csv(Path(OUT), rows[0], [row.values() for row in rows])


if __name__ == "__main__":
    script.start(main)
