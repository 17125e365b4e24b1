"""Files of records: text, JSON, CSV and HDF5, written whole or not at all."""

import contextlib
import csv
import io
import json
import os
import shutil
from pathlib import Path

import h5py

from script import UserError


@contextlib.contextmanager
def atomic_write(path):
    """Yield a temporary path beside `path` that replaces it if the block succeeds, and is removed otherwise.

    The temporary name keeps the suffix, because writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # otherwise a crash can leave the new name without its content
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path):
    """Yield the path of a folder to make beside `path`, which it replaces, whole, if the block succeeds.

    A folder cannot replace another in one step, so the former one is moved aside first. If the process is killed
    between the two steps, the next call moves it back.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, former = (path.with_name(f".{word}-{path.name}") for word in ("partial", "former"))
    if former.exists() and not path.exists():
        former.rename(path)
    for left_over in (partial, former):
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        yield partial
        for file in filter(Path.is_file, partial.rglob("*")):
            with open(file, "rb") as content:
                os.fsync(content.fileno())
        if path.exists():
            path.rename(former)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(former, ignore_errors=True)


@contextlib.contextmanager
def atomic_hdf5(path):
    """Yield an HDF5 file in memory that is written to `path`, as `write_bytes` does, if the block succeeds.

    Written directly, the HDF5 library would crash in the middle of a file on a full disk.
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
    """Write rows as CSV. Floats keep every digit, so that reading gives back the same values."""
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
    """Read a CSV into a list of {column: text}; empty if there is no such file yet."""
    if not Path(path).exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(path, stage):
    """Read a JSON file, or raise UserError naming the stage that makes it."""
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): make it again with {stage}") from None
