"""A cursor goes on within one listing of one caller, and opens no other."""

import base64
import time
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from imagelake.errors import InvalidCursorError
from imagelake.stores import images_table
from imagelake.stores.images_table import ImagesTable, Listing

OWN = Listing("ada", stored_status=None, source=None, received_from=None, received_to=None)
RECEIVED_AT = "2026-11-22T09:30:15.250Z"
RECEIVED = datetime.fromisoformat(RECEIVED_AT)
IMAGE_ID = "01a20297-8952-7c11-9d0a-5b1f3c2e4d6f"


class FakeTable:
    """Answers every query with two items, of which more follow, and remembers what it was asked."""

    def __init__(self) -> None:
        self.queries: list[dict[str, Any]] = []

    def query(self, **query: Any) -> dict[str, Any]:
        self.queries.append(query)
        item = {"image_id": IMAGE_ID, "received_at": RECEIVED_AT, "uploader": "ada"}
        return {"Items": [item, item], "LastEvaluatedKey": item}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> FakeTable:
    fake = FakeTable()
    monkeypatch.setattr(images_table, "_resource", lambda _: fake)
    return fake


def test_what_a_batch_leaves_is_asked_for_again_after_ever_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[dict[str, str]]] = []
    pauses: list[float] = []

    def batch_get_item(RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        """Answer for the first key alone, as DynamoDB may when it is throttled."""
        request = RequestItems["images"]
        assert request["ConsistentRead"]
        asked.append(request["Keys"])
        first, *others = request["Keys"]
        left = {"images": request | {"Keys": others}} if others else {}
        return {"Responses": {"images": [first | {"status": "processed"}]}, "UnprocessedKeys": left}

    table = SimpleNamespace(meta=SimpleNamespace(client=SimpleNamespace(batch_get_item=batch_get_item)))
    monkeypatch.setattr(images_table, "_resource", lambda _: table)
    monkeypatch.setattr(time, "sleep", pauses.append)
    image_ids = [str(number) for number in range(8)]

    assert ImagesTable("images").statuses(image_ids) == dict.fromkeys(image_ids, "processed")

    assert [len(keys) for keys in asked] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def _cursor(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


CURSOR = _cursor(f"{RECEIVED_AT} {IMAGE_ID}")


def test_a_cursor_holds_no_caller_and_is_read_as_the_caller_s_own(table: FakeTable) -> None:
    cursor = ImagesTable("images").list_images(OWN, limit=1, cursor=None).cursor
    assert cursor is not None
    assert b"ada" not in base64.urlsafe_b64decode(cursor)

    ImagesTable("images").list_images(Listing("eve", None, None, None, None), limit=1, cursor=cursor)

    query = table.queries[-1]
    assert query["ExclusiveStartKey"] == {"uploader": "eve", "received_at": RECEIVED_AT, "image_id": IMAGE_ID}
    assert query["KeyConditionExpression"].get_expression()["values"][0].get_expression()["values"][1] == "eve"


@pytest.mark.parametrize(
    "cursor",
    [
        "%%%",
        "größe",
        "abc",
        "8J+YgA=",
        "_w==",
        _cursor(" "),
        _cursor(RECEIVED_AT),
        _cursor(f"{RECEIVED_AT} "),
        _cursor(f"{RECEIVED_AT} {IMAGE_ID} ada"),
        _cursor(f"{RECEIVED_AT} {IMAGE_ID}\n"),
        _cursor(f"{RECEIVED_AT[:10]} {IMAGE_ID}"),
        _cursor(f'["{RECEIVED_AT}", "{IMAGE_ID}"]'),
    ],
)
def test_rejects_a_cursor_that_no_page_had(cursor: str, table: FakeTable) -> None:
    with pytest.raises(InvalidCursorError):
        ImagesTable("images").list_images(OWN, limit=1, cursor=cursor)

    assert table.queries == []


@pytest.mark.parametrize(
    ("received_from", "received_to"),
    [(RECEIVED + timedelta(seconds=1), None), (None, RECEIVED - timedelta(seconds=1))],
)
def test_rejects_a_cursor_of_another_time_span(
    received_from: datetime | None, received_to: datetime | None, table: FakeTable
) -> None:
    listing = Listing("ada", None, None, received_from, received_to)

    with pytest.raises(InvalidCursorError):
        ImagesTable("images").list_images(listing, limit=1, cursor=CURSOR)

    assert table.queries == []


@given(st.text(min_size=1, max_size=60) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=60).map(_cursor))
def test_takes_no_text_for_a_cursor_unless_it_is_one(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        ImagesTable("images").list_images(OWN, limit=1, cursor=text)


def test_serializes_numbers_exactly() -> None:
    serialized = images_table.serialize({"gps_lat": 52.5163, "width": 7, "tags": {"a": "b"}, "derivatives": []})

    assert serialized == {
        "gps_lat": {"N": "52.5163"},
        "width": {"N": "7"},
        "tags": {"M": {"a": {"S": "b"}}},
        "derivatives": {"L": []},
    }


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-180, max_value=180).map(lambda f: round(f, 7)))
def test_a_number_reads_back_from_dynamodb_s_json(number: float) -> None:
    read: Decimal = TypeDeserializer().deserialize(images_table.serialize({"gps_lon": number})["gps_lon"])

    assert float(read) == number


def test_a_page_shorter_than_its_limit_goes_on_after_the_last_query_s_last_item(table: FakeTable) -> None:
    page = ImagesTable("images").list_images(OWN, limit=100, cursor=None)

    assert len(table.queries) == images_table.MAX_QUERIES
    assert len(page.items) == 2 * images_table.MAX_QUERIES
    assert page.cursor == CURSOR
