"""JPEG pictures, scaled while they are decoded; also to 3/8, which Pillow's own class leaves out."""

from typing import Any

from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

_DENOMINATORS = ((8, 1), (4, 2), (3, 3), (2, 4))
"""As libjpeg takes them, and the eighths it makes of them: of 3, the next larger size it can do."""
_WORKSPACE_BYTES = 4_000_000
"""What libjpeg takes at most beside the coefficients."""


class ScaledJpegFile(JpegImageFile):
    """A JPEG whose `draft` takes the smallest scale the decoder knows that is not below `size`."""

    def _open(self) -> None:
        super()._open()
        samples = [across * down for _, across, down, _ in self.layer]
        self._coefficient_bytes = 2 * self.width * self.height * sum(samples) // max(samples)

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> Any:
        """Have the picture decoded smaller; `mode` is left alone."""
        del mode
        if size is None or len(self.tile) != 1:
            return
        for denominator, eighths in _DENOMINATORS:
            if eighths == 3 and "progressive" in self.info:
                continue  # it is a little softer than 4/8, and there it would not save much
            width, height = (-(-side * eighths // 8) for side in self.size)
            if width >= size[0] and height >= size[1]:
                decoder, _, offset, arguments = self.tile[0]
                self.tile = [ImageFile._Tile(decoder, (0, 0, width, height), offset, arguments)]
                self._size = width, height
                self.decoderconfig = (denominator, 0)
                return

    def load(self) -> Any:
        """Decode.

        Raises:
            MemoryError: it does not fit.
            OSError: the file is damaged; the message has "truncated" in it when it is too short.
        """
        try:
            return super().load()
        except OSError:
            if (
                "progressive" in self.info
            ):  # all coefficients are kept; libjpeg being refused the memory looks like damage
                bytearray(self._coefficient_bytes + _WORKSPACE_BYTES)
            raise
