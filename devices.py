"""One training on several GPUs or machines under KERAS_BACKEND=jax: each device takes its share of every batch.

One process uses all GPUs of its machine. For several machines, start the same command on each, with variables that
Keras itself reads:

    KERAS_DISTRIBUTION_JOB_ADDRESSES=10.0.0.1:1234    where the first process is reached by the others
    KERAS_DISTRIBUTION_NUM_PROCESSES=2
    KERAS_DISTRIBUTION_PROCESS_ID=0                   which one this is; 0 writes the record, the others nothing

Light to import; Keras is imported when a function is called.
"""

import atexit
import contextlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from runs import UserError, import_keras


def process():
    """(number of this process, how many there are), from the environment."""
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
    return number, count


def void(folder, resume):
    """Where a process other than the first writes: a folder that goes when it ends. It prints nothing, either.

    All processes do the same, saving too, because Keras's variables belong to all of them; only the first's is kept.
    To resume they read what it left, before they meet it and it goes on.
    """
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if resume:
        shutil.copytree(folder, place / folder.name)
    return place / folder.name


class Share:
    """What falls to this process: `parts` devices take equal parts of a batch, of which `mine` are its own.

    Attributes:
        parts: devices of all processes. mine: slice of them.
        scope: context manager in which a model is to be built, compiled and fitted.
    """

    def __init__(self, batch_size):
        """Meet the other processes, if there are any. batch_size: of all devices together.

        Raises:
            UserError: another backend, a batch that cannot be cut, or the others did not come.
        """
        keras = import_keras()
        number, count = process()
        backend = keras.backend.backend()
        if count > 1:
            if backend != "jax":
                raise UserError(f"{count} processes train together under KERAS_BACKEND=jax only, not {backend}")
            try:
                keras.distribution.initialize()
            except RuntimeError as error:
                raise UserError(f"process {number} of {count} did not meet the others: {error}") from None
        self.parts = len(keras.distribution.list_devices()) if backend == "jax" else 1
        own = self.parts // count
        self.mine = slice(number * own, (number + 1) * own)
        if batch_size % self.parts:
            raise UserError(f"BATCH_SIZE is {batch_size}: {self.parts} devices cannot take equal parts of it")
        self.scope = contextlib.nullcontext
        if self.parts > 1:
            self.scope = keras.distribution.DataParallel(auto_shard_dataset=False).scope

    def __str__(self):
        return "one device" if self.parts == 1 else f"{self.parts} devices"
