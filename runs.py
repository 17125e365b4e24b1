"""What every stage shares: constants as flags, error lines, and the run folder with its records.

This module and everything it imports is light, so that `--help` and a user's mistake are answered at once;
Keras is imported only when a model is loaded.
"""

import argparse
import ast
import contextlib
import csv
import ctypes
import importlib.metadata
import io
import json
import logging
import os
import platform
import subprocess
import sys
import time
import tokenize
from pathlib import Path

PACKAGES = ("tensorflow", "keras", "h5py", "numpy", "scipy", "matplotlib", "scikit-learn")
# What the stages write into a run folder: the record of training, and what is derived from its model.
TRAINED = ("config.json", "split.csv", "model.keras", "last.weights.h5", "history.csv", "training_curves.png")
DERIVED = (
    *("threshold*.json", "threshold_curve*", "metrics*.json", "per_image*.csv"),
    *("objects*.csv", "reliability*.csv", "reliability*.png", "samples/*.png"),
)
NOT_RUNS = ("", ".", "..", "cache", "figures", "ablation", "cross_dataset")  # folders of results/ that are no runs

given = set()  # names of the constants that stood on the command line


class UserError(Exception):
    """A mistake that the user can mend; the text says what is wrong and what to do."""


# ---------------------------------------------------------------------- constants as flags


def constants(script):
    """The constants of a script: UPPERCASE names before its first function that hold plain values.

    Args:
        script: globals of the script; values are taken from there, so what is computed or edited counts as it is.

    Returns:
        {name: (value, trailing comment)} in the order of the file. Lists come as tuples.
    """
    with tokenize.open(script["__file__"]) as file:
        source = file.read()
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            break
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            name = node.targets[0].id
            value = tuple(script[name]) if isinstance(script[name], list) else script[name]
            if isinstance(value, bool | int | float | str | tuple):
                found[name] = value, comments.get(node.end_lineno, "")
    return found


def parse_flags(script, arguments):
    """Read the constants of a script (its globals) that the command line overrides; returns {NAME: value}.

    EPOCHS = 60 becomes --epochs 60. A flag has the type of its default: a whole number is taken for a float
    but not the other way, True/False become --flag/--no-flag, and a tuple takes any number of values.
    """
    parser = argparse.ArgumentParser(
        prog=Path(script["__file__"]).name,
        description=script["__doc__"],
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=110),
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )

    def fail(message):
        raise UserError(f"{message} (see --help)")

    parser.error = fail
    for name, (value, comment) in constants(script).items():
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        options = {"dest": name, "help": f"{comment} (default: {'none' if shown == '' else shown})".replace("%", "%%")}
        if isinstance(value, bool):
            options["action"] = argparse.BooleanOptionalAction
        elif isinstance(value, tuple):
            options |= {"nargs": "*", "type": type(value[0]) if value else str, "metavar": "VALUE"}
        else:
            options |= {"type": type(value), "metavar": {int: "N", float: "X", str: "TEXT"}[type(value)]}
        parser.add_argument("--" + name.lower().replace("_", "-"), **options)
    flags = vars(parser.parse_args(arguments))
    return {name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()}


def start(main):
    """Run a script: take its flags, call `main()`, and turn a user's mistake into a line and exit status 2."""
    script = main.__globals__
    name = Path(script["__file__"]).name
    sys.stdout.reconfigure(line_buffering=True)  # lines come in order when both streams go to one log
    try:
        flags = parse_flags(script, sys.argv[1:])
        given.update(flags)
        script.update(flags)
        main()
    except UserError as error:
        sys.exit(_complain(f"{name}: error: {error}"))
    except OSError as error:  # a full disk, a folder that may not be written: the system's own words serve
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(_complain(f"{name}: error: {where}{error.strerror or error}"))
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def _complain(line):
    print(line, file=sys.stderr)
    return 2


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


def check_ranges(script, **ranges):
    """Raise UserError for a constant outside its range; ranges: NAME=(lowest, highest or None)."""
    for name, (low, high) in ranges.items():
        if not low <= script[name] <= (script[name] if high is None else high):  # NaN fails, too
            allowed = f"at least {low}" if high is None else f"between {low} and {high}"
            raise UserError(f"{name} is {script[name]}: it must be {allowed}")


def check_choices(script, **choices):
    """Raise UserError for a constant that is none of its choices; a tuple must hold nothing else."""
    for name, allowed in choices.items():
        values = script[name] if isinstance(script[name], tuple | list) else [script[name]]
        wrong = [value for value in values if value not in allowed]
        if wrong:
            raise UserError(f"{name}: {', '.join(map(repr, wrong))} is none of {', '.join(allowed)}")


