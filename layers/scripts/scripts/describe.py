"""What an image shows and what its camera wrote: the columns of the catalog that scripts fill."""

import math
from datetime import UTC, datetime
from typing import Any

from PIL import Image, ImageFilter
from PIL.ExifTags import GPS, IFD, Base
from PIL.Image import Exif

LARGEST_SIDE = 256

_LAPLACIAN = (0, 1, 0, 1, -4, 1, 0, 1, 0)
_COSINES = [[math.cos(math.pi * (2 * x + 1) * u / 64) for x in range(32)] for u in range(8)]


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001  # the contract has it
    """Return metadata; what the file does not say, or says unreadably, is None."""
    return {"metadata": read_camera(image.getexif()) | measure(image)}


def read_camera(exif: Exif) -> dict[str, Any]:
    """Make, model, time in UTC and place in degrees (WGS 84)."""
    details, place = _directory(exif, IFD.Exif), _directory(exif, IFD.GPSInfo)
    return {
        "camera_make": _text(exif.get(Base.Make)),
        "camera_model": _text(exif.get(Base.Model)),
        "taken_at": _moment(details.get(Base.DateTimeOriginal), details.get(Base.OffsetTimeOriginal))
        or _moment(details.get(Base.DateTimeDigitized), details.get(Base.OffsetTimeDigitized))
        or _moment(exif.get(Base.DateTime), details.get(Base.OffsetTime)),
        "gps_lat": _degrees(place.get(GPS.GPSLatitude), place.get(GPS.GPSLatitudeRef), "S", 90),
        "gps_lon": _degrees(place.get(GPS.GPSLongitude), place.get(GPS.GPSLongitudeRef), "W", 180),
    }


def measure(image: Image.Image) -> dict[str, Any]:
    """Perceptual hash, dominant colour, brightness (0 to 1) and sharpness (variance of the Laplacian)."""
    gray = image.convert("L")
    histogram = gray.histogram()
    return {
        "phash": perceptual_hash(gray),
        "dominant_color": _dominant_color(image),
        "brightness": round(_mean(histogram) / 255, 4),
        "sharpness": round(_sharpness(gray), 2),
    }


def perceptual_hash(gray: Image.Image) -> str:
    """64 bits as 16 hexadecimal digits: signs of the lowest frequencies around their median (DCT of 32 x 32)."""
    pixels = gray.resize((32, 32), Image.Resampling.BOX).tobytes()
    rows = [
        [sum(map(float.__mul__, cosines, map(float, pixels[y * 32 : y * 32 + 32]))) for cosines in _COSINES]
        for y in range(32)
    ]
    columns = list(zip(*rows, strict=True))
    frequencies = [sum(map(float.__mul__, cosines, column)) for cosines in _COSINES for column in columns]
    median = sorted(frequencies[1:])[31]
    return f"{sum(1 << bit for bit, value in enumerate(reversed(frequencies)) if value > median):016x}"


def _sharpness(gray: Image.Image) -> float:
    """Filters clip at 0 and 255, so the positive and the negative half are measured apart."""
    width, height = gray.size
    if width < 3 or height < 3:
        return 0.0
    inner = (1, 1, width - 1, height - 1)
    halves = [
        gray.filter(ImageFilter.Kernel((3, 3), [sign * weight for weight in _LAPLACIAN], scale=1))
        .crop(inner)
        .histogram()
        for sign in (1, -1)
    ]
    squares = sum(count * value * value for half in halves for value, count in enumerate(half))
    return squares / ((width - 2) * (height - 2)) - (_mean(halves[0]) - _mean(halves[1])) ** 2


def _mean(histogram: list[int]) -> float:
    return sum(value * count for value, count in enumerate(histogram)) / sum(histogram)


def _dominant_color(image: Image.Image) -> str:
    small = image.convert("RGB").resize((32, 32), Image.Resampling.BOX).quantize(6, Image.Quantize.MEDIANCUT)
    counts = small.histogram()
    most = counts.index(max(counts))
    return "#" + bytes((small.getpalette() or [])[most * 3 : most * 3 + 3]).hex()


def _directory(exif: Exif, tag: IFD) -> dict[int, Any]:
    try:
        return exif.get_ifd(tag)
    except Exception:  # noqa: BLE001  # Pillow raises many types over damaged EXIF data, which is no reason to refuse
        return {}


def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    printable = "".join(letter for letter in value.split("\0")[0] if letter.isprintable())
    return " ".join(printable.split())[:64] or None


def _moment(text: object, offset: object) -> str | None:
    """ISO 8601 in UTC. A camera that does not know its time zone is taken to be in UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.strptime(text.strip("\0 ")[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        zone = datetime.strptime(str(offset).strip("\0 "), "%z").tzinfo if offset else UTC
        return moment.replace(tzinfo=zone).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        return None


def _degrees(parts: Any, reference: object, negative: str, limit: int) -> float | None:
    """Degrees, minutes and seconds as a signed number; None when a denominator is zero or the place is not on Earth."""
    try:
        degrees, minutes, seconds = (float(part) for part in parts)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    if not 0 <= value <= limit:
        return None
    return round(-value if str(reference).strip("\0 ").upper() == negative else value, 7)
