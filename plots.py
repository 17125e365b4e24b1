"""Figures of runs: training curves, threshold curves, panels of patches, and comparisons of runs.

Colours are those of Okabe and Ito: readers with any kind of colour blindness can distinguish them.
"""

from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # files only: works without a screen
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch, Rectangle

from records import atomic_write

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#666666"
MOST_SORTED = 1_000_000  # values of a band that percentiles are taken of, about
OUTCOMES = {  # label: colour of a pixel in the overlay
    "detected (true positive)": "#0072B2",
    "false alarm (false positive)": "#E69F00",
    "missed (false negative)": "#F0E442",
}
plt.rcParams.update({"figure.dpi": 130, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})


def save(figure, path):
    """Write a figure, whole or not at all, and close it."""
    with atomic_write(path) as partial:
        figure.savefig(partial, bbox_inches="tight")
    plt.close(figure)


def training_curves(rows, path, kept=None):
    """Plot loss and Dice of training and validation, and the learning rate, over epochs.

    Args:
        rows: as in history.csv. path: of the file. kept: number of the epoch whose model the run keeps; None: that of
            the highest validation Dice.
    """
    epochs = [row["epoch"] for row in rows]
    kept = kept or max(rows, key=lambda row: row["val_dice"])["epoch"]
    figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
    for axis, name, title in ((axes[0], "loss", "loss"), (axes[1], "dice", "Dice (pooled, threshold 0.5)")):
        axis.plot(epochs, [row[name] for row in rows], color=BLUE, marker=".", label="training")
        axis.plot(epochs, [row[f"val_{name}"] for row in rows], color=ORANGE, marker=".", label="validation")
        axis.axvline(kept, color=GREY, linestyle=":", label=f"kept: epoch {kept:.0f}")
        axis.set(title=title, xlabel="epoch")
        axis.legend(frameon=False)
    axes[1].set_ylim(0, 1)
    axes[2].plot(epochs, [row["learning_rate"] for row in rows], color=GREEN, marker=".")
    axes[2].set(title="learning rate, end of epoch", xlabel="epoch", ylim=(0, None))
    for axis in axes:
        axis.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)


def threshold_curve(thresholds, scores, marked, title, path):
    """Plot scores over thresholds.

    Args:
        scores: {name: values} of precision, recall, dice and iou; with landslide-free ground also of
            landslide_free_dice, which counts its false alarms, and landslide_free_pixel_share.
        marked: index of the threshold to mark.
    """
    figure, axis = plt.subplots(figsize=(8, 4), layout="constrained")
    styles = {"dice": (BLUE, "-"), "iou": (GREEN, "-"), "precision": (ORANGE, "--"), "recall": (PURPLE, "-.")}
    styles |= {"landslide_free_dice": (BLUE, ":"), "landslide_free_pixel_share": ("black", ":")}
    labels = {"dice": "Dice", "iou": "IoU", "landslide_free_dice": "Dice with landslide-free ground"}
    labels["landslide_free_pixel_share"] = "share of landslide-free ground"
    for name, (colour, line) in styles.items():
        if name in scores:
            axis.plot(thresholds, scores[name], color=colour, linestyle=line, label=labels.get(name, name))
    threshold, dice = thresholds[marked], scores["dice"][marked]
    axis.axvline(threshold, color=GREY, linestyle=":")
    axis.plot(threshold, dice, "o", color=BLUE, label=f"chosen: {threshold:.3f}, Dice {dice:.3f}")
    axis.set(title=title, xlabel="threshold on the probability", ylabel="pooled score", xlim=(0, 1), ylim=(0, 1.01))
    axis.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))  # beside the curves, which reach everywhere
    save(figure, path)


def ablation(rows, path):
    """Plot the validation Dice of each factor with the spread over its seeds; `rows` as in ablation.csv, best first.

    The band is the baseline, plus and minus the standard deviation of its seeds. Factors within it show no effect.
    """
    figure, axis = plt.subplots(figsize=(7, 1 + 0.24 * len(rows)), layout="constrained")
    for line, row in enumerate(reversed(rows)):
        spread = row["sd"] or 0
        axis.errorbar(row["validation_dice"], line, xerr=spread, fmt="o", color=BLUE, capsize=3 if spread else 0)
        if row["factor"] == "baseline":
            middle = row["validation_dice"]
            axis.axvspan(middle - spread, middle + spread, color=GREY, alpha=0.2, linewidth=0)
            axis.axvline(middle, color=GREY, linestyle=":")
    labels = [f"{row['factor']} ({row['seeds']})" for row in reversed(rows)]
    axis.set_yticks(range(len(rows)), labels)
    axis.set(xlabel="validation Dice (in brackets: seeds)", ylim=(-0.6, len(rows) - 0.4))
    axis.grid(axis="x", alpha=0.3)
    save(figure, path)


