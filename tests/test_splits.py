"""Training, validation and test: cut from a folder or its own, recorded, and refused where they mislead."""

import shutil

import numpy as np
import pytest

from patches import layouts, split_table, splits
from script import UserError
from tests.patch_files import layout_folder, open_folder, write_h5, write_patches, write_pictures
from tests.running import SMALL, assert_user_error, record, run_script


def many_patches(tmp_path, count=100, layout="flat", splits=("train", "validation", "test")):
    data = tmp_path / "many"
    for split, (images, masks) in layouts.LAYOUTS[layout].items():
        if split in ("", *splits):
            write_patches(data / images, data / masks, range(1, count + 1), size=4, bands=3)
    return open_folder(data)


def counts(assigned):
    return {split: int((assigned == split).sum()) for split in layouts.SPLITS}


@pytest.mark.parametrize("method", ["random", "blocks"])
def test_flat_folders_are_split_70_15_15_by_seed(tmp_path, method):
    patches = many_patches(tmp_path)
    first, notes = splits.split_patches(patches, method, seed=1)
    assert counts(first) == (
        {"train": 70, "validation": 15, "test": 15} if method == "random" else dict(train=60, validation=20, test=20)
    )
    assert not notes
    np.testing.assert_array_equal(first, splits.split_patches(patches, method, seed=1)[0])
    assert (first != splits.split_patches(patches, method, seed=2)[0]).any()


def test_blocks_keep_neighbours_together(tmp_path):
    patches = many_patches(tmp_path)
    assigned, _ = splits.split_patches(patches, "blocks", seed=0, block_size=5)
    assert counts(assigned) == {"train": 70, "validation": 15, "test": 15}
    for start in range(0, 100, 5):
        assert len(set(assigned[start : start + 5])) == 1


def test_own_splits_are_kept_and_missing_ones_cut_from_training(tmp_path):
    patches = many_patches(tmp_path, 20, "official", ("train", "validation"))
    assigned, notes = splits.split_patches(patches)
    assert counts(assigned) == {"train": 17, "validation": 20, "test": 3}
    assert (assigned[patches.own_splits == "validation"] == "validation").all()
    assert "no test split" in notes[0] and "3 patches cut from training" in notes[0]
    assert "17 of 20 validation patches are also in train (the same content)" in notes[1]
    with pytest.raises(ValueError, match="'odd' is none of"):
        splits.split_patches(patches, "odd")


def test_validation_can_serve_as_test(tmp_path):
    patches = many_patches(tmp_path, 20, "official")
    assigned, notes = splits.split_patches(patches, test_split="validation")
    assert (assigned[patches.own_splits == "validation"] == "test").all()
    assert not (assigned[patches.own_splits == "test"] != "").any()
    assert (assigned[patches.own_splits == "train"] == "validation").sum() == 3
    assert "validation split of" in notes[0] and "serves as test; its 20 test patches are unused" in notes[0]
    assert "no validation split in the folder: 3 patches cut" in notes[1]


def test_images_without_a_mask_folder_are_unlabelled(tmp_path):
    """The competition's test images have no masks: such a split is neither a fault nor used."""
    data = layout_folder(tmp_path / "data", "official")
    shutil.rmtree(data / "TestData" / "mask")
    patches = open_folder(data)
    assert counts(np.where(patches.labelled, patches.own_splits, "")) == {"train": 6, "validation": 3, "test": 0}
    assigned, notes = splits.split_patches(patches)
    assert counts(assigned) == {"train": 5, "validation": 3, "test": 1}
    assert any("2 patches count as unlabelled" in note for note in notes)
    assert (assigned[~patches.labelled] == "unlabelled").all()


def test_outlines_beside_pictures_are_said_to_be_no_masks(tmp_path):
    """As YOLO writes them."""
    write_pictures(tmp_path / "data")
    with pytest.raises(UserError, match="training and scoring need them$"):
        splits.split_patches(open_folder(tmp_path / "data"))
    (tmp_path / "data" / "labels").mkdir()
    (tmp_path / "data" / "labels" / "t_1.txt").touch()
    with pytest.raises(UserError, match=r"need them. Outlines in .json, .txt or .xml \(COCO, YOLO, VOC\) have to be"):
        splits.split_patches(open_folder(tmp_path / "data"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "blocks"}, "too few runs of 20 patches"),
        ({"method": "blocks", "block_size": 10}, "too few runs of 10 patches"),
    ],
)
def test_bad_split_settings(flat, options, message):
    with pytest.raises(UserError, match=message):
        splits.split_patches(open_folder(flat), **options)


