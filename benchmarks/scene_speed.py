"""Compare speed and memory of mapping a 14-band scene by strips and in the naive way, at several heights.

    python benchmarks/scene_speed.py
    python benchmarks/scene_speed.py --width 10980 --heights 1536 4096 10980 --naive-limit 0 --out full.csv

The strips are tiles as predict.py lays them. The naive way holds the whole scene in memory and calls model.predict for
each tile of the size of the patches, half overlapping. Both ways blend tiles alike and write a raster. Each way is
timed in its own process after a first prediction, which compiles the network. Absolute speeds drift on shared machines;
compare the ratios. Writes OUT, a table.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np
from random_data import write_scene
from turns import alone, peak, processor

import records
import script
from networks import keras_start, model_files

WIDTH = 1024  # columns of the scene
HEIGHTS = (1024, 4096)  # rows of the scene, smaller first
NAIVE_LIMIT = 4096  # largest number of rows for the naive way
BASE_FILTERS = 48  # filters of the first level of the network
TILE = 512  # pixels a side of the tiles of strips, at most
OVERLAP = 48  # pixels of overlap between neighbouring tiles
BATCH_SIZE = 32  # patches predicted at once; of larger tiles as many as have the same area (strips only)
OUT = "results/figures/scene_speed.csv"  # the table

PATCH = ((128, 128), 64)  # size and overlap of the naive tiles


def main():
    """Write a scene of each height, map it both ways, print speed and memory and write the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        alone(build_run, folder, BASE_FILTERS)
        print(f"{WIDTH} columns, 14 bands, {BASE_FILTERS} filters, strips of tiles of {TILE} sharing {OVERLAP} pixels")
        print("rows     way       MP/s     peak memory")
        for height in HEIGHTS:
            write_scene(Path(folder, "scene.tif"), height, WIDTH)
            speeds = {}
            for way in (strips, naive):
                if way is strips or height <= NAIVE_LIMIT:
                    seconds, peak = alone(way, folder, TILE, OVERLAP, BATCH_SIZE)
                    speeds[way.__name__] = height * WIDTH / 1e6 / seconds
                    print(f"{height:<8} {way.__name__:<8} {speeds[way.__name__]:6.3f}   {peak / 1e6:8.2f} GB")
                    row = {"columns": WIDTH, "rows": height, "way": way.__name__}
                    row |= {"megapixels_per_s": round(speeds[way.__name__], 3), "peak_gb": round(peak / 1e6, 3)}
                    rows.append(row | {"ratio": ""} | processor())
            if len(speeds) == 2:
                rows[-2]["ratio"] = round(speeds["strips"] / speeds["naive"], 2)
                print(f"{height:<8} ratio    {rows[-2]['ratio']:6.2f}")
    records.write_csv(OUT, rows[0], [row.values() for row in rows])
    print(f"written: {OUT}")


def build_run(folder, base_filters):
    """Save a model with random weights, in the precision that training would choose here."""
    keras = keras_start.import_keras()
    from unet import build_unet

    keras.config.set_dtype_policy("mixed_bfloat16" if keras_start.hardware_has_bfloat16() else "float32")
    model = build_unet(
        (128, 128, 14), base_filters, max_filters=4 * base_filters, mean=np.ones(14), variance=np.ones(14)
    )
    model.save(Path(folder, "model.keras"))


def open_scene_and_model(folder):
    """Open the scene and load the model."""
    from bands import BANDS_L4S
    from scenes.source import SceneInput, open_scene

    opened = open_scene(SceneInput((Path(folder, "scene.tif"),)), BANDS_L4S)
    return opened, model_files.load_model(Path(folder))


def strips(folder, tile, overlap, batch_size):
    """Map as predict.py does; return (seconds, peak memory in kB)."""
    from networks import tiles
    from networks.threads import BackgroundWriter
    from scenes import pipeline, tiling

    opened, model = open_scene_and_model(folder)
    grid = tiles.TileGrid.of(opened.grid.shape, tile, overlap, 16)
    size = max(1, round(batch_size * 128**2 / np.prod(grid.tile)))
    job = pipeline.Job(folder, opened.source, grid.filling(size), (1.0,) * 14, size)
    model = model_files.resized(model, grid.tile)
    model.predict_on_batch(np.ones((size, *grid.tile, 14), np.float32))
    overlap_add, began = tiling.OverlapAdd(job.grid), time.perf_counter()
    with tiling.raster(Path(folder, "map.tif"), opened.grid, {}, "float32", np.nan) as file:

        def write(strip):
            top, probability, valid = overlap_add.add(strip)
            if len(valid):
                file.write(probability, 1, window=((top, top + len(valid)), (0, opened.grid.width)))

        with BackgroundWriter(write) as writer:
            for (strip,) in pipeline.local_strips([job], [opened], model):
                writer(strip)
    return time.perf_counter() - began, peak()


def naive(folder, *strips):
    """Map with the scene in memory and one model.predict for each tile; return (seconds, peak memory in kB)."""
    import rasterio

    from networks import tiles
    from scenes import tiling

    opened, model = open_scene_and_model(folder)
    grid = tiles.TileGrid(*opened.grid.shape, *PATCH)
    model.predict(np.ones((1, 128, 128, 14), np.float32), verbose=0)
    began = time.perf_counter()
    with rasterio.open(Path(folder, "scene.tif")) as file:
        image = np.moveaxis(file.read(out_dtype=np.float32), 0, -1)
    tile_weights = grid.weights
    before = -grid.tops[0], -grid.lefts[0]
    after = grid.tops[-1] + 128 - grid.height, grid.lefts[-1] + 128 - grid.width
    image = np.pad(image, [(before[0], after[0]), (before[1], after[1]), (0, 0)], mode="reflect")
    sums, weights = np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], np.float32)
    for top in grid.tops:
        for left in grid.lefts:
            row, column = top + before[0], left + before[1]
            at = np.s_[row : row + 128, column : column + 128]
            sums[at] += tile_weights * model.predict(image[at][None], verbose=0)[0, ..., 0]
            weights[at] += tile_weights
    probability = (sums / weights)[before[0] : before[0] + grid.height, before[1] : before[1] + grid.width]
    with tiling.raster(Path(folder, "naive.tif"), opened.grid, {}, "float32", np.nan) as file:
        file.write(probability, 1)
    return time.perf_counter() - began, peak()


if __name__ == "__main__":
    script.start(main)
