"""The report: one file, complete in itself, that says what the map holds, what weakens it, and what is not known."""

import base64
import csv
import io
import json
import re
import shutil

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image
from rasterio.transform import from_origin

from mask_values import EXCLUDED, HIDDEN
from scenes import report, report_pictures
from tests.checks import report_in_browser
from tests.maps import ground, make_bands
from tests.product_files import SIDE, make_safe
from tests.rasters import write_raster


def data_of(path):
    """The data in the page's script, and the page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r"^const data = (\{.*\});$", text, re.MULTILINE)[1].replace("<\\/", "</")), text


def test_a_report_is_complete_in_itself(call, workdir):
    write_raster(workdir / "scene.tif", make_bands(200, 300))
    call("scene.tif")
    data, text = data_of(workdir / "maps" / "scene_report.html")
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert len(data["polygons"]) == len(table) > 3
    for key in ("area_m2", "class", "confidence", "lon"):
        assert [row[key] for row in data["polygons"]] == table[key].tolist()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    assert "was not measured" in text and "No cloud mask was used" in text
    outlines = [shapely.Polygon(row["rings"][0], row["rings"][1:]) for row in data["polygons"]]
    assert sum(outline.area for outline in outlines) == table["pixels"].sum(), "outlines are exact, and in pixels"
    assert "How large the landslides on this ground are is not known." in text and "most likely" not in text


def test_names_of_files_cannot_break_the_page(call, workdir):
    name = "a<b>&'\"<!--.tif"
    write_raster(workdir / name, make_bands(), crs=None)
    call(name)
    (page,) = (workdir / "maps").glob("*_report.html")
    assert "<b>" not in re.search("<h1>.*</h1>", page.read_text())[0]


def test_a_map_without_polygons_has_a_report(call, workdir):
    write_raster(workdir / "scene.tif", np.zeros((3, 40, 50), np.uint16), nodata=0)
    call("scene.tif")
    data, text = data_of(workdir / "maps" / "scene_report.html")
    assert data["polygons"] == [] and "0 polygons" in text and "Nothing was judged" in text


def test_pixels_of_centimetres_have_areas_and_a_report(call, workdir):
    bands = np.ones((3, 60, 60), np.float32)
    bands[0, ::4, ::4] = 3
    write_raster(workdir / "drone.tif", bands, from_origin(300000, 1500000, 0.2, 0.2))
    call("drone.tif", MIN_AREA=0.0)
    table = geopandas.read_file("maps/drone_landslides.gpkg", layer="landslides")
    assert len(table) == 225 and table["area_m2"].tolist() == pytest.approx([0.04] * 225, rel=0.01)
    data, _ = data_of(workdir / "maps" / "drone_report.html")
    assert {column["key"]: column["digits"] for column in data["columns"]}["area_m2"] == 4


def test_outlines_of_very_many_corners_are_simplified(monkeypatch):
    shapes = np.array([shapely.Point(100 * i, 0).buffer(40, quad_segs=64) for i in range(20)])
    assert report.few_corners(shapes)[1] == 0
    monkeypatch.setattr(report, "CORNERS", 1000)
    few, tolerance = report.few_corners(shapes)
    assert shapely.get_num_coordinates(few).sum() <= 1000 and 0 < tolerance <= 2
    assert max(shapely.hausdorff_distance(few, shapes)) <= tolerance
    assert report.listed_text(7000, 0.5) == (
        "The 5000 largest of 7000 polygons. Outlines are simplified by up to 0.5 pixels. The GeoPackage has them all "
        "and has their exact outlines."
    )
    assert report.listed_text(7, 0) == "7 polygons."


def test_ground_that_is_not_judged_is_drawn_as_in_the_quick_look():
    codes = np.zeros((60, 40), np.uint8)
    codes[:20], codes[30:] = HIDDEN, EXCLUDED
    _, _, content = report_pictures.cover(codes).partition(",")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGBA"))
    step = picture.shape[0] // 60
    assert picture.shape == (60 * step, 40 * step, 4) and step > 10
    opacity = picture[..., 3].reshape(60, step, 40, step)
    assert (opacity[:20] > 0).all() and (opacity[20:30] == 0).all() and (opacity[30:] > 0).all()
    black = (picture[..., :3] == 0).all(-1) & (picture[..., 3] == 255)
    assert 0.05 < black[: 20 * step].mean() < 0.1 and not black[20 * step :].any(), "lines lie on what was not seen"


# ---------------------------------------------------------------------- in a browser


@pytest.fixture
def use(workdir):
    """Use a report in Chromium, see tests/checks/report_in_browser.py; returns what it shows."""
    pytest.importorskip("playwright")
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed")
    return lambda page: report_in_browser.check(page, workdir, shutil.which("chromium"))


@pytest.mark.slow
def test_a_reader_can_use_it_in_a_browser(call, workdir, use):
    """With clouds, without polygons; and with a scene before, and holes in polygons."""
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    scl[60:80] = 8
    call(make_safe(workdir, scl=scl), SCALING="none", BEFORE=(make_safe(workdir / "before", brighter=1),))
    (page,) = (workdir / "maps").glob("*_report.html")
    assert "0 polygons" in use(page)
    write_raster(workdir / "after.tif", make_bands(300, 400))
    write_raster(workdir / "before.tif", ground() - 0.8)
    call("after.tif", BEFORE=("before.tif",))
    assert re.search(r"[1-9]\d* polygons", use(workdir / "maps" / "after_report.html"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", from_origin(13.0, 60.2, 2e-4, 1e-4)),
        ("EPSG:32760", from_origin(830000, 8100000, 10, 10)),  # across 180 degrees
        (None, None),
    ],
)
def test_what_is_selected_is_saved(call, workdir, use, crs, transform):
    bands = make_bands(200, 300)
    bands[0, 40:70, 40:80], bands[0, 50:60, 50:70] = 2.5, 0.5  # with a hole
    write_raster(workdir / "scene.tif", bands, *([transform] if crs else []), crs=crs)
    call("scene.tif")
    use(workdir / "maps" / "scene_report.html")
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    with open(workdir / "selection.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = table[table["id"].isin([int(row["id"]) for row in rows])]
    assert 0 < len(rows) < len(table) and expected["confidence"].min() > table["confidence"].median() - 0.01
    area = "area_m2" if crs else "pixels"
    assert [float(row[area]) for row in rows] == expected[area].tolist()
    if not crs:
        assert not (workdir / "selection.geojson").exists()
        return
    saved = geopandas.read_file(workdir / "selection.geojson")
    assert saved.crs == 4326 and saved["id"].tolist() == expected["id"].tolist() and "verdict" in saved
    assert saved.geometry.is_valid.all() and saved.geometry.exterior.is_ccw.all() and saved.interiors.str.len().max()
    assert saved.total_bounds[0] >= -180.1 and saved.total_bounds[2] <= 180.1
    back = saved.to_crs(table.crs).geometry.to_numpy()
    pixel = abs(transform.a)
    assert shapely.hausdorff_distance(back, expected.geometry.to_numpy()).max() < 0.1 * pixel
