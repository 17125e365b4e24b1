"""Which bands of rasters are those of a model: by the number or name that a user gives, by their names, or in order."""

from rasterio.enums import ColorInterp

from bands import (
    BANDS_RGB,
    band_code,
    band_names,
    beside_colours,
    code_of,
    counterparts,
    kind_of,
    light,
    numbered,
    positions_of,
    sentinel2_band,
)
from patches.band_labels import KNOWN, called_bands, coloured_bands, labels_of, words_of
from scenes.opening import band_count
from script import UserError, note

BY_NAME, BY_COLOUR = "bands are taken by their names", "bands are taken by the colours that the file states"


def raster_bands(files, names, scene):
    """Find the bands of a model in rasters; returns ((index of the file, number from 1), ...) in the model's order.

    Args:
        files: open rasters: one, or several of one band each in the model's order.
        names: of the model's bands that come from files.
        scene: SceneInput. Its `bands` say which to take, by number from 1 or by name (what a band is called, see
            band_labels, or a word of it: B4 is found in T33UVP_B04.jp2). Without them, names decide, otherwise the
            order, see `positions_by_name`.

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
    labels = [label for *_, label in entries]
    some = () if scene.bands else some_numbers(names)
    if scene.bands:
        called, _ = names_in(files, labels, scene.bands)
        entries = [entries[find_band(name, called, labels, path)] for name in scene.bands]
    elif some:
        if max(some) > len(entries):
            raise UserError(
                f"{path}: {len(entries)} bands, but the run takes bands {' '.join(map(str, some))} of its files, which "
                "it knows by number alone: choose bands, in this order, with --scene-bands"
            )
        entries = [entries[number - 1] for number in some]
        tell("the run knows its bands by number, so they are taken by it", names, entries)
    elif by_name := positions_by_name(names, files, labels):
        positions, how = by_name
        usual = entries if how == BY_NAME else entries[: len(positions)]
        entries = [entries[i] for i in positions]
        if entries != usual:
            tell(how, names, entries)
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
    if numbered(names) and not (scene.bands or some) and called_bands(labels):
        tell("the run knows its bands by number, so they are taken in their order", names, entries)
    return tuple(entry[:2] for entry in entries)


def some_numbers(names):
    """Return the numbers of bands that are known by them alone; () if they are the first ones in their order."""
    numbers = [int(name.removeprefix("band")) for name in names] if numbered(names) else []
    return () if numbers == list(range(1, len(numbers) + 1)) else tuple(numbers)


def names_in(files, labels, names):
    """Return (names of the bands of rasters as in patches, how they are known); names are () if the order decides.

    They are known by what the bands are called, by the colours of one raster, or by its number of bands.

    labels: band_labels.Label of each band. names: of the bands that a model takes, or that a user chooses.
    """
    if called := called_bands(labels, names):
        return called, BY_NAME
    if len(files) > 1:
        return (), ""
    if coloured := coloured_bands(files[0], files[0].count):
        return coloured, BY_COLOUR
    called = band_names(band_count(files[0]))
    usual = "red, green and blue" if len(called) == 3 else "those of Landslide4Sense"
    return called, f"{len(called)} bands without known names are taken for {usual}"


def own_names(files, bands, names, chosen=False):
    """Return what rasters call their bands, as in patches; of those without a known name, what a model calls them.

    So light and terrain are told apart by the file, and the same in a scene and a patch.

    bands: (index of the file, number from 1) of each of `names`, which are of the model's bands. chosen: whether a user
    chose them: three or fourteen bands without names are then any.
    """
    labels = labels_of(files)
    entries = [(index, number) for index, of_file in enumerate(labels) for number in range(1, len(of_file) + 1)]
    called, how = names_in(files, [label for of_file in labels for label in of_file], names)
    if chosen and how not in (BY_NAME, BY_COLOUR):
        return names
    own = dict(zip(entries, called, strict=False))  # the last band may be one of opacity
    known = {entry: name for entry, name in own.items() if code_of(name.split(" ")[0]) in KNOWN}
    return [known.get(entry, name) for entry, name in zip(bands, names, strict=True)]


def positions_by_name(names, files, labels):
    """Find the bands of a model in rasters by name, as in patches: (positions, how), see `names_in`; None by order.

    If a band of the model is missing, the order does not stand in for it: a file of B2, B3 and B8 lacks red, and one of
    B8, B11 and B12 lacks red, green and blue. Names decide nothing if the model knows its bands by number, or if none
    of its names is known or in the file. In rasters of more than three bands, GDAL calls the first three red, green and
    blue, whatever they are: of more than four the order decides if the model takes as many, and others, too; of four,
    `bands.beside_colours` says.

    Raises:
        UserError: a band of the model is missing, or is there several times; or the names are those of Landsat, whose
            satellites number their bands differently, and which of them it is, is unknown.
    """
    path, listed = files[0].name, ", ".join(label.text or "without a name" for label in labels)
    if any(label.landsat == "unknown" for label in labels) and any(map(sentinel2_band, names)):
        raise UserError(
            f"{path}: its bands are called {listed}, which mean others on Landsat 8 and 9 than before: "
            f"name bands to take as {' '.join(names)}, in this order, with --scene-bands"
        )
    called, how = names_in(files, labels, names)
    if numbered(names) or numbered(called):
        return None
    positions, kinds = counterparts(names, called), list(map(kind_of, called))
    if how == BY_COLOUR:
        positions = beside_colours(positions, called)
    if lacking := [name for name, position in zip(names, positions, strict=True) if position is None]:
        unknown = lacking == list(names) and not any(code_of(name) in KNOWN for name in names)
        if unknown or (how == BY_COLOUR and called[:3] == BANDS_RGB and 4 < len(called) == len(names)):
            return None
        instead = f"called {listed}" if how == BY_NAME else f"taken for {', '.join(called)}"
        raise UserError(lacking_text(names, lacking, f"its bands are {instead}", path))
    if repeated := [name for name in names if kinds.count(kind_of(name)) > 1]:
        raise UserError(f"{path} calls several bands {repeated[0]} ({listed}): choose with --scene-bands")
    return positions, how


def tell(how, names, entries):
    """Print which bands are taken for those of a model. how: they were found. entries: (file, number, Label)."""
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


def find_band(name, called, labels, path):
    """Return the position of the band that a user means: by name or number, see bands.positions_of, or a word of it.

    called: names of the bands, as far as they are known. labels: band_labels.Label of each.

    Raises:
        UserError: none or several of them have the name. path: of the scene, for the message.
    """
    called = (*called, *(f"band{number}" for number in range(len(called) + 1, len(labels) + 1)))
    words = [[band_code(word) for word in words_of(label.text)] for label in labels]
    named = (
        positions_of(name, called)
        or [i for i, label in enumerate(labels) if label.text.upper() == name.upper()]
        or [i for i, each in enumerate(words) if band_code(name) in each]
    )
    if len(named) != 1:
        texts = ", ".join(label.text for label in labels if label.text) or "no names"
        fault = "is not in the scene" if not named else "is there more than once"
        raise UserError(f"{path}: band {name} {fault} (it has bands 1 to {len(labels)}, named: {texts})")
    return named[0]
