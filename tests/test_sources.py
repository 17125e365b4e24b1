"""Several folders in one training: their bands, splits and shares, and pictures that are cut to the patch."""

import json
import shutil

import h5py
import numpy as np
import pytest

import dataset
from experiments import pixel_size_input
from patches import landslide_free, split_table, splits
from patches.cutting import cut
from patches.patch_format import PatchFormat
from patches.places import Places
from patches.reading import ReadOptions
from script import UserError
from tests.patch_files import make_pair, write_h5, write_patches
from tests.running import SMALL, assert_user_error, call_experiment, rows, run_script
from training.feed import PatchFeed
from training.run_record import source_shares

SPLITTING = {"method": "random", "seed": 0, "block_size": 20, "own_splits": True, "hold_out": ()}


@pytest.fixture
def two(tmp_path):
    """A folder `s2` of 20 patches with the bands red, green, blue, and `uav` of 8 with a fourth band without a name."""
    write_patches(tmp_path / "s2/images", tmp_path / "s2/masks", range(1, 21), bands=3)
    write_patches(tmp_path / "uav/images", tmp_path / "uav/masks", range(31, 39), bands=4)
    return tmp_path


def opened(folder, *names, **options):
    return dataset.open_sources([folder / name for name in names], folder / "cache", **options)


def test_two_folders_are_read_as_one(two):
    both, s2, uav = (opened(two, *names) for names in (("s2", "uav"), ("s2",), ("uav",)))
    assert len(both) == 28 and both.sources == ["s2", "uav"] and both.names[20] == "uav/images/image_31.h5"
    assert both.bands == ("red", "green", "blue") and both.input_shape == (32, 32, 3)
    indices = [25, 3, 20, 19]
    np.testing.assert_array_equal(both.read(indices)[[1, 3]], s2.read([3, 19]))
    np.testing.assert_array_equal(both.read(indices)[[0, 2]], uav.read([5, 0])[..., :3])
    np.testing.assert_array_equal(both.read_masks(indices)[[0, 2]], uav.read_masks([5, 0]))
    chosen = np.array([0, 7, 21, 27])
    mean, variance = both.statistics(chosen)
    pixels = both.read(chosen).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, pixels.var(0), rtol=1e-5)
    assert both.digest == opened(two, "s2", "uav").digest != opened(two, "uav", "s2", bands=("1", "2", "3")).digest


@pytest.mark.parametrize("names", [["4", "3", "2"], ["band3", "band2", "band1"]])
def test_numbers_that_are_names_mean_the_same_bands_in_another_folder(two, names):
    for folder in ("s2", "uav"):
        for path in (two / folder / "images").glob("*.h5"):
            with h5py.File(path, "r+") as file:
                image = file["img"][..., :3]
                del file["img"]
                file["img"] = image
                file["img"].attrs["bands"] = names
    first, other = opened(two, "s2"), opened(two, "uav")
    again = opened(two, "uav", bands=first.bands, of_run=3)
    assert again.bands == first.bands == other.bands
    np.testing.assert_array_equal(again.read([0]), other.read([0]))


def test_folders_that_do_not_go_together_are_refused(two):
    with pytest.raises(UserError, match="holds red green blue and lacks band4 of the other sources"):
        opened(two, "uav", "s2")
    with pytest.raises(UserError, match="the same folder is named twice"):
        opened(two, "s2", "s2")
    with pytest.raises(UserError, match="1 PIXEL_SIZES for 2 folders"):
        opened(two, "s2", "uav", pixel_sizes=(10,))


def test_folders_of_one_name_are_told_apart(two):
    shutil.copytree(two / "s2", two / "other" / "s2")
    assert opened(two, "s2", "other/s2").sources == [f"{two.name}/s2", "other/s2"]


# ---------------------------------------------------------------------- splits


def test_each_source_is_split_by_itself(two):
    both = opened(two, "s2", "uav")
    assigned, _ = splits.split_sources(both, [None, None], **SPLITTING)
    alone, _ = splits.split_sources(opened(two, "s2"), [None], **SPLITTING)
    np.testing.assert_array_equal(assigned[:20], alone)
    assert set(assigned[20:]) == {"train", "validation", "test"}


def test_a_source_that_is_left_out_is_the_test(two):
    both = opened(two, "s2", "uav")
    assigned, _ = splits.split_sources(both, [None, None], ("uav",), **SPLITTING)
    assert set(assigned[20:]) == {"test"} and set(assigned[:20]) == {"train", "validation"}
    with pytest.raises(UserError, match="LEAVE_OUT drone is none of the sources, s2, uav"):
        splits.split_sources(both, [None, None], ("drone",), **SPLITTING)
    with pytest.raises(UserError, match="is the only source"):
        splits.split_sources(opened(two, "s2"), [None], ("s2",), **SPLITTING)


