"""Work in separate processes: time several ways in turn, because speeds drift on shared machines; measure memory."""

import contextlib
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import records
import script

ISAS = ("all", "avx2")
KIB = 1.024  # kB; Linux counts resident memory in units of 1024 bytes


def hold_to(isa):
    """Limit this process and those that it starts to the instructions of `isa`, one of ISAS; "all" is no limit.

    Call it before TensorFlow, PyTorch or OpenVINO is imported; all three convolve with oneDNN.
    """
    if isa != "all":
        os.environ |= {"ONEDNN_MAX_CPU_ISA": isa.upper(), "ATEN_CPU_CAPABILITY": isa, "LANDSLIDE_BFLOAT16": "0"}


def processor(isa="all"):
    """Return columns with the processor and the best instructions in use, such as amx_bf16, avx512_vnni or avx2."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    has = next(
        (name for name in ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx2") if name in facts.get("flags", "")), "older"
    )
    used = has if isa in ("all", has) else f"{isa} (it has {has})"
    return {"processor": facts.get("model name", platform.processor()), "instructions": used}


def write_table(rows, results_dir, name, isa):
    """Write a table to results_dir/figures/, in a file whose name ends with the instructions in use."""
    used = processor(isa)["instructions"].split()[0].removesuffix("_bf16")
    out = Path(results_dir, "figures", f"{name}_{used}.csv")
    records.write_csv(out, rows[0], [row.values() for row in rows])
    print(f"written: {out}")


def in_turn(ways, arguments, rounds, settings):
    """Time several ways in turn, each in its own process; return {name: seconds of each round}.

    Args:
        ways: functions that prepare and return a function to time. That function is called once before the rounds. If
            it returns a value, the value replaces its seconds.
        arguments: of each way.
        rounds: number of timed calls of each way.
        settings: {name: value} of the script's constants, because a new process has those of the file.

    Raises:
        UserError: a way ends before it is ready, as when a package is missing.
    """
    context = multiprocessing.get_context("spawn")
    seconds = {way.__name__: [] for way in ways}
    with contextlib.ExitStack() as pipes:  # closing its pipe ends a way
        workers = {}
        for way in ways:
            ours, theirs = context.Pipe()
            workers[way.__name__] = pipes.enter_context(ours)
            with theirs:
                context.Process(target=_serve, args=(way, arguments, settings, theirs)).start()
            try:
                ours.recv()  # it is ready and warm
            except EOFError:
                raise script.UserError(f"{way.__name__} failed: pip install -r benchmarks/requirements.txt") from None
        for _ in range(rounds):
            for name, pipe in workers.items():
                pipe.send("go")
                seconds[name].append(pipe.recv())
    return seconds


def _serve(way, arguments, settings, pipe):
    way.__globals__.update(settings)
    work = way(*arguments)
    work()
    pipe.send("ready")
    with contextlib.suppress(EOFError):
        while pipe.recv():
            began = time.perf_counter()
            value = work()
            pipe.send(time.perf_counter() - began if value is None else value)


def interval(statistic, *samples):
    """Return the interval of 90 % of a statistic of several samples of timings: a bootstrap over each sample."""
    rng = np.random.default_rng(0)
    drawn = [statistic(*(rng.choice(sample, len(sample)) for sample in samples)) for _ in range(1000)]
    return np.quantile(drawn, (0.05, 0.95), method="nearest")  # values that occurred, for some may be infinite


def alone(function, *arguments):
    """Call a function in a fresh process with its own memory and caches; return its result."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def second_epoch(model, feed, clock=time.perf_counter):
    """Return how far a clock moves in the second epoch of a fit, because a fit starts once for dozens of epochs."""
    import keras

    readings = []
    watch = dict.fromkeys(("on_epoch_begin", "on_epoch_end"), lambda epoch, logs: readings.append(clock()))
    model.fit(feed, epochs=2, shuffle=False, verbose=0, callbacks=[keras.callbacks.LambdaCallback(**watch)])
    return readings[-1] - readings[-2]


def peak():
    """Return the peak resident memory of this process in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB


def run_script(name, *arguments, cwd, until="\n", python=sys.executable):
    """Run a script of the project in a folder; return (seconds, peak resident memory in kB, seconds `until`).

    Args:
        name: of the script.
        arguments: its command line.
        cwd: folder to run it in.
        until: text whose first appearance in the output is timed; None is returned if it does not appear.
        python: that runs it.

    Raises:
        UserError: the script fails; with its error output.
    """
    command = [python, "-u", str(Path(__file__).parent.parent / name), *map(str, arguments)]
    began, seen = time.perf_counter(), None
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            for line in process.stdout:
                if until in line and seen is None:
                    seen = time.perf_counter() - began
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            raise script.UserError(f"{name}: {errors.read().strip()}")
    return time.perf_counter() - began, usage.ru_maxrss * KIB, seen
