"""Finished runs whose weights are random, of each family of networks."""

import numpy as np

import records
import train
from bands import BANDS_RGB
from networks import builder, model_files
from tests.running import defaults

SMALL = {"BASE_FILTERS": 4, "DEPTH": 2, "MAX_FILTERS": 8}
FAMILIES = {
    "stem1": SMALL | {"STEM": 1, "CONV_BLOCK": "se", "MULTI_SCALE_LOGITS": True},
    "encoder": {"ENCODER": "efficientnet_lite0"},
    "segformer": {"MODEL": "segformer"},
    "difference": SMALL | {"FUSION": "difference"},
    "attention": SMALL | {"FUSION": "attention"},
}


def write_random_run(results, name, constants, bands=BANDS_RGB, values="display", side=32, model=None, **more):
    """Write a finished run whose weights are random, as a processor with bfloat16 stores it; returns its network."""
    import keras

    config = {
        "constants": defaults(train) | constants,
        "bands": list(bands),
        "file_bands": len(bands),
        "input_shape": [side, side, len(bands)],
        "band_mean": np.linspace(50, 60, len(bands)).tolist(),
        "band_variance": np.linspace(300, 900, len(bands)).tolist(),
        "values": values,
        "finished": "2026-01-01",
    } | more
    if model is None:
        keras.utils.set_random_seed(3)
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            model = builder.build_network(config["constants"], config)
        finally:
            keras.config.set_dtype_policy("float32")
        rng = np.random.default_rng(3)
        for layer in model_files.all_layers(model):
            if isinstance(layer, keras.layers.BatchNormalization):  # none of its parameters as at the start
                layer.set_weights([w + rng.uniform(0, 0.5, w.shape) for w in layer.get_weights()])
    folder = results / name
    folder.mkdir(parents=True)
    model_files.save_model(model, folder / "model.keras")
    records.write_json(folder / "config.json", config)
    records.write_json(folder / "threshold.json", {"threshold": 0.381})
    return model
