"""Train with one change at a time and tabulate the gain of each change over a common baseline.

    python experiments/ablate.py --data-dir data/real/landslide4sense_rgb --test-split validation  # hours
    python experiments/ablate.py --factors baseline colour --seeds 0 1 2 --data-dir ...     # some of them

Each run is written to results/ablation/<factor>-<seed>/ like any other run. Finished runs are not repeated, so you can
stop the command and start it again. Scores are those of the validation split at its best threshold; the test split is
not used. Writes results/ablation.csv and .png with one row per factor. Rows and seeds without a run are kept.
"""

import itertools
import os
import re
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up
import records
import runs
import script
from networks import keras_start
from networks.model_files import load_model

DATA_DIR = "data"  # folder of patches, as in train.py
TEST_SPLIT = "test"  # the folder's own split to hold out, as in train.py
RESULTS_DIR = "results"  # folder of the table; the runs go to ablation/ in it
FACTORS = ()  # names of the changes to try; none: all
SEEDS = (0,)  # seeds of each factor
EPOCHS = 20  # epochs of every run whose factor does not set them
JOBS = 2  # runs at a time, each with an equal number of CPU cores
TIMED_STEPS = 10  # batches to time each factor with, after all runs; 0: keep the speeds of the table

# Flags of train.py: all that the baseline sets, then those that each factor adds or replaces.
CHANGES = {
    "baseline": (
        "--base-filters 16 --max-filters 256 --stem 1 --conv-block residual --augment dihedral --weight-decay 0.0001"
    ),
    "plain blocks": "--conv-block plain",
    "squeeze and excitation": "--conv-block se",
    "half resolution with 48 filters": "--stem 2 --base-filters 48 --max-filters 192",
    "sum of scales": "--multi-scale-logits",
    "SegFormer": "--model segformer",
    "SegFormer, learning rate 0.0003": "--model segformer --learning-rate 0.0003",
    "SegFormer at stride 2, learning rate 0.0003": "--model segformer --stride 2 --learning-rate 0.0003",
    "flips only": "--augment flips",
    "colour": "--augment dihedral colour",
    "affine": "--augment dihedral affine",
    "noise": "--augment dihedral noise",
    "elastic": "--augment dihedral elastic",
    "band dropout": "--augment dihedral band_dropout",
    "haze": "--augment dihedral haze",
    "shadow": "--augment dihedral shadow",
    "cutmix": "--augment dihedral cutmix",
    "copy-paste": "--augment dihedral copy_paste",
    "mixup": "--augment dihedral mixup",
    "positive weight 3": "--positive-weight 3",
    "dropout 0.2": "--dropout 0.2",
    "weight decay 0.02": "--weight-decay 0.02",
    "learning rate 0.003": "--learning-rate 0.003",
    "defaults, 120 epochs": (
        "--stem 2 --base-filters 48 --max-filters 192 --augment dihedral affine --weight-decay 0.01 --epochs 120"
    ),
    "defaults and sum of scales, 120 epochs": (
        "--stem 2 --base-filters 48 --max-filters 192 --augment dihedral affine --weight-decay 0.01 --epochs 120 "
        "--multi-scale-logits"
    ),
}

# What lowers false alarms outside of a model's own patches, singly and together, in short runs. Score their runs with
# experiments/renderings.py --results-dir results/ablation --split validation.
PARTS = {
    "8 epochs": (
        "--stem 2 --base-filters 48 --max-filters 192 --augment dihedral affine --weight-decay 0.01 --epochs 8"
    ),
    "encoder": "--encoder efficientnet_lite0",
    "landslide-free": (
        "--landslide-free-share 0.25 --landslide-free-dirs data/real/landslide_free/eurosat_train "
        "data/real/landslide_free/shores_train"
    ),
    "renderings": "--augment dihedral affine pixel_size rendering",
}
for count in range(len(PARTS)):
    for added in itertools.combinations(list(PARTS)[1:], count):
        CHANGES[" + ".join(("8 epochs", *added))] = " ".join(PARTS[part] for part in ("8 epochs", *added))

RANGES = {"SEEDS": (0, 2**32 - 1), "EPOCHS": (1, None), "JOBS": (1, None), "TIMED_STEPS": (0, None)}
CHOICES = {"FACTORS": tuple(CHANGES)}


def main():
    """Train the runs that are missing, summarise all of them and write the table and its picture."""
    names = FACTORS or tuple(CHANGES)
    jobs = [(name, seed) for seed in SEEDS for name in names]
    with ThreadPoolExecutor(JOBS) as pool:
        for name, seed, line in pool.map(lambda job: (*job, train(*job)), jobs):
            print(f"{name}, seed {seed}: {line}")

    import plots  # Matplotlib is slow to import

    path = Path(RESULTS_DIR, "ablation.csv")
    before = existing_rows(path)
    table = [row for name in CHANGES if (row := summary(name, before.get(name, {}), name in names))]
    table += [row for name, row in before.items() if name not in CHANGES]  # factors that train.py no longer has
    table.sort(key=lambda row: -row["validation_dice"])
    for baseline in [row["validation_dice"] for row in table if row["factor"] == "baseline"]:
        for row in table:
            row["gain"] = round(row["validation_dice"] - baseline, 4)
    records.write_csv(path, table[0], [[row[column] for column in table[0]] for row in table])
    for row in table:
        sd, gain = (f"{row[key]:.3f}" if row[key] != "" else "  -  " for key in ("sd", "gain"))
        print(f"{row['factor']:<32} {row['validation_dice']:.3f} ({sd}) {gain:>7} {int(row['parameters']):>10,}")
    plots.ablation(table, path.with_suffix(".png"))
    print(f"written: {path}, ablation.png")


