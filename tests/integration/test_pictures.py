"""What comes out looks like what went in: turned, transparent, other colour spaces, other depths, animated."""

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageCms, ImageDraw, ImageStat

from imagelake.engine.runner import Limits, find_scripts, run_scripts
from tests.unit.pictures import encoded


def flag(width: int = 1400, height: int = 700) -> Image.Image:
    """Red, green and blue stripes, with a white corner on the upper left."""
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for number, color in enumerate(("#c02020", "#20a040", "#2040c0")):
        draw.rectangle((number * width // 3, 0, (number + 1) * width // 3, height), fill=color)
    draw.rectangle((0, 0, width // 6, height // 4), fill="white")
    return image


def thumb(content: bytes, limits: Limits | None = None) -> Image.Image:
    result = run_scripts(content, find_scripts(["thumbnails"]), {}, limits or Limits(), 20)
    (made,) = (made for made in result.derivatives if made.name == "thumb_1024")
    return Image.open(BytesIO(made.content))


def difference(image: Image.Image, expected: Image.Image) -> float:
    """Mean distance of the colours, 0 to 255."""
    assert image.size == expected.size
    pairs = zip(image.convert("RGB").split(), expected.convert("RGB").split(), strict=True)
    merged = [Image.blend(a, b.point(lambda level: 255 - level), 0.5) for a, b in pairs]
    return max(ImageStat.Stat(band).stddev[0] * 2 for band in merged)


EXPECTED = flag(1024, 512)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_put_upright(image_format: str, orientation: int) -> None:
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation](flag())
    exif = Image.Exif()
    exif[274] = orientation
    assert difference(thumb(encoded(stored, image_format, exif=exif)), EXPECTED) < 8


def gradient_alpha(image: Image.Image) -> Image.Image:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("progressive", lambda: encoded(flag(), "JPEG", progressive=True)),
        ("cmyk", lambda: encoded(flag().convert("CMYK"), "JPEG")),
        ("palette gif", lambda: encoded(flag().quantize(64), "GIF")),
        ("palette png", lambda: encoded(flag().quantize(64), "PNG")),
        ("lossless webp", lambda: encoded(flag(), "WEBP", lossless=True)),
        (
            "animated webp",
            lambda: encoded(flag(), "WEBP", save_all=True, append_images=[Image.new("RGB", (1400, 700))]),
        ),
        (
            "animated gif",
            lambda: encoded(flag().quantize(64), "GIF", save_all=True, append_images=[Image.new("P", (1400, 700))]),
        ),
        ("animated png", lambda: encoded(flag(), "PNG", save_all=True, append_images=[Image.new("RGB", (1400, 700))])),
        ("bmp", lambda: encoded(flag(), "BMP")),
        ("lzw tiff", lambda: encoded(flag(), "TIFF", compression="tiff_lzw")),
        ("opaque alpha", lambda: encoded(flag().convert("RGBA"), "PNG")),
    ],
)
def test_colors_stay(name: str, make: Callable[[], bytes]) -> None:
    assert difference(thumb(make()), EXPECTED) < 12, name


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_transparency_stays(image_format: str) -> None:
    picture = thumb(encoded(gradient_alpha(flag()), image_format))
    assert picture.format == "WEBP"
    alpha = picture.getchannel("A")
    assert ImageStat.Stat(alpha.crop((0, 0, 1024, 8))).mean[0] < 10
    assert ImageStat.Stat(alpha.crop((0, 504, 1024, 512))).mean[0] > 240
    assert difference(picture.convert("RGB").crop((0, 400, 1024, 512)), EXPECTED.crop((0, 400, 1024, 512))) < 12


def test_16_bits_keep_their_levels() -> None:
    levels = Image.linear_gradient("L").resize((1400, 700))
    deep = levels.convert("I").point(lambda level: level * 257).convert("I;16")
    expected = levels.resize((1024, 512))
    assert difference(thumb(encoded(deep, "PNG")), expected) < 4
    assert difference(thumb(encoded(deep, "TIFF")), expected) < 4


def test_floating_point_is_stretched_over_the_range_that_occurs() -> None:
    levels = Image.linear_gradient("L").resize((1400, 700))
    deep = levels.convert("F").point(lambda level: level * 0.001 + 5)
    assert difference(thumb(encoded(deep, "TIFF")), levels.resize((1024, 512))) < 4


def test_another_color_space_becomes_srgb() -> None:
    srgb = ImageCms.createProfile("sRGB")
    wide = ImageCms.ImageCmsProfile(srgb).tobytes().replace(b"s\0R\0G\0B", b"w\0i\0d\0e").replace(b"sRGB", b"wide")
    picture = thumb(encoded(flag(), "JPEG", icc_profile=wide))
    assert "icc_profile" not in picture.info
    assert difference(picture, EXPECTED) < 12
