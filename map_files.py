"""The files of a map: how they are called, and which may be replaced."""

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from script import UserError

FILES = {  # that are written for a scene, by what follows its name
    "probability": "_probability.tif",
    "mask": "_mask.tif",
    "landslides": "_landslides.gpkg",
    "quicklook": "_quicklook.png",
    "report": "_report.html",
    "probability_style": "_probability.qml",
    "mask_style": "_mask.qml",
}
# Files that programs lay beside a map and that belong to the old one: overviews, statistics, masks, journals of SQLite.
SIDE_FILES = (".ovr", ".aux.xml", ".msk", "-wal", "-shm", "-journal")


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


class MapExists(UserError):
    """A map of this name is there already."""


def check_targets(targets, overwrite):
    """Raise MapExists if maps would be replaced without leave, UserError if one is open in another program."""
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        raise MapExists(f"{there[0]} exists: replace it with --overwrite, or write elsewhere with --out-dir")
    for path in side_files(targets):
        if path.name.endswith(("-wal", "-journal")) and path.stat().st_size:
            raise UserError(
                f"{path} holds changes that are not in the map yet: close it in QGIS (or delete that file), then again"
            )


def strips_folder(out_dir, name):
    """Return the folder in which the strips of an unfinished map are kept."""
    return out_dir / f".partial-{name}_strips"


def side_files(targets):
    """List the files that programs have laid beside maps."""
    beside = (path.with_name(path.name + ending) for path in targets for ending in SIDE_FILES)
    return [path for path in beside if path.exists()]


def date_of(path, run):
    """Date of a GeoPackage: the scene's, or the model's where the scene is no file (in an archive, at an address)."""
    return changed(path if Path(path).exists() else run.folder / "model.keras")


def changed(path):
    """Return when a file was last changed, as a datetime in UTC."""
    return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
