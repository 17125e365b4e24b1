"""Series of dates: files in the published format, written by the netCDF library, and networks that join dates."""

import keras
import netCDF4
import numpy as np
import pytest

import dataset
from bands import BANDS_SEN12, date_groups, dated_names, true_colour
from networks.model_files import fused, load_model, save_model
from patches import reading, series
from script import UserError
from tests.running import SMALL, assert_user_error, record, rows, run_script
from tests.series_files import SIZE, write_published
from unet import build_unet


@pytest.mark.parametrize("order", ["xy", "yx"])
def test_published_files_are_read_with_rows_along_y(tmp_path, order):
    """The event is not in the middle of the series and is read as bytes. Both orders of dimensions are published."""
    mask = write_published(tmp_path / "s2/italy_s2_6982.nc", 1, (3, 4), order=order)
    image, (read_mask, _), _ = series.read_series(tmp_path / "s2/italy_s2_6982.nc", 2)
    np.testing.assert_array_equal(read_mask, mask)
    names = dated_names(2)
    assert image.shape == (SIZE, SIZE, len(names)) and image.dtype == np.float32
    with netCDF4.Dataset(tmp_path / "s2/italy_s2_6982.nc") as file:
        before, after = file["B04"][3], file["B12"][4]
        before, after = (before.T, after.T) if order == "xy" else (before, after)
        np.testing.assert_array_equal(image[..., names.index("B04 before")], before)
        np.testing.assert_array_equal(image[..., names.index("B12 after")], after)
    np.testing.assert_allclose(image[1:-1, 1:-1, names.index("slope")], 45, atol=1e-3)
    np.testing.assert_array_equal(image[0, :, names.index("dem")], 100 + 10 * np.arange(SIZE))


@pytest.mark.parametrize(
    ("dates", "clouds", "event", "expected"),
    [
        (2, [0, 0, 0, 0, 0, 0], (2, 3), [2, 3]),  # around the event
        (2, [0.1, 0, 0.9, 0.9, 0.5, 0], (2, 3), [1, 5]),  # the clearest on each side
        (1, [0, 0, 0, 0.3, 0.2, 0.2], (2, 3), [4]),
        (3, [0, 0.2, 0, 0.9, 0.9, 0.8], (2, 3), [0, 2, 5]),  # one after the event, whatever its clouds
        (6, [0.5] * 6, (0, 1), [0, 1, 2, 3, 4, 5]),
        (2, [0] * 6, None, [2, 3]),  # the middle of the series
        (2, [0] * 6, (4, 9), [2, 3]),  # the event is after the last date
    ],
)
def test_dates_are_chosen_by_event_and_clouds(dates, clouds, event, expected):
    assert series.choose_dates(np.array(clouds), event, dates) == expected


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("{'pre': 7, 'post': 8}", (7, 8)),
        ("[{'pre': 3, 'post': 4}, {'pre': 9, 'post': 10}]", (3, 10)),
        ("None", None),
        ("{'pre': 7}", None),
        ("not python", None),
    ],
)
def test_the_event_is_read_as_it_is_told(text, event):
    assert series.event_dates({"pre_post_dates": text}) == event
    assert series.event_dates({"pre_post_dates": np.bytes_(text)}) == event
    assert series.event_dates({}) is None


def test_a_folder_of_series_is_packed_and_again_for_other_dates(tmp_path):
    masks = [write_published(tmp_path / f"d/s2/part{n % 2}/italy_s2_{n}.nc", n) for n in (3, 1, 2)]
    (tmp_path / "d/s2/._italy_s2_9.nc").write_bytes(b"left by an archive")
    pair = dataset.open_patches(tmp_path / "d", tmp_path / "cache")
    assert pair.names == [f"s2/part{n % 2}/italy_s2_{n}.nc" for n in (2, 1, 3)]
    np.testing.assert_array_equal(pair.masks, [masks[2], masks[1], masks[0]])
    assert len(pair.bands) == 22 and pair.dates == 2
    assert true_colour(pair.file_bands) == [pair.bands.index(f"{band} after") for band in ("B04", "B03", "B02")]
    four = dataset.open_patches(tmp_path / "d", tmp_path / "cache", options=reading.ReadOptions(dates=4))
    assert four.input_shape == (SIZE, SIZE, 42) and four.bands[-4:] == ("B11 t4", "B12 t4", "slope", "dem")
    some = dataset.open_patches(tmp_path / "d", tmp_path / "cache", ("B04 before", "B04 after", "dem"))
    assert some.input_shape == (SIZE, SIZE, 3)


