"""Data sets: patches are found and paired, from files in the published layouts; their bands and statistics."""

import numpy as np
import pytest

import dataset
from bands import BANDS_L4S, true_colour
from patches import layouts
from script import UserError
from tests.patch_files import layout_folder, make_pair, open_folder


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_layouts_are_found_and_images_meet_their_masks(tmp_path, layout):
    patches = open_folder(layout_folder(tmp_path / "data", layout))
    assert len(patches) == 11
    assert patches.input_shape == (32, 32, 14)
    for i, number in enumerate(patches.numbers):
        image, mask = make_pair(number)
        np.testing.assert_allclose(patches.read([i])[0], image, rtol=2**-10)  # as float16
        np.testing.assert_array_equal(patches.read_masks([i])[0], mask)
    counts = {split: list(patches.own_splits).count(split) for split in layouts.SPLITS}
    assert counts == (
        dict(train=6, validation=3, test=2)
        if len(layouts.LAYOUTS[layout]) > 1
        else {"train": 0, "validation": 0, "test": 0}
    )


def test_pairs_go_by_number_not_by_position(flat):
    """The mirror of Landslide4Sense has more masks than images, so pairing by position would be wrong."""
    (flat / "images" / "image_3.h5").unlink()
    (flat / "masks" / "mask_3.h5").rename(flat / "masks" / "mask_0100.h5")
    patches = open_folder(flat)
    assert 3 not in patches.numbers and 100 not in patches.numbers
    i = list(patches.numbers).index(7)
    np.testing.assert_array_equal(patches.read_masks([i])[0], make_pair(7)[1])


def test_no_patches_and_two_layouts_are_refused(tmp_path, flat):
    with pytest.raises(layouts.NoPatches, match="no patches"):
        dataset.open_patches(tmp_path / "nowhere", tmp_path / "cache")
    layout_folder(flat, "official")
    with pytest.raises(UserError, match=r"more than one layout \(TestData/img, TrainData/img, ValidData/img, images\)"):
        open_folder(flat)


def test_bands_by_name_and_by_number(flat):
    by_name = open_folder(flat, bands=("B4", "slope", "dem"))
    by_number = open_folder(flat, bands=("4", "13", "14"))
    assert by_name.bands == by_number.bands == ("B4", "slope", "dem")
    np.testing.assert_array_equal(by_name.read([2]), by_number.read([2]))
    np.testing.assert_array_equal(by_name.read([2])[0], make_pair(3)[0][..., [3, 12, 13]].astype(np.float16))
    with pytest.raises(UserError, match="band B8A is not in these files"):
        open_folder(flat, bands=("B8A",))
    with pytest.raises(UserError, match="same band twice"):
        open_folder(flat, bands=("B4", "4"))
    assert [BANDS_L4S[i] for i in true_colour(BANDS_L4S)] == ["B4", "B3", "B2"]


def test_statistics_agree_with_numpy(flat):
    patches = open_folder(flat, bands=("B2", "dem"))
    mean, variance = patches.statistics([1, 4, 6])
    pixels = (
        np.stack([make_pair(n)[0][..., [1, 13]] for n in (2, 5, 7)]).reshape(-1, 2).astype(np.float16).astype(float)
    )
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, pixels.var(0), rtol=1e-5)


def test_patches_of_another_range_than_in_training_are_told(flat, capsys):
    patches = open_folder(flat, bands=("B4", "B3"))
    mean, variance = patches.statistics(range(20))
    config = {"bands": patches.bands, "band_mean": mean, "band_variance": variance}
    dataset.warn_if_far(patches, np.arange(20), config)
    assert not capsys.readouterr().out
    dataset.warn_if_far(patches, np.arange(20), config | {"band_mean": mean * 16, "band_variance": variance * 256})
    assert "warning: far from what the run was trained on: B4" in capsys.readouterr().out
    # of several sources, one that is alike will do
    sources = [{"band_mean": mean * k, "band_variance": variance * k * k} for k in (16, 1)]
    dataset.warn_if_far(patches, np.arange(20), config | {"band_mean": mean * 16, "sources": sources})
    assert not capsys.readouterr().out
