"""A scene before the event and one after it: brought onto one grid, and what is new in the second."""

from dataclasses import dataclass, replace

import numpy as np
import skimage  # which loads its parts on first use
from rasterio.windows import Window

from bands import light
from scenes.scene import Scene
from scenes.source import open_scene
from scenes.titles import acquisition_time, is_later, note_unread_time
from script import UserError, note, warn

WINDOW, WINDOWS = 256, 5  # pixels a side of the windows in which the shift is measured; number of them along a side
REDUCED = 500  # pixels to which a scene is reduced, at least, to measure how much of it the other covers
LARGEST_SHIFT = 4.0  # pixels; a larger one is no shift of a product, but an error of the measurement
TOLERATED_SHIFT = 0.5  # pixels, up to which nothing is corrected
ROWS = 256  # that are compared together


def new_probability(after, before):
    """Return the probability that a landslide is new: p_after x (1 - p_before).

    This is the probability of "a landslide after and none before", if the network judges the two pictures
    independently. Where p_before is 0, it is p_after, so that threshold and calibration keep their meaning.
    """
    return after * (1 - before)


def is_pair_run(bands):
    """Return whether a model takes two dates in one input, by the names of its bands."""
    return any(name.endswith(" before") for name in bands)


@dataclass
class Shift:
    """How far the scene before lies from the one after.

    Attributes:
        right, down: in pixels. windows: number of windows in which it was measured.
    """

    right: float
    down: float
    windows: int

    @property
    def length(self):
        """Length of the shift in pixels."""
        return float(np.hypot(self.right, self.down))


def open_before(scene, model_bands, after):
    """Open the scene before on the grid of the one after, corrected for a shift of more than half a pixel.

    Args:
        scene: source.SceneInput of the scene before. model_bands: names of the model's bands.
        after: open Scene after the event, with the same bands.

    Returns:
        open Scene.

    Raises:
        UserError: the two do not overlap, cannot be laid over each other, are the wrong way round, or hold the same.
    """
    opened = open_scene(scene, model_bands)
    try:
        check_order(after, opened, scene.paths[0])
    except UserError:
        opened.close()
        raise
    before = reopened(opened, after.grid)
    try:
        bounds = common_bounds(after, before, scene.paths[0])
        if same_pixels(after, before):
            raise UserError(
                f"{scene.paths[0]} holds the same pixels as the scene after: give a picture from before the event with "
                "--before, or leave it out"
            )
        pictures = [brightness_pair(after, before, window) for window in windows(bounds, WINDOW, WINDOWS)]
    except BaseException:
        before.close()
        raise
    shift = measure_shift([pair for pair in pictures if pair])
    if shift is None:
        note("the shift between the two scenes cannot be measured; nothing is corrected")
    elif shift.length > TOLERATED_SHIFT:
        note(
            f"the scene before lies {shift.length:.1f} pixels from the one after ({shift.right:+.1f} to the "
            f"right, {shift.down:+.1f} down, median of {shift.windows} windows): corrected"
        )
        before = reopened(before, after.grid, shift)
    else:
        note(f"the scene before lies {shift.length:.1f} pixels from the one after: nothing to correct")
    return before


def check_order(after, before, path):
    """Raise UserError if the metadata of two scenes say that the one before is the later one. path: of it."""
    note_unread_time(before)
    times = [acquisition_time(scene) for scene in (after, before)]
    if all(times) and is_later(times[1], times[0]):
        raise UserError(
            f"{path} was taken at {times[1]}, after the scene that it should come before ({times[0]}): exchange "
            "--before and the other"
        )


def same_pixels(after, before):
    """Return whether two scenes on one grid hold the same values in all bands of light; not if they hold no data."""
    any_data = False
    for top in range(0, after.grid.height, ROWS):
        shape = min(ROWS, after.grid.height - top), after.grid.width
        window = Window(0, top, shape[1], shape[0])
        values, valid = zip(*(scene.read_files(window, shape=shape) for scene in (after, before)), strict=True)
        values = [read[scene.source.light_bands] for read, scene in zip(values, (after, before), strict=True)]
        if not (valid[0] == valid[1]).all() or not ((values[0] == values[1]) | ~valid[0]).all():
            return False
        any_data |= valid[0].any()
    return bool(any_data)


def reopened(opened, grid, shift=None):
    """Return a scene opened again on a grid, corrected for a Shift; the Scene that was open is closed."""
    source = replace(opened.source, grid=grid)
    if shift:
        (x, y), (moved_x, moved_y) = opened.grid.transform @ (0, 0), opened.grid.transform @ (shift.right, shift.down)
        move = moved_x - x, moved_y - y
        source = replace(source, moves=(move,) * len(source.paths))
    if source == opened.source:
        return opened
    opened.close()
    return Scene(source)


