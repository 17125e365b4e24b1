"""Names of bands and what files state of their values: HDF5, GeoTIFF and scenes follow one rule, order is no name."""

import h5py
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

import bands
from bands import BANDS_RGB
from experiments import few_labels
from patches import reading
from scenes import preparation, source
from script import UserError
from tests.patch_files import open_folder, scar
from tests.rasters import open_scene, write_raster

NUMBERS = np.random.default_rng(0).integers(100, 3000, (4, 32, 32)).astype(np.uint16)


def tiff(folder, names, scales=None):
    path = write_raster(folder / "a_1.tif", NUMBERS[: len(names)], descriptions=names)
    if scales:
        with rasterio.open(path, "r+") as file:
            file.scales = scales
    return path


def hdf5(folder, names=None, scale=None, count=0, **attributes):
    with h5py.File(folder / "a_1.h5", "w") as file:
        file["img"] = np.moveaxis(NUMBERS[: count or len(names)], 0, -1)
        file.attrs.update(attributes | ({} if names is None else {"bands": names}))
        file["img"].attrs.update({} if scale is None else {"scale_factor": scale})
    return folder / "a_1.h5"


def refused(read, *arguments):
    """The refusal of a patch, which becomes a UserError further up, or of a scene."""
    with pytest.raises((reading.Fault, UserError)) as error:
        read(*arguments)
    return str(error.value)


# ---------------------------------------------------------------------- scenes: what is missing is named


@pytest.mark.parametrize(
    ("names", "run", "lacking"),
    [
        (("B8", "B11", "B12"), BANDS_RGB, "red and green and blue"),
        (("B2", "B3", "B4", "B8"), ("B4", "B3", "B2", "slope"), "slope"),
        (("B2", "B3", "B4", ""), ("B4", "B3", "B2", "dem"), "dem"),
        (("B2", "B3", "B4", "slope"), ("B4", "B3", "B2", "B8"), "B8"),
    ],
)
def test_the_order_of_named_bands_does_not_stand_in_for_a_band_that_is_missing(tmp_path, names, run, lacking):
    path = tiff(tmp_path, names)
    said = refused(open_scene, [path], run)
    assert f"lacks {lacking}: its bands are called B" in said and "with --scene-bands" in said
    assert ("give an elevation raster with --dem for" in said) == (lacking in bands.TERRAIN)
    chosen = [str(number + 1) for number in range(len(run))]
    with open_scene([path], run, chosen) as scene:
        assert (scene.read(0, 32)[0] == NUMBERS[: len(run)]).all()


def test_the_names_of_several_files_count_as_well(tmp_path):
    paths = [write_raster(tmp_path / f"T_{name}.tif", NUMBERS[:1]) for name in ("B08", "B11", "B12")]
    assert "T_B08.tif: lacks red and green and blue: its bands are called T_B08, T_B11, T_B12" in refused(
        open_scene, paths, BANDS_RGB
    )


@pytest.mark.parametrize(
    ("names", "run"),
    [
        (("", "", ""), BANDS_RGB),
        (("vv", "vh", "ratio"), BANDS_RGB),  # of the file, none is known
        (("B2", "B3", "B4", "B8"), ("band1", "band2", "band3", "band4")),  # of the run
        (("nir", "nir", "nir"), BANDS_RGB),
    ],
)
def test_the_order_decides_where_names_say_nothing(tmp_path, names, run):
    with open_scene([tiff(tmp_path, names)], run) as scene:
        assert (scene.read(0, 32)[0] == NUMBERS[: len(names)]).all()


def test_elevation_from_elsewhere_completes_named_bands(tmp_path):
    path = tiff(tmp_path, ("B2", "B3", "B4", "B8"))
    dem = write_raster(tmp_path / "dem.tif", np.full((1, 32, 32), 900, np.float32))
    with open_scene([path], ("B4", "B3", "B2", "slope"), dem=(str(dem),)) as scene:
        np.testing.assert_array_equal(scene.read(0, 32)[0][:3], NUMBERS[[2, 1, 0]])


