r"""How a network does on an event that it has not seen: each event is held out in turn, and the others are learnt from.

    python experiments/leave_one_event_out.py --data-dir data/real/landslide4sense_rgb
    python experiments/leave_one_event_out.py --data-dir DIR --events iburi+gorkha+kodagu --recipes encoder shipped \
        --landslide-free-dirs EuroSAT shores

Validation is cut from the other events by blocks of adjoining patches; epoch, calibration and threshold are chosen on
it. The events of a folder, and where its patches lie, are those of --places (data/README.md). Runs that are finished
are not trained again, and one that was stopped goes on.

Writes OUT, a row for each recipe, held-out event and seed: its scores there, and the fraction of landslides
of each size that it detects. Rows of other calls are kept.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import dataset
import records
import runs
import script
from patches.places import find_places

DATA_DIR = None  # str: folder of patches whose places are known
PLACES = "auto"  # event and place of patches, as in train.py
EVENTS = ()  # events to hold out, each in turn; a+b: two together; none: each event of the folder
RECIPES = ("default", "encoder")  # networks and training; shipped: as the run rgb, which needs LANDSLIDE_FREE_DIRS
SEEDS = (0,)  # seeds of each training
EPOCHS = 10  # epochs of every run
LANDSLIDE_FREE_DIRS = ()  # folders of ground without landslides, for the recipe shipped
WORK = "results/leave_one_event_out"  # folder of the runs
OUT = "results/figures/leave_one_event_out.csv"  # file of the table

FLAGS = {  # of train.py
    "default": [],
    "encoder": ["--encoder", "efficientnet_lite0"],
    "shipped": "--encoder efficientnet_lite0 --landslide-free-share 0.25 "
    "--augment dihedral affine pixel_size rendering".split(),
}
CHOICES = {"RECIPES": tuple(FLAGS)}
RANGES = {"SEEDS": (0, 2**32 - 1), "EPOCHS": (1, None)}


def main():
    """Train and score what is missing, and write the table."""
    if not DATA_DIR:
        raise script.UserError("name a folder of patches with --data-dir")
    if "shipped" in RECIPES and not LANDSLIDE_FREE_DIRS:
        raise script.UserError("the recipe shipped needs ground without landslides: --landslide-free-dirs")
    patches = dataset.open_patches(DATA_DIR, Path(WORK, "cache"))
    places = find_places(patches, PLACES)
    if not places:
        raise script.UserError(f"{DATA_DIR}: the events of its patches are unknown: see --places")
    print(places.source)
    name = Path(DATA_DIR).resolve().name
    rows, key = records.read_rows(OUT), ("data", "recipe", "held_out", "seed", "epochs")
    for held_out in EVENTS or sorted(set(places.events) - {""}):
        for recipe in RECIPES:
            for seed in SEEDS:
                scores = train_and_score(Path(WORK), recipe, held_out, seed, patches.digest)
                case = dict(zip(key, map(str, (name, recipe, held_out, seed, EPOCHS)), strict=True))
                rows = [row for row in rows if any(row[column] != case[column] for column in key)] + [case | scores]
                print(f"{recipe}, {held_out} held out, seed {seed}: Dice {scores['dice']:.3f}")
                records.write_csv(OUT, rows[0], [row.values() for row in rows])
    print(f"written: {OUT}")


def train_and_score(work, recipe, held_out, seed, digest):
    """Train a run without some events, unless that is done; return its scores on them.

    held_out: names of events, joined by "+". digest: of the patches; a run of others is refused.
    """
    run = work / f"{Path(DATA_DIR).resolve().name}-{recipe}-{held_out}-{seed}-{EPOCHS}"
    if not (run / "metrics.json").exists():
        flags = ["--data-dir", str(DATA_DIR), "--places", PLACES, "--hold-out", *held_out.split("+")]
        flags += ["--no-own-splits", "--split-method", "blocks", "--seed", str(seed), "--epochs", str(EPOCHS)]
        flags += FLAGS[recipe]
        if recipe == "shipped":
            flags += ["--landslide-free-dirs", *map(str, LANDSLIDE_FREE_DIRS)]
        runs.train_run(run, flags)
        runs.call_script("evaluate.py", "--results-dir", str(work), "--run", run.name)
    record = records.read_json(run / "metrics.json", "evaluate.py")
    if record["data_digest"] != digest:
        raise script.UserError(f"{run} was trained on other patches than {DATA_DIR} holds now: remove it")
    names = ("dice", "iou", "precision", "recall", "average_precision", "threshold")
    scores = {"patches": record["images"], **{name: round(record[name], 4) for name in names}}
    for row in records.read_rows(run / "objects.csv"):
        scores[f"detected_from_{row['pixels_from']}_pixels"] = row["detected"] and round(float(row["detected"]), 3)
    return scores


if __name__ == "__main__":
    script.start(main)
