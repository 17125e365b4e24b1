"""Label the boxes of a desk in headless Chromium, with mouse and keys, as a person does who copies an inventory.

    python tests/checks/label_by_mouse.py --desk results/rgb/maps/scene_desk.html --inventory slides.gpkg \
        --out scene_labels.geojson --boxes 10

In each box, predicted polygons that lie within the inventory to four fifths are accepted, the others rejected, and the
outlines of the inventory are drawn, simplified, after zooming to them; then the box is finished. Needs Chromium
(Debian: apt-get install chromium) and playwright (pip install playwright). Writes the file that the page saves.
"""

import contextlib
import shutil
import sys
from pathlib import Path

import numpy as np
import shapely

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
import script
from map_files import FILES
from scenes.pixel_grid import PixelGrid
from scenes.vectors import shapes_over

DESK = None  # str: the page, beside its map
INVENTORY = None  # str: vector file of the landslides to draw
AREA = None  # str: vector file; boxes that do not lie within are left out; none: all boxes
BOXES = None  # int: number of boxes to label, the first ones; none: all
OUT = None  # str: file to write
PICTURES = None  # str: folder for pictures of the steps in the first box; none: no pictures
BROWSER = None  # str: path of Chromium; none: the one on the path
LEAST = 4  # pixels that a landslide must have in a box to be drawn
ACCEPTED = 0.8  # share of a predicted polygon in a box that must lie within the inventory to be accepted
OVER = 2.0  # pixels by which landslides are drawn over the frame of a box
TOLERANCES = (0.5, 1.0, 2.0, 4.0)  # pixels by which an outline is simplified; the first that can be drawn is taken
APART = 14  # pixels of the screen between the corners of an outline, at least: they can be told apart then

RANGES = {"BOXES": (1, None), "LEAST": (1, None), "ACCEPTED": (0, 1), "OVER": (0, None), "APART": (1, None)}


def main():
    """Open the page, label box by box, and save."""
    if not (DESK and INVENTORY and OUT):
        raise script.UserError("give the page with --desk, the landslides with --inventory, and the file with --out")
    import rasterio

    with rasterio.open(DESK.replace(FILES["desk"], FILES["probability"])) as file:
        grid = PixelGrid.of(file)
    slides = shapely.union_all(grid.in_pixels(shapes_over(INVENTORY, grid, areas=True).geometry.to_numpy()))
    ground = shapely.box(0, 0, grid.width, grid.height)
    if AREA:
        ground = shapely.union_all(grid.in_pixels(shapes_over(AREA, grid, areas=True).geometry.to_numpy())).buffer(0.01)
    with open_desk(DESK, BROWSER or shutil.which("chromium")) as person:
        person.pictures, finished = PICTURES, 0
        person.picture("page")
        person.picture("boxes", ".overview")
        for number, sides in enumerate(person.page.evaluate("data.boxes.map(box => box.box)")):
            if number:
                person.press("n")
            if finished != BOXES and ground.contains(of_sides(sides)):
                person.label(slides, of_sides(sides))
                finished, person.pictures = finished + 1, None
        person.save(OUT)
        drawn = person.page.evaluate("Object.values(state.boxes).map(count)")
    totals = {name: sum(each[name] for each in drawn) for name in ("landslides", "others")}
    print(f"{finished} boxes finished, {totals['landslides']} landslides, {totals['others']} rejected: {OUT}")


def of_sides(sides):
    """Return a shapely box of (top, left, bottom, right)."""
    top, left, bottom, right = sides
    return shapely.box(left, top, right, bottom)


@contextlib.contextmanager
def open_desk(path, browser, touch=False, first="", **options):
    """Open a page in a fresh browser; a context manager that yields a Person.

    At its end it raises AssertionError if the page reported an error or asked the network for something.

    Args:
        path: of the page. browser: path of Chromium. touch: whether there is a finger instead of a mouse.
        first: JavaScript that runs before the page. options: of the browser's context, such as viewport.
    """
    from playwright.sync_api import sync_playwright

    faults, requests = [], []
    with sync_playwright() as library:
        opened = library.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        options = {"viewport": {"width": 1280, "height": 860}, "accept_downloads": True} | options
        context = opened.new_context(has_touch=touch, is_mobile=touch, **options)
        page = context.new_page()
        page.add_init_script(first)
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(Path(path).resolve().as_uri())
        yield Person(page, touch)
        opened.close()
    outside = [url for url in requests if not url.startswith(("file:", "data:", "blob:"))]
    assert not faults, f"errors in the console: {faults}"
    assert not outside, f"the page asks the network for {outside[:3]}"


