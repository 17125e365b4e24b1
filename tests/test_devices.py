"""One training shared by several processes, under KERAS_BACKEND=jax."""

import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

import dataset
import devices
from feed import PatchFeed
from runs import UserError, read_csv
from tests.conftest import ROOT, write_patches

TINY = (
    "--base-filters 4 --depth 1 --stem 1 --conv-block plain --dropout 0.5 --mixed-precision off --batch-size 8 "
    "--epochs 3 --augment"
)


def start(place, run, flags, *, number=None, port=0):
    """Start train.py under JAX. number: of this process, where there are two."""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    # what one process has compiled serves the next
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(place / "jax"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    if number is not None:
        environment |= {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": "2",
            "KERAS_DISTRIBUTION_PROCESS_ID": str(number),
        }
    command = [sys.executable, ROOT / "train.py", "--run", run, *flags.split()]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=place, env=environment, **streams)


def start_pair(place, run, flags):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [start(place, run, flags, number=number, port=port) for number in (0, 1)]


def test_two_processes_learn_as_one_does_and_go_on_after_one_was_killed(tmp_path):
    pytest.importorskip("jax")
    for split, count in (("TrainData", 16), ("ValidData", 4), ("TestData", 2)):
        write_patches(tmp_path / "data" / split / "img", tmp_path / "data" / split / "mask", range(1, count + 1))
    alone = start(tmp_path, "alone", TINY)
    printed = alone.communicate(timeout=200)[0]
    assert alone.returncode == 0, printed

    first, second = start_pair(tmp_path, "pair", TINY)
    folder = tmp_path / "results" / "pair"
    deadline = time.monotonic() + 200
    while not (folder / "last.weights.h5").exists():  # an epoch is done
        assert first.poll() is None and time.monotonic() < deadline, first.communicate()[0]
        time.sleep(0.01)
    second.kill()
    second.communicate()
    first.kill()  # by itself it would end, too, but only after JAX has waited a minute and a half for the other
    first.communicate()

    pair = start_pair(tmp_path, "pair", "--resume")
    printed = [process.communicate(timeout=200)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], printed
    assert "on 2 devices" in printed[0] and "Epoch 3/3" in printed[0] and "Epoch 1/3" not in printed[0]
    assert "Epoch" not in printed[1]  # the second says nothing
    histories = [read_csv(tmp_path / "results" / run / "history.csv", "train.py") for run in ("alone", "pair")]
    for expected, row in zip(*histories, strict=True):
        # of validation each process computes the whole, and the smoothing term of the Dice loss weighs half as much
        assert row.pop("val_loss") == pytest.approx(expected.pop("val_loss"), rel=1e-3)
        assert row == pytest.approx(expected, rel=1e-5)
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"alone", "pair", "cache"}


def test_shares_of_a_batch_are_equal_and_make_up_the_whole(flat):
    """17 patches on three devices, of which one process has two."""
    patches = dataset.open_patches(flat, flat.parent / "cache")
    shares = [SimpleNamespace(parts=3, mine=mine) for mine in (slice(0, 2), slice(2, 3))]
    feeds = [PatchFeed(patches, np.arange(17), 6, seed=3, share=share) for share in shares]
    dealt = [np.concatenate(parts) for parts in zip(*(feed.dealt for feed in feeds), strict=True)]
    assert [len(batch) for batch in dealt] == [6, 6, 6]
    assert set(np.concatenate(dealt)) == set(range(17))
    for feed, rows in zip(feeds, (4, 2), strict=True):
        assert len(feed[0][0]) == rows
    augmented = [PatchFeed(patches, np.arange(17), 6, ("noise",), seed=3, share=share)[0][0] for share in shares]
    noise = [images - feed[0][0] for images, feed in zip(augmented, feeds, strict=True)]
    assert (noise[0][:2] != noise[1]).any()  # processes do not repeat each other's draws
    # validation: whole on every device
    np.testing.assert_array_equal(PatchFeed(patches, [4, 2, 9], 2, share=shares[0]).dealt[0], [4, 2, 4, 2])
    np.testing.assert_array_equal(PatchFeed(patches, [4, 2, 9], 2, share=shares[1]).dealt[0], [4, 2])


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"PROCESS_ID": "one"}, "PROCESS_ID is 'one': it must be a number"),
        ({"PROCESS_ID": "2", "NUM_PROCESSES": "2"}, "PROCESS_ID is 2: it must be below the 2 processes"),
        ({"PROCESS_ID": "1", "NUM_PROCESSES": "2"}, "JOB_ADDRESSES is not set: host:port"),
    ],
)
def test_a_wrong_place_in_the_job_is_told(monkeypatch, variables, complaint):
    for name, value in variables.items():
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    with pytest.raises(UserError, match=complaint):
        devices.process()


def test_other_backends_train_alone(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_NUM_PROCESSES", "2")
    monkeypatch.setenv("KERAS_DISTRIBUTION_JOB_ADDRESSES", "localhost:1")
    with pytest.raises(UserError, match="under KERAS_BACKEND=jax only, not tensorflow"):
        devices.Share(16)
