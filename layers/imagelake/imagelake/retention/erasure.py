"""Erasure on request: one image, everywhere, now and for good.

A tombstone takes the place of the image's item first; from then on nothing brings the image back. Who finds it, a late
workflow or a redelivered record, moves the tombstone to where the image has turned up, and it comes here again. The
file, its derivatives and kept Kafka records go first, the rows after them: looking for rows takes longer the more files
an hour has.

The stream of the images table has `write_catalog` bring every new tombstone here, once it has written every row that
came before it. So an erasure that ran out of time or was interrupted goes on, and rows that were on their way go, too.
Receipts count every row that is deleted for an erasure, because nobody else deletes any.
"""

import hashlib
import hmac
import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from imagelake.catalog import parquet
from imagelake.errors import Fault, InvalidKeyError, OutOfTime
from imagelake.events import ImageErased
from imagelake.ingest.kept_records import KeptRecords
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import ErasureReason, Tombstone
from imagelake.retention import receipts
from imagelake.retention.receipts import ErasureState, ErasureTally
from imagelake.stores.buckets import Bucket, Version
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from imagelake.values import to_iso

WORKERS: Final = 16
"""Hours that are looked into at once."""
LOOK_SECONDS: Final = 8.0
"""For a look at kept records before there is a tombstone, of the 29 seconds that API Gateway waits."""
CALLER_SECONDS: Final = 30
"""How long the request that buried an image may be at work on it; it leaves a receipt when it is done. Until then
nobody else begins, so that no two receipts count the same deletions."""


@dataclass(frozen=True)
class Caller:
    """Who asks, and why. An operator may erase any image, everybody else their own."""

    subject: str
    is_operator: bool
    reason: ErasureReason = "unspecified"


@dataclass(frozen=True)
class Erased:
    """What a run has done, whether nothing is left to do, and whether that was noted for the first time."""

    tally: ErasureTally
    finished: bool
    is_settled: bool


