"""Score runs under many renderings of the same test patches, and count their false alarms under the same renderings.

    python experiments/renderings.py --runs rgb scratch --landslide-free-dirs data/real/landslide_free/eurosat_test \
        --scene data/real/sentinel2_rgbn.tif

A network that distinguishes ground with landslides from ground without by the way in which the picture was made scores
well on both, and detects nothing in a picture that was made in another way. This table shows it. The probe tries to
distinguish the two kinds of training ground by traces of compression alone, before and after augmentation "rendering".

Writes renderings.csv, renderings_probe.csv and renderings.png into OUT. Runs must take red, green and blue of 8 bits.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
import augment
import dataset
import metrics
import records
import rendering
import runs
import script
from bands import BANDS_RGB, SCALE_L4S, optical_bands
from mask_values import LANDSLIDE
from networks.inference import confusions, probabilities
from networks.model_files import load_model
from patches import landslide_free
from patches.patch_format import PatchFormat
from patches.pixel_sizes import shown
from scores import false_alarms

RESULTS_DIR = "results"  # folder of all runs
RUNS = ("rgb",)  # names of the runs
DATA_DIR = None  # str: folder of patches; none: each run's own data
SPLIT = "test"  # split to score
LANDSLIDE_FREE_DIRS = ()  # folders of landslide-free pictures
SCENE = None  # str: landslide-free scene in digital numbers, whose bands are red, green and blue, in order or by name
BATCH_SIZE = 32  # patches in a batch
OUT = "results/figures"  # folder of the tables and the picture

L4S_RGB = np.array([SCALE_L4S[i] for i in (3, 2, 1)])
# The RGB subset holds L4S's values times 255 / (largest of the patch): 57.5 is 55.2, its mean of green, by 0.96, L4S's.
TO_EUROSAT = L4S_RGB / 57.5 * 255 / 2750  # EuroSAT shows 0 to 2750 digital numbers as 0 to 255
HAZE = np.array([14, 19, 25])  # grey levels of light scattered by the air, most in blue


class Rendering(NamedTuple):
    """A way to show pictures.

    Attributes:
        render: function of images (N x H x W x 3, 0 to 255) and masks that returns both anew.
        factor: how many times as large a pixel is.
    """

    render: Callable
    factor: float = 1.0


def each(change):
    """Make a rendering of a function of one picture (H x W x 3, 0 to 255); masks stay."""

    def render(images, masks):
        changed = [np.clip(np.rint(change(image)), 0, 255) for image in images]
        return np.stack(changed).astype(np.float32), masks

    return Rendering(render)


def moved(factor, shift=0.0):
    """Make a rendering with pixels `factor` times as large, moved by `shift` pixels; masks follow the size only."""

    def render(images, masks):
        pairs = [augment.with_pixels(*pair, factor, shift) for pair in zip(images, masks, strict=True)]
        images, changed = (np.stack(parts) for parts in zip(*pairs, strict=True))
        return np.rint(images), masks if shift else changed

    return Rendering(render, factor)


def lossy(kind, quality):
    """Make a rendering that compresses."""
    return each(lambda image: rendering.compressed(image.astype(np.uint8), kind, quality))


RENDERINGS = {
    "as stored": each(lambda image: image),
    "JPEG 90": lossy("JPEG", 90),
    "JPEG 75": lossy("JPEG", 75),
    "JPEG 50": lossy("JPEG", 50),
    "WebP 90": lossy("WEBP", 90),
    "brightness x 0.7": each(lambda image: 0.7 * image),
    "brightness x 1.5": each(lambda image: 1.5 * image),
    "stretched per band": each(lambda image: rendering.stretch(image, 255)),
    "EuroSAT's stretch": each(lambda image: image * TO_EUROSAT),
    "EuroSAT's stretch, JPEG 75": each(
        lambda image: rendering.compressed(np.clip(np.rint(image * TO_EUROSAT), 0, 255).astype(np.uint8), "JPEG", 75)
    ),
    "gamma 0.7": each(lambda image: 255 * (image / 255) ** 0.7),
    "gamma 1.4": each(lambda image: 255 * (image / 255) ** 1.4),
    "haze added": each(lambda image: image + HAZE),
    "haze removed": each(lambda image: image - HAZE),
    "moved by half a pixel": moved(1.0, 0.5),
    "enlarged 1.5 times": moved(1 / 1.5),
    "reduced 1.5 times": moved(1.5),
}
SCALINGS = {  # of digital numbers to 8 bits, for the scene
    "2nd to 98th percentile": lambda scene, seen: (
        255 * (scene - np.percentile(scene[seen], 2, 0)) / np.ptp(np.percentile(scene[seen], [2, 98], 0), 0)
    ),
    "0 to 2750": lambda scene, seen: scene * (255 / 2750),
    "Landslide4Sense": lambda scene, seen: scene / L4S_RGB * 57.5,
}


class RenderedPatches:
    """packing.Patches under a Rendering, for `networks.inference`."""

    def __init__(self, patches, rendering):
        self._patches, self._render = patches, rendering.render
        self.bands, self.extents = patches.bands, patches.extents
        self.pixel_sizes = patches.pixel_sizes * rendering.factor

    def __len__(self):
        return len(self._patches)

    def read(self, indices):
        """Return the images as they are shown, n x H x W x bands float32."""
        return self._render(self._patches.read(indices), self._patches.read_masks(indices))[0]

    def read_masks(self, indices):
        """Return the masks that belong to them, n x H x W uint8."""
        return self._render(self._patches.read(indices), self._patches.read_masks(indices))[1]


def main():
    """Score every run under every rendering, try the probe, and write the tables and the picture."""
    cache, out = Path(RESULTS_DIR, "cache"), Path(OUT)
    rows, probe_rows = [], []
    opened = [runs.open_run(RESULTS_DIR, name, "RUNS") for name in RUNS]
    for run in opened:  # packed before the work, which a missing folder would otherwise end
        landslide_free.open_landslide_free(run.constants["LANDSLIDE_FREE_DIRS"], PatchFormat.of_run(run.config), cache)
    for name, run in zip(RUNS, opened, strict=True):
        patches, indices, _ = dataset.open_for_run(run, SPLIT, DATA_DIR, cache)
        if LANDSLIDE_FREE_DIRS:
            ground, on_ground = false_alarms.open_for_run(run, SPLIT, cache, LANDSLIDE_FREE_DIRS)
        model, threshold = load_model(run.folder), run.threshold()
        for title, way in RENDERINGS.items():
            counts = confusions(model, RenderedPatches(patches, way), indices, threshold, BATCH_SIZE)
            scores = metrics.scores(*(count.sum() for count in counts[:3]))
            rows.append({"run": name, "rendering": title})
            rows[-1] |= {score: float(scores[score]) for score in ("dice", "precision", "recall")}
            if LANDSLIDE_FREE_DIRS:
                shown_ground = RenderedPatches(ground, way)
                found = false_alarms.count(model, shown_ground, on_ground, threshold, BATCH_SIZE)
                alarms = false_alarms.summary(*found, shown_ground.pixel_sizes[on_ground])
                rows[-1] |= {"ground_pixels": alarms["pixel_share"], "ground_patches": alarms["patch_share"]}
            print(", ".join(f"{key} {value:.4f}" if type(value) is float else value for key, value in rows[-1].items()))
        for title, change in SCALINGS.items() if SCENE else ():
            alarm_share = scene_alarm_share(model, threshold, change)
            rows.append({"run": name, "rendering": f"scene, {title}", "dice": "", "ground_pixels": alarm_share})
            print(f"{name}: {title}: {alarm_share:.2%} of {SCENE}")
        if trained_with := run.constants["LANDSLIDE_FREE_DIRS"]:
            ground = landslide_free.open_landslide_free(trained_with, PatchFormat.of(patches), cache)
            probe_rows += [{"run": name, **row} for row in probe(patches, ground)]
            print("probe:", ", ".join(f"{row['patches']} {row['accuracy']:.3f}" for row in probe_rows[-2:]))
    header = ("run", "rendering", "dice", "precision", "recall", "ground_pixels", "ground_patches")
    records.write_csv(out / "renderings.csv", header, [[row.get(key, "") for key in header] for row in rows])
    if probe_rows:
        records.write_csv(out / "renderings_probe.csv", probe_rows[0], [row.values() for row in probe_rows])
    draw([row for row in rows if row["dice"] != ""], patches, indices, out / "renderings.png")
    print(f"written: {out}/renderings.csv, renderings.png")


def scene_alarm_share(model, threshold, change):
    """Return the share of a landslide-free scene's pixels with data at or above the threshold, in tiles of a patch."""
    from scenes.source import SceneInput, open_scene

    with open_scene(SceneInput((SCENE,)), BANDS_RGB) as opened:
        values, seen = opened.read(0, opened.grid.height)
        metres = opened.grid.metres
    scene = np.moveaxis(values, 0, -1)
    scene = np.where(seen[..., None], np.clip(np.rint(change(scene, seen)), 0, 255), 0)
    size, counts = model.input_shape[1], np.zeros(2, int)
    for row in range(0, scene.shape[0] - size + 1, size):
        for column in range(0, scene.shape[1] - size + 1, size):
            tile = np.s_[row : row + size, column : column + size]
            if seen[tile].any():
                images = shown(model, scene[tile][None].astype(np.float32), np.array([metres]))
                alarm = probabilities(model, images)[0] >= np.float32(threshold)
                counts += np.count_nonzero(alarm & seen[tile]), np.count_nonzero(seen[tile])
    return float(counts[0] / counts[1])


