"""The size of a pixel: stated by files, told to the network, changed by zooms, and compared with what was learnt."""

import json

import h5py
import keras
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling

import augment
import dataset
from bands import optical_bands
from experiments import renderings
from networks import model_files
from networks.inference import predict
from patches import pixel_sizes
from script import UserError
from tests.maps import TILE, assert_same_maps, make_bands, report_text, write_run
from tests.patch_files import write_patches
from tests.rasters import UTM, open_scene, write_raster
from training.feed import PatchFeed
from unet import build_unet


def test_octaves_and_the_plane_that_follows_the_bands():
    assert pixel_sizes.octaves([10, 5, 20, 0.625]).tolist() == [0, 1, -1, 4]
    images = np.ones((2, 3, 4, 3), np.float32)
    told = pixel_sizes.with_plane(images, np.array([5.0, 20.0]))
    assert told.shape == (2, 3, 4, 4) and told.dtype == np.float32
    assert (told[0, ..., 3] == 1).all() and (told[1, ..., 3] == -1).all() and (told[..., :3] == 1).all()


def test_what_is_learnt_of_sizes_is_recorded():
    sizes = np.array([10.0, 10, 0.5, np.nan])
    learnt = pixel_sizes.learnt_from(sizes, augment.PIXEL_SIZES)
    assert learnt == pixel_sizes.LearntSizes(0.15, 20, 10)
    assert pixel_sizes.octave_shares(sizes) == {"0.5 to 1 m": 0.25, "8 to 16 m": 0.5, "unknown": 0.25}
    assert pixel_sizes.size_class(8) == pixel_sizes.size_class(15.9) == "8 to 16 m"
    assert pixel_sizes.learnt_from(np.array([np.nan])) is None
    assert pixel_sizes.learnt_by({"pixel_size": learnt._asdict() | {"shares": {}}}) == learnt
    assert pixel_sizes.outside(25, learnt) == "" and "pixels of 60 m" in pixel_sizes.outside(60, learnt)
    assert "the run learnt from pixels of 0.15 to 20 m" in pixel_sizes.outside(0.1, learnt)


@pytest.mark.parametrize("name", ["affine", "pixel_size"])
def test_a_zoom_says_the_new_size(name):
    """A bar of known width becomes as much narrower as the plane says that pixels became larger."""
    images = np.zeros((60, 65, 65, 2), np.float32)
    images[:, 24:41, 24:41, 0] = 1
    images[..., 1] = 3.0
    light = optical_bands(("red",), size_plane=True)
    moved, _ = augment.AUGMENTATIONS[name](images, images[..., 0], np.random.default_rng(0), light, fraction=1.0)
    assert (np.ptp(moved[..., 1], axis=(1, 2)) < 1e-5).all()
    factors = 2 ** (3.0 - moved[:, 0, 0, 1])
    assert factors.min() < 0.8 and factors.max() > 1.25
    whole = (factors > 0.5) & (factors < 1)  # the whole bar is seen, and no mirror image of it
    assert whole.sum() > 10
    np.testing.assert_allclose(moved[whole, ..., 0].sum((1, 2)), (17 / factors[whole]) ** 2, rtol=0.05)
    plain, _ = augment.AUGMENTATIONS[name](images, images[..., 0], np.random.default_rng(0), (0,), fraction=1.0)
    assert np.abs(plain[..., 1] - 3).max() < 1e-5


def test_the_feed_tells_sizes_and_draws_unknown_ones(flat):
    patches = dataset.open_patches(flat, flat.parent / "cache")
    patches.pixel_sizes[:10], learnt = 5.0, pixel_sizes.LearntSizes(2.5, 20.0, 5.0)
    feed = PatchFeed(patches, np.arange(20), 20, seed=0, told_sizes=learnt)
    images, _ = feed[0]
    plane, known = images[:, 0, 0, -1], ~np.isnan(patches.pixel_sizes[feed.dealt[0]])
    assert images.shape[-1] == 15 and (np.ptp(images[..., -1], axis=(1, 2)) == 0).all()
    assert (plane[known] == 1).sum() >= 7 and len(set(plane[~known])) == 10
    assert (plane >= -1).all() and (plane <= 2).all()
    np.testing.assert_array_equal(images, feed[0][0])
    held_out, _ = PatchFeed(patches, np.arange(20), 20, told_sizes=learnt)[0]
    assert (held_out[..., -1] == 1).all()


