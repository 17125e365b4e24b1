"""Scenes as people have them: archives, alpha, swath edges, names, side files."""

import contextlib
import os
import sqlite3
import warnings
import zipfile

import numpy as np
import pytest
import rasterio
from netCDF4 import Dataset
from rasterio.control import GroundControlPoint
from rasterio.windows import Window

import map_files
from bands import BANDS_RGB
from patches import image_files
from scenes import before_after, opening, preparation, scaling, source, vectors
from scenes.comparing.layers import RasterLayer
from scenes.elevation import Elevation
from scenes.hiding_raster import HidingRaster
from scenes.labels import MaskRaster
from scenes.pixel_grid import PixelGrid
from scenes.products import recognition
from scenes.products.product import Product
from scenes.scaling import Known
from script import UserError
from tests.rasters import open_scene, write_raster

# ---------------------------------------------------------------------- what is opened


def test_rasters_in_a_zip_are_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_raster("scene.tif", np.full((3, 8, 8), 7, np.uint8))
    with zipfile.ZipFile("scene.zip", "w") as archive:
        archive.write("scene.tif", "inside/scene.tif")
        archive.writestr("readme.txt", "text")
        archive.writestr("__MACOSX/inside/._scene.tif", "what macOS adds")
    for path in ("scene.zip", "zip://scene.zip!inside/scene.tif", f"zip://{tmp_path}/scene.zip!inside/scene.tif"):
        with open_scene([path], BANDS_RGB) as scene:
            assert (scene.read(0, 8)[0] == 7).all()
    with zipfile.ZipFile("scene.zip", "a") as archive:
        archive.write("scene.tif", "other.tif")
    with pytest.raises(UserError, match=r"holds 2 rasters \(inside/scene.tif, other.tif\): name one, zip://"):
        open_scene(["scene.zip"], BANDS_RGB)


def test_a_zip_whose_directory_is_damaged_is_told_by_all_that_read_zips(tmp_path):
    write_raster(tmp_path / "scene.tif", np.ones((1, 9, 9), np.uint8))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.write(tmp_path / "scene.tif", "scene.tif")
    content = (tmp_path / "bad.zip").read_bytes()
    (tmp_path / "bad.zip").write_bytes(content.replace(b"PK\x01\x02", b"XXXX"))
    for read in (opening.open_raster, vectors.is_vector, vectors.layers, lambda path: recognition.open_product([path])):
        with pytest.raises(UserError, match="bad.zip is no sound zip: it may be cut short"):
            read(str(tmp_path / "bad.zip"))


def test_pages_of_a_tiff_are_several_rasters(tmp_path):
    """GDAL reads the first of them: a mask, elevation or scene of another page would be lost."""
    path = tmp_path / "pages.tif"
    for page in range(2):
        write_raster(path, np.full((1, 9, 9), page, np.uint8), append_subdataset="YES" if page else "NO")
    with contextlib.closing(opening.open_raster(f"GTIFF_DIR:2:{path}")) as file:
        grid = PixelGrid.of(file)
        assert (file.read(1) == 1).all()
    readers = (
        lambda: open_scene([path], ("band1",)),
        lambda: MaskRaster(path, grid),
        lambda: RasterLayer(path, grid),
        lambda: HidingRaster(path, "mask", grid),
        lambda: Elevation([path], grid),
    )
    for read in readers:
        with pytest.raises(UserError, match="pages.tif holds 2 rasters: give one or more of them instead, such as 'GT"):
            read()


def test_rasters_that_are_cut_short_are_told_where_they_are_read_first(tmp_path):
    noise = np.random.default_rng(0).integers(1, 255, (4, 300, 300), np.uint8)
    picture = write_raster(tmp_path / "picture.tif", noise, photometric="RGB", alpha="yes")
    elevation = write_raster(tmp_path / "dem.tif", noise[:1].astype(np.int16))
    for path in (picture, elevation):
        os.truncate(path, 30_000)
    with pytest.raises(UserError, match="picture.tif cannot be read: cut short or damaged"):
        open_scene([picture], BANDS_RGB)
    with rasterio.open(elevation) as file, pytest.raises(UserError, match="dem.tif cannot be read: cut short"):
        Elevation([elevation], PixelGrid.of(file)).read(Window(0, 0, 300, 300))


