"""A scene before the event and one after it: brought onto one grid, and what is new in the second."""

from dataclasses import dataclass, replace

import numpy as np
import skimage  # which loads its parts on first use
from rasterio.windows import Window

from bands import TERRAIN
from scenes.scene import Scene
from scenes.source import open_scene
from script import UserError

WINDOW, WINDOWS = 256, 5  # pixels a side of the windows in which the shift is measured; so many along each side
REDUCED = 500  # pixels to which a scene is reduced, at least, to see how much of it the other covers
LARGEST_SHIFT = 4.0  # pixels; a larger one is no shift of a product, but an error of the measurement
TOLERATED_SHIFT = 0.5  # pixels, up to which nothing is corrected


def new_probability(after, before):
    """Return the probability that a landslide is new: p_after x (1 - p_before).

    This is the probability of "a landslide after and none before", if the network judges the two pictures
    independently. Where it sees nothing before, it is the probability after, so the threshold and the calibration keep
    their meaning there.
    """
    return after * (1 - before)


def is_pair_run(bands):
    """Return whether a model takes two dates in one input, by the names of its bands."""
    return any(name.endswith(" before") for name in bands)


@dataclass
class Shift:
    """How far the scene before lies from the one after, in pixels along columns and rows, from so many windows."""

    right: float
    down: float
    windows: int

    @property
    def length(self):
        """Pixels."""
        return float(np.hypot(self.right, self.down))


def open_before(scene, model_bands, after):
    """Open the scene before on the grid of the one after, corrected for a shift of more than half a pixel.

    Args:
        scene: source.SceneInput of the scene before. model_bands: that it is to hold. after: open Scene with the same.

    Raises:
        UserError: the two do not overlap, or cannot be laid over each other.
    """
    before = on_grid(open_scene(scene, model_bands), after.grid)
    try:
        common = common_ground(after, before, scene.paths[0])
        pictures = [both_seen(after, before, window) for window in windows(common, WINDOW, WINDOWS)]
    except BaseException:
        before.__exit__()
        raise
    shift = measure_shift([images for images in pictures if images])
    if shift is None:
        print("note: the shift between the two scenes cannot be measured; they are taken as they lie")
    elif shift.length > TOLERATED_SHIFT:
        print(
            f"note: the scene before lies {shift.length:.1f} pixels from the one after ({shift.right:+.1f} to the "
            f"right, {shift.down:+.1f} down, median of {shift.windows} windows): corrected"
        )
        before = on_grid(before, after.grid, shift)
    else:
        print(f"note: the scene before lies {shift.length:.1f} pixels from the one after: nothing to correct")
    return before


def on_grid(opened, grid, shift=None):
    """Open a scene again on a grid, its files corrected for a shift; the one that was open is closed."""
    source = replace(opened.source, grid=grid)
    if shift:
        corner, moved = opened.grid.transform @ (0, 0), opened.grid.transform @ (shift.right, shift.down)
        move = moved[0] - corner[0], moved[1] - corner[1]
        source = replace(source, moves=(move,) * len(source.paths))
    if source == opened.source:
        return opened
    opened.__exit__()
    return Scene(source)


