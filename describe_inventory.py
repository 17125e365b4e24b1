"""Describe the sizes of an inventory of landslides: size-frequency distribution, rollover, exponents and magnitudes.

    python describe_inventory.py --inventory results/rgb/maps/scene_landslides.gpkg
    python describe_inventory.py --inventory landslides.shp --where "Year_obs = 2006"       # the rows of one event
    python describe_inventory.py --inventory landslides.gpkg --area studied.gpkg            # and landslides per km2

Fits the inverse gamma (Malamud et al. 2004), the double Pareto (Stark and Hovius 2001) and a power law of the tail
(Clauset et al. 2009), all by maximum likelihood. Writes statistics.json, size_frequency.csv and size_frequency.png into
results/inventories/<name of the inventory>/. The inventory may come from predict.py or from any GIS.
"""

from pathlib import Path

import numpy as np

import records
import script
from map_files import check_targets
from scores import size_statistics

# ---------------------------------------------------------------------- input and output
INVENTORY = None  # str: vector file of landslide polygons, in any coordinate system
LAYER = ()  # its layers; none: landslides, as predict.py writes it, or the only one
WHERE = None  # str: condition on its columns in SQL, such as "year = 2006"; none: all rows
SPLIT_PARTS = False  # count each part of a multi-part polygon as a landslide of its own
AREA = None  # str: vector file of the ground that was searched: only landslides with a point inside it count
AREA_LAYER = ()  # layers of that file; none: seen, as predict.py writes it, or the only one
AREA_WHERE = None  # str: condition on its columns; none: all rows
OUT_DIR = None  # str: folder for the results; none: results/inventories/<name of the inventory>
OVERWRITE = False  # replace earlier results
# ---------------------------------------------------------------------- statistics
BINS = 10  # bins of the size-frequency distribution in a decade of areas
DRAWS = 500  # inventories drawn for the intervals, and again for the p-value of the power law
SEED = 0  # seed of the draws

RANGES = {"BINS": (1, 100), "DRAWS": (100, 10000), "SEED": (0, 2**32 - 1)}
TITLES = {"inverse_gamma": "inverse gamma", "double_pareto": "double Pareto", "power_law": "power law"}


def main():
    """Read the inventory, fit its sizes, and write and print the statistics."""
    if not INVENTORY:
        raise script.UserError("no inventory: give a vector file of landslide polygons with --inventory")
    folder = Path(OUT_DIR) if OUT_DIR else Path("results", "inventories", Path(INVENTORY).stem)
    targets = [folder / name for name in ("statistics.json", "size_frequency.csv", "size_frequency.png")]
    check_targets(targets, OVERWRITE)

    import plots  # Matplotlib and GDAL are slow to import
    from scenes.comparing.inventory import read_inventory
    from scenes.vectors import Choice

    choice, area_choice = Choice(LAYER, WHERE or ""), Choice(AREA_LAYER, AREA_WHERE, "area-")
    areas, studied, notes = read_inventory(INVENTORY, choice, SPLIT_PARTS, AREA, area_choice)
    print(f"{INVENTORY}: {len(areas)} landslides, {areas.sum() / 1e6:.4g} km2")
    for text in notes:
        script.note(text)
    statistics, fits = statistics_of(areas, studied)
    print_table(statistics)
    source = {
        "inventory": Path(INVENTORY).name,
        "layer": " ".join(LAYER) or None,
        "where": WHERE,
        "area": AREA and Path(AREA).name,
        "notes": notes,
    }
    settings = {"draws": DRAWS, "seed": SEED, "revision": script.revision()}
    records.write_json(targets[0], source | statistics | settings)
    write_bins(areas, fits, targets[1])
    title = f"{Path(INVENTORY).name}: {len(areas)} landslides, {magnitudes(statistics)}"
    bins = size_statistics.histogram(areas, BINS)
    plots.size_frequency(bins, len(areas), curves(areas, fits, statistics), title, targets[2])
    print("written: " + ", ".join(map(str, targets)))


# ---------------------------------------------------------------------- statistics


def statistics_of(areas, studied=None):
    """Compute all statistics of areas in m2.

    studied: area of the searched ground in km2, or None.

    Returns:
        (record as in statistics.json, {name: fit of size_statistics.py}); key `unknown` of the record holds the reason
        for each figure that is missing.
    """
    rng = np.random.default_rng(SEED)
    record = {
        "landslides": len(areas),
        "total_m2": areas.sum(),
        "smallest_m2": areas.min(),
        "median_m2": np.median(areas),
        "mean_m2": areas.mean(),
        "largest_m2": areas.max(),
    }
    if studied:
        densities = {"landslides_per_km2": len(areas) / studied, "landslide_share": areas.sum() / 1e6 / studied}
        record |= {"studied_km2": studied} | densities
    record["mL"] = np.log10(len(areas))
    fits, figures, unknown = size_statistics.fit_all(areas)
    if fits:
        drawn = script.progress(size_statistics.resampled(areas, fits, DRAWS, rng), "intervals", DRAWS)
        intervals = size_statistics.intervals(list(drawn))
    for name, fit in fits.items():
        record[name] = {}
        for figure, value in figures[name].items():
            record[name][figure] = value
            if figure in intervals.get(name, ()):
                record[name][f"{figure}_ci95"] = intervals[name][figure]
        if name != "power_law":
            record[name] |= size_statistics.goodness(fit, areas)
    if law := fits.get("power_law"):
        farther = script.progress(size_statistics.plausibility(areas, DRAWS, rng), "p-value", DRAWS)
        record["power_law"] |= {"in_tail": law.in_tail, "ks_distance": law.distance, "p_value": np.mean(list(farther))}
    return plain(record | {"unknown": unknown}), fits