@pytest.mark.parametrize("free", [False, True])
def test_a_model_for_one_pixel_size_predicts_as_the_network_that_is_told_it(free):
    keras.utils.set_random_seed(0)
    model = build_unet((32, 32, 4), 4, 2, mean=[0.0] * 4, variance=[1.0] * 4)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    told = np.asarray(model(pixel_sizes.with_plane(images, np.array([2.5, 2.5]))))
    other = np.asarray(model(pixel_sizes.with_plane(images, np.array([10.0, 10.0]))))
    assert np.abs(told - other).max() > 1e-3
    fixed = model_files.at_pixel_size(model, 2.5)
    fixed = model_files.resized(fixed, (None, None)) if free else fixed
    np.testing.assert_allclose(fixed.predict_on_batch(images), told, atol=1e-6)


def test_patches_are_predicted_with_their_own_sizes(flat):
    patches = dataset.open_patches(flat, flat.parent / "cache")
    patches.pixel_sizes = np.linspace(1, 20, 20)
    image = keras.Input((32, 32, 15))
    model = keras.Model(image, keras.ops.sigmoid(image[..., 14:]))
    for batch, images, probability in predict(model, patches, np.arange(20), 8):
        assert images.shape[-1] == 14
        expected = 1 / (1 + np.exp(-np.log2(10 / patches.pixel_sizes[batch])))
        np.testing.assert_allclose(probability[:, 0, 0], expected, rtol=1e-5)


def test_a_rendering_of_larger_pixels_says_so(flat):
    patches = dataset.open_patches(flat, flat.parent / "cache")
    patches.pixel_sizes = np.full(20, 10.0)
    image = keras.Input((32, 32, 15))
    model = keras.Model(image, keras.ops.sigmoid(image[..., 14:]))
    for rendering, octave in ((renderings.moved(2.0), -1), (renderings.each(lambda picture: picture / 2), 0)):
        rendered = renderings.RenderedPatches(patches, rendering)
        _, images, probability = next(predict(model, rendered, np.arange(4)))
        assert probability[0, 0, 0] == pytest.approx(1 / (1 + np.exp(-octave)), rel=1e-5)
        np.testing.assert_array_equal(images, rendering.render(patches.read([0, 1, 2, 3]), patches.masks[:4])[0])


# ---------------------------------------------------------------------- scenes


def test_a_scene_of_finer_pixels_is_averaged(tmp_path):
    """GDAL's own average is the reference."""
    bands = np.random.default_rng(0).uniform(0, 1, (3, 64, 96)).astype(np.float32)
    path = write_raster(tmp_path / "scene.tif", bands)
    opened = open_scene([path], ("red", "green", "blue"), pixel_size=40.0)
    assert opened.grid.shape == (16, 24) and opened.grid.metres == pytest.approx(40, rel=0.01)
    values, valid = opened.read(0, 16)
    with rasterio.open(path) as file:
        expected = file.read(out_shape=(3, 16, 24), resampling=Resampling.average)
    np.testing.assert_allclose(values, expected, atol=2e-3)
    assert valid.all()
    opened = open_scene([path], ("red", "green", "blue"), pixel_size=10 * 0.5 * opened.grid.metres / 40)
    assert opened.grid.shape == (128, 192)
    with rasterio.open(path) as file:
        expected = file.read(out_shape=(3, 128, 192), resampling=Resampling.bilinear)
    inner = np.s_[:, 4:-4, 4:-4]
    np.testing.assert_allclose(opened.read(0, 128)[0][inner], expected[inner], atol=0.02)
    with pytest.raises(UserError, match="pixels of 2 m cannot be made of .* more than 4 times larger: 10 m"):
        open_scene([path], ("red", "green", "blue"), pixel_size=2.0)


