"""Map landslides with a trained run: in patches, or over a whole satellite scene or product.

    python predict.py --run first --input image_7.h5                     # a patch; also a folder of patches
    python predict.py --run rgb --input S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE
    python predict.py --run first --input scene.tif --dem dem.tif --scaling l4s
    python predict.py --run rgb --input scene.tif --scene-bands 3 2 1 --scaling stretch --scheduler local:2

Writes into results/<run>/maps/: mask_N.h5 of patches; of a scene <scene>_probability.tif, <scene>_mask.tif,
<scene>_landslides.gpkg, <scene>_report.html and <scene>_quicklook.png.
"""

from pathlib import Path

import numpy as np

import records
import runs
import script
from bands import band_columns, band_names
from map_files import MapExists, check_targets
from mask_values import UNLABELLED
from networks import engines
from networks.inference import probabilities
from networks.threads import BackgroundWriter, prefetch
from patches import image_files, layouts, reading
from patches.pixel_sizes import learnt_by, with_plane
from patches.usual_values import MOST_COMPARED, distance_of_patches, mean_and_variance
from product_names import is_product_folder

# ---------------------------------------------------------------------- input and output
RESULTS_DIR = "results"  # holds a folder for each run
RUN = "unet"  # name of the run
INPUT = ()  # patches (file or folder), a product (.SAFE or zip), a GeoTIFF, or files of one band each, in order
MANY = ()  # several scenes or products, each mapped by itself; or a CSV table with columns input and before
BEFORE = ()  # the same ground before the event, in the same forms: only what is new since then is mapped
OUT_DIR = None  # str: folder for the maps; none: maps/ in the run's folder
OVERWRITE = False  # replace maps of the same name
PROBABILITY_TYPE = "uint8"  # number type of a scene's probabilities; uint8: percent, float32: 0 to 1
PATCH_PROBABILITIES = False  # of patches, write probability_N.h5 beside the masks
# ---------------------------------------------------------------------- what the model is shown
SCENE_BANDS = ()  # bands of the scene in the model's order, by number from 1 or name; none: by name, or all in order
DEM = ()  # elevation rasters in any projection, or a folder or zip of tiles: describe polygons, feed slope and dem
SCALING = "auto"  # l4s: divide as Landslide4Sense was; stretch: 2nd-98th percentile of the scene to 0-255; none
OFFSET = None  # float: added to the files' values before scaling; none: what their metadata or tags say, or 0
NODATA = None  # float: value of no data in files without such a tag; none: 0 in all bands
DEM_NODATA = None  # float: value of no data in an elevation raster without such a tag; none: below -500 or above 9000 m
PIXEL_SIZE = None  # float: metres a pixel: finer ones are averaged to it; needed for pictures without georeference
CLOUDS = "auto"  # auto: the classes of a Level-2 product; none; ukis: compute them; or a raster, not 0 where hidden
EXCLUDE = None  # str: ground to take out of the map: a vector file (water, buildings, roads), or a raster, not 0 there
EXCLUDE_LAYER = ()  # layers of a vector file to exclude; none: the only one
EXCLUDE_WHERE = None  # str: condition on its columns in SQL, such as "building = 'yes'"; none: all rows
BUFFER = 0.0  # metres by which the shapes to exclude are widened; for lines, such as roads
# ---------------------------------------------------------------------- mapping
THRESHOLD = None  # float: probability from which a pixel is landslide; none: the one chosen, of scenes for elsewhere
RECALL = None  # float: share of landslide pixels to find: the threshold for it is taken; none: that of the highest Dice
TTA = False  # average over the eight flips and turns, which takes eight times as long
TILE = 512  # pixels a side of the tiles of a scene, at most; larger ones compute less twice, and take more memory
OVERLAP = 48  # pixels that neighbouring tiles share
MIN_AREA = 0.0  # smallest area of a polygon in m2 (in pixels, if the scene has no coordinate system)
MIN_SLOPE = 0.0  # degrees: leave out polygons whose steepest tenth of pixels lies below it; needs --dem
SIMPLIFY = 0.0  # metres by which outlines may move to become smooth; 0: along the sides of pixels
BATCH_SIZE = 32  # patches predicted at once; of larger tiles as many as have the same area
ENGINE = "keras"  # what computes the network; openvino: the copy that export.py --format openvino wrote, faster
SCHEDULER = None  # str: none: this process computes; local:2: two processes here; tcp://host:8786: a Dask cluster

CHOICES = {"PROBABILITY_TYPE": ("uint8", "float32"), "SCALING": ("auto", "none", "l4s", "stretch")}
CHOICES["ENGINE"] = engines.ENGINES
RANGES = {
    **{"PIXEL_SIZE": (1e-3, 1e4), "BUFFER": (0, None), "THRESHOLD": (0, 1), "RECALL": (0, 1), "TILE": (1, None)},
    **{"OVERLAP": (0, None), "MIN_AREA": (0, None), "MIN_SLOPE": (0, 90), "SIMPLIFY": (0, None)},
    **{"BATCH_SIZE": (1, None)},
}
FORMER_NAMES = {"INPUTS": "MANY", "PROBABILITY": "PROBABILITY_TYPE", "PROBABILITIES": "PATCH_PROBABILITIES"}


