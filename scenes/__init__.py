"""Whole satellite scenes: reading, tiles, mapping here or on a cluster, polygons and pictures.

TensorFlow carries an SQLite of its own. Loaded first, it is taken for GDAL's, and a GeoPackage is written without its
spatial index. So GDAL's is loaded here, before any module of this package, and nothing here imports Keras.
"""

import sys

if "tensorflow" in sys.modules and "pyogrio" not in sys.modules:
    raise ImportError("import scenes before TensorFlow: otherwise GeoPackages lose their spatial index")

import pyogrio  # noqa: E402, F401
