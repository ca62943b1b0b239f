"""Receipts say what was deleted, once: whatever fails, whoever else purges, whenever a run is killed."""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any

import pytest
from botocore.exceptions import ClientError

from imagelake.errors import Fault
from imagelake.keys import ArrivalHour, RawKey
from imagelake.model import AwaitedUpload
from imagelake.retention import purge
from imagelake.retention.purge import Purge, Work
from imagelake.retention.receipts import AnotherRun, Receipt, Tally
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.event_bus import EventBus
from imagelake.stores.images_table import ImagesTable
from tests.integration.fakes import refused
from tests.integration.stand_ins import StandIns, install

DUE = ArrivalHour("2026-11-08", "09")
RUN = datetime(2026, 11, 15, 10, 25, tzinfo=UTC)
RAW = Work(store="raw", hour=DUE.path)
CATALOG = CatalogTable("db", "images", Bucket("lake"))
PURGE = Purge(Bucket("raw"), Bucket("audit"), ImagesTable("images"), EventBus("bus"), CATALOG, 7)


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    with monkeypatch.context() as patch:
        yield install(patch, RUN)


def fill(stores: StandIns, images: int) -> None:
    """Images of the due hour."""
    for _ in range(images):
        stores.s3.put_object("raw", str(RawKey(DUE, str(uuid.uuid4()))), b"image")


def left(stores: StandIns) -> int:
    """How many images the due hour still has."""
    return len(list(stores.s3.bucket("raw").under(f"raw/{DUE.path}/")))


def receipts(stores: StandIns, store: str = "raw") -> list[dict[str, Any]]:
    """The receipts of the due hour, as they are, oldest first."""
    bucket = stores.s3.bucket("audit")
    keys = bucket.under(f"receipts/purges/{DUE.path}/{store}-")
    return [json.loads(bucket.versions[key][0].body) for key in keys]


def counted(stores: StandIns) -> int:
    """What all receipts together say is deleted."""
    return sum(receipt.get("versions", 0) for receipt in receipts(stores))


def once(operation: str, number: int, raises: Exception) -> Callable[[str], None]:
    """Refuses one call of an operation, the one with this number."""
    seen, lock = 0, Lock()

    def before(called: str) -> None:
        nonlocal seen
        with lock:
            seen += called == operation
            if called == operation and seen == number:
                raise raises

    return before


def nothing(_operation: str) -> None:
    """Lets every call pass."""


def test_a_page_that_fails_leaves_a_receipt_of_the_others(stores: StandIns) -> None:
    fill(stores, 2500)
    stores.s3.before = once("DeleteObjects", 2, refused("SlowDown", "DeleteObjects"))

    with pytest.raises(Fault, match=r"^SlowDown on DeleteObjects$"):
        PURGE.run(RAW, RUN, 60)

    [receipt] = receipts(stores)
    assert receipt["state"] == "failed"
    assert 0 < receipt["versions"] == 2500 - left(stores)
    stores.s3.before = nothing
    PURGE.run(RAW, RUN, 60)
    assert [one["state"] for one in receipts(stores)] == ["failed", "completed"]
    assert counted(stores) == 2500