def common_bounds(after, before, path):
    """Return (first row, end, first column, end) of the pixels with data in both scenes.

    Warns if the scene before covers a part of the one after only. If neither scene has data, all pixels are returned.

    Raises:
        UserError: the scenes do not overlap. path: of the scene before, for the message.
    """
    grid = after.grid
    step = max(1, max(grid.shape) // REDUCED)
    shape = tuple(-(-size // step) for size in grid.shape)
    window = Window(0, 0, grid.width, grid.height)
    valid_after, valid_before = (scene.read_files(window, shape=shape)[1] for scene in (after, before))
    both = valid_after & valid_before
    if not both.any() and valid_after.any():
        raise UserError(f"{path}: the scene before does not overlap the one after")
    if both.sum() < 0.999 * valid_after.sum():
        covered = both.sum() / valid_after.sum()
        warn(f"the scene before covers {covered:.1%} of the one after; the rest counts as not seen")
    if not both.any():
        return 0, grid.height, 0, grid.width
    rows, columns = np.flatnonzero(both.any(1)), np.flatnonzero(both.any(0))
    ends = min((rows[-1] + 1) * step, grid.height), min((columns[-1] + 1) * step, grid.width)
    return int(rows[0] * step), int(ends[0]), int(columns[0] * step), int(ends[1])


def windows(bounds, side, count):
    """Return windows spread over a part of a raster, `count` along each side, but a single one along a short side.

    bounds: (first row, end, first column, end) of the part. side: of a window in pixels, at most.
    """
    spans = bounds[:2], bounds[2:]
    rows, columns = (
        np.unique(np.linspace(first, max(end - side, first), count if end - first > side else 1).astype(int)).tolist()
        for first, end in spans
    )
    height, width = (min(side, end - first) for first, end in spans)
    return [Window(column, row, width, height) for row in rows for column in columns]


def brightness_pair(after, before, window):
    """Return the brightness of two scenes in a window, [H x W, H x W].

    None if the window is small, or if less than 95 % of it has data on both dates.
    """
    shape = int(window.height), int(window.width)
    images, valid = zip(*(scene.read_files(window, shape=shape) for scene in (after, before)), strict=True)
    both = valid[0] & valid[1]
    if both.mean() < 0.95 or min(shape) < 16:
        return None
    positions = [scene.source.light_bands for scene in (after, before)]
    pictures = [image[of_light].mean(0) for image, of_light in zip(images, positions, strict=True)]
    return [np.where(both, picture, picture[both].mean()) for picture in pictures]


def measure_shift(pairs):
    """Measure the shift of the second pictures from the first by phase correlation.

    Args:
        pairs: [(H x W, H x W), ...], a pair for each window.

    Returns:
        Shift, the median over windows. None if it was measured in less than half of them, or if their deviations from
            the median have a median of more than half a pixel.
    """
    shifts = []
    for first, second in pairs:
        if min(np.ptp(first), np.ptp(second)) == 0:
            continue
        taper = np.outer(*(np.hanning(size + 2)[1:-1] for size in first.shape))  # edges would pin the shift to 0
        first, second = ((picture - picture.mean()) * taper for picture in (first, second))
        (down, right), _, _ = skimage.registration.phase_cross_correlation(second, first, upsample_factor=20)
        if np.hypot(right, down) <= LARGEST_SHIFT:
            shifts.append((right, down))
    if not shifts or len(shifts) < len(pairs) / 2:
        return None
    median = np.median(shifts, axis=0)
    deviation = np.median(np.abs(shifts - median), axis=0)
    return Shift(float(median[0]), float(median[1]), len(shifts)) if deviation.max() <= 0.5 else None


def open_pair(after_input, before_input, model_bands):
    """Open two scenes as one, for a model that takes both dates in one input.

    Args:
        after_input, before_input: source.SceneInput. model_bands: names such as "B04 before", "B04 after", "slope".

    Returns:
        open Scene with the bands of both.

    Raises:
        UserError: see `open_scene` and `open_before`.
    """
    columns = {
        date: [i for i, name in enumerate(model_bands) if name.endswith(f" {date}")] for date in ("after", "before")
    }
    columns["after"] += np.flatnonzero(~light(model_bands)).tolist()
    bands = {date: tuple(model_bands[i].split(" ")[0] for i in columns[date]) for date in columns}
    with (
        open_scene(after_input, bands["after"]) as after,
        open_before(replace(before_input, dem=()), bands["before"], after) as before,
    ):
        first, second = after.source, before.source
    count = len(first.paths)

    def of_both(positions, others):
        return (*(columns["after"][i] for i in positions), *(columns["before"][i] for i in others))

    source = replace(
        first,
        paths=first.paths + second.paths,
        bands=first.bands + tuple((index + count, number) for index, number in second.bands),
        columns=of_both(first.columns, second.columns),
        light=of_both(first.light, second.light),
        sentinel2=first.sentinel2 and second.sentinel2,
        terrain=tuple((name, columns["after"][i]) for name, i in first.terrain),
        factors=first.factors + second.factors,
        offsets=first.offsets + second.offsets,
        alpha=first.alpha + tuple(index + count for index in second.alpha),
        filled=first.filled + tuple(index + count for index in second.filled),
        nodata=first.nodata + second.nodata,
        blank=first.blank + tuple(tuple(i + len(first.bands) for i in group) for group in second.blank),
        dates=(0,) * count + (1,) * len(second.paths),
        moves=(first.moves or ((0.0, 0.0),) * count) + (second.moves or ((0.0, 0.0),) * len(second.paths)),
    )
    return Scene(source)
