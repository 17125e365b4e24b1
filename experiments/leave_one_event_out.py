r"""How a network does on ground that it has not seen: each event, or each source, is held out in turn.

    python experiments/leave_one_event_out.py --data-dir data/real/landslide4sense_rgb
    python experiments/leave_one_event_out.py --data-dir DIR --held-out iburi+gorkha+kodagu --recipes encoder shipped \
        --landslide-free-dirs EuroSAT shores
    python experiments/leave_one_event_out.py --data-dir A B C --pixel-sizes 10 3 0.5 --labelled 5 20 40

Validation is cut from the other ground by blocks of adjoining patches; epoch, calibration and threshold are chosen on
it. The events of a folder, and where its patches lie, are those of --places (data/README.md). Runs that are finished
are not trained again, and one that was stopped goes on.

With --labelled, the held-out ground is halved, in blocks. Runs are trained further on so many patches of one half, and
scored on the other, as is the run that has seen none of it.

Writes OUT, a row for each recipe, held-out ground, seed and number of labelled patches: its scores there, and the
fraction of landslides of each size that it detects. Rows of other calls are kept.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import dataset
import records
import runs
import script
from experiments.labelled_patches import draw_patches, link_patches
from mask_values import LANDSLIDE
from patches import layouts, split_table
from patches.blocks import in_patches, split_blocks
from patches.places import find_places

DATA_DIR = ()  # folders of patches, each a source
PIXEL_SIZES = ()  # float: metres a pixel of each folder, as in train.py
PLACES = "auto"  # event and place of patches, as in train.py
HELD_OUT = ()  # events or sources to hold out, each in turn; a+b: two together; none: each event, or each source
RECIPES = ("default", "encoder")  # networks; started: from the run rgb; shipped: as that, needs LANDSLIDE_FREE_DIRS
SEEDS = (0,)  # seeds of each training
EPOCHS = 10  # epochs of every run
LABELLED = ()  # int: numbers of labelled patches of the held-out ground to train further on; none: that is not tried
LANDSLIDE_FREE_DIRS = ()  # folders of ground without landslides, for the recipe shipped
WORK = "results/leave_one_event_out"  # folder of the runs
OUT = "results/figures/leave_one_event_out.csv"  # file of the table

FLAGS = {  # of train.py
    "default": [],
    "encoder": ["--encoder", "efficientnet_lite0"],
    "started": ["--start-from", "rgb"],
    "shipped": "--encoder efficientnet_lite0 --landslide-free-share 0.25 "
    "--augment dihedral affine pixel_size rendering".split(),
}
CHOICES = {"RECIPES": tuple(FLAGS)}
RANGES = {"SEEDS": (0, 2**32 - 1), "EPOCHS": (1, None), "LABELLED": (2, None), "PIXEL_SIZES": (0, 1e4)}
FORMER_NAMES = {"EVENTS": "HELD_OUT"}


def main():
    """Train and score what is missing, and write the table."""
    if not DATA_DIR:
        raise script.UserError("name folders of patches with --data-dir")
    if "shipped" in RECIPES and not LANDSLIDE_FREE_DIRS:
        raise script.UserError("the recipe shipped needs ground without landslides: --landslide-free-dirs")
    work = Path(WORK)
    patches = dataset.open_sources(DATA_DIR, work / "cache", pixel_sizes=PIXEL_SIZES, places_of=PLACES)
    places = [find_places(part, PLACES) for part in patches.parts]
    events = split_table.events_of(places, patches)
    known = sorted(set(events) - {""}) or (patches.sources if len(DATA_DIR) > 1 else [])
    if not known:
        raise script.UserError(f"{patches.data_dir}: the events of its patches are unknown: see --places")
    for each in filter(None, places):
        print(each.source)
    rows = records.read_rows(OUT)
    for held_out in HELD_OUT or known:
        for recipe in RECIPES:
            for seed in SEEDS:
                case = (data_name(), recipe, held_out, str(seed), str(EPOCHS))
                for labelled, scores in results(work, patches, places, events, recipe, held_out, seed):
                    row = dict(zip(KEY, (*case, str(labelled)), strict=True)) | scores
                    rows = [other for other in rows if any(other.get(name) != row[name] for name in KEY)] + [row]
                    print(f"{recipe}, {held_out} held out, seed {seed}, {labelled} labels: Dice {scores['dice']:.3f}")
                    records.write_csv(OUT, rows[-1], [[row.get(name, "") for name in rows[-1]] for row in rows])
    print(f"written: {OUT}")


KEY = ("data", "recipe", "held_out", "seed", "epochs", "labelled")  # columns that tell rows apart


def data_name():
    """Return a name for the folders."""
    return "+".join(Path(folder).resolve().name for folder in DATA_DIR)


def results(work, patches, places, events, recipe, held_out, seed):
    """Yield (number of labelled patches, scores) of the runs of one recipe that hold out some ground.

    The first is "" labelled patches, on all of the held-out ground; those with a number, also 0, are on one half of it.
    """
    run = train(work, recipe, held_out, seed, patches)
    yield "", scores_of(run / "metrics.json", run / "objects.csv")
    if not LABELLED:
        return
    names, sources = held_out.split("+"), np.array(patches.sources)[patches.source_of]
    indices = np.flatnonzero(patches.labelled & (np.isin(events, names) | np.isin(sources, names)))
    half = halves(patches, places, indices)
    for labelled in (0, *LABELLED):
        if labelled > half.sum():
            script.note(f"{held_out} has {half.sum()} patches to label: {labelled} are not tried")
            continue
        yield labelled, adapt(run, patches, indices[half], indices[~half], labelled, seed)


def train(work, recipe, held_out, seed, patches):
    """Train a run without some ground and score it there, unless that is done; return its folder.

    held_out: names of events or sources, joined by "+". A run of other patches is refused.
    """
    run = work / f"{data_name()}-{recipe}-{held_out}-{seed}-{EPOCHS}"
    if not (run / "metrics.json").exists():
        names = held_out.split("+")
        flags = ["--data-dir", *map(str, DATA_DIR), "--places", PLACES, "--pixel-sizes", *map(str, PIXEL_SIZES)]
        flags += ["--leave-out" if set(names) <= set(patches.sources) else "--hold-out", *names]
        flags += ["--no-own-splits", "--split-method", "blocks", "--seed", str(seed), "--epochs", str(EPOCHS)]
        flags += FLAGS[recipe]
        if recipe == "shipped":
            flags += ["--landslide-free-dirs", *map(str, LANDSLIDE_FREE_DIRS)]
        runs.train_run(run, flags)
        runs.call_script("evaluate.py", "--results-dir", str(work), "--run", run.name)
    if records.read_json(run / "metrics.json", "evaluate.py")["data_digest"] != patches.digest:
        raise script.UserError(f"{run} was trained on other patches than {patches.data_dir} hold now: remove it")
    return run


def halves(patches, places, indices):
    """Return which of some patches may be labelled, N bool; the others are for the test. They are blocks of ground.

    Where places are unknown, the patches are halved at random.
    """
    parts = zip(places, patches.parts, strict=True)
    boxes = np.concatenate([known.boxes if known else np.full((len(part), 4), np.nan) for known, part in parts])[
        indices
    ]
    landslide = [np.count_nonzero(patches.read_masks([i]) == LANDSLIDE) for i in indices]
    if not np.isnan(boxes).any():
        assigned = split_blocks(in_patches(boxes), landslide, 0.0, {"test": 0.5}, block=3)
        if assigned is not None:
            return assigned != "test"
    return np.random.default_rng(0).permutation(len(indices)) < len(indices) // 2


def adapt(run, patches, pool, test, labelled, seed):
    """Train a run further on some patches of `pool`, unless that is done; return its scores on `test`.

    labelled: number of patches, a fifth of them for validation; 0: the run as it is.
    """
    name = f"{run.name}-{labelled}"
    folder, adapted = run.parent / "labelled" / name, run.parent / name if labelled else run
    own = ("--results-dir", str(run.parent), "--run", adapted.name)
    scored, pattern = adapted, "metrics.json"
    if not labelled:
        scored, pattern = runs.scores_folder(run), f"metrics_{name}_*.json"
    if not list(scored.glob(pattern)):
        drawn = draw_patches(patches, pool, labelled, np.random.default_rng([seed, labelled])) if labelled else {}
        entries = {}
        for source, part in zip(patches.sources, patches.parts, strict=True):
            prefix = f"{source}/" if len(patches.parts) > 1 else ""
            entries |= {prefix + entry.name: entry for entry in layouts.find_patches(part.data_dir)[0]}
        names = {
            split: [patches.names[i].split("@")[0] for i in chosen]
            for split, chosen in (drawn | {"test": test}).items()
        }
        link_patches(folder, {split: [entries[name] for name in dict.fromkeys(each)] for split, each in names.items()})
        size = float(np.nan_to_num(np.median(patches.pixel_sizes[test])))
        if labelled:
            flags = ["--data-dir", str(folder), "--start-from", run.name, "--seed", str(seed)]
            runs.train_run(adapted, [*flags, *(["--pixel-sizes", str(size)] if size else [])])
            runs.call_script("evaluate.py", *own)
        else:
            flags = ["--data-dir", str(folder), "--split", "test", *(["--pixel-size", str(size)] if size else [])]
            runs.call_script("evaluate.py", *own, *flags)
    (path,) = scored.glob(pattern)
    return scores_of(path, path.with_name(path.name.replace("metrics", "objects")).with_suffix(".csv"))


def scores_of(metrics_path, objects_path):
    """Return what the table says of a run, from metrics.json and objects.csv of evaluate.py."""
    record = records.read_json(metrics_path, "evaluate.py")
    names = ("dice", "iou", "precision", "recall", "average_precision", "threshold")
    scores = {"patches": record["images"], **{name: round(record[name], 4) for name in names}}
    for row in records.read_rows(objects_path):
        scores[f"detected_from_{row['pixels_from']}_pixels"] = row["detected"] and round(float(row["detected"]), 3)
    return scores


if __name__ == "__main__":
    script.start(main)
