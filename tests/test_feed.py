"""Batches: seeded, complete and the same for any number of workers; image and mask move together."""

import keras
import numpy as np
import pytest

import augment
import dataset
from networks.inference import predict
from training.feed import PatchFeed


@pytest.fixture
def patches(flat):
    return dataset.open_patches(flat, flat.parent / "cache")


def batches(feed, epoch):
    feed.start_epoch(epoch)
    return [feed[i] for i in range(len(feed))]


def test_every_patch_comes_once_and_batches_are_even(patches):
    feed = PatchFeed(patches, np.arange(17), 8, seed=3)
    sizes = [len(images) for images, _ in batches(feed, 0)]
    assert sizes == [6, 6, 5]
    assert sorted(np.concatenate(feed.dealt)) == list(range(17))


def test_batches_depend_on_seed_and_epoch_only(patches):
    feed = PatchFeed(patches, np.arange(20), 8, ("flips",), seed=3)
    first, second = batches(feed, 0), batches(feed, 1)
    again = batches(PatchFeed(patches, np.arange(20), 8, ("flips",), seed=3), 1)
    assert (first[0][0] != second[0][0]).any()
    for (images, masks), (images_again, masks_again) in zip(second, again, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(masks, masks_again)


@pytest.mark.parametrize("workers", [1, 4])
def test_fit_sees_the_same_batches_for_any_number_of_workers(patches, workers):
    """The loss and the weights after each batch show what `fit` feeds the network in three epochs."""

    def seen(workers):
        sums = []

        class Recorder(keras.layers.Layer):
            def call(self, x):
                return x

        feed = PatchFeed(patches, np.arange(20), 8, ("dihedral",), seed=3, workers=workers)
        inputs = keras.Input((32, 32, 14))
        model = keras.Model(inputs, keras.layers.Conv2D(1, 1, kernel_initializer="zeros")(Recorder()(inputs)))
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        note = keras.callbacks.LambdaCallback(
            on_epoch_begin=feed.start_epoch,
            on_train_batch_end=lambda batch, logs: sums.append((batch, logs["loss"], *model.get_weights()[0].ravel())),
        )
        model.fit(feed, epochs=3, shuffle=False, verbose=0, callbacks=[note])
        return np.array(sums)

    np.testing.assert_allclose(seen(workers), seen(0), rtol=1e-5)


def test_feed_without_seed_keeps_order_and_pixels(patches):
    feed = PatchFeed(patches, [4, 2, 9], 2, ("flips",))
    images = np.concatenate([images for images, _ in batches(feed, 5)])
    masks = np.concatenate([masks for _, masks in batches(feed, 5)])
    np.testing.assert_array_equal(images, patches.read([4, 2, 9]))
    np.testing.assert_array_equal(masks[..., 0], patches.read_masks([4, 2, 9]))
    assert images.dtype == masks.dtype == np.float32


@pytest.mark.parametrize(("name", "forms"), [("flips", 4), ("dihedral", 8)])
def test_augmentations_move_image_and_mask_alike_and_reach_every_form(name, forms):
    rng = np.random.default_rng(0)
    masks = np.tile(np.arange(9).reshape(1, 3, 3), (800, 1, 1))
    images = np.stack([masks, 2 * masks], axis=-1)
    moved_images, moved_masks = augment.AUGMENTATIONS[name](images, masks, rng)
    np.testing.assert_array_equal(moved_images[..., 0], moved_masks)
    np.testing.assert_array_equal(moved_images[..., 1], 2 * moved_masks)
    seen, count = np.unique(moved_masks.reshape(800, 9), axis=0, return_counts=True)
    turned = [np.rot90(masks[0], k) for k in range(4)] + [np.fliplr(np.rot90(masks[0], k)) for k in range(4)]
    assert len(seen) == forms
    assert {tuple(orientation) for orientation in seen} <= {tuple(orientation.ravel()) for orientation in turned}
    assert abs(count - 800 / forms).max() < 5 * np.sqrt(800 / forms)  # equally likely
    assert (masks[0] == np.arange(9).reshape(3, 3)).all()  # the arrays themselves are not changed


def test_quarter_turns_need_squares():
    with pytest.raises(ValueError, match="square patches"):
        augment.dihedral(np.zeros((1, 4, 6, 2)), np.zeros((1, 4, 6)), np.random.default_rng(0))


def test_predict_covers_all_indices_in_order(patches):
    inputs = keras.Input((32, 32, 14))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x[..., :1])(inputs))
    indices, images, probabilities = zip(*predict(model, patches, np.arange(3, 20), 8), strict=True)
    np.testing.assert_array_equal(np.concatenate(indices), np.arange(3, 20))
    np.testing.assert_array_equal(np.concatenate(probabilities), np.concatenate(images)[..., 0])
