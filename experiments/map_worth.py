"""Measure the false alarms of maps on ground without landslides, and their recall on known landslides.

    python experiments/map_worth.py --city sentinel2_rgbn.tif --lake after.tif before.tif \
        --slide after.tiff before.tiff mask.png --cloudy boa.tif scl.tif --event data/sample_event

The city is a scene without landslides, bands red, green, blue first. The lake is the same ground on two dates, Level-1C
in the order of Landslide4Sense. The slide is ground before and after a landslide, and its mask (255: not judged). Each
is mapped without and with a picture from before, but the city. The cloudy scene, Level-2A, is mapped without
and with its classes. The event is written by make_sample_data.py --scene: invented ground, but with elevation. In all
cases the polygons of a map are scored, because --min-slope removes polygons. Writes OUT, a table.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyogrio
import rasterio
from affine import Affine
from rasterio.features import rasterize

sys.path.insert(0, str(Path(__file__).parent.parent))
import records
import script
from mask_values import UNLABELLED
from scenes.labels import MaskRaster
from scenes.pixel_grid import PixelGrid

ROOT = Path(__file__).parent.parent
RUN = "rgb"  # name of the run
CITY = None  # str: scene without landslides
LAKE = ()  # two scenes without landslides: after, before
SLIDE = ()  # scene after, scene before, mask of the landslide
CLOUDY = ()  # scene without landslides, and its classes (SCL)
EVENT = None  # str: folder of an invented event
OUT = "results/figures/map_worth.csv"  # the table


def main():
    """Map each scene in each way, and write the table."""
    cases = []
    if CITY:
        cases.append(("city", CITY, (), "1 2 3", ""))
    if LAKE:
        after, before = LAKE
        for name, scaling in (("lake", "l4s"), ("lake, stretched", "stretch")):
            cases.append((name, after, (), "4 3 2", f"--scaling {scaling}"))
            cases.append((f"{name}, with before", after, (before,), "4 3 2", f"--scaling {scaling}"))
    mask = None
    if SLIDE:
        after, before, mask = SLIDE
        cases += [("slide", after, (), "1 2 3", ""), ("slide, with before", after, (before,), "1 2 3", "")]
    rows = [score(*case, mask if case[0].startswith("slide") else None) for case in cases]
    if CLOUDY:
        scene, classes = CLOUDY
        for name, flags in (("cloudy lake", ""), ("cloudy lake, with clouds", f"--clouds {classes}")):
            rows.append(score(name, scene, (), "4 3 2", f"--scaling l4s {flags}", None))
    if EVENT:
        before, after, truth = (Path(EVENT, name) for name in ("before.tif", "after.tif", "landslides.gpkg"))
        terrain = f"--dem {Path(EVENT, 'dem.tif')} --min-slope 8"
        for name, flags in (("", ""), (", with slope", terrain)):
            rows.append(score(f"invented, no landslide{name}", before, (), "B4 B3 B2", flags, None))
            rows.append(score(f"invented event{name}", after, (), "B4 B3 B2", flags, truth))
            rows.append(
                score(f"invented event, with before{name and ' and slope'}", after, (before,), "B4 B3 B2", flags, truth)
            )
    records.write_csv(Path(OUT), rows[0], [row.values() for row in rows])
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))


def score(name, after, before, bands, flags, mask):
    """Map a scene and compare it with its mask, if it has landslides; return a row of the table.

    Args:
        name: of the row. after, before: scene, and scenes before it. bands, flags: of predict.py, as texts.
        mask: raster or GeoPackage of the landslides; None: there are none.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "predict.py"), "--run", RUN, "--out-dir", folder, "--input", str(after)]
        command += "--min-area 0 --min-hole 0".split()  # pixel by pixel
        command += ["--before", *map(str, before)] if before else []
        subprocess.run(
            [*command, "--scene-bands", *bands.split(), *flags.split()], check=True, stdout=subprocess.DEVNULL
        )
        with rasterio.open(next(Path(folder).glob("*_mask.tif"))) as file:
            judged, grid = file.read(1) <= 1, PixelGrid.of(file)
        transform = grid.transform if grid.crs else Affine.identity()
        predicted = rasterized(next(Path(folder).glob("*_landslides.gpkg")), judged.shape, transform)
    truth = np.zeros_like(predicted)
    if mask and Path(mask).suffix == ".gpkg":
        truth = rasterized(mask, judged.shape, transform)
    elif mask:
        labels = MaskRaster(mask, grid)
        truth = labels.read(0, judged.shape[0], 0, judged.shape[1])
        labels.close()
        judged &= truth != UNLABELLED
    slide = judged & (truth == 1)
    return {
        "scene": name,
        "pixels_judged": int(judged.sum()),
        "false_share": round(float((predicted[judged & ~slide] == 1).mean()), 5),
        "landslide_recall": round(float((predicted[slide] == 1).mean()), 3) if slide.any() else "",
    }


def rasterized(path, shape, transform):
    """Return 1 where the polygons of a GeoPackage lie, 0 elsewhere: H x W uint8."""
    shapes = pyogrio.read_dataframe(path, layer="landslides", columns=[]).geometry
    return rasterize(shapes, shape, transform=transform, dtype="uint8") if len(shapes) else np.zeros(shape, np.uint8)


if __name__ == "__main__":
    script.start(main)
