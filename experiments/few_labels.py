"""Measure what a few labelled patches of new ground gain: Dice by their number, with and without a run to start from.

    python experiments/few_labels.py --data-dir data/real/jinsha_a --test-dir data/real/jinsha_b
    python experiments/few_labels.py --data-dir data/real/bijie_rgb --test-patches 16 --labelled 5 10 20
    python experiments/few_labels.py --data-dir jinsha_a --test-dir jinsha_b --bands red green blue dem --starts scratch

A fifth of the drawn patches, and at least one with a landslide, is for validation, as a user would split them. Each run
goes through train.py, optimize_threshold.py and evaluate.py with their defaults. The rows of other folders and bands in
the table are kept; existing rows are not computed again.

Writes results/figures/adaptation.csv and adaptation.png.
"""

import shutil
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import dataset
import records
import runs
import script
from bands import light, matching_bands
from experiments.labelled_patches import draw_patches
from mask_values import UNLABELLED
from patches.reading import write_array

DATA_DIR = None  # str: folder of patches: red green blue (0 to 255), perhaps elevation; all 0: no data
TEST_DIR = None  # str: folder to test on; none: TEST_PATCHES of the first folder, always the same
TEST_PATCHES = 16  # patches to test on, without TEST_DIR
BANDS = ("red", "green", "blue")  # bands to use, by name; in HDF5 without names, dem is the fourth
LABELLED = (0, 5, 10, 20, 40, 1000)  # numbers of labelled patches; 0: the runs as they come; at most all
DRAWS = 3  # random draws of each number; of all patches, other fifths for validation
STARTS = ("rgb", "ImageNet")  # runs to start from; ImageNet: only the encoder has learnt before, scratch: nothing has
EPOCHS = 40  # of runs that start from no run
OUT = "results/figures/adaptation.csv"
WORK = "results/cache/adaptation"  # folder for the patches and runs

FLAGS = {  # of train.py
    "ImageNet": "--encoder efficientnet_lite0 --batch-size 8".split(),
    "scratch": "--batch-size 8".split(),
}


def main():
    """Train and score what is missing, then draw the curves."""
    if not DATA_DIR:
        raise script.UserError("name a folder of patches with --data-dir")
    rows = records.read_rows(OUT)
    work = Path(WORK)
    pool, tested = open_folder(DATA_DIR, work), open_folder(TEST_DIR, work) if TEST_DIR else None
    candidates = np.arange(len(pool))
    if not tested:
        candidates = np.random.default_rng(0).permutation(candidates)
        tested, held_out, candidates = pool, candidates[:TEST_PATCHES], candidates[TEST_PATCHES:]
    else:
        held_out = np.arange(len(tested))
    for start in set(STARTS) - set(FLAGS):  # a run starts from one in the same folder
        shutil.copytree(Path("results", start), work / "runs" / start, dirs_exist_ok=True)
    names = Path(DATA_DIR).name, Path(TEST_DIR).name if TEST_DIR else f"{len(held_out)} others"
    for count in LABELLED:
        count = min(count, len(candidates))
        for draw in range(DRAWS if count else 1):
            rng = np.random.default_rng([draw, count])
            drawn = draw_patches(pool, candidates, count, rng) if count else {}
            folder = work / f"{names[0]}-{len(BANDS)}-{count}-{draw}"
            for start in STARTS:
                if not count and start in FLAGS:
                    continue
                key = (*names, " ".join(BANDS), start, str(sum(map(len, drawn.values()))), str(draw))
                if any(tuple(row[name] for name in FIELDS[:6]) == key for row in rows):
                    continue
                if not folder.exists():
                    write(folder, pool, drawn)
                    write(folder, tested, {"test": held_out})
                began = time.monotonic()
                scores = (train_and_score if count else score_untrained)(work, folder, start)
                figures = (round(scores["dice"], 4), round(scores["iou"], 4), round(scores["threshold"], 3))
                rows.append(dict(zip(FIELDS, (*key, *figures, round(time.monotonic() - began)), strict=True)))
                records.write_csv(OUT, FIELDS, [[row[name] for name in FIELDS] for row in rows])
                print(" ".join(f"{name} {rows[-1][name]}" for name in FIELDS[3:]))
    draw_curves(rows, Path(OUT).with_suffix(".png"))