def test_split_csv_goes_round_and_missing_patches_are_noticed(flat):
    patches = open_folder(flat)
    assigned, _ = splits.split_patches(patches)
    path = flat.parent / "split.csv"
    split_table.write_split(path, patches, assigned)
    assert path.read_text().startswith("image,split,content,event,source\nimages/image_1.h5,")
    np.testing.assert_array_equal(split_table.read_split(path, patches, "train.py"), assigned)
    path.write_text(path.read_text() + "\n")  # a blank last line is ignored
    np.testing.assert_array_equal(split_table.read_split(path, patches, "train.py"), assigned)
    (flat / "images" / "image_4.h5").unlink()
    with pytest.raises(UserError, match=r"lists 1 patches that are not in .* \(first: images/image_4.h5\)"):
        split_table.read_split(path, open_folder(flat), "train.py")


def test_damaged_split_csv_is_told(flat):
    path = flat.parent / "split.csv"
    for text in ("", "image,split\nimages/image_1.h5,val\n", "a,b\n1,2\n"):
        path.write_text(text)
        with pytest.raises(UserError, match="is damaged"):
            split_table.read_split(path, open_folder(flat), "train.py")


# ---------------------------------------------------------------------- splits that mislead


def test_splits_without_landslides_are_refused(tmp_path):
    layout_folder(tmp_path / "data", "official")
    for number in range(1, 4):
        write_h5(tmp_path / f"data/ValidData/mask/mask_{number}.h5", "mask", np.zeros((32, 32), np.uint8))
    result = run_script("train.py", *SMALL, cwd=tmp_path)
    assert_user_error(result, "no landslide in the masks of the 3 validation patches")
    assert not (tmp_path / "results/unet").exists()
    for number in range(1, 7):
        write_h5(tmp_path / f"data/TrainData/mask/mask_{number}.h5", "mask", np.zeros((32, 32), np.uint8))
    assert_user_error(run_script("train.py", *SMALL, cwd=tmp_path), "of the 6 train patches, so nothing can be learnt")


@pytest.mark.parametrize(("split", "numbers"), [("train", range(1, 7)), ("validation", range(1, 4))])
def test_splits_with_nothing_but_landslides_are_refused(tmp_path, split, numbers):
    layout_folder(tmp_path / "data", "official")
    folder = {"train": "TrainData", "validation": "ValidData"}[split]
    for number in numbers:
        mask = np.full((32, 32), 255, np.uint8)
        mask[:4] = 1
        write_h5(tmp_path / f"data/{folder}/mask/mask_{number}.h5", "mask", mask)
    with pytest.raises(UserError, match=f"nothing but landslide in the masks of the {len(numbers)} {split} patches"):
        splits.split_patches(open_folder(tmp_path / "data"))


@pytest.mark.slow
def test_copies_in_other_splits_and_folders_are_told(tmp_path):
    write_patches(tmp_path / "data/TrainData/img", tmp_path / "data/TrainData/mask", range(1, 17))
    write_patches(tmp_path / "data/ValidData/img", tmp_path / "data/ValidData/mask", range(4, 10))
    write_patches(tmp_path / "data/TestData/img", tmp_path / "data/TestData/mask", range(14, 20))
    write_patches(tmp_path / "other/images", tmp_path / "other/masks", range(15, 25))
    result = run_script("train.py", "--run", "small", "--epochs", 1, *SMALL, cwd=tmp_path)
    assert "warning: 6 of 6 validation patches are also in train (the same content)" in result.stdout
    assert "warning: 3 of 6 test patches are also in train (the same content)" in result.stdout
    assert run_script("optimize_threshold.py", "--run", "small", cwd=tmp_path).returncode == 0
    flags = ("--run", "small", "--data-dir", "other", "--split", "all")
    said = run_script("evaluate.py", *flags, cwd=tmp_path).stdout
    words = "warning: 2 of these 10 patches are in the training or validation split of run small (the same content)"
    assert words in said
    assert record(tmp_path, "config.json")["constants"]["EPOCHS"] == 1


def test_copies_stay_on_one_side_of_a_cut(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 21))
    for number in range(1, 21):
        for kind in ("image", "mask"):
            path = tmp_path / f"d/{kind}s/{kind}_{number}.h5"
            (path.with_name(f"{kind}_{number + 100}.h5")).write_bytes(path.read_bytes())
    patches = open_folder(tmp_path / "d")
    assigned, notes = splits.split_patches(patches)
    assert not any("same content" in note for note in notes)
    assert {split: set(patches.contents[assigned == split]) for split in layouts.SPLITS}.keys() == {
        "train",
        "validation",
        "test",
    }
    assert min((assigned == split).sum() for split in layouts.SPLITS) >= 2
