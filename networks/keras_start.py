"""Import Keras without messages and with faster settings, and find out whether the hardware has bfloat16.

Light to import: functions import Keras when they need it.
"""

import contextlib
import ctypes
import logging
import os
from pathlib import Path

from script import UserError, heed_interrupt


def keep_freed_memory():
    """Make glibc keep freed memory: a training step frees hundreds of MB that the next step allocates again.

    Otherwise the system clears and maps every returned page again, which took a tenth of the time. See mallopt(3). With
    other C libraries nothing changes.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX: large blocks come from the heap too
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: the heap keeps up to 2 GB of free memory


BACKENDS = ("tensorflow", "jax", "torch")  # that can train; OpenVINO computes maps (engines.py), not under Keras


def import_keras():
    """Import Keras with the settings that the project needs, and without TensorFlow's start-up messages.

    The user's keras.json may say otherwise, for another program. The messages would hide those of the script.

    C++ code prints them before it reads the log level, so the error stream is redirected during the import. Set
    TF_CPP_MIN_LOG_LEVEL to see them. A failing import raises as usual.

    TensorFlow enables its oneDNN kernels by default only on processors with AVX512-VNNI. On processors with AVX2 they
    train and predict 1.4 times as fast as the others, so they are switched on unless TF_ENABLE_ONEDNN_OPTS is set.

    Raises:
        UserError: the backend that KERAS_BACKEND or keras.json names is not installed, or cannot train.
    """
    keep_freed_memory()
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return _configured()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    stderr = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        keras = _configured()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    heed_interrupt()  # Ctrl-C during a garbage collection is lost, and the import runs many
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns about every further model that is trained
    return keras


def _configured():
    """Import Keras, and set what the project needs."""
    try:
        import keras

        if keras.backend.backend() not in BACKENDS:
            raise ValueError(f"it is none of {', '.join(BACKENDS)}")
    except (ImportError, ValueError) as error:  # ValueError: a backend that Keras does not know
        named = os.environ.get("KERAS_BACKEND") or "that keras.json names"
        raise UserError(
            f"Keras cannot use the backend {named} ({str(error).splitlines()[0]}): install it, or set the environment "
            "variable KERAS_BACKEND to tensorflow"
        ) from None
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    return keras


def has_gpu():
    """Return whether Keras computes on a GPU."""
    keras = import_keras()
    if keras.backend.backend() == "torch":  # Keras lists no devices under PyTorch
        import torch

        return torch.cuda.is_available()
    return any(device.startswith("gpu") for device in keras.distribution.list_devices())


def hardware_has_bfloat16():
    """Return whether to compute in bfloat16, which is faster on a GPU and on a CPU with AVX512-BF16 or AMX.

    A GPU under JAX is an exception: the pre-trained network diverged within five steps (H100, JAX 0.11, Keras 3.15),
    but learnt in float32. The environment variable LANDSLIDE_BFLOAT16 overrides this: 0 for no, 1 for yes.
    """
    if not os.environ.get("LANDSLIDE_BFLOAT16") and has_gpu():
        return import_keras().backend.backend() != "jax"
    return processor_has_bfloat16()


def processor_has_bfloat16():
    """Return whether the processor computes in bfloat16, or what LANDSLIDE_BFLOAT16 says instead."""
    answer = os.environ.get("LANDSLIDE_BFLOAT16", "")
    if answer:
        if answer not in ("0", "1"):
            raise UserError(f"the environment variable LANDSLIDE_BFLOAT16 is {answer!r}: it must be 0 or 1")
        return answer == "1"
    flags = Path("/proc/cpuinfo")  # Linux; elsewhere the safe answer is no
    flags = flags.read_text() if flags.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
