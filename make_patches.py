"""Cut a scene and landslides drawn on it into patches to train on.

    python make_patches.py --scene S2B_MSIL2A_20230701.SAFE --labels scene_labels.geojson --out-dir data/event
    python make_patches.py --scene scene.tif --labels slides.gpkg --area drawn.gpkg
    python make_patches.py --scene scene.tif --scene-bands B4 B3 B2 --labels results/rgb/maps/scene_landslides.gpkg
    python make_patches.py --scene uav.tif --dem dem.tif --bands red green blue dem --labels slides.gpkg

Labels are polygons of landslides, and AREA is the ground in which none is missing: nothing beyond it counts as
background. A file that was saved on the page <scene>_desk.html says itself which boxes are complete. A GeoPackage of
predict.py whose column verdict was filled in QGIS is read as it was reviewed. Clouds and ground without data are not
labelled either. Training, validation and test lie apart, in blocks of ground.

Writes OUT_DIR/images/<split>/image_N.h5 and OUT_DIR/masks/<split>/mask_N.h5 with their place in the attributes,
patches.csv and split_<scene>.png. Next: python train.py --data-dir OUT_DIR --start-from RUN --run event
"""

import contextlib
from pathlib import Path

import records
import runs
import script
from bands import light, sentinel2_band, true_colour
from patches.layouts import SPLITS

# ---------------------------------------------------------------------- input and output
SCENE = ()  # a product (.SAFE or zip), a GeoTIFF, or files of one band each, in order
MANY = ()  # several scenes or products; or a CSV table with columns input and before
BEFORE = ()  # the same ground before the event, for a run of two dates
LABELS = ()  # <scene>_labels.geojson of the page, vector files or rasters of landslides; the later one wins
LAYER = ()  # layers of the vector files; none: landslides, as predict.py writes it, or the only one
WHERE = None  # str: condition on their columns in SQL, such as "class = 'landslide'"; none: all rows
AREA = ()  # vector files of the ground in which the labels are complete; none: the whole scene, or finished boxes
AREA_LAYER = ()  # their layers; none: seen, as predict.py writes it, or the only one
AREA_WHERE = None  # str: condition on their columns; none: all rows
OUT_DIR = "data/event"  # folder of the patches
OVERWRITE = False  # replace patches that are already in the folder
# ---------------------------------------------------------------------- values
RESULTS_DIR = "results"  # holds a folder for each run
RUN = "rgb"  # str: run that training will start from: patches get its bands, units and size; none: see BANDS
BANDS = ()  # bands of the patches by name, also slope and dem; none: those of the run
SCENE_BANDS = ()  # bands of the scene in this order, by number from 1 or by name; none: those the run names, or all
DEM = ()  # elevation rasters in any projection, or a folder or zip of tiles, for slope and dem
SCALING = "auto"  # l4s: divide as Landslide4Sense was; stretch: 2nd-98th percentile of the scene to 0-255; none
OFFSET = None  # float: added to bands of light before scaling; none: what their metadata or tags say, or 0
NODATA = None  # float: value of no data beside that of a tag or a product; none: without these, 0 in all bands
DEM_NODATA = None  # float: value of no elevation beside the tag; none: that alone, and below -500 or above 9000 m
PIXEL_SIZES = ()  # float: metres a pixel of the patches, averaged from finer ones; none: as in the scene
CLOUDS = "auto"  # auto: the classes of a Level-2 product; none; ukis: compute them; or a raster, not 0 where hidden
CLOUD_BUFFER = 0.0  # metres by which clouds and their shadows are widened
# ---------------------------------------------------------------------- patches
SIZE = None  # int: pixels a side of a patch; none: as those of the run, or 128
OVERLAP = 0  # pixels that neighbouring patches share, at least
LEAST_LABELLED = 0.02  # share of a patch that must be labelled
EMPTY_SHARE = 1.0  # share of the patches without landslides to keep
MIN_AREA = 0.0  # smallest landslide in m2; smaller ones are not labelled
BUFFER = 0.0  # metres on both sides of outlines that are not labelled, where drawn outlines are inexact
ALL_TOUCHED = False  # whether a landslide holds all pixels that it touches, or those whose centres lie in it
# ---------------------------------------------------------------------- split
VALIDATION = 0.15  # share of the patches for validation; 0, as TEST: all patches are for training
TEST = 0.15  # share of the patches for the test
BLOCK = 4  # side of a block of ground in patches, at most; between blocks of different splits lies a patch
SEED = 0  # seed of the split
SCHEDULER = None  # str: none: this process reads; local:2: two processes here; tcp://host:8786: a Dask cluster

