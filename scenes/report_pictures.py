"""The pictures of a report, each in a data address: the scene, its probabilities, what is not judged, sizes."""

import base64
import io

import numpy as np
import rasterio
from matplotlib.figure import Figure
from PIL import Image

from mask_values import EXCLUDED, HIDDEN
from scenes.pixel_grid import PICTURE, reduced_shape
from scenes.quick_look import as_seen
from scenes.styles import MASK_CLASSES, PROBABILITY_RAMP

HATCH_PERIOD = 12  # pixels of a picture between lines over ground that was not seen


def picture(scene, bands, codes):
    """Draw a scene as a JPEG. bands: indices of red, green and blue. codes: its mask, reduced as it is."""
    image, valid, _ = scene.thumbnail(bands)
    colours = as_seen(image, valid, codes)
    return encoded(Image.fromarray(np.rint(255 * np.clip(colours, 0, 1)).astype(np.uint8)), "jpeg", quality=80)


def reduced(path, resampling):
    """Read a raster of a map, reduced as its scene is; return (H x W, masked where it has no data; its data type)."""
    with rasterio.open(path) as file:
        shape, _ = reduced_shape(file.shape)
        return file.read(1, out_shape=shape, masked=True, resampling=resampling), file.dtypes[0]


def probability(values, dtype):
    """Draw probabilities as a PNG with the colours of their style.

    values: H x W, masked where there is none. dtype: of their file, "uint8" for percent.
    """
    probabilities = np.clip(values.filled(0).astype(np.float32) / (100 if dtype == "uint8" else 1), 0, 1)
    stops, colours = zip(*PROBABILITY_RAMP, strict=True)
    levels = np.linspace(0, 1, 64)
    palette = np.stack([np.interp(levels, stops, channel) for channel in zip(*colours, strict=True)], 1)
    index = np.where(np.ma.getmaskarray(values), 0, np.rint(probabilities * 63)).astype(np.uint8)
    return encoded(paletted(index, palette), "png")


def cover(codes):
    """Draw the ground that is hidden or excluded as a PNG: both in their colours, hidden ground with lines over it.

    codes: the mask, reduced. Pictures of few pixels are enlarged, because the lines are of one pixel.
    """
    enlarged = max(1, PICTURE // 2 // max(codes.shape))
    index = np.select([codes == HIDDEN, codes == EXCLUDED], [1, 2], 0).astype(np.uint8)
    index = index.repeat(enlarged, 0).repeat(enlarged, 1)
    rows, columns = np.indices(index.shape, sparse=True)
    index[(index == 1) & ((rows + columns) % HATCH_PERIOD == 0)] = 3
    palette = np.array([(0,) * 4, *(MASK_CLASSES[code][1] for code in (HIDDEN, EXCLUDED)), (0, 0, 0, 255)], float)
    return encoded(paletted(index, palette), "png")


def paletted(index, palette):
    """Return a picture of palette indices (H x W uint8) with colours (n x 4: red, green, blue, opacity)."""
    image = Image.fromarray(index, "P")
    image.putpalette(np.rint(palette[:, :3]).astype(np.uint8).tobytes(), "RGB")
    image.info["transparency"] = bytes(np.rint(palette[:, 3]).astype(np.uint8).tolist())
    return image


def encoded(image, file_format, **options):
    """Return a picture as a data address. file_format: "jpeg" or "png"."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return data_address(file, file_format)


def data_address(file, file_format):
    """Return the content of a file in memory as a data address."""
    return f"data:image/{file_format};base64,{base64.b64encode(file.getvalue()).decode()}"


def sizes(areas, unit):
    """Draw the density of the areas of polygons, on logarithmic axes, as a PNG.

    Returns "" for fewer than ten polygons, and if all have the same area.
    """
    areas = areas[areas > 0]
    if len(areas) < 10 or areas.min() == areas.max():
        return ""
    edges = np.geomspace(areas.min(), areas.max() * 1.0001, max(5, min(25, round(np.sqrt(len(areas))))))
    counts, _ = np.histogram(areas, edges)
    density = counts / np.diff(edges) / len(areas)
    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=90)
    axis = figure.add_subplot()
    axis.loglog(np.sqrt(edges[1:] * edges[:-1])[counts > 0], density[counts > 0], "o-", color="#b2182b", markersize=4)
    axis.set(xlabel=f"area, {unit}", ylabel=f"share of polygons per {unit}")
    axis.grid(alpha=0.3)
    file = io.BytesIO()
    figure.savefig(file, metadata={"Software": None})
    return data_address(file, "png")
