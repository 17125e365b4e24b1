"""Work on a desk in headless Chromium as a person does, with mouse, finger and keys; stop at the first failure.

    python tests/checks/desk_in_browser.py --desk results/rgb/maps/scene_desk.html --out-dir /tmp/pictures

The first box must hold two predicted polygons at least. Needs Chromium (Debian: apt-get install chromium) and
playwright (pip install playwright). Writes screenshots and the saved file.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import shapely

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from tests.checks.label_by_mouse import of_sides, open_desk

LANDSLIDE, OTHER, UNSURE = "landslide", "not landslide", "unsure"
PHONE = {"width": 390, "height": 844}


def main():
    """Work on a page with the mouse, and by touch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--desk", required=True, type=Path, help="the HTML file")
    parser.add_argument("--out-dir", default=Path(), type=Path, help="folder of the screenshots")
    parser.add_argument("--browser", default=shutil.which("chromium"), help="path of Chromium")
    flags = parser.parse_args()
    check(flags.desk, flags.out_dir, flags.browser)
    check_touch(flags.desk, flags.out_dir, flags.browser)
    print(f"{flags.desk}: opens in {seconds_to_open(flags.desk, flags.browser):.1f} s")


def middle_ring(box, radius=0.2, corners=7):
    """Return an outline around the middle of a box, [top, left, bottom, right], whose corners lie between pixels."""
    top, left, bottom, right = box
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False) + 0.3
    middle = np.array([left + right, top + bottom]) / 2
    return (middle + radius * (bottom - top) * np.column_stack([np.cos(angles), np.sin(angles)])).tolist()


def finished_boxes(page):
    """Return {id of a finished box: {id of a feature: (verdict, shapely polygon in pixels, in normal order)}}."""
    boxes = page.evaluate("Object.fromEntries(Object.entries(state.boxes).filter(([_, box]) => box.finished))")
    return {
        name: {
            each["id"]: (each["verdict"], shapely.Polygon(each["rings"][0], each["rings"][1:]).normalize())
            for each in box["features"]
        }
        for name, box in boxes.items()
    }


