"""ONNX files of models: written through TensorFlow, and opened with onnxruntime."""

import json
import warnings

import keras
import onnx
import onnxruntime

OPSET = 17  # version of ONNX's operators; onnxruntime 1.12, the oldest that Deepness installs, knows it


def write_model(graph, path, about):
    """Write a graph, a keras.Model `image` -> `probability`, as ONNX; about: {key: value}, its metadata, as JSON."""
    signature = [keras.InputSpec(shape=graph.input_shape, dtype="float32", name="image")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # Keras asks NumPy for np.object, for tf2onnx
        graph.export(path, format="onnx", verbose=False, input_signature=signature, opset_version=OPSET)
    file = onnx.load(path)
    (output,) = file.graph.output
    for node in file.graph.node:
        node.output[:] = ["probability" if name == output.name else name for name in node.output]
    output.name = "probability"
    for tensor in (*file.graph.input, output):
        for side, name in zip(tensor.type.tensor_type.shape.dim, ("batch", "height", "width"), strict=False):
            if side.dim_param:  # of unknown size, under a name that tf2onnx made up
                side.dim_param = name
    onnx.helper.set_model_props(file, {key: json.dumps(value) for key, value in about.items()})
    onnx.save(file, path)


def open_model(path):
    """Open an ONNX file as a function image -> probability, arrays in the layout of the file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["probability"], {"image": image})[0]
