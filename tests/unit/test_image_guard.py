import struct
import time
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from imagelake.engine.guard import Header, inspect
from imagelake.engine.limits import Limits
from imagelake.engine.reason_codes import Reason
from imagelake.errors import Rejection
from tests.unit.pictures import encoded, photo

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP")
SEEDS = {name: encoded(photo(), name) for name in FORMATS} | {"lossless": encoded(photo(), "WEBP", lossless=True)}


def reason_for(content: bytes, limits: Limits) -> str:
    with pytest.raises(Rejection) as rejection:
        inspect(content, limits)
    return rejection.value.code


@pytest.mark.parametrize("name", FORMATS)
def test_reads_format_size_and_frames_as_the_decoder_does(name: str) -> None:
    frames = [photo(70, 50), photo(70, 50).rotate(180), photo(70, 50)] if name in ("GIF", "WEBP", "TIFF", "PNG") else []
    settings = {"save_all": True, "append_images": frames[1:]} if frames else {}
    content = encoded(photo(70, 50), name, **settings)
    decoded = Image.open(BytesIO(content))
    assert inspect(content, Limits()) == Header(name, 70, 50, getattr(decoded, "n_frames", 1))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_bytes=100), Reason.TOO_MANY_BYTES),
        (Limits(max_pixels=96 * 64 - 1), Reason.TOO_MANY_PIXELS),
        (Limits(max_total_pixels=96 * 64 - 1), Reason.TOO_MANY_PIXELS),
        (Limits(max_side=95), Reason.SIDE_TOO_LONG),
        (Limits(formats=("PNG",)), Reason.UNSUPPORTED_FORMAT),
    ],
)
def test_holds_a_picture_against_the_limits(limits: Limits, reason: Reason) -> None:
    assert inspect(SEEDS["JPEG"], Limits(max_pixels=96 * 64, max_side=96)).width == 96
    assert reason_for(SEEDS["JPEG"], limits) == reason


def test_a_format_that_is_not_accepted_is_told_what_is() -> None:
    with pytest.raises(Rejection, match="JPEG files are not accepted here; use PNG, GIF"):
        inspect(SEEDS["JPEG"], Limits(formats=("PNG", "GIF")))


def test_counts_frames_up_to_the_limit_and_no_further() -> None:
    frames = [Image.new("L", (2, 2), level) for level in range(8)]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert inspect(content, Limits(max_frames=8)).frames == 8
    assert reason_for(content, Limits(max_frames=7)) == Reason.TOO_MANY_FRAMES


def test_counts_scans_where_a_decoder_would_read_them() -> None:
    progressive = encoded(photo(), "JPEG", progressive=True)
    assert inspect(progressive, Limits(max_scans=10)).width == 96
    assert reason_for(progressive, Limits(max_scans=9)) == Reason.TOO_MANY_SCANS
    last_scan = SEEDS["JPEG"][SEEDS["JPEG"].rindex(b"\xff\xda") : -2]
    assert inspect(SEEDS["JPEG"][:-2] + last_scan * 200, Limits(max_scans=9)).width == 96


def big_tiff(entries: int) -> bytes:
    """A BigTIFF of one directory, which is followed by itself."""
    size = struct.pack("<HHQQ", 256, 4, 1, 8) + struct.pack("<HHQQ", 257, 4, 1, 8)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, entries) + size + bytes((entries - 2) * 20) + b"\x10" + bytes(7)


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xd8" + b"\xff" * 60_000 + b"\0",
        b"\xff\xd8" + b"\xff\xfe\0\2" * 6_000_000,
        SEEDS["PNG"][:33] + bytes(12) * 2_000_000,
        SEEDS["GIF"][:13] + b"!\xfe\0" * 8_000_000,
        SEEDS["GIF"][:13] + bytes(24_000_000),
        big_tiff(1_200_000),
        big_tiff(4_096),
    ],
    ids=["fill bytes", "segments", "chunks", "blocks", "no blocks", "entries", "circle"],
)
def test_no_file_keeps_the_guard_busy(content: bytes) -> None:
    start = time.process_time()
    assert reason_for(content, Limits()) == Reason.CORRUPT
    assert time.process_time() - start < 1


def test_real_numbers_of_parts_are_no_reason() -> None:
    segment, chunk = b"\xff\xe2\0\2", struct.pack(">I4sI", 0, b"abCd", 0)
    assert inspect(b"\xff\xd8" + segment * 900 + SEEDS["JPEG"][2:], Limits()).width == 96
    assert inspect(SEEDS["PNG"][:33] + chunk * 900 + SEEDS["PNG"][33:], Limits()).width == 96
    pieces = struct.pack(">I4s", 8_192, b"IDAT") + bytes(8_196)
    assert inspect(SEEDS["PNG"][:33] + pieces * 3_000 + SEEDS["PNG"][33:], Limits()).width == 96


@pytest.mark.parametrize("content", [b"", b"hello", b"<html>", bytes(100), b"%PDF-1.7", b"PK\x03\x04" * 20])
def test_what_is_no_image_is_said_not_to_be_one(content: bytes) -> None:
    assert reason_for(content, Limits()) == Reason.NOT_AN_IMAGE


@given(seed=st.sampled_from(sorted(SEEDS)), cut=st.floats(0, 1))
def test_any_cut_has_an_answer(seed: str, cut: float) -> None:
    content = SEEDS[seed]
    answer_to(content[: int(len(content) * cut)])


@given(
    seed=st.sampled_from(sorted(SEEDS)),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=12),
)
def test_any_change_has_an_answer(seed: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(SEEDS[seed])
    for position, value in changes:
        content[position % len(content)] = value
    answer_to(bytes(content))


@given(st.binary(max_size=200), st.sampled_from(sorted(SEEDS)))
def test_any_bytes_after_a_beginning_have_an_answer(rest: bytes, seed: str) -> None:
    answer_to(SEEDS[seed][:24] + rest)


def answer_to(content: bytes) -> None:
    """A header within the limits or a known reason; anything else raises."""
    limits = Limits()
    try:
        header = inspect(content, limits)
    except Rejection as rejection:
        Reason(rejection.code)
    else:
        assert 1 <= header.width <= limits.max_side
        assert 1 <= header.height <= limits.max_side
        assert 1 <= header.frames <= limits.max_frames
