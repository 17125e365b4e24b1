"""Agreement of the objects of a map and of a reference: matches, recall by size, and the shift between them."""

import numpy as np
from scipy import stats
from scipy.special import expit

import metrics

DIRECTIONS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")
LEVEL = 0.95  # of all intervals
PENALTY = np.array([0.0, 1e-3])  # on intercept and slope, see `logistic`
WHOLE = 0.5  # fraction of an object that has to lie on judged ground; others are left out


def compare_objects(tally, iou_cut, detection_share, overlap_share):
    """Match the objects of a map and a reference; add columns to the tally's two tables of objects.

    Columns of both tables:
        counted: at least WHOLE of the object lies on judged ground.
        overlap: fraction of its judged area that the other side covers.
        partner, iou: the object that it is paired with one to one, -1 if none, and their intersection over union. Pairs
            are taken in order of falling IoU; above 0.5 no other pairing is possible (Kirillov et al. 2019, CVPR).
        matched: the IoU is `iou_cut` or more.
    Column of the reference: `detected`, the objects of the map together cover at least `detection_share` of it.
    Column of the map: `false`, less than `overlap_share` of it lies on the reference.
    """
    one, other, common = tally.pairs
    sides = tally.map_objects, tally.reference_objects
    for objects, own in zip(sides, (one, other), strict=True):
        judged = objects["judged_area"]
        objects["counted"] = (objects["pixels"] > 0) & (judged >= WHOLE * objects["area"])
        covered = np.bincount(own, common, len(judged)) if len(own) else np.zeros(len(judged))
        objects["overlap"] = covered / np.where(judged > 0, judged, 1)
    judged = [objects["judged_area"][own] for objects, own in zip(sides, (one, other), strict=True)]
    iou = common / (judged[0] + judged[1] - common) if len(one) else np.zeros(0)
    partners = [np.full(len(objects["area"]), -1) for objects in sides]  # as indices of overlapping pairs
    for i in np.lexsort((other, one, -iou)):
        if partners[0][one[i]] < 0 and partners[1][other[i]] < 0:
            partners[0][one[i]], partners[1][other[i]] = i, i
    for objects, pair, others in zip(sides, partners, (other, one), strict=True):
        objects["partner"] = np.where(pair >= 0, others[pair], -1) if len(one) else pair
        objects["iou"] = np.where(pair >= 0, iou[pair], 0.0) if len(one) else np.zeros(len(pair))
        objects["matched"] = (pair >= 0) & (objects["iou"] >= iou_cut)
    sides[0]["false"] = sides[0]["overlap"] < overlap_share
    sides[1]["detected"] = sides[1]["overlap"] >= detection_share * (1 - 1e-9)


def one_to_one(mapped, reference):
    """Return the scores of one-to-one matches among the counted objects of both tables."""
    tp = int((reference["matched"] & reference["counted"]).sum())
    extra = int((~mapped["matched"] & mapped["counted"]).sum())
    missed = int((~reference["matched"] & reference["counted"]).sum())
    return {
        "matched": tp,
        "precision": float(metrics.precision(tp, extra)),
        "recall": float(metrics.recall(tp, missed)),
        "f1": float(metrics.dice(tp, extra, missed)),
    }


def proportion(name, hits, number):
    """Return {name_share, name_low, name_high}: hits / number with its Wilson interval (Wilson 1927), None of 0."""
    if not number:
        return dict.fromkeys((f"{name}_share", f"{name}_low", f"{name}_high"))
    interval = stats.binomtest(hits, number).proportion_ci(LEVEL, method="wilson")
    return {f"{name}_share": hits / number, f"{name}_low": float(interval.low), f"{name}_high": float(interval.high)}


def by_size(mapped, reference, sizes):
    """Return a row for each class of size, and one for all sizes, of the counted objects of both tables.

    sizes: the smallest area of each class in m2; the last class has no upper end.
    """
    rows = []
    bounds = [*zip(sizes, (*sizes[1:], np.inf), strict=True), (0, np.inf)]
    for i, (low, high) in enumerate(bounds):
        of_class = [
            objects["counted"] & (objects["area"] >= low) & (objects["area"] < high) for objects in (reference, mapped)
        ]
        number, claimed = (int(each.sum()) for each in of_class)
        detected, false = int(reference["detected"][of_class[0]].sum()), int(mapped["false"][of_class[1]].sum())
        rows.append(
            {
                "from_m2": low,
                "to_m2": None if high == np.inf else high,
                "all": int(i == len(sizes)),
                "reference": number,
                "detected": detected,
                **proportion("detected", detected, number),
                "touched_share": float((reference["overlap"][of_class[0]] > 0).mean()) if number else None,
                "matched": int(reference["matched"][of_class[0]].sum()),
                "mapped": claimed,
                "false": false,
                **proportion("false", false, claimed),
            }
        )
    return rows


# ---------------------------------------------------------------------- recall by size


