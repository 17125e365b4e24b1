"""Patches of several folders as one: each folder is a source, with its own splits and its own size of pixels."""

import hashlib
from pathlib import Path

import numpy as np

from patches.packing import JoinedPatches
from script import UserError


class Sources(JoinedPatches):
    """Patches of several folders, one after the other; what is not described here is as in packing.Patches.

    All of them have the bands of the first, under its names.

    Attributes:
        sources: names of the parts, the last part of each path.
        source_of: N, position of each patch's source.
        names: of the patches, which start with the name of the source. data_dir: all folders, for messages.
    """

    def __init__(self, parts, names=None):
        """Join packing.Patches. names: of the sources; None: by the paths of their folders."""
        super().__init__(*parts)
        first, self.sources = parts[0], names or source_names([part.data_dir for part in parts])
        self.data_dir = ", ".join(str(part.data_dir) for part in parts)
        self.dtype, self.file_bands, self.dates = first.dtype, first.file_bands, first.dates
        self.values = next((part.values for part in parts if part.values), None)
        self.source_of = np.repeat(np.arange(len(parts)), list(map(len, parts)))
        for name in ("own_splits", "labelled", "contents", "extents"):
            setattr(self, name, np.concatenate([getattr(part, name) for part in parts]))
        named = list(zip(self.sources, parts, strict=True))
        self.names = [f"{source}/{name}" for source, part in named for name in part.names]
        self.left_out = [(f"{source}/{name}", fault) for source, part in named for name, fault in part.left_out]
        self.notes = [note for part in parts for note in part.notes]
        digests = repr([(source, part.digest) for source, part in named])
        self.digest = hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()

    @property
    def input_shape(self):
        """(height, width, number of bands that are read) of a patch."""
        return self.parts[0].input_shape

    def read_pictures(self, indices):
        """Read some patches in true colour, whatever bands are used: n x H x W x 3, in the files' type and units."""
        return self._joined(indices, "read_pictures")

    def statistics(self, indices):
        """Compute mean and variance of each band over the pixels of some patches, in float64."""
        moments = []
        for number, part in enumerate(self.parts):
            own = np.asarray(indices)[self.source_of[indices] == number] - self.starts[number]
            if len(own):
                mean, variance = part.statistics(own)
                moments.append((len(own), mean, variance))
        counts, means, variances = (np.array(each) for each in zip(*moments, strict=True))
        weights = (counts / counts.sum())[:, None]
        mean = (weights * means).sum(0)
        return mean, (weights * (variances + np.square(means - mean))).sum(0)


def name_in_files(patches):
    """Return the names of the sources of packing.Patches or Sources, as one part of a file name."""
    return "+".join(name.replace("/", "-") for name in patches.sources)


def source_names(folders):
    """Return a short name for each folder: the last part of its path, and those before it where two are alike."""
    parts = [Path(folder).resolve().parts[1:] for folder in folders]
    if len(set(parts)) < len(parts):
        raise UserError(f"the same folder is named twice among {', '.join(map(str, folders))}")
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]
