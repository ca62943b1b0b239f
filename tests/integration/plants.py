"""Violations of retention, planted by hand, each with what the audit has to find, and nothing else.

The register in docs/retention.md names them row by row.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.dynamodb.models import dynamodb_backends
from moto.s3.models import s3_backends

from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour, ImageVersion, RawKey, catalog_prefix, compaction_prefix
from imagelake.model import AwaitedUpload, ImageRecord, Tombstone
from imagelake.stores import images_table
from imagelake.stores.buckets import Bucket
from imagelake.stores.catalog_table import CatalogTable
from imagelake.stores.images_table import ImagesTable
from tests.application import ACCOUNT, REGION, STACK, physical_name, resolve
from tests.integration.conftest import (
    CALLER,
    DATABASE,
    IMAGES_TABLE,
    LAKE_BUCKET,
    QUEUE_URL,
    RAW_BUCKET,
    REJECTIONS_URL,
    TABLE,
    client,
)
from tests.integration.test_retention import cataloged

type Plant = Callable[[], None]
type Found = tuple[str, str, str]
"""Kind, place and matter of a finding."""

AUDIT_BUCKET, FAILED_RECORDS_BUCKET = physical_name("AuditBucket"), physical_name("FailedRecordsBucket")
CHART_RESULTS_BUCKET = physical_name("QuickSightResultsBucket")
NOW = datetime.now(UTC)
DUE, RECENT = (ArrivalHour.of(NOW - age) for age in (timedelta(days=7, hours=3), timedelta(days=3)))
FUTURE = ArrivalHour("2031-01-01", "00")
CATALOG = CatalogTable(DATABASE, TABLE, Bucket(LAKE_BUCKET))
OUTSIDE = "an object outside the layout"
ROW_LOST: tuple[Found, ...] = (
    ("early", "catalog", "an image without a row"),
    ("incomplete", "catalog", "an hour with fewer rows than images"),
)


@dataclass(frozen=True)
class Violation:
    """A plant, and all that an audit finds then."""

    plant: Plant
    found: frozenset[Found]


VIOLATIONS: dict[str, Violation] = {}
"""By the name of the function that plants it."""


def found(*findings: Found) -> Callable[[Plant], Plant]:
    """Says what an audit finds after the decorated function."""

    def register(plant: Plant) -> Plant:
        VIOLATIONS[plant.__name__] = Violation(plant, frozenset(findings))
        return plant

    return register


def lake_as_promised() -> list[ImageRecord]:
    """Images of an hour as the corridor leaves them, rows included."""
    records = [cataloged(RECENT, versions=2), cataloged(RECENT), cataloged(RECENT)]
    parquet.write(records, "batch", CATALOG)
    return records


def file_of_the_batch() -> str:
    """The key of the file with those rows."""
    listed = client("s3").list_objects_v2(Bucket=LAKE_BUCKET, Prefix=f"{catalog_prefix(RECENT)}batch.")
    return str(listed["Contents"][0]["Key"])


def one_more() -> ImageRecord:
    """An image of its own hour, with its row."""
    record = cataloged(ArrivalHour.of(NOW - timedelta(days=2)))
    parquet.write([record], "one-more", CATALOG)
    return record


def put(bucket: str, key: str, body: bytes = b"anything", age: timedelta = timedelta(0)) -> None:
    """An object, stored a while ago."""
    client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    (stores,) = (account["aws"] for account in s3_backends.values() if bucket in account["aws"].buckets)
    stores.buckets[bucket].keys[key].last_modified = (NOW - age).replace(tzinfo=None)


def remove(bucket: str, key: str) -> None:
    """Delete all versions of an object, and its markers, for good."""
    listed = client("s3").list_object_versions(Bucket=bucket, Prefix=key)
    for entry in [*listed.get("Versions", []), *listed.get("DeleteMarkers", [])]:
        client("s3").delete_object(Bucket=bucket, Key=key, VersionId=entry["VersionId"])


def raw_key(hour: ArrivalHour, image_id: str | None = None) -> str:
    """The key of an image, or of one of those that nobody knows of."""
    return str(RawKey(hour, image_id or str(uuid.uuid4())))


def derivative_key(hour: ArrivalHour) -> str:
    """The key of a derivative of an image that nobody knows of."""
    return ImageVersion(RawKey(hour, str(uuid.uuid4())), "1").derived("thumb_256", "jpg")


def change(image_id: str, **attributes: Any) -> None:
    """Set attributes of an item, in DynamoDB's own terms; None removes one."""
    item = client("dynamodb").get_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": image_id}})["Item"]
    changed = {name: value for name, value in (item | attributes).items() if value is not None}
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=changed)


