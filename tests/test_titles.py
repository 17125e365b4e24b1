"""The title of a map: the scene and its date, from products and tags."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from scenes import titles
from scenes.pixel_grid import PixelGrid
from tests.rasters import open_scene, write_raster

GRID = PixelGrid((240, 240), from_origin(399960, 5100000, 10, 10), CRS.from_epsg(32632))
PIXELS = PixelGrid((240, 240), Affine.identity(), None)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2023-07-01T10:15:59.024Z", "1 July 2023"),
        ("2023-07-03T", "3 July 2023"),
        ("2018:09:06 11:02:03", "6 September 2018"),
        ("20230801", "1 August 2023"),
        ("20230801T101559Z", "1 August 2023"),
        ("2023-08-01T03:00:00+05:30", "31 July 2023"),  # the day in UTC
        ("2023:08:01 10:15:59.25 +0200", "1 August 2023"),
        ("2023/08/01 10:15 UTC", "1 August 2023"),
        ("2023-W31-2", "1 August 2023"),
        ("2023-213", "1 August 2023"),
        ("2023-366", ""),
        ("01.08.2023", ""),
        ("yesterday", ""),
        ("0000:00:00 00:00:00", ""),
        ("2018-13-40", ""),
        ("", ""),
    ],
)
def test_dates_in_words(time, text):
    assert titles.date_text(time) == text


@pytest.mark.parametrize(
    ("time", "other", "later"),
    [
        ("2023-08-01T05:30:00+05:30", "2023-08-01T00:00:00Z", False),  # one instant
        ("2023-08-01T05:30:00Z", "2023-08-01T05:30:00+05:30", True),
        ("20230802", "2023-08-01T10:15:59Z", True),
        ("20230801", "2023-08-01T10:15:59Z", False),
        ("2023-08-01T10:15:59Z", "20230801", False),
        ("2023:08:01 12:00:00", "2023-08-01T10:15:59Z", False),  # perhaps by a clock of local time
        ("2023:08:03 12:00:00", "2023-08-01T10:15:59Z", True),
        ("2023:08:01 12:00:01", "20230801T120000", True),
    ],
)
def test_which_of_two_times_is_later(time, other, later):
    assert titles.is_later(time, other) == later


def test_a_date_that_is_not_understood_is_named(tmp_path, capsys):
    for text, said in (("01.08.2023", True), ("0000:00:00 00:00:00", False), ("20230801", False), ("", False)):
        path = write_raster(tmp_path / "s.tif", np.ones((3, 20, 20), np.uint8))
        with rasterio.open(path, "r+") as file:
            file.update_tags(acquired=text)
        with open_scene([path], ("red", "green", "blue")) as scene:
            titles.note_unread_time(scene)
        out = capsys.readouterr().out
        assert (f"s.tif: its date, '{text}', is not understood: write it in ISO 8601" in out) == said, text


@pytest.mark.parametrize(
    ("scene", "product", "place"),
    [
        (
            "S2B_MSIL2A_20230701T101559_N0510_R065_T32TPS_20230701T134856",
            "Sentinel-2 Level-2A, baseline 05.10",
            "32TPS",
        ),
        ("S2B_32TPS_20230701_0_L2A", "STAC item of Sentinel-2 Level-2A", "32TPS"),
        ("LC09_L2SP_192028_20230703_20230705_02_T1", "Landsat 9 Collection 2 Level-2SP", "path 192, row 028"),
    ],
)
def test_products_are_named_by_satellite_and_tile(scene, product, place):
    about = {"scene": scene, "source": f"{scene}.SAFE", "product": product, "acquired": "2023-07-01T10:15:59Z"}
    title = titles.scene_title(about, GRID)
    assert place in title and title.endswith(", 1 July 2023") and scene not in title
    assert title.startswith(("Landslides: Sentinel-2, ", "Landslides: Landsat 9, "))


def test_other_scenes_are_named_by_their_position_or_their_file():
    about = {"scene": "x", "source": "data/x.tif"}
    assert titles.scene_title(about, GRID) == "Landslides: 46.04° N, 7.72° E"
    assert titles.scene_title(about, PIXELS) == "Landslides: x.tif"
    about |= {"before": "data/y.tif"}
    assert titles.scene_title(about, PIXELS) == "Landslides: x.tif, new since an earlier picture"
    about |= {"acquired": "2023-07-01", "acquired_before": "2022-07-03T10:00:00Z"}
    assert titles.scene_title(about, PIXELS) == "Landslides: x.tif, 1 July 2023, new since 3 July 2022"
    assert titles.position_text(190.0, -3.25) == "3.25° S, 170.00° W"


@pytest.mark.parametrize(
    ("domain", "name", "time"),
    [("IMAGERY", "ACQUISITIONDATETIME", "2018-09-06 11:02:03"), (None, "EXIF_DateTimeOriginal", "2018:09:06 11:02:03")],
)
def test_the_date_of_a_raster_is_that_of_its_tags(tmp_path, domain, name, time):
    path = write_raster(tmp_path / "s_20200101.tif", np.ones((3, 20, 20), np.uint8))
    with open_scene([path], ("red", "green", "blue")) as scene:
        assert titles.acquisition_time(scene) == ""
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2021:01:01 00:00:00")
        file.update_tags(ns=domain, **{name: time})
    with open_scene([path], ("red", "green", "blue")) as scene:
        assert titles.date_text(titles.acquisition_time(scene)) == "6 September 2018"
