"""Draw a run: its training curves, and its predictions for the best, the worst and random patches.

    python visualize.py                                            # run results/unet/, its test split
    python visualize.py --run first --split validation --samples 6
    python visualize.py --run first --data-dir data/unlabelled     # patches without masks: prediction only
    python visualize.py --run first --augmentations                # the effect of each augmentation

Writes training_curves.png and samples/{best,worst,random}.png into the run's folder, and samples/alarms.png, the worst
false alarms on ground without landslides, if the run was trained with such ground; with --augmentations, only
samples/augmentations.png. Next: python predict.py --run <run> --input <scene or folder>
"""

import inspect
import itertools
from pathlib import Path

import numpy as np

import augment
import dataset
import metrics
import records
import runs
import script
from bands import optical_bands, true_colour
from networks.inference import confusions, predict
from networks.model_files import load_for
from patches import layouts
from patches.places import find_places, surroundings
from patches.sources import name_in_files
from scores import false_alarms

RESULTS_DIR = "results"  # folder of all runs
RUN = "unet"  # name of the run
DATA_DIR = ()  # folders of patches to draw; none: the run's own data
SPLIT = "test"  # split to draw; for the run's own data, the one in its split.csv
SAMPLES = 4  # patches in each picture
AUGMENTATIONS = False  # draw only the effect of each augmentation on some patches with landslides
SKIP_BAD = False  # leave out unusable files instead of stopping
BATCH_SIZE = 32  # patches in a batch
SEED = 0  # seed of the random patches and the augmentations

CHOICES = {"SPLIT": (*layouts.SPLITS, "all")}
RANGES = {"SAMPLES": (1, 50), "BATCH_SIZE": (1, None), "SEED": (0, None)}


def main():
    """Open a run and its patches, choose patches and draw them."""
    run = runs.open_run(RESULTS_DIR, RUN)
    folder = run.output

    import plots  # Matplotlib is slow to import

    if AUGMENTATIONS:
        path = folder / "samples" / "augmentations.png"
        columns, colours = augmented(run)
        plots.augmentations(columns, colours, f"{run.name}: augment.py", path)
        print(f"written: {path}")
        return
    threshold = run.threshold()
    history = None  # an ensemble has none
    if "members" not in run.config:
        history = records.read_csv(run.folder / "history.csv", f"python train.py --run {folder.name}")
    cache_dir = Path(RESULTS_DIR, "cache")
    patches, indices, own = dataset.open_for_run(run, SPLIT, DATA_DIR, cache_dir, SKIP_BAD, masks=False)
    ground, ground_indices = false_alarms.open_for_run(run, SPLIT, cache_dir) if own else (None, ())
    model = load_for(run, patches.input_shape[:2])

    if history:
        plots.training_curves(history, folder / "training_curves.png", run.config.get("kept_epoch"))
    labelled = patches.labelled.any()
    parts = [] if own else [name_in_files(patches)]
    parts += [SPLIT] if labelled and not (own and SPLIT == "test") else []
    prefix = "".join(f"{part}_" for part in parts)
    written = [folder / "training_curves.png"] if history else []
    at = f"(threshold {threshold:.3f})"
    for kind, drawn in choose(model, patches, indices, threshold).items():
        path = folder / "samples" / f"{prefix}{kind}.png"
        where = patches.data_dir if len(patches.sources) < 3 else f"{len(patches.sources)} sources"
        title = f"{folder.name}: {kind} patches of {where}" + (f", {SPLIT} split" if labelled else "")
        rows = draw_rows(model, patches, drawn, threshold, surroundings_of(patches, run))
        plots.panels(rows, threshold, f"{title} {at}", path)
        written.append(path)
    if ground:
        path = folder / "samples" / f"{prefix}alarms.png"
        _, alarm_pixels, _ = false_alarms.count(model, ground, ground_indices, threshold, BATCH_SIZE)
        worst = ground_indices[np.argsort(-alarm_pixels, kind="stable")[:SAMPLES]]
        title = f"{folder.name}: most false alarms of {len(ground_indices)} landslide-free patches, {SPLIT} split {at}"
        plots.panels(draw_rows(model, ground, worst, threshold), threshold, title, path)
        written.append(path)
    print("written: " + ", ".join(map(str, written)))


