"""predict.py on patches, as a user calls it. tests/maps.py has the runs."""

import json
import shutil

import h5py
import numpy as np
import pytest
import rasterio
from PIL import Image

import export
import mask_values
import runs
from patches import image_files
from script import UserError
from tests.maps import TILE, make_bands, read, sigmoid, written
from tests.patch_files import write_h5
from tests.rasters import write_raster


def write_image(path, number=0):
    """A patch whose red band holds two bright squares; returns its expected mask under run `pixel`."""
    image = np.moveaxis(make_bands(TILE, TILE, number), 0, -1).astype(np.float64)
    write_h5(path, "img", image)
    return sigmoid(image[..., 0]) >= 0.7


def copied_run(workdir, name, constants):
    """Copy run `pixel` as one that was trained with some constants."""
    folder = workdir / "results" / name
    folder.mkdir()
    for path in (workdir / "results" / "pixel").iterdir():
        shutil.copy(path, folder)
    config = json.loads((folder / "config.json").read_text()) | {"constants": constants}
    (folder / "config.json").write_text(json.dumps(config))


def write_picture(path, image):
    with rasterio.open(path, "w", height=image.shape[0], width=image.shape[1], count=3, dtype="uint8") as file:
        file.write(np.moveaxis(image, -1, 0))


def h5(path, key):
    with h5py.File(path) as file:
        assert set(file) == {key}
        return file[key][()]


def test_patches_get_masks_in_the_competitions_form(call, workdir):
    expected = {number: write_image(workdir / "patches" / f"image_{number}.h5", number) for number in (1, 2, 10)}
    call("patches", PATCH_PROBABILITIES=True, BATCH_SIZE=2)
    assert written(workdir) == sorted(f"{kind}_{n}.h5" for n in (1, 2, 10) for kind in ("mask", "probability"))
    for number, mask in expected.items():
        predicted = h5(workdir / "maps" / f"mask_{number}.h5", "mask")
        assert predicted.dtype == np.uint8 and predicted.shape == (TILE, TILE) and np.array_equal(predicted, mask)
        probability = h5(workdir / "maps" / f"probability_{number}.h5", "probability")
        assert probability.dtype == np.float32 and np.array_equal(probability >= np.float32(0.7), mask)
    shutil.rmtree(workdir / "maps")
    call("patches/image_10.h5", TTA=True)
    assert written(workdir) == ["mask_10.h5"]
    assert np.array_equal(h5(workdir / "maps/mask_10.h5", "mask"), expected[10])
    with h5py.File("maps/mask_10.h5") as file:
        assert file.attrs["run"] == "pixel" and file.attrs["threshold"] == "0.700" and file.attrs["revision"]


def test_data_folders_are_mapped_split_by_split(call, workdir):
    for split in ("TrainData", "TestData"):
        write_image(workdir / split / "img" / "image_1.h5")
    write_h5(workdir / "TrainData" / "mask" / "mask_7.h5", "mask", np.zeros((TILE, TILE), np.uint8))
    call(workdir)
    assert written(workdir) == ["test", "train"]
    assert (workdir / "maps" / "train" / "mask_1.h5").exists() and (workdir / "maps" / "test" / "mask_1.h5").exists()
    shutil.rmtree(workdir / "maps")
    write_image(workdir / "flat" / "images" / "image_4.h5")
    call("flat")
    assert written(workdir) == ["mask_4.h5"]


@pytest.mark.parametrize(
    ("shape", "constants", "message"),
    [
        ((9, 3000, 3), {}, "image_2.h5: 9 x 3000 pixels: map it as a scene"),
        ((TILE, TILE, 2), {}, "image_2.h5 holds band1 band2 and lacks red green blue of the run"),
        ((TILE, TILE), {}, "image_2.h5: 'img' has shape 32 x 32, not height x width x bands"),
        ((TILE, TILE, 3), {"SCALING": "l4s"}, "scene settings do not apply"),
    ],
)
def test_patches_that_do_not_fit_are_named(call, workdir, shape, constants, message):
    write_image(workdir / "patches" / "image_1.h5")
    write_h5(workdir / "patches" / "image_2.h5", "img", np.ones(shape))
    with pytest.raises(UserError, match=message):
        call("patches", **constants)
    with pytest.raises(UserError, match="nothing.h5 does not exist"):
        call("nothing.h5")
    (workdir / "void").mkdir()
    with pytest.raises(UserError, match="void: no patches"):
        call("void")


