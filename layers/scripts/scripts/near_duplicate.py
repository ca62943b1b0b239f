"""Hashes by which copies of a picture find each other: scaled, recompressed, slightly edited, mirrored or turned.

Two pictures are near duplicates when their hashes differ in few bits; up to 10 of 64 is usual. `bands` is the hash cut
into four: pictures that differ in at most three bits share at least one band, so a join on bands finds candidates.
"""

from typing import Any

from PIL import Image

LARGEST_SIDE = 256

_POSITIONS = {
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
    "turned_left": Image.Transpose.ROTATE_90,
    "turned_right": Image.Transpose.ROTATE_270,
    "upside_down": Image.Transpose.ROTATE_180,
}


def process(image: Image.Image, params: dict[str, Any]) -> dict[str, Any]:
    """Return `dhash`, its `bands`, and with `params["turned"]` also the hashes of the picture turned and mirrored."""
    gray = image.convert("L")
    dhash = difference_hash(gray)
    metadata: dict[str, Any] = {
        "dhash": dhash,
        "bands": [f"{band}:{dhash[band * 4 : band * 4 + 4]}" for band in range(4)],
    }
    if params.get("turned"):
        metadata["turned"] = {name: difference_hash(gray.transpose(turn)) for name, turn in _POSITIONS.items()}
    return {"metadata": metadata}


def difference_hash(gray: Image.Image) -> str:
    """64 bits as 16 hexadecimal digits: whether each pixel, of 9 x 8, is brighter than its right neighbour."""
    pixels = gray.resize((9, 8), Image.Resampling.BOX).tobytes()
    bits = "".join(str(int(pixels[y * 9 + x] > pixels[y * 9 + x + 1])) for y in range(8) for x in range(8))
    return f"{int(bits, 2):016x}"
