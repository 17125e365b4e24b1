"""Train a landslide segmentation network on one folder of patches, or on several.

    python train.py                                                   # patches in data/, run results/unet/
    python train.py --data-dir data/sample --run first --epochs 12    # each constant below is also a flag
    python train.py --run first --resume                              # continue after a crash or Ctrl-C
    python train.py --run second --teacher first                      # also learn from unlabelled patches
    python train.py --encoder efficientnet_lite0 --epochs 20          # ImageNet weights: better in fewer epochs
    python train.py --data-dir data/event --start-from rgb --run event    # fine-tune a run on other patches
    python train.py --data-dir data/s2 data/uav --pixel-sizes 10 0.5      # two sources, whose pixels differ in size

Each folder is packed once, and its patches are split. Batches of them, turned and zoomed, are fed to a U-Net, which
learns by BCE + Dice with AdamW; after each epoch it is scored on validation, and the best model is kept. In the end its
probabilities are calibrated on validation; on training, too, if validation has fewer than ten patches.

Writes results/<run>/: config.json, split.csv, history.csv, model.keras (of the epoch with the highest validation Dice;
with --start-from, of the last one) and training_curves.png. Next: python optimize_threshold.py --run <run>
"""

import sys
import time
from pathlib import Path

import numpy as np

import augment
import dataset
import records
import runs
import script
from networks import architecture, features, keras_start, model_files
from patches import layouts, pixel_sizes, split_table, splits
from patches.landslide_free import join, open_landslide_free
from patches.patch_format import PatchFormat
from patches.reading import ReadOptions
from training import devices, fine_tuning, run_record

