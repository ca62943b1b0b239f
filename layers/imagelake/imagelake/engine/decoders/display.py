"""Images as they can be shown: sRGB, 8 bit, mode L, LA, RGB or RGBA; and scaled down well and fast.

Scaling down is done in up to three steps, each cheaper per pixel than the next: by the decoder, by whole factors, and
by a filter (Lanczos) for what is left.
"""

from io import BytesIO
from typing import cast

import pic_scale  # type: ignore[import-untyped]  # it ships no types
from PIL import Image

_FILTERED_SCALE, _FILTERED_PIXELS = 4, 1 << 24
"""Up to these, the filter alone is as fast as a whole factor before it, and sharper; it takes copies of the picture."""


def fitted(size: tuple[int, int], side: float) -> tuple[int, int]:
    """`size` scaled down to at most `side` both ways, at least one pixel; itself when it is small enough."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fit(image: Image.Image, side: float) -> Image.Image:
    """`image` as a display image of at most `side` pixels a side; itself when it is one already.

    Args:
        image: in any mode.
        side: in pixels.
    """
    size = fitted(image.size, side)
    return to_display(image if size == image.size else _shrink(_to_resizable(image), size))


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    scales = [full / small for full, small in zip(image.size, size, strict=True)]
    is_small = min(scales) < _FILTERED_SCALE and image.width * image.height <= _FILTERED_PIXELS
    if is_small and image.mode in ("L", "LA", "RGB", "RGBA"):
        return image._new(pic_scale.resize(image, size, pic_scale.Resampling.LANCZOS).im)
    if image.mode in ("LA", "RGBA") and image.im.getband(len(image.mode) - 1).getextrema()[0] < 255:
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=1.01)
    across, down = map(int, scales)
    pixels = image.im.reduce((across, down), (0, 0, *image.size)) if max(across, down) > 1 else image.im
    box = (0, 0, image.width / across, image.height / down)
    return image._new(pixels.resize(size, Image.Resampling.LANCZOS, box))


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
