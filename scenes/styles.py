"""Styles that QGIS loads by itself: of polygons in the GeoPackage, of a raster in a .qml file of the same name.

The GeoPackage has the table `layer_styles`, with the columns that QGIS writes; .qml is QGIS's own format.
"""

from xml.sax.saxutils import quoteattr

import pandas
import pyogrio

from mask_values import EXCLUDED, HIDDEN, LANDSLIDE, OTHER

# Classes of polygons, from the highest, by their confidence: the mean calibrated probability of their pixels. They are
# called by what they are, because a probability is calibrated on validation patches, and means less on other ground.
CLASSES = {"at least 0.75": 0.75, "0.5 to 0.75": 0.5, "below 0.5": 0.0}
COLOURS = {"at least 0.75": (178, 24, 43), "0.5 to 0.75": (239, 138, 98), "below 0.5": (253, 219, 199)}
VERDICTS = ("landslide", "not landslide", "unsure")  # choices of a reviewer; labels.py reads them
MASK_CLASSES = {
    LANDSLIDE: ("landslide", (178, 24, 43, 255)),
    OTHER: ("no landslide", (255, 255, 255, 0)),
    EXCLUDED: ("excluded", (120, 120, 200, 110)),
    HIDDEN: ("not seen", (140, 140, 140, 160)),
}
PROBABILITY_RAMP = ((0.0, (255, 255, 255, 0)), (0.25, (253, 219, 199, 140)), (0.5, (239, 138, 98, 200))) + (
    (0.75, (214, 96, 77, 230)),
    (1.0, (103, 0, 31, 255)),
)


def polygon_style():
    """Return the QML of the polygons: a colour for each class, an outline, no labels, and a list of verdicts."""
    categories, symbols = "", ""
    for i, name in enumerate(CLASSES):
        label = quoteattr(f"mean probability {name}")
        categories += f'<category render="true" value="{name}" symbol="{i}" label={label}/>'
        fill, outline = (",".join(map(str, (*COLOURS[name], alpha))) for alpha in (120, 255))
        options = {"color": fill, "outline_color": outline, "outline_width": "0.4", "outline_width_unit": "MM"}
        symbols += _symbol(i, options | {"outline_style": "solid", "style": "solid", "joinstyle": "bevel"})
    inside = f"<categories>{categories}</categories><symbols>{symbols}</symbols>"
    verdicts = "".join(
        f'<Option type="Map"><Option type="QString" name="{word}" value="{word}"/></Option>' for word in VERDICTS
    )
    choice = f'<Option type="Map"><Option type="List" name="map">{verdicts}</Option></Option>'
    widget = f'<editWidget type="ValueMap"><config>{choice}</config></editWidget>'
    fields = f'<fieldConfiguration><field name="verdict">{widget}</field></fieldConfiguration>'
    return _vector_style("categorizedSymbol", inside, fields)


def seen_style():
    """Return the QML of the ground that was seen: an outline alone."""
    options = {"style": "no", "outline_color": "60,60,60,255", "outline_width": "0.3", "outline_style": "dash"}
    return _vector_style("singleSymbol", f"<symbols>{_symbol(0, options)}</symbols>")


def _symbol(number, options):
    """Return the symbol of an area. options: {name: text} of its fill and outline."""
    new = "".join(f'<Option type="QString" name="{key}" value="{value}"/>' for key, value in options.items())
    old = "".join(f'<prop k="{key}" v="{value}"/>' for key, value in options.items())  # QGIS before 3.26
    return (
        f'<symbol type="fill" name="{number}" alpha="1" clip_to_extent="1" force_rhr="0"><layer class="SimpleFill" '
        f'enabled="1" locked="0" pass="0"><Option type="Map">{new}</Option>{old}</layer></symbol>'
    )


def _vector_style(kind, inside, fields=""):
    """Return the QML of a layer of areas, without labels.

    kind, inside: of its renderer. fields: QML of the widgets that edit its fields.
    """
    attribute = 'attr="class" ' if kind == "categorizedSymbol" else ""
    settings = f'type="{kind}" {attribute}symbollevels="0" forceraster="0" enableorderby="0"'
    return _document(
        f"<renderer-v2 {settings}>{inside}</renderer-v2>{fields}",
        'labelsEnabled="0" styleCategories="Symbology|Labeling|Fields|Forms"',
    )


def mask_style():
    """Return the QML of the mask: a colour for each code."""
    entries = "".join(
        f'<paletteEntry value="{code}" color="{hex_colour(colour)}" alpha="{colour[3]}" label="{label}"/>'
        for code, (label, colour) in MASK_CLASSES.items()
    )
    return _document(
        '<pipe><rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1">'
        f"<colorPalette>{entries}</colorPalette></rasterrenderer></pipe>"
    )


def probability_style(percent):
    """Return the QML of the probabilities, which are in percent or from 0 to 1."""
    unit = 100 if percent else 1
    items = "".join(
        f'<item value="{value * unit:g}" color="{hex_colour(colour)}" alpha="{colour[3]}" label="{value:.0%}"/>'
        for value, colour in PROBABILITY_RAMP
    )
    return _document(
        f'<pipe><rasterrenderer type="singlebandpseudocolor" band="1" opacity="1" alphaBand="-1" '
        f'classificationMin="0" classificationMax="{unit}"><rastershader><colorrampshader colorRampType="INTERPOLATED" '
        f'classificationMode="1" clip="0" minimumValue="0" maximumValue="{unit}">{items}</colorrampshader>'
        "</rastershader></rasterrenderer></pipe>"
    )


def _document(inside, attributes=""):
    start = '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">'
    return f'{start}\n<qgis version="3.22.0" {attributes}>{inside}</qgis>\n'


def hex_colour(colour):
    """Return #rrggbb of a colour (red, green, blue[, opacity]); opacity is left out."""
    return "#{:02x}{:02x}{:02x}".format(*colour[:3])


def write_layer_styles(path, styles, date):
    """Add the table `layer_styles` to a GeoPackage.

    Args:
        path: of the GeoPackage. styles: {layer: QML}. date: datetime that the table states.
    """
    rows = [
        {
            "f_table_catalog": "",
            "f_table_schema": "",
            "f_table_name": layer,
            "f_geometry_column": "geom",
            "styleName": layer,
            "styleQML": qml,
            "styleSLD": "",
            "useAsDefault": True,
            "description": "by predict.py",
            "owner": "",
            "ui": "",
            "update_time": date.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }
        for layer, qml in styles.items()
    ]
    pyogrio.write_dataframe(pandas.DataFrame(rows), path, layer="layer_styles", driver="GPKG", append=False)
