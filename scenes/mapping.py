"""The map of a scene, from an open scene to complete files: map_files.FILES lists them."""

import contextlib
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rasterio
import rasterio.errors
from rasterio._err import CPLE_BaseError
from rasterio.windows import Window

import records
from bands import true_colour
from map_files import (
    FILES,
    FILTERED,
    change_time,
    check_targets,
    date_of,
    is_denied,
    map_lock,
    scene_name,
    side_files,
    strips_folder,
    write_error,
)
from mask_values import HIDDEN
from networks.image_sizes import has_fixed_size, total_stride
from networks.tiles import TileGrid
from records import atomic_write
from scenes import (
    desk,
    geopackage,
    mapped_scene,
    outlines,
    pipeline,
    polygons,
    provenance,
    quick_look,
    rasters,
    report,
    stac_items,
    styles,
    suggestions,
)
from scenes.distance import distance_text
from scenes.preparation import CoverSettings, open_covers, open_learnt, prepare
from scenes.scene_digest import scene_digests
from scenes.titles import acquisition_time, note_unread_time, scene_title
from scenes.weaknesses import OTHER_PIXELS, OTHER_VALUES, Weakness, has_learnt_here, list_weaknesses
from scores import thresholds
from script import UserError, note, progress, warn


@dataclass(frozen=True)
class MapSettings:
    """How a scene is mapped; see the constants of predict.py."""

    threshold: float | None
    recall: float | None
    tta: bool
    tile: int | None
    overlap: int
    batch_size: int
    scheduler: str
    percent: bool
    engine: str = "keras"
    covers: CoverSettings = CoverSettings()
    min_area: float | None = None
    min_hole: float | None = None
    min_slope: float = 0.0
    simplify: float = 0.0
    filtered_mask: bool = False
    desk: bool = True


