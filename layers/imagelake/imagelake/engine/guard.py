"""What a file claims to be, read from its bytes alone: no decoder runs before these checks.

A header of a few bytes can ask a decoder for gigabytes, and a file of a few kilobytes for minutes, so sizes, frames,
scans and the parts of the file are counted here first. Every walk looks at each byte once at most, and ends at a count.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.errors import Rejection

_MAGIC = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("TIFF", re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+")),
    ("BMP", re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("HEIF", re.compile(rb"....ftyp(?:hei[cxms]|hev[cx]|mif1|msf1)", re.DOTALL)),
)
_OTHER_IMAGES = re.compile(
    rb"\0\0\x01\0|8BPS|\0\0\0\x0cjP  |\xff\x4f\xff\x51|....ftypavi|qoif|P[1-7]\s|#\?RADIANCE|v/1\x01|DDS "
    rb"|\xff\x0a|\0\0\0\x0cJXL |\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg",
    re.DOTALL,
)


@dataclass(frozen=True)
class Header:
    """What the bytes of a file say of it.

    Args:
        format: Pillow's name, `JPEG`, `PNG`, `GIF`, `WEBP`, `TIFF`, `BMP` or `HEIF`.
        width: of the canvas, in pixels as stored.
        height: of the canvas, in pixels as stored.
        frames: frames, pages or images; counted up to one more than the limit.
    """

    format: str
    width: int
    height: int
    frames: int


def inspect(content: bytes, limits: Limits) -> Header:
    """Read the header of `content` and hold it against `limits`, without decoding.

    Raises:
        Rejection: not an accepted image, or over a limit; see `Reason`.
    """
    check_size(len(content), limits.max_bytes)
    image_format = _identify(content, limits)
    try:
        frames = list(_READERS[image_format](content, limits))
    except (struct.error, IndexError, OverflowError):
        raise Rejection(Reason.TRUNCATED, f"the {image_format} file ends inside its header") from None
    if not frames:
        raise Rejection(Reason.CORRUPT, f"the {image_format} file has no picture in it")
    _check(frames, limits)
    width, height = frames[0]
    return Header(image_format, width, height, len(frames))


def check_size(size: int, max_bytes: int) -> None:
    """Hold the bytes of a file against their limit; for whoever knows their number before the file.

    Raises:
        Rejection: `too_many_bytes`.
    """
    if size > max_bytes:
        raise Rejection(Reason.TOO_MANY_BYTES, f"the file has {size} bytes, the limit is {max_bytes}")


def format_of(content: bytes) -> str | None:
    """Pillow's name of the format that the first bytes of a file (32 are enough) say it has; None for no picture."""
    return next((image_format for image_format, magic in _MAGIC if magic.match(content)), None)


def _identify(content: bytes, limits: Limits) -> str:
    accepted = ", ".join(limits.formats)
    if image_format := format_of(content):
        if image_format not in limits.formats:
            raise Rejection(Reason.UNSUPPORTED_FORMAT, f"{image_format} files are not accepted here; use {accepted}")
        return image_format
    if _OTHER_IMAGES.match(content[:1024]):
        raise Rejection(Reason.UNSUPPORTED_FORMAT, f"an image, but of a format that is not accepted; use {accepted}")
    raise Rejection(Reason.NOT_AN_IMAGE, "the bytes are not those of an image")


def _check(frames: list[tuple[int, int]], limits: Limits) -> None:
    if len(frames) > limits.max_frames:
        raise Rejection(Reason.TOO_MANY_FRAMES, f"more than {limits.max_frames} frames")
    for width, height in frames:
        if width < 1 or height < 1:
            raise Rejection(Reason.CORRUPT, f"a picture of {width} x {height} pixels")
        if max(width, height) > limits.max_side:
            raise Rejection(
                Reason.SIDE_TOO_LONG, f"a side of {max(width, height)} pixels, the limit is {limits.max_side}"
            )
        if width * height > limits.max_pixels:
            raise Rejection(
                Reason.TOO_MANY_PIXELS, f"a picture of {width * height} pixels, the limit is {limits.max_pixels}"
            )
    total = sum(width * height for width, height in frames)
    if total > limits.max_total_pixels:
        raise Rejection(
            Reason.TOO_MANY_PIXELS, f"{total} pixels over all frames, the limit is {limits.max_total_pixels}"
        )