def test_an_event_is_held_out_of_every_source_that_shows_it(two):
    both = opened(two, "s2", "uav")
    boxes = np.full((20, 4), np.nan)
    east, west = np.array(["east", "west"] * 10), np.array(["west"] * 3 + ["south"] * 5)
    places = [Places(east, boxes, "places"), Places(west, boxes[:8], "places")]
    assigned, _ = splits.split_sources(both, places, **SPLITTING | {"hold_out": ("west",)})
    events = split_table.events_of(places, both)
    assert (assigned[events == "west"] == "test").all() and "test" not in assigned[events != "west"]
    assert all("validation" in assigned[part] for part in (np.s_[:20], np.s_[20:]))
    with pytest.raises(UserError, match="HOLD_OUT north is none of the events east, south, west"):
        splits.split_sources(both, places, **SPLITTING | {"hold_out": ("north",)})


def test_a_source_with_a_training_split_alone_stays_training(two):
    for kind in ("images", "masks"):
        (two / "uav" / kind).rename(two / kind)
        (two / "uav" / kind).mkdir()
        (two / kind).rename(two / "uav" / kind / "train")
    assigned, _ = splits.split_sources(opened(two, "s2", "uav"), [None, None], **SPLITTING)
    assert set(assigned[20:]) == {"train"} and set(assigned[:20]) == {"train", "validation", "test"}


# ---------------------------------------------------------------------- shares


def test_sources_have_their_shares_of_each_epoch(two):
    both = opened(two, "s2", "uav")
    assigned = np.array(["train"] * 28)
    np.testing.assert_allclose(source_shares(both, assigned), np.sqrt([20, 8]) / np.sqrt([20, 8]).sum())
    assert source_shares(both, assigned, (3, 1)) == [0.75, 0.25] and source_shares(opened(two, "s2"), assigned) == []
    feed = PatchFeed(both, np.arange(28), 7, seed=1, shares=[0.5, 0.5])
    for epoch in (0, 1):
        feed.start_epoch(epoch)
        dealt = np.concatenate(feed.dealt)
        counts = np.bincount(dealt, minlength=28)
        assert len(dealt) == 28 and counts[:20].sum() == 14 and counts[:20].max() == 1
        assert counts[20:].sum() == 14 and set(counts[20:]) == {1, 2}
    again = PatchFeed(both, np.arange(28), 7, seed=1, shares=[0.5, 0.5])
    again.start_epoch(1)
    np.testing.assert_array_equal(np.concatenate(again.dealt), dealt)


# ---------------------------------------------------------------------- cutting


def test_pictures_of_any_size_are_cut_or_mirrored():
    picture = np.arange(70 * 40).reshape(70, 40)
    patches = {corner: (patch, extent) for corner, (patch, none), extent in cut((picture, None), (32, 32))}
    assert list(patches) == [(0, 0), (32, 0)]  # the rests of 8 columns and 6 rows show too little
    np.testing.assert_array_equal(patches[32, 0][0], picture[32:64, :32])
    ((_, (patch,), extent),) = cut((picture[:, :36],), (64, 64))
    assert extent == (64, 36) and patch.shape == (64, 64)
    np.testing.assert_array_equal(patch[:, 36:64], picture[:64, 34:6:-1])


def test_patches_of_another_size_are_cut_and_their_mirror_image_is_not_scored(two):
    for number, size in ((1, 64), (2, 48)):
        image, mask = make_pair(number, size, 3)
        write_h5(two / f"large/images/image_{number}.h5", "img", image)
        write_h5(two / f"large/masks/mask_{number}.h5", "mask", mask)
    large = opened(two, "s2", "large").parts[1]
    corners = ["", "@0,32", "@32,0", "@32,32"]
    assert large.names == [f"images/image_1.h5{corner}" for corner in corners] + ["images/image_2.h5"]
    image, mask = make_pair(1, 64, 3)
    np.testing.assert_array_equal(large.read_masks([3])[0], mask[32:, 32:])
    np.testing.assert_allclose(large.read([3])[0], image[32:, 32:], rtol=1e-3)
    assert large.extents.tolist() == [[32, 32]] * 5
    small = dataset.open_patches(two / "s2", two / "cache", options=ReadOptions(cut=(40, 40)))
    assert small.input_shape == (40, 40, 3) and small.extents.tolist() == [[32, 32]] * 20
    masks = small.read_masks(np.arange(20))
    assert (masks[:, 32:] == 255).all() and (masks[:, :, 32:] == 255).all() and (masks[:, :32, :32] < 2).all()


