"""Batch normalisation by TensorFlow's fused kernel, where TensorFlow is the backend: training is half as fast again.

Keras computes it in float32 from a dozen elementary operations. This is the only module that knows a backend; under
another one both functions return the model as it is.
"""

import keras


def fused(model):
    """The same model, with the same variables' values, on fused batch normalisation."""
    return _exchange(model, keras.layers.BatchNormalization, _fused_layer) if _tensorflow() else model


def portable(model):
    """The same model on Keras's own layers alone, so that it loads anywhere."""
    return _exchange(model, _fused_layer(), lambda: keras.layers.BatchNormalization) if _tensorflow() else model


def _tensorflow():
    return keras.backend.backend() == "tensorflow"


def _exchange(model, old, new):
    def clone(layer):
        kind = new() if type(layer) is old else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


_layers = []


def _fused_layer():
    """The layer's class, made when first asked for: TensorFlow is not imported under another backend."""
    if _layers:
        return _layers[0]
    import tensorflow as tf

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

    _layers.append(FusedBatchNormalization)
    return FusedBatchNormalization
