"""Scripts of the project, run as a user runs them, and what they print and write."""

import csv
import functools
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import runs
import script

ROOT = Path(__file__).parent.parent
SMALL = "--base-filters 4 --depth 1 --batch-size 8 --learning-rate 0.01".split()  # a network for tiny patches

# Keras takes seconds to import and the tests run some ninety scripts: each is forked from a process that has it.
FORKS = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
FORKS.set_forkserver_preload(["pyogrio", "keras", "h5py", "matplotlib"])

LONGEST = 600  # seconds of a script; the longest take 240 on two cores with AVX2 alone, beside other work


class Script:
    """A script of the project that runs as from a shell, with what it prints."""

    def __init__(self, script, *arguments, cwd=None, limit=None):
        """Start it. limit: bytes to which a file can grow, as on a full disk."""
        self.command = [str(ROOT / script), *map(str, arguments)]
        self.folder = tempfile.TemporaryDirectory()
        self.files = [Path(self.folder.name, name) for name in ("stdout", "stderr")]
        arguments = (self.command, dict(os.environ), cwd, self.files, limit)
        self.process = FORKS.Process(target=become, args=arguments)
        self.process.start()

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def running(self):
        return self.process.is_alive()

    def result(self):
        """Wait for its end; returns what subprocess.run does, with its output as text."""
        self.process.join(LONGEST)
        if self.process.is_alive():
            self.process.kill()
            raise subprocess.TimeoutExpired(self.command, LONGEST)
        with self.folder:
            texts = [path.read_text() for path in self.files]
        return subprocess.CompletedProcess(self.command, self.process.exitcode, *texts)


def run_script(script, *arguments, cwd=None, limit=None):
    """Run a script as `Script` does and wait for its end."""
    return Script(script, *arguments, cwd=cwd, limit=limit).result()


def become(command, environment, cwd, files, limit):
    """Turn this process into a script."""
    os.environ.clear()  # the server that forks has what the tests began with
    os.environ.update(environment)
    os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)  # a user has none
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests are a background job
    if cwd:
        os.chdir(cwd)
    for name, path in zip(("stdout", "stderr"), files, strict=True):
        stream = getattr(sys, name)
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream.fileno())
    if limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv, sys.path[0] = command, str(ROOT)
    runpy.run_path(command[0], run_name="__main__")


@functools.cache
def defaults(stage):
    """Return the constants of a script as its file has them, before a test sets any."""
    return {name: value for name, (value, *_) in script.constants(vars(stage)).items()}


def call_main(stage, monkeypatch, **constants):
    """Run a script's main() in this process, which has Keras loaded, with some constants set."""
    for name, value in (defaults(stage) | constants).items():
        monkeypatch.setattr(stage, name, value)
    script.check_constants(vars(stage))
    stage.main()


def call_experiment(experiment, monkeypatch, **constants):
    """Run an experiment's main() as `call_main` does; the scripts that it runs are forked, as in `run_script`."""

    def forked(name, *arguments, threads=None):
        result = run_script(name, *arguments)
        if result.returncode:
            raise script.UserError(result.stderr.strip())
        return result.stdout

    monkeypatch.setattr(runs, "call_script", forked)
    call_main(experiment, monkeypatch, **constants)


def assert_user_error(result, *parts):
    """The script ended with status 2 and a message that holds `parts`, without a traceback."""
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    message = result.stderr[result.stderr.index(": error: ") :]
    for part in parts:
        assert str(part) in message, message
    return message


def stop_after(script, history, epochs, number):
    """Send a signal to a script when `history` has this many epochs; return its result."""
    deadline = time.monotonic() + 120
    while not (history.exists() and len(history.read_text().splitlines()) > epochs):
        assert script.running() and time.monotonic() < deadline, script.result().stderr
        time.sleep(0.01)
    script.send_signal(number)
    return script.result()


def rows(path):
    """Return the rows of a CSV as dicts of text."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def record(workdir, name, run="small"):
    """Return a JSON record of a run."""
    return json.loads((workdir / "results" / run / name).read_text())
