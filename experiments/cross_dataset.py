"""Train on one data set, test on every other, and measure what adaptation to the target gains.

    python experiments/cross_dataset.py --data-dirs data/l4s data/bijie                      # every pair
    python experiments/cross_dataset.py --data-dirs data/a data/b data/c --leave-one-out     # all but one -> that one

Trains one run for each folder, in results/cross_dataset/<folder>/; existing runs are reused. Tests each run on the test
split of every other folder: unchanged, with images normalised or histograms matched to the source, with batch
normalisation re-estimated on the target's images (AdaBN), and adapted to k labelled patches of the target: with the
threshold that is best on them, or fine-tuned on them by train.py --start-from, with a fifth of them for validation. All
folders must have the same bands and size of patches.

Writes sets.csv, scores.csv, matrix.csv, matrix.png and adaptation.png into results/cross_dataset/. The tables in
results/cross_dataset/ and results/regions/ were measured with the former recipe of fine-tuning: 60 steps on all k
patches at a constant learning rate, with batch normalisation trained, and the threshold that was best on them.
"""

import shlex
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
from experiments.labelled_patches import draw_patches, link_patches
from networks.inference import confusions, threshold_curve
from networks.model_files import load_model
from patches import layouts, reading, split_table, splits

DATA_DIRS = ()  # folders of patches, two or more; the last part of each path is its name
OUT_DIR = "results/cross_dataset"  # folder of the scores and the runs
TEST_SPLIT = "test"  # the folder's own split to hold out, as in train.py
SIZE = None  # int: pixels a side to which pictures are resampled, as in train.py; none: keep their size
LEAVE_ONE_OUT = False  # train on all folders but one, instead of on one; in-domain runs are trained as well
EPOCHS = 40  # epochs of every run
NETWORK = None  # str: further flags of train.py for every run, as one text: "--base-filters 24"
LABELLED = (5, 10, 20, 40)  # numbers of labelled target patches to adapt with
DRAWS = 3  # random draws of each number of patches, from the target's training split
FINE_TUNING = None  # str: further flags of train.py for fine-tuning, as one text
BATCH_SIZE = 32  # patches in a batch of prediction
SEED = 0  # seed of the runs and the draws

RANGES = {
    **{"SIZE": (1, None), "EPOCHS": (1, None), "LABELLED": (2, None), "DRAWS": (1, None), "BATCH_SIZE": (1, None)},
    **{"SEED": (0, 2**32 - 1)},
}
CHOICES = {"TEST_SPLIT": splits.TEST_SPLITS}


def main():
    """Train the missing runs, test each on every other data set, and write scores and pictures."""
    for name, text in (("NETWORK", NETWORK), ("FINE_TUNING", FINE_TUNING)):
        try:
            shlex.split(text or "")
        except ValueError as error:
            raise script.UserError(f"{name} {text!r} cannot be split into flags: {error}") from None
    folders = {Path(data_dir).resolve().name: Path(data_dir) for data_dir in DATA_DIRS}
    if len(folders) < 2 or len(folders) < len(DATA_DIRS):
        raise script.UserError("--data-dirs needs two or more folders with different names")
    out_dir = Path(OUT_DIR)
    opened = {
        name: dataset.open_patches(folder, out_dir / "cache", options=reading.ReadOptions(size=SIZE))
        for name, folder in folders.items()
    }
    check_alike(opened)

    sets = {name: train(out_dir, name, folder) for name, folder in folders.items()}
    sources = sets
    if LEAVE_ONE_OUT:
        sources = {}
        for name in folders:
            others = {other: patches for other, patches in opened.items() if other != name}
            sources[f"all but {name}"] = train(out_dir, f"all_but_{name}", pool(out_dir / "pooled" / name, others))

    for run in (*sets.values(), *sources.values()):
        if run.patches.bands != next(iter(sets.values())).patches.bands:
            raise script.UserError(f"{run.folder} was trained on other bands than the first run: remove it")

    import plots  # Matplotlib is slow to import

    write_sets(out_dir / "sets.csv", sets)
    rows = []
    for target, own in sets.items():
        rows += score(own, own, target, target, in_domain=True)
        for source, run in sources.items():
            if source == f"all but {target}" or (not LEAVE_ONE_OUT and source != target):
                rows += score(run, own, source, target)
    records.write_csv(out_dir / "scores.csv", rows[0], [row.values() for row in rows])
    write_matrix(out_dir / "matrix.csv", rows)
    plots.transfer_matrix(rows, out_dir / "matrix.png")
    plots.adaptation(rows, out_dir / "adaptation.png")
    print(table(rows))
    print(f"written: {out_dir}/sets.csv, scores.csv, matrix.csv, matrix.png, adaptation.png")


