"""Quantisation after training: a network in 8-bit integers, by OpenVINO's NNCF on some patches."""

import contextlib
import logging
import os

import nncf

from networks import openvino_files

CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData")
ENDS = ("Concat", "ShapeOf", "Result")


def quantised(folder, images, exempt=()):
    """Return an openvino.Model with convolutions in 8-bit integers.

    Scales come from the values that the images give. What the image passes first stays in floating point, see
    `near_image`.

    Args:
        folder: of the model, see openvino_files. images: n x H x W x bands float32, as the network takes them.
        exempt: types of operations that stay in floating point, too.
    """
    model = openvino_files.read_model(folder)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # it prints progress bars of its own
        return nncf.quantize(
            model,
            nncf.Dataset(images, lambda image: image[None]),
            subset_size=len(images),
            ignored_scope=nncf.IgnoredScope(names=near_image(model), types=list(exempt), validate=False),
        )


def operation_types(folder):
    """Return the set of the types of operations of the model in a folder."""
    return {operation.get_type_name() for operation in openvino_files.read_model(folder).get_ops()}


def near_image(model):
    """List the names of the operations of an openvino.Model that the image passes first, which are cheap and sensitive.

    That is up to the first convolutions, and the depthwise ones behind these. A decoder joins the image to features:
    joined tensors get one scale, and that of the features leaves the image a dozen levels. With the run rgb, Dice on
    validation falls from 0.761 to 0.712 if all is quantised, and rises to 0.762 with this in floating point.
    """
    passed, first = _passed(model.get_parameters())
    _, second = _passed(first.values())
    depthwise = [name for name, operation in second.items() if operation.get_type_name() == "GroupConvolution"]
    return [*passed, *first, *depthwise]


def _passed(operations):
    """Follow the outputs of operations: {name: operation} up to the next convolutions, and of these convolutions."""
    passed, convolutions, pending = {}, {}, list(operations)
    while pending:
        for output in pending.pop().outputs():
            for operation in (target.get_node() for target in output.get_target_inputs()):
                kind, name = operation.get_type_name(), operation.get_friendly_name()
                if kind in CONVOLUTIONS:
                    convolutions[name] = operation
                elif kind not in ENDS and name not in passed:
                    passed[name] = operation
                    pending.append(operation)
    return passed, convolutions