# ---------------------------------------------------------------------- one rule for scenes and patches


def taken(path, run):
    """Positions of the bands that a run takes of a GeoTIFF of NUMBERS, the same in a scene and in a patch."""
    patch = reading.read_patch(path, None)
    of_patch = bands.matching_bands(run, patch.band_names(), path, "the run")
    with open_scene([path], run) as scene:
        np.testing.assert_array_equal(scene.read(0, 32)[0], np.moveaxis(patch.image[..., of_patch], -1, 0))
    return of_patch


@pytest.mark.parametrize(
    ("names", "run", "expected"),
    [
        (("Red River B02", "Red River B03", "Red River B04"), BANDS_RGB, [2, 1, 0]),  # red is no colour here
        (("B1_Blue", "B2_Green", "B3_Red", "B4_NIR"), ("B4", "B3", "B2"), [2, 1, 0]),  # the numbers are none
        (("B1_Blue", "B2_Green", "B3_Red", "B4_NIR"), (*BANDS_RGB, "nir"), [2, 1, 0, 3]),
        (("B", "G", "R", "N"), ("B4", "B3", "B2", "B8"), [2, 1, 0, 3]),
        (("b", "g", "r"), BANDS_RGB, [2, 1, 0]),
        (("B04 red", "B8A NIR", "B08", "B05 red edge"), ("B8", "B8A", "red", "B5"), [2, 1, 0, 3]),
        (("B8_nir", "B8A_nir", "B4"), ("B8A", "B8"), [1, 0]),  # the numbers tell them apart
        (("B4", "B3", "B2", "plan_curvature"), ("plan_curvature", "B4", "B3", "B2"), [3, 0, 1, 2]),
        (("B4", "B3", "B2", "surface temperature"), ("B4", "B3", "B2", "surface_temperature"), [0, 1, 2, 3]),
        (("green_i", "green", "red", "blue"), BANDS_RGB, [2, 1, 3]),
        (("", "", ""), ("B2", "B3", "B4"), [2, 1, 0]),  # as red, green and blue
        (("vv", "vh", "ratio"), ("blue", "green", "red"), [2, 1, 0]),
    ],
)
def test_names_mean_the_same_in_scenes_and_patches(tmp_path, names, run, expected):
    assert taken(tiff(tmp_path, names), run) == expected


NUMBERED, AFTER = ("band1", "band2", "band3", "band4"), ("B04 after", "B03 after", "B02 after")


@pytest.mark.parametrize(
    ("stem", "names", "run", "expected"),
    [
        ("LE07_TOA_1", ("B1", "B2", "B3", "B4"), ("B4", "B3", "B2"), [2, 1, 0]),  # its red is B3
        ("LC08_L2SP_1", ("SR_B2", "SR_B3", "SR_B4", "SR_B5"), (*BANDS_RGB, "B8"), [2, 1, 0, 3]),
        ("a_1", AFTER[::-1], BANDS_RGB, [2, 1, 0]),
        ("a_1", AFTER[::-1], AFTER, [2, 1, 0]),
        ("a_1", ("B04 before", "B04 after", "B03 before", "B03 after"), AFTER[:2], [1, 3]),
        ("a_1", ("B2", "B3", "B4", "B8"), NUMBERED, [0, 1, 2, 3]),  # a run without names takes them in order
        ("a_1", ("B2", "B3", "B4", "x"), NUMBERED, [0, 1, 2, 3]),
    ],
)
def test_geotiff_hdf5_and_scenes_name_and_take_bands_alike(tmp_path, stem, names, run, expected):
    assert taken(tiff(tmp_path, names).rename(tmp_path / f"{stem}.tif"), run) == expected
    stored = reading.read_patch(hdf5(tmp_path, names).rename(tmp_path / f"{stem}.h5"), None)
    assert stored.band_names() == reading.read_patch(tmp_path / f"{stem}.tif", None).band_names()
    assert bands.matching_bands(run, stored.band_names(), "a", "the run") == expected


