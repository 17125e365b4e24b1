"""Train a landslide segmentation network on a folder of patches.

    python train.py                                                   # patches in data/, run results/unet/
    python train.py --data-dir data/sample --run first --epochs 12    # each constant below is also a flag
    python train.py --run first --resume                              # continue after a crash or Ctrl-C
    python train.py --run second --teacher first                      # also learn from unlabelled patches
    python train.py --encoder efficientnet_lite0 --epochs 20          # ImageNet weights: better in fewer epochs
    python train.py --data-dir data/event --start-from rgb --run event    # fine-tune a run on other patches

Writes results/<run>/: config.json, split.csv, history.csv, model.keras (of the epoch with the highest validation Dice;
with --start-from, of the last one) and training_curves.png. Next: python optimize_threshold.py --run <run>
"""

import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

import augment
import dataset
import records
import runs
import script
from bands import value_unit
from networks import architecture, keras_start, model_files
from patches import layouts, reading, splits
from patches.landslide_free import join, open_landslide_free
from patches.reading import PatchFormat
from training import devices, fine_tuning
from training.teacher import Teacher

# ---------------------------------------------------------------------- input and output
DATA_DIR = "data"  # folder of patches, in one of the layouts that data/README.md lists
RESULTS_DIR = "results"  # folder of all runs, and of cache/ with the packed patches
RUN = "unet"  # name of the run, and of its folder
RESUME = False  # continue an interrupted run, with the constants that it was started with
OVERWRITE = False  # replace an existing run of this name
# ---------------------------------------------------------------------- data
BANDS = ()  # bands to use, by name (B4 B3 B2 slope) or by number from 1; none: all bands
DATES = 2  # dates to use from a series (.nc); 1: after the event, 2: before and after, more: the clearest
SIZE = 0  # resample pictures (PNG, TIFF, JPEG) to this many pixels a side; 0: keep their size, which they must share
SKIP_BAD = False  # leave out unusable files and list them in config.json, instead of stopping
SPLIT_METHOD = "random"  # how to cut splits that the folder lacks; blocks: keep neighbouring patches together
BLOCK_SIZE = 20  # number of neighbouring patches in a block
TEST_SPLIT = "test"  # the folder's own split to hold out as test; validation: if its test split has no masks
LABELLED_FRACTION = 1.0  # share of training patches whose masks are used; the others count as unlabelled
TEACHER = ""  # finished run whose probabilities are the targets of unlabelled patches
TEACHER_WEIGHT = 0.5  # weight of the teacher's probabilities where there is a mask; the mask has the rest
LANDSLIDE_FREE_DIRS = ()  # folders of pictures or patches of ground without landslides, without masks, of any size
LANDSLIDE_FREE_SHARE = 0.3  # their share of each training batch
AUGMENT = ("dihedral", "affine")  # augmentations of the training patches, in this order
# ---------------------------------------------------------------------- model and loss
START_FROM = ""  # finished run to start from: its weights, and its network in place of the one described below
FREEZE = "none"  # part of the network that does not learn; encoder: a pre-trained one
MODEL = "unet"  # network; segformer: a transformer, which uses only STRIDE and DROPOUT
ENCODER = "none"  # pre-trained encoder of the unet; efficientnet_lite0, or a name in keras.applications: ResNet50
ENLARGE = 2  # with an encoder: enlarge patches this many times before it, 1 or 2
BASE_FILTERS = 48  # filters of the first level; each level below has twice as many, up to MAX_FILTERS
MAX_FILTERS = 192  # largest number of filters of a level
DEPTH = 4  # number of halvings between the patch and the bottom of the U-Net
STEM = 2  # 2: downsample before the U-Net and add a light full-resolution level (3 times as fast); 1: plain
CONV_BLOCK = "residual"  # block of the U-Net; se: residual with squeeze and excitation
FUSION = "stack"  # how the U-Net joins dates; stack: as bands; difference, attention: after one shared encoder
STRIDE = 4  # stride of the segformer's first stage: 4, or 2 (finer, four times the work)
DROPOUT = 0.0  # share of channels dropped at the bottom of the U-Net, or before the segformer's last layer
MULTI_SCALE_LOGITS = False  # add the logits of all decoder levels; learns faster in short runs
POSITIVE_WEIGHT = 1.0  # weight of landslide pixels in the cross-entropy
# ---------------------------------------------------------------------- optimisation
EPOCHS = 120  # largest number of passes over the training split
EPOCH_STEPS = 0  # smallest number of batches in an epoch: a smaller training split is passed over several times
PATIENCE = 0  # stop after this many epochs without a better validation Dice; 0: never
BATCH_SIZE = 16  # patches in a batch
LEARNING_RATE = 1e-3  # peak learning rate of AdamW
ENCODER_RATE = 0.3  # factor to it for the weights of a pre-trained encoder
WARMUP_EPOCHS = 2.0  # epochs of linear rise to the peak learning rate; a cosine decay to 0 follows
WEIGHT_DECAY = 1e-2  # weight decay of AdamW, on kernels only
# ---------------------------------------------------------------------- system
SPLIT_SEED = 0  # seed of the split
SEED = 0  # seed of the weights, the order of patches and the augmentation
MIXED_PRECISION = "auto"  # convolve in bfloat16; auto: if the hardware supports it
WORKERS = 2  # extra threads that prepare batches; the batches are the same for any number