def test_control_points_alone_and_several_rasters_are_told(tmp_path):
    points = [GroundControlPoint(row, col, 11 + col / 900, 46 - row / 900, 0) for row in (0, 8) for col in (0, 8)]
    path = tmp_path / "points.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", height=8, width=8, count=3, dtype="uint8") as file:
            file.write(np.ones((3, 8, 8), np.uint8))
            file.gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    with pytest.raises(UserError, match="by control points alone.*gdalwarp -tps .*points.tif points_warped.tif"):
        open_scene([path], BANDS_RGB)
    with Dataset(tmp_path / "two.nc", "w") as file:
        for axis in ("y", "x"):
            file.createDimension(axis, 8)
        for name in ("red", "green"):
            file.createVariable(name, "f4", ("y", "x"))[:] = 1
    with pytest.raises(UserError, match="two.nc holds 2 rasters: give one or more of them instead, such as"):
        open_scene([tmp_path / "two.nc"], BANDS_RGB)


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["zip://a.zip!b/scene.tif"], "scene"),
        (["/vsicurl/https://host/dir/scene.tif?sig=1&x=2"], "scene"),
        (["GTIFF_DIR:1:scene.tif"], "1_scene"),
        (['NETCDF:"a/b.nc":red'], "b_red"),
        (["T51_B04.jp2", "T51_B03.jp2"], "T51"),
        (["S2B_2021/B04.tif", "S2B_2021/B03.tif", "S2B_2021/B02.tif"], "S2B_2021"),
        (["2019/boa.tif"], "boa"),
        (["B04.tif", "B03.tif"], "B04"),
    ],
)
def test_names_of_maps(paths, name):
    assert map_files.scene_name(paths) == name


# ---------------------------------------------------------------------- alpha and no data


def test_the_fourth_band_of_a_scene_is_data_or_a_mask_by_its_values(tmp_path):
    bands = np.random.default_rng(0).integers(40, 200, (4, 32, 32)).astype(np.uint8)
    bands[3, :, :10] = 0  # a lake has no near infrared
    infrared = write_raster(tmp_path / "rgbn.tif", bands)
    with open_scene([infrared], BANDS_RGB) as scene:
        assert scene.read(0, 32)[1].all()
    with open_scene([infrared], (*BANDS_RGB, "nir")) as scene:
        values, valid = scene.read(0, 32)
        assert valid.all() and (values == bands).all()
    with open_scene([infrared], ("nir", *BANDS_RGB[:2]), ("4", "1", "2")) as scene:
        values, valid = scene.read(0, 32)
        assert valid.all() and (values == bands[[3, 0, 1]]).all()
    bands[3, :, 10:] = 255
    with open_scene([write_raster(tmp_path / "rgba.tif", bands)], BANDS_RGB) as scene:
        assert (scene.read(0, 32)[1] == (bands[3] > 0)).all()


@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_where_opacity_says_what_is_no_data_zeros_are_data(tmp_path, ending):
    """A feathered edge and opaque black in PNG and WebP; in TIFF only 0 and 255 are opacity. Patches agree."""
    bands = np.full((4, 32, 40), 255, np.uint8)
    bands[:3] = np.random.default_rng(0).integers(40, 200, (3, 32, 40))
    bands[:3, :, 20:25] = 0
    bands[:, :, :8] = 0
    if ending != "tif":
        bands[3, :, 8:10] = 128
    options = {"lossless": True, "EXACT": True} if ending == "webp" else {}
    path = write_raster(tmp_path / f"a.{ending}", bands, crs=None, **options)
    with open_scene([path], BANDS_RGB) as scene:
        valid = scene.read(0, 32)[1]
    np.testing.assert_array_equal(valid, bands[3] > 0)
    np.testing.assert_array_equal(image_files.read(path)[1], bands[3] == 0)
    bands[3] = 255  # opaque everywhere: only the zeros say where the swath ends
    with open_scene([write_raster(path, bands, crs=None, **options)], BANDS_RGB) as scene:
        np.testing.assert_array_equal(scene.read(0, 32)[1], bands[0] > 0)


@pytest.mark.parametrize("quality", [50, 90])
def test_an_alpha_band_that_jpeg_changed_is_one_and_near_infrared_is_none(tmp_path, quality):
    """As programs for drone pictures write mosaics. JPEG works in blocks of 8 pixels. Patches agree."""
    y, x = np.mgrid[:128, :128]
    far = np.hypot(x - 64, y - 64)
    opaque = far < 50
    bands = np.random.default_rng(0).normal(110, 20, (4, 128, 128)) * opaque
    options = {"compress": "JPEG", "JPEG_QUALITY": quality}
    for kind, fourth in (("rgba", 255 * opaque), ("rgbn", np.where(x < 40, 8, 140))):  # near infrared of a lake
        path = write_raster(tmp_path / f"{kind}.tif", np.uint8([*bands[:3], fourth]), **options)
        image, gap, _ = image_files.read(path)
        with open_scene([path], BANDS_RGB) as scene:
            valid = scene.read(0, 128)[1]
        assert image.shape[2] == (3 if kind == "rgba" else 4)
        if kind == "rgba":
            assert valid[opaque].all() and not valid[far > 50 + 8 * 2**0.5].any()
            np.testing.assert_array_equal(valid, ~gap)
        else:
            assert valid[opaque].all() and not gap.any()


