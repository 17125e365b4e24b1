"""Landsat 8 and 9, Collection 2, Level-1 and Level-2: bands by their roles, scale and offset from the MTL file.

Names of groups and keys: Landsat 8-9 Collection 2 Data Format Control Book (USGS, LSDS-1822 and LSDS-1328).
"""

import json
import math
import posixpath
import re
from xml.etree import ElementTree

from bands import REFLECTANCE
from scenes.products.product import BandFile, Product
from script import UserError

# Landsat's bands by the Sentinel-2 bands nearest to them; both near infrared bands are Landsat's 5.
BANDS = {"B1": 1, "B2": 2, "B3": 3, "B4": 4, "B8": 5, "B8A": 5, "B10": 9, "B11": 6, "B12": 7}


def open_product(package, name):
    """Open a Landsat product.

    Args:
        package: product.Package. name: of its MTL file: JSON, XML or text, whatever its ending.

    Returns:
        product.Product.

    Raises:
        UserError: it is of another sensor or collection, or its metadata or band files are incomplete.
    """
    text = package.read(name).decode("utf-8", "replace")
    try:
        return _product(package, name, _inner_groups(parse_metadata(text)))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, ElementTree.ParseError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise UserError(f"{package.path}: {name} is damaged ({reason}): download the product again") from None


def _product(package, name, groups):
    """Make a Product of the groups of an MTL file, {name of group: {key: value}}."""
    contents = groups.get("PRODUCT_CONTENTS", {})
    spacecraft = groups.get("IMAGE_ATTRIBUTES", {}).get("SPACECRAFT_ID", "an unknown satellite")
    if spacecraft not in ("LANDSAT_8", "LANDSAT_9") or contents.get("COLLECTION_NUMBER") != "02":
        raise UserError(f"{package.path}: {name} is of {spacecraft}; only Landsat 8 and 9 of Collection 2 can be read")
    level = contents.get("PROCESSING_LEVEL", "")
    surface = level.startswith("L2")
    scaling = groups.get("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS" if surface else "LEVEL1_RADIOMETRIC_RESCALING", {})
    # Level-1 is scaled as if the sun stood overhead
    sun = 1.0 if surface else math.sin(math.radians(float(groups["IMAGE_ATTRIBUTES"]["SUN_ELEVATION"])))
    folder = posixpath.dirname(name)
    # some archives and shells write all names in lower case
    files = {each.lower(): each for each in package.names if posixpath.dirname(each) == folder}
    bands = {}
    for band, number in BANDS.items():
        file = files.get(posixpath.join(folder, contents.get(f"FILE_NAME_BAND_{number}", "")).lower())
        gain, offset = (scaling.get(f"REFLECTANCE_{kind}_BAND_{number}") for kind in ("MULT", "ADD"))
        if file and gain is not None:
            scale = REFLECTANCE / sun
            bands[band] = BandFile(package.rasterio_path(file), 1, float(gain) * scale, float(offset) * scale)
    if not bands:
        raise UserError(f"{package.path} holds none of the band files that {posixpath.basename(name)} names")
    quality = files.get(posixpath.join(folder, contents.get("FILE_NAME_QUALITY_L1_PIXEL", "")).lower())
    attributes = groups["IMAGE_ATTRIBUTES"]
    return Product(
        name=re.sub(r"_MTL\.\w+$", "", posixpath.basename(name), flags=re.IGNORECASE),
        kind=f"{spacecraft.replace('_', ' ').title()} Collection 2 Level-{level[1:]}, pixels of 30 m",
        bands=bands,
        classes=package.rasterio_path(quality) if quality else "",
        coding="qa_pixel",
        time=f"{attributes.get('DATE_ACQUIRED', '')}T{attributes.get('SCENE_CENTER_TIME', '').strip(chr(34))}",
        surface=surface,
    )


def parse_metadata(text):
    """Parse an MTL file, in JSON, XML or ODL, to nested {name: ...}."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    if text.lstrip().startswith("<"):
        root = ElementTree.fromstring(text.strip())
        return {root.tag: {group.tag: {each.tag: each.text or "" for each in group} for group in root}}
    return parse_odl(text)


def parse_odl(text):
    """Parse an MTL text (GROUP = NAME, KEY = VALUE, END_GROUP = NAME) to nested {name: ...}; values are text."""
    root = {}
    stack = [root]
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        if key == "GROUP":
            stack.append(stack[-1].setdefault(value, {}))
        elif key == "END_GROUP":
            if len(stack) == 1:
                raise ValueError(f"a group {value} ends that did not begin")
            stack.pop()
        else:
            stack[-1][key] = value.strip('"')
    if len(stack) > 1 or not root:
        raise ValueError("it ends within a group" if root else "no group in it")
    return root


def _inner_groups(groups):
    """Return the groups one level below the outermost: {name of group: {key: value}}."""
    outer = next(iter(groups.values())) if isinstance(groups, dict) and len(groups) == 1 else groups
    return {key: value for key, value in outer.items() if isinstance(value, dict)} if isinstance(outer, dict) else {}