# The values that these constants have with START_FROM, unless flags set them: 120 steps on a few patches. From run rgb
# to 20 patches of Bijie, 5e-4 was as good as 1e-3 and better than 3e-4.
FINE_TUNING = {"LEARNING_RATE": 5e-4, "EPOCHS": 12, "EPOCH_STEPS": 10, "WARMUP_EPOCHS": 1.0}
CHOICES = {
    "FREEZE": ("none", "encoder"),
    "SPLIT_METHOD": splits.SPLIT_METHODS,
    "TEST_SPLIT": splits.TEST_SPLITS,
    "AUGMENT": tuple(augment.AUGMENTATIONS),
    "MODEL": ("unet", "segformer"),
    "CONV_BLOCK": ("plain", "residual", "se"),
    "FUSION": ("stack", "difference", "attention"),
    "MIXED_PRECISION": ("auto", "on", "off"),
}


def main():
    """Open the data, split it, build the network and fit it."""
    folder = runs.run_folder(RESULTS_DIR, RUN)
    if devices.process()[0]:
        folder = devices.scratch_folder(folder, runs.TRAINED if RESUME else ())
    if RESUME:
        config = records.read_json(folder / "config.json", "train.py without --resume")
        if "finished" in config:
            print(f"run {folder} is finished; replace it with --overwrite, or choose another --run")
            return
        runs.resume_constants(globals(), folder)
    elif (folder / "model.keras").exists() and not OVERWRITE:  # without a finished epoch nothing can be lost
        raise script.UserError(f"run {folder} exists: go on with --resume, replace it with --overwrite, or give --run")
    elif START_FROM:
        fine_tuning.start_constants(globals(), FINE_TUNING)
    check_settings()
    patches = open_data()
    if LANDSLIDE_FREE_DIRS and patches.dates:
        raise script.UserError("--landslide-free-dirs is for single pictures and patches, not for series of dates")
    landslide_free = open_landslide_free(LANDSLIDE_FREE_DIRS, PatchFormat.of(patches), Path(RESULTS_DIR, "cache"))
    shard = devices.DeviceShard(BATCH_SIZE)
    assigned, teacher = prepare_run(folder, patches, landslide_free)
    train(folder, patches, landslide_free, assigned, teacher, shard)


def open_data():
    """Open the training data; raise UserError that says where to get some if there is none."""
    try:
        return dataset.open_patches(
            DATA_DIR, Path(RESULTS_DIR, "cache"), BANDS, SKIP_BAD, reading.ReadOptions(DATES, SIZE)
        )
    except layouts.NoPatches as error:
        raise script.UserError(
            f"{error}\n"
            f"  real data: unzip Landslide4Sense (zenodo.org/records/10463239) into {DATA_DIR}/, see README.md\n"
            "  sample: run python make_sample_data.py, then python train.py --data-dir data/sample"
        ) from None


def check_settings():
    """Check the constants before data is read, files are written or Keras is imported."""
    script.check_ranges(globals(), EPOCHS=(1, None), BATCH_SIZE=(1, None), BASE_FILTERS=(1, None), DEPTH=(1, 8))
    script.check_ranges(globals(), PATIENCE=(0, None), WORKERS=(0, None), SEED=(0, 2**32 - 1), BLOCK_SIZE=(1, None))
    script.check_ranges(globals(), LEARNING_RATE=(1e-12, None), WARMUP_EPOCHS=(0, None), WEIGHT_DECAY=(0, None))
    script.check_ranges(globals(), POSITIVE_WEIGHT=(0, None), EPOCH_STEPS=(0, None))
    script.check_ranges(globals(), DATES=(1, None), SIZE=(0, None), LABELLED_FRACTION=(0, 1), TEACHER_WEIGHT=(0, 1))
    script.check_ranges(globals(), MAX_FILTERS=(1, None), STEM=(1, 2), DROPOUT=(0, 0.9), SPLIT_SEED=(0, 2**32 - 1))
    script.check_ranges(globals(), LANDSLIDE_FREE_SHARE=(0, 0.9), ENLARGE=(1, 2), ENCODER_RATE=(0, 1))
    for name in ("TEACHER", "START_FROM"):
        other = globals()[name]
        if other and runs.run_folder(RESULTS_DIR, other) == runs.run_folder(RESULTS_DIR, RUN):
            raise script.UserError(f"{name} {other} is the run itself: choose another --run")
    if MAX_FILTERS < BASE_FILTERS:
        raise script.UserError(f"MAX_FILTERS is {MAX_FILTERS}: it must be at least BASE_FILTERS, {BASE_FILTERS}")
    if STRIDE not in (2, 4):
        raise script.UserError(f"STRIDE is {STRIDE}: it must be 2 or 4")
    script.check_choices(globals(), **CHOICES)


