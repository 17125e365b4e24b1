"""Measure training speed on one GPU, compared with PyTorch compiled and with the GPU's peak.

    pip install -r benchmarks/requirements.txt
    KERAS_BACKEND=jax python benchmarks/gpu.py
    KERAS_BACKEND=torch python benchmarks/gpu.py --ways "keras default bfloat16" --batch-sizes 64

Networks: `default` is the default U-Net, of 14 bands; `pretrained` is that of `--encoder efficientnet_lite0`, of 3.
Both take patches of 128 x 128. A way is a library, a network and a precision. `keras` is built and compiled as by
train.py, under the backend of KERAS_BACKEND. `torch` is the same network in PyTorch: torch.compile, channels last,
autocast, fused AdamW, BCE + Dice. timm has its encoder.

Each way is timed with one batch that stays in GPU memory (feed "memory"). `keras` is also timed with random patches in
the machine's memory that are augmented as by train.py (feed "augmented"): that is what a user gets. Both are
`model.fit`, which synchronises at the end of an epoch.

Columns: share_of_peak is operations per second of the convolutions (three times those of prediction), divided by those
of a bfloat16 matrix product of 8192 x 8192 in PyTorch, for float32 too. idle_share is the share of time without a
running kernel: 1 minus the mean of nvidia-smi's utilisation, sampled every 0.2 s; empty without nvidia-smi.
first_step_s is the time of the first step, with its compilation.

Each way and batch size has its own process. All compile at the same time, so first_step_s is longer than alone, and
libraries that choose kernels by timing them may choose worse ones. Then they are timed in turn, while the others wait.
A way that fails is named and left out. Writes results/figures/gpu_speed.csv after each way.
"""

import contextlib
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np
from random_data import make_batch
from training_speed import keras_model, model_flops, torch_network
from turns import processor

import records
import script
import train
from networks import keras_start

WAYS = (
    "keras default bfloat16",
    "keras pretrained bfloat16",
    "keras pretrained float32",
    "torch default bfloat16",
    "torch pretrained bfloat16",
)  # ways to time: library, network and precision
BATCH_SIZES = (16, 64)  # patches in a batch
STEPS = 30  # timed steps, at least
SECONDS = 2.0  # timed steps take about this long, at least
WORKERS = 2  # threads that augment, as in train.py
WAIT = 55  # seconds in which a way has to be ready; one that is not is left out
OUT = "results/figures/gpu_speed.csv"  # file of the table

RANGES = {
    **{"BATCH_SIZES": (1, None), "STEPS": (1, None), "SECONDS": (0, None), "WORKERS": (0, None), "WAIT": (1, None)},
}
CHOICES = {
    "WAYS": [
        f"{library} {network} {precision}"
        for library in ("keras", "torch")
        for network in ("default", "pretrained")
        for precision in ("bfloat16", "float32")
    ]
}
prepared = None  # in the process of a way: what measure() needs


