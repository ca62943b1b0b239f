"""Whatever happens while a purge runs, the promise holds: interleavings that Hypothesis makes up."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagelake.catalog import parquet
from imagelake.errors import Fault
from imagelake.ingest.kept_records import KeptRecords
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_prefix
from imagelake.model import Derivative, ImageRecord
from imagelake.retention import erasure
from imagelake.retention.erasure import Erasure
from imagelake.retention.purge import Purge
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from tests.integration.fakes import refused
from tests.integration.stand_ins import StandIns, install

DUE_HOUR, LAST_KEPT_HOUR = ArrivalHour("2026-11-08", "09"), ArrivalHour("2026-11-08", "10")
FIRST_RUN = datetime(2026, 11, 15, 10, 25, tzinfo=UTC)
"""The first in which the due hour is due, five minutes after the last of its images may have arrived seven days ago."""
NOW_HOUR = ArrivalHour.of(FIRST_RUN)
CATALOG = CatalogTable("db", "images", Bucket("lake"))
PURGE = Purge(Bucket("raw"), Bucket("audit"), ImagesTable("images"), EventBus("bus"), CATALOG, 7)
ERASE = Erasure(
    Bucket("raw"),
    Bucket("lake"),
    Bucket("audit"),
    ImagesTable("images"),
    EventBus("bus"),
    KeptRecords(Bucket(""), ""),
    7,
)
WRITE = CATALOG


@dataclass
class World:
    """A lake with images of three hours, and what may happen to it in between."""

    stores: StandIns
    kept: dict[str, RawKey] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    plan: dict[int, str] = field(default_factory=dict)
    operations: int = 0
    due_versions: int = 0
    """Versions and delete markers that the due hour of the raw bucket ever had."""
    is_busy: bool = False
    lock: Any = field(default_factory=RLock)

    def add(self, hour: ArrivalHour, images: int) -> list[ImageRecord]:
        """Images as the corridor leaves them."""
        records = [self._image(hour) for _ in range(images)]
        if records:
            parquet.write(records, uuid.uuid4().hex, WRITE)
        if hour == DUE_HOUR:
            self.due_versions += images
        else:
            self.kept |= {record.image_id: RawKey(hour, record.image_id) for record in records}
        return records

    def _image(self, hour: ArrivalHour) -> ImageRecord:
        key, arrived = RawKey(hour, str(uuid.uuid4())), hour.start + timedelta(minutes=70)
        derivative = ImageVersion(key, "1").derived("thumb_256", "jpg")
        self.stores.s3.put_object("raw", str(key), b"image")
        self.stores.s3.put_object("lake", derivative, b"thumb")
        record = ImageRecord(
            image_id=key.image_id,
            status="processed",
            received_at=arrived,
            expires_at=arrived + timedelta(days=7),
            derivatives=[Derivative(key=derivative, name="thumb_256", width=1, height=1, content_type="image/jpeg")],
            ingest_date=hour.ingest_date,
            hour=hour.hour,
        )
        self.stores.table.put_item(record.to_item())
        return record

    # What may happen in between

    def happen(self, what: str) -> None:
        """One of the events below."""
        getattr(self, what)()

    def another_purge(self) -> None:
        purge_all()

    def an_arrival(self) -> None:
        self.add(NOW_HOUR, 1)

    def a_row_of_a_kept_hour(self) -> None:
        self.add(LAST_KEPT_HOUR, 1)

    def a_late_row_of_the_due_hour(self) -> None:
        self.add(DUE_HOUR, 1)

    def a_deletion_that_leaves_a_marker(self) -> None:
        for key in list(self.stores.s3.bucket("raw").under(f"raw/{DUE_HOUR.path}/"))[:1]:
            self.stores.s3.delete_object("raw", key)
            self.due_versions += 1

    def an_erasure_in_a_kept_hour(self) -> None:
        for image_id, key in sorted(self.kept.items())[:1]:
            tombstone = ERASE.bury(image_id, erasure.Caller("operator", is_operator=True), FIRST_RUN)
            assert tombstone is not None
            ERASE.erase(tombstone, FIRST_RUN)
            del self.kept[image_id]
            self.erased.add(str(key))

    def an_erasure_in_the_due_hour(self) -> None:
        parquet.erase(Bucket("lake"), DUE_HOUR, {str(uuid.uuid4())})

    def a_throttle(self) -> None:
        raise refused("SlowDown", "S3")

    def before(self, _operation: str) -> None:
        """Lets happen what is planned for this operation, unless it happens within something that does."""
        if self.is_busy:  # threads of what happens must not wait for it to end
            return
        with self.lock:
            if self.is_busy:
                return
            self.operations += 1
            if what := self.plan.get(self.operations):
                self.is_busy = True
                try:
                    self.happen(what)
                finally:
                    self.is_busy = False


EVENTS = [name for name in vars(World) if name.startswith(("a_", "an_", "another_"))]


def purge_all() -> None:
    """One run, in which a piece of work that fails does not keep the others, as in the workflow."""
    for work in PURGE.find_work(FIRST_RUN):
        with _tolerated():
            PURGE.run(work, FIRST_RUN, 60)


@contextmanager
def _tolerated() -> Iterator[None]:
    try:
        yield
    except Fault:
        return


def _lines(records: Any) -> bytes:
    return b"\n".join(json.dumps(record.to_row()).encode() for record in records)


def _without(content: bytes, image_ids: Any) -> tuple[bytes, int]:
    lines = content.splitlines()
    rest = [line for line in lines if json.loads(line)["image_id"] not in image_ids]
    return b"\n".join(rest), len(lines) - len(rest)


@settings(max_examples=150, deadline=None)
@given(
    due=st.integers(0, 6),
    plan=st.dictionaries(st.integers(1, 25), st.sampled_from(EVENTS), max_size=6),
)
def test_the_promise_holds_whatever_happens_during_a_purge(due: int, plan: dict[int, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stores = install(patch, FIRST_RUN)
        patch.setattr(parquet, "to_parquet", _lines)
        patch.setattr(parquet, "without_rows", _without)
        patch.setattr(parquet, "having_rows", lambda files, _image_ids: files)
        world = World(stores, plan=plan)
        for hour, images in ((DUE_HOUR, due), (LAST_KEPT_HOUR, 2), (NOW_HOUR, 2)):
            world.add(hour, images)
        stores.s3.before = world.before

        with _tolerated():
            purge_all()
        _check_kept(world)

        stores.s3.before = lambda _operation: None
        stores.clock.wait(
            timedelta(minutes=15)
        )  # to the next run: one that could not end its receipt has lost its claim
        purge_all()
        _check_kept(world)
        _check_counts(world)
        _check_due_hour_is_empty(world)


def _check_kept(world: World) -> None:
    raw, lake = world.stores.s3.bucket("raw"), world.stores.s3.bucket("lake")
    rows = {
        json.loads(line)["image_id"]
        for key in lake.under("catalog/")
        for line in lake.versions[key][0].body.splitlines()
    }
    for image_id, key in world.kept.items():
        assert raw.current(str(key))
        assert lake.current(ImageVersion(key, "1").derived("thumb_256", "jpg"))
        assert image_id in world.stores.table.items
        assert image_id in rows
        assert (key.hour.ingest_date, key.hour.hour) in world.stores.glue.partitions
    for erased in world.erased:
        assert erased not in raw.versions


def _check_counts(world: World) -> None:
    """Receipts count every deletion once; where S3 took none, or did not say what is left, not every one."""
    bucket = world.stores.s3.bucket("audit")
    keys = bucket.under(f"receipts/purges/{DUE_HOUR.path}/raw-")
    receipts = [json.loads(bucket.versions[key][0].body) for key in keys]
    counted = sum(receipt.get("versions", 0) + receipt.get("delete_markers", 0) for receipt in receipts)
    assert counted <= world.due_versions
    if not any(receipt["state"] == "started" or "uncertain" in receipt for receipt in receipts):
        assert counted == world.due_versions


def _check_due_hour_is_empty(world: World) -> None:
    raw, lake = world.stores.s3.bucket("raw"), world.stores.s3.bucket("lake")
    assert not list(raw.under(f"raw/{DUE_HOUR.path}/"))
    assert not list(lake.under(f"derived/{DUE_HOUR.path}/"))
    assert not list(lake.under(catalog_prefix(DUE_HOUR)))
    assert (DUE_HOUR.ingest_date, DUE_HOUR.hour) not in world.stores.glue.partitions
    assert not [item for item in world.stores.table.items.values() if item["hour"] == "09"]