def prepare_run(folder, patches, landslide_free):
    """Make the run's folder with config.json and split.csv; return the split of each patch, and the teacher."""
    architecture.check_fit(constants(), patches.input_shape, patches.bands)
    if RESUME:
        config = records.read_json(folder / "config.json", "train.py")
        if config["data_digest"] != patches.digest:
            raise script.UserError(f"{DATA_DIR} has changed since run {RUN} was started: start again with --overwrite")
        if config.get("landslide_free_digest") != (landslide_free and landslide_free.digest):
            raise script.UserError(
                "LANDSLIDE_FREE_DIRS have changed since the run was started: start again with --overwrite"
            )
        assigned = splits.read_split(folder / "split.csv", patches, "train.py --overwrite")
        teacher = open_teacher(patches, assigned)
        if teacher and config["teacher_finished"] != teacher.finished:
            raise script.UserError(f"teacher {TEACHER} was retrained since run {RUN} was started: use --overwrite")
        runs.clear_run(folder, runs.DERIVED)  # threshold and scores belong to the unfinished model
        return assigned, teacher
    assigned, notes = splits.split_patches(patches, SPLIT_METHOD, SPLIT_SEED, TEST_SPLIT, BLOCK_SIZE, LABELLED_FRACTION)
    teacher = open_teacher(patches, assigned)  # it can raise UserError, so it comes before any writing
    mean, variance = patches.statistics((assigned == "train").nonzero()[0])
    start = fine_tuning.start_record(constants(), patches, assigned, mean, variance) if START_FROM else None
    runs.clear_run(folder, runs.TRAINED + runs.DERIVED)
    for note in (*patches.notes, *notes):
        print(note)
    for name, fault in patches.left_out:
        print(f"left out {name}: {fault}")
    splits.write_split(folder / "split.csv", patches, assigned, landslide_free)
    config = {
        "run": RUN,
        "started": now(),
        "constants": constants(),
        "data_dir": DATA_DIR,
        "data_digest": patches.digest,
        "bands": patches.bands,
        "file_bands": len(patches.file_bands),
        "file_band_names": patches.file_bands,
        "file_dtype": patches.dtype,
        "input_shape": patches.input_shape,
        "band_mean": mean.tolist(),
        "band_variance": variance.tolist(),
        "values": patches.values or value_unit(patches.bands, patches.dtype, mean),
        "landslide_free_digest": landslide_free and landslide_free.digest,
        "seed": SEED,
        "left_out": patches.left_out,
        "start": start,
        "teacher_finished": teacher.finished if teacher else None,
        **runs.environment(),
    }
    records.write_json(folder / "config.json", config)  # last: a folder with config.json can be resumed
    return assigned, teacher


def open_teacher(patches, assigned):
    """Open the run named by TEACHER; return None if there is none."""
    if not TEACHER:
        return None
    return Teacher(runs.open_run(RESULTS_DIR, TEACHER), patches, assigned, Path(RESULTS_DIR, "cache"), SKIP_BAD)


