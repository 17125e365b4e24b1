"""The forecast of the training time."""

import pytest

import callbacks
import train


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
    forecast.set_params({"epochs": 10})
    for epoch in range(first, 10):
        for batch in range(2):
            forecast.on_train_batch_end(batch)
        now += took
        forecast.on_epoch_end(epoch)
    output = capsys.readouterr().out
    assert output.startswith(printed) and output.count("an epoch") == bool(printed)
    assert ("a hint" in output) == (took == 3000)


def test_the_smaller_network_is_named_where_there_is_no_bfloat16(monkeypatch):
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", "1")
    assert train.smaller_network() == ""
    monkeypatch.setenv("LANDSLIDE_BFLOAT16", "0")
    assert "--base-filters 24 --max-filters 96" in train.smaller_network()
    monkeypatch.setattr(train, "BASE_FILTERS", 24)
    assert train.smaller_network() == ""
