"""The Kafka side of the local lake: a broker, the topic, and a poller in the place of Lambda's."""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imagelake.ingest.kafka_record import Position
from kafka_poller import broker
from kafka_poller.delivery import RetryPolicy
from kafka_poller.message import Source
from kafka_poller.poller import FailedRecordsBucket, LambdaFunction, Mapping, Poller, polling
from local.deployment import Stack
from local.emulator import ACCOUNT, REGION, Emulator

TOPIC: Final = "images"
PARTITIONS: Final = 8
CLUSTER_ARN: Final = f"arn:aws:kafka:{REGION}:{ACCOUNT}:cluster/local/00000000-0000-0000-0000-000000000000-1"
"""The cluster's name in events, and so in every image_id."""


@dataclass(frozen=True)
class KafkaSide:
    """Where producers send images."""

    bootstrap_servers: str
    topic: str
    log: Path | None = None

    def image_id(self, topic: str, partition: int, offset: int) -> str:
        """The image that a message becomes."""
        return Position(topic, partition, offset).image_id(CLUSTER_ARN)

    def problem(self, pollers: Sequence[Poller] = ()) -> str | None:
        """Why no message goes through any more, if so."""
        host, _, port = self.bootstrap_servers.split(",")[0].rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=30).close()
        except OSError as error:
            where = f"; its log is {self.log}" if self.log else ""
            return f"the Kafka broker at {self.bootstrap_servers} does not answer: {error.strerror or error}{where}"
        return next((f"a Kafka poller has ended: {poller.error}" for poller in pollers if poller.error), None)

    @contextmanager
    def polled(self, emulator: Emulator, stack: Stack) -> Iterator[Sequence[Poller]]:
        """Run the deployed function with the messages of the topic, as the template's mapping would.

        A stack without a Kafka door is left alone.
        """
        function = stack.outputs.get("ConsumeImageTopicFunctionName")
        if function is None:
            yield ()
            return
        source = Source(self.bootstrap_servers, CLUSTER_ARN)
        mapping = Mapping(self.topic, stack.name, maximum_batching_window=0.5, retries=RetryPolicy(10))
        connection: dict[str, Any] = {
            "endpoint_url": emulator.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": emulator.environment["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": emulator.environment["AWS_SECRET_ACCESS_KEY"],
        }
        bucket = stack.outputs["FailedRecordsBucketName"]
        invoke = LambdaFunction.of(function, source, **connection)
        keep = FailedRecordsBucket.of(bucket, source, function, mapping, **connection)
        # A member without a name that sleeps, as when a lid is closed, holds noida's group up for 15 minutes.
        named = {"group.instance.id": f"{stack.name}-local"}
        with polling([Poller(mapping, self.bootstrap_servers, invoke, keep, named)]) as pollers:
            yield pollers


@contextmanager
def brokered(folder: Path) -> Iterator[KafkaSide]:
    """Make the topic on the broker at KAFKA_BOOTSTRAP_SERVERS, or on one of our own that keeps its files in `folder`.

    Raises:
        BrokerError: the broker did not start or refused the topic.
    """
    if configured := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        broker.create_topic(configured, TOPIC, PARTITIONS)
        yield KafkaSide(configured, TOPIC)
        return
    with broker.running(folder=folder) as address:
        broker.create_topic(address, TOPIC, PARTITIONS)
        yield KafkaSide(address, TOPIC, folder / broker.LOG)
