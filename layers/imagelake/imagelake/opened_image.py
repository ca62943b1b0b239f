"""The image a script gets: decoded when first looked at, upright, and only as large as the script asks for.

All scripts of a chain share one decode. A script that sets `LARGEST_SIDE` gets a *display image*: scaled down to that
side (never up), sRGB, 8 bit, mode L, LA, RGB or RGBA. One that does not gets every pixel in the mode of the file.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from typing import Any, cast

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imagelake import webp_decoder
from imagelake.errors import Rejection
from imagelake.image_guard import Header
from imagelake.reason import Reason
from imagelake.script_metadata import Json
from imagelake.webp_decoder import StillWebPFile

ORIENTATION = 274
_OVERSAMPLING = 1.5
"""Reduced decoding stops at this many times the wanted side; at 1.0 the result is visibly soft."""

_OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TURNED_BY_DECODER = frozenset({"TIFF", "HEIF"})

Image.MAX_IMAGE_PIXELS = None  # `image_guard` has checked against our own limits, which may be higher


class Decoding:
    """One file on its way to pixels, and the views of them that scripts ask for.

    Args:
        content: the file.
        header: what the guard found in it.
        sides: the `LARGEST_SIDE` of every script that will ask for a view, None for every pixel.
        phase: announces, as a context manager, that the decoder is at work.

    Raises:
        Rejection: the decoder cannot open the file.
    """

    def __init__(
        self,
        content: bytes,
        header: Header,
        sides: Iterable[int | None],
        phase: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        with _decoder_faults():
            source = _open(content, header)
            if header.format == "PNG":
                source.load()  # EXIF data can come after the pixels
            self._source: ImageFile.ImageFile | None = source
            self.exif = _read_exif(source)
            self.orientation = _orientation(self.exif)
        self.format = header.format
        self.info = dict(source.info)
        self.stored: dict[str, Json] = {
            "format": header.format,
            "width": header.width,
            "height": header.height,
            "mode": source.mode,
            "frames": header.frames,
            "orientation": self.orientation,
        }
        self.info["stored"] = self.stored
        self._phase = phase
        self._views: dict[int | None, Image.Image] = {}
        self._sides = sorted(set(sides), key=lambda side: -(side or 1 << 30))

    def view(self, side: int | None) -> Image.Image:
        """The picture for a script that asks for `side`; decoded once, at the largest size anyone asks for.

        Raises:
            Rejection: the file is damaged.
        """
        if side not in self._views:
            larger = [other for other in self._sides if (other or 1 << 30) > (side or 1 << 30)]
            if larger:
                self._views[side] = fit(self.view(larger[-1]), side) if side else self.view(None)
            else:
                self._views[side] = self._decode(side)
        return self._views[side]

    def _decode(self, side: int | None) -> Image.Image:
        with self._phase("decoder"), _decoder_faults():
            image = self._load(side)
            if side:
                image = fit(image, side)
            upright = None if self.format in _TURNED_BY_DECODER else _UPRIGHT.get(self.orientation)
            return image.transpose(upright) if upright is not None else image

    def _load(self, side: int | None) -> Image.Image:
        """The decoded picture; where decoding less is possible, of at least the wanted side by `_OVERSAMPLING`."""
        source, self._source = self._source, None  # what is not needed any more is freed while scripts run
        if source is None:
            raise RuntimeError("a picture is decoded once")
        width, height = source.size
        scale = min(1.0, _OVERSAMPLING * side / max(width, height)) if side else 1.0
        size = max(1, int(width * scale)), max(1, int(height * scale))
        source.draft(None, size)
        source.load()
        return source


class OpenedImage(Image.Image):
    """A view of a `Decoding` that decodes when its size, mode or pixels are first asked for.

    `info["stored"]` has the header's facts: `format`, `width`, `height`, `mode`, `frames`, `orientation`. The EXIF
    data has no orientation, since the picture is upright already.
    """

    def __init__(self, decoding: Decoding, side: int | None) -> None:
        super().__init__()
        self._decoding: Decoding | None = decoding
        self._side = side
        self._exif_source = decoding.exif
        self.format = decoding.format
        self.info = dict(decoding.info)

    def _decode(self) -> None:
        if self._decoding is None:
            return
        view = self._decoding.view(self._side)
        self._decoding = None
        self._im, self._mode, self._size = view.im, view.mode, view.size
        self.palette = view.palette.copy() if view.palette else None
        self.readonly = 1  # other scripts share these pixels: Pillow copies them before it changes them in place
        self.info = {name: value for name, value in self.info.items() if name not in _PIXEL_INFO}
        self.info |= {name: view.info[name] for name in _PIXEL_INFO if name in view.info}

    @property
    def im(self) -> Any:
        """The pixels."""
        self._decode()
        return super().im

    @im.setter
    def im(self, im: Any) -> None:
        self._im = im

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture as this script gets it."""
        self._decode()
        return self._size

    @property
    def mode(self) -> str:
        """Pillow's mode of the picture as this script gets it."""
        self._decode()
        return self._mode

    def load(self) -> Any:
        """Decode, if that has not happened yet.

        Raises:
            Rejection: the file is damaged.
        """
        self._decode()
        return super().load()

    def getexif(self) -> Image.Exif:
        """The EXIF data without the orientation."""
        if self._exif is None:
            self._exif = self._exif_source
            self._exif.pop(ORIENTATION, None)
        return self._exif


