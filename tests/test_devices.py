"""One training run shared by several processes, with KERAS_BACKEND=jax."""

import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import dataset
from records import read_csv
from script import UserError
from tests.patch_files import write_patches
from tests.running import ROOT
from training import devices
from training.feed import PatchFeed

TINY = (
    "--base-filters 4 --depth 1 --stem 1 --conv-block plain --dropout 0.5 --mixed-precision off --batch-size 8 "
    "--epochs 3 --augment"
)


def start(workdir, run, flags, *, number=None, port=0, devices=1):
    """Start train.py with JAX. number: of this process if there are two; devices: number that it sees."""
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TMPDIR": str(workdir)}
    # processes share what they have compiled
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": str(workdir / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    if number is not None:
        environment |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
    command = [sys.executable, ROOT / "train.py", "--run", run, *flags.split()]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=workdir, env=environment, **streams)


def start_pair(workdir, run, flags, further=("", "")):
    """Start two processes; further: additional flags of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [start(workdir, run, flags + further[number], number=number, port=port) for number in (0, 1)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Make a folder with data and the reference run of one process on one device."""
    pytest.importorskip("jax")
    workdir = tmp_path_factory.mktemp("devices")
    for split, count in (("TrainData", 16), ("ValidData", 4), ("TestData", 2)):
        write_patches(workdir / "data" / split / "img", workdir / "data" / split / "mask", range(1, count + 1))
    process = start(workdir, "alone", TINY)
    printed = process.communicate(timeout=200)[0]
    assert process.returncode == 0, printed
    return workdir


def assert_same_history(workdir, run):
    histories = [read_csv(workdir / "results" / name / "history.csv", "train.py") for name in ("alone", run)]
    for expected, row in zip(*histories, strict=True):
        # each device computes all of validation, so the smoothing term of the Dice loss has half the weight
        assert row.pop("val_loss") == pytest.approx(expected.pop("val_loss"), rel=1e-3)
        assert row == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="JAX has no collectives between CPUs there")
def test_two_processes_learn_as_one_does_and_go_on_after_one_was_killed(alone):
    first, second = start_pair(alone, "pair", TINY)
    folder = alone / "results" / "pair"
    deadline = time.monotonic() + 200
    while not (folder / "last.weights.h5").exists():  # until one epoch is done
        assert first.poll() is None and time.monotonic() < deadline, first.communicate()[0]
        time.sleep(0.01)
    second.kill()
    second.communicate()
    first.kill()  # JAX would end it, but only after waiting a minute and a half for the other
    first.communicate()

    pair = start_pair(alone, "pair", "--resume")
    printed = [process.communicate(timeout=200)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], printed
    assert "on 2 devices" in printed[0] and "Epoch 3/3" in printed[0] and "Epoch 1/3" not in printed[0]
    assert "Epoch" not in printed[1]
    assert_same_history(alone, "pair")
    assert {path.name for path in (alone / "results").iterdir()} == {"alone", "pair", "cache"}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="JAX has no collectives between CPUs there")
def test_processes_that_would_train_otherwise_are_told(alone):
    pair = start_pair(alone, "unlike", TINY, (" --split-seed 1", " --split-seed 2"))
    printed = [process.communicate(timeout=200)[0] for process in pair]
    assert [process.returncode for process in pair] == [2, 2], printed
    assert all("the processes differ in data, split, constants or precision" in text for text in printed)


@pytest.mark.slow
def test_one_process_uses_all_its_devices(alone):
    process = start(alone, "both", TINY, devices=2)
    printed = process.communicate(timeout=200)[0]
    assert process.returncode == 0 and "on 2 devices" in printed, printed
    assert_same_history(alone, "both")
    before = (alone / "results" / "both" / "model.keras").read_bytes()
    process = start(alone, "both", TINY + " --overwrite", devices=3)
    printed = process.communicate(timeout=200)[0]
    assert process.returncode == 2 and "--batch-size is 8: 3 devices cannot take equal parts of it" in printed
    assert (alone / "results" / "both" / "model.keras").read_bytes() == before


def test_shares_of_a_batch_are_equal_and_make_up_the_whole(flat):
    """17 patches are shared by three devices, two of which belong to one process."""
    patches = dataset.open_patches(flat, flat.parent / "cache")
    shards = [SimpleNamespace(parts=3, mine=mine) for mine in (slice(0, 2), slice(2, 3))]
    feeds = [PatchFeed(patches, np.arange(17), 6, seed=3, shard=shard) for shard in shards]
    dealt = [np.concatenate(parts) for parts in zip(*(feed.dealt for feed in feeds), strict=True)]
    assert [len(batch) for batch in dealt] == [6, 6, 6]
    assert set(np.concatenate(dealt)) == set(range(17))
    for feed, rows in zip(feeds, (4, 2), strict=True):
        assert len(feed[0][0]) == rows
    augmented = [PatchFeed(patches, np.arange(17), 6, ("noise",), seed=3, shard=shard)[0][0] for shard in shards]
    noise = [images - feed[0][0] for images, feed in zip(augmented, feeds, strict=True)]
    assert (noise[0][:2] != noise[1]).any()  # processes draw different noise
    # every device has all of validation
    np.testing.assert_array_equal(PatchFeed(patches, [4, 2, 9], 2, shard=shards[0]).dealt[0], [4, 2, 4, 2])
    np.testing.assert_array_equal(PatchFeed(patches, [4, 2, 9], 2, shard=shards[1]).dealt[0], [4, 2])


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"PROCESS_ID": "one"}, "PROCESS_ID is 'one': it must be a number"),
        ({"PROCESS_ID": "2", "NUM_PROCESSES": "2"}, "PROCESS_ID is 2: it must be below the 2 processes"),
        ({"PROCESS_ID": "1", "NUM_PROCESSES": "2"}, "JOB_ADDRESSES is not set: host:port"),
        ({"NUM_PROCESSES": "2", "JOB_ADDRESSES": "localhost:1"}, "2 processes can train together only under"),
    ],
)
def test_a_wrong_place_in_the_job_is_told(monkeypatch, variables, complaint):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    for name, value in variables.items():
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    with pytest.raises(UserError, match=complaint):
        devices.process()
