"""The unit of values: whoever reads more patches compares it with that of the first ones, in the same words."""

from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest

import dataset
import export
from bands import BANDS_RGB
from networks import patch_maps
from patches.landslide_free import open_landslide_free
from patches.patch_format import PatchFormat
from patches.reading import ReadOptions, write_array
from script import UserError
from tests.patch_files import open_folder, scar

PIXELS = np.random.default_rng(0).integers(60, 140, (6, 32, 32, 3))


def write_folder(folder, factor, dtype, **stated):
    """Write patches of about 100 times a factor."""
    for number, image in enumerate(PIXELS):
        write_array(folder / f"images/image_{number}.h5", "img", (image * factor).astype(dtype), stated)
        write_array(folder / f"masks/mask_{number}.h5", "mask", scar(number))
    return folder


def run_on(patches):
    """Return what a run that was trained on patches says of them."""
    form = PatchFormat.of(patches)
    config = {"bands": list(BANDS_RGB), "file_bands": 3, "file_band_names": list(BANDS_RGB), "values": form.unit}
    config |= {"input_shape": [32, 32, 3], "data_digest": "of others", "left_out": [], "data_dir": "gone"}
    return SimpleNamespace(name="old", config=config, constants={}, data_folders=["gone"])


def second_folder(first, other, cache):
    dataset.open_sources([first, other], cache)


def ground(first, other, cache):
    open_landslide_free([other / "images"], PatchFormat.of(open_folder(first)), cache)


def evaluated(first, other, cache):
    dataset.open_for_run(run_on(open_folder(first)), "all", other, cache)


def predicted(first, other, cache):
    image = other / "images/image_0.h5"
    patch_maps.read_patch(image, run_on(open_folder(first)), ReadOptions(), 10.0)


def exported(first, other, cache):
    with patch.object(export, "CHECK_ON", (str(other / "images/image_0.h5"),)):
        export.read_patches(run_on(open_folder(first)))


@pytest.mark.parametrize("read", [second_folder, ground, evaluated, predicted, exported])
@pytest.mark.parametrize(
    ("first", "other"),
    [
        ((1, np.uint8, {}), (0.01, np.float32, {"values": "l4s"})),
        ((1, np.uint8, {}), (1, np.float32, {"values": "l4s"})),  # its numbers look alike
        ((0.01, np.float32, {}), (1, np.float32, {"values": "display"})),  # known by its numbers
    ],
)
def test_a_stated_unit_that_is_another_is_refused(tmp_path, read, first, other):
    pairs = zip("ab", (first, other), strict=True)
    folders = [write_folder(tmp_path / name, *each[:2], **each[2]) for name, each in pairs]
    unit, usual = other[2]["values"], "display" if first[1] == np.uint8 else "l4s"
    said = rf"holds values of the unit {unit}, (the training patches|.*a) of {usual}: bring them to one"
    with pytest.raises(UserError, match=said):
        read(*folders, tmp_path / "cache")


@pytest.mark.parametrize("read", [second_folder, ground])
@pytest.mark.parametrize("factor", [0.01, 1])
def test_values_far_from_those_of_the_first_patches_are_told(tmp_path, read, factor, capsys):
    first = write_folder(tmp_path / "a", 0.01, np.float32, values="l4s")
    other = write_folder(tmp_path / "b", factor, np.float32 if factor < 1 else np.uint8)
    read(first, other, tmp_path / "cache")
    said = capsys.readouterr().out
    assert ("warning" in said) == (factor == 1)
    red = PIXELS[..., 0].mean()
    text = f"red {red:.4g} ± 23 (in training {red / 100:.4g} ± 0.23)"
    assert factor < 1 or ("far from the " in said and text in said)


@pytest.mark.parametrize("read", [second_folder, ground])
def test_an_unknown_unit_is_no_other_one(tmp_path, read, capsys):
    first = write_folder(tmp_path / "a", 10, np.uint16)
    read(first, write_folder(tmp_path / "b", 11, np.uint16, values="l4s"), tmp_path / "cache")
    assert "warning" not in capsys.readouterr().out
