"""Runs: their folders, their records of training, and calls of one script by another."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import model_files
from bands import value_unit
from devices import import_keras
from patch_reading import ReadOptions
from records import read_json
from script import UserError, adopt

PACKAGES = ("tensorflow", "keras", "h5py", "numpy", "scipy", "matplotlib", "scikit-learn")
# Files that the stages write into a run folder: the record of training, and those derived from the model.
TRAINED = ("config.json", "split.csv", "model.keras", "last.weights.h5", "history.csv", "training_curves.png")
DERIVED = (
    *("threshold*.json", "threshold_curve*", "metrics*.json", "per_image*.csv"),
    *("objects*.csv", "false_alarms*.csv", "reliability*.csv", "reliability*.png", "samples/*.png"),
)
# Constants of train.py that runs of earlier versions lack, with the value of those runs; then former names.
ADDED = {"DATES": 2, "SIZE": 0, "MODEL": "unet", "ENCODER": "none", "ENLARGE": 2, "BACKGROUND_DIRS": ()}
ADDED |= {"TEACHER": "", "START_FROM": "", "FREEZE": "none"}
RENAMED = {"BLOCK": "BLOCK_SIZE", "LABEL_SHARE": "LABELLED_FRACTION", "SCALES": "MULTI_SCALE_LOGITS"}
REMOVED = {"RESIZE": False, "LOSS": "bce_dice", "LABEL_SMOOTHING": 0.0}  # with the only value that is still supported
OWN = ("RESULTS_DIR", "RUN", "RESUME", "OVERWRITE")  # constants that a resumed run takes from its command line
NOT_RUNS = ("", ".", "..", "cache", "figures", "ablation", "cross_dataset")  # names in results/ that are not runs


def train_run(folder, flags, threads=None):
    """Train a run, or resume it, and choose its threshold; return the output of optimize_threshold.py.

    flags: of train.py, for a run that has not started. threads: see `call_script`.
    """
    run = ("--results-dir", str(folder.parent), "--run", folder.name)
    call_script("train.py", *run, *(["--resume"] if (folder / "config.json").exists() else flags), threads=threads)
    return call_script("optimize_threshold.py", *run, threads=threads)


def call_script(name, *arguments, threads=None):
    """Run another script as a user does; return its output, or raise UserError with its error message.

    threads: of the numerical libraries, for several scripts that share the processor.
    """
    # the called script must not join the processes that train together (devices.py)
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
    """Return the folder of a run, given its name or, as a shell completes it, its path; raise UserError otherwise."""
    name = run.rstrip("/").removeprefix(f"{results_dir}/")
    if name in NOT_RUNS or Path(name).name != name:
        raise UserError(
            f"--run {run or repr(run)}: the name of a run is a folder name, without slashes, and not "
            "cache, figures, ablation or cross_dataset"
        )
    return Path(results_dir, name)


class Run:
    """A trained run: its folder and its config.json.

    Attributes:
        folder, name: results/<name>/ and <name>.
        config: the record of training.
        constants: those of train.py, {NAME: value}, under their present names; constants added after the run have the
            value that it was trained with.
    """

    def __init__(self, folder):
        """Open the run in a folder, or raise UserError naming the stage that makes it."""
        self.folder, self.name = Path(folder), Path(folder).name
        self.config = read_json(self.folder / "config.json", f"python train.py --run {self.name}")
        self.constants = ADDED | present_names(self.config.get("constants", {}))
        if "bands_from" not in self.config:  # runs of earlier versions number bands from 0
            self.config["bands"] = [f"band{int(band) + 1}" if band.isdigit() else band for band in self.config["bands"]]
            bands = self.constants.get("BANDS", ())
            self.constants["BANDS"] = [str(int(band) + 1) if band.isdigit() else band for band in map(str, bands)]
        if "values" not in self.config and "band_mean" in self.config:  # nor do they say what their values are
            dtype = self.config.get("file_dtype", "")
            self.config["values"] = value_unit(self.config["bands"], dtype, self.config["band_mean"])

    def removed(self):
        """Constants that the run was trained with and that train.py no longer has: "LOSS = focal_dice", for example."""
        return [
            f"{name} = {self.constants[name]}"
            for name in REMOVED
            if self.constants.get(name, REMOVED[name]) != REMOVED[name]
        ]

    def predecessors(self):
        """Yield this run and the runs that it learnt from, by their weights or probabilities, as far as they remain."""
        yield self
        start = self.config.get("start") or {}
        before = {
            start.get("run"): start.get("finished"),
            self.constants["TEACHER"]: self.config.get("teacher_finished"),
        }
        for name in filter(None, before):
            try:
                run = open_run(self.folder.parent, name)
            except UserError:
                run = None
            if run and run.config.get("finished") == before[name]:
                yield from run.predecessors()
            else:
                print(f"note: run {name}, which run {self.name} learnt from, is gone: it is unknown what it has seen")

    @property
    def options(self):
        """How the patches of the run are read: patch_reading.ReadOptions."""
        return ReadOptions(self.constants["DATES"], self.constants["SIZE"])

    def threshold(self, tta=False):
        """Read the threshold that optimize_threshold.py chose, with or without test-time augmentation."""
        name, flag = ("threshold_tta.json", " --tta") if tta else ("threshold.json", "")
        return read_json(self.folder / name, f"python optimize_threshold.py --run {self.name}{flag}")["threshold"]

    def model(self, to_store=False):
        """Load the model that the run keeps, see `model_files.load_model`."""
        return model_files.load_model(self.folder, to_store)

    def loss(self):
        """Return the loss that the run was trained with; Keras is imported first."""
        import_keras()
        from losses import BCEDice

        return BCEDice.of_constants(self.constants)


def open_run(results_dir, name):
    """Open the run of that name in a results folder, or the one that comes with the project if it has none there."""
    folder, own = run_folder(results_dir, name), Path(__file__).parent / "results"
    if not (folder / "config.json").exists() and (own / folder.name / "config.json").exists():
        folder = own / folder.name
    return Run(folder)


def resume_constants(constants, folder):
    """Give the constants of train.py (its globals) the values that the run in a folder was started with."""
    run = Run(folder)
    for constant in run.removed():
        raise UserError(f"{constant} is no longer known: start again with --overwrite")
    kept = {name: run.constants[name] for name in run.constants if name not in OWN}
    adopted, refused = adopt(constants, kept)
    for name, value in adopted.items():
        print(f"resuming with {name} = {value!r}, as the run was started")
    for name in refused.keys() - {"DATA_DIR", "WORKERS"}:  # data may have moved; neither changes the result
        raise UserError(f"a resumed run keeps {name} {refused[name]}: leave it out or start with --overwrite")


def present_names(constants):
    """Rename the constants of train.py that a run recorded to their present names."""
    return {RENAMED.get(name, name): value for name, value in constants.items()}


def clear_run(folder, records):
    """Remove records (TRAINED or DERIVED) of an earlier training from a run's folder, and no other files."""
    for pattern in records:
        for path in folder.glob(pattern):
            path.unlink()


def environment():
    """Collect what a result depends on besides the constants: package versions, machine and source revision."""
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
    """Return the git commit of the source, followed by "+" if a Python file was changed; "unknown" outside a clone."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
        status = subprocess.run([*git, "status", "--porcelain", "-uno", "--", "*.py"], capture_output=True, text=True)
    except OSError:
        return "unknown"
    if commit.returncode:
        return "unknown"
    return commit.stdout.strip() + ("+" if status.stdout.strip() else "")
