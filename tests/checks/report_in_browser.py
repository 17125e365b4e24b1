"""Open the report of a map in headless Chromium and use it as a reader does; stop at the first thing that fails.

    python tests/checks/report_in_browser.py --report results/rgb/maps/scene_report.html --out-dir /tmp/pictures

Needs Chromium (Debian: apt-get install chromium) and playwright (pip install playwright). Writes two screenshots.
"""

import argparse
import shutil
from pathlib import Path


def main():
    """Load, filter, sort, click a row, and compare with what the page should show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", required=True, type=Path, help="the HTML file")
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
        page = opened.new_page(viewport={"width": 1280, "height": 1000})
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(report.resolve().as_uri())
        page.wait_for_selector("#map .leaflet-image-layer")
        page.screenshot(path=out_dir / "report_top.png")
        total = page.evaluate("data.polygons.length")
        rows = "document.querySelectorAll('#rows tbody tr:not([hidden])').length"
        drawn = "shapes.filter(shape => map.hasLayer(shape)).length"
        assert page.evaluate(rows) == page.evaluate(drawn) == total, "all polygons are shown at first"
        middle = page.evaluate("data.polygons.map(row => row.confidence).sort()[Math.floor(data.polygons.length / 2)]")
        middle = 0.5 if middle is None else middle  # of no polygons
        page.fill("#confidence", str(round(100 * middle)))
        expected = page.evaluate(f"data.polygons.filter(row => row.confidence >= {round(100 * middle)} / 100).length")
        assert page.evaluate(rows) == page.evaluate(drawn) == expected, "the slider filters by confidence"
        page.fill("#confidence", "0")
        page.fill("#opacity", "70")
        assert page.evaluate("layers.probability.options.opacity") == 0.7
        if total:
            page.click("#rows th[data-key=confidence]")
            shown = page.locator("#rows tbody tr").first.locator("td").nth(2).inner_text()
            highest = page.evaluate("Math.max(...data.polygons.map(row => row.confidence))")
            assert float(shown) == highest, "a click on a heading sorts"
            before = page.evaluate("map.getZoom()")
            page.locator("#rows tbody tr").first.click()
            page.wait_for_timeout(600)
            assert page.evaluate("map.getZoom()") > before and page.locator(".leaflet-popup").count() == 1
        if page.locator("#split").count():
            page.fill("#split", "50")
            assert "rect" in page.evaluate("map.getPane('before').style.clip")
        page.screenshot(path=out_dir / "report_used.png", full_page=True)
        opened.close()
    outside = [url for url in requests if not url.startswith(("file:", "data:"))]
    assert not faults, f"errors in the console: {faults}"
    assert not outside, f"the page asks the network for {outside[:3]}"
    return f"{report}: {report.stat().st_size / 2**20:.1f} MB, {total} polygons, {expected} of them from {middle} on"


if __name__ == "__main__":
    main()
