"""The images table: one item an image, from the request for its upload to its purge.

Reads never show an item past its `expires_at`, whether or not DynamoDB has come round to deleting it.
"""

import base64
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

import boto3
from boto3.dynamodb.conditions import Attr, ConditionBase, Key
from boto3.dynamodb.types import TypeSerializer

from imagelake.errors import Fault, InvalidCursorError, InvalidKeyError
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import EXPIRY_SHARDS, AwaitedUpload, Tombstone, expiry_attributes
from imagelake.stores.session import calling, session
from imagelake.values import to_iso

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.service_resource import DynamoDBServiceResource, Table

QUERY_ITEMS: Final = 100
BATCH_ITEMS: Final = 100
"""The most that DynamoDB reads in one batch."""
BATCH_PAUSE, LONGEST_BATCH_PAUSE = 0.05, 1.0
"""Seconds before what DynamoDB left of a batch is asked for again: twice as long each time, up to the second."""
ATTEMPT_SECONDS: Final = 900
"""How long an image that was started again is left alone."""
OUTCOMES: Final = ["processed", "rejected", "failed"]
"""The statuses of items that have a row."""
_SKEW: Final = timedelta(minutes=10)
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


@dataclass(frozen=True)
class ExpiredItem:
    """An item past its time, as the index of expiring items knows it; times that are malformed are None."""

    image_id: str
    status: str
    received_at: datetime | None
    hour: ArrivalHour | None


@dataclass(frozen=True)
class OpenReport:
    """A failure that operators have not been told of yet."""

    key: RawKey
    reason: str
    step: str
    failed_at: datetime | None = None


@dataclass(frozen=True)
class OpenRedrive:
    """A redrive after which the image has had no other outcome yet: it keeps the one that it had."""

    key: RawKey
    status: str
    reason: str
    redriven_at: datetime


@dataclass(frozen=True)
class OpenStart:
    """An image that an operator had started, and that has no outcome yet."""

    key: RawKey


@dataclass(frozen=True)
class OpenErasure:
    """An erasure after which something of the image may have been stored."""

    image_id: str
    erased_at: datetime


type Open = OpenReport | OpenRedrive | OpenStart | OpenErasure
"""What is left to do about an image."""


@dataclass(frozen=True)
class Standing:
    """How far an image has come.

    `version_id` is of the version that was processed, where the item knows it; `attempts` says how often the image was
    started again.
    """

    status: str
    hour: ArrivalHour
    version_id: str | None
    is_redriven: bool
    attempts: int = 0

    def admits(self, hour: ArrivalHour) -> bool:
        """Whether an outcome of `hour` may take its place, as the workflow's commit decides."""
        may_change = self.status == "failed" or (self.status == "rejected" and self.is_redriven)
        return self.status == "awaiting_upload" or (may_change and self.hour == hour)


@cache
def _dynamodb() -> "DynamoDBServiceResource":
    return boto3.Session(botocore_session=session()).resource("dynamodb")


@cache
def _resource(name: str) -> "Table":
    return _dynamodb().Table(name)


def serialize(item: dict[str, Any]) -> dict[str, Any]:
    """An item in DynamoDB's own JSON, as `dynamodb:putItem` takes it in a workflow."""
    exact = json.loads(json.dumps(item), parse_float=Decimal)
    return dict(TypeSerializer().serialize(exact)["M"])


def _write_if(operation: str, write: Callable[..., object], **request: Any) -> bool:
    """Make a conditional write; whether its condition held."""
    try:
        with calling(operation):
            write(**request)
    except Fault as fault:
        if fault.code == "ConditionalCheckFailedException":
            return False
        raise
    return True


def _update_if(update: Callable[..., Any], **request: Any) -> dict[str, Any] | None:
    """Make a conditional update; the attributes that it returns, or None when its condition did not hold."""
    try:
        with calling("UpdateItem"):
            return dict(update(**request)["Attributes"])
    except Fault as fault:
        if fault.code == "ConditionalCheckFailedException":
            return None
        raise


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


def _left_to_do(item: dict[str, Any]) -> Open | None:
    """None where nothing is left, the time is up, or nobody can read the item, which is for the auditor to report."""
    match item:
        case {"unsettled_since": _, "expires_at": Decimal() | int() as expires_at} if expires_at > _now():
            with suppress(KeyError, ValueError, InvalidKeyError):
                return _unsettled(item)
    return None


def _moment(text: Any) -> datetime | None:
    """A time of an item; None where it has none."""
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) else None


