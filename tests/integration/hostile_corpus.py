"""Files made to hurt a decoder: bombs, lies, floods, polyglots, cuts and metadata attacks, each with its outcomes.

Everything is generated, deterministic and small (the largest is just over the 25 MB limit), and none is kept on disk.
"""

import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

PROCESSED = "processed"
DAMAGED = frozenset({"truncated", "corrupt"})
ANY = frozenset({PROCESSED, "truncated", "corrupt", "unsupported_format", "not_an_image", "too_many_pixels",
                 "side_too_long", "too_many_frames", "decoder_memory"})  # fmt: skip


@dataclass(frozen=True)
class HostileFile:
    """A file and the codes that are right for it; `processed` stands for success."""

    name: str
    content: bytes
    outcomes: frozenset[str]


def corpus(group: str) -> Iterator[HostileFile]:
    """The hostile files of one of `GROUPS`."""
    for name, content, outcomes in GROUPS[group]():
        codes = {outcomes} if isinstance(outcomes, str) else outcomes
        yield HostileFile(f"{group}-{name}", content, frozenset(codes))


type _Files = Iterator[tuple[str, bytes, str | frozenset[str]]]


def _picture(width: int = 120, height: int = 80, mode: str = "RGB") -> Image.Image:
    noise = Image.frombytes("L", (width, height), random.Random(width * height).randbytes(width * height))  # noqa: S311
    return Image.merge("RGB", (noise, noise.transpose(Image.Transpose.ROTATE_180), noise)).convert(mode)


def _save(image: Image.Image, image_format: str, **settings: Any) -> bytes:
    file = BytesIO()
    image.save(file, image_format, **settings)
    return file.getvalue()


def _seeds() -> dict[str, bytes]:
    picture = _picture()
    return {
        "jpeg": _save(picture, "JPEG"),
        "progressive": _save(picture, "JPEG", progressive=True),
        "png": _save(picture, "PNG"),
        "gif": _save(picture, "GIF"),
        "webp": _save(picture, "WEBP"),
        "lossless": _save(picture, "WEBP", lossless=True),
        "tiff": _save(picture, "TIFF"),
        "lzw": _save(picture, "TIFF", compression="tiff_lzw"),
        "bmp": _save(picture, "BMP"),
    }


def _others() -> _Files:
    yield "empty", b"", "not_an_image"
    yield "one-byte", b"\xff", "not_an_image"
    yield "zeros", bytes(1000), "not_an_image"
    yield "text", b"hello, world", "not_an_image"
    yield "html", b"<!doctype html><img src=x onerror=alert(1)>", "not_an_image"
    yield "pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "not_an_image"
    yield "zip", b"PK\x03\x04" + bytes(60), "not_an_image"
    yield "elf", b"\x7fELF\x02\x01\x01" + bytes(60), "not_an_image"
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%id) (w) file\n", "not_an_image"
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', "unsupported_format"
    yield "svg-with-entity", b'<?xml version="1.0"?><svg/>', "unsupported_format"
    yield "ico", b"\0\0\x01\0\x01\0" + bytes(60), "unsupported_format"
    yield "psd", b"8BPS\0\x01" + bytes(60), "unsupported_format"
    yield "jpeg-2000", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "unsupported_format"
    yield "avif", b"\0\0\0\x20ftypavif" + bytes(60), "unsupported_format"
    yield "heic", b"\0\0\0\x18ftypheic" + bytes(60), "unsupported_format"
    yield "ppm", b"P6 99999 99999 255\n", "unsupported_format"
    yield "qoi", b"qoif" + bytes(60), "unsupported_format"
    yield "too-many-bytes", _seeds()["jpeg"] + bytes(25_000_001), "too_many_bytes"


