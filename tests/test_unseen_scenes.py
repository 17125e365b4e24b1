"""experiments/unseen_scenes.py as a user calls it: scenes with known landslides, mapped and compared."""

import pytest
import shapely
from rasterio.features import shapes

from tests.maps import make_bands, sigmoid
from tests.rasters import grid_of, write_raster, write_shapes
from tests.running import assert_user_error, rows, run_script


@pytest.mark.slow
def test_maps_of_scenes_are_compared_at_every_smallest_area(workdir):
    bands = make_bands()
    scene = write_raster(workdir / "scenes/north_scene.tif", bands)
    grid, truth = grid_of(scene), sigmoid(bands[0]) >= 0.7
    outlines = [shapely.geometry.shape(each) for each, _ in shapes(truth.astype("uint8"), truth, 8, grid.transform)]
    write_shapes(workdir / "scenes/north_landslides.gpkg", *outlines)
    write_shapes(workdir / "scenes/north_area.gpkg", grid.box())
    flags = "--scenes-dir scenes --run pixel --min-areas 0 1000 --out table.csv".split()
    result = run_script("experiments/unseen_scenes.py", *flags, cwd=workdir)
    assert result.returncode == 0, result.stderr
    every, large = rows(workdir / "table.csv")
    assert (every["event"], every["dice"], every["false_per_100_km2"]) == ("north", "1.0", "0.0")
    assert every["area_ratio"] == "1.0" and every["detected"] == "1.0"
    assert int(every["polygons"]) > int(large["polygons"])
    assert float(large["dice"]) < 1 and float(large["area_ratio"]) < 1
    again = run_script("experiments/unseen_scenes.py", *flags, cwd=workdir)
    assert again.returncode == 0 and rows(workdir / "table.csv") == [every, large]
    (workdir / "empty").mkdir()
    result = run_script("experiments/unseen_scenes.py", "--scenes-dir", "empty", "--run", "pixel", cwd=workdir)
    assert_user_error(result, "empty holds no EVENT_scene.tif")
