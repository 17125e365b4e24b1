"""Products in the form in which they are published, small: Sentinel-2 (.SAFE), Landsat Collection 2 and STAC items.

Names of files and elements follow ESA's Sentinel-2 Products Specification Document (issue 14.9) and the products
themselves, USGS's Landsat 8-9 Collection 2 Data Format Control Book, and items of Earth Search v1.
"""

import json

import numpy as np
from rasterio.transform import from_origin

from bands import BANDS_SENTINEL2
from tests.rasters import write_raster

RESOLUTION = dict(
    zip(BANDS_SENTINEL2, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True)
)  # of each band, in metres
ORIGIN, SIDE = (399960.0, 5100000.0), 240  # corner of tile 32TPS and the scene's side in pixels of 10 m


def write_band(path, values, metres):
    """Write H x W as a band of a product, with pixels of `metres`."""
    options = {"quality": 100, "reversible": "YES"} if path.suffix == ".jp2" else {}
    write_raster(path, [values], from_origin(*ORIGIN, metres, metres), "EPSG:32632", **options)


def digital_number(band):
    """The number that fills a band of these products: each has its own."""
    return 1500 + 100 * BANDS_SENTINEL2.index(band)


def make_safe(
    parent, level="2A", baseline="05.10", offset=-1000, tile="T32TPS", quantification=10000, scl=None, brighter=0
):
    """Write a .SAFE folder; without data in its first row. Returns its path. brighter: is added to all bands."""
    number = baseline.replace(".", "")
    name = f"S2B_MSIL{level}_20230701T101559_N{number}_R065_{tile}_20230701T134856"
    safe = parent / f"{name}.SAFE"
    granule = f"GRANULE/L{level}_{tile}_A032997_20230701T102118"
    listed = []
    bands = {band: RESOLUTION[band] for band in BANDS_SENTINEL2 if (level, band) != ("2A", "B10")}
    finest = [(band, metres) for band, metres in bands.items()]
    coarser = [(band, 60) for band, metres in bands.items() if level == "2A" and metres < 60 and band != "B8"]
    for band, metres in finest + coarser:
        written = f"B{int(band[1:]):02d}" if band != "B8A" else band
        stem = f"{tile}_20230701T101559_{written}"
        image = f"{granule}/IMG_DATA/R{metres}m/{stem}_{metres}m" if level == "2A" else f"{granule}/IMG_DATA/{stem}"
        values = np.full((SIDE * 10 // metres,) * 2, digital_number(band) + brighter, np.uint16)
        values[: 60 // metres] = 0
        write_band(safe / f"{image}.jp2", values, metres)
        listed.append(image)
    if level == "2A":
        image = f"{granule}/IMG_DATA/R20m/{tile}_20230701T101559_SCL_20m"
        classes = np.full((SIDE // 2, SIDE // 2), 4, np.uint8) if scl is None else scl
        write_band(safe / f"{image}.jp2", classes, 20)
        listed.append(image)
    kind, added = {"1C": ("", "RADIO"), "2A": ("BOA_", "BOA")}[level]
    wrapper = {"1C": "Radiometric_Offset_List", "2A": "BOA_ADD_OFFSET_VALUES_LIST"}[level]
    offsets = "".join(f'<{added}_ADD_OFFSET band_id="{i}">{offset}</{added}_ADD_OFFSET>' for i in range(13))
    offsets = f"<{wrapper}>{offsets}</{wrapper}>" if offset is not None else ""
    images = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in listed)
    text = f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-{level}.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>2023-07-01T10:15:59.024Z</PRODUCT_START_TIME><PRODUCT_URI>{name}.SAFE</PRODUCT_URI>
<PROCESSING_LEVEL>Level-{level}</PROCESSING_LEVEL><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Product_Organisation><Granule_List><Granule>{images}</Granule></Granule_List></Product_Organisation></Product_Info>
<Product_Image_Characteristics>
<QUANTIFICATION_VALUES_LIST><{kind}QUANTIFICATION_VALUE unit="none">{quantification}</{kind}QUANTIFICATION_VALUE>
</QUANTIFICATION_VALUES_LIST>{offsets}</Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>"""
    (safe / f"MTD_MSIL{level}.xml").write_text(text)
    (safe / "manifest.safe").write_text("<xfdu/>")
    return safe


def band_file(safe, band, metres=10):
    """Path of a band's file in a product of `make_safe`."""
    return next(safe.rglob(f"*_{band}_{metres}m.jp2"), None) or next(safe.rglob(f"*_{band}.jp2"))


def make_item(folder, collection="sentinel-2-l2a", keys=("red", "green", "blue"), **properties):
    """Write a STAC item as Earth Search has it, with local assets; properties may hold `raster`, that of the bands."""
    raster = properties.pop("raster", {"nodata": 0, "scale": 0.0001, "offset": -0.1})
    assets = {"visual": {"href": "./TCI.tif", "roles": ["visual"], "eo:bands": [{"name": "red"}, {"name": "green"}]}}
    for key, band in zip(keys, ("B4", "B3", "B2"), strict=True):
        write_band(folder / f"{key}.tif", np.full((SIDE, SIDE), digital_number(band), np.uint16), 10)
        assets[key] = {"href": f"./{key}.tif", "roles": ["data", "reflectance"]}
        assets[key] |= {"raster:bands": [raster]} if raster else {}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "S2B_32TPS_20230701_0_L2A", "collection": collection}
    item |= {"properties": {"datetime": "2023-07-01T10:15:59Z", **properties}, "assets": assets}
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


def make_landsat(folder, level="L2SP", form="json"):
    """Write a Landsat 9 product of Collection 2; returns the path of its MTL file."""
    name = "LC09_L2SP_192028_20230703_20230705_02_T1"
    contents = {"COLLECTION_NUMBER": "02", "PROCESSING_LEVEL": level}
    scaling = {"L2SP": ("2.75e-05", "-0.2"), "L1TP": ("2.0000E-05", "-0.100000")}[level]
    rescaling = {}
    for number in (1, 2, 3, 4, 5, 6, 7):
        file = f"{name}_SR_B{number}.TIF"
        write_band(folder / file, np.full((80, 80), 10000 + number, np.uint16), 30)
        contents[f"FILE_NAME_BAND_{number}"] = file
        rescaling |= {f"REFLECTANCE_{kind}_BAND_{number}": v for kind, v in zip(("MULT", "ADD"), scaling, strict=True)}
    write_band(folder / f"{name}_QA_PIXEL.TIF", np.full((80, 80), 21824, np.uint16), 30)
    contents["FILE_NAME_QUALITY_L1_PIXEL"] = f"{name}_QA_PIXEL.TIF"
    groups = {
        "PRODUCT_CONTENTS": contents,
        "IMAGE_ATTRIBUTES": {"SPACECRAFT_ID": "LANDSAT_9", "DATE_ACQUIRED": "2023-07-03", "SUN_ELEVATION": "30.0"},
        {"L2SP": "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "L1TP": "LEVEL1_RADIOMETRIC_RESCALING"}[level]: rescaling,
    }
    path = folder / f"{name}_MTL.{form}"
    if form == "json":
        path.write_text(json.dumps({"LANDSAT_METADATA_FILE": groups}))
    elif form == "xml":
        inside = "".join(
            f"<{group}>{''.join(f'<{key}>{value}</{key}>' for key, value in values.items())}</{group}>"
            for group, values in groups.items()
        )
        path.write_text(f'<?xml version="1.0"?>\n<LANDSAT_METADATA_FILE>{inside}</LANDSAT_METADATA_FILE>')
    else:
        lines = ["GROUP = LANDSAT_METADATA_FILE"]
        for group, values in groups.items():
            lines += [f"  GROUP = {group}", *(f'    {key} = "{value}"' for key, value in values.items())]
            lines.append(f"  END_GROUP = {group}")
        path.write_text("\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END", ""]))
    return path
