"""Export the model of a run: as ONNX for QGIS and others, as a TensorFlow SavedModel, or for OpenVINO in predict.py.

    python export.py --run rgb                                  # for QGIS's plugin Deepness, 8-bit pictures
    python export.py --run rgb --scaling l4s --offset -1000     # the same for digital numbers of Sentinel-2
    python export.py --run rgb --format onnx --size 0           # values as the patches hold them, images of any size
    python export.py --run rgb --format savedmodel
    python export.py --run rgb --format openvino --int8         # for predict.py --engine openvino

Scaling, normalisation, calibration and sigmoid are inside. The file is compared with Keras in float32 and is kept only
if both agree. Writes into results/<run>/export/: <run>.onnx, <run>_plain.onnx, <run>_savedmodel/ or <run>_openvino/,
and <run>_l4s… with the scaling l4s. Next: load it in QGIS (docs/qgis.md), or map with it (docs/mapping.md).
"""

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

import records
import runs
import script
from bands import l4s_gains, light, matching_bands
from networks import exported_graph, features, image_sizes, model_files
from networks.engines import model_digest
from networks.inference import probabilities
from networks.keras_start import import_keras
from patches import reading
from patches.layouts import HDF5
from patches.pixel_sizes import REFERENCE, learnt_by, network_bands, size_class, with_plane
from scores.run_data import open_data
from scores.thresholds import elsewhere, own_of_tta

# ---------------------------------------------------------------------- input and output
RESULTS_DIR = "results"  # holds a folder for each run
RUN = "unet"  # name of the run
OUT_DIR = None  # str: folder for the file; none: export/ in the run's folder
OVERWRITE = False  # replace a file of the same name
# ---------------------------------------------------------------------- the file
FORMAT = "deepness"  # deepness: ONNX as this plugin reads it; the others: images in and out as for model.keras
SCALING = "none"  # none: values as the run's patches hold them; l4s: reflectance x 10000, which is scaled inside
OFFSET = 0.0  # added to bands of light before the scaling l4s; -1000 for digital numbers of baseline 04.00 or later
SIZE = None  # int: pixels a side of the images; 0: any size; none: those of the patches of the training
TTA = False  # average over the eight flips and turns, which takes eight times as long
# ---------------------------------------------------------------------- for predict.py --engine openvino
INT8 = False  # compute in 8-bit integers, if Dice and false alarms on the run's validation stay nearly the same
DATA_DIR = ()  # folders of the run's data, if they have moved since training; INT8 needs them
LANDSLIDE_FREE_DIRS = ()  # folders of its landslide-free ground, if they have moved
SEED = 0  # of the draw of training patches that set the scales of INT8
# ---------------------------------------------------------------------- what the file says about itself
THRESHOLD = None  # float: probability from which a pixel is landslide; none: that of a map of a scene of PIXEL_SIZE
PIXEL_SIZE = None  # float: metres a pixel of the images that the file is for; none: 10, or the usual one of training
OVERLAP = 32  # pixels that neighbouring tiles share
# ---------------------------------------------------------------------- comparison with Keras
CHECK_ON = ()  # patches to compare on; none given: random values with the mean and variance of the training
TOLERANCE = 1e-4  # largest difference of a probability

CHOICES = {"FORMAT": ("deepness", "onnx", "savedmodel", "openvino"), "SCALING": ("none", "l4s")}
RANGES = {"SIZE": (0, None), "THRESHOLD": (0, 1), "PIXEL_SIZE": (1e-3, 1e4), "OVERLAP": (0, None), "SEED": (0, None)}
FORMER_NAMES = {"RESOLUTION": "PIXEL_SIZE"}


class Scaling(NamedTuple):
    """How the values that a file takes become those of the run: gain * value + bias for each band.

    least, most: between which the result is kept; infinite where it is not.
    """

    gain: np.ndarray
    bias: np.ndarray
    least: np.ndarray
    most: np.ndarray


PACKAGES = {"export": ("onnx", "tf2onnx", "onnxruntime"), "openvino": ("openvino",)}  # of requirements-<name>.txt


