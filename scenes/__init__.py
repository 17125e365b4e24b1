"""Whole satellite scenes: reading, tiles, mapping in this process or on a cluster, polygons and pictures.

TensorFlow carries an SQLite of its own. If it is loaded first, GDAL uses it and writes GeoPackages without a spatial
index. So this file loads GDAL's before all modules of the package, and none of them imports Keras at its top.
"""

import sys

if "tensorflow" in sys.modules and "pyogrio" not in sys.modules:
    raise ImportError("import scenes before TensorFlow: otherwise GeoPackages lose their spatial index")

import pyogrio  # noqa: E402, F401
