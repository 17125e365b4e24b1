"""Patches that cannot be used: every fault is named with its file, and cached where it lasts."""

import os
import shutil

import h5py
import numpy as np
import pytest

import dataset
from patches import layouts, patch_format, reading
from script import UserError
from tests.patch_files import layout_folder, make_pair, open_folder, write_h5, write_patches
from tests.rasters import write_picture
from tests.running import assert_user_error, run_script


def test_all_faults_are_reported_together(flat):
    images, masks = flat / "images", flat / "masks"
    (images / "image_1.h5").write_bytes((images / "image_1.h5").read_bytes()[:5000])
    (images / "image_2.h5").write_text("not HDF5")
    write_h5(images / "image_3.h5", "image", np.zeros((32, 32, 14)))
    write_h5(images / "image_4.h5", "img", np.zeros((32, 32, 12)))
    write_h5(images / "image_5.h5", "img", np.full((32, 32, 14), np.nan))
    write_h5(images / "image_6.h5", "img", np.zeros((16, 16, 14)))
    write_h5(images / "image_7.h5", "img", np.zeros((32, 32)))
    write_h5(masks / "mask_8.h5", "mask", np.full((32, 32), 255, np.uint8))
    write_h5(masks / "mask_9.h5", "mask", np.zeros((16, 16), np.uint8))
    (masks / "mask_10.h5").unlink()
    shutil.copy(images / "image_11.h5", images / "image_011.h5")
    shutil.copy(images / "image_11.h5", images / "image_last.h5")
    expected = {
        "images/image_1.h5: is cut short or not HDF5",
        "images/image_2.h5: is cut short or not HDF5",
        "images/image_3.h5: has no array 'img' (it has: image)",
        "images/image_4.h5: has 12 bands, the other images have 14",
        "images/image_5.h5: 'img' holds NaN or infinite values (14336 of them)",
        "images/image_6.h5: is 16 x 16 pixels, the other images are 32 x 32",
        "images/image_7.h5: 'img' has shape 32 x 32, not height x width x bands",
        "masks/mask_8.h5: 'mask' holds 0 and 255, the others 0 and 1",
        "masks/mask_9.h5: 'mask' has shape 16 x 16, its image 32 x 32",
        "images/image_10.h5: its mask is missing (expected masks/mask_10.h5)",
        "images/image_11.h5: has the same number as image_011.h5",
        "images/image_last.h5: no number in the name",
    }
    with pytest.raises(UserError) as caught:
        open_folder(flat)
    text = str(caught.value)
    for fault in expected:
        assert fault in text, fault
    assert "12 files" in text
    assert not list((flat.parent / "cache").glob("data-*/pack.json"))

    patches = open_folder(flat, skip_bad=True)
    assert sorted(patches.numbers) == list(range(11, 21))
    assert len(patches.left_out) == 12
    assert len(open_folder(flat, skip_bad=True).left_out) == 12  # also from the cache
    with pytest.raises(UserError, match="12 files"):
        open_folder(flat)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_faults_name_the_file_inside_the_data_folder(tmp_path, layout):
    data = layout_folder(tmp_path / "data", layout)
    images, masks = (data / folder for folder in list(layouts.LAYOUTS[layout].values())[-1])
    write_h5(masks / "mask_1.h5", "mask", np.full((32, 32), 255))
    shutil.copy(images / "image_2.h5", images / "image_02.h5")
    patches = open_folder(data, skip_bad=True)
    assert [(data / name).exists() for name, _ in patches.left_out] == [True, True]


def test_a_folder_without_a_single_pair(tmp_path):
    write_patches(tmp_path / "data" / "images", tmp_path / "elsewhere", range(1, 4))
    write_patches(tmp_path / "elsewhere", tmp_path / "data" / "masks", range(101, 104))
    with pytest.raises(UserError, match="3 files cannot be used"):
        open_folder(tmp_path / "data")