def main():
    """Open the run, then map patches or a scene, whichever the input is."""
    run = runs.open_run(RESULTS_DIR, RUN)
    # without one of its own, the usual threshold, which is nearly the same
    own_of_tta = TTA and (run.folder / "threshold_tta.json").exists()
    check_settings()
    scenes = not (INPUT and holds_patches(Path(INPUT[0])))
    threshold, meaning = choose_threshold(run, own_of_tta, scenes)
    out_dir = Path(OUT_DIR) if OUT_DIR else run.folder / "maps"
    records.require(run.folder / "model.keras", f"python train.py --run {run.name}")
    metadata = {"run": run.name, "threshold": f"{threshold:.3f}", "revision": script.revision()}
    metadata["engine"] = engines.describe(run.folder, ENGINE)
    if meaning:
        print(f"threshold {threshold:.3f}: {meaning}")
        metadata["threshold_chosen"] = meaning
    if scenes:
        map_scenes(run, threshold, out_dir, metadata)
    else:
        map_patches(run, threshold, out_dir, metadata)


def choose_threshold(run, tta, scenes):
    """Return (threshold, what it meant where it was chosen, "" if THRESHOLD sets it).

    tta: whether to take that of test-time augmentation. scenes: whether scenes are mapped, which count as ground that
    the run has not seen.
    """
    if THRESHOLD is not None:
        return THRESHOLD, ""
    chosen = run.threshold_record(tta, elsewhere=scenes)
    elsewhere = "runs" in chosen
    if RECALL is not None:
        curve = f"threshold_curve{'_elsewhere' if elsewhere else ''}{'_tta' if tta else ''}.csv"
        rows = records.read_csv(run.folder / curve, f"python optimize_threshold.py --run {run.name}")
        chosen = [row for row in rows if row["recall"] >= RECALL][-1]
    where = "on ground that the model had not seen" if elsewhere else "on validation patches of its own training data"
    return chosen["threshold"], f"{where}, precision {chosen['precision']:.2f} and recall {chosen['recall']:.2f}"


def map_scenes(run, threshold, out_dir, metadata):
    """Map the scene of INPUT, or each of MANY; of several, those that fail are listed at the end."""
    from scenes.inputs import list_inputs
    from scenes.mapping import MapSettings, map_scene
    from scenes.source import SceneInput
    from scenes.vectors import Choice

    settings = MapSettings(
        threshold=threshold,
        tta=TTA,
        tile=TILE,
        overlap=OVERLAP,
        min_area=MIN_AREA,
        batch_size=BATCH_SIZE,
        scheduler=SCHEDULER or "",
        percent=PROBABILITY_TYPE == "uint8",
        engine=ENGINE,
        clouds=CLOUDS,
        min_slope=MIN_SLOPE,
        exclude=EXCLUDE or "",
        exclude_choice=Choice(EXCLUDE_LAYER, EXCLUDE_WHERE, "exclude-"),
        buffer=BUFFER,
        simplify=SIMPLIFY,
    )

    def scene_of(paths, dem):
        return SceneInput(tuple(paths), tuple(SCENE_BANDS), tuple(dem), SCALING, OFFSET, NODATA, DEM_NODATA, PIXEL_SIZE)

    failed, made, pairs = [], set(), list_inputs(INPUT, MANY, BEFORE)
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
    if failed:
        raise script.UserError(f"{len(failed)} of {len(pairs)} scenes were not mapped: {', '.join(failed)}")


def holds_patches(path):
    """Return whether a path is of patches, and not of a scene or product."""
    if path.is_dir():
        return not is_product_folder(path)
    return path.suffix.lower() in (*layouts.HDF5, layouts.SERIES)


def check_settings():
    """Find mistakes in the constants before anything is read."""
    if not INPUT and not MANY:
        raise script.UserError("nothing to map: give patches, a product, a GeoTIFF or files of one band with --input")
    if THRESHOLD is not None and RECALL is not None:
        raise script.UserError("give THRESHOLD or RECALL, not both")
    if MIN_SLOPE and not DEM:
        raise script.UserError("--min-slope needs an elevation raster, --dem")


# ---------------------------------------------------------------------- patches


