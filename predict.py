"""Map landslides with a trained run: in patches, or over a whole satellite scene.

    python predict.py --run first --input image_7.h5                     # a patch; also a folder of patches
    python predict.py --run first --input scene.tif --dem dem.tif --scaling l4s
    python predict.py --run first --input T51PWP_*_B[01]?.jp2 --dem dem.tif --scaling l4s --nodata 0
    python predict.py --run rgb --input scene.tif --scene-bands 3 2 1 --scaling stretch --scheduler local:2

Writes into results/<run>/maps/: mask_N.h5 of patches; of a scene <scene>_probability.tif, <scene>_mask.tif,
<scene>_landslides.gpkg and <scene>_quicklook.png.
"""

import contextlib
import os
import re
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import patch_files
import patch_reading
import pictures
import records
import runs
import script
from bands import band_columns, band_names, true_colour

# ---------------------------------------------------------------------- input and output
RESULTS_DIR = "results"  # holds a folder for each run
RUN = "unet"  # name of the run
INPUT = ()  # patches (file or folder), a GeoTIFF, or files of one band each in the order of the model's bands
OUT_DIR = ""  # folder for the maps; empty: maps/ in the run's folder
PROBABILITIES = False  # for patches: write probability_N.h5 beside the masks
PROBABILITY = "uint8"  # form of a scene's probabilities; uint8: percent, float32: 0 to 1
# ---------------------------------------------------------------------- what the model is shown
SCENE_BANDS = ()  # bands of the scene in the model's order, by number from 1 or by name; none given: all
DEM = ""  # elevation raster in metres, in any projection, for the bands slope and dem
SCALING = "none"  # l4s: divide as Landslide4Sense was; stretch: 2nd-98th percentile of the scene to 0-255
OFFSET = 0.0  # added to the files' values before scaling: -1000 for Sentinel-2 of processing baseline 04.00 on
NODATA = None  # float: value of no data in files without such a tag: 0 for Sentinel-2 as delivered
# ---------------------------------------------------------------------- mapping
THRESHOLD = None  # float: probability from which a pixel is landslide; none: the one of optimize_threshold.py
TTA = False  # average over the eight flips and turns, which takes eight times as long
OVERLAP = 0.5  # share of a tile that neighbours overlap: 0.5 is smoothest, 0.25 is twice as fast
MIN_AREA = 0.0  # smallest area of a polygon in m2 (in pixels, if the scene has no coordinate system)
BATCH_SIZE = 32  # tiles predicted at once
SCHEDULER = ""  # empty: this process computes; local:2: two processes here; tcp://host:8786: a Dask cluster

CHOICES = {"PROBABILITY": ("uint8", "float32"), "SCALING": ("none", "l4s", "stretch")}


def main():
    """Open the run, then map patches or a scene, whichever the input is."""
    run = runs.open_run(RESULTS_DIR, RUN)
    # without one of its own, the usual threshold, which is nearly the same
    own_of_tta = TTA and (run.folder / "threshold_tta.json").exists()
    threshold = run.threshold(own_of_tta) if THRESHOLD is None else THRESHOLD
    check_settings()
    out_dir = Path(OUT_DIR) if OUT_DIR else run.folder / "maps"
    records.require(run.folder / "model.keras", f"python train.py --run {run.name}")
    metadata = {"run": run.name, "threshold": f"{threshold:.3f}", "revision": runs.revision()}
    first = Path(INPUT[0])
    if first.is_dir() or first.suffix.lower() in (*patch_files.HDF5, patch_files.SERIES):
        map_patches(run, threshold, out_dir, metadata)
    else:
        map_scene(run, threshold, out_dir, metadata)


def check_settings():
    """Find mistakes in the constants before anything is read."""
    if not INPUT:
        raise script.UserError("nothing to map: give patches, a GeoTIFF or files of one band each with --input")
    script.check_choices(globals(), **CHOICES)
    script.check_ranges(globals(), THRESHOLD=(0, 1), OVERLAP=(0, 0.5), BATCH_SIZE=(1, None), MIN_AREA=(0, None))


# ---------------------------------------------------------------------- patches


def map_patches(run, threshold, out_dir, metadata):
    """Write mask_N.h5 for every patch; a folder with splits gets a folder for each."""
    if DEM or SCENE_BANDS or SCALING != "none" or SCHEDULER:
        raise script.UserError("patches are taken as they are: scene settings do not apply to them")
    entries = list_patches([Path(path) for path in INPUT])
    read_patch(entries[0], run)  # reports a mistake before Keras is loaded

    from inference import probabilities
    from scenes.pipeline import BackgroundWriter, prefetch

    model = run.model()

    def write(entry, probability, gap):
        target = out_dir / entry.split
        if run.options.of(entry.image).size:  # back to its own size
            size = pictures.size(entry.image)
            probability = pictures.resampled(probability[..., None], size)[..., 0]
            gap = pictures.resampled(gap[..., None].astype(np.float32), size)[..., 0] > 0
        mask = (probability >= np.float32(threshold)).astype(np.uint8)
        outputs = {"mask": np.where(gap, np.uint8(255), mask)}
        if PROBABILITIES:
            outputs["probability"] = np.where(gap, np.float32(np.nan), probability)
        for key, array in outputs.items():
            patch_reading.write_array(target / f"{key}_{entry.number}.h5", key, array, metadata)

    batches = [entries[i : i + BATCH_SIZE] for i in range(0, len(entries), BATCH_SIZE)]
    read = prefetch(lambda batch: [read_patch(entry, run) for entry in batch], batches)
    with BackgroundWriter(write) as writer:
        for batch, patches in zip(script.progress(batches, "mapping"), read, strict=True):
            images, gaps = zip(*patches, strict=True)
            for each in zip(batch, probabilities(model, np.stack(images), TTA), gaps, strict=True):
                writer(*each)
    print(f"{len(entries)} patches mapped at threshold {threshold:.3f}: {out_dir}/")


