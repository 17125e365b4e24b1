"""Flags from constants, atomic writes, and the records of a run."""

import csv
import itertools
import os
import platform
import signal
import subprocess
import sys

import numpy as np
import pytest

import records
import runs
import script
from networks import keras_start
from tests.running import ROOT

SCRIPT = '''"""A script."""
import script

# ---------------------------------------------------------------------- how it learns
EPOCHS = 60  # passes over the training split
RATE = 1e-3  # per step, 5 % of it
# ---------------------------------------------------------------------- the run
NAME = "unet"  # of the run
FORCE = False  # replace it
BANDS = ()  # bands to use
SIZES = (1, 2)  # of something
LEVEL = None  # float: of the water
KIND = "a"  # of it
TABLE = {"a": 1}
CHOICES = {"KIND": ("a", "b")}
RANGES = {"EPOCHS": (1, None), "SIZES": (0, 9)}
FORMER_NAMES = {"PASSES": "EPOCHS"}


def main():
    LATER = 1
    print(EPOCHS, RATE, NAME, FORCE, BANDS, SIZES)


if __name__ == "__main__":
    script.start(main)
'''


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(SCRIPT)
    return path


def run(example, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, example, *arguments]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )


def test_constants_are_flags_typed_by_their_defaults(example):
    assert run(example).stdout == "60 0.001 unet False () (1, 2)\n"
    flags = "--epochs 3 --rate 1 --name rgb --force --bands B4 slope --sizes 3 4 5".split()
    assert run(example, *flags).stdout == "3 1.0 rgb True ('B4', 'slope') (3, 4, 5)\n"
    assert run(example, "--no-force", "--bands").stdout == "60 0.001 unet False () (1, 2)\n"


def test_edited_constants_count_as_they_are(example):
    example.write_text(SCRIPT.replace("EPOCHS = 60", "EPOCHS = 2 * 30").replace("BANDS = ()", 'BANDS = ["B4"]'))
    assert run(example, "--rate", "2").stdout == "60 2.0 unet False ['B4'] (1, 2)\n"
    text = run(example, "--help").stdout
    assert "(default: 60)" in text and "bands to use (default: B4)" in text


@pytest.mark.parametrize("number", ["0", "-1000", "-3.4e38", "-1E3", "1e-3", "-inf"])
def test_a_constant_without_a_value_takes_any_number(example, number):
    example.write_text(SCRIPT.replace("print(EPOCHS", "print(repr(LEVEL), EPOCHS"))
    assert run(example).stdout.startswith("None ")
    assert run(example, "--level", number, "--epochs", "3").stdout.startswith(f"{float(number)!r} 3 ")
    assert "of the water (default: none)" in run(example, "--help").stdout


def test_none_is_the_word_for_nothing(example):
    example.write_text(SCRIPT.replace("print(EPOCHS", "print(repr(LEVEL), EPOCHS"))
    assert run(example, "--level", "none").stdout.startswith("None ")
    assert run(example, "--level", "2").stdout.startswith("2.0 ")
    assert run(example, "--bands", "none").stdout.endswith(" False () (1, 2)\n")
    listed = SCRIPT.replace('CHOICES = {"KIND"', 'CHOICES = {"BANDS": ("all", "none"), "KIND"')
    example.write_text(listed)
    assert run(example, "--bands", "none").stdout.endswith(" False ('none',) (1, 2)\n")


def test_help_has_the_groups_and_ranges_of_the_constants(example):
    text = run(example, "--help").stdout
    assert text.index("how it learns:") < text.index("--epochs N") < text.index("the run:") < text.index("--name TEXT")
    assert "split; at least 1 (default: 60)" in text and "; between 0 and 9 (default: 1 2)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs is 0: it must be at least 1"),
        (["--sizes", "3", "12"], "--sizes is 12: it must be between 0 and 9"),
        (["--kind", "c"], "--kind: 'c' is none of a, b"),
        (["--passes", "3"], "--passes is called --epochs now (see --help)"),
        (["--passes=3"], "--passes is called --epochs now (see --help)"),
        (["passes"], "unrecognized arguments: passes (see --help)"),  # no flag
    ],
)
def test_constants_are_checked_before_the_work_begins(example, arguments, message):
    result = run(example, *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"example.py: error: {message}\n")


def test_version_states_revision_and_packages(example):
    words = run(example, "--version").stdout
    assert words.startswith(f"example.py: revision {script.revision()}, Python 3.") and "keras 3." in words


def test_a_stray_number_is_no_value_of_a_word(example):
    assert "unrecognized arguments: -1e5" in run(example, "--name", "x", "-1e5").stderr


