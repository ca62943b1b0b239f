"""The view has exactly one row an image at any time, through writes, retries, redrives, erasures, purges, compaction.

Histories are random. The function, the writer, the purge and the compaction are the real ones; the stores keep time by
our clock.
"""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from functions.write_catalog import app
from imagelake.catalog import parquet
from imagelake.catalog.compaction import Compactor
from imagelake.keys import ArrivalHour
from imagelake.model import ImageRecord, Tombstone
from imagelake.retention.purge import Purge
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from tests.duckdb_catalog import catalog_over, parquet_under
from tests.integration.conftest import Context, stream_of
from tests.integration.stand_ins import ERASE_IMAGE, StartedErasures, install

KEPT = timedelta(days=7)
PURGE = Purge(
    Bucket("raw"),
    Bucket("audit"),
    ImagesTable("images"),
    EventBus("bus"),
    CatalogTable("image_lake", "images", Bucket("lake")),
    KEPT.days,
)
COMPACT = Compactor(CatalogTable("image_lake", "images", Bucket("lake")), KEPT.days)
VARIABLES = {
    "LAKE_BUCKET": "lake",
    "CATALOG_DATABASE": "image_lake",
    "CATALOG_TABLE": "images",
    "DEAD_LETTER_QUEUE_URL": "queue",
    "ERASE_IMAGE_FUNCTION": ERASE_IMAGE,
}
QUERY = "SELECT image_id, status, processed_at, ingest_date, hour FROM current_images"

type Row = tuple[str, str, datetime | None, str, str]


