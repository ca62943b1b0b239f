"""Small pictures for tests, made when asked for."""

import base64
from io import BytesIO
from typing import Any

from PIL import Image, ImageDraw


def photo(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """A gradient with a white square in its upper left corner."""
    image = Image.radial_gradient("L").resize((width, height))
    image = Image.merge("RGB", (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.point(lambda v: v // 2)))
    ImageDraw.Draw(image).rectangle((0, 0, width // 4, height // 4), fill="white")
    return image.convert(mode)


def encoded(image: Image.Image, image_format: str = "JPEG", **settings: Any) -> bytes:
    """`image` as a file."""
    file = BytesIO()
    image.save(file, image_format, **settings)
    return file.getvalue()


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoQABAAAAAAAAAB0AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5j"
    "bHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBp"
    "eGkAAAAAAwgICAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAACVtZGF0AAAAGSgBrwQY+AkLfY7HmeoW3Qk8H8GjJNIG28A="
)
"""A grey ramp of 64 x 48 pixels; nothing that is installed here encodes HEIC."""
