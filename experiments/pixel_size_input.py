r"""What it brings that a network is told the size of a pixel: the same training with and without it, over seeds.

    python experiments/pixel_size_input.py --data-dir A B C --pixel-sizes 10 3 0.5 --leave-out B \
        --flags="--encoder efficientnet_lite0 --epochs 10"

Each run is scored at its own threshold: on the validation split of the sources that it learnt from, on the sources left
out, and on ground without landslides if --flags name some. Runs that have rows in OUT or are finished are not trained
again, and one that was stopped goes on.

Writes OUT, a row for each run, split and source; the rows of ground without landslides have, in the place of scores,
the share of its pixels that are called landslide.
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import records
import runs
import script

DATA_DIR = ()  # folders of patches, each a source
PIXEL_SIZES = ()  # float: metres a pixel of each folder, as in train.py
LEAVE_OUT = ()  # names of sources that are the test
FLAGS = ""  # str: more flags of train.py
SEEDS = (0, 1, 2)  # seeds of each training
RESULTS_DIR = "results/pixel_size_input"  # folder of the runs, and of a run to start from
OUT = "results/figures/pixel_size_input.csv"  # file of the table

RANGES = {"SEEDS": (0, 2**32 - 1), "PIXEL_SIZES": (0, 1e4)}


def main():
    """Train and score what is missing, and write the table."""
    if len(DATA_DIR) < 2:
        raise script.UserError("name folders of several pixel sizes with --data-dir")
    rows = records.read_rows(OUT)
    for seed in SEEDS:
        for told in ("on", "off"):
            if any((row["told"], row["seed"]) == (told, str(seed)) for row in rows):
                continue
            run = trained(told, seed)
            for split in ("validation", "test"):
                named = ((told, str(seed), split, *scores) for scores in scores_by_source(run, split))
                rows += [dict(zip(FIELDS, row, strict=True)) for row in named]
            records.write_csv(OUT, FIELDS, [[row[name] for name in FIELDS] for row in rows])
    for row in rows:
        print(" ".join(f"{name} {value}" for name, value in row.items() if value != ""))
    print(f"written: {OUT}")


SCORES = ("dice", "precision", "recall")
FIELDS = ("told", "seed", "split", "source", "patches", *SCORES, "landslide_free_pixels")  # columns of the table


def trained(told, seed):
    """Train a run, unless that is done; return its folder."""
    run = Path(RESULTS_DIR, f"{told}-{seed}")
    if not (run / "threshold.json").exists():
        flags = ["--data-dir", *map(str, DATA_DIR), "--pixel-sizes", *map(str, PIXEL_SIZES), "--leave-out", *LEAVE_OUT]
        flags += ["--pixel-size-input", told, "--seed", str(seed), *shlex.split(FLAGS)]
        runs.train_run(run, flags)
    return run


def scores_by_source(run, split):
    """Score a split, unless that is done; yield (source, patches, scores, share of landslide-free pixels)."""
    path = run / ("metrics.json" if split == "test" else f"metrics_{split}.json")
    if not path.exists():
        runs.call_script("evaluate.py", "--results-dir", str(run.parent), "--run", run.name, "--split", split)
    metrics = records.read_json(path, "evaluate.py")
    for source, scores in metrics["by_source"].items():
        yield source, scores["images"], *(round(scores[name], 4) for name in SCORES), ""
    if ground := metrics.get("landslide_free"):
        yield "landslide-free", ground["patches"], *[""] * len(SCORES), round(ground["pixel_share"], 6)


if __name__ == "__main__":
    script.start(main)
