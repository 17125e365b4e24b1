"""Measure how time and memory grow with the number of patches and the size of a scene; packing; start-up.

    python benchmarks/growth.py
    python benchmarks/growth.py --patches 950 --rows 2745      # up to the 3799 patches of Landslide4Sense and a tile

Every stage runs as a user runs it, in its own process, at one, two and four times the size, in several rounds. Seconds
are medians over the rounds. If the time is a + b n^p, p is the exponent; its interval of 90 % is a bootstrap over the
rounds of each size. Writes results/figures/growth.csv, growth.png and start_up.csv.
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np
from random_data import write_patches, write_scene
from turns import alone, interval, peak, run_script

import dataset
import records
import script

PATCHES = 200  # number of 14-band patches in the smallest folder
ROWS = 512  # rows of the smallest scene
COLUMNS = 2048  # columns of all scenes
ROUNDS = 3  # number of times that everything is timed
RESULTS_DIR = "results"  # the tables go to figures/ in it

RANGES = {"PATCHES": (16, None), "ROWS": (128, None), "COLUMNS": (128, None), "ROUNDS": (1, None)}
multiples = (1, 2, 4)  # sizes of each stage, in those of the smallest


def main():
    """Time all stages, print the tables and write them with the picture."""
    figures = Path(RESULTS_DIR, "figures").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        work_dir = Path(temporary)
        rows = of_patches(work_dir) + of_scenes(work_dir)
        starts = start_up(work_dir)
    print(f"\n{'stage':<16} {'size':>14}  seconds  peak memory   exponent of time (90 % interval)")
    for row in rows:
        p, low, high = (row[key] for key in ("exponent", "exponent_low", "exponent_high"))
        print(
            f"{row['stage']:<16} {row['size']:>14}  {row['seconds']:>7}  {row['peak_gb']:>8} GB   {p} ({low} to {high})"
        )
    for row in starts:
        print(f"{row['what']:<44} {row['seconds']:>6} s")
    records.write_csv(figures / "growth.csv", rows[0], [row.values() for row in rows])
    records.write_csv(figures / "start_up.csv", starts[0], [row.values() for row in starts])
    draw(rows, figures / "growth.png")
    print(f"written: {figures}/growth.csv, growth.png, start_up.csv")


def of_patches(work_dir):
    """Return the rows of the stages on a folder of patches: read, pack, open, train and evaluate."""
    folders = {times: work_dir / f"patches_{times}" for times in multiples}
    for times, folder in folders.items():
        write_patches(folder, times * PATCHES)
    sizes = {times: sum(path.stat().st_size for path in folder.rglob("*.h5")) for times, folder in folders.items()}
    measurements = {}
    for turn in range(ROUNDS):
        for times, folder in folders.items():
            print(f"round {turn + 1}: {times * PATCHES} patches, {sizes[times] / 1e9:.2f} GB", flush=True)
            shutil.rmtree(work_dir / "results" / "cache", ignore_errors=True)
            run, flags = f"r{times}", ("--overwrite", "--epochs", 1, "--data-dir", folder)
            evaluation = f"evaluate.py --run {run} --split all --threshold 0.5".split()
            measured = {
                "read raw": alone(read_raw, folder),
                "pack": alone(pack, folder, work_dir),
                "open packed": alone(pack, folder, work_dir),
                "train": run_script("train.py", "--run", run, *flags, cwd=work_dir)[:2],
                "evaluate": run_script(*evaluation, cwd=work_dir)[:2],
            }
            for stage, each in measured.items():
                measurements.setdefault(stage, {}).setdefault(times, []).append(each)
    names = {times: f"{times * PATCHES} patches" for times in multiples}
    return [row for stage, measured in measurements.items() for row in rows_of(stage, names, measured, sizes)]


def of_scenes(work_dir):
    """Return the rows of mapping a scene, with the run that `of_patches` trained."""
    for times in multiples:
        write_scene(work_dir / f"scene_{times}.tif", times * ROWS, COLUMNS)
    measured = {times: [] for times in multiples}
    for _ in range(ROUNDS):
        for times in multiples:
            flags = ("--run", "r1", "--threshold", 0.5, "--overwrite", "--input", f"scene_{times}.tif")
            measured[times].append(run_script("predict.py", *flags, cwd=work_dir)[:2])
    return rows_of("map a scene", {times: f"{times * ROWS * COLUMNS / 1e6:.4g} MP" for times in multiples}, measured)


def rows_of(stage, names, measured, sizes=None):
    """Make the rows of a stage.

    Args:
        names: {times: size in words}. measured: {times: [(seconds, kB) of each round]}. sizes: {times: bytes of the
            files}.
    """
    seconds = {times: [each for each, _ in rounds] for times, rounds in measured.items()}
    columns = [exponent(*seconds.values()), *interval(exponent, *seconds.values())]
    columns = [round(float(each), 2) if np.isfinite(each) else "" for each in columns]
    return [
        {
            "stage": stage,
            "size": names[times],
            "seconds": round(float(np.median(seconds[times])), 3),
            "peak_gb": round(max(memory for _, memory in rounds) / 1e6, 2),
            "mb_per_s": round(sizes[times] / 1e6 / np.median(seconds[times])) if stage in ("read raw", "pack") else "",
            "rounds": ROUNDS,
            **dict(zip(("exponent", "exponent_low", "exponent_high"), columns, strict=True)),
        }
        for times, rounds in measured.items()
    ]


def exponent(once, twice, four_times):
    """Return p of a + b n^p from the seconds of rounds at n = 1, 2 and 4; infinite if the times do not rise.

    log2 of the second difference of the medians over the first: the start-up time a cancels out.
    """
    first, second = np.diff([np.median(each) for each in (once, twice, four_times)])
    if first <= 0 or second <= 0:
        return np.inf if first <= 0 else -np.inf
    return np.log2(second / first)


def read_raw(folder):
    """Read the bytes of all files; return (seconds, peak memory in kB)."""
    began = time.perf_counter()
    for path in folder.rglob("*.h5"):
        path.read_bytes()
    return time.perf_counter() - began, peak()


def pack(folder, work_dir):
    """Open a folder, which packs it if needed; return (seconds, peak memory in kB)."""
    began = time.perf_counter()
    dataset.open_patches(folder, work_dir / "results" / "cache")
    return time.perf_counter() - began, peak()


def start_up(work_dir):
    """Return the rows of start-up times: --help, until training starts, and a whole short training."""
    rows = []
    for name in ("train.py", "evaluate.py", "predict.py"):
        seconds = [run_script(name, "--help", cwd=work_dir)[0] for _ in range(ROUNDS)]
        rows.append({"what": f"{name} --help", "seconds": round(float(np.median(seconds)), 2)})
    few = work_dir / "few"
    write_patches(few, 24)
    flags = ("--run", "few", "--overwrite", "--epochs", 1, "--data-dir", few)
    seconds, _, started = run_script("train.py", *flags, cwd=work_dir, until="parameters")
    rows.append({"what": "train.py, 24 patches, until training starts", "seconds": round(started, 2)})
    rows.append({"what": "train.py, 24 patches, one epoch, to its end", "seconds": round(seconds, 2)})
    return rows


def draw(rows, path):
    """Draw time and memory against size on logarithmic axes, with a line of exponent 1."""
    import matplotlib.pyplot as plt

    from plots import save

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for stage in dict.fromkeys(row["stage"] for row in rows):
        of_stage = [row for row in rows if row["stage"] == stage]
        for axis, key in zip(axes, ("seconds", "peak_gb"), strict=True):
            axis.loglog((1, 2, 4), [row[key] for row in of_stage], "o-", label=f"{stage} ({of_stage[0]['size']})")
    axes[0].loglog((1, 4), (10, 40), color="black", linewidth=0.8, linestyle="--", label="in proportion")
    for axis, label in zip(axes, ("seconds", "peak memory, GB"), strict=True):
        axis.set(xlabel="times the size in brackets", ylabel=label)
        axis.set_xticks((1, 2, 4), ("1", "2", "4"))
        axis.minorticks_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=7, frameon=False)
    save(figure, path)


if __name__ == "__main__":
    script.start(main)
