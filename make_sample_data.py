"""Write synthetic landslide patches in the format of Landslide4Sense.

    python make_sample_data.py
    python make_sample_data.py --patches 60 --seed 1 --out-dir data/small
    python make_sample_data.py --out-dir data/volcanic_island --region volcanic_island --patches 300
    python make_sample_data.py --out-dir data/series --dates 4          # dates before and after, as in Sen12Landslides

Every patch shows 1.28 km of invented but physically plausible ground: eroded terrain, forest, fields, rivers, roads and
haze in the bands of Sentinel-2, with slope and elevation. Landslides start on steep ground and run downhill. Other bare
ground (roads, ploughed fields, gravel beds, rock, old scars) has similar spectra, so a model must also use terrain and
shape. The patches replace real data in tests and first trials; scores on them say nothing about real landslides.

Writes OUT_DIR/images/image_N.h5 (key img, 128 x 128 x 14 float64 in the scaling of the released data) and
OUT_DIR/masks/mask_N.h5 (key mask, 128 x 128 uint8, 1 for landslide). With --dates, writes OUT_DIR/s2/<region>_s2_N.nc
instead: fields, roads and old scars on every date, new landslides from the middle date on.
Next: python train.py --data-dir OUT_DIR
"""

import re
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import script
import series
from patch_reading import write_array
from synthetic.landscape import REGIONS
from synthetic.patches import make_patch, make_series, plan
from synthetic.terrain import SIZE

# ----------------------------------------------------------------------------------------------
OUT_DIR = "data/sample"  # folder of images/ and masks/
PATCHES = 400  # number of patches to write
REGION = "all"  # region of the patches; all: equal shares of every region
DATES = 0  # 0: patches of one date; 2 or more: series of this many dates, half of them before the event
SEED = 0  # seed; the same seed and settings give the same bytes
OVERWRITE = False  # replace patches that are already in the folder

CHOICES = {"REGION": ("all", *REGIONS)}
# ----------------------------------------------------------------------------------------------


def prepare(folder):
    """Remove the patches of an earlier call, or raise UserError if they may not be replaced."""
    old = [path for part in ("images/*.h5", "masks/*.h5", "s2/*.nc") for path in folder.glob(part)]
    if old and not OVERWRITE:
        raise script.UserError(f"{folder} already holds {len(old)} patches: choose another --out-dir or --overwrite")
    for path in old:
        if re.fullmatch(r"(\.partial-)?((image|mask)_\d+\.h5|[a-z_]+_s2_\d+\.nc)", path.name):
            path.unlink()


def write(folder, dates, n, planned):
    """Write patch n, planned as (name of its region, random generator); return its number of landslide pixels."""
    name, rng = planned
    if dates:
        variables, mask = make_series(REGIONS[name], rng, dates)
        event = {"pre_post_dates": str({"pre": dates // 2 - 1, "post": dates // 2})} if mask.any() else {}
        series.write_series(folder / "s2" / f"{name}_s2_{n}.nc", variables, event)
    else:
        img, mask = make_patch(REGIONS[name], rng)
        write_array(folder / "images" / f"image_{n}.h5", "img", img)
        write_array(folder / "masks" / f"mask_{n}.h5", "mask", mask)
    return int(mask.sum())


def main():
    """Plan the patches, write them in parallel processes and print their share of landslide."""
    script.check_ranges(globals(), PATCHES=(1, None), SEED=(0, None))
    script.check_choices(globals(), **CHOICES)
    if DATES < 0 or DATES == 1:
        raise script.UserError(f"DATES is {DATES}: it must be 0, or at least 2")
    folder = Path(OUT_DIR)
    prepare(folder)
    # Only this process handles Ctrl-C, so that it can cancel the patches that no worker has begun.
    with ProcessPoolExecutor(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            written = pool.map(partial(write, folder, DATES), range(1, PATCHES + 1), plan(REGION, PATCHES, SEED))
            slid = list(script.progress(written, "patches", total=PATCHES))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    share, empty = sum(slid) / (PATCHES * SIZE**2), slid.count(0)
    print(f"{PATCHES} patches in {folder}: {share:.2%} of pixels are landslide, {empty} patches have none")


if __name__ == "__main__":
    script.start(main)