def tombstone_of(record: ImageRecord, erased: datetime, expires: datetime | None = None) -> None:
    """Put a tombstone in the place of an image."""
    ImagesTable(IMAGES_TABLE).bury(
        Tombstone(
            image_id=record.image_id,
            erased_at=erased,
            expires_at=expires or erased + timedelta(days=7),
            ingest_date=record.ingest_date,
            hour=record.hour,
        )
    )


def receipt(**said: Any) -> str:
    """A receipt of the purge; its key."""
    hour = said.pop("hour", DUE)
    body = {"store": "derived", "state": "completed", "objects": 5, "keys_sha256": uuid.uuid4().hex}
    body |= {"ingest_date": hour.ingest_date, "hour": hour.hour}
    key = f"receipts/purges/{hour.path}/derived-{said.pop('run', '0001')}.json"
    put(AUDIT_BUCKET, key, json.dumps(body | {"purged_at": NOW.isoformat()} | said).encode())
    return key


def on_time() -> datetime:
    """When the due hour had to be purged."""
    return DUE.start + timedelta(days=7, minutes=85)


# Raw bucket


@found(("overdue", "raw", "an object"))
def an_overdue_image() -> None:
    put(RAW_BUCKET, raw_key(DUE))


@found(("overdue", "raw", "an object"), ("overdue", "raw", "a noncurrent version"))
def an_overdue_noncurrent_version() -> None:
    key = raw_key(DUE)
    put(RAW_BUCKET, key)
    put(RAW_BUCKET, key)


@found(("overdue", "raw", "a delete marker"))
def an_overdue_delete_marker() -> None:
    key = raw_key(DUE)
    put(RAW_BUCKET, key)
    [version] = client("s3").list_object_versions(Bucket=RAW_BUCKET, Prefix=key)["Versions"]
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=key)
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=key, VersionId=version["VersionId"])


@found(("overdue", RAW_BUCKET, "an unfinished multipart upload"))
def an_unfinished_upload_of_an_image() -> None:
    client("s3").create_multipart_upload(Bucket=RAW_BUCKET, Key="raw/part")  # in moto, all began in 2010


@found(("misplaced", "raw", "an object dated in the future"))
def an_image_dated_in_the_future() -> None:
    put(RAW_BUCKET, raw_key(FUTURE))


@found(("misplaced", "raw", "an object dated in the future"), ("overdue", "raw", "an object"))
def an_old_image_dated_in_the_future() -> None:
    put(RAW_BUCKET, raw_key(FUTURE), age=timedelta(days=8))


@found(("misplaced", RAW_BUCKET, OUTSIDE))
def images_of_no_hour() -> None:
    for hour in ("ingest_date=2026-13-45/hour=09", "ingest_date=2026-11-20/hour=9", "ingest_date=2026-02-30/hour=24"):
        put(RAW_BUCKET, f"raw/{hour}/{uuid.uuid4()}")
    put(RAW_BUCKET, "raw/../secret")


@found(("early", "raw", "an image without its file"))
def an_image_deleted_early() -> None:
    remove(RAW_BUCKET, str(raw_key_of(one_more())))


@found(("early", "raw", "an image without its file"), ("early", "raw", "an object hidden by a delete marker"))
def an_image_hidden_early() -> None:
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=str(raw_key_of(one_more())))