def _cuts() -> _Files:
    for name, content in _seeds().items():
        yield f"{name}-in-header", content[:14], DAMAGED | {"not_an_image"}
        for percent in (10, 50, 90):
            yield f"{name}-at-{percent}", content[: len(content) * percent // 100], DAMAGED


def _polyglots() -> _Files:
    seeds = _seeds()
    for name, content in seeds.items():
        yield f"{name}-and-zip", content + b"PK\x03\x04" + b"payload" * 50 + b"PK\x05\x06" + bytes(18), PROCESSED
        yield f"{name}-after-text", b"GET / HTTP/1.1\r\n" + content, "not_an_image"
    yield "gif-javascript", b"GIF89a/*" + bytes(400) + b"*/=1;alert(1)", DAMAGED | {"too_many_pixels", "side_too_long"}
    yield "jpeg-with-php", seeds["jpeg"] + b"<?php system($_GET['c']); ?>", PROCESSED
    yield "bmp-like-text", b"BM" + b" is short for bitmap, or so they say." * 3, "not_an_image"


def _jpegs() -> _Files:
    baseline, progressive = _seeds()["jpeg"], _seeds()["progressive"]
    frame, scan = baseline.index(b"\xff\xc0"), progressive.rindex(b"\xff\xda")
    last_scan = progressive[scan:-2]

    def sized(content: bytes, width: int, height: int, marker: bytes = b"\xff\xc0") -> bytes:
        at = content.index(marker) + 5
        return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]

    yield "says-65535", sized(baseline, 65_535, 65_535), "side_too_long"
    yield "says-50-megapixels", sized(baseline, 8_000, 8_000), "too_many_pixels"
    yield "says-49-megapixels", sized(baseline, 7_000, 7_000), DAMAGED | {PROCESSED}
    yield "says-49-megapixels-progressive", sized(progressive, 7_000, 7_000, b"\xff\xc2"), DAMAGED | {PROCESSED}
    yield "says-nothing", sized(baseline, 0, 80), "corrupt"
    yield "says-no-height", sized(baseline, 120, 0), "corrupt"
    yield "thin", sized(baseline, 1, 16_384), DAMAGED | {PROCESSED}
    yield "too-thin", sized(baseline, 1, 16_385), "side_too_long"
    yield "1000-scans", progressive[:-2] + last_scan * 1000 + b"\xff\xd9", "too_many_scans"
    big = _save(_picture(300, 200), "JPEG", progressive=True, quality=30)
    yield "big-1000-scans", big[:-2] + big[big.rindex(b"\xff\xda") : -2] * 1000, "too_many_scans"
    yield "80-scans", progressive[:-2] + last_scan * 70 + b"\xff\xd9", DAMAGED | {PROCESSED}
    yield "markers-only", b"\xff\xd8" + b"\xff\xe1\0\x02" * 50_000 + b"\xff\xd9", "corrupt"
    yield "900-segments", b"\xff\xd8" + b"\xff\xe1\0\x02" * 900 + baseline[2:], PROCESSED
    yield "6-million-comments", b"\xff\xd8" + b"\xff\xfe\0\x02" * 6_000_000 + baseline[2:], "corrupt"
    yield "6-million-segments", b"\xff\xd8" + b"\xff\xe1\0\x02" * 6_000_000 + baseline[2:], "corrupt"
    yield "12-million-markers", b"\xff\xd8" + b"\xff\x01" * 12_000_000 + baseline[2:], "corrupt"
    yield "fill-bytes-alone", b"\xff\xd8" + b"\xff" * 24_000_000 + b"\0", "corrupt"
    yield "24-million-fill-bytes", b"\xff\xd8" + b"\xff" * 24_000_000 + baseline[2:], "corrupt"
    yield "restarts-before-the-picture", b"\xff\xd8" + b"\xff\xd0" * 12_000_000 + baseline[2:], "corrupt"
    yield "fill-bytes-in-pairs", b"\xff\xd8\xff" + b"\xff\0" * 12_000_000, "corrupt"
    yield "fill-bytes", b"\xff\xd8" + b"\xff" * 1_000_000 + baseline[2:], DAMAGED | {PROCESSED}
    yield "segment-of-no-length", b"\xff\xd8\xff\xe0\0\0" + baseline[2:], DAMAGED | {PROCESSED}
    yield "no-frame", baseline[:frame] + baseline[baseline.index(b"\xff\xda") :], "corrupt"
    yield "two-frames", baseline[:frame] + baseline[frame : frame + 19] * 2 + baseline[frame + 19 :], DAMAGED
    yield "255-components", baseline[: frame + 9] + b"\xff" + baseline[frame + 10 :], DAMAGED
    yield "12-bit", baseline[: frame + 4] + b"\x0c" + baseline[frame + 5 :], DAMAGED
    yield "lossless-process", baseline[: frame + 1] + b"\xc3" + baseline[frame + 2 :], DAMAGED
    yield "arithmetic", baseline[: frame + 1] + b"\xc9" + baseline[frame + 2 :], DAMAGED | {PROCESSED}
    yield "no-tables", baseline.replace(b"\xff\xdb", b"\xff\xe5"), DAMAGED
    yield "no-codes", baseline.replace(b"\xff\xc4", b"\xff\xe6"), DAMAGED | {PROCESSED}
    yield "sampling-of-15", baseline[: frame + 11] + b"\xff" + baseline[frame + 12 :], DAMAGED
    yield "restart-flood", baseline[:-2] + b"\xff\xd0" * 100_000 + b"\xff\xd9", DAMAGED | {PROCESSED}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + _chunk(b"IEND", b"")