def test_zeros_beyond_the_swath_are_no_data_and_dark_pixels_are_not(tmp_path):
    for kind in (np.uint8, np.uint16, np.float32):
        bands = np.random.default_rng(0).integers(40, 200, (3, 32, 40)).astype(kind)
        bands[:, :, :8] = 0
        bands[1, 5, 20] = 0  # dark in one band
        with open_scene([write_raster(tmp_path / "swath.tif", bands)], BANDS_RGB) as scene:
            valid = scene.read(0, 32)[1]
            pixels, _ = scene.sample()
            assert scene.blank_share == 0.2
        assert not valid[:, :8].any() and valid[:, 8:].all() and pixels.min(1).max() > 0
        for options in ({"nodata": 0.0}, {}):
            tags = {} if options else {"nodata": 0}
            with open_scene([write_raster(tmp_path / "told.tif", bands, **tags)], BANDS_RGB, **options) as scene:
                valid = scene.read(0, 32)[1]
            assert not valid[:, :8].any() and valid[5, 20] == (kind == np.uint8)


def reflectances(size=64):
    """Bands x size x size of reflectance, as whole numbers x 10000."""
    rng = np.random.default_rng(3)
    return (rng.gamma(4, 250, (3, size, size)) + [[[150]], [[300]], [[500]]]).astype(np.uint16)


@pytest.mark.parametrize("unit", ["display", "l4s"])
@pytest.mark.parametrize("setting", ["auto", "l4s"])
def test_floats_of_0_to_1_are_reflectance(tmp_path, unit, setting, capsys):
    whole, names = reflectances(), ("B4", "B3", "B2")
    config = {"bands": BANDS_RGB, "values": unit}
    read = {}
    for kind, bands in {"whole": whole, "fractions": (whole / 10000).astype(np.float32)}.items():
        path = write_raster(tmp_path / f"{kind}.tif", bands, descriptions=names)
        with open_scene([path], BANDS_RGB, scaling=setting) as scene:
            scaling_used, _ = preparation.prepare(scene, source.SceneInput((path,), scaling=setting), config)
            assert scaling_used == "l4s"
            read[kind] = scene.read(0, 64)
    np.testing.assert_allclose(read["fractions"][0], read["whole"][0], rtol=1e-4)
    assert capsys.readouterr().out.count("values of 0 to 1.5 in floats are taken for reflectance") == 1


def test_floats_of_one_date_are_reflectance_beside_whole_numbers_of_the_other(tmp_path, capsys):
    whole, names = reflectances(), ("B4", "B3", "B2")
    after = write_raster(tmp_path / "after.tif", whole, descriptions=names)
    before = write_raster(tmp_path / "before.tif", (whole / 10000).astype(np.float32), descriptions=names)
    bands = tuple(f"{name} {date}" for date in ("before", "after") for name in BANDS_RGB)
    inputs = [source.SceneInput((path,), scaling="l4s") for path in (after, before)]
    with before_after.open_pair(*inputs, bands) as scene:
        preparation.prepare(scene, inputs[0], {"bands": bands, "values": "display"})
        values, _ = scene.read(0, 64)
    np.testing.assert_allclose(values[:3], values[3:], rtol=1e-4)
    assert "values of the scene before of 0 to 1.5 in floats are taken for reflectance" in capsys.readouterr().out


def test_floats_in_the_unit_of_the_run_stay_as_they_are(tmp_path):
    """Landslide4Sense's own values have means about 1; a picture may hold 0 to 255."""
    rng = np.random.default_rng(0)
    for unit, values in (("l4s", rng.normal(0.95, 0.2, (3, 64, 64))), ("display", rng.uniform(20, 200, (3, 64, 64)))):
        path = write_raster(tmp_path / f"{unit}.tif", values.astype(np.float32))
        with open_scene([path], BANDS_RGB) as scene:
            used, _ = preparation.prepare(scene, source.SceneInput((path,)), {"bands": BANDS_RGB, "values": unit})
            assert used == "none"
            np.testing.assert_allclose(scene.read(0, 64)[0], values, rtol=1e-6)