@found(("incomplete", "items", "an image without an outcome"))
def an_upload_without_an_outcome_for_five_hours() -> None:
    arrived = NOW - timedelta(hours=5)
    hour = ArrivalHour.of(arrived)
    upload = AwaitedUpload(
        image_id=str(uuid.uuid4()),
        uploader=CALLER,
        received_at=arrived,
        expires_at=arrived + timedelta(days=1),
        content_type="image/jpeg",
        ingest_date=hour.ingest_date,
        hour=hour.hour,
    )
    ImagesTable(IMAGES_TABLE).expect_uploads([upload])
    put(RAW_BUCKET, upload.raw_key, age=timedelta(hours=5))


@found(("early", "items", "an image without an item"))
def an_image_that_nobody_knows_of() -> None:
    put(RAW_BUCKET, raw_key(RECENT))


# Lake bucket


@found(("overdue", "derived", "an object"))
def an_overdue_derivative() -> None:
    put(LAKE_BUCKET, derivative_key(DUE))


@found(("overdue", "derived", "an object"))
def an_overdue_derivative_with_a_version() -> None:
    put(LAKE_BUCKET, f"derived/{DUE.path}/{uuid.uuid4()}/4f2a/thumb_256.jpg")
    put(LAKE_BUCKET, f"derived/{DUE.path}/{uuid.uuid4()}/4f2a/result.json")
    put(LAKE_BUCKET, f"derived/{DUE.path}/{uuid.uuid4()}/rehearsal/picture")


@found(("misplaced", "derived", "a derivative of no image"))
def an_orphan_derivative() -> None:
    put(LAKE_BUCKET, derivative_key(RECENT))


@found(("misplaced", "derived", "an object dated in the future"))
def a_derivative_dated_in_the_future() -> None:
    put(LAKE_BUCKET, derivative_key(FUTURE))


@found(("early", "derived", "an image without its derivatives"))
def a_derivative_deleted_early() -> None:
    remove(LAKE_BUCKET, one_more().derivatives[0].key)


@found(("early", "derived", "an image without its derivatives"))
def one_of_two_derivatives_deleted_early() -> None:
    record = one_more()
    [left] = record.derivatives
    both = [left, left.model_copy(update={"name": "thumb_1024"})]
    item = record.model_copy(update={"derivatives": both}).to_item()
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(item))


@found(("misplaced", LAKE_BUCKET, OUTSIDE))
def an_object_outside_the_layout() -> None:
    put(LAKE_BUCKET, "tmp/export.csv")
    put(LAKE_BUCKET, "catalog/ingest_date=2026-13-45/hour=09/batch.parquet")
    put(LAKE_BUCKET, "catalog/batch.parquet")


@found(("misplaced", LAKE_BUCKET, OUTSIDE), ("overdue", LAKE_BUCKET, OUTSIDE))
def an_old_object_outside_the_layout() -> None:
    put(LAKE_BUCKET, "tmp/export.csv", age=timedelta(days=8))


@found(("overdue", LAKE_BUCKET, "an unfinished multipart upload"))
def an_unfinished_upload_of_a_derivative() -> None:
    client("s3").create_multipart_upload(Bucket=LAKE_BUCKET, Key="derived/part")


@found(("overdue", "catalog", "an object"), ("overdue", "partitions", "a partition"))
def overdue_rows() -> None:
    record = cataloged(DUE)
    parquet.write([record], "old", CATALOG)
    remove(RAW_BUCKET, str(raw_key_of(record)))
    remove(LAKE_BUCKET, record.derivatives[0].key)
    client("dynamodb").delete_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": record.image_id}})


@found(("misplaced", "catalog", "an object dated in the future"))
def a_catalog_file_dated_in_the_future() -> None:
    put(LAKE_BUCKET, f"{catalog_prefix(FUTURE)}batch.parquet")


