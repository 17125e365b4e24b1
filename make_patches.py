"""Cut a scene and landslides drawn on it into patches to train on.

    python make_patches.py --scene S2B_MSIL2A_20230701.SAFE --labels slides.gpkg --area drawn.gpkg --out-dir data/event
    python make_patches.py --scene scene.tif --scene-bands B4 B3 B2 --labels results/rgb/maps/scene_landslides.gpkg
    python make_patches.py --scene uav.tif --dem dem.tif --bands red green blue dem --labels slides.gpkg

Labels are polygons of landslides, and AREA is the ground in which none is missing: nothing beyond it counts as
background. A GeoPackage of predict.py whose column verdict was filled in QGIS is read as it was reviewed. Clouds and
ground without data are not labelled either. Training, validation and test lie apart, in blocks of ground.

Writes OUT_DIR/images/<split>/image_N.h5 and OUT_DIR/masks/<split>/mask_N.h5 with their place in the attributes,
patches.csv and split_<scene>.png. Next: python train.py --data-dir OUT_DIR --start-from RUN --run event
"""

import contextlib
import shutil
from pathlib import Path

import records
import runs
import script
from bands import TERRAIN, sentinel2_band, true_colour
from patches.layouts import SPLITS

# ---------------------------------------------------------------------- input and output
SCENE = ()  # a product (.SAFE or zip), a GeoTIFF, or files of one band each, in order
SCENES = ()  # several scenes or products; or a CSV table with columns input and before
BEFORE = ()  # the same ground before the event, for a run of two dates
LABELS = ()  # vector files (their layer landslides, or else all) or rasters of landslides; of two, the later one wins
AREA = ""  # vector file of the ground in which the labels are complete; not given: the whole scene
OUT_DIR = "data/event"  # folder of the patches
OVERWRITE = False  # replace patches that are already in the folder
# ---------------------------------------------------------------------- values
RESULTS_DIR = "results"  # holds a folder for each run
RUN = "rgb"  # run that training will start from: patches get its bands, units and size; empty: see BANDS
BANDS = ()  # bands of the patches by name, also slope and dem; not given: those of the run
SCENE_BANDS = ()  # bands of the scene in this order, by number from 1 or by name; none given: all
DEM = ""  # elevation raster in any projection, for slope and dem
SCALING = "auto"  # l4s: divide as Landslide4Sense was; stretch: 2nd-98th percentile of the scene to 0-255; none
OFFSET = None  # float: added to the files' values before scaling; none: what their metadata or tags say, or 0
NODATA = None  # float: value of no data in files without such a tag; none: 0 in all bands of whole numbers
DEM_NODATA = None  # float: value of no data in an elevation raster without such a tag; none: below -500 or above 9000 m
CLOUDS = "auto"  # auto: the classes of a Level-2 product; none; ukis: compute them; or a raster, not 0 where hidden
# ---------------------------------------------------------------------- patches
SIZE = 0  # pixels a side of a patch; 0: as those of the run, or 128
OVERLAP = 0  # pixels that neighbouring patches share, at least
LEAST_LABELLED = 0.02  # share of a patch that must be labelled
EMPTY_SHARE = 1.0  # share of the patches without landslides to keep
MIN_AREA = 0.0  # smallest landslide in m2; smaller ones are not labelled
BUFFER = 0.0  # metres on both sides of outlines that are not labelled, where drawn outlines are inexact
ALL_TOUCHED = False  # whether a landslide holds all pixels that it touches, or those whose centres lie in it
# ---------------------------------------------------------------------- split
VALIDATION = 0.15  # share of the patches for validation
TEST = 0.15  # share of the patches for the test
BLOCK = 4  # side of a block of ground in patches, at most; between blocks of different splits lies a patch
SEED = 0  # seed of the split
SCHEDULER = ""  # empty: this process reads; local:2: two processes here; tcp://host:8786: a Dask cluster

