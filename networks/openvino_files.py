"""OpenVINO models: converted from a Keras graph, and computed image by image for maps."""

import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openvino

from networks.enlarged_stem import without_enlarging
from networks.keras_start import import_keras, processor_has_bfloat16
from patches.pixel_sizes import octaves
from records import write_json
from script import UserError

MODEL, RECORD = "model.xml", "record.json"  # model.bin lies beside model.xml


def write_model(graph, path, about):
    """Write a graph into a new folder: model.xml, model.bin and record.json.

    Args:
        graph: keras.Model in float32: images -> probabilities, or {"probability", "features"} of features.py.
        path: of the folder. about: {key: value} for record.json.

    Raises:
        UserError: OpenVINO cannot convert the graph.
    """
    keras = import_keras()
    if not isinstance(graph.output, dict):
        graph = keras.Model(graph.input, {"probability": graph.output})
    signature = [keras.InputSpec(shape=graph.input_shape, dtype="float32", name="image")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            graph.export(folder, format="tf_saved_model", verbose=False, input_signature=signature)
            model = openvino.convert_model(folder)
        except Exception as error:  # TensorFlow and the converters of OpenVINO raise whatever they like
            reason = _reason(error)
            raise UserError(
                f"OpenVINO cannot convert this network ({reason}): predict.py maps with Keras, without --engine"
            ) from None
    Path(path).mkdir()
    save(model, path, about | {"precision": "float32", "openvino": openvino.__version__})


def _reason(error):
    """Return the line of a converter's message that says what it cannot do."""
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return next((line for line in lines if "No conversion rule" in line), lines[-1])


def save(model, folder, record):
    """Write an openvino.Model and its record into a folder; the weights keep their precision."""
    openvino.save_model(model, Path(folder, MODEL), compress_to_fp16=False)
    write_json(Path(folder, RECORD), record)


def read_model(folder):
    """Read an openvino.Model, which is not compiled yet."""
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})  # a quantised model replaces the file that it was made of
    return core.read_model(Path(folder, MODEL))


def open_model(folder):
    """Open an OpenVINO model as a function image -> probability in float32, for images of any size that it takes."""
    model = read_model(folder)
    without_enlarging(model)  # as in Engine: what is checked is what computes maps
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: compiled(image)["probability"]


class Input(NamedTuple):
    """The input of a network; its `shape` is (1, height, width, bands), with None for sides of any length."""

    shape: tuple


class Engine:
    """A network that OpenVINO computes: each image by itself, on one thread.

    So the result depends neither on the number of cores nor on the other images of a batch.

    Attributes:
        input: Input of the network, as that of a keras.Model. at_once: number of images that keep all cores
            busy.
    """

    def __init__(self, model, size=None, pixel_size=None, precision=None):
        """Compile a model.

        Args:
            model: openvino.Model, or the folder of one. size: (height, width) of the images; None: those of the model.
            pixel_size: metres, for a network that is told the size of a pixel; None: the images bring it as a plane.
            precision: of what is not quantised: "f32", "bf16"; None: bfloat16 if the processor has it.
        """
        model = model.clone() if isinstance(model, openvino.Model) else read_model(model)
        without_enlarging(model)  # not in the file: quantisation looks for the first convolutions
        if size:
            model.reshape([1, *size, model.input().partial_shape[3]])
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        settings = {
            "INFERENCE_PRECISION_HINT": precision or ("bf16" if processor_has_bfloat16() else "f32"),
            "NUM_STREAMS": cores,
            "INFERENCE_NUM_THREADS": cores,
            "ENABLE_CPU_PINNING": False,  # two processes would pin their threads to the same cores
        }
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        sides = compiled.input().partial_shape
        self.input = Input(tuple(None if side.is_dynamic else side.get_length() for side in sides))
        self.at_once = 4 * cores
        self._queue = openvino.AsyncInferQueue(compiled, cores)
        self._plane = None
        if pixel_size:
            self._plane = np.full((*self.input.shape[1:3], 1), octaves(pixel_size), np.float32)

    def predict_on_batch(self, images):
        """Predict probabilities n x H x W x 1 float32 of images n x H x W x bands."""
        return self._computed("probability", images)

    def features(self, images):
        """Compute the features of features.py: n x channels; None if the file has none."""
        if not any("features" in output.names for output in self._queue[0].model_outputs):
            return None
        return self._computed("features", images)

    def _computed(self, output, images):
        """Compute an output of images n x H x W x bands: n x ..."""
        results = [None] * len(images)

        def keep(request, index):
            results[index] = request.get_tensor(output).data[0].copy()

        self._queue.set_callback(keep)
        for index, image in enumerate(np.asarray(images, np.float32)):
            image = image if self._plane is None else np.concatenate([image, self._plane], -1)
            self._queue.start_async({0: image[None]}, index)
        self._queue.wait_all()
        return np.stack(results)