def test_bands_of_patches_are_found_by_name_as_evaluate_finds_them(call, workdir, monkeypatch, capsys):
    image = np.moveaxis(make_bands(TILE, TILE, 1), 0, -1).astype(np.float64)
    expected = sigmoid(image[..., 0]) >= 0.7
    other = np.zeros((TILE, TILE, 14))
    other[..., [3, 2, 1]] = image
    cases = {
        "stated": (image[..., ::-1], ["B02", "B03", "B04"]),
        "more": (np.concatenate([image, image[..., :1]], -1), ["red", "green", "blue", "dem"]),
        "unnamed": (np.concatenate([image, image[..., :1]], -1), None),
        "fourteen": (other, None),
    }
    for name, (values, bands) in cases.items():
        write_h5(workdir / f"{name}/image_1.h5", "img", values)
        if bands:
            with h5py.File(workdir / f"{name}/image_1.h5", "a") as file:
                file.attrs.update({"bands": bands, "values": ""})
        call(name)
        assert np.array_equal(h5(workdir / "maps" / "mask_1.h5", "mask"), expected), name
        said = capsys.readouterr().out
        assert ("by their names: red B4, green B3, blue B2" in said) == (name in ("stated", "fourteen"))
        run = runs.open_run("results", "pixel")
        monkeypatch.setattr(export, "CHECK_ON", (f"{name}/image_1.h5",))
        np.testing.assert_allclose(export.read_patches(run)[0], image, rtol=1e-5)


def test_a_resampled_picture_gets_a_mask_of_its_own_size(call, workdir):
    copied_run(workdir, "sized", {"SIZE": TILE})
    picture = np.zeros((50, 64, 3), np.uint8)
    picture[10:30, 20:] = 9
    (workdir / "in").mkdir()
    write_picture("in/image_1.png", picture)
    call("in", RUN="sized")
    predicted = h5(workdir / "maps" / "mask_1.h5", "mask")
    assert predicted.shape == (50, 64)
    assert np.count_nonzero(predicted != (picture[..., 0] > 0)) <= 2 * (20 + 44)  # the edges are soft


def test_patches_of_any_size_are_taken_also_in_one_folder(call, workdir):
    """Run `pixel` judges each pixel by itself, so that every mask is known; its tiles have 32 pixels a side."""
    expected = {}
    for number, (height, width) in enumerate([(32, 32), (64, 96), (20, 20), (45, 70), (20, 20), (100, 9)]):
        image = np.moveaxis(make_bands(height, width, number), 0, -1).astype(np.float64)
        write_h5(workdir / "patches" / f"image_{number}.h5", "img", image)
        expected[number] = sigmoid(image[..., 0]) >= 0.7
    for tta in (False, True):
        call("patches", TTA=tta, BATCH_SIZE=4)
        for number, mask in expected.items():
            np.testing.assert_array_equal(h5(workdir / "maps" / f"mask_{number}.h5", "mask"), mask)