# of the table; constants above main() are flags
FIELDS = ("trained_on", "tested_on", "bands", "start", "labelled", "draw", "dice", "iou", "threshold", "seconds")


def open_folder(folder, work):
    """Open a folder of patches with its own names of bands."""
    return dataset.open_patches(folder, work / "cache")


def write(folder, patches, splits):
    """Write patches as make_patches.py does, with the names of their bands. splits: {split: indices}."""
    dtype = np.uint8 if light(BANDS).all() else np.float32
    columns = matching_bands(BANDS, patches.file_bands, patches.data_dir, "--bands", arrays=True)
    for split, indices in splits.items():
        for number, index in enumerate(indices, 1):
            image, mask = patches.read([index])[0], patches.read_masks([index])[0]
            # the tiles of Jinsha are cut from a mosaic without a tag; of other patches black is ground
            mask = np.where((image == 0).all(-1), np.uint8(UNLABELLED), mask)
            image = image[..., columns].astype(dtype)
            about = {"bands": list(BANDS), "values": "display"}
            write_array(folder / "images" / split / f"image_{number}.h5", "img", image, about)
            write_array(folder / "masks" / split / f"mask_{number}.h5", "mask", mask)


def train_and_score(work, folder, start):
    """Train a run on a folder and return its metrics on the test split."""
    run = ("--results-dir", str(work / "runs"), "--run", f"{folder.name}-{start}")
    flags = (*FLAGS[start], "--epochs", str(EPOCHS)) if start in FLAGS else ("--start-from", start)
    runs.call_script("train.py", *run, "--data-dir", str(folder), "--overwrite", *flags)
    runs.call_script("optimize_threshold.py", *run)
    runs.call_script("evaluate.py", *run)
    return records.read_json(work / "runs" / run[-1] / "metrics.json", "evaluate.py")


def score_untrained(work, folder, start):
    """Score a run without training on the test split of a folder, and return its metrics."""
    run = ("--results-dir", str(work / "runs"), "--run", start)
    runs.call_script("evaluate.py", *run, "--data-dir", str(folder), "--split", "test")
    (path,) = runs.scores_folder(work / "runs" / start).glob(f"metrics_{folder.name}_*.json")
    return records.read_json(path, "evaluate.py")


def draw_curves(rows, path):
    """Draw Dice over the number of labelled patches, as points and medians; each pair of folders has a panel."""
    from plots import BLUE, GREEN, ORANGE, PURPLE, plt, save

    pairs = list(dict.fromkeys((row["trained_on"], row["tested_on"]) for row in rows))
    figure, axes = plt.subplots(1, len(pairs), figsize=(4.5 * len(pairs), 3.6), squeeze=False, layout="constrained")
    for axis, pair in zip(axes[0], pairs, strict=True):
        of_pair = [row for row in rows if (row["trained_on"], row["tested_on"]) == pair]
        kinds = list(dict.fromkeys((row["start"], row["bands"]) for row in of_pair))
        for colour, (start, bands) in zip((BLUE, ORANGE, GREEN, PURPLE), kinds, strict=False):
            curve = {}
            for row in of_pair:
                if (row["start"], row["bands"]) == (start, bands):
                    curve.setdefault(int(row["labelled"]), []).append(float(row["dice"]))
            counts = sorted(curve)
            label = f"from {start}" + (" with elevation" if "dem" in bands else "")
            axis.plot(counts, [np.median(curve[n]) for n in counts], "_-", markersize=12, color=colour, label=label)
            for n in counts:
                axis.plot([n] * len(curve[n]), curve[n], ".", color=colour)
        counts = sorted({int(row["labelled"]) for row in of_pair})
        axis.set_xscale("symlog", linthresh=5)
        axis.set(xlabel="labelled patches", ylabel="pooled Dice", ylim=(0, 1))
        axis.set(title=f"{pair[0]}, tested on {pair[1]}", xticks=counts, xticklabels=counts)
        axis.minorticks_off()
        axis.legend(frameon=False)
    save(figure, path)


if __name__ == "__main__":
    script.start(main)
