"""A copy of an image that can be shown to strangers: the pixels, and nothing else.

The engine writes derivatives without place, camera, comments, colour profile or any other metadata; this script asks
for such a copy. `params`: `max_side`, in pixels (default 2048); `pixelate`, an integer (default 0, off): the side of
the blocks the picture is blurred into, for previews of sensitive material.
"""

from typing import Any

from PIL import Image

LARGEST_SIDE = 2048


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return the derivative `redacted` and how many metadata entries the original had."""
    redacted = image.copy()
    side = max(1, min(int(params.get("max_side", LARGEST_SIDE)), LARGEST_SIDE))
    redacted.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=1.5)
    if (block := int(params.get("pixelate", 0))) > 1:
        redacted = pixelate(redacted, block)
    return {"metadata": {"removed": list_metadata(image)}, "derivatives": {"redacted": redacted}}


def list_metadata(image: Image.Image) -> list[str]:
    """Kinds of metadata the original carries, by name only: no value leaves this script."""
    kinds = {name for name in ("exif", "xmp", "icc_profile", "comment", "photoshop") if image.info.get(name)}
    exif = image.getexif()
    if len(exif):
        kinds.add("exif")
    if 0x8825 in exif:
        kinds.add("gps")
    return sorted(kinds)


def pixelate(image: Image.Image, block: int) -> Image.Image:
    """`image` in squares of one colour, `block` pixels wide."""
    small = image.reduce(min(block, *image.size))
    return small.resize(image.size, Image.Resampling.NEAREST)