def _pngs() -> _Files:
    pixels = _chunk(b"IDAT", zlib.compress(bytes((16 * 3 + 1) * 16)))
    zeros = zlib.compress(bytes(64_000_000), 9)
    yield "bomb-100-megapixels", _save(Image.new("1", (10_000, 10_000)), "PNG"), "too_many_pixels"
    yield "bomb-49-megapixels", _save(Image.new("RGBA", (7_000, 7_000), (9, 9, 9, 99)), "PNG"), PROCESSED
    yield "bomb-16-bit", _save(Image.new("I;16", (7_000, 7_000), 999), "PNG"), PROCESSED
    yield "bomb-interlaced", _png(7_000, 7_000, _chunk(b"IDAT", zeros), color=0, interlace=1), PROCESSED
    yield "says-2-gigapixels", _png(2**31 - 1, 1, pixels), "side_too_long"
    yield "says-4-gigapixels", _png(2**32 - 1, 2**32 - 1, pixels), "side_too_long"
    yield "says-nothing", _png(0, 16, pixels), "corrupt"
    yield "says-more-than-it-has", _png(6_000, 6_000, pixels), DAMAGED
    yield "thin", _save(Image.new("RGB", (1, 16_384)), "PNG"), PROCESSED
    yield "flat", _save(Image.new("RGB", (16_384, 1)), "PNG"), PROCESSED
    yield "too-thin", _save(Image.new("RGB", (1, 20_000)), "PNG"), "side_too_long"
    yield "one-pixel", _save(Image.new("RGB", (1, 1)), "PNG"), PROCESSED
    yield "more-data-than-pixels", _png(16, 16, _chunk(b"IDAT", zeros)), DAMAGED | {PROCESSED}
    yield "no-data", _png(16, 16), DAMAGED
    yield "no-palette", _png(16, 16, pixels, color=3), DAMAGED | {PROCESSED}
    yield "3-bit", _png(16, 16, pixels, depth=3), DAMAGED
    yield "color-type-7", _png(16, 16, pixels, color=7), DAMAGED
    yield "interlace-2", _png(16, 16, pixels, interlace=2), DAMAGED | {PROCESSED}
    yield "header-last", _png(16, 16)[:8] + pixels + _png(16, 16)[8:], DAMAGED
    yield "wrong-checksum", _png(16, 16, pixels)[:-20] + bytes(8) + _chunk(b"IEND", b""), DAMAGED | {PROCESSED}
    yield "chunk-of-4-gigabytes", _png(16, 16)[:33] + b"\xff\xff\xff\xffIDAT" + bytes(60), DAMAGED
    yield "900-chunks", _png(16, 16, _chunk(b"abCd", b"") * 900, pixels), PROCESSED
    yield "2-million-chunks", _png(16, 16, _chunk(b"abCd", b"") * 2_000_000, pixels), "corrupt"
    yield "2-million-chunks-at-the-end", _png(16, 16, pixels, _chunk(b"abCd", b"") * 2_000_000), "corrupt"
    yield "2-million-pieces", _png(16, 16, _chunk(b"IDAT", b"") * 2_000_000, pixels), "corrupt"
    yield "apng-says-4-billion", _png(16, 16, _chunk(b"acTL", b"\xff" * 8), pixels), "too_many_frames"
    yield "apng-says-59", _png(16, 16, _chunk(b"acTL", struct.pack(">II", 59, 0)), pixels), DAMAGED | {PROCESSED}
    yield "apng-60-large", _png(2_000, 2_000, _chunk(b"acTL", struct.pack(">II", 60, 0)), pixels), "too_many_pixels"


