"""What a report says of the area of landslides: that it is unknown, until a comparison on that ground has measured it.

A comparison replaces that part of the report's page, so the report is made anew without the scene.
"""

import re
from pathlib import Path

from map_files import FILES
from records import atomic_write
from scenes.web_page import render
from script import note

TEMPLATE = Path(__file__).parent / "report_page" / "area.html"
PART = re.compile("<!-- area -->.*?<!-- end of area -->", re.DOTALL)  # of a page, as TEMPLATE writes it


def area_part(record=None):
    """Return the part of a report on the area of landslides, as HTML.

    record: of scores.json, as compare_maps.py writes it; None before a comparison.
    """
    known, text = "", "What is mapped is no measure of it: a model misses landslides, and takes other ground for them."
    if record:
        known, text = _known_area(record), _comparison_text(record)
    return render(TEMPLATE, {"known": known, "text": text}).strip()


def _known_area(record):
    """Return a sentence on the area that a comparison gives for the whole map; "" if it gives none."""
    area = record["area_m2"]
    if "estimate" in area:
        estimate, low, high = (area_text(area[name]) for name in ("estimate", "low", "high"))
        return f"Landslides cover {estimate} of the ground that was judged (95 % interval {low} to {high})."
    if record["covered_share"] == 1:
        return f"Landslides cover {area_text(area['reference_judged'])} of the ground that was judged."
    return ""


def _comparison_text(record):
    """Return sentences on a comparison: with what, on how much ground, and how well the map did there."""
    area, pixels, share = record["area_m2"], record["pixels"], record["covered_share"]
    reference = Path(record["reference"]).name
    reference += f" inside {', '.join(Path(path).name for path in record['area'])}" if record["area"] else ""
    known = _known_area(record)
    start = f"By comparison with {reference}." if known else f"Compared with {reference}: {area['reason']}."
    part = "all" if share == 1 else f"{share:.0%}" if share >= 0.005 else "less than 1 %"
    return (
        f"{start} On the {area_text(area['judged'])} compared, {part} of the map, it shows "
        f"{area_text(area['map_judged'])} and the reference {area_text(area['reference_judged'])}: precision "
        f"{pixels['precision']:.2f}, recall {pixels['recall']:.2f}."
    )


def area_text(square_metres):
    """Return an area in words: in m², from a tenth of a square kilometre on in km²."""
    return f"{square_metres:.0f} m²" if square_metres < 1e5 else f"{square_metres / 1e6:.3f} km²"


def report_of(path):
    """Return the path of the report beside a mask, probabilities or polygons of predict.py; None if there is none."""
    path = Path(path)
    for ending in (FILES[kind] for kind in ("mask", "probability", "landslides")):
        report = path.with_name(path.name.removesuffix(ending) + FILES["report"])
        if path.name.endswith(ending) and report.exists():
            return report
    return None


def state_area(report, record):
    """Write the result of a comparison into a report, and print that; one that cannot be written stays as it is.

    Args:
        report: path. record: see `area_part`.
    """
    try:
        page, part = report.read_text(encoding="utf-8"), area_part(record)
        stated, number = PART.subn(lambda _: part, page, count=1)
        if not number:
            note(f"{report} does not show the comparison: it was made by a former version of predict.py")
            return
        with atomic_write(report) as partial:
            partial.write_text(stated, encoding="utf-8")
    except OSError as error:
        note(f"{report} does not show the comparison: {error.strerror}")
    else:
        print(f"the area of landslides is stated in {report}")
