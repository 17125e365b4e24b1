"""Runs: the folder of each, its record of training, and scripts that call other scripts."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import model_files
from records import read_json
from script import UserError

PACKAGES = ("tensorflow", "keras", "h5py", "numpy", "scipy", "matplotlib", "scikit-learn")
# What the stages write into a run folder: the record of training, and what is derived from its model.
TRAINED = ("config.json", "split.csv", "model.keras", "last.weights.h5", "history.csv", "training_curves.png")
DERIVED = (
    *("threshold*.json", "threshold_curve*", "metrics*.json", "per_image*.csv"),
    *("objects*.csv", "reliability*.csv", "reliability*.png", "samples/*.png"),
)
# Constants of train.py: those that runs of earlier versions lack, with the value they were trained with; former names.
ADDED = {"DATES": 2, "SIZE": 0, "MODEL": "unet", "EPOCHS": ""}
RENAMED = {"BLOCK": "BLOCK_SIZE", "LABEL_SHARE": "LABELLED_FRACTION", "SCALES": "MULTI_SCALE_LOGITS"}
REMOVED = {"RESIZE": False, "LOSS": "bce_dice", "LABEL_SMOOTHING": 0.0}  # and what the others now stand for
NOT_RUNS = ("", ".", "..", "cache", "figures", "ablation", "cross_dataset")  # folders of results/ that are no runs


def train_run(folder, flags, threads=None):
    """Train a run and choose its threshold, as far as that was not done before; returns what was said of the threshold.

    flags: of train.py, for a run that is not begun. threads: see `call_script`.
    """
    run = ("--results-dir", str(folder.parent), "--run", folder.name)
    call_script("train.py", *run, *(["--resume"] if (folder / "config.json").exists() else flags), threads=threads)
    return call_script("optimize_threshold.py", *run, threads=threads)


def call_script(name, *arguments, threads=None):
    """Run another script as a user does; returns what it printed, or raises UserError with what it complained of.

    threads: of the numerical libraries, where several scripts share the processor.
    """
    # of several processes that train together (devices.py) a script called by another is none
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_DISTRIBUTION_")}
    if threads:
        for library in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
            environment[library] = str(threads)
    command = [sys.executable, str(Path(__file__).parent / name), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    if result.returncode:
        raise UserError(result.stderr.strip())
    return result.stdout


# ---------------------------------------------------------------------- the run folder


def run_folder(results_dir, run):
    """Folder of a run. A path to it, as a shell completes it, is taken for its name."""
    name = run.rstrip("/").removeprefix(f"{results_dir}/")
    if name in NOT_RUNS or Path(name).name != name:
        raise UserError(
            f"--run {run or repr(run)}: a run is named like a folder, without slashes, and not "
            "cache, figures, ablation or cross_dataset"
        )
    return Path(results_dir, name)


class Run:
    """A trained run: its folder, and what its config.json says.

    Attributes:
        folder, name: results/<name>/ and <name>.
        config: the record of training.
        constants: those of train.py, {NAME: value}, under their present names; a constant that the run is older than
            has the value which the run was trained with.
    """

    def __init__(self, folder):
        """Open the run in a folder, or raise UserError naming the stage that makes it."""
        self.folder, self.name = Path(folder), Path(folder).name
        self.config = read_json(self.folder / "config.json", f"python train.py --run {self.name}")
        self.constants = ADDED | present_names(self.config.get("constants", {}))

    def threshold(self, tta=False):
        """The threshold that optimize_threshold.py chose, with or without test-time augmentation."""
        name, flag = ("threshold_tta.json", " --tta") if tta else ("threshold.json", "")
        return read_json(self.folder / name, f"python optimize_threshold.py --run {self.name}{flag}")["threshold"]

    def model(self, to_store=False):
        """The best model on validation, see `model_files.load_model`."""
        return model_files.load_model(self.folder, to_store)


def open_run(results_dir, name):
    """The run of that name in a results folder."""
    return Run(run_folder(results_dir, name))


def present_names(constants):
    """Constants of train.py as a run recorded them, under the names they have now."""
    return {RENAMED.get(name, name): value for name, value in constants.items()}


def clear_run(folder, records):
    """Remove some records (TRAINED, DERIVED) of an earlier training from a run's folder, and nothing else there."""
    for pattern in records:
        for path in folder.glob(pattern):
            path.unlink()


def environment():
    """Record what a result depends on beside the constants: package versions, machine and source revision."""
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "python": platform.python_version(),
        "packages": versions,
        "platform": platform.platform(),
        "revision": revision(),
    }


def revision():
    """The git commit of the source, "+" appended where a script differs from it; "unknown" outside a clone."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
        status = subprocess.run([*git, "status", "--porcelain", "-uno", "--", "*.py"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")