def map_scene(run, scene, settings, out_dir, metadata, overwrite=False, before=None, taken=()):
    """Write the files of a scene's map; they get their final names together, when all are complete.

    Args:
        run: runs.Run. scene: SceneInput. settings: MapSettings.
        out_dir: folder of the maps. metadata: {name: text} written into all files.
        overwrite: replace maps of this name.
        before: SceneInput of the ground before the event, or None: then landslides of any age are mapped.
        taken: names of maps of other scenes of the same call.

    Returns:
        the name of the map.

    Raises:
        UserError: the scene does not fit the run, maps of this name exist, or they cannot be written. What can be
            checked is checked before the first strip is computed.
    """
    began = time.monotonic()
    bands = tuple(run.config["bands"])
    with contextlib.ExitStack() as lock, contextlib.ExitStack() as stack:
        scenes, metres, found = open_learnt(scene, before, run.config)
        for each in scenes:
            stack.enter_context(each)
        for weakness in found:
            warn(weakness.text)
        opened, product = scenes[0], scenes[0].source.product
        name = product.name if product else scene_name(scene.paths)
        if name in taken:
            raise UserError(f"{scene.paths[0]}: another scene has the name {name}, too: map it into another --out-dir")
        targets = {kind: out_dir / f"{name}{ending}" for kind, ending in (FILES | FILTERED).items()}
        if lock.enter_context(map_lock(out_dir, name)):
            records.remove_partials(targets.values())
        check_targets(targets.values(), overwrite)
        former = [] if settings.filtered_mask else [targets.pop(kind) for kind in FILTERED]
        stack.enter_context(rasterio.Env())
        covers, metadata["clouds"] = open_covers(stack, scenes, (scene, before), settings.covers)
        size_warned = any(weakness.title == OTHER_PIXELS for weakness in found)
        hiding = [cover for code, cover in covers if code == HIDDEN]
        for each, scene_input in zip(scenes, (scene, before), strict=False):
            scaling, of_scene = prepare(each, scene_input, run.config, hiding, size_warned)
            if metadata.setdefault("scaling", scaling) != scaling:
                text = f"scaling {scaling} before the event, {metadata['scaling']} after: --scaling sets one for both"
                warn(text)
                found.append(Weakness("Two scalings", text))
            found += of_scene
        about = {"pixel_size": metres, "scaling": metadata["scaling"]}
        asked = settings.tta, settings.threshold, settings.recall
        settings = replace(settings, threshold=thresholds.for_map(run, metadata, *asked, **about))
        warned = size_warned or any(weakness.title == OTHER_VALUES for weakness in found)
        if far := distance_text(run, opened, metres, warned, settings.engine):
            print(f"distance from training: {far}")
            metadata["distance_from_training"] = far
        date = date_of(opened.source.paths[opened.source.reference], run)
        grid, size = lay_tiles(run, opened.grid.shape, settings)
        fill = tuple(run.config["band_mean"])
        told = metres if run.config.get("pixel_size_input") else None
        same = {"tta": settings.tta, "pixel_size": told, "engine": settings.engine}
        jobs = [pipeline.Job(str(run.folder), each.source, grid, fill, size, **same) for each in scenes]
        metadata |= {"scene": name, "bands": ", ".join(bands)} | mapped_scene.scene_tags(scene, before)
        metadata |= {"pixel_size": f"{metres:.4g} m"} if metres else {}
        metadata |= {"product": product.kind} if product else {}
        note_unread_time(opened)
        times = zip(("acquired", "acquired_before"), map(acquisition_time, scenes), strict=False)
        metadata |= {name: time for name, time in times if time}
        metadata["polygons"] = provenance.polygons_text(settings, opened.grid)
        pixels = scene_digests(scene.paths) if settings.desk else ()  # raises before the work if a band cannot be read
        inputs = provenance.inputs_of(run, scenes, (scene, before), settings.covers, settings.engine)
        metadata["sha256"] = provenance.digests(inputs)
        try:
            desk_path = targets.pop("desk")
            partial = {kind: stack.enter_context(atomic_write(path)) for kind, path in targets.items()}
            for path in partial.values():
                path.touch()  # raises before the work if the folder cannot be written to
                path.unlink()
            counts = rasters.write(jobs, scenes, covers, settings, partial, metadata)
            # this reads both rasters back as a whole, and raises if the disk was full
            table = outlined(partial, opened, settings)
            table = table.assign(new=1) if before else table
            about = metadata | counts.shares() | {"pixels_with_data": str(counts.with_data)}
            geopackage.write(partial["landslides"], table, polygons.seen_ground(partial["mask"]), about, date)
            if settings.filtered_mask:
                rasters.write_filtered(partial["filtered_mask"], partial["mask"], table.geometry.to_numpy(), metadata)
                partial["filtered_mask_style"].write_text(styles.mask_style(), encoding="utf-8")
            partial["mask_style"].write_text(styles.mask_style(), encoding="utf-8")
            partial["probability_style"].write_text(styles.probability_style(settings.percent), encoding="utf-8")
            summary = summary_of(opened, table, counts, settings.threshold, bool(settings.covers.exclude))
            learnt_here = has_learnt_here(run, name, opened.grid)
            weaknesses = list_weaknesses(about, found, learnt_here, settings.min_slope)
            remarks = report.Remarks(summary, weaknesses, landslide_free_shares(run))
            for _ in progress([0], "drawing the quick-look and the report"):
                draw(scenes, table, partial, bands, settings.threshold, about, remarks)
            boxes = suggested_boxes(partial["probability"], run) if settings.desk else []
            if boxes:
                targets["desk"] = desk_path
                page = stack.enter_context(atomic_write(desk_path))
                for _ in progress([0], "drawing the desk"):
                    desk.write(page, scenes, bands, table, partial, boxes, name, pixels)
            else:
                desk_path.unlink(missing_ok=True)  # of the map that this one replaces
            names = {kind: target.name for kind, target in targets.items()}
            file = provenance.file_of(scene.paths[0])
            changed = change_time(file) if file else None
            stac_items.write_item(partial["stac"], partial, names, opened.grid, about, summary, changed)
        except (OSError, rasterio.errors.RasterioError, CPLE_BaseError, *geopackage.ERRORS) as error:  # GDAL raises all
            if getattr(error, "filename", None) and not is_denied(error):  # of the system, with its file
                raise
            raise write_error(out_dir, error) from None
        stack.close()  # all files get their names, before the lock is released
        for path in (*former, *side_files((*targets.values(), *former))):
            path.unlink(missing_ok=True)
        shutil.rmtree(strips_folder(out_dir, name))
    megapixels = np.prod(opened.grid.shape) / 1e6
    seconds = time.monotonic() - began
    print(f"{summary}\nin {seconds:.0f} s ({megapixels / seconds:.2f} MP/s)")
    print("written: " + ", ".join(map(str, targets.values())))
    return name


# ---------------------------------------------------------------------- before the work