@found(("misplaced", "catalog", "a file that cannot be read"))
def a_catalog_file_that_is_no_parquet() -> None:
    put(LAKE_BUCKET, f"{catalog_prefix(RECENT)}other.parquet", b"PAR1 not quite")


@found(*ROW_LOST)
def rows_deleted_early() -> None:
    cataloged(ArrivalHour.of(NOW - timedelta(days=2)))


@found(*ROW_LOST)
def a_row_lost_among_others() -> None:
    cataloged(RECENT)  # its hour has a file with the rows of three others


@found(*ROW_LOST)
def a_row_lost_where_another_is_twice() -> None:
    cataloged(RECENT)
    client("s3").copy_object(
        Bucket=LAKE_BUCKET,
        Key=f"{catalog_prefix(RECENT)}again.parquet",
        CopySource={"Bucket": LAKE_BUCKET, "Key": file_of_the_batch()},
    )


@found(*ROW_LOST)
def a_row_lost_after_a_redrive() -> None:
    record = cataloged(RECENT)
    failed = record.model_copy(update={"status": "failed", "reason": "fault: ThrottlingException on GetObject"})
    parquet.write([failed], "before", CATALOG)


@found(*ROW_LOST)
def rows_that_no_query_finds() -> None:
    CATALOG.move(RECENT, f"{compaction_prefix(RECENT)}gone/", NOW)


@found(("misplaced", "catalog", "a row of no image"))
def a_row_of_no_image() -> None:
    record = one_more()
    for bucket, key in ((RAW_BUCKET, str(raw_key_of(record))), (LAKE_BUCKET, record.derivatives[0].key)):
        remove(bucket, key)
    client("dynamodb").delete_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": record.image_id}})


@found(("overdue", "compaction", "an object"), ("incomplete", "catalog", "data without a partition"))
def an_overdue_copy_of_compaction() -> None:
    put(LAKE_BUCKET, f"{compaction_prefix(DUE)}copy/batch.parquet")


@found(("incomplete", "compaction", "a copy that compaction has left behind"))
def a_forsaken_copy_of_compaction() -> None:
    put(LAKE_BUCKET, f"{compaction_prefix(RECENT)}copy/batch.parquet", age=timedelta(days=2))


# Partitions


@found(("overdue", "partitions", "a partition"), ("incomplete", "partitions", "a partition without data"))
def an_overdue_partition() -> None:
    CATALOG.register([DUE])


@found(
    ("misplaced", "partitions", "a partition dated in the future"),
    ("incomplete", "partitions", "a partition without data"),
)
def a_partition_dated_in_the_future() -> None:
    CATALOG.register([FUTURE])


@found(("misplaced", "partitions", "a partition that is no hour"))
def partitions_of_no_hour() -> None:
    for values in (["2026-13-45", "09"], ["2026-11-20", "9"], ["2026-11-20", "noon"]):
        make_partition(values, f"s3://{LAKE_BUCKET}/catalog/")


@found(
    ("misplaced", "partitions", "a partition whose files are elsewhere"),
    ("incomplete", "catalog", "data without a partition"),
)
def a_partition_whose_files_are_elsewhere() -> None:
    hour = one_more()
    values = [hour.ingest_date, hour.hour]
    client("glue").delete_partition(DatabaseName=DATABASE, TableName=TABLE, PartitionValues=values)
    make_partition(values, "s3://somewhere-else/catalog/")


@found(("incomplete", "partitions", "a partition without data"))
def a_partition_without_data() -> None:
    CATALOG.register([ArrivalHour.of(NOW - timedelta(days=2))])


@found(("incomplete", "catalog", "data without a partition"))
def data_without_a_partition() -> None:
    hour = one_more()
    client("glue").delete_partition(
        DatabaseName=DATABASE, TableName=TABLE, PartitionValues=[hour.ingest_date, hour.hour]
    )


