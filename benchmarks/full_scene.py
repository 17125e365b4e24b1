"""Map a whole Sentinel-2 tile, 10 980 x 10 980 pixels: time, memory and the size of the report.

    python make_sample_data.py --scene --out-dir data/sample_event
    python benchmarks/full_scene.py --out results/figures/full_scene_keras.json
    python export.py --run rgb --format openvino --int8
    python benchmarks/full_scene.py --engine openvino --out results/figures/full_scene_openvino.json

The tile is made of copies of a small scene with many landslides, so that polygons are as many as they get. Writes OUT.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
from rasterio.windows import Window

sys.path.insert(0, str(Path(__file__).parent.parent))
from turns import run_script

import records
import script

SCENE = "data/sample_event/after.tif"  # scene to copy
SCENE_BANDS = ("B4", "B3", "B2")  # its bands, as the run takes them
RUN = "rgb"  # run to map with
ENGINE = "keras"  # as predict.py's
SIDE = 10980  # pixels a side
OUT = "results/figures/full_scene_keras.json"


def main():
    """Write the tile, map it and record what that took."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Path(folder, "tile.tif")
        write_tile(scene)
        flags = ("--run", RUN, "--engine", ENGINE, "--input", scene, "--out-dir", folder)
        seconds, memory, _ = run_script("predict.py", *flags, cwd=Path.cwd())
        record = {"engine": ENGINE, "side": SIDE, "seconds": round(seconds), "peak_gb": round(memory / 1e6, 2)}
        record["polygons"] = pyogrio.read_info(Path(folder, "tile_landslides.gpkg"), layer="landslides")["features"]
        record["report_mb"] = round(Path(folder, "tile_report.html").stat().st_size / 1e6, 1)
        record["mp_per_s"] = round(SIDE**2 / 1e6 / record["seconds"], 2)
    records.write_json(OUT, record)
    print(record)


def write_tile(path):
    """Write copies of the scene side by side, strip by strip."""
    with rasterio.open(SCENE) as file:
        numbers = [file.descriptions.index(band) + 1 for band in SCENE_BANDS]
        bands, profile = file.read(numbers), file.profile
    profile |= {"count": len(bands), "height": SIDE, "width": SIDE}
    copies = -(-SIDE // bands.shape[2])
    row = np.tile(bands, (1, 1, copies))[:, :, :SIDE]
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = SCENE_BANDS
        for top in range(0, SIDE, bands.shape[1]):
            rows = min(bands.shape[1], SIDE - top)
            file.write(row[:, :rows], window=Window(0, top, SIDE, rows))


if __name__ == "__main__":
    script.start(main)
