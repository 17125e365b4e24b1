"""Augmentations: image and mask move together, terrain keeps its values, and inputs are not changed."""

import numpy as np
import pytest
from scipy import ndimage

import augment
from bands import BANDS_RGB, optical_bands

BANDS = optical_bands((*BANDS_RGB, "slope", "dem"))


@pytest.fixture
def batch():
    """Make eight patches whose first band is the mask and whose last two bands stand for slope and elevation."""
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
    images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(1), BANDS)
    assert images.shape == batch[0].shape and images.dtype == np.float32
    assert masks.shape == batch[1].shape
    assert (images != batch[0]).any()
    for array, kept in zip(batch, before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("name", ["flips", "dihedral", "cutmix", "mixup"])
def test_mask_follows_the_image(batch, name):
    images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(1), BANDS)
    np.testing.assert_allclose(images[..., 0], masks, atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_resampling_is_that_of_scipy(size):
    """Images are resampled linearly, masks by the nearest pixel; edges are mirrored, also far outside."""
    rng = np.random.default_rng(0)
    image, mask = rng.random((*size, 3)).astype(np.float32), rng.integers(0, 2, size, np.uint8)
    source = np.indices(size) + rng.uniform(-60, 60, (2, *size))
    moved, moved_mask = augment._resample(image, mask, source.astype(np.float32))
    for band in range(3):
        expected = ndimage.map_coordinates(image[..., band], source, order=1, mode="mirror")
        np.testing.assert_allclose(moved[..., band], expected, atol=1e-4)
    assert (moved_mask == ndimage.map_coordinates(mask, source, order=0, mode="mirror")).mean() > 0.999


@pytest.mark.parametrize("name", ["affine", "elastic"])
def test_what_moves_pixels_moves_image_and_mask_alike(batch, name):
    images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(1), fraction=1.0)
    assert set(np.unique(masks)) == {0, 1}
    assert ((images[..., 0] > 0.5) == masks).mean() > 0.97  # linear for the image, nearest for the mask
    assert 0.4 < masks.sum() / batch[1].sum() < 2.5


def test_copied_landslides_bring_their_own_pixels(batch):
    images, masks = augment.copy_paste(*batch, np.random.default_rng(1), fraction=1.0)
    np.testing.assert_array_equal(images[..., 0], masks)
    assert (masks >= batch[1]).all() and masks.sum() > batch[1].sum()


@pytest.mark.parametrize("name", ["colour", "noise", "band_dropout", "haze", "shadow"])
def test_photometric_changes_leave_terrain_alone(batch, name):
    changed = np.zeros(8, bool)
    for seed in range(10):
        images, masks = augment.AUGMENTATIONS[name](*batch, np.random.default_rng(seed), [0, 1, 2])
        np.testing.assert_array_equal(images[..., 3:], batch[0][..., 3:])
        np.testing.assert_array_equal(masks, batch[1])
        changed |= (images[..., :3] != batch[0][..., :3]).any((1, 2, 3))
    assert changed.all()


def test_a_dropped_band_is_flat_and_the_others_stay(batch):
    images, _ = augment.band_dropout(*batch, np.random.default_rng(1), [0, 1, 2], fraction=1.0)
    flat = np.ptp(images, (1, 2)) == 0
    assert (flat.sum(1) == 1).all() and len(set(flat.argmax(1))) == 3
    for band in range(3):
        np.testing.assert_allclose(images[flat[:, band], 0, 0, band], batch[0][..., band].mean(), rtol=1e-4)
    np.testing.assert_array_equal(images[~flat.any(1)], batch[0][~flat.any(1)])


def test_haze_brightens_and_flattens_and_shadow_darkens_a_part(batch):
    before = batch[0][..., 1:3]
    hazy = augment.haze(*batch, np.random.default_rng(1), [1, 2], fraction=1.0)[0][..., 1:3]
    assert (hazy.std((1, 2)) < before.std((1, 2))).all() and (hazy.mean((1, 2)) > before.mean((1, 2))).all()
    dark = augment.shadow(*batch, np.random.default_rng(1), [1, 2], fraction=1.0)[0][..., 1:3]
    assert (dark <= before).all()
    assert (dark >= 0.3 * before).all()
    assert ((dark < 0.85 * before).mean((1, 2)) > 0.02).all() and ((dark == before).mean((1, 2)) > 0.1).all()


def test_colour_changes_brightness_and_contrast_within_its_limits(batch):
    images, _ = augment.colour(*batch, np.random.default_rng(1), [1, 2])
    gain = images[..., 1:3].mean((1, 2)) / batch[0][..., 1:3].mean((1, 2))
    assert gain.min() >= 0.85 * 0.95 and gain.max() <= 1.15 * 1.05 and gain.std() > 0.02
    contrast = images[..., 1:3].std((1, 2)) / batch[0][..., 1:3].std((1, 2)) / gain
    assert contrast.min() > 0.79 and contrast.max() < 1.21 and contrast.std() > 0.02