def check(desk, out_dir, browser):
    """Draw, judge, undo, finish, save, reload and go on.

    Returns:
        (path of the saved file, what `finished_boxes` returns at that moment).
    """
    saved = out_dir / "labels.geojson"
    with open_desk(desk, browser) as person:
        page = person.page
        page.screenshot(path=out_dir / "desk_first.png")
        box, start = page.evaluate("boxes.get(current).box"), person.work()
        assert len(start["features"]) >= 2 and not start["finished"], "the first box has predicted polygons"
        ring = middle_ring(box)

        person.press("a")
        person.press("x")
        verdicts = [feature["verdict"] for feature in person.work()["features"]]
        assert verdicts[:2] == [LANDSLIDE, OTHER] and set(verdicts[2:]) <= {None}, "keys judge one after the other"
        person.press("Control+z")
        assert [each["verdict"] for each in person.work()["features"]][:2] == [LANDSLIDE, None], "undo"
        person.press("k")
        person.press("j")
        page.evaluate("select(state.boxes[current].features[1].id)")
        person.press("u")
        assert person.work()["features"][1]["verdict"] == UNSURE

        person.press("d")
        for point in ring[:3]:
            person.click(point)
        page.screenshot(path=out_dir / "desk_drawing.png")
        person.press("z")
        for point in ring[2:]:
            person.click(point)
        person.press("Enter")
        drawn = person.work()["features"][-1]
        assert drawn["source"] == "drawn" and drawn["verdict"] == LANDSLIDE and len(drawn["rings"]) == 1
        assert len(drawn["rings"][0]) == len(ring), "a corner that was taken back is gone"
        pixels = 1 / page.evaluate("map.getZoomScale(map.getZoom(), 0)")
        np.testing.assert_allclose(drawn["rings"][0], ring, atol=1.5 * pixels)  # a click is a pixel of the screen

        person.draw(middle_ring(box, 0.08, 5), "hole")
        assert len(person.work()["features"][-1]["rings"]) == 2, "the hole is cut"
        person.press("e")
        corner = person.work()["features"][-1]["rings"][0][0]
        person.drag(corner, [corner[0] + 6, corner[1] + 5])
        moved = person.work()["features"][-1]["rings"]
        assert len(moved) == 2 and moved[0] != drawn["rings"][0], "a corner is dragged"
        page.screenshot(path=out_dir / "desk_reshaping.png")
        person.press("Enter")
        person.press("Control+z")
        person.press("Control+z")
        assert len(person.work()["features"][-1]["rings"]) == 1, "undo takes back the corner, then the hole"
        person.draw(middle_ring(box, 0.08, 5), "hole")
        star = middle_ring(box, 0.12, 5)
        person.draw([star[i] for i in (0, 2, 4, 1, 3)])
        parts = [each for each in person.work()["features"] if each["id"].startswith(page.evaluate("selected"))]
        assert all(shapely.Polygon(each["rings"][0]).is_valid for each in parts), (
            "an outline that crosses itself is cut"
        )
        person.press("Control+z")
        assert person.page.evaluate("crosses([[[0, 0], [4, 4], [4, 0], [0, 4]]])")

        person.press("f")
        if any(each["verdict"] is None for each in person.work()["features"]):
            assert not person.work()["finished"] and "no verdict" in page.locator("#message").inner_text()
            page.screenshot(path=out_dir / "desk_refused.png")
            person.press("f")
        assert person.work()["finished"] and all(each["verdict"] for each in person.work()["features"])
        asked = []
        page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
        page.close(run_before_unload=True)
        page.wait_for_timeout(500)
        assert asked == ["beforeunload"], "leaving asks"
        for key in ("b", "s", "m"):
            person.press(key)
            page.wait_for_timeout(200)
            page.screenshot(path=out_dir / f"desk_layer_{key}.png")
        page.locator("#by").fill("Ada")
        person.press("Escape")
        page.locator("h1").click()
        person.press("n")
        person.draw(middle_ring(page.evaluate("boxes.get(current).box"), 0.1))
        for _ in range(2):
            if not person.work()["finished"]:
                person.press("f")
        assert person.work()["by"] == "Ada"
        person.press("?")
        page.wait_for_timeout(200)
        page.screenshot(path=out_dir / "desk_help.png")
        page.locator("dialog button").click()
        person.save(saved)
        page.screenshot(path=out_dir / "desk_saved.png")
        features = finished_boxes(page)

        page.reload()
        assert finished_boxes(page) == features, "the browser keeps the work, to the hundredth of a pixel"
        assert page.locator("#save").inner_text() == "Saved"
        check_file(json.loads(saved.read_text()))
        person.press("d")  # and go on
        for point in middle_ring(page.evaluate("boxes.get(current).box"), 0.15, 4):
            person.click(point)
        person.press("Enter")
        assert person.work()["features"][-1]["source"] == "drawn"
        theirs = out_dir / "labels_of_ada.geojson"
        person.save(theirs)

    with open_desk(desk, browser) as person:  # another person on another machine
        person.open(saved)
        assert finished_boxes(person.page) == features, "a file that is opened gives the same pixels"
        person.page.evaluate("step(-1)")
        for _ in range(2):
            if not person.work()["finished"]:
                person.press("f")
        number = person.page.evaluate("Object.values(state.boxes).filter(box => box.finished).length")
        person.open(theirs)
        person.page.screenshot(path=out_dir / "desk_joined.png")
        assert number == person.page.evaluate("Object.values(state.boxes).filter(box => box.finished).length")
        later = json.loads(saved.read_text())
        later["boxes"][0]["when"], later["features"] = "2999-01-01T00:00:00.000Z", []
        (out_dir / "later.geojson").write_text(json.dumps(later))
        person.open(out_dir / "later.geojson")
        assert "differ from yours: 1, of which 1 are taken" in person.page.locator("#message").inner_text()
        assert not finished_boxes(person.page)[later["boxes"][0]["id"]], "the later one counts"
        person.open(saved)
        assert "differ from yours: 1, of which 0 are taken" in person.page.locator("#message").inner_text()
        person.press("Control+z")
        person.press("Control+z")
        assert finished_boxes(person.page)[later["boxes"][0]["id"]], "undo takes back what was opened"
        other = json.loads(saved.read_text())
        other["scene"]["digests"] = ["0" * 16]
        (out_dir / "other.geojson").write_text(json.dumps(other))
        person.open(out_dir / "other.geojson")
        assert "another scene" in person.page.locator("#message").inner_text()
    refusing = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('not allowed'); }})"
    with open_desk(desk, browser, first=refusing) as person:
        assert person.page.locator("#storage").is_visible(), "a browser that keeps nothing says so"
        person.press("a")
        assert person.work()["features"][0]["verdict"] == LANDSLIDE
    return saved, features


def check_file(content):
    """The saved file is GeoJSON by RFC 7946: degrees, closed rings, outlines counterclockwise, holes clockwise."""
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        outline, *holes = map(shapely.LinearRing, feature["geometry"]["coordinates"])
        if content["scene"]["coordinates"] == "longitude, latitude":
            assert outline.is_ccw and not any(hole.is_ccw for hole in holes)
            assert np.abs(shapely.get_coordinates(outline)).max() <= 180


def check_touch(desk, out_dir, browser):
    """Draw, judge and finish at the width of a phone, by touch; nothing is wider than the screen."""
    with open_desk(desk, browser, touch=True, viewport=PHONE) as person:
        page = person.page
        page.screenshot(path=out_dir / "desk_phone.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        box = page.evaluate("boxes.get(current).box")
        person.push("accept")
        assert person.work()["features"][0]["verdict"] == LANDSLIDE
        person.draw(middle_ring(box, 0.25, 5))
        page.screenshot(path=out_dir / "desk_phone_drawn.png")
        drawn = person.work()["features"][-1]
        assert drawn["source"] == "drawn" and len(drawn["rings"][0]) == 5
        assert of_sides(box).contains(shapely.Polygon(drawn["rings"][0]))
        for _ in range(2):
            if not person.work()["finished"]:
                person.push("finish")
        assert person.work()["finished"]
        for button in page.locator("button:visible").all():
            if (size := button.bounding_box()) and "leaflet" not in (button.get_attribute("class") or ""):
                assert size["height"] >= 40, f"{button.inner_text()} is too small for a finger"


def seconds_to_open(desk, browser):
    """Return how long the page takes to show its first box."""
    began = time.monotonic()
    with open_desk(desk, browser) as person:
        person.page.wait_for_function("pictures.after.getElement().complete && state")
        return time.monotonic() - began


if __name__ == "__main__":
    main()