@pytest.mark.parametrize(
    ("stem", "names", "asked", "expected"),
    [
        ("a_1", ("B1_Blue", "B2_Green", "B3_Red", "B4_NIR"), ("B4", "B3", "B2"), [2, 1, 0]),
        ("LE07_1", ("SR_B1", "SR_B2", "SR_B3", "SR_B4"), ("B4", "B3", "B2"), [2, 1, 0]),
        ("LE07_1", ("B1", "B2", "B3", "B4"), ("B4", "B3", "B2"), [2, 1, 0]),
        ("a_1", ("red_river_B02", "red_river_B03", "red_river_B04"), BANDS_RGB, [2, 1, 0]),
        ("a_1", ("", "", ""), ("band3", "band2", "band1"), [2, 1, 0]),
        ("a_1", ("", "", ""), ("blue", "B3", "band1"), [2, 1, 0]),
    ],
)
def test_a_user_who_names_bands_means_the_same_in_training_and_in_a_scene(tmp_path, stem, names, asked, expected):
    path = tiff(tmp_path, names).rename(tmp_path / f"{stem}.tif")
    assert bands.band_columns(asked, reading.read_patch(path, None).band_names()) == expected
    with open_scene([path], BANDS_RGB, asked) as scene:
        assert (scene.read(0, 32)[0] == NUMBERS[expected]).all()


def test_a_run_without_names_says_that_it_takes_named_bands_in_their_order(tmp_path, capsys):
    taken(tiff(tmp_path, ("B2", "B3", "B4", "B8")), NUMBERED)
    said = (
        "note: the run knows its bands by number, so they are taken in their order: band1 B2 (band 1), band2 B3 (band"
    )
    assert said in capsys.readouterr().out
    names = ("B2", "B3", "B4", "B8")
    text = "bands are taken by their number: band1 B2, band2 B3, band3 B4, band4 B8"
    assert bands.renamed(NUMBERED, names, [0, 1, 2, 3]) == text


def test_names_of_files_have_the_word_of_a_river_in_common(tmp_path):
    paths = [write_raster(tmp_path / f"red_river_B0{i}.tif", np.full((1, 4, 5), i, np.uint16)) for i in (2, 3, 4)]
    with open_scene(paths, BANDS_RGB) as scene:
        assert scene.read(0, 4)[0][:, 0, 0].tolist() == [4, 3, 2]
    paths = [
        write_raster(path, np.full((1, 4, 5), i, np.uint16), descriptions=["red river"]) for i, path in enumerate(paths)
    ]
    with open_scene(paths, BANDS_RGB) as scene:  # a text that all have in common is no name
        assert scene.read(0, 4)[0][:, 0, 0].tolist() == [2, 1, 0]
    nameless = [write_raster(tmp_path / f"{i}.tif", np.full((1, 4, 5), i, np.uint16)) for i in (2, 3, 4)]
    with open_scene(nameless, ("B2", "B3", "B4")) as scene:  # in the model's order, as a user lists them
        assert scene.read(0, 4)[0][:, 0, 0].tolist() == [2, 3, 4]


def test_bands_without_names_are_known_by_their_number_which_is_printed(tmp_path, capsys):
    path = write_raster(tmp_path / "a_1.tif", np.concatenate([NUMBERS] * 4)[:14] + np.arange(14)[:, None, None])
    assert taken(path, ("dem", "B4", "B3", "B2")) == [13, 3, 2, 1]
    said = "14 bands without known names are taken for those of Landslide4Sense: dem band 14, B4 band 4, B3 band 3, B2"
    assert said in capsys.readouterr().out
    assert taken(path, bands.BANDS_L4S) == list(range(14))
    path = tiff(tmp_path, ("", "", ""))
    assert taken(path, BANDS_RGB) == [0, 1, 2] and not capsys.readouterr().out
    taken(path, ("blue", "red"))
    said = "note: 3 bands without known names are taken for red, green and blue: blue band 3, red band 1; --scene-bands"
    assert said in capsys.readouterr().out