def test_help_lists_every_constant_with_comment_and_default(example):
    text = run(example, "--help").stdout
    assert "passes over the training split; at least 1 (default: 60)" in text
    for part in ("A script.", "--epochs N", "5 % of it", "--no-force"):
        assert part in text
    assert "of it; choices: a, b (default: a)" in text
    assert "table" not in text.lower() and "later" not in text.lower()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epoch", "3"], "unrecognized arguments: --epoch 3"),
        (["--epochs", "1.5"], "argument --epochs: invalid int value: '1.5'"),
        (["--rate", "fast"], "argument --rate: invalid float value: 'fast'"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_unknown_and_ill_typed_flags_are_one_line_and_status_2(example, arguments, message):
    result = run(example, *arguments)
    assert result.returncode == 2
    assert result.stderr == f"example.py: error: {message} (see --help)\n"


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        ('raise script.UserError("the folder is empty")', "example.py: error: the folder is empty\n"),
        ('open("/dev/full", "w").write("x" * 100000)', "example.py: error: No space left on device\n"),
        ('open("/nowhere/x")', "example.py: error: /nowhere/x: No such file or directory\n"),
    ],
)
def test_mistakes_and_a_full_disk_end_in_one_line(example, failure, line):
    example.write_text(SCRIPT.replace("LATER = 1", failure))
    result = run(example)
    assert (result.returncode, result.stderr) == (2, line)


def test_ctrl_c_within_a_destructor_is_not_lost(example):
    """Python ignores exceptions raised there, including KeyboardInterrupt."""
    dropped = (
        "import os, signal\n"
        "    class Dropped:\n"
        "        def __del__(self):\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "    Dropped()\n"
        "    list(script.progress(range(1000), 'waiting'))\n"
    )
    example.write_text(SCRIPT.replace("LATER = 1", dropped))
    result = run(example)
    assert result.returncode == 130, result.stderr
    assert "example.py: interrupted" in result.stderr


def test_a_fault_of_our_own_keeps_its_traceback(example):
    example.write_text(SCRIPT.replace("LATER = 1", "1 / 0"))
    result = run(example)
    assert result.returncode == 1 and "ZeroDivisionError" in result.stderr