def reliability_diagram(mean, landslide_share, pixels, title, path):
    """Plot the share of landslide and the number of pixels over the probability, from `ThresholdCurve.reliability`."""
    figure, (top, bottom) = plt.subplots(
        2, 1, figsize=(4.5, 5), sharex=True, height_ratios=(3, 1), layout="constrained"
    )
    top.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    top.plot(mean, landslide_share, color=BLUE, marker="o", label="measured")
    top.set(title=title, ylabel="observed share of landslide", xlim=(0, 1), ylim=(0, 1))
    top.legend(frameon=False)
    edges = np.linspace(0, 1, len(pixels) + 1)
    bottom.bar(edges[:-1], np.maximum(pixels, 0.5), np.diff(edges), align="edge", color=ORANGE, edgecolor="white")
    bottom.set(xlabel="probability of landslide", ylabel="pixels", yscale="log")
    save(figure, path)


def stretch(image, like=None):
    """Stretch each band of an image (... x bands) from its 2nd to 98th percentile, or from those of `like`, to 0-1.

    Bands are stretched separately, because each released band of Landslide4Sense has its own scale.
    """
    like = (image if like is None else like).reshape(-1, image.shape[-1])
    like = like[:: max(1, len(like) // MOST_SORTED)]
    low, high = np.percentile(np.ascontiguousarray(like.T), [2, 98], axis=1)
    return np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1)


def overlay(colour, mask, predicted):
    """Paint true positives, false positives and false negatives over a grey copy of a picture (H x W x 3).

    mask: H x W, 0 or 1 (bool), or 255 where a pixel is not labelled: such a pixel has no outcome.
    """
    picture = np.repeat(colour.mean(2, keepdims=True), 3, axis=2) * 0.8
    predicted, mask = predicted & (np.asarray(mask) <= 1), np.asarray(mask) == 1
    outcomes = (mask & predicted, ~mask & predicted, mask & ~predicted)
    for pixels, shade in zip(outcomes, OUTCOMES.values(), strict=True):
        picture[pixels] = 0.25 * picture[pixels] + 0.75 * np.array(matplotlib.colors.to_rgb(shade))
    return picture


class PanelRow(NamedTuple):
    """What `panels` draws of a patch.

    Attributes:
        label: text. colour: H x W x 3. mask: H x W of 0, 1 and 255, or None. probability: H x W.
        surroundings: 3 H x 3 W x 3, the patch in the middle and NaN where nothing is known; None if its place is not.
    """

    label: str
    colour: np.ndarray
    mask: np.ndarray | None
    probability: np.ndarray
    surroundings: np.ndarray | None = None


def draw_surroundings(axis, surroundings, shape):
    """Draw a patch of a shape and what adjoins it, with a frame around it; nothing if its place is unknown."""
    if surroundings is None:
        return
    known = np.isfinite(surroundings).all(-1)
    picture = np.ones(surroundings.shape, np.float32)
    picture[known] = stretch(surroundings[known])
    axis.imshow(picture)
    height, width = shape
    frame = Rectangle((width - 0.5, height - 0.5), width, height, fill=False, edgecolor=ORANGE, linewidth=1)
    axis.add_patch(frame)


def panels(rows, threshold, title, path):
    """Draw a row of pictures for each patch: true colour, mask, probability and outcomes of pixels.

    rows: list of the values of PanelRow. Without masks, only the picture, the probability and the pixels at or above
    the threshold are drawn. If the surroundings of any patch are known, they come first.
    """
    rows = [PanelRow(*row) for row in rows]
    labelled = any(row.mask is not None for row in rows)
    placed = any(row.surroundings is not None for row in rows)
    heads = [*(["surroundings"] if placed else []), "true colour", *(["mask"] if labelled else []), "probability"]
    heads.append("detected, false alarm, missed" if labelled else f"probability ≥ {threshold:.3f}")
    figure, axes = plt.subplots(
        len(rows),
        len(heads),
        figsize=(2.2 * len(heads) + 0.9, 2.25 * len(rows) + 0.8),
        squeeze=False,
        layout="constrained",
    )
    for axis, head in zip(axes[0], heads, strict=True):
        axis.set_title(head)
    for line, (label, colour, mask, probability, surroundings) in zip(axes, rows, strict=True):
        colour, predicted = stretch(colour), probability >= threshold
        line[0].set_ylabel(label, fontsize=7)
        if placed:
            draw_surroundings(line[0], surroundings, probability.shape)
            line = line[1:]
        line[0].imshow(colour)
        image = line[-2].imshow(probability, vmin=0, vmax=1, cmap="cividis")
        if mask is None:
            line[-1].imshow(overlay(colour, predicted, predicted))
        else:
            shade = np.where(mask > 1, 0.5, mask)  # grey: not labelled
            line[1].imshow(shade, vmin=0, vmax=1, cmap="gray", interpolation="nearest")
            line[-1].imshow(overlay(colour, mask, predicted), interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, location="right", shrink=min(1, 2 / len(rows)), aspect=25, label="probability")
    if labelled:
        handles = [Patch(facecolor=shade, label=label) for label, shade in OUTCOMES.items()]
    else:
        handles = [Patch(facecolor=OUTCOMES["detected (true positive)"], label="predicted landslide")]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    save(figure, path)


def disagreements(pictures, masks, predicted, number, path):
    """Draw the patches on which runs disagree most: pictures, mask, and the outcomes of each run.

    Args:
        pictures: function from a patch's position to {title: H x W x 3 in 0-1}; outcomes are drawn over the last.
        masks: N x H x W bool.
        predicted: masks of each run, {run: N x H x W bool}.
        number: patches to draw.
        path: of the figure.
    """
    votes = np.sum(list(predicted.values()), axis=0, dtype=np.int16)
    disputed = ((votes > 0) & (votes < len(predicted))).sum((1, 2)) * masks.any((1, 2))
    positions = np.argsort(-disputed, kind="stable")[:number]
    columns = len(pictures(positions[0])) + 1 + len(predicted)
    figure, axes = plt.subplots(len(positions), columns, figsize=(2 * columns, 2.1 * len(positions)), squeeze=False)
    for row, i in enumerate(positions):
        panels_of_patch = pictures(i)
        background = list(panels_of_patch.values())[-1]
        panels_of_patch |= {"mask": masks[i].astype(float)[..., None].repeat(3, -1)}
        panels_of_patch |= {run: overlay(background, masks[i], each[i]) for run, each in predicted.items()}
        for axis, (title, picture) in zip(axes[row], panels_of_patch.items(), strict=True):
            axis.imshow(picture)
            axis.set_axis_off()
            if row == 0:
                axis.set_title(title, fontsize=8)
    figure.suptitle("blue: detected, orange: false alarm, yellow: missed")
    figure.tight_layout()
    save(figure, path)


def augmentations(columns, colours, title, path):
    """Draw patches after each augmentation, one row for each patch, with landslides outlined.

    columns: {name: (images N x H x W x C, masks N x H x W)}, the unchanged ones first, whose range stretches all.
    colours: indices of red, green and blue.
    """
    (before, _), *_ = columns.values()
    width = 8
    bands = -(-len(columns) // width)
    figure, axes = plt.subplots(
        bands * len(before),
        width,
        figsize=(1.5 * width, 1.6 * bands * len(before)),
        squeeze=False,
        layout="constrained",
    )
    for number, (name, (images, masks)) in enumerate(columns.items()):
        top, column = number // width * len(before), number % width
        axes[top, column].set_title(name)
        for i, (image, mask) in enumerate(zip(images, masks, strict=True)):
            axes[top + i, column].imshow(stretch(image[..., colours], before[i][..., colours]))
            axes[top + i, column].contour(
                np.where(mask > 1, 0, mask), [0.5], colors=[OUTCOMES["missed (false negative)"]], linewidths=0.7
            )
    for axis in axes.flat:
        axis.set_axis_off()
    figure.suptitle(title)
    save(figure, path)


def transfer_matrix(rows, path):
    """Draw a heat map of pooled Dice: rows are sources, columns are targets; training and test on one set is framed.

    rows: as in scores.csv of cross_dataset.py; the untouched model of each pair is drawn.
    """
    rows = [row for row in rows if row["method"] in ("in-domain", "untouched")]
    sources = list(dict.fromkeys(row["source"] for row in rows))
    targets = list(dict.fromkeys(row["target"] for row in rows))
    scores = np.full((len(sources), len(targets)), np.nan)
    figure, axis = plt.subplots(figsize=(2.5 + 1.1 * len(targets), 1.6 + 0.6 * len(sources)), layout="constrained")
    for row in rows:
        line, column = sources.index(row["source"]), targets.index(row["target"])
        scores[line, column] = row["dice"]
        dark = row["dice"] < 0.5
        axis.text(column, line, f"{row['dice']:.2f}", ha="center", va="center", color="white" if dark else "black")
        if row["method"] == "in-domain":
            corner = column - 0.48, line - 0.48
            axis.add_patch(plt.Rectangle(corner, 0.96, 0.96, fill=False, color=ORANGE, linewidth=2))
    image = axis.imshow(scores, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    axis.set_xticks(range(len(targets)), targets, rotation=20, ha="right")
    axis.set_yticks(range(len(sources)), sources)
    axis.set(xlabel="tested on (its test split)", ylabel="trained on")
    figure.colorbar(image, label="pooled Dice")
    save(figure, path)


def adaptation(rows, path):
    """Plot Dice over labelled patches of the target, one panel for each pair, with the methods that need no labels.

    rows: as in scores.csv of cross_dataset.py. Dots are draws of labelled patches, lines their means.
    """
    own = {row["target"]: row["dice"] for row in rows if row["method"] == "in-domain"}
    pairs = list(dict.fromkeys((row["source"], row["target"]) for row in rows if row["method"] != "in-domain"))
    columns = min(len(pairs), 4)
    lines = -(-len(pairs) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(3.2 * columns, 2.9 * lines), squeeze=False, sharey=True)
    styles = {"untouched": (GREY, "-"), "normalised": (GREEN, "--"), "histogram matched": (PURPLE, "-.")}
    styles |= {"AdaBN": (ORANGE, ":"), "threshold": ("#56B4E9", "-"), "fine-tuned": (BLUE, "-")}
    for axis, pair in zip(axes.flat, pairs, strict=False):
        of_pair = [row for row in rows if (row["source"], row["target"]) == pair and row["method"] != "in-domain"]
        axis.axhline(own[pair[1]], color="black", linewidth=0.8, label="trained on the target")
        for method, (colour, line) in styles.items():
            draws = [row for row in of_pair if row["method"] == method]
            if draws and draws[0]["labelled"] == "":
                axis.axhline(draws[0]["dice"], color=colour, linestyle=line, label=method)
            elif draws:
                counts = sorted({row["labelled"] for row in draws})
                means = [np.mean([row["dice"] for row in draws if row["labelled"] == count]) for count in counts]
                axis.plot([row["labelled"] for row in draws], [row["dice"] for row in draws], ".", color=colour)
                axis.plot(counts, means, color=colour, linestyle=line, label=method)
        axis.set(title=f"{pair[0]}\n→ {pair[1]}", xlabel="labelled patches of the target", ylim=(0, 1))
        axis.title.set_fontsize(8)
    for axis in axes.flat[len(pairs) :]:
        axis.set_axis_off()
    axes[0, 0].set_ylabel("pooled Dice")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.set_layout_engine("constrained")
    save(figure, path)


def size_frequency(bins, number, curves, title, path):
    """Draw the size-frequency distribution of an inventory with its fits, on logarithmic axes.

    Args:
        bins: of `size_statistics.histogram`. number: of landslides.
        curves: {name of a fit of size_statistics.py: (label, areas in m2, densities, (area, density) of its mark)}.
        title: above the axes. path: of the PNG.
    """
    edges, counts, low, high = bins
    filled = counts > 0
    scale = 1 / number / np.diff(edges)
    figure, axis = plt.subplots(figsize=(6.5, 4.6), layout="constrained")
    axis.errorbar(
        np.sqrt(edges[:-1] * edges[1:])[filled],
        (counts * scale)[filled],
        (np.array([counts - low, high - counts]) * scale)[:, filled],
        fmt="o",
        color=GREY,
        markersize=3.5,
        linewidth=0.8,
        label="inventory, with 95 % of a Poisson number",
    )
    colours = {"inverse_gamma": BLUE, "double_pareto": ORANGE, "power_law": GREEN}
    for name, (label, areas, densities, mark) in curves.items():
        axis.plot(areas, densities, color=colours[name], label=label)
        axis.plot(*mark, "D", color=colours[name], markeredgecolor="white")
    axis.set(xscale="log", yscale="log", xlabel="area (m²)", ylabel="probability density (1/m²)", title=title)
    axis.legend(
        frameon=False,
        fontsize=7,
        loc="lower left",
        title="diamond: rollover, or start of the power law",
        title_fontsize=7,
    )
    save(figure, path)