def _gifs() -> _Files:
    head = b"GIF89a" + struct.pack("<HHBBB", 16, 16, 0x80, 0, 0) + bytes(6)
    data = b"\x02\x02\x44\x01\0"
    dot = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + data

    def frame(left: int, top: int, width: int, height: int) -> bytes:
        return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + data

    yield "100000-frames", head + dot * 100_000 + b";", "too_many_frames"
    yield "61-frames", head + dot * 61 + b";", "too_many_frames"
    yield "60-frames", head + dot * 60 + b";", DAMAGED | {PROCESSED}
    yield "60-large-frames", head + frame(0, 0, 1_600, 1_600) * 60 + b";", "too_many_pixels"
    yield "frame-beyond-screen", head + frame(60_000, 60_000, 5, 5) + b";", "side_too_long"
    yield "frame-grows-screen", head + frame(0, 0, 10_000, 10_000) + b";", "too_many_pixels"
    yield "second-frame-beyond-screen", head + dot + frame(0, 0, 20_000, 20_000) + b";", "side_too_long"
    yield "no-frames", head + b";", "corrupt"
    yield "screen-of-no-size", b"GIF89a" + bytes(7) + frame(0, 0, 0, 0) + b";", "corrupt"
    yield "code-size-200", head + dot[:10] + b"\xc8" + dot[11:] + b";", DAMAGED | {PROCESSED}
    yield "comments-only", head + b"!\xfe\xff" + bytes(255) + b"\0" * 100_000, "corrupt"
    yield "900-blocks", head + b"!\xfe\0" * 900 + dot + b";", DAMAGED | {PROCESSED}
    yield "8-million-blocks", head + b"!\xfe\0" * 8_000_000 + dot + b";", "corrupt"
    yield "12-million-pieces", head + b"!\xfe" + b"\x01A" * 12_000_000 + b"\0" + dot + b";", "corrupt"
    yield "stray-bytes", head + bytes(24_000_000) + dot + b";", "corrupt"
    yield "padded", head + dot + bytes(24_000_000), DAMAGED | {PROCESSED}
    yield "endless-blocks", head + b"!\xfe" + b"\xff" * 1_000_000, "corrupt"
    yield "bomb-49-megapixels", _save(Image.new("P", (7_000, 7_000)), "GIF"), PROCESSED
    yield "no-color-table", b"GIF87a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0) + dot + b";", DAMAGED | {PROCESSED}


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _canvas(flags: int, width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _webps() -> _Files:
    seeds = _seeds()
    lossy, lossless = seeds["webp"][20:], seeds["lossless"][20:]
    red, blue = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (40, 40), "blue")
    animation = _save(red, "WEBP", save_all=True, append_images=[blue, red], duration=50)
    frames = animation[animation.index(b"ANMF") :]
    header = animation[12 : animation.index(b"ANMF")]
    flood = header + frames * 40
    large = [Image.new("RGB", (4_900, 4_900), color) for color in ("red", "blue", "red", "blue", "red")]
    yield "34-bytes-268-megapixels", _riff(_canvas(0, 16_383, 16_383)) + b"VP8 ", "too_many_pixels"
    yield "lossless-268-megapixels", _riff((b"VP8L", b"\x2f\xfe\xff\xff\x0f" + bytes(9))), "too_many_pixels"
    yield "lossy-268-megapixels", _riff((b"VP8 ", bytes(3) + b"\x9d\x01\x2a\xff\x3f\xff\x3f")), "too_many_pixels"
    yield "canvas-16-million", _riff(_canvas(0, 1 << 24, 1 << 24), (b"VP8 ", lossy)), "side_too_long"
    yield "canvas-lies", _riff(_canvas(0, 3_000, 3_000), (b"VP8 ", lossy)), DAMAGED
    yield "canvas-alone", _riff(_canvas(0, 100, 100)), DAMAGED
    yield "alpha-promised", _riff(_canvas(0x10, 120, 80), (b"VP8 ", lossy)), DAMAGED | {PROCESSED}
    yield "bomb-lossless", _save(Image.new("RGBA", (7_000, 7_000), (9, 9, 9, 9)), "WEBP", lossless=True), PROCESSED
    yield "bomb-lossy", _save(Image.new("RGB", (7_000, 7_000)), "WEBP", method=0), PROCESSED
    yield "two-pictures", _riff(_canvas(0, 120, 80), (b"VP8 ", lossy), (b"VP8L", lossless)), DAMAGED | {PROCESSED}
    yield "frame-flood", b"RIFF" + struct.pack("<I", len(flood) + 4) + b"WEBP" + flood, "too_many_frames"
    yield "animation-without-frames", _riff(_canvas(2, 40, 40), (b"ANIM", bytes(6))), DAMAGED
    yield "large-frames", _save(large[0], "WEBP", save_all=True, append_images=large[1:], method=0), "too_many_pixels"
    junk = b"JUNK\0\0\0\0" * 3_000_000
    big = b"RIFF" + struct.pack("<I", len(junk) + 4)
    yield "3-million-chunks", big + seeds["webp"][8:] + junk, "corrupt"
    yield "3-million-chunks-of-an-animation", big + _riff(_canvas(2, 40, 40))[8:] + junk, "corrupt"
    yield "3-million-chunks-after-the-end", seeds["webp"] + junk, PROCESSED
    yield "riff-says-4-gigabytes", b"RIFF\xff\xff\xff\xff" + seeds["webp"][8:], DAMAGED | {PROCESSED}
    yield "chunk-says-4-gigabytes", seeds["webp"][:16] + b"\xff\xff\xff\xff" + lossy, DAMAGED
    yield "first-chunk-unknown", _riff((b"JUNK", bytes(20)), (b"VP8 ", lossy)), "corrupt"
    yield "no-chunk", b"RIFF\x04\0\0\0WEBP", DAMAGED