type _Frames = Iterator[tuple[int, int]]

_MAX_PARTS = 1_000
"""Segments, chunks and blocks beside the pixels. Photographs have up to some hundreds; Pillow copies or unpacks a
megabyte for one at worst, and appends some to all that came before."""
_PIECE_BYTES = 32
"""The least that what a file cuts its pixels and texts into has on average; 255 and 8,192 bytes are usual."""
_MAX_STRAY_BYTES = 1_000_000
"""Between segments or blocks, before the pixels of the first picture. Pillow looks at them one by one."""
_MAX_ENTRIES = 4_096
"""Of one directory of a TIFF, which has some dozens."""


def _allow(more: int) -> Iterator[int]:
    """One item for each part a file may have: those that all may have, and `more`."""
    return iter(range(_MAX_PARTS + more))


def _take(allowed: Iterator[int]) -> None:
    if next(allowed, None) is None:
        raise _too_many_parts()


def _too_many_parts() -> Rejection:
    return Rejection(Reason.CORRUPT, "the file has more parts, or more bytes between them, than any picture")


_JPEG_FRAME_HEADERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_JPEG_NEXT_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")


def _jpeg(content: bytes, limits: Limits) -> _Frames:
    """The size from the frame header; scans are counted where a decoder would read more than one."""
    position, scans, components, stray = 2, 0, 0, 0
    segments = _allow(4 * limits.max_scans)
    while marker := _JPEG_NEXT_MARKER.search(content, position):
        _take(segments)
        stray += 0 if scans else marker.start() - position
        if stray > _MAX_STRAY_BYTES:
            raise _too_many_parts()
        kind, position = marker[1][0], marker.end()
        if kind == 0xD9:
            return
        if kind in (0x01, 0xD8):
            continue
        (length,) = struct.unpack_from(">H", content, position)
        if kind in _JPEG_FRAME_HEADERS and not components:
            height, width, components = struct.unpack_from(">HHB", content, position + 3)
            yield width, height
            baseline = kind in (0xC0, 0xC1)
        elif kind == 0xDA:
            scans += 1
            if scans > limits.max_scans:
                raise Rejection(Reason.TOO_MANY_SCANS, f"more than {limits.max_scans} scans")
            if components and baseline and content[position + 2] == components:
                return
        position += length


_PNG_CHUNK = struct.Struct(">I4s")


