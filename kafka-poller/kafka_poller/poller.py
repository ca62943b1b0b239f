"""The poller: reads a topic as a member of a consumer group and runs a function with what it reads.

It commits a position only when every message before it is done, and it reads, runs and commits in one thread: a
rebalance can come only between batches, when nothing is under way. A poller that is killed, or stalls for longer than
`STALL_SECONDS` and loses its partitions, leaves its batch to another one, so a message can be delivered again, never
less than once.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, Self
from uuid import NAMESPACE_URL, uuid4, uuid5

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as ConsumedMessage

from kafka_poller.delivery import (
    Condition,
    Delivery,
    FunctionFailedError,
    FunctionUnavailableError,
    RetryPolicy,
    StoppedError,
    Tally,
)
from kafka_poller.message import PAYLOAD_LIMIT, Message, Source, split

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client

STALL_SECONDS: Final = 900
"""How long a batch may take before the group gives its partitions to others; Lambda runs no function for longer."""

_UNAVAILABLE: Final = {
    "TooManyRequestsException",
    "ThrottlingException",
    "ServiceException",
    "ResourceConflictException",
}

_REST_SECONDS: Final = 0.25
_REQUEST_SECONDS: Final = 10.0
_SETTLED_SECONDS: Final = 10.0
"""A member that is shut out before has a namesake."""


class PollerError(Exception):
    """The broker cannot be reached or refuses the poller."""


@dataclass(frozen=True)
class Mapping:
    """An event source mapping, with the names and defaults of Lambda's own.

    Args:
        topic: to read.
        group: consumer group whose committed positions it goes on from.
        batch_size: messages at most in one run of the function.
        maximum_batching_window: seconds to wait for a full batch.
        starting_position: where a group without committed positions begins.
        payload_limit: bytes of the largest event; Lambda's own limit at most.
        retries: what happens when the function fails.
    """

    topic: str
    group: str
    batch_size: int = 100
    maximum_batching_window: float = 0.5
    starting_position: Literal["TRIM_HORIZON", "LATEST"] = "TRIM_HORIZON"
    payload_limit: int = PAYLOAD_LIMIT
    retries: RetryPolicy = field(default_factory=RetryPolicy)

    @property
    def uuid(self) -> str:
        """Names the mapping where Lambda's UUID would stand; the same for the same topic and group."""
        return str(uuid5(NAMESPACE_URL, f"kafka://{self.group}/{self.topic}"))