def _unsettled(item: dict[str, Any]) -> Open | None:
    """What is left to do for an unsettled item; None where status, reason or time is none.

    Raises:
        KeyError, ValueError, InvalidKeyError: an attribute is missing or malformed.
    """
    match item:
        case {"status": "erased", "erased_at": str(erased_at)}:
            return OpenErasure(item["image_id"], datetime.fromisoformat(erased_at).astimezone(UTC))
        case {"status": "awaiting_upload"}:
            return OpenStart(_raw_key(item))
        case {"status": "failed" | "rejected" as status, "reason": str(reason), "redriven_at": str(redriven_at)}:
            return OpenRedrive(_raw_key(item), status, reason, datetime.fromisoformat(redriven_at).astimezone(UTC))
        case {"status": "failed", "reason": str(reason)}:
            step, failed_at = str(item.get("failed_step", "unknown")), _moment(item.get("failed_at"))
            return OpenReport(_raw_key(item), reason, step, failed_at)
        case _:
            return None


def _raw_key(item: dict[str, Any]) -> RawKey:
    return RawKey(ArrivalHour.parse(f"ingest_date={item['ingest_date']}/hour={item['hour']}"), item["image_id"])


def _expired(item: dict[str, Any]) -> ExpiredItem:
    """An entry of the index; whatever else it says, its item has to go."""
    try:
        hour = ArrivalHour.parse(f"ingest_date={item.get('ingest_date')}/hour={item.get('hour')}")
    except InvalidKeyError:
        hour = None
    try:
        received_at = datetime.fromisoformat(str(item.get("received_at")))
    except ValueError:
        received_at = None
    return ExpiredItem(
        image_id=str(item["image_id"]),
        status=str(item.get("status")),
        received_at=received_at if received_at and received_at.tzinfo else None,
        hour=hour,
    )


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


