"""Compare the prediction speed and results of a run in Keras, OpenVINO, ONNX Runtime and, for a U-Net, PyTorch.

    pip install -r benchmarks/requirements.txt
    python benchmarks/prediction_speed.py --run rgb
    python benchmarks/prediction_speed.py --isa avx2    # as without bfloat16
    python export.py --run rgb --format openvino --int8  # first, for the engine of predict.py in 8-bit integers

Batches are in memory. Each way has its own process, and the ways take turns. The difference is the largest of any
probability from Keras in float32 with the same weights. ONNX Runtime computes in float32 alone, and cannot be held to
AVX2. The PyTorch network is untrained and has no difference. Writes
results/figures/prediction_speed_<instructions>.csv.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the modules lie one level up

import numpy as np
from turns import ISAS, hold_to, in_turn, processor, write_table

import runs
import script
from networks import engines, keras_start, model_files
from patches.pixel_sizes import with_plane

RUN = "rgb"  # name of the run
RESULTS_DIR = "results"  # folder of all runs; the table goes to figures/ in it
PATCHES = 128  # patches predicted in a round
BATCH_SIZE = 32  # patches in a batch
ROUNDS = 5  # timed rounds of each way, in turn
ISA = "all"  # instructions that the libraries may use: all, or avx2, as on a processor without bfloat16

RANGES = {"PATCHES": (1, None), "BATCH_SIZE": (1, None), "ROUNDS": (1, None)}
CHOICES = {"ISA": ISAS}


def main():
    """Time all ways in turn, compare their results, and print and write the table."""
    run = runs.open_run(RESULTS_DIR, RUN)
    folder, config = run.folder, run.config
    if "members" in config:
        raise script.UserError(f"run {RUN} is an ensemble: name one of its members")
    in_torch = run.constants["MODEL"] == "unet" and not run.constants["ENCODER"]  # the only one torch_unet.py has
    hold_to(ISA)
    settings = {"PATCHES": PATCHES, "BATCH_SIZE": BATCH_SIZE}
    with tempfile.TemporaryDirectory() as temporary:
        work_dir = Path(temporary)
        arguments = (folder, config, work_dir)
        ways = [keras_folded, keras_float32, openvino_float32]
        ways += [torch_float32, torch_tuned_float32] if in_torch else []
        ways += [onnxruntime_float32] if ISA == "all" else []
        if keras_start.hardware_has_bfloat16():  # emulation takes minutes
            ways += [openvino_bfloat16] + ([torch_tuned_bfloat16] if in_torch else [])
        if (engines.openvino_folder(folder) / "model.xml").exists():
            ways.append(predict_with_engine)
        seconds = in_turn(ways, arguments, ROUNDS, settings)
        reference = np.load(work_dir / "keras_float32.npy")
        differences = {path.stem: float(np.abs(np.load(path) - reference).max()) for path in work_dir.glob("*.npy")}
    ours = statistics.median(seconds["keras_folded"])
    rows, machine = [], processor(ISA)
    print(", ".join(machine.values()))
    print("way                  patches/s   MP/s   folded is ... times as fast   largest difference")
    for way, took in seconds.items():
        took = statistics.median(took)
        row = {
            "way": way,
            "patches_per_s": round(PATCHES / took, 1),
            "megapixels_per_s": round(PATCHES * np.prod(config["input_shape"][:2]) / took / 1e6, 2),
            "folded_against_it": round(took / ours, 2),
            "largest_difference": round(differences[way], 6) if way in differences else "",
        }
        rows.append(row | machine)
        patches, pixels, ratio, difference = list(row.values())[1:]
        print(f"{way:<20} {patches:>9} {pixels:>6} {ratio:>28} {difference:>20}")
    write_table(rows, RESULTS_DIR, "prediction_speed", ISA)


# ---------------------------------------------------------------------- ways


def batches(config):
    """Make batches of random values with the mean and variance of the training data."""
    rng = np.random.default_rng(0)
    mean, deviation = np.array(config["band_mean"]), np.sqrt(config["band_variance"])
    images = (rng.normal(size=(PATCHES, *config["input_shape"])) * deviation + mean).astype(np.float32)
    if config.get("pixel_size_input"):
        images = with_plane(images, np.full(PATCHES, config["pixel_size"]["usual"]))
    return [images[start : start + BATCH_SIZE] for start in range(0, PATCHES, BATCH_SIZE)]


def work_of(predict, config, work_dir, way):
    """Return a function that predicts all batches; save the probabilities for comparison."""
    inputs = batches(config)
    np.save(work_dir / f"{way}.npy", np.concatenate([np.asarray(predict(batch)) for batch in inputs]))

    def work():
        for batch in inputs:
            predict(batch)

    return work


def keras_folded(folder, config, work_dir):
    """Predict as evaluate.py and predict.py do."""
    return work_of(model_files.load_model(folder).predict_on_batch, config, work_dir, "keras_folded")


def keras_float32(folder, config, work_dir):
    model = model_files.fused(model_files.load_model(folder), "float32")
    return work_of(model.predict_on_batch, config, work_dir, "keras_float32")


def openvino(folder, config, work_dir, precision, way):
    """Predict with OpenVINO on the exported graph, with batch normalisation folded into the convolutions."""
    import openvino

    exported = work_dir / way
    model_files.portable(model_files.fused(model_files.load_model(folder), "float32")).export(exported, verbose=False)
    settings = {"INFERENCE_PRECISION_HINT": precision}
    compiled = openvino.Core().compile_model(openvino.convert_model(exported), "CPU", settings)
    return work_of(lambda batch: compiled(batch)[0], config, work_dir, way)


def openvino_float32(folder, config, work_dir):
    return openvino(folder, config, work_dir, "f32", "openvino_float32")


def openvino_bfloat16(folder, config, work_dir):
    return openvino(folder, config, work_dir, "bf16", "openvino_bfloat16")


def onnxruntime_float32(folder, config, work_dir):
    """Predict with ONNX Runtime on the graph that export.py writes."""
    import keras

    from networks import exported_graph, onnx_files

    model = exported_graph.convertible(model_files.fused(model_files.load_model(folder), "float32"))
    image = keras.Input(model.input.shape[1:], name="image")
    onnx_files.write_model(keras.Model(image, model(image)), work_dir / "model.onnx", {})
    return work_of(onnx_files.open_model(work_dir / "model.onnx"), config, work_dir, "onnxruntime_float32")


def predict_with_engine(folder, config, work_dir):
    """Predict as predict.py --engine openvino does, in the precision of the export: 8-bit integers, perhaps."""
    predict = engines.load(folder, "openvino", config["input_shape"][:2]).predict_on_batch
    return work_of(predict, config, work_dir, "predict_with_engine")


def torch_way(config, channels_last, bfloat16=False):
    import torch
    from torch_unet import UNet

    constants = config["constants"]
    size = {name.lower(): constants[name] for name in ("BASE_FILTERS", "MAX_FILTERS", "DEPTH", "STEM")}
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = UNet(len(config["bands"]), block=constants["CONV_BLOCK"], **size).eval().to(memory_format=layout)
    inputs = [torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=layout) for batch in batches(config)]

    def work():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            for batch in inputs:
                torch.sigmoid(model(batch))

    return work


def torch_float32(folder, config, work_dir):
    """Predict with untuned PyTorch: channels first."""
    return torch_way(config, channels_last=False)


def torch_tuned_float32(folder, config, work_dir):
    return torch_way(config, channels_last=True)


def torch_tuned_bfloat16(folder, config, work_dir):
    return torch_way(config, channels_last=True, bfloat16=True)


if __name__ == "__main__":
    script.start(main)
