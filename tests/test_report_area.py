"""The area of landslides in a report: unknown, until compare_maps.py has measured it on that ground."""

import re

import geopandas
import pytest

from scenes import report_area
from tests.maps import make_bands
from tests.rasters import box, write_raster, write_shapes


def stated(workdir):
    """What a report says of the area, without tags."""
    page = (workdir / "maps/scene_report.html").read_text(encoding="utf-8")
    (part,) = re.findall("<!-- area -->.*?<!-- end of area -->", page, re.DOTALL)
    return re.sub("<[^>]*>", "", part)


@pytest.fixture
def mapped(call, workdir):
    """A folder with the map of a scene, its polygons as a reference, and an area that holds a part of it."""
    write_raster(workdir / "scene.tif", make_bands(200, 300))
    call("scene.tif")
    geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")[["geometry"]].iloc[::2].to_file("truth.gpkg")
    write_shapes(workdir / "part.gpkg", box(0, 0, 200, 180))
    return workdir


def test_a_comparison_states_the_area_in_the_report(mapped, compare, capsys):
    assert "is not known" in stated(mapped)
    for kind in ("mask.tif", "probability.tif", "landslides.gpkg"):
        record = compare(f"maps/scene_{kind}", "truth.gpkg", "part.gpkg")
        area = record["area_m2"]
        texts = [report_area.area_text(area[name]) for name in ("estimate", "low", "high", "judged", "map_judged")]
        assert f"Landslides cover {texts[0]} of the ground" in stated(mapped)
        assert f"(95 % interval {texts[1]} to {texts[2]})" in stated(mapped)
        assert f"with truth.gpkg inside part.gpkg. On the {texts[3]} compared, 60% of the map, it shows {texts[4]}" in (
            stated(mapped)
        )
        assert "the area of landslides is stated in maps/scene_report.html" in capsys.readouterr().out


def test_of_a_map_that_is_compared_as_a_whole_the_area_is_that_of_the_reference(mapped, compare):
    record = compare("maps/scene_mask.tif", "truth.gpkg")
    truth = report_area.area_text(record["area_m2"]["reference_judged"])
    assert f"Landslides cover {truth} of the ground that was judged." in stated(mapped)


def test_an_area_that_a_comparison_does_not_give_stays_unknown(mapped, compare):
    write_shapes(mapped / "tiny.gpkg", box(0, 0, 20, 20))
    compare("maps/scene_mask.tif", "truth.gpkg", "tiny.gpkg")
    assert "is not known" in stated(mapped) and "too small for --block" in stated(mapped)


def test_a_part_of_a_map_and_reports_that_cannot_be_written_leave_it_as_it_is(mapped, compare, capsys):
    page = mapped / "maps/scene_report.html"
    before = page.read_bytes()
    for choice in ({"MIN_CONFIDENCE": 0.5}, {"MAP_WHERE": "id > 3"}):
        compare("maps/scene_landslides.gpkg", "truth.gpkg", "part.gpkg", **choice)
    assert page.read_bytes() == before
    page.write_text("<html>of before</html>")
    compare("maps/scene_mask.tif", "truth.gpkg", "part.gpkg")
    assert "it was made by a former version of predict.py" in capsys.readouterr().out
    page.unlink()
    compare("maps/scene_mask.tif", "truth.gpkg", "part.gpkg")
    assert "report" not in capsys.readouterr().out
    assert report_area.report_of("other.tif") is None


def test_areas_in_words():
    assert [report_area.area_text(area) for area in (4.4, 99999, 265_000)] == ["4 m²", "99999 m²", "0.265 km²"]
