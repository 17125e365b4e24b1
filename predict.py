"""Map landslides with a trained run: in patches, or over a whole satellite scene or product.

    python predict.py --run first --input image_7.h5                     # a patch; also a folder of patches
    python predict.py --run rgb --input S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE
    python predict.py --run first --input scene.tif --dem dem.tif --scaling l4s
    python predict.py --run rgb --input scene.tif --scene-bands 3 2 1 --scaling stretch --scheduler local:2

Writes into results/<run>/maps/: mask_N.h5 of patches, and mask_N.png of pictures; of a scene <scene>_probability.tif,
<scene>_mask.tif, <scene>_landslides.gpkg, <scene>_report.html, <scene>_quicklook.png, <scene>_stac.json, and
<scene>_desk.html, to label and judge on; of many scenes catalog.json, too.
"""

from pathlib import Path

import records
import runs
import script
from map_files import MapExists
from networks import engines
from networks.patch_maps import PatchSettings, map_patches
from patches import layouts, series
from product_names import is_product_folder
from scores import thresholds

# ---------------------------------------------------------------------- input and output
RESULTS_DIR = "results"  # holds a folder for each run
RUN = "unet"  # name of the run
INPUT = ()  # patches (file or folder), a product (.SAFE or zip), a GeoTIFF, or files of one band each, in order
MANY = ()  # several scenes or products, each mapped by itself; or a CSV table with columns input and before
BEFORE = ()  # the same ground before the event, in the same forms: only what is new since then is mapped
OUT_DIR = None  # str: folder for the maps; none: maps/ in the run's folder
OVERWRITE = False  # replace maps of the same name
PROBABILITY_TYPE = "uint8"  # number type of a scene's probabilities; uint8: percent, float32: 0 to 1
DESK = True  # write <scene>_desk.html: boxes of the scene to label and to judge in a browser
PATCH_PROBABILITIES = False  # of patches, write probability_N.h5 beside the masks
# ---------------------------------------------------------------------- what the model is shown
SCENE_BANDS = ()  # bands of the scene in the model's order, by number from 1 or name; none: by name, or all in order
DEM = ()  # elevation rasters in any projection, or a folder or zip of tiles: describe polygons, feed slope and dem
SCALING = "auto"  # l4s: divide as Landslide4Sense was; stretch: 2nd-98th percentile to 0-255; match: as training; none
OFFSET = None  # float: added to bands of light before scaling; none: what their metadata or tags say, or 0
NODATA = None  # float: value of no data beside that of a tag or a product; none: without these, 0 in all bands
DEM_NODATA = None  # float: value of no elevation beside the tag; none: that alone, and below -500 or above 9000 m
PIXEL_SIZE = None  # float: metres a pixel of the map: others are averaged or interpolated; needed without georeference
CLOUDS = "auto"  # auto: the classes of a Level-2 product; none; ukis: compute them; or a raster, not 0 where hidden
CLOUD_BUFFER = 0.0  # metres by which clouds and their shadows are widened
EXCLUDE = ()  # ground to take out of the map: vector files (water, buildings, roads), or rasters, not 0 there
EXCLUDE_LAYER = ()  # layers of a vector file to exclude; none: the only one
EXCLUDE_WHERE = None  # str: condition on its columns in SQL, such as "building = 'yes'"; none: all rows
BUFFER = 0.0  # metres by which the shapes to exclude are widened; for lines, such as roads
# ---------------------------------------------------------------------- mapping
THRESHOLD = None  # float: probability from which a pixel is landslide; none: the one chosen, of scenes for elsewhere
RECALL = None  # float: share of landslide pixels to find: the threshold for it is taken; none: that of the highest Dice
TTA = False  # average over the eight flips and turns, which takes eight times as long
TILE = None  # int: pixels a side of the tiles of a scene, at most; none: those of the patches of the training
OVERLAP = 32  # pixels that neighbouring tiles share
MIN_AREA = None  # float: smallest area of a polygon in m2 (in pixels, without a coordinate system); none: 5 pixels
MIN_HOLE = None  # float: holes of polygons below this size are filled, in the same unit; none: 5 pixels; 0: all stay
MIN_SLOPE = 0.0  # degrees: leave out polygons whose steepest tenth of pixels lies below it; needs --dem
SIMPLIFY = 0.0  # metres by which outlines may move to become smooth; 0: along the sides of pixels
FILTERED_MASK = False  # also write <scene>_filtered_mask.tif, the mask of the polygons that are left
BATCH_SIZE = 32  # patches predicted at once; of larger tiles as many as have the same area
ENGINE = "auto"  # what computes the network: keras, openvino (once export.py wrote it a copy); auto: openvino if it can
SCHEDULER = None  # str: none: this process computes; local:2: two processes here; tcp://host:8786: a Dask cluster

CHOICES = {
    **{"PROBABILITY_TYPE": ("uint8", "float32"), "SCALING": ("auto", "none", "l4s", "stretch", "match")},
    "ENGINE": ("auto", *engines.ENGINES),
}
RANGES = {
    **{"PIXEL_SIZE": (1e-3, 1e4), "CLOUD_BUFFER": (0, None), "BUFFER": (0, None), "THRESHOLD": (0, 1)},
    **{"RECALL": (0, 1), "TILE": (1, None), "OVERLAP": (0, None), "MIN_AREA": (0, None), "MIN_HOLE": (0, None)},
    **{"MIN_SLOPE": (0, 90), "SIMPLIFY": (0, None), "BATCH_SIZE": (1, None)},
}
FORMER_NAMES = {"INPUTS": "MANY", "PROBABILITY": "PROBABILITY_TYPE", "PROBABILITIES": "PATCH_PROBABILITIES"}


