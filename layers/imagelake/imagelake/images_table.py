"""The images table: one item an image, from the request for its upload to its purge.

Reads never show an item past its `expires_at`, whether or not DynamoDB has come round to deleting it.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import boto3
from boto3.dynamodb.conditions import Attr, ConditionBase, Key
from boto3.dynamodb.types import TypeSerializer

from imagelake.errors import Fault, InvalidCursorError
from imagelake.model import AwaitedUpload, to_iso

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import Table

QUERY_ITEMS: Final = 100
MAX_QUERIES: Final = 10
"""Of one page of a listing; a filter that few items pass gives a short page and a cursor to go on from."""


_PLACE = re.compile(r"(?P<received_at>[0-9T:.-]{23}Z) (?P<image_id>[0-9a-f-]{36})")


@dataclass(frozen=True)
class Page:
    """Some items, newest first, and the cursor of the next page, if there may be one."""

    items: list[dict[str, Any]]
    cursor: str | None


@dataclass(frozen=True)
class Listing:
    """Which of a caller's images to list. `stored_status` is a status as stored; times bound `received_at`."""

    uploader: str
    stored_status: str | None
    source: str | None
    received_from: datetime | None
    received_to: datetime | None


@cache
def _table(name: str) -> "Table":
    return boto3.resource("dynamodb").Table(name)


def serialize(item: dict[str, Any]) -> dict[str, Any]:
    """An item in DynamoDB's own JSON, as `dynamodb:putItem` takes it in a workflow."""
    exact = json.loads(json.dumps(item), parse_float=Decimal)
    return dict(TypeSerializer().serialize(exact)["M"])


def expect_uploads(table: str, uploads: Sequence[AwaitedUpload]) -> None:
    """Record that these uploads may come.

    Raises:
        Fault: DynamoDB did not answer, or denied access.
    """
    with Fault.on("BatchWriteItem"), _table(table).batch_writer() as batch:
        for upload in uploads:
            batch.put_item(Item=upload.to_item())


def get(table: str, image_id: str) -> dict[str, Any] | None:
    """The item of an image, or None when it is unknown or expired.

    Raises:
        Fault: DynamoDB did not answer, or denied access.
    """
    with Fault.on("GetItem"):
        item: Any = _table(table).get_item(Key={"image_id": image_id}, ConsistentRead=True).get("Item")
    return _plain(item) if item is not None and item["expires_at"] > _now() else None


def list_images(table: str, listing: Listing, limit: int, cursor: str | None) -> Page:
    """One page of a caller's images, newest first.

    Raises:
        InvalidCursorError: `cursor` is not one that a page of this caller had.
        Fault: DynamoDB did not answer, or denied access.
    """
    query: dict[str, Any] = {
        "IndexName": "by_uploader",
        "KeyConditionExpression": _key_condition(listing),
        "FilterExpression": _filter(listing),
        "ScanIndexForward": False,
        "Limit": QUERY_ITEMS,
    }
    last: Any = _decode(cursor, listing) if cursor else None
    items: list[dict[str, Any]] = []
    for _ in range(MAX_QUERIES):
        with Fault.on("Query"):
            found = _table(table).query(**query | ({"ExclusiveStartKey": last} if last else {}))
        items += found["Items"]
        last = found.get("LastEvaluatedKey")
        if last is None or len(items) > limit:
            break
    if len(items) > limit:
        items, last = items[:limit], items[limit - 1]
    return Page(_plain(items), _encode(last) if last else None)


def _plain(value: Any) -> Any:
    """`value` with `int` and `float` for DynamoDB's decimals."""
    match value:
        case dict():
            return {name: _plain(entry) for name, entry in value.items()}
        case list():
            return [_plain(entry) for entry in value]
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            return value


def _now() -> int:
    return int(datetime.now(UTC).timestamp())


def _span(listing: Listing) -> tuple[str, str]:
    first = to_iso(listing.received_from) if listing.received_from else "0"
    last = to_iso(listing.received_to) if listing.received_to else "A"
    return first, last


def _key_condition(listing: Listing) -> ConditionBase:
    return Key("uploader").eq(listing.uploader) & Key("received_at").between(*_span(listing))


def _filter(listing: Listing) -> ConditionBase:
    condition: ConditionBase = Attr("expires_at").gt(_now())
    if listing.stored_status:
        condition &= Attr("status").eq(listing.stored_status)
    if listing.source:
        condition &= Attr("source").eq(listing.source)
    return condition


def _encode(last: dict[str, Any]) -> str:
    # The caller's own subject is left out and put back, so a cursor opens no other caller's listing.
    return base64.urlsafe_b64encode(f"{last['received_at']} {last['image_id']}".encode()).decode()


def _decode(cursor: str, listing: Listing) -> dict[str, str]:
    # DynamoDB refuses a place outside the listing's span as invalid, which would look like a fault of ours.
    first, last = _span(listing)
    try:
        place = _PLACE.fullmatch(base64.urlsafe_b64decode(cursor).decode())
    except ValueError:
        place = None
    if place is None or not first <= place["received_at"] <= last:
        raise InvalidCursorError("not a cursor of this listing")
    return {"uploader": listing.uploader, **place.groupdict()}