def main():
    """Build the graph, write it beside its place, compare it with Keras and put it in place."""
    run = runs.open_run(RESULTS_DIR, RUN)
    check_settings(run)
    path = target(run)
    threshold = map_threshold(run)
    scaling = scaling_of(run)
    patches = read_patches(run) if CHECK_ON else draw_patches(run)
    told = pixel_size(run) if run.config.get("pixel_size_input") else None
    data = open_data(run, DATA_DIR, LANDSLIDE_FREE_DIRS, Path(RESULTS_DIR, "cache")) if INT8 else None
    if import_keras().backend.backend() != "tensorflow":
        raise script.UserError("only TensorFlow exports: unset the environment variable KERAS_BACKEND")
    if FORMAT == "savedmodel":
        from networks.tensorflow_parts import open_model, write_model
    elif FORMAT == "openvino":
        from networks.openvino_files import open_model, write_model
        from scores import int8_bound
    else:
        from networks.onnx_files import open_model, write_model

    model = model_files.fused(model_files.load_model(run.folder, to_store=True), "float32")
    if FORMAT == "openvino":  # predict.py tells the network the pixel size of each scene
        patches = with_plane(patches, np.full(len(patches), told)) if told else patches
        graph = model_files.resized(model, image_size(model, run))
        written = features.with_features(graph, model) if (run.folder / features.FILE).exists() else graph
    else:
        model = model_files.at_pixel_size(model, told)
        written = graph = build_graph(model, image_size(model, run), scaling)
    atomic_target = records.atomic_folder if FORMAT in ("savedmodel", "openvino") else records.atomic_write
    with atomic_target(path) as partial:
        write_model(written, partial, metadata(run, threshold, graph))
        largest = largest_difference(open_model(partial), graph, model, patches, scaling)
        if not largest <= TOLERANCE:  # not a number fails, too
            raise script.UserError(f"{path} is not written: its probabilities differ from Keras by {largest:.1e}")
        if INT8:
            int8_bound.quantise(partial, run, data, run.threshold(), SEED)
    print(f"{path}: image {shape_text(graph.input_shape)} -> probability {shape_text(graph.output_shape)}")
    of_size = "" if FORMAT == "openvino" else f"for pixels of {pixel_size(run):.3g} m; "
    print(f"{of_size}threshold {threshold:.3f}; largest difference from Keras in float32: {largest:.1e}")


def target(run):
    """Return the path of the file; raise UserError if it is there already."""
    ending = {"deepness": ".onnx", "onnx": "_plain.onnx", "savedmodel": "_savedmodel", "openvino": "_openvino"}[FORMAT]
    own = run.folder if FORMAT == "openvino" else run.output  # predict.py looks for the copy beside the model
    folder = Path(OUT_DIR) if OUT_DIR else own / "export"
    path = folder / f"{run.name}{'_l4s' if SCALING == 'l4s' else ''}{ending}"
    if path.exists() and not OVERWRITE:
        raise script.UserError(f"{path} exists: replace it with --overwrite, or choose another --out-dir")
    return path


def check_settings(run):
    """Find mistakes in the constants and missing packages before anything is computed."""
    if "finished" not in run.config:
        raise script.UserError(f"run {run.name} is not finished: python train.py --run {run.name} --resume")
    if OFFSET and SCALING == "none":
        raise script.UserError(f"OFFSET {OFFSET:g} belongs to SCALING l4s")
    if SIZE == 0 and (TTA or FORMAT == "deepness"):
        raise script.UserError(f"SIZE is 0, but {'TTA' if TTA else 'Deepness'} needs images of one size")
    if FORMAT == "openvino" and (TTA or SIZE is not None or PIXEL_SIZE or SCALING != "none"):
        raise script.UserError("TTA, SIZE, PIXEL_SIZE and SCALING are not for FORMAT openvino: predict.py has them")
    if INT8 and FORMAT != "openvino":
        raise script.UserError("INT8 belongs to FORMAT openvino")
    kind = {"openvino": "openvino", "savedmodel": ""}.get(FORMAT, "export")
    packages = (*PACKAGES.get(kind, ()), *(("nncf",) if INT8 else ()))
    if missing := [name for name in packages if not importlib.util.find_spec(name)]:
        raise script.UserError(f"FORMAT {FORMAT} needs {', '.join(missing)}: pip install -r requirements-{kind}.txt")


