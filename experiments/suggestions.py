"""Compare Dice by the number of labelled patches, if patches are chosen by the network's doubt or by chance.

    python experiments/suggestions.py --data-dir data/real/landslide4sense_rgb

POOL random patches of the training split can be labelled. A first network learns from START of them. Then as many again
are added, ROUNDS times: by chance, or those where the network is least sure (the mean entropy of its probabilities,
averaged over flips and turns), and a new network is trained. Each is scored on the validation split, at the best
threshold of that split: this is a comparison of two ways to choose, not a score.

Writes results/figures/suggestions.csv, a row for each seed, way and number of patches; existing rows stay.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import dataset
import records
import runs
import script
from networks import keras_start
from patches.reading import write_array
from patches.splits import split_patches
from runs import Run
from scenes.suggestions import entropy

DATA_DIR = None  # str: folder of patches with masks
START = 40  # labelled patches of the first network
ROUNDS = 1  # times that as many are added
POOL = 400  # patches to choose from
SEEDS = (0, 1, 2)  # of the first patches, and of the choice by chance
NETWORK = "--encoder efficientnet_lite0 --epochs 12 --epoch-steps 10"  # flags of train.py
OUT = "results/figures/suggestions.csv"
WORK = "results/cache/suggestions"  # folder for patches and runs


def main():
    """Grow the labelled patches in both ways, for each seed."""
    if not DATA_DIR:
        raise script.UserError("name a folder of patches with --data-dir")
    rows = records.read_rows(OUT)
    work = Path(WORK)
    patches = dataset.open_patches(DATA_DIR, work / "cache")
    assigned, _ = split_patches(patches, test_split="validation")
    for seed in SEEDS:
        pool = np.random.default_rng(seed).permutation(np.flatnonzero(assigned == "train"))[:POOL]
        for way in ("random", "doubt"):
            labelled = pool[:START]
            for added in range(ROUNDS + 1):
                shared = "start" if not added else way
                folder = work / f"{shared}-{seed}-{len(labelled)}"
                dice = train_and_score(work, folder, patches, labelled, np.flatnonzero(assigned == "validation"), seed)
                key = (way, str(seed), str(len(labelled)))
                if all(tuple(row[name] for name in FIELDS[:3]) != key for row in rows):
                    rows.append(dict(zip(FIELDS, (*key, round(dice, 4)), strict=True)))
                    records.write_csv(OUT, FIELDS, [[row[name] for name in FIELDS] for row in rows])
                    print(" ".join(f"{name} {rows[-1][name]}" for name in FIELDS))
                if added < ROUNDS:
                    rest = pool[~np.isin(pool, labelled)]
                    if way == "doubt":
                        doubts = doubt(Run(work / "runs" / folder.name), patches, rest)
                        rest = rest[np.argsort(-doubts, kind="stable")]
                    labelled = np.append(labelled, rest[:START])


# of the table; constants above main() are flags
FIELDS = ("way", "seed", "labelled", "dice")


def train_and_score(work, folder, patches, labelled, validated, seed):
    """Train on some patches, unless that is done; return the highest Dice over thresholds on the validation split."""
    run = work / "runs" / folder.name
    if not (run / "threshold.json").exists():
        for split, indices in (("train", labelled), ("validation", validated), ("test", validated[:1])):
            for number, index in enumerate(indices, 1):
                image = patches.images[index]
                write_array(folder / "images" / split / f"image_{number}.h5", "img", image)
                write_array(folder / "masks" / split / f"mask_{number}.h5", "mask", patches.read_masks([index])[0])
        runs.train_run(run, ["--data-dir", str(folder), "--seed", str(seed), *NETWORK.split()])
    return records.read_json(run / "threshold.json", "optimize_threshold.py")["dice"]


def doubt(run, patches, indices):
    """Return the mean entropy of a run's probabilities on some patches, averaged over flips and turns."""
    keras_start.import_keras()
    from networks.inference import predict
    from networks.model_files import load_model

    doubts = [
        entropy(probabilities).mean((1, 2))
        for _, _, probabilities in predict(load_model(run.folder), patches, indices, 32, tta=True)
    ]
    return np.concatenate(doubts)


if __name__ == "__main__":
    script.start(main)
