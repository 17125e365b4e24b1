"""Compare the engines of predict.py on one scene, with ONNX Runtime as QGIS's plugin Deepness and as geoai use it.

    pip install -r requirements-export.txt -r requirements-openvino.txt
    python make_sample_data.py --scene --out-dir data/sample_event
    python benchmarks/scene_engines.py --scene data/sample_event/after.tif --scene-bands B4 B3 B2
    python benchmarks/scene_engines.py --isa avx2 ...           # as without AVX-512, VNNI and bfloat16
    python benchmarks/scene_engines.py --geoai-python geoai/bin/python ...  # with geoai-py, onnxruntime

The scene is repeated to SIDE pixels. Each way is a whole command in its own process, with start-up, and the ways take
turns; predict.py also writes polygons and a report, and the other ways only a raster of probabilities. INT8 needs the
data that the run was trained on. The seam is the mean change of the probability where the same ground lies elsewhere in
the tiles: of a part of SEAM_SIDE pixels and of the same part that begins a third of a tile later. Writes
results/figures/scene_engines_<instructions>.csv.
"""

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np
from turns import ISAS, alone, hold_to, peak, processor, run_script, write_table

import runs
import script
from networks.engines import openvino_folder

RESULTS_DIR = "results"  # folder of all runs; the table goes to figures/ in it
RUN = "rgb"  # name of the run
SCENE = "data/sample_event/after.tif"  # scene to repeat
SCENE_BANDS = ("B4", "B3", "B2")  # its bands, as the run takes them
SIDE = 4096  # pixels a side of the scene that is timed
SEAM_SIDE = 2048  # pixels a side of the scene whose seams are measured
ROUNDS = 3  # timed commands of each way
INT8 = True  # also OpenVINO in 8-bit integers
DEEPNESS = True  # also Deepness's way
GEOAI_PYTHON = None  # str: Python of an environment with geoai-py and onnxruntime; none: geoai's way is left out
PIXEL_SIZE = 10.0  # metres a pixel of the scene, for the ONNX file
ISA = "all"  # instructions that the libraries may use: all, or avx2, as on a processor without bfloat16

CHOICES = {"ISA": ISAS}
RANGES = {"SIDE": (1024, None), "SEAM_SIDE": (1024, None), "ROUNDS": (1, None)}
TILE, OVERLAP = 512, 48  # of all ways, in pixels: engines are compared, not tiles
MARGIN = 256  # pixels along the edges of the scene that do not count for seams, because each way mirrors or fills them


