"""Where patches lie: the event and the place of each, by which splits keep neighbours together.

**Landslide4Sense** publishes no coordinates. Its 3799 training patches are four rasters of adjoining patches that do
not overlap, numbered row by row: the right edge of a patch continues in the left edge of the next, and its lower edge
in the upper edge of the patch one raster width later. Of the 1781 pictures of the RGB subset with published masks,
1177 of 1257 neighbours along rows and 1062 of 1228 along columns have edges that correlate above 0.8 (median 0.93 and
0.92), and none of the 8 pairs across the end of a row. Laid side by side again they are Sentinel-2 scenes. The events
are named after the ground that these scenes show: Taiwan (Morakot 2009), Iburi 2018, Gorkha 2015, Kodagu 2018, the
four sources that the authors name (Ghorbanzadeh et al. 2022).

**Its RGB subset** (Kaggle "landslide-divided") numbers its pictures from 0 in the order of the text-sorted names of
the originals: image_1.h5, image_10.h5, image_100.h5, image_1000.h5 ... Of 17 patches that were at hand in both sets,
all agree to one digital number, and their masks to the pixel.

A random split of either set puts neighbours, often two parts of one landslide, on both sides.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from records import portable, read_table
from script import UserError, note

RASTERS = (  # of Landslide4Sense's training patches: event, number of the first patch, number of columns
    ("taiwan", 1, 41),
    ("iburi", 3035, 15),
    ("gorkha", 3185, 11),
    ("kodagu", 3306, 26),
)
TRAINING = 3799  # patches of its training split
PIXEL_SIZE = 10.0  # metres, of the known sets: Sentinel-2's
RGB_SUBSET = {"train": 1385, "validation": 396, "test": 199}  # pictures of the RGB subset
APART = 1e6  # patches between events that have no coordinates
KNOWN_SETS = ("landslide4sense", "landslide4sense_rgb")
SETS = ("auto", "none", *KNOWN_SETS)  # values of PLACES in train.py that are no file


class Places(NamedTuple):
    """The place of each patch of a folder.

    Attributes:
        events: N names, "" where it is unknown.
        boxes: N x 4, left, bottom, right and top of each patch, in patches or in map units, NaN where it is unknown.
            Events that have no coordinates lie far from each other.
        source: one line that says how they are known.
    """

    events: np.ndarray
    boxes: np.ndarray
    source: str


def landslide4sense_place(number):
    """Return (event, row, column) of a training patch of Landslide4Sense; number: in its name, from 1 to 3799."""
    if not 1 <= number <= TRAINING:
        raise ValueError(f"Landslide4Sense numbers its training patches 1 to {TRAINING}, not {number}")
    event, first, columns = next(raster for raster in reversed(RASTERS) if number >= raster[1])
    return event, (number - first) // columns, (number - first) % columns


def original_number(number):
    """Return the number in Landslide4Sense of a picture of the RGB subset, whose numbers start at 0."""
    return TEXT_SORTED[number]


TEXT_SORTED = sorted(range(1, TRAINING + 1), key=lambda number: f"image_{number}.h5")


def find_places(patches, source="auto"):
    """Find the place of each patch of a folder.

    Args:
        patches: packing.Patches.
        source: auto: patches.csv of make_patches.py in the folder, or one of the known sets by its names and counts;
            none; landslide4sense, landslide4sense_rgb: a part of these sets, whose numbers are kept; or the path of a
            table with the columns image and event, and perhaps row and column (in patches), or image, scene, left,
            bottom, right, top.

    Returns:
        Places, or None where nothing is known.

    Raises:
        UserError: the table cannot be used, or numbers are none of the set.
    """
    if source == "none":
        return None
    if source in KNOWN_SETS:
        return _of_set(source, patches, f"as PLACES {source} says")
    if source != "auto":
        return _of_table(Path(source), patches.names)
    if (table := Path(patches.data_dir, "patches.csv")).exists():
        try:
            return _of_table(table, patches.names)
        except UserError as error:  # another table of that name, or patches were added
            note(f"{error}: the places of patches are unknown")
            return None
    name = known_set(patches)
    return _of_set(name, patches, "by names and counts of its files") if name else None


def known_set(patches):
    """Return which of the known sets the patches of a folder are, by the names and counts of its files, or None."""
    numbers, bands = patches.numbers, len(patches.file_bands)
    if numbers.dtype.kind not in "ui":
        return None
    counts = {split: int((patches.own_splits == split).sum()) for split in RGB_SUBSET}
    complete = counts["train"] and all(counts[split] in (0, size) for split, size in RGB_SUBSET.items())
    if bands == 3 and complete and min(numbers) == 0 and max(numbers) < TRAINING:
        return "landslide4sense_rgb"
    if bands == 14 and sorted(numbers[patches.own_splits == "train"]) == list(range(1, TRAINING + 1)):
        return "landslide4sense"
    return None


def _of_set(name, patches, reason):
    """Return the Places of a part of Landslide4Sense, of which training patches have one, or of its RGB subset."""
    events, boxes = np.full(len(patches), "", "U16"), np.full((len(patches), 4), np.nan)
    for i, (number, split) in enumerate(zip(patches.numbers.tolist(), patches.own_splits, strict=True)):
        if name == "landslide4sense" and split in ("validation", "test"):
            continue
        try:
            original = original_number(number) if name == "landslide4sense_rgb" else number
            events[i], row, column = landslide4sense_place(original)
        except (ValueError, IndexError, TypeError):
            raise UserError(f"{patches.data_dir}: {number} is no number of a training patch of {name}") from None
        boxes[i] = box_of_cell(row, column, [event for event, *_ in RASTERS].index(events[i]))
    counted = ", ".join(f"{event} {np.count_nonzero(events == event)}" for event, *_ in RASTERS)
    return Places(events, boxes, f"places of {name}, {reason}: {counted} patches")


def box_of_cell(row, column, event):
    """Return the box of a patch at a row and column of its event, in patches; event: its number."""
    left = column + event * APART
    return left, -row - 1, left + 1, -row


def surroundings(patches, places, i):
    """Lay a patch and what lies around it side by side, in true colour.

    Args:
        patches: packing.Patches. places: Places of them. i: position of the patch in the middle.

    Returns:
        3 H x 3 W x 3 float32 in file units, NaN where no patch is; None if the place of the patch is unknown, or if it
        has no neighbours.
    """
    left, bottom, right, top = places.boxes[i]
    height, width = patches.input_shape[:2]
    if np.isnan(left):
        return None
    down = np.rint((top - places.boxes[:, 3]) / (top - bottom) * height)
    across = np.rint((places.boxes[:, 0] - left) / (right - left) * width)
    near = np.flatnonzero((np.abs(down) < 2 * height) & (np.abs(across) < 2 * width))
    if len(near) == 1:
        return None
    whole = np.full((3, 5 * height, 5 * width), np.nan, np.float32).transpose(1, 2, 0)  # a margin for partial patches
    for j in sorted(near, key=lambda j: j == i):  # of overlapping patches, the one in the middle is seen
        row, column = 2 * height + int(down[j]), 2 * width + int(across[j])
        whole[row : row + height, column : column + width] = patches.read_pictures([j])[0]
    return whole[height:-height, width:-width]


def _of_table(path, names):
    """Return the Places that a table gives, or raise UserError."""
    try:
        rows = {portable((row["image"] or "").strip()): row for row in read_table(path)}
        listed = [rows[portable(name)] for name in names]
        events = [row.get("event") or row["scene"] for row in listed]
        if listed and "left" in listed[0]:
            boxes = [[float(row[side]) for side in ("left", "bottom", "right", "top")] for row in listed]
        elif "row" not in listed[0]:
            boxes = np.full((len(listed), 4), np.nan)
        else:
            numbers = {event: number for number, event in enumerate(sorted(set(events)))}
            boxes = [
                box_of_cell(float(row["row"]), float(row["column"]), numbers[event])
                for row, event in zip(listed, events, strict=True)
            ]
    except KeyError as error:
        raise UserError(f"{path} gives no place of a patch: {error} is missing in it") from None
    except (ValueError, TypeError):  # a row with fewer cells than columns has None
        raise UserError(f"{path} gives no place of a patch: one of its numbers is none, or is missing") from None
    counted = ", ".join(f"{event} {events.count(event)}" for event in dict.fromkeys(events))
    return Places(np.array(events), np.array(boxes, float).reshape(-1, 4), f"places by {path}: {counted} patches")
