"""Measure time and memory of compare_maps.py on masks of several sizes, over invented landslides.

    python benchmarks/comparison_speed.py

The landslides are of many sizes. The map misses small ones, lies 10 m further west and south, and has false alarms; the
reference is complete in the middle of the map. Writes OUT, a table, and PICTURE, the one of the first size.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from turns import run_script

import records

SIDES = (549, 3660, 10980)  # pixels of 10 m of a side of the maps; the last is that of a Sentinel-2 tile
DENSITY = 166.0  # landslides in a million pixels
SEED = 0  # of the landslides
OUT = "results/figures/comparison_speed.csv"  # the table
PICTURE = "results/figures/comparison.png"  # the picture

CORNER, CRS = (300_000.0, 5_000_040.0), "EPSG:32633"


def main():
    """Make a map and a reference of each size, and compare them as a user does."""
    rows = []
    for side in SIDES:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            number = make_pair(folder, side, round(DENSITY * side**2 / 1e6))
            flags = "--map", "map.tif", "--reference", "inventory.gpkg", "--area", "area.gpkg", "--out-dir", "out"
            seconds, peak, _ = run_script("compare_maps.py", *flags, cwd=folder)
            record = json.loads((folder / "out" / "scores.json").read_text())
            if side == SIDES[0]:
                shutil.copy(folder / "out" / "comparison.png", PICTURE)
        row = {"side": side, "landslides": number, "mapped": record["count"]["map"], "seconds": round(seconds, 1)}
        row |= {"peak_gb": round(peak / 1e6, 2), "shift_m": round(record["shift"]["distance_m"], 1)}
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        rows.append(row)
    records.write_csv(OUT, rows[0], [row.values() for row in rows])


def make_pair(folder, side, number):
    """Write map.tif, inventory.gpkg and area.gpkg; return the number of landslides."""
    import geopandas
    import rasterio
    import shapely
    from rasterio.features import rasterize
    from rasterio.transform import from_origin

    rng = np.random.default_rng(SEED)
    centre = rng.uniform(0, 10 * side, (number, 2)) * (1, -1) + CORNER
    radius = np.exp(rng.normal(np.log(40), 0.8, number))[:, None] * (1 + 0.3 * rng.normal(size=(number, 24))).clip(0.3)
    angle = np.linspace(0, 2 * np.pi, 25)[:-1]
    corners = np.stack([np.cos(angle), np.sin(angle)], -1) * radius[..., None] + centre[:, None]
    table = geopandas.GeoDataFrame(geometry=shapely.polygons(corners), crs=CRS)
    table.to_file(folder / "inventory.gpkg")
    west, north = CORNER
    inner = shapely.box(west + 2 * side, north - 8 * side, west + 8 * side, north - 2 * side)
    geopandas.GeoDataFrame(geometry=[inner], crs=CRS).to_file(folder / "area.gpkg")
    mapped = rng.random(number) < 1 / (1 + (2000 / table.area) ** 1.7)
    transform = from_origin(west, north, 10, 10)
    mask = rasterize(table.geometry[mapped].translate(-10, -10), (side, side), transform=transform, dtype="uint8")
    for top, left, size in zip(
        *rng.integers(0, side - 12, (2, number // 10)), rng.integers(1, 12, number), strict=False
    ):
        mask[top : top + size, left : left + size] = 1
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "compress": "lzw", "tiled": True}
    profile |= {"height": side, "width": side, "crs": CRS, "transform": transform}
    with rasterio.open(folder / "map.tif", "w", **profile) as file:
        file.write(mask, 1)
    return number


if __name__ == "__main__":
    import script

    script.start(main)
