"""The scene of a map, opened again by what the map's tags say of it, and its desk."""

import contextlib
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import rasterio

from map_files import FILES
from records import atomic_write
from scenes import desk
from scenes.before_after import reopened
from scenes.pixel_grid import PixelGrid
from scenes.preparation import open_scenes
from scenes.scene_digest import scene_digests
from scenes.source import SceneInput
from script import UserError


@dataclass(frozen=True)
class MappedScene:
    """A map of predict.py and its scene.

    Attributes:
        name: of the scene. paths: of its files. scenes: open Scenes on the grid of the map: after the event, and before
            it if there is one. bands: names of the model's bands.
        table: geopandas.GeoDataFrame of the predicted polygons. rasters: paths {"probability", "mask"}.
    """

    name: str
    paths: tuple
    scenes: list
    bands: tuple
    table: geopandas.GeoDataFrame
    rasters: dict


def scene_tags(scene, before):
    """Return the tags of a map by which `tagged_inputs` opens its scenes again.

    scene, before: SceneInput of them; before may be None.
    """
    tags = {
        "source": " ".join(map(str, scene.paths)),
        "scene_bands": shlex.join(scene.bands),
        "dem": " ".join(map(str, scene.dem)),
        "before": " ".join(map(str, before.paths)) if before else "",
        "nodata": "" if scene.nodata is None else repr(float(scene.nodata)),
        "dem_nodata": "" if scene.dem_nodata is None else repr(float(scene.dem_nodata)),
    }
    return {name: text for name, text in tags.items() if text}


def tagged_inputs(tags):
    """Return the SceneInput of the scene of a map, and of the one before or None, by its `scene_tags`.

    The pages of a scene stretch its values, so its offset does not matter, and none is asked for.
    """
    numbers = {name: float(tags[name]) if name in tags else None for name in ("nodata", "dem_nodata")}
    bands = tuple(shlex.split(tags.get("scene_bands", "")))
    scene = SceneInput(listed(tags["source"]), bands, listed(tags.get("dem", "")), offset=0.0, **numbers)
    before = listed(tags.get("before", ""))
    return scene, replace(scene, paths=before, dem=()) if before else None


@contextlib.contextmanager
def open_mapped(path, instead=()):
    """Open the scene of a map; a context manager that yields a MappedScene.

    Args:
        path: of the probabilities that predict.py wrote, with the other files of the map beside them.
        instead: paths of the scene, if it was moved since the map was made.

    Raises:
        UserError: a file is missing or cannot be read, the map does not say what it was made of, or the scene is
            another.
    """
    name = Path(path).name.removesuffix(FILES["probability"])
    files = {kind: Path(path).with_name(name + ending) for kind, ending in FILES.items()}
    if missing := [files[kind] for kind in ("mask", "landslides") if not files[kind].exists()]:
        raise UserError(f"{missing[0]} is missing: predict.py writes it beside {path}")
    with rasterio.open(path) as file:
        tags, grid = file.tags(), PixelGrid.of(file)
    if not {"source", "bands"} <= tags.keys():
        raise UserError(f"{path} does not say of which scene and bands it was made: map the scene again")
    scene, before = tagged_inputs(tags)
    scene = replace(scene, paths=tuple(instead)) if instead else scene
    again, earlier = "map the scene again", before.paths if before else ()
    for each, flag in ((scene.paths, "give the scene with --scene"), (earlier, again), (scene.dem, again)):
        for part in each:
            if "://" not in part and ":" not in part and not Path(part).exists():
                raise UserError(f"{part}, of which {path} was made, does not exist here: {flag}")
    bands = tuple(tags["bands"].split(", "))
    scenes = open_scenes(scene, before, bands)
    with contextlib.ExitStack() as stack:
        if not same_ground(scenes[0].grid, grid):
            for each in scenes:
                each.close()
            raise UserError(f"{scene.paths[0]} covers other ground than {path}: give its own scene with --scene")
        scenes = [reopened(each, grid) if each.grid != grid else each for each in scenes]
        for each in scenes:
            stack.callback(each.close)
        table = pyogrio.read_dataframe(files["landslides"], layer="landslides", columns=["id", "confidence"])
        yield MappedScene(
            name, scene.paths, scenes, bands, table, {kind: files[kind] for kind in ("probability", "mask")}
        )


def write_desk(target, path, boxes, instead=()):
    """Write the page of boxes of a map; see `open_mapped` and desk.write.

    target: path of the page. path: of the probabilities. boxes: [(row, column, pixels a side), ...].
    """
    with open_mapped(path, instead) as mapped, atomic_write(target) as partial:
        inputs = mapped.scenes, mapped.bands, mapped.table, mapped.rasters
        desk.write(partial, *inputs, boxes, mapped.name, scene_digests(mapped.paths))


def same_ground(grid, other):
    """Return whether two grids, of pixels of one size or another, cover the same ground to a pixel of the larger."""
    if grid.crs != other.crs:
        return False
    if grid.crs is None:
        return grid.shape == other.shape
    corners = [(0, 0), (0, 1), (1, 0), (1, 1)]
    size = max(np.hypot(each.transform.a, each.transform.d) for each in (grid, other))
    ends = [[each.transform @ (x * each.width, y * each.height) for x, y in corners] for each in (grid, other)]
    return bool(np.abs(np.subtract(*ends)).max() <= size)


def listed(text):
    """Return the paths of a tag, which stand with spaces between them; the path of one file may hold spaces."""
    return (text,) if Path(text).exists() and text else tuple(text.split())