def test_three_bands_without_names_lack_near_infrared_in_scenes_and_patches(tmp_path):
    path, run = tiff(tmp_path, ("", "", "")), ("B8", "B4", "B3")
    said = refused(open_scene, [path], run)
    assert f"{path}: lacks B8: its bands are taken for red, green, blue, and the run takes B8 B4 B3; name bands" in said
    assert "lacks B8 of the run" in refused(
        bands.matching_bands, run, reading.read_patch(path, None).band_names(), path, "the run"
    )
    with open_scene([path], run, ("1", "2", "3")) as scene:
        assert (scene.read(0, 32)[0] == NUMBERS[:3]).all()


def test_colours_in_an_order_of_their_own_do_not_stand_in_for_a_band_that_is_missing(tmp_path):
    path, run = tiff(tmp_path, ("", "", "", "")), (*BANDS_RGB, "nir")
    with open_scene([path], run) as scene:  # no word about any of four bands
        assert (scene.read(0, 32)[0] == NUMBERS).all()
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("blue", "green", "red", "undefined")]
    assert "lacks nir: its bands are taken for blue, green, red, band4" in refused(open_scene, [path], run)
    assert taken(path, BANDS_RGB) == [2, 1, 0]
    assert taken(path, (*BANDS_RGB, "band4")) == [2, 1, 0, 3]


@pytest.mark.parametrize("names", [("B4", "red", "B3", "B2"), ("B4", "B3", "B3", "B2")])
def test_two_bands_of_one_name_are_refused(tmp_path, names):
    path = tiff(tmp_path, names)
    assert "calls several bands B" in refused(open_scene, [path], ("B4", "B3", "B2"))
    assert "calls several bands B" in refused(reading.read_patch, path, None)
    with open_scene([path], ("B2",)) as scene:  # which is one
        assert (scene.read(0, 32)[0] == NUMBERS[3]).all()


# ---------------------------------------------------------------------- HDF5 as GeoTIFF


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["B2", "B3", "B4"], ("B2", "B3", "B4")),
        (np.array([b"B2", b"B3", b"B4"]), ("B2", "B3", "B4")),
        (["b2", "B03", "red"], ("B2", "B3", "red")),
        (["red", "green", "blue", "elevation"], ("red", "green", "blue", "dem")),
        (["B04 before", "B04 after", "slope"], ("B04 before", "B04 after", "slope")),
        (["VV", "VH", "ratio"], ("vv", "vh", "ratio")),
        (["B4_mean", "B4_deviation", "B3"], ("b4_mean", "b4_deviation", "B3")),
        (["x", "x", "x"], BANDS_RGB),  # says nothing
    ],
)
def test_names_in_hdf5_are_those_of_a_geotiff(tmp_path, names, expected):
    patch = reading.read_patch(hdf5(tmp_path, names), None)
    assert patch.band_names() == expected
    texts = [name.decode() if isinstance(name, bytes) else name for name in names]
    if "VV" not in texts:  # GeoTIFFs describe bands in any way, so that unknown words are no names
        assert reading.read_patch(tiff(tmp_path, texts), None).band_names() == expected


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["B2", "B3", "B3"], "calls several bands B3: name each once, or none of them"),
        (["B2", "B3", "b03"], "calls several bands B3"),
        (["B2", "B3 x", "B3 x"], "calls several bands b3_x"),
        (["B2 after", "B3 after", "B3 after"], "calls several bands B3 after"),
        (["B2", "B3"], r"names 2 bands (B2 B3), and 'img' holds 3"),
        ("B2,B3,B4", "states its bands as 'B2,B3,B4': write a list of names, one for each band"),
        ([2, 3, 4], "states bands that are no text: "),
    ],
)
def test_a_list_of_names_that_cannot_be_right_is_refused(tmp_path, names, words):
    assert words in refused(reading.read_patch, hdf5(tmp_path, names, count=3), None)


