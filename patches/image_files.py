"""Pictures as patches: PNG, TIFF, JPEG and WebP, with their palettes, alpha bands and tags applied."""

import contextlib
import warnings

import numpy as np

from bands import band_names
from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER, UNLABELLED, is_tagged
from patches.band_labels import SameNames, stated_bands
from patches.picture_damage import damage
from patches.scale_tags import is_fill, light, scaled, without_data

MASK_VALUES = (OTHER, LANDSLIDE, EXCLUDED, HIDDEN, UNLABELLED)


class NotAPicture(Exception):
    """A file that is not a picture, or that cannot be a patch or a mask; the text gives the reason."""


def read(path, bands=0):
    """Read a picture with the values of its file, palettes expanded, scale and offset tags applied.

    An alpha band is not a band of the image: pixels where it is 0 hold no data. GDAL takes the fourth band of any 8-bit
    TIFF for alpha. It counts as alpha only if `is_alpha` and if it is not one of the needed bands.

    Args:
        path: of the file.
        bands: number of bands that are needed; 0: unknown.

    Returns:
        (image height x width x bands, gap height x width bool: pixels without data, stated: see reading.Patch).

    Raises:
        NotAPicture: it is damaged, or GDAL cannot read it.
    """
    with opened(path) as file:
        stored = np.moveaxis(file.read(), 0, -1)
        (image, alpha), gap = _colours(file, stored), _lacking(file, stored)
        needed = file.driver == "GTiff" and alpha is not None and bands == image.shape[2] + 1
        if alpha is not None and (needed or not is_alpha(file.driver, alpha)):
            image = np.concatenate([image, alpha[..., None]], -1)
            if file.nodata is not None:
                gap = without_data(np.stack([gap, alpha == file.nodata], -1), image.dtype)
        elif alpha is not None:
            gap |= alpha == 0
        gap |= holds_fill(image)
        if image.dtype.kind == "f":
            gap |= np.isnan(image).any(-1)
        if _has_palette(file):
            return image, gap, {}
        count = image.shape[2]
        try:
            names = stated_bands(file, count)
        except SameNames as fault:
            raise NotAPicture(str(fault)) from None
        result = scaled(image, file.scales[:count], file.offsets[:count], light(names or band_names(count)))
        stated = {"bands": list(names)} if names else {}
        return result, gap, stated if result is image else stated | {"scaled": True}


def is_alpha(driver, band):
    """Return whether a band that GDAL takes for alpha is one, by its values or GDAL's name of the format.

    PNG and WebP have such a band only for that. In other formats it may be any band, such as near infrared, unless it
    holds nothing but 0 and the largest number of its type, as GDAL's warper writes it, or 255; of floats, also 1.
    """
    opaque = {255, np.iinfo(band.dtype).max if band.dtype.kind in "iu" else 1}
    return driver in ("PNG", "WEBP") or any(bool(np.isin(band, (0, most)).all()) for most in opaque)


def holds_fill(image):
    """Return where any band of an image, height x width x bands, holds a usual number of no data."""
    hits = is_fill(image)
    return np.zeros(image.shape[:2], bool) if hits is None else hits.any(-1)


