"""Store a run that was trained in float32 as one trained with bfloat16 is stored: half the file, same network.

    python experiments/store_in_bfloat16.py --run first

Kernels are rounded to bfloat16, and on hardware that has it the network computes in it, which is faster. Choose the
threshold and score the run again afterwards. Replaces model.keras of the run, and its precision in config.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
import records
import runs
import script
from networks import model_files
from networks.keras_start import import_keras

RESULTS_DIR = "results"  # folder of all runs
RUN = "unet"  # finished run


def main():
    """Build the network anew with the other precision, give it the weights, and save it."""
    run = runs.open_run(RESULTS_DIR, RUN)
    if "finished" not in run.config or "members" in run.config:
        raise script.UserError(f"run {run.name} is not finished, or is an ensemble")
    keras = import_keras()
    from networks import builder

    weights = model_files.load_model(run.folder, to_store=True).get_weights()
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = builder.build_network(run.constants, run.config)
    model.set_weights(weights)
    model_files.save_model(model, run.folder / "model.keras")
    records.write_json(run.folder / "config.json", run.config | {"precision": "mixed_bfloat16"})
    size = (run.folder / "model.keras").stat().st_size / 1e6
    print(f"{run.folder}/model.keras: {size:.1f} MB; next: python optimize_threshold.py --run {run.name}")


if __name__ == "__main__":
    script.start(main)
