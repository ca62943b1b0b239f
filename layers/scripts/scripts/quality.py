"""Whether an image is worth keeping: blurred, badly exposed, or blank.

`params` (with defaults): `min_sharpness` (50.0, variance of the Laplacian at 512 px), `max_clipped` (0.5, share of
pixels that are black or white), `min_contrast` (0.02, standard deviation of the brightness, 0 to 0.5).
"""

from typing import Any

from PIL import Image

from imagelake import measures

LARGEST_SIDE = 512

_DEFAULTS = {"min_sharpness": 50.0, "max_clipped": 0.5, "min_contrast": 0.02}


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return the measures, and the list of `problems`: `blank`, `blurred`, `overexposed`, `underexposed`."""
    limits = {name: float(params.get(name, default)) for name, default in _DEFAULTS.items()}
    gray = image.convert("L")
    found = {
        "contrast": round(measures.contrast(gray), 4),
        "sharpness_512": round(measures.sharpness(gray), 2),
        **exposure(gray),
    }
    return {"metadata": found | {"problems": find_problems(found, limits)}}


def exposure(gray: Image.Image) -> dict[str, float]:
    """Shares of the pixels that have lost all detail: black (up to 4 of 255) and white (from 251)."""
    histogram = gray.histogram()
    count = sum(histogram)
    return {"black": round(sum(histogram[:5]) / count, 4), "white": round(sum(histogram[251:]) / count, 4)}


def find_problems(found: dict[str, float], limits: dict[str, float]) -> list[str]:
    """The names of what is wrong; a blank page is not also called blurred."""
    problems = []
    if found["contrast"] < limits["min_contrast"]:
        problems.append("blank")
    elif found["sharpness_512"] < limits["min_sharpness"]:
        problems.append("blurred")
    if found["white"] > limits["max_clipped"]:
        problems.append("overexposed")
    if found["black"] > limits["max_clipped"]:
        problems.append("underexposed")
    return problems