def make_partition(values: list[str], location: str) -> None:
    """A partition made by hand."""
    partition = {"Values": values, "StorageDescriptor": {"Location": location}}
    client("glue").create_partition(DatabaseName=DATABASE, TableName=TABLE, PartitionInput=partition)


# Images table


@found(("overdue", "items", "an item (processed)"))
def an_expired_item() -> None:
    record = cataloged(DUE)
    remove(RAW_BUCKET, str(raw_key_of(record)))
    remove(LAKE_BUCKET, record.derivatives[0].key)


@found(("overdue", "items", "an item (awaiting_upload)"))
def an_expired_upload() -> None:
    asked = NOW - timedelta(days=1, hours=3)
    hour = ArrivalHour.of(asked)
    upload = AwaitedUpload(
        image_id=str(uuid.uuid4()),
        uploader=CALLER,
        received_at=asked,
        expires_at=asked + timedelta(days=1),
        content_type="image/jpeg",
        ingest_date=hour.ingest_date,
        hour=hour.hour,
    )
    ImagesTable(IMAGES_TABLE).expect_uploads([upload])


@found(("overdue", "items", "an item (erased)"))
def an_expired_tombstone() -> None:
    record = cataloged(DUE)
    remove(RAW_BUCKET, str(raw_key_of(record)))
    remove(LAKE_BUCKET, record.derivatives[0].key)
    tombstone_of(record, NOW - timedelta(days=7, hours=3))


@found(("misplaced", "items", "an item that never expires"))
def an_item_that_never_expires() -> None:
    change(one_more().image_id, expires_at=None, expiry_shard=None)


@found(("misplaced", "items", "an item that expires too late"))
def an_item_that_expires_too_late() -> None:
    change(one_more().image_id, expires_at={"N": str(int((NOW + timedelta(days=70)).timestamp()))})


@found(("misplaced", "items", "an item that expires too late"))
def an_item_that_outlives_its_image() -> None:
    change(one_more().image_id, expires_at={"N": str(int((NOW + timedelta(days=7)).timestamp()))})


@found(("misplaced", "items", "an item that never expires"))
def an_item_that_no_purge_asks_for() -> None:
    change(one_more().image_id, expiry_shard={"S": "g"})


@found(("incomplete", "items", "an outcome that nobody was told of"))
def an_outcome_unreported_for_four_hours() -> None:
    change(one_more().image_id, unsettled_since={"S": (NOW - timedelta(hours=4)).isoformat()})


@found(("misplaced", "items", "an item that is malformed"))
def malformed_items() -> None:
    malformed: list[dict[str, Any]] = [
        {"hour": {"S": "9"}},
        {"ingest_date": None},
        {"hour": None},
        {"ingest_date": {"S": "2026-13-45"}},
        {"hour": {"N": "9"}},
        {"received_at": {"S": "yesterday"}},
        {"received_at": None},
        {"status": None},
    ]
    for attributes in malformed:
        record = cataloged(RECENT)
        parquet.write([record], record.image_id, CATALOG)
        change(record.image_id, **attributes)


@found(("misplaced", "items", "an item dated in the future"))
def an_item_dated_in_the_future() -> None:
    image_id = str(uuid.uuid4())
    item = {
        "image_id": image_id,
        "status": "awaiting_upload",
        "received_at": NOW.isoformat(),
        "expires_at": int(NOW.timestamp()) + 3600,
        "expiry_shard": "0",
        "ingest_date": FUTURE.ingest_date,
        "hour": FUTURE.hour,
    }
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=images_table.serialize(item))


@found(("early", "items", "an image without an item"))
def an_item_deleted_early() -> None:
    client("dynamodb").delete_item(TableName=IMAGES_TABLE, Key={"image_id": {"S": one_more().image_id}})


@found(
    ("overdue", "raw", "an image that was erased on request"),
    ("overdue", "derived", "an image that was erased on request"),
    ("overdue", "catalog", "an image that was erased on request"),
)
def an_erased_image_that_is_still_there() -> None:
    tombstone_of(one_more(), NOW - timedelta(hours=3))


