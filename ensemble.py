"""Join finished runs into one run that gives the mean of their probabilities.

    python ensemble.py --members a b c --run abc
    python optimize_threshold.py --run abc && python evaluate.py --run abc      # like any other run

The members must be trained on the same data, bands and split. Writes results/<run>/: config.json, split.csv and
model.keras, which contains the models of all members. Next: python optimize_threshold.py --run <run>
"""

import shutil
from datetime import UTC, datetime

import records
import runs
import script
from networks import image_sizes, model_files
from networks.keras_start import import_keras
from patches import split_table

# ---------------------------------------------------------------------- input and output
RESULTS_DIR = "results"  # folder of all runs
MEMBERS = ()  # names of the runs to join
RUN = "ensemble"  # name of the new run
OVERWRITE = False  # replace an existing run of this name


def main():
    """Check the members, save the mean of their models and write the record of the new run."""
    folder = runs.run_folder(RESULTS_DIR, RUN)
    opened = [runs.open_run(RESULTS_DIR, member, "MEMBERS") for member in MEMBERS]
    if len({member.folder for member in opened}) < max(2, len(MEMBERS)):
        raise script.UserError("name two runs or more with --members, each once")
    if folder in [member.folder for member in opened]:
        raise script.UserError(f"--run {RUN} is one of the members: choose another name")
    if (folder / "config.json").exists() and not OVERWRITE:
        raise script.UserError(f"run {folder} exists: replace it with --overwrite, or choose another --run")
    check_members(opened)
    models = [model_files.load_model(member.folder, to_store=True) for member in opened]
    first, names = opened[0], [member.name for member in opened]
    runs.clear_run(folder, runs.TRAINED + runs.DERIVED)
    model_files.save_model(mean_model(models), folder / "model.keras")
    shutil.copyfile(first.folder / "split.csv", folder / "split.csv")
    kept = ("data_dir", "data_digest", "bands", "file_bands", "input_shape", "band_mean", "band_variance", "values")
    kept += (
        "pixel_size",
        "pixel_size_input",
        "sources",
        "left_out",
        "file_dtype",
        "landslide_free_digest",
        "file_band_names",
    )
    config = {"run": folder.name, "members": names, **{key: first.config[key] for key in kept if key in first.config}}
    # those of the member that allows fewest sizes of images, by which tiles of scenes are laid
    strictest = max(opened, key=lambda member: image_sizes.total_stride(member.constants, config["input_shape"]))
    config["constants"] = strictest.config.get("constants", {})
    config["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    config["parameters"] = sum(model.count_params() for model in models)
    records.write_json(folder / "config.json", config | runs.environment())
    print(f"{folder}: mean of {', '.join(names)}\nnext: {runs.command('optimize_threshold.py', folder)}")


def check_members(opened):
    """Raise UserError if the runs are unfinished or differ in data, bands, size or split, which makes scores unfair."""
    first, *others = opened

    def split_of(run):
        return split_table.split_of(run.folder / "split.csv", f"python train.py --run {run.name}")

    for run in opened:
        if "finished" not in run.config:
            raise script.UserError(f"run {run.name} is not finished: python train.py --run {run.name} --resume")
    for run in others:
        for key in ("data_digest", "bands", "input_shape", "pixel_size_input"):
            if run.config.get(key, False) != first.config.get(key, False):
                raise script.UserError(f"runs {first.name} and {run.name} differ in {key}: they cannot be joined")
        if split_of(run) != split_of(first):
            raise script.UserError(
                f"runs {first.name} and {run.name} have different splits: one has trained on test patches of the other"
            )


def mean_model(models):
    """Build a model that gives the mean of several models with the same input."""
    keras = import_keras()
    image = keras.Input(models[0].input_shape[1:], name="bands")
    members = [keras.Model(model.input, model.output, name=f"member{i}") for i, model in enumerate(models)]
    mean = keras.layers.Average(dtype="float32", name="mean")([member(image) for member in members])
    return keras.Model(image, mean, name="ensemble")


if __name__ == "__main__":
    script.start(main)
