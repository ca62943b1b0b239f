"""Whether an image is worth keeping: blurred, badly exposed, or blank.

`params`, with defaults: `min_detail` (0.03, see `detail`), `max_clipped` (0.5, share of pixels that are black or
white), `min_contrast` (0.02, standard deviation of the brightness, 0 to 0.5).
"""

import math
from typing import Any

from PIL import Image, ImageChops, ImageFilter

LARGEST_SIDE = 512

_DEFAULTS = {"min_detail": 0.03, "max_clipped": 0.5, "min_contrast": 0.02}


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return the measures, and the list of `problems`: `blank`, `blurred`, `overexposed`, `underexposed`."""
    thresholds = {name: float(params.get(name, default)) for name, default in _DEFAULTS.items()}
    gray = image.convert("L")
    histogram = gray.histogram()
    pixels = sum(histogram)
    measures = {
        "contrast": round(contrast(histogram), 4),
        "detail": round(detail(gray), 4),
        "black": round(sum(histogram[:5]) / pixels, 4),
        "white": round(sum(histogram[251:]) / pixels, 4),
    }
    return {"metadata": measures | {"problems": find_problems(measures, thresholds)}}


def contrast(histogram: list[int]) -> float:
    """Standard deviation of the brightness: 0 for one colour, 0.5 for black and white halves."""
    pixels = sum(histogram)
    mean = sum(level * count for level, count in enumerate(histogram)) / pixels
    return math.sqrt(sum((level - mean) ** 2 * count for level, count in enumerate(histogram)) / pixels) / 255


def detail(gray: Image.Image) -> float:
    """What a slight blur (1 px) takes away, as a share of the contrast: little is left to take in a blurred picture."""
    lost = ImageChops.difference(gray, gray.filter(ImageFilter.GaussianBlur(1))).histogram()
    squares = sum(level**2 * count for level, count in enumerate(lost)) / sum(lost)
    return math.sqrt(squares) / 255 / max(contrast(gray.histogram()), 1 / 255)


def find_problems(measures: dict[str, float], thresholds: dict[str, float]) -> list[str]:
    """The names of what is wrong; a blank page is not also called blurred."""
    problems = []
    if measures["contrast"] < thresholds["min_contrast"]:
        problems.append("blank")
    elif measures["detail"] < thresholds["min_detail"]:
        problems.append("blurred")
    if measures["white"] > thresholds["max_clipped"]:
        problems.append("overexposed")
    if measures["black"] > thresholds["max_clipped"]:
        problems.append("underexposed")
    return problems
