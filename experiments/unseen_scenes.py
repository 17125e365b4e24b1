r"""How good a map is of an event that the network has not seen: scenes with known landslides, mapped and compared.

    python experiments/unseen_scenes.py --scenes-dir data/scenes --events iburi gorkha kodagu --run without_them

The folder holds EVENT_scene.tif, EVENT_landslides.gpkg and EVENT_area.gpkg, the ground in which the landslides are
complete. Each scene is mapped by predict.py with each scaling, each pixel size, each size of tiles and each threshold.
Polygons below each smallest area are left out, and compare_maps.py
compares the rest with the landslides.

Writes OUT, a row for each map: Dice of pixels, polygons, landslides detected, false polygons per 100 km2, and mapped
area over true area. Rows of other calls are kept.
"""

import itertools
import sys
import tempfile
from pathlib import Path

import geopandas

sys.path.insert(0, str(Path(__file__).parent.parent))
import records
import runs
import script
from scores.thresholds import elsewhere

SCENES_DIR = None  # str: folder of EVENT_scene.tif, EVENT_landslides.gpkg and EVENT_area.gpkg
EVENTS = ()  # events to map; none: each whose scene is in the folder
RESULTS_DIR = "results"  # folder of all runs
RUN = "unet"  # run that has seen none of them
SCALINGS = ("auto",)  # of predict.py
PIXEL_SIZES = (0.0,)  # metres a pixel of the maps; 0: that of the scene
TILES = (0,)  # pixels a side of tiles; 0: those of the patches that the run learnt from
THRESHOLDS = ()  # float: probabilities; none: the run's own, and that for elsewhere if it has one
MIN_AREAS = (0.0, 500.0, 1000.0, 2000.0)  # smallest areas of a polygon in m2
MAPS_DIR = None  # str: folder that keeps the maps; none: they are not kept
OUT = "results/figures/unseen_scenes.csv"  # the table

CHOICES = {"SCALINGS": ("auto", "none", "l4s", "stretch", "match")}
RANGES = {"PIXEL_SIZES": (0, 1e4), "TILES": (0, None), "THRESHOLDS": (0, 1), "MIN_AREAS": (0, None)}


def main():
    """Map each scene in each way, compare, and write the table."""
    if not SCENES_DIR:
        raise script.UserError("name the folder of the scenes with --scenes-dir")
    run = runs.open_run(RESULTS_DIR, RUN)
    events = EVENTS or sorted(path.name.removesuffix("_scene.tif") for path in Path(SCENES_DIR).glob("*_scene.tif"))
    if not events:
        raise script.UserError(f"{SCENES_DIR} holds no EVENT_scene.tif")
    thresholds = sorted(THRESHOLDS or {run.threshold(), elsewhere(run)["threshold"]})
    rows = records.read_rows(OUT)
    with tempfile.TemporaryDirectory() as temporary:
        for event in events:
            for way in itertools.product(SCALINGS, PIXEL_SIZES, TILES, thresholds):
                folder = Path(MAPS_DIR or temporary, "-".join(map(str, (event, *way))))
                new = list(score(event, *way, folder))
                keys = {tuple(str(row[name]) for name in KEY) for row in new}
                rows = [row for row in rows if tuple(row[name] for name in KEY) not in keys] + new
                records.write_csv(OUT, rows[0], [row.values() for row in rows])
    print(f"written: {OUT}")


KEY = ("run", "event", "scaling", "pixel_size", "tile", "threshold", "min_area")  # columns that tell rows apart


def score(event, scaling, size, tile, threshold, folder):
    """Map a scene into a folder, and yield a row for each of MIN_AREAS."""
    scene, landslides, area = (
        Path(SCENES_DIR, f"{event}_{name}") for name in ("scene.tif", "landslides.gpkg", "area.gpkg")
    )
    flags = ["--results-dir", RESULTS_DIR, "--run", RUN, "--input", scene, "--scaling", scaling, "--out-dir", folder]
    flags += ["--min-area", 0, "--min-hole", 0, "--no-desk"]  # areas are chosen below
    flags += [*(["--pixel-size", size] if size else []), *(["--tile", tile] if tile else [])]
    runs.call_script("predict.py", *map(str, [*flags, "--threshold", threshold, "--overwrite"]))
    mapped = geopandas.read_file(folder / f"{event}_scene_landslides.gpkg", layer="landslides")
    for min_area in MIN_AREAS:
        kept = folder / f"from_{min_area:g}.gpkg"
        mapped[mapped["area_m2"] >= min_area].to_file(kept, layer="landslides")
        flags = ["--map", kept, "--reference", landslides, "--area", area, "--out-dir", folder / f"from_{min_area:g}"]
        runs.call_script("compare_maps.py", *map(str, [*flags, "--overwrite"]))
        scores = records.read_json(folder / f"from_{min_area:g}" / "scores.json", "compare_maps.py")
        pixels, objects, areas = scores["pixels"], scores["objects"], scores["area_m2"]
        row = dict(zip(KEY, (RUN, event, scaling, size, tile, threshold, min_area), strict=True))
        row |= {name: round(pixels[name], 3) for name in ("dice", "precision", "recall")}
        row |= {"polygons": objects["map"], "landslides": objects["reference"]}
        row |= {"detected": round(objects["detected_share"], 3), "false": round(objects["false_share"], 3)}
        row["false_per_100_km2"] = round(1e8 * objects["false"] / areas["judged"], 1)
        row["area_ratio"] = round(areas["map_judged"] / areas["reference_judged"], 3)
        print(", ".join(f"{name} {value}" for name, value in row.items()))
        yield row


if __name__ == "__main__":
    script.start(main)
