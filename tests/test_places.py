"""Where patches lie: the numbering of Landslide4Sense, tables of places, and splits by event and by ground."""

import unicodedata

import numpy as np
import pytest

import records
from dataset import open_sources
from experiments import leave_one_event_out
from experiments.bands_on_few import folds_by_place
from patches import blocks, splits
from patches.places import (
    RGB_SUBSET,
    SETS,
    TRAINING,
    find_places,
    landslide4sense_place,
    original_number,
    surroundings,
)
from script import UserError
from tests.patch_files import open_folder, write_h5
from tests.running import SMALL, assert_user_error, call_experiment, record, rows, run_script

KNOWN = [  # number in the RGB subset, number of the original, event, row and column there
    (1111, 2, "taiwan", 0, 1),
    (1140, 2024, "taiwan", 49, 14),
    (2427, 3183, "iburi", 9, 13),
    (2298, 3067, "iburi", 2, 2),
    (2486, 3236, "gorkha", 4, 7),
    (2466, 3218, "gorkha", 3, 0),
    (2892, 3601, "kodagu", 11, 9),
    (2861, 3574, "kodagu", 10, 8),
]


class Listed:
    """Patches of which only the names, the numbers and the splits are known, instead of thousands of files."""

    def __init__(self, numbers, own_splits, bands):
        self.numbers, self.own_splits = np.array(numbers), np.array(own_splits)
        self.names = [f"image_{number}" for number in numbers]
        self.file_bands, self.data_dir = tuple(range(bands)), "listed"

    def __len__(self):
        return len(self.numbers)


def rgb_subset(train=RGB_SUBSET["train"]):
    """The RGB subset with that many training pictures: numbers from 0, mixed over its splits."""
    sizes = RGB_SUBSET | {"train": train}
    own_splits = np.repeat(list(sizes), list(sizes.values()))
    order = np.random.default_rng(0).permutation(sum(RGB_SUBSET.values()))
    return Listed(order[: len(own_splits)], own_splits, 3)


def neighbours(places):
    """Return how many pairs of patches share a side of their boxes."""
    left, bottom, right, top = places.boxes.T
    return sum(np.isin(right + 1j * top, left + 1j * top)) + sum(np.isin(left + 1j * bottom, left + 1j * top))


@pytest.mark.parametrize(("picture", "original", "event", "row", "column"), KNOWN)
def test_a_picture_of_the_rgb_subset_has_the_place_of_its_original(picture, original, event, row, column):
    """Pairs that are equal to the pixel, and places at which the edges of the pictures continue each other."""
    assert original_number(picture) == original
    assert landslide4sense_place(original) == (event, row, column)


def test_a_number_that_landslide4sense_does_not_have_is_refused():
    for number in (0, TRAINING + 1):
        with pytest.raises(ValueError, match=f"1 to {TRAINING}, not {number}"):
            landslide4sense_place(number)


