"""What code in the engine's place reaches: S3, and there nothing but what the lake's own requests are for."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.aws.live import Live, Probe, eventually

LOG_SECONDS = 120


@pytest.fixture(autouse=True)
def in_network(deployed: Live) -> None:
    if not deployed.is_in_network:
        pytest.skip("the stack was deployed with EngineNetwork=none: the engine reaches the internet")


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("1.1.1.1", 443),
        ("1.1.1.1", 53),
        ("169.254.169.254", 80),
        ("s3.{region}.amazonaws.com", 80),
        *(
            (f"{service}.{{region}}.amazonaws.com", 443)
            for service in ("sts", "dynamodb", "sqs", "lambda", "states", "logs")
        ),
    ],
)
def test_no_other_address_is_reached(deployed: Live, probe: Probe, host: str, port: int) -> None:
    assert probe("connect", host=host.format(region=deployed.region), port=port) != "connected"


def test_s3_is_reached(deployed: Live, probe: Probe) -> None:
    assert probe("connect", host=f"s3.{deployed.region}.amazonaws.com", port=443) == "connected"


@pytest.mark.parametrize("bucket", ["AuditBucketName", "LakeBucketName"])
def test_a_good_signature_for_anything_else_is_of_no_use(deployed: Live, probe: Probe, bucket: str) -> None:
    url = deployed.presigned(bucket, "nothing")

    assert httpx.get(url).status_code == 404, "from here, it is a matter of what there is"
    assert probe("get", url=url) == 403


def test_names_are_answered_as_the_parameter_says(deployed: Live, probe: Probe) -> None:
    assert probe("resolve", name=f"s3.{deployed.region}.amazonaws.com")
    assert probe("resolve", name="example.com") == ("EngineNameRules" not in deployed.physical_ids)


@pytest.mark.usefixtures("canary")
def test_its_log_comes_out_without_the_network(deployed: Live) -> None:
    logs, group = deployed.client("logs"), deployed.engine["LoggingConfig"]["LogGroup"]
    since = int((datetime.now(UTC) - timedelta(minutes=10)).timestamp() * 1000)

    def written() -> list[Any]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
        return [event for page in pages for event in page["events"]]

    assert eventually(written, bool, LOG_SECONDS)
