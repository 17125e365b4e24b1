"""What accompanies training: the record of every epoch, all that a resumed run needs, and when it will be done."""

import time
from datetime import datetime, timedelta

import keras

from model_files import save_model
from records import atomic_write, read_csv, write_csv
from script import UserError


class RunRecorder(keras.callbacks.Callback):
    """Keep a run folder up to date, stop early, and pick up where a run was cut off.

    After each epoch it writes, in this order and each file whole or not at all: `model.keras` if validation Dice
    has risen, `history.csv`, and `last.weights.h5` (weights and optimizer state). The optimizer's step count says
    how many epochs the last file stands for, so a kill between two writes costs at most the epoch, never the
    agreement of the three.

    Args:
        folder: the run's folder.
        steps: batches in an epoch.
        patience: epochs without a better validation Dice after which training stops; 0 never stops.
    """

    def __init__(self, folder, steps, patience=0):
        super().__init__()
        self.folder, self.steps, self.patience = folder, steps, patience
        self.rows = []

    @property
    def best_epoch(self):
        """Index of the row with the highest validation Dice, the first of equals."""
        scores = [row["val_dice"] for row in self.rows]
        return scores.index(max(scores))

    @property
    def finished(self):
        """Whether the run has gone `patience` epochs without a better validation Dice."""
        return bool(self.rows and self.patience and len(self.rows) - 1 - self.best_epoch >= self.patience)

    def resume(self, model):
        """Restore weights, optimizer and history of the last whole epoch; returns the number of epochs done."""
        path = self.folder / "last.weights.h5"
        if not path.exists():
            return 0  # cut off within the first epoch
        model.optimizer.build(model.trainable_variables)
        try:
            model.load_weights(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} does not fit ({error}): start again with --overwrite") from None
        done = int(model.optimizer.iterations) // self.steps
        for layer in model.layers:
            if generator := getattr(layer, "seed_generator", None):  # of dropout: one draw a step, and none is stored
                generator.state.assign([int(generator.state[0]), done * self.steps])
        rows = read_csv(self.folder / "history.csv", "train.py --overwrite")
        self.rows = [{**row, "epoch": int(row["epoch"])} for row in rows[:done]]
        return done

    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate)
        scores = {name: float(value) for name, value in logs.items() if name != "learning_rate"}
        self.rows.append({"epoch": epoch + 1, "learning_rate": rate, **scores})
        if self.best_epoch == epoch:
            save_model(self.model, self.folder / "model.keras")
        write_csv(self.folder / "history.csv", self.rows[0], [row.values() for row in self.rows])
        with atomic_write(self.folder / "last.weights.h5") as partial:
            self.model.save_weights(partial)
        if self.finished:
            self.model.stop_training = True


class Forecast(keras.callbacks.Callback):
    """Print, after the first epoch that is trained, when training will be done at the latest.

    Args:
        hint: a further line, printed where that is more than an hour away; "" for none.
    """

    def __init__(self, hint=""):
        super().__init__()
        self.hint, self.began, self.told = hint, None, False

    def on_train_batch_end(self, batch, logs=None):
        if self.began is None:  # the first step also compiles the network
            self.began = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        left = self.params["epochs"] - epoch - 1
        if self.told or not left:
            return
        self.told = True
        took = time.monotonic() - self.began
        end = datetime.now() + timedelta(seconds=took * left)
        print(f"{duration(took)} an epoch: {left} more take {duration(took * left)}, until {end:%H:%M}")
        if self.hint and took * left > 3600:
            print(self.hint)


def duration(seconds):
    """Write a time as 44 s, 12 min or 1 h 27 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
