"""predict.py on scenes, as a user calls it: what the files of a map hold. tests/maps.py has the runs."""

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
from PIL import Image
from rasterio.transform import from_origin

import runs
from scenes import provenance
from script import UserError
from tests.maps import KINDS, assert_same_maps, make_bands, read, sigmoid, written
from tests.rasters import UTM, write_raster
from tests.running import assert_user_error, run_script


@pytest.mark.parametrize(("height", "width"), [(70, 83), (64, 64), (20, 17), (1, 40), (33, 300)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_map_is_right_to_the_pixel_whatever_the_size(call, workdir, height, width, dtype):
    bands = make_bands(height, width)
    bands[:, : height // 3, : width // 2] = -1
    write_raster(workdir / "scene.tif", bands, nodata=-1)
    call("scene.tif", PROBABILITY_TYPE=dtype, TILE=32, OVERLAP=12, MIN_AREA=0.0, MIN_HOLE=0.0)
    assert written(workdir) == sorted(f"scene_{kind}" for kind in KINDS)
    expected, gone = sigmoid(bands[0]), bands[0] == -1
    with rasterio.open("maps/scene_probability.tif") as file, rasterio.open("scene.tif") as source:
        assert file.transform == source.transform and file.crs == source.crs and file.shape == source.shape
        assert file.is_tiled and file.compression.name == "deflate"
        probability = file.read(1, masked=True)
        assert file.tags()["run"] == "pixel" and file.tags()["threshold"] == "0.700" and file.tags()["revision"]
        assert file.descriptions == ("probability of landslide",)
        assert file.units == ("%" if dtype == "uint8" else None,)
        assert file.tags()["meaning"].startswith(
            "probability of landslide, " + ("0 to 100" if dtype == "uint8" else "0 to 1;")
        )
    with rasterio.open("maps/scene_mask.tif") as file:
        assert file.descriptions == ("landslide",) and file.units == (None,)
        for value in ("1: landslide", "253: excluded", "254: not seen", "255: no data"):
            assert value in file.tags()["meaning"]
    assert np.array_equal(np.ma.getmaskarray(probability), gone)
    unit, step = (100, 0.0051) if dtype == "uint8" else (1, 1e-5)
    assert np.abs(probability / unit - expected)[~gone].max() < step
    mask = read("maps/scene_mask.tif")
    clear = ~gone & (np.abs(expected - 0.7) > 1e-4)
    assert np.array_equal(mask[clear], expected[clear] >= 0.7) and (mask[gone] == 255).all()
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert table.crs == UTM and table["pixels"].sum() == (mask == 1).sum()
    picture = Image.open("maps/scene_quicklook.png")
    assert picture.text["run"] == "pixel" and picture.text["threshold"] == "0.700"


def test_predict_as_from_a_shell(workdir):
    """Flags, metadata and GDAL's own tools on what is written."""
    write_raster(workdir / "scene.tif", make_bands(), descriptions=("B4 red", "B3", "B2"))
    result = run_script(
        *"predict.py --run pixel --input scene.tif --scene-bands red 2 B2 --min-area 1000".split(), cwd=workdir
    )
    assert result.returncode == 0, result.stderr
    assert "polygons" in result.stdout and "results/pixel/maps/scene_mask.tif" in result.stdout
    maps = workdir / "results" / "pixel" / "maps"
    table = geopandas.read_file(maps / "scene_landslides.gpkg", layer="landslides")
    assert len(table) and table["area_m2"].min() >= 1000
    if shutil.which("gdalinfo") and shutil.which("ogrinfo"):
        info = json.loads(subprocess.run(["gdalinfo", "-json", maps / "scene_mask.tif"], stdout=subprocess.PIPE).stdout)
        assert info["geoTransform"] == [300000, 10, 0, 1500000, 0, -10] and info["size"] == [83, 70]
        assert info["bands"][0]["noDataValue"] == 255 and info["metadata"][""]["run"] == "pixel"
        command = ["ogrinfo", "-so", "-al", maps / "scene_landslides.gpkg"]
        info = subprocess.run(command, capture_output=True, text=True).stdout
        assert f"Feature Count: {len(table)}" in info and "threshold=0.700" in info
        command = ["ogrinfo", maps / "scene_landslides.gpkg", "-sql", "SELECT HasSpatialIndex('landslides', 'geom')"]
        assert "(Integer) = 1" in subprocess.run(command, capture_output=True, text=True).stdout
    shutil.rmtree(maps)


def test_the_filtered_mask_is_what_the_polygons_show(call, workdir):
    bands = make_bands(150, 120)
    bands[:, :40, :50] = -1
    write_raster(workdir / "scene.tif", bands, nodata=-1)
    write_raster(workdir / "water.tif", np.pad(np.ones((1, 30, 20), np.uint8), ((0, 0), (90, 30), (80, 20))))
    flags = {"THRESHOLD": 0.5, "FILTERED_MASK": True, "EXCLUDE": ("water.tif",)}
    call("scene.tif", **flags)
    mask, filtered = read("maps/scene_mask.tif"), read("maps/scene_filtered_mask.tif")
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert table["pixels"].sum() == (filtered == 1).sum() < (mask == 1).sum()
    assert np.array_equal(filtered > 1, mask > 1) and set(np.unique(filtered)) == {0, 1, 253, 255}
    with rasterio.open("maps/scene_filtered_mask.tif") as file:
        assert "1: landslide, in one of the polygons" in file.tags()["meaning"] and file.tags()["run"] == "pixel"
        burnt = rasterio.features.rasterize(table.geometry, mask.shape, transform=file.transform)
    assert np.array_equal(burnt[mask < 2], filtered[mask < 2])
    assert (workdir / "maps/scene_filtered_mask.qml").exists()
    call("scene.tif", **flags | {"SIMPLIFY": 10.0})
    smooth = read("maps/scene_filtered_mask.tif")
    assert 0 < (smooth != filtered).mean() < 0.01 and np.array_equal(smooth > 1, mask > 1)
    call("scene.tif")
    assert written(workdir) == sorted(f"scene_{kind}" for kind in KINDS)  # that of the former map is gone


def test_a_map_says_what_it_takes_to_make_it_again(workdir):
    """Its settings, typed as they stand in its tags, give the same bytes; its digests are those of sha256sum."""
    write_raster(workdir / "scene.tif", make_bands(60, 70), descriptions=("B4 red", "B3", "B2"))
    write_raster(workdir / "roofs of all.tif", np.eye(70, dtype=np.uint8)[None, :60])
    flags = "--scene-bands 'B4 red' 2 B2 --exclude 'roofs of all.tif' --min-area 600 --simplify 10 --threshold 0.6"
    command = ["predict.py", "--run", "pixel", "--input", "scene.tif", "--out-dir"]
    assert run_script(*command, "first", *shlex.split(flags), cwd=workdir).returncode == 0
    with rasterio.open(workdir / "first/scene_mask.tif") as file:
        tags = file.tags()
    assert tags["polygons"] == "of 600 m2 or more, holes below 5 pixels filled, outlines smoothed by 10 m"
    assert run_script(*command, "second", *shlex.split(tags["settings"]), cwd=workdir).returncode == 0
    assert_same_maps(workdir / "first", workdir / "second")
    lines = [line.split("  ", 1) for line in tags["sha256"].split("\n")]
    assert [path for _, path in lines] == ["results/pixel/model.keras", "scene.tif", "roofs of all.tif"]
    for digest, path in lines:
        assert digest == hashlib.sha256((workdir / path).read_bytes()).hexdigest()
    about = geopandas.read_file(workdir / "first/scene_landslides.gpkg", layer="scene").iloc[0]
    assert all(about[name] == tags[name] for name in ("settings", "sha256", "polygons", "revision", "threshold"))
    assert "--simplify 10.0" in (workdir / "first/scene_report.html").read_text()


def test_digests_are_of_the_archive_that_holds_a_scene(workdir):
    with zipfile.ZipFile("scene.zip", "w") as archive:
        archive.writestr("inside/b4.tif", b"4")
    archive = Path("scene.zip")
    for path in ("scene.zip", "zip://scene.zip!inside/b4.tif", "/vsizip/scene.zip/inside/b4.tif", 'X:"scene.zip":red'):
        assert provenance.file_of(path) == archive, path
    for path in ("https://host/scene.tif", "s3://bucket/scene.tif", "auto", "", "maps"):
        assert provenance.file_of(path) is None, path


@pytest.mark.parametrize("dtype", ["uint8", pytest.param("float32", marks=pytest.mark.slow)])
def test_rasters_are_cloud_optimized(call, workdir, dtype):
    from rio_cogeo import cog_validate

    write_raster(workdir / "scene.tif", make_bands(530, 600))
    call("scene.tif", PROBABILITY_TYPE=dtype)
    for kind in ("mask", "probability"):
        assert cog_validate(f"maps/scene_{kind}.tif") == (True, [], [])
        with rasterio.open(f"maps/scene_{kind}.tif") as file:
            assert file.overviews(1) and file.tags()["run"] == "pixel"


@pytest.mark.parametrize("path", ["/vsizip/scene.zip/scene.tif", "GTIFF_DIR:1:scene.tif"])
def test_a_scene_that_is_no_file_by_itself_is_mapped(call, workdir, path):
    """It has no time of change, which the GeoPackage asks for."""
    write_raster(workdir / "scene.tif", make_bands())
    with zipfile.ZipFile(workdir / "scene.zip", "w") as archive:
        archive.write(workdir / "scene.tif", "scene.tif")
    call(path)
    assert sorted(name.rpartition("_")[2] for name in written(workdir)) == sorted(KINDS)


def test_elevation_and_scaling_reach_the_model(call, workdir, capsys):
    """Run `terrain` gives sigmoid(0.2 slope - 5): the slope of a plane DEM is known."""
    write_raster(workdir / "scene.tif", np.ones((12, 40, 40), np.float32))
    x = np.arange(60) * 30.0
    dem = np.broadcast_to(0.5 * x, (60, 60)).astype(np.float32)
    write_raster(workdir / "dem.tif", [dem], from_origin(299700, 1500300, 30, 30))
    call("scene.tif", RUN="terrain", DEM=("dem.tif",), PROBABILITY_TYPE="float32")
    expected = 1 / (1 + np.exp(5 - 0.2 * np.degrees(np.arctan(0.5))))
    assert read("maps/scene_probability.tif") == pytest.approx(expected, abs=0.002)
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert "mean_slope_deg" in table.columns
    output = capsys.readouterr().out
    assert "warning: far from what the run was trained on: B1 1 ± 0 (in training 1 ± 0.5)" in output
    assert "and 11 more bands. Likely: " in output
    call("scene.tif", RUN="terrain", DEM=("dem.tif",), THRESHOLD=0.3)
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert len(table) == 1 and table["mean_slope_deg"][0] == pytest.approx(26.565, abs=0.05)


def test_a_scene_like_the_training_data_gets_no_warning(call, workdir, capsys):
    bands = np.random.default_rng(0).normal(1, 0.5, (3, 50, 50)).astype(np.float32)
    write_raster(workdir / "scene.tif", bands)
    call("scene.tif")
    assert "warning" not in capsys.readouterr().out
    bands[1] += 3
    write_raster(workdir / "scene.tif", bands)
    call("scene.tif")
    assert "trained on: green 4." in capsys.readouterr().out


def test_single_band_files_are_mapped_under_their_common_name(call, workdir):
    bands = make_bands(60, 60)
    paths = [write_raster(workdir / f"T51_2020_B0{i + 2}.tif", bands[i : i + 1]) for i in (2, 1, 0)]
    call(*paths[::-1])
    assert "T51_2020_mask.tif" in written(workdir)
    assert np.abs(read("maps/T51_2020_probability.tif") / 100 - sigmoid(bands[2])).max() < 0.006  # B04, red


# ---------------------------------------------------------------------- odd and bad input


def test_without_a_coordinate_system_it_works_in_pixels_and_says_so(call, workdir, capsys):
    bands = make_bands()
    write_raster(workdir / "scene.tif", bands, crs=None)
    call("scene.tif", MIN_AREA=10.0)
    assert "no coordinate system: areas and --min-area are in pixels" in capsys.readouterr().out
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert "area_m2" not in table.columns and table["pixels"].min() >= 10 and table.crs is None
    part = read("maps/scene_mask.tif")[table.bounds.miny.astype(int)[0] :, :]
    assert part[0].any() and {"centroid_column", "centroid_row"} <= set(table.columns)
    write_raster(workdir / "dem.tif", np.ones((1, 90, 90), np.float32))
    write_raster(workdir / "twelve.tif", np.ones((12, 40, 40), np.float32), crs=None)
    with pytest.raises(UserError, match="twelve.tif: without a coordinate system the elevation cannot be laid"):
        call("twelve.tif", RUN="terrain", DEM=("dem.tif",))


def test_a_coordinate_system_without_an_ellipsoid_is_refused_before_the_work(call, workdir):
    write_raster(
        workdir / "scene.tif", make_bands(), crs='LOCAL_CS["site",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
    )
    with pytest.raises(UserError, match="scene.tif: nothing can be measured in its coordinate system"):
        call("scene.tif")
    assert not (workdir / "maps").exists()


def test_a_scene_without_any_data_gives_empty_maps(call, workdir, capsys):
    for crs in (UTM, None):
        write_raster(workdir / "scene.tif", np.zeros((3, 70, 80), np.uint16), nodata=0, crs=crs)
        for scaling in ("none", "stretch"):
            call("scene.tif", SCALING=scaling)
            assert "holds no data at all" in capsys.readouterr().out
            assert (read("maps/scene_mask.tif") == 255).all() and (read("maps/scene_probability.tif") == 255).all()
            assert len(geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")) == 0


def test_a_dem_under_part_of_the_scene_leaves_the_rest_without_data(call, workdir, capsys):
    write_raster(workdir / "scene.tif", np.ones((12, 40, 40), np.float32))
    write_raster(workdir / "dem.tif", [np.ones((60, 20), np.float32)], from_origin(299900, 1500100, 10, 10))
    call("scene.tif", RUN="terrain", DEM=("dem.tif",))
    assert "dem.tif covers 25.0% of the scene; the rest is left without data" in capsys.readouterr().out
    mask = read("maps/scene_mask.tif")
    assert (mask[:, :10] != 255).all() and (mask[:, 10:] == 255).all()
    write_raster(workdir / "far.tif", [np.ones((60, 20), np.float32)], from_origin(400000, 1500100, 10, 10))
    with pytest.raises(UserError, match="far.tif does not lie under the scene"):
        call("scene.tif", RUN="terrain", DEM=("far.tif",))
    call("scene.tif", RUN="pixel", DEM=("dem.tif",), SCENE_BANDS=("1", "2", "3"))
    assert "dem.tif covers 25.0% of the scene; the rest has no slope" in capsys.readouterr().out
    assert (read("maps/scene_mask.tif") != 255).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--input twelve.tif --run terrain", "twelve.tif: 12 bands, but the run takes 14 (B1 B2 "),
        ("--input twelve.tif --run pixel", "12 bands, but the run takes 3 (red green blue): choose them"),
        ("--input twelve.tif --scene-bands 1 2 13 --run pixel", "band 13 is not in the scene (it has bands 1 to 12"),
        ("--input none.tif --run pixel", "none.tif does not exist"),
        ("--input short.tif --run pixel", "short.tif cannot be read: cut short"),
        ("--input stub.tif --run pixel", "stub.tif cannot be opened as a raster"),
        ("--input rgb.tif --run pixel --out-dir short.tif/maps", "short.tif"),
        ("--input rgb.tif --run pixel --overlap -1", "--overlap is -1: it must be at least 0"),
        ("--input rgb.tif --run pixel --nodata few", "argument --nodata: invalid float value: 'few'"),
        ("--input rgb.tif --run pixel --probability-type int", "--probability-type: 'int' is none of uint8, float32"),
        ("--run pixel", "nothing to map"),
        ("--run none --input rgb.tif", "results/none holds no run: choose another --run (pixel, "),
    ],
    ids=lambda value: value if value.startswith("--") else "",
)
def test_what_cannot_be_mapped_is_told_in_one_line(workdir, flags, message):
    write_raster(workdir / "rgb.tif", make_bands())
    write_raster(workdir / "twelve.tif", np.ones((12, 40, 40), np.uint8))
    write_raster(workdir / "short.tif", make_bands(200, 200))
    os.truncate(workdir / "short.tif", (workdir / "short.tif").stat().st_size // 2)
    write_raster(workdir / "stub.tif", make_bands(50, 50))
    os.truncate(workdir / "stub.tif", 90)
    result = run_script("predict.py", *flags.split(), cwd=workdir)
    text = assert_user_error(result, message)
    assert "\n" not in text.strip() and result.stderr.startswith("predict.py: error: ")
    assert not list(workdir.glob("results/*/maps/*"))


def test_a_scene_is_mapped_at_the_threshold_for_elsewhere_and_at_the_one_of_a_recall(call, workdir, capsys):
    shutil.copytree(workdir / "results/pixel", workdir / "results/own")
    elsewhere = {"threshold": 0.2, "precision": 0.55, "recall": 0.4, "runs": ["without"]}
    chosen = {"threshold": 0.7, "precision": 0.8, "recall": 0.6}
    path = workdir / "results/own/threshold.json"
    path.write_text(json.dumps(chosen | {"elsewhere": elsewhere}))
    write_raster(workdir / "scene.tif", make_bands())

    def tags(**constants):
        call("scene.tif", RUN="own", **constants)
        with rasterio.open("maps/scene_mask.tif") as file:
            return file.tags()

    assert tags()["threshold"] == "0.200"
    words = "on ground that the model had not seen, precision 0.55 and recall 0.40"
    assert f"threshold 0.200: {words}" in capsys.readouterr().out
    assert words in (workdir / "maps/scene_report.html").read_text()
    (workdir / "results/own/threshold_curve_elsewhere.csv").write_text(
        "threshold,precision,recall\n0.1,0.3,0.9\n0.3,0.5,0.7\n0.5,0.6,0.5\n"
    )
    assert tags(RECALL=0.6)["threshold"] == "0.300"
    with pytest.raises(UserError, match="give THRESHOLD or RECALL, not both"):
        tags(RECALL=0.6, THRESHOLD=0.5)
    of_size = {"threshold": 0.1, "precision": 0.5, "recall": 0.6, "pixel_size": "8 to 16 m", "curve": "sized.csv"}
    elsewhere |= {"by_pixel_size": {"8 to 16 m": elsewhere | of_size}}
    path.write_text(json.dumps(chosen | {"elsewhere": elsewhere}))
    (workdir / "results/own/sized.csv").write_text("threshold,precision,recall\n0.05,0.3,0.9\n0.15,0.5,0.7\n")
    assert tags()["threshold"] == "0.100"
    words = "on ground with pixels of 8 to 16 m that the model had not seen, precision 0.50 and recall 0.60"
    assert f"threshold 0.100: {words}" in capsys.readouterr().out
    assert tags(RECALL=0.6)["threshold"] == "0.150"
    assert tags(PIXEL_SIZE=5)["threshold"] == "0.200"  # no threshold of its own: that of all sizes together
    path.write_text(json.dumps(chosen))
    assert tags()["threshold"] == "0.700"
    assert "on validation patches of its own data, precision 0.80" in capsys.readouterr().out


def test_the_run_that_comes_with_the_project_is_only_read(call, workdir, monkeypatch):
    """It may lie where the user may not write: maps go into the user's own results folder."""
    shipped = shutil.move(workdir / "results/pixel", workdir / "installed/pixel")
    monkeypatch.setitem(runs.SHIPPED, "pixel", shipped)
    before = {path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()}
    call(write_raster(workdir / "scene.tif", make_bands()), OUT_DIR=None)
    assert (workdir / "results/pixel/maps/scene_mask.tif").exists() and before == {
        path: path.read_bytes() for path in shipped.rglob("*") if path.is_file()
    }
