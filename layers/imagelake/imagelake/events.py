"""What the lake tells others: the details of the events on the stack's bus. No image data and no personal data.

An event is told at least once. Its `id` follows from what it is about, so the same event has the same `id` however
often it comes. `events/schemas/` has a JSON schema of each, made from these models.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, NonNegativeInt, StringConstraints, WithJsonSchema

from imagelake.keys import ArrivalHour
from imagelake.model import ErasureReason, Tombstone
from imagelake.values import Expiry, Moment, to_iso

SOURCE: Final = "image-lake"
"""Of every event, as rules match it."""
_IDS: Final = UUID("0b5a4b7e-6f0e-4c57-9d6b-2f6f7f0f4c1a")
_TIME: Final = {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"}
_CODE: Final = re.compile(r"[a-z][a-z_]{0,63}")

type Time = Annotated[Moment, WithJsonSchema(_TIME)]
"""As text, ISO 8601 in UTC with milliseconds."""

type End = Annotated[Expiry, WithJsonSchema(_TIME)]
"""The same of an item's `expires_at`, which is in epoch seconds."""

type ReasonCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,63}$")]
"""What the reason of an outcome begins with; `unknown` where it begins otherwise. New codes need no new version."""


class Event(BaseModel):
    """What every event has.

    `version` is of the schema: it changes when a field goes or means something else, and not when one is added. `id` is
    the same however often the event comes. `ingest_date` and `hour` are the hour of arrival, UTC, as in keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    version: Literal["1"] = "1"
    id: str
    ingest_date: str
    hour: str

    @classmethod
    def detail_type(cls) -> str:
        """The name of the event, as rules match it."""
        return cls.__name__


class _ImageEvent(Event):
    """What every outcome of an image has.

    `source` and `source_ref` are those of the image: `api` and the request, or a Kafka producer and the place in its
    topic. `received_at` is when the bytes arrived, `ended_at` when the outcome was reached, `expires_at` when the image
    is purged. Fields that are not known are left out.
    """

    image_id: str
    source: str | None = None
    source_ref: str | None = None
    received_at: Time
    ended_at: Time | None = None
    expires_at: End | None = None


class ImageProcessed(_ImageEvent):
    """An image was processed. `bytes` is the size of its file."""

    status: Literal["processed"] = "processed"
    bytes: NonNegativeInt | None = None


class ImageRejected(_ImageEvent):
    """An image, or a Kafka record, was rejected: a result, which its sender may want to know.

    `kept_at` is where a Kafka record that was refused is kept.
    """

    status: Literal["rejected"] = "rejected"
    reason_code: ReasonCode
    kept_at: str | None = None


class ImageFailed(_ImageEvent):
    """An image could not be processed for a fault of the lake, which operators are told of; it may be processed yet."""

    status: Literal["failed"] = "failed"
    reason_code: ReasonCode


class ImageErased(Event):
    """An image was erased on request. `returned_at` is there when it had come back and was erased once more."""

    image_id: str
    status: Literal["erased"] = "erased"
    reason_code: ErasureReason
    erased_at: Time
    returned_at: Time | None = None

    @classmethod
    def of(cls, tombstone: Tombstone) -> Self:
        """The event of an erasure that has finished."""
        return cls(
            id=_id(cls, tombstone.image_id, to_iso(tombstone.erased_at), tombstone.returned_at or ""),
            image_id=tombstone.image_id,
            reason_code=tombstone.reason,
            erased_at=tombstone.erased_at,
            returned_at=tombstone.returned_at,
            ingest_date=tombstone.ingest_date,
            hour=tombstone.hour,
        )


class HourPurged(Event):
    """All that a store had of an hour was purged; `deleted` counts versions that the last run deleted."""

    store: Literal["raw", "derived", "catalog", "compaction"]
    purged_at: Time
    deleted: NonNegativeInt

    @classmethod
    def of(cls, store: str, hour: ArrivalHour, deleted: int, now: datetime) -> Self:
        """The event of an hour of which a store has nothing any more."""
        return cls(
            id=_id(cls, store, hour.path),
            store=store,
            purged_at=now,
            deleted=deleted,
            ingest_date=hour.ingest_date,
            hour=hour.hour,
        )


type ImageEvent = ImageProcessed | ImageRejected | ImageFailed

PUBLISHED: Final[tuple[type[Event], ...]] = (ImageProcessed, ImageRejected, ImageFailed, ImageErased, HourPurged)
"""All events that there are."""


_OF_STATUS: Final[dict[str, type[ImageEvent]]] = {
    "processed": ImageProcessed,
    "rejected": ImageRejected,
    "failed": ImageFailed,
}


def of_outcome(item: dict[str, Any]) -> ImageEvent:
    """The event of an item of the images table that has an outcome.

    Raises:
        ValidationError: nobody can read the item.
        KeyError: it has no outcome.
    """
    known = {"image_id", "source", "source_ref", "received_at", "expires_at", "ingest_date", "hour"}
    kind = _OF_STATUS[item["status"]]
    ended_at = item.get("processed_at") or item.get("failed_at")
    detail = {name: value for name, value in item.items() if name in known}
    if ended_at:
        detail["ended_at"] = ended_at
    if kind is ImageProcessed:
        detail |= {"bytes": item["bytes"]} if "bytes" in item else {}
    else:
        detail["reason_code"] = code_of(str(item.get("reason", "")))
    moment = str(ended_at or item.get("received_at"))
    return kind.model_validate({"id": _id(kind, str(item["image_id"]), moment), **detail})


def of_refusal(
    image_id: str,
    code: str,
    hour: ArrivalHour,
    now: datetime,
    source: str | None,
    source_ref: str | None,
    kept_at: str,
) -> ImageRejected:
    """The event of a Kafka record that was refused at the door; what cannot be read in the record is None."""
    return ImageRejected(
        id=_id(ImageRejected, image_id, "door"),
        image_id=image_id,
        source=source,
        source_ref=source_ref,
        received_at=now,
        ended_at=now,
        reason_code=code_of(code),
        kept_at=kept_at,
        ingest_date=hour.ingest_date,
        hour=hour.hour,
    )


def code_of(reason: str) -> str:
    """What a reason begins with; `unknown` where that is no code."""
    code = reason.partition(":")[0]
    return code if _CODE.fullmatch(code) else "unknown"


def _id(kind: type[Event], *about: str) -> str:
    return str(uuid5(_IDS, "/".join((kind.detail_type(), *about))))
