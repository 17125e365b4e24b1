"""Map a GeoTIFF with geoai and an ONNX file: `geoai_map.py MODEL SCENE OUT`; scene_engines.py calls it.

It needs Python packages that this project does not, so it runs in an environment of its own and imports nothing of the
project: `pip install geoai-py onnxruntime`. The network is the same as for the other ways; tiles, overlap and blending
are those of geoai.inference.predict_geotiff.
"""

import sys

import numpy as np
import onnxruntime
import torch
from geoai.inference import predict_geotiff

TILE, OVERLAP = 512, 48  # as of the other ways


class OnnxModule(torch.nn.Module):
    """A PyTorch module whose forward pass is that of an ONNX file, image by image."""

    def __init__(self, path):
        super().__init__()
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def forward(self, images):
        """Return probabilities B x 1 x H x W of images B x bands x H x W, which are values / 255."""
        results = [self.session.run(None, {"image": image[None]})[0] for image in images.numpy()]
        return torch.from_numpy(np.concatenate(results))


if __name__ == "__main__":
    model, scene, out = sys.argv[1:]
    settings = {"tile_size": TILE, "overlap": OVERLAP, "preprocess_fn": lambda tile: tile / np.float32(255)}
    predict_geotiff(OnnxModule(model), scene, out, device="cpu", verbose=False, **settings)
