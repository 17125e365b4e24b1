"""Open a map in a real QGIS, without a screen, and check that it comes up styled; draws it as QGIS shows it.

    QT_QPA_PLATFORM=offscreen python3 tests/checks/map_in_qgis.py results/rgb/maps/scene_landslides.gpkg map.png

Run it with the Python that has QGIS (Debian: apt-get install python3-qgis). It needs nothing else of this project.
"""

import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize

CLASSES = ["at least 0.75", "0.5 to 0.75", "below 0.5"]


def main(package, picture):
    """Load the layers as a user does, by path alone, check their renderers and draw them."""
    application = QgsApplication([], False)
    application.initQgis()
    stem = str(package)[: -len("_landslides.gpkg")]
    landslides = QgsVectorLayer(f"{package}|layername=landslides", "landslides", "ogr")
    seen = QgsVectorLayer(f"{package}|layername=seen", "seen", "ogr")
    scene = QgsVectorLayer(f"{package}|layername=scene", "scene", "ogr")
    for layer in (landslides, seen, scene):
        assert layer.isValid(), f"{layer.name()} does not open"
    renderer = landslides.renderer()
    assert renderer.type() == "categorizedSymbol", renderer.type()
    assert renderer.classAttribute() == "class"
    assert [category.value() for category in renderer.categories()] == CLASSES
    assert not landslides.labelsEnabled()
    widget = landslides.editorWidgetSetup(landslides.fields().indexOf("verdict"))
    assert widget.type() == "ValueMap" and [*widget.config()["map"][0]] == ["landslide"], widget.config()
    assert seen.renderer().type() == "singleSymbol"
    mask = QgsRasterLayer(f"{stem}_mask.tif", "mask")
    assert mask.isValid() and mask.renderer().type() == "paletted", mask.renderer().type()
    assert {entry.value for entry in mask.renderer().classes()} == {0, 1, 253, 254}
    probability = QgsRasterLayer(f"{stem}_probability.tif", "probability")
    assert probability.isValid() and probability.renderer().type() == "singlebandpseudocolor"

    QgsProject.instance().addMapLayers([landslides, seen, probability])
    settings = QgsMapSettings()
    settings.setLayers([landslides, seen, probability])
    settings.setOutputSize(QSize(900, 900))
    settings.setDestinationCrs(landslides.crs())
    extent = landslides.extent() if landslides.featureCount() else seen.extent()
    extent.scale(1.3)
    settings.setExtent(extent)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    assert job.renderedImage().save(str(picture)), f"{picture} cannot be written"
    print(f"{package}: {landslides.featureCount()} polygons, styled; drawn: {picture}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
