"""Devices: the import of Keras, bfloat16, and training on several GPUs or machines under KERAS_BACKEND=jax.

Each device takes an equal share of every batch. One process uses all GPUs of its machine. For several machines, start
the same command on each, with variables that Keras itself reads:

    KERAS_DISTRIBUTION_JOB_ADDRESSES=10.0.0.1:1234    address of the first process
    KERAS_DISTRIBUTION_NUM_PROCESSES=2
    KERAS_DISTRIBUTION_PROCESS_ID=0                   number of this process; only process 0 writes the run

Light to import: functions import Keras and JAX when they need them.
"""

import atexit
import contextlib
import ctypes
import hashlib
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from script import UserError, heed_interrupt


def keep_freed_memory():
    """Make glibc keep freed memory: a training step frees hundreds of MB that the next step allocates again.

    The system clears and maps every returned page again, which took a tenth of the time. See mallopt(3). Other C
    libraries are left as they are.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap keeps up to 2 GB of free memory


def import_keras():
    """Import Keras without TensorFlow's start-up messages, which would hide those of the script.

    C++ code prints them before it reads the log level, so the error stream itself is closed during the import. Set
    TF_CPP_MIN_LOG_LEVEL to see them. A failing import raises as usual.

    TensorFlow enables its oneDNN kernels by itself only on processors with AVX512-VNNI. With AVX2 alone they train and
    predict 1.4 times as fast as the others, so they are switched on unless TF_ENABLE_ONEDNN_OPTS is set.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return keras
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import keras
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    heed_interrupt()  # Ctrl-C during a garbage collection is lost, and the import runs many
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about every further model that is trained
    return keras


def has_gpu():
    """Return whether Keras computes on a GPU."""
    keras = import_keras()
    if keras.backend.backend() == "torch":  # Keras lists no devices under PyTorch
        import torch

        return torch.cuda.is_available()
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def hardware_has_bfloat16():
    """Return whether to compute in bfloat16: on a GPU, or on a CPU with AVX512-BF16 or AMX, where it is the faster.

    Not on a GPU under JAX: there the pre-trained network diverged within five steps (H100, JAX 0.11, Keras 3.15), while
    it learnt in float32. The environment variable LANDSLIDE_BFLOAT16 overrides this: 0 for no, 1 for yes.
    """
    answer = os.environ.get("LANDSLIDE_BFLOAT16", "")
    if answer:
        if answer not in ("0", "1"):
            raise UserError(f"the environment variable LANDSLIDE_BFLOAT16 is {answer!r}: it must be 0 or 1")
        return answer == "1"
    if has_gpu():
        return import_keras().backend.backend() != "jax"
    flags = Path("/proc/cpuinfo")  # Linux; elsewhere the safe answer is no
    flags = flags.read_text() if flags.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


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

    All processes run the same steps, including saving, because Keras's variables belong to all of them; only the files
    of the first process are kept. `kept` names files of `folder` to copy: a resumed run reads them before the processes
    connect and the first one continues.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    copy = place / folder.name
    copy.mkdir()
    for name in kept:
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(folder / name, copy)
    return copy


class DeviceShard:
    """The share of this process in a batch: each of `parts` devices takes an equal part, and `mine` are its devices.

    Attributes:
        parts: number of devices of all processes. mine: slice of them that belongs to this process.
        scope: context manager in which a model is to be built, compiled and fitted.
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
            keras.utils.set_random_seed(0)  # otherwise Keras agrees on one across processes, which needs more of JAX
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
        """Raise UserError if the processes would train differently. config: of the run; assigned: its split."""
        if self.processes == 1:
            return
        from jax.experimental import multihost_utils

        own = ("DATA_DIR", "RESULTS_DIR", "OVERWRITE", "WORKERS")  # these may differ between processes
        constants = [pair for pair in config["constants"].items() if pair[0] not in own]
        alike = repr((constants, config["data_digest"], config["precision"], assigned.tolist()))
        try:
            multihost_utils.assert_equal(np.frombuffer(hashlib.sha256(alike.encode()).digest(), np.uint8))
        except AssertionError:
            raise UserError("the processes differ in data, split, constants or precision: make them equal") from None

    def __str__(self):
        return "one device" if self.parts == 1 else f"{self.parts} devices"
