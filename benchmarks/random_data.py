"""Random patches and scenes for benchmarks of speed."""

import h5py
import numpy as np


def write_patches(folder, count):
    """Write random patches in the format of Landslide4Sense: images/image_N.h5 and masks/mask_N.h5, N from 1."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number in range(1, count + 1):
        with h5py.File(folder / "images" / f"image_{number}.h5", "w") as file:
            file["img"] = rng.normal(1, 0.5, (128, 128, 14))
        with h5py.File(folder / "masks" / f"mask_{number}.h5", "w") as file:
            file["mask"] = (rng.random((128, 128)) < 0.02).astype(np.uint8)


def make_batch(size, bands=14):
    """Make a batch of random patches: images size x 128 x 128 x bands and masks size x 128 x 128 x 1, both float32."""
    rng = np.random.default_rng(0)
    images = rng.normal(1, 0.3, (size, 128, 128, bands)).astype(np.float32)
    return images, (rng.random((size, 128, 128, 1)) < 0.02).astype(np.float32)


def write_scene(path, height, width):
    """Write a 14-band GeoTIFF of random digital numbers, one row of blocks at a time."""
    import rasterio

    rng = np.random.default_rng(0)
    profile = {"height": height, "width": width, "count": 14, "dtype": "uint16", "crs": "EPSG:32651"}
    transform = rasterio.transform.from_origin(300000, 1500000, 10, 10)
    with rasterio.open(path, "w", transform=transform, tiled=True, compress="deflate", zlevel=1, **profile) as file:
        for top in range(0, height, 256):
            rows = min(256, height - top)
            file.write(rng.integers(1, 4, (14, rows, width)).astype(np.uint16), window=((top, top + rows), (0, width)))