def test_files_are_whole_or_absent(tmp_path):
    path = tmp_path / "new" / "record.json"
    records.write_json(path, {"dice": 0.5})
    with pytest.raises(RuntimeError), records.atomic_write(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert records.read_json(path, "train.py") == {"dice": 0.5}
    assert os.listdir(path.parent) == ["record.json"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    records.write_text(tmp_path / "history.csv", "old")
    code = (
        "import os, records\n"
        f"with records.atomic_write(r'{tmp_path}/history.csv') as path:\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == -signal.SIGKILL
    assert (tmp_path / "history.csv").read_text() == "old"


OLD = {"images/old.h5": "old", "a.csv": "old", "b.csv": "old", "mine.txt": "mine"}
NEW = {"images/new.h5": "new", "a.csv": "new", "c.csv": "new", "mine.txt": "mine"}


def replace_contents(folder):
    with records.atomic_contents(folder, ("images", "*.csv")) as partial:
        for name in ("images/new.h5", "a.csv", "c.csv"):
            records.write_text(partial / name, "new")


def texts(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def is_killed(steps, call, *arguments):
    """Whether a call changes the disk in more than `steps` steps; then nothing happens after these, as after a kill."""

    class Kill(BaseException):
        pass

    def counted(real):
        def step(*arguments, **options):
            nonlocal steps
            steps -= 1
            if steps < 0:
                raise Kill
            return real(*arguments, **options)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in ("mkdir", "rename", "replace", "rmdir", "unlink"):
            patch.setattr(os, name, counted(getattr(os, name)))
        try:
            call(*arguments)
        except Kill:
            return True
        return False


@pytest.mark.parametrize("former", [OLD, {"mine.txt": "mine"}], ids=["replaced", "made"])
def test_a_kill_at_any_step_leaves_the_contents_of_a_folder_old_or_new(tmp_path, former):
    """And so does a second kill, while what the first one left is put right."""
    for first, second in itertools.product(range(40), (*range(12), 40)):
        folder = tmp_path / f"{first}_{second}"
        for name, text in former.items():
            records.write_text(folder / name, text)
        was_killed = is_killed(first, replace_contents, folder)
        is_killed(second, records.restore_contents, folder, ("images", "*.csv"))
        records.restore_contents(folder, ("images", "*.csv"))
        left = texts(folder)
        assert left in (former, NEW) and (left == NEW or was_killed), (first, second)
        assert not list(folder.glob(".*"))
    assert not was_killed and left == NEW


def test_missing_and_damaged_records_name_the_stage(tmp_path):
    with pytest.raises(script.UserError, match="threshold.json is missing: optimize_threshold.py makes it"):
        records.read_json(tmp_path / "threshold.json", "optimize_threshold.py")
    (tmp_path / "threshold.json").write_text('{"thresh')
    with pytest.raises(script.UserError, match="is damaged .* make it again with optimize_threshold.py"):
        records.read_json(tmp_path / "threshold.json", "optimize_threshold.py")


def test_csv_keeps_every_digit(tmp_path):
    values = [1 / 3, 2e-17]
    records.write_csv(tmp_path / "a.csv", ("x", "y"), [values])
    assert records.read_csv(tmp_path / "a.csv", "nothing") == [dict(zip("xy", values, strict=True))]


def test_clearing_a_run_leaves_what_is_not_a_record(tmp_path):
    for name in ("config.json", "metrics_validation.json", "notes.txt", "samples/best.png", "samples/mine.tif"):
        records.write_text(tmp_path / name, "x")
    runs.clear_run(tmp_path, runs.TRAINED + runs.DERIVED)
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["notes.txt", "samples/mine.tif"]


def test_scores_on_other_data_go_with_the_model(tmp_path):
    """Those of an earlier model would be taken for scores of the next one."""
    for name in ("first", "second"):
        records.write_text(tmp_path / "scores" / name / "metrics_other_12ab34_test.json", "{}")
    runs.clear_run(tmp_path / "first", runs.DERIVED)
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["second"]


def test_environment_records_versions_and_revision():
    record = runs.environment()
    assert record["packages"].keys() == set(runs.PACKAGES)
    assert record["revision"]


def test_csv_keeps_digits_and_names_with_commas(tmp_path):
    rows = [("slope, north", 0.1 + 0.2, np.float32(0.1)), ('a "b"', 1, "")]
    records.write_csv(tmp_path / "x.csv", ("name", "one", "two"), rows)
    with open(tmp_path / "x.csv", newline="") as file:
        header, *read = csv.reader(file)
    assert header == ["name", "one", "two"]
    assert read == [["slope, north", "0.30000000000000004", "0.1"], ['a "b"', "1", ""]]


def test_whether_bfloat16_is_fast_can_be_said_for_the_machine(monkeypatch):
    for said, answer in (("0", False), ("1", True)):
        monkeypatch.setenv("LANDSLIDE_BFLOAT16", said)
        assert keras_start.hardware_has_bfloat16() is answer
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", "no")
    with pytest.raises(script.UserError, match="LANDSLIDE_BFLOAT16 is 'no': it must be 0 or 1"):
        keras_start.hardware_has_bfloat16()


@pytest.mark.parametrize(("backend", "answer"), [("tensorflow", True), ("jax", False)])
def test_a_gpu_has_bfloat16_but_not_under_jax(monkeypatch, backend, answer):
    keras = keras_start.import_keras()
    monkeypatch.delenv("LANDSLIDE_BFLOAT16", raising=False)
    monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    assert keras_start.hardware_has_bfloat16() is answer


def test_onednn_is_on_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    keras_start.import_keras()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "1"
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    keras_start.import_keras()
    assert os.environ["TF_ENABLE_ONEDNN_OPTS"] == "0"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_memory_that_is_freed_is_not_faulted_in_again():
    code = (
        "import resource, numpy as np\nfrom networks import keras_start\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): np.ones(5_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "given_back = faults()\n"
        "keras_start.keep_freed_memory()\n"
        "faults()\n"
        "print(given_back, faults())\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    given_back, kept = map(int, result.stdout.split())
    assert kept < given_back / 10


def test_a_run_that_comes_with_the_project_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert runs.open_run("results", "rgb").folder == ROOT / "results" / "rgb"
    with pytest.raises(
        script.UserError,
        match="holds no run: choose another RUN .rgb .comes with",
    ):
        runs.open_run("results", "none")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("EPOCHS is 0: it must be", "--epochs is 0: it must be"),
        ("/data/DEM/EPOCHS.tif: SPLIT_SEED and SEED", "/data/DEM/EPOCHS.tif: --split-seed and --seed"),
        ("EPOCHS_DONE", "EPOCHS_DONE"),
    ],
)
def test_messages_name_flags(text, shown):
    assert script.with_flags(text, ("EPOCHS", "SEED", "SPLIT_SEED", "DEM")) == shown


def test_a_run_of_an_earlier_version_is_refused(tmp_path):
    for number, constants in enumerate(({"BACKGROUND_DIRS": []}, {"ENCODER": "none"})):
        records.write_json(tmp_path / f"old{number}" / "config.json", {"constants": constants})
        with pytest.raises(script.UserError, match=f"run old{number} was made by an earlier version"):
            runs.Run(tmp_path / f"old{number}")
