"""Kill stages at random moments and let the disk run full at every write: nothing that was complete may be lost.

    python tests/checks/kills.py --kills 500          # about an hour on two cores
    python tests/checks/kills.py --kills 20 --stages train map

Each stage works on small files in a temporary folder. It is killed (SIGKILL) after a random time and started again
until it ends, and its result is compared with that of a run that was left alone: the history of a training, the packed
patches, the bytes of maps, the weights of an exported model. After each kill all files under their final names must be
whole. For a full disk the largest file that the process may write is limited, from nothing upwards.

Prints and writes one row for each stage: kills, full disks, what was lost. They are added to those of earlier calls, so
that many kills can be done in several sittings. Exit status 1 if anything was lost.
"""

import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import rasterio
from rasterio.transform import from_origin

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
import records
import script

ROOT = Path(__file__).parent.parent.parent
KILLS = 500  # in all, spread evenly over the stages
STAGES = ("pack", "train", "map", "export")  # stages to kill
SEED = 0  # seed of the moments; another one for each sitting
OUT = "results/figures/kills.csv"  # table to write
RANGES = {"KILLS": (1, None)}
CHOICES = {"STAGES": ("pack", "train", "map", "export")}

NETWORK = "--base-filters 4 --depth 2 --batch-size 8 --epochs 4".split()
COMMANDS = {
    "pack": ["-c", "import dataset; dataset.open_patches('data')"],
    "train": [str(ROOT / "train.py"), "--run", "small", *NETWORK],
    "map": [str(ROOT / "predict.py"), "--run", "ready", "--input", "scene.tif", "--out-dir", "maps", "--overwrite"],
    "export": [str(ROOT / "export.py"), *"--run ready --format savedmodel --out-dir export --overwrite".split()],
}
RESULTS = {"pack": "results/cache", "train": "results/small", "map": "maps", "export": "export"}


