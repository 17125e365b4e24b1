"""The picture of a comparison: detected, missed and falsely mapped pixels, and recall by the size of a landslide."""

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from plots import BLUE, GREY, OUTCOMES, plt, save
from scenes.comparing.tally import DETECTED, FALSE, JUDGED, MISSED, UNSEEN
from scenes.quick_look import add_scale_bar, extent

GROUND = "#595959"  # judged, no landslide; all outcomes stand out from it
SHADES = {UNSEEN: "#ededed", JUDGED: GROUND} | dict(zip((DETECTED, FALSE, MISSED), OUTCOMES.values(), strict=True))


def draw(tally, grid, sizes, half, title, captions, path):
    """Draw both panels.

    Args:
        tally: Tally with its objects compared. grid: PixelGrid. sizes: rows of agreement.by_size.
        half: of agreement.half_recall_size. title: above both panels.
        captions: texts below the map and above the panel of sizes. path: of the PNG.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained", width_ratios=(1.25, 1))
    map_panel(left, tally, grid, captions[0])
    size_panel(right, tally.reference_objects, sizes[:-1], half, captions[1])
    handles = [Patch(facecolor=shade, label=label) for label, shade in OUTCOMES.items()]
    handles.append(Patch(facecolor=GROUND, label="judged, no landslide"))
    if (tally.picture == UNSEEN).any():
        handles.append(Patch(facecolor=SHADES[UNSEEN], edgecolor="grey", label="not judged"))
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def map_panel(axis, tally, grid, note):
    """Draw the outcomes of the pixels; a pixel of the picture shows the highest code of the pixels that it covers."""
    dx, dy = (float(np.median(plane)) * tally.step for plane in grid.pixel_size)
    shades = ListedColormap([SHADES[code] for code in range(len(SHADES))])
    height, width = tally.picture.shape
    style = {"cmap": shades, "vmin": 0, "vmax": len(SHADES) - 1, "interpolation": "nearest"}
    axis.imshow(tally.picture, aspect=dy / dx, extent=(0, width, height, 0), **style)
    left, right, top, bottom = extent(tally.picture > UNSEEN)
    add_scale_bar(axis, (right - left) * dx, dx, "m")
    axis.set(xticks=[], yticks=[], xlim=(left, right), ylim=(bottom, top))
    axis.spines[:].set_visible(False)
    axis.set_xlabel(note + ("\nnorth is up" if grid.is_north_up else ""), fontsize=7)


def size_panel(axis, reference, sizes, half, title):
    """Draw recall by size, with its interval, the fitted curve, and a mark for each landslide."""
    counted = reference["counted"] & (reference["area"] > 0)
    area, detected = reference["area"][counted], reference["detected"][counted]
    axis.set(xscale="log", ylim=(-0.09, 1.09), ylabel="recall: share of landslides detected")
    axis.set_xlabel("area, m² (marks: landslides, detected above, missed below; numbers: landslides of the class)")
    axis.set_yticks(np.linspace(0, 1, 6))
    axis.grid(alpha=0.3)
    if not len(area):
        axis.set(xlim=(1, 10), title="no landslides in the reference")
        return
    for level, outcome, shade in ((1.05, detected, BLUE), (-0.05, ~detected, GREY)):
        axis.plot(area[outcome], np.full(outcome.sum(), level), "|", color=shade, alpha=0.7, markersize=8)
    for row in sizes:
        inside = area[(area >= row["from_m2"]) & (area < (row["to_m2"] or np.inf))]
        if not len(inside):
            continue
        mean, recall = np.exp(np.log(inside).mean()), row["detected_share"]
        spread = [[recall - row["detected_low"]], [row["detected_high"] - recall]]
        axis.errorbar(mean, recall, spread, fmt="o", color=BLUE, capsize=3)
        axis.annotate(f"{row['reference']}", (mean, recall), (6, 4), textcoords="offset points", fontsize=8)
    if "area_m2" in half:
        x = np.geomspace(area.min(), area.max(), 200)
        axis.plot(x, 1 / (1 + np.exp(-(half["intercept"] + half["slope"] * np.log10(x)))), color=BLUE)
        axis.axvline(half["area_m2"], color=GREY, linestyle=":")
        axis.axvspan(half["low"], half["high"], color=GREY, alpha=0.15, linewidth=0)
    axis.set_title(title, fontsize=9)
