"""Small folders of real HDF5 patches, and a way to run the scripts as a user does."""

import csv
import json
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

import scenes  # noqa: F401  before Keras, which test modules import
from patches import layouts

pytest_plugins = ("tests.maps",)
ROOT = Path(__file__).parent.parent
SMALL = "--base-filters 4 --depth 2 --batch-size 8 --learning-rate 0.01".split()  # a network for tiny patches
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as keras_start has it; here modules import Keras first


# Files that take longest, in order: started last, one of them would go on alone.
LONG = "families devices cross_dataset resume ablate pipeline series make_patches start encoders predict".split()


def pytest_collection_modifyitems(items):
    """Put the tests of long files first."""
    rank = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


def write_h5(path, key, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset(key, data=array)


def make_pair(number, size=32, bands=14):
    """A learnable patch: a bright rectangle in all bands, and its mask; every fourth patch is empty."""
    rng = np.random.default_rng(number)
    image = rng.normal(1.0, 0.2, (size, size, bands))
    mask = np.zeros((size, size), np.uint8)
    if number % 4:
        top, left = rng.integers(0, size // 2, 2)
        mask[top : top + size // 3, left : left + size // 3] = 1
    image[mask > 0] += 1.5
    return image, mask


def write_patches(images, masks, numbers, size=32, bands=14):
    """Write image_N.h5 and mask_N.h5 into two folders."""
    for number in numbers:
        image, mask = make_pair(number, size, bands)
        write_h5(images / f"image_{number}.h5", "img", image)
        write_h5(masks / f"mask_{number}.h5", "mask", mask)


@pytest.fixture
def flat(tmp_path):
    """A flat folder of 20 patches of 32 x 32 x 14."""
    data = tmp_path / "data"
    write_patches(data / "images", data / "masks", range(1, 21))
    return data


@pytest.fixture(params=["0", "1"], ids=["float32", "bfloat16"])
def both_processors(request, monkeypatch):
    """The answers of a processor without and of one with bfloat16, in this process and in scripts it runs."""
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", request.param)
    return request.param


# Keras takes seconds to import and the tests run some ninety scripts: each is forked from a process that has it.
FORKS = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
FORKS.set_forkserver_preload(["pyogrio", "keras", "h5py", "matplotlib"])


class Script:
    """A script of the project that runs as from a shell, with what it prints."""

    def __init__(self, script, *arguments, cwd=None, limit=None):
        """Start it. limit: bytes to which a file can grow, as on a full disk."""
        self.command = [str(ROOT / script), *map(str, arguments)]
        self.place = tempfile.TemporaryDirectory()
        self.files = [Path(self.place.name, name) for name in ("stdout", "stderr")]
        arguments = (self.command, dict(os.environ), cwd, self.files, limit)
        self.process = FORKS.Process(target=become, args=arguments)
        self.process.start()

    def send_signal(self, number):
        os.kill(self.process.pid, number)

    def running(self):
        return self.process.is_alive()

    def result(self):
        """Wait for its end; returns what subprocess.run does, with its output as text."""
        self.process.join(240)
        if self.process.is_alive():
            self.process.kill()
            raise subprocess.TimeoutExpired(self.command, 240)
        with self.place:
            texts = [path.read_text() for path in self.files]
        return subprocess.CompletedProcess(self.command, self.process.exitcode, *texts)


def run_script(script, *arguments, cwd=None, limit=None):
    """Run a script as `Script` does and wait for its end."""
    return Script(script, *arguments, cwd=cwd, limit=limit).result()


def become(command, environment, cwd, files, limit):
    """Be a script from here on, in a process of its own."""
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


def assert_user_error(result, *parts):
    """The script ended with status 2 and a message that holds `parts`, without a traceback."""
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    message = result.stderr[result.stderr.index(": error: ") :]
    for part in parts:
        assert str(part) in message, message
    return message


def layout_folder(root, layout):
    """Write a folder in one of the layouts with 6 training, 3 validation and 2 test patches (flat: 11)."""
    numbers = {"": range(1, 12), "train": range(1, 7), "validation": range(1, 4), "test": range(1, 3)}
    for split, (images, masks) in layouts.LAYOUTS[layout].items():
        write_patches(root / images, root / masks, numbers[split])
    return root


def rows(path):
    """The rows of a CSV as dicts of text."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def record(place, name, run="small"):
    """A JSON record of a run."""
    return json.loads((place / "results" / run / name).read_text())
