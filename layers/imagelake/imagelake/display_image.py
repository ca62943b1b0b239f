"""Images as they can be shown: sRGB, 8 bit, mode L, LA, RGB or RGBA; and scaled down well and fast.

Scaling down is done in up to three steps, each cheaper per pixel than the next: by the decoder, by whole factors, and
by a filter for what is left. How far the cheap steps may go is the `oversampling`: the size they stop at, relative to
the one that is wanted.
"""

from io import BytesIO
from typing import Any, cast

from PIL import Image

FINE = 1.5
"""Leaves so much to the filter that a bicubic one gives what full decoding would have given."""

COARSE = 1.0
"""Lets the cheap steps go all the way. They leave a picture soft, so a sharper filter (Lanczos) does what is left."""


def fitted(size: tuple[int, int], side: float) -> tuple[int, int]:
    """`size` scaled down to at most `side` both ways, at least one pixel; itself when it is small enough."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def fit(image: Image.Image, side: float, oversampling: float = FINE, softened: bool = False) -> Image.Image:
    """`image` as a display image of at most `side` pixels a side; itself when it is one already.

    Args:
        image: in any mode.
        side: in pixels.
        oversampling: see the module.
        softened: whether the decoder has scaled it already.
    """
    size = fitted(image.size, side)
    if size == image.size:
        return to_display(image)
    return to_display(_shrink(_to_resizable(image), size, oversampling, softened))


def _shrink(image: Image.Image, size: tuple[int, int], oversampling: float, softened: bool) -> Image.Image:
    """An alpha channel that hides nothing is dropped, and the costly multiplication with it saved."""
    if image.mode not in ("LA", "RGBA"):
        return image._new(_shrink_pixels(image.im, size, oversampling, softened))
    if image.im.getband(len(image.mode) - 1).getextrema()[0] < 255:
        return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=max(oversampling, 1.01))
    return image._new(_shrink_pixels(image.im, size, oversampling, softened)).convert(image.mode.removesuffix("A"))


def _shrink_pixels(pixels: Any, size: tuple[int, int], oversampling: float, softened: bool) -> Any:
    width, height = pixels.size
    across, down = (max(1, int(full / small / oversampling)) for full, small in zip(pixels.size, size, strict=True))
    if across > 1 or down > 1:
        pixels = pixels.reduce((across, down), (0, 0, width, height))
        softened = True
    sharper = softened and oversampling < FINE
    box = (0, 0, width / across, height / down)
    return pixels.resize(size, Image.Resampling.LANCZOS if sharper else Image.Resampling.BICUBIC, box)


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
