"""Patches that are GeoTIFFs: masks that lie elsewhere than their images, and tiles that overlap."""

import numpy as np
import pytest
from affine import Affine

from patches import ground, reading
from tests.patch_files import open_folder, scar
from tests.rasters import GRID, write_raster
from training import run_record

IMAGE = np.random.default_rng(0).integers(20, 200, (3, 32, 32)).astype(np.uint8)
SOUTH_UP = GRID @ Affine.translation(0, 32) @ Affine.scale(1, -1)


@pytest.mark.parametrize(
    ("transform", "crs", "fault"),
    [
        (GRID, "EPSG:32651", ""),
        (GRID @ Affine.translation(0.5, 0.5), "EPSG:32651", ""),  # of programs to which a place is that of a middle
        (GRID @ Affine.translation(32, 0), "EPSG:32651", "lies elsewhere than its image tile_1.tif, by 32 pixels"),
        (SOUTH_UP, "EPSG:32651", "runs in other directions on the ground than its image tile_1.tif .south up"),
        (GRID @ Affine.translation(32, 0), None, ""),
    ],
)
def test_a_mask_lies_on_its_image(tmp_path, transform, crs, fault):
    image = write_raster(tmp_path / "images" / "tile_1.tif", IMAGE)
    mask = write_raster(tmp_path / "masks" / "tile_1.tif", scar(1)[None], transform, crs)
    if not fault:
        assert reading.read_patch(image, mask).labels is not None
        return
    with pytest.raises(reading.Fault, match=fault) as raised:
        reading.read_patch(image, mask)
    assert raised.value.path == mask


@pytest.mark.parametrize(("step", "pairs"), [(32, 0), (16, 5)])
def test_tiles_that_overlap_are_counted(tmp_path, capsys, step, pairs):
    for number in range(6):
        place = GRID @ Affine.translation(step * number, 0)
        write_raster(tmp_path / "d" / "images" / f"tile_{number}.tif", np.roll(IMAGE, number, 2), place)
        write_raster(tmp_path / "d" / "masks" / f"tile_{number}.tif", scar(number)[None], place)
    patches = open_folder(tmp_path / "d")
    assigned = np.array(["train", "test", "train", "validation", "train", "test"])
    counts = ground.overlaps(patches, assigned)
    assert sum(each[1] for each in counts.values()) == pairs
    run_record.warn_of_overlaps(patches, assigned)
    out = capsys.readouterr().out
    assert ("2 test patches overlap training patches on the ground (3 pairs)" in out) == bool(pairs)
    assert ("1 validation patches overlap" in out) == bool(pairs)
