"""Open the report of a map in headless Chromium and use it as a reader does; stop at the first thing that fails.

    python tests/checks/report_in_browser.py results/rgb/maps/scene_report.html --out-dir /tmp/pictures

Needs Chromium (Debian: apt-get install chromium) and playwright (pip install playwright). Writes screenshots, on a wide
screen and on a phone, and what the page saves: selection.csv and selection.geojson.
"""

import argparse
import shutil
from pathlib import Path

WIDE = {"viewport": {"width": 1400, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "is_mobile": True}
ROWS = "document.querySelectorAll('#rows tbody tr').length"
DRAWN = "shapes.filter(shape => map.hasLayer(shape)).length"


def main():
    """Load, filter, sort, click rows and polygons, save, and compare with what the page should show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="the HTML file")
    parser.add_argument("--out-dir", default=Path(), type=Path, help="folder of the screenshots")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="path of Chromium")
    flags = parser.parse_args()
    print(check(flags.report, flags.out_dir, flags.browser))


def check(report, out_dir, browser):
    """Use a report; returns what it shows as text, and raises AssertionError where it fails."""
    from playwright.sync_api import sync_playwright

    faults, requests = [], []
    with sync_playwright() as library:
        opened = library.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for screen, options in (("wide", WIDE), ("phone", PHONE)):
            page = opened.new_page(**options)
            page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: requests.append(request.url))
            page.goto(report.resolve().as_uri())
            page.wait_for_selector("#map .leaflet-image-layer")
            end = page.evaluate("document.querySelector('main').getBoundingClientRect().bottom")
            part = {"x": 0, "y": 0, "width": options["viewport"]["width"], "height": end}
            page.screenshot(path=out_dir / f"report_{screen}_top.png", full_page=True, clip=part)
            text = use(page, out_dir)
            page.screenshot(path=out_dir / f"report_{screen}_used.png")
            width = page.evaluate("document.documentElement.scrollWidth")
            if screen == "phone":
                width = max(width, page.evaluate("document.querySelector('#rows').getBoundingClientRect().right"))
            assert width <= options["viewport"]["width"], "nothing is wider than the screen"
            page.close()
        opened.close()
    outside = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert not faults, f"errors in the console: {faults}"
    assert not outside, f"the page asks the network for {outside[:3]}"
    return f"{report}: {report.stat().st_size / 2**20:.1f} MB, {text}"


def use(page, out_dir):
    """Use an open page; returns what it shows as text."""
    total = page.evaluate("polygons.length")
    assert page.evaluate(DRAWN) == total and page.evaluate(f"{ROWS} == Math.min({total}, PAGE)"), (
        "all polygons are shown at first"
    )
    middle = page.evaluate("polygons.map(row => row.confidence).sort()[Math.floor(polygons.length / 2)]") or 0.5
    page.fill("#confidence", str(round(100 * middle)))
    expected = page.evaluate(f"polygons.filter(row => row.confidence >= {round(100 * middle)} / 100).length")
    assert page.evaluate(DRAWN) == page.evaluate("kept.length") == expected, "the slider filters by probability"
    save(page, out_dir)
    page.fill("#area", "100")
    assert page.evaluate("kept.length") >= (expected > 0), "the largest area stays"
    page.fill("#area", "0")
    page.fill("#confidence", "0")
    page.fill("#opacity", "70")
    assert page.evaluate("layers.probability.options.opacity") == 0.7
    page.fill("#opacity", "0")
    check_map(page)
    if total:
        check_rows(page, total)
    if page.locator("#split").count():
        page.fill("#split", "50")
        assert "rect" in page.evaluate("map.getPane('before').style.clip")
    return f"{total} polygons, {expected} of them from {middle:g} on"


def save(page, out_dir):
    """Save what is selected, as CSV and, where the scene has a coordinate system, as GeoJSON."""
    for name in ("csv", "geojson"):
        if page.locator(f"#{name}").count():
            with page.expect_download() as download:
                page.click(f"#{name}")
            download.value.save_as(out_dir / f"selection.{name}")
            assert download.value.suggested_filename.endswith(f"_selection.{name}")


def check_map(page):
    """Check proportions, scale bar and the position under the pointer, where the view is that of the start."""
    page.click("#whole")
    page.wait_for_timeout(400)
    corners = "[[0, 0], [-grid.height, grid.width]].map(corner => map.latLngToContainerPoint(corner))"
    first, last = page.evaluate(corners)
    ratio = (last["x"] - first["x"]) / (last["y"] - first["y"])
    metres = page.evaluate("(grid.width * grid.metres[0]) / (grid.height * grid.metres[1])")
    assert abs(ratio / metres - 1) < 0.01, "a metre is as long across the map as down it"
    bar = page.locator(".leaflet-control-scale-line")
    length, unit = bar.inner_text().split()
    across = "map.distance(...[[0, 50], [{}, 50]].map(point => map.containerPointToLatLng(point)))".format(
        bar.bounding_box()["width"]
    )
    measured = page.evaluate(across) / (1000 if unit == "km" else 1)
    assert abs(measured / float(length) - 1) < 0.05, "the scale bar is as long as it says"
    assert page.locator(".north").count() == page.evaluate("Number(grid.north !== null)")
    page.locator("#map").scroll_into_view_if_needed()
    place = page.evaluate("map.getCenter()")
    page.locator("#map").click(position=page.evaluate("map.latLngToContainerPoint(map.getCenter())"))
    row, column = (int(word.strip(",")) for word in page.locator("#position").inner_text().split()[-3::2])
    assert abs(row + place["lat"]) < 40 and abs(column - place["lng"]) < 40, "the position is that of the pointer"


def check_rows(page, total):
    """Check that headings sort, and that a click on a row or a polygon marks both and moves neither out of sight."""
    page.click("#rows th[data-key=confidence]")
    shown = float(page.locator("#rows tbody tr").first.locator("td[data-key=confidence]").inner_text())
    assert abs(shown - page.evaluate("Math.max(...polygons.map(row => row.confidence))")) < 0.006, "a heading sorts"
    row = page.locator("#rows tbody tr").nth(min(3, total - 1))
    row.scroll_into_view_if_needed()
    before = row.bounding_box()
    row.click()
    page.wait_for_timeout(600)
    assert row.bounding_box() == before and "selected" in row.get_attribute("class"), "the row stays where it is"
    held = "map.getBounds().contains(shapes[selected].getBounds())"
    assert page.evaluate(held) and in_sight(page, "#map"), "the map shows the polygon of the row"
    page.keyboard.press("ArrowUp")
    page.wait_for_timeout(600)
    assert page.evaluate("order.indexOf(selected)") == max(0, min(3, total - 1) - 1), "the arrow goes to the row above"
    page.evaluate("void shapes[order[order.length - 1]].fire('click')")
    page.wait_for_timeout(300)
    assert in_sight(page, "#rows tr.selected"), "a click on a polygon brings its row into sight"


def in_sight(page, selector):
    """Return whether the middle of an element is on the screen, with nothing over it."""
    return page.evaluate(
        """selector => {
        const element = document.querySelector(selector), box = element.getBoundingClientRect();
        const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
        return element === top || element.contains(top);
    }""",
        selector,
    )


if __name__ == "__main__":
    main()
