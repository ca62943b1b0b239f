"""The purge, the audit, erasure and reconciliation on stores in process."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import pytest
from moto.s3.models import s3_backends

from functions.enforce_retention.app import handler as enforce_retention
from functions.erase_image.app import handler as erase_image
from functions.reconcile.app import handler as reconcile
from functions.write_catalog.app import handler as write_catalog
from imagelake.catalog import parquet
from imagelake.errors import Fault, InvalidKeyError
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_prefix
from imagelake.model import AwaitedUpload, Derivative, ImageRecord, Tombstone
from imagelake.retention import purge as purging
from imagelake.retention.purge import Purge, Work
from imagelake.retention.receipts import Receipt
from imagelake.settings import load
from imagelake.stores import images_table, ingest_workflow
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.images_table import ImagesTable
from tests.application import as_caller, event, physical_name
from tests.integration.call_faults import Died
from tests.integration.conftest import (
    CALLER,
    DATABASE,
    IMAGES_TABLE,
    LAKE_BUCKET,
    RAW_BUCKET,
    TABLE,
    Context,
    client,
    dead_letters_sent,
)
from tests.integration.stand_ins import StartedErasures

AUDIT_BUCKET = physical_name("AuditBucket")
NOW = datetime.now(UTC)
DUE = ArrivalHour.of(NOW - timedelta(days=7, hours=3))
RECENT = ArrivalHour.of(NOW - timedelta(days=3))
WRITER = CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET))
CATALOG = CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET))


@pytest.fixture(autouse=True)
def _clients() -> None:
    ingest_workflow._step_functions.cache_clear()


def cataloged(hour: ArrivalHour, *, versions: int = 1, **changes: Any) -> ImageRecord:
    """An image as the corridor leaves it: file, derivative, item; not its row."""
    key = RawKey(hour, str(uuid.uuid4()))
    arrived = hour.start + timedelta(minutes=10)
    derivative = ImageVersion(key, "1").derived("thumb_256", "jpg")
    for _ in range(versions):
        client("s3").put_object(Bucket=RAW_BUCKET, Key=str(key), Body=b"image")
    client("s3").put_object(Bucket=LAKE_BUCKET, Key=derivative, Body=b"thumb")
    fields: dict[str, Any] = {
        "image_id": key.image_id,
        "status": "processed",
        "uploader": CALLER,
        "received_at": arrived,
        "expires_at": arrived + timedelta(days=7),
        "derivatives": [Derivative(key=derivative, name="thumb_256", width=1, height=1, content_type="image/jpeg")],
        "ingest_date": hour.ingest_date,
        "hour": hour.hour,
    }
    record = ImageRecord.model_validate(fields | changes)
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(record.to_item()))
    return record


def kept(bucket: str, prefix: str = "") -> list[str]:
    """Keys of all versions and delete markers."""
    listed = client("s3").list_object_versions(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for kind in ("Versions", "DeleteMarkers") for entry in listed.get(kind, ())]


def item(image_id: str) -> dict[str, Any] | None:
    """An item as DynamoDB has it."""
    found: dict[str, Any] | None = (
        client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": image_id}}).get("Item")
    )
    return found


def receipts(kind: str = "purges") -> list[dict[str, Any]]:
    """All receipts of a kind."""
    s3 = client("s3")
    listed = s3.list_objects_v2(Bucket=AUDIT_BUCKET, Prefix=f"receipts/{kind}/").get("Contents", [])
    return [json.loads(s3.get_object(Bucket=AUDIT_BUCKET, Key=entry["Key"])["Body"].read()) for entry in listed]


# Purge


@pytest.fixture
def run_purge(tell: Callable[[str], Context]) -> Callable[[], list[dict[str, Any]]]:
    """Purges as the workflow does."""

    def run() -> list[dict[str, Any]]:
        context = tell("enforce_retention")
        as_of = {"as_of": datetime.now(UTC).isoformat()}
        found = enforce_retention(dict(as_of), context)
        return [enforce_retention({**as_of, "work": work}, context) for work in found["work"]]

    return run


def test_answers_its_sample(tell: Callable[[str], Context]) -> None:
    answer = enforce_retention(event("enforce_retention"), tell("enforce_retention"))

    assert answer == {"work": [], "left": 0}


def test_purges_a_due_hour_everywhere_and_leaves_the_others(run_purge: Callable[[], list[dict[str, Any]]]) -> None:
    due, young = cataloged(DUE, versions=3), cataloged(RECENT)
    hidden = cataloged(DUE)
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=str(RawKey(DUE, hidden.image_id)))
    parquet.write([due, hidden], "old", WRITER)
    [file] = parquet.write([young], "new", WRITER)

    progress = run_purge()

    assert all(one["finished"] for one in progress)
    assert kept(RAW_BUCKET) == [str(RawKey(RECENT, young.image_id))]
    assert kept(LAKE_BUCKET) == [file, young.derivatives[0].key]
    assert item(due.image_id) is None
    assert item(young.image_id) is not None
    partitions = client("glue").get_partitions(DatabaseName=DATABASE, TableName=TABLE)["Partitions"]
    assert [one["Values"] for one in partitions] == [[RECENT.ingest_date, RECENT.hour]]


def test_a_receipt_says_how_much_and_nothing_personal(run_purge: Callable[[], list[dict[str, Any]]]) -> None:
    due = cataloged(DUE, versions=2, tags={"filename": "holiday.jpg"})

    run_purge()

    by_store = {receipt["store"]: receipt for receipt in receipts()}
    assert set(by_store) == {"raw", "derived", "items"}
    raw = by_store["raw"]
    assert (raw["objects"], raw["versions"], raw["delete_markers"], raw["bytes"]) == (1, 2, 0, 10)
    assert (raw["state"], raw["ingest_date"], raw["hour"]) == ("completed", DUE.ingest_date, DUE.hour)
    assert len(raw["keys_sha256"]) == 64
    assert by_store["items"]["oldest_age_hours"] > 7 * 24
    for receipt in receipts():
        assert not [word for word in (due.image_id, CALLER, "holiday") if word in json.dumps(receipt)]


def awaited(moment: datetime) -> AwaitedUpload:
    """An upload that was asked for at `moment`."""
    partition = ArrivalHour.of(moment)
    upload = AwaitedUpload(
        image_id=str(uuid.uuid4()),
        uploader=CALLER,
        received_at=moment,
        expires_at=moment + timedelta(days=1),
        content_type="image/jpeg",
        ingest_date=partition.ingest_date,
        hour=partition.hour,
    )
    ImagesTable(IMAGES_TABLE).expect_uploads([upload])
    return upload


def test_items_go_with_their_own_time_and_an_awaited_upload_after_a_day(
    run_purge: Callable[[], list[dict[str, Any]]],
) -> None:
    old, new = (awaited(NOW - timedelta(days=days)).image_id for days in (1.1, 0.9))

    run_purge()

    assert item(old) is None
    assert item(new) is not None
    [receipt] = receipts()
    assert (receipt["store"], receipt["objects"], receipt["oldest_age_hours"]) == ("awaited_uploads", 1, None)


def expired_items(count: int) -> list[str]:
    """Items whose time is up, of two hours; their image_ids."""
    hours = (DUE, ArrivalHour.of(DUE.start - timedelta(hours=1)))
    return [cataloged(hours[number % 2]).image_id for number in range(count)]


def test_items_that_cannot_be_deleted_are_left_when_the_workflow_looks_again(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    expired_items(2)
    context, asked = tell("enforce_retention"), {"as_of": NOW.isoformat()}
    with monkeypatch.context() as patch:
        patch.setattr(ImagesTable, "delete_expired", _refuse)
        for work in enforce_retention(asked, context)["work"]:
            with contextlib.suppress(Fault):
                enforce_retention(asked | {"work": work}, context)

        assert enforce_retention(asked, context)["left"] == 1

    enforce_retention(asked | {"work": {"store": "items"}}, context)
    assert enforce_retention(asked, context)["left"] == 0


def _refuse(*_: object) -> bool:
    raise Fault("AccessDeniedException on DeleteItem", "AccessDeniedException")


def test_expired_items_that_nobody_can_read_are_purged_with_their_neighbours_and_have_receipts(
    run_purge: Callable[[], list[dict[str, Any]]],
) -> None:
    malformed: list[dict[str, Any]] = [
        *({"hour": "9"}, {"hour": None}, {"hour": 9}, {"ingest_date": None}, {"ingest_date": "2026-13-45"}),
        *({"received_at": "yesterday"}, {"received_at": None}, {"received_at": "2026-11-01"}, {"status": None}),
        *({"expires_at": 0, "hour": None}, {"expires_at": -62_135_596_800, "hour": "9"}, {"expires_at": -(10**30)}),
    ]
    ids = expired_items(len(malformed))
    table = images_table._resource(IMAGES_TABLE)
    for image_id, attributes in zip(ids, malformed, strict=True):
        changed: dict[str, Any] = table.get_item(Key={"image_id": image_id})["Item"] | attributes
        table.put_item(Item={name: value for name, value in changed.items() if value is not None})

    run_purge()

    assert [image_id for image_id in ids if item(image_id)] == []
    assert sum(receipt["objects"] for receipt in receipts() if receipt["store"] == "items") == len(ids)


@pytest.mark.parametrize("error", [Fault("ThrottlingException on Query"), Died()])
def test_items_that_went_before_a_run_ended_early_have_their_receipt(
    error: BaseException, tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, real = expired_items(6), ImagesTable.expired

    def failing(table: ImagesTable, now: datetime) -> Iterator[Any]:
        yield from islice(real(table, now), 5)
        raise error

    tell("enforce_retention")
    monkeypatch.setattr(ImagesTable, "expired", failing)
    monkeypatch.setattr(purging, "SLICE_ITEMS", 2)
    if isinstance(error, Died):  # it says what is gone from time to time
        monkeypatch.setattr(purging, "NOTE_SECONDS", -1.0)

    with pytest.raises(type(error)):
        load(Purge).run(Work(store="items"), NOW, 60)

    assert sum(item(image_id) is None for image_id in ids) == 4
    assert sum(receipt["objects"] for receipt in receipts()) == 4


def test_items_are_in_one_receipt_when_that_of_their_neighbours_fails(
    tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, real, written = expired_items(4), Receipt.end, iter((True, False))

    def failing(receipt: Receipt, *args: Any) -> None:
        if not next(written, True):
            raise Fault("SlowDown on PutObject")
        real(receipt, *args)

    tell("enforce_retention")
    monkeypatch.setattr(Receipt, "end", failing)
    monkeypatch.setattr(purging, "NOTE_SECONDS", -1.0)

    with pytest.raises(Fault, match="SlowDown"):
        load(Purge).run(Work(store="items"), NOW, 60)

    assert [image_id for image_id in ids if item(image_id)] == []
    assert sorted(receipt["objects"] for receipt in receipts()) == [2, 2]


def test_an_hour_that_is_not_due_is_not_purged_whoever_asks(tell: Callable[[str], Context]) -> None:
    record = cataloged(RECENT)
    work = {"store": "raw", "hour": RECENT.path}
    tomorrow_in_a_year = (NOW + timedelta(days=366)).isoformat()

    with pytest.raises(InvalidKeyError, match="not due"):
        enforce_retention({"as_of": tomorrow_in_a_year, "work": work}, tell("enforce_retention"))

    assert kept(RAW_BUCKET) == [str(RawKey(RECENT, record.image_id))]


def test_a_purge_out_of_time_goes_on_where_it_stopped(tell: Callable[[str], Context]) -> None:
    tell("enforce_retention")
    settings = load(Purge)
    cataloged(DUE)
    work = Work(store="raw", hour=DUE.path)

    assert settings.run(work, NOW, 0).finished is False
    assert {receipt["state"] for receipt in receipts()} == {"to be continued"}
    assert settings.run(work, NOW, 60).finished is True

    assert kept(RAW_BUCKET) == []


def test_a_second_run_finds_nothing(run_purge: Callable[[], list[dict[str, Any]]]) -> None:
    cataloged(DUE)
    run_purge()

    assert run_purge() == []


def test_a_partition_whose_files_the_backstop_took_is_dropped(run_purge: Callable[[], list[dict[str, Any]]]) -> None:
    CATALOG.register([DUE])

    run_purge()

    assert client("glue").get_partitions(DatabaseName=DATABASE, TableName=TABLE)["Partitions"] == []


def test_forgotten_multipart_uploads_are_aborted(tell: Callable[[str], Context]) -> None:
    tell("enforce_retention")
    client("s3").create_multipart_upload(Bucket=RAW_BUCKET, Key="raw/part")
    work, settings = Work(store="uploads"), load(Purge)

    begun = datetime(2010, 11, 10, 20, 48, 33, tzinfo=UTC)  # what moto says of any upload

    assert settings.run(work, begun + timedelta(hours=23), 60).deleted == 0
    assert settings.run(work, begun + timedelta(hours=25), 60).deleted == 1


def test_work_is_found_without_listing_what_is_stored(tell: Callable[[str], Context]) -> None:
    tell("enforce_retention")
    for hours in range(40):
        cataloged(ArrivalHour.of(NOW - timedelta(hours=hours)))

    assert [work.store for work in load(Purge).find_work(NOW)] == []


# Erasure


def request(image_id: str, subject: str = CALLER, *groups: str) -> dict[str, Any]:
    """A DELETE as API Gateway passes it on."""
    sample = event("erase_image")
    sample["path"] = f"/images/{image_id}"
    return as_caller(sample, subject, *(groups or ("uploaders",)))


def rows(hour: ArrivalHour, folder: Path) -> list[str]:
    """The image_ids in the files of an hour."""
    found = []
    for key in kept(LAKE_BUCKET, catalog_prefix(hour)):
        file = folder / uuid.uuid4().hex
        file.write_bytes(client("s3").get_object(Bucket=LAKE_BUCKET, Key=key)["Body"].read())
        with duckdb.connect() as database:
            found += [row[0] for row in database.read_parquet(str(file)).select("image_id").fetchall()]
    return sorted(found)


def on_the_stream(*items: dict[str, Any]) -> dict[str, Any]:
    """A batch of the stream, after the sample."""
    sample = event("write_catalog")
    [template] = sample["Records"]
    records = []
    for number, entry in enumerate(items):
        image = images_table.serialize(entry)
        change = {"Keys": {"image_id": image["image_id"]}, "NewImage": image, "SequenceNumber": f"{number + 1:09d}"}
        records.append(template | {"dynamodb": template["dynamodb"] | change})
    return {"Records": records}


def test_erases_an_image_everywhere_and_its_neighbour_nowhere(tell: Callable[[str], Context], tmp_path: Path) -> None:
    gone, stays = cataloged(RECENT, versions=2), cataloged(RECENT)
    parquet.write([gone, stays], "batch", WRITER)

    answer = erase_image(request(gone.image_id), tell("erase_image"))

    assert answer["statusCode"] == 204
    assert kept(RAW_BUCKET) == [str(RawKey(RECENT, stays.image_id))]
    assert kept(LAKE_BUCKET, "derived/") == [stays.derivatives[0].key]
    assert rows(RECENT, tmp_path) == [stays.image_id]
    tombstone = item(gone.image_id)
    assert tombstone is not None
    assert "uploader" not in tombstone
    [receipt] = receipts("erasures")
    assert (receipt["versions"], receipt["derivatives"], receipt["records"], receipt["rows"]) == (2, 1, 0, 1)
    assert (receipt["state"], receipt["asked_by"], receipt["reason"]) == ("completed", CALLER, "unspecified")


def test_erasing_again_is_fine_and_leaves_one_receipt(tell: Callable[[str], Context]) -> None:
    gone = cataloged(RECENT)

    answers = [erase_image(request(gone.image_id), tell("erase_image"))["statusCode"] for _ in range(3)]

    assert answers == [204, 204, 204]
    assert len(receipts("erasures")) == 1


@pytest.mark.parametrize(
    ("groups", "status"),
    [
        ([], 404),
        (["readers", "uploaders"], 404),
        (["operators"], 204),
        (["a", "operators"], 204),
        (["x,operators"], 403),
    ],
)
def test_only_owner_and_operators_erase(groups: list[str], status: int, tell: Callable[[str], Context]) -> None:
    record = cataloged(RECENT)

    answer = erase_image(request(record.image_id, "somebody-else", *groups), tell("erase_image"))

    assert answer["statusCode"] == status
    assert bool(kept(RAW_BUCKET)) == (status != 204)


def test_a_stranger_cannot_tell_an_erased_image_from_none(tell: Callable[[str], Context]) -> None:
    record = cataloged(RECENT)
    erase_image(request(record.image_id), tell("erase_image"))

    assert erase_image(request(record.image_id, "somebody-else"), tell("erase_image"))["statusCode"] == 404
    assert ImagesTable(IMAGES_TABLE).get(record.image_id) is None


def test_an_operator_erases_every_copy_of_an_image_from_kafka(tell: Callable[[str], Context]) -> None:
    record = cataloged(RECENT, uploader=None)
    later = RawKey(ArrivalHour.of(NOW - timedelta(hours=5)), record.image_id)
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(later), Body=b"again")

    erase_image(request(record.image_id, CALLER, "operators"), tell("erase_image"))

    assert kept(RAW_BUCKET) == []


def test_an_erased_image_that_came_back_is_erased_where_its_tombstone_is_moved(tell: Callable[[str], Context]) -> None:
    record = cataloged(RECENT)
    context = tell("erase_image")
    erase_image(request(record.image_id), context)
    elsewhere = ArrivalHour.of(NOW)
    back = RawKey(elsewhere, record.image_id)
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(back), Body=b"image")
    client("s3").put_object(Bucket=LAKE_BUCKET, Key=ImageVersion(back, "1").derived("thumb_256", "jpg"), Body=b"thumb")
    tombstone = ImagesTable(IMAGES_TABLE).get_even_erased(record.image_id)
    assert tombstone is not None
    moved = tombstone | {"ingest_date": elsewhere.ingest_date, "hour": elsewhere.hour, "returned_at": NOW.isoformat()}
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(moved))

    assert erase_image({"image_id": record.image_id}, context) == {"image_id": record.image_id, "erased": True}

    assert kept(RAW_BUCKET) == []
    assert kept(LAKE_BUCKET, "derived/") == []
    assert len(receipts("erasures")) == 2


def test_a_row_written_after_the_erasure_goes_when_the_stream_brings_the_tombstone(
    tell: Callable[[str], Context], tmp_path: Path, erasures: StartedErasures
) -> None:
    late, stays = cataloged(RECENT), cataloged(RECENT)
    erase_image(request(late.image_id), tell("erase_image"))
    context = tell("write_catalog")
    write_catalog(on_the_stream(late.to_item(), stays.to_item()), context)
    assert late.image_id in rows(RECENT, tmp_path)
    tombstone = ImagesTable(IMAGES_TABLE).get_even_erased(late.image_id)
    assert tombstone is not None

    write_catalog(on_the_stream(tombstone), context)
    [image_id] = erasures.take()
    erase_image({"image_id": image_id}, tell("erase_image"))

    assert rows(RECENT, tmp_path) == [stays.image_id]
    assert sorted(receipt["rows"] for receipt in receipts("erasures")) == [0, 1]


def test_a_row_and_its_tombstone_in_one_batch_give_no_row(tell: Callable[[str], Context], tmp_path: Path) -> None:
    record, stays = cataloged(RECENT), cataloged(RECENT)
    tombstone = Tombstone(
        image_id=record.image_id,
        erased_at=NOW,
        expires_at=NOW + timedelta(days=7),
        ingest_date=RECENT.ingest_date,
        hour=RECENT.hour,
    )

    write_catalog(on_the_stream(record.to_item(), stays.to_item(), tombstone.to_item()), tell("write_catalog"))

    assert rows(RECENT, tmp_path) == [stays.image_id]


def test_a_row_whose_time_is_up_is_not_written(tell: Callable[[str], Context]) -> None:
    write_catalog(on_the_stream(cataloged(DUE).to_item()), tell("write_catalog"))

    assert kept(LAKE_BUCKET, "catalog/") == []


def test_two_erasures_in_one_file_do_not_bring_each_other_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, stays = cataloged(RECENT), cataloged(RECENT), cataloged(RECENT)
    parquet.write([first, second, stays], "batch", WRITER)
    without_rows, interrupted = parquet.without_rows, list[bool]()

    def slow(content: bytes, image_ids: Any) -> tuple[bytes, int]:
        if not interrupted:
            interrupted.append(True)
            parquet.erase(Bucket(LAKE_BUCKET), RECENT, {second.image_id})
        return without_rows(content, image_ids)

    monkeypatch.setattr(parquet, "without_rows", slow)
    parquet.erase(Bucket(LAKE_BUCKET), RECENT, {first.image_id})

    assert rows(RECENT, tmp_path) == [stays.image_id]


def test_an_erasure_does_not_bring_back_a_purged_file(monkeypatch: pytest.MonkeyPatch) -> None:
    record = cataloged(RECENT)
    [key] = parquet.write([record], "batch", WRITER)
    without_rows = parquet.without_rows

    def slow(content: bytes, image_ids: Any) -> tuple[bytes, int]:
        client("s3").delete_object(Bucket=LAKE_BUCKET, Key=key)
        return without_rows(content, image_ids)

    monkeypatch.setattr(parquet, "without_rows", slow)

    assert parquet.erase(Bucket(LAKE_BUCKET), RECENT, {record.image_id}) == 0
    assert kept(LAKE_BUCKET, "catalog/") == []


# Reconciliation


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that the workflow was started with."""
    keys: list[str] = []

    class StepFunctions:
        def start_execution(self, stateMachineArn: str, input: str) -> None:  # noqa: A002, ARG002, N803
            keys.append(json.loads(input)["detail"]["object"]["key"])

    monkeypatch.setattr(ingest_workflow, "_step_functions", StepFunctions)
    return keys


