"""The maps of a scene: probability, mask, polygons and quick-look, from an open scene to complete files."""

import contextlib
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import rasterio
import rasterio.errors
from rasterio._err import CPLE_BaseError
from rasterio.env import ensure_env
from rasterio.windows import Window

from bands import true_colour
from records import atomic_write
from scenes import cluster, pipeline, polygons, tiling
from scenes.source import distance_from_training, open_scene, scaled
from script import UserError, progress

KINDS = {"probability": ".tif", "mask": ".tif", "landslides": ".gpkg", "quicklook": ".png"}
# Files that programs lay beside a map and that belong to the old one: overviews, statistics, masks, journals of SQLite.
SIDE_FILES = (".ovr", ".aux.xml", ".msk", "-wal", "-shm", "-journal")


@dataclass(frozen=True)
class SceneInput:
    """What a scene is read from; see `source.match_bands` for bands, and predict.py for the others."""

    paths: tuple
    bands: tuple = ()
    dem: str = ""
    scaling: str = "none"
    offset: float = 0.0
    nodata: float | None = None
    dem_nodata: float | None = None


@dataclass(frozen=True)
class MapSettings:
    """How a scene is mapped; see the constants of predict.py."""

    threshold: float
    tta: bool
    overlap: float
    min_area: float
    batch_size: int
    scheduler: str
    percent: bool


def map_scene(run, scene, settings, out_dir, metadata, overwrite=False):
    """Write the four maps of a scene; they get their final names together, when all are complete.

    Args:
        run: runs.Run. scene: SceneInput. settings: MapSettings.
        out_dir: folder of the maps. metadata: {name: text} written into all of them.
        overwrite: replace maps of this name.

    Raises:
        UserError: the scene does not fit the run, maps of this name exist, or they cannot be written. All that can be
            known is checked before the first strip is computed.
    """
    began = time.monotonic()
    bands = tuple(run.config["bands"])
    name = scene_name(scene.paths)
    targets = {kind: out_dir / f"{name}_{kind}{ending}" for kind, ending in KINDS.items()}
    check_targets(targets.values(), overwrite)
    opened = open_scene(scene.paths, bands, scene.bands, scene.dem, scene.nodata, scene.offset, scene.dem_nodata)
    pixels, dem_share = opened.sample()
    opened.source = scaled(opened.source, scene.scaling, bands, pixels)
    opened.scale(pixels)
    check_scene(opened, scene, run.config, pixels, dem_share)
    date = date_of(scene.paths[opened.source.reference], run)
    tile = tuple(run.config["input_shape"][:2])
    grid = tiling.TileGrid(*opened.grid.shape, tile, round(settings.overlap * min(tile))).filling(settings.batch_size)
    mean = tuple(run.config["band_mean"])
    job = pipeline.Job(str(run.folder), opened.source, grid, mean, settings.batch_size, settings.tta)
    metadata |= {"scene": name, "source": " ".join(map(str, scene.paths)), "scaling": scene.scaling}
    try:
        with rasterio.Env(), opened, contextlib.ExitStack() as stack:
            partial = {kind: stack.enter_context(atomic_write(path)) for kind, path in targets.items()}
            for path in partial.values():
                path.touch()  # a folder that cannot be written to is told before the work
                path.unlink()
            counts = write_rasters(run, job, opened, settings, partial, metadata)
            # reads both rasters back as a whole, which reveals a full disk
            table = polygons.landslides(partial["mask"], partial["probability"], settings.min_area, slope_of(opened))
            polygons.write(table, partial["landslides"], metadata, date)
            for _ in progress([0], "drawing the quick-look"):
                draw(opened, table, partial["quicklook"], bands, settings.threshold, metadata)
        for path in side_files(targets.values()):
            path.unlink()
    except (OSError, rasterio.errors.RasterioError, CPLE_BaseError, *polygons.ERRORS) as error:  # GDAL raises all three
        if getattr(error, "filename", None):  # the system names the file and the fault
            raise
        raise UserError(f"{out_dir}/ cannot be written to: is the disk full?") from None
    report(opened, table, counts, settings.threshold, time.monotonic() - began)
    print("written: " + ", ".join(map(str, targets.values())))


# ---------------------------------------------------------------------- before the work


