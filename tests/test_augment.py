"""Augmentations: image and mask stay together, terrain keeps its values, and nothing given is changed."""

import numpy as np
import pytest

import augment


@pytest.fixture
def batch():
    """Eight patches whose first band is the mask itself, and whose last two stand for slope and elevation."""
    rng = np.random.default_rng(0)
    masks = np.zeros((8, 32, 32), np.uint8)
    for mask in masks:
        top, left = rng.integers(0, 20, 2)
        mask[top : top + 9, left : left + 6] = 1
    images = rng.random((8, 32, 32, 5)).astype(np.float32)
    images[..., 0] = masks
    return images, masks


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_every_augmentation_keeps_shapes_and_what_it_was_given(batch, name):
    before = [array.copy() for array in batch]
    images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(1), [0, 1, 2])
    assert images.shape == batch[0].shape and images.dtype == np.float32
    assert masks.shape == batch[1].shape
    assert (images != batch[0]).any()
    for array, kept in zip(batch, before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("name", ["flips", "dihedral", "cutmix", "mixup"])
def test_mask_follows_the_image(batch, name):
    images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(1), [0, 1, 2])
    np.testing.assert_allclose(images[..., 0], masks, atol=1e-6)


def test_affine_moves_image_and_mask_alike(batch):
    images, masks = augment.affine(*batch, np.random.default_rng(1), share=1.0)
    assert set(np.unique(masks)) == {0, 1}
    assert ((images[..., 0] > 0.5) == masks).mean() > 0.97  # resampled linearly, and by the nearest
    assert 0.4 < masks.sum() / batch[1].sum() < 2.5


def test_copied_landslides_bring_their_own_pixels(batch):
    images, masks = augment.copy_paste(*batch, np.random.default_rng(1), share=1.0)
    np.testing.assert_array_equal(images[..., 0], masks)
    assert (masks >= batch[1]).all() and masks.sum() > batch[1].sum()


@pytest.mark.parametrize("name", ["colour", "noise"])
def test_photometric_changes_leave_terrain_alone(batch, name):
    images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(1), [0, 1, 2])
    np.testing.assert_array_equal(images[..., 3:], batch[0][..., 3:])
    np.testing.assert_array_equal(masks, batch[1])
    assert (images[..., 1] != batch[0][..., 1]).any((1, 2)).all()


def test_colour_changes_brightness_and_contrast_within_its_limits(batch):
    images, _ = augment.colour(*batch, np.random.default_rng(1), [1, 2])
    gain = images[..., 1:3].mean((1, 2)) / batch[0][..., 1:3].mean((1, 2))
    assert gain.min() >= 0.85 * 0.95 and gain.max() <= 1.15 * 1.05 and gain.std() > 0.02
    contrast = images[..., 1:3].std((1, 2)) / batch[0][..., 1:3].std((1, 2)) / gain
    assert contrast.min() > 0.79 and contrast.max() < 1.21 and contrast.std() > 0.02