@pytest.fixture
def told(workdir):
    """A run whose probability is sigmoid(octaves of the pixel size), whatever the picture shows."""
    image = keras.Input((TILE, TILE, 4))
    model = keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="c")(image))
    model.get_layer("c").set_weights([np.float32([0, 0, 0, 1]).reshape(1, 1, 4, 1), np.zeros(1, np.float32)])
    write_run(workdir / "results", "told", model, ("red", "green", "blue"), 0.5)
    path = workdir / "results/told/config.json"
    config = json.loads(path.read_text()) | {"pixel_size_input": True}
    config["pixel_size"] = {"least": 2.5, "most": 20.0, "usual": 10.0, "shares": {}}
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("metres", "flags", "octave", "words"),
    [
        (5, {}, 1, ""),
        (0.625, {}, 2, "pixels of 0.625 m are averaged to the finest that the run has learnt, 2.5 m"),
        (0.625, {"PIXEL_SIZE": 5.0}, 1, ""),
        (80, {}, -3, "pixels of 80 m, and the run learnt from pixels of 2.5 to 20 m"),
    ],
)
def test_a_map_tells_the_network_the_size_of_its_pixels(call, workdir, told, capsys, metres, flags, octave, words):
    transform = rasterio.transform.from_origin(500000, 5000000, metres, metres)
    write_raster(workdir / "scene.tif", make_bands(256, 256), transform)
    call("scene.tif", RUN="told", PROBABILITY_TYPE="float32", **flags)
    with rasterio.open("maps/scene_probability.tif") as file:
        probability = file.read(1)
        assert file.crs == UTM and file.bounds.right == pytest.approx(500000 + 256 * metres, abs=metres)
        assert file.tags()["pixel_size"].endswith(" m")
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-octave)), atol=2e-3)
    printed = capsys.readouterr().out
    assert words in printed and ("the run learnt" in printed) == ("the run learnt" in words)


@pytest.mark.slow
def test_workers_tell_the_size_too(call, workdir, told):
    pytest.importorskip("distributed")
    write_raster(workdir / "scene.tif", make_bands(120, 90), rasterio.transform.from_origin(500000, 5000000, 5, 5))
    for folder, scheduler in (("local", None), ("maps", "local:2")):
        call("scene.tif", RUN="told", PROBABILITY_TYPE="float32", OUT_DIR=folder, SCHEDULER=scheduler)
    assert_same_maps(workdir / "maps", workdir / "local")


def test_a_picture_without_georeference_is_told_to_be_of_unknown_size(call, workdir, told, capsys):
    write_raster(workdir / "photo.tif", make_bands(), crs=None)
    call("photo.tif", RUN="told", PROBABILITY_TYPE="float32")
    words = "the size of a pixel on the ground is unknown, and it is taken for 10 m: tell it with --pixel-size"
    assert words in capsys.readouterr().out and words in report_text(workdir / "maps/photo_report.html")
    call("photo.tif", RUN="told", PROBABILITY_TYPE="float32", PIXEL_SIZE=5.0)
    with rasterio.open("maps/photo_probability.tif") as file:
        np.testing.assert_allclose(file.read(1), 1 / (1 + np.exp(-1)), atol=1e-4)
    assert "unknown, and it" not in capsys.readouterr().out


def test_patches_state_the_size_of_their_pixels(event, cut):
    sizes = {"PIXEL_SIZES": (10.0, 20.0), "SIZE": 32}
    cut("scene.tif", LABELS=["slides.gpkg"], AREA=("area.gpkg",), VALIDATION=0, TEST=0, **sizes)
    patches = dataset.open_patches("event", event / "cache")
    assert {round(size, 1) for size in patches.pixel_sizes} == {10.0, 20.0} and set(patches.own_splits) == {"train"}
    with h5py.File(event / "event" / patches.names[-1]) as file:
        assert file.attrs["scene"] == "scene_20m" and file.attrs["transform"][0] == pytest.approx(20, rel=1e-3)


def test_files_state_sizes_and_a_folder_can_be_told_one(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5), bands=3)
    with h5py.File(tmp_path / "d/images/image_2.h5", "a") as file:
        file.attrs["pixel_size"] = 3.0
    sizes = dataset.open_sources([tmp_path / "d"], tmp_path / "cache").pixel_sizes
    np.testing.assert_array_equal(sizes, [np.nan, 3, np.nan, np.nan])
    sizes = dataset.open_sources([tmp_path / "d"], tmp_path / "cache", pixel_sizes=(10,)).pixel_sizes
    np.testing.assert_array_equal(sizes, [10, 3, 10, 10])