def shape_text(shape):
    """Write a shape: "any x 3 x 512 x 512"."""
    return " x ".join(str(side or "any") for side in shape)


# ---------------------------------------------------------------------- the graph


def scaling_of(run):
    """Return the Scaling inside the graph, in the run's order of bands."""
    bands = network_bands(run.config) if FORMAT == "openvino" else run.config["bands"]
    free = np.full(len(bands), np.inf)
    if SCALING == "none":
        return Scaling(np.ones(len(bands)), np.zeros(len(bands)), -free, free)
    unit = run.config.get("values")
    if not unit:
        raise script.UserError(f"SCALING l4s: it is not known what the values of run {run.name} are")
    gain, lit = np.array(l4s_gains(bands, unit)), light(bands)
    picture = lit & (unit == "display")
    return Scaling(gain, gain * lit * OFFSET, np.where(picture, 0, -free), np.where(picture, 255, free))


def pixel_size(run):
    """Return the side of a pixel in metres that the file is for.

    It is 10 m for a run that learnt most from such pixels: among finer ones, their median may be one that few have.
    """
    learnt = learnt_by(run.config)
    if PIXEL_SIZE or not learnt:
        return PIXEL_SIZE or REFERENCE
    shares = run.config["pixel_size"]["shares"]
    commonest = max(shares, key=shares.get, default="")
    return REFERENCE if commonest == size_class(REFERENCE) else learnt.usual


def map_threshold(run):
    """Return the threshold of a map of a scene with pixels of the size that the file is for."""
    return elsewhere(run, own_of_tta(run, TTA), pixel_size(run))["threshold"] if THRESHOLD is None else THRESHOLD


def image_size(model, run):
    """Return (height, width) of the images that the file takes, or (None, None) for any."""
    keras = import_keras()
    trained = model.input.shape[1:3]
    # transformers and attention over dates hold sizes
    if any(isinstance(layer, keras.layers.Reshape) for layer in model_files.all_layers(model)):
        if SIZE is not None and trained != (SIZE, SIZE):
            only = reading.size_text(trained)
            raise script.UserError(f"SIZE is {SIZE}, but the network of run {run.name} takes {only} pixels only")
        return trained
    if SIZE is None and FORMAT != "openvino":
        return trained
    side = SIZE or 0
    stride = image_sizes.total_stride(run.constants, trained)
    if side % stride:
        raise script.UserError(f"SIZE is {side}: run {run.name} needs a multiple of {stride}")
    return (side, side) if side else (None, None)


def build_graph(model, size, scaling):
    """Put the layout, the scaling and the turns around a model.

    Args:
        model: of the run, in float32: B x height x width x bands -> B x height x width x 1. size: (height, width).

    Returns:
        keras.Model. For Deepness B x bands x height x width, which are values / 255, -> B x 1 x height x width;
        otherwise as the model, from values.
    """
    keras = import_keras()
    layers, deepness = keras.layers, FORMAT == "deepness"
    model = exported_graph.convertible(model_files.resized(model, size))
    bands = len(scaling.gain)
    image = keras.Input((bands, *size) if deepness else (*size, bands), name="image")
    x = layers.Permute((2, 3, 1))(image) if deepness else image
    x = layers.Rescaling((scaling.gain * (255 if deepness else 1)).tolist(), scaling.bias.tolist())(x)
    if np.isfinite(scaling.most).any():
        x = keras.ops.minimum(keras.ops.maximum(x, np.float32(scaling.least)), np.float32(scaling.most))
    x = exported_graph.mean_over_turns(model, x) if TTA else model(x)
    return keras.Model(image, layers.Permute((3, 1, 2))(x) if deepness else x)