def test_what_a_series_states_of_its_numbers_is_applied(tmp_path):
    """Scene classes 0 and 1 of a chosen date, values of no data, scale and offset; netCDF4 writes the attributes."""
    write_published(tmp_path / "a_1.nc", 1)
    image, (mask, _), gap = series.read_series(tmp_path / "a_1.nc", 2)
    assert not gap.any()
    with netCDF4.Dataset(tmp_path / "a_1.nc", "a") as file:
        file.set_auto_maskandscale(False)
        void = ("SCL", 0), ("SCL", 1), ("B03", -99), ("B08", -9999), ("DEM", -32768)
        for column, (name, value) in enumerate(void):
            file[name][:, column, :2] = value  # time, x, y
        for name in BANDS_SEN12:
            file[name].setncatts({"scale_factor": 1e-4, "add_offset": -0.1, "missing_value": np.int16(-99)})
        file["DEM"].setncatts({"scale_factor": 0.001})
    scaled, _, gap = series.read_series(tmp_path / "a_1.nc", 2)
    expected = np.zeros((SIZE, SIZE), bool)  # y, x
    expected[:2, :5] = True
    np.testing.assert_array_equal(gap, expected)
    np.testing.assert_allclose(scaled[~gap][:, :20], image[~gap][:, :20] - 1000, atol=1e-3)
    np.testing.assert_allclose(scaled[~gap][:, 21], image[~gap][:, 21] / 1000, rtol=1e-5)
    patch = reading.read_patch(tmp_path / "a_1.nc", tmp_path / "a_1.nc")
    np.testing.assert_array_equal(patch.gap, expected)
    assert (patch.labels.decided(True)[expected] == 255).all()
    with netCDF4.Dataset(tmp_path / "a_1.nc", "a") as file:
        file["B04"].setncatts({"scale_factor": "small"})
    with pytest.raises(reading.Fault, match="has a variable B04 that states a scale_factor that is no number"):
        reading.read_patch(tmp_path / "a_1.nc", None)


@pytest.mark.parametrize("at", ["array", "file"])
def test_attributes_of_a_series_stand_at_the_array_or_the_file(tmp_path, at):
    """As in HDF5, of bands and of the mask: odc and rioxarray write nodata at the variable."""
    write_published(tmp_path / "a_1.nc", 1)
    with netCDF4.Dataset(tmp_path / "a_1.nc", "a") as file:
        file.set_auto_maskandscale(False)
        file["B03"][:, :4], file["MASK"][:, 8:12] = 9999, 255  # time, x, y
        for name, attributes in {"B03": {"missing_value": np.int16(9999)}, "MASK": {"nodata": 255}}.items():
            (file[name] if at == "array" else file).setncatts(attributes)
    patch = reading.read_patch(tmp_path / "a_1.nc", tmp_path / "a_1.nc")
    assert patch.gap[:, :4].all() and not patch.gap[:, 4:].any()
    assert (patch.labels.mask[:, 8:12] == 255).all() and not patch.labels.undecided.any()


def test_what_is_no_such_series_is_told(tmp_path):
    write_published(tmp_path / "d/a_1.nc", 1)
    write_published(tmp_path / "d/a_2.nc", 2, drop=("SCL",))
    (tmp_path / "d/a_3.nc").write_bytes((tmp_path / "d/a_1.nc").read_bytes()[:3000])
    with pytest.raises(UserError) as error:
        dataset.open_patches(tmp_path / "d", tmp_path / "cache")
    assert "a_2.nc: has no variable SCL" in str(error.value)
    assert "a_3.nc: is cut short or not NetCDF-4" in str(error.value)
    with pytest.raises(UserError, match="has 6 dates: 7 cannot be chosen"):
        dataset.open_patches(tmp_path / "d", tmp_path / "cache", options=reading.ReadOptions(dates=7))


