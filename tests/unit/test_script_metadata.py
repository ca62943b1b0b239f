import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagelake.engine.columns import HEADER_COLUMNS
from imagelake.engine.scripts.metadata import check_size, split_columns, to_json
from imagelake.errors import Rejection
from imagelake.stores import images_table

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_what_json_can_say_stays_as_it_is(value: object) -> None:
    try:
        kept = to_json(value, "a")
    except Rejection as rejection:
        assert "levels deep" in rejection.detail  # noqa: PT017  # the only reason there is
    else:
        assert json.loads(json.dumps(kept)) == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"a": [1, math.nan]}, "m.a[1]: nan is not a JSON number"),
        ({"a": {"b": math.inf}}, "m.a.b: inf is not a JSON number"),
        ({"a": 2**63}, "m.a: an integer beyond 64 bits"),
        ({"a": {1}}, "m.a: set is not a JSON type"),
        ({"a": b"x"}, "m.a: bytes is not a JSON type"),
        ({"a": {1: 2}}, "m.a: a key that is int, not text"),
        ({"a": "\ud800"}, "m.a: text that is not Unicode"),
        ([[[[[[[[[[1]]]]]]]]]], "m[0][0][0][0][0][0][0][0][0]: more than 8 levels deep"),
    ],
)
def test_anything_else_is_refused_with_its_path(value: object, problem: str) -> None:
    with pytest.raises(Rejection) as rejection:
        to_json(value, "m")
    assert rejection.value.detail == problem


def test_columns_have_the_types_of_the_catalog() -> None:
    columns, rest = split_columns({"taken_at": "2026-11-22T10:00:00+02:00", "gps_lat": 1, "tone": "warm"}, "tones")
    assert columns == {"taken_at": "2026-11-22T08:00:00.000Z", "gps_lat": 1.0}
    assert rest == {"tone": "warm"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gps_lat", "north"),
        ("gps_lat", "52.5"),
        ("gps_lat", 90.001),
        ("gps_lon", -180.001),
        ("gps_lon", "nan"),
        ("sharpness", "inf"),
        ("sharpness", math.nan),
        ("sharpness", 1e200),
        ("brightness", -1e-200),
        ("brightness", True),
        ("taken_at", "yesterday"),
        ("taken_at", "2026-11-22T10:00:00"),
        ("taken_at", "0001-01-01T00:00:00+14:00"),
        ("taken_at", "9999-12-31T23:59:59-14:00"),
        ("taken_at", 1_795_341_600),
        ("taken_at", "1795341600"),
        ("taken_at", "1795341600.5"),
        ("taken_at", True),
        ("camera_make", 7),
    ],
)
def test_a_column_of_the_wrong_type_is_refused_with_its_path(name: str, value: str | float) -> None:
    with pytest.raises(Rejection) as rejection:
        split_columns({name: value}, "tones")
    assert rejection.value.detail.startswith(f"tones: metadata.{name}: ")
    assert str(value) not in rejection.value.detail


@pytest.mark.parametrize("column", HEADER_COLUMNS)
def test_a_column_of_the_header_is_refused_with_its_path(column: str) -> None:
    with pytest.raises(Rejection) as rejection:
        split_columns({column: None}, "tones")
    assert rejection.value.detail == f"tones: metadata.{column}: this column is filled from the header of the file"


@given(st.floats(-90, 90), st.floats(allow_nan=False, allow_infinity=False))
def test_what_a_column_takes_the_images_table_takes(latitude: float, sharpness: float) -> None:
    for metadata in ({"gps_lat": latitude}, {"sharpness": sharpness}):
        try:
            columns, _ = split_columns(metadata, "tones")
        except Rejection as rejection:
            assert "1e-130" in rejection.detail  # noqa: PT017  # the only reason there is
        else:
            assert images_table.serialize(columns)


def test_metadata_has_a_size_limit() -> None:
    check_size({"a": "x" * 90}, "tones", 100)
    with pytest.raises(Rejection):
        check_size({"a": "x" * 100}, "tones", 100)
