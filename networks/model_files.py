"""Save and load models: with Keras's own layers on disk, and with faster layers in memory.

Light to import; functions import Keras when they are called.
"""

import zipfile

from networks.image_sizes import padded_size
from networks.keras_start import hardware_has_bfloat16, import_keras
from patches.pixel_sizes import octaves
from records import atomic_write, require
from script import UserError


def save_model(model, path):
    """Save a model without optimizer and loss, compressed, so that it loads on any machine.

    Kernels that are used in bfloat16 are rounded to it. This changes no prediction, and halves the file, because the
    zeros at the end of the rounded float32 values are compressed.
    """
    keras = import_keras()
    model = portable(model)
    model.trainable = True  # which layers were frozen concerns only the training that is over
    in_float32 = keras.layers.BatchNormalization, keras.layers.LayerNormalization  # under any policy
    for layer in all_layers(model):
        if layer.compute_dtype == "bfloat16" and not isinstance(layer, in_float32):
            rounded = (keras.ops.cast(w, "bfloat16") for w in layer.get_weights())
            layer.set_weights([keras.ops.cast(w, "float32") for w in rounded])
    with atomic_write(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial) as stored:
            parts = {name: stored.read(name) for name in stored.namelist()}
        # level 4 takes a fifth of the time of the default 6, for 3 % more bytes; training waits for it
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as packed:
            for name, content in parts.items():
                packed.writestr(name, content)


def load_model(folder, to_store=False):
    """Load `model.keras` of a run. Its first layer normalises: feed it bands as they are in the files.

    The model is for prediction: batch normalisation is folded into the convolutions (batch_norm_folding.py). On
    hardware without bfloat16 it computes in float32, which is faster than bfloat16 in software. With `to_store` it
    keeps the layers that were saved, and can be saved again.

    Raises:
        UserError: the file is missing or cannot be loaded.
    """
    path = require(folder / "model.keras", f"python train.py --run {folder.name}")
    keras = import_keras()
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its zip, JSON and HDF5 readers raise
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be loaded ({first_line}): train the run again") from None
    if to_store:
        return fused(model)
    from networks import batch_norm_folding

    return batch_norm_folding.fold(model, faster_layers(), None if hardware_has_bfloat16() else "float32")


def fused(model, dtype=None):
    """Copy a model, with TensorFlow's fused kernel for batch normalisation if TensorFlow is the backend.

    Keras computes batch normalisation in float32 with a dozen elementary operations; the fused kernel makes training
    1.5 times as fast. `dtype` replaces the precision policy of all layers.
    """
    return _rebuilt(model, faster_layers(), dtype)


def faster_layers():
    """Return {class of Keras: faster class of this project with the same result}; empty without TensorFlow."""
    own = tensorflow_layers()
    return {import_keras().layers.BatchNormalization: own.FusedBatchNormalization} if own else {}


def resized(model, size):
    """Copy a fully convolutional model for images of another (height, width), with its weights.

    Both must be multiples of the model's total stride (image_sizes.total_stride). Under TensorFlow they may be None:
    the copy then takes images of any such size.
    """
    if tuple(model.input.shape[1:3]) == tuple(size):
        return model
    keras = import_keras()
    exchange = {keras.layers.UpSampling2D: tensorflow_layers().FreeUpSampling} if None in size else {}

    def copied(inner, factors):
        def clone(layer):
            if isinstance(layer, keras.Model):
                return copied(layer, factors)
            return exchange.get(type(layer), type(layer)).from_config(layer.get_config())

        _, *shape, bands = inner.input.shape
        sides = (factor and round(side * factor) for side, factor in zip(shape, factors, strict=True))
        return keras.models.clone_model(inner, input_tensors=keras.Input((*sides, bands)), clone_function=clone)

    copy = copied(model, [new and new / old for new, old in zip(size, model.input.shape[1:3], strict=True)])
    copy.set_weights(model.get_weights())
    return copy


def load_for(run, size):
    """Load the model of a run for patches of a (height, width), which `inference.probabilities` fills up by mirroring.

    A network that was trained on larger or smaller patches is copied for the size; one of fixed size stays as it is.
    """
    return resized(load_model(run.folder), padded_size(run.constants, run.config["input_shape"], size))


def at_pixel_size(model, metres):
    """Fix the pixel size that a network is told: the copy takes the bands alone, and has the plane within.

    metres: side of a pixel; None for a network that is not told the size, which is returned as it is.
    """
    if metres is None:
        return model
    keras = import_keras()
    from networks.size_plane import SizePlane

    height, width, count = model.input.shape[1:]
    image = keras.Input((height, width, count - 1), name="bands")
    inner = keras.Model(model.input, model.output, name="told_pixel_size")
    return keras.Model(image, inner(SizePlane(float(octaves(metres)), dtype="float32")(image)))


def portable(model):
    """Copy a model with Keras's own layers only, without optimizer and loss."""
    keras = import_keras()
    own = tensorflow_layers()
    return _rebuilt(model, {own.FusedBatchNormalization: keras.layers.BatchNormalization} if own else {})


def tensorflow_layers():
    """Import tensorflow_parts.py if TensorFlow is the backend; otherwise return None."""
    if import_keras().backend.backend() != "tensorflow":
        return None
    from networks import tensorflow_parts

    return tensorflow_parts


def all_layers(model):
    """Yield all layers of a model, including those of nested models."""
    for layer in model.layers:
        yield from all_layers(layer) if hasattr(layer, "layers") else [layer]


def _rebuilt(model, exchange, dtype=None):
    """Copy a model with its weights but without its optimizer, replacing some classes of layers."""
    keras = import_keras()

    def clone(layer):
        config = layer.get_config()
        if dtype and isinstance(layer, keras.layers.Layer):  # operations such as ops.take keep their input's type
            config["dtype"] = dtype
        return exchange.get(type(layer), type(layer)).from_config(config)

    bare = keras.Model(model.input, model.output, name=model.name)  # cloning a compiled model would also clone its loss
    copy = keras.models.clone_model(bare, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy
