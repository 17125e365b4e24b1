"""What a network makes of a picture at its coarsest level, and how far that lies from what it learnt from.

The mean of each channel over a patch, at the level with the fewest pixels, describes what the patch shows. Directions
in which the patches of validation vary most, each divided by its deviation there, give a distance: its square is the
mean of squares along these directions (Mahalanobis 1936, on the leading principal components). It is about 1 at home.
"""

import numpy as np

from networks.keras_start import import_keras
from patches.pixel_sizes import shown
from records import atomic_write

FILE = "home.npz"  # in the folder of a run
DIRECTIONS = 16  # at most; and a tenth of the number of patches
BATCH_SIZE = 32


def feature_model(model):
    """Return a model of the means of the channels at the coarsest level: B x H x W x bands -> B x channels."""
    return import_keras().Model(model.input, _means(_coarsest_layer(model)))


def with_features(graph, model):
    """Return a model of both, {"probability", "features"}, for images of the size of a graph.

    graph: model_files.resized(model, size); it may be for any size.
    """
    layer = graph.get_layer(_coarsest_layer(model).name)
    return import_keras().Model(graph.input, {"probability": graph.output, "features": _means(layer)})


def _coarsest_layer(model):
    """Return the last layer whose input has the fewest pixels."""
    layers = [layer for layer in model.layers if len(getattr(getattr(layer, "input", None), "shape", ())) == 4]
    fewest = min(layer.input.shape[1] for layer in layers)
    return [layer for layer in layers if layer.input.shape[1] == fewest][-1]


def _means(layer):
    ops = import_keras().ops
    return ops.mean(ops.cast(layer.input, "float32"), (1, 2))


def patch_features(model, patches, indices):
    """Return the features of some patches: n x channels. model: of `feature_model`. patches: packing.Patches."""
    batches = [indices[start : start + BATCH_SIZE] for start in range(0, len(indices), BATCH_SIZE)]
    images = (shown(model, patches.read(batch), patches.pixel_sizes[batch]) for batch in batches)
    return np.concatenate([np.asarray(model.predict_on_batch(each)) for each in images])


def write_home(folder, features):
    """Write what is needed to compute `distances` from the features of validation patches: n x channels."""
    mean = features.mean(0)
    _, deviations, axes = np.linalg.svd(features - mean, full_matrices=False)
    count = max(1, min(DIRECTIONS, len(features) // 10))
    scaled = axes[:count].T / np.maximum(deviations[:count] / np.sqrt(len(features)), 1e-6)
    home = {"mean": mean, "axes": scaled}
    limit = np.quantile(_distances(features, home), 0.95)
    with atomic_write(folder / FILE) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **{name: np.float32(each) for name, each in home.items()}, limit=np.float32(limit))


def distances(folder, features):
    """Return the distance of patches from home, n, in units of the one that 95 % of validation patches keep.

    folder: of the run. features: n x channels. None if the run has no record of home.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with np.load(path) as home:
        return _distances(features, home) / home["limit"]


def _distances(features, home):
    return np.sqrt(np.square((features - home["mean"]) @ home["axes"]).mean(1))
