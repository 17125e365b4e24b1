"""Batches of packed patches for Keras: seeded, augmented, and the same for any number of workers."""

import keras
import numpy as np

from augment import AUGMENTATIONS
from bands import optical_bands
from patches import pixel_sizes

UNTOLD = 0.1  # share of the patches of known pixel size whose size is drawn at random, as if it were unknown


class PatchFeed(keras.utils.PyDataset):
    """Batches of some patches: (images B x H x W x bands, masks B x H x W x 1), both float32.

    The content of batch i of epoch e depends only on seed, e and i. Workers may therefore make batches in any order,
    and a resumed run sees the same batches as an uninterrupted one. Pass `shuffle=False` to `fit`, because the feed
    shuffles, and Keras would shuffle batches with an unseeded generator. Pass `start_epoch` as a callback:

        model.fit(feed, shuffle=False, callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=feed.start_epoch)])

    Batch sizes differ by at most one patch: no patch is dropped, and no small last batch disturbs the batch
    normalisation.

    Args:
        patches: packing.Patches. indices: positions of the patches to use.
        batch_size: patches in a batch, at most.
        augment: names from augment.AUGMENTATIONS, applied in order.
        seed: of order and augmentation; None keeps the order of `indices` and does not augment.
        targets: N x H x W uint8 that replace the masks of the first N patches, 255 for certain landslide, see
            teacher.Teacher.targets.
        landslide_free: positions of landslide-free patches; a new random selection is added to every shuffled batch.
        landslide_free_share: share of landslide-free patches in a batch.
        shares: share of each source (see sources.Sources) among the patches of an epoch; (): every patch comes once. Of
            a source with a larger share than its patches have, patches come several times, of one with a smaller
            share a new random selection in every epoch.
        told_sizes: pixel_sizes.LearntSizes, for a network that is told the size of a pixel by a plane behind the bands.
            In training it is drawn at random within their range for patches of unknown size and for UNTOLD of the
            others. None: without the plane.
        least_batches: number of batches in an epoch, at least. A smaller split is passed over several times, each time
            in another order.
        shard: devices.DeviceShard, for training on several devices. Each device takes an equal part of a shuffled
            batch, and each process augments its own parts. Batch sizes then differ by at most one patch a device, and
            a few patches occur twice if the number of devices does not divide theirs. Without shuffling every device
            sees the whole batch: pooled scores do not change when all counts are multiplied.
        workers, ...: see keras.utils.PyDataset.
    """

    def __init__(
        self,
        patches,
        indices,
        batch_size,
        augment=(),
        seed=None,
        targets=None,
        shard=None,
        landslide_free=(),
        landslide_free_share=0.0,
        shares=(),
        told_sizes=None,
        least_batches=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.patches = patches
        self.indices = np.asarray(indices)
        self.augmentations = [AUGMENTATIONS[name] for name in augment]
        self.optical_bands = optical_bands(patches.bands, told_sizes is not None)
        self.seed = seed
        self.shares, self.told_sizes = shares, told_sizes
        self.targets = targets
        self.parts, self.mine = (shard.parts, shard.mine) if shard else (1, slice(0, 1))
        self.landslide_free = np.asarray(landslide_free)
        part_size = batch_size // self.parts
        in_part = min(round(landslide_free_share * part_size), part_size - 1) if len(self.landslide_free) else 0
        self.landslide_free_count = in_part * self.parts  # of a batch
        self.batches = -(-len(self.indices) // (batch_size - self.landslide_free_count))  # of a pass
        self.passes = -(-max(least_batches, 1) // self.batches)
        self.start_epoch(0)

    def __len__(self):
        return self.batches * self.passes

    def start_epoch(self, epoch, logs=None):
        """Distribute the patches over the batches of an epoch, counted from 0."""
        self.epoch = epoch
        if self.seed is None:
            copies = self.mine.stop - self.mine.start
            self.dealt = [np.tile(batch, copies) for batch in np.array_split(self.indices, self.batches)]
        else:
            numbers = range(epoch * self.passes, (epoch + 1) * self.passes)
            self.dealt = [batch for number in numbers for batch in self.deal(number)]

    def deal(self, number):
        """Distribute the patches over the batches of a pass, counted from 0 over all epochs; return their positions."""
        rng = np.random.default_rng([self.seed, number])
        order = rng.permutation(self.drawn(rng) if len(self.shares) else self.indices)
        rows = np.resize(order, (-(-len(order) // self.parts), self.parts))
        dealt = [batch.reshape(self.parts, -1)[self.mine].ravel() for batch in np.array_split(rows, self.batches)]
        if self.landslide_free_count:
            order = np.random.default_rng([self.seed, number, 1]).permutation(self.landslide_free)
            rows = np.resize(order, (self.batches, self.parts, self.landslide_free_count // self.parts))
            dealt = [np.append(batch, row[self.mine]) for batch, row in zip(dealt, rows, strict=True)]
        return dealt

    def drawn(self, rng):
        """Draw the patches of a pass from each source by its share: as many as there are, in all."""
        source_of, drawn = self.patches.source_of[self.indices], []
        for source, share in enumerate(self.shares):
            own = self.indices[source_of == source]
            count = round(share * len(self.indices)) if len(own) else 0
            rounds = [rng.permutation(own) for _ in range(-(-count // max(len(own), 1)))]
            drawn.extend(np.concatenate(rounds)[:count] if rounds else ())
        return np.resize(np.array(drawn, int), len(self.indices))  # rounding may leave a patch too few or too many

    def __getitem__(self, i):
        images = self.patches.read(self.dealt[i])
        if self.told_sizes:
            images = pixel_sizes.with_plane(images, self.sizes(i))
        masks = self.patches.read_masks(self.dealt[i])
        if self.targets is not None:
            has_target = self.dealt[i] < len(self.targets)
            masks = masks.astype(np.float32)
            masks[has_target] = self.targets[self.dealt[i][has_target]] / np.float32(255)
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, self.epoch, i, self.mine.start])
            for augmentation in self.augmentations:
                images, masks = augmentation(images, masks, rng, self.optical_bands)
        return images, masks[..., None].astype(np.float32)

    def sizes(self, i):
        """Return the size of a pixel that the network is told of each patch of a batch, in metres."""
        sizes = pixel_sizes.known_or_usual(self.patches.pixel_sizes[self.dealt[i]], self.told_sizes)
        if self.seed is None:
            return sizes
        rng = np.random.default_rng([self.seed, self.epoch, i, self.mine.start, 1])
        unknown = np.isnan(self.patches.pixel_sizes[self.dealt[i]]) | (rng.random(len(sizes)) < UNTOLD)
        return np.where(unknown, np.exp(rng.uniform(*np.log(self.told_sizes[:2]), len(sizes))), sizes)