def lay_tiles(run, shape, settings):
    """Lay tiles over a scene of a shape; returns (TileGrid, tiles of a batch)."""
    trained = tuple(run.config["input_shape"][:2])
    if settings.tile is None or has_fixed_size(run.constants):
        grid = TileGrid.of_size(shape, trained, settings.overlap)
    else:
        unit = total_stride(run.constants, trained)
        grid = TileGrid.of(shape, unit * max(1, settings.tile // unit), settings.overlap, unit)
    size = max(1, round(settings.batch_size * np.prod(trained) / np.prod(grid.tile)))
    return grid.filling(size), size


# ---------------------------------------------------------------------- the work


def terrain_of(opened):
    """Return a function that reads the terrain of some rows of the scene, or None without elevation."""
    if not opened.dem:
        return None
    return lambda top, bottom: opened.read_terrain(Window(0, top, opened.grid.width, bottom - top))


def outlined(paths, opened, settings):
    """Return the table of the polygons of a map, with outlines as the settings ask for.

    Args:
        paths: {"mask", "probability"}. opened: open Scene. settings: MapSettings.
    """
    sizes = {"min_area": settings.min_area, "min_hole": settings.min_hole, "min_slope": settings.min_slope}
    table = polygons.landslides(paths["mask"], paths["probability"], terrain=terrain_of(opened), **sizes)
    if settings.simplify:
        table.geometry = outlines.smoothed(table, settings.simplify, opened.grid)
    return table


def draw(scenes, table, paths, bands, threshold, about, remarks):
    """Draw the quick-look and write the report.

    about: {name: text} of how the map was made. remarks: report.Remarks.
    """
    title = scene_title(about, scenes[0].grid)
    notes = [f"source {about['revision']}; bands stretched for the eye, each from its 2nd to 98th percentile"]
    colours, shapes = true_colour(bands), table.geometry.to_numpy()
    titles = f"{title}\nrun {about['run']}, probability ≥ {threshold:.3f}"
    quick_look.draw(paths["quicklook"], scenes[0], paths["mask"], colours, shapes, titles, notes, about)
    report.write(paths["report"], scenes, colours, table, paths, about, title, remarks)


def suggested_boxes(probability, run):
    """Return the boxes of the desk, [(row, column, pixels a side), ...]; [] if the scene is smaller than one.

    probability: path of the raster. run: runs.Run, whose patches have the size of a box.
    """
    size = int(np.clip(run.config["input_shape"][0], *suggestions.SIZES))
    with rasterio.open(probability) as file:
        if min(file.shape) < size:
            return []
    _, doubt = suggestions.tile_doubt(probability, size)
    return [(row * size, column * size, size) for row, column in suggestions.choose_tiles(doubt, suggestions.BOXES)]


def summary_of(opened, table, counts, threshold, excludes):
    """Return two sentences on the ground that was seen and its landslides; print what is odd about it.

    excludes: whether the user asked for ground to be excluded.
    """
    height, width = opened.grid.shape
    if not counts.with_data:
        note("the scene holds no data at all; the maps are empty")
    elif not counts.judged:
        note("clouds hide the whole scene, or all of it is excluded; the maps are empty")
    elif excludes and not counts.excluded:
        warn("--exclude takes no pixel out of the map: nothing of it lies on ground that is seen")
    area = f"{table['area_m2'].sum() / 1e6:.3f} km2" if opened.grid.crs else f"{table['pixels'].sum()} pixels"
    shares = {name: float(share) for name, share in counts.shares().items()}
    seen = f", {shares['seen']:.0%} of them seen" if shares["seen"] < 1 and counts.with_data else ""
    seen += f", {shares['excluded']:.0%} excluded" if shares["excluded"] else ""
    return (
        f"{height} x {width} pixels, {counts.with_data / (height * width):.0%} with data{seen}. "
        f"Mapped at threshold {threshold:.3f}: {counts.landslide / max(counts.judged, 1):.2%} of the pixels judged; "
        f"{len(table)} polygons, {area}"
    )


def landslide_free_shares(run):
    """Return [(landslide-free ground, share of its pixels predicted as landslide), ...], measured by evaluate.py."""
    shares = {}
    for path in sorted(run.folder.glob("metrics*.json")):
        record = records.read_json(path, "evaluate.py")
        if record.get("landslide_free") and not record.get("tta"):
            name = ", ".join(Path(folder).name for folder in record["landslide_free"]["data_dir"].split())
            shares[name] = record["landslide_free"]["pixel_share"]
    return list(shares.items())
