"""The event that Lambda would send."""

import json
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEvent
from hypothesis import given
from hypothesis import strategies as st

from imagelake.ingest.kafka_record import KafkaRecord, Position
from kafka_poller.message import Message, Source, split

EVENTS = Path(__file__).parents[2] / "events"
MSK = Source("b-1:9098,b-2:9098", "arn:aws:kafka:eu-central-1:123456789012:cluster/images/0b5c9a6e-1")

messages = st.builds(
    Message,
    topic=st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.integers(0, 4_000_000_000_000),
    key=st.none() | st.binary(max_size=60),
    value=st.none() | st.binary(max_size=600),
    headers=st.lists(st.tuples(st.text(max_size=20), st.none() | st.binary(max_size=40))).map(tuple),
)


def test_is_the_event_of_msk() -> None:
    one = Message("images", 3, 41, 1_764_000_000_000, "CREATE_TIME", b"key", b"value", (("source", b"\x7f\x80\xff"),))
    assert MSK.event([one]) == {
        "eventSource": "aws:kafka",
        "eventSourceArn": MSK.arn,
        "bootstrapServers": "b-1:9098,b-2:9098",
        "records": {
            "images-3": [
                {
                    "topic": "images",
                    "partition": 3,
                    "offset": 41,
                    "timestamp": 1_764_000_000_000,
                    "timestampType": "CREATE_TIME",
                    "key": "a2V5",
                    "value": "dmFsdWU=",
                    "headers": [{"source": [127, -128, -1]}],
                }
            ]
        },
    }


def test_is_the_event_of_self_managed_kafka() -> None:
    event = Source("broker:9092").event([Message("images", 0, 0)])
    assert event["eventSource"] == "SelfManagedKafka"
    assert "eventSourceArn" not in event


def test_groups_messages_by_partition_in_their_order() -> None:
    event = MSK.event([Message("images", 1, 5), Message("images", 0, 9), Message("images", 1, 6)])
    assert {name: [record["offset"] for record in records] for name, records in event["records"].items()} == {
        "images-1": [5, 6],
        "images-0": [9],
    }


@given(messages)
def test_a_record_says_what_the_message_said(message: Message) -> None:
    record = KafkaRecord.of(json.loads(json.dumps(message.to_record())))
    assert record.position == Position(message.topic, message.partition, message.offset)
    assert record.key == message.key
    assert record.content(10_000) == (message.value or b"")
    expected: dict[str, list[bytes]] = {}
    for name, value in message.headers:
        expected.setdefault(name.lower(), []).append(value or b"")
    assert record.headers == expected


@given(st.lists(messages, max_size=8), st.integers(2000, 6000))
def test_batches_stay_within_the_payload_limit(sent: list[Message], limit: int) -> None:
    batches = list(split(sent, limit))
    assert [message for batch in batches for message in batch] == sent
    for batch in batches:
        payload = json.dumps(MSK.event(batch), separators=(",", ":"))
        assert len(batch) == 1 or len(payload) <= limit


@pytest.mark.parametrize("sample", sorted(EVENTS.glob("consume_image_topic*.json")), ids=lambda path: path.stem)
def test_the_samples_are_read_by_powertools_and_by_us(sample: Path) -> None:
    event: dict[str, Any] = json.loads(sample.read_text())
    records = list(KafkaEvent(event).records)
    assert len({record.partition for record in records}) > 1
    parsed = [KafkaRecord.of(record.raw_event) for record in records]
    assert any(record.headers for record in parsed)
    assert any(record.claim for record in parsed)
    assert any(not record.encoded_value and not record.claim for record in parsed)
