"""That what is kept goes away: the backstops as the services have them, a purge now, and what the last audit found."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.aws.live import Live, eventually

PURGE_SECONDS = 600


@pytest.mark.parametrize("bucket", ["RawBucketName", "LakeBucketName"])
def test_the_bucket_expires_what_it_holds(deployed: Live, bucket: str) -> None:
    rules = deployed.client("s3").get_bucket_lifecycle_configuration(Bucket=deployed.outputs[bucket])["Rules"]

    assert [rule["ID"] for rule in rules if rule["Status"] != "Enabled"] == []
    assert [rule for rule in rules if "Days" in rule.get("Expiration", {})]


def test_items_expire(deployed: Live) -> None:
    table = deployed.outputs["ImagesTableName"]
    described = deployed.client("dynamodb").describe_time_to_live(TableName=table)["TimeToLiveDescription"]

    assert (described["AttributeName"], described["TimeToLiveStatus"]) == ("expires_at", "ENABLED")


def test_a_purge_runs_to_its_end(live: Live) -> None:
    steps = live.client("stepfunctions")
    machine = live.physical_ids["EnforceRetentionStateMachine"]
    execution = steps.start_execution(stateMachineArn=machine)["executionArn"]

    ended = eventually(
        lambda: str(steps.describe_execution(executionArn=execution)["status"]),
        lambda status: status != "RUNNING",
        PURGE_SECONDS,
    )

    assert ended == "SUCCEEDED"


def test_schedules_start_the_purge(deployed: Live) -> None:
    """The schedule's role names its account and group as the source: a wrong name would keep it from ever starting."""
    steps = deployed.client("stepfunctions")
    machine = deployed.physical_ids["EnforceRetentionStateMachine"]
    executions = steps.list_executions(stateMachineArn=machine, maxResults=100)["executions"]
    hour = datetime.now(UTC) - timedelta(hours=1)
    if steps.describe_state_machine(stateMachineArn=machine)["creationDate"] > hour:
        pytest.skip("the stack is younger than an hour: look again when it is :25 or :40 once more")

    assert [one for one in executions if one["startDate"] > hour and one["startDate"].minute in (25, 26, 40, 41)]


def test_the_last_audit_found_nothing_overdue(live: Live) -> None:
    s3, bucket = live.client("s3"), live.outputs["AuditBucketName"]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="reports/")
    reports = sorted(one["Key"] for page in pages for one in page.get("Contents", ()) if one["Key"].endswith(".json"))
    if not reports:
        pytest.skip("no audit yet: it runs at 05:55 UTC")
    report: dict[str, Any] = json.loads(s3.get_object(Bucket=bucket, Key=reports[-1])["Body"].read())

    assert [finding for finding in report["findings"] if finding["kind"] == "overdue"] == []