def half_recall_size(area, detected, draws=1000, seed=0):
    """Estimate the area at which recall is one half, by logistic regression on the logarithm of area.

    Args:
        area: of the reference landslides in m2. detected: bool, whether the map covers each.
        draws, seed: of the bootstrap over landslides.

    Returns:
        dict of area_m2, low and high (95 % percentile interval), intercept and slope (of log10 of the area); or of
        `reason`, why the area is unknown: there are fewer than ten landslides, all or none are detected, more than
        2.5 % of the draws do not rise with area, so that the interval has no end, or no landslide is as large or small.
    """
    area, detected = np.asarray(area, float), np.asarray(detected, bool)
    if len(area) < 10:
        return {"reason": f"there are only {len(area)} landslides, and ten are needed"}
    if detected.all() or not detected.any():
        return {"reason": f"{'all' if detected.all() else 'none'} of the {len(area)} landslides are detected"}
    x = np.log10(area)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=draws)
    parts = np.array_split(drawn, -(-draws * len(x) // 10**6))  # bounds the memory
    halves = np.concatenate([half_of(*logistic(x, detected, part)) for part in parts])
    intercept, slope = (float(each[0]) for each in logistic(x, detected, np.ones((1, len(x)))))
    if np.isnan(halves).mean() > (1 - LEVEL) / 2 or not slope > 0:
        return {"reason": "recall does not clearly grow with size"}
    low, high = np.nanquantile(halves, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    half = -intercept / slope
    if not x.min() <= half <= x.max():
        ends = f"below the smallest, {area.min():.0f}", f"above the largest, {area.max():.0f}"
        return {"reason": f"it lies {ends[int(half > x.max())]} m2, where there are no landslides"}
    low, half, high = (float(10**each) for each in (low, half, high))
    return {"area_m2": half, "low": low, "high": high, "intercept": intercept, "slope": slope}


def logistic(x, detected, weights):
    """Fit P(detected) = 1 / (1 + exp(-(intercept + slope x))) to many weightings of the same data at once.

    Newton's method on the likelihood, for all draws together: a call to a library for each of a thousand draws takes
    seconds. A penalty of slope^2 / 2000 (of standardised x) keeps the slope finite where x separates the two outcomes,
    and changes little elsewhere.

    Args:
        x, detected: n values. weights: draws x n.

    Returns:
        (intercepts, slopes), one for each draw; NaN for a draw with one outcome only.
    """
    centre, spread = x.mean(), x.std() or 1.0
    design = np.column_stack([np.ones(len(x)), (x - centre) / spread])
    beta = np.zeros((len(weights), 2))
    for _ in range(100):
        chance = expit(beta @ design.T)
        gradient = (weights * (detected - chance)) @ design - beta * PENALTY
        products = design[:, :, None] * design[:, None]
        hessian = np.tensordot(weights * chance * (1 - chance), products, 1) + np.diag(PENALTY) + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient[..., None])[..., 0]
        beta += step * np.minimum(1, 2 / np.maximum(np.linalg.norm(step, axis=1), 1e-12))[:, None]
        if np.abs(step).max() < 1e-6:
            break
    hits = weights @ detected
    beta[(hits == 0) | (hits == weights.sum(1))] = np.nan
    slope = beta[:, 1] / spread
    return beta[:, 0] - slope * centre, slope


def half_of(intercept, slope):
    """Return x at which the probability is one half; NaN where it does not rise."""
    rises = slope > 0
    return np.where(rises, -intercept / np.where(rises, slope, 1), np.nan)


# ---------------------------------------------------------------------- shift


def shift(east, north):
    """Estimate how far and in which direction the reference lies from the map.

    The shift is the median of the offsets of paired objects, with a distribution-free interval from their order
    (Conover 1999, Practical Nonparametric Statistics, 3.2). It is significant if the interval of one of the two
    directions, at 97.5 % each, does not hold zero. That takes at least seven pairs.

    Args:
        east, north: metres from each object of the map to its partner in the reference.

    Returns:
        dict of pairs, east_m, north_m, their intervals, distance_m, direction and significant (bool).
    """
    level = 1 - (1 - LEVEL) / 2
    if len(east) < 1:
        return {"pairs": 0, "significant": False}
    record, significant = {"pairs": len(east)}, False
    for name, offsets in (("east", east), ("north", north)):
        interval = stats.quantile_test(offsets, q=0, p=0.5).confidence_interval(level)
        ends = [None if np.isnan(end) else float(end) for end in (interval.low, interval.high)]
        record |= {f"{name}_m": float(np.median(offsets)), f"{name}_ci": ends}
        significant |= None not in ends and not ends[0] <= 0 <= ends[1]
    distance = float(np.hypot(record["east_m"], record["north_m"]))
    angle = np.degrees(np.arctan2(record["east_m"], record["north_m"])) % 360
    direction = DIRECTIONS[round(angle / 45) % 8]
    return record | {"distance_m": distance, "direction": direction, "significant": bool(significant)}
