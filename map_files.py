"""The files of a map: their names, and which may be replaced."""

import contextlib
import errno
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import locks
from script import UserError

FILES = {  # written for a scene: kind of the file, and what follows the name of the scene
    "probability": "_probability.tif",
    "mask": "_mask.tif",
    "landslides": "_landslides.gpkg",
    "quicklook": "_quicklook.png",
    "report": "_report.html",
    "desk": "_desk.html",
    "probability_style": "_probability.qml",
    "mask_style": "_mask.qml",
    "stac": "_stac.json",
}
FILTERED = {"filtered_mask": "_filtered_mask.tif", "filtered_mask_style": "_filtered_mask.qml"}  # on request
# Files that other programs write for a map and that do not fit a new one: overviews, statistics, masks, journals.
SIDE_FILES = (".ovr", ".aux.xml", ".msk", "-wal", "-shm", "-journal")

FULL = ("ENOSPC", "EDQUOT", "EFBIG")  # errors of a disk that is full, and of what a user may store on it
DENIED = ("EROFS", "EACCES", "EPERM")
NEARLY_FULL = 2**20  # bytes


def scene_name(paths):
    """Return the name of a scene: that of its file, or the common part of the names of its files.

    Files that are named after bands alone, such as B04, get the name of their folder.
    """
    parts = [re.split(r"[/\\!]+", re.sub(r"[?#].*$", "", str(path))) for path in paths]
    names = [re.sub(r'^[A-Z0-9_]+:(?=.)|"', "", path[-1]) for path in parts]  # GDAL's DRIVER:"name":part
    stems = [re.sub(r"\.\w{1,5}(?=:|$)", "", name).replace(":", "_") for name in names]
    common = stems[0] if len(stems) == 1 else re.sub(r"[_.-]+(B\d*)?$", "", os.path.commonprefix(stems))
    folder = parts[0][-2] if len(parts[0]) > 1 else ""
    if len(stems) > 1 and re.fullmatch(r"(B\d*|band|)[_.-]*", common, re.IGNORECASE):
        common = folder or stems[0]
    return common


class MapExists(UserError):
    """A map of this name exists already."""


def check_targets(targets, overwrite, flag="--out-dir"):
    """Raise MapExists if a map exists and `overwrite` is False, UserError if one is open in another program.

    flag: by which the user writes elsewhere.
    """
    existing = [path for path in targets if path.exists()]
    if existing and not overwrite:
        raise MapExists(f"{existing[0]} exists: replace it with --overwrite, or write elsewhere with {flag}")
    for path in side_files(targets):
        if path.name.endswith(("-wal", "-journal")) and path.stat().st_size:
            raise UserError(
                f"{path} holds changes that are not in the map yet: close it in QGIS (or delete that file), then again"
            )


def strips_folder(out_dir, name):
    """Return the folder in which the strips of an unfinished map are kept."""
    return out_dir / f".partial-{name}_strips"


def map_lock(out_dir, name):
    """Return a context manager that keeps other processes from mapping a scene into a folder; see locks.held."""
    busy = f"another process maps {name} into {out_dir}/: wait until it has ended, or write elsewhere with --out-dir"
    return locks.held(out_dir / f".partial-{name}.lock", busy)


def is_denied(error):
    """Return whether an error says that a user may not write somewhere."""
    return errno.errorcode.get(getattr(error, "errno", None)) in DENIED


def write_error(out_dir, error):
    """Return the UserError for a map that cannot be written. error: of the system or of GDAL."""
    if is_denied(error):
        return UserError(f"{out_dir}/ may not be written to ({error.strerror}): write elsewhere with --out-dir")
    text = " ".join(str(error).split()) or type(error).__name__
    full = errno.errorcode.get(getattr(error, "errno", None)) in FULL or re.search(
        r"no space left|disk is full|file too large", text, re.I
    )
    with contextlib.suppress(OSError):  # GDAL may say no more than that it cannot write
        full = full or shutil.disk_usage(out_dir).free < NEARLY_FULL
    reason = ": the disk is full" if full else f" ({text})"
    return UserError(f"{out_dir}/ cannot be written to{reason}. The same command continues where it stopped")


def side_files(targets):
    """List the files that other programs have written for maps."""
    paths = (path.with_name(path.name + ending) for path in targets for ending in SIDE_FILES)
    return [path for path in paths if path.exists()]


def date_of(path, run):
    """Return the date for a GeoPackage: when the scene was last changed; of a scene that is no file, the model.

    A scene in an archive or at an address is no file.
    """
    return change_time(path if Path(path).exists() else run.folder / "model.keras")


def change_time(path):
    """Return when a file was last changed, as a datetime in UTC."""
    return datetime.fromtimestamp(Path(path).stat().st_mtime, UTC)
