"""Transfer between data sets: the adaptations, and cross_dataset.py from folders to scores."""

import csv
import json
import os

import keras
import numpy as np
import pytest

import dataset
from experiments import cross_dataset, domain_adaptation
from experiments.labelled_patches import draw_patches
from tests.patch_files import make_pair, write_h5
from tests.running import assert_user_error, rows, run_script

NETWORK = "--base-filters 4 --depth 3"


def write_set(folder, numbers, gain=1.0):
    """Write patches of 3 bands, brighter by the factor `gain`."""
    for number in numbers:
        image, mask = make_pair(number, bands=3)
        write_h5(folder / "images" / f"image_{number}.h5", "img", image * gain)
        write_h5(folder / "masks" / f"mask_{number}.h5", "mask", mask)
    return folder


@pytest.fixture
def two(tmp_path):
    """Open patches of two sets, the second three times as bright."""
    folders = write_set(tmp_path / "dim", range(1, 21)), write_set(tmp_path / "bright", range(31, 51), 3.0)
    return [dataset.open_patches(folder, tmp_path / "cache") for folder in folders]


def test_normalised_images_have_mean_and_variance_of_the_source(two):
    source, target = (each.statistics(np.arange(20)) for each in two)
    images = domain_adaptation.match_moments(source, target)(two[1].read(np.arange(20)))
    assert images.dtype == np.float32
    np.testing.assert_allclose(images.mean((0, 1, 2)), source[0], rtol=1e-3)
    np.testing.assert_allclose(images.var((0, 1, 2)), source[1], rtol=1e-3)


def test_a_band_that_never_varies_takes_the_mean_of_the_source():
    convert = domain_adaptation.match_moments((np.array([5.0]), np.array([4.0])), (np.array([7.0]), np.array([0.0])))
    np.testing.assert_array_equal(convert(np.full((1, 2, 2, 1), 7.0)), 5.0)


def test_matched_images_have_the_histogram_of_the_source(two):
    source, target = (domain_adaptation.quantiles(each, np.arange(20)) for each in two)
    images = domain_adaptation.match_histogram(source, target)(two[1].read(np.arange(20)))
    expected = two[0].read(np.arange(20)).reshape(-1, 3)
    for fraction in (0.05, 0.5, 0.95):
        np.testing.assert_allclose(
            np.quantile(images.reshape(-1, 3), fraction, 0), np.quantile(expected, fraction, 0), rtol=0.05
        )


def test_matching_gives_shared_values_the_mean_of_theirs():
    """Two in five pixels share the lowest value: they take the mean of the lower two fifths of the source."""
    source = np.linspace(0, 200, 257)[None]
    for shift in (0, 5):
        target = np.maximum(np.linspace(-80, 120, 257), 0)[None] + shift
        matched = domain_adaptation.match_histogram(source, target)(np.full((1, 1, 1, 1), float(shift)))
        assert matched[0, 0, 0, 0] == pytest.approx(40, abs=1)
    assert (
        domain_adaptation.match_histogram(source, np.full((1, 257), 7.0))(np.full((1, 1, 1, 1), 7.0))[0, 0, 0, 0] == 100
    )