def map_patches(run, threshold, out_dir, metadata):
    """Write mask_N.h5 for every patch; a folder with splits gets a folder for each."""
    if DEM or BEFORE or MANY or SCENE_BANDS or SCALING not in ("auto", "none") or SCHEDULER:
        raise script.UserError("patches are taken as they are: scene settings do not apply to them")
    entries = list_patches([Path(path) for path in INPUT])
    targets = [out_dir / entry.split / f"mask_{entry.number}.h5" for entry in entries]
    check_targets(targets, OVERWRITE)
    if len(set(targets)) < len(targets):
        twice = next(path for i, path in enumerate(targets) if path in targets[:i])
        raise script.UserError(f"{twice} would hold the masks of two patches: map them in several calls")
    options = reading.ReadOptions.of_constants(run.constants)
    read_patch(entries[0], run, options)  # reports a mistake before Keras is loaded

    if text := distance_of(entries, run, options):
        script.warn(text)

    model, told = engines.load(run.folder, ENGINE, run.config["input_shape"][:2]), run.config.get("pixel_size_input")

    def write(entry, probability, gap):
        target = out_dir / entry.split
        if options.of(entry.image).size:  # back to its own size
            size = image_files.size(entry.image)
            probability = image_files.resampled(probability[..., None], size)[..., 0]
            gap = image_files.resampled(gap[..., None].astype(np.float32), size)[..., 0] > 0
        mask = (probability >= np.float32(threshold)).astype(np.uint8)
        outputs = {"mask": np.where(gap, np.uint8(UNLABELLED), mask)}
        if PATCH_PROBABILITIES:
            outputs["probability"] = np.where(gap, np.float32(np.nan), probability)
        for key, array in outputs.items():
            reading.write_array(target / f"{key}_{entry.number}.h5", key, array, metadata)

    batches = [entries[i : i + BATCH_SIZE] for i in range(0, len(entries), BATCH_SIZE)]
    read = prefetch(lambda batch: [read_patch(entry, run, options) for entry in batch], batches)
    with BackgroundWriter(write) as writer:
        for batch, patches in zip(script.progress(batches, "mapping"), read, strict=True):
            images, gaps, sizes = zip(*patches, strict=True)
            images = with_plane(np.stack(images), np.array(sizes)) if told else np.stack(images)
            for each in zip(batch, probabilities(model, images, TTA), gaps, strict=True):
                writer(*each)
    print(f"{len(entries)} patches mapped at threshold {threshold:.3f}: {out_dir}/")


def distance_of(entries, run, options):
    """Return a warning if the values of a sample of the patches lie far from those of the run's training, or ""."""
    some = (read_patch(entry, run, options) for entry in entries[:: -(-len(entries) // MOST_COMPARED)])
    statistics = mean_and_variance((image[~gap] for image, gap, _ in some), np.array(run.config["band_mean"], float))
    return distance_of_patches(*statistics, run.config)  # without any data, no band is unusual


def list_patches(paths):
    """List the entries of patches, of a folder of patches, or of a data folder in a known layout."""
    for each in paths:
        if not each.exists():
            raise script.UserError(f"{each} does not exist")
        if each.is_dir() and len(paths) > 1:
            raise script.UserError(f"{each} is a folder: give it alone, or several patches")
    path = paths[0]
    if path.is_file():
        return [layouts.Entry(each.name, each.stem.rsplit("_", 1)[-1], "", each, None) for each in paths]
    try:
        entries, faults = layouts.find_patches(path, with_masks=False)
    except layouts.NoPatches:
        faults = []
        matched = layouts.pair(layouts.list_files(path, "."), [], path, faults)
        entries = [layouts.Entry(file.name, key, "", file, None) for key, file, _ in matched]
        if not entries and not faults:
            raise
    if faults:
        raise script.UserError(f"{path}: {faults[0][0]} {faults[0][1]}")
    return entries


def read_patch(entry, run, options):
    """Read the model's bands of a patch: (H x W x bands float32, H x W bool: without data, metres a pixel).

    Where there is no data, the bands hold their mean in the run's training.
    """
    try:
        patch = reading.read_patch(entry.image, None, options)
    except reading.Fault as fault:
        raise script.UserError(f"{entry.image}: {fault}") from None
    image, size = patch.image, tuple(run.config["input_shape"][:2])
    if image.shape[:2] != size:
        raise script.UserError(
            f"{entry.image}: {reading.size_text(image.shape[:2])} pixels, but run {run.name} was trained on "
            f"{reading.size_text(size)}"
        )
    names = patch.stated.get("bands") or band_names(image.shape[2], options.of(entry.image).dates)
    columns = band_columns(run.config["bands"], names, entry.image)
    gap = np.zeros(size, bool) if patch.gap is None else patch.gap
    mean = np.array(run.config["band_mean"], np.float32)
    learnt = learnt_by(run.config)
    pixel_size = patch.stated.get("pixel_size") or PIXEL_SIZE or (learnt and learnt.usual)
    return np.where(gap[..., None], mean, image[..., columns].astype(np.float32)), gap, pixel_size


if __name__ == "__main__":
    script.start(main)