class Person:
    """Somebody at the page, with mouse and keys or a finger. Positions are pixels of the scene, (column, row)."""

    def __init__(self, page, touch=False):
        self.page, self.touch, self.pictures = page, touch, None

    def picture(self, name, part="body"):
        """Write a picture of the page, or of a part of it, a CSS selector, if there is a folder for it."""
        if self.pictures:
            self.page.locator(part).screenshot(path=Path(self.pictures) / f"desk_{name}.png")

    def on_screen(self, points):
        """Return where positions are on the screen: N x 2."""
        code = """points => points.map(point => {
            const at = map.latLngToContainerPoint(toLatLng(point)), {x, y} = map.getContainer().getBoundingClientRect();
            return [at.x + x, at.y + y];
        })"""
        return np.array(self.page.evaluate(code, np.asarray(points, float).tolist()))

    def click(self, point):
        (at,) = self.on_screen([point])
        if self.touch:
            self.page.touchscreen.tap(*at)
        else:
            self.page.mouse.move(*at)
            self.page.mouse.click(*at)

    def drag(self, start, end):
        first, last = self.on_screen([start, end])
        self.page.mouse.move(*first)
        self.page.mouse.down()
        self.page.mouse.move(*last, steps=5)
        self.page.mouse.up()

    def press(self, key):
        self.page.keyboard.press(key)

    def push(self, name):
        """Push a button of the page."""
        button = self.page.locator(f"#{name}")
        button.tap() if self.touch else button.click()

    def draw(self, ring, mode="draw"):
        """Draw an outline and close it; mode: draw or hole."""
        self.push(mode)
        for point in ring:
            self.click(point)
        self.picture(mode)
        assert self.page.evaluate("mode") == mode, "the outline is open until it is done"
        self.push("done")
        assert self.page.evaluate("mode") is None, "and closed then"

    def work(self):
        """Return what is done in the current box."""
        return self.page.evaluate("state.boxes[current]")

    def save(self, path):
        with self.page.expect_download() as download:
            self.push("save")
        download.value.save_as(path)

    def open(self, path):
        self.page.evaluate("say('')")
        self.page.locator("#file").set_input_files(path)
        self.page.wait_for_function("document.getElementById('message').textContent.includes('.geojson')")

    def label(self, slides, box):
        """Label the current box: judge its predicted polygons, draw landslides, and finish it.

        slides: shapely geometry of all landslides. box: shapely box. Both are in pixels.
        """
        for feature in self.work()["features"]:
            if feature["verdict"] is None:
                polygon = shapely.make_valid(shapely.Polygon(feature["rings"][0], feature["rings"][1:])) & box
                self.page.evaluate("id => select(id)", feature["id"])
                self.press("a" if (polygon & slides).area >= ACCEPTED * polygon.area else "x")
            self.picture("judge")  # each replaces the one before
        for part in shapely.get_parts(slides & box.buffer(OVER, join_style="mitre")):
            if (part & box).area < LEAST:
                continue
            self.zoom_to(part)
            if outline := self.outline(part.exterior):
                self.draw(outline)
                for hole in filter(None, map(self.outline, part.interiors)):
                    self.draw(hole, "hole")
        self.press("0")
        self.press("f")
        assert self.work()["finished"]
        self.picture("finished")

    def zoom_to(self, shape):
        """Show a shape as large as the map allows, with ground around it, as with the wheel."""
        left, top, right, bottom = shape.buffer(4).bounds
        code = "sides => map.fitBounds(boundsOf(sides), {animate: false, padding: [70, 40]})"  # beside the buttons
        self.page.evaluate(code, [top, left, bottom, right])

    def outline(self, ring):
        """Return the corners of a ring, simplified until they lie apart on the screen; [] if too few are left."""
        for tolerance in TOLERANCES:
            points = np.array(shapely.Polygon(ring).simplify(tolerance).exterior.coords[:-1])
            places, kept = self.on_screen(points), [0]
            for i in range(1, len(points)):
                if np.linalg.norm(places[i] - places[kept], axis=1).min() >= APART:
                    kept.append(i)
            if len(kept) > 2 and shapely.Polygon(points[kept]).is_valid:
                return points[kept].tolist()
        return []


if __name__ == "__main__":
    script.start(main)