def main():
    """Prepare the files, kill each stage, then fill its disk, and write the table."""
    table = {row["stage"]: row for row in records.read_rows(OUT)}
    with tempfile.TemporaryDirectory() as workdir:
        workdir = Path(workdir)
        prepare(workdir)
        for stage in STAGES:
            row = trial(workdir, stage, -(-KILLS // len(STAGES)), random.Random(SEED))
            print(", ".join(f"{key} {value}" for key, value in row.items()))
            for name in ("kills", "full_disks", "lost"):
                row[name] += int(table.get(stage, {}).get(name, 0))
            table[stage] = row
            records.write_csv(OUT, row, [each.values() for each in table.values()])
    print(f"written: {OUT}")
    sys.exit(any(int(row["lost"]) for row in table.values()))


def prepare(workdir):
    """Write 120 patches, a scene, and a finished run to map it with."""
    rng = np.random.default_rng(0)
    for number in range(120):
        image = rng.random((64, 64, 3), np.float32)
        mask = np.zeros((64, 64), np.uint8)
        mask[8:24, 8:40] = 1
        image[mask > 0] += 1
        for key, array in (("img", image), ("mask", mask)):
            path = (
                workdir
                / f"data/{'images' if key == 'img' else 'masks'}/{'image' if key == 'img' else 'mask'}_{number}.h5"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            with h5py.File(path, "w") as file:
                file[key] = array
    profile = {"count": 3, "height": 700, "width": 700, "dtype": "float32", "crs": "EPSG:32632"}
    with rasterio.open(workdir / "scene.tif", "w", transform=from_origin(6e5, 5e6, 10, 10), **profile) as file:
        file.write(rng.random((3, 700, 700), np.float32) + (np.indices((700, 700)).sum(0) % 97 < 20))
    for command in (
        [str(ROOT / "train.py"), "--run", "ready", *NETWORK],
        [str(ROOT / "optimize_threshold.py"), "--run", "ready"],
    ):
        run(workdir, command).check_returncode()
    shutil.rmtree(workdir / "results" / "cache")


def run(workdir, arguments, limit=None, kill_after=None):
    """Run Python with some arguments in `place`; limit: bytes of the largest file; kill_after: seconds."""

    def limited():
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "2", "SOURCE_DATE_EPOCH": "0"}
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=workdir,
        env=environment,
        preexec_fn=limited,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        said = process.communicate()
    return subprocess.CompletedProcess(arguments, process.returncode, *said)


def trial(workdir, stage, kills, rng):
    """Kill one stage `kills` times and fill its disk; return the row of the table."""
    result = workdir / RESULTS[stage]
    shutil.rmtree(result, ignore_errors=True)
    began = time.monotonic()
    run(workdir, COMMANDS[stage]).check_returncode()
    takes, expected = time.monotonic() - began, fingerprint(stage, result)
    lost, done = [], 0
    shutil.rmtree(result)
    while done < kills:
        finished = run(workdir, command(stage, result), kill_after=rng.uniform(0.2, 1.1) * takes)
        lost += damaged(result)
        if finished.returncode == -signal.SIGKILL:
            done += 1
            if rng.random() < 0.8:  # most often the next start goes on from what is there
                continue
        elif finished.returncode:
            lost.append(finished.stderr[-200:])
        else:
            lost += [] if fingerprint(stage, result) == expected else ["another result than without kills"]
        shutil.rmtree(result, ignore_errors=True)
    disks = 0
    for limit in (0, 100, 1000, 4000, 16000, 64000, 256000, 1000000, 4000000):
        shutil.rmtree(result, ignore_errors=True)  # a finished training would write nothing
        finished = run(workdir, command(stage, result), limit=limit)
        disks += finished.returncode != 0
        if finished.returncode and "Traceback" in finished.stderr and stage != "pack":  # that is no script
            lost.append(finished.stderr[-300:])
        lost += damaged(result)
    for text in lost[:5]:
        print(f"{stage}: {text}")
    return {
        "stage": stage,
        "kills": done,
        "full_disks": disks,
        "seconds_undisturbed": round(takes, 1),
        "lost": len(lost),
    }


def command(stage, result):
    """Return the command of a stage, with --resume if there is a training to go on with."""
    going_on = stage == "train" and (result / "config.json").exists()
    return COMMANDS[stage] + (["--resume"] if going_on else [])


def damaged(folder):
    """List the files under their final names that are not whole."""
    bad = []
    for path in folder.rglob("*") if folder.exists() else ():
        if not path.is_file() or ".partial" in path.as_posix() or path.suffix in (".lock", ".raw"):
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".csv":
                with open(path, newline="") as file:
                    assert len({len(row) for row in csv.reader(file)}) == 1
            elif path.suffix == ".keras":
                assert zipfile.ZipFile(path).testzip() is None
            elif path.suffix == ".h5":
                with h5py.File(path) as file:
                    file.visit(lambda name: None)
            elif path.suffix in (".tif", ".png"):
                with rasterio.open(path) as file:
                    file.read()
            elif path.name == "saved_model.pb":
                weights(path.parent)
            elif path.suffix == ".gpkg":
                assert path.read_bytes()[:6] == b"SQLite" and path.stat().st_size % 4096 == 0
        except Exception as error:  # whatever a reader raises, the file is damaged
            bad.append(f"{path.relative_to(folder)}: {error!r}")
    return bad


def fingerprint(stage, folder):
    """Return what has to be equal with and without kills."""
    if stage == "train":
        return (folder / "history.csv").read_text()
    if stage == "pack":
        return [path.read_bytes() for path in sorted(folder.rglob("*.raw"))]
    if stage == "export":
        return weights(folder / "ready_savedmodel")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def weights(saved_model):
    """Return the variables of a SavedModel, {name: bytes}. The bytes of its files differ from call to call."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    stored = tf.train.load_checkpoint(str(saved_model / "variables" / "variables"))
    names = [name for name in stored.get_variable_to_shape_map() if not name.startswith("_")]
    return {name: np.asarray(stored.get_tensor(name)).tobytes() for name in sorted(names)}


if __name__ == "__main__":
    script.start(main)