@pytest.mark.usefixtures("unet")
@pytest.mark.slow
def test_a_network_takes_smaller_and_larger_patches_than_it_was_trained_on(call, workdir):
    """A U-Net of stride 4: smaller ones filled up by mirroring where 4 does not divide, larger ones as scenes are."""
    from networks.model_files import load_model, resized

    copied_run(workdir, "free", {})
    shutil.copy(workdir / "results/unet/model.keras", workdir / "results/free")
    config = json.loads((workdir / "results/free/config.json").read_text())
    config["constants"] = {"MODEL": "unet", "DEPTH": 2}
    (workdir / "results/free/config.json").write_text(json.dumps(config))
    model = load_model(workdir / "results/free")
    for number, (height, width) in enumerate([(16, 24), (30, 31)]):
        image = np.moveaxis(make_bands(height, width, number), 0, -1)
        write_h5(workdir / "patches" / f"image_{number}.h5", "img", image)
        filled = np.pad(image, ((0, -height % 4), (0, -width % 4), (0, 0)), "reflect")[None]
        truth = np.asarray(resized(model, filled.shape[1:3]).predict_on_batch(filled))[0, :height, :width, 0]
        call(f"patches/image_{number}.h5", RUN="free", PATCH_PROBABILITIES=True)
        np.testing.assert_allclose(h5(f"maps/probability_{number}.h5", "probability"), truth, atol=1e-5)
    bands = make_bands(80, 40)
    write_h5(workdir / "patches/image_9.h5", "img", np.moveaxis(bands, 0, -1))
    write_raster("scene.tif", bands)
    for constants in ({"MODEL": "unet", "DEPTH": 2}, {"MODEL": "segformer"}):  # the second has tiles of one size
        config["constants"] = constants
        (workdir / "results/free/config.json").write_text(json.dumps(config))
        call("patches/image_9.h5", RUN="free", PATCH_PROBABILITIES=True)
        call("scene.tif", RUN="free", PROBABILITY_TYPE="float32", OVERWRITE=True)
        mapped = read("maps/scene_probability.tif")
        np.testing.assert_allclose(h5("maps/probability_9.h5", "probability"), mapped, atol=1e-5)


def test_a_picture_gets_a_picture_that_is_read_as_the_same_mask(call, workdir):
    (workdir / "in").mkdir()
    picture = np.zeros((TILE, TILE, 4), np.uint8)
    picture[..., 3] = 255
    picture[8:20, 4:30, 0], picture[2:5, :6, 3] = 9, 0  # landslide under run `pixel`; no data
    for number, image in enumerate((picture, picture * (0, 1, 1, 1))):
        Image.fromarray(image.astype(np.uint8)).save(f"in/image_{number}.png")
    call("in")
    rule = mask_values.MaskRule()
    for number in (0, 1):  # the second has no landslide
        stored = h5(f"maps/mask_{number}.h5", "mask")
        values, unlabelled, *_ = image_files.read_mask(workdir / f"maps/mask_{number}.png")
        labels = mask_values.as_labels(values, unlabelled)
        rule.add(labels)
        np.testing.assert_array_equal(labels.decided(high_is_landslide=True), stored)
        assert set(np.unique(stored)) == ({0, 1, 255} if number == 0 else {0, 255})
    assert rule.high_is_landslide
    with Image.open("maps/mask_0.png") as drawn:
        assert drawn.getpixel((10, 10)) == 255 and drawn.getpixel((0, 0)) == 0 and drawn.info["transparency"] == 128
    with pytest.raises(UserError, match="maps/mask_0.h5 exists"):
        call("in", OVERWRITE=False)


def test_masks_of_patches_are_replaced_only_on_demand(call, workdir):
    for folder in ("a", "b"):
        write_h5(workdir / folder / "image_1.h5", "img", np.ones((TILE, TILE, 3)))
    call("a/image_1.h5", OVERWRITE=False)
    with pytest.raises(UserError, match="maps/mask_1.h5 exists: replace it with --overwrite"):
        call("b/image_1.h5", OVERWRITE=False)
    call("b/image_1.h5")
    with pytest.raises(UserError, match="mask_1.h5 would hold the masks of two patches"):
        call("a/image_1.h5", "b/image_1.h5")


def test_patches_of_another_range_than_in_training_are_told(call, workdir, capsys):
    for number in range(3):
        write_image(workdir / "usual" / f"image_{number}.h5", number)
        image = np.moveaxis(make_bands(TILE, TILE, number), 0, -1).astype(np.float64)
        write_h5(workdir / "odd" / f"image_{number}.h5", "img", 160 * image + 40)
    call("usual")
    assert "far from" not in capsys.readouterr().out
    shutil.rmtree(workdir / "maps")
    call("odd")
    assert "warning: far from what the run was trained on: red" in capsys.readouterr().out
