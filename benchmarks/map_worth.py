"""What a map is worth: how much ground without landslides it calls landslide, and whether it finds a known one.

    python benchmarks/map_worth.py --city sentinel2_rgbn.tif --lake after.tif before.tif \
        --slide after.tiff before.tiff mask.png

The city is a scene without landslides, bands red, green, blue first. The lake is one place on two dates, Level-1C in
the order of Landslide4Sense. The slide is a place before and after a landslide, and its mask (255: not judged). Each is
mapped without and with a picture from before (the city: against itself). Writes OUT, a table.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

sys.path.insert(0, str(Path(__file__).parent.parent))
import records
import script

ROOT = Path(__file__).parent.parent
RUN = "rgb"  # name of the run
CITY = ""  # scene without landslides
LAKE = ()  # two scenes without landslides: after, before
SLIDE = ()  # scene after, scene before, mask of the landslide
OUT = "results/figures/map_worth.csv"  # the table


def main():
    """Map each place in each way, and write the table."""
    cases = []
    if CITY:
        cases += [("city", CITY, (), "1 2 3", ""), ("city, before: the same scene", CITY, (CITY,), "1 2 3", "")]
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
    records.write_csv(Path(OUT), rows[0], [row.values() for row in rows])
    for row in rows:
        print(", ".join(f"{key} {value}" for key, value in row.items()))


def score(name, after, before, bands, flags, mask):
    """Map a scene and compare it with its mask, or with no landslide at all; returns a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "predict.py"), "--run", RUN, "--out-dir", folder, "--input", str(after)]
        command += ["--before", *map(str, before)] if before else []
        subprocess.run(
            [*command, "--scene-bands", *bands.split(), *flags.split()], check=True, stdout=subprocess.DEVNULL
        )
        with rasterio.open(next(Path(folder).glob("*_mask.tif"))) as file:
            found = file.read(1)
    judged = found <= 1
    truth = np.zeros_like(found)
    if mask:
        with rasterio.open(mask) as file:
            truth = file.read(1)
        judged &= truth <= 1
    slide = judged & (truth == 1)
    return {
        "place": name,
        "pixels_judged": int(judged.sum()),
        "false_share": round(float((found[judged & ~slide] == 1).mean()), 5),
        "landslide_found": round(float((found[slide] == 1).mean()), 3) if slide.any() else "",
    }


if __name__ == "__main__":
    script.start(main)