def raw_key_of(record: ImageRecord) -> RawKey:
    """Where the file of an image is."""
    return RawKey(ArrivalHour(record.ingest_date, record.hour), record.image_id)


# Buckets without hours


@found(("overdue", FAILED_RECORDS_BUCKET, "an object"))
def a_failed_record_of_nine_days() -> None:
    put(FAILED_RECORDS_BUCKET, "rejected/images/0/16", age=timedelta(days=9))
    put(FAILED_RECORDS_BUCKET, "rejected/images/0/17", age=timedelta(days=5))


@found(("overdue", CHART_RESULTS_BUCKET, "an object"))
def results_of_charts_of_four_days() -> None:
    put(CHART_RESULTS_BUCKET, "query.csv", age=timedelta(days=4))
    put(CHART_RESULTS_BUCKET, "other.csv", age=timedelta(days=2))


# Evidence


@found(("early", "derived", "deleted before its days were over"))
def a_purge_that_was_early() -> None:
    receipt(hour=RECENT, purged_at=(RECENT.start + timedelta(days=2)).isoformat())


@found(("late", "derived", "deleted later than promised"))
def a_purge_that_was_late() -> None:
    receipt(purged_at=(DUE.start + timedelta(days=7, hours=2, minutes=30)).isoformat())


@found(("incomplete", "derived", "a run of the purge that was interrupted"))
def a_purge_that_was_interrupted() -> None:
    receipt(state="started", purged_at=(NOW - timedelta(hours=3)).isoformat())


@found(("incomplete", "derived", "two receipts have the same digest"))
def two_receipts_of_the_same_deletions() -> None:
    for run in ("0001", "0002"):
        receipt(run=run, purged_at=on_time().isoformat(), keys_sha256="0" * 64)


@found(("incomplete", "derived", "deletions that may be in no count"))
def a_purge_that_does_not_know_what_it_deleted() -> None:
    receipt(state="failed", purged_at=on_time().isoformat(), objects=0, uncertain=1000)


@found(("altered", "evidence", "a receipt or report that was overwritten"))
def a_receipt_that_was_overwritten() -> None:
    for objects in (5, 1):
        receipt(purged_at=on_time().isoformat(), objects=objects)


@found(("altered", "evidence", "a receipt or report hidden by a delete marker"))
def a_receipt_that_was_hidden() -> None:
    client("s3").delete_object(Bucket=AUDIT_BUCKET, Key=receipt(purged_at=on_time().isoformat()))


@found(("altered", "evidence", "a receipt or report that was overwritten"))
def a_report_that_was_overwritten() -> None:
    for _ in range(2):
        put(AUDIT_BUCKET, "reports/date=2026-11-20/retention-055501.json")


@found(("misplaced", "evidence", "a receipt that cannot be read"))
def receipts_that_cannot_be_read() -> None:
    said = {"store": "raw", "state": "completed", "purged_at": NOW.isoformat(), "objects": 1, "keys_sha256": "0"}
    said |= {"ingest_date": DUE.ingest_date, "hour": DUE.hour}
    malformed = ({"hour": "9"}, {"objects": "many"}, {"purged_at": "yesterday"}, {"ingest_date": "2026-13-45"})
    bodies = [b"not JSON", b"\xff\xfe", b"[]", *(json.dumps(said | one).encode() for one in malformed)]
    for number, body in enumerate(bodies):
        put(AUDIT_BUCKET, f"receipts/purges/{DUE.path}/raw-{number}.json", body)


@found(("misplaced", "evidence", "a receipt that cannot be read"))
def receipts_of_erasures_that_cannot_be_read() -> None:
    counts = {"image_id": str(uuid.uuid4()), "versions": 1, "derivatives": 2, "records": 0, "rows": 1}
    malformed = (b"\xff\xd8\xff", b"{}", json.dumps(counts).encode(), json.dumps(counts | {"rows": "all"}).encode())
    for number, body in enumerate(malformed):
        image_id = counts["image_id"] if number == len(malformed) - 1 else uuid.uuid4()
        put(AUDIT_BUCKET, f"receipts/erasures/{RECENT.path}/{image_id}-{number}.json", body)