def common_ground(after, before, path):
    """Return (first row, end, first column, end) of the ground with data in both scenes; warn if that is little.

    Raises:
        UserError: there is none.
    """
    grid = after.grid
    step = max(1, max(grid.shape) // REDUCED)
    shape = tuple(-(-size // step) for size in grid.shape)
    window = Window(0, 0, grid.width, grid.height)
    there, both = after.read_files(window, shape=shape)[1], before.read_files(window, shape=shape)[1]
    both = both & there
    if not both.any() and there.any():
        raise UserError(f"{path}: the scene before does not overlap the one after")
    if both.sum() < 0.999 * there.sum():
        print(
            f"warning: the scene before covers {both.sum() / there.sum():.1%} of the one after; the rest counts as not "
            "seen"
        )
    if not both.any():
        return 0, grid.height, 0, grid.width
    rows, columns = np.flatnonzero(both.any(1)), np.flatnonzero(both.any(0))
    ends = min((rows[-1] + 1) * step, grid.height), min((columns[-1] + 1) * step, grid.width)
    return int(rows[0] * step), int(ends[0]), int(columns[0] * step), int(ends[1])


def windows(place, side, count):
    """Return windows spread over a part of a raster, `count` along each side, or one of a small part.

    place: (first row, end, first column, end).
    """
    spans = (place[0], place[1]), (place[2], place[3])
    rows, columns = (
        np.unique(np.linspace(first, max(end - side, first), count if end - first > side else 1).astype(int)).tolist()
        for first, end in spans
    )
    height, width = (min(side, end - first) for first, end in spans)
    return [Window(column, row, width, height) for row in rows for column in columns]


def both_seen(after, before, window):
    """Return the brightness of two scenes in a window, or None if not most of it has data in both."""
    shape = int(window.height), int(window.width)
    images, valid = zip(*(each.read_files(window, shape=shape) for each in (after, before)), strict=True)
    both = valid[0] & valid[1]
    if both.mean() < 0.95 or min(shape) < 16:
        return None
    return [np.where(both, each, each[both].mean()) for each in (image.mean(0) for image in images)]


def measure_shift(pairs):
    """Measure the shift of the second pictures from the first by phase correlation.

    Args:
        pairs: [(H x W, H x W), ...], of windows.

    Returns:
        Shift, the median over windows; None where windows disagree by more than half a pixel, or there are none.
    """
    found = []
    for first, second in pairs:
        if min(np.ptp(first), np.ptp(second)) == 0:
            continue
        taper = np.outer(*(np.hanning(size + 2)[1:-1] for size in first.shape))  # edges would pin the shift to 0
        first, second = ((each - each.mean()) * taper for each in (first, second))
        (down, right), _, _ = skimage.registration.phase_cross_correlation(second, first, upsample_factor=20)
        if np.hypot(right, down) <= LARGEST_SHIFT:
            found.append((right, down))
    if not found or len(found) < len(pairs) / 2:
        return None
    middle = np.median(found, axis=0)
    spread = np.median(np.abs(found - middle), axis=0)
    return Shift(float(middle[0]), float(middle[1]), len(found)) if spread.max() <= 0.5 else None


def open_pair(after_input, before_input, model_bands):
    """Open two scenes as one, for a model that takes both dates in one input.

    Args:
        after_input, before_input: source.SceneInput. model_bands: names such as "B04 before", "B04 after", "slope".

    Returns:
        Scene with the bands of both.
    """
    places = {
        word: [i for i, name in enumerate(model_bands) if name.endswith(f" {word}")] for word in ("after", "before")
    }
    names = {word: tuple(model_bands[i].split(" ")[0] for i in at) for word, at in places.items()}
    terrain = tuple(name for name in model_bands if name in TERRAIN)
    after = open_scene(after_input, (*names["after"], *terrain))
    before = open_before(replace(before_input, dem=""), names["before"], after)
    first, second = after.source, before.source
    count = len(first.paths)
    merged = replace(
        first,
        paths=first.paths + second.paths,
        bands=first.bands + tuple((index + count, number) for index, number in second.bands),
        columns=(*places["after"], *places["before"]),
        terrain=tuple((name, model_bands.index(name)) for name, _ in first.terrain),
        factors=first.factors + second.factors,
        offsets=first.offsets + second.offsets,
        gain=(1.0,) * len(model_bands),
        bias=(0.0,) * len(model_bands),
        alpha=first.alpha + tuple(index + count for index in second.alpha),
        nodata=first.nodata + second.nodata,
        blank=first.blank + tuple(tuple(i + len(first.bands) for i in group) for group in second.blank),
        moves=(first.moves or ((0.0, 0.0),) * count) + (second.moves or ((0.0, 0.0),) * len(second.paths)),
    )
    after.__exit__()
    before.__exit__()
    return Scene(merged)