# ---------------------------------------------------------------------- input and output
DATA_DIR = ("data",)  # folders of patches, each a source, in the layouts that data/README.md lists
RESULTS_DIR = "results"  # folder of all runs, and of cache/ with the packed patches
RUN = "unet"  # name of the run, and of its folder
RESUME = False  # continue an interrupted run, with the constants that it was started with
OVERWRITE = False  # replace an existing run of this name
# ---------------------------------------------------------------------- data
BANDS = ()  # bands to use, by name (B4 B3 B2 slope) or by number from 1; none: all bands
DATES = 2  # dates to use from a series (.nc); 1: after the event, 2: before and after, more: the clearest
SIZE = None  # int: pixels a side to which pictures (PNG, TIFF, JPEG) are resampled; none: their size, which they share
PATCH_SIZE = None  # int: pixels a side of patches to which others are cut or mirrored; none: as in the first folder
PIXEL_SIZES = ()  # float: metres a pixel of each folder, where its files do not say; 0: unknown; none: as known
SOURCE_SHARES = ()  # float: shares of the sources in an epoch; none: by the square roots of their numbers of patches
SKIP_BAD = False  # leave out unusable files and list them in config.json, instead of stopping
SPLIT_METHOD = "random"  # how to cut splits that the folder lacks; blocks: of adjoining patches, a patch apart
BLOCK_SIZE = 20  # number of adjoining patches in a block; where places are unknown, of neighbouring numbers
OWN_SPLITS = True  # keep the splits that the folder has; --no-own-splits: split all its patches anew
HOLD_OUT = ()  # events that are the test: no patch of them is learnt from
LEAVE_OUT = ()  # sources that are the test, by the names of their folders: no patch of them is learnt from
PLACES = "auto"  # event and place of patches: auto, none, landslide4sense, landslide4sense_rgb, or a table
TEST_SPLIT = "test"  # the folder's own split to hold out as test; validation: if its test split has no masks
LABELLED_FRACTION = 1.0  # share of training patches whose masks are used; the others count as unlabelled
TEACHER = None  # str: finished run whose probabilities are the targets of unlabelled patches
TEACHER_WEIGHT = 0.5  # weight of the teacher's probabilities where there is a mask; the mask has the rest
LANDSLIDE_FREE_DIRS = ()  # folders of pictures or patches of ground without landslides, without masks, of any size
LANDSLIDE_FREE_SHARE = 0.3  # their share of each training batch
LANDSLIDE_FREE_PIXEL_SIZE = 10.0  # float: metres a pixel of this ground, where its files do not say; none: unknown
AUGMENT = ("dihedral", "affine")  # of the patches, in this order; others but pixel_size, rendering: no gain measured
# ---------------------------------------------------------------------- model and loss
START_FROM = None  # str: finished run to start from: its weights, and its network in place of the one described below
FREEZE = None  # str: part of the network that does not learn; encoder: a pre-trained one
MODEL = "unet"  # network; segformer: a transformer, uses only STRIDE and DROPOUT; no gain measured
ENCODER = None  # str: pre-trained encoder of the unet; efficientnet_lite0, or a name in keras.applications: ResNet50
PIXEL_SIZE_INPUT = "auto"  # tell the network the size of a pixel; auto: if sources differ in it, or the start is told
ENLARGE = 2  # with an encoder: enlarge patches this many times before it, 1 or 2
BASE_FILTERS = 48  # filters of the first level; each level below has twice as many, up to MAX_FILTERS
MAX_FILTERS = 192  # largest number of filters of a level
DEPTH = 4  # number of halvings between the patch and the bottom of the U-Net
STEM = 2  # 2: downsample before the U-Net and add a light full-resolution level (3 times as fast); 1: plain
CONV_BLOCK = "residual"  # block of the U-Net; se: residual with squeeze and excitation
FUSION = "stack"  # how the U-Net joins dates; stack: as bands; difference, attention: after one shared encoder
STRIDE = 4  # stride of the segformer's first stage: 4, or 2 (finer, four times the work)
DROPOUT = 0.0  # share of channels dropped at the bottom of the U-Net or segformer; off: no gain measured
MULTI_SCALE_LOGITS = False  # add the logits of all decoder levels; off: no gain measured in long runs
POSITIVE_WEIGHT = 1.0  # weight of landslide pixels in the cross-entropy; 1: no gain measured from 3
# ---------------------------------------------------------------------- optimisation
EPOCHS = 120  # largest number of passes over the training split
EPOCH_STEPS = None  # int: smallest number of batches in an epoch: a smaller training split is passed over several times
PATIENCE = None  # int: epochs without a better validation Dice after which training stops; none: never
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
    "FREEZE": ("encoder",),
    "SPLIT_METHOD": splits.SPLIT_METHODS,
    "TEST_SPLIT": splits.TEST_SPLITS,
    "AUGMENT": tuple(augment.AUGMENTATIONS),
    "MODEL": ("unet", "segformer"),
    "CONV_BLOCK": ("plain", "residual", "se"),
    "FUSION": ("stack", "difference", "attention"),
    "PIXEL_SIZE_INPUT": ("auto", "on", "off"),
    "MIXED_PRECISION": ("auto", "on", "off"),
}
RANGES = {
    **{"DATES": (1, None), "SIZE": (8, None), "PATCH_SIZE": (8, None), "PIXEL_SIZES": (0, 1e4)},
    **{"SOURCE_SHARES": (0, None), "LANDSLIDE_FREE_PIXEL_SIZE": (1e-3, 1e4), "BLOCK_SIZE": (1, None)},
    **{"LABELLED_FRACTION": (0, 1), "TEACHER_WEIGHT": (0, 1), "LANDSLIDE_FREE_SHARE": (0, 0.9), "ENLARGE": (1, 2)},
    **{"BASE_FILTERS": (1, None), "MAX_FILTERS": (1, None), "DEPTH": (1, 8), "STEM": (1, 2), "DROPOUT": (0, 0.9)},
    **{"POSITIVE_WEIGHT": (0, None), "EPOCHS": (1, None), "EPOCH_STEPS": (1, None), "PATIENCE": (1, None)},
    **{"BATCH_SIZE": (1, None), "SPLIT_SEED": (0, 2**32 - 1), "SEED": (0, 2**32 - 1), "WORKERS": (0, None)},
    **{"LEARNING_RATE": (1e-12, None), "ENCODER_RATE": (0, 1), "WARMUP_EPOCHS": (0, None), "WEIGHT_DECAY": (0, None)},
}


