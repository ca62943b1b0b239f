"""Still WebP pictures through the libwebp inside Pillow, but scaled while they are decoded.

Pillow decodes WebP as an animation: two canvases, a copy, and the picture, 16 bytes a pixel. libwebp alone needs the
picture, and where that is to be scaled down, for lossy files, no more than a few rows of it.
"""

import ctypes
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile

_DECODER_ABI = 0x0209
_COLORSPACES = {"RGB": 0, "RGBA": 1}
_METADATA = {b"ICCP": "icc_profile", b"EXIF": "exif", b"XMP ": "xmp"}
_OUT_OF_MEMORY, _NOT_ENOUGH_DATA = 1, 7


class _Features(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("width", "height", "has_alpha", "has_animation", "format")),
        ("padding", ctypes.c_uint32 * 5),
    ]  # fmt: skip


class _Buffer(ctypes.Structure):
    """`WebPDecBuffer`, its union seen as RGBA."""

    _fields_ = [
        *((name, ctypes.c_int) for name in ("colorspace", "width", "height", "is_external_memory")),
        ("pixels", ctypes.c_void_p),
        ("stride", ctypes.c_int),
        ("size", ctypes.c_size_t),
        ("rest_of_union", ctypes.c_uint8 * 56),
        ("padding", ctypes.c_uint32 * 4),
        ("private_memory", ctypes.c_void_p),
    ]  # fmt: skip


class _Options(ctypes.Structure):
    _fields_ = [
        *(
            (name, ctypes.c_int)
            for name in (
                "bypass_filtering", "no_fancy_upsampling", "use_cropping", "crop_left", "crop_top", "crop_width",
                "crop_height", "use_scaling", "scaled_width", "scaled_height", "use_threads", "dithering_strength",
                "flip", "alpha_dithering_strength",
            )
        ),
        ("padding", ctypes.c_uint32 * 5),
    ]  # fmt: skip


class _Config(ctypes.Structure):
    _fields_ = (("input", _Features), ("output", _Buffer), ("options", _Options))


class StillWebPFile(ImageFile.ImageFile):
    """A WebP picture as Pillow's own class would give it, except that `draft` takes any size.

    Raises:
        SyntaxError: an animation, or a damaged header.
    """

    format = "WEBP"
    format_description = "WebP still image"

    def _open(self) -> None:
        self._content = self.fp.read() if self.fp else b""
        self._config = _Config()
        library = _library()
        library.WebPInitDecoderConfigInternal(ctypes.byref(self._config), _DECODER_ABI)
        features = self._config.input
        status = library.WebPGetFeaturesInternal(
            self._content, len(self._content), ctypes.byref(features), _DECODER_ABI
        )
        if status or features.has_animation:
            raise SyntaxError("not a still WebP picture")
        self._mode = "RGBA" if features.has_alpha else "RGB"
        self._size = features.width, features.height
        self.info.update(_read_metadata(self._content))

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> None:
        """Have the picture decoded at `size`; its mode does not change."""
        del mode
        self._size = size or self._size

    def load(self) -> Any:
        """Decode.

        Raises:
            MemoryError: it does not fit.
            OSError: the file is damaged; the message has "truncated" in it when it is too short.
        """
        if self._im is None:
            self._im = self._decode().im
        return Image.Image.load(self)

    def _decode(self) -> Image.Image:
        (width, height), config = self.size, self._config
        stride = width * len(self.mode)
        pixels = bytearray(stride * height)
        memory = (ctypes.c_uint8 * len(pixels)).from_buffer(pixels)
        config.output.colorspace = _COLORSPACES[self.mode]
        config.output.is_external_memory = 1
        config.output.pixels = ctypes.addressof(memory)
        config.output.stride, config.output.size = stride, len(pixels)
        config.options.use_scaling = self.size != (config.input.width, config.input.height)
        config.options.scaled_width, config.options.scaled_height = self.size
        _check(_library().WebPDecode(self._content, len(self._content), ctypes.byref(config)))
        self._content = b""
        return Image.frombuffer(self.mode, self.size, pixels, "raw", self.mode, 0, 1)


def _read_metadata(content: bytes) -> dict[str, bytes]:
    """The chunks Pillow knows, by its names."""
    (length,) = struct.unpack_from("<I", content, 4)
    metadata, position, end = {}, 12, min(len(content), length + 8)
    while position + 8 <= end:
        kind, size = struct.unpack_from("<4sI", content, position)
        if kind in _METADATA:
            metadata[_METADATA[kind]] = content[position + 8 : position + 8 + size]
        position += 8 + size + (size & 1)
    return metadata


def is_available() -> bool:
    """Whether Pillow brings a libwebp of its own that can be called."""
    return _library() is not None


def _check(status: int) -> None:
    if status == _OUT_OF_MEMORY:
        raise MemoryError
    if status:
        raise OSError("the WebP file is " + ("truncated" if status == _NOT_ENOUGH_DATA else "damaged"))


@cache
def _library() -> Any:
    pillow = find_spec("PIL")
    folders = [Path(folder).parent / "pillow.libs" for folder in (pillow and pillow.submodule_search_locations) or []]
    for folder in folders:
        for file in folder.glob("libwebp-*.so*"):
            library = ctypes.CDLL(str(file))
            library.WebPDecode.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
            library.WebPGetFeaturesInternal.argtypes = [
                ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int,
            ]  # fmt: skip
            return library
    return None