def test_smaller_patches_of_one_size_stay_whole_for_a_run(two):
    options = ReadOptions(cut=(40, 48), keep_smaller=True)
    assert dataset.open_patches(two / "s2", two / "cache", options=options).input_shape == (32, 32, 3)
    write_h5(two / "s2/images/image_1.h5", "img", np.zeros((30, 32, 3)))
    write_h5(two / "s2/masks/mask_1.h5", "mask", np.zeros((30, 32)))
    assert dataset.open_patches(two / "s2", two / "cache", options=options).input_shape == (40, 48, 3)


def test_patches_of_one_picture_stay_in_one_split(tmp_path):
    for number in range(1, 11):
        image, mask = make_pair(number, 64, 3)
        write_h5(tmp_path / f"d/images/image_{number}.h5", "img", image)
        write_h5(tmp_path / f"d/masks/mask_{number}.h5", "mask", mask)
    patches = dataset.open_patches(tmp_path / "d", tmp_path / "cache", options=ReadOptions(cut=(32, 32)))
    for method in ("random", "blocks"):
        assigned, _ = splits.split_patches(patches, method, block_size=2)
        for number in range(1, 11):
            assert len(set(assigned[patches.numbers == number])) == 1


# ---------------------------------------------------------------------- all stages


@pytest.mark.slow
def test_a_run_on_two_sources_goes_through_all_stages(two):
    write_patches(two / "new/images", two / "new/masks", range(51, 61), bands=4)
    flags = ("--data-dir", "s2", "uav", "--pixel-sizes", 10, 0.5, "--run", "both", "--epochs", 2, *SMALL)
    result = run_script("train.py", *flags, cwd=two)
    assert result.returncode == 0, result.stderr
    config = json.loads((two / "results/both/config.json").read_text())
    assert [source["name"] for source in config["sources"]] == ["s2", "uav"] and config["pixel_size_input"]
    assert config["pixel_size"]["least"] == 0.5 and config["pixel_size"]["most"] == 10
    header = (two / "results/both/history.csv").read_text().split("\n")[0]
    assert "val_dice_s2" in header and "val_dice_uav" in header
    assert run_script("optimize_threshold.py", "--run", "both", cwd=two).returncode == 0
    said = run_script("evaluate.py", "--run", "both", cwd=two).stdout
    record = json.loads((two / "results/both/metrics.json").read_text())
    assert "by source" in said and record["by_source"].keys() == {"s2", "uav"}
    of_one = run_script("evaluate.py", "--run", "both", "--data-dir", "uav", cwd=two)
    assert of_one.returncode == 0 and "warning" not in of_one.stdout, of_one.stderr
    (path,) = (two / "results/both").glob("metrics_uav_*.json")
    assert json.loads(path.read_text())["dice"] == record["by_source"]["uav"]["dice"]
    new = ("evaluate.py", "--run", "both", "--data-dir", "new", "--split", "all")
    assert "size of a pixel is not known of 10 of 10 patches" in run_script(*new, cwd=two).stdout
    assert "size of a pixel" not in run_script(*new, "--pixel-size", 2, cwd=two).stdout
    for size in (24, 30):  # the network's stride of 4 divides 24; 30 is filled up by mirroring
        for number in (1, 2, 3):
            image, mask = make_pair(number, size, 3)
            write_h5(two / f"small{size}/images/image_{number}.h5", "img", image)
            write_h5(two / f"small{size}/masks/mask_{number}.h5", "mask", mask)
        other = ("--run", "both", "--data-dir", f"small{size}", "--split", "all")
        for script in ("evaluate.py", "visualize.py"):
            result = run_script(script, *other, cwd=two)
            assert result.returncode == 0, result.stderr
        (path,) = (two / "results/scores/both").glob(f"metrics_small{size}_*.json")
        record = json.loads(path.read_text())
        assert sum(record[name] for name in ("tp", "fp", "fn", "tn")) == 3 * size**2
    for script in ("visualize.py", "train.py"):
        flags = ("--start-from", "both", "--run", "next", "--data-dir", "new", "--epochs", 1, "--epoch-steps", 1)
        result = run_script(script, *(flags if script == "train.py" else ("--run", "both")), cwd=two)
        assert result.returncode == 0, result.stderr
    assert json.loads((two / "results/next/config.json").read_text())["pixel_size_input"]
    result = run_script("train.py", "--data-dir", "s2", "uav", "--source-shares", 1, "--run", "x", cwd=two)
    assert_user_error(result, "1 --source-shares for 2 folders: give one for each")