def _tiff(entries: list[tuple[int, int, int, int]], following: int = 0, order: str = "<") -> bytes:
    """A TIFF of one directory; an entry is tag, type, count and value."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    directory = b"".join(struct.pack(order + "HHII", *entry) for entry in sorted(entries))
    return head + struct.pack(order + "H", len(entries)) + directory + struct.pack(order + "I", following) + bytes(64)


def _tiff_entries(width: int = 8, height: int = 8, **changes: int) -> list[tuple[int, int, int, int]]:
    tags = {"width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262, "offset": 273,
            "samples": 277, "rows": 278, "bytes": 279}  # fmt: skip
    values = {"width": width, "height": height, "bits": 8, "compression": 1, "photometric": 1, "offset": 8,
              "samples": 1, "rows": height, "bytes": 64} | changes  # fmt: skip
    return [(tags[name], 4, 1, value) for name, value in values.items()]


def _big_tiff(entries: int) -> bytes:
    """A BigTIFF of one directory that follows itself."""
    size = struct.pack("<HHQQ", 256, 4, 1, 8) + struct.pack("<HHQQ", 257, 4, 1, 8)
    others = struct.pack("<HHQQ", 300, 4, 1, 8) * (entries - 2)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, entries) + size + others + struct.pack("<Q", 16)


def _tiffs() -> _Files:
    page = _picture(40, 40)
    yield "100-pages", _save(page, "TIFF", save_all=True, append_images=[page] * 99), "too_many_frames"
    yield "chain-bites-its-tail", _tiff(_tiff_entries(), following=8), "corrupt"
    yield "chain-of-million-entries", _big_tiff(1_200_000), "corrupt"
    strips = [entry for entry in _tiff_entries() if entry[0] not in (273, 278, 279)]
    for count, outcome in ((60_000, PROCESSED), (3_000_000, "corrupt")):
        head = _tiff([*strips, (273, 4, count, 186), (278, 4, 1, 1), (279, 4, count, 186 + 4 * count)])
        yield f"{count}-strips", head + struct.pack("<I", 8) * 2 * count, outcome
    yield "chain-of-4096-entries", _big_tiff(4_096), "corrupt"
    yield "10-large-pages", _save(
        Image.new("1", (4_000, 4_000)), "TIFF", save_all=True, append_images=[Image.new("1", (4_000, 4_000))] * 9,
        compression="group4",
    ), "too_many_pixels"  # fmt: skip
    yield "directory-beyond-file", b"II*\0\xff\xff\xff\x7f" + bytes(60), "truncated"
    yield "no-directory", b"MM\0*\0\0\0\0" + bytes(60), "corrupt"
    yield "65535-entries", b"II*\0\x08\0\0\0\xff\xff" + bytes(600), "corrupt"
    yield "says-4-gigapixels", _tiff(_tiff_entries(2**32 - 1, 2**32 - 1)), "side_too_long"
    yield "says-more-than-it-has", _tiff(_tiff_entries(7_000, 7_000)), DAMAGED
    yield "says-nothing", _tiff(_tiff_entries(0, 0)), "corrupt"
    yield "without-size", _tiff(_tiff_entries()[2:]), "corrupt"
    yield "strip-beyond-file", _tiff(_tiff_entries(offset=2**31)), DAMAGED
    yield "unknown-compression", _tiff(_tiff_entries(compression=4_711)), DAMAGED
    yield "64-bit", _tiff(_tiff_entries(bits=64)), DAMAGED
    yield "1000-samples", _tiff(_tiff_entries(samples=1_000)), DAMAGED
    yield "no-rows", _tiff(_tiff_entries(rows=0)), DAMAGED | {PROCESSED}
    yield "tag-of-4-gigabytes", _tiff([*_tiff_entries(), (700, 7, 2**32 - 1, 8)]), DAMAGED | {PROCESSED}
    yield "orientation-99", _tiff([*_tiff_entries(), (274, 4, 1, 99)]), DAMAGED | {PROCESSED}
    yield "tiles-of-a-gigapixel", _tiff(
        [*_tiff_entries(), (322, 4, 1, 2**15), (323, 4, 1, 2**15), (324, 4, 1, 8), (325, 4, 1, 64)]
    ), DAMAGED | {PROCESSED}  # fmt: skip
    deflated = _save(Image.new("RGB", (4_000, 4_000)), "TIFF", compression="tiff_deflate")
    yield "bomb", _save(Image.new("F", (7_000, 7_000)), "TIFF", compression="tiff_lzw"), PROCESSED
    yield "bomb-cut", deflated[: len(deflated) // 2], DAMAGED
    yield "big-tiff-lies", b"II+\0\x08\0\0\0" + b"\xff" * 64, DAMAGED
    yield "jpeg-inside", _save(_picture(), "TIFF", compression="jpeg"), PROCESSED


def _bmps() -> _Files:
    seed = _seeds()["bmp"]

    def patched(at: int, fields: str, *values: int) -> bytes:
        patch = struct.pack("<" + fields, *values)
        return seed[:at] + patch + seed[at + len(patch) :]

    yield "says-2-gigapixels", patched(18, "ii", 2**31 - 1, 2**31 - 1), "side_too_long"
    yield "says-more-than-it-has", patched(18, "ii", 7_000, 7_000), DAMAGED
    yield "negative-width", patched(18, "ii", -120, 80), DAMAGED
    yield "upside-down", patched(18, "ii", 120, -80), PROCESSED
    yield "lowest-height", patched(18, "ii", 120, -(2**31)), "side_too_long"
    yield "33-bit", patched(28, "H", 33), DAMAGED
    yield "unknown-compression", patched(30, "I", 99), DAMAGED
    yield "palette-of-4-billion", patched(28, "HIIIII", 8, 0, 0, 0, 0, 2**32 - 1), DAMAGED | {PROCESSED}
    yield "data-beyond-file", patched(10, "I", 2**32 - 1), DAMAGED
    yield "rle-garbage", patched(28, "HI", 8, 1), DAMAGED | {PROCESSED}


def _exif(ifd: bytes) -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08" + ifd


def _metadata() -> _Files:
    jpeg, picture = _seeds()["jpeg"], _picture(40, 40)
    pixels = _chunk(b"IDAT", zlib.compress(bytes((16 * 3 + 1) * 16)))

    def with_segment(marker: int, data: bytes) -> bytes:
        return b"\xff\xd8" + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]

    def with_exif(ifd: bytes) -> bytes:
        return with_segment(0xE1, _exif(ifd))

    zero_rationals = struct.pack(">6I", 52, 0, 30, 0, 1, 0)
    gps = (
        struct.pack(">HHHII", 1, 0x8825, 4, 1, 26) + bytes(4)
        + struct.pack(">HHHI4s", 2, 1, 2, 2, b"N\0\0\0") + struct.pack(">HHII", 2, 5, 3, 56) + bytes(4) + zero_rationals
    )  # fmt: skip
    yield "gps-of-zero-denominators", with_exif(gps), PROCESSED
    yield "exif-of-noise", with_exif(random.Random(1).randbytes(60_000)), PROCESSED  # noqa: S311
    yield "exif-circle", with_exif(struct.pack(">HHHIII", 1, 0x8769, 4, 1, 8, 8)), PROCESSED
    yield "exif-of-4-billion-values", with_exif(struct.pack(">HHHIII", 1, 0x010F, 2, 2**32 - 1, 26, 0)), PROCESSED
    yield "exif-65535-entries", with_exif(b"\xff\xff" + struct.pack(">HHII", 0x010F, 3, 1, 0) * 5_000), PROCESSED
    yield "exif-empty", with_segment(0xE1, b"Exif\0\0"), PROCESSED
    yield "exif-bad-order", with_segment(0xE1, b"Exif\0\0XX\0*" + bytes(20)), PROCESSED
    yield "orientation-text", with_exif(struct.pack(">HHHI4sI", 1, 0x0112, 2, 4, b"six\0", 0)), PROCESSED
    yield "orientation-65535", with_exif(struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, 65_535, 0, 0)), PROCESSED
    exif = struct.pack(">H", 2_408) + b"Exif\0\0" + bytes(2_400)
    yield "exif-in-10000-segments", b"\xff\xd8" + (b"\xff\xe1" + exif) * 10_000 + jpeg[2:], "corrupt"
    yield "many-segments", b"\xff\xd8" + (b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65_527)) * 300 + jpeg[2:], PROCESSED
    yield "xmp-entities", with_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<!DOCTYPE x [<!ENTITY a 'a'>]>"), PROCESSED
    yield "xmp-orientation", with_segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0tiff:Orientation="6"'), PROCESSED
    yield "comment-with-script", with_segment(0xFE, b"<script>alert(1)</script>" * 100), PROCESSED
    yield "icc-of-noise", _save(picture, "JPEG", icc_profile=random.Random(2).randbytes(5_000)), PROCESSED  # noqa: S311
    yield "icc-says-4-gigabytes", _save(picture, "PNG", icc_profile=b"\xff" * 132), PROCESSED
    yield "icc-out-of-order", with_segment(0xE2, b"ICC_PROFILE\0\xff\x01" + bytes(200)), PROCESSED
    yield (
        "icc-bomb",
        _png(16, 16, _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(200_000_000))), pixels),
        DAMAGED | {PROCESSED},
    )
    yield (
        "text-bomb",
        _png(16, 16, _chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(200_000_000))), pixels),
        DAMAGED | {PROCESSED},
    )
    profile = _chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1_000_000)))
    yield "icc-bomb-900-times", _png(16, 16, profile * 900, pixels), PROCESSED
    yield "icc-bomb-20000-times", _png(16, 16, profile * 20_000, pixels), "corrupt"
    yield "text-flood", _png(16, 16, _chunk(b"tEXt", b"k\0" + b"v" * 900_000) * 20, pixels), PROCESSED
    yield "png-exif-of-noise", _png(16, 16, _chunk(b"eXIf", random.Random(3).randbytes(900)), pixels), PROCESSED  # noqa: S311
    yield "png-raw-profile", _png(16, 16, _chunk(b"tEXt", b"Raw profile type exif\0zz"), pixels), DAMAGED | {PROCESSED}
    yield "png-density-of-nothing", _png(16, 16, _chunk(b"pHYs", bytes(9)), pixels), PROCESSED
    yield "photoshop-of-noise", with_segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 5_000), PROCESSED
    yield "multi-picture-lies", with_segment(0xE2, b"MPF\0MM\0*\0\0\0\x08" + b"\xff" * 60), PROCESSED
    yield "webp-exif-of-noise", _save(picture, "WEBP", exif=b"Exif\0\0" + b"\xff" * 500), PROCESSED


def _mutants() -> _Files:
    """Whatever comes of flipped bytes, it has to be an outcome."""
    chance = random.Random(2026)  # noqa: S311  # the same files every time
    for name, content in _seeds().items():
        for number in range(4):
            mutant = bytearray(content)
            for _ in range(chance.choice((1, 3, 30))):
                mutant[chance.randrange(4, min(len(mutant), chance.choice((64, 400, 100_000))))] = chance.randrange(256)
            yield f"{name}-{number}", bytes(mutant), ANY


GROUPS = {
    "other": _others,
    "cut": _cuts,
    "polyglot": _polyglots,
    "jpeg": _jpegs,
    "png": _pngs,
    "gif": _gifs,
    "webp": _webps,
    "tiff": _tiffs,
    "bmp": _bmps,
    "metadata": _metadata,
    "mutant": _mutants,
}
"""What the files abuse, and the maker of each group."""
