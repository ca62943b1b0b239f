"""Metrics and alarms of the deployed lake: what is counted is in the registry, and a fault rings."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from imagelake import metrics
from local import deployment
from local.api_client import ApiClient
from local.lake import Lake
from local.samples import Sample
from tests.e2e.conftest import Await, Upload, eventually, invoke, without

PROMISED_HOURS: Final = 7 * 24 + 2
MORE_THAN_TWO: Final = 3


def alarms(lake: Lake) -> dict[str, str]:
    """The state of each alarm, by logical id."""
    described = lake.client("cloudwatch").describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    states = {
        one["AlarmName"]: one["StateValue"] for one in (*described["MetricAlarms"], *described["CompositeAlarms"])
    }
    ids = (
        "ApiFaultsAlarm",
        "ImagesFailedAlarm",
        "DeadLettersAlarm",
        "NewDeadLettersAlarm",
        "OldestObjectAgeAlarm",
        "PurgeSilentAlarm",
        "ReleaseGateAlarm",
    )
    return {name: states[deployment.physical_id(lake.emulator, lake.stack.name, name)] for name in ids}


def published(lake: Lake) -> list[dict[str, Any]]:
    pages = lake.client("cloudwatch").get_paginator("list_metrics").paginate()
    return [dict(one) for page in pages for one in page["Metrics"]]


def test_what_functions_and_services_count_is_in_the_registry(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    image_id = upload(samples["harbour-upright.jpg"])
    assert await_end(image_id)["status"] == "processed"
    invoke(lake, "AuditRetentionFunction", {})
    registered = {one.name: one for one in metrics.OWN}
    wanted = {"UploadsRequested", "ImagesReceived", "ImagesProcessed", "ArrivalToAnswer", "ArrivalToCatalog"}
    wanted |= {
        "ScriptTime",
        "OverdueObjects",
        "ColdStarts",
        "5XXError",
        "ExecutionsSucceeded",
        "IteratorAge",
        "Throttles",
    }
    wanted |= {"ApproximateNumberOfMessagesVisible"}

    other = {"Name": "service", "Value": f"{lake.stack.name}-probe"}
    found = eventually(
        lambda: published(lake),
        lambda all_of: wanted <= {one["MetricName"] for one in all_of if other not in one["Dimensions"]},
    )

    for one in found:
        if one["Namespace"] == metrics.NAMESPACE:
            metric = registered[one["MetricName"]]
            dimensions = {entry["Name"]: entry["Value"] for entry in one["Dimensions"]}
            assert set(dimensions) == set(metric.dimensions), one
            assert dimensions["service"] in (lake.stack.name, f"{lake.stack.name}-probe"), "that of tests/aws"
            assert not metric.values or dimensions[metric.by or ""] in metric.values, one
    of_aws = {(one.name, one.dimensions) for one in metrics.AWS}
    seen = {(one["MetricName"], tuple(entry["Name"] for entry in one["Dimensions"])) for one in found}
    assert {("5XXError", ("ApiName", "Stage")), ("IteratorAge", ("FunctionName",))} <= of_aws & seen


def test_an_image_that_fails_rings_and_closes_the_gate_of_releases(
    lake: Lake, samples: dict[str, Sample], upload: Upload, await_end: Await
) -> None:
    with without(lake, "OpenImageRole", "s3:ListBucketVersions"):
        assert await_end(upload(samples["hills.jpg"]))["status"] == "failed"

    expected = {"ImagesFailedAlarm", "DeadLettersAlarm", "NewDeadLettersAlarm", "ReleaseGateAlarm"}
    eventually(lambda: alarms(lake), lambda states: {states[name] for name in expected} == {"ALARM"})


def test_an_api_that_answers_with_faults_rings(lake: Lake, client: ApiClient) -> None:
    with without(lake, "HttpApiRole", "dynamodb:GetItem"):
        for _ in range(MORE_THAN_TWO):
            assert client.get(f"/images/{uuid.uuid4()}").status_code >= 500

    expected = {"ApiFaultsAlarm", "ReleaseGateAlarm"}
    eventually(lambda: alarms(lake), lambda states: {states[name] for name in expected} == {"ALARM"})


def test_the_alarm_on_age_says_what_audits_of_the_day_found_and_no_more_that_nobody_has_looked(lake: Lake) -> None:
    invoke(lake, "AuditRetentionFunction", {})

    now = datetime.now(UTC)
    found = lake.client("cloudwatch").get_metric_statistics(
        Namespace=metrics.NAMESPACE,
        MetricName="OldestObjectAgeHours",
        Dimensions=[{"Name": "service", "Value": lake.stack.name}],
        StartTime=now - timedelta(hours=23),
        EndTime=now + timedelta(minutes=1),
        Period=86400,
        Statistics=["Maximum"],
    )["Datapoints"]
    oldest = max(one["Maximum"] for one in found)
    expected = "ALARM" if oldest > PROMISED_HOURS else "OK"  # other tests have stored what is old
    assert eventually(lambda: alarms(lake), lambda states: states["OldestObjectAgeAlarm"] == expected)


def test_an_alarm_on_an_expression_is_there_with_its_metrics(lake: Lake) -> None:
    physical = deployment.physical_id(lake.emulator, lake.stack.name, "OldestObjectAgeAlarm")
    [alarm] = lake.client("cloudwatch").describe_alarms(AlarmNames=[physical])["MetricAlarms"]

    assert {one["Id"] for one in alarm["Metrics"]} == {"age", "overdue"}
    assert alarm["AlarmDescription"].endswith("docs/operations.md#oldestobjectagealarm")