@found(("misplaced", AUDIT_BUCKET, OUTSIDE))
def an_image_among_the_evidence() -> None:
    put(AUDIT_BUCKET, "holiday.jpg")


# Settings


@found(("configuration", RAW_BUCKET, "no versions"))
def versions_switched_off() -> None:
    suspended = {"Status": "Suspended"}
    client("s3").put_bucket_versioning(Bucket=RAW_BUCKET, VersioningConfiguration=suspended)


@found(("configuration", LAKE_BUCKET, "versions, which stay when an object is deleted"))
def versions_switched_on() -> None:
    client("s3").put_bucket_versioning(Bucket=LAKE_BUCKET, VersioningConfiguration={"Status": "Enabled"})


@found(
    ("configuration", RAW_BUCKET, "no lifecycle that deletes what the purge left"),
    ("configuration", RAW_BUCKET, "no lifecycle that deletes parts of unfinished uploads"),
    ("configuration", RAW_BUCKET, "no lifecycle that deletes noncurrent versions"),
    ("configuration", RAW_BUCKET, "no lifecycle that deletes delete markers"),
)
def a_lifecycle_that_was_removed() -> None:
    client("s3").delete_bucket_lifecycle(Bucket=RAW_BUCKET)


@found(("configuration", LAKE_BUCKET, "no lifecycle that deletes what the purge left"))
def a_lifecycle_that_is_too_slow() -> None:
    change_rules(LAKE_BUCKET, "expire-catalog", Expiration={"Days": 30})


@found(
    ("configuration", LAKE_BUCKET, "no lifecycle that deletes what the purge left"),
    ("configuration", LAKE_BUCKET, "no lifecycle that deletes parts of unfinished uploads"),
)
def a_lifecycle_that_was_disabled() -> None:
    change_rules(LAKE_BUCKET, "expire-derivatives", Status="Disabled")


@found(("configuration", FAILED_RECORDS_BUCKET, "no lifecycle that deletes what the purge left"))
def failed_records_kept_for_longer() -> None:
    change_rules(FAILED_RECORDS_BUCKET, "expire-with-their-dead-letters", Expiration={"Days": 14})


@found(("configuration", CHART_RESULTS_BUCKET, "no lifecycle that deletes what the purge left"))
def results_of_charts_kept_for_longer() -> None:
    change_rules(CHART_RESULTS_BUCKET, "expire-results", Expiration={"Days": 14})


@found(("configuration", AUDIT_BUCKET, "a lifecycle that deletes evidence before its days are over"))
def evidence_deleted_by_lifecycle() -> None:
    change_rules(AUDIT_BUCKET, "expire-evidence", Expiration={"Days": 30})


@found(("configuration", AUDIT_BUCKET, "no lock for the days of the evidence"))
def evidence_locked_for_a_day() -> None:
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client("s3").put_object_lock_configuration(
        Bucket=AUDIT_BUCKET, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )


@found(("configuration", RAW_BUCKET, "copies in another bucket, which are not purged"))
def images_copied_to_another_region() -> None:
    rule = {
        "Status": "Enabled",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": "arn:aws:s3:::elsewhere"},
    }
    client("s3").put_bucket_replication(
        Bucket=RAW_BUCKET,
        ReplicationConfiguration={"Role": "arn:aws:iam::123456789012:role/replicate", "Rules": [rule]},
    )


@found(("configuration", "items", "point-in-time recovery, which keeps what was deleted"))
def point_in_time_recovery() -> None:
    client("dynamodb").update_continuous_backups(
        TableName=IMAGES_TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )


@found(("configuration", "items", "a backup, which keeps what is deleted"))
def a_backup_of_the_table() -> None:
    client("dynamodb").create_backup(TableName=IMAGES_TABLE, BackupName="just-in-case")


