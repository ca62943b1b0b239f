import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagelake.errors import Rejection
from imagelake.script_metadata import check_size, split_columns, to_json

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


@pytest.mark.parametrize(("name", "value"), [("gps_lat", "north"), ("taken_at", "yesterday"), ("camera_make", 7)])
def test_a_column_of_the_wrong_type_is_refused_with_its_path(name: str, value: str | int) -> None:
    with pytest.raises(Rejection) as rejection:
        split_columns({name: value}, "tones")
    assert rejection.value.detail.startswith(f"tones: metadata.{name}: ")
    assert str(value) not in rejection.value.detail


def test_metadata_has_a_size_limit() -> None:
    check_size({"a": "x" * 90}, "tones", 100)
    with pytest.raises(Rejection):
        check_size({"a": "x" * 100}, "tones", 100)
