"""A Kafka message, and the event in which Lambda hands messages to a function."""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from confluent_kafka import TIMESTAMP_CREATE_TIME, TIMESTAMP_LOG_APPEND_TIME
from confluent_kafka import Message as ConsumedMessage

PAYLOAD_LIMIT: Final = 6 * 1024 * 1024
"""Bytes of one synchronous invocation, https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html."""

_TIMESTAMP_TYPES: Final = {TIMESTAMP_CREATE_TIME: "CREATE_TIME", TIMESTAMP_LOG_APPEND_TIME: "LOG_APPEND_TIME"}


@dataclass(frozen=True)
class Message:
    """One message of a topic. `timestamp` is in milliseconds since the epoch, -1 where there is none."""

    topic: str
    partition: int
    offset: int
    timestamp: int = -1
    timestamp_type: str = "NO_TIMESTAMP_TYPE"
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @classmethod
    def of(cls, consumed: ConsumedMessage) -> Self:
        """Copy what a consumer got."""
        kind, timestamp = consumed.timestamp()
        headers: Any = consumed.headers() or []
        topic, partition, offset = consumed.topic(), consumed.partition(), consumed.offset()
        if topic is None or partition is None or offset is None:
            raise ValueError("a consumed message has a topic, a partition and an offset")
        key: Any = consumed.key()
        value: Any = consumed.value()
        return cls(
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp=timestamp,
            timestamp_type=_TIMESTAMP_TYPES.get(kind, "NO_TIMESTAMP_TYPE"),
            key=key,
            value=value,
            headers=tuple(headers),
        )

    @property
    def topic_partition(self) -> str:
        """`topic-partition`, as events and partial batch responses name it."""
        return f"{self.topic}-{self.partition}"

    def to_record(self) -> dict[str, Any]:
        """The message as a record of Lambda's event: base64, header bytes signed, null fields left out."""
        record: dict[str, Any] = {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "timestamp": self.timestamp,
            "timestampType": self.timestamp_type,
        }
        if self.key is not None:
            record["key"] = base64.b64encode(self.key).decode("ascii")
        if self.value is not None:
            record["value"] = base64.b64encode(self.value).decode("ascii")
        record["headers"] = [{name: _signed(value or b"")} for name, value in self.headers]
        return record

    @property
    def payload_bytes(self) -> int:
        """An upper bound of what the message adds to the event, within a few bytes."""
        key, value = len(self.key or b""), len(self.value or b"")
        headers = sum(len(name.encode()) * 6 + 8 + 6 * len(value or b"") for name, value in self.headers)
        return 4 * (-(-key // 3) + -(-value // 3)) + headers + 2 * len(self.topic) + 256


def _signed(value: bytes) -> list[int]:
    return [code - 256 if code > 127 else code for code in value]


@dataclass(frozen=True)
class Source:
    """Where messages come from. With `arn` events are those of MSK, without those of self-managed Kafka."""

    bootstrap_servers: str
    arn: str | None = None

    def event(self, messages: Iterable[Message]) -> dict[str, Any]:
        """The event that Lambda would make of the messages."""
        records: dict[str, list[dict[str, Any]]] = {}
        for message in messages:
            records.setdefault(message.topic_partition, []).append(message.to_record())
        event = (
            {"eventSource": "aws:kafka", "eventSourceArn": self.arn}
            if self.arn
            else {"eventSource": "SelfManagedKafka"}
        )
        return event | {"bootstrapServers": self.bootstrap_servers, "records": records}


def split(messages: Iterable[Message], limit: int = PAYLOAD_LIMIT) -> Iterator[list[Message]]:
    """Cut messages into batches of at most `limit` bytes of payload, in their order; an oversized one goes alone."""
    batch: list[Message] = []
    size = 1024
    for message in messages:
        if batch and size + message.payload_bytes > limit:
            yield batch
            batch, size = [], 1024
        batch.append(message)
        size += message.payload_bytes
    if batch:
        yield batch