def test_the_known_sets_are_recognised_by_their_names_and_counts():
    places = find_places(rgb_subset())
    assert "landslide4sense_rgb, by names and counts" in places.source
    whole = find_places(Listed(range(1, TRAINING + 1), ["train"] * TRAINING, 14))
    counts = dict(zip(*np.unique(whole.events, return_counts=True), strict=True))
    assert counts == {"gorkha": 121, "iburi": 150, "kodagu": 494, "taiwan": 3034}
    columns = {"taiwan": 41, "iburi": 15, "gorkha": 11, "kodagu": 26}
    along_rows = sum(count - -(-count // columns[event]) for event, count in counts.items())
    along_columns = sum(count - columns[event] for event, count in counts.items())
    assert neighbours(whole) == along_rows + along_columns


def test_other_folders_have_no_places_unless_they_are_given():
    assert find_places(rgb_subset(train=1384)) is None, "a picture was taken away"
    assert find_places(Listed(range(1, 100), ["train"] * 99, 14)) is None, "a part of the set"
    assert find_places(Listed(range(1, TRAINING + 1), [""] * TRAINING, 12)) is None, "other bands"
    assert find_places(rgb_subset(), "none") is None
    part = find_places(Listed([5, 3100], ["train", "test"], 14), "landslide4sense")
    assert part.events.tolist() == ["taiwan", ""], "test patches of the set have numbers of their own"
    with pytest.raises(UserError, match="4000 is no number of a training patch of landslide4sense_rgb"):
        find_places(Listed([4000], ["train"], 3), "landslide4sense_rgb")


# ---------------------------------------------------------------------- invented patches


EVENTS = {"east": (4, 5), "west": (3, 4)}  # rows and columns of patches


@pytest.fixture
def cut(tmp_path):
    """Write a scene of each event, cut into adjoining patches, and places.csv; return the folder."""
    rng, number, table = np.random.default_rng(0), 0, []
    for event, (height, width) in EVENTS.items():
        scene = rng.normal(1, 0.1, (16 * height, 16 * width, 3)).cumsum(0).cumsum(1)
        for row in range(height):
            for column in range(width):
                number += 1
                window = np.s_[16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                write_h5(tmp_path / "data" / "images" / f"image_{number}.h5", "img", scene[window])
                write_h5(tmp_path / "data" / "masks" / f"mask_{number}.h5", "mask", np.eye(16, dtype=np.uint8))
                table.append((f"image_{number}.h5", event, row, column))
    records.write_csv(tmp_path / "places.csv", ("image", "event", "row", "column"), table)
    return tmp_path


def opened(cut):
    patches = open_folder(cut / "data")
    names = {name.rpartition("/")[2]: name for name in patches.names}
    table = [{**row, "image": names[row["image"]]} for row in rows(cut / "places.csv")]
    records.write_csv(cut / "places.csv", table[0], [row.values() for row in table])
    return patches


def test_patches_that_a_table_puts_side_by_side_continue_each_other(cut):
    patches = opened(cut)
    places = find_places(patches, cut / "places.csv")
    assert "places by" in places.source and "east 20, west 12" in places.source
    left, bottom, right, top = places.boxes.T
    for i in range(len(patches)):
        for other in np.flatnonzero((left == right[i]) & (top == top[i])):
            edges = patches.images[i][:, -1], patches.images[other][:, 0]
            assert np.corrcoef(*map(np.ravel, edges))[0, 1] > 0.99
        for other in np.flatnonzero((top == bottom[i]) & (left == left[i])):
            edges = patches.images[i][-1], patches.images[other][0]
            assert np.corrcoef(*map(np.ravel, edges))[0, 1] > 0.99
    assert neighbours(places) == 2 * 32 - 4 - 5 - 3 - 4


def test_a_patch_is_drawn_in_its_surroundings(cut):
    """The patches are cut from one picture each, so what lies around one continues its edges."""
    patches = opened(cut)
    known = find_places(patches, cut / "places.csv")
    left, _, _, top = known.boxes.T
    inner = next(i for i in range(len(patches)) if len(near(known.boxes, i)) == 9)
    whole = surroundings(patches, known, inner)
    height, width = patches.input_shape[:2]
    assert whole.shape == (3 * height, 3 * width, 3) and np.isfinite(whole).all()
    for j in near(known.boxes, inner):
        row, column = (1 + int(top[inner] - top[j])) * height, (1 + int(left[j] - left[inner])) * width
        np.testing.assert_array_equal(whole[row : row + height, column : column + width], patches.read_pictures([j])[0])
    corner = int(np.lexsort((left, -top))[0])
    assert np.isnan(surroundings(patches, known, corner)[:height]).all()
    known.boxes[inner] = np.nan
    assert surroundings(patches, known, inner) is None


def near(boxes, i):
    """Positions of the patches within one patch of another, itself among them."""
    return np.flatnonzero((np.abs(boxes - boxes[i]) < 1.5).all(1))


def test_an_event_is_held_out_whole(cut):
    patches = opened(cut)
    places = find_places(patches, cut / "places.csv")
    assigned, notes = splits.split_patches(patches, "random", hold_out=("west",), places=places)
    assert ((assigned == "test") == (places.events == "west")).all()
    assert (assigned[places.events == "east"] != "").all() and "places by" in notes[0]
    for hold_out, known, message in (
        (("north",), places, "HOLD_OUT north is none of its events, east, west"),
        (("west",), None, "HOLD_OUT needs the event of each patch"),
        (("east", "west"), places, "holds no training patches"),
    ):
        with pytest.raises(UserError, match=message):
            splits.split_patches(patches, "random", hold_out=hold_out, places=known)


def test_no_patch_of_a_held_out_event_or_of_unknown_place_is_learnt_from(cut):
    patches = opened(cut)
    places = find_places(patches, cut / "places.csv")
    places.events[:2], places.boxes[:2] = "", np.nan
    patches.labelled[::3] = False
    for method in ("random", "blocks"):
        assigned, notes = splits.split_patches(patches, method, hold_out=("west",), places=places, block_size=4)
        assert set(assigned[places.events == "west"]) == {"test", ""}
        assert set(assigned[:2]) == {""} and any("2 patches of unknown place are not used" in note for note in notes)
        assert {"train", "validation", "unlabelled"} <= set(assigned[places.events == "east"])
    held_out, learnt = np.isin(assigned, ("validation", "test")), np.isin(assigned, ("train", "unlabelled"))
    for first, second in blocks.pairs_nearer_than(np.nan_to_num(places.boxes, nan=1e9), 1.0).T:
        assert not (held_out[first] and learnt[second]) and not (held_out[second] and learnt[first])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_blocks_of_ground_leave_a_patch_between_splits(cut, seed):
    patches = opened(cut)
    places = find_places(patches, cut / "places.csv")
    assigned, notes = splits.split_patches(patches, "blocks", seed, block_size=4, places=places)
    assert set(assigned) == {"train", "validation", "test", ""}
    assert f"{np.count_nonzero(assigned == '')} patches are not used, because they lie between blocks" in notes[-1]
    used = np.flatnonzero(assigned != "")
    for first, second in blocks.pairs_nearer_than(places.boxes[used], 1.0).T:
        assert assigned[used[first]] == assigned[used[second]]


def test_a_table_that_does_not_fit_is_refused(cut):
    patches = opened(cut)
    path = cut / "places.csv"
    text = path.read_text()
    for wrong, message in (
        (text.rsplit("\n", 2)[0], "gives no place of a patch: 'images/image_32.h5' is missing"),
        (text.replace("column", "col"), "'column' is missing"),
        (text.replace("east,0,0", "east,0,first"), "one of its numbers is none, or is missing"),
        (text.replace("east,0,0", "east,0"), "one of its numbers is none, or is missing"),
    ):
        path.write_text(wrong)
        with pytest.raises(UserError, match=message):
            find_places(patches, path)
    with pytest.raises(UserError, match="gone.csv cannot be read"):
        find_places(patches, cut / "gone.csv")


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_of_places_is_read_as_a_spreadsheet_writes_it(cut, mark):
    patches = opened(cut)
    expected = find_places(patches, cut / "places.csv")
    lines = (cut / "places.csv").read_text().replace(",", mark).replace("images/", "images\\").splitlines()
    (cut / "places.csv").write_text("\r\n".join(f"{line}{mark}" for line in lines), encoding="utf-8-sig")
    places = find_places(patches, cut / "places.csv")
    assert places.events.tolist() == expected.events.tolist() and np.array_equal(places.boxes, expected.boxes)
    patches.names[0] = unicodedata.normalize("NFD", "images/Süd.h5")
    text = (cut / "places.csv").read_text(encoding="utf-8-sig").replace("images\\image_1.h5", "images/Süd.h5")
    (cut / "places.csv").write_text(unicodedata.normalize("NFC", text), encoding="utf-8")
    assert find_places(patches, cut / "places.csv").events.tolist() == expected.events.tolist()
    (cut / "places.csv").write_bytes("image,event\nSüd,1\n".encode("latin-1"))
    with pytest.raises(UserError, match="places.csv is no table of commas or semicolons in UTF-8"):
        find_places(patches, cut / "places.csv")


def test_a_table_of_another_kind_in_the_folder_stops_nothing(cut, capsys):
    patches = opened(cut)
    (cut / "data" / "patches.csv").write_text("patch,district\n1,north\n")
    assert find_places(patches) is None
    assert "the places of patches are unknown" in capsys.readouterr().out


@pytest.mark.slow
def test_train_holds_out_an_event_and_says_so(cut):
    opened(cut)
    flags = [*SMALL, "--data-dir", "data", "--places", "places.csv", "--hold-out", "west", "--epochs", "1"]
    result = run_script("train.py", *flags, cwd=cut)
    assert result.returncode == 0, result.stderr
    assert "places by places.csv: east 20, west 12 patches" in result.stdout
    split = rows(cut / "results" / "unet" / "split.csv")
    assert all((row["split"] == "test") == (row["event"] == "west") for row in split) and len(split) == 32
    assert record(cut, "config.json", "unet")["constants"]["HOLD_OUT"] == ["west"]
    result = run_script("evaluate.py", "--split", "all", "--threshold", "0.5", cwd=cut)
    assert result.returncode == 0 and "by event" in result.stdout, result.stderr
    scores = record(cut, "metrics_all_at0.5.json", "unet")
    images = rows(cut / "results" / "unet" / "per_image_all_at0.5.csv")
    for event, count in (("east", 20), ("west", 12)):
        of_event = {row["image"] for row in split if row["event"] == event}
        tp, fp, fn = (sum(int(row[k]) for row in images if row["image"] in of_event) for k in ("tp", "fp", "fn"))
        assert scores["by_event"][event]["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert scores["by_event"][event]["images"] == count
    result = run_script("train.py", *flags[:-4], "--hold-out", "south", "--overwrite", cwd=cut)
    assert_user_error(result, "--hold-out south is none of its events, east, west")


@pytest.mark.slow
def test_each_event_is_held_out_in_turn(cut, monkeypatch, capsys):
    opened(cut)
    monkeypatch.chdir(cut)
    monkeypatch.setitem(leave_one_event_out.FLAGS, "default", SMALL)

    def table_of(**constants):
        settings = {"DATA_DIR": ("data",), "PLACES": "places.csv", "RECIPES": ("default",), "EPOCHS": 1}
        call_experiment(leave_one_event_out, monkeypatch, **settings | constants)
        return rows(cut / "results" / "figures" / "leave_one_event_out.csv")

    table = table_of()
    assert [(row["held_out"], row["patches"]) for row in table] == [("east", "20"), ("west", "12")]
    for row in table:
        run = cut / "results" / "leave_one_event_out" / f"data-default-{row['held_out']}-0-1"
        assert {each["event"] for each in rows(run / "split.csv") if each["split"] == "test"} == {row["held_out"]}
    assert table_of() == table
    table = table_of(HELD_OUT=("east",), LABELLED=(4, 400))
    assert "400 are not tried" in capsys.readouterr().out
    assert [row["labelled"] for row in table if row["held_out"] == "east"] == ["", "0", "4"]
    assert len({row["patches"] for row in table if row["labelled"]}) == 1


def test_a_part_of_a_set_that_is_named_has_its_pixel_size(tmp_path):
    for number in (1, 2):
        write_h5(tmp_path / f"d/images/image_{number}.h5", "img", np.ones((32, 32, 14), np.float32))
        write_h5(tmp_path / f"d/masks/mask_{number}.h5", "mask", np.eye(32, dtype=np.uint8))
    sizes = {of: open_sources([tmp_path / "d"], tmp_path / "cache", places_of=of).pixel_sizes for of in SETS}
    assert (sizes["landslide4sense"] == 10).all() and np.isnan(sizes["auto"]).all()


def test_folds_are_strips_of_ground_with_an_empty_row_between_them():
    numbers = [1, 2, 3, 16, 27, 40, 41, 42, 45, 72, 150, 168, 253, 300, 461, 512, 525, 700, 800, 902, 1002]
    numbers += [3520, 3597, 3645]
    places = find_places(Listed(numbers, ["train"] * 24, 14), "landslide4sense")
    folds = folds_by_place(places, np.arange(24), 3)
    assert sorted(np.concatenate(folds).tolist()) == list(range(24)) and len(folds) == 5
    kodagu, *taiwan = folds
    assert set(places.events[kodagu]) == {"kodagu"} and set(places.events[np.concatenate(taiwan)]) == {"taiwan"}
    rows = [-places.boxes[fold, 3] for fold in taiwan]
    assert all(below.min() - above.max() >= 2 for above, below in zip(rows, rows[1:], strict=False))
    assert min(map(len, folds)) == 3
