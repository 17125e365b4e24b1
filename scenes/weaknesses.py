"""What weakens a map, in sentences for the top of its report."""

from pathlib import Path

import geopandas
import h5py
import numpy as np

from records import read_rows

SIDES = ("left", "bottom", "right", "top")


def list_weaknesses(about, warnings, learnt_here, min_slope):
    """List what makes a map worse than it may look, the gravest first: [(title, what it means and what to do), ...].

    Args:
        about: {name: text} of how the map was made, see mapping.map_scene.
        warnings: texts of what is unusual about the scene for the run: its values, its pixels, its elevation.
        learnt_here: whether the run has learnt from labels of this ground, see `has_learnt_here`.
        min_slope: degrees below which polygons are left out, see predict.py.
    """
    seen, excluded = float(about["seen"]), float(about["excluded"])
    listed = []
    if seen <= excluded:
        listed.append(("Nothing was judged", "the scene holds no data, clouds hide it, or all of it is excluded."))
    listed += [(_title(text), f"{text}.") for text in warnings]
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
    return listed


def _title(warning):
    """Return the title of a warning of preparation.py."""
    titles = {
        "far from": "Other values than in training",
        "pixels of": "Other pixels than in training",
        "the size of a pixel": "Pixels of unknown size",
        "scaling": "Two scalings",
        "the run learnt from Level-1C": "Another product than in training",
    }
    return next((title for start, title in titles.items() if warning.startswith(start)), "Elevation is missing")


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
