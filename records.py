"""Files of records: text, JSON, CSV and HDF5, written whole or not at all."""

import contextlib
import csv
import glob
import hashlib
import io
import json
import os
import re
import shutil
import unicodedata
from pathlib import Path

import h5py

from script import UserError


@contextlib.contextmanager
def atomic_write(path):
    """Yield a temporary path in the folder of `path`, which replaces `path` if the block succeeds.

    Otherwise it is removed. The temporary name has the same suffix, because writers choose the format by it, and the
    number of the process, because two of them may write the same file: then it is that of the last one, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # otherwise a crash can leave the new name without its content
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def remove_partials(paths):
    """Remove what killed processes left of `atomic_write`, with files that other programs wrote for it.

    No other process may write these files now.
    """
    for path in map(Path, paths):
        for entry in path.parent.glob(f".partial-*{glob.escape(path.name)}*"):
            if re.fullmatch(rf"\.partial-(\d+-)?{re.escape(path.name)}([.-].*)?", entry.name):
                entry.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path):
    """Yield a path to make a folder at, which replaces the folder `path`, whole, if the block succeeds.

    A block that makes no folder leaves the former one as it is; for the rest see `atomic_contents`.
    """
    path = Path(path)
    with atomic_contents(path.parent, [glob.escape(path.name)], f"-{path.name}") as partial:
        yield partial / path.name


@contextlib.contextmanager
def atomic_contents(folder, owned, mark=""):
    """Yield an empty folder whose entries replace those of `folder` that `owned` matches, if the block succeeds.

    Other entries of `folder` stay. The empty folder lies in `folder`, so that entries can be renamed into place even if
    `folder` is a link to another disk. Several entries cannot be replaced in one step, so the former ones are moved
    aside first. If the process is killed then, `restore_contents` moves them back; each call begins with it.

    Args:
        folder: made if it is missing, and removed again if the block fails.
        owned: glob patterns of the entries that are replaced, whether or not there is a new one of the same name.
        mark: ending of the names of the temporary folders. Calls for several entries of one folder need different ones.
    """
    folder = Path(folder)
    partial, aside, former = _temporary_folders(folder, mark)
    restore_contents(folder, owned, mark)
    is_new = not folder.exists()
    partial.mkdir(parents=True)
    try:
        yield partial
        for file in filter(Path.is_file, partial.rglob("*")):
            with open(file, "rb") as content:
                os.fsync(content.fileno())
        if any(partial.iterdir()):
            aside.mkdir()
            for entry in _matching(folder, owned):
                entry.rename(aside / entry.name)
            aside.rename(former)  # now all former entries are in it, and those that match are new ones
            for entry in partial.iterdir():
                entry.rename(folder / entry.name)
    finally:
        restore_contents(folder, owned, mark)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def restore_contents(folder, owned, mark=""):
    """Complete an `atomic_contents` that was killed, or undo it if a new entry is not in place yet."""
    folder = Path(folder)
    partial, aside, former = _temporary_folders(folder, mark)
    if former.exists() and partial.exists() and not any(partial.iterdir()):
        former.rename(partial / former.name)  # all new entries are in place
    if former.exists():
        for entry in _matching(folder, owned):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        former.rename(aside)
    if aside.exists():
        for entry in aside.iterdir():
            entry.rename(folder / entry.name)
        aside.rmdir()
    shutil.rmtree(partial, ignore_errors=True)


def _temporary_folders(folder, mark):
    """Return the folders of unfinished entries, of former ones while they are moved, and of all former ones."""
    return [folder / f".{word}{mark}" for word in ("partial", "aside", "former")]


def _matching(folder, patterns):
    """List the entries of a folder that match glob patterns."""
    return [entry for pattern in patterns for entry in folder.glob(pattern)]


@contextlib.contextmanager
def atomic_hdf5(path):
    """Yield an HDF5 file in memory that is written to `path`, as by `write_bytes`, if the block succeeds.

    If the HDF5 library wrote to the disk itself, it would crash on a full one.
    """
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    write_bytes(path, content.getvalue())


def write_bytes(path, content):
    """Write bytes, whole or not at all; raises UserError on a full disk."""
    try:
        with atomic_write(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def write_text(path, text):
    """Write text as UTF-8, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path, record):
    """Write a record as indented JSON; values of other types become strings."""
    write_text(path, json.dumps(record, indent=2, default=str) + "\n")


def write_csv(path, header, rows):
    """Write rows as CSV. Floats keep all digits, so that reading returns the same values."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([header, *rows])
    write_text(path, content.getvalue())


def require(path, stage):
    """Return `path` if it exists; otherwise raise UserError naming the stage that makes it."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing: {stage} makes it")
    return path


def read_csv(path, stage):
    """Read a CSV of numbers into a list of {column: float}, or raise UserError naming the stage that makes it."""
    with open(require(path, stage), newline="", encoding="utf-8") as file:
        try:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): make it again with {stage}") from None


def read_rows(path):
    """Read a CSV into a list of {column: text}; return [] if the file does not exist yet."""
    if not Path(path).exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def file_digest(path):
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_table(path):
    """Read a table of a user into a list of {column: text}, as programs and spreadsheets write it.

    Cells lie between commas, semicolons or tabs, whichever the first line holds most of; columns without a name are
    left out.

    Raises:
        UserError: it cannot be read, or is no such table.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            mark = max(",;\t", key=header.count)  # spreadsheets write semicolons where a comma is in numbers
            file.seek(0)
            lines = csv.DictReader(file, delimiter=mark, skipinitialspace=True)
            return [{key.strip(): cell for key, cell in row.items() if key and key.strip()} for row in lines]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no table of commas or semicolons in UTF-8 ({error})") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def expanded(paths):
    """Return paths with those that have *, ? or [ and name no file replaced by the files that they match, sorted.

    Shells do so, but neither that of Windows nor any with quotes. A pattern that matches nothing stays.
    """
    listed = []
    for path in map(str, paths):
        pattern = "://" not in path and any(mark in path for mark in "*?[") and not os.path.exists(path)
        listed += (pattern and sorted(glob.glob(path))) or [path]
    return tuple(listed)


def portable(name):
    """Return the name of a file in the form in which all systems agree: slashes, accents with their letters."""
    return unicodedata.normalize("NFC", name).replace("\\", "/")


def read_json(path, stage):
    """Read a JSON file, or raise UserError naming the stage that makes it."""
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): make it again with {stage}") from None
