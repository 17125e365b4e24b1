"""The engines that compute a network for maps: Keras, or OpenVINO on what `export.py --format openvino` wrote.

Light to import; functions import the engines when they are called.
"""

import importlib.util
from pathlib import Path

from networks.features import feature_model
from networks.model_files import at_pixel_size, load_model, resized
from records import file_digest, read_json, require
from script import UserError, note, versions

ENGINES = ("keras", "openvino")


def openvino_folder(folder):
    """Return the folder in which predict.py looks for the OpenVINO model of a run, whose folder is given."""
    return Path(folder, "export", f"{Path(folder).name}_openvino")


def files(folder, engine):
    """Return the paths of the files that an engine reads of a run."""
    return (Path(folder, "model.keras"), *((openvino_folder(folder) / "model.bin",) if engine == "openvino" else ()))


def model_digest(folder):
    """Return the SHA-256 of the model of a run, by which an exported copy is recognised as being of it."""
    return file_digest(Path(folder, "model.keras"))


def choose(folder, engine):
    """Return the engine that computes a run: one of ENGINES, or for "auto" OpenVINO if the run was exported for it.

    folder: of the run. Prints that "auto" takes OpenVINO, or why it cannot.
    """
    if engine != "auto":
        return engine
    if not openvino_folder(folder).exists():
        return "keras"
    try:
        text = describe(folder, "openvino")
    except UserError as error:
        note(f"Keras computes this map, because {error}")
        return "keras"
    note(f"{text} computes this map; --engine keras says otherwise")
    return "openvino"


def describe(folder, engine):
    """Return a text for maps that names the engine; raise UserError if it cannot compute the run.

    folder: of the run. The text is like "OpenVINO 2026.4.1, int8".
    """
    if engine == "keras":
        return f"Keras {versions(('keras',))['keras']}"
    name = Path(folder).name
    export = f"python export.py --run {name} --format openvino"
    record = read_json(openvino_folder(folder) / "record.json", export)
    if record["model"] != model_digest(folder):
        raise UserError(f"{openvino_folder(folder)} is of an earlier model of run {name}: {export} --overwrite")
    require_openvino()
    return f"OpenVINO {versions(('openvino',))['openvino']}, {record['precision']}"


def require_openvino():
    """Raise UserError if OpenVINO is not installed."""
    if not importlib.util.find_spec("openvino"):
        raise UserError("ENGINE openvino needs openvino: pip install -r requirements-openvino.txt")


def load(folder, engine, size=None, pixel_size=None):
    """Load the network of a run for prediction: an object with `predict_on_batch`, n x H x W x bands -> n x H x W x 1.

    Args:
        folder: of the run. engine: one of ENGINES.
        size: (height, width) of the images; None: those of its training.
        pixel_size: metres, for a network that is told the size of a pixel; None: the images bring it as a plane.
    """
    if engine == "keras":
        model = at_pixel_size(load_model(Path(folder)), pixel_size)
        return resized(model, size) if size else model
    require_openvino()
    from networks.openvino_files import Engine

    model_file = require(openvino_folder(folder) / "model.xml", "python export.py --format openvino")
    return Engine(model_file.parent, size, pixel_size)


def load_features(folder, engine, size):
    """Load what computes the features of features.py: a function n x H x W x inputs -> n x channels.

    folder: of the run. engine: one of ENGINES. size: (height, width) of the images, those of the run's patches. The
    function of OpenVINO returns None if the run has no record of the features of its own data.
    """
    if engine == "openvino":
        return load(folder, engine, size).features
    model = feature_model(load_model(Path(folder)))
    return lambda images: model.predict(images, verbose=0)