def read_mask(path):
    """Read the values of a mask, for `mask_values.as_labels`.

    In palettes and colours, black is 0, and the only other colour is landslide, 1; but the indices of a TIFF are values
    if they are those of a mask, because its palette is how a GIS draws them. In a PNG or WebP of one colour that is not
    black, with transparent parts, the opaque parts are landslide, because programs draw so. In a TIFF, what is
    transparent is not labelled, as what an internal mask hides.

    Returns:
        (values height x width, in the type of the file; unlabelled, bool: by its tag, internal mask or alpha band;
        whether the format is lossy).

    Raises:
        NotAPicture: GDAL cannot read it, or it has several colours, or bands that are no colours.
    """
    with opened(path) as file:
        stored, lossy = np.moveaxis(file.read(), 0, -1), is_lossy(file)
        palette, is_tiff = _has_palette(file), file.driver == "GTiff"
        colours, alpha = _colours(file, stored)
        unlabelled = is_tagged(stored[..., : stored.shape[-1] - has_alpha(file)], file.nodata).all(-1)
        if "per_dataset" in [flag.name for flag in file.mask_flag_enums[0]] and not has_alpha(file):
            unlabelled |= file.read_masks(1) == 0
    if palette and is_tiff and (unlabelled | np.isin(stored[..., 0], MASK_VALUES)).all():
        return stored[..., 0], unlabelled, lossy
    if colours.shape[-1] not in (1, 3):
        raise NotAPicture(f"has {stored.shape[-1]} bands: a mask has one")
    if alpha is not None and not is_tiff and (colours == colours[:1, :1]).all() and colours.any() and np.ptp(alpha):
        return (alpha > 127).astype(np.uint8), unlabelled, False
    if alpha is not None:
        unlabelled |= alpha == 0
    values = colours[..., 0]
    one_grey = np.broadcast_to(values[..., None], colours.shape)
    if palette or not np.array_equal(colours, one_grey, equal_nan=colours.dtype.kind == "f"):
        different = np.unique(colours[~unlabelled], axis=0)
        if lossy or different.any(1).sum() > 1:
            raise NotAPicture("is coloured, not a mask of 0 and 1 or 0 and 255")
        return colours.any(-1).astype(np.uint8), unlabelled, False
    return values, unlabelled, lossy


def is_lossy(file):
    """Return whether the format of an open raster changes values, as JPEG does, by what it states of itself."""
    stated = file.tags(ns="IMAGE_STRUCTURE")
    jpeg = file.driver == "JPEG" or stated.get("COMPRESSION", "").endswith("JPEG")
    return jpeg or stated.get("COMPRESSION_REVERSIBILITY") == "LOSSY"


def has_alpha(file):
    """Return whether GDAL takes the last band of an open raster for alpha."""
    return file.count > 1 and file.colorinterp[-1].name == "alpha"


def _has_palette(file):
    """Return whether a raster holds indices of a palette."""
    return file.colorinterp[0].name == "palette"


def _colours(file, stored):
    """Return (bands or colours H x W x bands, alpha H x W or None) of what an open raster holds, H x W x its bands."""
    if _has_palette(file):
        colours = np.zeros((256, 4), np.uint8)
        for index, entry in file.colormap(1).items():
            colours[index] = entry
        values = colours[stored[..., 0]]
        return values[..., :3], values[..., 3] if (values[..., 3] < 255).any() else None
    return (stored[..., :-1], stored[..., -1]) if has_alpha(file) else (stored, None)


def _lacking(file, stored):
    """Return where an open raster has no data by its tag or internal mask, H x W bool. stored: see `_colours`."""
    count = stored.shape[-1] - has_alpha(file)
    flags = [[flag.name for flag in each] for each in file.mask_flag_enums]
    lacking = np.zeros(stored.shape[:2], bool)
    if has_alpha(file) or any("per_dataset" in each for each in flags):  # GDAL's masks know one of them, or the tag
        if file.nodata is not None:
            lacking |= without_data(stored[..., :count] == file.nodata, stored.dtype)
        if has_alpha(file):
            return lacking
    if any(each != ["all_valid"] for each in flags):
        lacking |= without_data(np.moveaxis(file.read_masks(), 0, -1) == 0, stored.dtype)
    return lacking


def size(path):
    """Read (height, width) of a picture that is known to be readable."""
    with opened(path) as file:
        return file.shape


@contextlib.contextmanager
def opened(path):
    """Open a picture with rasterio, without its warning that the picture is not georeferenced."""
    import rasterio

    if found := damage(path):
        raise NotAPicture(f"{found}: fetch or write it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        try:
            with rasterio.open(path) as file:
                yield file
        except rasterio.errors.RasterioError:
            raise NotAPicture("is cut short or not a picture: fetch or write it again") from None
