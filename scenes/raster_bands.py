"""Which bands of rasters are those of a model: by the number or name that a user gives, by their names, or in order."""

from rasterio.enums import ColorInterp

from bands import BANDS_RGB, band_code, band_names, code_of, kind_of, light, numbered, sentinel2_band
from patches.band_labels import KNOWN, coloured_bands, is_known, labels_of, positions_of, words_of
from scenes.opening import band_count
from script import UserError, note


def raster_bands(files, names, scene):
    """Find the bands of a model in rasters; returns ((index of the file, number from 1), ...) in the model's order.

    Args:
        files: open rasters: one, or several of one band each in the model's order.
        names: of the model's bands that come from files.
        scene: SceneInput. Its `bands` say which to take, by number from 1 or by name (what a band is called, see
            band_labels, or a word of it: B4 is found in T33UVP_B04.jp2). Without them, names decide if the bands have
            any that the model knows (`named_bands`), then their colours or number (`counted_bands`), otherwise the
            order.

    Raises:
        UserError: for bands that are missing, too many or too few.
    """
    path = files[0].name
    for file in files:
        if len(files) > 1 and file.count > 1:
            raise UserError(
                f"{file.name} has {file.count} bands: of several files each must hold a single one (several scenes: "
                "--many; tiles of one ground: gdalbuildvrt scene.vrt FILES; pictures as patches: their folder)"
            )
    entries = [
        (index, number, label)
        for index, of_file in enumerate(labels_of(files))
        for number, label in enumerate(of_file, 1)
    ]
    if scene.bands:
        entries = [find_band(name, entries, path) for name in scene.bands]
    elif named := named_bands(names, entries, path):
        if named != entries:
            tell("bands are taken by their names", names, named)
        entries = named
    elif len(files) == 1 and (counted := counted_bands(names, entries, files[0])):
        entries = counted
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

    If a band of the model is missing, the order does not stand in for it: a file of B2, B3 and B8 lacks red, and one of
    B8, B11 and B12 lacks red, green and blue. Names decide nothing if none of those of the file, or none of those of
    the model, is a known one, or if all bands have the same.

    Args:
        names: of the model's bands. entries: [(index of the file, number from 1, band_labels.Label), ...]. path: for
            the message.

    Raises:
        UserError: a band of the model is missing, or is there several times; or the names are those of Landsat, whose
            satellites number their bands differently, and which of them it is, is unknown.
    """
    labels = [label for *_, label in entries]
    called = ", ".join(label.text or "without a name" for label in labels)
    if any(label.landsat == "unknown" for label in labels) and any(map(sentinel2_band, names)):
        raise UserError(
            f"{path}: its bands are called {called}, which mean others on Landsat 8 and 9 than before: "
            f"name bands to take as {' '.join(names)}, in this order, with --scene-bands"
        )
    if numbered(names) or len({label.text for label in labels}) == 1 < len(labels):
        return None
    found = {name: positions_of(name, labels) for name in names}
    if not any(found.values()) and not (any(map(is_known, labels)) and knows_any(names)):
        return None
    if not all(found.values()):
        lacking = [name for name in names if not found[name]]
        raise UserError(lacking_text(names, lacking, f"its bands are called {called}", path))
    if repeated := [name for name in names if len(found[name]) > 1]:
        raise UserError(f"{path} calls several bands {repeated[0]} ({called}): choose with --scene-bands")
    return [entries[i] for (i,) in found.values()]


def counted_bands(names, entries, file):
    """Find the bands of a model in a raster that names none, by its colours, or by their number as in patches.

    Of three bands without colours, red, green and blue are the first, second and third; fourteen are those of
    Landslide4Sense. Then a band that is none of them is missing. In larger rasters GDAL calls the first three bands
    red, green and blue, whatever they are: there the order decides if the model takes others, too.

    Args:
        names, entries: see `named_bands`. file: the open raster.

    Returns:
        entries of the model's bands; None where they do not decide.

    Raises:
        UserError: a band of the model is missing.
    """
    coloured = coloured_bands(file, file.count)
    called = coloured or band_names(band_count(file))
    if numbered(called) or numbered(names):
        return None
    kinds = list(map(kind_of, called))
    found = [kinds.index(kind_of(name)) if kind_of(name) in kinds else None for name in names]
    if lacking := [name for name, position in zip(names, found, strict=True) if position is None]:
        if (called[:3] == BANDS_RGB and len(called) > 3) or not knows_any(names):
            return None
        raise UserError(lacking_text(names, lacking, f"its bands are taken for {', '.join(called)}", file.name))
    counted = [entries[i] for i in found]
    if counted != entries[: len(counted)]:
        usual = "red, green and blue" if len(called) == 3 else "those of Landslide4Sense"
        how = f"{len(called)} bands without known names are taken for {usual}"
        tell("bands are taken by the colours that the file states" if coloured else how, names, counted)
    return counted


def knows_any(names):
    """Return whether any of the model's bands has a known name."""
    return any(code_of(name) in KNOWN for name in names)


def tell(how, names, entries):
    """Print which bands are taken for those of a model. how: they were found. entries: see `named_bands`."""
    found = (
        " ".join(filter(None, (name, label.text, f"(band {number})" if label.text else f"band {number}")))
        for name, (_, number, label) in zip(names, entries, strict=True)
    )
    note(f"{how}: {', '.join(found)}; --scene-bands says otherwise")


def lacking_text(names, lacking, instead, path):
    """Return the text of an error: files lack bands of the model. instead: what their bands are, in words."""
    dem = "" if light(lacking).any() else f"give an elevation raster with --dem for {' and '.join(lacking)}, or "
    return (
        f"{path}: lacks {' and '.join(lacking)}: {instead}, and the run takes {' '.join(names)}; "
        f"{dem}name bands to take instead, in this order, with --scene-bands"
    )


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
