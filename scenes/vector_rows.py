"""Rows of a vector file that meet a condition of a user."""

import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from script import UserError


def rows_where(path, file, layer, choice):
    """Return the positions of the rows of a layer for which the condition of a vectors.Choice holds.

    path, file: of the vector file, for messages and for GDAL. layer: its name; None for the first.

    Raises:
        UserError: it is no condition on the columns of the layer.
    """
    all_rows = pyogrio.read_dataframe(file, layer=layer, columns=[], read_geometry=False, fid_as_index=True).index
    info = pyogrio.read_info(file, layer=layer)
    options = {"layer": layer, "where": choice.where, "read_geometry": False, "fid_as_index": True}
    if info["encoding"] != "UTF-8":  # a Shapefile without .cpg: GDAL would compare its bytes with letters in UTF-8
        options["encoding"] = info["encoding"]
    try:
        rows = pyogrio.read_dataframe(file, **options).index
    except (ValueError, DataSourceError, DataLayerError):  # which of them depends on the format
        fields = ", ".join(info["fields"])
        raise UserError(
            f"{path}: {choice.where_flag} {choice.where!r} is no condition on its layer {layer} with columns {fields}"
        ) from None
    return all_rows.get_indexer(rows)
