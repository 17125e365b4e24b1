"""Callbacks of training: the record of every epoch, the state for a resumed run, and a forecast of the end time."""

import math
import time
from datetime import datetime, timedelta

import keras
import numpy as np

from metrics import confusion, dice
from networks.model_files import save_model
from records import atomic_write, read_csv, write_csv
from script import UserError, heed_interrupt


def feed_callback(feed):
    """Return a callback that starts each epoch of a feed.PatchFeed, and stops training after a batch on Ctrl-C."""
    heed = dict.fromkeys(("on_train_batch_end", "on_test_batch_end"), lambda batch, logs: heed_interrupt())
    return keras.callbacks.LambdaCallback(on_epoch_begin=feed.start_epoch, **heed)


class RunRecorder(keras.callbacks.Callback):
    """Callback that keeps a run folder up to date, stops early and resumes an interrupted run.

    After each epoch it writes three files in this order, each whole or not at all: `model.keras` if this is the epoch
    to keep, `history.csv`, and `last.weights.h5` (weights and optimizer state). A resumed run takes the number of
    finished epochs from the step count of the optimizer. So a kill between two writes costs at most one epoch, and the
    files still match.

    Args:
        folder: the run's folder.
        steps: batches in an epoch.
        patience: epochs without a better validation Dice after which training stops; None: never.
        keep_last: keep the model of the last epoch instead of the one with the highest validation Dice.
    """

    def __init__(self, folder, steps, patience=None, keep_last=False):
        super().__init__()
        self.folder, self.steps, self.patience, self.keep_last = folder, steps, patience, keep_last
        self.rows = []

    @property
    def kept_epoch(self):
        """Index of the epoch whose model is kept: the last, or the first with the highest validation Dice."""
        if self.keep_last:
            return len(self.rows) - 1
        scores = [row["val_dice"] for row in self.rows]
        return scores.index(max(scores))

    @property
    def finished(self):
        """Whether the run has gone `patience` epochs without a better validation Dice."""
        return bool(self.rows and self.patience and len(self.rows) - 1 - self.kept_epoch >= self.patience)

    def resume(self, model):
        """Restore weights, optimizer and history of the last complete epoch; return the number of finished epochs.

        Raises:
            UserError: the stored weights cannot be loaded into the model.
        """
        path = self.folder / "last.weights.h5"
        if not path.exists():
            return 0  # interrupted during the first epoch
        model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be loaded ({error}): start again with --overwrite") from None
        done = int(model.optimizer.iterations) // self.steps
        for layer in model.layers:
            if generator := getattr(layer, "seed_generator", None):  # dropout draws once a step; this is not stored
                generator.state.assign([int(generator.state[0]), done * self.steps])
        rows = read_csv(self.folder / "history.csv", "train.py --overwrite")
        self.rows = [{**row, "epoch": int(row["epoch"])} for row in rows[:done]]
        return done

    def on_epoch_end(self, epoch, logs=None):
        """Write the files of an epoch.

        Raises:
            UserError: the loss is not a number. The epoch is not recorded, so the best model so far stays.
        """
        if not math.isfinite(logs["loss"]):
            raise UserError(
                f"the loss is {float(logs['loss'])} in epoch {epoch + 1}, so nothing more can be learnt: start again "
                "with --overwrite and MIXED_PRECISION off or a lower LEARNING_RATE"
            )
        rate = float(self.model.optimizer.learning_rate)
        scores = {name: float(value) for name, value in logs.items() if name != "learning_rate"}
        self.rows.append({"epoch": epoch + 1, "learning_rate": rate, **scores})
        if self.kept_epoch == epoch:
            save_model(self.model, self.folder / "model.keras")
        write_csv(self.folder / "history.csv", self.rows[0], [row.values() for row in self.rows])
        with atomic_write(self.folder / "last.weights.h5") as partial:
            self.model.save_weights(partial)
        if self.finished:
            self.model.stop_training = True


class SourceScores(keras.callbacks.Callback):
    """Callback that adds the validation Dice of each source to the logs of an epoch, if there are several.

    Args:
        feed: feed.PatchFeed of the validation patches, not shuffled. Landslide-free patches belong to no source.
    """

    def __init__(self, feed):
        super().__init__()
        self.feed = feed

    def on_epoch_end(self, epoch, logs=None):
        sources, source_of = self.feed.patches.sources, self.feed.patches.source_of
        if len(sources) == 1:
            return
        counts = np.zeros((3, len(sources)))
        for i in range(len(self.feed)):
            images, masks = self.feed[i]
            predicted = np.asarray(self.model.predict_on_batch(images))[..., 0] >= 0.5
            of_source = self.feed.dealt[i] < len(source_of)
            own = source_of[self.feed.dealt[i][of_source]]
            for total, count in zip(counts, confusion(masks[..., 0], predicted)[:3], strict=True):
                total += np.bincount(own, count[of_source], len(sources))
        for name, tp, fp, fn in zip(sources, *counts, strict=True):
            if tp + fn:
                logs[f"val_dice_{name}"] = float(dice(tp, fp, fn))


class Forecast(keras.callbacks.Callback):
    """Callback that prints, after the first trained epoch, when training will end and how long its first step took.

    Args:
        hint: a further line, printed if the end is more than an hour away; "" for none.
    """

    def __init__(self, hint=""):
        super().__init__()
        self.hint, self.entered, self.began, self.printed = hint, None, None, False

    def on_epoch_begin(self, epoch, logs=None):
        self.entered = self.entered or time.monotonic()
        if self.params["steps"] == 1:
            self.began = self.entered

    def on_train_batch_end(self, batch, logs=None):
        if self.began is None:  # after the first step, which also compiles the network
            self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        left = self.params["epochs"] - epoch - 1
        if self.printed or not left:
            return
        self.printed = True
        steps = self.params["steps"]
        took = (time.monotonic() - self.began) * steps / max(steps - 1, 1)
        end = datetime.now() + timedelta(seconds=took * left)
        print(
            f"{duration(took)} an epoch: {left} more take {duration(took * left)}, until {end:%H:%M}"
            + (f"; compiling took {duration(self.began - self.entered)}" if self.began > self.entered else "")
        )
        if self.hint and took * left > 3600:
            print(self.hint)


def duration(seconds):
    """Format a time as 44 s, 12 min or 1 h 27 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
