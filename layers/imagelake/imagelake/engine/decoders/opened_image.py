"""The image a script gets: decoded when first looked at, upright, and only as large as the script asks for.

All scripts of a chain share one decode. A script that sets `LARGEST_SIDE` gets a *display image*: scaled down to that
side (never up), sRGB, 8 bit, mode L, LA, RGB or RGBA. One that does not gets every pixel in the mode of the file.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from io import BytesIO
from math import inf
from typing import Any

from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from imagelake.engine.decoders import webp
from imagelake.engine.decoders.display import fit, fitted
from imagelake.engine.decoders.jpeg import ScaledJpegFile
from imagelake.engine.decoders.webp import StillWebPFile
from imagelake.engine.guard import Header
from imagelake.engine.json_value import Json
from imagelake.engine.reason_codes import Reason
from imagelake.errors import Rejection

ORIENTATION = 274
_OPENERS: dict[str, Callable[[BytesIO], ImageFile.ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": ScaledJpegFile,
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

Image.MAX_IMAGE_PIXELS = None  # `guard` has checked against our own limits, which may be higher


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
        self._rejection: Rejection | None = None
        self._phase = phase
        self._views: dict[float, Image.Image] = {}
        self._sides = {side or inf for side in sides}

    def view(self, side: int | None) -> Image.Image:
        """The picture for a script that asks for `side`; decoded once, at the largest size anyone asks for.

        Raises:
            Rejection: the file is damaged; every time, so that a script which takes no notice harms no other.
        """
        self.check()
        try:
            return self._view(side or inf)
        except Rejection as rejection:
            self._rejection = rejection
            raise

    def check(self) -> None:
        """Say again what was wrong with the file, if a view of it was asked for.

        Raises:
            Rejection: the file is damaged.
        """
        if self._rejection is not None:
            raise self._rejection

    def _view(self, side: float) -> Image.Image:
        if side not in self._views:
            larger = min((other for other in self._sides if other > side), default=None)
            self._views[side] = self._decode(side) if larger is None else fit(self._view(larger), side)
        return self._views[side]

    def _decode(self, side: float) -> Image.Image:
        source, self._source = self._source, None  # what is not needed any more is freed while scripts run
        if source is None:
            raise RuntimeError("a picture is decoded once")
        with self._phase("decoder"), _decoder_faults():
            image = _load(source) if side == inf else _load_at(source, side)
            upright = None if self.format in _TURNED_BY_DECODER else _UPRIGHT.get(self.orientation)
            return image.transpose(upright) if upright is not None else image


class OpenedImage(Image.Image):
    """A view of a `Decoding` that decodes when its size, mode or pixels are first asked for.

    `info["stored"]` has the header's facts: `format`, `width`, `height`, `mode`, `frames`, `orientation`. The EXIF
    data has no orientation, since the picture is upright already. What a script changes is its own: other scripts get
    what the file has.
    """

    def __init__(self, decoding: Decoding, side: int | None) -> None:
        super().__init__()
        self._decoding: Decoding | None = decoding
        self._side = side
        self._exif_source = decoding.exif
        self.format = decoding.format
        self.info = deepcopy(decoding.info)
        self.readonly = 1  # other scripts share the pixels: Pillow copies them before it changes them in place

    def _decode(self) -> None:
        if self._decoding is None:
            return
        view = self._decoding.view(self._side)
        self._decoding = None
        self._im, self._mode, self._size = view.im, view.mode, view.size
        self.palette = view.palette.copy() if view.palette else None
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
            file = getattr(self._exif_source, "fp", None)
            self._exif = deepcopy(self._exif_source, {id(file): file})  # the file itself is only read
            self._exif.pop(ORIENTATION, None)
        return self._exif


_PIXEL_INFO = ("transparency", "icc_profile")


def _open(content: bytes, header: Header) -> ImageFile.ImageFile:
    if header.format == "HEIF":
        from pi_heif import HeifImageFile, options  # type: ignore[import-untyped]  # it ships no types

        options.DECODE_THREADS = 1
        heif: ImageFile.ImageFile = HeifImageFile(BytesIO(content))
        return heif
    if header.format == "WEBP" and header.frames == 1 and webp.is_available():
        return StillWebPFile(BytesIO(content))
    return _OPENERS[header.format](BytesIO(content))


def _load(source: ImageFile.ImageFile) -> Image.Image:
    source.load()
    return source


def _load_at(source: ImageFile.ImageFile, side: float) -> Image.Image:
    """A progressive JPEG spends its time before scaling, so there the finer scale costs next to nothing."""
    oversampling = 1.5 if "progressive" in source.info else 1.0
    source.draft(None, fitted(source.size, side * oversampling))
    source.load()
    return fit(source, side)


def _read_exif(source: Image.Image) -> Image.Exif:
    """The EXIF data, empty when it cannot be read: that is no reason to refuse a picture."""
    try:
        return source.getexif()
    except Exception:  # noqa: BLE001  # Pillow has no one type for it
        return Image.Exif()


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ORIENTATION, 1)
    return value if value in _UPRIGHT else 1


@contextmanager
def _decoder_faults() -> Iterator[None]:
    """Turns whatever a decoder raises over a file into a rejection; Pillow raises many types beside its own."""
    try:
        yield
    except Rejection:
        raise
    except MemoryError:
        raise Rejection(Reason.DECODER_MEMORY, "decoding takes more memory than is allowed") from None
    except Exception as error:  # noqa: BLE001  # see above
        truncated = isinstance(error, EOFError) or "truncated" in str(error)
        reason = Reason.TRUNCATED if truncated else Reason.CORRUPT
        raise Rejection(reason, f"the decoder gave up: {type(error).__name__}") from None
