"""A model in its two forms: on Keras's own layers, as it is stored, and arranged for the machine it runs on.

Light to import; Keras is imported when a function is called.
"""

import functools
import zipfile

from devices import hardware_has_bfloat16, import_keras
from records import atomic_write, require
from script import UserError


def save_model(model, path):
    """Store a model so that it loads anywhere, without optimizer and loss, and as small as it goes.

    Kernels that are used in bfloat16 are rounded to it, which changes no answer; the zeros that this leaves in
    float32 are compressed away: half the size.
    """
    import ml_dtypes

    keras = import_keras()
    model = portable(model)
    in_float32 = keras.layers.BatchNormalization, keras.layers.LayerNormalization  # whatever the policy
    for layer in all_layers(model):
        if layer.compute_dtype == "bfloat16" and not isinstance(layer, in_float32):
            layer.set_weights([w.astype(ml_dtypes.bfloat16).astype("float32") for w in layer.get_weights()])
    with atomic_write(path) as partial:
        model.save(partial)
        with zipfile.ZipFile(partial) as stored:
            parts = {name: stored.read(name) for name in stored.namelist()}
        # 4: a fifth of the time of the usual 6, which each better epoch would wait for, and 3 % more bytes
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as packed:
            for name, content in parts.items():
                packed.writestr(name, content)


def load_model(folder, to_store=False):
    """Load `model.keras` of a run. Its first layer normalises: feed it bands as they are in the files.

    Where the hardware has no bfloat16, float32 is used: slower by less than bfloat16 in software would be. A model that
    is `to_store` again keeps the precision it has.
    """
    path = require(folder / "model.keras", f"python train.py --run {folder.name}")
    keras = import_keras()
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its zip, JSON and HDF5 readers raise
        first_line = str(error).strip().splitlines()[0]
        raise UserError(f"{path} cannot be loaded ({first_line}): train the run again") from None
    return fused(model, None if to_store or hardware_has_bfloat16() else "float32")


def fused(model, dtype=None):
    """A copy with batch normalisation by TensorFlow's fused kernel, if TensorFlow is the backend.

    Keras computes it in float32 from a dozen elementary operations; training is half as fast again without them.
    `dtype` replaces the precision policy of all layers.
    """
    keras = import_keras()
    return _rebuilt(model, {keras.layers.BatchNormalization: _fused_layer()} if _on_tensorflow() else {}, dtype)


def portable(model):
    """A copy on Keras's own layers alone, without optimizer and loss."""
    keras = import_keras()
    return _rebuilt(model, {_fused_layer(): keras.layers.BatchNormalization} if _on_tensorflow() else {})


def _on_tensorflow():
    return import_keras().backend.backend() == "tensorflow"


def all_layers(model):
    """All layers of a model, those of models within it too."""
    for layer in model.layers:
        yield from all_layers(layer) if hasattr(layer, "layers") else [layer]


def _rebuilt(model, exchange, dtype=None):
    """A copy of a model, its weights too but not its optimizer, with some classes of layers exchanged."""
    keras = import_keras()

    def clone(layer):
        config = layer.get_config()
        if dtype and isinstance(layer, keras.layers.Layer):  # an operation, like ops.take, computes in what it is given
            config["dtype"] = dtype
        return exchange.get(type(layer), type(layer)).from_config(config)

    bare = keras.Model(model.input, model.output, name=model.name)  # of a compiled one the loss would be cloned, too
    copy = keras.models.clone_model(bare, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


@functools.cache
def _fused_layer():
    """The layer's class, made when first asked for: TensorFlow is not imported under another backend."""
    import tensorflow as tf

    keras = import_keras()

    class FusedBatchNormalization(keras.layers.BatchNormalization):
        """Normalises over batch, height and width; statistics in float32, also of bfloat16 (Ioffe & Szegedy 2015)."""

        def call(self, inputs, training=None, mask=None):
            kernel = tf.compat.v1.nn.fused_batch_norm
            if not training:
                statistics = {"mean": self.moving_mean, "variance": self.moving_variance}
                return kernel(inputs, self.gamma, self.beta, **statistics, epsilon=self.epsilon, is_training=False)[0]
            outputs, mean, variance = kernel(inputs, self.gamma, self.beta, epsilon=self.epsilon)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
            return outputs

    return FusedBatchNormalization
