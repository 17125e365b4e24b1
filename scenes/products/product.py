"""What all products have in common: bands by their names, each in a file, with the meaning of its values.

A product says which file holds each band and what its values mean. Values of all products are brought to one unit,
reflectance x 10000: the digital numbers of Sentinel-2 without an offset. Offset and scale come from the metadata of the
product, never from its date, because archives are processed again.
"""

import contextlib
import posixpath
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from bands import sentinel2_band
from scenes.opening import names_in_zip
from script import UserError


@dataclass(frozen=True)
class BandFile:
    """A band in a file: value = factor * (number in the file) + offset, in reflectance x 10000."""

    path: str
    number: int = 1
    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Product:
    """What the metadata of a product says.

    Attributes:
        name: of the product, without the ending of its file or folder.
        kind: satellite, level and baseline as text: "Sentinel-2 Level-2A, baseline 05.10".
        bands: {Sentinel-2's name of the band: BandFile}.
        classes: path of the raster of clouds and shadows, or "". coding: of its values, "scl" or "qa_pixel".
        time: of the picture, in ISO 8601, or "".
        surface: whether it holds reflectance at the surface (Level-2), without haze, and not at the top of the
            atmosphere.
        nodata: value of no data in the files.
        unknown_offset: why the offset of the values is unknown, "" if it is known; then a user has to state it.
    """

    name: str
    kind: str
    bands: dict
    classes: str = ""
    coding: str = ""
    time: str = ""
    surface: bool = False
    nodata: float | None = 0.0
    unknown_offset: str = ""

    def band_file(self, name, chosen=False):
        """Return the BandFile of a model's band, or of one that a user has chosen for it.

        Raises:
            UserError: the product lacks it, or the name is not that of a Sentinel-2 band.
        """
        band = sentinel2_band(name)
        if band in self.bands:
            return self.bands[band]
        names = " ".join(self.bands)
        if band is None and chosen:
            raise UserError(f"{self.name}: --scene-bands {name} is none of its bands, which have names: {names}")
        if band is None:
            raise UserError(
                f"{self.name}: band {name} of the run has no name of Sentinel-2: name the bands to take, in the run's "
                f"order, with --scene-bands (the product has {names})"
            )
        hint = ": Level-2 has no B10, take the Level-1C product" if band == "B10" and self.surface else ""
        raise UserError(f"{self.name} lacks band {name} (it has {names}){hint}")


class Package:
    """Files of a product in a folder or in a zip.

    Attributes:
        path: of the folder or zip. names: of all files in it, relative, with slashes.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.zipped = not self.path.is_dir()
        if self.zipped:
            self.names = names_in_zip(self.path)
        else:
            files = (file for file in sorted(self.path.rglob("*")) if file.is_file())
            self.names = [file.relative_to(self.path).as_posix() for file in files]

    def matching(self, pattern):
        """List the names of files that match a pattern anywhere."""
        return [name for name in self.names if re.search(pattern, name)]

    @contextlib.contextmanager
    def open(self, name):
        """Open a file of the product for reading bytes.

        Raises:
            UserError: the file is damaged in its zip.
        """
        try:
            if self.zipped:
                with zipfile.ZipFile(self.path) as archive, archive.open(name) as file:
                    yield file
            else:
                with open(self.path / name, "rb") as file:
                    yield file
        except (zlib.error, zipfile.BadZipFile, EOFError, RuntimeError) as error:
            raise UserError(f"{self.path}: {name} is damaged ({error}): download the product again") from None

    def read(self, name):
        """Read a file of the product: bytes."""
        with self.open(name) as file:
            return file.read()

    def rasterio_path(self, name):
        """Return the path by which rasterio opens a file of the product."""
        return f"zip://{self.path.resolve()}!{name}" if self.zipped else str(self.path / name)

    def check_jpeg2000(self, name):
        """Raise UserError if a JPEG 2000 file is empty or cut short: a whole one ends with the marker FF D9."""
        with self.open(name) as file:
            if self.zipped:  # reading all of it also checks its checksum
                size, end = 0, b""
                while part := file.read(1 << 20):
                    size, end = size + len(part), (end + part)[-2:]
            else:
                size = file.seek(0, 2)
                file.seek(max(size - 2, 0))
                end = file.read()
        if end != b"\xff\xd9":
            state = "cut short" if size else "empty"
            raise UserError(f"{self.path}: {posixpath.basename(name)} is {state}: download the product again")
