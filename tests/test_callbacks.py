"""The forecast of the training time, and the end of a training that has diverged."""

import keras
import numpy as np
import pytest

import train
from networks import architecture
from script import UserError
from training import callbacks


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (99, "99 s"), (101, "2 min"), (3570, "1 h 0 min"), (5220, "1 h 27 min")]
)
def test_durations_are_in_words(seconds, text):
    assert callbacks.duration(seconds) == text


@pytest.mark.parametrize(
    ("took", "first", "printed"),
    [
        (10, 0, "10 s an epoch: 9 more take 90 s, until "),
        (10, 4, "10 s an epoch: 5 more take 50 s, until "),  # a resumed run
        (3000, 0, "50 min an epoch: 9 more take 7 h 30 min, until "),
        (10, 9, ""),  # the last epoch
    ],
)
def test_the_first_epoch_tells_when_the_last_will_end(monkeypatch, capsys, took, first, printed):
    now = 1000.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    forecast = callbacks.Forecast("a hint")
    forecast.set_params({"epochs": 10, "steps": 2})
    for epoch in range(first, 10):
        forecast.on_epoch_begin(epoch)
        for batch in range(2):
            now += took / 2 if batch or epoch > first else 60  # the first step compiles
            forecast.on_train_batch_end(batch)
        forecast.on_epoch_end(epoch)
    output = capsys.readouterr().out
    assert output.startswith(printed) and output.count("an epoch") == bool(printed)
    assert ("a hint" in output) == (took == 3000)
    assert ("; compiling took 60 s\n" in output) == bool(printed)


def test_an_epoch_of_one_step_is_timed_as_a_whole(monkeypatch, capsys):
    now = 1000.0
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now)
    forecast = callbacks.Forecast()
    forecast.set_params({"epochs": 2, "steps": 1})
    forecast.on_epoch_begin(0)
    now += 50
    forecast.on_train_batch_end(0)
    forecast.on_epoch_end(0)
    output = capsys.readouterr().out
    assert output.startswith("50 s an epoch: 1 more take 50 s") and "compiling" not in output


def test_the_smaller_network_is_named_where_there_is_no_bfloat16(monkeypatch):
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", "1")
    assert architecture.smaller_network(train.constants()) == ""
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", "0")
    assert "--base-filters 24 --max-filters 96" in architecture.smaller_network(train.constants())
    with monkeypatch.context() as patch:  # a GPU under JAX: float32, but fast
        patch.setattr(keras.distribution, "list_devices", lambda: ["gpu:0"])
        assert architecture.smaller_network(train.constants()) == ""
    monkeypatch.setattr(train, "BASE_FILTERS", 24)
    assert architecture.smaller_network(train.constants()) == ""


def test_a_loss_that_is_no_number_ends_the_training_and_writes_nothing(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    values = np.array([[1.0], [np.nan]])
    with pytest.raises(UserError, match="the loss is nan in epoch 1"):
        model.fit(values, values, epochs=3, verbose=0, callbacks=[callbacks.RunRecorder(tmp_path, 1)])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("keep_last", "kept"), [(False, 1), (True, 2)])
def test_the_epoch_to_keep_is_the_best_or_the_last(tmp_path, keep_last, kept):
    recorder = callbacks.RunRecorder(tmp_path, 1, keep_last=keep_last)
    recorder.rows = [{"val_dice": dice} for dice in (0.2, 0.7, 0.5)]
    assert recorder.kept_epoch == kept