def list_patches(paths):
    """List the entries of patches, of a folder of patches, or of a data folder in a known layout."""
    for each in paths:
        if not each.exists():
            raise script.UserError(f"{each} does not exist")
        if each.is_dir() and len(paths) > 1:
            raise script.UserError(f"{each} is a folder: give it alone, or several patches")
    path = paths[0]
    if path.is_file():
        return [patch_files.Entry(each.name, each.stem.rsplit("_", 1)[-1], "", each, None) for each in paths]
    try:
        entries, faults = patch_files.find_patches(path, with_masks=False)
    except patch_files.NoPatches:
        faults = []
        found = patch_files.pair(patch_files.list_files(path, "."), [], path, faults)
        entries = [patch_files.Entry(file.name, key, "", file, None) for key, file, _ in found]
        if not entries and not faults:
            raise
    if faults:
        raise script.UserError(f"{path}: {faults[0][0]} {faults[0][1]}")
    return entries


def read_patch(entry, run):
    """Read the model's bands of a patch: (H x W x bands float32, H x W bool: without data).

    Where there is no data, the bands hold their mean in the run's training.
    """
    try:
        patch = patch_reading.read_patch(entry.image, None, run.options)
    except patch_reading.Fault as fault:
        raise script.UserError(f"{entry.image}: {fault}") from None
    image, size = patch.image, tuple(run.config["input_shape"][:2])
    if image.shape[:2] != size:
        raise script.UserError(
            f"{entry.image}: {patch_reading.size_text(image.shape[:2])} pixels, but run {run.name} was trained on "
            f"{patch_reading.size_text(size)}"
        )
    names = band_names(image.shape[2], run.options.of(entry.image).dates)
    columns = band_columns(run.config["bands"], names, entry.image)
    gap = np.zeros(size, bool) if patch.gap is None else patch.gap
    mean = np.array(run.config["band_mean"], np.float32)
    return np.where(gap[..., None], mean, image[..., columns].astype(np.float32)), gap


# ---------------------------------------------------------------------- a scene


def map_scene(run, threshold, out_dir, metadata):
    """Write the four maps of a scene; they get their final names together, when all are complete."""
    import rasterio.errors

    from scenes import polygons
    from scenes.pipeline import Job
    from scenes.source import open_scene, scaled
    from scenes.tiling import TileGrid

    began = time.monotonic()
    bands = tuple(run.config["bands"])
    opened = open_scene(INPUT, bands, SCENE_BANDS, DEM, NODATA, OFFSET)
    pixels, dem_share = opened.sample()
    opened.source = scaled(opened.source, SCALING, bands, pixels)
    opened.scale(pixels)
    check_scene(opened, run.config, pixels, dem_share)
    date = date_of(INPUT[opened.source.reference], run)
    tile = tuple(run.config["input_shape"][:2])
    grid = TileGrid(*opened.grid.shape, tile, round(OVERLAP * min(tile))).filling(BATCH_SIZE)
    job = Job(str(run.folder), opened.source, grid, tuple(run.config["band_mean"]), BATCH_SIZE, TTA)
    name = scene_name(INPUT)
    metadata |= {"scene": name, "scaling": SCALING}
    targets = {
        kind: out_dir / f"{name}_{kind}{ending}"
        for kind, ending in (("probability", ".tif"), ("mask", ".tif"), ("landslides", ".gpkg"), ("quicklook", ".png"))
    }
    try:
        with rasterio.Env(), opened, contextlib.ExitStack() as stack:
            partial = {kind: stack.enter_context(records.atomic_write(path)) for kind, path in targets.items()}
            for path in partial.values():
                path.unlink(missing_ok=True)  # left by a run that was killed
            found = write_rasters(run, job, opened, threshold, partial, metadata)
            # reads both rasters back as a whole, which reveals a full disk
            table = polygons.landslides(partial["mask"], partial["probability"], MIN_AREA, slope_of(opened))
            polygons.write(table, partial["landslides"], metadata, date)
            draw(opened, table, partial["quicklook"], bands, threshold, metadata)
    except (OSError, rasterio.errors.RasterioError, *polygons.ERRORS) as error:
        if getattr(error, "filename", None):  # the system names the file and the fault
            raise
        raise script.UserError(f"{out_dir}/ cannot be written to: is the disk full?") from None
    report(opened, table, found, threshold, time.monotonic() - began)
    print("written: " + ", ".join(map(str, targets.values())))


