"""The cache of packed patches: what it holds, when it is made again, and what it costs."""

import json
import shutil

import h5py
import numpy as np
import pytest

from patches import folder_packing, packing
from script import UserError
from tests.patch_files import make_pair, open_folder, write_h5

# ---------------------------------------------------------------------- numbers


KEPT = {"uint8": "uint8", "uint16": "uint16", "float64": "float32", "float16": "float32", "int32": "float32"}


@pytest.mark.parametrize(("dtype", "known_as"), KEPT.items())
def test_integer_pictures_stay_integers_and_others_become_floats(tmp_path, dtype, known_as):
    image = np.random.default_rng(0).integers(150, 250, (16, 16, 3)).astype(dtype)
    for number in (1, 2):
        write_h5(tmp_path / f"d/images/image_{number}.h5", "img", image)
    patches = open_folder(tmp_path / "d")
    assert patches.dtype == known_as and patches.images.dtype == known_as.replace("float32", "float16")
    assert patches.read([0]).dtype == np.float32
    np.testing.assert_array_equal(patches.read([0])[0], image)
    assert not patches.labelled.any()


ROUNDED = {  # values of a band beside one of 1 +- 0.4, and whether float16 is fine enough for them
    "reflectance": (0.3, 0.1, True),
    "elevation of a mountain range": (2700, 800, True),
    "elevation of a plain on a plateau": (4200, 3, False),
    "digital numbers": (9000, 300, False),
    "beyond the largest float16": (60_000, 9000, False),
    "smaller than float16 can tell": (1e-7, 1e-8, False),
    "one value": (0.1, 0, False),
    "one value that float16 holds": (0.5, 0, True),
}


@pytest.mark.parametrize("many", [False, True], ids=["few", "many"])
@pytest.mark.parametrize("case", ROUNDED)
def test_floats_are_halved_only_where_hardly_anything_is_lost(tmp_path, monkeypatch, case, many):
    """An error of 0.2 % of a band's standard deviation is allowed; digest and content are those of the files."""
    mean, sd, fine = ROUNDED[case]
    monkeypatch.setattr(folder_packing, "SOON", 3 if many else 100)
    rng = np.random.default_rng(0)
    images = rng.normal((1, mean), (0.4, sd), (6, 16, 16, 2)).astype(np.float32)
    for number, image in enumerate(images, 1):
        write_h5(tmp_path / f"d/images/image_{number}.h5", "img", image)
    patches = open_folder(tmp_path / "d")
    assert patches.images.dtype == (np.float16 if fine else np.float32) and patches.dtype == "float32"
    values = patches.read(np.arange(6))
    error = np.sqrt(np.square(values - images, dtype=np.float64).mean((0, 1, 2)))
    assert (error <= (0.002 * images.std((0, 1, 2)) if fine else 0)).all()
    assert list(patches.contents) == [packing.content_hash(image) for image in images]


def test_all_finite_float16_are_widened_exactly():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].reshape(2, -1)
    np.testing.assert_array_equal(packing.widened(halves).view(np.uint32), halves.astype(np.float32).view(np.uint32))


def test_pixels_without_data_do_not_hide_what_float16_loses(tmp_path):
    """They hold 0, far from all others."""
    image = np.random.default_rng(0).normal(4200, 3, (16, 16, 1)).astype(np.float32)
    gap = np.arange(256).reshape(16, 16) < 100
    with packing.PackWriter(tmp_path / "pack", np.float32, packing.HALF) as writer:
        assert not writer.coarse
        writer.add("a", np.where(gap[..., None], np.float32(0), image), np.zeros((16, 16), np.uint8), gap)
        assert writer.coarse


# ---------------------------------------------------------------------- the cache


def test_cache_is_used_until_a_file_changes(flat, monkeypatch):
    patches = open_folder(flat)
    reads = []
    original = folder_packing.read_patch
    monkeypatch.setattr(folder_packing, "read_patch", lambda path, *more: reads.append(path) or original(path, *more))
    assert open_folder(flat).digest == patches.digest
    assert not reads
    image, _ = make_pair(5)
    write_h5(flat / "images" / "image_5.h5", "img", image + 1)
    changed = open_folder(flat)
    assert len(reads) == 20 and changed.digest != patches.digest
    np.testing.assert_allclose(changed.read([4])[0], image + 1, rtol=2**-10)  # as float16


@pytest.mark.parametrize("damage", ["cut", "no record", "bad record", "left over"])
def test_partial_caches_are_rebuilt(flat, damage):
    digest = open_folder(flat).digest
    (folder,) = (path for path in (flat.parent / "cache").iterdir() if path.is_dir())
    if damage == "cut":
        with open(folder / "images.raw", "r+b") as file:
            file.truncate(1000)
    elif damage == "no record":
        (folder / "pack.json").unlink()
    elif damage == "bad record":
        (folder / "pack.json").write_text('{"key": ')
    else:  # left by a killed packing
        (folder.parent / f".partial-{folder.name}").mkdir()
        folder.rename(folder.parent / f".partial-{folder.name}" / folder.name)
    patches = open_folder(flat)
    assert patches.digest == digest
    np.testing.assert_array_equal(patches.read([0])[0], make_pair(1)[0].astype(np.float16))
    assert not list((flat.parent / "cache").glob(".*"))


def test_nothing_is_written_into_the_data_folder(flat):
    before = sorted(flat.rglob("*"))
    open_folder(flat)
    assert sorted(flat.rglob("*")) == before


def test_a_copy_of_the_data_is_known_by_its_content(flat):
    copy = flat.parent / "copy"
    shutil.copytree(flat, copy)
    assert open_folder(copy).digest == open_folder(flat).digest


def test_packing_refuses_a_disk_too_small(flat, monkeypatch):
    monkeypatch.setattr(packing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1e6, 1e6, 1e4))
    with pytest.raises(UserError, match="packing needs .* MB"):
        open_folder(flat)


def test_record_of_the_cache_names_every_patch(flat):
    open_folder(flat)
    (path,) = (flat.parent / "cache").glob("data-*/pack.json")
    record = json.loads(path.read_text())
    assert record["shape"] == [32, 32, 14] and record["dtype"] == "float32"
    assert record["names"][0] == "images/image_1.h5" and len(record["names"]) == 20
    with h5py.File(flat / "images" / "image_1.h5") as file:
        assert list(file) == ["img"]


def test_packing_opens_an_image_once_for_its_form_and_once_to_read_it(flat, monkeypatch):
    opened, file_class = [], h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, *mode: opened.append(path.name) or file_class(path, *mode))
    open_folder(flat)
    assert (opened.count("image_2.h5"), opened.count("mask_2.h5")) == (2, 1)


def test_memory_does_not_grow_with_the_data_read(tmp_path):
    """Pages of the memory map must not accumulate as resident memory; full Landslide4Sense has 3.5 GB of them."""
    resource = pytest.importorskip("resource")
    del resource  # POSIX only
    data = tmp_path / "data"
    for number in range(1, 4):
        write_h5(data / "images" / f"image_{number}.h5", "img", np.full((1024, 1024, 6), number, np.float32))
    patches = open_folder(data)

    def resident():
        with open("/proc/self/smaps") as file:
            text = file.read()
        section = text[text.index("images.raw") :]
        return int(section[section.index("Rss:") + 4 :].split()[0]) * 1024

    for i in range(3):
        assert patches.read([i])[0, 0, 0, 0] == i + 1
    assert resident() < 4e6
