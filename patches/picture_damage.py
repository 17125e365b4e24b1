"""Whether the file of a picture is whole, and stored as it is seen, as far as its format lets one check.

Decoders return what they can of a damaged picture: coloured noise, or grey below the place where the file ends.
"""

import contextlib
import warnings
import zlib
from pathlib import Path

from PIL import Image

ORIENTATION = 274  # tag of EXIF and TIFF; 1: the first pixel is the upper left one
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
SCAN, END = b"\xff\xda", b"\xff\xd9"  # markers of JPEG, which do not occur in its compressed data


def damage(path):
    """Return what is wrong with a PNG, JPEG or WebP file, "" if nothing is found or the format cannot tell.

    Every chunk of a PNG carries a checksum, and the last one is IEND (W3C, PNG specification). A JPEG has an end marker
    behind its last scan (ITU-T T.81). A WebP file states its size (RFC 9649). TIFF has nothing of the kind.
    """
    with open(path, "rb") as file:
        head = file.read(12)
        if not head.startswith((PNG, JPEG, b"RIFF")):
            return ""
        content = head + file.read()
    if content.startswith(PNG):
        return _png_damage(content)
    if content.startswith(JPEG):
        return "" if content.rfind(END) > content.rfind(SCAN) else "is cut short"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "" if len(content) >= 8 + int.from_bytes(content[4:8], "little") else "is cut short"
    return ""


def turned(path, tags):
    """Return what is wrong with a picture that viewers and drawing programs turn or mirror; "" if they do not.

    Its pixels lie otherwise than a mask that was drawn on it. tags: of the file, as GDAL reads them: of a JPEG alone.
    """
    orientation = tags.get("EXIF_Orientation", "")
    if not orientation and Path(path).is_file():
        orientation = _stated_orientation(path)
    if orientation.strip() in ("", "0", "1"):
        return ""
    return (
        f"is turned or mirrored by viewers (EXIF orientation {orientation}), and its pixels lie otherwise: write it "
        "upright, mogrify -auto-orient FILE; or, if the masks fit it, remove the tag, exiftool -Orientation= FILE"
    )


def _stated_orientation(path):
    """Return the orientation that a picture states, as text; "" if it states none, or Pillow does not read it."""
    faults = contextlib.suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError)
    with faults, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large pictures, and of tags that Pillow does not know
        with Image.open(path) as picture:
            return str(picture.getexif().get(ORIENTATION, ""))
    return ""


def _png_damage(content):
    start = len(PNG)
    while start < len(content):
        length, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        end = start + 8 + length
        if end + 4 > len(content):
            return "is cut short"
        if zlib.crc32(content[start + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            return "is damaged: one of its checksums is wrong"
        if kind == b"IEND":
            return ""
        start = end + 4
    return "is cut short"