def test_landslide_free_ground_states_its_pixel_size(tmp_path):
    for number, attributes in ((1, {"pixel_size": 2.5}), (2, {})):
        write_h5(tmp_path / f"free/image_{number}.h5", "img", make_pair(number, 32, 3)[0].astype(np.float32))
        with h5py.File(tmp_path / f"free/image_{number}.h5", "a") as file:
            file.attrs.update(attributes)
    form = PatchFormat((32, 32, 3), np.dtype(np.float32), ("red", "green", "blue"), ("red", "green", "blue"))
    ground = landslide_free.open_landslide_free([tmp_path / "free"], form, tmp_path / "cache", 10.0)
    assert ground.pixel_sizes.tolist() == [2.5, 10.0]


@pytest.mark.slow
def test_a_threshold_for_elsewhere_is_chosen_on_what_other_runs_left_out(two):
    write_patches(two / "new/images", two / "new/masks", range(51, 61), bands=3)
    flags = ("--data-dir", "s2", "uav", "--epochs", 3, *SMALL)
    for run, more in (("both", ()), ("without", ("--leave-out", "uav"))):
        assert run_script("train.py", *flags, "--run", run, *more, cwd=two).returncode == 0
    assert run_script("optimize_threshold.py", "--run", "without", cwd=two).returncode == 0
    wrong = run_script("optimize_threshold.py", "--run", "without", "--elsewhere", "both", cwd=two)
    assert_user_error(wrong, "run both left no event and no source out")
    said = run_script("optimize_threshold.py", "--run", "both", "--elsewhere", "without", cwd=two)
    assert "elsewhere (8 patches that without left out): threshold" in said.stdout, said.stderr
    chosen = json.loads((two / "results/both/threshold.json").read_text())
    elsewhere = chosen["elsewhere"]
    assert elsewhere["runs"] == ["without"] and elsewhere["images"] == 8
    for name in ("threshold_curve_elsewhere.csv", "threshold_curve_elsewhere.png", "reliability_elsewhere.png"):
        assert (two / "results/both" / name).exists()
    # the pooled scores are those that evaluate.py gives the run at that threshold on what it left out
    at = elsewhere["threshold"]
    assert run_script("evaluate.py", "--run", "without", "--threshold", at, cwd=two).returncode == 0
    scored = json.loads((two / f"results/without/metrics_at{at:g}.json").read_text())
    assert scored["dice"] == pytest.approx(elsewhere["dice"], abs=1e-6) and scored["images"] == 8
    for flags, threshold in (((), at), (("--data-dir", "uav", "--split", "test"), chosen["threshold"])):
        flags = flags or ("--data-dir", "new", "--split", "all")
        said = run_script("evaluate.py", "--run", "both", *flags, cwd=two).stdout
        assert f"threshold          {threshold:.3f}" in said


@pytest.mark.slow
def test_networks_that_are_told_the_size_of_a_pixel_are_compared_with_others(two, monkeypatch):
    write_patches(two / "new/images", two / "new/masks", range(51, 59), bands=3)
    write_patches(two / "free", two / "none", range(61, 71), bands=3)
    monkeypatch.chdir(two)
    settings = {"DATA_DIR": ("s2", "uav", "new"), "PIXEL_SIZES": (10, 0.5, 3), "LEAVE_OUT": ("new",), "SEEDS": (4,)}
    flags = " ".join([*SMALL, "--epochs", "1", "--landslide-free-dirs", "free"])
    call_experiment(pixel_size_input, monkeypatch, FLAGS=flags, **settings)
    table = rows(two / "results/figures/pixel_size_input.csv")
    for told in ("on", "off"):
        folder = two / f"results/pixel_size_input/{told}-4"
        config = json.loads((folder / "config.json").read_text())
        assert config["pixel_size_input"] == (told == "on") and config["constants"]["SEED"] == 4
        for split, sources in (("validation", ["s2", "uav"]), ("test", ["new"])):
            of_split = [row for row in table if (row["told"], row["split"]) == (told, split)]
            assert [row["source"] for row in of_split] == [*sources, "landslide-free"]
            metrics = json.loads((folder / f"metrics{'_validation' * (split == 'validation')}.json").read_text())
            for row in of_split[:-1]:
                assert float(row["dice"]) == pytest.approx(metrics["by_source"][row["source"]]["dice"], abs=1e-4)
            assert float(of_split[-1]["landslide_free_pixels"]) == pytest.approx(
                metrics["landslide_free"]["pixel_share"], abs=1e-6
            )
    (two / "uav").rename(two / "moved")  # nothing is trained or scored again
    call_experiment(pixel_size_input, monkeypatch, FLAGS=flags, **settings)
    assert rows(two / "results/figures/pixel_size_input.csv") == table