_PIXEL_INFO = ("transparency", "icc_profile")


def fit(image: Image.Image, side: int) -> Image.Image:
    """`image` as a display image of at most `side` pixels a side; itself when it is one already."""
    width, height = image.size
    if max(width, height) <= side:
        return to_display(image)
    scale = side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return to_display(_shrink(_to_resizable(image), size))


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """By whole factors first, which is cheap, and then bicubic by what is left.

    An alpha channel that hides nothing is dropped, and the costly multiplication with it saved.
    """
    if image.mode in ("LA", "RGBA"):
        if image.im.getband(len(image.mode) - 1).getextrema()[0] < 255:
            return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=_OVERSAMPLING)
        opaque = image._new(_shrink_pixels(image.im, size))
        return opaque.convert(image.mode.removesuffix("A"))
    return image._new(_shrink_pixels(image.im, size))


def _shrink_pixels(pixels: Any, size: tuple[int, int]) -> Any:
    (width, height), (to_width, to_height) = pixels.size, size
    across, down = (max(1, int(full / small / _OVERSAMPLING)) for full, small in zip(pixels.size, size, strict=True))
    if across > 1 or down > 1:
        pixels = pixels.reduce((across, down), (0, 0, width, height))
    box = (0, 0, width / across, height / down)
    return pixels.resize((to_width, to_height), Image.Resampling.BICUBIC, box)


def _to_resizable(image: Image.Image) -> Image.Image:
    """Without palette, single bits, or 16 bits."""
    if image.mode in ("P", "PA", "1") or "transparency" in image.info:
        return _expand(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bit(image)
    return image


def _expand(image: Image.Image) -> Image.Image:
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Integers are taken as 16 bit; other values are stretched over the range that occurs."""
    if image.mode != "F":
        image = image if image.mode == "I" else image.convert("I")
        low, high = _extremes(image)
        if low >= 0 and high <= 0xFFFF:
            return image.point([value >> 8 for value in range(0x10000)], "L")
        image = image.convert("F")
    low, high = _extremes(image)
    scale = 255 / (high - low) if 0 < high - low < float("inf") else 0.0
    return image.point(lambda value: value * scale + -low * scale).convert("L")


def _extremes(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest value of the only band."""
    low, high = cast("tuple[float, float]", image.getextrema())
    return low, high


def to_display(image: Image.Image) -> Image.Image:
    """`image` as sRGB of 8 bit in mode L, LA, RGB or RGBA; itself when it is that already."""
    image = to_srgb(_to_resizable(image))
    if image.mode in ("LA", "RGBA") and image.getchannel("A").getextrema()[0] == 255:
        return image.convert(image.mode.removesuffix("A"))
    return image if image.mode in ("L", "LA", "RGB", "RGBA") else image.convert("RGB")


def to_srgb(image: Image.Image) -> Image.Image:
    """`image` in sRGB without a colour profile. A profile that cannot be used is ignored, as viewers do."""
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    if not _is_srgb(profile) and image.mode in ("L", "RGB", "RGBA", "CMYK"):
        image = _convert_profile(image, profile)
    else:
        image = image._new(image.im)
    image.info.pop("icc_profile", None)
    return image


def _is_srgb(profile: bytes) -> bool:
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def _convert_profile(image: Image.Image, profile: bytes) -> Image.Image:
    from PIL import ImageCms

    mode = {"CMYK": "RGB"}.get(image.mode, image.mode)
    try:
        with_profile = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            outputMode="RGB" if mode == "L" else mode,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image._new(image.im)
    return with_profile if with_profile is not None else image


def _open(content: bytes, header: Header) -> ImageFile.ImageFile:
    if header.format == "HEIF":
        from pi_heif import HeifImageFile, options  # type: ignore[import-untyped]  # it ships no types

        options.DECODE_THREADS = 1
        heif: ImageFile.ImageFile = HeifImageFile(BytesIO(content))
        return heif
    if header.format == "WEBP" and header.frames == 1 and webp_decoder.is_available():
        return StillWebPFile(BytesIO(content))
    return _OPENERS[header.format](BytesIO(content))


def _read_exif(source: Image.Image) -> Image.Exif:
    """The EXIF data, empty when it cannot be read: that is no reason to refuse a picture."""
    try:
        return source.getexif()
    except Exception:  # noqa: BLE001  # Pillow has no one type for it
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ORIENTATION, 1)
    return value if value in _UPRIGHT else 1


class _decoder_faults:  # noqa: N801  # used as a statement, like `suppress`
    """Turns whatever a decoder raises over a file into a rejection; Pillow raises many types beside its own."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, Rejection):
            return
        if isinstance(error, MemoryError):
            raise Rejection(Reason.DECODER_MEMORY, "decoding takes more memory than is allowed") from None
        truncated = isinstance(error, EOFError) or "truncated" in str(error)
        reason = Reason.TRUNCATED if truncated else Reason.CORRUPT
        raise Rejection(reason, f"the decoder gave up: {type(error).__name__}") from None
