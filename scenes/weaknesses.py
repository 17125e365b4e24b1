"""What weakens a map, in sentences for the top of its report."""

from pathlib import Path
from typing import NamedTuple

import geopandas
import h5py
import numpy as np

from records import read_rows

SIDES = ("left", "bottom", "right", "top")


class Weakness(NamedTuple):
    """What makes a map worse than it may look: a title, and what it means and what to do about it."""

    title: str
    text: str


# Titles of what is found before a scene is mapped (preparation.py), by which it is told apart later.
OTHER_VALUES, OTHER_PIXELS = "Other values than in training", "Other pixels than in training"


def list_weaknesses(about, found, learnt_here, min_slope):
    """List what makes a map worse than it may look, the gravest first: [Weakness, ...].

    Args:
        about: {name: text} of how the map was made, see mapping.map_scene.
        found: Weaknesses that were found before the work: unusual values, pixels, elevation.
        learnt_here: whether the run has learnt from labels of this ground, see `has_learnt_here`.
        min_slope: degrees below which polygons are left out, see predict.py.
    """
    seen, excluded = float(about["seen"]), float(about["excluded"])
    listed = []
    if seen <= excluded:
        listed.append(("Nothing was judged", "the scene holds no data, clouds hide it, or all of it is excluded."))
    listed += [(title, f"{text}.") for title, text in found]
    level, _, windows = about.get("distance_from_training", "at home").partition(": ")
    if not (level.startswith("at home") or "see the warnings" in level):  # these are listed already
        title = "Far from training" if level.startswith("far") else "Not quite like the training data"
        listed.append((title, f"{windows}. Expect more errors."))
    if about["clouds"] == "unknown":
        listed.append(("No cloud mask", "clouds can be mapped as landslides, and hide others (--clouds)."))
    if not learnt_here:
        text = "the model is not known to have learnt from any, and can miss most landslides of another event."
        if chosen := about.get("threshold_chosen"):
            text += f" Its threshold was chosen {chosen}: that may not hold here."
        listed.append(("No labels of this ground", f"{text} A few labels change that (suggest_boxes.py)."))
    if excluded < seen < 0.9995:
        listed.append(("Not all of it was seen", f"{1 - seen:.1%} of the ground is hidden. Landslides may lie there."))
    flat = "flat river beds, fields and roofs are not left out"
    if "dem" not in about:
        listed.append(("No elevation", f"{flat} (--dem, --min-slope)."))
    elif not min_slope:
        listed.append(("No smallest slope", f"{flat} (--min-slope)."))
    if "before" not in about:
        listed.append(("One picture", "old scars, quarries and bare fields look like fresh landslides (--before)."))
    return [Weakness(*each) for each in listed]


def has_learnt_here(run, name, grid):
    """Return whether a run is known to have learnt from patches that make_patches.py cut from the ground of a scene.

    It is known as long as the folders of its patches are where they were. Patches of the test split do not count.

    Args:
        run: runs.Run. name: of the scene, by which it is known without a coordinate system. grid: PixelGrid of it.
    """
    folders = run.data_folders if "data_dir" in run.config else ()  # a model of another program has none
    return any(_lies_in(Path(folder), name, grid) for folder in folders)


def _lies_in(folder, name, grid):
    """Return whether patches of a folder, but those of the test, lie on a grid, or come from the scene of that name."""
    table = folder / "patches.csv"
    rows = [row for row in read_rows(table) if row.get("split") != "test"]
    if not rows or not {"image", "scene", *SIDES} <= set(rows[0]):  # another table of that name
        return False
    if grid.crs is None:
        return any(row["scene"] == name for row in rows)
    try:
        with h5py.File(folder / rows[0]["image"]) as file:
            crs = file.attrs.get("crs")
    except OSError:
        return False
    if not crs:
        return False
    left, bottom, right, top = geopandas.GeoSeries([grid.box()], crs=grid.crs).to_crs(crs).total_bounds
    boxes = np.array([[float(row[side]) for side in SIDES] for row in rows])
    apart = (boxes[:, 0] >= right) | (boxes[:, 2] <= left) | (boxes[:, 1] >= top) | (boxes[:, 3] <= bottom)
    return bool(np.isfinite([left, right]).all() and not apart.all())
