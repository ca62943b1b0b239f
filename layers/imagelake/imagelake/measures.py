"""Numbers that describe a grey image (mode L), for provided scripts; on small images Pillow beats NumPy."""

import math
from collections.abc import Iterable, Sequence

from PIL import Image, ImageFilter

_LAPLACIAN = (0, 1, 0, 1, -4, 1, 0, 1, 0)
_COSINES = [[math.cos(math.pi * (2 * x + 1) * u / 64) for x in range(32)] for u in range(8)]


def perceptual_hash(gray: Image.Image) -> str:
    """64 bits as 16 hexadecimal digits; copies of a picture differ in few of them.

    The signs of the 64 lowest frequencies, around their median, of the cosine transform of 32 x 32 pixels.
    """
    pixels = [float(level) for level in gray.resize((32, 32), Image.Resampling.BOX).tobytes()]
    rows = [[_dot(cosines, pixels[start : start + 32]) for cosines in _COSINES] for start in range(0, 1024, 32)]
    frequencies = [_dot(cosines, column) for cosines in _COSINES for column in zip(*rows, strict=True)]
    median = sorted(frequencies[1:])[31]
    return _to_hex(frequency > median for frequency in frequencies)


def difference_hash(gray: Image.Image) -> str:
    """64 bits as 16 hexadecimal digits: whether each of 8 x 8 pixels is brighter than its right neighbour."""
    pixels = gray.resize((9, 8), Image.Resampling.BOX).tobytes()
    return _to_hex(pixels[y * 9 + x] > pixels[y * 9 + x + 1] for y in range(8) for x in range(8))


def brightness(gray: Image.Image) -> float:
    """The mean, 0 (black) to 1 (white)."""
    return _mean(gray.histogram()) / 255


def contrast(gray: Image.Image) -> float:
    """The standard deviation: 0 for one colour, 0.5 for black and white halves."""
    histogram = gray.histogram()
    mean = _mean(histogram)
    squares = sum((level - mean) ** 2 * pixels for level, pixels in enumerate(histogram))
    return math.sqrt(squares / sum(histogram)) / 255


def sharpness(gray: Image.Image) -> float:
    """The variance of the Laplacian, without a border of one pixel; 0 for a picture that is nothing but border."""
    width, height = gray.size
    if min(width, height) < 3:
        return 0.0
    positive, negative = _laplacian(gray, 1), _laplacian(gray, -1)
    squares = sum(level * level * (positive[level] + negative[level]) for level in range(256))
    return squares / sum(positive) - (_mean(positive) - _mean(negative)) ** 2


def _laplacian(gray: Image.Image, sign: int) -> list[int]:
    """Histogram of one half of the values: filters clip below zero, so the other half is left at 0."""
    kernel = ImageFilter.Kernel((3, 3), [sign * weight for weight in _LAPLACIAN], scale=1)
    return gray.filter(kernel).crop((1, 1, gray.width - 1, gray.height - 1)).histogram()


def _mean(histogram: list[int]) -> float:
    return sum(level * pixels for level, pixels in enumerate(histogram)) / sum(histogram)


def _dot(left: list[float], right: Sequence[float]) -> float:
    return sum(map(float.__mul__, left, right))


def _to_hex(bits: Iterable[bool]) -> str:
    number = 0
    for bit in bits:
        number = number << 1 | bit
    return f"{number:016x}"
