"""Train on one data set, test on every other, and measure what adaptation to the target gains.

    python experiments/cross_dataset.py --data-dirs data/l4s data/bijie                      # every pair
    python experiments/cross_dataset.py --data-dirs data/a data/b data/c --leave-one-out     # all but one -> that one

Trains one run for each folder, in results/cross_dataset/<folder>/; existing runs are reused. Tests each run on the test
split of every other folder: unchanged, with images normalised or histograms matched to the source, with batch
normalisation re-estimated on the target's images (AdaBN), and with a new threshold or fine-tuning on k labelled patches
of the target. All folders must have the same bands and size of patches.

Writes sets.csv, scores.csv, matrix.csv, matrix.png and domain_adaptation.png into results/cross_dataset/.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up
import dataset
import metrics
import records
import runs
import script
from experiments import domain_adaptation
from networks.inference import confusions, threshold_curve
from networks.model_files import load_model
from patches import layouts, reading, splits

DATA_DIRS = ()  # folders of patches, two or more; the last part of each path is its name
OUT_DIR = "results/cross_dataset"  # folder of the scores and the runs
TEST_SPLIT = "test"  # the folder's own split to hold out, as in train.py
SIZE = 0  # resample pictures to this many pixels a side, as in train.py; 0: keep their size
LEAVE_ONE_OUT = False  # train on all folders but one, instead of on one; in-domain runs are trained as well
EPOCHS = 40  # epochs of every run
NETWORK = ""  # further flags of train.py for every run, as one text: "--base-filters 24 --max-filters 96"
LABELLED = (5, 10, 20, 40)  # numbers of labelled target patches to adapt with
DRAWS = 3  # random draws of each number of patches, from the target's training split
FINE_TUNE_STEPS = 60  # training steps of fine-tuning
FINE_TUNE_RATE = 3e-4  # peak learning rate of fine-tuning
BATCH_SIZE = 32  # patches in a batch of prediction
SEED = 0  # seed of the runs and the draws

CHOICES = {"TEST_SPLIT": splits.TEST_SPLITS}


def main():
    """Train the missing runs, test each on every other data set, and write scores and pictures."""
    script.check_ranges(globals(), EPOCHS=(1, None), DRAWS=(1, None), FINE_TUNE_STEPS=(1, None), BATCH_SIZE=(1, None))
    script.check_ranges(globals(), FINE_TUNE_RATE=(1e-12, None), SIZE=(0, None), SEED=(0, 2**32 - 1))
    script.check_choices(globals(), **CHOICES)
    try:
        shlex.split(NETWORK)
    except ValueError as error:
        raise script.UserError(f"NETWORK {NETWORK!r} cannot be split into flags: {error}") from None
    for count in LABELLED:
        script.check_ranges({"LABELLED": count}, LABELLED=(1, None))
    folders = {Path(data_dir).resolve().name: Path(data_dir) for data_dir in DATA_DIRS}
    if len(folders) < 2 or len(folders) < len(DATA_DIRS):
        raise script.UserError("--data-dirs needs two or more folders with different names")
    place = Path(OUT_DIR)
    opened = {
        name: dataset.open_patches(folder, place / "cache", options=reading.ReadOptions(size=SIZE))
        for name, folder in folders.items()
    }
    check_alike(opened)

    sets = {name: train(place, name, folder) for name, folder in folders.items()}
    sources = sets
    if LEAVE_ONE_OUT:
        sources = {}
        for name in folders:
            others = {other: patches for other, patches in opened.items() if other != name}
            sources[f"all but {name}"] = train(place, f"all_but_{name}", pool(place / "pooled" / name, others))

    for run in (*sets.values(), *sources.values()):
        if run.patches.bands != next(iter(sets.values())).patches.bands:
            raise script.UserError(f"{run.folder} was trained on other bands than the first run: remove it")

    import plots  # Matplotlib is slow to import

    write_sets(place / "sets.csv", sets)
    rows = []
    for target, own in sets.items():
        rows += score(own, own, target, target, in_domain=True)
        for source, run in sources.items():
            if source == f"all but {target}" or (not LEAVE_ONE_OUT and source != target):
                rows += score(run, own, source, target)
    records.write_csv(place / "scores.csv", rows[0], [row.values() for row in rows])
    write_matrix(place / "matrix.csv", rows)
    plots.transfer_matrix(rows, place / "matrix.png")
    plots.adaptation(rows, place / "adaptation.png")
    print(table(rows))
    print(f"written: {place}/sets.csv, scores.csv, matrix.csv, matrix.png, domain_adaptation.png")


def check_alike(opened):
    """Raise UserError if folders differ in the shape of patches or, to train on them together, in number type."""
    (first, patches), *others = opened.items()
    for name, other in others:
        if other.images.shape[1:] != patches.images.shape[1:]:
            sizes = [" x ".join(map(str, each.images.shape[1:])) for each in (patches, other)]
            raise script.UserError(f"{first} has patches of {sizes[0]}, {name} of {sizes[1]}: they must be alike")
        if LEAVE_ONE_OUT and other.dtype != patches.dtype:
            raise script.UserError(
                f"{first} holds {patches.dtype}, {name} {other.dtype}: they cannot be trained on together"
            )


def pool(folder, opened):
    """Link the labelled patches of several folders in one folder of the flat layout; return that folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    number = 0
    for patches in opened.values():
        entries, _ = dataset.find_patches(patches.data_dir)
        for entry in entries:
            if entry.mask:
                number += 1
                # the file of a series also holds its mask: one link serves both
                for path, kind in {entry.mask: "mask", entry.image: "image"}.items():
                    os.symlink(path.resolve(), folder / f"{kind}s" / f"{kind}_{number}{path.suffix}")
    return folder


