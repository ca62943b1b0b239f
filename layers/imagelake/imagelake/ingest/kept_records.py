"""Kafka records that were refused or given up, in the failed-records bucket: those of one image, for its erasure.

rejected/ingest_date=…/hour=…/<image_id>.json    one record, kept by the function, with the hour of its refusal
aws/lambda/<mapping>/<topic-partition>/…         records that Lambda gave up, in its own envelope
"""

import json
import math
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Final

from imagelake.errors import Fault, OutOfTime, Rejection
from imagelake.ingest.kafka_record import Position, unplaced_image_id
from imagelake.keys import ArrivalHour
from imagelake.stores.buckets import Bucket, StoredObject

KEPT: Final = timedelta(days=6, hours=2)
"""How long the bucket has a record at most: its lifecycle of 4 days, and what S3 takes."""
MAY_BE_RENEWED: Final = timedelta(days=1)
"""A younger object may be written again, which begins its 4 days anew: it still goes before its images would."""
READERS: Final = 16
"""Objects that are read at once; each may have 6 MB."""
_GIVEN_UP: Final = "aws/lambda/"


@dataclass(frozen=True)
class KeptRecords:
    """The bucket, and the name of a cluster that is not MSK; both are empty where the stack has no Kafka."""

    failed_records_bucket: Bucket
    kafka_cluster_name: str

    def has(self, image_id: str, now: datetime, deadline: float) -> bool:
        """Whether a record of this image is kept.

        Raises:
            OutOfTime: the deadline, by `time.monotonic`, has passed.
            Fault: S3 did not answer, or denied access.
        """
        return bool(self._refused(image_id, now)) or any(self._given_up(image_id, deadline))

    def erase(self, image_id: str, now: datetime, deadline: float = math.inf) -> int:
        """Delete the records of this image, and with one that was given up over a day ago the others given up with it.

        Returns:
            How many records are gone.

        Raises:
            OutOfTime: the deadline, by `time.monotonic`, has passed; says how many records are gone until then.
            Fault: S3 did not answer, denied access, or somebody kept replacing an object.
        """
        refused = self._refused(image_id, now)
        self.failed_records_bucket.delete(refused)
        gone = len(refused)
        try:
            for stored, etag, kept in self._given_up(image_id, deadline):
                gone += self._take_out(stored, etag, kept, image_id, now)
        except OutOfTime:
            raise OutOfTime(gone) from None
        return gone

    def _refused(self, image_id: str, now: datetime) -> list[str]:
        if not self._may_have(image_id):
            return []
        hours = range(int(KEPT / timedelta(hours=1)) + 1)
        keys = [f"rejected/{ArrivalHour.of(now - timedelta(hours=age)).path}/{image_id}.json" for age in hours]
        return sorted(self.failed_records_bucket.existing(keys))

    def _given_up(self, image_id: str, deadline: float) -> Iterator[tuple[StoredObject, str, dict[str, Any]]]:
        """What Lambda kept that has a record of this image: the object, its ETag and its content."""
        if not self._may_have(image_id):
            return
        with ThreadPoolExecutor(READERS) as pool:
            for some in batched(self.failed_records_bucket.objects(_GIVEN_UP), READERS, strict=False):
                if time.monotonic() > deadline:
                    raise OutOfTime(0)
                contents = pool.map(self.failed_records_bucket.read, [stored.key for stored in some])
                for stored, found in zip(some, contents, strict=True):
                    # Whatever else there is under the prefix is none of Lambda's, and has no records.
                    if found and (kept := _read(found[0])) and image_id in self._image_ids(kept["event"]):
                        yield stored, found[1], kept

    def _may_have(self, image_id: str) -> bool:
        """Records have ids of version 5, and nothing else has."""
        return bool(self.failed_records_bucket.name) and uuid.UUID(image_id).version == 5

    def _image_ids(self, event: dict[str, Any]) -> list[str]:
        return [self._image_id(event, record) for records in event["records"].values() for record in records]

    def _image_id(self, event: dict[str, Any], record: Any) -> str:
        cluster = event.get("eventSourceArn") if event.get("eventSource") == "aws:kafka" else self.kafka_cluster_name
        try:
            return Position.of(record).image_id(str(cluster))
        except Rejection:
            return unplaced_image_id(record)

    def _take_out(self, stored: StoredObject, etag: str, kept: dict[str, Any], image_id: str, now: datetime) -> int:
        event = kept["event"]
        others = {
            place: left
            for place, records in event["records"].items()
            if (left := [record for record in records if self._image_id(event, record) != image_id])
        }
        count = sum(map(len, event["records"].values()))
        if not others or now - stored.last_modified > MAY_BE_RENEWED:
            self.failed_records_bucket.delete([stored.key])
            return count
        envelope = kept["envelope"] | {"payload": json.dumps(event | {"records": others})}
        content = json.dumps(envelope).encode()
        if not self.failed_records_bucket.replace(stored.key, content, "application/json", etag):
            raise Fault("ConcurrentReplacement on PutObject")
        return count - sum(map(len, others.values()))


def _read(content: bytes) -> dict[str, Any] | None:
    """Lambda's envelope and the event in it, or None when it is something else."""
    try:
        envelope = json.loads(content)
        event = json.loads(envelope["payload"])
        if isinstance(event, dict) and all(isinstance(records, list) for records in event["records"].values()):
            return {"envelope": envelope, "event": event}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return None