def main():
    """Open the data, split it, build the network and fit it."""
    folder = runs.run_folder(RESULTS_DIR, RUN)
    if devices.process()[0]:
        folder = devices.scratch_folder(folder, runs.TRAINED if RESUME else ())
    with runs.training_lock(folder):
        start_or_resume(folder)


def start_or_resume(folder):
    """Train the run of a folder, or go on with it."""
    if RESUME:
        if "finished" in records.read_json(folder / "config.json", "train.py without --resume"):
            print(f"run {folder} is finished; replace it with --overwrite, or choose another --run")
            return
        runs.resume_constants(globals(), folder)
    elif (folder / "model.keras").exists() and not OVERWRITE:  # without a finished epoch nothing can be lost
        raise script.UserError(f"run {folder} exists: go on with --resume, replace it with --overwrite, or give --run")
    elif START_FROM:
        fine_tuning.start_constants(globals(), FINE_TUNING)
    check_settings()
    patches = open_data()
    landslide_free, cache_dir = None, Path(RESULTS_DIR, "cache")
    if LANDSLIDE_FREE_DIRS:
        patch_format = PatchFormat.of(patches)
        landslide_free = open_landslide_free(LANDSLIDE_FREE_DIRS, patch_format, cache_dir, LANDSLIDE_FREE_PIXEL_SIZE)
    shard = devices.DeviceShard(BATCH_SIZE)
    architecture.check_fit(constants(), patches.input_shape, patches.bands)
    prepare = run_record.resume if RESUME else run_record.begin
    assigned, teacher = prepare(folder, constants(), patches, landslide_free)
    train(folder, patches, landslide_free, assigned, teacher, shard)


def open_data():
    """Open the training data; raise UserError that says where to get some if there is none."""
    try:
        options = ReadOptions.of_constants(constants())
        patches = dataset.open_sources(
            DATA_DIR, Path(RESULTS_DIR, "cache"), BANDS, SKIP_BAD, options, PIXEL_SIZES, places_of=PLACES
        )
    except layouts.NoPatches as error:
        raise script.UserError(f"{error}\n{run_record.way_to_data(DATA_DIR[0], RESUME)}") from None
    if LANDSLIDE_FREE_DIRS and patches.dates:
        raise script.UserError("LANDSLIDE_FREE_DIRS is for single pictures and patches, not for series of dates")
    return patches


def check_settings():
    """Check that the constants fit each other, before data is read, files are written or Keras is imported."""
    for name in ("TEACHER", "START_FROM"):
        other = globals()[name]
        if other and runs.run_folder(RESULTS_DIR, other) == runs.run_folder(RESULTS_DIR, RUN):
            raise script.UserError(f"{name} {other} is the run itself: choose another --run")
    if not DATA_DIR:
        raise script.UserError("DATA_DIR names no folder of patches")
    if SOURCE_SHARES and (len(SOURCE_SHARES) != len(DATA_DIR) or not sum(SOURCE_SHARES)):
        raise script.UserError(f"{len(SOURCE_SHARES)} SOURCE_SHARES for {len(DATA_DIR)} folders: give one for each")
    if MAX_FILTERS < BASE_FILTERS:
        raise script.UserError(f"MAX_FILTERS is {MAX_FILTERS}: it must be at least BASE_FILTERS, {BASE_FILTERS}")
    if STRIDE not in (2, 4):
        raise script.UserError(f"STRIDE is {STRIDE}: it must be 2 or 4")


