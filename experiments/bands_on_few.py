"""Measure what more bands than red, green and blue bring on a few labelled patches, in folds by place.

    python experiments/bands_on_few.py --data-dir data/landslide4sense_14band --places landslide4sense

A fold is a strip of ground: patches of one event in neighbouring rows, with an empty row between two folds. Each fold
is the test once, the next one is validation, and the others are trained on. Runs start from random weights or from
`--starts`, once with the bands RGB and once with all bands of the files; new bands have weights of 0 at first.

Writes OUT: for each start and set of bands the scores of each fold, and those of all folds together, pooled over their
pixels. Rows that exist are not computed again. A run to start from may have seen the ground of the test, which this
script cannot know: its rows then compare the bands alone.
"""

import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import dataset
import records
import runs
import script
from experiments.labelled_patches import link_patches
from patches import layouts
from patches.places import find_places

DATA_DIR = None  # str: folder of patches whose places are known
PLACES = "auto"  # event and place of patches, as in train.py
PIXEL_SIZE = 10.0  # metres a pixel
RGB = ("B4", "B3", "B2")  # the few bands
STARTS = ("scratch", "rgb")  # runs to start from; scratch: none
EPOCHS = 40  # of runs that start from no run
LEAST = 3  # patches of a fold
OUT = "results/figures/bands_on_few.csv"  # file of the table
WORK = "results/cache/bands_on_few"  # folder for the patches and runs

RANGES = {"LEAST": (1, None), "EPOCHS": (1, None), "PIXEL_SIZE": (1e-3, 1e4)}


def main():
    """Train and score what is missing, and write the table."""
    if not DATA_DIR:
        raise script.UserError("name a folder of patches with --data-dir")
    work = Path(WORK)
    patches = dataset.open_patches(DATA_DIR, work / "cache")
    places = find_places(patches, PLACES)
    if not places:
        raise script.UserError(f"{DATA_DIR}: it is unknown where its patches lie: see --places")
    folds = folds_by_place(places, np.flatnonzero(patches.labelled), LEAST)
    if len(folds) < 3:
        raise script.UserError(f"{DATA_DIR}: its patches lie in {len(folds)} strips of ground: three are needed")
    entries = {entry.name: entry for entry in layouts.find_patches(DATA_DIR)[0]}
    for start in set(STARTS) - {"scratch"}:  # a run starts from one in the same folder
        shutil.copytree(Path("results", start), work / "runs" / start, dirs_exist_ok=True)
    rows = records.read_rows(OUT)
    for start in STARTS:
        for bands in (RGB, patches.bands):
            for number in range(len(folds)):
                key = (start, f"{len(bands)}", f"{number + 1}")
                if any(tuple(row[name] for name in FIELDS[:3]) == key for row in rows):
                    continue
                splits = {"test": folds[number], "validation": folds[(number + 1) % len(folds)]}
                splits["train"] = np.concatenate(
                    [fold for fold in folds if not any(fold is s for s in splits.values())]
                )
                linked = {split: [entries[patches.names[i]] for i in indices] for split, indices in splits.items()}
                folder = link_patches(work / f"fold_{number + 1}", linked)
                scores = train_and_score(work, folder, start, bands)
                events = " ".join(sorted(set(places.events[folds[number]])))
                rows.append(dict(zip(FIELDS, (*key, events, *scores), strict=True)))
                print(" ".join(f"{name} {value}" for name, value in rows[-1].items()))
                records.write_csv(OUT, FIELDS, [[row[name] for name in FIELDS] for row in rows])
            rows = with_total(rows, start, len(bands))
            records.write_csv(OUT, FIELDS, [[row[name] for name in FIELDS] for row in rows])
    print(f"written: {OUT}")


# of the table; constants above main() are flags
FIELDS = ("start", "bands", "fold", "event", "patches", "dice", "average_precision", "threshold", "tp", "fp", "fn")


def folds_by_place(places, indices, least):
    """Divide patches into strips of ground; return a list of arrays of their indices.

    A strip ends at the end of an event, or where a row of patches is empty and it holds `least` patches. A rest of
    fewer joins the strip before it.
    """
    folds = []
    for event in sorted(set(places.events[indices]) - {""}):
        of_event = indices[places.events[indices] == event]
        top = places.boxes[of_event, 3]
        order = np.argsort(-top, kind="stable")
        of_event, top = of_event[order], top[order]
        height = places.boxes[of_event[0], 3] - places.boxes[of_event[0], 1]
        strips, first = [], 0
        for last in range(1, len(of_event) + 1):
            end = last == len(of_event)
            if end or (top[last - 1] - top[last] > 1.5 * height and last - first >= least):
                strips.append(of_event[first:last])
                first = last
        if len(strips) > 1 and len(strips[-1]) < least:
            strips[-2:] = [np.concatenate(strips[-2:])]
        folds += strips
    return folds


def train_and_score(work, folder, start, bands):
    """Train a run on a folder; return (patches, Dice, average precision, threshold, tp, fp, fn) of its test split."""
    run = ("--results-dir", str(work / "runs"), "--run", f"{folder.name}-{start}-{len(bands)}")
    flags = ["--data-dir", str(folder), "--pixel-sizes", str(PIXEL_SIZE), "--bands", *bands, "--overwrite"]
    flags += ["--epochs", str(EPOCHS), "--batch-size", "8"] if start == "scratch" else ["--start-from", start]
    runs.call_script("train.py", *run, *flags)
    runs.call_script("optimize_threshold.py", *run)
    runs.call_script("evaluate.py", *run)
    metrics = records.read_json(work / "runs" / run[-1] / "metrics.json", "evaluate.py")
    rounded = [round(metrics[name], 4) for name in ("dice", "average_precision", "threshold")]
    return metrics["images"], *rounded, *(metrics[name] for name in ("tp", "fp", "fn"))


def with_total(rows, start, bands):
    """Return the rows with one, fold "all", that pools the pixels of all folds of a start and a number of bands."""
    own = [row for row in rows if (row["start"], row["bands"]) == (start, str(bands))]
    folds = [row for row in own if row["fold"] != "all"]
    counts = {name: sum(int(row[name]) for row in folds) for name in ("patches", "tp", "fp", "fn")}
    dice = 2 * counts["tp"] / max(2 * counts["tp"] + counts["fp"] + counts["fn"], 1)
    total = dict.fromkeys(FIELDS, "") | {"start": start, "bands": str(bands), "fold": "all", "dice": round(dice, 4)}
    return [row for row in rows if row not in own] + folds + [total | counts]


if __name__ == "__main__":
    script.start(main)
