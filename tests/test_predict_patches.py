"""predict.py on patches, as a user calls it. tests/maps.py has the runs."""

import json
import shutil

import h5py
import numpy as np
import pytest
import rasterio

import export
import runs
from script import UserError
from tests.maps import TILE, make_bands, sigmoid, written
from tests.patch_files import write_h5


def write_image(path, number=0):
    """A patch whose red band holds two bright squares; returns its expected mask under run `pixel`."""
    image = np.moveaxis(make_bands(TILE, TILE, number), 0, -1).astype(np.float64)
    write_h5(path, "img", image)
    return sigmoid(image[..., 0]) >= 0.7


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
        ((64, 64, 3), {}, "image_2.h5: 64 x 64 pixels, but run pixel was trained on 32 x 32"),
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
        assert ("by their names: red B04, green B03, blue B02" in said) == (name == "stated")
        run = runs.open_run("results", "pixel")
        monkeypatch.setattr(export, "CHECK_ON", (f"{name}/image_1.h5",))
        np.testing.assert_allclose(export.read_patches(run)[0], image, rtol=1e-5)


def test_a_resampled_picture_gets_a_mask_of_its_own_size(call, workdir):
    (workdir / "results" / "sized").mkdir()
    for path in (workdir / "results" / "pixel").iterdir():
        shutil.copy(path, workdir / "results" / "sized")
    config = json.loads((workdir / "results/sized/config.json").read_text()) | {"constants": {"SIZE": TILE}}
    (workdir / "results/sized/config.json").write_text(json.dumps(config))
    picture = np.zeros((50, 64, 3), np.uint8)
    picture[10:30, 20:] = 9
    (workdir / "in").mkdir()
    with rasterio.open("in/image_1.png", "w", height=50, width=64, count=3, dtype="uint8") as file:
        file.write(np.moveaxis(picture, -1, 0))
    call("in", RUN="sized")
    predicted = h5(workdir / "maps" / "mask_1.h5", "mask")
    assert predicted.shape == (50, 64)
    assert np.count_nonzero(predicted != (picture[..., 0] > 0)) <= 2 * (20 + 44)  # the edges are soft


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