CHOICES = {"SCALING": ("auto", "none", "l4s", "stretch")}
RANGES = {
    **{"PIXEL_SIZES": (1e-3, 1e4), "CLOUD_BUFFER": (0, None), "SIZE": (8, None), "OVERLAP": (0, None)},
    **{"LEAST_LABELLED": (0, 1), "EMPTY_SHARE": (0, 1), "MIN_AREA": (0, None), "BUFFER": (0, None)},
    **{"VALIDATION": (0, 0.9), "TEST": (0, 0.9), "BLOCK": (1, None), "SEED": (0, 2**32 - 1)},
}
FORMER_NAMES = {"SCENES": "MANY"}


def main():
    """Cut all scenes, split the patches by blocks of ground, and put them in place."""
    check_settings()
    out_dir = Path(OUT_DIR)
    check_folder(out_dir)

    from scenes.inputs import list_inputs
    from scenes.patch_cutter import CutSettings, open_cutters, write_patches
    from scenes.patch_layout import split_rows
    from scenes.preparation import CoverSettings  # GDAL and Matplotlib are slow to import
    from scenes.source import SceneInput
    from scenes.split_map import draw_splits
    from scenes.vectors import Choice

    run = runs.open_run(RESULTS_DIR, RUN) if RUN else None
    config = patch_config(run)
    settings = CutSettings(
        labels=LABELS,
        area=AREA,
        size=SIZE or (run.config["input_shape"][0] if run else 128),
        overlap=OVERLAP,
        least_labelled=LEAST_LABELLED,
        min_area=MIN_AREA,
        buffer=BUFFER,
        all_touched=ALL_TOUCHED,
        covers=CoverSettings(CLOUDS, CLOUD_BUFFER),
        scheduler=SCHEDULER or "",
        choice=Choice(LAYER, WHERE or ""),
        area_choice=Choice(AREA_LAYER, AREA_WHERE, "area-"),
    )
    if settings.size <= OVERLAP:
        raise script.UserError(f"OVERLAP is {OVERLAP}: it must be less than a patch of {settings.size} pixels")

    def scene_of(paths, metres):
        return SceneInput(tuple(paths), tuple(SCENE_BANDS), tuple(DEM), SCALING, OFFSET, NODATA, DEM_NODATA, metres)

    listed = list_inputs(SCENE, MANY, BEFORE, ("--scene", "--many"))
    scenes = [
        (scene_of(paths, metres), scene_of(before, metres) if before else None)
        for paths, before in listed
        for metres in PIXEL_SIZES or (None,)
    ]
    with contextlib.ExitStack() as stack:
        cutters = [stack.enter_context(cutter) for cutter in open_cutters(scenes, config, settings)]
        check_cover(cutters)
        folder = stack.enter_context(records.atomic_contents(out_dir, OWNED))
        rows = write_patches(cutters, config["bands"], folder)
        empty = all(cutter.labels.empty for cutter in cutters)
        if empty:
            script.note("the labels hold no landslide: all patches are for training, beside those of other ground")
        split_rows(rows, {"validation": VALIDATION, "test": TEST}, EMPTY_SHARE, BLOCK, SEED, empty)
        draw_splits(rows, cutters, true_colour(config["bands"]), folder)
        sort_patches(rows, folder)
    print_summary(rows, out_dir)


# What is replaced in a folder of patches, as glob patterns; constants above main() are flags.
OWNED = ("images", "masks", "patches.csv", "split_*.png")


def check_settings():
    """Find mistakes in the constants before anything is read."""
    if not SCENE and not MANY:
        raise script.UserError("nothing to cut: give a product, a GeoTIFF or files of one band each with --scene")
    if not LABELS:
        raise script.UserError("give the landslides, a saved file, a vector file or a raster, with --labels")
    if VALIDATION + TEST > 0.9:
        raise script.UserError("VALIDATION and TEST leave less than a tenth of the patches for training")
    if bool(VALIDATION) != bool(TEST):
        raise script.UserError("VALIDATION and TEST: either both are 0, or neither")
    if len(set(BANDS)) < len(BANDS):
        raise script.UserError(f"BANDS {' '.join(BANDS)} name a band twice")
    if not RUN and not BANDS:
        raise script.UserError("without --run, name the bands of the patches with --bands, such as red green blue dem")


