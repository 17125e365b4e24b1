"""Tiles: they cover the scene, overlap, are mirrored at its edges, and leave no trace in a map."""

from types import SimpleNamespace

import numpy as np
import pytest

from networks import model_files, tiles
from scenes import mapping, pipeline, tiling
from tests.maps import TILE, make_bands, read
from tests.rasters import open_scene, write_raster


@pytest.mark.parametrize("overlap", [0, 1, 7, 16])
@pytest.mark.parametrize("size", [(1, 1), (20, 33), (32, 64), (95, 130)])
def test_tiles_cover_every_pixel_and_weights_are_above_zero(overlap, size):
    grid = tiles.TileGrid(*size, (32, 32), overlap)
    total = np.zeros(size)
    for top in grid.tops:
        for left in grid.lefts:
            rows, columns = np.arange(top, top + 32), np.arange(left, left + 32)
            down, right = (rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1])
            total[np.ix_(rows[down], columns[right])] += grid.weights[np.ix_(down, right)]
    assert total.min() > 0.24  # no pixel hangs on the mere corner of a tile
    assert total == pytest.approx(np.outer(*grid.weight_sums), abs=1e-5)
    assert total[overlap:-overlap, overlap:-overlap] == pytest.approx(1) if min(size) > 64 and overlap else True


@pytest.mark.parametrize("size", [2, 5, 40])
def test_mirroring_is_numpys_reflection(size):
    expected = np.pad(np.arange(size), (13, 29), mode="reflect")
    assert tiles.mirrored_indices(-13, size + 29, size).tolist() == expected.tolist()
    assert set(tiles.mirrored_indices(-3, 4, 1)) == {0}


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(115, 32, [32, 32, 32, 24]), (64, 32, [32, 32]), (1, 32, [8]), (5, 2, [2, 2, 1]), (3, 1, [1, 1, 1])],
)
def test_batches_keep_order_and_have_few_sizes(count, size, sizes):
    cut = list(tiles.batches(list(range(count)), size))
    assert [item for batch, _ in cut for item in batch] == list(range(count))
    assert [size for _, size in cut] == sizes
    assert all(len(batch) <= size for batch, size in cut)


def test_strips_fill_two_batches_and_hold_each_row_of_tiles_once():
    """Low strips are higher than two batches need, because neighbours read rows twice."""
    grid = tiles.TileGrid(1152, 2048, (128, 128), 64)
    assert grid.strips == [[top] for top in grid.tops]
    for batch_size, rows in ((32, 7), (160, 10)):
        strips = grid.filling(batch_size).strips
        assert [top for strip in strips for top in strip] == grid.tops
        assert {len(strip) for strip in strips[:-1]} == {rows}
        assert strips[0][-1] + 128 - strips[0][0] >= 512 and rows * len(grid.lefts) >= 2 * batch_size
    assert (rows - 1) * len(grid.lefts) < 2 * batch_size


@pytest.mark.parametrize("shape", [(1, 40), (70, 83), (300, 200), (1000, 1024)])
@pytest.mark.parametrize("overlap", [0, 8, 64])
def test_tiles_are_as_large_as_the_scene_needs(shape, overlap):
    grid = tiles.TileGrid.of(shape, 128, overlap, 32)
    fewest = tiles.TileGrid(*shape, (128, 128), grid.overlap)
    assert all(side % 32 == 0 and 32 <= side <= 128 for side in grid.tile)
    assert (len(grid.tops), len(grid.lefts)) <= (len(fewest.tops), len(fewest.lefts))
    assert (np.outer(*grid.weight_sums) > 0).all(), "every pixel is covered"


@pytest.mark.parametrize("fixed", [{"MODEL": "segformer"}, {"FUSION": "attention"}])
def test_tiles_have_the_size_of_the_patches_unless_another_is_asked_for(fixed):
    """A network of fixed size takes no other; the record of an ensemble has the member that allows fewest sizes."""
    free = {"MODEL": "unet", "FUSION": "stack", "ENCODER": None, "DEPTH": 3}
    for constants, tile, side in ((free, 512, 512), (free | fixed, 512, 64), (free, None, 64)):
        settings = SimpleNamespace(tile=tile, overlap=48, batch_size=4)
        run = SimpleNamespace(constants=constants, config={"input_shape": (64, 64, 3)})
        grid, _ = mapping.lay_tiles(run, (900, 1024), settings)
        assert max(grid.tile) <= side and min(grid.tile) % 8 == 0
        assert side != 64 or tuple(grid.tile) == (64, 64)