def test_batch_norm_takes_the_statistics_of_other_images(two):
    inputs = keras.Input((32, 32, 3))
    norm, drop = keras.layers.BatchNormalization(), keras.layers.SpatialDropout2D(0.5)
    model = keras.Model(inputs, norm(drop(inputs)))
    domain_adaptation.adapt_batch_norm(model, two[1], np.arange(20), batch_size=5)
    batches = [two[1].read(np.arange(start, start + 5)) for start in range(0, 20, 5)]
    np.testing.assert_allclose(norm.moving_mean, np.mean([batch.mean((0, 1, 2)) for batch in batches], 0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, np.mean([batch.var((0, 1, 2)) for batch in batches], 0), rtol=1e-3)
    assert norm.momentum == 0.99 and drop.rate == 0.5


def test_a_fifth_of_the_drawn_patches_is_for_validation_and_both_parts_have_a_landslide(two):
    with_landslide = (two[0].masks == 1).any((1, 2))
    for count, sizes in ((2, (1, 1)), (4, (3, 1)), (10, (8, 2)), (20, (16, 4))):
        for seed in range(5):
            drawn = draw_patches(two[0], np.arange(20), count, np.random.default_rng(seed))
            assert (len(drawn["train"]), len(drawn["validation"])) == sizes
            assert len(set(np.concatenate(list(drawn.values())))) == count
            assert all(with_landslide[part].any() for part in drawn.values())


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_pooled_folder_holds_all_labelled_patches(two, tmp_path):
    folder = cross_dataset.pool(tmp_path / "pooled", {"dim": two[0], "bright": two[1]})
    patches = dataset.open_patches(folder, tmp_path / "cache")
    assert len(patches) == 40 and patches.labelled.all()
    np.testing.assert_array_equal(patches.masks[20:], two[1].masks)
    np.testing.assert_array_equal(patches.read([39]), two[1].read([19]))


@pytest.mark.slow
def test_every_pair_is_scored_in_every_way(tmp_path):
    folders = write_set(tmp_path / "a", range(1, 31)), write_set(tmp_path / "b", range(41, 71), 3.0)
    flags = "--epochs 3 --labelled 4 50 --draws 2".split() + ["--network", NETWORK]
    flags += ["--fine-tuning", "--epochs 1 --epoch-steps 1"]
    result = run_script("experiments/cross_dataset.py", "--data-dirs", *folders, *flags, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "retracing" not in result.stderr
    folder = tmp_path / "results" / "cross_dataset"
    scores = rows(folder / "scores.csv")
    scored = [(row["source"], row["target"], row["method"], row["labelled"]) for row in scores]
    ways = [("untouched", ""), ("normalised", ""), ("histogram matched", ""), ("AdaBN", "")]
    ways += [("threshold", "4"), ("fine-tuned", "4")] * 2
    assert scored == [
        ("a", "a", "in-domain", ""),
        *(("b", "a", *way) for way in ways),
        ("b", "b", "in-domain", ""),
        *(("a", "b", *way) for way in ways),
    ]
    assert "22 training patches: 50 labelled ones are not tried" in result.stdout
    # evaluate.py gives the same scores for the same run and patches
    result = run_script("evaluate.py", "--results-dir", "results/cross_dataset", "--run", "b", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    metrics = json.loads((folder / "b" / "metrics.json").read_text())
    assert float(scores[len(ways) + 1]["dice"]) == pytest.approx(metrics["dice"], abs=1e-4)
    sets = rows(folder / "sets.csv")
    assert [row["patches"] for row in sets] == ["30", "30"]
    assert float(sets[1]["red_mean"]) == pytest.approx(3 * float(sets[0]["red_mean"]), rel=0.2)
    with open(folder / "matrix.csv", newline="") as file:
        assert [row["fall"] for row in csv.DictReader(file)][::2] == ["0.0", "0.0"]
    assert (folder / "matrix.png").stat().st_size and (folder / "adaptation.png").stat().st_size


@pytest.mark.slow
def test_folders_must_be_two_and_alike(tmp_path):
    one = write_set(tmp_path / "a", range(1, 8))
    assert_user_error(
        run_script("experiments/cross_dataset.py", "--data-dirs", one, cwd=tmp_path), "needs two or more folders"
    )
    for number in range(1, 8):
        image, mask = make_pair(number, bands=4)
        write_h5(tmp_path / "four/images" / f"image_{number}.h5", "img", image)
        write_h5(tmp_path / "four/masks" / f"mask_{number}.h5", "mask", mask)
    result = run_script("experiments/cross_dataset.py", "--data-dirs", one, tmp_path / "four", cwd=tmp_path)
    assert_user_error(result, "a has patches of 32 x 32 x 3, four of 32 x 32 x 4: they must be alike")
