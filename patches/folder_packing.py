"""Check all patches of a folder and pack them into a cache."""

from pathlib import Path

import numpy as np

from bands import kind_of, light
from mask_values import UNLABELLED, MaskRule
from patches.cutting import cut, patch_name
from patches.packing import HALF, PackWriter
from patches.patch_format import common_format
from patches.reading import Fault, read_patch
from script import UserError, progress

FAULTS_SHOWN = 20
FAR = 20  # a value may lie outside the range of all other images by this many times that range
OTHER_RANGE = 4  # ratio of the largest values of two types from which they are of unlike scales
BLACK = 0.1  # share of the pixels of a file that are black, from which it is told
SOON = 64  # number of patches after which packing starts again with float32 if float16 is too coarse


def pack_folder(data_dir, entries, faults, folder, key, skip_bad, options):
    """Read and check every patch of a folder and write the cache; without `skip_bad` only if there is no fault.

    Args:
        data_dir: folder of the patches. entries, faults: see `layouts.find_patches`. folder: of the cache. key: hash
            that identifies the state of the files. skip_bad: leave unusable files out. options: reading.ReadOptions.

    Returns:
        dict: the record of the cache, whose `faults` lists what cannot be used.

    Raises:
        UserError: no patch is left.
    """
    patch_format = common_format(entries, options)
    stored = HALF if patch_format.dtype == np.float32 else patch_format.dtype
    late = []  # faults that show only when all patches are compared
    while True:
        left = [entry for entry in entries if not names_of(entry, data_dir) & dict(late).keys()]
        with PackWriter(folder, patch_format.dtype, stored, len(left) * patch_format.values) as writer:
            packing = FolderPacking(data_dir, options, patch_format, writer)
            packing.add_all(left)
            if writer.coarse:
                stored = patch_format.dtype
                continue
            if skip_bad and (new := packing.late_faults()):  # rare, so all others are read again
                late += new
                continue
            return packing.finish([*faults, *late], key, skip_bad)


