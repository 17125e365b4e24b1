"""Products: Sentinel-2 as ESA publishes it, STAC items and Landsat, their values against the published formulas."""

import contextlib
import json
import re
import shutil
import sys
import types

import numpy as np
import pytest
import rasterio

from bands import BANDS_L4S, BANDS_RGB, SCALE_L4S, value_unit
from scenes import scaling, source
from scenes.preparation import CoverSettings, open_covers
from scenes.products import recognition
from scenes.source import SceneInput, SceneSource
from script import UserError
from tests.product_files import SIDE, band_file, digital_number, make_item, make_landsat, make_safe
from tests.rasters import open_scene, write_raster

TWELVE = BANDS_L4S[:12]


@pytest.fixture(scope="module")
def level_2a(tmp_path_factory):
    return make_safe(tmp_path_factory.mktemp("products"))


@pytest.fixture
def copy(level_2a, tmp_path):
    return shutil.copytree(level_2a, tmp_path / level_2a.name)


def zipped(folder):
    return shutil.make_archive(str(folder.with_suffix("")), "zip", folder.parent, folder.name)


# ---------------------------------------------------------------------- Sentinel-2


@pytest.mark.parametrize("level", ["1C", "2A"])
@pytest.mark.parametrize(("baseline", "offset"), [("02.04", None), ("03.01", None), ("04.00", -1000), ("05.11", -900)])
def test_reflectance_is_as_the_metadata_say(tmp_path, level, baseline, offset):
    safe = make_safe(tmp_path, level, baseline, offset, quantification=20000)
    bands = TWELVE if level == "1C" else tuple(band for band in TWELVE if band != "B10")
    with open_scene([safe], bands) as scene:
        assert scene.grid.shape == (SIDE, SIDE) and scene.grid.transform.a == 10
        values, valid = scene.read(0, 20)
    expected = [(digital_number(band) + (offset or 0)) / 20000 * 10000 for band in bands]
    assert values[:, valid] == pytest.approx(np.repeat(np.array(expected)[:, None], valid.sum(), 1))
    assert not valid[:6].any() and valid[15:].all(), "0 is no data, before the offset"


def test_the_forms_of_one_product_read_alike(level_2a, tmp_path):
    archive = zipped(shutil.copytree(level_2a, tmp_path / level_2a.name))
    inside = level_2a / "GRANULE"
    for path in (level_2a, level_2a / "MTD_MSIL2A.xml", level_2a / "manifest.safe", inside, archive):
        product = recognition.open_product([path])
        assert product.name == level_2a.name[:-5] and product.surface and product.time.startswith("2023-07-01T10:15")
        with open_scene([path], BANDS_RGB) as scene:
            values, _ = scene.read(100, 101, 5, 6)
        assert values.ravel().tolist() == [digital_number(band) - 1000 for band in ("B4", "B3", "B2")]
    renamed = shutil.copytree(level_2a, tmp_path / "storm")
    assert recognition.open_product([renamed]).name == level_2a.name[:-5]


def test_bands_of_20_and_60_metres_lie_where_gdal_warps_them(copy):
    path = band_file(copy, "B11", 20)
    with rasterio.open(path) as file:
        profile, values = file.profile, file.read(1)
    values = np.random.default_rng(0).integers(1200, 4000, values.shape).astype(np.uint16)
    with rasterio.open(path, "w", **profile | {"quality": 100, "reversible": "YES"}) as file:
        file.write(values, 1)
    with open_scene([copy], ("B4", "B11")) as scene, rasterio.open(path) as file:
        read = scene.read(40, 80)[0][1]
        with rasterio.vrt.WarpedVRT(
            file,
            resampling=rasterio.enums.Resampling.bilinear,
            crs=file.crs,
            transform=scene.grid.transform,
            width=SIDE,
            height=SIDE,
        ) as view:
            expected = view.read(1, window=((40, 80), (0, SIDE))) - 1000.0
    assert np.abs(read - expected).max() <= 0.5  # GDAL rounds to whole numbers there