def main():
    """Start all ways, time those that are ready in turn and write the table."""
    if not WAYS or not BATCH_SIZES:
        raise script.UserError("WAYS and BATCH_SIZES need one value at least")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the processes share the GPU's memory
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")  # of each process; by default one for each core
    settings = {name: globals()[name] for name in script.constants(globals())}
    began, rows, device = time.perf_counter(), [], device_name()
    with contextlib.ExitStack() as stack:

        def process():
            context = multiprocessing.get_context("spawn")
            return stack.enter_context(ProcessPoolExecutor(1, context, adopt, (settings,)))

        jobs = {(way, batch): process() for way in WAYS for batch in BATCH_SIZES}
        starts = {job: pool.submit(prepare, *job) for job, pool in jobs.items()}
        meter = process()
        started = [*starts.values(), meter.submit(peak)]  # the result of this one is disturbed, but PyTorch is ready
        wait(started, WAIT)
        end_all_but([start.result()[0] for start in started if start.done() and not start.exception()])
        print(f"{device}: ways compiled for {time.perf_counter() - began:.0f} s")
        try:
            _, best = meter.submit(peak).result()
            print(f"peak {best / 1e12:.4g} TFLOP/s, bfloat16 matrix product")
        except Exception as error:  # whatever a library raises, the ways are timed
            best = math.nan
            print(f"peak: unknown ({first_line(error)})")
        for (way, batch), pool in jobs.items():
            try:
                _, first_step = starts[way, batch].result()
                timed = pool.submit(measure).result()
            except Exception as error:  # as above
                print(f"{way}, {batch} patches: left out ({first_line(error)})")
                continue
            for feed, speed, flops, idle in timed:
                peak_share = flops * speed / best
                print(
                    f"{way}, {batch} patches, {feed}: {speed:.4g} patches/s, {peak_share:.2%} of peak, "
                    f"idle {'unknown' if idle == '' else format(idle, '.0%')}, first step {first_step:.1f} s"
                )
                measured = feed, round(speed, 1), round(peak_share, 5), idle, round(first_step, 1)
                rows.append((device, *library_columns(way), batch, *measured))
            records.write_csv(OUT, HEADER, rows)  # after each way: a run that is cut short keeps what it has
    if not rows:
        raise script.UserError("no way could be timed; the lines above say why")
    print(f"written: {OUT}, after {time.perf_counter() - began:.0f} s")


HEADER = "device library network precision batch feed patches_per_s share_of_peak idle_share first_step_s".split()
BANDS = {"default": 14, "pretrained": 3}  # of each network
SMI = ("nvidia-smi", "--format=csv,noheader,nounits", "--id=" + os.environ.get("CUDA_VISIBLE_DEVICES", "0")[:1])


def device_name():
    """Return the name of the GPU, or of the processor if there is no nvidia-smi."""
    if shutil.which("nvidia-smi"):
        return subprocess.run([*SMI, "--query-gpu=name"], capture_output=True, text=True).stdout.strip()
    return processor()["processor"]


def library_columns(way):
    """Return the columns library, network and precision of a way; Keras's backend belongs to its name."""
    library, *rest = way.split()
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return (f"keras on {backend}" if library == "keras" else library, *rest)


def end_all_but(kept):
    """End all processes of ways but those with the ids `kept`: a way that still compiles would disturb the others."""
    for child in multiprocessing.active_children():
        if child.pid not in kept:
            child.kill()


def first_line(error):
    """Return the first line of an exception's text, or what is known of it."""
    if isinstance(error, BrokenExecutor):
        return f"it was not ready after {WAIT} s, or crashed"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


# ---------------------------------------------------------------------- in the process of a way


def adopt(settings):
    """Give this process the constants of the command line: a new process has those of the file."""
    globals().update(settings)


def prepare(way, batch):
    """Build and compile a way, and train one step; return (process id, seconds of that step).

    Raises:
        RuntimeError: it fails; other exceptions may not pass from one process to another.
    """
    global prepared
    library, network, precision = way.split()
    images, masks = make_batch(max(batch, 256), BANDS[network])
    masks = masks[..., 0].astype(np.uint8)
    try:
        build = keras_ways if library == "keras" else torch_way
        feeds, flops = build(network, precision, batch, images, masks)
        began = time.perf_counter()
        next(iter(feeds.values()))(1)
        first_step = time.perf_counter() - began
        for epoch in feeds.values():
            epoch(2)
    except Exception as error:
        raise RuntimeError(f"{type(error).__name__}: {first_line(error)}") from None
    prepared = feeds, flops, batch
    return os.getpid(), first_step