def test_a_place_that_lies_twice_in_a_folder_is_told(tmp_path):
    """It could be in training and test at the same time."""
    for part in ("s2", "s2/raw"):
        write_published(tmp_path / "d" / part / "a_s2_1.nc", 1)
    with pytest.raises(UserError, match="s2/raw/a_s2_1.nc: has the same name as s2/a_s2_1.nc"):
        dataset.open_patches(tmp_path / "d", tmp_path / "cache")


def test_our_own_files_are_read_by_the_netcdf_library(tmp_path):
    rng = np.random.default_rng(0)
    variables = {name: rng.integers(0, 3000, (4, 8, 12)) for name in (*BANDS_SEN12, "SCL", "DEM")}
    variables["MASK"] = np.broadcast_to(rng.integers(0, 2, (8, 12)), (4, 8, 12))
    series.write_series(tmp_path / "own.nc", variables, {"pre_post_dates": "{'pre': 1, 'post': 2}"})
    with netCDF4.Dataset(tmp_path / "own.nc") as file:
        assert file["B02"].dimensions == ("time", "x", "y") and file["B02"].shape == (4, 12, 8)
        np.testing.assert_array_equal(file["B8A"][3].T, variables["B8A"][3])
        assert file.annotated == "True"
        assert netCDF4.num2date(file["time"][1], file["time"].units).isoformat() == "2023-01-17T00:00:00"
    _, (mask, _), _ = series.read_series(tmp_path / "own.nc", 2)
    np.testing.assert_array_equal(mask, variables["MASK"][0])


def test_bands_are_told_apart_by_date():
    names = dated_names(3)
    dates, undated = date_groups(names)
    assert [[names[i] for i in group][0] for group in dates] == ["B02 t1", "B02 t2", "B02 t3"]
    assert [names[i] for i in undated] == ["slope", "dem"]
    swapped = ("B04 after", "dem", "B04 before")
    assert date_groups(swapped) == ([[2], [0]], [1])
    with pytest.raises(ValueError, match="different bands"):
        date_groups(("B04 before", "B03 after"))
    assert date_groups(("red", "green")) == ([], [0, 1])


@pytest.mark.parametrize(
    ("fusion", "count"),
    [("difference", 2), *(pytest.param("attention", count, marks=pytest.mark.slow) for count in (2, 4))],
)
def test_dates_share_an_encoder_and_the_stored_model_joins_them_alike(tmp_path, both_processors, fusion, count):
    names = dated_names(count)
    options = {"base_filters": 8, "max_filters": 16, "depth": 3}
    model = fused(build_unet((32, 32, len(names)), dates=date_groups(names), fusion=fusion, **options))
    encoder = model.get_layer("encoder")
    assert encoder.input_shape == (None, 32, 32, 12)
    images = np.random.default_rng(0).normal(size=(2, 32, 32, len(names))).astype(np.float32)
    probability = model.predict_on_batch(images)
    assert probability.shape == (2, 32, 32, 1)
    save_model(model, tmp_path / "model.keras")
    np.testing.assert_allclose(
        keras.models.load_model(tmp_path / "model.keras").predict_on_batch(images), probability, atol=1e-5
    )
    np.testing.assert_array_equal(load_model(tmp_path, to_store=True).predict_on_batch(images), probability)
    np.testing.assert_allclose(load_model(tmp_path).predict_on_batch(images), probability, atol=1e-5)