def test_an_offset_that_is_given_replaces_that_of_the_metadata(level_2a):
    with open_scene([level_2a], BANDS_RGB, offset=0.0) as scene:
        assert scene.read(100, 101, 5, 6)[0].ravel().tolist() == [digital_number(band) for band in ("B4", "B3", "B2")]


@pytest.mark.parametrize(("baseline", "offset", "nodata"), [("99.99", -1000.0, None), ("05.10", 0.0, 1800.0)])
def test_clouds_are_computed_from_what_is_mapped(tmp_path, monkeypatch, baseline, offset, nodata):
    """--offset and --nodata hold for both dates of a product, made at home or not. A stand-in keeps what it gets."""
    images = []

    class CSmask:
        def __init__(self, image, *args, **options):
            images.append(image)
            self.valid = np.ones((*image.shape[:2], 1), np.uint8)

    package = types.ModuleType("ukis_csmask")
    package.mask = types.SimpleNamespace(CSmask=CSmask)
    monkeypatch.setitem(sys.modules, "ukis_csmask", package)
    monkeypatch.setitem(sys.modules, "ukis_csmask.mask", package.mask)
    made = make_safe(tmp_path, baseline="05.10", offset=None if baseline == "99.99" else -1000)
    metadata = made / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace("<PROCESSING_BASELINE>05.10", f"<PROCESSING_BASELINE>{baseline}"))
    scene = SceneInput((made,), offset=offset, nodata=nodata)
    with source.open_scene(scene, BANDS_RGB) as opened, contextlib.ExitStack() as stack:
        values, valid = opened.read(120, 121)
        open_covers(stack, [opened], (scene, scene), CoverSettings("ukis"))
    red = np.where(valid, values[0], 0)[0, 60] / 10000
    assert red == (0 if nodata else 0.08)
    assert [image[40, 20, 2] for image in images] == pytest.approx([red, red])


def test_bands_can_be_named_for_a_run_without_names(level_2a):
    with open_scene([level_2a], ("band1", "band2"), ("B08", "red")) as scene:
        assert scene.read(100, 101, 5, 6)[0].ravel().tolist() == [
            digital_number("B8") - 1000,
            digital_number("B4") - 1000,
        ]
    with pytest.raises(UserError, match="no name of Sentinel-2: name the bands to take, in the run's order, with --sc"):
        open_scene([level_2a], ("band1", "band2"))
    with pytest.raises(UserError, match="--scene-bands 3 is none of its bands, which have names: B1 B2 "):
        open_scene([level_2a], ("band1", "band2"), ("3", "red"))
    with pytest.raises(UserError, match="1 --scene-bands, but the run takes 2"):
        open_scene([level_2a], ("band1", "band2"), ("B08",))
    with pytest.raises(UserError, match="give an elevation raster with --dem for slope and dem"):
        open_scene([level_2a], BANDS_L4S)


def test_level_2_has_no_cirrus_band(level_2a):
    with pytest.raises(UserError, match="lacks band B10 .*: Level-2 has no B10, take the Level-1C product"):
        open_scene([level_2a], TWELVE)


