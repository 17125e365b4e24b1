"""Which bands of rasters are those of a model: by the number or name that a user gives, by their names, or in order."""

import re
from pathlib import Path

from rasterio.enums import ColorInterp

from bands import TERRAIN, band_code, sentinel2_band
from script import UserError, note


def raster_bands(files, names, scene):
    """Find the bands of a model in rasters; returns ((index of the file, number from 1), ...) in the model's order.

    Args:
        files: open rasters: one, or several of one band each in the model's order.
        names: of the model's bands that come from files.
        scene: SceneInput. Its `bands` say which to take, by number from 1 or by name (GDAL's description of the
            band, a word of it, or what the file is called after: B4 is found in T33UVP_B04.jp2). Without them, names
            decide if the bands have any that the model knows (`named_bands`), otherwise the order.

    Raises:
        UserError: for bands that are missing, too many or too few.
    """
    path = files[0].name
    for file in files:
        if len(files) > 1 and file.count > 1:
            raise UserError(f"{file.name} has {file.count} bands: of several files each must hold a single one")
    entries = [
        (index, number, band_label(files, index, number)) for index, file in enumerate(files) for number in file.indexes
    ]
    if scene.bands:
        entries = [find_band(name, entries, path) for name in scene.bands]
    elif named := named_bands(names, entries, path):
        if named != entries:
            found = (f"{name} {label} (band {number})" for name, (_, number, label) in zip(names, named, strict=True))
            note(f"bands are taken by their names: {', '.join(found)}; --scene-bands says otherwise")
        entries = named
    elif len(entries) != len(names):  # a last band that GDAL takes for alpha is one if the model needs as many
        alpha = [(i, file.count) for i, file in enumerate(files) if file.colorinterp[-1] == ColorInterp.alpha]
        entries = [entry for entry in entries if entry[:2] not in alpha]
    if len(entries) != len(names):
        lacking = [] if scene.dem else [name for name in names if name in TERRAIN]
        hint = "choose them, in this order, with --scene-bands"
        if lacking and len(entries) + len(lacking) == len(names):
            hint = f"give an elevation raster with --dem for {' and '.join(lacking)}"
        files_text = path if len(files) == 1 else f"{len(files)} files"
        raise UserError(
            f"{files_text}: {len(entries)} bands, but the run takes {len(names)} ({' '.join(names)}): {hint}"
        )
    return tuple(entry[:2] for entry in entries)


def named_bands(names, entries, path):
    """Find the bands of a model by what the bands of rasters are called; None where names do not decide.

    They decide if each band of the model is found once, and nothing else would do if some of them are found: a file of
    B2, B3 and B8 lacks red, in whatever order they are. B4, B04, b4 and red are one name.

    Args:
        names: of the model's bands. entries: [(index of the file, number from 1, label), ...]. path: for the message.

    Raises:
        UserError: some of the model's bands are found by their names, and others are not.
    """
    of_label = [{code_of(word) for word in words_of(label)} for *_, label in entries]
    found = [[i for i, codes in enumerate(of_label) if code_of(name) in codes] for name in names]
    if any(len(each) > 1 for each in found):
        return None  # a name that several bands have says nothing
    lacking = [name for name, each in zip(names, found, strict=True) if not each]
    if not lacking:
        return [entries[i] for (i,) in found]
    if len(lacking) == len(names) or set(lacking) <= set(TERRAIN):
        return None
    called = ", ".join(label for *_, label in entries)
    raise UserError(
        f"{path}: lacks {' and '.join(lacking)}: its bands are called {called}, and the run takes {' '.join(names)}; "
        "name bands to take instead, in this order, with --scene-bands"
    )


def code_of(name):
    """Return one word for all names of a band: B4 for B04, b4 and red; for others, the name in lower case."""
    return sentinel2_band(name) or name.lower()


def words_of(label):
    """Return the words and numbers of a label, which anything else divides: B04, 665 and nm of "B04 (665 nm)"."""
    return re.split(r"[^A-Za-z0-9]+", label)


def band_label(files, index, number):
    """Return what a band of rasters is called: GDAL's description, or of several files the name of the file."""
    file = files[index]
    return file.descriptions[number - 1] or (Path(file.name).stem if len(files) > 1 else "")


def sentinel2_positions(files, bands, columns, names):
    """Return the positions among the model's bands of those of light, if all are named as Sentinel-2's; else ().

    Each has to be the model's band: B4 for red, B2 for blue. Many sensors number their bands, but in another order.

    bands: (index of the file, number from 1) of each of `names`, the model's bands at `columns`.
    """
    light = [entry for entry in zip(columns, bands, names, strict=True) if entry[2] not in TERRAIN]
    for _, band, name in light:
        words = words_of(band_label(files, *band))
        if sentinel2_band(name) not in map(band_code, words):
            return ()
    return tuple(column for column, *_ in light)


def find_band(name, entries, path):
    """Return the one of `entries` (index, number, label) that has a number or name; B4 and B04 are the same name.

    Raises:
        UserError: none or several of them have the name. path: of the scene, for the message.
    """

    def plain(label):
        return re.sub(r"^B0*(?=\d)", "B", label.upper())

    if name.isdigit() and 1 <= int(name) <= len(entries):
        return entries[int(name) - 1]
    named = [entry for entry in entries if plain(name) == plain(entry[2])] or [
        entry for entry in entries if plain(name) in map(plain, words_of(entry[2]))
    ]
    if len(named) != 1:
        labels = ", ".join(filter(None, (label for _, _, label in entries))) or "no names"
        fault = "is not in the scene" if not named else "is there more than once"
        raise UserError(f"{path}: band {name} {fault} (it has bands 1 to {len(entries)}, named: {labels})")
    return named[0]
