"""The audit finds every violation that is planted, and nothing where there is none."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import pytest
from moto.dynamodb.responses import DynamoHandler, DynamoResult

from functions.audit_retention.app import handler as audit_retention
from imagelake.audit import auditor
from imagelake.catalog import parquet
from imagelake.keys import ArrivalHour, catalog_prefix
from tests.application import event
from tests.integration import plants
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, Context, client
from tests.integration.plants import AUDIT_BUCKET, CATALOG, DUE, FUTURE, NOW, RECENT, VIOLATIONS
from tests.integration.settings_of_stores import configure_stores
from tests.integration.test_retention import cataloged, kept, run_purge

__all__ = ["run_purge"]  # a fixture

PAGE_BACKUPS = 2

type RunAudit = Callable[[], dict[str, Any]]


@pytest.fixture(autouse=True)
def _stores(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  # the stores are there first
    configure_stores()
    monkeypatch.setattr(DynamoHandler, "list_backups", _list_backups)


def _list_backups(request: DynamoHandler) -> DynamoResult:
    """List backups as DynamoDB does, where moto has neither types nor pages: those of users unless asked for all."""
    wanted, begin = request.body.get("BackupType", "USER"), request.body.get("ExclusiveStartBackupArn", "")
    backups = request.dynamodb_backend.list_backups(request.body["TableName"])
    listed = [one.summary for one in backups if wanted in (one.type, "ALL")]
    listed = [one for one in sorted(listed, key=itemgetter("BackupArn")) if one["BackupArn"] > begin]
    page = listed[:PAGE_BACKUPS]
    more = {"LastEvaluatedBackupArn": page[-1]["BackupArn"]} if page != listed else {}
    return DynamoResult({"BackupSummaries": page, **more})


@pytest.fixture
def run_audit(tell: Callable[[str], Context], monkeypatch: pytest.MonkeyPatch) -> RunAudit:
    """Audits now, a lake with Kafka and QuickSight; the machine-readable report."""

    def run() -> dict[str, Any]:
        context = tell("audit_retention")
        monkeypatch.setenv("FAILED_RECORDS_BUCKET", plants.FAILED_RECORDS_BUCKET)
        monkeypatch.setenv("QUICK_SIGHT_RESULTS_BUCKET", plants.CHART_RESULTS_BUCKET)
        answer = audit_retention(event("audit_retention"), context)
        (key,) = (key for key in answer["reports"] if key.endswith(".json"))
        report: dict[str, Any] = json.loads(client("s3").get_object(Bucket=AUDIT_BUCKET, Key=key)["Body"].read())
        return report

    return run


def findings(report: dict[str, Any]) -> set[tuple[str, str, str]]:
    """Kind, place and matter of each finding."""
    return {(one["kind"], one["place"], one["what"]) for one in report["findings"]}


def test_what_a_rehearsal_of_a_release_left_behind_is_no_finding(run_audit: RunAudit) -> None:
    plants.lake_as_promised()
    plants.put(LAKE_BUCKET, f"derived/{RECENT.path}/{uuid.uuid4()}/rehearsal/thumb_256.jpg")
    plants.put(LAKE_BUCKET, f"derived/{RECENT.path}/{uuid.uuid4()}/rehearsal/picture")

    assert run_audit()["findings"] == []


def test_a_lake_as_promised_has_no_finding(run_audit: RunAudit) -> None:
    plants.lake_as_promised()

    report = run_audit()

    assert report["findings"] == []
    assert (report["overdue"], report["early"], report["other"]) == (0, 0, 0)
    assert {place["place"]: place["objects"] for place in report["places"]} == {
        "raw": 4,
        "derived": 3,
        "catalog": 1,
        "compaction": 0,
        "partitions": 1,
        "items": 3,
        plants.FAILED_RECORDS_BUCKET: 0,
        plants.CHART_RESULTS_BUCKET: 0,
    }


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_audit_finds(name: str, run_audit: RunAudit, record_property: Callable[[str, object], None]) -> None:
    violation = VIOLATIONS[name]
    plants.lake_as_promised()
    violation.plant()

    report = run_audit()

    # `python -m benchmarks.audit_findings` makes a table of it.
    record_property("found", "; ".join(f"{kind}: {what} in {place}" for kind, place, what in sorted(findings(report))))
    assert findings(report) == violation.found
    kinds = {kind for kind, _, _ in violation.found}
    assert (report["overdue"] > 0) == bool(kinds & {"overdue", "late"})
    assert (report["early"] > 0) == ("early" in kinds)
    assert (report["other"] > 0) == bool(kinds - {"overdue", "late", "early"})


def test_the_audit_finds_the_backups_of_every_page(run_audit: RunAudit) -> None:
    plants.lake_as_promised()
    names = {f"backup-{number}" for number in range(PAGE_BACKUPS + 1)}
    for name in names:
        client("dynamodb").create_backup(TableName=IMAGES_TABLE, BackupName=name)

    report = run_audit()

    (finding,) = report["findings"]
    assert set(finding["names"]) == names


def test_the_violations_that_the_audit_once_missed_are_among_them() -> None:
    missed = {
        *("an_orphan_derivative", "a_derivative_dated_in_the_future", "a_catalog_file_dated_in_the_future"),
        *("a_partition_dated_in_the_future", "a_receipt_that_was_overwritten", "a_receipt_that_was_hidden"),
        *("a_failed_record_of_nine_days", "a_log_group_of_ninety_days", "a_row_lost_among_others"),
        *("a_lifecycle_that_was_removed", "point_in_time_recovery", "an_upload_without_an_outcome_for_five_hours"),
    }

    assert missed <= VIOLATIONS.keys()


def test_one_malformed_thing_does_not_hide_the_others(run_audit: RunAudit) -> None:
    plants.lake_as_promised()
    malformed = (
        *("images_of_no_hour", "partitions_of_no_hour", "malformed_items", "receipts_that_cannot_be_read"),
        *("a_catalog_file_that_is_no_parquet", "a_setting_that_cannot_be_read"),
    )
    others = ("an_overdue_image", "an_expired_tombstone", "an_orphan_derivative", "a_failed_record_of_nine_days")
    for name in (*malformed, *others):
        VIOLATIONS[name].plant()

    found = findings(run_audit())

    assert found == frozenset().union(*(VIOLATIONS[name].found for name in (*malformed, *others)))


def test_every_malformed_thing_is_counted(run_audit: RunAudit) -> None:
    plants.images_of_no_hour()
    plants.malformed_items()
    plants.receipts_that_cannot_be_read()

    counts = {(one["place"], one["what"]): one["count"] for one in run_audit()["findings"]}

    assert counts[RAW_BUCKET, plants.OUTSIDE] == 4
    assert counts["items", "an item that is malformed"] == 8
    assert counts["evidence", "a receipt that cannot be read"] == 7


def test_rows_that_came_late_count_while_their_hour_is_compacted(run_audit: RunAudit) -> None:
    plants.lake_as_promised()
    late, prefix, file = cataloged(RECENT), f"compaction/{RECENT.path}/copy/", plants.file_of_the_batch()
    client("s3").copy_object(
        Bucket=LAKE_BUCKET,
        Key=f"{prefix}batch.parquet",
        CopySource={"Bucket": LAKE_BUCKET, "Key": file},
    )
    plants.put(LAKE_BUCKET, f"{prefix}_sources.json", json.dumps([file]).encode())
    CATALOG.move(RECENT, prefix, NOW)
    parquet.write([late], "late", CATALOG)

    assert run_audit()["findings"] == []


def test_what_comes_or_is_redriven_while_the_audit_walks_is_no_finding(
    run_audit: RunAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    plants.lake_as_promised()
    redriven, read_rows = plants.one_more(), auditor._read_rows
    plants.remove(LAKE_BUCKET, redriven.derivatives[0].key)
    plants.change(redriven.image_id, status={"S": "failed"}, derivatives=None)

    def meanwhile(*arguments: Any) -> None:
        now = datetime.now(UTC)
        cataloged(ArrivalHour.of(now), received_at=now, processed_at=now)
        derivatives = {"L": [{"M": {"key": {"S": redriven.derivatives[0].key}}}]}
        changed = {"status": {"S": "processed"}, "processed_at": {"S": now.isoformat()}, "derivatives": derivatives}
        plants.change(redriven.image_id, **changed)
        plants.put(LAKE_BUCKET, redriven.derivatives[0].key)
        read_rows(*arguments)

    monkeypatch.setattr(auditor, "_read_rows", meanwhile)

    assert run_audit()["findings"] == []


def test_purge_and_audit_agree(run_purge: Callable[[], list[dict[str, Any]]], run_audit: RunAudit) -> None:  # a fixture
    parquet.write([cataloged(DUE, versions=2), cataloged(DUE)], "old", CATALOG)
    parquet.write([cataloged(RECENT)], "new", CATALOG)
    assert run_audit()["overdue"] > 0

    run_purge()

    assert {kind for kind, _, _ in findings(run_audit())} == {"late"}


def test_what_is_dated_in_the_future_goes_when_it_has_had_its_days(
    run_purge: Callable[[], list[dict[str, Any]]],  # a fixture
    run_audit: RunAudit,
) -> None:
    plants.an_old_image_dated_in_the_future()
    plants.put(LAKE_BUCKET, plants.derivative_key(FUTURE), age=timedelta(days=8))
    young = plants.raw_key(FUTURE)
    plants.put(RAW_BUCKET, young, age=timedelta(days=6))
    assert run_audit()["overdue"] == 2

    assert [one["store"] for one in run_purge()] == ["raw", "derived"]
    assert [one["store"] for one in run_purge()] == []

    assert kept(RAW_BUCKET) == [young]
    assert kept(LAKE_BUCKET) == []
    assert findings(run_audit()) == {("misplaced", "raw", "an object dated in the future")}


def test_what_is_dated_in_the_future_goes_before_its_hour_begins(
    run_purge: Callable[[], list[dict[str, Any]]],  # a fixture
    run_audit: RunAudit,
) -> None:
    tomorrow = ArrivalHour.of(NOW + timedelta(hours=20))
    plants.put(RAW_BUCKET, plants.raw_key(tomorrow))
    assert findings(run_audit()) == {("misplaced", "raw", "an object dated in the future")}

    run_purge()

    assert kept(RAW_BUCKET) == []
    assert findings(run_audit()) == set()


def test_a_partition_dated_in_the_future_goes_with_the_last_of_its_files(
    run_purge: Callable[[], list[dict[str, Any]]],  # a fixture
    run_audit: RunAudit,
) -> None:
    CATALOG.register([FUTURE])
    old, young = (f"{catalog_prefix(FUTURE)}{name}.parquet" for name in ("old", "young"))
    plants.put(LAKE_BUCKET, old, age=timedelta(days=8))
    plants.put(LAKE_BUCKET, young, age=timedelta(days=6))

    run_purge()
    assert kept(LAKE_BUCKET) == [young]
    assert ("misplaced", "partitions", "a partition dated in the future") in findings(run_audit())

    plants.put(LAKE_BUCKET, young, age=timedelta(days=8))
    run_purge()
    assert findings(run_audit()) == set()


def test_an_hour_with_fewer_rows_than_images_is_named_with_both_counts(run_audit: RunAudit) -> None:
    plants.lake_as_promised()
    plants.a_row_lost_among_others()
    plants.rows_deleted_early()

    report = run_audit()

    (lacking,) = (one for one in report["findings"] if one["what"] == "an hour with fewer rows than images")
    of_recent = f"{RECENT.ingest_date}/{RECENT.hour}: 1 of 4 images"
    assert lacking["count"] == 2
    assert of_recent in lacking["names"]
    assert all(name.endswith(": 1 of 1 images") for name in lacking["names"] if name != of_recent)


def test_the_report_is_readable(tell: Callable[[str], Context]) -> None:
    plants.an_overdue_noncurrent_version()

    answer = audit_retention(event("audit_retention"), tell("audit_retention"))

    (key,) = (key for key in answer["reports"] if key.endswith(".md"))
    text = client("s3").get_object(Bucket=AUDIT_BUCKET, Key=key)["Body"].read().decode()
    assert text.startswith("# Retention audit, ")
    assert "| raw | 2 | 16 |" in text
    assert "## overdue: a noncurrent version in raw (1)" in text