def _png(content: bytes, limits: Limits) -> _Frames:
    """The size from IHDR, once for each frame of an animation; the default picture of an APNG counts as one."""
    size: tuple[int, int] = struct.unpack_from(">II", content, 16)
    if content[12:16] != b"IHDR":
        raise Rejection(Reason.CORRUPT, "the PNG file does not begin with its header")
    yield size
    position, claimed, pixels = 33, 0, False
    chunks, pieces = _allow(4 * limits.max_frames), _allow(len(content) // _PIECE_BYTES)
    while position + 12 <= len(content):
        length, kind = _PNG_CHUNK.unpack_from(content, position)
        if kind == b"IEND":
            break
        _take(pieces if kind in (b"IDAT", b"fdAT") else chunks)
        pixels |= kind == b"IDAT"
        if kind == b"acTL" and not pixels:
            (claimed,) = struct.unpack_from(">I", content, position + 8)
        position += length + 12
    for _ in range(1, min(claimed, limits.max_frames + 1)):
        yield size


_GIF_NEXT_BLOCK = re.compile(rb"[,!;]")


def _gif(content: bytes, limits: Limits) -> _Frames:
    """The size of the screen, grown to hold each frame as decoders do."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    position = 13 + _color_table(flags)
    frames, stray = 0, 0
    blocks, pieces = _allow(4 * limits.max_frames), _allow(len(content) // _PIECE_BYTES)
    while frames <= limits.max_frames and (found := _GIF_NEXT_BLOCK.search(content, position)):
        _take(blocks)
        stray += 0 if frames else found.start() - position
        if stray > _MAX_STRAY_BYTES:
            raise _too_many_parts()
        position, block = found.start(), found[0]
        if block == b";":
            return
        if block == b",":
            left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", content, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            yield width, height
            frames += 1
            position += 11 + _color_table(flags)
        else:
            position += 2
        for _ in pieces:
            if position >= len(content) or not content[position]:
                break
            position += content[position] + 1
        else:
            raise _too_many_parts()
        position += 1


def _color_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(content: bytes, limits: Limits) -> _Frames:
    """The canvas, once for each animation frame."""
    kind, data = content[12:16], 20
    frames = _count_animation_frames(content, limits)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, data + 6)
        yield width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, data + 1)
        yield (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        flags, width_low, width_high, height_low, height_high = struct.unpack_from("<BxxxHBHB", content, data)
        width, height = (width_high << 16 | width_low) + 1, (height_high << 16 | height_low) + 1
        yield width, height
        for _ in range(1, frames if flags & 0x02 else 1):
            yield width, height
    else:
        raise Rejection(Reason.CORRUPT, "the WEBP file does not begin with a picture")


def _count_animation_frames(content: bytes, limits: Limits) -> int:
    (size,) = struct.unpack_from("<I", content, 4)
    position, end, frames = 12, min(len(content), size + 8), 0
    chunks = _allow(4 * limits.max_frames)
    while position + 8 <= end and frames <= limits.max_frames:
        _take(chunks)
        kind, length = struct.unpack_from("<4sI", content, position)
        frames += kind == b"ANMF"
        position += 8 + length + (length & 1)
    return frames


def _tiff(content: bytes, limits: Limits) -> _Frames:
    """The size of each page, following the chain of directories."""
    order = "<" if content[:2] == b"II" else ">"
    big = content[2:4] in (b"+\0", b"\0+")
    count_of, entry_size, offset_of = ("Q", 20, "Q") if big else ("H", 12, "I")
    (directory,) = struct.unpack_from(order + offset_of, content, 8 if big else 4)
    seen: set[int] = set()
    while directory and len(seen) <= limits.max_frames:
        if directory in seen:
            raise Rejection(Reason.CORRUPT, "the directories of the TIFF file go round in a circle")
        seen.add(directory)
        (entries,) = struct.unpack_from(order + count_of, content, directory)
        if entries > _MAX_ENTRIES:
            raise Rejection(Reason.CORRUPT, f"a directory of the TIFF file has more than {_MAX_ENTRIES} entries")
        first = directory + struct.calcsize(order + count_of)
        last = first + entries * entry_size
        yield _tiff_size(content, order, big, range(first, min(last, len(content)), entry_size), limits)
        directory = struct.unpack_from(order + offset_of, content, last)[0] if last + 4 <= len(content) else 0


_TIFF_PARTS = frozenset({273, 279, 324, 325})
"""Tags with one value for each strip or tile."""


def _tiff_size(content: bytes, order: str, big: bool, entries: range, limits: Limits) -> tuple[int, int]:
    size = {256: 0, 257: 0}
    for entry in entries:
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), content, entry)
        if tag in _TIFF_PARTS and count > 4 * limits.max_side:
            raise _too_many_parts()
        if tag in size:
            value_of = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            (size[tag],) = struct.unpack_from(order + value_of, content, entry + (12 if big else 8))
    return size[256], size[257]


def _bmp(content: bytes, _: Limits) -> _Frames:
    (header_size,) = struct.unpack_from("<I", content, 14)
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", content, 18)
    yield width, abs(height)


def _heif(content: bytes, limits: Limits) -> _Frames:
    """The largest of the declared sizes (`ispe`): which one is the picture is the decoder's business."""
    sizes = [
        struct.unpack_from(">II", content, match.end() + 4)
        for match, _ in zip(re.finditer(rb"ispe", content), range(10 * limits.max_frames), strict=False)
    ]
    if sizes:
        yield max(sizes, key=lambda size: size[0] * size[1])


_READERS = {"JPEG": _jpeg, "PNG": _png, "GIF": _gif, "WEBP": _webp, "TIFF": _tiff, "BMP": _bmp, "HEIF": _heif}
