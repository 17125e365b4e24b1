"""Landslides as objects: connected areas of a mask, by size, detected or missed.

Pixels that touch at a side or a corner belong to one object. Of a landslide at the edge of a patch, only the part
inside counts. Sizes are in pixels; a pixel of 10 m (Sentinel-2) is 100 m2.
"""

import numpy as np
import scipy  # which loads its parts on first use

import metrics

SIZES = (1, 10, 30, 100, 300, 1000)  # smallest size of each class, in pixels; the last has no upper limit
DETECTED_SHARE = 0.5  # a landslide counts as detected if at least this share of its pixels is predicted
NEIGHBOURS = np.ones((3, 3), int)


def match_objects(mask, predicted):
    """Match the labelled and the predicted objects of one patch (mask: H x W, 0, 1 or 255; predicted: 0/1 or bool).

    The false-alarm pixels of a predicted object count for the labelled object that it overlaps most. A predicted object
    without overlap is a false object.

    Returns:
        list of dicts, one for each object, with `pixels` (labelled; 0 for a false object), `tp`, `fn`, `fp`.
    """
    predicted = np.asarray(predicted, bool) & (np.asarray(mask) <= 1)  # 255 is not labelled
    mask = np.asarray(mask) == 1
    true, count = scipy.ndimage.label(mask, NEIGHBOURS)
    predicted_labels, _ = scipy.ndimage.label(predicted, NEIGHBOURS)
    pixels = np.bincount(true.ravel(), minlength=count + 1)[1:]
    tp = np.bincount(true[predicted], minlength=count + 1)[1:]
    fn, fp, false_objects = pixels - tp, np.zeros(count, int), []
    for label, box in enumerate(scipy.ndimage.find_objects(predicted_labels), 1):
        overlap = np.bincount(true[box][predicted_labels[box] == label])
        if len(overlap) > 1:
            fp[overlap[1:].argmax()] += overlap[0]
        else:
            false_objects.append({"pixels": 0, "tp": 0, "fn": 0, "fp": int(overlap[0])})
    counts = zip(*(values.tolist() for values in (pixels, tp, fn, fp)), strict=True)
    return [dict(zip(("pixels", "tp", "fn", "fp"), row, strict=True)) for row in counts] + false_objects


def by_size(objects):
    """Score all objects of a split: a list of dicts, one for each of SIZES.

    `objects`: number of labelled objects. `detected`: share of them that are predicted by DETECTED_SHARE or more.
    `touched`: share with any pixel predicted. `dice`: pooled over their pixels and the false alarms that count for
    them. `false_objects`: number of predicted objects of that size without overlap. Shares and Dice of a class without
    labelled objects are None.
    """
    table = []
    true = np.array([(o["pixels"], o["tp"], o["fn"], o["fp"]) for o in objects if o["pixels"]], int).reshape(-1, 4)
    false = np.array([o["fp"] for o in objects if not o["pixels"]], int)
    for low, high in zip(SIZES, (*SIZES[1:], np.inf), strict=True):
        pixels, tp, fn, fp = true[(true[:, 0] >= low) & (true[:, 0] < high)].T
        labelled = len(pixels) > 0
        table.append(
            {
                "pixels_from": low,
                "pixels_to": None if high == np.inf else high - 1,
                "objects": len(pixels),
                "detected": float((tp >= DETECTED_SHARE * pixels).mean()) if labelled else None,
                "touched": float((tp > 0).mean()) if labelled else None,
                "dice": float(metrics.dice(tp.sum(), fp.sum(), fn.sum())) if labelled else None,
                "false_objects": int(((false >= low) & (false < high)).sum()),
            }
        )
    return table
