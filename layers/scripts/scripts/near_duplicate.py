"""Hashes by which copies of a picture find each other: scaled, recompressed, slightly edited, mirrored or turned.

Two pictures are near duplicates when their hashes differ in few bits (up to 10 of 64 is usual). The `bands` are the
hash cut into four: pictures that differ in at most three bits share at least one band, so equality finds candidates.
"""

from typing import Any

from PIL import Image

from imagelake.measures import difference_hash, perceptual_hash

LARGEST_SIDE = 256

_POSITIONS = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "turned_left": Image.Transpose.ROTATE_90,
    "turned_right": Image.Transpose.ROTATE_270,
    "upside_down": Image.Transpose.ROTATE_180,
}


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return `phash`, its `bands`, the difference hash `dhash`, and with `params["turned"]` the hashes if turned."""
    gray = image.convert("L")
    phash = perceptual_hash(gray)
    metadata: dict[str, Any] = {
        "phash": phash,
        "bands": [f"{band}:{phash[band * 4 : band * 4 + 4]}" for band in range(4)],
        "dhash": difference_hash(gray),
    }
    if params.get("turned"):
        metadata["turned"] = {name: perceptual_hash(gray.transpose(turn)) for name, turn in _POSITIONS.items()}
    return {"metadata": metadata}