def test_a_folder_with_such_a_list_names_the_file(tmp_path):
    (tmp_path / "d/images").mkdir(parents=True)
    hdf5(tmp_path / "d/images", ["B2", "B3", "B3"])
    write_raster(tmp_path / "d/masks/a_1.tif", scar(1)[None])
    with pytest.raises(UserError, match="images/a_1.h5: calls several bands B3"):
        open_folder(tmp_path / "d")


def test_names_and_unit_are_read_one_without_the_other(tmp_path):
    patch = reading.read_patch(hdf5(tmp_path, ["B2", "B3", "B4"]), None)
    assert patch.stated == {"bands": ["B2", "B3", "B4"]}
    assert bands.matching_bands(("B4", "B3", "B2"), patch.band_names(), "a", "the run") == [2, 1, 0]
    assert reading.read_patch(hdf5(tmp_path, count=3, values=b"l4s"), None).stated == {"values": "l4s"}


@pytest.mark.parametrize("where", ["file", "array"])
def test_attributes_of_an_hdf5_file_and_of_its_array_count_alike(tmp_path, where):
    path, mask = hdf5(tmp_path, count=3), tmp_path / "mask_1.h5"
    stated = {"bands": ["blue", "green", "red"], "values": "l4s", "pixel_size": 3.0}
    numbers = {"scale_factor": 0.5, "add_offset": 1.0, "_FillValue": NUMBERS[0, 4, 5]}
    with h5py.File(path, "a") as file, h5py.File(mask, "w") as of_mask:
        of_mask["mask"] = np.where(scar(1), 255, 0)
        (file if where == "file" else file["img"]).attrs.update(stated | numbers)
        (of_mask if where == "file" else of_mask["mask"]).attrs["nodata"] = 255
    patch = reading.read_patch(path, mask)
    assert patch.stated == stated | {"bands": ["blue", "green", "red"], "scaled": True}
    np.testing.assert_array_equal(patch.image[~patch.gap], np.moveaxis(NUMBERS[:3], 0, -1)[~patch.gap] * 0.5 + 1)
    assert patch.gap[4, 5] and not patch.labels.undecided.any()
    assert (patch.labels.mask == np.where(scar(1) | patch.gap, 255, 0)).all()


@pytest.mark.parametrize(("values", "factor"), [(None, 10000), ("", 10000), ("l4s", 1)])
@pytest.mark.parametrize("names", [None, ["B2", "B3", "B4"]])
def test_a_scale_makes_reflectance_where_no_unit_is_stated(tmp_path, names, values, factor):
    attributes = {} if values is None else {"values": values}
    patch = reading.read_patch(hdf5(tmp_path, names, 0.001, 3, **attributes), None)
    np.testing.assert_allclose(np.moveaxis(patch.image, -1, 0), NUMBERS[:3] * 0.001 * factor, rtol=1e-6)


@pytest.mark.parametrize("names", [("B4", "B3", "B2"), ("b4", "b3", "b2"), ("B04", "B03", "B02"), BANDS_RGB])
def test_pictures_and_wavelengths_know_all_names_of_a_band(names):
    assert bands.true_colour(("nir", *names)) == [1, 2, 3]
    assert bands.optical_bands((*names[::-1], "elevation")).wavelengths.tolist() == [490, 560, 665]
    assert bands.band_columns(("red", "B3"), names[::-1]) == [2, 1]


# ---------------------------------------------------------------------- scale beside terrain


