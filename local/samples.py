"""Sample pictures: landscapes painted by this script, in several formats, and some files that are no good.

python -m local.samples FOLDER
"""

import io
import random
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps
from PIL.ExifTags import GPS, IFD, Base


@dataclass(frozen=True)
class Sample:
    """A file to upload.

    Args:
        filename: what its owner calls it.
        content_type: what its owner says it is.
        content: its bytes.
        status: what should become of it, `processed` or `rejected`.
    """

    filename: str
    content_type: str
    content: bytes
    status: str


def make_samples() -> list[Sample]:
    """The same files at every call, the good ones first."""
    return [*_good(), *_bad()]


def _good() -> list[Sample]:
    hills = landscape(1600, 1067, seed=1)
    camera = _exif(orientation=1, place=(52.5163, 13.3777), make="Aperture Works", model="AW-1")
    phone = _exif(orientation=6, place=(-33.8568, 151.2153), make="Pocket", model="P 12")
    return [
        _good_one("hills.jpg", "image/jpeg", _encode(hills, "JPEG", quality=88, exif=camera)),
        _good_one("harbour-upright.jpg", "image/jpeg", _sideways(landscape(900, 1200, seed=2), phone)),
        _good_one(
            "dusk.jpg", "image/jpeg", _encode(landscape(2400, 1600, seed=3), "JPEG", quality=80, progressive=True)
        ),
        _good_one("fog.jpg", "image/jpeg", _encode(ImageOps.grayscale(landscape(1024, 768, seed=4)), "JPEG")),
        _good_one("print.jpg", "image/jpeg", _encode(landscape(800, 600, seed=5).convert("CMYK"), "JPEG")),
        _good_one("sticker.png", "image/png", _encode(_vignette(landscape(640, 640, seed=6)), "PNG")),
        _good_one("map.png", "image/png", _encode(landscape(512, 384, seed=7).quantize(64), "PNG")),
        _good_one("meadow.webp", "image/webp", _encode(landscape(1280, 853, seed=8), "WEBP", quality=80)),
        _good_one("scan.tiff", "image/tiff", _encode(landscape(700, 500, seed=9), "TIFF", compression="tiff_lzw")),
        _good_one("icon.bmp", "image/bmp", _encode(landscape(96, 96, seed=10), "BMP")),
        _good_one("sunrise.gif", "image/gif", _animation([landscape(240, 160, seed=11 + i) for i in range(4)])),
    ]


def _bad() -> list[Sample]:
    whole = _encode(landscape(1200, 800, seed=20), "JPEG", quality=88)
    return [
        Sample("notes.jpg", "image/jpeg", b"Shopping list: bread, butter, a tripod.\n" * 40, "rejected"),
        Sample("cut-off.jpg", "image/jpeg", whole[: len(whole) // 3], "rejected"),
        Sample("bomb.png", "image/png", _png_claiming(60_000, 60_000), "rejected"),
        Sample(
            "vector.png", "image/png", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "rejected"
        ),
    ]


def landscape(width: int, height: int, seed: int) -> Image.Image:
    """A picture with sky, sun, hills and grain, much like a photograph in its colours and detail."""
    chance = random.Random(seed)  # noqa: S311  # a picture, no secret
    sky = ImageOps.colorize(
        ImageOps.flip(Image.linear_gradient("L")).resize((width, height)),
        black=chance.choice(["#f6d8b8", "#cfe3ee", "#f3b48a"]),
        white=chance.choice(["#2f5d92", "#4a7fb5", "#24406e"]),
    )
    draw = ImageDraw.Draw(sky)
    x, y, radius = chance.uniform(0.2, 0.8) * width, chance.uniform(0.12, 0.35) * height, height * 0.06
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill="#fff3c4")
    picture = sky.filter(ImageFilter.GaussianBlur(height / 200))
    for layer in range(4):
        picture.paste(_hill_color(chance, layer), mask=_hill(chance, width, height, base=0.5 + 0.13 * layer))
    noise = Image.frombytes("L", (width, height), chance.randbytes(width * height))
    grain = noise.point([112 + value // 8 for value in range(256)]).convert("RGB")
    return ImageChops.add(picture, grain, scale=1.0, offset=-128)


def _hill_color(chance: random.Random, layer: int) -> tuple[int, int, int]:
    shade = 130 - 28 * layer
    return shade - chance.randint(10, 40), shade, shade - chance.randint(20, 50)


def _hill(chance: random.Random, width: int, height: int, base: float) -> Image.Image:
    points = 12
    ridge = [(width * step / points, height * (base + chance.uniform(-0.07, 0.07))) for step in range(points + 1)]
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).polygon([*ridge, (width, height), (0, height)], fill=255)
    return mask.filter(ImageFilter.GaussianBlur(height / 400))


def _exif(orientation: int, place: tuple[float, float], make: str, model: str) -> Image.Exif:
    exif = Image.Exif()
    exif[Base.Orientation] = orientation
    exif[Base.Make], exif[Base.Model] = make, model
    details = exif.get_ifd(IFD.Exif)
    details[Base.DateTimeOriginal], details[Base.OffsetTimeOriginal] = "2026:05:17 18:30:12", "+02:00"
    latitude, longitude = place
    gps = exif.get_ifd(IFD.GPSInfo)
    gps[GPS.GPSLatitudeRef], gps[GPS.GPSLatitude] = "N" if latitude >= 0 else "S", _sexagesimal(latitude)
    gps[GPS.GPSLongitudeRef], gps[GPS.GPSLongitude] = "E" if longitude >= 0 else "W", _sexagesimal(longitude)
    return exif


def _sexagesimal(degrees: float) -> tuple[float, float, float]:
    minutes, seconds = divmod(abs(degrees) * 3600, 60)
    whole, minutes = divmod(minutes, 60)
    return whole, minutes, round(seconds, 2)


def _sideways(upright: Image.Image, exif: Image.Exif) -> bytes:
    """As a phone held upright stores it: turned, with orientation 6."""
    return _encode(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=85, exif=exif)


def _vignette(picture: Image.Image) -> Image.Image:
    alpha = ImageOps.invert(Image.radial_gradient("L")).resize(picture.size)
    picture.putalpha(alpha)
    return picture


def _animation(frames: list[Image.Image]) -> bytes:
    return _encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)


def _encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def _png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few dozen bytes whose header promises gigabytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def _good_one(filename: str, content_type: str, content: bytes) -> Sample:
    return Sample(filename, content_type, content, "processed")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for sample in make_samples():
        (folder / sample.filename).write_bytes(sample.content)
