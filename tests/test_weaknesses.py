"""What weakens a map: each is listed for what it is, and a map with none has no list."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from scenes.pixel_grid import PixelGrid
from scenes.weaknesses import OTHER_PIXELS, Weakness, has_learnt_here, list_weaknesses
from tests.rasters import GRID, LEFT, TOP, UTM, write_raster

SOUND = {"clouds": "SCL", "seen": "1.0000", "excluded": "0.0000", "dem": "dem.tif", "before": "before.tif"}
SOUND |= {"distance_from_training": "at home: 0% of 36 windows look unlike what the model learnt from (there 5 %)"}


def titles(about=None, found=(), learnt_here=True, min_slope=8.0):
    return [title for title, _ in list_weaknesses(SOUND | (about or {}), list(found), learnt_here, min_slope)]


def test_a_sound_map_has_none():
    assert titles() == []
    assert titles({"seen": "1.0000", "excluded": "0.3000"}) == []


@pytest.mark.parametrize(
    ("about", "flags", "title"),
    [
        ({"clouds": "unknown"}, {}, "No cloud mask"),
        ({"seen": "0.7100"}, {}, "Not all of it was seen"),
        ({"seen": "0.0000"}, {}, "Nothing was judged"),
        ({"seen": "0.4000", "excluded": "0.4000"}, {}, "Nothing was judged"),
        ({"distance_from_training": "far: 80% of 36 windows look unlike"}, {}, "Far from training"),
        ({"distance_from_training": "near: 20% of 36 windows look"}, {}, "Not quite like the training data"),
        (
            {"distance_from_training": "far (see the warnings): 2% of 36 windows look unlike"},
            {"found": [Weakness(OTHER_PIXELS, "pixels of 60 m, and the run learnt")]},
            OTHER_PIXELS,
        ),
        ({}, {"learnt_here": False}, "No labels of this ground"),
        ({}, {"min_slope": 0.0}, "No smallest slope"),
        (
            {},
            {"found": [Weakness("Elevation is missing", "dem.tif covers 80.0% of it")]},
            "Elevation is missing",
        ),
    ],
)
def test_each_is_listed(about, flags, title):
    assert titles(about, **flags) == [title]


def test_what_is_lacking_is_listed_and_the_threshold_says_where_it_was_chosen():
    bare = {key: value for key, value in SOUND.items() if key not in ("dem", "before")}
    chosen = "on ground that the model had not seen, precision 0.54 and recall 0.62"
    listed = dict(list_weaknesses(bare | {"threshold_chosen": chosen}, [], False, 0.0))
    assert list(listed) == ["No labels of this ground", "No elevation", "One picture"]
    assert f"Its threshold was chosen {chosen}: that may not hold here." in listed["No labels of this ground"]


def test_a_run_has_learnt_from_the_ground_of_its_patches(event, cut):
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",), SIZE=64)
    run = SimpleNamespace(config={"data_dir": "event"}, data_folders=["event"])

    def learnt(left, top, crs=UTM, size=10.0):
        return has_learnt_here(run, "x", PixelGrid((30, 30), from_origin(left, top, size, size), CRS.from_string(crs)))

    with open("event/patches.csv", newline="") as file:
        corners = {row["split"]: (float(row["left"]) + 100, float(row["top"]) - 100) for row in csv.DictReader(file)}
    assert learnt(*corners["train"]) and learnt(*corners["validation"]) and not learnt(*corners["test"])
    assert not learnt(LEFT + 20000, TOP) and not learnt(LEFT, TOP + 300)
    lon, lat = PixelGrid((1, 1), GRID, CRS.from_string(UTM)).lon_lat(0, 0)
    assert learnt(lon, lat, "EPSG:4326", 1e-3) and not learnt(lon + 90, lat, "EPSG:4326", 1e-3)
    pixels = PixelGrid((50, 50), Affine.identity(), None)
    assert has_learnt_here(run, "scene", pixels) and not has_learnt_here(run, "other", pixels)
    assert not has_learnt_here(SimpleNamespace(config={}), "scene", pixels)
    gone = SimpleNamespace(config={"data_dir": "gone"}, data_folders=["gone"])
    assert not has_learnt_here(gone, "scene", pixels)


def test_the_report_shows_them_at_its_top(call, workdir):
    write_raster(workdir / "scene.tif", np.full((3, 40, 40), 1, np.float32))
    call("scene.tif")
    text = (workdir / "maps/scene_report.html").read_text()
    top = text[: text.index("<main>")]
    for title in ("No cloud mask", "No labels of this ground", "No elevation", "One picture"):
        assert f"<li><b>{title}:</b>" in top
    assert "<code>--clouds</code>" in top
