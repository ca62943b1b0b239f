"""What `imagelake retention` says of a real report and of what lies in the stores."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from imagelake.audit.findings import Audit
from imagelake.audit.report import publish
from imagelake.keys import ARRIVAL_SLACK, ArrivalHour
from imagelake.model import EXPIRY_SHARDS, ImageRecord
from imagelake.stores.images_table import serialize
from imagelake_cli import connection, kept_data
from imagelake_cli.kept_data import LAKE_PLACES, KeptData
from imagelake_cli.main import app
from tests.application import physical_name
from tests.integration.conftest import IMAGES_TABLE, LAKE_BUCKET, RAW_BUCKET, client

AUDIT_BUCKET = physical_name("AuditBucket")
NOW = datetime.now(UTC)
DAYS = 7


@pytest.fixture(autouse=True)
def _kept(monkeypatch: pytest.MonkeyPatch) -> None:
    buckets = {"raw": RAW_BUCKET, **dict.fromkeys(LAKE_PLACES, LAKE_BUCKET)}
    made = KeptData(client("s3"), client("dynamodb"), AUDIT_BUCKET, buckets, IMAGES_TABLE, DAYS)
    monkeypatch.setattr(connection, "kept_data", lambda *_: made)


def run(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["retention", *arguments])
    assert result.exit_code == code, result.output
    return result


def audited(age: timedelta, *overdue: str) -> Audit:
    audit = Audit(NOW - age, DAYS)
    place = audit.place("raw")
    place.objects, place.bytes, place.oldest = 3, 12_000, timedelta(hours=100)
    audit.report_all("overdue", "raw", "an object", overdue)
    publish(audit, AUDIT_BUCKET)
    return audit


def test_the_newest_report_is_shown_and_a_kept_promise_ends_with_0() -> None:
    audited(timedelta(hours=26), "raw/old")
    audited(timedelta(hours=2))

    shown = run("report").stdout

    assert "everything is as promised" in shown
    assert "Oldest image or row: 100.0 h." in shown
    assert shown.splitlines()[-1].split() == ["raw", "3", "12.0", "kB", "100.0"]


def test_a_broken_promise_ends_with_3_and_names_what_was_found() -> None:
    audited(timedelta(hours=2), *(f"raw/{number:02}" for number in range(25)))

    shown = run("report", code=3).stdout

    assert "something is not as promised" in shown
    assert "Overdue 25, too early 0, other findings 0." in shown
    assert "overdue: an object in raw (25)\n  raw/00\n" in shown
    assert shown.endswith("  raw/19\n  and more\n")
    told = json.loads(run("report", "--json", code=3).stdout)
    assert (told["verdict"], told["overdue"], told["findings"][0]["count"]) == ("broken", 25, 25)


def test_the_report_of_a_day_is_the_newest_of_that_day() -> None:
    before = audited(timedelta(days=3), "raw/old")
    audited(timedelta(hours=1))

    assert "raw/old" in run("report", "--date", f"{before.as_of:%Y-%m-%d}", code=3).stdout


def test_an_audit_that_does_not_run_any_more_says_nothing_of_today() -> None:
    audited(timedelta(hours=40))

    said = run("report", "--json", code=1)

    assert json.loads(said.stdout)["verdict"] == "unknown"
    assert "The last audit was 40 hours ago" in said.stderr


def test_without_a_report_nothing_can_be_said() -> None:
    assert "has no report of the last 31 days" in run("report", code=1).stderr
    assert "has no report of 2026-11-22" in run("report", "--date", "2026-11-22", code=1).stderr
    client("s3").put_object(Bucket=AUDIT_BUCKET, Key="reports/date=2026-11-22/retention-055500.json", Body=b"{}")
    assert "is no report of an audit" in run("report", "--date", "2026-11-22", code=1).stderr
    assert "is not a day" in run("report", "--date", "yesterday", code=2).stderr


def put(place: str, hour: ArrivalHour, versions: int = 1) -> str:
    bucket = RAW_BUCKET if place == "raw" else LAKE_BUCKET
    key = f"{place}/{hour.path}/{uuid.uuid4()}"
    for _ in range(versions):
        client("s3").put_object(Bucket=bucket, Key=key, Body=bytes(100))
    return key


def put_item(hour: ArrivalHour, expires_at: datetime) -> None:
    record = ImageRecord(
        image_id=str(uuid.uuid4()), status="rejected", received_at=NOW, processed_at=NOW, expires_at=expires_at,
        reason="corrupt: as the test says", ingest_date=hour.ingest_date, hour=hour.hour,
    )  # fmt: skip
    client("dynamodb").put_item(TableName=IMAGES_TABLE, Item=serialize(record.to_item()))


def kept_since(age: timedelta) -> ArrivalHour:
    return ArrivalHour.of(NOW - timedelta(days=DAYS) - age)


def listed(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("due", *arguments, "--json", code=code).stdout.splitlines()]


def test_what_is_due_is_counted_by_hour_and_place_with_all_its_versions() -> None:
    soon = kept_since(timedelta(hours=-3))
    put("raw", soon, versions=2)
    client("s3").delete_object(Bucket=RAW_BUCKET, Key=put("raw", soon))
    put("derived", soon)
    put("catalog", soon)
    put_item(soon, NOW + timedelta(hours=3))
    put("raw", ArrivalHour.of(NOW))
    put_item(ArrivalHour.of(NOW), NOW + timedelta(days=DAYS))

    found = listed()

    hour = f"{soon.ingest_date}T{soon.hour}"
    assert [(one["hour"], one["place"], one["count"], one["bytes"], one["state"]) for one in found] == [
        (hour, "catalog", 1, 100, "next"),
        (hour, "derived", 1, 100, "next"),
        (hour, "items", 1, 0, "next"),
        (hour, "raw", 4, 300, "next"),
    ]
    assert datetime.fromisoformat(found[0]["due_at"]) == soon.closed_at + timedelta(days=DAYS)
    assert datetime.fromisoformat(found[0]["gone_by"]) == soon.start + timedelta(days=DAYS, hours=2)
    assert listed("--hours", "1") == []
    shown = run("due")
    assert shown.stdout.splitlines()[4].split()[:3] == [hour, "raw", "4"]
    assert "7 objects and items are due within 24 hours, 0 are overdue" in shown.stderr


def test_what_is_overdue_ends_with_3() -> None:
    put("raw", kept_since(timedelta(hours=4)))
    put_item(kept_since(timedelta(hours=4)), NOW - timedelta(hours=3))
    put_item(kept_since(timedelta(hours=1)), NOW - timedelta(minutes=5))

    found = listed("--hours", "0", code=3)

    assert [(one["place"], one["state"]) for one in found] == [
        ("items", "overdue"),
        ("raw", "overdue"),
        ("items", "due"),
    ]
    assert "2 are overdue" in run("due", code=3).stderr


def test_what_lies_outside_of_the_layout_is_passed_over() -> None:
    for key in (
        "ingest_date=yesterday/hour=09/x",
        "ingest_date=2026-11-02/hour=9/x",
        "ingest_date=2026-11-2/hour=09/x",
        "loose",
    ):
        client("s3").put_object(Bucket=RAW_BUCKET, Key=f"raw/{key}", Body=b"")

    assert listed() == []


def test_command_and_purge_know_the_same_times_and_shards() -> None:
    assert timedelta(hours=1) + ARRIVAL_SLACK == kept_data.CLOSES_AFTER
    assert set(kept_data._SHARDS) == set(EXPIRY_SHARDS)
