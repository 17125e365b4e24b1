"""predict.py as a user runs it: on patches and scenes, killed, spread over workers, and given what it cannot use.

tests/maps.py has the runs.
"""

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import geopandas
import h5py
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from networks import model_files
from scenes import cluster, mapping, pipeline, tiling
from script import UserError
from tests.conftest import ROOT, assert_user_error, run_script, write_h5
from tests.maps import KINDS, TILE, make_bands, read, sigmoid, written
from tests.test_scene import UTM, open_scene, write_raster

# ---------------------------------------------------------------------- scenes


@pytest.mark.parametrize(("height", "width"), [(70, 83), (64, 64), (20, 17), (1, 40), (33, 300)])
@pytest.mark.parametrize("form", ["uint8", "float32"])
def test_a_map_is_right_to_the_pixel_whatever_the_size(call, place, height, width, form):
    bands = make_bands(height, width)
    bands[:, : height // 3, : width // 2] = -1
    write_raster(place / "scene.tif", bands, nodata=-1)
    call("scene.tif", PROBABILITY=form, TILE=32, OVERLAP=12)
    assert written(place) == sorted(f"scene_{kind}" for kind in KINDS)
    expected, gone = sigmoid(bands[0]), bands[0] == -1
    with rasterio.open("maps/scene_probability.tif") as file, rasterio.open("scene.tif") as source:
        assert file.transform == source.transform and file.crs == source.crs and file.shape == source.shape
        assert file.is_tiled and file.compression.name == "deflate"
        probability = file.read(1, masked=True)
        assert file.tags()["run"] == "pixel" and file.tags()["threshold"] == "0.700" and file.tags()["revision"]
        assert file.descriptions == ("probability of landslide",)
        assert file.units == ("%" if form == "uint8" else None,)
        assert file.tags()["meaning"].startswith(
            "probability of landslide, " + ("0 to 100" if form == "uint8" else "0 to 1;")
        )
    with rasterio.open("maps/scene_mask.tif") as file:
        assert file.descriptions == ("landslide",) and file.units == (None,)
        for value in ("1: landslide", "253: excluded", "254: not seen", "255: no data"):
            assert value in file.tags()["meaning"]
    assert np.array_equal(np.ma.getmaskarray(probability), gone)
    unit, step = (100, 0.0051) if form == "uint8" else (1, 1e-5)
    assert np.abs(probability / unit - expected)[~gone].max() < step
    mask = read("maps/scene_mask.tif")
    clear = ~gone & (np.abs(expected - 0.7) > 1e-4)
    assert np.array_equal(mask[clear], expected[clear] >= 0.7) and (mask[gone] == 255).all()
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert table.crs == UTM and table["pixels"].sum() == (mask == 1).sum()
    picture = Image.open("maps/scene_quicklook.png")
    assert picture.text["run"] == "pixel" and picture.text["threshold"] == "0.700"


def test_predict_as_from_a_shell(place):
    """Flags, metadata and GDAL's own tools on what is written."""
    write_raster(place / "scene.tif", make_bands(), descriptions=("B4 red", "B3", "B2"))
    result = run_script(
        *"predict.py --run pixel --input scene.tif --scene-bands red 2 B2 --min-area 1000".split(), cwd=place
    )
    assert result.returncode == 0, result.stderr
    assert "polygons" in result.stdout and "results/pixel/maps/scene_mask.tif" in result.stdout
    maps = place / "results" / "pixel" / "maps"
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


def test_rasters_are_cloud_optimized(call, place):
    from rio_cogeo import cog_validate

    write_raster(place / "scene.tif", make_bands(600, 700))
    for form in ("uint8", "float32"):
        call("scene.tif", PROBABILITY=form)
        for kind in ("mask", "probability"):
            assert cog_validate(f"maps/scene_{kind}.tif") == (True, [], [])
            with rasterio.open(f"maps/scene_{kind}.tif") as file:
                assert file.overviews(1) and file.tags()["run"] == "pixel"


@pytest.mark.parametrize("shape", [(1, 40), (70, 83), (300, 200), (1000, 1024)])
@pytest.mark.parametrize("overlap", [0, 8, 64])
def test_tiles_are_as_large_as_the_scene_needs(shape, overlap):
    grid = tiling.TileGrid.of(shape, 128, overlap, 32)
    fewest = tiling.TileGrid(*shape, (128, 128), grid.overlap)
    assert all(side % 32 == 0 and 32 <= side <= 128 for side in grid.tile)
    assert (len(grid.tops), len(grid.lefts)) <= (len(fewest.tops), len(fewest.lefts))
    assert (np.outer(*grid.totals) > 0).all(), "every pixel is covered"


def test_large_tiles_give_the_map_of_small_ones(call, place):
    """Within what the edges of small tiles change; away from the edges of both, patch by patch, it is the same."""
    write_raster(place / "scene.tif", make_bands(300, 200))
    for side in (32, 128):
        call("scene.tif", RUN="unet", TILE=side, OVERLAP=16, PROBABILITY="float32", OUT_DIR=f"maps{side}")
    small, large = (read(f"maps{side}/scene_probability.tif") for side in (32, 128))
    assert large.std() > 0.02 and np.abs(small - large).mean() < 0.01
    model = model_files.load_model(place / "results" / "unet")
    image = np.random.default_rng(0).normal(1, 0.3, (1, 96, 64, 3)).astype(np.float32)
    whole = tiling.probabilities(model_files.resized(model, (96, 64)), image)[0]
    part = tiling.probabilities(model, image[:, 32:64, 16:48])[0]
    assert whole[32:64, 16:48][14:18, 14:18] == pytest.approx(part[14:18, 14:18], abs=0.01)


def test_the_tile_grid_leaves_no_trace(place):
    """Shifted by half a tile, the map of a network that sees tile edges stays the same within 0.01."""
    bands = make_bands(100, 150)
    path = write_raster(place / "scene.tif", bands)
    opened = predict_source(path)
    model = model_files.load_model(place / "results" / "unet")
    maps = []
    for shift in (0, TILE // 2):
        grid = tiling.TileGrid(100, 150, (TILE, TILE), 8, shift).filling(8)
        job = pipeline.Job("results/unet", opened.source, grid, (1.0,) * 3, 8)
        overlap_add = tiling.OverlapAdd(grid)
        maps.append(
            np.concatenate([overlap_add.add(strip)[1] for (strip,) in pipeline.strips_here([job], [opened], model)])
        )
    assert maps[0].shape == (100, 150) and maps[0].std() > 0.02
    assert np.abs(maps[0] - maps[1]).mean() < 0.01
    alone = tiling.probabilities(model, np.moveaxis(bands, 0, -1)[None, 30:62, 50:82])[0]
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(alone - maps[0][30:62, 50:82])[inner].mean() < 0.01


def predict_source(path):
    return open_scene([path], ("red", "green", "blue"))


@pytest.mark.parametrize("path", ["/vsizip/scene.zip/scene.tif", "GTIFF_DIR:1:scene.tif"])
def test_a_scene_that_is_no_file_by_itself_is_mapped(call, place, path):
    """It has no time of change, which the GeoPackage asks for."""
    write_raster(place / "scene.tif", make_bands())
    with zipfile.ZipFile(place / "scene.zip", "w") as archive:
        archive.write(place / "scene.tif", "scene.tif")
    call(path)
    assert sorted(name.rpartition("_")[2] for name in written(place)) == sorted(KINDS)


def test_a_coordinate_system_without_an_ellipsoid_is_refused_before_the_work(call, place):
    write_raster(
        place / "scene.tif", make_bands(), crs='LOCAL_CS["site",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'
    )
    with pytest.raises(UserError, match="scene.tif: nothing can be measured in its coordinate system"):
        call("scene.tif")
    assert not (place / "maps").exists()


def test_flips_and_turns_are_averaged(place):
    model = model_files.load_model(place / "results" / "unet")
    image = np.moveaxis(make_bands(TILE, TILE), 0, -1)
    expected = np.zeros((TILE, TILE))
    for turn in range(4):
        for flip in (np.asarray, np.flipud):
            p = tiling.probabilities(model, flip(np.rot90(image, turn))[None])[0]
            expected += np.rot90(flip(p), -turn) / 8
    assert tiling.probabilities(model, image[None], tta=True)[0] == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected - tiling.probabilities(model, image[None])[0]).max() > 0.01


def test_gaps_do_not_bleed_and_empty_tiles_cost_nothing(place, monkeypatch):
    """Values under nodata have no say in the map, and tiles without data are not predicted."""
    model = model_files.load_model(place / "results" / "unet")
    maps, seen = [], []
    real = tiling.probabilities
    monkeypatch.setattr(
        tiling, "probabilities", lambda m, images, tta: seen.append(len(images)) or real(m, images, tta)
    )
    for filling in (-1.0, -1e6):
        bands = make_bands(96, 96)
        bands[:, :64], bands[:, 64:, 80:] = filling, filling
        opened = predict_source(write_raster(place / "scene.tif", bands, nodata=filling))
        grid = tiling.TileGrid(96, 96, (TILE, TILE), 0)
        job = pipeline.Job("results/unet", opened.source, grid, (1.0,) * 3, 4)  # no batch of up to 4 is filled up
        overlap_add = tiling.OverlapAdd(grid)
        added = [overlap_add.add(strip) for (strip,) in pipeline.strips_here([job], [opened], model)]
        valid = np.concatenate([part[2] for part in added])
        assert valid.sum() == 32 * 80
        maps.append(np.concatenate([part[1] for part in added])[valid])
    assert np.array_equal(*maps)
    assert sum(seen) == 2 * 3  # of nine tiles


def test_elevation_and_scaling_reach_the_model(call, place, capsys):
    """Run `terrain` gives sigmoid(0.2 slope - 5): the slope of a plane DEM is known."""
    write_raster(place / "scene.tif", np.ones((12, 40, 40), np.float32))
    x = np.arange(60) * 30.0
    dem = np.broadcast_to(0.5 * x, (60, 60)).astype(np.float32)
    write_raster(place / "dem.tif", [dem], from_origin(299700, 1500300, 30, 30))
    call("scene.tif", RUN="terrain", DEM="dem.tif", PROBABILITY="float32")
    expected = 1 / (1 + np.exp(5 - 0.2 * np.degrees(np.arctan(0.5))))
    assert read("maps/scene_probability.tif") == pytest.approx(expected, abs=0.002)
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert "mean_slope_deg" in table.columns
    output = capsys.readouterr().out
    assert "warning: far from what the run was trained on: B1 1 ± 0 (in training 1 ± 0.5)" in output
    assert "and 11 more bands. Likely: " in output
    call("scene.tif", RUN="terrain", DEM="dem.tif", THRESHOLD=0.3)
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert len(table) == 1 and table["mean_slope_deg"][0] == pytest.approx(26.565, abs=0.05)


def test_a_scene_like_the_training_data_gets_no_warning(call, place, capsys):
    bands = np.random.default_rng(0).normal(1, 0.5, (3, 50, 50)).astype(np.float32)
    write_raster(place / "scene.tif", bands)
    call("scene.tif")
    assert "warning" not in capsys.readouterr().out
    bands[1] += 3
    write_raster(place / "scene.tif", bands)
    call("scene.tif")
    assert "trained on: green 4." in capsys.readouterr().out


def test_single_band_files_are_mapped_under_their_common_name(call, place):
    bands = make_bands(60, 60)
    paths = [write_raster(place / f"T51_2020_B0{i + 2}.tif", bands[i : i + 1]) for i in (2, 1, 0)]
    call(*paths[::-1])
    assert "T51_2020_mask.tif" in written(place)
    assert np.abs(read("maps/T51_2020_probability.tif") / 100 - sigmoid(bands[0])).max() < 0.006


# ---------------------------------------------------------------------- odd and bad input


def test_without_a_coordinate_system_it_works_in_pixels_and_says_so(call, place, capsys):
    bands = make_bands()
    write_raster(place / "scene.tif", bands, crs=None)
    call("scene.tif", MIN_AREA=10.0)
    assert "no coordinate system: areas and --min-area are in pixels" in capsys.readouterr().out
    table = geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")
    assert "area_m2" not in table.columns and table["pixels"].min() >= 10 and table.crs is None
    part = read("maps/scene_mask.tif")[table.bounds.miny.astype(int)[0] :, :]
    assert part[0].any() and {"centroid_column", "centroid_row"} <= set(table.columns)
    write_raster(place / "dem.tif", np.ones((1, 90, 90), np.float32))
    write_raster(place / "twelve.tif", np.ones((12, 40, 40), np.float32), crs=None)
    with pytest.raises(UserError, match="twelve.tif: without a coordinate system the elevation cannot be laid"):
        call("twelve.tif", RUN="terrain", DEM="dem.tif")


def test_a_scene_without_any_data_gives_empty_maps(call, place, capsys):
    for crs in (UTM, None):
        write_raster(place / "scene.tif", np.zeros((3, 70, 80), np.uint16), nodata=0, crs=crs)
        for scaling in ("none", "stretch"):
            call("scene.tif", SCALING=scaling)
            assert "holds no data at all" in capsys.readouterr().out
            assert (read("maps/scene_mask.tif") == 255).all() and (read("maps/scene_probability.tif") == 255).all()
            assert len(geopandas.read_file("maps/scene_landslides.gpkg", layer="landslides")) == 0


def test_a_dem_under_part_of_the_scene_leaves_the_rest_without_data(call, place, capsys):
    write_raster(place / "scene.tif", np.ones((12, 40, 40), np.float32))
    write_raster(place / "dem.tif", [np.ones((60, 20), np.float32)], from_origin(299900, 1500100, 10, 10))
    call("scene.tif", RUN="terrain", DEM="dem.tif")
    assert "dem.tif covers 25.0% of the scene; the rest is left without data" in capsys.readouterr().out
    mask = read("maps/scene_mask.tif")
    assert (mask[:, :10] != 255).all() and (mask[:, 10:] == 255).all()
    write_raster(place / "far.tif", [np.ones((60, 20), np.float32)], from_origin(400000, 1500100, 10, 10))
    with pytest.raises(UserError, match="far.tif does not lie under the scene"):
        call("scene.tif", RUN="terrain", DEM="far.tif")
    call("scene.tif", RUN="pixel", DEM="dem.tif", SCENE_BANDS=("1", "2", "3"))
    assert "dem.tif covers 25.0% of the scene; the rest has no slope" in capsys.readouterr().out
    assert (read("maps/scene_mask.tif") != 255).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--input twelve.tif --run terrain", "twelve.tif: 12 bands, but the run takes 14 (B1 B2 "),
        ("--input twelve.tif --run pixel", "12 bands, but the run takes 3 (red green blue): choose them"),
        ("--input twelve.tif --scene-bands 1 2 13 --run pixel", "band 13 is not in the scene (it has bands 1 to 12"),
        ("--input none.tif --run pixel", "none.tif does not exist"),
        ("--input short.tif --run pixel", "short.tif cannot be read at rows 0 to 200: cut short"),
        ("--input stub.tif --run pixel", "stub.tif cannot be opened as a raster"),
        ("--input rgb.tif --run pixel --out-dir short.tif/maps", "short.tif"),
        ("--input rgb.tif --run pixel --overlap -1", "--overlap is -1: it must be at least 0"),
        ("--input rgb.tif --run pixel --nodata none", "argument --nodata: invalid float value: 'none'"),
        ("--input rgb.tif --run pixel --probability int", "--probability: 'int' is none of uint8, float32"),
        ("--run pixel", "nothing to map"),
        ("--run none --input rgb.tif", "results/none/config.json is missing"),
    ],
    ids=lambda value: value if value.startswith("--") else "",
)
def test_what_cannot_be_mapped_is_told_in_one_line(place, flags, message):
    write_raster(place / "rgb.tif", make_bands())
    write_raster(place / "twelve.tif", np.ones((12, 40, 40), np.uint8))
    write_raster(place / "short.tif", make_bands(200, 200))
    os.truncate(place / "short.tif", (place / "short.tif").stat().st_size // 2)
    write_raster(place / "stub.tif", make_bands(50, 50))
    os.truncate(place / "stub.tif", 90)
    result = run_script("predict.py", *flags.split(), cwd=place)
    text = assert_user_error(result, message)
    assert "\n" not in text.strip() and result.stderr.startswith("predict.py: error: ")
    assert not list(place.glob("results/*/maps/*"))


# ---------------------------------------------------------------------- cut off, full, spread over workers


def test_a_full_disk_is_told_and_leaves_nothing_that_looks_finished(place):
    """A limit on file size stands in for the full disk: writing fails the same way."""
    bands = np.random.default_rng(0).normal(1, 0.5, (3, 300, 300)).astype(np.float32)
    write_raster(place / "scene.tif", bands)
    write_h5(place / "image_1.h5", "img", np.ones((TILE, TILE, 3)))
    for flags, limit in (("--input scene.tif --probability float32", 100_000), ("--input image_1.h5", 1000)):
        result = run_script(*f"predict.py --run pixel --out-dir maps {flags}".split(), cwd=place, limit=limit)
        assert_user_error(result, "maps/")
        assert result.stderr.splitlines()[-1].startswith("predict.py: error: ")
        assert not (place / "maps").exists() or all(name.startswith(".partial-") for name in written(place))
        shutil.rmtree(place / "maps", ignore_errors=True)


@pytest.mark.slow
def test_kill_9_leaves_no_file_that_looks_finished(call, place):
    bands = np.tile(make_bands(400, 400), (1, 3, 1))
    write_raster(place / "scene.tif", bands)
    command = f"{sys.executable} {ROOT / 'predict.py'} --run unet --input scene.tif --out-dir maps --tile 32"
    process = subprocess.Popen(
        [*command.split(), "--overlap", "8", "--tta"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    partial, deadline = place / "maps" / ".partial-scene_mask.tif", time.monotonic() + 60
    while not (partial.exists() and partial.stat().st_size > 0):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(name.startswith(".partial-") for name in written(place))
    call("scene.tif", TILE=32, OVERLAP=0)
    assert written(place) == sorted(f"scene_{kind}" for kind in KINDS)


@pytest.mark.slow
def test_two_workers_give_the_same_bytes_also_when_one_is_killed(call, place, monkeypatch):
    """Strips on two local processes, one of them killed after the second strip, against none."""
    psutil = pytest.importorskip("psutil")
    bands = make_bands(300, 200)
    bands[:, 60:140, 40:] = -1
    write_raster(place / "scene.tif", bands, nodata=-1)
    call("scene.tif", RUN="unet", PROBABILITY="float32", TILE=32, OVERLAP=8, BATCH_SIZE=8, OUT_DIR="here")
    real, killed = cluster.strips_on_cluster, []

    def losing_a_worker(jobs, scheduler, first):
        for number, strip in enumerate(real(jobs, scheduler, first)):
            yield strip
            if number == 1:
                processes = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
                assert len(processes) == 2
                processes[0].kill()
                killed.append(number)

    monkeypatch.setattr(cluster, "strips_on_cluster", losing_a_worker)
    call("scene.tif", RUN="unet", PROBABILITY="float32", TILE=32, OVERLAP=8, BATCH_SIZE=8, SCHEDULER="local:2")
    assert killed
    for kind in KINDS:
        assert (place / "maps" / f"scene_{kind}").read_bytes() == (place / "here" / f"scene_{kind}").read_bytes(), kind


@pytest.mark.slow
def test_a_worker_in_an_empty_folder_gets_the_sources(call, place, tmp_path_factory):
    """Started elsewhere, it finds no file of the project but what is sent to it."""
    pytest.importorskip("distributed")
    write_raster(place / "scene.tif", make_bands(120, 90))
    call("scene.tif", RUN="unet", PROBABILITY="float32", OUT_DIR="here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    options = {"cwd": tmp_path_factory.mktemp("empty"), "env": environment, "stderr": subprocess.DEVNULL}
    dask = (sys.executable, "-m", "dask")
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--port", address.rpartition(":")[2], "--no-dashboard"], **options
    )
    worker = subprocess.Popen([*dask, "worker", address, "--nthreads", "1", "--no-dashboard"], **options)
    shutil.copytree(place / "results" / "unet", place / "results" / "damaged")
    os.truncate(place / "results" / "damaged" / "model.keras", 5000)
    try:
        call("scene.tif", RUN="unet", PROBABILITY="float32", SCHEDULER=address)
        with pytest.raises(UserError, match="model.keras cannot be loaded"):  # what a worker raises, of a second job
            call("scene.tif", RUN="damaged", SCHEDULER=address)
    finally:
        for process in (worker, scheduler):
            process.terminate()
            process.wait(30)
    for kind in KINDS:
        assert (place / "maps" / f"scene_{kind}").read_bytes() == (place / "here" / f"scene_{kind}").read_bytes(), kind


def test_what_a_worker_is_sent_is_what_it_imports(tmp_path):
    files = {path.relative_to(ROOT).as_posix() for path in cluster.source_files()}
    assert {"scenes/cluster.py", "scenes/scene.py", "bands.py", "networks/tensorflow_parts.py"} <= files
    assert not {"train.py", "predict.py", "unet.py", "dataset.py", "augment.py"} & files
    code = f"import sys; sys.path.insert(0, {cluster.write_archive(tmp_path / 'sources.zip')!r}); import scenes.cluster"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


def test_a_scheduler_that_is_not_there_is_told(call, place, monkeypatch):
    write_raster(place / "scene.tif", make_bands())
    for scheduler in ("local:none", "tcp://127.0.0.1:1"):
        monkeypatch.setattr(cluster, "PATIENCE", 1)
        with pytest.raises(UserError, match="does not answer"):
            call("scene.tif", SCHEDULER=scheduler)
        gc.collect()  # of Dask's failed client here: met by chance in the next one's thread, it would lock it up
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match="pip install -r requirements-scheduler.txt"):
        call("scene.tif", SCHEDULER="local:2")
    assert written(place) == []


# ---------------------------------------------------------------------- patches


def write_image(path, number=0):
    """A patch whose red band holds two bright squares; returns its expected mask under run `pixel`."""
    image = np.moveaxis(make_bands(TILE, TILE, number), 0, -1).astype(np.float64)
    write_h5(path, "img", image)
    return sigmoid(image[..., 0]) >= 0.7


def h5(path, key):
    with h5py.File(path) as file:
        assert set(file) == {key}
        return file[key][()]


def test_patches_get_masks_in_the_competitions_form(call, place):
    expected = {number: write_image(place / "patches" / f"image_{number}.h5", number) for number in (1, 2, 10)}
    call("patches", PROBABILITIES=True, BATCH_SIZE=2)
    assert written(place) == sorted(f"{kind}_{n}.h5" for n in (1, 2, 10) for kind in ("mask", "probability"))
    for number, mask in expected.items():
        found = h5(place / "maps" / f"mask_{number}.h5", "mask")
        assert found.dtype == np.uint8 and found.shape == (TILE, TILE) and np.array_equal(found, mask)
        probability = h5(place / "maps" / f"probability_{number}.h5", "probability")
        assert probability.dtype == np.float32 and np.array_equal(probability >= np.float32(0.7), mask)
    shutil.rmtree(place / "maps")
    call("patches/image_10.h5", TTA=True)
    assert written(place) == ["mask_10.h5"]
    assert np.array_equal(h5(place / "maps/mask_10.h5", "mask"), expected[10])
    with h5py.File("maps/mask_10.h5") as file:
        assert file.attrs["run"] == "pixel" and file.attrs["threshold"] == "0.700" and file.attrs["revision"]


def test_data_folders_are_mapped_split_by_split(call, place):
    for split in ("TrainData", "TestData"):
        write_image(place / split / "img" / "image_1.h5")
    write_h5(place / "TrainData" / "mask" / "mask_7.h5", "mask", np.zeros((TILE, TILE), np.uint8))
    call(place)
    assert written(place) == ["test", "train"]
    assert (place / "maps" / "train" / "mask_1.h5").exists() and (place / "maps" / "test" / "mask_1.h5").exists()
    shutil.rmtree(place / "maps")
    write_image(place / "flat" / "images" / "image_4.h5")
    call("flat")
    assert written(place) == ["mask_4.h5"]


@pytest.mark.parametrize(
    ("shape", "constants", "message"),
    [
        ((64, 64, 3), {}, "image_2.h5: 64 x 64 pixels, but run pixel was trained on 32 x 32"),
        ((TILE, TILE, 5), {}, "image_2.h5: band red is not in these files"),
        ((TILE, TILE), {}, "image_2.h5: 'img' has shape 32 x 32, not height x width x bands"),
        ((TILE, TILE, 3), {"SCALING": "l4s"}, "scene settings do not apply"),
    ],
)
def test_patches_that_do_not_fit_are_named(call, place, shape, constants, message):
    write_image(place / "patches" / "image_1.h5")
    write_h5(place / "patches" / "image_2.h5", "img", np.ones(shape))
    with pytest.raises(UserError, match=message):
        call("patches", **constants)
    with pytest.raises(UserError, match="nothing.h5 does not exist"):
        call("nothing.h5")
    (place / "void").mkdir()
    with pytest.raises(UserError, match="void: no patches"):
        call("void")


def test_a_resampled_picture_gets_a_mask_of_its_own_size(call, place):
    (place / "results" / "sized").mkdir()
    for path in (place / "results" / "pixel").iterdir():
        shutil.copy(path, place / "results" / "sized")
    config = json.loads((place / "results/sized/config.json").read_text()) | {"constants": {"SIZE": TILE}}
    (place / "results/sized/config.json").write_text(json.dumps(config))
    picture = np.zeros((50, 64, 3), np.uint8)
    picture[10:30, 20:] = 9
    (place / "in").mkdir()
    with rasterio.open("in/image_1.png", "w", height=50, width=64, count=3, dtype="uint8") as file:
        file.write(np.moveaxis(picture, -1, 0))
    call("in", RUN="sized")
    found = h5(place / "maps" / "mask_1.h5", "mask")
    assert found.shape == (50, 64)
    assert np.count_nonzero(found != (picture[..., 0] > 0)) <= 2 * (20 + 44)  # the edges are soft


def test_masks_of_patches_are_replaced_only_on_demand(call, place):
    for folder in ("a", "b"):
        write_h5(place / folder / "image_1.h5", "img", np.ones((TILE, TILE, 3)))
    call("a/image_1.h5", OVERWRITE=False)
    with pytest.raises(UserError, match="maps/mask_1.h5 exists: replace it with --overwrite"):
        call("b/image_1.h5", OVERWRITE=False)
    call("b/image_1.h5")
    with pytest.raises(UserError, match="mask_1.h5 would hold the masks of two patches"):
        call("a/image_1.h5", "b/image_1.h5")


@pytest.mark.parametrize("fixed", [{"MODEL": "segformer"}, {"FUSION": "attention"}])
def test_networks_of_one_size_get_tiles_of_that_size(fixed):
    """Also as a member of an ensemble, whose record has the constants of the member that allows fewest sizes."""
    free = {"MODEL": "unet", "FUSION": "stack", "ENCODER": "none", "DEPTH": 3}
    settings = SimpleNamespace(tile=512, overlap=48, batch_size=4)
    for constants, side in ((free, 512), (free | fixed, 64)):
        run = SimpleNamespace(constants=constants, config={"input_shape": (64, 64, 3)})
        grid, _ = mapping.lay_tiles(run, (900, 1024), settings)
        assert max(grid.tile) <= side and min(grid.tile) % 8 == 0
        assert side != 64 or tuple(grid.tile) == (64, 64)