def measure():
    """Time the way that this process prepared; return [(feed, patches a second, operations a patch, idle share)]."""
    feeds, flops, batch = prepared
    timings = []
    for feed, epoch in feeds.items():
        trial = max(STEPS // 5, 1)
        began = time.perf_counter()
        epoch(trial)
        steps = max(STEPS, math.ceil(SECONDS * trial / (time.perf_counter() - began)))
        with idle_shares() as shares:
            began = time.perf_counter()
            epoch(steps)
            seconds = time.perf_counter() - began
        timings.append((feed, batch * steps / seconds, flops, shares[0] if shares else ""))
    return timings


@contextlib.contextmanager
def idle_shares():
    """Yield a list, to which the share of time without a running kernel is added at the end, if it is known.

    nvidia-smi's utilisation is that of up to a second before a sample, so the first second is left out.
    """
    shares = []
    if not shutil.which("nvidia-smi"):
        yield shares
        return
    busy, over = [], threading.Event()

    def sample():
        while not over.wait(0.2):
            busy.append(subprocess.run([*SMI, "--query-gpu=utilization.gpu"], capture_output=True, text=True).stdout)

    began = time.perf_counter()
    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield shares
    finally:
        over.set()
        sampler.join()
    late = busy[math.ceil(len(busy) / max(time.perf_counter() - began, 1)) :]
    late = [float(text) for text in late if text.strip().isdecimal()]
    if late:
        shares.append(round(1 - sum(late) / len(late) / 100, 3))


def keras_ways(network, precision, batch, images, masks):
    """Build a network as train.py does; return ({feed: function that trains some steps}, operations a patch)."""
    keras = keras_start.import_keras()
    from bands import band_names
    from training.feed import PatchFeed

    check_gpu(keras_start.has_gpu())
    model = keras_model(network, precision == "bfloat16", BANDS[network])

    class Memory(keras.utils.PyDataset):
        """The same batch, in the device's memory, again and again."""

        def __init__(self, steps):
            super().__init__()
            self.steps = steps
            true = masks[:batch, ..., None].astype(np.float32)
            self.batch = tuple(map(keras.ops.convert_to_tensor, (images[:batch], true)))

        def __len__(self):
            return self.steps

        def __getitem__(self, i):
            return self.batch

    class Patches:
        """What PatchFeed asks of packing.Patches, without files."""

        bands = band_names(BANDS[network])

        def read(self, indices):
            return images[indices % len(images)]

        def read_masks(self, indices):
            return masks[indices % len(masks)]

    def augmented(steps):
        indices = np.arange(steps * batch)
        return PatchFeed(Patches(), indices, batch, train.AUGMENT, train.SEED, workers=WORKERS)

    feeds = {
        name: lambda steps, make=make: model.fit(make(steps), shuffle=False, verbose=0)
        for name, make in (("memory", Memory), ("augmented", augmented))
    }
    return feeds, 3 * model_flops(model)


def torch_way(network, precision, batch, images, masks):
    """Build a network in PyTorch, compiled; return ({feed: function that trains some steps}, operations a patch)."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from torch_unet import bce_dice

    check_gpu(torch.cuda.is_available())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TF32, as JAX's default
    model = torch_network(network, BANDS[network]).to(device, memory_format=torch.channels_last)
    images = torch.from_numpy(images[:batch]).to(device).permute(0, 3, 1, 2)  # channels last in memory
    masks = torch.from_numpy(masks[:batch, None]).to(device).float()
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model.eval()(images[:1])
    compiled = torch.compile(model.train(), dynamic=False)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

    def epoch(steps):
        for _ in range(steps):
            with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
                logits = compiled(images).float()
            loss = bce_dice(logits, masks)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        loss.item()  # waits for the device

    return {"memory": epoch}, 3 * counted.get_total_flops()


def check_gpu(has_gpu):
    """Raise RuntimeError if a library does not find the GPU of this machine."""
    if shutil.which("nvidia-smi") and not has_gpu:
        raise RuntimeError("it does not find the GPU: install the library's version for CUDA")


def peak():
    """Return (process id, FLOP/s of a bfloat16 matrix product, the best of ten: 8192 squared, or 1024 on a CPU)."""
    import torch

    gpu = torch.cuda.is_available()
    size, best = 8192 if gpu else 1024, 0.0
    a = torch.randn(size, size, dtype=torch.bfloat16, device="cuda" if gpu else "cpu")
    for _ in range(10):
        began = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = max(best, 2 * size**3 / (time.perf_counter() - began))
    return os.getpid(), best


if __name__ == "__main__":
    script.start(main)
