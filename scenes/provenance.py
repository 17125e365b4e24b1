"""What a map was made from, and how its polygons were chosen, as text for its metadata."""

import re
from pathlib import Path

from networks import engines
from records import file_digest
from scenes.polygons import FEW_PIXELS


def digests(paths):
    """Return the SHA-256 digests of files as sha256sum prints them, a line each; files at addresses are left out.

    paths: of files, also of members of an archive, for which the archive is taken. Of a folder there is no digest.
    """
    return "\n".join(f"{file_digest(path)}  {path}" for path in dict.fromkeys(filter(None, map(file_of, paths))))


def file_of(path):
    """Return the file on disk that a path leads to: itself, or the archive or container that holds it; None: no file.

    Paths are those of rasterio and GDAL: zip://scene.zip!b4.tif, /vsizip/scene.zip/b4.tif, NETCDF:"file.nc":red.
    """
    for part in (str(path), *re.split(r'[!"]|:(?!//)', re.sub(r"^(\w+://|/vsi\w+/)", "", str(path)))):
        for candidate in (Path(part), *Path(part).parents) if part else ():
            if candidate.is_file():
                return candidate
    return None


def inputs_of(run, scenes, inputs, covers, engine):
    """List the paths of all files that a map is made from, the model first.

    Args:
        run: runs.Run. scenes: open Scenes. inputs: SceneInput of each date. covers: preparation.CoverSettings.
        engine: one of engines.ENGINES.
    """
    paths = [*engines.files(run.folder, engine)]
    for scene in filter(None, inputs):
        paths += scene.paths
    for opened in scenes:
        paths += opened.source.paths
        paths += [opened.source.product.classes] if opened.source.product else []
        paths += [raster.path for raster in opened.dem.rasters] if opened.dem else []
    return [*paths, covers.clouds, *covers.exclude]


def polygons_text(settings, grid):
    """Return which areas became polygons, and how their outlines were drawn. settings: mapping.MapSettings."""
    unit, length = ("m2", "m") if grid.crs else ("pixels", "pixels")

    def size(least):
        return f"{FEW_PIXELS} pixels" if least is None else f"{least:g} {unit}"

    texts = [f"of {size(settings.min_area)} or more" if settings.min_area != 0 else "of any size"]
    texts += [f"holes below {size(settings.min_hole)} filled"] if settings.min_hole != 0 else []
    texts += [f"steepest tenth from {settings.min_slope:g} degrees"] if settings.min_slope else []
    texts += [f"outlines smoothed by {settings.simplify:g} {length}"] if settings.simplify else []
    return ", ".join(texts)