def choose(model, patches, indices, threshold):
    """Choose patches by their own Dice; return {kind: indices} for best, worst and random.

    Without masks, there are only random ones. The best are patches with landslides, because an empty patch without
    false alarms shows nothing. Of patches with equal Dice (often 0), the one with more wrong pixels is worse.
    """
    random = np.random.default_rng(SEED).permutation(indices)[:SAMPLES]
    if not patches.labelled.any():
        return {"random": np.sort(random)}
    tp, fp, fn, _ = confusions(model, patches, indices, threshold, BATCH_SIZE)
    order = np.lexsort((-(fp + fn), metrics.dice(tp, fp, fn)))
    with_landslide = [i for i in order if tp[i] + fn[i]]
    best = {"best": indices[with_landslide[::-1][:SAMPLES]]} if with_landslide else {}
    return {**best, "worst": indices[order[:SAMPLES]], "random": np.sort(random)}


def surroundings_of(patches, run):
    """Return a function from the position of a patch to its surroundings, see places.surroundings."""
    known = [find_places(part, run.constants.get("PLACES", "auto")) for part in patches.parts]
    starts = np.cumsum([0, *map(len, patches.parts)])

    def around(i):
        source = patches.source_of[i]
        return known[source] and surroundings(patches.parts[source], known[source], i - starts[source])

    return around


def draw_rows(model, patches, indices, threshold, around=lambda i: None):
    """Return the values of a plots.PanelRow for each patch. around: function from its position to its surroundings."""
    rows = []
    for batch, _, probabilities in predict(model, patches, indices, BATCH_SIZE):
        drawn = zip(batch, patches.read_pictures(batch), patches.read_masks(batch), probabilities, strict=True)
        for i, picture, mask, probability in drawn:
            label, mask = Path(patches.names[i]).stem, mask if patches.labelled[i] else None
            if mask is not None and (mask == 1).any():
                tp, fp, fn, _ = metrics.confusion(mask[None], probability[None] >= threshold)
                label += f"\nDice {metrics.dice(tp, fp, fn)[0]:.2f}"
            rows.append((label, picture.astype("float32"), mask, probability, around(i)))
    return rows


def augmented(run):
    """Apply each augmentation to some patches with landslides.

    Returns:
        ({name of the augmentation: (images, masks)}, indices of red, green and blue).
    """
    cache_dir = Path(RESULTS_DIR, "cache")
    patches, indices, _ = dataset.open_for_run(run, SPLIT, DATA_DIR, cache_dir, SKIP_BAD)
    rng = np.random.default_rng(SEED)
    drawn = (i for i in rng.permutation(indices) if (patches.read_masks([i]) == 1).any())
    with_landslide = list(itertools.islice(drawn, max(SAMPLES, 2)))
    if len(with_landslide) < 2:  # some augmentations mix two patches
        raise script.UserError(f"{patches.data_dir}: fewer than two patches with landslides in the {SPLIT} split")
    images, masks = patches.read(with_landslide), patches.read_masks(with_landslide)
    light = optical_bands(patches.bands)
    columns = {"as it is": (images, masks)}
    for name, augmentation in augment.AUGMENTATIONS.items():
        square = images.shape[1] == images.shape[2]
        if (name == "dihedral" and not square) or (name == "compression" and len(light) != 3):
            continue
        everywhere = {"fraction": 1.0} if "fraction" in inspect.signature(augmentation).parameters else {}
        columns[name] = augmentation(images, masks, rng, light, **everywhere)
    return columns, true_colour(patches.bands)


if __name__ == "__main__":
    script.start(main)
