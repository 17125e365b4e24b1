"""STAC items of Sentinel-2 (a JSON file), as Earth Search and the Planetary Computer publish them.

Assets are local files or addresses that GDAL reads. Assets such as `visual` are pictures for the eye, no reflectance.
"""

import json
import re
from pathlib import Path
from urllib.parse import unquote

from bands import BANDS_SENTINEL2, REFLECTANCE, sentinel2_band
from scenes.products.product import BandFile, Product
from script import UserError


def open_item(path):
    """Open a STAC item, of which `path` is the JSON file: a product.Product.

    Raises:
        UserError: the file is no STAC item of Sentinel-2 Level-1C or Level-2A.
    """
    try:
        item = json.loads(path.read_text(encoding="utf-8-sig"))  # some programs write a byte order mark
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(item, dict) or item.get("type") != "Feature" or not isinstance(item.get("assets"), dict):
        kind = item.get("type") if isinstance(item, dict) else None
        hint = f", but a {kind}: give one item of it" if kind in ("FeatureCollection", "Collection", "Catalog") else ""
        raise UserError(f"{path} is no STAC item, a Feature with assets{hint}")
    properties = item.get("properties") or {}
    assets = {key: asset for key, asset in item["assets"].items() if isinstance(asset, dict)}
    level = _level(item)
    if level is None:
        files = " ".join(str(asset.get("href", "")) for asset in list(assets.values())[:3])
        raise UserError(
            f"{path}: collection {item.get('collection')!r} is not read; items of Sentinel-2 Level-1C and 2A are. Give "
            f"its bands as files, in the run's order (here are {files}), or a Landsat product as its folder"
        )
    bands = {}
    for key, asset in assets.items():
        band = _band_of(key, asset)
        if band and band not in bands:
            bands[band] = BandFile(_href(asset, path), 1, *_factor_and_offset(asset, properties, path))
    if not bands:
        raise UserError(f"{path} has no asset of a band: it has {', '.join(item['assets'])}")
    scl = (asset for key, asset in assets.items() if re.fullmatch(r"scl([-_]\d\dm)?", key, re.IGNORECASE))
    classes = next((_href(asset, path) for asset in scl), "")
    baseline = _baseline(properties)
    return Product(
        name=str(item.get("id") or path.stem),
        kind=f"STAC item of Sentinel-2 Level-{level}" + (f", baseline {baseline}" if baseline else ""),
        bands={band: bands[band] for band in BANDS_SENTINEL2 if band in bands},
        classes=classes,
        coding="scl",
        time=str(properties.get("datetime") or ""),
        surface=level == "2A",
    )


def _level(item):
    """Return the level of a Sentinel-2 item, "1C" or "2A"; None of another item."""
    words = (
        f"{item.get('collection', '')} {item.get('id', '')} {(item.get('properties') or {}).get('s2:product_type', '')}"
    )
    if not re.search(r"sentinel-?_?(2|s2)|^S2|\bS2[A-D]|S2MSI", words, re.IGNORECASE):
        return None
    match = re.search(r"(l|msi)(1c|2a)", words, re.IGNORECASE)
    return match[2].upper() if match else None


def _band_of(key, asset):
    """Return the Sentinel-2 band of an asset, by its key or its one band's name; None for pictures and masks."""
    if not {"data", "reflectance"} & set(asset.get("roles") or ["data"]):
        return None
    plain = re.sub(r"[-_](jp2|10m|20m|60m)$", "", key)
    if band := sentinel2_band(plain):
        return band
    listed = asset.get("eo:bands") or asset.get("bands") or []
    return sentinel2_band(str(listed[0].get("name", ""))) if len(listed) == 1 else None


def _href(asset, path):
    """Return the name by which GDAL opens an asset. path: of the item, to which its addresses are relative."""
    href = str(asset.get("href", ""))
    if re.match(r"s3://", href):
        return re.sub(r"^s3:/", "/vsis3", href)
    if re.match(r"https?://", href):
        return f"/vsicurl/{href}"
    if href.startswith("/vsi"):
        return href
    written = Path(path.parent, re.sub(r"^file://(localhost)?", "", href))
    plain = Path(unquote(str(written)))  # a URI writes a blank as %20, which may be part of a name all the same
    return str(written if written.exists() or not plain.exists() else plain)


def _baseline(properties):
    """Return the processing baseline, "" if the item does not state it."""
    for key in ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline"):
        if properties.get(key):
            return str(properties[key])
    return ""


def _factor_and_offset(asset, properties, path):
    """Return (factor, offset) from the numbers of an asset to reflectance x 10000.

    Earth Search states the offset of the product, -0.1, even if it has subtracted it from the files already; then
    `earthsearch:boa_offset_applied` is true. The Planetary Computer keeps the numbers of the product and states only
    their baseline; all products of a baseline have the same offset.
    """
    listed = (asset.get("raster:bands") or asset.get("bands") or [{}])[0]
    scale = asset.get("raster:scale", listed.get("scale", listed.get("raster:scale")))
    offset = asset.get("raster:offset", listed.get("offset", listed.get("raster:offset")))
    if any(properties.get(f"{prefix}:boa_offset_applied") for prefix in ("earthsearch", "sentinel")):
        offset = 0.0
    elif offset is None:
        baseline = _baseline(properties)
        if not baseline:
            raise UserError(f"{path} states neither an offset (raster:bands) nor the processing baseline")
        offset = -0.1 if tuple(int(part) for part in re.findall(r"\d+", baseline)[:2]) >= (4, 0) else 0.0
    return float(1e-4 if scale is None else scale) * REFLECTANCE, float(offset) * REFLECTANCE
