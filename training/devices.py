"""Devices: training on several GPUs or machines under KERAS_BACKEND=jax.

Each device takes an equal part of every batch. One process uses all GPUs of its machine. For several machines, start
the same command on each, with these environment variables, which Keras reads:

    KERAS_DISTRIBUTION_JOB_ADDRESSES=10.0.0.1:1234    address of the first process
    KERAS_DISTRIBUTION_NUM_PROCESSES=2
    KERAS_DISTRIBUTION_PROCESS_ID=0                   number of this process; only process 0 writes the run

Light to import: functions import JAX when they need it.
"""

import atexit
import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from networks.keras_start import import_keras
from script import UserError


def process():
    """Read (number of this process, number of processes) from the environment, or raise UserError."""
    numbers = []
    for name, default in (("PROCESS_ID", "0"), ("NUM_PROCESSES", "1")):
        value = os.environ.get(f"KERAS_DISTRIBUTION_{name}", default)
        if not value.isdecimal():
            raise UserError(f"KERAS_DISTRIBUTION_{name} is {value!r}: it must be a number")
        numbers.append(int(value))
    number, count = numbers
    if number >= count:
        raise UserError(f"KERAS_DISTRIBUTION_PROCESS_ID is {number}: it must be below the {count} processes")
    if count > 1 and not os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES"):
        raise UserError("KERAS_DISTRIBUTION_JOB_ADDRESSES is not set: host:port at which the first process is reached")
    if count > 1 and os.environ.get("KERAS_BACKEND") != "jax":
        raise UserError(f"{count} processes can train together only under KERAS_BACKEND=jax")
    return number, count


def scratch_folder(folder, kept=()):
    """Create a temporary run folder for a process other than the first, and discard what the process prints.

    All processes run the same steps, including saving, because Keras's variables belong to all of them. Only the files
    of the first process are kept. `kept` names files of `folder` to copy: a resumed run reads them before the processes
    connect and the first one continues.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    temporary = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    copy = temporary / folder.name
    copy.mkdir()
    for name in kept:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(folder / name, copy)
    return copy


class DeviceShard:
    """The shard of this process in a batch: each of `parts` devices takes an equal part, and `mine` are its devices.

    Attributes:
        parts: number of devices of all processes. mine: slice of the devices of this process.
        scope: function that returns a context manager, in which a model must be built, compiled and fitted.
    """

    def __init__(self, batch_size):
        """Connect to the other processes, if there are any. batch_size: of all devices together.

        Raises:
            UserError: a process cannot be reached, the processes have different numbers of devices, or the batch size
                is not a multiple of the number of devices.
        """
        number, self.processes = process()
        self.parts, self.mine, self.scope = 1, slice(0, 1), contextlib.nullcontext
        if os.environ.get("KERAS_BACKEND") != "jax":
            return
        keras = import_keras()
        import jax

        if self.processes > 1:
            print(f"waiting for {self.processes} processes at {os.environ['KERAS_DISTRIBUTION_JOB_ADDRESSES']}")
            keras.utils.set_random_seed(0)  # otherwise Keras distributes a seed, which needs more of JAX
            try:
                keras.distribution.initialize()
            except (RuntimeError, ValueError, IndexError) as error:
                raise UserError(f"process {number} of {self.processes} could not reach the others: {error}") from None
        self.parts, own = jax.device_count(), jax.local_device_count()
        self.mine = slice(number * own, (number + 1) * own)
        if own * self.processes != self.parts:
            raise UserError(f"this process has {own} of {self.parts} devices: all processes need the same number")
        if batch_size % self.parts:
            raise UserError(
                f"BATCH_SIZE is {batch_size}: {self.parts} devices cannot take equal parts of it; choose a multiple, "
                "or hide devices with CUDA_VISIBLE_DEVICES"
            )
        if self.parts > 1:
            self.scope = keras.distribution.DataParallel(auto_shard_dataset=False).scope

    def agree(self, config, assigned):
        """Raise UserError if the processes would train differently. config, assigned: of the run."""
        if self.processes == 1:
            return
        from jax.experimental import multihost_utils

        own = ("DATA_DIR", "RESULTS_DIR", "OVERWRITE", "WORKERS")  # these may differ between processes
        constants = [pair for pair in config["constants"].items() if pair[0] not in own]
        settings = repr((constants, config["data_digest"], config["precision"], assigned.tolist()))
        try:
            multihost_utils.assert_equal(np.frombuffer(hashlib.sha256(settings.encode()).digest(), np.uint8))
        except AssertionError:
            raise UserError("the processes differ in data, split, constants or precision: make them equal") from None

    def __str__(self):
        return "one device" if self.parts == 1 else f"{self.parts} devices"
