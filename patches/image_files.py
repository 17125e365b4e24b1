"""Pictures as patches: PNG, TIFF, JPEG and WebP, with their palettes, alpha bands and tags applied."""

import contextlib
import warnings

import numpy as np

from bands import BANDS_RGB, band_names, light
from mask_values import equals
from patches.band_labels import SameNames, stated_bands
from patches.picture_damage import damage, turned
from patches.scale_tags import SCALED_MASK, colour_fault, is_fill, scaled, stated_scales, without_data
from patches.stated_words import is_lossy, words_of_bands

LOSSY_OPAQUE = 223  # of 255; JPEG at quality 50 leaves more than LOSSY_SHARE of an alpha band within 32 of 0 and 255
LOSSY_SHARE = 0.98


class NotAPicture(Exception):
    """A file that is not a picture, or that cannot be a patch or a mask; the text gives the reason."""


def read(path):
    """Read a picture with the values of its file, palettes expanded, scale and offset tags applied.

    An alpha band is not a band of the image: pixels where it is 0 hold no data. GDAL takes the fourth band of any 8-bit
    TIFF for alpha. It counts as alpha only if `is_alpha`.

    Returns:
        (image height x width x bands, gap height x width bool: pixels without data, stated: see reading.Patch).

    Raises:
        NotAPicture: it is damaged, or GDAL cannot read it.
    """
    with opened(path) as file:
        stored = np.moveaxis(file.read(), 0, -1)
        image, alpha = _colours(file, stored)
        if _has_palette(file):
            return image, _lacking(file, stored, alpha), {}
        if alpha is not None and not is_alpha(file, alpha, lambda: image):
            image, alpha = stored, None
        gap = _lacking(file, image, alpha) | holds_fill(image)
        if image.dtype.kind == "f":
            gap |= np.isnan(image).any(-1)
        count = image.shape[2]
        try:
            names = stated_bands(file, count)
        except SameNames as fault:
            raise NotAPicture(str(fault)) from None
        called = names or band_names(count)
        units = [words.unit for words in words_of_bands(file)][:count]
        tags = stated_scales(called, file.scales[:count], file.offsets[:count], units)
        result = scaled(image, *tags, light(called))
        stated = {"bands": list(names)} if names else {}
        return result, gap, stated if result is image else stated | {"scaled": True}


def is_alpha(file, band, others):
    """Return whether the band of an open raster that GDAL takes for alpha is one, by its values.

    PNG and WebP have such a band only for that. In other formats it may be any band, such as near infrared, unless it
    holds nothing but 0 and the largest number of its type, as GDAL's warper writes it, or 255; of floats, also 1. Lossy
    formats change these numbers beside the edge of what is hidden. A band that is 0 all over is near infrared over
    water, unless the others hold one number alone: programs write tiles without data so.

    others: function that reads the other bands.
    """
    if file.driver in ("PNG", "WEBP"):
        return True
    if not band.any():
        return np.ptp(others()) == 0
    opaque = {255, np.iinfo(band.dtype).max if band.dtype.kind in "iu" else 1}
    if any(bool(np.isin(band, (0, most)).all()) for most in opaque):
        return True
    seen = band > LOSSY_OPAQUE
    return is_lossy(file) and bool(seen.any() and (seen | (band < 255 - LOSSY_OPAQUE)).mean() > LOSSY_SHARE)


def holds_fill(image):
    """Return where any band of an image, height x width x bands, holds a usual number of no data."""
    hits = is_fill(image)
    return np.zeros(image.shape[:2], bool) if hits is None else hits.any(-1)