@dataclass(frozen=True)
class LambdaFunction:
    """A function behind Lambda's API."""

    client: "LambdaClient"
    name: str
    source: Source

    @classmethod
    def of(cls, name: str, source: Source, timeout: float = 910, **connection: Any) -> Self:
        """Connect to the function; `connection` goes to boto3: `endpoint_url`, `region_name`, credentials."""
        config = Config(read_timeout=timeout, retries={"total_max_attempts": 1}, max_pool_connections=50)
        return cls(boto3.client("lambda", config=config, **connection), name, source)

    def __call__(self, messages: list[Message]) -> Any:
        """Run the function with the messages and wait for its answer.

        Raises:
            FunctionFailedError: it ran and failed.
            FunctionUnavailableError: it did not run.
        """
        payload = json.dumps(self.source.event(messages), separators=(",", ":")).encode()
        try:
            response = self.client.invoke(FunctionName=self.name, InvocationType="RequestResponse", Payload=payload)
            answer = response["Payload"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in _UNAVAILABLE or _status(error) >= 500:
                raise FunctionUnavailableError(str(error)) from error
            raise FunctionFailedError(str(error)) from error
        except BotoCoreError as error:
            raise FunctionUnavailableError(str(error)) from error
        if "FunctionError" in response:
            raise FunctionFailedError(answer[:500].decode(errors="replace"))
        try:
            return json.loads(answer or b"null")
        except ValueError as error:
            raise FunctionFailedError("the function's answer is not JSON") from error


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@dataclass(frozen=True)
class FailedRecordsBucket:
    """An on-failure destination in S3: one object for each batch given up, with the full records.

    The object is Lambda's invocation record; `payload` holds the event as a string. Its key is
    `aws/lambda/<mapping>/<topic-partition>/YYYY/MM/DD/YYYY-MM-DDTHH.MM.SS-<uuid>`, with the first message's partition.
    """

    client: "S3Client"
    bucket: str
    source: Source
    function: str
    mapping: Mapping

    @classmethod
    def of(cls, bucket: str, source: Source, function: str, mapping: Mapping, **connection: Any) -> Self:
        """Connect to the bucket; `connection` goes to boto3."""
        config = Config(s3={"addressing_style": "path"}, retries={"mode": "standard"})
        return cls(boto3.client("s3", config=config, **connection), bucket, source, function, mapping)

    def __call__(self, messages: list[Message], condition: Condition, invocations: int) -> None:
        """Keep the messages."""
        now = datetime.now(UTC)
        payload = json.dumps(self.source.event(messages), separators=(",", ":"))
        by_partition: dict[str, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.topic_partition, []).append(message)
        record = {
            "requestContext": {
                "requestId": str(uuid4()),
                "functionArn": self.function,
                "condition": condition,
                "approximateInvokeCount": invocations,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"}
            if condition == "RetryAttemptsExhausted"
            else None,
            "version": "1.0",
            "timestamp": _instant(now),
            "KafkaBatchInfo": {
                "batchSize": len(messages),
                **({"eventSourceArn": self.source.arn} if self.source.arn else {}),
                "bootstrapServers": self.source.bootstrap_servers,
                "payloadSize": len(payload),
                "recordsInfo": {
                    name: {
                        "firstRecordOffset": str(records[0].offset),
                        "lastRecordOffset": str(records[-1].offset),
                        "firstRecordTimestamp": _instant(datetime.fromtimestamp(records[0].timestamp / 1000, UTC)),
                        "lastRecordTimestamp": _instant(datetime.fromtimestamp(records[-1].timestamp / 1000, UTC)),
                    }
                    for name, records in by_partition.items()
                },
            },
            "payload": payload,
        }
        folder = f"aws/lambda/{self.mapping.uuid}/{messages[0].topic_partition}/{now:%Y/%m/%d}"
        key = f"{folder}/{now:%Y-%m-%dT%H.%M.%S}-{uuid4()}"
        self.client.put_object(
            Bucket=self.bucket, Key=key, Body=json.dumps(record).encode(), ContentType="application/json"
        )


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Poller:
    """One member of the group. Run several for several runs of the function at once."""

    def __init__(
        self,
        mapping: Mapping,
        bootstrap_servers: str,
        invoke: Callable[[list[Message]], Any],
        give_up: Callable[[list[Message], Condition, int], None],
        client_config: dict[str, Any] | None = None,
    ) -> None:
        """Describe the poller; nothing is connected before `run`.

        Args:
            mapping: what to read and how to deliver it.
            bootstrap_servers: of the cluster.
            invoke: runs the function; a `LambdaFunction`, or anything that raises like one.
            give_up: keeps messages that will not be delivered; a `FailedRecordsBucket`, or anything like one.
            client_config: more settings for librdkafka, such as TLS and SASL.
        """
        self.mapping = mapping
        self.stopping = threading.Event()
        self.tally = Tally()
        self.error: PollerError | None = None
        self._delivery = Delivery(mapping.retries, invoke, give_up, self.stopping, self.tally)
        self._assigned: set[tuple[str, int]] = set()
        self._resting = False
        self._config: dict[str, Any] = {
            "bootstrap.servers": bootstrap_servers,
            "group.id": mapping.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest" if mapping.starting_position == "TRIM_HORIZON" else "latest",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": 6000,
            "max.poll.interval.ms": STALL_SECONDS * 1000,
            "fetch.max.bytes": 2 * PAYLOAD_LIMIT,
            "max.partition.fetch.bytes": PAYLOAD_LIMIT,
            "queued.max.messages.kbytes": 16384,
            "log_level": 3,
        } | (client_config or {})

    @property
    def assigned(self) -> int:
        """Partitions that the group has given to this member."""
        return len(self._assigned)

    def stop(self) -> None:
        """Ask `run` to return after the run of the function that is under way."""
        self.stopping.set()

    def run(self) -> None:
        """Read and deliver until `stop`.

        A member that its group has shut out, as when the machine slept, joins again.

        Raises:
            PollerError: the broker refuses the poller for good, or has shut it out right after it joined, which means
                that somebody else goes by its `group.instance.id`.
        """
        while not self.stopping.is_set():
            joined = time.monotonic()
            try:
                self._run_as_member()
            except KafkaException as error:
                is_shut_out = error.args[0].code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL)
                if not is_shut_out or time.monotonic() - joined < _SETTLED_SECONDS:
                    raise PollerError(error.args[0].str()) from error

    def _run_as_member(self) -> None:
        consumer = Consumer(self._config)
        consumer.subscribe([self.mapping.topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._revoke)
        try:
            while not self.stopping.is_set():
                messages = self._read(consumer)
                for batch in split(messages, self.mapping.payload_limit):
                    if self.stopping.is_set():
                        break
                    self._delivery.deliver(batch)
                    self._commit(consumer, batch)
                self._rest_or_go_on(consumer, idle=not messages)
        except StoppedError:
            pass
        finally:
            consumer.close()

    def _read(self, consumer: Consumer) -> list[Message]:
        window = self.mapping.maximum_batching_window
        consumed: Sequence[ConsumedMessage] = consumer.consume(
            self.mapping.batch_size, timeout=min(window, _REST_SECONDS) if self._resting else window
        )
        messages: dict[tuple[str, int, int], Message] = {}
        for message in consumed:
            error = message.error()
            if error is None:
                read = Message.of(message)
                # A rebalance while reading can leave messages of partitions that others have now, and bring some twice.
                if (read.topic, read.partition) in self._assigned:
                    messages[(read.topic, read.partition, read.offset)] = read
            elif not error.retriable() and error.code() not in (
                KafkaError._PARTITION_EOF,
                KafkaError.UNKNOWN_TOPIC_OR_PART,
                KafkaError._ALL_BROKERS_DOWN,
                KafkaError._TRANSPORT,
                KafkaError._MAX_POLL_EXCEEDED,  # the group went on without us; reading on joins it again
            ):
                raise KafkaException(error)
        return list(messages.values())

    def _rest_or_go_on(self, consumer: Consumer, *, idle: bool) -> None:
        """Fetch nothing while there is nothing; the consumer polls on, so it stays in its group.

        Some brokers answer an empty fetch at once, and librdkafka then fetches again without a pause.
        """
        if not idle and not self._resting:
            return
        try:
            unread = self._unread(consumer)
            if not unread and not self._resting:
                consumer.pause(consumer.assignment())
                self._resting = True
            elif unread and self._resting:
                self._resting = False
                consumer.resume(consumer.assignment())
                for place in unread:
                    consumer.seek(place)  # or librdkafka waits up to a second before it fetches
        except KafkaException:  # the broker does not answer now, or has taken the partitions away
            self._resting = False
            consumer.resume(consumer.assignment())

    def _unread(self, consumer: Consumer) -> list[TopicPartition]:
        """Partitions that hold more than this member has read, each with the offset it reads next."""
        unread = []
        for place in consumer.position(consumer.assignment()):
            first, end = consumer.get_watermark_offsets(place, timeout=_REQUEST_SECONDS)
            if place.offset < 0:  # nothing was read since the partition was assigned
                (committed,) = consumer.committed([place], timeout=_REQUEST_SECONDS)
                place.offset = committed.offset if committed.offset >= 0 else first
            if end > place.offset:
                unread.append(place)
        return unread

    def _commit(self, consumer: Consumer, batch: list[Message]) -> None:
        positions: dict[tuple[str, int], int] = {}
        for message in batch:
            place = (message.topic, message.partition)
            positions[place] = max(positions.get(place, 0), message.offset + 1)
        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in positions.items()]
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # The group has moved on without us; whoever has the partitions now delivers the batch again.
            if error.args[0].code() not in (
                KafkaError.ILLEGAL_GENERATION,
                KafkaError.UNKNOWN_MEMBER_ID,
                KafkaError.REBALANCE_IN_PROGRESS,
                KafkaError._ASSIGNMENT_LOST,
            ):
                raise

    def _assign(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned = {(partition.topic, partition.partition) for partition in partitions}
        self._resting = False  # new partitions are not paused

    def _revoke(self, _: Consumer, __: list[TopicPartition]) -> None:
        self._assigned = set()


@contextmanager
def polling(pollers: Sequence[Poller]) -> Iterator[Sequence[Poller]]:
    """Run pollers, each in a thread; at the end, stop them and wait for the runs of the function under way.

    A poller that ended before, such as one that the broker refused, has its `error` set, and the others go on.
    """

    def run(poller: Poller) -> None:
        try:
            poller.run()
        except PollerError as error:
            poller.error = error
        except Exception as error:  # noqa: BLE001  # whatever it is, the thread ends here and somebody has to know
            poller.error = PollerError(repr(error))

    threads = [threading.Thread(target=run, args=[poller], name="poller") for poller in pollers]
    for thread in threads:
        thread.start()
    try:
        yield pollers
    finally:
        for poller in pollers:
            poller.stop()
        for thread in threads:
            thread.join()
