"""Boxes to label: where the network doubts, and where it may ask."""

import os

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from scipy.stats import entropy

import script
import suggest_boxes
from scenes import suggestions
from script import UserError
from tests.rasters import UTM, write_raster
from tests.running import call_main


@pytest.fixture
def suggest(tmp_path, monkeypatch):
    """Run suggest_boxes.main() in a folder with scene_probability.tif, 5 x 6 tiles of 16 pixels and a rest."""
    monkeypatch.chdir(tmp_path)
    percent = np.random.default_rng(0).integers(0, 10, (1, 85, 100)).astype(np.uint8)
    percent[0, 16:32, 32:48], percent[0, 48:64, 80:96], percent[0, :20, :16] = 50, 40, 255
    write_raster(tmp_path / "scene_probability.tif", percent, nodata=255)

    def run(**constants):
        settings = {"MAP": "scene_probability.tif", "SIZE": 16, "OVERWRITE": True}
        call_main(suggest_boxes, monkeypatch, **settings | constants)
        return geopandas.read_file("scene_boxes.gpkg")

    return run


def test_doubt_is_the_entropy_of_scipy(suggest, tmp_path):
    suggest()
    _, doubt = suggestions.tile_doubt("scene_probability.tif", 16)
    assert doubt.shape == (5, 6) and np.isnan(doubt[0, 0]) and np.isfinite(doubt).sum() == 29
    with rasterio.open("scene_probability.tif") as file:
        p = file.read(1)[64:80, 16:32] / 100
    assert doubt[4, 1] == pytest.approx(entropy(np.stack([p, 1 - p]), base=2).mean(), abs=1e-6)


def test_the_most_doubtful_come_first_and_random_ones_are_spread(suggest):
    boxes = suggest(BY="doubt", BOXES=2)
    assert boxes.crs == UTM and boxes["doubt"].iloc[0] == pytest.approx(1, abs=1e-4)
    assert boxes.geometry.iloc[0].equals(shapely.box(300320, 1499680, 300480, 1499840))
    assert boxes.geometry.iloc[1].equals(shapely.box(300800, 1499360, 300960, 1499520))
    boxes = suggest(BY="random", BOXES=6)
    apart = boxes.geometry.apply(lambda each: boxes.geometry.distance(each))
    assert (apart.to_numpy()[~np.eye(6, dtype=bool)] > 0).all()
    assert suggest(BY="random", BOXES=6).equals(boxes) and not suggest(BY="random", BOXES=6, SEED=1).equals(boxes)
    assert len(suggest(BOXES=100)) == 29  # all that were seen


def test_the_same_map_gives_the_same_bytes(suggest, tmp_path):
    suggest()
    first = (tmp_path / "scene_boxes.gpkg").read_bytes()
    suggest()
    assert (tmp_path / "scene_boxes.gpkg").read_bytes() == first


def test_labelled_ground_and_ground_beyond_the_area_get_no_box(suggest):
    first = suggest(BOXES=5)
    first.to_file("done.gpkg")
    area = shapely.box(300000, 1499200, 300640, 1500000)
    geopandas.GeoDataFrame(geometry=[area], crs=UTM).to_crs(4326).to_file("area.gpkg")
    more = suggest(BOXES=100, LABELLED=("done.gpkg",), AREA=("area.gpkg",))
    inside = sum(area.buffer(1).contains(each) for each in first.geometry)
    assert len(more) == 4 * 5 - 1 - inside and area.buffer(1).contains(shapely.union_all(more.geometry))
    assert shapely.union_all(more.geometry).intersection(shapely.union_all(first.geometry)).area < 1


def test_several_areas_count_together_and_one_elsewhere_is_told(suggest, capsys):
    whole = shapely.box(300000, 1499200, 300640, 1500000)
    parts = {"west": shapely.box(300000, 1499200, 300320, 1500000), "east": shapely.box(300320, 1499200, 300640, 15e5)}
    for name, shape in (parts | {"whole": whole, "far": shapely.box(0, 0, 9, 9)}).items():
        geopandas.GeoDataFrame(geometry=[shape], crs=UTM).to_file(f"{name}.gpkg")
    expected = suggest(BOXES=100, AREA=("whole.gpkg",))
    together = suggest(BOXES=100, AREA=("west.gpkg", "east.gpkg", "far.gpkg"))
    assert together.geometry.equals(expected.geometry)
    assert "warning: far.gpkg does not lie over the map" in capsys.readouterr().out
    with pytest.raises(script.UserError, match="none of the areas lies over the map: far.gpkg, far.gpkg"):
        suggest(AREA=("far.gpkg", "far.gpkg"))


def test_a_map_that_is_cut_short_is_told(suggest, tmp_path):
    suggest()
    os.truncate(tmp_path / "scene_probability.tif", 4000)
    with pytest.raises(script.UserError, match="scene_probability.tif cannot be read: cut short or damaged"):
        suggest()


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"MAP": ""}, "--map"),
        ({"MAP": "nothing.tif"}, "nothing.tif"),
        ({"SIZE": 99}, "smaller than a box"),
        ({"MAP": "scene.tif"}, "holds 900: a mask holds 0 and 1, a probability 0 to 1"),
        ({"OVERWRITE": False}, "--overwrite"),
    ],
)
def test_mistakes(suggest, tmp_path, constants, message):
    write_raster(tmp_path / "scene.tif", np.full((1, 64, 64), 900, np.uint16))
    suggest()
    with pytest.raises(script.UserError, match=message):
        suggest(**constants)


def test_a_mask_is_not_taken_for_percent(tmp_path):
    """compare_maps.py recognises it by the same rule. A map of 0 and 1 percent is known by its name."""
    mask = np.eye(32, dtype=np.uint8)[None]
    path = write_raster(tmp_path / "scene.tif", mask)
    with pytest.raises(UserError, match="scene.tif is a mask: give the probabilities, <scene>_probability.tif of"):
        suggestions.tile_doubt(path, 16)
    _, doubt = suggestions.tile_doubt(write_raster(tmp_path / "scene_probability.tif", mask), 16)
    assert doubt[0, 0] == pytest.approx(entropy([0.01, 0.99], base=2) / 16, abs=1e-6)