def test_groups_dead_links_and_overflow_are_faults(flat):
    images, masks = flat / "images", flat / "masks"
    for path, key in ((images / "image_1.h5", "img"), (masks / "mask_2.h5", "mask")):
        with h5py.File(path, "w") as file:
            file.create_group(key)
    (images / "image_3.h5").unlink()
    (images / "image_3.h5").symlink_to(flat / "nowhere.h5")
    image, _ = make_pair(4)
    image[0, 0, 0] = np.finfo(np.float64).max  # infinite in float32; the least float64 is no data
    write_h5(images / "image_4.h5", "img", image)
    with pytest.raises(UserError) as caught:
        open_folder(flat)
    for part in (
        "image_1.h5: has no array",
        "mask_2.h5: has no array",
        "image_3.h5: cannot be opened: No such file",
        "infinite values (1 of",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("gap", "description"),
    [
        (np.eye(7, dtype=bool), "7 x 7 bool"),
        (np.full((8, 8), b"0"), r"8 x 8 \|S1"),
        ("yes", r"1 \|S3"),
    ],
)
def test_gap_that_is_no_array_of_numbers_like_its_image_is_a_fault(tmp_path, gap, description):
    with h5py.File(tmp_path / "image_1.h5", "w") as file:
        file["img"], file["gap"] = np.ones((8, 8, 3)), gap
    with pytest.raises(reading.Fault, match=f"'gap' is {description}: it must be 8 x 8 numbers"):
        reading.read_patch(tmp_path / "image_1.h5", None)


def test_any_damage_within_a_file_is_a_fault(tmp_path):
    """A file with random bytes overwritten is read or raises Fault, whatever h5py raises."""
    write_h5(tmp_path / "image_1.h5", "img", np.zeros((8, 8, 3)))
    whole, rng = (tmp_path / "image_1.h5").read_bytes(), np.random.default_rng(0)
    faults = 0
    for _ in range(300):
        damaged = bytearray(whole)
        at = rng.integers(0, 2048)
        damaged[at : at + 4] = rng.bytes(4)
        (tmp_path / "image_2.h5").write_bytes(damaged)
        try:
            reading.read_patch(tmp_path / "image_2.h5", None)
        except reading.Fault:
            faults += 1
        patch_format.common_format([layouts.Entry("", 2, "", tmp_path / "image_2.h5", None)])
    assert faults > 10


def test_good_files_are_found_where_the_first_sample_is_all_bad(tmp_path):
    data = tmp_path / "data"
    write_patches(data / "images", data / "masks", range(1, 61), size=8, bands=3)
    for number in range(1, 61, 2):  # every file in an even sample of 25 from 60
        (data / "images" / f"image_{number}.h5").write_text("no")
    assert len(open_folder(data, skip_bad=True)) == 30


def test_a_single_fault_is_one_line_and_many_are_counted(tmp_path):
    assert "\n" not in dataset.describe_faults("data", [("images/image_1.h5", "is cut short")])
    many = dataset.describe_faults("data", [(f"images/image_{i}.h5", "is cut short") for i in range(53)])
    assert len(many.splitlines()) == 22
    assert many.endswith("... and 33 more")


def test_a_mixed_kind_of_numbers_is_a_fault(flat):
    for path in (flat / "images").glob("*.h5"):
        write_h5(path, "img", np.zeros((32, 32, 14), np.uint8))
    write_h5(flat / "images" / "image_20.h5", "img", np.zeros((32, 32, 14)))
    with pytest.raises(UserError, match="image_20.h5: 'img' holds float32, the other images uint8"):
        open_folder(flat)


def test_images_that_state_other_bands_than_the_first_are_refused(flat, tmp_path):
    for number in range(1, 21):
        with h5py.File(flat / "images" / f"image_{number}.h5", "a") as file:
            names = [f"x{i}" for i in range(14)]
            file.attrs.update({"bands": names if number != 7 else names[::-1], "values": ""})
    with pytest.raises(UserError, match="image_7.h5: states the bands and values x13 x12"):
        dataset.open_patches(flat, tmp_path / "cache")
    assert dataset.open_patches(flat, tmp_path / "cache", skip_bad=True).bands[0] == "x0"
    os.truncate(flat / "images" / "image_1.h5", 4000)  # then the second image is the one to compare with
    patches = dataset.open_patches(flat, tmp_path / "cache", skip_bad=True)
    assert (len(patches), patches.bands[0]) == (18, "x0")