def main():
    """Open the run, then map patches or a scene, whichever the input is."""
    run = runs.open_run(RESULTS_DIR, RUN)
    check_settings()
    paths = records.expanded(INPUT)
    scenes = not (paths and holds_patches(Path(paths[0])))
    if THRESHOLD is None:
        run.threshold()  # without one, nothing is read
    out_dir = Path(OUT_DIR) if OUT_DIR else run.output / "maps"
    records.require(run.folder / "model.keras", f"python train.py --run {run.name}")
    metadata = {"run": run.name, "revision": script.revision()}
    engine = engines.choose(run.folder, ENGINE)
    metadata["engine"] = engines.describe(run.folder, engine)
    metadata["settings"] = script.flags_text(globals(), without=NO_SETTINGS)
    if scenes:
        map_scenes(run, out_dir, metadata, engine)
    else:
        if DEM or BEFORE or MANY or SCENE_BANDS or SCALING not in ("auto", "none") or SCHEDULER:
            raise script.UserError("patches are taken as they are: scene settings do not apply to them")
        threshold = thresholds.for_map(run, metadata, TTA, THRESHOLD, RECALL, scene=False)
        settings = PatchSettings(threshold, TTA, BATCH_SIZE, PATCH_PROBABILITIES, PIXEL_SIZE, engine)
        count = map_patches(run, list(map(Path, paths)), settings, out_dir, metadata, OVERWRITE)
        print(f"{count} patches mapped at threshold {threshold:.3f}: {out_dir}/")


# Constants that say where files lie and who computes: they do not shape a map, or stand in its metadata by themselves.
NO_SETTINGS = ("RESULTS_DIR", "RUN", "INPUT", "MANY", "BEFORE", "OUT_DIR", "OVERWRITE", "SCHEDULER")


def map_scenes(run, out_dir, metadata, engine):
    """Map the scene of INPUT, or each of MANY; of several, those that fail are listed at the end."""
    from scenes import stac_items
    from scenes.inputs import list_inputs
    from scenes.mapping import MapSettings, map_scene
    from scenes.preparation import CoverSettings
    from scenes.source import SceneInput
    from scenes.vectors import Choice

    settings = MapSettings(
        threshold=THRESHOLD,
        recall=RECALL,
        tta=TTA,
        tile=TILE,
        overlap=OVERLAP,
        batch_size=BATCH_SIZE,
        scheduler=SCHEDULER or "",
        percent=PROBABILITY_TYPE == "uint8",
        engine=engine,
        covers=CoverSettings(CLOUDS, CLOUD_BUFFER, EXCLUDE, Choice(EXCLUDE_LAYER, EXCLUDE_WHERE, "exclude-"), BUFFER),
        min_area=MIN_AREA,
        min_hole=MIN_HOLE,
        min_slope=MIN_SLOPE,
        simplify=SIMPLIFY,
        filtered_mask=FILTERED_MASK,
        desk=DESK,
    )

    def scene_of(paths, dem):
        return SceneInput(tuple(paths), tuple(SCENE_BANDS), tuple(dem), SCALING, OFFSET, NODATA, DEM_NODATA, PIXEL_SIZE)

    failed, made, pairs = [], set(), list_inputs(INPUT, MANY, BEFORE)
    if MANY:
        stac_items.check_catalogue(out_dir)
    for paths, before in pairs:
        if len(pairs) > 1:
            print(f"{' '.join(map(str, paths))}:")
        before = scene_of(before, ()) if before else None
        try:
            made.add(map_scene(run, scene_of(paths, DEM), settings, out_dir, dict(metadata), OVERWRITE, before, made))
        except MapExists as error:
            if not MANY:
                raise
            print(f"skipped: {error}")
        except (script.UserError, OSError) as error:
            if len(pairs) == 1:
                raise
            print(f"failed: {error}")
            failed.append(str(paths[0]))
    if MANY and (catalogue := stac_items.write_catalogue(out_dir)):
        print(f"catalogue of all maps: {catalogue}")
    if failed:
        raise script.UserError(f"{len(failed)} of {len(pairs)} scenes were not mapped: {', '.join(failed)}")


def holds_patches(path):
    """Return whether a path is of patches, and not of a scene or product."""
    if path.is_dir():
        return not is_product_folder(path) and path.suffix.lower() != ".zarr"
    if path.suffix.lower() == layouts.SERIES and path.exists():
        return series.is_series(path)
    return path.suffix.lower() in (*layouts.HDF5, layouts.SERIES)


def check_settings():
    """Find mistakes in the constants before anything is read."""
    if not INPUT and not MANY:
        raise script.UserError("nothing to map: give patches, a product, a GeoTIFF or files of one band with --input")
    if THRESHOLD is not None and RECALL is not None:
        raise script.UserError("give THRESHOLD or RECALL, not both")
    if MIN_SLOPE and not DEM:
        raise script.UserError("--min-slope needs an elevation raster, --dem")


if __name__ == "__main__":
    script.start(main)