CHOICES = {"SCALING": ("auto", "none", "l4s", "stretch")}
STAGING, FORMER = ".partial", ".former"  # folders for new patches until they are complete, and for those they replace


def main():
    """Cut all scenes, split the patches by blocks of ground, and put them in place."""
    check_settings()
    out_dir = Path(OUT_DIR)
    check_folder(out_dir)

    from scenes.cutting import split_rows  # GDAL and Matplotlib are slow to import
    from scenes.inputs import list_inputs
    from scenes.patch_cutter import CutSettings, open_cutters, write_patches
    from scenes.source import SceneInput
    from scenes.split_map import draw_splits

    run = runs.open_run(RESULTS_DIR, RUN) if RUN else None
    config = wanted_values(run)
    settings = CutSettings(
        labels=LABELS,
        area=AREA,
        size=SIZE or (run.config["input_shape"][0] if run else 128),
        overlap=OVERLAP,
        least_labelled=LEAST_LABELLED,
        min_area=MIN_AREA,
        buffer=BUFFER,
        all_touched=ALL_TOUCHED,
        clouds=CLOUDS,
        scheduler=SCHEDULER,
    )
    if settings.size <= OVERLAP:
        raise script.UserError(f"OVERLAP is {OVERLAP}: it must be less than a patch of {settings.size} pixels")

    def scene_of(paths):
        return SceneInput(tuple(paths), tuple(SCENE_BANDS), DEM, SCALING, OFFSET, NODATA, DEM_NODATA)

    listed = list_inputs(SCENE, SCENES, BEFORE, ("--scene", "--scenes"))
    scenes = [(scene_of(paths), scene_of(before) if before else None) for paths, before in listed]
    staging = out_dir / STAGING
    with contextlib.ExitStack() as stack:
        cutters = [stack.enter_context(cutter) for cutter in open_cutters(scenes, config, settings)]
        check_cover(cutters)
        stack.callback(clean, out_dir)
        rows = write_patches(cutters, config["bands"], staging)
        split_rows(rows, {"validation": VALIDATION, "test": TEST}, EMPTY_SHARE, BLOCK, SEED)
        draw_splits(rows, cutters, true_colour(config["bands"]), staging)
        place(rows, staging, out_dir)
    tell(rows, out_dir)


def check_settings():
    """Find mistakes in the constants before anything is read."""
    if not SCENE and not SCENES:
        raise script.UserError("nothing to cut: give a product, a GeoTIFF or files of one band each with --scene")
    if not LABELS:
        raise script.UserError("give the landslides, a vector file or a raster, with --labels")
    script.check_choices(globals(), **CHOICES)
    script.check_ranges(globals(), SIZE=(0, None), OVERLAP=(0, None), LEAST_LABELLED=(0, 1), EMPTY_SHARE=(0, 1))
    script.check_ranges(globals(), MIN_AREA=(0, None), BUFFER=(0, None), BLOCK=(1, None), SEED=(0, 2**32 - 1))
    script.check_ranges(globals(), VALIDATION=(0.01, 0.9), TEST=(0.01, 0.9))
    if VALIDATION + TEST > 0.9:
        raise script.UserError("VALIDATION and TEST leave less than a tenth of the patches for training")
    if len(set(BANDS)) < len(BANDS):
        raise script.UserError(f"BANDS {' '.join(BANDS)} name a band twice")
    if not RUN and not BANDS:
        raise script.UserError("without --run, name the bands of the patches with --bands, such as red green blue dem")


def check_folder(folder):
    """Raise UserError if patches would be replaced without leave, or files that are not ours.

    What an earlier call that was killed had moved aside is moved back.
    """
    former = folder / FORMER
    if former.exists():
        for path in former.iterdir():
            remove(folder / path.name)
            path.rename(folder / path.name)
        former.rmdir()
    clean(folder)
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "patches.csv").exists():
        raise script.UserError(f"{folder} holds other files: choose another --out-dir")
    if not OVERWRITE:
        raise script.UserError(f"{folder} holds patches already: replace them with --overwrite, or give --out-dir")


