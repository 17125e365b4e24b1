"""Parts that need TensorFlow: layers with faster kernels or for images of any size, and SavedModels."""

import keras
import numpy as np
import tensorflow as tf

from script import UserError


class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation (Ioffe & Szegedy 2015) over batch, height and width, with statistics in float32."""

    def call(self, inputs, training=None, mask=None):
        # For a number of channels that 16 does not divide, oneDNN's kernel takes four times as long in bfloat16.
        precision = tf.float32 if inputs.shape[-1] % 16 else inputs.dtype
        entering, kernel = tf.cast(inputs, precision), tf.compat.v1.nn.fused_batch_norm
        if not (training and self.trainable):  # a frozen layer keeps its statistics, as Keras's own does
            statistics = {"mean": self.moving_mean, "variance": self.moving_variance, "is_training": False}
            outputs, _, _ = kernel(entering, self.gamma, self.beta, epsilon=self.epsilon, **statistics)
        else:
            outputs, mean, variance = kernel(entering, self.gamma, self.beta, epsilon=self.epsilon)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return tf.cast(outputs, inputs.dtype)


class FreeUpSampling(keras.layers.UpSampling2D):
    """Upsampling of images whose size is unknown when the model is traced, for which Keras's own layer fails."""

    def call(self, inputs):
        return tf.image.resize(inputs, tf.shape(inputs)[1:3] * tf.constant(self.size), self.interpolation)


def write_model(graph, path, about):
    """Write a graph as a SavedModel with the input `image`; the format cannot hold the metadata `about`.

    Raises:
        UserError: TensorFlow cannot write it; a full disk, for example.
    """
    signature = [keras.InputSpec(shape=graph.input_shape, dtype="float32", name="image")]
    try:
        graph.export(path, format="tf_saved_model", verbose=False, input_signature=signature)
    except tf.errors.OpError as error:
        reason = error.message.split("; ")[-1].split(" [Op:")[0]
        raise UserError(f"{path} cannot be written: {reason}") from None


def open_model(path):
    """Open a SavedModel as a function image -> probability, arrays in the layout of the file."""
    layer = keras.layers.TFSMLayer(path, call_endpoint="serve")
    return lambda image: np.asarray(layer(image))