def check_folder(folder):
    """Raise UserError if patches would be replaced without leave, or files that are not ours."""
    records.restore_contents(folder, OWNED)  # of a call that was killed
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / "patches.csv").exists():
        raise script.UserError(f"{folder} holds other files: choose another --out-dir")
    if not OVERWRITE:
        raise script.UserError(f"{folder} holds patches already: replace them with --overwrite, or give --out-dir")


def patch_config(run):
    """Return what the patches hold, under the names of a run's config: bands, values, and their statistics if known."""
    bands = tuple(BANDS) or tuple(run.config["bands"])
    if run:
        known = {"band_mean", "band_variance"} if bands == tuple(run.config["bands"]) else ()
        return {"bands": bands, "values": run.config["values"]} | {name: run.config[name] for name in known}
    of_sentinel2 = all(sentinel2_band(name) for name, lit in zip(bands, light(bands), strict=True) if lit)
    return {"bands": bands, "values": "l4s" if of_sentinel2 else ""}


def check_cover(cutters):
    """Raise UserError if a file of labels says nothing of any scene, or no patch is labelled well enough."""
    for path in (*LABELS, *AREA):
        if all(path in cutter.labels.silent for cutter in cutters):
            if name := cutters[0].labels.other_scenes.get(path):
                raise script.UserError(f"{path} holds labels of another scene, {name}: give that one with --scene")
            if not AREA and all(path in cutter.labels.empty_files for cutter in cutters):
                raise script.UserError(f"{path} holds no shapes: with --area they would mean no landslide there")
            what = "the scene" if len(cutters) == 1 else "any of the scenes"
            raise script.UserError(f"{path}: none of its labels lies over {what}")
    for cutter in cutters:
        if AREA and cutter.labels.area.is_empty:
            script.note(f"{cutter.name}: no --area lies over it, so nothing in it is labelled as other ground")
        if not len(cutter):
            fault = f"no patch of {cutter.settings.size} pixels is labelled to {LEAST_LABELLED:.0%} or more"
            if not any(map(len, cutters)):
                raise script.UserError(
                    f"{cutter.name}: {fault}: is --area smaller than a patch, or hidden by clouds? --least-labelled "
                    "allows less"
                )
            script.note(f"{cutter.name}: {fault}")


def sort_patches(rows, folder):
    """Move the patches in a folder to their splits, remove those without one, and write patches.csv."""
    columns = ("image", "split", "scene", "row", "column", "left", "bottom", "right", "top", "landslide", "labelled")
    for row in rows:
        if row["split"]:
            for kind in ("image", "mask"):
                name = f"{kind}_{row['number']}.h5"
                target = folder / f"{kind}s" / row["split"] / name
                target.parent.mkdir(exist_ok=True)
                (folder / f"{kind}s" / name).rename(target)
            row["image"] = f"images/{row['split']}/image_{row['number']}.h5"
    for left_out in folder.glob("*/*.h5"):
        left_out.unlink()
    kept = [[row[column] for column in columns] for row in rows if row["split"]]
    records.write_csv(folder / "patches.csv", columns, kept)


def print_summary(rows, folder):
    """Print what was made, and the next command."""
    for name in SPLITS:
        of_split = [row for row in rows if row["split"] == name]
        if not of_split:
            continue
        landslide, labelled = (sum(row[key] for row in of_split) for key in ("landslide", "labelled"))
        empty = sum(not row["landslide"] for row in of_split)
        print(f"{name:<10} {len(of_split):>5} patches, {empty} without landslide; {landslide / labelled:.2%} landslide")
    gaps = sum(not row["split"] for row in rows)
    print(
        f"{gaps} patches are left out, because they lie in gaps between the splits"
        + (" or are empty" * (EMPTY_SHARE < 1))
    )
    start = ["--start-from", RUN] if RUN else []
    name = Path(RESULTS_DIR, folder.resolve().name)
    print(f"next: {runs.command('train.py', name, '--data-dir', str(folder), *start)}")


if __name__ == "__main__":
    script.start(main)
