"""Suggest where to label next: boxes of a mapped scene, and the page to label them on, in any browser.

    python suggest_boxes.py --map results/rgb/maps/scene_probability.tif
    python suggest_boxes.py --map results/event/maps/scene_probability.tif --by random --labelled boxes.gpkg

Open <scene>_desk.html: draw the landslides within each box, judge what the model predicts, finish the box, and save.
Only finished boxes count as labelled. In QGIS instead, draw all landslides within the boxes, and give these as --area.

Writes <scene>_desk.html and <scene>_boxes.gpkg beside the map. The page of an earlier call is replaced: the work on it
is in the browser and in the saved file. Next: python make_patches.py --scene SCENE --labels <scene>_labels.geojson
"""

from pathlib import Path

import script
from map_files import FILES, change_time, check_targets

# ---------------------------------------------------------------------- input and output
MAP = None  # str: raster of probabilities that predict.py wrote
SCENE = ()  # the scene of the map; none: where it was when it was mapped
AREA = ()  # vector files of the ground that can be labelled; none: the whole map
AREA_LAYER = ()  # their layers; none: seen, as predict.py writes it, or the only one
AREA_WHERE = None  # str: condition on their columns in SQL; none: all rows
LABELLED = ()  # vector files of ground that is labelled already, which gets no box
LABELLED_LAYER = ()  # their layers; none: the only one
LABELLED_WHERE = None  # str: condition on their columns in SQL; none: all rows
OUT = None  # str: file of the boxes; none: <scene>_boxes.gpkg beside the map
OVERWRITE = False  # replace the file of the boxes
DESK = True  # write the page, <scene>_desk.html, beside the boxes
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
    from scenes import mapped_scene, suggestions
    from scenes.opening import check_readable
    from scenes.vectors import Choice

    check_readable(MAP)
    if MAP.endswith(FILES["mask"]):
        raise script.UserError(f"{MAP} is a mask: give the probabilities beside it, <scene>{FILES['probability']}")
    name = Path(MAP).stem.removesuffix("_probability")
    target = Path(OUT) if OUT else Path(MAP).with_name(f"{name}_boxes.gpkg")
    check_targets([target], OVERWRITE, "--out")
    grid, doubt = suggestions.tile_doubt(MAP, SIZE)
    if not grid.crs and (AREA or LABELLED or not DESK):
        raise script.UserError(f"{MAP} has no coordinate system: boxes are in pixels, on the page (--desk) alone")
    choices = Choice(AREA_LAYER, AREA_WHERE, "area-"), Choice(LABELLED_LAYER, LABELLED_WHERE, "labelled-")
    free = suggestions.doubt_of_free_tiles(doubt, grid, SIZE, AREA, LABELLED, *choices)
    tiles = suggestions.choose_tiles(free, BOXES, None if BY == "doubt" else SEED)
    if not tiles:
        raise script.UserError(f"{MAP}: no box of {SIZE} pixels is left that was seen and can be labelled")
    page = target.with_name(f"{name}{FILES['desk']}")
    on_page = [(row * SIZE, column * SIZE, SIZE) for row, column in tiles]
    has_page = DESK and write_page(mapped_scene, page, on_page)  # it refuses another scene before anything is written
    if grid.crs:
        suggestions.write(target, suggestions.boxes(grid, SIZE, tiles, doubt), change_time(MAP))
        print(f"{len(tiles)} boxes of {SIZE} pixels ({BY}): {target}")
    if has_page:
        labels = f"{name}_labels.geojson"
        print(f"next: open {page} in a browser, label, and save {labels}")
        print(f"then: python make_patches.py --scene SCENE --labels {labels}")
    else:
        print("next: draw all landslides in them, for example in QGIS")
        print(f"then: python make_patches.py --scene SCENE --labels FILE --area {target}")


def write_page(mapped_scene, path, boxes):
    """Write the page; return whether it could be: a map whose scene is not at hand has boxes alone.

    mapped_scene: that module. path: of the page. boxes: [(row, column, pixels a side), ...].
    """
    try:
        mapped_scene.write_desk(path, MAP, boxes, SCENE)
    except script.UserError as error:
        if SCENE:
            raise
        script.note(f"no page to label on is written: {error}")
        return False
    return True


if __name__ == "__main__":
    script.start(main)