@found(("configuration", "items", "a backup, which keeps what is deleted"))
def a_backup_that_dynamodb_made() -> None:
    name = f"{IMAGES_TABLE}$DeletedTableBackup"
    client("dynamodb").create_backup(TableName=IMAGES_TABLE, BackupName=name)
    (backup,) = dynamodb_backends[ACCOUNT][REGION].list_backups(IMAGES_TABLE)
    backup.type = "SYSTEM"


@found(("configuration", "items", "no time to live that deletes what the purge left"))
def time_to_live_switched_off() -> None:
    client("dynamodb").update_time_to_live(
        TableName=IMAGES_TABLE, TimeToLiveSpecification={"AttributeName": "expires_at", "Enabled": False}
    )


@found(("configuration", "items", "a stream that is not of new images"))
def a_stream_switched_off() -> None:
    client("dynamodb").update_table(TableName=IMAGES_TABLE, StreamSpecification={"StreamEnabled": False})


@found(("configuration", "dead letters", "a queue that keeps messages for too long"))
def a_queue_that_keeps_messages_for_a_fortnight() -> None:
    client("sqs").set_queue_attributes(QueueUrl=QUEUE_URL, Attributes={"MessageRetentionPeriod": "1209600"})


@found(("configuration", "rejections", "a queue that keeps messages for too long"))
def a_queue_of_rejections_that_keeps_them_for_a_fortnight() -> None:
    client("sqs").set_queue_attributes(QueueUrl=REJECTIONS_URL, Attributes={"MessageRetentionPeriod": "1209600"})


@found(("configuration", "logs", "a log group that keeps logs for too long"))
def a_log_group_of_ninety_days() -> None:
    name = f"{STACK}-ProcessImageLogGroup-{'Ab3' * 4}"
    client("logs").put_retention_policy(logGroupName=name, retentionInDays=90)


@found(("configuration", "logs", "a log group that keeps logs for too long"))
def a_log_group_that_lambda_made_itself() -> None:
    client("logs").create_log_group(logGroupName=f"/aws/lambda/{STACK}-HttpApiFunction-x")
    client("logs").create_log_group(logGroupName=f"{STACK}-prod-HttpApiLogGroup-x")  # of another stack


@found(("configuration", "Athena results", "results that Athena does not delete itself"))
def results_in_a_bucket() -> None:
    client("athena").delete_work_group(WorkGroup=physical_name("AnalystsWorkGroup"))
    client("athena").create_work_group(
        Name=physical_name("AnalystsWorkGroup"),
        Configuration={"ResultConfiguration": {"OutputLocation": "s3://results/"}},
    )


@found(("configuration", "workflow", "a log that holds items of images"))
def a_workflow_that_logs_items() -> None:
    log_group = f"arn:aws:logs:{REGION}:123456789012:log-group:workflow:*"
    client("stepfunctions").update_state_machine(
        stateMachineArn=resolve({"Ref": "IngestImageStateMachine"}),
        loggingConfiguration={
            "level": "ALL",
            "includeExecutionData": True,
            "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": log_group}}],
        },
    )


@found(("configuration", "workflow", "traces, which are kept for 30 days"))
def a_workflow_that_is_traced() -> None:
    client("stepfunctions").update_state_machine(
        stateMachineArn=resolve({"Ref": "IngestImageStateMachine"}), tracingConfiguration={"enabled": True}
    )


@found(("incomplete", "workflow", "a setting that could not be read"))
def a_setting_that_cannot_be_read() -> None:
    arn = resolve({"Ref": "IngestImageStateMachine"})
    client("stepfunctions").delete_state_machine(stateMachineArn=arn)


def change_rules(bucket: str, rule_id: str, **changes: Any) -> None:
    """Change one lifecycle rule."""
    rules = client("s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    changed = [rule | changes if rule["ID"] == rule_id else rule for rule in rules]
    client("s3").put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": changed})
