"""Write synthetic landslide patches in the format of Landslide4Sense, or a whole synthetic event.

    python make_sample_data.py
    python make_sample_data.py --patches 60 --seed 1 --out-dir data/small
    python make_sample_data.py --out-dir data/volcanic_island --region volcanic_island --patches 300
    python make_sample_data.py --out-dir data/series --dates 4          # dates before and after, as in Sen12Landslides
    python make_sample_data.py --scene --out-dir data/sample_event      # a scene before and one after, and an inventory

Every patch shows 1.28 km of invented but physically plausible ground: eroded terrain, forest, fields, rivers, roads and
haze in the bands of Sentinel-2, with slope and elevation. Landslides start on steep ground and run downhill. Other bare
ground (roads, ploughed fields, gravel beds, rock, old scars) has similar spectra, so a model must also use terrain and
shape. The patches replace real data in tests and first trials; scores on them say nothing about real landslides.

Writes OUT_DIR/images/image_N.h5 (key img, 128 x 128 x 14 float64 in the scaling of the released data) and
OUT_DIR/masks/mask_N.h5 (key mask, 128 x 128 uint8, 1 for landslide). With --dates, writes OUT_DIR/s2/<region>_s2_N.nc
instead: fields, roads and old scars on every date, new landslides from the middle date on.
Next: python train.py --data-dir OUT_DIR

With --scene, writes one landscape of the same kind instead, as GIS files:
    before.tif, after.tif             12 bands of Sentinel-2 at 10 m, digital numbers of Level-1C
    dem.tif                           elevation in metres, on a grid of its own of about 30 m, in degrees
    landslides.gpkg                   polygons of all landslides that are new in after.tif
    label_area.gpkg, test_area.gpkg   two parts of the scene: adapt a model to one, and judge its map in the other
Next: python predict.py --run RUN --input OUT_DIR/after.tif --scene-bands B4 B3 B2 --dem OUT_DIR/dem.tif
"""

import io
import re
import signal
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import records
import script
from bands import BANDS_L4S
from patches import series
from patches.reading import write_array
from synthetic.landscape import REGIONS
from synthetic.patches import make_patch, make_series, plan
from synthetic.terrain import SIZE

# ---------------------------------------------------------------------- input and output
OUT_DIR = "data/sample"  # folder of images/ and masks/, or of the scene
OVERWRITE = False  # replace patches, or a scene, that are already in the folder
# ---------------------------------------------------------------------- what is made
PATCHES = 400  # number of patches to write
REGION = "all"  # region of the patches; all: equal shares of every region, and humid_hills for a scene
DATES = None  # int: dates of a series, half of them before the event; none: patches of one date
SCENE = False  # write an event instead of patches: scenes before and after, elevation, inventory
SCENE_SIZE = 1024  # pixels of 10 m a side of the scene; 1024 take 1.5 GB of memory, 2048 four times as much
SEED = 0  # seed; the same seed and settings give the same bytes

CHOICES = {"REGION": ("all", *REGIONS)}
RANGES = {"PATCHES": (1, None), "DATES": (2, None), "SCENE_SIZE": (256, None), "SEED": (0, None)}


def prepare(folder):
    """Remove the patches of an earlier call, or raise UserError if they may not be replaced."""
    old = [path for part in ("images/*.h5", "masks/*.h5", "s2/*.nc") for path in folder.glob(part)]
    if old and not OVERWRITE:
        raise script.UserError(f"{folder} already holds {len(old)} patches: choose another --out-dir or --overwrite")
    for path in old:
        if re.fullmatch(r"(\.partial-(\d+-)?)?((image|mask)_\d+\.h5|[a-z_]+_s2_\d+\.nc)", path.name):
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


def write_event(folder):
    """Make an event and write its files."""
    from scenes import geopackage
    from synthetic import scene

    names = ("before.tif", "after.tif", "dem.tif", "landslides.gpkg", "label_area.gpkg", "test_area.gpkg")
    old = [name for name in names if (folder / name).exists()]
    if old and not OVERWRITE:
        raise script.UserError(f"{folder} already holds {', '.join(old)}: choose another --out-dir or --overwrite")
    region = REGION if REGION != "all" else "humid_hills"
    rng = np.random.default_rng([SEED, list(REGIONS).index(region), 0])  # patches are numbered from 1
    folder.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is told at once
    event = scene.make_event(REGIONS[region], rng, SCENE_SIZE)
    about = {"synthetic": f"invented ground by make_sample_data.py, region {region}, seed {SEED}"}
    for name, light in (("before.tif", event.before), ("after.tif", event.after)):
        scene.write_raster(folder / name, light, scene.TRANSFORM, scene.UTM, 0, about, BANDS_L4S[:12])
    model, transform = scene.elevation_model(event.elevation)
    scene.write_raster(folder / "dem.tif", model[None], transform, scene.WGS84, -32768, about, ["elevation"])
    slides = scene.inventory(event.mask)
    with geopackage.reproducible(scene.DATE):
        for name, table in {"landslides": slides, **scene.parts(SCENE_SIZE)}.items():
            content, form = io.BytesIO(), {"driver": "GPKG", "VERSION": "1.2"}  # as in the GeoPackage of a map
            table.to_file(content, layer=name, geometry_type="MultiPolygon", promote_to_multi=True, **form)
            records.write_bytes(folder / f"{name}.gpkg", content.getvalue())
    share = event.mask.mean()
    print(f"{SCENE_SIZE} x {SCENE_SIZE} pixels in {folder}: {share:.2%} are landslide, {len(slides)} polygons")


def write_patches(folder):
    """Plan the patches, write them in parallel processes and print their share of landslide."""
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


def main():
    """Check the settings and write patches, or the scenes of an event."""
    idle = sorted({"PATCHES", "DATES"} & script.flags_given)
    if SCENE and idle:
        raise script.UserError(f"SCENE makes one place at two dates: leave out {' and '.join(idle)}")
    if "SCENE_SIZE" in script.flags_given and not SCENE:
        raise script.UserError("SCENE_SIZE is the size of a scene: give SCENE, too, or leave it out")
    (write_event if SCENE else write_patches)(Path(OUT_DIR))


if __name__ == "__main__":
    script.start(main)
