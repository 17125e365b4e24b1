"""Train on one data set and test on every other: how far a model carries, and what brings it further.

    python cross_dataset.py --data-dirs data/l4s data/bijie                      # every pair
    python cross_dataset.py --data-dirs data/a data/b data/c --leave-one-out     # all but one -> that one

Trains a run for each folder in results/cross_dataset/<folder>/ (one that stands there already is used as it is), and
tests each on the test split of every other, untouched and with each way to adaptation: normalising or matching
histograms to the source, batch normalisation re-estimated on the target's images (AdaBN), and with k labelled patches
of the target a new threshold or fine-tuning. Folders need the same bands and size of patches.

Writes results/cross_dataset/: sets.csv, scores.csv, matrix.csv and .png, adaptation.png.
"""

import os
import shlex
import shutil
from pathlib import Path

import numpy as np

import adaptation
import dataset
import patch_files
import records
import runs
import script
import splits

DATA_DIRS = ()  # folders of patches, two or more; each is called by its last name
OUT_DIR = "results/cross_dataset"  # gets the scores, and a folder for each run
TEST_SPLIT = "test"  # see train.py
SIZE = 0  # see train.py
LEAVE_ONE_OUT = False  # train on all folders but one, instead of on each alone; in-domain runs are made as well
EPOCHS = 40  # of every training
NETWORK = ""  # further flags of train.py for every training, as one text: "--base-filters 24 --max-filters 96"
LABELLED = (5, 10, 20, 40)  # numbers of labelled patches of the target to adapt with
DRAWS = 3  # times that so many patches are drawn, from the target's training split
FINE_TUNE_STEPS = 60  # training steps on them
FINE_TUNE_RATE = 3e-4  # learning rate of these
BATCH_SIZE = 32  # patches predicted at once
SEED = 0  # of the trainings and the draws

CHOICES = {"TEST_SPLIT": splits.TEST_SPLITS}


def main():
    script.check_ranges(globals(), EPOCHS=(1, None), DRAWS=(1, None), FINE_TUNE_STEPS=(1, None), BATCH_SIZE=(1, None))
    script.check_ranges(globals(), FINE_TUNE_RATE=(1e-12, None), SIZE=(0, None), SEED=(0, 2**32 - 1))
    script.check_choices(globals(), **CHOICES)
    for count in LABELLED:
        script.check_ranges({"LABELLED": count}, LABELLED=(1, None))
    folders = {Path(data_dir).resolve().name: Path(data_dir) for data_dir in DATA_DIRS}
    if len(folders) < 2 or len(folders) < len(DATA_DIRS):
        raise script.UserError("name two folders or more with --data-dirs, of different names")
    place = Path(OUT_DIR)
    opened = {name: dataset.open_patches(folder, place / "cache", size=SIZE) for name, folder in folders.items()}
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
            raise script.UserError(f"{run.folder} was trained on other bands than the first: remove it")

    from plots import adaptation, transfer_matrix

    write_sets(place / "sets.csv", sets)
    rows = []
    for target, own in sets.items():
        rows += score(own, own, target, target, in_domain=True)
        for source, run in sources.items():
            if source == f"all but {target}" or (not LEAVE_ONE_OUT and source != target):
                rows += score(run, own, source, target)
    records.write_csv(place / "scores.csv", rows[0], [row.values() for row in rows])
    write_matrix(place / "matrix.csv", rows)
    transfer_matrix(rows, place / "matrix.png")
    adaptation(rows, place / "adaptation.png")
    print(table(rows))
    print(f"written: {place}/sets.csv, scores.csv, matrix.csv, matrix.png, adaptation.png")


def check_alike(opened):
    """Raise UserError where folders differ in what a model must find alike."""
    (first, patches), *others = opened.items()
    for name, other in others:
        if other.images.shape[1:] != patches.images.shape[1:]:
            sizes = [" x ".join(map(str, each.images.shape[1:])) for each in (patches, other)]
            raise script.UserError(f"{first} has patches of {sizes[0]}, {name} of {sizes[1]}: they must be alike")
        if LEAVE_ONE_OUT and other.images.dtype != patches.images.dtype:
            raise script.UserError(
                f"{first} holds {patches.images.dtype}, {name} {other.images.dtype}: they cannot be trained on together"
            )


def pool(folder, opened):
    """A folder in the flat layout with the labelled patches of several others, as links; returns it."""
    shutil.rmtree(folder, ignore_errors=True)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    number = 0
    for patches in opened.values():
        entries, _ = dataset.find_patches(patches.data_dir)
        for entry in entries:
            if entry.mask:
                number += 1
                # a series is its own mask, and linked once
                for path, kind in {entry.mask: "mask", entry.image: "image"}.items():
                    os.symlink(path.resolve(), folder / f"{kind}s" / f"{kind}_{number}{path.suffix}")
    return folder