def probe(patches, ground, number=1000, seed=0):
    """Return rows with the accuracy of a linear classifier of landslide and landslide-free patches by compression.

    It sees the mean step between neighbouring rows, and columns, for each position modulo 8, over the mean of all
    eight. JPEG and WebP work in blocks, so steps are larger at some positions. Without traces the accuracy is one half.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(len(kind))[:number] for kind in (patches, ground)]
    images = [kind.read(np.sort(indices)) for kind, indices in zip((patches, ground), drawn, strict=True)]
    size = min(map(len, images))
    images = np.concatenate([part[:size] for part in images])
    kinds = np.repeat([0, 1], size)
    augmented = np.empty_like(images)
    for name in ("affine", "pixel_size", "rendering"):
        for start in range(0, len(images), BATCH_SIZE):
            part = np.s_[start : start + BATCH_SIZE]
            entering = (images if name == "affine" else augmented)[part]
            augmented[part] = augment.AUGMENTATIONS[name](
                entering, entering[..., 0], rng, optical_bands(patches.bands)
            )[0]
    rows = []
    for title, pictures in (("as stored", images), ("augmented", augmented)):
        # only the first 64 pixels, because a smaller picture covers no more
        steps = [np.abs(np.diff(pictures[:, :64, :64].mean(-1), axis=axis)).mean(3 - axis) for axis in (1, 2)]
        steps = [np.stack([step[:, offset::8].mean(1) for offset in range(8)], 1) for step in steps]
        traces = np.hstack([step / (step.mean(1, keepdims=True) + 1e-6) for step in steps])
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        order = rng.permutation(len(kinds))
        accuracy = cross_val_score(classifier, traces[order], kinds[order], cv=5).mean()
        rows.append({"patches": title, "number": len(kinds), "accuracy": round(float(accuracy), 3)})
    return rows


def draw(rows, patches, indices, path):
    """Draw one patch under every rendering above the scores of each run."""
    import matplotlib.pyplot as plt

    import plots

    example = max(indices[:100], key=lambda i: np.count_nonzero(patches.read_masks([i]) == LANDSLIDE))
    titles, names = list(RENDERINGS), list(dict.fromkeys(row["run"] for row in rows))
    figure = plt.figure(figsize=(14, 6.5), layout="constrained")
    pictures, below = figure.subfigures(2, 1, height_ratios=(1, 2.2))
    for axis, title in zip(pictures.subplots(2, 9).flat, [*titles, None], strict=True):
        axis.set_axis_off()
        if title:
            image, mask = RENDERINGS[title].render(patches.read([example]), patches.read_masks([example]))
            axis.imshow(image[0].astype(np.uint8))
            axis.contour(mask[0], [0.5], colors="yellow", linewidths=0.6)
            axis.set_title(title, fontsize=7)
    upper, lower = below.subplots(2, 1, sharex=True)
    for colour, name in zip((plots.BLUE, plots.ORANGE, plots.GREEN, plots.PURPLE), names, strict=False):
        own = [row for row in rows if row["run"] == name]
        upper.plot(titles, [row["dice"] for row in own], "o-", color=colour, label=name)
        if "ground_pixels" in own[0]:
            lower.plot(titles, [100 * row["ground_pixels"] for row in own], "o-", color=colour, label=name)
    upper.set(ylabel="Dice, test patches", ylim=(0, 1))
    upper.legend(frameon=False, ncols=4)
    lower.set(ylabel="landslide-free ground\npredicted, %", ylim=(0, None))
    lower.set_xticks(range(len(titles)), titles, rotation=30, ha="right")
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    plots.save(figure, path)


if __name__ == "__main__":
    script.start(main)
