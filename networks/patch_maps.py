"""Masks of patches of any size, as HDF5 and, of pictures, as PNG."""

import functools
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bands import matching_bands, renamed
from map_files import check_targets
from mask_values import UNLABELLED
from networks import engines, image_sizes
from networks.inference import probabilities
from networks.threads import BackgroundWriter, prefetch
from networks.tiles import predict_picture
from patches import image_files, layouts, reading, resizing
from patches.pixel_sizes import learnt_by, with_plane
from patches.usual_values import MOST_COMPARED, check_unit, distance_of_patches, mean_and_variance
from records import write_bytes
from script import UserError, note, progress, warn

LARGEST = 2048  # pixels a side: larger pictures are mapped as scenes, in tiles
GREYS = {0: 0, 1: 255, UNLABELLED: 128}  # values of a mask in a PNG; the last is transparent


@dataclass(frozen=True)
class PatchSettings:
    """How patches are mapped; see the constants of predict.py. probabilities: whether these are written, too."""

    threshold: float
    tta: bool
    batch_size: int
    probabilities: bool
    pixel_size: float | None
    engine: str


def map_patches(run, paths, settings, out_dir, metadata, overwrite=False):
    """Write mask_N.h5 for every patch, and mask_N.png of pictures; a folder with splits gets a folder for each.

    Args:
        run: runs.Run. paths: of patches, or of one folder of them. settings: PatchSettings. out_dir: of the masks.
        metadata: {name: text} written into the HDF5 files. overwrite: replace masks of the same name.

    Returns:
        the number of patches.

    Raises:
        UserError: a patch cannot be read or does not fit the run, or masks exist. Of the first patch, what is wrong is
            found before Keras is loaded.
    """
    entries = list_patches(paths)
    targets = [out_dir / entry.split / f"mask_{entry.number}.h5" for entry in entries]
    pictures = [target.with_suffix(".png") for target, entry in zip(targets, entries, strict=True) if is_picture(entry)]
    check_targets([*targets, *pictures], overwrite)
    if len(set(targets)) < len(targets):
        twice = next(path for i, path in enumerate(targets) if path in targets[:i])
        raise UserError(f"{twice} would hold the masks of two patches: map them in several calls")
    options = reading.ReadOptions.of_constants(run.constants)

    def read(entry, report=False):
        return read_patch(entry.image, run, options, settings.pixel_size, report)

    read(entries[0], report=True)  # reports a mistake before Keras is loaded
    if is_picture(entries[0]):
        note_ground(entries[0].image)

    if text := distance_of(entries, read, run.config):
        warn(text)

    shape, told = run.config["input_shape"], run.config.get("pixel_size_input")
    copy_for = functools.lru_cache(maxsize=8)(functools.partial(engines.load, run.folder, settings.engine))

    def write(entry, probability, gap):
        if options.of(entry.image).size:  # back to its own size
            size = image_files.size(entry.image)
            probability = resizing.resampled(probability[..., None], size)[..., 0]
            gap = resizing.resampled(gap[..., None].astype(np.float32), size)[..., 0] > 0
        mask = np.where(gap, np.uint8(UNLABELLED), (probability >= np.float32(settings.threshold)).astype(np.uint8))
        target = out_dir / entry.split
        reading.write_array(target / f"mask_{entry.number}.h5", "mask", mask, metadata)
        if settings.probabilities:
            values = np.where(gap, np.float32(np.nan), probability)
            reading.write_array(target / f"probability_{entry.number}.h5", "probability", values, metadata)
        if is_picture(entry):
            write_bytes(target / f"mask_{entry.number}.png", png_of(mask))

    tile = tuple(shape[:2])
    batches = [entries[i : i + settings.batch_size] for i in range(0, len(entries), settings.batch_size)]
    patches = prefetch(lambda batch: list(map(read, batch)), batches)
    with BackgroundWriter(write) as writer:
        for batch, read_batch in zip(progress(batches, "mapping"), patches, strict=True):
            for members in of_one_size(read_batch, settings.batch_size, shape):
                images, gaps, sizes = zip(*(read_batch[i] for i in members), strict=True)
                images = np.stack(images)
                images = with_plane(images, np.array(sizes)) if told else images
                if (np.array(images.shape[1:3]) > tile).any():
                    model, how = copy_for(tile), (tile, settings.batch_size, settings.tta)
                    predicted = [predict_picture(model, image, *how) for image in images]
                else:
                    model = copy_for(image_sizes.padded_size(run.constants, shape, images.shape[1:3]))
                    predicted = probabilities(model, images, settings.tta)
                for i, *each in zip(members, predicted, gaps, strict=True):
                    writer(batch[i], *each)
    return len(entries)