class Domain:
    """A run and its data: folder, config, patches, and the split of each patch."""

    def __init__(self, folder):
        self.run, self.folder = runs.Run(folder), folder
        self.config = self.run.config
        self.patches, _, own = dataset.open_for_run(self.run, "all", "", folder.parent / "cache")
        if not own:
            raise script.UserError(f"{folder}: its data is not at hand")
        self.assigned = splits.read_split(folder / "split.csv", self.patches, "cross_dataset.py")
        self.threshold = self.run.threshold()
        self.statistics = np.array(self.config["band_mean"]), np.array(self.config["band_variance"])

    def split(self, name):
        return np.flatnonzero(self.assigned == name)


def train(place, name, data_dir):
    """The run of a folder, trained and with a threshold, as far as that was not done before."""
    folder = place / name
    if not (folder / "threshold.json").exists():
        print(f"training {name}")
        flags = ["--data-dir", str(data_dir), "--test-split", TEST_SPLIT, "--size", str(SIZE)]
        flags += ["--epochs", str(EPOCHS), "--seed", str(SEED), *shlex.split(NETWORK)]
        runs.train_run(folder, flags)
    return Domain(folder)


# ---------------------------------------------------------------------- scores


def score(source, target, source_name, target_name, in_domain=False):
    """Rows of scores.csv for a run on the test split of a set; out of its domain with every way to adaptation, too."""
    import metrics
    from inference import confusions
    from losses import BCEDice

    test, train_split = target.split("test"), target.split("train")
    rows = []

    def judge(method, model, threshold, convert=None, labelled="", draw=""):
        tp, fp, fn, _ = confusions(model, target.patches, test, threshold, BATCH_SIZE, convert)
        row = {"source": source_name, "target": target_name, "method": method, "labelled": labelled, "draw": draw}
        row |= {"patches": len(test), "threshold": round(float(threshold), 3), **metrics.pooled_summary(tp, fp, fn)}
        rows.append(row)
        print(f"{source_name} -> {target_name}, {method} {labelled}: Dice {row['dice']:.3f}")

    model = source.run.model()
    trained = model.get_weights()  # to go back to after each change
    judge("in-domain" if in_domain else "untouched", model, source.threshold)
    if in_domain:
        return rows
    judge("normalised", model, source.threshold, adaptation.match_moments(source.statistics, target.statistics))
    ranges = [adaptation.quantiles(each.patches, each.split("train")) for each in (source, target)]
    judge("histogram matched", model, source.threshold, adaptation.match_histogram(*ranges))
    adaptation.adapt_batch_norm(model, target.patches, train_split)
    judge("AdaBN", model, source.threshold)

    fine_tune = adaptation.fine_tuning(model, BCEDice.of_constants(source.run.constants), FINE_TUNE_RATE)
    for labelled in LABELLED:
        if labelled > len(train_split):
            print(f"{target_name} has {len(train_split)} training patches: {labelled} labelled ones are not tried")
            continue
        for draw in range(DRAWS):
            chosen = np.random.default_rng([SEED, draw]).permutation(train_split)[:labelled]
            model.set_weights(trained)
            judge("threshold", model, best_threshold(model, target.patches, chosen), None, labelled, draw)
            fine_tune(target.patches, chosen, FINE_TUNE_STEPS, seed=draw)
            judge("fine-tuned", model, best_threshold(model, target.patches, chosen), None, labelled, draw)
    return rows


def best_threshold(model, patches, indices):
    """The threshold of highest Dice on some patches."""
    from inference import threshold_curve
    from metrics import THRESHOLDS

    return THRESHOLDS[threshold_curve(model, patches, indices, BATCH_SIZE).best()]


# ---------------------------------------------------------------------- what is written and shown


def write_sets(path, sets):
    """sets.csv: patches of each split, share of landslide, and mean and deviation of each band over training."""
    rows = []
    for name, each in sets.items():
        labelled = each.patches.read_masks(np.flatnonzero(each.patches.labelled))
        row = {"set": name, "patches": len(labelled), **{split: len(each.split(split)) for split in patch_files.SPLITS}}
        row["empty"] = int((~labelled.any((1, 2))).sum())
        row["landslide_share"] = round(float(labelled.mean()), 5)
        for band, mean, variance in zip(each.config["bands"], *each.statistics, strict=True):
            row[f"{band}_mean"], row[f"{band}_sd"] = round(float(mean), 4), round(float(variance) ** 0.5, 4)
        rows.append(row)
    records.write_csv(path, rows[0], [row.values() for row in rows])


def write_matrix(path, rows):
    """matrix.csv: Dice and IoU of each pair, untouched, and how far its Dice falls short of the target's own."""
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
    """The mean over draws of each source, target, method and number of labelled patches."""
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
