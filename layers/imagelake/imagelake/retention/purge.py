"""The purge: what has had its days is deleted, version by version, hour by hour, with a receipt.

An hour of arrival is due once the last image that may have arrived in it has been kept for the promised days. What is
due is read from the stores themselves, so a purge that was down, was interrupted or ran twice has nothing to remember:
the next one finds what is left. Nothing but due hours is listed; what it costs grows with what expires.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from imagelake.errors import InvalidKeyError
from imagelake.keys import Partition
from imagelake.retention.receipts import Receipt, Tally
from imagelake.settings import EnforceRetentionSettings
from imagelake.stores import buckets, images_table, partitions
from imagelake.stores.images_table import ExpiredItem
from imagelake.stores.partitions import Table

STALE_UPLOAD: Final = timedelta(days=1)
"""Parts of a multipart upload are thrown away that long after it began."""
WORKERS: Final = 8
"""Deletions under way at once; listing goes on meanwhile."""


class Work(BaseModel):
    """A piece of work: one due hour of a store, or what has no hours.

    `items` are those of the images table, `uploads` the parts of multipart uploads that nobody finished.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Literal["raw", "derived", "catalog", "compaction", "items", "uploads"]
    hour: str | None = None


class Progress(BaseModel):
    """What came of a piece of work; unless `finished`, it has to be asked for again."""

    model_config = ConfigDict(frozen=True)

    store: str
    hour: str | None = None
    finished: bool
    deleted: int


@dataclass(frozen=True)
class _Store:
    name: Literal["raw", "derived", "catalog", "compaction"]
    bucket: str

    def prefix(self, partition: Partition) -> str:
        return f"{self.name}/{partition.path}/"


def find_work(settings: EnforceRetentionSettings, now: datetime) -> list[Work]:
    """All there is to do at `now`: each due hour that a store still has, and what has no hours.

    Raises:
        Fault: S3 or Glue did not answer, or denied access.
    """
    latest = _latest_due(settings, now)
    hours = {store.name: {*_stored_hours(store, latest)} for store in _stores(settings)}
    hours["catalog"] |= {hour.partition for hour in partitions.registered(_table(settings), latest)}
    due = [Work(store=name, hour=hour.path) for name, found in hours.items() for hour in sorted(found)]
    return [*due, Work(store="items"), Work(store="uploads")]


def purge(work: Work, settings: EnforceRetentionSettings, now: datetime, seconds: float) -> Progress:
    """Do a piece of work, or as much of it as `seconds` allow.

    Raises:
        InvalidKeyError: the hour is malformed, or is not due.
        Fault: a service did not answer, or denied access; what was deleted until then stays deleted.
    """
    deadline = time.monotonic() + seconds
    if work.store == "items":
        return _purge_items(settings, now, deadline)
    if work.store == "uploads":
        stores = (settings.raw_bucket, settings.lake_bucket)
        aborted = sum(len(buckets.abort_uploads(bucket, now - STALE_UPLOAD)) for bucket in stores)
        return Progress(store=work.store, finished=True, deleted=aborted)
    partition = Partition.parse(work.hour or "")
    if partition > _latest_due(settings, now):
        raise InvalidKeyError(f"not due yet: {partition.path}")
    if work.store in ("catalog", "compaction"):
        # The partition goes first: queries must not find it while its files go.
        partitions.unregister(_table(settings), partition)
    (store,) = (store for store in _stores(settings) if store.name == work.store)
    return _purge_hour(store, partition, settings, now, deadline)


def _stores(settings: EnforceRetentionSettings) -> tuple[_Store, ...]:
    lake = settings.lake_bucket
    of_lake = (_Store("derived", lake), _Store("catalog", lake), _Store("compaction", lake))
    return _Store("raw", settings.raw_bucket), *of_lake


def _table(settings: EnforceRetentionSettings) -> Table:
    return Table(settings.catalog_database, settings.catalog_table, settings.lake_bucket)


def _latest_due(settings: EnforceRetentionSettings, now: datetime) -> Partition:
    """The last hour in which nothing can have arrived less than the promised days before `now`."""
    hour = Partition.of(now - timedelta(days=settings.retention_days))
    while hour.closed_at > now - timedelta(days=settings.retention_days):
        hour = Partition.of(hour.start - timedelta(hours=1))
    return hour


def _stored_hours(store: _Store, latest: Partition) -> Iterator[Partition]:
    for day in buckets.folders(store.bucket, f"{store.name}/"):
        if day <= f"ingest_date={latest.ingest_date}":
            for hour in buckets.folders(store.bucket, f"{store.name}/{day}/"):
                try:
                    partition = Partition.parse(f"{day}/{hour}")
                except InvalidKeyError:  # outside the layout: for the auditor to report
                    continue
                if partition <= latest:
                    yield partition


def _purge_hour(
    store: _Store, partition: Partition, settings: EnforceRetentionSettings, now: datetime, deadline: float
) -> Progress:
    # By the hour and not by the age of the object: retries and redrives make old images young again.
    receipt, tally = Receipt(settings.audit_bucket, store.name, partition, now), Tally()
    receipt.start()
    finished = True
    with ThreadPoolExecutor(WORKERS) as pool:
        deletions = []
        for page in buckets.versions(store.bucket, store.prefix(partition)):
            if time.monotonic() > deadline:
                finished = False
                break
            deletions.append(pool.submit(buckets.delete_versions, store.bucket, page))
            for one in page:
                if one.is_marker:
                    tally.add_marker(one.key, one.version_id)
                else:
                    tally.add(one.key, one.version_id, one.bytes, _hours(now - one.last_modified))
        for deletion in deletions:
            deletion.result()
    receipt.end(tally, "completed" if finished else "to be continued")
    deleted = tally.versions + tally.delete_markers
    return Progress(store=store.name, hour=partition.path, finished=finished, deleted=deleted)


def _purge_items(settings: EnforceRetentionSettings, now: datetime, deadline: float) -> Progress:
    gone: dict[tuple[str, Partition], list[ExpiredItem]] = defaultdict(list)
    finished = True

    def delete(item: ExpiredItem) -> tuple[ExpiredItem, bool]:
        return item, images_table.delete_expired(settings.images_table, item.image_id, now)

    with ThreadPoolExecutor(WORKERS) as pool:
        # In slices, so that neither the queue nor the time runs away.
        for items in batched(images_table.expired(settings.images_table, now), 1000, strict=False):
            if time.monotonic() > deadline:
                finished = False
                break
            for item, deleted in pool.map(delete, items):
                if deleted:
                    kind = {"awaiting_upload": "awaited_uploads", "erased": "tombstones"}.get(item.status, "items")
                    gone[kind, Partition(item.ingest_date, item.hour)].append(item)
    for (kind, partition), deleted_items in sorted(gone.items()):
        tally = Tally()
        for item in sorted(deleted_items, key=lambda item: item.image_id):
            age = _hours(now - item.received_at) if item.received_at and kind == "items" else None
            tally.add(item.image_id, "", 0, age)
        Receipt(settings.audit_bucket, kind, partition, now).end(tally)
    return Progress(store="items", finished=finished, deleted=sum(map(len, gone.values())))


def _hours(age: timedelta) -> float:
    return age / timedelta(hours=1)
