"""Runs: their folders, their records of training, and calls of one script by another."""

import contextlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import locks
from records import read_json, remove_partials
from script import UserError, adopt, note, revision, versions

PACKAGES = ("tensorflow", "keras", "h5py", "numpy", "scipy", "matplotlib", "scikit-learn")
# Files that the stages write into a run folder: the record of training, and those derived from the model.
TRAINED = (
    *("config.json", "split.csv", "model.keras", "last.weights.h5", "history.csv", "training_curves.png"),
    "home.npz",
)
DERIVED = (
    *("threshold*.json", "threshold_curve*", "metrics*.json", "per_image*.csv"),
    *("objects*.csv", "false_alarms*.csv", "reliability*.csv", "reliability*.png", "samples/*.png"),
)
OWN = ("RESULTS_DIR", "RUN", "RESUME", "OVERWRITE")  # constants that a resumed run takes from its command line
SHIPPED = {"rgb": Path(__file__).parent / "results" / "rgb"}  # runs that come with the project
# Names in results/ that are not runs.
NOT_RUNS = ("", ".", "..", "cache", "figures", "scores", "ablation", "cross_dataset")


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


def run_folder(results_dir, run, constant="RUN"):
    """Return the folder of a run, given its name or, as a shell completes it, its path; raise UserError otherwise.

    constant: of the script, by which the user names the run.
    """
    name = (run or "").rstrip("/").removeprefix(f"{results_dir}/")
    if name in NOT_RUNS or Path(name).name != name:
        raise UserError(
            f"{constant} {run or repr(run)}: the name of a run is a folder name, without slashes, and not "
            "cache, figures, scores, ablation or cross_dataset"
        )
    return Path(results_dir, name)


class Run:
    """A trained run: its folder and its config.json.

    Attributes:
        folder, name: results/<name>/ and <name>. output: folder of what is written from it; of the run that comes with
            the project, it lies in the user's own results folder.
        config: the record of training.
        constants: those of train.py, {NAME: value}; empty for a model that train.py did not make.
    """

    def __init__(self, folder, output=None):
        """Open the run in a folder; raise UserError if it is missing, or was made by an earlier version."""
        self.folder, self.name = Path(folder), Path(folder).name
        self.output = Path(output or folder)
        self.config = read_json(self.folder / "config.json", f"python train.py --run {self.name}")
        self.constants = self.config.get("constants", {})
        if isinstance(self.constants.get("DATA_DIR"), str):  # of a run from before several folders could be given
            self.constants["DATA_DIR"] = [self.constants["DATA_DIR"]]
        if "BACKGROUND_DIRS" in self.constants or self.constants.get("ENCODER") == "none":
            raise UserError(f"run {self.name} was made by an earlier version of this project: train it again")

    @property
    def data_folders(self):
        """Folders that the run was trained on, as train.py was given them."""
        folders = self.config["data_dir"]
        return list(folders) if isinstance(folders, list | tuple) else [folders]

    @property
    def scores_folder(self):
        """Folder of the scores on other data than the run's own."""
        return scores_folder(self.output)

    def predecessors(self, tell=True):
        """Yield this run and the runs that it learnt from, by their weights or probabilities, as far as they remain.

        tell: whether to print which of them are gone.
        """
        yield self
        start = self.config.get("start") or {}
        finished = {
            start.get("run"): start.get("finished"),
            self.constants.get("TEACHER"): self.config.get("teacher_finished"),
        }
        for name in filter(None, finished):
            try:
                run = open_run(self.folder.parent, name)
            except UserError:
                run = None
            if run and run.config.get("finished") == finished[name]:
                yield from run.predecessors(tell)
            elif tell:
                note(f"run {name}, which run {self.name} learnt from, is gone: it is unknown what it has seen")

    def path_of(self, name):
        """Return the path of a file that a stage wrote for this run, where it was written last."""
        return next((path for path in (self.output / name, self.folder / name) if path.exists()), self.folder / name)

    def threshold(self, tta=False):
        """Read the threshold that optimize_threshold.py chose, with or without test-time augmentation."""
        return self.threshold_record(tta)["threshold"]

    def threshold_record(self, tta=False):
        """Read what optimize_threshold.py wrote of the threshold it chose, {"threshold", "precision", ...}."""
        name, flag = ("threshold_tta.json", " --tta") if tta else ("threshold.json", "")
        return read_json(self.path_of(name), f"python optimize_threshold.py --run {self.name}{flag}")


def open_run(results_dir, name, constant="RUN"):
    """Open the run of that name in a results folder, or the one that comes with the project if it has none there.

    What comes with the project is only read: it may lie in a folder in which the user may not write.

    constant: of the script, by which the user names the run.

    Raises:
        UserError: there is no such run; the message lists those that there are.
    """
    folder = run_folder(results_dir, name, constant)
    for candidate in (folder, SHIPPED.get(folder.name, folder)):
        if (candidate / "config.json").exists():
            return Run(candidate, folder)
    names = sorted(path.parent.name for path in Path(results_dir).glob("*/config.json"))
    listed = ", ".join([*names, *(f"{each} (comes with the project)" for each in SHIPPED if each not in names)])
    train = f"python train.py --run {folder.name}"
    raise UserError(f"{folder} holds no run: choose another {constant} ({listed}), or train it first: {train}")


def resume_constants(constants, folder):
    """Give the constants of train.py (its globals) the values that the run in a folder was started with."""
    kept = {name: value for name, value in Run(folder).constants.items() if name not in OWN}
    adopted, refused = adopt(constants, kept)
    for name, value in adopted.items():
        print(f"resuming with {name} = {value!r}, as the run was started")
    for name in refused.keys() - {"DATA_DIR", "WORKERS"}:  # data may have moved; neither changes the result
        raise UserError(f"a resumed run keeps {name} {refused[name]}: leave it out or start with --overwrite")


def command(stage, folder, *flags):
    """Return the command that calls a stage for the run in a folder, as it is typed in a shell."""
    words = ["python", stage, "--run", folder.name, *flags]
    words += [] if folder.parent == Path("results") else ["--results-dir", str(folder.parent)]
    return shlex.join(words)


def scores_folder(folder):
    """Return the folder of the scores of a run, whose folder is given, on other data than its own."""
    return folder.parent / "scores" / folder.name


@contextlib.contextmanager
def training_lock(folder):
    """Keep other processes from training the run of a folder while the block runs; see locks.held."""
    busy = f"another process trains the run {folder}: wait until it has ended, or choose another --run"
    with locks.held(folder / ".partial-training.lock", busy) as alone:
        if alone:
            remove_partials(folder / name for name in TRAINED)
        yield


def clear_run(folder, records):
    """Remove records (TRAINED or DERIVED) of an earlier training from a run's folder, and no other files.

    Scores on other data are those of a model, so they are removed with any of them.
    """
    shutil.rmtree(scores_folder(folder), ignore_errors=True)
    for pattern in records:
        for path in folder.glob(pattern):
            path.unlink()


def environment():
    """Collect what a result depends on besides the constants: package versions, machine and source revision."""
    return {
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "platform": platform.platform(),
        "revision": revision(),
    }