def date_of(path, run):
    """Date of a GeoPackage: the scene's, or the model's where the scene is no file (in an archive, at an address)."""
    path = Path(path) if Path(path).exists() else run.folder / "model.keras"
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def scene_name(paths):
    """Name a scene after its file, or after the common part of the names of its files."""
    if len(paths) == 1:
        return Path(paths[0]).stem
    common = os.path.commonprefix([Path(path).stem for path in paths])
    return re.sub(r"[_.-]+(B\d*)?$", "", common) or Path(paths[0]).stem


def check_scene(opened, config, pixels, dem_share):
    """Report before the work what is unusual about a scene: no CRS, little elevation, values far from training."""
    from scenes.source import shifted_bands

    if opened.grid.crs is None:
        print("note: the scene has no coordinate system: areas and MIN_AREA are in pixels, positions too")
    if DEM and dem_share == 0:
        raise script.UserError(f"{DEM} does not lie under the scene: there is no elevation for any of its pixels")
    if dem_share < 0.999:
        print(f"warning: {DEM} covers {dem_share:.1%} of the scene; the rest is left without data")
    shifted = shifted_bands(pixels, config["band_mean"], config["band_variance"])
    if shifted:
        names = ", ".join(config["bands"][i] for i in shifted)
        print(f"warning: far from what the run was trained on, in mean or spread: {names} (is --scaling right?)")


def write_rasters(run, job, opened, threshold, paths, metadata):
    """Compute and write probability and mask; returns (pixels of predicted landslide, pixels with data)."""
    from rasterio.env import ensure_env

    from scenes import cluster, pipeline, tiling

    here = not SCHEDULER
    strips = pipeline.strips_here(job, run.model(), opened) if here else cluster.strips_on_cluster(job, SCHEDULER)
    overlap_add, counts = tiling.OverlapAdd(job.grid), np.zeros(2, np.int64)
    percent = PROBABILITY == "uint8"
    probability_form = {"dtype": "uint8", "nodata": 255} if percent else {"dtype": "float32", "nodata": np.nan}
    with (
        contextlib.closing(strips),  # before the scene is closed, the thread that reads it has to end
        tiling.raster(paths["probability"], opened.grid, metadata, **probability_form) as probabilities,
        tiling.raster(paths["mask"], opened.grid, metadata, dtype="uint8", nodata=255) as masks,
    ):

        @ensure_env  # needed in this thread, too, or GDAL prints messages of its own
        def write(strip):
            top, probability, valid = overlap_add.add(strip)
            if not len(valid):
                return
            mask = np.where(valid, probability >= np.float32(threshold), 255).astype(np.uint8)
            if percent:
                shown = np.where(valid, np.round(probability * 100), 255).astype(np.uint8)
            else:
                shown = np.where(valid, probability, np.float32(np.nan))
            window = ((top, top + len(valid)), (0, job.grid.width))
            probabilities.write(shown, 1, window=window)
            masks.write(mask, 1, window=window)
            counts[:] += (mask == 1).sum(), valid.sum()

        with pipeline.BackgroundWriter(write) as writer:
            for strip in script.progress(strips, "mapping", len(job.grid.strips)):
                writer(strip)
    return counts


def slope_of(opened):
    """Return a function that reads the slope of some rows of the scene, or None without elevation."""
    if not opened.dem:
        return None

    from rasterio.windows import Window

    return lambda top, bottom: opened.read_terrain(Window(0, top, opened.grid.width, bottom - top))["slope"]


def draw(opened, table, path, bands, threshold, metadata):
    """Draw the quick-look."""
    from scenes import quick_look

    title = f"{metadata['scene']}: run {metadata['run']}, probability ≥ {threshold:.3f}"
    notes = [f"source {metadata['revision']}; bands stretched for the eye, each from its 2nd to 98th percentile"]
    colours = true_colour(bands)
    quick_look.draw(path, opened, colours, table.geometry.to_numpy(), title, notes, metadata)


def report(opened, table, counts, threshold, seconds):
    """Report what was found and how long it took."""
    predicted, pixels = counts
    height, width = opened.grid.shape
    megapixels = height * width / 1e6
    if not pixels:
        print("note: the scene holds no data at all; the maps are empty")
    area = f"{table['area_m2'].sum() / 1e6:.3f} km2" if opened.grid.crs else f"{table['pixels'].sum()} pixels"
    print(
        f"{height} x {width} pixels, {pixels / (megapixels * 1e6):.0%} with data, in {seconds:.0f} s "
        f"({megapixels / seconds:.2f} MP/s)\n"
        f"landslide at threshold {threshold:.3f}: {predicted / max(pixels, 1):.2%} of the pixels with data; "
        f"{len(table)} polygons, {area}"
    )


if __name__ == "__main__":
    script.start(main)