def note_ground(path):
    """Print how a picture that lies on the ground becomes a map, if it does."""
    with image_files.opened(path) as file:
        placed = bool(file.crs)
    if placed:
        note(
            f"{path} lies on the ground, and masks of patches do not: for maps, give the files with --many, or as one "
            f"scene, gdalbuildvrt scene.vrt {path.parent}/*{path.suffix}"
        )


def is_picture(entry):
    """Return whether the patch of an entry is a picture, whose mask is written as one, too."""
    return reading.is_picture(entry.image)


def png_of(mask):
    """Return a mask as the bytes of a PNG: 0 black, 1 white, not labelled grey and transparent."""
    greys = np.zeros(256, np.uint8)
    greys[list(GREYS)] = list(GREYS.values())
    file = io.BytesIO()
    Image.fromarray(greys[mask]).save(file, "png", transparency=GREYS[UNLABELLED])
    return file.getvalue()


def of_one_size(patches, batch_size, trained):
    """Yield the positions of patches of one size, as many as have at most the pixels of a batch of trained ones.

    patches: of `read_patch`. trained: shape of the patches that the network was trained on.
    """
    by_size = {}
    for position, (image, *_) in enumerate(patches):
        by_size.setdefault(image.shape[:2], []).append(position)
    for (height, width), positions in by_size.items():
        count = max(1, batch_size * trained[0] * trained[1] // max(height * width, trained[0] * trained[1]))
        yield from (positions[i : i + count] for i in range(0, len(positions), count))


def distance_of(entries, read, config):
    """Return a warning if the values of a sample of the patches lie far from those of the run's training, or "".

    read: function that reads the patch of an entry. config: of the run.
    """
    some = (read(entry) for entry in entries[:: -(-len(entries) // MOST_COMPARED)])
    statistics = mean_and_variance((image[~gap] for image, gap, _ in some), np.array(config["band_mean"], float))
    return distance_of_patches(*statistics, config)  # without any data, no band is unusual


def list_patches(paths):
    """List the entries of patches, of a folder of patches, or of a data folder in a known layout."""
    for each in paths:
        if not each.exists():
            raise UserError(f"{each} does not exist")
        if each.is_dir() and len(paths) > 1:
            raise UserError(f"{each} is a folder: give it alone, or several patches")
    path = paths[0]
    if path.is_file():
        return [layouts.Entry(each.name, each.stem.rsplit("_", 1)[-1], "", each, None) for each in paths]
    try:
        entries, faults = layouts.find_patches(path, with_masks=False)
    except layouts.NoPatches:
        faults = []
        matched = layouts.pair(layouts.list_files(path, "."), [], path, faults)
        entries = [layouts.Entry(file.name, key, "", file, None) for key, file, _ in matched]
        if not entries and not faults:
            raise
    if faults:
        raise UserError(f"{path}: {faults[0][0]} {faults[0][1]}")
    return entries


def read_patch(path, run, options, pixel_size, report=False):
    """Read the model's bands of a patch: (H x W x bands float32, H x W bool: without data, metres a pixel).

    Where there is no data, the bands hold their mean in the run's training.

    pixel_size: metres, for files that do not state it; None: the usual one of the run. report: print bands of other
    names.
    """
    try:
        patch = reading.read_patch(path, None, options)
    except reading.Fault as fault:
        raise UserError(f"{path}: {fault}") from None
    size = patch.image.shape[:2]
    if max(size) > LARGEST:
        raise UserError(f"{path}: {reading.size_text(size)} pixels: map it as a scene, as a file of --input")
    check_unit(path, patch.stated.get("values"), run.config.get("values"), "the training patches")
    names = patch.band_names(options.of(path).dates)
    about = {"count": run.config["file_bands"], "arrays": layouts.is_hdf5(path)}
    columns = matching_bands(run.config["bands"], names, path, "the run", **about)
    if report and (text := renamed(run.config["bands"], names, columns)):
        note(text)
    gap = np.zeros(size, bool) if patch.gap is None else patch.gap
    mean = np.array(run.config["band_mean"], np.float32)
    learnt = learnt_by(run.config)
    metres = patch.stated.get("pixel_size") or pixel_size or (learnt and learnt.usual)
    return np.where(gap[..., None], mean, patch.image[..., columns].astype(np.float32)), gap, metres
