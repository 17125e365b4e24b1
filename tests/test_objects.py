"""Landslides as objects: counted by hand and compared with SciPy's labels."""

import numpy as np
import pytest
from scipy import ndimage

import metrics
from scores import objects


def test_each_landslide_is_found_missed_or_false():
    mask, called = np.zeros((2, 12, 12), int)
    mask[0:3, 0:3] = 1  # nine pixels: six are detected, and two next to it are false alarms
    called[0:3, 1:3], called[0, 3], called[4, 1] = 1, 1, 0
    called[3, 2] = 1
    mask[6, 6] = mask[7, 7] = 1  # touching at a corner: one landslide of two pixels, missed
    called[10:12, 10:12] = 1  # a false object
    assert objects.match_objects(mask, called) == [
        {"pixels": 9, "tp": 6, "fn": 3, "fp": 2},
        {"pixels": 2, "tp": 0, "fn": 2, "fp": 0},
        {"pixels": 0, "tp": 0, "fn": 0, "fp": 4},
    ]


def test_false_alarm_is_charged_to_the_landslide_that_is_overlapped_most():
    mask, called = np.zeros((2, 1, 12), int)
    mask[0, 0:2] = mask[0, 5:9] = 1
    called[0, 1:9] = 1  # joins both landslides over three false pixels
    assert objects.match_objects(mask, called) == [
        {"pixels": 2, "tp": 1, "fn": 1, "fp": 0},
        {"pixels": 4, "tp": 4, "fn": 0, "fp": 3},
    ]


def test_nothing_labelled_and_nothing_called():
    empty = np.zeros((4, 4), bool)
    assert objects.match_objects(empty, empty) == []
    table = objects.by_size([])
    assert [row["objects"] for row in table] == [0] * len(objects.SIZES)
    assert table[0]["dice"] is None


def test_counts_add_up_to_those_of_the_pixels():
    rng = np.random.default_rng(0)
    masks, called = (ndimage.gaussian_filter(rng.random((2, 20, 64, 64)), (0, 0, 2, 2)) > 0.53).astype(bool)
    outlined = [entry for pair in zip(masks, called, strict=True) for entry in objects.match_objects(*pair)]
    tp, fp, fn, _ = (counts.sum() for counts in metrics.confusion(masks, called))
    assert [sum(o[key] for o in outlined) for key in ("tp", "fp", "fn")] == [tp, fp, fn]
    sizes = [ndimage.label(mask, np.ones((3, 3)))[1] for mask in masks]
    table = objects.by_size(outlined)
    assert sum(row["objects"] for row in table) == sum(sizes)
    assert sum(row["objects"] for row in table[:2]) == sum(0 < o["pixels"] < 30 for o in outlined)
    assert sum(row["false_objects"] for row in table) == sum(o["pixels"] == 0 for o in outlined)
    medium = [o for o in outlined if 30 <= o["pixels"] < 100]
    assert table[2]["detected"] == pytest.approx(np.mean([o["tp"] >= o["pixels"] / 2 for o in medium]))