# ---------------------------------------------------------------------- what a network gives for tiles


@pytest.mark.usefixtures("unet")
def test_large_tiles_give_the_map_of_small_ones(call, workdir):
    """Within what the edges of small tiles change; away from the edges of both, patch by patch, it is the same."""
    write_raster(workdir / "scene.tif", make_bands(300, 200))
    for side in (32, 128):
        call("scene.tif", RUN="unet", TILE=side, OVERLAP=16, PROBABILITY_TYPE="float32", OUT_DIR=f"maps{side}")
    small, large = (read(f"maps{side}/scene_probability.tif") for side in (32, 128))
    assert large.std() > 0.02 and np.abs(small - large).mean() < 0.01
    model = model_files.load_model(workdir / "results" / "unet")
    image = np.random.default_rng(0).normal(1, 0.3, (1, 96, 64, 3)).astype(np.float32)
    whole = tiles.probabilities(model_files.resized(model, (96, 64)), image)[0]
    part = tiles.probabilities(model, image[:, 32:64, 16:48])[0]
    assert whole[32:64, 16:48][14:18, 14:18] == pytest.approx(part[14:18, 14:18], abs=0.01)


@pytest.mark.usefixtures("unet")
def test_the_tile_grid_leaves_no_trace(workdir):
    """Shifted by half a tile, the map of a network that sees tile edges stays the same within 0.01."""
    bands = make_bands(100, 150)
    path = write_raster(workdir / "scene.tif", bands)
    opened = predict_source(path)
    model = model_files.load_model(workdir / "results" / "unet")
    maps = []
    for shift in (0, TILE // 2):
        grid = tiles.TileGrid(100, 150, (TILE, TILE), 8, shift).filling(8)
        job = pipeline.Job("results/unet", opened.source, grid, (1.0,) * 3, 8)
        overlap_add = tiling.OverlapAdd(grid)
        maps.append(
            np.concatenate([overlap_add.add(strip)[1] for (strip,) in pipeline.local_strips([job], [opened], model)])
        )
    assert maps[0].shape == (100, 150) and maps[0].std() > 0.02
    assert np.abs(maps[0] - maps[1]).mean() < 0.01
    alone = tiles.probabilities(model, np.moveaxis(bands, 0, -1)[None, 30:62, 50:82])[0]
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(alone - maps[0][30:62, 50:82])[inner].mean() < 0.01


def predict_source(path):
    return open_scene([path], ("red", "green", "blue"))


@pytest.mark.usefixtures("unet")
def test_flips_and_turns_are_averaged(workdir):
    model = model_files.load_model(workdir / "results" / "unet")
    image = np.moveaxis(make_bands(TILE, TILE), 0, -1)
    expected = np.zeros((TILE, TILE))
    for turn in range(4):
        for flip in (np.asarray, np.flipud):
            p = tiles.probabilities(model, flip(np.rot90(image, turn))[None])[0]
            expected += np.rot90(flip(p), -turn) / 8
    assert tiles.probabilities(model, image[None], tta=True)[0] == pytest.approx(expected, abs=1e-5)
    assert np.abs(expected - tiles.probabilities(model, image[None])[0]).max() > 0.01


@pytest.mark.usefixtures("unet")
def test_gaps_do_not_bleed_and_empty_tiles_cost_nothing(workdir, monkeypatch):
    """Values under nodata have no say in the map, and tiles without data are not predicted."""
    model = model_files.load_model(workdir / "results" / "unet")
    maps, seen = [], []
    real = tiles.probabilities
    monkeypatch.setattr(tiles, "probabilities", lambda m, images, tta: seen.append(len(images)) or real(m, images, tta))
    for filling in (-1.0, -1e6):
        bands = make_bands(96, 96)
        bands[:, :64], bands[:, 64:, 80:] = filling, filling
        opened = predict_source(write_raster(workdir / "scene.tif", bands, nodata=filling))
        grid = tiles.TileGrid(96, 96, (TILE, TILE), 0)
        job = pipeline.Job("results/unet", opened.source, grid, (1.0,) * 3, 4)  # no batch of up to 4 is filled up
        overlap_add = tiling.OverlapAdd(grid)
        added = [overlap_add.add(strip) for (strip,) in pipeline.local_strips([job], [opened], model)]
        valid = np.concatenate([part[2] for part in added])
        assert valid.sum() == 32 * 80
        maps.append(np.concatenate([part[1] for part in added])[valid])
    assert np.array_equal(*maps)
    assert sum(seen) == 2 * 3  # of nine tiles