def progress(iterable, label, total=None):
    """Iterate with a bar on stderr; where stderr is no terminal, with a line at the end only."""
    total = len(iterable) if total is None else total
    began, shown, done = time.monotonic(), 0.0, 0
    live = sys.stderr.isatty()
    for done, item in enumerate(iterable, 1):
        yield item
        now = time.monotonic()
        if live and (now - shown > 0.2 or done == total):
            shown = now
            left = (now - began) / done * (total - done)
            bar = "#" * (30 * done // max(total, 1))
            print(f"\r{label} [{bar:<30}] {done}/{total}, {left:.0f} s left ", end="", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{chr(10) if live else ''}{label}: {done} in {seconds:.1f} s", file=sys.stderr)


# ---------------------------------------------------------------------- files written whole


@contextlib.contextmanager
def whole(path):
    """Yield a temporary path beside `path` that takes its place when the block ends well, and goes otherwise.

    The name keeps its ending, because writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{path.name}")
    try:
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())  # a rename that reaches the disk before the content would leave an empty file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_hdf5(path):
    """Yield an HDF5 file in memory that is written to `path`, whole or not at all, when the block ends well.

    On a full disk the library itself would crash in the middle of a file.
    """
    import h5py

    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        yield file
    try:
        with whole(path) as partial:
            partial.write_bytes(content.getvalue())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def write_text(path, text):
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path, record):
    write_text(path, json.dumps(record, indent=2, default=str) + "\n")


def write_csv(path, header, rows):
    """Write rows as CSV. Floats keep every digit, so that what is read back is what was written."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([header, *rows])
    write_text(path, content.getvalue())


def require(path, stage):
    """Return `path` if it exists; otherwise say which stage makes it."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing: {stage} makes it")
    return path


def read_csv(path, stage):
    """Read a CSV of numbers into a list of {column: float}."""
    with open(require(path, stage), newline="", encoding="utf-8") as file:
        try:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
        except (TypeError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}): make it again with {stage}") from None


# ---------------------------------------------------------------------- the run folder


def read_json(path, stage):
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): make it again with {stage}") from None


def run_folder(results_dir, run):
    """Folder of a run. A path to it, as a shell completes it, is taken for its name."""
    name = run.rstrip("/").removeprefix(f"{results_dir}/")
    if name in NOT_RUNS or Path(name).name != name:
        raise UserError(
            f"--run {run or repr(run)}: a run is named like a folder, without slashes, and not "
            "cache, figures, ablation or cross_dataset"
        )
    return Path(results_dir, name)


def open_run(results_dir, run):
    """Return (folder, config) of a trained run, or raise UserError naming the stage that makes it."""
    folder = run_folder(results_dir, run)
    return folder, read_json(folder / "config.json", f"python train.py --run {folder.name}")


def stored_threshold(folder, tta=False):
    """The threshold that optimize_threshold.py chose for a run, with or without test-time augmentation."""
    name, flag = ("threshold_tta.json", " --tta") if tta else ("threshold.json", "")
    return read_json(folder / name, f"python optimize_threshold.py --run {folder.name}{flag}")["threshold"]


def clear_run(folder, records):
    """Remove some records (TRAINED, DERIVED) of an earlier training from a run's folder, and nothing else there."""
    for pattern in records:
        for path in folder.glob(pattern):
            path.unlink()


def keep_freed_memory():
    """Have the C library keep what is freed: a training step frees hundreds of MB that the next one asks for again.

    Given back to the system, every page of it is cleared and mapped anew, which took a tenth of the time. For glibc
    (mallopt(3)); elsewhere nothing is done.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap, too
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: whose end is not given back, either, below 2 GB


def import_keras():
    """Import Keras without TensorFlow's start-up notes, which would bury our own lines.

    They come from C++ before its log level is read, so the error stream itself is closed for as long as the import
    takes. Set TF_CPP_MIN_LOG_LEVEL to see them; a failing import raises as ever.

    TensorFlow uses its oneDNN kernels by itself only where a processor has AVX512-VNNI. On one with AVX2 alone they
    train and predict 1.4 times as fast as the others, so they are switched on unless TF_ENABLE_ONEDNN_OPTS is set.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return keras
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import keras
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every further model that is trained
    return keras


def hardware_has_bfloat16():
    """Whether bfloat16 is faster than float32 here: a GPU, or a CPU with AVX512-BF16 or AMX.

    The environment variable LANDSLIDE_BFLOAT16 answers in its place: 0 for no, 1 for yes.
    """
    answer = os.environ.get("LANDSLIDE_BFLOAT16", "")
    if answer:
        if answer not in ("0", "1"):
            raise UserError(f"the environment variable LANDSLIDE_BFLOAT16 is {answer!r}: it must be 0 or 1")
        return answer == "1"
    keras = import_keras()
    if keras.backend.backend() == "torch":  # Keras lists no devices there
        import torch

        gpu = torch.cuda.is_available()
    else:
        gpu = any(device.startswith("gpu") for device in keras.distribution.list_devices())
    if gpu:
        return True
    flags = Path("/proc/cpuinfo")  # Linux; elsewhere the safe answer is no
    flags = flags.read_text() if flags.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


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
