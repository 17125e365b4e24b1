"""The report: one file, complete in itself, that says what the map holds."""

import json
import re
import shutil

import geopandas
import numpy as np
import pytest
from rasterio.transform import from_origin

from tests.checks import report_in_browser
from tests.maps import ground, make_bands
from tests.product_files import SIDE, make_safe
from tests.rasters import write_raster


def data_of(path):
    """The data in the page's script."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r"^const data = (\{.*\});$", text, re.MULTILINE)[1].replace("<\\/", "</")), text


def test_a_report_is_complete_in_itself(call, workdir):
    write_raster(workdir / "scene.tif", make_bands(200, 300))
    call("scene.tif")
    data, text = data_of(workdir / "maps" / "scene_report.html")
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert len(data["polygons"]) == len(table) > 3
    assert [row["area_m2"] for row in data["polygons"]] == [round(area) for area in table["area_m2"]]
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL))
    assert "was not measured" in text and "No cloud mask was used" in text
    top, left = np.array(data["polygons"][0]["rings"][0]).T[::-1].min(1)
    assert 0 <= top < 200 and 0 <= left < 300, "outlines are in pixels"


def test_names_of_files_cannot_break_the_page(call, workdir):
    name = "a<b>&'\"<!--.tif"
    write_raster(workdir / name, make_bands())
    call(name)
    (page,) = (workdir / "maps").glob("*_report.html")
    assert "<b>" not in re.search("<h1>.*</h1>", page.read_text())[0]


def test_a_map_without_polygons_has_a_report(call, workdir):
    write_raster(workdir / "scene.tif", np.zeros((3, 40, 50), np.uint16), nodata=0)
    call("scene.tif")
    data, text = data_of(workdir / "maps" / "scene_report.html")
    assert data["polygons"] == [] and "0 polygons" in text


def test_pixels_of_centimetres_have_areas_and_a_report(call, workdir):
    bands = np.ones((3, 60, 60), np.float32)
    bands[0, ::4, ::4] = 3
    write_raster(workdir / "drone.tif", bands, from_origin(300000, 1500000, 0.2, 0.2))
    call("drone.tif", MIN_AREA=0.0)
    table = geopandas.read_file("maps/drone_landslides.gpkg", layer="landslides")
    assert len(table) == 225 and table["area_m2"].tolist() == pytest.approx([0.04] * 225, rel=0.01)


@pytest.mark.slow
def test_a_reader_can_use_it_in_a_browser(call, workdir):
    """With a scene before, clouds and polygons; tests/checks/report_in_browser.py has the steps."""
    pytest.importorskip("playwright")
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed")
    scl = np.full((SIDE // 2, SIDE // 2), 4, np.uint8)
    scl[60:80] = 8
    call(make_safe(workdir, scl=scl), SCALING="none", BEFORE=(make_safe(workdir / "before"),))
    (page,) = (workdir / "maps").glob("*_report.html")
    assert "0 polygons" in report_in_browser.check(page, workdir, shutil.which("chromium"))
    write_raster(workdir / "after.tif", make_bands(300, 400))
    write_raster(workdir / "before.tif", ground() - 0.8)
    call("after.tif", BEFORE=("before.tif",))
    assert re.search(
        r"[1-9]\d* polygons",
        report_in_browser.check(workdir / "maps" / "after_report.html", workdir, shutil.which("chromium")),
    )