@pytest.mark.parametrize(
    ("value", "said"),
    [(1e31, r"holds values beyond 1e\+30 \(1e\+31\)"), (-500.0, r"band 3 holds -500; those of the other images lie")],
)
def test_absurd_values_are_a_fault_of_their_file(tmp_path, value, said):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 21))
    with h5py.File(tmp_path / "d/images/image_7.h5", "a") as file:
        file["img"][3, 4, 2] = value
    with pytest.raises(UserError, match=f"image_7.h5: .*{said}"):
        open_folder(tmp_path / "d")
    rest = open_folder(tmp_path / "d", skip_bad=True)
    assert len(rest) == 19 and [name for name, _ in rest.left_out] == ["images/image_7.h5"]


def test_arrays_of_other_shapes_are_told(tmp_path):
    for number, shape in ((1, (14, 64, 64)), (2, (0, 0, 3)), (3, (64, 64))):
        write_h5(tmp_path / f"image_{number}.h5", "img", np.zeros(shape))
    for number, said in ((1, "bands come first"), (2, r"is empty \(0 x 0 x 3\)"), (3, "not height x width x bands")):
        with pytest.raises(reading.Fault, match=said):
            reading.read_patch(tmp_path / f"image_{number}.h5", None)


# ---------------------------------------------------------------------- what cannot be read now


def test_a_missing_filter_is_named_and_not_remembered(tmp_path):
    """The chunk is stored with the number of Zstandard (32015), which plain h5py cannot read."""
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 7), bands=3)
    path, kept = tmp_path / "d/images/image_3.h5", (tmp_path / "d/images/image_3.h5").read_bytes()
    with h5py.File(path) as file:
        image = file["img"][()].astype(np.uint8)
    with h5py.File(path, "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(image.shape)
        properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(image.shape)
        data = h5py.h5d.create(file.id, b"img", h5py.h5t.NATIVE_UINT8, space, properties)
        data.write_direct_chunk((0, 0, 0), image.tobytes(), 0)
    state = path.stat()
    with pytest.raises(UserError, match="image_3.h5: is compressed with HDF5 filter 32015.*not installed"):
        open_folder(tmp_path / "d")
    assert len(open_folder(tmp_path / "d", skip_bad=True)) == 5
    path.write_bytes(kept.ljust(state.st_size, b"\0")[: max(state.st_size, len(kept))])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len(open_folder(tmp_path / "d", skip_bad=True)) == 6


def test_a_locked_file_is_said_to_be_locked(tmp_path):
    write_patches(tmp_path / "d/images", tmp_path / "d/masks", range(1, 5), bands=3)
    with h5py.File(tmp_path / "d/images/image_2.h5", "a"):
        result = run_script("train.py", "--data-dir", tmp_path / "d", cwd=tmp_path)
    assert_user_error(result, "image_2.h5: is locked: another program writes it")


def test_images_of_two_bit_depths_are_not_mixed(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        image = rng.integers(1, 255, (8, 8, 3))
        values = (16 * image).astype(np.uint16) if number < 4 else image.astype(np.uint8)
        write_picture(tmp_path / f"d/images/p_{number}.tif", values)
        write_picture(tmp_path / f"d/masks/p_{number}.png", np.eye(8, dtype=np.uint8)[..., None])
    with pytest.raises(UserError, match="2 files cannot be used") as fault:
        open_folder(tmp_path / "d")
    assert "images/p_4.tif: holds uint8 of up to 25" in str(fault.value)
    assert "most images uint16 of up to 40" in str(fault.value)
    for number in range(4):  # 8 bits in a larger type are the same values
        write_picture(tmp_path / f"d/images/p_{number}.tif", rng.integers(1, 255, (8, 8, 3)).astype(np.uint16))
    assert len(open_folder(tmp_path / "d")) == 6


@pytest.mark.parametrize("ending", [".h5", ".nc"])
def test_checksums_of_hdf5_are_checked(tmp_path, ending):
    """The filter fletcher32 of HDF5, and so of NetCDF-4, carries one for each chunk; without it, nothing can tell."""
    path = tmp_path / f"patch{ending}"
    values = np.random.default_rng(0).integers(1, 200, (32, 32, 3)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("img", data=values, chunks=(32, 32, 3), fletcher32=True)
        offset = data.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(reading.Fault, match="is cut short"), reading.opened(path) as file:
        reading.read_array(file, "img")