def train(folder, patches, landslide_free, assigned, teacher, shard):
    """Fit the model and write its record into `folder`."""
    # Keras takes seconds to import; --help and errors in the data must not wait for it.
    keras = keras_start.import_keras()
    from networks import builder
    from plots import training_curves
    from training import optimizer
    from training.calibration import calibrate
    from training.callbacks import Forecast, RunRecorder, SourceScores, feed_callback
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

    by_split = {split: (assigned == split).nonzero()[0] for split in (*layouts.SPLITS, split_table.NO_MASK)}
    sizes = ", ".join(f"{len(indices)} {split}" for split, indices in by_split.items() if len(indices))
    print(f"{folder}: {sizes} patches of {patches.input_shape}, {config['precision']} on {shard}")
    training, validation, targets, without_landslides = by_split["train"], by_split["validation"], None, ()
    if teacher:
        training, targets = np.append(training, by_split[split_table.NO_MASK]), teacher.targets(TEACHER_WEIGHT)
    if landslide_free:
        patches, without_landslides, held_out = join(patches, landslide_free, len(validation), LANDSLIDE_FREE_SHARE)
        validation = np.append(validation, held_out)
        print(f"{len(without_landslides)} landslide-free training patches, {LANDSLIDE_FREE_SHARE:.0%} of each batch")
    told = pixel_sizes.learnt_by(config) if config["pixel_size_input"] else None
    feed = PatchFeed(
        patches,
        training,
        BATCH_SIZE,
        augment=AUGMENT,
        seed=SEED,
        targets=targets,
        shard=shard,
        landslide_free=without_landslides,
        landslide_free_share=LANDSLIDE_FREE_SHARE,
        shares=config["source_shares"],
        told_sizes=told,
        least_batches=EPOCH_STEPS or 1,
        workers=WORKERS,
    )
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
            held_out_size = BATCH_SIZE // shard.parts
            validation_feed = PatchFeed(patches, validation, held_out_size, shard=shard, told_sizes=told)
            hint = architecture.smaller_network(constants())
            callbacks = [feed_callback(feed), SourceScores(validation_feed), recorder, Forecast(hint)]
            fit(model, feed, validation_feed, done, recorder, callbacks)
    kept = recorder.rows[recorder.kept_epoch]
    training_curves(recorder.rows, folder / "training_curves.png", kept["epoch"])
    runs.clear_run(folder, runs.DERIVED)  # threshold and scores belong to an earlier epoch
    kept_model = model_files.load_model(folder, to_store=True)
    if told:
        patches.pixel_sizes = pixel_sizes.known_or_usual(patches.pixel_sizes, told)
    # Recorded before the model is saved: after a kill, the resumed run calibrates a calibrated model again, and the
    # first record must stay.
    few = len(by_split["validation"]) < splits.FEW
    asked = np.append(by_split["train"], validation) if few else validation
    config.setdefault("calibration", calibrate(kept_model, patches, asked))
    records.write_json(folder / "config.json", config)
    model_files.save_model(kept_model, folder / "model.keras")
    features.write_home(folder, features.patch_features(features.feature_model(kept_model), patches, asked))
    run_record.finish(folder, config, kept["epoch"], kept_model.count_params())
    before, after = (config["calibration"][f"cross_entropy_{when}"] for when in ("before", "after"))
    print(
        f"kept: epoch {kept['epoch']} of {len(recorder.rows)}, validation Dice {kept['val_dice']:.3f} (at 0.5); "
        f"{time.monotonic() - began:.0f} s\n"
        f"calibrated: {'training and ' * few}validation cross-entropy {before:.4f} -> {after:.4f}\n"
        f"next: {runs.command('optimize_threshold.py', folder)}"
    )


def fit(model, feed, validation_feed, done, recorder, callbacks):
    """Fit a network, of which `done` epochs are finished; Ctrl-C ends the script with a line that says what is kept."""
    try:
        with script.interrupts_deferred():
            model.fit(
                feed,
                validation_data=validation_feed,
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


if __name__ == "__main__":
    script.start(main)