class FolderPacking:
    """Packs the patches of a folder one by one, and compares them with each other.

    Args:
        data_dir: folder of the patches. options: ReadOptions. patch_format: PatchFormat that all must have. writer:
            open PackWriter.

    Attributes:
        kept: entries of the files that were packed. faults: (name, fault) of the others.
        patches: (name, entry, rows and columns that are not mirrored, size of a pixel or None) of each patch.
    """

    def __init__(self, data_dir, options, patch_format, writer):
        self.data_dir, self.options, self.patch_format, self.writer = data_dir, options, patch_format, writer
        self.kept, self.patches, self.faults, self.extremes, self.rule = [], [], [], [], MaskRule()
        self.types = []  # names of the types of the kept images, as they are in the files
        self.stated = None  # bands and values as the first readable file states them, see reading.Patch
        self.scaled = 0  # number of files whose scale or offset was applied
        self.black = 0  # number of files in which much ground is 0 in all bands of light
        self.temporary = False  # whether a fault may be gone the next time

    def add_all(self, entries):
        """Pack patches; stop early if float16 turns out to be too coarse."""
        for entry in progress(entries, f"packing {len(entries)} patches"):
            try:
                self.add(entry)
            except Fault as fault:
                self.faults.append((relative(getattr(fault, "path", entry.image), self.data_dir), str(fault)))
                self.temporary |= fault.temporary
            if len(self.kept) == SOON and self.writer.coarse:
                return

    def add(self, entry):
        """Read, check and pack a patch; raises Fault."""
        patch = read_patch(entry.image, entry.mask, self.options, self.patch_format)
        stated = {key: patch.stated[key] for key in ("bands", "values") if key in patch.stated}
        self.stated = stated if self.stated is None else self.stated
        if meaning(stated) != meaning(self.stated):
            own, first = stated_text(stated), stated_text(self.stated)
            raise Fault(f"states the bands and values {own}, the first file {first}: bring all to one")
        if patch.labels:
            self.rule.add(patch.labels, relative(entry.mask, self.data_dir))
            mask, undecided = patch.labels.mask, patch.labels.undecided
        else:
            mask, undecided = np.full(patch.image.shape[:2], UNLABELLED, np.uint8), None
        for name, arrays, extent in self.parts(entry, (patch.image, mask, patch.gap, undecided)):
            self.writer.add(name, *arrays)
            self.patches.append((name, entry, extent, patch.stated.get("pixel_size")))
        self.scaled += "scaled" in patch.stated
        self.black += black_share(patch, self.options.dates) > BLACK
        self.extremes.append(extremes(patch))
        self.types.append(patch.image.dtype.name)
        self.kept.append(entry)

    def parts(self, entry, arrays):
        """Yield (name, arrays, extent) of the patches of a file: image, mask, gap and undecided pixels, or None."""
        if not self.options.cut:
            yield entry.name, arrays, arrays[0].shape[:2]
            return
        for corner, (image, mask, gap, undecided), extent in cut(arrays, self.options.cut):
            mask[extent[0] :], mask[:, extent[1] :] = UNLABELLED, UNLABELLED  # the mirror image is not scored
            if undecided is not None:
                undecided[extent[0] :], undecided[:, extent[1] :] = False, False
            if entry.mask is None or (mask != UNLABELLED).any() or (undecided is not None and undecided.any()):
                yield patch_name(entry.name, corner), (image, mask, gap, undecided), extent

    def late_faults(self):
        """List (name, fault) of masks and images that differ from all others."""
        limits = np.array(self.extremes)
        mixed = type_faults(self.kept, self.types, limits, self.data_dir)
        return self.rule.faults() + (mixed or outlier_faults(self.kept, limits, self.data_dir))

    def finish(self, faults, key, skip_bad):
        """Complete the cache and return its record; without `skip_bad`, a cache with faults is not written."""
        faults = [*faults, *self.faults, *([] if skip_bad else self.late_faults())]
        writer, count = self.writer, len(self.patches)
        names, entries, extents, pixel_sizes = zip(*self.patches, strict=True) if count else ((), (), (), ())
        if count:
            writer.settle(self.patch_format.shape, self.rule.high_is_landslide)
        notes = [f"scale and offset are applied, which {self.scaled} files state"] if self.scaled else []
        if self.black:
            notes.append(
                f"in {self.black} files more than {BLACK:.0%} of the pixels are 0 in all bands of light, which counts "
                "as ground: if it is the rim of a mosaic, state it in the files (gdal_edit.py -a_nodata 0) or cut the "
                "mosaic with make_patches.py"
            )
        if writer.gaps:
            share = writer.missing / writer.pixels
            notes.append(
                f"{len(writer.gaps)} of {count} patches have pixels without data, {share:.1%} of all: not labelled"
            )
        record = writer.record(
            key=None if self.temporary else key,  # a locked file is readable later, with the same size and time
            shape=self.patch_format.shape,
            names=list(names),
            numbers=[entry.number for entry in entries],
            splits=[entry.split for entry in entries],
            labelled=[entry.mask is not None for entry in entries],
            extents=extents if self.options.cut else None,
            pixel_sizes=pixel_sizes,
            faults=faults,
            dates=self.options.dates,
            **(self.stated or {}),
            notes=notes,
        )
        if count and (skip_bad or not faults):
            writer.finish(record)
        elif skip_bad and faults:
            raise UserError(describe_faults(self.data_dir, faults) + "\n  no usable patch is left")
        elif not faults:
            raise UserError(f"{self.data_dir}: no patch is left, because nothing in its masks is labelled")
        return record


def black_share(patch, dates=0):
    """Return the share of pixels with data of a Patch that are 0 in all bands of light, of which there are three.

    They are ground in a patch: many public sets have dark water and shadows of 0, also at the rim of a patch, and which
    of them lies beyond a mosaic is not to be seen in a patch. A scene shows it, see source.SceneSource.
    """
    lit = light(patch.band_names(dates))
    if lit.sum() < 3:
        return 0.0
    black = (patch.image[..., lit] == 0).all(-1)
    return float(np.mean(black if patch.gap is None else black & ~patch.gap))