def check_alike(opened):
    """Raise UserError if folders differ in the shape of patches or, to train on them together, in number type."""
    (first, patches), *others = opened.items()
    if patches.dates and (LABELLED or LEAVE_ONE_OUT):
        raise script.UserError(
            f"{first} holds series of dates, which have no splits of their own: leave out LEAVE_ONE_OUT and give "
            "LABELLED no numbers"
        )
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
    entries = [entry for patches in opened.values() for entry in layouts.find_patches(patches.data_dir)[0]]
    return link_patches(folder, {"": [entry for entry in entries if entry.mask]})


class Domain:
    """A run with its data: config, patches, the split of each patch, threshold and band statistics."""

    def __init__(self, folder):
        self.run, self.folder = runs.Run(folder), folder
        self.config = self.run.config
        self.patches, *_ = dataset.open_for_run(self.run, "all", "", folder.parent / "cache")
        self.assigned = split_table.read_split(folder / "split.csv", self.patches, "cross_dataset.py")
        self.threshold = self.run.threshold()
        self.statistics = np.array(self.config["band_mean"]), np.array(self.config["band_variance"])

    def split(self, name):
        return np.flatnonzero(self.assigned == name)


def train(out_dir, name, data_dir):
    """Train a run on a folder and choose its threshold, unless that is done; return its Domain."""
    folder = out_dir / name
    if not (folder / "threshold.json").exists():
        print(f"training {name}")
        flags = ["--data-dir", str(data_dir), "--test-split", TEST_SPLIT, "--size", str(SIZE)]
        flags += ["--epochs", str(EPOCHS), "--seed", str(SEED), *shlex.split(NETWORK or "")]
        runs.train_run(folder, flags)
    return Domain(folder)


def fine_tune(source, target, drawn, draw):
    """Train a run further on drawn patches of another Domain, unless that is done; return the new run.

    Args:
        source, target: Domain. drawn: {split: indices} of the target's patches. draw: number of the draw.
    """
    out_dir, name = source.folder.parent, f"{target.folder.name}-{sum(map(len, drawn.values()))}-{draw}"
    folder = out_dir / f"{source.folder.name}_to_{name}"
    if not (folder / "threshold.json").exists():
        entries = {entry.name: entry for entry in layouts.find_patches(target.patches.data_dir)[0]}
        # train.py would cut a test split from the drawn patches if the folder had none
        parts = drawn | {"test": target.split("test")[:1]}
        links = {split: [entries[target.patches.names[i]] for i in indices] for split, indices in parts.items()}
        flags = ["--data-dir", str(link_patches(out_dir / "labelled" / name, links)), "--size", str(SIZE)]
        flags += ["--bands", *source.config["bands"], "--start-from", source.folder.name, "--seed", str(SEED)]
        runs.train_run(folder, flags + shlex.split(FINE_TUNING or ""))
    run = runs.Run(folder)
    if run.config["start"]["finished"] != source.config["finished"]:
        raise script.UserError(f"{folder} started from an earlier run {source.folder.name}: remove it")
    return run


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
    trained = model.get_weights()
    judge("in-domain" if in_domain else "untouched", model, source.threshold)
    if in_domain:
        return rows
    judge("normalised", model, source.threshold, domain_adaptation.match_moments(source.statistics, target.statistics))
    ranges = [domain_adaptation.quantiles(each.patches, each.split("train")) for each in (source, target)]
    judge("histogram matched", model, source.threshold, domain_adaptation.match_histogram(*ranges))
    domain_adaptation.adapt_batch_norm(model, target.patches, train_split)
    judge("AdaBN", model, source.threshold)
    model.set_weights(trained)

    for labelled in LABELLED:
        if labelled > len(train_split):
            print(f"{target_name} has {len(train_split)} training patches: {labelled} labelled ones are not tried")
            continue
        for draw in range(DRAWS):
            drawn = draw_patches(target.patches, train_split, labelled, np.random.default_rng([SEED, draw, labelled]))
            together = np.concatenate(list(drawn.values()))
            judge("threshold", model, best_threshold(model, target.patches, together), None, labelled, draw)
            run = fine_tune(source, target, drawn, draw)
            judge("fine-tuned", load_model(run.folder), run.threshold(), None, labelled, draw)
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