def read_mask(path):
    """Read the values of a mask, for `mask_values.as_labels`.

    In palettes and colours, black is 0, and the only other colour is landslide, 1; but the indices of a TIFF are
    values, because its palette is how a GIS draws them. In a PNG or WebP of one colour that is not black, with
    transparent parts, the opaque parts are landslide, because programs draw so. In a TIFF, what is transparent is not
    labelled, as what an internal mask hides.

    Returns:
        (values height x width, in the type of the file; unlabelled, bool: by its tag, internal mask or alpha band;
        whether the format is lossy; the colour of landslide, (red, green, blue), or () if no colour was judged).

    Raises:
        NotAPicture: GDAL cannot read it, or it has several colours, bands that are no colours, or a scale.
    """
    with opened(path) as file:
        if states_scale(file):
            raise NotAPicture(SCALED_MASK)
        stored, lossy = np.moveaxis(file.read(), 0, -1), is_lossy(file)
        palette, is_tiff = _has_palette(file), file.driver == "GTiff"
        colours, alpha = _colours(file, stored)
        if palette and alpha is not None and file.nodata == 0:  # a PNG tags the entry that is transparent
            colours, alpha = np.where(stored == 0, 0, colours), np.where(stored[..., 0] == 0, 255, alpha)
        unlabelled = _tagged_mask(file, stored)
        if has_own_mask(file):
            unlabelled |= file.read_masks(1) == 0
        of_light = {colour.name for colour in file.colorinterp[:3]} == set(BANDS_RGB) and stored.dtype.kind == "u"
    if palette and is_tiff:
        return stored[..., 0], unlabelled, lossy, ()
    if colours.shape[-1] != 1 and not (palette or (of_light and colours.shape[-1] == 3)):
        raise NotAPicture(f"has {stored.shape[-1]} bands: a mask has one")
    if alpha is not None and not is_tiff and (colours == colours[:1, :1]).all() and colours.any() and np.ptp(alpha):
        return (alpha > 127).astype(np.uint8), unlabelled, False, _colour(colours[0, 0])
    if alpha is not None:
        unlabelled |= alpha == 0
    values, others = colours[..., 0], colours[~unlabelled & colours.any(-1)]
    is_grey = colours.shape[-1] == 1 or (colours == values[..., None]).all()
    colour = _colour(others[0]) if colours.shape[-1] == 3 and len(others) else ()
    if palette or not is_grey:
        if not palette and others.max(initial=0) == 1:
            raise NotAPicture("has 3 bands of 0 and 1, which are no colours: a mask has one")
        if lossy or (others != others[:1]).any():
            raise NotAPicture("is coloured, not a mask of 0 and 1 or 0 and 255")
        return colours.any(-1).astype(np.uint8), unlabelled, False, colour
    return values, unlabelled, lossy, colour if (others == 255).all() else ()


def _colour(entry):
    """Return a colour, an array of grey alone or of red, green and blue, as three ints."""
    return tuple(int(level) for level in np.broadcast_to(entry, 3))


def _tagged_mask(file, stored):
    """Return where an open mask holds its tag in all bands, H x W bool. A tag of 0 means no landslide, see is_tagged.

    stored: H x W x all bands. A PNG tags a colour by one number for each band.
    """
    tags = file.nodatavals[: file.count - has_alpha(file)]
    if None in tags or not any(tags):
        return np.zeros(stored.shape[:2], bool)
    return np.all([equals(stored[..., band], tag) for band, tag in enumerate(tags)], 0)


def states_scale(file):
    """Return whether the first band of an open raster has a scale or an offset that changes its values."""
    return (file.scales[0], file.offsets[0]) != (1.0, 0.0)


def has_own_mask(file):
    """Return whether an open raster has a mask beside its bands, in the file or next to it; tags and alpha are none."""
    flags = {flag.name for flag in file.mask_flag_enums[0]}
    return "per_dataset" in flags and not flags & {"alpha", "nodata"}


def has_alpha(file):
    """Return whether GDAL takes the last band of an open raster for alpha."""
    return file.count > 1 and file.colorinterp[-1].name == "alpha"


def _has_palette(file):
    """Return whether a raster holds indices of a palette."""
    return file.colorinterp[0].name == "palette"


def _colours(file, stored):
    """Return (bands or colours H x W x bands, alpha H x W or None) of what an open raster holds, H x W x its bands."""
    if _has_palette(file):
        entries = file.colormap(1)
        if stored.max() > max(entries):
            raise NotAPicture(f"holds index {stored.max()} of a palette of {max(entries) + 1} colours: write it anew")
        colours = np.zeros((max(entries) + 1, 4), np.uint8)
        for index, entry in entries.items():
            colours[index] = entry
        values = colours[stored[..., 0]]
        return values[..., :3], values[..., 3] if (values[..., 3] < 255).any() else None
    return (stored[..., :-1], stored[..., -1]) if has_alpha(file) else (stored, None)


def _lacking(file, numbers, alpha):
    """Return where an open raster has no data by its tag, mask and alpha band, which all hold together: H x W bool.

    numbers: H x W x bands, as they are stored. alpha: H x W, or None without such a band.
    """
    lacking = np.zeros(numbers.shape[:2], bool) if alpha is None else alpha == 0
    own_mask = has_own_mask(file)
    if own_mask:
        lacking |= file.read_masks(1) == 0
    if own_mask or has_alpha(file):  # then GDAL's masks of the bands do not know the tag
        if file.nodata is None:
            return lacking
        return lacking | without_data(equals(numbers, file.nodata), numbers.dtype)
    if any(flag.name != "all_valid" for flags in file.mask_flag_enums for flag in flags):
        lacking |= without_data(np.moveaxis(file.read_masks(), 0, -1) == 0, numbers.dtype)
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
                if pages := len(file.subdatasets):
                    raise NotAPicture(f"holds {pages} pages, of which one would be read: write all bands into one page")
                if fault := colour_fault(file) or (not file.crs and turned(path, file.tags())):
                    raise NotAPicture(fault)
                yield file
        except rasterio.errors.RasterioError:
            raise NotAPicture("is cut short or not a picture: fetch or write it again") from None
