"""What a page knows of a grid, compared with pyproj."""

import json

import numpy as np
import pyproj
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import from_origin

from scenes.page_grid import page_grid
from scenes.pixel_grid import PixelGrid

TURNED = Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.scale(2, -2)
GRIDS = {
    "a whole tile": PixelGrid((10980, 10980), from_origin(399960, 5100000, 10, 10), CRS.from_epsg(32632)),
    "far north": PixelGrid((10980, 10980), from_origin(399960, 8900000, 10, 10), CRS.from_epsg(32633)),
    "across 180 degrees": PixelGrid((500, 900), from_origin(830000, 8100000, 10, 10), CRS.from_epsg(32760)),
    "degrees": PixelGrid((300, 200), from_origin(13, 60.2, 2e-4, 1e-4), CRS.from_epsg(4326)),
    "turned": PixelGrid((300, 200), TURNED, CRS.from_epsg(32632)),
}


def between(lattice, column, row, grid):
    """The position that the page computes, as report.js does: bilinear."""
    size = lattice["size"]
    x, y = column / grid.width * (size - 1), row / grid.height * (size - 1)
    j, i = np.minimum(x.astype(int), size - 2), np.minimum(y.astype(int), size - 2)
    u, v = x - j, y - i
    for name in ("lon", "lat"):
        values = np.reshape(lattice[name], (size, size))
        upper = (1 - u) * values[i, j] + u * values[i, j + 1]
        yield (1 - v) * upper + v * ((1 - u) * values[i + 1, j] + u * values[i + 1, j + 1])


@pytest.mark.parametrize("name", GRIDS)
def test_longitudes_and_latitudes_are_right_to_a_tenth_of_a_pixel(name):
    grid = GRIDS[name]
    lattice = json.loads(json.dumps(page_grid(grid)))["lattice"]
    rng = np.random.default_rng(0)
    column, row = rng.uniform(0, grid.width, 500), rng.uniform(0, grid.height, 500)
    lon, lat = between(lattice, column, row, grid)
    transformer = pyproj.Transformer.from_crs(grid.crs.to_wkt(), 4326, always_xy=True)
    expected = transformer.transform(*(grid.transform @ (column, row)))
    off = pyproj.Geod(ellps="WGS84").inv(lon, lat, *expected)[2]
    assert off.max() < 0.1 * grid.metres
    assert np.ptp(lattice["lon"]) < 90, "longitudes do not jump at 180 degrees"


def test_north_proportions_and_names():
    described = {name: page_grid(grid) for name, grid in GRIDS.items()}
    assert described["degrees"]["aspect"] == pytest.approx(2 * np.cos(np.radians(60.185)), rel=0.01)
    assert described["degrees"]["north"] == pytest.approx(0, abs=1e-6) and described["degrees"]["crs"] == "EPSG:4326"
    assert described["turned"]["north"] == pytest.approx(30, abs=0.05) and described["turned"]["metres"][0] < 2.1
    assert described["turned"]["aspect"] == pytest.approx(1)
    middle = GRIDS["a whole tile"].lon_lat(5490, 5490)
    convergence = pyproj.Proj("EPSG:32632").get_factors(*middle).meridian_convergence
    assert described["a whole tile"]["north"] == pytest.approx(-convergence, abs=0.01)
    plain = page_grid(PixelGrid((30, 40), Affine.identity(), None))
    assert plain["crs"] is plain["north"] is plain["lattice"] is None and plain["metres"] == [1, 1]
