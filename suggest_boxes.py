"""Suggest where to label next: boxes of a mapped scene, as a GeoPackage to work through in QGIS.

    python suggest_boxes.py --map results/rgb/maps/scene_probability.tif
    python suggest_boxes.py --map results/event/maps/scene_probability.tif --by random --labelled boxes.gpkg

Draw all landslides within the boxes, then give the boxes as --area: ground outside them counts as not labelled.

Writes <scene>_boxes.gpkg beside the map. Next: python make_patches.py --scene SCENE --labels slides.gpkg --area BOXES
"""

from pathlib import Path

import script
from map_files import FILES, change_time, check_targets

# ---------------------------------------------------------------------- input and output
MAP = None  # str: raster of probabilities that predict.py wrote
AREA = ()  # vector files of the ground that can be labelled; none: the whole map
AREA_LAYER = ()  # their layers; none: seen, as predict.py writes it, or the only one
AREA_WHERE = None  # str: condition on their columns in SQL; none: all rows
LABELLED = ()  # vector files of ground that is labelled already, which gets no box
LABELLED_LAYER = ()  # their layers; none: the only one
LABELLED_WHERE = None  # str: condition on their columns in SQL; none: all rows
OUT = None  # str: file to write; none: <scene>_boxes.gpkg beside the map
OVERWRITE = False  # replace the file
# ---------------------------------------------------------------------- boxes
BOXES = 20  # number of boxes
BY = "doubt"  # doubt: where the network is least sure (mean entropy); random: spread over the scene by chance
SIZE = 128  # pixels a side of a box: those of a patch
SEED = 0  # seed of the random choice

CHOICES = {"BY": ("doubt", "random")}
RANGES = {"BOXES": (1, None), "SIZE": (8, None), "SEED": (0, 2**32 - 1)}


def main():
    """Read the map, choose tiles and write their boxes."""
    if not MAP:
        raise script.UserError("give the raster of probabilities that predict.py wrote with --map")
    from scenes import suggestions
    from scenes.opening import check_readable
    from scenes.vectors import Choice

    check_readable(MAP)
    if MAP.endswith(FILES["mask"]):
        raise script.UserError(f"{MAP} is a mask: give the probabilities beside it, <scene>{FILES['probability']}")
    target = Path(OUT) if OUT else Path(MAP).with_name(Path(MAP).stem.removesuffix("_probability") + "_boxes.gpkg")
    check_targets([target], OVERWRITE)
    grid, doubt = suggestions.tile_doubt(MAP, SIZE)
    choices = Choice(AREA_LAYER, AREA_WHERE, "area-"), Choice(LABELLED_LAYER, LABELLED_WHERE, "labelled-")
    free = suggestions.doubt_of_free_tiles(doubt, grid, SIZE, AREA, LABELLED, *choices)
    tiles = suggestions.choose_tiles(free, BOXES, None if BY == "doubt" else SEED)
    if not tiles:
        raise script.UserError(f"{MAP}: no box of {SIZE} pixels is left that was seen and can be labelled")
    suggestions.write(target, suggestions.boxes(grid, SIZE, tiles, doubt), change_time(MAP))
    print(f"{len(tiles)} boxes of {SIZE} pixels ({BY}): {target}")
    print(f"next: draw all landslides in them, then python make_patches.py --scene SCENE --labels FILE --area {target}")


if __name__ == "__main__":
    script.start(main)