def test_a_page_whose_answer_is_lost_is_counted(stores: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(stores, 1500)
    delete_objects = stores.s3.delete_objects

    def lost(**request: Any) -> None:
        delete_objects(**request)
        raise refused("InternalError", "DeleteObjects")

    monkeypatch.setattr(stores.s3, "delete_objects", lost)
    with pytest.raises(Fault):
        PURGE.run(RAW, RUN, 60)

    assert left(stores) == 0
    assert counted(stores) == 1500


def test_a_page_that_is_deleted_in_part_is_counted_in_part(stores: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(stores, 100)
    delete_objects = stores.s3.delete_objects

    def partly(Bucket: str, Delete: dict[str, Any]) -> dict[str, Any]:  # noqa: N803
        delete_objects(Bucket, Delete | {"Objects": Delete["Objects"][:60]})
        return {"Errors": [{"Key": one["Key"], "Code": "AccessDenied"} for one in Delete["Objects"][60:]]}

    monkeypatch.setattr(stores.s3, "delete_objects", partly)
    with pytest.raises(Fault, match=r"^AccessDenied on DeleteObjects$"):
        PURGE.run(RAW, RUN, 60)

    [receipt] = receipts(stores)
    assert (receipt["state"], receipt["versions"], receipt["objects"]) == ("failed", 60, 60)


def test_where_s3_does_not_say_what_is_left_the_receipt_says_so(stores: StandIns) -> None:
    fill(stores, 100)
    failing = False

    def before(operation: str) -> None:
        nonlocal failing
        failing = failing or operation == "DeleteObjects"
        if failing and operation != "PutObject":
            raise refused("SlowDown", operation)

    stores.s3.before = before
    with pytest.raises(Fault):
        PURGE.run(RAW, RUN, 60)

    [receipt] = receipts(stores)
    assert (receipt["state"], receipt["versions"], receipt["uncertain"]) == ("failed", 0, 100)


def test_a_listing_that_fails_leaves_a_receipt_of_what_is_gone(stores: StandIns) -> None:
    fill(stores, 2500)
    stores.s3.before = once("ListObjectVersions", 3, refused("SlowDown", "ListObjectVersions"))

    with pytest.raises(Fault, match=r"^SlowDown on ListObjectVersions$"):
        PURGE.run(RAW, RUN, 60)

    [receipt] = receipts(stores)
    assert (receipt["state"], receipt["versions"], left(stores)) == ("failed", 2000, 500)


def test_three_purgers_at_once_count_everything_once(stores: StandIns) -> None:
    fill(stores, 1500)

    def run(_number: int) -> str:
        try:
            PURGE.run(RAW, RUN, 60)
        except AnotherRun:
            return "another"
        return "done"

    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(run, range(3)))

    assert "done" in ends
    assert left(stores) == 0
    assert counted(stores) == 1500


def test_nobody_else_deletes_while_a_run_is_at_work(stores: StandIns) -> None:
    fill(stores, 10)
    claim = Receipt.claim(Bucket("audit"), "raw", DUE, RUN)

    with pytest.raises(AnotherRun, match=f"^another run is purging raw of {DUE.path}$"):
        PURGE.run(RAW, RUN, 60)
    assert left(stores) == 10

    claim.end(Tally())
    PURGE.run(RAW, RUN, 60)
    assert left(stores) == 0


def test_a_run_that_was_killed_is_followed_by_another_eleven_minutes_later(stores: StandIns) -> None:
    fill(stores, 10)
    Receipt.claim(Bucket("audit"), "raw", DUE, RUN)

    stores.clock.wait(timedelta(minutes=10))
    with pytest.raises(AnotherRun):
        PURGE.run(RAW, RUN, 60)
    stores.clock.wait(timedelta(minutes=1))
    PURGE.run(RAW, RUN, 60)

    assert [receipt["state"] for receipt in receipts(stores)] == ["started", "completed"]


def test_a_run_that_is_killed_has_said_what_it_had_deleted(stores: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(stores, 3000)
    monkeypatch.setattr(purge, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(purge, "WORKERS", 1)
    dead = once("DeleteObjects", 3, refused("killed", "DeleteObjects"))
    is_dead = False

    def before(operation: str) -> None:
        nonlocal is_dead
        try:
            dead(operation)
        except ClientError:
            is_dead = True
        if is_dead:
            raise refused("killed", operation)

    stores.s3.before = before
    with pytest.raises(Fault):
        PURGE.run(RAW, RUN, 60)

    [receipt] = receipts(stores)
    assert receipt["state"] == "started"
    assert receipt["versions"] in (1000, 2000)  # the second page was deleted while the third failed


@pytest.mark.parametrize("body", [b"not JSON", b"[]", b'{"state": 5}'])
def test_a_receipt_that_cannot_be_read_keeps_nobody_from_purging(stores: StandIns, body: bytes) -> None:
    fill(stores, 10)
    stores.s3.put_object("audit", f"receipts/purges/{DUE.path}/raw-0002.json", body)

    PURGE.run(RAW, RUN, 60)

    assert left(stores) == 0


def test_items_that_are_gone_when_one_fails_have_their_receipt(
    stores: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [
        AwaitedUpload(
            image_id=str(uuid.uuid4()),
            uploader="somebody",
            received_at=RUN - timedelta(days=2),
            expires_at=RUN - timedelta(days=1),
            content_type="image/jpeg",
            ingest_date=DUE.ingest_date,
            hour=DUE.hour,
        )
        for _ in range(20)
    ]
    ImagesTable("images").expect_uploads(uploads)
    delete_item = stores.table.meta.delete_item

    def failing(**request: Any) -> None:
        if request["Key"]["image_id"] == uploads[7].image_id:
            raise refused("ProvisionedThroughputExceededException", "DeleteItem")
        delete_item(**request)

    monkeypatch.setattr(stores.table.meta, "delete_item", failing)
    with pytest.raises(Fault, match="DeleteItem"):
        PURGE.run(Work(store="items"), RUN, 60)

    [receipt] = receipts(stores, "awaited_uploads")
    assert (receipt["state"], receipt["objects"]) == ("failed", 19)
    assert list(stores.table.items) == [uploads[7].image_id]
