"""Which bands of rasters are those of a model: by the number or name that a user gives, by their names, or in order."""

from rasterio.enums import ColorInterp

from bands import band_code, code_of, light, sentinel2_band
from patches.band_labels import KNOWN, colours_of, is_known, labels_of, positions_of, words_of
from script import UserError, note


def raster_bands(files, names, scene):
    """Find the bands of a model in rasters; returns ((index of the file, number from 1), ...) in the model's order.

    Args:
        files: open rasters: one, or several of one band each in the model's order.
        names: of the model's bands that come from files.
        scene: SceneInput. Its `bands` say which to take, by number from 1 or by name (what a band is called, see
            band_labels, or a word of it: B4 is found in T33UVP_B04.jp2). Without them, names decide if the bands have
            any that the model knows (`named_bands`), then their colours, otherwise the order.

    Raises:
        UserError: for bands that are missing, too many or too few.
    """
    path = files[0].name
    for file in files:
        if len(files) > 1 and file.count > 1:
            raise UserError(f"{file.name} has {file.count} bands: of several files each must hold a single one")
    entries = [
        (index, number, label)
        for index, of_file in enumerate(labels_of(files))
        for number, label in enumerate(of_file, 1)
    ]
    if scene.bands:
        entries = [find_band(name, entries, path) for name in scene.bands]
    elif named := named_bands(names, entries, path):
        if named != entries:
            found = (
                f"{name} {each.text} (band {number})" for name, (_, number, each) in zip(names, named, strict=True)
            )
            note(f"bands are taken by their names: {', '.join(found)}; --scene-bands says otherwise")
        entries = named
    elif coloured := coloured_bands(names, entries, files):
        if coloured != entries[: len(coloured)]:
            found = (f"{name} band {number}" for name, (_, number, _) in zip(names, coloured, strict=True))
            note(
                f"bands are taken by the colours that the file states: {', '.join(found)}; --scene-bands says otherwise"
            )
        entries = coloured
    elif len(entries) != len(names):  # a last band that GDAL takes for alpha is one if the model needs as many
        alpha = [(i, file.count) for i, file in enumerate(files) if file.colorinterp[-1] == ColorInterp.alpha]
        entries = [entry for entry in entries if entry[:2] not in alpha]
    if len(entries) != len(names):
        lacking = [] if scene.dem else terrain_among(names)
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

    They decide if each band of the model is found once. If one is not, the order does not stand in for it: a file of
    B2, B3 and B8 lacks red, and one of B8, B11 and B12 lacks red, green and blue. Names decide nothing if none of those
    of the file, or none of those of the model, is a known one, or if all bands have the same. B4, B04, b4 and red are
    one name.

    Args:
        names: of the model's bands. entries: [(index of the file, number from 1, band_labels.Label), ...]. path: for
            the message.

    Raises:
        UserError: a band of the model is missing; or the names are those of Landsat, whose satellites number their
            bands differently, and which of them it is, is unknown.
    """
    labels = [label for *_, label in entries]
    called = ", ".join(label.text or "without a name" for label in labels)
    hint = "name bands to take {}, in this order, with --scene-bands"
    if any(label.landsat == "unknown" for label in labels) and any(map(sentinel2_band, names)):
        raise UserError(
            f"{path}: its bands are called {called}, which mean others on Landsat 8 and 9 than before: "
            + hint.format(f"as {' '.join(names)}")
        )
    found = [positions_of(name, labels) for name in names]
    if len({label.text for label in labels}) == 1 < len(labels):
        return None
    lacking = [name for name, each in zip(names, found, strict=True) if not each]
    if not lacking:  # a name that several bands have says nothing
        return [entries[i] for (i,) in found] if all(len(each) == 1 for each in found) else None
    have_names = any(map(is_known, labels)) and any(code_of(name) in KNOWN for name in names)
    if len(lacking) == len(names) and not have_names:
        return None
    if not light(lacking).any():
        hint = f"give an elevation raster with --dem for {' and '.join(lacking)}, or {hint}"
    raise UserError(
        f"{path}: lacks {' and '.join(lacking)}: its bands are called {called}, and the run takes {' '.join(names)}; "
        + hint.format("instead")
    )


def coloured_bands(names, entries, files):
    """Find red, green and blue of a model by the colours that a raster states; None where they do not decide.

    names, entries: see `named_bands`. files: open rasters.
    """
    colours = colours_of(files[0]) if len(files) == 1 else {}
    numbers = [colours.get(code_of(name)) for name in names]
    return None if None in numbers else [entries[number - 1] for number in numbers]


def terrain_among(names):
    """List those of some names of bands that are slope or elevation."""
    return [name for name, lit in zip(names, light(names), strict=True) if not lit]


def of_sentinel2(files, bands, names):
    """Return whether files call all bands of light by names of Sentinel-2 (B4, B08).

    Each has to be the model's band: B4 for red, B2 for blue. Many sensors number their bands, but in another order.

    bands: (index of the file, number from 1) of each of `names`, which are of the model's bands.
    """
    labels, lit = labels_of(files), light(names)
    for (index, number), name, is_lit in zip(bands, names, lit, strict=True):
        label = labels[index][number - 1]
        if is_lit and (label.landsat or sentinel2_band(name) not in map(band_code, words_of(label.text))):
            return False
    return bool(lit.any())


def find_band(name, entries, path):
    """Return the one of `entries` (index, number, Label) that has a number or name; B4, B04 and red are one name.

    Raises:
        UserError: none or several of them have the name. path: of the scene, for the message.
    """
    if name.isdigit() and 1 <= int(name) <= len(entries):
        return entries[int(name) - 1]
    labels = [label for *_, label in entries]
    words = [[band_code(word) for word in words_of(label.text)] for label in labels]
    named = (
        [i for i, label in enumerate(labels) if label.text.upper() == name.upper()]
        or [i for i, each in enumerate(words) if each == [band_code(name)]]
        or [i for i, each in enumerate(words) if band_code(name) in each]
        or positions_of(name, labels)
    )
    if len(named) != 1:
        texts = ", ".join(label.text for label in labels if label.text) or "no names"
        fault = "is not in the scene" if not named else "is there more than once"
        raise UserError(f"{path}: band {name} {fault} (it has bands 1 to {len(entries)}, named: {texts})")
    return entries[named[0]]