def test_ground_that_is_not_seen_does_not_count_as_unusual(tmp_path):
    bands, config = reflectances(), {"bands": BANDS_RGB, "values": "display"}
    path = write_raster(tmp_path / "scene.tif", bands, descriptions=("B4", "B3", "B2"))
    with open_scene([path], BANDS_RGB) as scene:
        preparation.prepare(scene, source.SceneInput((path,)), config)
        values = scene.read(0, 64)[0]
    config |= {"band_mean": values.mean((1, 2)), "band_variance": values.var((1, 2)) / 4}
    bands[:, :56] = 9000  # clouds
    write_raster(path, bands, descriptions=("B4", "B3", "B2"))
    write_raster(tmp_path / "clouds.tif", (bands[:1] == 9000).astype(np.uint8))
    warned = {}
    for name in ("", "clouds.tif"):
        with open_scene([path], BANDS_RGB) as scene, contextlib.ExitStack() as stack:
            covers = []
            if name:
                cover = HidingRaster(tmp_path / name, "mask", scene.grid)
                covers.append(stack.enter_context(contextlib.closing(cover)))
            warned[name] = preparation.prepare(scene, source.SceneInput((path,)), config, covers)[1]
    assert "clouds or snow" in warned[""][0].text and "(--clouds)" in warned[""][0].text
    assert not warned["clouds.tif"]


# ---------------------------------------------------------------------- maps beside what lies there


def test_maps_are_replaced_only_when_asked_and_not_while_they_are_open(tmp_path):
    targets = [tmp_path / f"scene{ending}" for ending in map_files.FILES.values()]
    map_files.check_targets(targets, overwrite=False)
    geopackage = targets[2]
    with sqlite3.connect(geopackage) as base:
        base.execute("create table t (x)")
    base.close()
    with pytest.raises(UserError, match="scene_landslides.gpkg exists: replace it with --overwrite"):
        map_files.check_targets(targets, overwrite=False)
    map_files.check_targets(targets, overwrite=True)
    base = sqlite3.connect(geopackage)
    base.execute("pragma journal_mode=wal")
    base.execute("insert into t values (1)")
    base.commit()
    with pytest.raises(UserError, match="scene_landslides.gpkg-wal holds changes.*close it in QGIS"):
        map_files.check_targets(targets, overwrite=True)
    base.close()
    map_files.check_targets(targets, overwrite=True)
    for name in ("scene_mask.tif.ovr", "scene_mask.tif.aux.xml", "scene_landslides.gpkg-shm"):
        (tmp_path / name).touch()
    assert {path.name for path in map_files.side_files(targets)} == {
        "scene_mask.tif.ovr",
        "scene_mask.tif.aux.xml",
        "scene_landslides.gpkg-shm",
    }


# ---------------------------------------------------------------------- far from training


SURFACE, TOP = (Product("scene", "Sentinel-2", {}, surface=surface) for surface in (True, False))


def distance_text(values, mean, deviation, bands=BANDS_RGB, known=scaling.UNKNOWN, **options):
    scene = source.SceneInput(("scene.tif",), **{"scaling": "none", **options})
    return scaling.distance_from_training(
        np.float32(values), np.full(len(bands), mean), np.full(len(bands), deviation**2), bands, scene, known=known
    )


@pytest.mark.parametrize(
    ("values", "training", "options", "cause"),
    [
        (1800, (55, 20), {}, "digital numbers, and the run takes 0 to 255: try --scaling stretch"),
        (1800, (1, 0.4), {}, "these look like digital numbers: try --scaling l4s"),
        (120, (1, 0.4), {}, "8-bit display values"),
        (0.01, (1, 0.4), {}, "reflectances of 0 to 1"),
        (3.0, (1, 0.4), {"scaling": "l4s"}, "--offset -1000"),
        (0.1, (1, 0.4), {"scaling": "l4s", "offset": -1000.0}, "leave --offset out"),
        (200, (55, 20), {"scaling": "stretch"}, "clouds or snow, for which no mask was used"),
        (200, (55, 20), {"scaling": "stretch", "known": Known(covered=True)}, "another kind of ground"),
        (
            0.6,
            (1, 0.1),
            {"scaling": "l4s"},
            "the order of bands may differ (--scene-bands), or the scene may be of Level-2A",
        ),
        (0.6, (1, 0.1), {"scaling": "l4s", "known": Known(named=True)}, "Likely: the scene may be of Level-2A"),
        (0.6, (1, 0.1), {"scaling": "l4s", "known": Known(SURFACE)}, "Level-2 has no haze"),
        (0.6, (1, 0.1), {"scaling": "l4s", "known": Known(TOP)}, "another kind of ground"),
        (0.6, (1, 0.1), {"scaling": "l4s", "known": Known(size_warned=True)}, "the pixels have another size"),
    ],
)
def test_the_likely_cause_of_a_distance_is_named(values, training, options, cause):
    rng = np.random.default_rng(0)
    sample = values * rng.uniform(0.8, 1.2, (3, 500))
    sample = np.rint(sample) if values == 120 else sample
    text = distance_text(sample, *training, **options)
    assert (
        cause in text and f"red {values:.4g}"[:5] in text and f"(in training {training[0]:g} ± {training[1]:g})" in text
    )
    assert distance_text(rng.normal(*training, (3, 500)), *training) == ""
