"""The title of a map: the scene and the date on which it was acquired, from metadata and never from a file's name."""

import contextlib
import re
from datetime import UTC, date, datetime, timedelta

import numpy as np

from scenes.opening import open_raster
from script import note

# Tags of rasters that hold when a picture was taken, with their domain: of GDAL's drivers, of products that GDAL
# converted, of cameras, and of maps of predict.py. TIFFTAG_DATETIME is the date of the file.
TIME_TAGS = (("IMAGERY", "ACQUISITIONDATETIME"), (None, "PRODUCT_START_TIME"), (None, "EXIF_DateTimeOriginal")) + (
    (None, "acquired"),
)
WIDEST_ZONE = timedelta(hours=14)  # of local time from UTC


def acquisition_time(opened):
    """Return when an open Scene was acquired, as its product or the tags of its file say it; "" if they do not."""
    return next(filter(instant, stated_times(opened)), "")


def stated_times(opened):
    """Return the texts that state when an open Scene was acquired, of its product or of the tags of its file."""
    if opened.source.product:
        times = [opened.source.product.time]
    else:
        with contextlib.closing(open_raster(opened.source.paths[opened.source.reference])) as file:
            times = [file.tags(ns=domain).get(name, "").strip() for domain, name in TIME_TAGS]
    return [time for time in times if re.search("[^0: -]", time)]  # cameras without a clock write 0000:00:00


def note_unread_time(opened):
    """Print that it is not understood when an open Scene was acquired, if it is stated."""
    times = stated_times(opened)
    if times and not any(map(instant, times)):
        path = opened.source.paths[opened.source.reference]
        note(f"{path}: its date, {times[0]!r}, is not understood: write it in ISO 8601, such as 2023-08-01T10:15:59Z")


def instant(time):
    """Return a time as datetime, in UTC if its time zone is stated; None if it is not understood.

    time: in ISO 8601 (2023-08-01T10:15:59Z, 20230801T101559+0200, 2023-W31-2, 2023-213), or with colons or slashes
        between year, month and day, as cameras write it.
    """
    text = re.sub(r"^(\d{4})[:/](\d\d)[:/](\d\d)(?!\d)", r"\1-\2-\3", time.strip())
    text = re.sub(r"\s*(?:UTC|GMT)$", "Z", text)
    text = re.sub(r"\s+(?=[+-]\d\d)", "", text).removesuffix("T")
    try:
        if day_of_year := re.match(r"(\d{4})-?(\d{3})(?=T|$)", text):
            day = date(int(day_of_year[1]), 1, 1) + timedelta(int(day_of_year[2]) - 1)
            text = f"{day}{text[day_of_year.end() :]}" if text.startswith(f"{day.year}") else ""
        read = datetime.fromisoformat(text)
        return read.astimezone(UTC) if read.tzinfo else read
    except (ValueError, OverflowError):
        return None


def is_later(time, other):
    """Return whether a time is later than another, as far as they tell: a day alone lasts until midnight.

    time, other: texts of `acquisition_time`. A time without a zone is one of any zone, unless both have none.
    """
    times = [instant(each) for each in (time, other)]
    if any(re.search(r"\d\d:?\d\d", each[8:]) is None for each in (time, other)):
        return times[0].date() > times[1].date()
    slack = timedelta(0) if len({each.tzinfo for each in times}) == 1 else WIDEST_ZONE
    later, earlier = (each.replace(tzinfo=None) for each in times)
    return later - earlier > slack


def date_text(time):
    """Return the day of a time in words, "1 July 2023"; "" if it is not understood. time: see `instant`."""
    day = instant(time)
    return f"{day.day} {day:%B} {day.year}" if day else ""


def scene_title(about, grid):
    """Return the title of a map: "Landslides: Sentinel-2, tile 32TPS, 1 July 2023".

    A scene that is no product is named by its middle, in longitude and latitude; without a coordinate system by its
    file.

    Args:
        about: {name: text} of how the map was made, with scene and source and, if known, product and acquired.
        grid: PixelGrid of the map.
    """
    parts = [_place(about, grid), date_text(about.get("acquired", ""))]
    if earlier := date_text(about.get("acquired_before", "")):
        parts.append(f"new since {earlier}")
    elif "before" in about:
        parts.append("new since an earlier picture")
    return "Landslides: " + ", ".join(filter(None, parts))


def _place(about, grid):
    """Return what names the scene in a title."""
    if "product" in about:
        satellite = re.search(r"Sentinel-2|Landsat \d", about["product"])
        if tile := re.search(r"(?:^|_)T?(\d\d[A-Z]{3})_", about["scene"]):
            return f"{satellite[0] if satellite else about['product']}, tile {tile[1]}"
        if path_row := re.search(r"_(\d{3})(\d{3})_\d{8}_", about["scene"]):
            return f"{satellite[0] if satellite else about['product']}, path {path_row[1]}, row {path_row[2]}"
        return about["scene"]
    if grid.crs:
        lon, lat = grid.lon_lat(grid.width / 2, grid.height / 2)
        return position_text(float(lon), float(lat))
    return re.split(r"[/\\]", about["source"])[-1]


def position_text(lon, lat):
    """Return a position in words, to about a kilometre: "46.04° N, 7.69° E"."""
    lon = (lon + 180) % 360 - 180
    return f"{abs(lat):.2f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.2f}° {'E' if lon >= 0 else 'W'}"


def resolution_text(grid):
    """Return the size of a grid in words: "512 x 512 pixels of 10 m"."""
    size = f"{grid.height} x {grid.width} pixels"
    if not grid.crs:
        return size
    across, down = (float(np.median(plane)) for plane in grid.pixel_size)
    square = abs(across / down - 1) < 0.05
    return f"{size} of {grid.metres:.3g} m" if square else f"{size} of {across:.3g} x {down:.3g} m"