def train(folder, patches, landslide_free, assigned, teacher, shard):
    """Fit the model and write its record into `folder`."""
    # Keras takes seconds to import; --help and errors in the data must not wait for it.
    keras = keras_start.import_keras()
    from networks import builder
    from plots import training_curves
    from training import optimizer
    from training.calibration import calibrate
    from training.callbacks import Forecast, RunRecorder, feed_callback
    from training.feed import PatchFeed

    config = records.read_json(folder / "config.json", "train.py")
    keras.utils.set_random_seed(SEED)
    config.setdefault("backend", keras.backend.backend())
    if "precision" not in config:  # a resumed run keeps its precision on any machine
        bfloat16 = MIXED_PRECISION == "on" or (MIXED_PRECISION == "auto" and keras_start.hardware_has_bfloat16())
        config["precision"] = "mixed_bfloat16" if bfloat16 else "float32"
        records.write_json(folder / "config.json", config)
    keras.config.set_dtype_policy(config["precision"])
    shard.agree(config, assigned)

    chosen = {split: (assigned == split).nonzero()[0] for split in (*layouts.SPLITS, splits.NO_MASK)}
    sizes = ", ".join(f"{len(indices)} {split}" for split, indices in chosen.items() if len(indices))
    print(f"{folder}: {sizes} patches of {patches.input_shape}, {config['precision']} on {shard}")
    learnt, targets, without_landslides = chosen["train"], None, ()
    if teacher:
        learnt, targets = np.append(learnt, chosen[splits.NO_MASK]), teacher.targets(TEACHER_WEIGHT)
    validated = chosen["validation"]
    if landslide_free:
        patches, without_landslides, held_out = join(patches, landslide_free, len(validated), LANDSLIDE_FREE_SHARE)
        validated = np.append(validated, held_out)
        print(f"{len(without_landslides)} landslide-free training patches, {LANDSLIDE_FREE_SHARE:.0%} of each batch")
    feed = PatchFeed(
        patches,
        learnt,
        BATCH_SIZE,
        augment=AUGMENT,
        seed=SEED,
        targets=targets,
        shard=shard,
        landslide_free=without_landslides,
        landslide_free_share=LANDSLIDE_FREE_SHARE,
        least_batches=EPOCH_STEPS,
        workers=WORKERS,
    )
    validation = PatchFeed(patches, validated, BATCH_SIZE // shard.parts, shard=shard)

    began = time.monotonic()
    # A few validation patches rank epochs by chance, and a schedule of fine-tuning ends where it has settled.
    recorder = RunRecorder(folder, len(feed), PATIENCE, keep_last=bool(START_FROM) and not PATIENCE)
    with shard.scope():
        model = model_files.fused(builder.build_network(constants(), config))
        optimizer.compile_network(model, constants(), len(feed), keep_statistics=bool(START_FROM))
        done = recorder.resume(model) if RESUME else 0
        if START_FROM and not done:
            fine_tuning.carry_over(constants(), config, model, builder.band_layers(constants()))
        print(f"{MODEL} of {model.count_params():,} parameters")
        if done < EPOCHS and not recorder.finished:
            forecast = Forecast(architecture.smaller_network(constants()))
            fit(model, feed, validation, done, recorder, [feed_callback(feed), recorder, forecast])
    kept = recorder.rows[recorder.kept_epoch]
    training_curves(recorder.rows, folder / "training_curves.png", kept["epoch"])
    runs.clear_run(folder, runs.DERIVED)  # threshold and scores belong to an earlier epoch
    kept_model = model_files.load_model(folder, to_store=True)
    # Recorded before the model is saved: after a kill, the resumed run calibrates a calibrated model again, and the
    # first record must stay.
    config.setdefault("calibration", calibrate(kept_model, patches, validated))
    records.write_json(folder / "config.json", config)
    model_files.save_model(kept_model, folder / "model.keras")
    record = {
        "finished": now(),
        "kept_epoch": kept["epoch"],
        "parameters": kept_model.count_params(),
        "finished_revision": runs.revision(),
    }
    records.write_json(folder / "config.json", config | record)
    (folder / "last.weights.h5").unlink(missing_ok=True)  # only an unfinished run needs it
    before, after = (config["calibration"][f"cross_entropy_{when}"] for when in ("before", "after"))
    print(
        f"kept: epoch {kept['epoch']} of {len(recorder.rows)}, validation Dice {kept['val_dice']:.3f} (at 0.5); "
        f"{time.monotonic() - began:.0f} s\n"
        f"calibrated: validation cross-entropy {before:.4f} -> {after:.4f}\n"
        f"next: python optimize_threshold.py --run {RUN}"
    )


def fit(model, feed, validation, done, recorder, callbacks):
    """Fit a network, of which `done` epochs are finished; Ctrl-C ends the script with a line that says what is kept."""
    try:
        with script.interrupts_deferred():
            model.fit(
                feed,
                validation_data=validation,
                initial_epoch=done,
                epochs=EPOCHS,
                shuffle=False,  # the feed shuffles by itself
                callbacks=callbacks,
                verbose=1 if sys.stdout.isatty() else 2,
            )
    except KeyboardInterrupt:
        which = "last epoch's model" if recorder.keep_last else "best so far"
        kept = f"the {which} is {recorder.folder}/model.keras; " if recorder.rows else ""
        print(f"\nstopped after {len(recorder.rows)} epochs; {kept}go on with --resume")
        sys.exit(130)


def constants():
    """Return the current constants: {NAME: value}."""
    return {name: globals()[name] for name in script.constants(globals())}


def now():
    """Return the current time in UTC, in ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


if __name__ == "__main__":
    script.start(main)
