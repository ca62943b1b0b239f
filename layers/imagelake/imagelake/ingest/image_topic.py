"""The Kafka door: what becomes of the records of one event.

    stored, already_stored     the image is in the raw bucket, under the same key however often the record comes
    skipped                    a tombstone: nothing to store
    rejected                   kept in the failed-records bucket, told on the event bus

Anything that is raised instead is a fault: Lambda delivers that record again, and the others not.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Semaphore
from typing import Any, Final, Literal, Self

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEventRecord

from imagelake import events, pipelines
from imagelake.errors import Rejection
from imagelake.ingest.claim_check import AllowList, redeem
from imagelake.ingest.kafka_record import KafkaRecord, Position, source_of, unplaced_image_id
from imagelake.keys import ArrivalHour
from imagelake.stores.buckets import Bucket
from imagelake.stores.event_bus import EventBus

type Outcome = Literal["stored", "already_stored", "skipped", "rejected"]

CONCURRENCY: Final = 16
"""Records of a batch that are on their way to S3 at once."""
_CLAIMS_IN_MEMORY: Final = Semaphore(4)

logger = Logger(child=True)


@dataclass(frozen=True)
class TopicIngestion:
    """Where the images of a topic go.

    `claim_check_locations` is a comma-separated list of `bucket/` or `bucket/prefix/` in the account `account_id`;
    empty, it allows no claim check. `kafka_cluster_name` names a self-managed cluster in every image_id; MSK's events
    bring their own name. `kafka_tenant` is whose images the topic has; empty, nobody's in particular.
    """

    raw_bucket: Bucket
    failed_records_bucket: Bucket
    event_bus: EventBus
    claim_check_locations: str
    account_id: str
    kafka_cluster_name: str
    kafka_tenant: str


@dataclass(frozen=True)
class ImageTopic:
    """The topic of one event. `source` is the event without its records, `cluster` a name that never changes."""

    ingestion: TopicIngestion
    allowed: AllowList
    cluster: str
    source: dict[str, Any]

    @classmethod
    def of(cls, event: dict[str, Any], ingestion: TopicIngestion) -> Self:
        """Read the envelope of an event from MSK (`aws:kafka`) or from self-managed Kafka (`SelfManagedKafka`).

        Raises:
            Rejection: `not_a_kafka_event`; Lambda sends no such thing.
            SettingsError: the allow-list is malformed.
        """
        arn = event.get("eventSourceArn")
        lists = event.get("records")
        sound = isinstance(lists, dict) and all(isinstance(records, list) for records in lists.values())
        match event.get("eventSource"):
            case "aws:kafka" if sound and isinstance(arn, str):
                cluster = arn
            case "SelfManagedKafka" if sound:
                # Bootstrap servers come and go and change their order: they do not name a cluster.
                cluster = ingestion.kafka_cluster_name
            case _:
                raise Rejection("not_a_kafka_event", "the event is not one of MSK or self-managed Kafka")
        source = {name: value for name, value in event.items() if name != "records"}
        return cls(ingestion, AllowList.parse(ingestion.claim_check_locations), cluster, source)

    def take(self, record: KafkaEventRecord) -> Outcome:
        """Bring one record to its end.

        Raises:
            Fault: S3 or EventBridge did not do its part.
        """
        received: Any = record.raw_event
        position: Position | None = None
        try:
            position = Position.of(received)
            return self._store(KafkaRecord.of(received), position.image_id(self.cluster))
        except Rejection as rejection:
            self._reject(received, position, rejection)
            return "rejected"

    def _store(self, record: KafkaRecord, image_id: str) -> Outcome:
        to, max_bytes = self.ingestion, pipelines.load().limits.max_bytes
        metadata = record.metadata() | record.arrival(to.kafka_tenant or None).to_metadata()
        key = str(record.raw_key(image_id, datetime.now(UTC)))
        if claim := record.claim:
            with _CLAIMS_IN_MEMORY:
                image = redeem(claim, self.allowed, to.account_id, max_bytes)
                if image.version_id is not None:
                    metadata["claim-version"] = image.version_id
                created = to.raw_bucket.store_once(key, image.content, record.content_type, metadata)
        elif content := record.content(max_bytes):
            created = to.raw_bucket.store_once(key, content, record.content_type, metadata)
        else:
            logger.info("Skipped a record without an image", extra=vars(record.position))
            return "skipped"
        return "stored" if created else "already_stored"

    def _reject(self, record: Any, position: Position | None, rejection: Rejection) -> None:
        """Keep the record as an event of its own, so that invoking the function with it is the redrive."""
        image_id = position.image_id(self.cluster) if position else unplaced_image_id(record)
        topic_partition = f"{position.topic}-{position.partition}" if position else "unknown-0"
        bucket, now = self.ingestion.failed_records_bucket, datetime.now(UTC)
        hour = ArrivalHour.of(now)
        key = f"rejected/{hour.path}/{image_id}.json"
        event = json.dumps(self.source | {"records": {topic_partition: [record]}})
        bucket.store_once(key, event.encode(), "application/json")
        source_ref, kept_at = str(position) if position else None, f"s3://{bucket.name}/{key}"
        source = source_of(record)
        refusal = events.of_refusal(image_id, rejection.code, hour, now, source, source_ref, kept_at)
        self.ingestion.event_bus.put([refusal])
        logger.info("Rejected a record", extra={"image_id": image_id, "reason": str(rejection)})


class ConcurrentBatchProcessor(BatchProcessor):
    """Powertools' processor with the records of a batch side by side.

    It never raises for a batch whose records all failed: Lambda would then split the batch and count a function error,
    where every record can be delivered again by itself.
    """

    def __init__(self) -> None:
        """A processor for Kafka."""
        super().__init__(event_type=EventType.Kafka, raise_on_entire_batch_failure=False)

    def process(self) -> list[tuple[Any, ...]]:
        """Every record's `("success", outcome, record)` or `("fail", error, record)`, in the order of the batch."""
        with ThreadPoolExecutor(max_workers=CONCURRENCY) as pool:
            return list(pool.map(self._process_record, self.records))

    def failure_handler(self, record: Any, exception: Any) -> tuple[str, str, Any]:
        """Log which record failed, and how, before it is reported."""
        position = {name: record.get(name) for name in ("topic", "partition", "offset")}
        logger.warning("Could not take a record", extra=position | {"fault": str(exception[1])})
        return super().failure_handler(record, exception)