def test_the_difference_of_two_equal_dates_is_nothing():
    names = dated_names(2)
    model = build_unet((32, 32, 22), 8, 3, 16, dates=date_groups(names), fusion="difference")
    change = keras.Model(model.input, model.get_layer("difference0").output)
    image = np.random.default_rng(0).normal(size=(1, 32, 32, 10)).astype(np.float32)
    terrain = np.ones((1, 32, 32, 2), np.float32)
    np.testing.assert_array_equal(change.predict_on_batch(np.concatenate([image, image, terrain], -1)), 0)
    other = np.concatenate([image, image + 1, terrain], -1)
    assert np.abs(change.predict_on_batch(other)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["stack", "difference"])
def test_a_series_goes_through_the_stages(tmp_path, fusion):
    for number in range(1, 25):
        write_published(tmp_path / f"data/s2/a_s2_{number}.nc", number, (2, 3) if number % 4 else None)
    flags = ("--fusion", fusion, "--epochs", 4, *SMALL)
    assert run_script("train.py", *flags, cwd=tmp_path).returncode == 0
    for stage in ("optimize_threshold.py", "evaluate.py", "visualize.py"):
        result = run_script(stage, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    config = record(tmp_path, "config.json", "unet")
    assert config["bands"][0] == "B02 before" and config["input_shape"] == [32, 32, 22]
    assert rows(tmp_path / "results/unet/per_image.csv")[0]["image"].startswith("s2/a_s2_")
    result = run_script("predict.py", "--run", "unet", "--input", "data", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "results/unet/maps").glob("mask_a_s2_*.h5"))) == 24


def test_a_fusion_that_does_not_fit_is_refused(tmp_path, flat):
    assert_user_error(
        run_script("train.py", "--fusion", "difference", cwd=flat.parent),
        "--fusion difference needs the unet and series of two dates; --model is unet and the number of dates is 0",
    )
    for number in range(1, 9):
        write_published(tmp_path / f"s/a_{number}.nc", number)
    flags = ("--data-dir", tmp_path / "s", "--fusion", "difference")
    assert_user_error(run_script("train.py", *flags, "--dates", 3, cwd=tmp_path), "and the number of dates is 3")
    flags = (*flags, "--bands", "B04 before", "B03 after")
    assert_user_error(run_script("train.py", *flags, cwd=tmp_path), "--bands: the dates have different bands")


def test_a_series_needs_its_mask_only_to_be_scored(tmp_path):
    write_published(tmp_path / "a_1.nc", 1)
    patch = reading.read_patch(tmp_path / "a_1.nc", None)
    assert patch.image.shape == (SIZE, SIZE, 22) and patch.labels is None


def test_what_the_mask_of_a_series_calls_no_data_is_not_labelled(tmp_path):
    write_published(tmp_path / "a_1.nc", 1)
    with netCDF4.Dataset(tmp_path / "a_1.nc", "a") as file:
        file["MASK"][:, 5] = 9  # time, x, y
        file["MASK"].setncatts({"missing_value": np.uint8(9)})
    labels = reading.read_patch(tmp_path / "a_1.nc", tmp_path / "a_1.nc").labels.decided(True)
    assert (labels[:, 5] == 255).all() and (labels == 255).sum() == SIZE
    with netCDF4.Dataset(tmp_path / "a_1.nc", "a") as file:
        file["MASK"].setncatts({"scale_factor": 0.1})
    with pytest.raises(reading.Fault, match="has a variable MASK that states a scale or an offset"):
        reading.read_patch(tmp_path / "a_1.nc", tmp_path / "a_1.nc")


def test_what_a_series_calls_no_data_in_its_classes_and_for_the_whole_file(tmp_path):
    write_published(tmp_path / "a_1.nc", 1)
    with netCDF4.Dataset(tmp_path / "a_1.nc", "a") as file:
        file["SCL"][:, 3] = 99  # time, x, y
        file["SCL"].setncatts({"missing_value": file["SCL"].dtype.type(99)})
        file["MASK"][:, 7] = 255
        file.setncatts({"nodata": 255})
    patch = reading.read_patch(tmp_path / "a_1.nc", tmp_path / "a_1.nc")
    assert (np.flatnonzero(patch.gap.any(0)) == 3).all() and patch.gap.sum() == SIZE
    assert not patch.labels.undecided.any() and (patch.labels.mask[:, 7] == 255).all()
