"""The poller against a real broker: noida, another with KAFKA_BROKER=tansu, or any at KAFKA_BOOTSTRAP_SERVERS."""

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import boto3
import psutil
import pytest
from botocore.config import Config
from confluent_kafka import Consumer, Producer, TopicPartition

from kafka_poller import broker, poller
from kafka_poller.delivery import Condition, FunctionFailedError, FunctionUnavailableError, RetryPolicy
from kafka_poller.message import Message, Source
from kafka_poller.poller import FailedRecordsBucket, LambdaFunction, Mapping, Poller

QUICK = RetryPolicy(maximum_retry_attempts=2, backoff=0.01, maximum_backoff=0.05)


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    configured = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if configured:
        yield configured
    else:
        with broker.running(cast("broker.Implementation", os.environ.get("KAFKA_BROKER", "noida"))) as address:
            yield address


@pytest.fixture
def topic(servers: str) -> str:
    name = f"images-{uuid4().hex[:8]}"
    broker.create_topic(servers, name, partitions=4)
    return name


def produce(servers: str, topic: str, count: int, **fields: Any) -> None:
    producer = Producer({"bootstrap.servers": servers, "message.max.bytes": broker.MESSAGE_LIMIT})
    for number in range(count):
        producer.produce(topic, partition=number % 4, **({"value": str(number).encode()} | fields))
    assert producer.flush(30) == 0


@dataclass
class Function:
    """Remembers what it was given; fails as `behaviour` says."""

    behaviour: Callable[[list[Message]], Any] = lambda _: None
    batches: list[list[Message]] = field(default_factory=list)
    kept: list[tuple[list[Message], str]] = field(default_factory=list)

    def __call__(self, messages: list[Message]) -> Any:
        self.batches.append(messages)
        return self.behaviour(messages)

    def keep(self, messages: list[Message], condition: Condition, _: int) -> None:
        self.kept.append((messages, condition))

    @property
    def values(self) -> list[bytes]:
        return [message.value or b"" for batch in list(self.batches) for message in batch]


def mapping(topic: str, **fields: Any) -> Mapping:
    defaults: dict[str, Any] = {"maximum_batching_window": 0.2, "retries": QUICK}
    return Mapping(topic, f"group-{topic}", **(defaults | fields))


def polling(servers: str, mapping: Mapping, function: Function, members: int = 1) -> Any:
    # When two members join at once, noida now and then lets the group wait until the stall time is over.
    quickly = {"max.poll.interval.ms": "10000"}
    return poller.polling([Poller(mapping, servers, function, function.keep, quickly) for _ in range(members)])


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def committed(servers: str, mapping: Mapping) -> int:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": mapping.group})
    try:
        offsets = consumer.committed([TopicPartition(mapping.topic, n) for n in range(4)], timeout=10)
        return sum(max(0, offset.offset) for offset in offsets)
    finally:
        consumer.close()


def reached(servers: str, mapping: Mapping, total: int) -> bool:
    return committed(servers, mapping) == total


def test_delivers_every_message_once_and_commits(servers: str, topic: str) -> None:
    produce(servers, topic, 250)
    function, chosen = Function(), mapping(topic)
    with polling(servers, chosen, function):
        wait_for(lambda: len(function.values) >= 250)
    assert Counter(function.values) == Counter(str(n).encode() for n in range(250))
    assert committed(servers, chosen) == 250
    assert max(len(batch) for batch in function.batches) <= 100