def scene_name(paths):
    """Name a scene after its file, or after the common part of the names of its files.

    Names such as B04 say nothing about the scene; then its folder gives the name.
    """
    places = [re.split(r"[/\\!]+", re.sub(r"[?#].*$", "", str(path))) for path in paths]
    last = [re.sub(r'^[A-Z0-9_]+:(?=.)|"', "", place[-1]) for place in places]  # GDAL's DRIVER:"name":part
    stems = [re.sub(r"\.\w{1,5}(?=:|$)", "", each).replace(":", "_") for each in last]
    common = stems[0] if len(stems) == 1 else re.sub(r"[_.-]+(B\d*)?$", "", os.path.commonprefix(stems))
    folder = places[0][-2] if len(places[0]) > 1 else ""
    if len(stems) > 1 and re.fullmatch(r"(B\d*|band|)[_.-]*", common, re.IGNORECASE):
        common = folder or stems[0]
    return common


def check_targets(targets, overwrite):
    """Raise UserError if maps would be replaced without leave, or if one of them is open in another program."""
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]} exists: replace it with --overwrite, or write elsewhere with --out-dir")
    for path in side_files(targets):
        if path.name.endswith(("-wal", "-journal")) and path.stat().st_size:
            raise UserError(
                f"{path} holds changes that are not in the map yet: close it in QGIS (or delete that file), then again"
            )


def side_files(targets):
    """List the files that programs have laid beside maps."""
    beside = (path.with_name(path.name + ending) for path in targets for ending in SIDE_FILES)
    return [path for path in beside if path.exists()]


def date_of(path, run):
    """Date of a GeoPackage: the scene's, or the model's where the scene is no file (in an archive, at an address)."""
    path = Path(path) if Path(path).exists() else run.folder / "model.keras"
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def check_scene(opened, scene, config, pixels, dem_share):
    """Report before the work what is unusual about a scene: no CRS, little elevation, values far from training."""
    if opened.grid.crs is None:
        print("note: the scene has no coordinate system: areas and --min-area are in pixels, positions too")
    if opened.blank_share:
        print(
            f"note: {opened.blank_share:.1%} of the scene's pixels are 0 in all bands: they count as no data "
            "(--nodata says otherwise)"
        )
    if scene.dem and dem_share == 0:
        raise UserError(f"{scene.dem} does not lie under the scene: there is no elevation for any of its pixels")
    if dem_share < 0.999:
        print(f"warning: {scene.dem} covers {dem_share:.1%} of the scene; the rest is left without data")
    if far := distance_from_training(pixels, config["band_mean"], config["band_variance"], config["bands"], scene):
        print(f"warning: {far}")


# ---------------------------------------------------------------------- the work


def write_rasters(run, job, opened, settings, paths, metadata):
    """Compute and write probability and mask; returns (pixels of predicted landslide, pixels with data)."""
    if settings.scheduler:
        strips = cluster.strips_on_cluster(job, settings.scheduler)
    else:
        strips = pipeline.strips_here(job, run.model(), opened)
    overlap_add, counts = tiling.OverlapAdd(job.grid), np.zeros(2, np.int64)
    probability_form = {"dtype": "uint8", "nodata": 255} if settings.percent else {"dtype": "float32", "nodata": np.nan}
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
            mask = np.where(valid, probability >= np.float32(settings.threshold), 255).astype(np.uint8)
            if settings.percent:
                shown = np.where(valid, np.round(probability * 100), 255).astype(np.uint8)
            else:
                shown = np.where(valid, probability, np.float32(np.nan))
            window = ((top, top + len(valid)), (0, job.grid.width))
            probabilities.write(shown, 1, window=window)
            masks.write(mask, 1, window=window)
            counts[:] += (mask == 1).sum(), valid.sum()

        with pipeline.BackgroundWriter(write) as writer:
            for strip in progress(strips, "mapping", len(job.grid.strips)):
                writer(strip)
    return counts


def slope_of(opened):
    """Return a function that reads the slope of some rows of the scene, or None without elevation."""
    if not opened.dem:
        return None
    return lambda top, bottom: opened.read_terrain(Window(0, top, opened.grid.width, bottom - top))["slope"]


def draw(opened, table, path, bands, threshold, metadata):
    """Draw the quick-look."""
    from scenes import quick_look  # it imports Matplotlib

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
