"""The purge: what has had its days is deleted, version by version, hour by hour, with a receipt.

An hour of arrival is due once the last image that may have arrived in it has been kept for the promised days. What is
due is read from the stores themselves, so a purge that was down, was interrupted or ran twice has nothing to remember:
the next one finds what is left. Nothing but due hours is listed; what it costs grows with what expires.

An hour that has not begun is never due. What somebody has put there by hand goes by its own age, and at the latest on
the day before its hour begins: from then on nothing would tell it from what arrives in that hour.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from imagelake.errors import Fault, InvalidKeyError
from imagelake.events import HourPurged
from imagelake.keys import ArrivalHour
from imagelake.retention.receipts import Receipt, RunState, Tally
from imagelake.stores.buckets import Bucket, Version
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ExpiredItem, ImagesTable

STALE_UPLOAD: Final = timedelta(days=1)
"""Parts of a multipart upload are thrown away that long after it began."""
WORKERS: Final = 8
"""Deletions under way at once; listing goes on meanwhile."""
MISDATED_LEAD: Final = timedelta(days=1)
"""An hour is empty that long before it begins; 48 runs of the purge see to it."""
SLICE_ITEMS: Final = 1_000
"""Items whose deletion is under way at once."""
NOTE_SECONDS: Final = 10.0
"""How often a run says in its receipt what it has deleted so far."""


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
    bucket: Bucket

    def prefix(self, hour: ArrivalHour) -> str:
        return f"{self.name}/{hour.path}/"


@dataclass(frozen=True)
class Purge:
    """The purge of a stack, as its template describes it."""

    raw_bucket: Bucket
    audit_bucket: Bucket
    images_table: ImagesTable
    event_bus: EventBus
    catalog: CatalogTable
    retention_days: int

    def find_work(self, now: datetime) -> list[Work]:
        """All there is to do at `now`: each due hour that a store still has, and items and uploads whose time is up.

        Raises:
            Fault: S3 or Glue did not answer, or denied access.
        """
        latest = self._latest_due(now)
        hours = {store.name: {*_due_hours(store, latest), *self._misdated(store, now)} for store in self._stores()}
        hours["catalog"] |= {registered.hour for registered in self.catalog.registered(latest)}
        due = [Work(store=name, hour=hour.path) for name, found in hours.items() for hour in sorted(found)]
        if self.images_table.has_expired(now):
            due.append(Work(store="items"))
        if any(bucket.has_uploads(now - STALE_UPLOAD) for bucket in self._buckets()):
            due.append(Work(store="uploads"))
        return due

    def run(self, work: Work, now: datetime, seconds: float) -> Progress:
        """Do a piece of work, or as much of it as `seconds` allow. An hour of which nothing is left is told on the bus.

        Raises:
            InvalidKeyError: the hour is malformed, or is not due.
            AnotherRun: another run is at work on the same hour of the same store.
            Fault: a service did not answer, or denied access; what was deleted until then has its receipt.
        """
        deadline = time.monotonic() + seconds
        if work.store == "items":
            run = _ItemRun(self, now)
            finished = run.delete_items(deadline)
            return Progress(store=work.store, finished=finished, deleted=run.deleted)
        if work.store == "uploads":
            aborted = sum(len(bucket.abort_uploads(now - STALE_UPLOAD)) for bucket in self._buckets())
            return Progress(store=work.store, finished=True, deleted=aborted)
        hour = ArrivalHour.parse(work.hour or "")
        (store,) = (store for store in self._stores() if store.name == work.store)
        if hour.is_ahead_of(now):
            return self._purge_misdated(store, hour, now, deadline)
        if hour > self._latest_due(now):
            raise InvalidKeyError(f"not due yet: {hour.path}")
        if work.store in ("catalog", "compaction"):
            # The partition goes first: queries must not find it while its files go.
            self.catalog.unregister(hour)
        progress = self._purge_hour(store, hour, now, deadline, stored_until=None)
        if progress.finished:
            self.event_bus.put([HourPurged.of(store.name, hour, progress.deleted, now)])
        return progress

    def _buckets(self) -> tuple[Bucket, Bucket]:
        return self.raw_bucket, self.catalog.lake_bucket

    def _stores(self) -> tuple[_Store, ...]:
        lake = self.catalog.lake_bucket
        of_lake = (_Store("derived", lake), _Store("catalog", lake), _Store("compaction", lake))
        return _Store("raw", self.raw_bucket), *of_lake

    def _latest_due(self, now: datetime) -> ArrivalHour:
        """The last hour in which nothing can have arrived less than the promised days before `now`."""
        hour = ArrivalHour.of(now - self.retention)
        while hour.closed_at > now - self.retention:
            hour = ArrivalHour.of(hour.start - timedelta(hours=1))
        return hour

    @property
    def retention(self) -> timedelta:
        """How long images are kept."""
        return timedelta(days=self.retention_days)

    def _misdated(self, store: _Store, now: datetime) -> Iterator[ArrivalHour]:
        """Hours that have not begun, with objects that have to go all the same: put there by hand."""
        for hour in _stored_hours(store, lambda day: day >= f"ingest_date={ArrivalHour.of(now).ingest_date}"):
            pages = store.bucket.versions(store.prefix(hour)) if hour.is_ahead_of(now) else ()
            if any(one.last_modified <= self._misdated_until(hour, now) for page in pages for one in page):
                yield hour

    def _misdated_until(self, hour: ArrivalHour, now: datetime) -> datetime:
        """When an object of an hour that has not begun must have been stored, at the latest, to go now."""
        return now if hour.start - now <= MISDATED_LEAD else now - self.retention

    def _purge_misdated(self, store: _Store, hour: ArrivalHour, now: datetime, deadline: float) -> Progress:
        progress = self._purge_hour(store, hour, now, deadline, stored_until=self._misdated_until(hour, now))
        if store.name == "catalog" and not any(store.bucket.versions(store.prefix(hour))):
            self.catalog.unregister(hour)
        return progress

    def _purge_hour(
        self, store: _Store, hour: ArrivalHour, now: datetime, deadline: float, stored_until: datetime | None
    ) -> Progress:
        run = _Run(store, hour, now, stored_until, Receipt.claim(self.audit_bucket, store.name, hour, now))
        finished = run.delete_versions(deadline)
        deleted = run.tally.versions + run.tally.delete_markers
        return Progress(store=store.name, hour=hour.path, finished=finished, deleted=deleted)


@dataclass
class _ItemRun:
    """A run over the items whose time is up. Receipts of them are written every `NOTE_SECONDS`, and in the end."""

    purge: Purge
    now: datetime
    deleted: int = 0
    _unwritten: dict[tuple[str, ArrivalHour], list[ExpiredItem]] = field(default_factory=lambda: defaultdict(list))

    def delete_items(self, deadline: float) -> bool:
        """Delete until `deadline`, and say in receipts what is gone, whatever happens.

        Returns:
            Whether nothing is left.

        Raises:
            Fault: DynamoDB or S3 did not answer, or denied access.
        """
        try:
            finished = self._delete(deadline)
        except Exception:
            self._write_receipts("failed")
            raise
        self._write_receipts("completed")
        return finished

    def _delete(self, deadline: float) -> bool:
        written_at, table = time.monotonic(), self.purge.images_table
        with ThreadPoolExecutor(WORKERS) as pool:
            # In slices, so that neither the queue nor the time runs away.
            for items in batched(table.expired(self.now), SLICE_ITEMS, strict=False):
                if time.monotonic() > deadline:
                    return False
                deletions = [pool.submit(table.delete_expired, item.image_id, self.now) for item in items]
                failures = [failure for deletion in deletions if (failure := deletion.exception())]
                for item, deletion in zip(items, deletions, strict=True):
                    if not deletion.exception() and deletion.result():
                        kind = {"awaiting_upload": "awaited_uploads", "erased": "tombstones"}.get(item.status, "items")
                        hour = item.hour or ArrivalHour.of(self.now - self.purge.retention)
                        self._unwritten[kind, hour].append(item)
                if failures:
                    raise failures[0]
                if time.monotonic() - written_at > NOTE_SECONDS:
                    written_at = time.monotonic()
                    self._write_receipts("completed")
        return True

    def _write_receipts(self, state: RunState) -> None:
        for kind, hour in sorted(self._unwritten):
            tally, items = Tally(), self._unwritten[kind, hour]
            for item in sorted(items, key=lambda item: item.image_id):
                age = _hours(self.now - item.received_at) if item.received_at and kind == "items" else None
                tally.add(item.image_id, "", 0, age)
            Receipt(self.purge.audit_bucket, kind, hour, self.now).end(tally, state)
            self.deleted += len(items)
            del self._unwritten[kind, hour]  # now, so that what a later one fails for is counted once


@dataclass
class _Run:
    """A run over one hour of one store, which has claimed it.

    `stored_until` spares what is younger, in an hour that has not begun. In one that is due it spares nothing: retries
    and redrives make old images young again, so an hour is purged by its name and not by the age of its objects.
    """

    store: _Store
    hour: ArrivalHour
    now: datetime
    stored_until: datetime | None
    receipt: Receipt
    tally: Tally = field(default_factory=Tally)
    _failed: list[list[Version]] = field(default_factory=list)
    _failures: list[BaseException] = field(default_factory=list)

    def delete_versions(self, deadline: float) -> bool:
        """Delete until `deadline`, and say in the receipt what is gone, whatever happens.

        Returns:
            Whether nothing is left.

        Raises:
            Fault: S3 did not answer, denied access, or could not delete some of them.
        """
        try:
            finished = self._delete(deadline)
        except Exception:
            self._end_failed()
            raise
        if self._failures:
            self._end_failed()
            raise self._failures[0]
        self.receipt.end(self.tally, "completed" if finished else "to be continued")
        return finished

    def _delete(self, deadline: float) -> bool:
        under_way: deque[tuple[list[Version], Future[None]]] = deque()
        noted_at = time.monotonic()
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                for listed in self.store.bucket.versions(self.store.prefix(self.hour)):
                    if self._failures or time.monotonic() > deadline:
                        return False
                    page = [one for one in listed if not self.stored_until or one.last_modified <= self.stored_until]
                    if not page:
                        continue
                    under_way.append((page, pool.submit(self.store.bucket.delete_versions, page)))
                    if len(under_way) > WORKERS:
                        self._settle(*under_way.popleft())
                    if time.monotonic() - noted_at > NOTE_SECONDS:
                        noted_at = time.monotonic()
                        self.receipt.note(self.tally)
            finally:
                for page, deletion in under_way:
                    self._settle(page, deletion)
        return True

    def _settle(self, page: list[Version], deletion: Future[None]) -> None:
        if failure := deletion.exception():
            self._failures.append(failure)
            self._failed.append(page)
        else:
            self._count(page)

    def _count(self, page: list[Version]) -> None:
        for one in page:
            if one.is_marker:
                self.tally.add_marker(one.key, one.version_id)
            else:
                self.tally.add(one.key, one.version_id, one.bytes, _hours(self.now - one.last_modified))

    def _end_failed(self) -> None:
        """Ask S3 what is left of the pages that failed: an answer that was lost, or a page that was deleted in part."""
        uncertain = 0
        if self._failed:
            try:
                left = {one for page in self.store.bucket.versions(self.store.prefix(self.hour)) for one in page}
            except Fault:
                uncertain = sum(map(len, self._failed))
            else:
                for page in self._failed:
                    self._count([one for one in page if one not in left])
        self.receipt.end(self.tally, "failed", uncertain)


def _due_hours(store: _Store, latest: ArrivalHour) -> Iterator[ArrivalHour]:
    for hour in _stored_hours(store, lambda day: day <= f"ingest_date={latest.ingest_date}"):
        if hour <= latest:
            yield hour


def _stored_hours(store: _Store, is_wanted: Callable[[str], bool]) -> Iterator[ArrivalHour]:
    for day in filter(is_wanted, store.bucket.folders(f"{store.name}/")):
        for folder in store.bucket.folders(f"{store.name}/{day}/"):
            try:
                yield ArrivalHour.parse(f"{day}/{folder}")
            except InvalidKeyError:  # outside the layout: for the auditor to report
                continue


def _hours(age: timedelta) -> float:
    return age / timedelta(hours=1)