class Domain:
    """A run with its data: config, patches, the split of each patch, threshold and band statistics."""

    def __init__(self, folder):
        self.run, self.folder = runs.Run(folder), folder
        self.config = self.run.config
        self.patches, *_ = dataset.open_for_run(self.run, "all", "", folder.parent / "cache")
        self.assigned = splits.read_split(folder / "split.csv", self.patches, "cross_dataset.py")
        self.threshold = self.run.threshold()
        self.statistics = np.array(self.config["band_mean"]), np.array(self.config["band_variance"])

    def split(self, name):
        return np.flatnonzero(self.assigned == name)


def train(place, name, data_dir):
    """Train a run on a folder and choose its threshold, unless that is done; return its Domain."""
    folder = place / name
    if not (folder / "threshold.json").exists():
        print(f"training {name}")
        flags = ["--data-dir", str(data_dir), "--test-split", TEST_SPLIT, "--size", str(SIZE)]
        flags += ["--epochs", str(EPOCHS), "--seed", str(SEED), *shlex.split(NETWORK)]
        runs.train_run(folder, flags)
    return Domain(folder)


# ---------------------------------------------------------------------- scores


def score(source, target, source_name, target_name, in_domain=False):
    """Return the rows of scores.csv of a run on a target's test split; out of domain, also with each adaptation."""
    test, train_split = target.split("test"), target.split("train")
    rows = []

    def judge(method, model, threshold, convert=None, labelled="", draw=""):
        tp, fp, fn, _ = confusions(model, target.patches, test, threshold, BATCH_SIZE, convert)
        row = {"source": source_name, "target": target_name, "method": method, "labelled": labelled, "draw": draw}
        row |= {"patches": len(test), "threshold": round(float(threshold), 3), **metrics.pooled_summary(tp, fp, fn)}
        rows.append(row)
        print(f"{source_name} -> {target_name}, {method} {labelled}: Dice {row['dice']:.3f}")

    model = load_model(source.folder)
    trained = model.get_weights()  # restored before each draw
    judge("in-domain" if in_domain else "untouched", model, source.threshold)
    if in_domain:
        return rows
    judge("normalised", model, source.threshold, domain_adaptation.match_moments(source.statistics, target.statistics))
    ranges = [domain_adaptation.quantiles(each.patches, each.split("train")) for each in (source, target)]
    judge("histogram matched", model, source.threshold, domain_adaptation.match_histogram(*ranges))
    domain_adaptation.adapt_batch_norm(model, target.patches, train_split)
    judge("AdaBN", model, source.threshold)

    fine_tune = domain_adaptation.fine_tuner(model, source.run.constants, FINE_TUNE_RATE, FINE_TUNE_STEPS)
    for labelled in LABELLED:
        if labelled > len(train_split):
            print(f"{target_name} has {len(train_split)} training patches: {labelled} labelled ones are not tried")
            continue
        for draw in range(DRAWS):
            chosen = np.random.default_rng([SEED, draw]).permutation(train_split)[:labelled]
            model.set_weights(trained)
            judge("threshold", model, best_threshold(model, target.patches, chosen), None, labelled, draw)
            fine_tune(target.patches, chosen, seed=draw)
            judge("fine-tuned", model, best_threshold(model, target.patches, chosen), None, labelled, draw)
    return rows


def best_threshold(model, patches, indices):
    """Return the threshold with the highest pooled Dice on some patches."""
    return metrics.THRESHOLDS[threshold_curve(model, patches, indices, BATCH_SIZE).best()]


# ---------------------------------------------------------------------- what is written and shown


def write_sets(path, sets):
    """Write sets.csv: patches of each split, landslide share, and mean and deviation of each band in training."""
    rows = []
    for name, each in sets.items():
        labelled = each.patches.read_masks(np.flatnonzero(each.patches.labelled))
        row = {"set": name, "patches": len(labelled), **{split: len(each.split(split)) for split in layouts.SPLITS}}
        row["empty"] = int((~(labelled == 1).any((1, 2))).sum())
        row["landslide_share"] = round(float((labelled == 1).sum() / (labelled <= 1).sum()), 5)
        for band, mean, variance in zip(each.config["bands"], *each.statistics, strict=True):
            row[f"{band}_mean"], row[f"{band}_sd"] = round(float(mean), 4), round(float(variance) ** 0.5, 4)
        rows.append(row)
    records.write_csv(path, rows[0], [row.values() for row in rows])


def write_matrix(path, rows):
    """Write matrix.csv: Dice and IoU of each pair without adaptation, and how far Dice falls below in-domain Dice."""
    own = {row["target"]: row["dice"] for row in rows if row["method"] == "in-domain"}
    header = ("trained_on", "tested_on", "patches", "dice", "iou", "fall")
    lines = [
        (
            row["source"],
            row["target"],
            row["patches"],
            row["dice"],
            row["iou"],
            round(own[row["target"]] - row["dice"], 4),
        )
        for row in rows
        if row["method"] in ("in-domain", "untouched")
    ]
    records.write_csv(path, header, lines)


def table(rows):
    """Format the mean over draws for each source, target, method and number of labelled patches."""
    lines = [f"{'trained on':<24} {'tested on':<24} {'method':<18} {'labelled':>8} {'Dice':>7} {'IoU':>7}"]
    groups = {}
    for row in rows:
        key = row["source"], row["target"], row["method"], row["labelled"]
        groups.setdefault(key, []).append((row["dice"], row["iou"]))
    for (source, target, method, labelled), scores in groups.items():
        dice, iou = np.mean(scores, axis=0)
        lines.append(f"{source:<24} {target:<24} {method:<18} {labelled:>8} {dice:>7.3f} {iou:>7.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    script.start(main)
