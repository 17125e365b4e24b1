"""Try changes to the training, each alone against the same baseline, and write the table of what they bring.

    python ablate.py --data-dir data/real/landslide4sense_rgb --test-split validation           # hours
    python ablate.py --factors baseline colour --seeds 0 1 2 --data-dir ... --test-split ...    # some of them

Every run is a run like any other, in results/ablation/<factor>-<seed>/; finished ones are not repeated, so that the
command may be stopped and given again. Scores are of the validation split at the threshold that is best there; test is
not looked at. Writes results/ablation.csv and .png, a row a factor.
"""

import os
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import model_files
import runs

DATA_DIR = "data"  # folder of patches, see train.py
TEST_SPLIT = "test"  # see train.py
RESULTS_DIR = "results"  # the table is written here, the runs into ablation/
FACTORS = ()  # names of the changes to try, see CHANGES below; none given: all
SEEDS = (0,)  # of each factor
EPOCHS = 20  # of every run
JOBS = 2  # runs at a time, each on its share of the processor
TIMED_BATCHES = 20  # batches of 32 patches over which the speed of prediction is measured

# Flags of train.py: the baseline's, and what each factor changes of them.
CHANGES = {
    "baseline": (
        "--base-filters 16 --max-filters 256 --stem 1 --conv-block residual --augment dihedral --weight-decay 0.0001"
    ),
    "plain blocks": "--conv-block plain",
    "squeeze and excitation": "--conv-block se",
    "32 filters, at most 128": "--base-filters 32 --max-filters 128",
    "half resolution, 48 filters": "--stem 2 --base-filters 48 --max-filters 192",
    "sum of scales": "--scales",
    "flips only": "--augment flips",
    "colour": "--augment dihedral colour",
    "affine": "--augment dihedral affine",
    "noise": "--augment dihedral noise",
    "cutmix": "--augment dihedral cutmix",
    "copy-paste": "--augment dihedral copy_paste",
    "mixup": "--augment dihedral mixup",
    "BCE + Lovász": "--loss bce_lovasz",
    "BCE + Tversky 0.7": "--loss bce_tversky",
    "focal + Dice": "--loss focal_dice",
    "positive weight 3": "--positive-weight 3",
    "label smoothing 0.05": "--label-smoothing 0.05",
    "dropout 0.2": "--dropout 0.2",
    "weight decay 0.02": "--weight-decay 0.02",
    "learning rate 0.003": "--learning-rate 0.003",
    "batches of 8": "--batch-size 8",
}


def main():
    names = FACTORS or tuple(CHANGES)
    runs.check_choices({"FACTORS": names}, FACTORS=tuple(CHANGES))
    runs.check_ranges(globals(), EPOCHS=(1, None), JOBS=(1, None), TIMED_BATCHES=(0, None))
    wanted = [(name, seed) for seed in SEEDS for name in names]
    with ThreadPoolExecutor(JOBS) as pool:
        for name, seed, said in pool.map(lambda pair: (*pair, train(*pair)), wanted):
            print(f"{name}, seed {seed}: {said}")

    from plots import ablation

    baseline, _ = finished("baseline")
    table = [row for name in CHANGES if (row := summary(name, baseline))]
    table.sort(key=lambda row: -row["validation_dice"])
    path = Path(RESULTS_DIR, "ablation.csv")
    runs.write_csv(path, table[0], [row.values() for row in table])
    for row in table:
        sd, gain = (f"{row[key]:.3f}" if row[key] != "" else "  -  " for key in ("sd", "gain"))
        print(f"{row['factor']:<28} {row['validation_dice']:.3f} ({sd}) {gain:>7} {row['parameters']:>10,}")
    ablation(table, path.with_suffix(".png"))
    print(f"written: {path}, ablation.png")


def run_name(name, seed):
    """Name of the run of a factor and a seed: what a shell takes without quotes."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()) + f"-{seed}"


def train(name, seed):
    """Train a run and choose its threshold, unless that was done before; returns what to say of it."""
    folder = Path(RESULTS_DIR, "ablation", run_name(name, seed))
    if (folder / "threshold.json").exists():
        return "stands already"
    common = ["--results-dir", str(folder.parent), "--run", folder.name]
    flags = f"--data-dir {DATA_DIR} --test-split {TEST_SPLIT} --epochs {EPOCHS} --seed {seed}".split()
    changes = f"{CHANGES['baseline']} {CHANGES[name]}".split()  # of a flag given twice the last one counts
    began = "--resume" if (folder / "last.weights.h5").exists() else "--overwrite"
    environment = dict(os.environ)
    for library in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        environment[library] = str(max(1, os.cpu_count() // JOBS))
    for script, arguments in (("train.py", [*flags, *changes, began]), ("optimize_threshold.py", [])):
        command = [sys.executable, str(Path(__file__).parent / script), *common, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        if result.returncode:
            raise runs.UserError(f"{' '.join(command)} failed:\n{result.stderr.strip()}")
    return result.stdout.splitlines()[1]


def summary(name, baseline):
    """The row of a factor, from its finished runs; None if there is none. `baseline`: {seed: Dice} to compare with."""
    dice, configs = finished(name)
    if not dice:
        return None
    gains = [dice[seed] - baseline[seed] for seed in dice if seed in baseline]
    images = sum(config["epochs_done"] * config["training_patches"] for config in configs)
    return {
        "factor": name,
        "flags": CHANGES[name],
        "epochs": configs[0]["constants"]["EPOCHS"],
        "seeds": len(dice),
        "validation_dice": statistics.mean(dice.values()),
        "sd": statistics.stdev(dice.values()) if len(dice) > 1 else "",
        "gain": statistics.mean(gains) if gains else "",
        "parameters": configs[0]["parameters"],
        "training_images_per_s": images / sum(config["seconds"] for config in configs),
        "predicted_images_per_s": prediction_speed(name) if TIMED_BATCHES else "",
    }


def finished(name):
    """({seed: validation Dice}, configs) of the finished runs of a factor."""
    dice, configs = {}, []
    for folder in sorted(Path(RESULTS_DIR, "ablation").glob(run_name(name, "*"))):
        if (folder / "threshold.json").exists():
            config = runs.read_json(folder / "config.json", "ablate.py")
            dice[config["seed"]] = runs.read_json(folder / "threshold.json", "ablate.py")["dice"]
            configs.append(config)
    return dice, configs


def prediction_speed(name):
    """Images a second of `predict_on_batch`, in batches of 32."""
    import numpy as np

    folder = next(Path(RESULTS_DIR, "ablation").glob(run_name(name, "*")))
    model = model_files.load_model(folder)
    images = np.zeros((32, *model.input_shape[1:]), np.float32)
    model.predict_on_batch(images)
    began = time.perf_counter()
    for _ in range(TIMED_BATCHES):
        model.predict_on_batch(images)
    return 32 * TIMED_BATCHES / (time.perf_counter() - began)


if __name__ == "__main__":
    runs.start(main)