@dataclass(frozen=True)
class ImagesTable:
    """The table, by its name."""

    name: str

    @property
    def _table(self) -> "Table":
        return _resource(self.name)

    def expect_uploads(self, uploads: Sequence[AwaitedUpload]) -> None:
        """Record that these uploads may come.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        with calling("BatchWriteItem"), self._table.batch_writer() as batch:
            for upload in uploads:
                batch.put_item(Item=upload.to_item())

    def get(self, image_id: str) -> dict[str, Any] | None:
        """The item of an image, or None when it is unknown, expired or erased.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        item = self.get_even_erased(image_id)
        return item if item is not None and item["status"] != "erased" else None

    def get_even_erased(self, image_id: str) -> dict[str, Any] | None:
        """The item of an image or its tombstone, or None when it is unknown or expired.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        with calling("GetItem"):
            item: Any = self._table.get_item(Key={"image_id": image_id}, ConsistentRead=True).get("Item")
        return _plain(item) if item is not None and item["expires_at"] > _now() else None

    def standing(self, image_id: str) -> Standing | None:
        """What an item says of the state of its image, whether or not its time is up; None when there is none.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        with calling("GetItem"):
            item = self._table.get_item(
                Key={"image_id": image_id},
                ConsistentRead=True,
                ProjectionExpression="#status, ingest_date, #hour, version_id, redriven_at, attempts",
                ExpressionAttributeNames={"#status": "status", "#hour": "hour"},
            ).get("Item")
        if item is None:
            return None
        version_id, attempts = item.get("version_id"), item.get("attempts", 0)
        status = str(item["status"])
        return Standing(
            status,
            ArrivalHour(str(item["ingest_date"]), str(item["hour"])),
            str(version_id) if version_id else None,
            "redriven_at" in item,
            _plain(attempts) + (status in OUTCOMES or "redriven_at" in item),
        )

    def bury(self, tombstone: Tombstone) -> bool:
        """Put a tombstone in the place of an image, whatever else is known of it.

        Returns:
            False when there is a tombstone already.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        return _write_if(
            "PutItem",
            self._table.put_item,
            Item=tombstone.to_item(),
            ConditionExpression=Attr("image_id").not_exists() | Attr("status").ne("erased"),
        )

    def expired(self, now: datetime) -> Iterator[ExpiredItem]:
        """The items whose time is up; reads these and no others.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        for page in self._pages("by_expiry", Key("expires_at").lte(int(now.timestamp()))):
            yield from map(_expired, page)

    def has_expired(self, now: datetime) -> bool:
        """Whether there is an item whose time is up. Items that the index names are read, since it trails the table.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        for some in batched(self.expired(now), BATCH_ITEMS, strict=False):
            items = self._read([item.image_id for item in some], {"ProjectionExpression": "expires_at"})
            if any(int(item["expires_at"]) <= now.timestamp() for item in items):
                return True
        return False

    def outcomes(
        self, hour: ArrivalHour, retention_days: int, statuses: Sequence[str] = OUTCOMES
    ) -> Iterator[tuple[str, str]]:
        """The images with such an outcome that arrived in an hour, each with its status; reads no others' items.

        An image arrives between the beginning of its hour and 20 minutes after its end, and expires `retention_days`
        later; an index knows when. So images are not found whose days were another number when they arrived.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        kept = timedelta(days=retention_days)
        first, last = (int((moment + kept).timestamp()) for moment in (hour.start - _SKEW, hour.closed_at + _SKEW))
        wanted: dict[str, Any] = {
            "FilterExpression": Attr("ingest_date").eq(hour.ingest_date)
            & Attr("hour").eq(hour.hour)
            & Attr("status").is_in(list(statuses)),
            "ProjectionExpression": "image_id, #status",
            "ExpressionAttributeNames": {"#status": "status"},
        }
        for page in self._pages("by_expiry", Key("expires_at").between(first, last), wanted):
            for item in page:
                yield str(item["image_id"]), str(item["status"])

    def read(self, image_ids: Sequence[str]) -> list[dict[str, Any]]:
        """The items, whatever they are, of those of `image_ids` (all different) that have one.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        return [_plain(item) for item in self._read(image_ids, {})]

    def delete_expired(self, image_id: str, now: datetime) -> bool:
        """Delete an item unless somebody else did, or it has been given more time since.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        # Called from several threads: clients are made for that, the table is not.
        return _write_if(
            "DeleteItem",
            self._table.meta.client.delete_item,
            TableName=self.name,
            Key={"image_id": image_id},
            ConditionExpression="expires_at <= :now",
            ExpressionAttributeValues={":now": int(now.timestamp())},
        )

    def statuses(self, image_ids: Sequence[str]) -> dict[str, str]:
        """The status as stored of those of `image_ids` (any number, all different) that have an item.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        wanted = {"ProjectionExpression": "image_id, #status", "ExpressionAttributeNames": {"#status": "status"}}
        return {str(item["image_id"]): str(item["status"]) for item in self._read(image_ids, wanted)}

    def _pages(
        self, index: str, of: ConditionBase, wanted: dict[str, Any] | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """What an index has under a condition in all its shards, page by page."""
        for shard in EXPIRY_SHARDS:
            query = {"IndexName": index, "KeyConditionExpression": Key("expiry_shard").eq(shard) & of, **(wanted or {})}
            while True:
                with calling("Query"):
                    found: Any = self._table.query(**query)
                yield found["Items"]
                if "LastEvaluatedKey" not in found:
                    break
                query["ExclusiveStartKey"] = found["LastEvaluatedKey"]

    def _read(self, image_ids: Sequence[str], wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for some in batched(image_ids, BATCH_ITEMS, strict=False):
            keys = [{"image_id": image_id} for image_id in some]
            request: Any = {self.name: {"Keys": keys, "ConsistentRead": True} | wanted}
            pause = BATCH_PAUSE
            while True:
                with calling("BatchGetItem"):
                    response = self._table.meta.client.batch_get_item(RequestItems=request)
                yield from response["Responses"].get(self.name, [])
                if not (request := response.get("UnprocessedKeys")):
                    break
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_BATCH_PAUSE)

    def count_attempt(self, key: RawKey, received_at: datetime, now: datetime, expires_at: datetime) -> int | None:
        """Note that an image without an outcome is started again.

        Args:
            key: of the image.
            received_at: when it arrived.
            now: the time of this attempt.
            expires_at: when the note is purged.

        Returns:
            Which attempt this is, from 1; None when the image has an outcome by now or was started again just before.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        return self._update_open(
            key,
            "SET attempts = if_not_exists(attempts, :none) + :one, attempted_at = :now",
            {":none": 0, ":one": 1, ":now": int(now.timestamp()), ":status": "awaiting_upload"},
            received_at,
            expires_at,
            Attr("attempted_at").not_exists() | Attr("attempted_at").lte(int(now.timestamp()) - ATTEMPT_SECONDS),
        )

    def give_up(self, key: RawKey, reason: str, received_at: datetime, now: datetime, expires_at: datetime) -> bool:
        """Call an image without an outcome failed, which is to be reported; a late success may still overwrite that.

        Returns:
            False when it has an outcome by now.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        update = "SET reason = :reason, failed_at = :now, failed_step = :step, unsettled_since = :now"
        values = {":reason": reason, ":now": to_iso(now), ":step": "reconcile", ":status": "failed"}
        return self._update_open(key, update, values, received_at, expires_at) is not None

    def expect_outcome(self, key: RawKey, received_at: datetime, now: datetime, expires_at: datetime) -> bool:
        """Note that an image without an outcome is started because somebody asked, however long ago it arrived.

        Returns:
            False when it has an outcome by now.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        values = {":now": to_iso(now), ":status": "awaiting_upload"}
        return self._update_open(key, "SET unsettled_since = :now", values, received_at, expires_at) is not None

    def unsettled(self, until: datetime) -> Iterator[Open]:
        """What is left to do since `until` or longer; reads no other items.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        for page in self._pages("unsettled", Key("unsettled_since").lte(to_iso(until))):
            # The index trails the table.
            yield from filter(None, map(_left_to_do, self._read([str(one["image_id"]) for one in page], {})))

    def close_report(self, image_id: str, now: datetime) -> bool:
        """Note that what was open of an image at `now` was reported after that.

        Returns:
            False when that was noted already, the image was redriven since, or has another outcome or none by now.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        return _write_if(
            "UpdateItem",
            self._table.update_item,
            Key={"image_id": image_id},
            UpdateExpression="SET reported_at = :now REMOVE unsettled_since",
            ConditionExpression=Attr("unsettled_since").lte(to_iso(now))
            & (Attr("status").eq("failed") | Attr("status").eq("rejected")),
            ExpressionAttributeValues={":now": to_iso(now)},
        )

    def erase_again(self, erasure: OpenErasure, now: datetime) -> bool:
        """Have the stream bring a tombstone once more, and so have the image erased, until it is settled.

        Returns:
            False when it is settled.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        return _write_if(
            "UpdateItem",
            self._table.update_item,
            Key={"image_id": erasure.image_id},
            UpdateExpression="SET repeated_at = :now",
            ConditionExpression=Attr("unsettled_since").exists() & Attr("status").eq("erased"),
            ExpressionAttributeValues={":now": to_iso(now)},
        )

    def settle_erasure(self, tombstone: Tombstone, now: datetime) -> bool:
        """Note that an erasure was repeated.

        Returns:
            Whether it is settled for the first time: False when that was noted before, it was asked for once more
            since, or the image has come back since.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        returned = (
            Attr("returned_at").eq(tombstone.returned_at) if tombstone.returned_at else Attr("returned_at").not_exists()
        )
        old = _update_if(
            self._table.update_item,
            Key={"image_id": tombstone.image_id},
            UpdateExpression="SET settled_at = if_not_exists(settled_at, :now) REMOVE unsettled_since",
            ConditionExpression=Attr("unsettled_since").exists()
            & Attr("repeated_at").eq(tombstone.repeated_at)
            & returned,
            ExpressionAttributeValues={":now": to_iso(now)},
            ReturnValues="ALL_OLD",
        )
        return old is not None and "settled_at" not in old

    def _update_open(
        self,
        key: RawKey,
        update: str,
        values: dict[str, Any],
        received_at: datetime,
        expires_at: datetime,
        also: ConditionBase | None = None,
    ) -> int | None:
        """Update the item of an image without an outcome, making it if need be.

        Returns:
            The attempts so far; None if the image has an outcome.
        """
        condition = Attr("image_id").not_exists() | Attr("status").eq("awaiting_upload")
        expiry = expiry_attributes(key.image_id, expires_at)
        new = _update_if(
            self._table.update_item,
            Key={"image_id": key.image_id},
            UpdateExpression=f"{update}, #status = :status, received_at = :received_at, "
            "expires_at = :expires_at, expiry_shard = :expiry_shard, ingest_date = :ingest_date, #hour = :hour",
            ConditionExpression=condition & also if also else condition,
            ExpressionAttributeNames={"#status": "status", "#hour": "hour"},
            ExpressionAttributeValues=values
            | {f":{name}": value for name, value in expiry.items()}
            | {":received_at": to_iso(received_at), ":ingest_date": key.hour.ingest_date, ":hour": key.hour.hour},
            ReturnValues="ALL_NEW",
        )
        return int(new.get("attempts", 0)) if new is not None else None

    def admit_again(self, image_id: str, status: str, reason: str, now: datetime) -> bool:
        """Let another outcome take the place of this one, which stays until then. It is open whether one will.

        Returns:
            False when the image has another outcome by now, or was erased, or has expired.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        return _write_if(
            "UpdateItem",
            self._table.update_item,
            Key={"image_id": image_id},
            UpdateExpression="SET redriven_at = :now, unsettled_since = :now",
            ConditionExpression=Attr("status").eq(status)
            & Attr("reason").eq(reason)
            & Attr("expires_at").gt(int(now.timestamp())),
            ExpressionAttributeValues={":now": to_iso(now)},
        )

    def list_images(self, listing: Listing, limit: int, cursor: str | None) -> Page:
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
            with calling("Query"):
                found = self._table.query(**query | ({"ExclusiveStartKey": last} if last else {}))
            items += found["Items"]
            last = found.get("LastEvaluatedKey")
            if last is None or len(items) > limit:
                break
        if len(items) > limit:
            items, last = items[:limit], items[limit - 1]
        return Page(_plain(items), _encode(last) if last else None)
