"""Landslides as objects: connected areas of a mask, by size, found or missed.

Pixels that touch at a side or a corner belong together; of a landslide that the edge of a patch cuts, the part counts.
Sizes are in pixels: at the 10 m of Sentinel-2 one is 100 m2.
"""

import numpy as np
from scipy import ndimage

import metrics

SIZES = (1, 10, 30, 100, 300, 1000)  # smallest size of each class, in pixels; the last is open
FOUND = 0.5  # share of its pixels from which a landslide counts as found
NEIGHBOURS = np.ones((3, 3), int)


def match_objects(mask, predicted):
    """Objects of one patch: what is labelled and what is predicted (both H x W, 0/1 or bool).

    A connected area of false alarm is charged to the labelled object that its predicted object overlaps most; if it
    overlaps none, it is a false object of its own.

    Returns:
        list of dicts, one for each object, with `pixels` (labelled; 0 for a false object), `tp`, `fn`, `fp`.
    """
    mask, predicted = np.asarray(mask, bool), np.asarray(predicted, bool)
    true, count = ndimage.label(mask, NEIGHBOURS)
    claimed, _ = ndimage.label(predicted, NEIGHBOURS)
    pixels = np.bincount(true.ravel(), minlength=count + 1)[1:]
    tp = np.bincount(true[predicted], minlength=count + 1)[1:]
    fn, fp, false_objects = pixels - tp, np.zeros(count, int), []
    for label, box in enumerate(ndimage.find_objects(claimed), 1):
        overlap = np.bincount(true[box][claimed[box] == label])
        if len(overlap) > 1:
            fp[overlap[1:].argmax()] += overlap[0]
        else:
            false_objects.append({"pixels": 0, "tp": 0, "fn": 0, "fp": int(overlap[0])})
    counts = zip(*(values.tolist() for values in (pixels, tp, fn, fp)), strict=True)
    return [dict(zip(("pixels", "tp", "fn", "fp"), row, strict=True)) for row in counts] + false_objects


def by_size(objects):
    """Scores of all objects of a split, a dict for each of SIZES.

    `objects` labelled ones, `found` share of them with at least FOUND of their pixels called landslide, `touched` share
    with any; `dice` pooled over their pixels and the false alarms charged to them; `false_objects` predicted ones of
    that size which overlap no label. Shares and Dice of a class without labelled objects are None.
    """
    table = []
    true = np.array([(o["pixels"], o["tp"], o["fn"], o["fp"]) for o in objects if o["pixels"]], int).reshape(-1, 4)
    false = np.array([o["fp"] for o in objects if not o["pixels"]], int)
    for low, high in zip(SIZES, (*SIZES[1:], np.inf), strict=True):
        pixels, tp, fn, fp = true[(true[:, 0] >= low) & (true[:, 0] < high)].T
        some = len(pixels) > 0
        table.append(
            {
                "pixels_from": low,
                "pixels_to": None if high == np.inf else high - 1,
                "objects": len(pixels),
                "found": float((tp >= FOUND * pixels).mean()) if some else None,
                "touched": float((tp > 0).mean()) if some else None,
                "dice": float(metrics.dice(tp.sum(), fp.sum(), fn.sum())) if some else None,
                "false_objects": int(((false >= low) & (false < high)).sum()),
            }
        )
    return table