def clean(folder):
    """Remove what an unfinished call left, and the folder itself if it is empty."""
    for name in (STAGING, STAGING + FORMER):
        shutil.rmtree(folder / name, ignore_errors=True)
    if folder.exists() and not any(folder.iterdir()) and not folder.is_symlink():
        folder.rmdir()


def remove(path):
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def wanted_values(run):
    """Return what the patches hold, as a run's config says it: bands, values, and their statistics if known."""
    bands = tuple(BANDS) or tuple(run.config["bands"])
    if run:
        known = {"band_mean", "band_variance"} if bands == tuple(run.config["bands"]) else ()
        return {"bands": bands, "values": run.config["values"]} | {name: run.config[name] for name in known}
    light = [name for name in bands if name not in TERRAIN]
    return {"bands": bands, "values": "l4s" if all(sentinel2_band(name) for name in light) else ""}


def check_cover(cutters):
    """Raise UserError if a file of labels says nothing of any scene, or no patch is labelled well enough."""
    for path in filter(None, (*LABELS, AREA)):
        if all(path in cutter.labels.silent for cutter in cutters):
            what = "the scene" if len(cutters) == 1 else "any of the scenes"
            raise script.UserError(f"{path}: none of its labels lies over {what}")
    for cutter in cutters:
        if not len(cutter):
            fault = f"no patch of {cutter.settings.size} pixels is labelled to {LEAST_LABELLED:.0%} or more"
            if not any(map(len, cutters)):
                raise script.UserError(
                    f"{cutter.name}: {fault}: is --area smaller than a patch, or hidden by clouds? --least-labelled "
                    "allows less"
                )
            print(f"note: {cutter.name}: {fault}")


def place(rows, staging, folder):
    """Move the patches to their splits and write patches.csv; those of an earlier call are replaced."""
    columns = ("image", "split", "scene", "row", "column", "left", "bottom", "right", "top", "landslide", "labelled")
    for row in rows:
        if row["split"]:
            for kind in ("image", "mask"):
                name = f"{kind}_{row['number']}.h5"
                target = staging / f"{kind}s" / row["split"] / name
                target.parent.mkdir(exist_ok=True)
                (staging / f"{kind}s" / name).rename(target)
            row["image"] = f"images/{row['split']}/image_{row['number']}.h5"
    for left_out in staging.glob("*/*.h5"):
        left_out.unlink()
    kept = [[row[column] for column in columns] for row in rows if row["split"]]
    records.write_csv(staging / "patches.csv", columns, kept)
    former = folder / FORMER
    former.mkdir()
    for name in ("images", "masks", *(path.name for path in folder.glob("split_*.png")), "patches.csv"):
        if (folder / name).exists():
            (folder / name).rename(former / name)
    for path in sorted(staging.iterdir(), key=lambda path: path.name == "patches.csv"):  # it says that all is there
        path.rename(folder / path.name)
    former.rename(folder / (STAGING + FORMER))  # from here on nobody moves it back
    clean(folder)


def tell(rows, folder):
    """Print what was made, and the next command."""
    for name in SPLITS:
        chosen = [row for row in rows if row["split"] == name]
        landslide, labelled = (sum(row[key] for row in chosen) for key in ("landslide", "labelled"))
        empty = sum(not row["landslide"] for row in chosen)
        print(f"{name:<10} {len(chosen):>5} patches, {empty} without landslide; {landslide / labelled:.2%} landslide")
    gaps = sum(not row["split"] for row in rows)
    print(
        f"{gaps} patches are left out, because they lie in gaps between the splits"
        + (" or are empty" * (EMPTY_SHARE < 1))
    )
    start = f" --start-from {RUN}" if RUN else ""
    print(f"next: python train.py --data-dir {folder}{start} --run {folder.resolve().name}")


if __name__ == "__main__":
    script.start(main)