def meaning(stated):
    """Return what a file states of its bands and values, in one word for each band: B4 for B04 and red."""
    return list(map(kind_of, stated.get("bands", ()))), stated.get("values")


def stated_text(stated):
    """Return what a file states of its bands and values as text: "B4 B3 B2 l4s", or "none"."""
    return " ".join(filter(None, (*stated.get("bands", ()), stated.get("values")))) or "none"


def describe_faults(data_dir, faults):
    """Return the text of a UserError that lists faults: one line for one fault, a list for several."""
    if len(faults) == 1:
        name, fault = faults[0]
        return f"{Path(data_dir, name)}: {fault} (or leave it out with --skip-bad)"
    lines = [f"{data_dir}: {len(faults)} files cannot be used; mend them or leave them out with --skip-bad"]
    lines += [f"  {name}: {fault}" for name, fault in faults[:FAULTS_SHOWN]]
    if len(faults) > FAULTS_SHOWN:
        lines.append(f"  ... and {len(faults) - FAULTS_SHOWN} more")
    return "\n".join(lines)


def names_of(entry, data_dir):
    """Return the names of the files of a patch within its data folder, as a set."""
    return {relative(path, data_dir) for path in (entry.image, entry.mask) if path}


def relative(path, data_dir):
    """Return the path of a file within its data folder."""
    return Path(path).relative_to(data_dir).as_posix()


def extremes(patch):
    """Return the smallest and largest value of each band over the pixels with data: 2 x bands, float64."""
    pixels = patch.image.reshape(-1, patch.image.shape[2]) if patch.gap is None else patch.image[~patch.gap]
    return pixels.min(0).astype(float), pixels.max(0).astype(float)


def type_faults(entries, types, limits, data_dir):
    """List (name, fault) of images whose type and range are others than those of most: 8 bits among 12 or 16 bits.

    types: name of the type of each image. limits: N x 2 x bands, see `extremes`.
    """
    types, largest = np.array(types), limits[:, 1].max(1) if len(limits) else np.zeros(0)
    names, counts = np.unique(types, return_counts=True)
    highest = {name: np.median(largest[types == name]) for name in names}
    usual = names[counts.argmax()] if len(names) else ""
    faults = []
    for entry, name, most in zip(entries, types, largest, strict=True):
        low, high = sorted((highest[name], highest[usual]))
        if high > OTHER_RANGE * max(low, 1e-6):
            others = f"most images {usual} of up to {highest[usual]:g}"
            faults.append(
                (relative(entry.image, data_dir), f"holds {name} of up to {most:g}, {others}: bring all to one scale")
            )
    return faults


def outlier_faults(entries, limits, data_dir):
    """List (name, fault) of images with a value more than FAR times the range of all others away from these.

    Such values come from damaged files. limits: N x 2 x bands, see `extremes`.
    """
    if len(entries) < 10:
        return []
    low, high = np.sort(limits[:, 0], axis=0), np.sort(limits[:, 1], axis=0)
    faults = []
    for entry, (least, most) in zip(entries, limits, strict=True):
        # the limits of the other images: the second smallest value where this image has the smallest one
        below = np.where(least == low[0], low[1], low[0])
        above = np.where(most == high[-1], high[-2], high[-1])
        reach = FAR * np.maximum(above - below, 1e-6)
        for band in np.flatnonzero((least < below - reach) | (most > above + reach))[:1]:
            value = least[band] if least[band] < below[band] - reach[band] else most[band]
            others = f"those of the other images lie between {below[band]:g} and {above[band]:g}"
            faults.append((relative(entry.image, data_dir), f"band {band + 1} holds {value:g}; {others}"))
    return faults