@pytest.mark.parametrize("name", ["slope", "dem", "elevation"])
def test_the_scale_of_terrain_makes_degrees_or_metres_in_scenes_and_patches(tmp_path, name):
    names = ("B4", "B3", "B2", name)
    path = tiff(tmp_path, names, scales=(1e-4, 1e-4, 1e-4, 1e-3))
    with open_scene([path], names) as scene:
        values, _ = scene.read(0, 32)
        assert scene.source.reflectance
    np.testing.assert_allclose(values, np.moveaxis(reading.read_patch(path, None).image, -1, 0), rtol=1e-6)
    np.testing.assert_allclose(values[3], NUMBERS[3] * 1e-3, rtol=1e-6)


@pytest.mark.parametrize("names", [("B4", "B3", "B2"), ("B4", "B3", "B2", "dem")])
def test_terrain_beside_light_does_not_change_how_light_is_scaled(tmp_path, capsys, names):
    path = tiff(tmp_path, names, scales=(1e-4, 1e-4, 1e-4, 1.0)[: len(names)])
    with open_scene([path], names) as scene:
        used = preparation.apply_scaling(scene, source.SceneInput((path,)), names, "display", scene.sample()[0])
    assert used.scaling == "l4s"
    assert "the scale and offset that the files state are applied: 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "red"),
    [
        (("B1", "B2", "B3", "B4", "B5", "B6_VCID_1", "B6_VCID_2", "B7", "B8"), 2),  # Landsat 7
        (("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B11"), 3),  # Landsat 8
        (("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"), 3),  # Sentinel-2
    ],
)
def test_numbers_of_landsat_at_the_top_of_the_atmosphere_are_its_own(tmp_path, names, red):
    numbers = np.arange(1, 1 + len(names), dtype=np.uint16)[:, None, None].repeat(32, 1).repeat(32, 2)
    path = write_raster(tmp_path / "a_1.tif", numbers, descriptions=names)
    nir = {9: 3, 11: 4, 13: 7}[len(names)]
    assert taken(path, (*BANDS_RGB, "B8")) == [red, red - 1, red - 2, nir]


def test_colours_of_three_bands_may_be_infrared(tmp_path):
    """As GDAL 3.10 stores them; three bands without a name are red, green and blue otherwise."""
    path = write_raster(tmp_path / "a_1.tif", NUMBERS[:3].astype(np.uint16))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.nir, ColorInterp.red, ColorInterp.green]
    assert reading.read_patch(path, None).band_names() == ("nir", "red", "green")
    assert "lacks blue" in refused(open_scene, [path], BANDS_RGB)
    assert taken(path, ("red", "nir")) == [1, 0]


def test_a_band_of_opacity_is_no_near_infrared(tmp_path):
    image = np.full((4, 32, 32), 90, np.uint8)
    image[3] = np.where(np.arange(32) < 9, 0, 255)
    path = write_raster(tmp_path / "a_1.tif", image, photometric="RGB", alpha="YES")
    run = (*BANDS_RGB, "nir")
    assert reading.read_patch(path, None).image.shape[2] == 3
    assert "its last band is one of opacity, and no band4" in refused(open_scene, [path], NUMBERED)
    assert "its last band is one of opacity, and no nir: see --scene-bands" in refused(open_scene, [path], run)
    names = reading.read_patch(path, None).band_names()
    assert "lacks nir" in refused(bands.matching_bands, run, names, path, "the run")


def test_few_labels_takes_bands_by_name(tmp_path):
    """Its folders are written with the names of the bands that were asked for."""
    (tmp_path / "d/images").mkdir(parents=True)
    hdf5(tmp_path / "d/images", ["blue", "green", "red"])
    write_raster(tmp_path / "d/masks/a_1.tif", scar(1)[None])
    few_labels.write(tmp_path / "out", open_folder(tmp_path / "d"), {"train": [0]})
    with h5py.File(tmp_path / "out/images/train/image_1.h5") as file:
        assert list(file.attrs["bands"]) == ["red", "green", "blue"]
        np.testing.assert_array_equal(file["img"], np.moveaxis(NUMBERS[[2, 1, 0]], 0, -1).astype(np.uint8))
