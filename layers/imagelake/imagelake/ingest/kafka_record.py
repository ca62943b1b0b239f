"""One record of the image topic, as Lambda hands it over, and the image it stands for.

Lambda's envelope (topic, partition, offset) is checked here before anything else touches it: it identifies the image,
and a partial batch response without it would fail the whole batch. What the producer wrote (value, headers) is never
trusted to be there, to be text or to be small.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID, uuid5

from pydantic import ValidationError

from imagelake.engine import guard
from imagelake.errors import Rejection
from imagelake.keys import ARRIVAL_SLACK, ArrivalHour, RawKey
from imagelake.model import CONTENT_TYPES, MAX_TAGS, MAX_TAGS_BYTES, Arrival

DEFAULT_SOURCE: Final = "kafka"
"""`source` of records whose producer does not name itself."""
RESERVED_SOURCES: Final = frozenset({"api", "direct"})
"""Sources, in small letters, that say how an image came which no record did."""

TRUSTED_AGE: Final = ARRIVAL_SLACK - timedelta(minutes=5)
"""How far a record's own timestamp may lie behind the clock and still name its hour of arrival: an hour is purged as a
whole, so nothing may join it long after it is over."""
TRUSTED_SKEW: Final = timedelta(minutes=5)
"""How far it may lie ahead."""

_IMAGE_IDS: Final = UUID("8f0c8f0e-3f0b-5d3c-9a63-5b1f6d1f7c11")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_MAX_HEADER_BYTES: Final = 8192
_MAX_KEY_BYTES: Final = 96


@dataclass(frozen=True)
class Position:
    """Where a record stands in its cluster."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def of(cls, record: Any) -> Self:
        """The position of a record of Lambda's event.

        Raises:
            Rejection: `malformed_record`; Lambda sends no such thing, so somebody else did.
        """
        match record:
            case {"topic": str(topic), "partition": int(partition), "offset": int(offset)} if _TOPIC.fullmatch(topic):
                if min(partition, offset) >= 0 and not isinstance(partition, bool) and not isinstance(offset, bool):
                    return cls(topic, partition, offset)
        raise Rejection("malformed_record", "the record does not say its topic, partition and offset")

    def __str__(self) -> str:
        """`topic/partition/offset`, the image's `source_ref`."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    def image_id(self, cluster: str) -> str:
        """A UUIDv5, the same however often `cluster` delivers the record."""
        return str(uuid5(_IMAGE_IDS, f"{cluster}/{self}"))


def source_of(record: object) -> str | None:
    """The source that an image of this record would have; None where nobody can read the header that says it."""
    headers = record.get("headers") if isinstance(record, dict) else None
    own = [
        {name: value}
        for chunk in (headers if isinstance(headers, list) else [])
        for name, value in (chunk.items() if isinstance(chunk, dict) else [])
        if name.lower() == "source"
    ]
    try:
        return KafkaRecord(Position("unknown", 0, 0), None, None, _read_headers(own), "").arrival().source
    except Rejection:
        return None


def unplaced_image_id(record: object) -> str:
    """The image_id of a record without a position: a UUIDv5 of its content."""
    return str(uuid5(_IMAGE_IDS, json.dumps(record, sort_keys=True, default=str)))


@dataclass(frozen=True)
class KafkaRecord:
    """A record whose envelope is sound. `timestamp` is the producer's or the broker's, as the topic is configured."""

    position: Position
    timestamp: datetime | None
    key: bytes | None
    headers: dict[str, list[bytes]]
    encoded_value: str

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """Read a record of Lambda's event.

        Raises:
            Rejection: `malformed_record`.
        """
        value = record.get("value")
        return cls(
            position=Position.of(record),
            timestamp=_read_timestamp(record.get("timestamp")),
            key=_decode(record.get("key")),
            headers=_read_headers(record.get("headers")),
            encoded_value=value if isinstance(value, str) else "",
        )

    @property
    def claim(self) -> str | None:
        """The `image-uri` header of a claim check.

        Raises:
            Rejection: the header is there more than once, is not text, or comes with a value.
        """
        claim = self._text("image-uri")
        if claim is not None and self.encoded_value:
            raise Rejection("ambiguous_image", "a record holds an image or an image-uri header, not both")
        return claim

    def content(self, max_bytes: int) -> bytes:
        """The image's bytes; none for a tombstone and an empty value.

        Raises:
            Rejection: there are more than `max_bytes`, or Lambda's base64 is damaged.
        """
        size = len(self.encoded_value) * 3 // 4 - self.encoded_value[-2:].count("=")
        guard.check_size(size, max_bytes)
        return _decode(self.encoded_value) or b""

    @property
    def content_type(self) -> str:
        """The `content-type` header where it names a type we take; the workflow decides by the bytes anyway."""
        declared = self.headers.get("content-type", [b""])[-1].partition(b";")[0].strip().lower()
        name = declared.decode("ascii", "replace")
        return name if name in CONTENT_TYPES else "application/octet-stream"

    def arrival(self, tenant: str | None = None) -> Arrival:
        """Who sent the image, and with which tags; `tenant` is the topic's, which no producer can change.

        Raises:
            Rejection: `invalid_source` or `invalid_tags`; a repeated header or one that is not text.
        """
        source = self._text("source")
        try:
            if source and source.lower() in RESERVED_SOURCES:
                raise ValueError("not a producer's")
            arrival = Arrival(source=source or DEFAULT_SOURCE, source_ref=str(self.position), tenant=tenant)
        except ValueError:
            raise Rejection(
                "invalid_source",
                "source must be 1 to 64 letters, digits, dots, dashes or underscores, and neither api nor direct",
            ) from None
        try:
            tags = json.loads(self._text("tags") or "{}")
            return Arrival.model_validate(arrival.model_dump() | {"tags": tags})
        except (ValueError, RecursionError, ValidationError):
            raise Rejection(
                "invalid_tags",
                f"tags must be a JSON object of at most {MAX_TAGS} strings, {MAX_TAGS_BYTES} bytes as ASCII JSON",
            ) from None

    def metadata(self) -> dict[str, str]:
        """The position, timestamp and key as S3 user metadata; less than 700 bytes of the 2,048 that S3 allows.

        `kafka-key` is the key in URL-safe base64, or `sha256:` and its hash where it has more than 96 bytes.
        """
        fields = {
            "kafka-topic": self.position.topic,
            "kafka-partition": str(self.position.partition),
            "kafka-offset": str(self.position.offset),
        }
        if self.timestamp is not None:
            fields["kafka-timestamp"] = self.timestamp.isoformat(timespec="milliseconds")
        if self.key is not None:
            fields["kafka-key"] = (
                base64.urlsafe_b64encode(self.key).decode("ascii")
                if len(self.key) <= _MAX_KEY_BYTES
                else f"sha256:{hashlib.sha256(self.key).hexdigest()}"
            )
        return fields

    def raw_key(self, image_id: str, now: datetime) -> RawKey:
        """Where the image belongs.

        The record's own hour where that is credible, so that a redelivery finds the same key; else the clock's.
        """
        moment = self.timestamp
        if moment is None or not now - TRUSTED_AGE <= moment <= now + TRUSTED_SKEW:
            moment = now
        return RawKey(ArrivalHour.of(moment), image_id)

    def _text(self, name: str) -> str | None:
        values = set(self.headers.get(name, []))
        if not values:
            return None
        if len(values) > 1:
            raise Rejection("repeated_header", f"the header {name} is there more than once")
        value = values.pop()
        if len(value) > _MAX_HEADER_BYTES:
            raise Rejection("header_too_large", f"the header {name} has more than {_MAX_HEADER_BYTES} bytes")
        try:
            return value.decode("utf-8") or None
        except UnicodeDecodeError:
            raise Rejection("header_not_text", f"the header {name} is not UTF-8") from None


def _decode(encoded: object) -> bytes | None:
    if encoded is None:
        return None
    try:
        return base64.b64decode(encoded, validate=True) if isinstance(encoded, str) else None
    except (binascii.Error, ValueError):
        raise Rejection("malformed_record", "the record's key or value is not base64") from None


def _timestamp_of(record: Any) -> datetime | None:
    return _read_timestamp(record.get("timestamp")) if isinstance(record, dict) else None


def _read_timestamp(milliseconds: object) -> datetime | None:
    if not isinstance(milliseconds, int) or isinstance(milliseconds, bool) or milliseconds < 0:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def lag_of(partitions: Iterable[list[Any]], now: datetime) -> timedelta | None:
    """How far behind its topic a batch is: the age of the newest record of the partition where that is the oldest.

    One record with a wrong timestamp says nothing that way unless it is alone. None where no record has a timestamp.
    """
    newest = [
        max(timestamps)
        for records in partitions
        if (timestamps := [at for one in records if (at := _timestamp_of(one))])
    ]
    return now - min(newest) if newest else None


def _read_headers(headers: object) -> dict[str, list[bytes]]:
    """Names in lower case, each with its values in order. Lambda writes bytes as Java does, from -128 to 127."""
    values: dict[str, list[bytes]] = {}
    for chunk in headers if isinstance(headers, list) else []:
        for name, codes in chunk.items() if isinstance(chunk, dict) else []:
            try:
                value = bytes(code & 0xFF for code in codes) if isinstance(codes, list) else b""
            except TypeError:
                raise Rejection("malformed_record", "a header's value is not a list of bytes") from None
            values.setdefault(name.lower(), []).append(value)
    return values