# ---------------------------------------------------------------------- the file


def metadata(run, threshold, graph):
    """Return what an ONNX file says about itself, {key: value}: for Deepness under the keys that it reads."""
    bands = run.config["bands"]
    about = {"run": run.name, "bands": bands, "scaling": SCALING, "offset": OFFSET, "revision": script.revision()}
    about["pixel_size"] = pixel_size(run)
    if FORMAT == "openvino":
        return {name: about[name] for name in ("run", "bands", "revision")} | {"model": model_digest(run.folder)}
    if FORMAT == "onnx":
        return about | {"threshold": threshold}
    side = graph.input_shape[-1]
    return about | {
        "model_type": "Segmentor",
        "class_names": {0: "background", 1: "landslide"},  # what is below and above the threshold
        "resolution": 100 * pixel_size(run),  # centimetres
        "tile_size": side,  # as its code reads it,
        "tiles_size": side,  # and as its pages name it
        "tiles_overlap": round(100 * min(OVERLAP, side // 2) / side),  # percent
        "seg_thresh": threshold,
        "seg_small_segment": 0,  # no median filter
        "standardization_mean": [0.0] * len(bands),  # done inside; without it some versions expect three bands
        "standardization_std": [1.0] * len(bands),
    }


# ---------------------------------------------------------------------- comparison with Keras


def draw_patches(run):
    """Draw four patches with the mean and variance of each band in training: n x H x W x bands float32."""
    height, width, bands = run.config["input_shape"]
    rng = np.random.default_rng(0)
    areas = rng.normal(size=(4, height // 8 + 1, width // 8 + 1, bands)).repeat(8, 1).repeat(8, 2)
    noise = areas[:, :height, :width] * 0.9 + rng.normal(size=(4, height, width, bands)) * 0.4
    return np.float32(run.config["band_mean"] + np.sqrt(run.config["band_variance"]) * noise)


def read_patches(run):
    """Read the patches of CHECK_ON: n x H x W x bands float32."""
    images, options = [], reading.ReadOptions.of_constants(run.constants)
    for path in map(Path, CHECK_ON):
        try:
            patch = reading.read_patch(path, None, options)
        except reading.Fault as fault:
            raise script.UserError(f"{path}: {fault}") from None
        names = patch.band_names(options.of(path).dates)
        about = {"count": run.config["file_bands"], "arrays": path.suffix.lower() in HDF5}
        columns = matching_bands(run.config["bands"], names, path, "the run", **about)
        images.append(patch.image[..., columns].astype(np.float32))
        if images[-1].shape != tuple(run.config["input_shape"]):
            trained = reading.size_text(run.config["input_shape"][:2])
            raise script.UserError(f"{path}: run {run.name} was trained on patches of {trained} pixels")
    return np.stack(images)


def largest_difference(predict, graph, model, patches, scaling):
    """Return the largest difference between the probabilities of a written file and those of Keras.

    predict: function of the file, image -> probability. Patches smaller than its images are mirrored. A file for any
    size is compared on two, one not square.
    """
    height, width = patches.shape[1:3]
    deepness = FORMAT == "deepness"
    fixed = graph.input_shape[2:] if deepness else graph.input_shape[1:3]
    differences = []
    for size in [(height, width), (2 * height, width)] if None in fixed else [fixed]:
        reference = model_files.resized(model, size)
        beyond = [(0, new - old) for new, old in zip(size, (height, width), strict=True)]
        for patch in patches:
            image = np.pad(patch, (*beyond, (0, 0)), "symmetric")[None]
            values = np.float32((image - scaling.bias) / scaling.gain)
            clipped = np.clip(image, scaling.least, scaling.most)
            file_input = np.moveaxis(values / np.float32(255), 3, 1) if deepness else values
            probability = predict(file_input)[:, 0] if deepness else predict(file_input)[..., 0]
            differences.append(np.abs(probability - probabilities(reference, clipped, TTA)).max())
    return float(np.max(differences))


if __name__ == "__main__":
    script.start(main)