@dataclass(frozen=True)
class Erasure:
    """Erasure in a stack, as its template describes it."""

    raw_bucket: Bucket
    lake_bucket: Bucket
    audit_bucket: Bucket
    images_table: ImagesTable
    event_bus: EventBus
    kept_records: KeptRecords
    retention_days: int

    def bury(self, image_id: str, caller: Caller, now: datetime) -> Tombstone | None:
        """Put a tombstone in the place of an image; one that is there already stays.

        An operator may bury an image without an item too, when a Kafka record of it is kept.

        Returns:
            The tombstone, or None when there is no such image, it has expired, or it is not the caller's.

        Raises:
            Fault: a service did not answer, or denied access.
        """
        item = self.images_table.get_even_erased(image_id)
        if item is None:
            item = self._as_kept(image_id, now) if caller.is_operator else None
        if item is None or not (caller.is_operator or _is_owner(item, caller)):
            return None
        if item["status"] == "erased":
            return Tombstone.model_validate(item)
        tombstone = Tombstone(
            image_id=image_id,
            erased_at=now,
            # Long enough for everything that may redeliver the image to have forgotten it.
            expires_at=now + timedelta(days=self.retention_days),
            owner_digest=_digest(image_id, item["uploader"]) if "uploader" in item else None,
            asked_by=caller.subject,
            reason=caller.reason,
            unsettled_since=to_iso(now),
            ingest_date=item["ingest_date"],
            hour=item["hour"],
        )
        if self.images_table.bury(tombstone):
            return tombstone
        buried = self.images_table.get_even_erased(image_id)
        return Tombstone.model_validate(buried) if buried else None

    def tombstone(self, image_id: str) -> Tombstone | None:
        """The tombstone of an image; None where there is none, its time is up, or nobody can read it.

        Raises:
            Fault: DynamoDB did not answer, or denied access.
        """
        item = self.images_table.get_even_erased(image_id)
        try:
            return Tombstone.model_validate(item) if item else None
        except ValidationError:  # an outcome, or what `write_catalog`, which the stream brings it too, has reported
            return None

    def _as_kept(self, image_id: str, now: datetime) -> dict[str, Any] | None:
        """What stands for the item of an image whose record was refused or given up."""
        hour = ArrivalHour.of(now)
        try:
            RawKey.parse(str(RawKey(hour, image_id)))
        except InvalidKeyError:
            return None
        try:
            if not self.kept_records.has(image_id, now, time.monotonic() + LOOK_SECONDS):
                return None
        except OutOfTime:  # nobody knows: a tombstone does no harm, and whoever finds it looks further
            pass
        return {"status": "kept", "ingest_date": hour.ingest_date, "hour": hour.hour}

    def is_under_way(self, tombstone: Tombstone, now: datetime) -> bool:
        """Whether the request that buried the image may be erasing it at this moment.

        Raises:
            Fault: S3 did not answer, or denied access.
        """
        is_young = now - tombstone.erased_at < timedelta(seconds=CALLER_SECONDS)
        return is_young and tombstone.returned_at is None and not receipts.has_erasure(self.audit_bucket, tombstone)

    def erase(self, tombstone: Tombstone, now: datetime, seconds: float = math.inf) -> Erased:
        """Erase all there is of a buried image, as far as `seconds` allow, and leave a receipt.

        Doing it again does no harm, and leaves another receipt only where something had come back, or was left. An
        erasure that has finished is told on the bus. What was asked for again is noted as done.

        Raises:
            Fault: a service did not answer, or denied access; ask again. What is gone until then has its receipt.
        """
        deadline, tally = time.monotonic() + seconds, ErasureTally()
        try:
            hours = self._erase_objects(tombstone, now, tally)
            finished = self._erase_records(tombstone, now, deadline, tally)
            finished = finished and self._erase_rows(tombstone.image_id, hours, deadline, tally)
        except Fault:
            if any(tally.counts().values()):
                receipts.erasure(self.audit_bucket, tombstone, tally, "interrupted", now)
            raise
        # That nothing was there is worth a receipt too.
        is_news = any(tally.counts().values()) or not receipts.has_erasure(self.audit_bucket, tombstone)
        if finished and (is_news or tombstone.repeated_at):  # ahead of what would keep it from being done again
            self.event_bus.put([ImageErased.of(tombstone)])
        if is_news or not finished:
            state: ErasureState = "completed" if finished else "to be continued"
            receipts.erasure(self.audit_bucket, tombstone, tally, state, now)
        is_settled = bool(finished and tombstone.repeated_at and self.images_table.settle_erasure(tombstone, now))
        return Erased(tally, finished, is_settled)

    def _erase_objects(self, tombstone: Tombstone, now: datetime, tally: ErasureTally) -> list[ArrivalHour]:
        """Delete all but rows; gives the hours in which there may be rows."""
        key = tombstone.raw_key
        hours = {key.hour}
        with ThreadPoolExecutor(WORKERS) as pool:
            places = self._places(tombstone, now)
            found = zip(places, pool.map(self._find, places), strict=True)
            for place, (versions, derivatives) in found:
                if versions or derivatives:
                    hours.add(place.hour)
                    self.raw_bucket.delete_versions(versions)
                    tally.add(versions, [])
                    self.lake_bucket.delete_versions(derivatives)
                    tally.add([], derivatives)
        return sorted(hours)

    def _erase_records(self, tombstone: Tombstone, now: datetime, deadline: float, tally: ErasureTally) -> bool:
        if tombstone.owner_digest is not None:
            return True
        try:
            tally.records += self.kept_records.erase(tombstone.image_id, now, deadline)
        except OutOfTime as stopped:
            tally.records += stopped.done
            return False
        return True

    def _erase_rows(self, image_id: str, hours: Iterable[ArrivalHour], deadline: float, tally: ErasureTally) -> bool:
        try:
            for hour in hours:
                tally.rows += parquet.erase(self.lake_bucket, hour, {image_id}, deadline)
        except OutOfTime as stopped:
            tally.rows += stopped.done
            return False
        return True

    def _places(self, tombstone: Tombstone, now: datetime) -> Sequence[RawKey]:
        """Where the image may be. A form takes a file in one place; a record that comes again may be in any hour."""
        places = {tombstone.raw_key}
        if tombstone.owner_digest is None:
            ages = range(-1, 24 * self.retention_days + 3)
            places |= {RawKey(ArrivalHour.of(now - timedelta(hours=age)), tombstone.image_id) for age in ages}
        return sorted(places, key=str)

    def _find(self, key: RawKey) -> tuple[list[Version], list[Version]]:
        """Versions of the file and derivatives in one place."""
        return _all(self.raw_bucket, str(key)), _all(self.lake_bucket, key.derived_prefix)


def _all(bucket: Bucket, prefix: str) -> list[Version]:
    return [version for page in bucket.versions(prefix) for version in page]


def _is_owner(item: dict[str, Any], caller: Caller) -> bool:
    if item["status"] == "erased":
        return hmac.compare_digest(item.get("owner_digest", ""), _digest(item["image_id"], caller.subject))
    return bool(item.get("uploader") == caller.subject)


def _digest(image_id: str, subject: str) -> str:
    return hashlib.sha256(f"{image_id}/{subject}".encode()).hexdigest()