def existing_rows(path):
    """Read the rows of the existing table: {factor: row}."""
    rows = records.read_rows(path)
    for row in rows:
        for key in ("validation_dice", "sd", "gain"):
            row[key] = float(row[key]) if row[key] else ""
    return {row["factor"]: row for row in rows}


def run_name(name, seed):
    """Return the name of the run of a factor and a seed; it needs no quotes in a shell."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()) + f"-{seed}"


def train(name, seed):
    """Train a run and choose its threshold, unless that is done; return the line to print."""
    folder = Path(RESULTS_DIR, "ablation", run_name(name, seed))
    flags = flags_of(name, seed)
    if (folder / "config.json").exists():
        check_same(folder, flags)
        if (folder / "threshold.json").exists():
            return "already trained"
    arguments = [part for flag, values in flags.items() for part in (flag, *values)]
    try:
        output = runs.train_run(folder, arguments, max(1, os.cpu_count() // JOBS))
    except script.UserError as error:
        raise script.UserError(f"{name}, seed {seed}: {error}") from None
    return next(line for line in output.splitlines() if line.startswith("threshold"))


def flags_of(name, seed):
    """Return a run's flags of train.py, {flag: values}; the factor's flags replace those of the baseline."""
    flags = {"--data-dir": [DATA_DIR], "--test-split": [TEST_SPLIT], "--epochs": [str(EPOCHS)], "--seed": [str(seed)]}
    for word in f"{CHANGES['baseline']} {CHANGES[name]}".split():
        if word.startswith("--"):
            values = flags[word] = []
        else:
            values.append(word)
    return flags


def check_same(folder, flags):
    """Raise UserError if the existing run was trained with other flags."""
    constants = runs.Run(folder).constants
    for flag, values in flags.items():
        constant = flag.removeprefix("--").replace("-", "_").upper()
        value = constants.get(constant)
        stored = [] if value is True else [str(part) for part in (value if isinstance(value, list) else [value])]
        if stored != values:
            raise script.UserError(
                f"{folder} was trained with {constant} = {value!r}, not {' '.join(values)}: remove it, or use another "
                "--results-dir"
            )


def summary(name, before, timed):
    """Build the row of a factor from its finished runs.

    Args:
        name: name of the factor.
        before: its row in the existing table, or {}. Its seeds are added if its flags and epochs are the same.
        timed: whether to measure the speeds again.
    """
    dice, configs = finished_runs(name)
    if not dice:
        return before
    epochs, revisions = configs[0]["constants"]["EPOCHS"], {config["revision"] for config in configs}
    if (before.get("flags"), before.get("epochs")) == (CHANGES[name], str(epochs)):
        if not before["dice_of_seeds"] and int(before["seeds"]) > len(dice):
            return before  # a mean over more seeds, whose single scores are unknown
        earlier = (pair.split(":") for pair in before["dice_of_seeds"].split())
        dice = {int(seed): float(score) for seed, score in earlier} | dice
        revisions |= set(before["revisions"].split())
    if timed and TIMED_STEPS:
        trained, predicted = speeds(run_name(name, configs[0]["seed"]))
    else:
        trained, predicted = (before.get(f"{kind}_patches_per_s", "") for kind in ("trained", "predicted"))
    return {
        "factor": name,
        "flags": CHANGES[name],
        "epochs": epochs,
        "seeds": len(dice),
        "validation_dice": round(statistics.mean(dice.values()), 4),
        "sd": round(statistics.stdev(dice.values()), 4) if len(dice) > 1 else "",
        "gain": "",  # filled in by main(), once the baseline's row is known
        "dice_of_seeds": " ".join(f"{seed}:{dice[seed]:.4f}" for seed in sorted(dice)),
        "parameters": configs[0]["parameters"],
        "trained_patches_per_s": trained,
        "predicted_patches_per_s": predicted,
        "revisions": " ".join(sorted(revisions)),
    }


def finished_runs(name):
    """Return ({seed: validation Dice}, configs) of the finished runs of a factor."""
    dice, configs = {}, []
    for folder in sorted(Path(RESULTS_DIR, "ablation").glob(run_name(name, "*"))):
        if (folder / "threshold.json").exists():
            config = records.read_json(folder / "config.json", "ablate.py")
            dice[config["seed"]] = records.read_json(folder / "threshold.json", "ablate.py")["dice"]
            configs.append(config)
    return dice, configs


def speeds(run):
    """Return the patches per second, (training, prediction), of a run's network with one batch in memory."""
    keras = keras_start.import_keras()
    from losses import BCEDice

    opened = runs.Run(Path(RESULTS_DIR, "ablation", run))
    keras.utils.set_random_seed(0)
    model = load_model(opened.folder)
    model.compile(optimizer="adamw", loss=BCEDice.of_constants(opened.constants))
    model.optimizer.build(model.trainable_variables)
    size = opened.constants["BATCH_SIZE"]
    images = np.random.default_rng(0).normal(size=(size, *model.input_shape[1:])).astype(np.float32)
    masks = (images[..., :1] > 2).astype(np.float32)
    rates = []
    for step in (lambda: model.train_on_batch(images, masks), lambda: model.predict_on_batch(images)):
        for _ in range(3):
            step()
        began = time.perf_counter()
        for _ in range(TIMED_STEPS):
            step()
        rates.append(round(size * TIMED_STEPS / (time.perf_counter() - began), 1))
    return rates


if __name__ == "__main__":
    script.start(main)
