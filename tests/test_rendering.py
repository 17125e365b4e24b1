"""Renderings: against formulas, Pillow and NumPy; terrain and masks stay; values stay in the range of a file."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import rendering
from bands import BANDS_L4S, BANDS_RGB, SCALE_L4S, optical_bands

NAMES = ("tilt", "stretched", "gain", "airlight", "gamma", "compression", "rendering")


def crops(count=8):
    """Cut pictures of 64 x 64 pixels out of a photograph, as float32, and make empty masks."""
    photograph = load_sample_image("china.jpg").astype(np.float32)
    images = np.stack([photograph[30 * i : 30 * i + 64, 60 * i : 60 * i + 64] for i in range(count)])
    return images, np.zeros(images.shape[:3], np.uint8)


def test_wavelengths_come_from_names():
    assert optical_bands(BANDS_RGB).wavelengths.tolist() == [665, 560, 490]
    bands = optical_bands(BANDS_L4S)
    assert bands == list(range(12)) and bands.wavelengths[[0, 3, 11]].tolist() == [443, 665, 2190]
    assert optical_bands(("B04 after", "B08 after", "slope")).wavelengths.tolist() == [665, 842]
    assert optical_bands(tuple("0123")).wavelengths.tolist() == [665, 560, 490, 842]


@pytest.mark.parametrize("name", NAMES)
def test_a_rendering_keeps_terrain_and_range(name):
    images, masks = crops()
    images = np.concatenate([images, np.full((*images.shape[:3], 1), 900, np.float32)], -1)
    before = images.copy()
    bands = optical_bands((*BANDS_RGB, "dem"))
    rendered, _ = getattr(rendering, name)(images, masks, np.random.default_rng(0), bands)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(rendered[..., 3], images[..., 3])
    light = rendered[..., :3]
    assert light.min() >= 0 and light.max() <= images[..., :3].max()
    assert (light != images[..., :3]).any() and rendered.dtype == np.float32


def test_tilt_spans_the_stretches_of_landslide4sense_and_eurosat():
    """The two stretches differ by one factor for each band, which tilt reaches up to a common factor."""
    expected = np.array([SCALE_L4S[BANDS_L4S.index(band)] for band in ("B4", "B3", "B2")])
    expected = np.log(expected / expected[1])
    images = np.full((400, 4, 4, 3), 10, np.float32)
    images[0] = 255  # leaves room, so that nothing is cut off
    rendered, _ = rendering.tilt(
        images, images[..., 0], np.random.default_rng(0), optical_bands(BANDS_RGB), fraction=1.0
    )
    reached = np.log(rendered[1:, 0, 0] / rendered[1:, 0, 0, 1:2])
    assert np.abs(reached - expected).max(1).min() < 0.1
    assert np.abs(reached + expected).max(1).min() < 0.1


def test_a_full_stretch_is_that_of_a_viewer():
    image = crops()[0][5]
    rendered = rendering.stretch(image, 255)
    low, high = np.percentile(image, [2, 98], axis=(0, 1))
    np.testing.assert_allclose(rendered, (image - low) / (high - low) * 255, atol=1e-3)
    np.testing.assert_array_equal(rendering.stretch(image, 255, strength=0), image)
    even = np.full((8, 8, 3), 7.0) + np.random.default_rng(0).normal(0, 0.1, (8, 8, 3))
    assert np.ptp(rendering.stretch(even, 255)) < 25  # noise on still water is not blown up


def test_compressed_is_what_pillow_writes():
    picture = crops()[0][0].astype(np.uint8)
    for kind in ("JPEG", "WEBP"):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, quality=60)
        expected = np.asarray(Image.open(io.BytesIO(file.getvalue())))
        np.testing.assert_array_equal(rendering.compressed(picture, kind, 60), expected)


def test_airlight_changes_blue_most_and_never_leaves_a_band_dark():
    images, masks = crops()
    rendered, _ = rendering.airlight(images, masks, np.random.default_rng(1), optical_bands(BANDS_RGB), fraction=1.0)
    middle = np.s_[:, 8:-8, 8:-8]
    change = np.median((rendered - images)[middle], axis=(1, 2))
    unclipped = np.abs(change[:, 2]) > 1
    ratio = change[unclipped] / change[unclipped, 2:]
    assert ((ratio[:, 0] <= ratio[:, 1] + 0.05) | (change[unclipped, 2] < 0)).all()
    assert (rendered.max((1, 2)) > 0).all()


def test_without_light_nothing_changes():
    images, masks = np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8), np.uint8)
    for name in NAMES:
        rendered, _ = getattr(rendering, name)(images, masks, np.random.default_rng(0), optical_bands(BANDS_RGB))
        np.testing.assert_array_equal(rendered, images)