def main():
    """Export the run in each way, map the scene with each in turn, and write the table."""
    run = runs.open_run(RESULTS_DIR, RUN)
    hold_to(ISA)
    seconds, memory, seams, maps = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        scene, parts = folder / "scene.tif", (folder / "part.tif", folder / "moved.tif")
        write_scene(scene, SIDE)
        write_scene(parts[0], SEAM_SIDE)
        write_scene(parts[1], SEAM_SIDE, TILE // 3)
        ways = prepare(run, folder)
        for way, map_with in ways.items():
            each = [map_with(path, folder / way, True)[0] for path in parts]
            near, far = slice(MARGIN + TILE // 3, -MARGIN), slice(MARGIN, -MARGIN - TILE // 3)
            seams[way] = float(np.nanmean(np.abs(each[0][near, near] - each[1][far, far])))
            maps[way] = each[0]
        for _ in range(ROUNDS):
            for way, map_with in ways.items():
                began = time.perf_counter()
                _, peak_kb = map_with(scene, folder / way, False)
                seconds.setdefault(way, []).append(time.perf_counter() - began)
                memory[way] = max(memory.get(way, 0), peak_kb)
    usual, rows, machine = statistics.median(seconds["keras"]), [], processor(ISA)
    print(f"{', '.join(machine.values())}; {SIDE} x {SIDE} pixels, whole commands")
    for way, took in seconds.items():
        middle = statistics.median(took)
        row = {"way": way, "seconds": round(middle, 1), "mp_per_s": round(SIDE**2 / 1e6 / middle, 3)}
        row |= {"of_keras": round(usual / middle, 2), "peak_gb": round(memory[way] / 1e6, 2)}
        row["seam"] = round(seams[way], 6)
        row["mean_difference"] = round(float(np.nanmean(np.abs(maps[way] - maps["keras"]))), 6)
        rows.append(row | machine)
        print(", ".join(f"{name} {value}" for name, value in row.items()))
    write_table(rows, RESULTS_DIR, "scene_engines", ISA)


def write_scene(path, side, skipped=0):
    """Write copies of SCENE side by side, `side` pixels a side, without its first rows and columns."""
    import rasterio

    with rasterio.open(SCENE) as file:
        numbers = [file.descriptions.index(band) + 1 for band in SCENE_BANDS]
        bands, profile = file.read(numbers), file.profile
    rows, columns = ((np.arange(side) + skipped) % size for size in bands.shape[1:])
    with rasterio.open(path, "w", **profile | {"count": len(bands), "height": side, "width": side}) as file:
        file.descriptions = SCENE_BANDS
        file.write(bands[:, rows][:, :, columns])


def prepare(run, folder):
    """Export the run; return {way: function (scene, folder of its maps, whether the map is read)}.

    The functions return (probabilities H x W, or None if they are not read; peak memory in kB).
    """

    def with_engine(engine, results_dir):
        def map_with(scene, out_dir, as_float):
            flags = ("--results-dir", results_dir, "--run", run.name, "--engine", engine, "--overwrite")
            flags += ("--probability-type", "float32") if as_float else ()
            flags += ("--input", scene, "--out-dir", out_dir)
            flags += ("--tile", TILE, "--overlap", OVERLAP, "--scaling", "l4s")  # as the other ways
            _, memory, _ = run_script("predict.py", *flags, cwd=Path.cwd())
            return read(out_dir / f"{scene.stem}_probability.tif") if as_float else None, memory

        return map_with

    ways = {"keras": with_engine("keras", Path(RESULTS_DIR).resolve())}
    for way, flags in {"openvino": (), "openvino_int8": ("--int8",)}.items():
        if flags and not INT8:
            continue
        results_dir = folder / f"results_{way}"
        shutil.copytree(run.folder, results_dir / run.name, ignore=shutil.ignore_patterns("export", "maps", "samples"))
        out_dir = openvino_folder(results_dir / run.name).parent
        run_script("export.py", "--run", run.name, "--format", "openvino", *flags, "--out-dir", out_dir, cwd=Path.cwd())
        ways[way] = with_engine("openvino", results_dir)
    if DEEPNESS or GEOAI_PYTHON:
        flags = ("--run", run.name, "--pixel-size", PIXEL_SIZE, "--size", TILE, "--scaling", "l4s", "--out-dir", folder)
        run_script("export.py", *flags, cwd=Path.cwd())
        file = folder / f"{run.name}_l4s.onnx"
    if DEEPNESS:
        ways["deepness"] = lambda scene, out_dir, as_float: alone(map_by_tiles, file, scene, out_dir, as_float)
    if GEOAI_PYTHON:

        def with_geoai(scene, out_dir, as_float):
            out_dir.mkdir(exist_ok=True)
            out = out_dir / f"{scene.stem}_probability.tif"
            command = ("benchmarks/geoai_map.py", file, scene, out)
            _, memory, _ = run_script(*command, cwd=Path.cwd(), python=GEOAI_PYTHON)
            return read(out) if as_float else None, memory

        ways["geoai"] = with_geoai
    return ways


def read(path):
    """Read a map of probabilities: H x W float32."""
    import rasterio

    with rasterio.open(path) as file:
        return file.read(1)


def map_by_tiles(model, scene, out_dir, as_float):
    """Map as Deepness does: tile by tile with ONNX Runtime, the middle of each overlap kept, the result in memory.

    After its map_processor.py: tiles of the model's size are read where they lie, zeros beyond the scene's edges.
    """
    import onnxruntime
    import rasterio
    from rasterio.windows import Window

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    stride, half = TILE - OVERLAP, OVERLAP // 2
    with rasterio.open(scene) as file:
        height, width = file.shape
        result = np.zeros((height, width), np.float32)
        for top in range(-half, height, stride):
            for left in range(-half, width, stride):
                window = Window(left, top, TILE, TILE)
                tile = file.read(window=window, boundless=True, fill_value=0).astype(np.float32) / 255
                (probability,) = session.run(None, {"image": tile[None]})
                rows, columns = slice(top + half, top + half + stride), slice(left + half, left + half + stride)
                target = result[rows, columns]
                target[:] = probability[0, 0, half:, half:][: target.shape[0], : target.shape[1]]
        profile = file.profile | {"count": 1, "dtype": "float32", "nodata": None, "compress": "deflate", "tiled": True}
    out_dir.mkdir(exist_ok=True)
    with rasterio.open(out_dir / f"{scene.stem}_probability.tif", "w", **profile) as file:
        file.write(result, 1)
    return result if as_float else None, peak()


if __name__ == "__main__":
    script.start(main)
