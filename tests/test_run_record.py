"""What train.py says of the data before it trains."""

import numpy as np
import pytest

from tests.patch_files import open_folder, scar, write_h5
from training import run_record


@pytest.mark.parametrize(("inverted", "share", "warned"), [(False, "9.77%", False), (True, "90.23%", True)])
def test_the_share_of_landslide_is_said_and_inverted_masks_are_asked_about(tmp_path, capsys, inverted, share, warned):
    for number in range(1, 9):
        write_h5(
            tmp_path / "d" / "images" / f"image_{number}.h5", "img", np.random.default_rng(number).random((32, 32, 3))
        )
        mask = scar(number)
        write_h5(tmp_path / "d" / "masks" / f"mask_{number}.h5", "mask", 1 - mask if inverted else mask)
    patches = open_folder(tmp_path / "d")
    assigned = np.array(["train"] * 6 + ["validation", "test"])
    run_record.tell_landslide_shares(patches, assigned)
    out = capsys.readouterr().out
    assert f"{share} of the labelled pixels of the training patches are landslide" in out
    assert ("are the masks inverted?" in out) == warned


def test_patches_without_labels_have_no_share(tmp_path, capsys):
    for number in range(1, 4):
        write_h5(
            tmp_path / "d" / "images" / f"image_{number}.h5", "img", np.random.default_rng(number).random((32, 32, 3))
        )
    run_record.tell_landslide_shares(open_folder(tmp_path / "d"), np.array(["no mask"] * 3))
    assert not capsys.readouterr().out