def plain(value):
    """Return a record with its numbers as Python's own, of six digits."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, np.integer):
        return int(value)
    return float(f"{value:.6g}") if isinstance(value, float) else value


def print_table(statistics):
    """Print the statistics as a table."""
    smallest, median, largest = (with_interval(statistics, f"{name}_m2") for name in ("smallest", "median", "largest"))
    print(f"area in m2: {smallest} to {largest}, median {median}")
    if "studied_km2" in statistics:
        density = f"{statistics['landslides_per_km2']:.3g} landslides per km2"
        print(f"of {statistics['studied_km2']:.4g} km2: {density}, {statistics['landslide_share']:.2%} of the ground")
    rows = [("", "tail exponent", "rollover (m2)", "KS distance", "AIC")]
    for name in (name for name in TITLES if name in statistics):
        fit = statistics[name]
        aic = f"{fit['aic']:.1f}" if "aic" in fit else "-"
        figures = [with_interval(fit, figure) for figure in ("tail_exponent", "rollover_m2")]
        rows.append((TITLES[name], *figures, f"{fit['ks_distance']:.3f}", aic))
    if len(rows) > 1:
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print("\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows))
    if law := statistics.get("power_law"):
        print(
            f"the power law begins at {with_interval(law, 'xmin_m2')} m2 with {law['in_tail']} landslides; "
            f"p = {law['p_value']:.2f}{': it is ruled out' if law['p_value'] <= 0.1 else ''}"
        )
    print(f"magnitude {magnitudes(statistics)}")
    for name, reason in statistics["unknown"].items():
        print(f"unknown: {TITLES.get(name, name)}: {reason}")


def with_interval(fit, figure):
    """Return a figure and its interval as text: areas with three digits, others with two decimals; or a dash."""
    if figure not in fit:
        return "-"
    numbers = [fit[figure], *fit.get(f"{figure}_ci95", ())]
    value, *ends = (f"{float(f'{x:.3g}'):.12g}" if figure.endswith("_m2") else f"{x:.2f}" for x in numbers)
    return f"{value} ({ends[0]} to {ends[1]})" if ends else value


def magnitudes(statistics):
    """Format the magnitudes as text."""
    law = statistics.get("power_law", {})
    return f"mL {statistics['mL']:.2f}" + (f", mLS {with_interval(law, 'mLS')}" if "mLS" in law else "")


# ---------------------------------------------------------------------- files


def write_bins(areas, fits, path):
    """Write the size-frequency distribution: a row for each bin, with the mean density of each fit in it."""
    edges, counts, low, high = size_statistics.histogram(areas, BINS)
    widths = np.diff(edges)
    columns = {"from_m2": edges[:-1], "to_m2": edges[1:], "landslides": counts}
    for name, number in (("density_per_m2", counts), ("density_low", low), ("density_high", high)):
        columns[name] = number / len(areas) / widths
    for name, fit in fits.items():
        tail_share = fit.in_tail / len(areas) if name == "power_law" else 1.0
        columns[name] = tail_share * np.diff(fit.cdf(edges)) / widths
        if name == "power_law":  # not fitted to smaller areas
            columns[name] = np.where(edges[:-1] >= fit.xmin, columns[name].astype(object), None)
    records.write_csv(path, list(columns), zip(*(values.tolist() for values in columns.values()), strict=True))


def curves(areas, fits, statistics):
    """Return the curves of the fits for `plots.size_frequency`: {name: (label, areas, densities, its mark)}.

    The mark is (area, density) of the rollover, or of the start of the power law.
    """
    curves_of_fits = {}
    for name, fit in fits.items():
        law = name == "power_law"
        figure = "xmin_m2" if law else "rollover_m2"
        tail_share = fit.in_tail / len(areas) if law else 1.0
        abscissae = np.geomspace(fit.xmin if law else areas.min(), areas.max(), 300)
        marked_area = statistics[name][figure]
        start = f"{'from' if law else 'rollover'} {with_interval(statistics[name], figure)} m²"
        label = f"{TITLES[name]}: exponent {with_interval(statistics[name], 'tail_exponent')}, {start}"
        mark = marked_area, tail_share * np.exp(fit.log_density(marked_area))
        curves_of_fits[name] = label, abscissae, tail_share * np.exp(fit.log_density(abscissae)), mark
    return curves_of_fits


if __name__ == "__main__":
    script.start(main)