def test_messages_arrive_as_they_were_sent(servers: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    headers: list[tuple[str, str | bytes | None]] = [
        ("source", b"shop"),
        ("tags", '{"ort": "Köln"}'.encode()),
        ("source", b"\xff\x00"),
        ("none", None),
    ]
    sent_at = int(time.time() * 1000) - 3_600_000  # within the topic's retention, which brokers keep to
    producer.produce(topic, b"\x00\xff", b"\x80key", 2, timestamp=sent_at, headers=headers)
    producer.produce(topic, None, b"tombstone", 3)
    producer.produce(topic, b"", None, 1)
    producer.flush(30)
    function = Function()
    with polling(servers, mapping(topic), function):
        wait_for(lambda: len(function.values) >= 3)
    empty, image, tombstone = sorted((m for batch in function.batches for m in batch), key=lambda m: m.partition)
    assert image == Message(topic, 2, 0, sent_at, "CREATE_TIME", b"\x80key", b"\x00\xff", tuple(cast("Any", headers)))
    assert (tombstone.key, tombstone.value) == (b"tombstone", None)
    assert (empty.key, empty.value) == (None, b"")


def test_order_within_a_partition_is_kept(servers: str, topic: str) -> None:
    produce(servers, topic, 400)
    function = Function()
    with polling(servers, mapping(topic, batch_size=7), function, members=2):
        wait_for(lambda: len(set(function.values)) >= 400)
    first: dict[int, list[int]] = {}
    for message in {m.value: m for batch in function.batches for m in batch}.values():
        first.setdefault(message.partition, []).append(message.offset)
    assert all(offsets == sorted(offsets) for offsets in first.values())


def test_a_new_poller_goes_on_where_the_last_one_stopped(servers: str, topic: str) -> None:
    chosen = mapping(topic)
    for total in (20, 40):
        produce(servers, topic, 20)
        function = Function()
        with polling(servers, chosen, function):
            wait_for(partial(reached, servers, chosen, total))
        assert len(function.values) == 20


@pytest.mark.xfail(
    os.environ.get("KAFKA_BROKER") == "tansu",
    reason="Tansu gives the offset of the last message for the end of a partition, Kafka that of the next",
    strict=True,
)
def test_an_idle_poller_asks_the_broker_rarely_and_still_sees_every_partition(servers: str, topic: str) -> None:
    fetches: list[int] = []

    def count(statistics: str) -> None:
        fetches.append(sum(one["req"].get("Fetch", 0) for one in json.loads(statistics)["brokers"].values()))

    function, chosen = Function(), mapping(topic)
    config = {"statistics.interval.ms": 500, "stats_cb": count}
    produce(servers, topic, 4)
    with poller.polling([Poller(chosen, servers, function, function.keep, config)]):
        wait_for(lambda: len(function.values) == 4)
        time.sleep(2)
        before = fetches[-1]
        time.sleep(2)
        assert fetches[-1] - before < 40
        produce(servers, topic, 40)
        wait_for(lambda: len(function.values) == 44)
    assert committed(servers, chosen) == 44


def test_latest_begins_with_what_comes_after_it(servers: str, topic: str) -> None:
    produce(servers, topic, 8)
    function = Function()
    with polling(servers, mapping(topic, starting_position="LATEST"), function) as (one,):
        wait_for(lambda: one.assigned)
        time.sleep(1)
        produce(servers, topic, 8, value=b"late")
        wait_for(lambda: len(function.values) >= 8)
    assert set(function.values) == {b"late"}


def test_a_poisonous_message_blocks_nobody(servers: str, topic: str) -> None:
    def crash(messages: list[Message]) -> None:
        if any(message.value == b"13" for message in messages):
            raise FunctionFailedError("Runtime.ExitError")

    produce(servers, topic, 60)
    function, chosen = Function(crash), mapping(topic)
    with polling(servers, chosen, function) as (one,):
        wait_for(lambda: one.tally.delivered + one.tally.given_up >= 60)
    ((poisonous,), condition) = function.kept[0]
    assert (poisonous.value, condition, len(function.kept)) == (b"13", "RetryAttemptsExhausted", 1)
    assert committed(servers, chosen) == 60


def test_nothing_is_committed_before_it_is_done(servers: str, topic: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hang(_: list[Message]) -> None:
        entered.set()
        leave.wait(20)

    produce(servers, topic, 10)
    function, chosen = Function(hang), mapping(topic)
    with polling(servers, chosen, function):
        assert entered.wait(20)
        assert committed(servers, chosen) == 0
        leave.set()
        wait_for(lambda: committed(servers, chosen) == 10)


def test_what_was_stopped_in_a_retry_is_delivered_again(servers: str, topic: str) -> None:
    def unavailable(_: list[Message]) -> None:
        raise FunctionUnavailableError("TooManyRequestsException")

    produce(servers, topic, 10)
    chosen = mapping(topic)
    throttled = Function(unavailable)
    with polling(servers, chosen, throttled):
        wait_for(lambda: len(throttled.batches) > 3)
    assert committed(servers, chosen) == 0
    function = Function()
    with polling(servers, chosen, function):
        wait_for(lambda: len(set(function.values)) >= 10)
    assert throttled.kept == []


def test_no_message_is_lost_while_members_come_and_go(servers: str, topic: str) -> None:
    produce(servers, topic, 1200)
    function = Function(lambda _: time.sleep(0.02))
    chosen = mapping(topic, batch_size=20)
    with polling(servers, chosen, function):
        wait_for(lambda: len(function.values) >= 100)
        with polling(servers, chosen, function, members=2) as joined:
            wait_for(lambda: all(member.assigned for member in joined), 40)
            wait_for(lambda: len(set(function.values)) >= 700, 60)
        wait_for(lambda: len(set(function.values)) >= 1200, 60)
        wait_for(lambda: committed(servers, chosen) == 1200)
    assert {int(value) for value in function.values} == set(range(1200))


def test_large_messages_share_the_payload_limit(servers: str, topic: str) -> None:
    produce(servers, topic, 8, value=b"x" * 1_500_000)
    function = Function()
    with polling(servers, mapping(topic, maximum_batching_window=1.0), function):
        wait_for(lambda: len(function.values) >= 8)
    assert all(sum(message.payload_bytes for message in batch) <= 6 * 1024 * 1024 for batch in function.batches)
    assert max(len(batch) for batch in function.batches) > 1


def test_a_message_no_event_can_hold_is_kept_whole_in_s3(servers: str, topic: str) -> None:
    large = b"x" * 4_800_000
    produce(servers, topic, 1, value=large, key=b"key")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="failed")
    chosen, function = mapping(topic), Function()
    source = Source(servers, "arn:aws:kafka:us-east-1:123456789012:cluster/local/1")
    destination = FailedRecordsBucket(s3, "failed", source, "arn:aws:lambda:us-east-1:1:function:f", chosen)
    with poller.polling([Poller(chosen, servers, function, destination)]) as (one,):
        wait_for(lambda: one.tally.given_up == 1)
    (entry,) = s3.list_objects_v2(Bucket="failed")["Contents"]
    assert entry["Key"].startswith(f"aws/lambda/{chosen.uuid}/{topic}-0/")
    record = json.load(s3.get_object(Bucket="failed", Key=entry["Key"])["Body"])
    assert function.batches == []
    assert record["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"
    assert record["responseContext"] is None
    assert record["KafkaBatchInfo"]["recordsInfo"][f"{topic}-0"]["firstRecordOffset"] == "0"
    kept = json.loads(record["payload"])
    assert kept["eventSourceArn"] == source.arn
    assert len(kept["records"][f"{topic}-0"][0]["value"]) == len(large) * 4 // 3


class Answer:
    """boto3's Lambda client, as far as LambdaFunction uses it."""

    def __init__(self, payload: bytes, **fields: Any) -> None:
        self.payload, self.fields, self.requests = payload, fields, list[dict[str, Any]]()

    def invoke(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        return {"Payload": self, **self.fields}

    def read(self) -> bytes:
        return self.payload


def test_the_function_is_invoked_with_the_event_of_msk() -> None:
    client = Answer(b'{"batchItemFailures": []}')
    source = Source("b:9098", "arn:aws:kafka:us-east-1:1:cluster/local/1")
    message = Message("images", 0, 1, value=b"x")
    assert LambdaFunction(cast("Any", client), "door", source)([message]) == {"batchItemFailures": []}
    (request,) = client.requests
    assert (request["FunctionName"], request["InvocationType"]) == ("door", "RequestResponse")
    assert json.loads(request["Payload"]) == source.event([message])


@pytest.mark.parametrize(
    "client", [Answer(b'{"errorType": "Runtime.ExitError"}', FunctionError="Unhandled"), Answer(b"no json")]
)
def test_a_function_error_is_an_attempt(client: Answer) -> None:
    with pytest.raises(FunctionFailedError):
        LambdaFunction(cast("Any", client), "door", Source("b:9098"))([Message("images", 0, 1)])


def test_a_function_that_cannot_be_reached_is_no_attempt() -> None:
    client = boto3.client(
        "lambda",
        endpoint_url="http://127.0.0.1:9",
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",  # noqa: S106  # no password
        config=Config(retries={"total_max_attempts": 1}),
    )
    function = LambdaFunction(client, "door", Source("b"))
    with pytest.raises(FunctionUnavailableError):
        function([Message("images", 0, 1)])


def test_a_broker_leaves_no_process_and_listens_on_the_loopback_interface_only() -> None:
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with broker.running():
        (child,) = [c for c in psutil.Process().children(recursive=True) if c.pid not in before]
        listening = [c.laddr.ip for c in child.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert set(listening) == {"127.0.0.1"}
    assert not child.is_running()


def test_a_taken_port_is_refused() -> None:
    with broker.running() as address:
        second = broker.running(port=int(address.rpartition(":")[2]))
        with pytest.raises(broker.BrokerError, match="cannot be used"):
            second.__enter__()


def test_a_broker_that_does_not_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where the broker wants a folder")
    stuck = broker.running("noida", folder=tmp_path)
    with pytest.raises(broker.BrokerError, match="did not answer"):
        stuck.__enter__()