def test_damaged_products_are_refused_in_one_line(copy, tmp_path):
    def refused(path=copy):
        with pytest.raises(UserError) as caught, open_scene([path], BANDS_RGB):
            pass
        return str(caught.value)

    red = band_file(copy, "B04")
    sound = red.read_bytes()
    red.write_bytes(sound[: len(sound) // 2])
    assert "B04_10m.jp2 is cut short: download the product again" in refused()
    assert "B04_10m.jp2 is cut short" in refused(zipped(copy))
    red.write_bytes(b"")
    assert "B04_10m.jp2 is empty" in refused()
    red.rename(red.with_name(red.name.replace("T32TPS", "T32TQS")))
    red.with_name(red.name.replace("T32TPS", "T32TQS")).write_bytes(sound)
    assert "is of tile 32TQS, the product of 32TPS" in refused()
    red.with_name(red.name.replace("T32TPS", "T32TQS")).unlink()
    for other in copy.rglob("*_B04_60m.jp2"):
        other.unlink()
    assert "lacks band red (it has B1 B2 B3 B5 " in refused()
    metadata = copy / "MTD_MSIL2A.xml"
    text = metadata.read_text()
    metadata.write_text(re.sub("<BOA_ADD_OFFSET_VALUES_LIST>.*</BOA_ADD_OFFSET_VALUES_LIST>", "", text))
    assert "of processing baseline 05.10, but its metadata lack BOA_ADD_OFFSET" in refused()
    metadata.write_text(text[: len(text) // 2])
    assert "MTD_MSIL2A.xml is damaged" in refused()
    metadata.unlink()
    assert "lacks its metadata, MTD_MSIL1C.xml or MTD_MSIL2A.xml" in refused()
    shutil.copytree(next((copy / "GRANULE").iterdir()), copy / "GRANULE" / "L2A_T32TQS_A032997_20230701T102118")
    metadata.write_text(text)
    assert "holds 2 granules, as products of before December 2016 do" in refused()
    broken = tmp_path / "S2B_MSIL2A_20230701T101559_N0510_R065_T32TPS_20230701T134856.zip"
    broken.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "is no sound zip" in refused(broken)
    old = tmp_path / "S2A_OPER_PRD_MSIL1C_PDMC_20160905T104813_R002_V20160905T005712.SAFE"
    old.mkdir()
    (old / "S2A_OPER_MTD_SAFL1C_PDMC_20160905T104813_R002_V20160905T005712.xml").touch()
    assert "has the layout of before December 2016" in refused(old)


def test_classes_cut_short_and_damage_in_a_zip_are_found_before_the_work(copy):
    archive = zipped(copy)
    with open(archive, "r+b") as file:
        content = file.read()
        at = content.index(b"B04_10m.jp2") + 400
        file.seek(at)
        file.write(bytes(255 - byte for byte in content[at : at + 40]))
    with pytest.raises(UserError, match="is damaged .*: download the product again"):
        recognition.open_product([archive])
    scl = next(copy.rglob("*SCL_20m.jp2"))
    scl.write_bytes(scl.read_bytes()[:-50])
    with pytest.raises(UserError, match="SCL_20m.jp2 is cut short"):
        recognition.open_product([copy])


@pytest.mark.slow
def test_a_product_is_mapped_by_workers(call, tmp_path, level_2a):
    pytest.importorskip("distributed")
    call(level_2a, SCALING="none", OUT_DIR="local")
    call(level_2a, SCALING="none", SCHEDULER="local:1")
    for path in (tmp_path / "local").iterdir():
        assert path.read_bytes() == (tmp_path / "maps" / path.name).read_bytes(), path.name


# ---------------------------------------------------------------------- other sources


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.09"}, 0),
        ({"earthsearch:boa_offset_applied": False, "s2:processing_baseline": "05.09"}, -1000),
        ({"raster": {"scale": 0.0001, "offset": 0}, "s2:processing_baseline": "03.01"}, 0),
        ({"raster": None, "s2:processing_baseline": "04.00", "keys": ("B04", "B03", "B02")}, -1000),
        ({"raster": None, "s2:processing_baseline": "02.14", "keys": ("B04", "B03", "B02")}, 0),
    ],
)
def test_stac_items_say_what_their_values_mean(tmp_path, properties, offset):
    with open_scene([make_item(tmp_path, **properties)], BANDS_RGB) as scene:
        values, _ = scene.read(0, 1, 0, 1)
    assert values.ravel() == pytest.approx([digital_number(band) + offset for band in ("B4", "B3", "B2")])


def test_what_is_no_item_of_sentinel_2_is_refused(tmp_path):
    path = tmp_path / "a.json"
    for text, message in (
        ("{", "cannot be read as JSON"),
        ('{"type": "FeatureCollection", "features": []}', "a FeatureCollection: give one item of it"),
        ('{"type": "Feature", "collection": "landsat-c2-l2", "assets": {"red": {}}}', "'landsat-c2-l2' is not read"),
        ('{"type": "Feature", "collection": "sentinel-2-l2a", "assets": {"visual": {}}}', "has no asset of a band"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            recognition.open_product([path])
    odd = {"type": "Feature", "collection": "sentinel-2-l2a", "properties": None}
    path.write_text(json.dumps(odd | {"assets": {"red": None, "B03": {"roles": None, "href": "a"}}}))
    with pytest.raises(UserError, match="states neither an offset"):
        recognition.open_product([path])
    with pytest.raises(UserError, match="states neither an offset .* nor the processing baseline"):
        recognition.open_product([make_item(tmp_path, raster=None)])


@pytest.mark.parametrize("form", ["json", "txt", "xml", "lower case"])
def test_landsat_is_read_by_the_roles_of_its_bands(tmp_path, form):
    path = make_landsat(tmp_path, form="txt" if form == "lower case" else form)
    if form == "lower case":
        for file in tmp_path.iterdir():
            file.rename(tmp_path / file.name.lower())
        path = tmp_path / path.name.lower()
    for given in (path, tmp_path):
        with open_scene([given], (*BANDS_RGB, "B8", "B11", "B12")) as scene:
            values, _ = scene.read(0, 1, 0, 1)
        expected = [(2.75e-5 * (10000 + number) - 0.2) * 10000 for number in (4, 3, 2, 5, 6, 7)]
        assert values.ravel() == pytest.approx(expected, rel=1e-5)
    assert recognition.open_product([tmp_path]).kind == "Landsat 9 Collection 2 Level-2SP, pixels of 30 m"
    with pytest.raises(UserError, match="lacks band B5"):
        open_scene([tmp_path], ("B5",))


def test_landsat_of_level_1_is_corrected_for_the_sun(tmp_path):
    with open_scene([make_landsat(tmp_path, "L1TP")], ("red",)) as scene:
        values, _ = scene.read(0, 1, 0, 1)
    assert values.item() == pytest.approx((2e-5 * 10004 - 0.1) / np.sin(np.radians(30)) * 10000, rel=1e-5)


def test_other_landsats_are_refused(tmp_path):
    path = make_landsat(tmp_path)
    path.write_text(path.read_text().replace("LANDSAT_9", "LANDSAT_7"))
    with pytest.raises(UserError, match="of LANDSAT_7; only Landsat 8 and 9 of Collection 2 can be read"):
        recognition.open_product([path])
    shutil.copy(path, tmp_path / "LC08_MTL.json")
    with pytest.raises(UserError, match="holds 2 Landsat scenes: give one of them by its MTL file"):
        recognition.open_product([tmp_path])
    path.write_text(
        '{"A": {"PRODUCT_CONTENTS": {"COLLECTION_NUMBER": "02", "PROCESSING_LEVEL": "L1TP"}, "IMAGE_ATTRIBUTES": '
        '{"SPACECRAFT_ID": "LANDSAT_9"}}}'
    )
    with pytest.raises(UserError, match="is damaged .it lacks 'SUN_ELEVATION'"):
        recognition.open_product([path])
    (tmp_path / "LC09_L2SP_192028_20230703_20230705_02_T1.tar").touch()
    with pytest.raises(UserError, match="unpack it"):
        recognition.open_product([tmp_path / "LC09_L2SP_192028_20230703_20230705_02_T1.tar"])
    path.write_text("{")
    with pytest.raises(UserError, match="MTL.json is damaged"):
        recognition.open_product([path])


# ---------------------------------------------------------------------- scaling


def test_the_unit_of_training_values_is_known():
    mean = np.full(14, 0.95)
    assert value_unit(BANDS_L4S, "float64", mean) == "l4s"
    assert value_unit(BANDS_L4S, "float64", mean * 1000) == ""
    assert value_unit(BANDS_RGB, "uint8", [55, 55, 53]) == "display"
    assert value_unit(("band1", "band2"), "float32", [1, 1]) == ""


def test_a_product_is_scaled_to_what_the_run_learnt_from(level_2a):
    with open_scene([level_2a], BANDS_RGB) as scene:
        for unit, factor in (("l4s", 1), ("display", 58)):
            assert scaling.choose_scaling(unit, scene.source, "uint16", None) == "l4s"
            source = scaling.scaled(scene.source, "l4s", BANDS_RGB, None, unit)
            assert source.gain == pytest.approx([factor / SCALE_L4S[i] for i in (3, 2, 1)])
            assert source.clip == (unit == "display")
        assert scaling.choose_scaling("", scene.source, "uint16", None) == "none"


def test_scaling_of_rasters_without_metadata():
    plain = SceneSource(("a.tif",), ((0, 1),), (0,), (0,), 0, "", (), None, (1.0,), (0.0,))
    scalings = {
        (unit, dtype): scaling.choose_scaling(unit, plain, dtype, None)
        for unit in ("l4s", "display", "")
        for dtype in ("uint8", "uint16", "float32")
    }
    assert scalings["l4s", "uint16"] == "l4s" and scalings["display", "uint16"] == "stretch"
    assert {value for (unit, dtype), value in scalings.items() if dtype != "uint16" or not unit} == {"none"}


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        (("B4", "B3", "B2"), (300, 3000), "l4s"),
        (("B04", "B03", "Sentinel-2 B02"), (300, 3000), "l4s"),
        (("B4", "B3", "B2"), (300, 14000), "l4s"),  # with clouds
        (("red", "green", "blue"), (300, 3000), "stretch"),  # of any sensor
        (("", "", ""), (300, 3000), "stretch"),
        (("SR_B4", "SR_B3", "SR_B2"), (7400, 16000), "stretch"),  # of Landsat
        (("B4", "B3", "B2"), (0, 255), "stretch"),  # 8 bits in a larger type
        (("B3", "B2", "B1"), (300, 3000), "stretch"),  # of a sensor that numbers its bands from blue
    ],
)
def test_bands_named_as_those_of_sentinel2_are_reflectance_if_they_are_of_its_range(tmp_path, names, values, expected):
    bands = np.random.default_rng(0).integers(*values, (3, 64, 64)).astype(np.uint16)
    write_raster(tmp_path / "scene.tif", bands, descriptions=names)
    with open_scene([tmp_path / "scene.tif"], BANDS_RGB, ("1", "2", "3")) as scene:
        pixels, _ = scene.sample()
        assert scaling.choose_scaling("display", scene.source, "uint16", pixels) == expected


@pytest.mark.parametrize("href", ["./my%20data/", "file://{folder}/my%20data/"])
def test_assets_of_an_item_lie_where_their_address_says(tmp_path, href):
    (tmp_path / "my data").mkdir()
    path = make_item(tmp_path / "my data")
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        asset["href"] = href.format(folder=tmp_path) + asset["href"].rpartition("/")[2]
    (tmp_path / "item.json").write_text(json.dumps(item))
    with open_scene([tmp_path / "item.json"], BANDS_RGB) as scene, open_scene([path], BANDS_RGB) as same:
        np.testing.assert_array_equal(scene.read(0, 2, 0, 2)[0], same.read(0, 2, 0, 2)[0])


def test_a_product_made_at_home_is_read_with_the_offset_that_a_user_states(tmp_path):
    path = make_safe(tmp_path, baseline="03.01", offset=None)
    metadata = path / "MTD_MSIL2A.xml"
    metadata.write_text(re.sub(r"(<PROCESSING_BASELINE>)[^<]+", r"\g<1>99.99", metadata.read_text()))
    with pytest.raises(UserError, match="baseline 99.99, but its metadata lack .*state the offset with --offset"):
        open_scene([path], BANDS_RGB)
    with open_scene([path], BANDS_RGB, offset=0.0) as plain:
        values = plain.read(0, 2, 0, 2)[0]
    with open_scene([path], BANDS_RGB, offset=-1000.0) as scene:
        np.testing.assert_allclose(scene.read(0, 2, 0, 2)[0], values - 1000)
