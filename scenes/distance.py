"""How far a scene lies from what a run learnt from: in one line, for the terminal and the report."""

import functools

import numpy as np

from networks import engines, features
from networks.tiles import mirrored_indices
from patches.pixel_sizes import with_plane

WINDOWS = 6  # along each side of the scene, at most, that are looked at
NEAR, FAR = 0.15, 0.5  # shares of unlike windows from which a scene is not at home, and from which it is far


def distance_text(run, scene, metres, warned, engine):
    """Say how far a scene lies from what a run learnt from; "" if the run has no record of that.

    Windows of the scene are compared with the validation patches by what the network makes of them (features.py). This
    tells other sensors and other kinds of ground. It does not tell another event, which can look alike.

    Args:
        run: runs.Run. scene: open Scene, scaled. metres: side of a pixel. warned: whether values or pixel size are
            known to lie far from training. engine: one of engines.ENGINES.
    """
    if not (run.folder / features.FILE).exists():
        return ""
    windows = sampled_windows(scene, run.config["input_shape"][0], run.config["band_mean"])
    if not len(windows):
        return ""
    if run.config.get("pixel_size_input"):
        windows = with_plane(windows, np.full(len(windows), metres))
    changed = tuple(path.stat().st_mtime_ns for path in engines.files(run.folder, engine))
    found = _features_of(run.folder, engine, windows.shape[1:3], changed)(windows)
    if found is None:
        return ""
    far = features.distances(run.folder, np.asarray(found))
    share = float((far > 1).mean())
    level = "far" if warned or share > FAR else "near" if share > NEAR else "at home"
    reason = " (see the warnings)" if warned and share <= FAR else ""
    return f"{level}{reason}: {share:.0%} of {len(windows)} windows look unlike what the model learnt from (there 5 %)"


@functools.lru_cache(maxsize=1)  # of many scenes, all have the same run
def _features_of(folder, engine, size, changed):
    return engines.load_features(folder, engine, size)


def sampled_windows(scene, side, fill):
    """Read square windows spread over a scene, of which most has data: n x side x side x bands, gaps filled.

    fill: value of each band where there is no data. A scene smaller than a window is mirrored at its edges.
    """
    windows = []
    spans = [np.unique(np.linspace(0, max(size - side, 0), WINDOWS).astype(int)) for size in scene.grid.shape]
    for top in spans[0].tolist():
        for left in spans[1].tolist():
            bottom, right = min(top + side, scene.grid.height), min(left + side, scene.grid.width)
            values, valid = scene.read(top, bottom, left, right)
            if valid.mean() > 0.5:
                values[:, ~valid] = np.asarray(fill, np.float32)[:, None]
                rows, columns = (mirrored_indices(0, side, size) for size in values.shape[1:])
                windows.append(np.moveaxis(values[:, rows[:, None], columns], 0, -1))
    return np.stack(windows) if windows else np.zeros((0, side, side, len(fill)), np.float32)
