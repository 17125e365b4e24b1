"""How time and memory grow with the number of patches and with the size of a scene; packing; start-up.

    python benchmarks/growth.py
    python benchmarks/growth.py --patches 950 --rows 2745      # up to the 3799 patches of Landslide4Sense and a tile

Every stage runs as a user runs it, in a process of its own, at one, two and four times the size. For a time of
a + b n^p, p is log2 of the second difference over the first, whatever the start costs. Writes
results/figures/growth.csv, .png and start_up.csv.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the scripts lie flat, one level up

import numpy as np
from random_data import write_patches, write_scene
from turns import alone, peak, run_script

import dataset
import records
import script

PATCHES = 200  # 14-band patches of the smallest folder
ROWS = 512  # of the smallest scene
COLUMNS = 2048  # of the scenes
ROUNDS = 3  # times that --help is timed
RESULTS_DIR = "results"  # the tables go to figures/ there


def main():
    script.check_ranges(globals(), PATCHES=(16, None), ROWS=(128, None), COLUMNS=(128, None), ROUNDS=(1, None))
    figures = Path(RESULTS_DIR, "figures").resolve()
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        rows = of_patches(place) + of_scenes(place)
        starts = start_up(place)
    print(f"\n{'stage':<16} {'size':>14}  seconds  peak memory   exponent of time")
    for row in rows:
        print(f"{row['stage']:<16} {row['size']:>14}  {row['seconds']:>7}  {row['peak_gb']:>8} GB   {row['exponent']}")
    for row in starts:
        print(f"{row['what']:<44} {row['seconds']:>6} s")
    records.write_csv(figures / "growth.csv", rows[0], [row.values() for row in rows])
    records.write_csv(figures / "start_up.csv", starts[0], [row.values() for row in starts])
    draw(rows, figures / "growth.png")
    print(f"written: {figures}/growth.csv, growth.png, start_up.csv")


def of_patches(place):
    """Rows of what is done with a folder of patches."""
    found = {}
    for times in (1, 2, 4):
        count, folder, run = times * PATCHES, place / f"patches_{times}", f"r{times}"
        write_patches(folder, count)
        size = sum(path.stat().st_size for path in folder.rglob("*.h5"))
        print(f"{count} patches, {size / 1e9:.2f} GB", flush=True)
        flags = ("--run", run, "--overwrite", "--epochs", 1, "--data-dir", folder)
        measured = {
            "read raw": alone(read_raw, folder),
            "pack": alone(pack, folder, place),
            "open packed": alone(pack, folder, place),
            "train": run_script("train.py", *flags, cwd=place)[:2],
            "evaluate": run_script(*f"evaluate.py --run {run} --split all --threshold 0.5".split(), cwd=place)[:2],
        }
        for stage, (seconds, memory) in measured.items():
            found.setdefault(stage, []).append((count, "patches", seconds, memory, size))
    return [row for stage, measured in found.items() for row in rows_of(stage, measured)]


def of_scenes(place):
    """Rows of mapping a scene by the run that `of_patches` left."""
    measured = []
    for times in (1, 2, 4):
        write_scene(place / "scene.tif", times * ROWS, COLUMNS)
        flags = ("--run", "r1", "--threshold", 0.5, "--input", "scene.tif")
        seconds, memory, _ = run_script("predict.py", *flags, cwd=place)
        measured.append((times * ROWS * COLUMNS / 1e6, "MP", seconds, memory, 0))
    return rows_of("map a scene", measured)


def rows_of(stage, measured):
    """Rows of a stage from (size, unit, seconds, kB, bytes of the files) at one, two and four times the size."""
    first, second = np.diff([seconds for _, _, seconds, _, _ in measured])
    exponent = round(float(np.log2(second / first)), 2) if first > 0 and second > 0 else ""
    return [
        {
            "stage": stage,
            "size": f"{size:.4g} {unit}",
            "seconds": round(seconds, 3),
            "peak_gb": round(memory / 1e6, 2),
            "mb_per_s": round(content / 1e6 / seconds) if stage in ("read raw", "pack") else "",
            "exponent": exponent,
        }
        for size, unit, seconds, memory, content in measured
    ]


def read_raw(folder):
    """Read all files as they lie on the disk; returns (seconds, peak memory in kB)."""
    began = time.perf_counter()
    for path in folder.rglob("*.h5"):
        path.read_bytes()
    return time.perf_counter() - began, peak()


def pack(folder, place):
    """Open a folder, packed or not yet; returns (seconds, peak memory in kB)."""
    began = time.perf_counter()
    dataset.open_patches(folder, place / "results" / "cache")
    return time.perf_counter() - began, peak()


def start_up(place):
    """Rows of what a user waits for before anything happens."""
    rows = []
    for name in ("train.py", "evaluate.py", "predict.py"):
        seconds = [run_script(name, "--help", cwd=place)[0] for _ in range(ROUNDS)]
        rows.append({"what": f"{name} --help", "seconds": round(float(np.median(seconds)), 2)})
    few = place / "few"
    write_patches(few, 24)
    flags = ("--run", "few", "--overwrite", "--epochs", 1, "--data-dir", few)
    seconds, _, started = run_script("train.py", *flags, cwd=place, until="parameters")
    rows.append({"what": "train.py, 24 patches, until training starts", "seconds": round(started, 2)})
    rows.append({"what": "train.py, 24 patches, one epoch, to its end", "seconds": round(seconds, 2)})
    return rows


def draw(rows, path):
    """Time and memory against the size, both logarithmic, and a line of exponent 1."""
    import matplotlib.pyplot as plt

    from plots import save

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for stage in dict.fromkeys(row["stage"] for row in rows):
        chosen = [row for row in rows if row["stage"] == stage]
        for axis, key in zip(axes, ("seconds", "peak_gb"), strict=True):
            axis.loglog((1, 2, 4), [row[key] for row in chosen], "o-", label=f"{stage} ({chosen[0]['size']})")
    axes[0].loglog((1, 4), (10, 40), color="black", linewidth=0.8, linestyle="--", label="in proportion")
    for axis, label in zip(axes, ("seconds", "peak memory, GB"), strict=True):
        axis.set(xlabel="times the size in brackets", ylabel=label)
        axis.set_xticks((1, 2, 4), ("1", "2", "4"))
        axis.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    save(figure, path)


if __name__ == "__main__":
    script.start(main)
