"""Pictures that scripts stumble over, made on the spot."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

from PIL import Image

_ORIENTATION = 274


def make() -> Iterator[tuple[str, bytes]]:
    """Names and files."""
    picture = _paint(640, 480)
    turned = Image.Exif()
    turned[_ORIENTATION] = 6
    translucent = picture.copy()
    translucent.putalpha(Image.linear_gradient("L").resize(picture.size))
    frames = [picture.convert("P"), picture.transpose(Image.Transpose.ROTATE_180).convert("P")]
    yield "photo.jpg", _save(picture, "JPEG")
    yield "turned.jpg", _save(picture, "JPEG", exif=turned)
    yield "grey.jpg", _save(picture.convert("L"), "JPEG")
    yield "cmyk.jpg", _save(picture.convert("CMYK"), "JPEG")
    yield "transparent.png", _save(translucent, "PNG")
    yield "palette.png", _save(picture.convert("P"), "PNG", transparency=0)
    yield "one-bit.png", _save(picture.convert("1"), "PNG")
    yield "16-bit.png", _save(picture.convert("I").point(lambda value: value * 256).convert("I;16"), "PNG")
    yield "one-pixel.png", _save(_paint(1, 1), "PNG")
    yield "thin.png", _save(_paint(2, 4000), "PNG")
    yield "animated.gif", _save(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield "animated.webp", _save(picture, "WEBP", save_all=True, append_images=[frames[1].convert("RGB")])
    yield "float.tiff", _save(picture.convert("F"), "TIFF")
    yield "large.jpg", _save(_paint(6000, 4000), "JPEG")


def _paint(width: int, height: int) -> Image.Image:
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    bands = [band.resize((width, height)) for band in (across, down, Image.radial_gradient("L"))]
    return Image.merge("RGB", bands)


def _save(image: Image.Image, image_format: str, **settings: Any) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **settings)
    return file.getvalue()