def stored(key: RawKey, minutes_ago: float) -> None:
    """A raw object, stored a while ago."""
    client("s3").put_object(Bucket=RAW_BUCKET, Key=str(key), Body=b"image")
    (in_moto,) = (account["aws"] for account in s3_backends.values() if RAW_BUCKET in account["aws"].buckets)
    in_moto.buckets[RAW_BUCKET].keys[str(key)].last_modified = (
        datetime.now(UTC) - timedelta(minutes=minutes_ago)
    ).replace(tzinfo=None)


def test_starts_lost_images_again_three_times_then_reports_them(
    tell: Callable[[str], Context], started: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = RawKey(ArrivalHour.of(NOW - timedelta(minutes=20)), str(uuid.uuid4()))
    stored(lost, minutes_ago=20)
    monkeypatch.setattr(images_table, "ATTEMPT_SECONDS", 0)

    answers = [reconcile(event("reconcile"), tell("reconcile")) for _ in range(5)]

    assert [answer["restarted"] for answer in answers] == [1, 1, 1, 0, 0]
    assert [answer["given_up"] for answer in answers] == [0, 0, 0, 1, 0]
    assert started == [str(lost)] * 3
    [letter] = dead_letters_sent()
    assert (letter["image_id"], letter["code"], letter["attempts"]) == (lost.image_id, "lost", 3)
    assert letter["first_at"] < letter["last_at"]
    failed = item(lost.image_id)
    assert failed is not None
    assert failed["status"] == {"S": "failed"}


def test_leaves_alone_what_is_young_done_or_just_started(tell: Callable[[str], Context], started: list[str]) -> None:
    hour = ArrivalHour.of(NOW - timedelta(minutes=30))
    stored(RawKey(ArrivalHour.of(NOW), str(uuid.uuid4())), minutes_ago=5)
    done = cataloged(hour)
    stored(RawKey(hour, done.image_id), minutes_ago=30)
    lost = RawKey(hour, str(uuid.uuid4()))
    stored(lost, minutes_ago=30)

    answers = [reconcile(event("reconcile"), tell("reconcile")) for _ in range(2)]

    assert [answer["restarted"] for answer in answers] == [1, 0]
    assert started == [str(lost)]


def test_starts_an_upload_that_came_without_its_event(tell: Callable[[str], Context], started: list[str]) -> None:
    upload = awaited(NOW - timedelta(minutes=30))
    stored(RawKey.parse(upload.raw_key), minutes_ago=30)

    reconcile(event("reconcile"), tell("reconcile"))

    assert started == [upload.raw_key]
    noted = item(upload.image_id)
    assert noted is not None
    assert noted["uploader"] == {"S": CALLER}


def test_an_erased_image_that_came_back_goes_through_the_workflow(
    tell: Callable[[str], Context], started: list[str]
) -> None:
    record = cataloged(ArrivalHour.of(NOW - timedelta(minutes=30)))
    erase_image(request(record.image_id), tell("erase_image"))
    back = RawKey(ArrivalHour(record.ingest_date, record.hour), record.image_id)
    stored(back, minutes_ago=30)

    reconcile(event("reconcile"), tell("reconcile"))

    assert started == [str(back)]
