import math
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from scripts import describe
from tests.unit.pictures import photo

GPS, DETAILS = 34853, 34665


def exif(**directories: dict[int, Any]) -> Image.Exif:
    data = Image.Exif()
    data.get_ifd(GPS).update(directories.get("gps", {}))
    data.get_ifd(DETAILS).update(directories.get("details", {}))
    return data


def rationals(*pairs: tuple[int, int]) -> tuple[IFDRational, ...]:
    return tuple(IFDRational(numerator, denominator) for numerator, denominator in pairs)


def test_reads_a_place_south_and_west() -> None:
    gps = {1: "S", 2: rationals((33, 1), (51, 1), (2450, 100)), 3: "W\0", 4: rationals((151, 1), (12, 1), (0, 1))}
    camera = describe.read_camera(exif(gps=gps))
    assert (camera["gps_lat"], camera["gps_lon"]) == (-33.8568056, -151.2)


@pytest.mark.parametrize(
    "latitude",
    [
        rationals((0, 0), (0, 0), (0, 0)),
        rationals((52, 1), (30, 0), (0, 1)),
        rationals((91, 1), (0, 1), (0, 1)),
        rationals((-1, 1), (0, 1), (0, 1)),
        rationals((52, 1)),
        (float("nan"), 0, 0),
        (float("inf"), 0, 0),
        "52",
        b"52",
        7,
        None,
    ],
)
def test_an_unreadable_place_is_none(latitude: object) -> None:
    assert describe.read_camera(exif(gps={1: "N", 2: latitude}))["gps_lat"] is None


@given(st.tuples(*[st.one_of(st.integers(), st.floats(), st.text(), st.none())] * 3), st.one_of(st.text(), st.binary()))
def test_a_place_is_a_number_on_earth_or_none(parts: tuple[object, ...], reference: object) -> None:
    latitude = describe.read_camera(exif(gps={1: reference, 2: parts}))["gps_lat"]
    assert latitude is None or (math.isfinite(latitude) and -90 <= latitude <= 90)


@pytest.mark.parametrize(
    ("details", "taken_at"),
    [
        ({36867: "2026:11:22 10:00:00"}, "2026-11-22T10:00:00+00:00"),
        ({36867: "2026:11:22 10:00:00", 36881: "+05:30"}, "2026-11-22T04:30:00+00:00"),
        ({36867: "2026:11:22 10:00:00\0"}, "2026-11-22T10:00:00+00:00"),
        ({36867: "0000:00:00 00:00:00", 36868: "2025:01:01 00:00:00"}, "2025-01-01T00:00:00+00:00"),
        ({36867: "    :  :     :  :  "}, None),
        ({36867: "2026:11:22 10:00:00", 36881: "somewhere"}, None),
        ({36867: b"2026"}, None),
        ({}, None),
    ],
)
def test_reads_when_a_picture_was_taken(details: dict[int, Any], taken_at: str | None) -> None:
    assert describe.read_camera(exif(details=details))["taken_at"] == taken_at


@given(st.text(), st.one_of(st.text(), st.none()))
def test_a_moment_is_in_utc_or_none(text: str, offset: str | None) -> None:
    taken_at = describe.read_camera(exif(details={36867: text, 36881: offset}))["taken_at"]
    assert taken_at is None or datetime.fromisoformat(taken_at).utcoffset() is not None


def test_copies_of_a_picture_have_nearly_the_same_hash() -> None:
    picture = photo(256, 192)
    original = int(describe.measure(picture)["phash"], 16)
    brighter = int(describe.measure(picture.point(lambda level: min(255, level + 12)))["phash"], 16)
    smaller = int(describe.measure(picture.resize((120, 90)))["phash"], 16)
    other = int(describe.measure(Image.linear_gradient("L").rotate(90).convert("RGB"))["phash"], 16)
    assert (original ^ brighter).bit_count() <= 6
    assert (original ^ smaller).bit_count() <= 6
    assert (original ^ other).bit_count() > 12


def test_measures_plain_colors() -> None:
    measures = describe.measure(Image.new("RGB", (50, 50), "#ff8000"))
    assert measures["dominant_color"] == "#ff8000"
    assert measures["sharpness"] == 0
    assert describe.measure(Image.new("L", (50, 50), 255))["brightness"] == 1
    assert describe.measure(Image.new("L", (50, 50), 0))["brightness"] == 0


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    gray = photo(40, 30, "L")
    level: Any = gray.load()
    values = [
        level[x - 1, y] + level[x + 1, y] + level[x, y - 1] + level[x, y + 1] - 4 * level[x, y]
        for x in range(1, 39)
        for y in range(1, 29)
    ]
    clipped = [max(-255, min(255, value)) for value in values]
    mean = sum(clipped) / len(clipped)
    variance = sum((value - mean) ** 2 for value in clipped) / len(clipped)
    assert describe.measure(gray)["sharpness"] == pytest.approx(variance, abs=0.01)


def test_blurring_lowers_sharpness() -> None:
    sharp = Image.effect_noise((100, 100), 40)
    assert (
        describe.measure(sharp.resize((50, 50)).resize((100, 100)))["sharpness"] < describe.measure(sharp)["sharpness"]
    )
