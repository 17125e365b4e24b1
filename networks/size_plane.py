"""A layer that tells a network the size of a pixel, for models that are made for one size."""

import keras
from keras import ops


class SizePlane(keras.layers.Layer):
    """Append a constant plane to images: B x H x W x C -> B x H x W x (C + 1). octaves: see pixel_sizes.octaves."""

    def __init__(self, octaves, **options):
        super().__init__(**options)
        self.octaves = octaves

    def call(self, images):
        """Append the plane."""
        return ops.concatenate([images, ops.full_like(images[..., :1], self.octaves)], axis=-1)

    def get_config(self):
        """Return what from_config needs."""
        return super().get_config() | {"octaves": self.octaves}