class Histories(RuleBasedStateMachine):
    """What becomes of images, what the stream hands over of it, and what time does. `expected` is the model."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.stores = install(self.patch, datetime(2026, 11, 20, 9, 10, tzinfo=UTC))
        self.patch.setattr(app, "datetime", self.stores.clock.patched())
        for name, value in VARIABLES.items():
            self.patch.setenv(name, value)
        self.erasures = StartedErasures.installed(self.patch)
        self.items: list[ImageRecord] = []
        """The images table; an image that was erased or redriven is in its place, so that its number stays its own."""
        self.erased: set[str] = set()
        self.stream: list[ImageRecord | Tombstone] = []
        self.batch = slice(0, 0)
        """Of the stream, what was handed over last."""
        self.expected: dict[str, ImageRecord] = {}
        self.written: set[Row] = set()
        """Every row there ever was."""
        self.is_read = True
        """Whether the view was looked at since the last change."""

    def teardown(self) -> None:
        self.patch.undo()

    @property
    def now(self) -> datetime:
        return self.stores.clock.now

    @rule(
        statuses=st.lists(st.sampled_from(["processed", "rejected", "failed"]), min_size=1, max_size=3),
        late=st.booleans(),
        at_once=st.booleans(),
    )
    def arrive(self, statuses: list[str], late: bool, at_once: bool) -> None:
        """Some arrive in the hour of their form and not in their own."""
        hour = ArrivalHour.of(self.now - timedelta(minutes=20) if late else self.now)
        for status in statuses:
            record = ImageRecord.model_validate(
                {
                    "image_id": str(UUID(int=len(self.items))),
                    "status": status,
                    "received_at": self.now,
                    "processed_at": None if status == "failed" else self.now,
                    "expires_at": self.now + KEPT,
                    "ingest_date": hour.ingest_date,
                    "hour": hour.hour,
                }
            )
            self.items.append(record)
            self.stream.append(record)
        if at_once:
            self.write()

    @property
    def failed(self) -> list[int]:
        """The numbers of the images that can be redriven."""
        return [
            number
            for number, record in enumerate(self.items)
            if record.status == "failed" and record.image_id not in self.erased
        ]

    @precondition(lambda self: self.failed)
    @rule(data=st.data(), status=st.sampled_from(["processed", "rejected"]), at_once=st.booleans())
    def redrive(self, data: st.DataObject, status: str, at_once: bool) -> None:
        number = data.draw(st.sampled_from(self.failed))
        again = self.items[number].model_copy(update={"status": status, "processed_at": self.now})
        self.items[number] = again
        self.stream.append(again)
        if at_once:
            self.write()

    @precondition(lambda self: self.items)
    @rule(number=st.integers(0, 99))
    def erase(self, number: int) -> None:
        record = self.items[number % len(self.items)]
        if record.image_id not in self.erased:
            self.erased.add(record.image_id)
            taken = record.model_dump(include={"image_id", "expires_at", "ingest_date", "hour"})
            self.stream.append(Tombstone(erased_at=self.now, unsettled_since="now", **taken))

    @precondition(lambda self: len(self.stream) > self.batch.stop)
    @rule()
    def write(self) -> None:
        self.batch = slice(self.batch.stop, len(self.stream))
        self._hand_over(self.batch)

    @precondition(lambda self: self.batch.stop)
    @rule()
    def retry(self) -> None:
        self._hand_over(self.batch)

    @precondition(lambda self: self.batch.stop)
    @rule(items=st.integers(1, 6))
    def replay(self, items: int) -> None:
        """The same once more, in another batch: an event source mapping that was made anew."""
        self._hand_over(slice(max(0, self.batch.stop - items), self.batch.stop))

    @rule(hours=st.sampled_from([1, 2, 24, 24 * 8]))
    def wait(self, hours: int) -> None:
        self.stores.clock.wait(timedelta(hours=hours))

    @rule()
    def purge(self) -> None:
        for work in PURGE.find_work(self.now):
            PURGE.run(work, self.now, 60)
        self.is_read = False
        self.expected = {
            image_id: record
            for image_id, record in self.expected.items()
            if ArrivalHour(record.ingest_date, record.hour).closed_at + KEPT > self.now
        }

    @rule()
    def compact(self) -> None:
        assert COMPACT.run(self.now, 60).faults == {}
        self.is_read = False

    @invariant()
    def the_view_has_one_row_an_image(self) -> None:
        """The latest. One that has expired is gone from its hour's purge on, or from a retry before that.

        An hour that is being compacted may have an earlier row, or none yet of an image that came late.
        """
        if self.is_read:
            return
        self.is_read = True
        rows = self._rows()
        settled = {row for row in rows if not self._is_away(*row[3:])}
        expected = {_row(record): record for record in self.expected.values()}
        kept = {row for row, record in expected.items() if record.expires_at > self.now and not self._is_away(*row[3:])}

        assert len({image_id for image_id, *_ in rows}) == len(rows)
        assert kept <= settled <= expected.keys()
        assert set(rows) <= self.written
        assert not {image_id for image_id, *_ in rows} & self._erased_by_now()

    def _is_away(self, ingest_date: str, hour: str) -> bool:
        partition = self.stores.glue.partitions[ingest_date, hour]
        return "/compaction/" in partition["StorageDescriptor"]["Location"]

    def _erased_by_now(self) -> set[str]:
        return {one.image_id for one in self.stream[: self.batch.stop] if isinstance(one, Tombstone)}

    def _hand_over(self, part: slice) -> None:
        said = self.stream[part]
        self.is_read = False
        self.written |= {_row(one) for one in said if isinstance(one, ImageRecord)}
        app.handler(stream_of(*(one.to_item() for one in said), first=part.start), Context("write_catalog"))
        started = self.erasures.take()
        for one in said:
            if isinstance(one, Tombstone):
                assert one.image_id in started
                self._erase_rows(one)
                self.expected.pop(one.image_id, None)
            elif one.expires_at > self.now and not self._has_ended_otherwise(one):
                self.expected[one.image_id] = one

    def _erase_rows(self, tombstone: Tombstone) -> None:
        """What `erase_image` does, where it was started."""
        parquet.erase(Bucket("lake"), tombstone.raw_key.hour, {tombstone.image_id})

    def _has_ended_otherwise(self, record: ImageRecord) -> bool:
        """Whether `record` is the failure of an image that had another outcome later."""
        return record.status == "failed" and record.image_id in self.expected

    def _rows(self) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            for values, partition in self.stores.glue.partitions.items():
                prefix = partition["StorageDescriptor"]["Location"].removeprefix("s3://lake/")
                for page in self.stores.s3.get_paginator("list_objects_v2").paginate(Bucket="lake", Prefix=prefix):
                    for entry in page.get("Contents", ()):
                        file = Path(folder, ArrivalHour(*values).path, entry["Key"].rpartition("/")[2])
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_bytes(self.stores.s3.get_object("lake", entry["Key"])["Body"].read())
            if not any(Path(folder).iterdir()):
                return []
            with catalog_over(parquet_under(folder)) as database:
                return database.execute(QUERY).fetchall()


def _row(record: ImageRecord) -> Row:
    processed_at = record.processed_at and record.processed_at.replace(tzinfo=None)
    return record.image_id, record.status, processed_at, record.ingest_date, record.hour


TestHistories: Any = Histories.TestCase
TestHistories.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
