"""The synthetic event: scenes before and after, elevation, inventory and the parts of the scene, as GIS files."""

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio import features, warp
from scipy import ndimage

from patches.slope import horn_slope
from scenes.box_labels import BoxLabels
from scenes.pixel_grid import PixelGrid
from synthetic import landscape, scene
from tests.running import ROOT, assert_user_error, run_script

SIZE = 256
FILES = ("after.tif", "before.tif", "dem.tif", "label_area.gpkg", "landslides.gpkg", "test_area.gpkg")


def make(*flags, **options):
    return run_script("make_sample_data.py", "--scene", "--scene-size", SIZE, *flags, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of an event with default settings, but small."""
    folder = tmp_path_factory.mktemp("event") / "out"
    result = make("--out-dir", folder)
    assert result.returncode == 0, result.stderr
    assert f"{SIZE} x {SIZE} pixels" in result.stdout
    return folder


@pytest.fixture(scope="module")
def event():
    """The arrays that the files of `folder` were made from."""
    return scene.make_event(landscape.REGIONS["humid_hills"], np.random.default_rng([0, 0, 0]), SIZE)


def read_bands(path):
    with rasterio.open(path) as file:
        return file.read().astype(float)


def rasterized(path):
    """The pixels of the scene in the polygons of a file."""
    shapes = geopandas.read_file(path).geometry
    return features.rasterize(shapes, (SIZE, SIZE), transform=scene.TRANSFORM) == 1


def test_files_are_those_of_a_gis(folder):
    assert tuple(sorted(path.name for path in folder.iterdir())) == FILES
    for name in ("before.tif", "after.tif"):
        with rasterio.open(folder / name) as file:
            assert file.shape == (SIZE, SIZE) and file.dtypes == ("uint16",) * 12 and file.nodata == 0
            assert file.descriptions == tuple(f"B{i}" for i in range(1, 13))
            assert file.crs.to_epsg() == 32643 and file.res == (10, 10)
            assert file.block_shapes[0] == (256, 256) and file.compression.name == "deflate"
            assert "invented" in file.tags()["synthetic"]
            assert file.read().min() > 0
    with rasterio.open(folder / "dem.tif") as file:
        assert file.crs.to_epsg() == 4326 and file.nodata is not None
    for name in FILES[3:]:
        assert geopandas.read_file(folder / name).crs.to_epsg() == 32643


def test_inventory_outlines_the_mask(folder, event):
    slides = geopandas.read_file(folder / "landslides.gpkg")
    assert 0.02 < event.mask.mean() < 0.06  # in so small a scene one large slide is much
    np.testing.assert_array_equal(rasterized(folder / "landslides.gpkg"), event.mask == 1)
    assert slides.area.sum() == pytest.approx(100 * event.mask.sum())
    np.testing.assert_allclose(slides["area_m2"], slides.area)
    assert slides.is_valid.all() and slides["id"].is_unique
    assert len(slides) == ndimage.label(event.mask, np.ones((3, 3)))[1]


def test_sizes_of_landslides_are_heavy_tailed(folder):
    areas = geopandas.read_file(folder / "landslides.gpkg")["area_m2"]
    assert areas.max() > 10 * areas.median()


def test_only_the_scene_after_holds_the_new_landslides(folder, event):
    """Where the ground slid, plants are gone; elsewhere they differ by the season alone."""
    before, after = (read_bands(folder / name) for name in ("before.tif", "after.tif"))
    change = np.subtract(*((light[7] - light[3]) / (light[7] + light[3]) for light in (after, before)))
    near = ndimage.binary_dilation(event.mask, iterations=3)
    assert np.median(change[event.mask == 1]) < -0.25
    assert abs(np.median(change[~near])) < 0.1 and (change[~near] < -0.25).mean() < 0.01


def test_elevation_lies_under_the_scene(folder, event):
    """Brought back to the pixels of the scene, it has the heights and slopes on which landslides were drawn."""
    with rasterio.open(folder / "dem.tif") as file:
        assert (file.read(1) != file.nodata).all()
        back, _ = warp.reproject(
            rasterio.band(file, 1),
            np.empty((SIZE, SIZE)),
            dst_transform=scene.TRANSFORM,
            dst_crs=scene.UTM,
            dst_nodata=np.nan,
            resampling=warp.Resampling.bilinear,
        )
    assert np.isfinite(back).all()
    assert np.abs(back - event.elevation).mean() < 4  # slopes of 25 degrees fall 4.7 m over a pixel
    slopes = [horn_slope(np.pad(z, 1, mode="edge"), 10, 10) for z in (back, ndimage.uniform_filter(event.elevation, 3))]
    assert np.corrcoef(*(slope.ravel() for slope in slopes))[0, 1] > 0.9
    assert np.median(slopes[0][event.mask == 1]) > np.median(slopes[0]) + 5


def test_parts_lie_apart():
    label, test = scene.parts(1024).values()
    assert label.union_all().distance(test.union_all()) >= 1280
    assert label.area.sum() == test.area.sum() > 0.4 * 10240**2
    whole = features.rasterize([*label.geometry, *test.geometry], (1024, 1024), transform=scene.TRANSFORM)
    assert whole.sum() * 100 == label.area.sum() + test.area.sum()  # both lie within the scene, along its pixels


def test_same_seed_same_bytes(folder, tmp_path):
    assert make("--out-dir", tmp_path / "same").returncode == 0
    assert make("--out-dir", tmp_path / "other", "--seed", 1).returncode == 0
    for name in FILES:
        assert (tmp_path / "same" / name).read_bytes() == (folder / name).read_bytes(), name
    assert (tmp_path / "other" / "after.tif").read_bytes() != (folder / "after.tif").read_bytes()


@pytest.mark.slow
def test_the_labels_of_the_demo_are_of_its_scene(tmp_path):
    """`make demo-event` takes a file that the page saved; it is refused if the scene is made differently."""
    assert run_script("make_sample_data.py", "--scene", "--out-dir", tmp_path).returncode == 0
    with rasterio.open(tmp_path / "after.tif") as file:
        grid = PixelGrid.of(file)
    boxes = BoxLabels(ROOT / "synthetic" / "event_labels.geojson", grid, [tmp_path / "after.tif"])
    assert len(boxes.outlines) == 20 and boxes.has_landslides
    part = geopandas.read_file(tmp_path / "label_area.gpkg").geometry
    assert grid.in_pixels(part.to_numpy())[0].buffer(0.01).contains(shapely.union_all(boxes.outlines))


def test_scenes_are_replaced_on_request_only(tmp_path):
    (tmp_path / "dem.tif").write_text("mine")
    assert_user_error(make("--out-dir", tmp_path), f"{tmp_path} already holds dem.tif", "--overwrite")
    assert [path.name for path in tmp_path.iterdir()] == ["dem.tif"]
    assert make("--out-dir", tmp_path, "--overwrite").returncode == 0
    assert tuple(sorted(path.name for path in tmp_path.iterdir())) == FILES


def test_a_full_disk_leaves_no_half_file(tmp_path):
    result = make("--out-dir", tmp_path, limit=100_000)
    assert_user_error(result, tmp_path / "before.tif", "cannot be written: File too large")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--scene", "--scene-size", 255), "--scene-size is 255: it must be at least 256"),
        (
            ("--scene", "--dates", 4, "--patches", 9),
            "--scene makes one place at two dates: leave out --dates and",
        ),
        (("--scene-size", 512), "--scene-size is the size of a scene: give --scene, too"),
    ],
)
def test_bad_settings(tmp_path, flags, message):
    assert_user_error(run_script("make_sample_data.py", *flags, cwd=tmp_path), message)
    assert not list(tmp_path.iterdir())
