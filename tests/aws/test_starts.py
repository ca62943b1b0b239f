"""How long functions took to start, as Lambda itself says. `make aws` prints it."""

import json
import statistics
from datetime import UTC, datetime, timedelta

import pytest

from tests.aws.live import Live

FUNCTIONS = ("HttpApiFunction", "OpenImageFunction", "ProcessImageFunction", "CloseImageFunction")
STARTED = '{ $.type = "platform.report" && $.record.metrics.initDurationMs > 0 }'


def test_how_long_cold_starts_took(deployed: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the last day; https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html says the format."""
    logs, since = deployed.client("logs"), datetime.now(UTC) - timedelta(days=1)
    found = {}
    for name in FUNCTIONS:
        function = deployed.client("lambda").get_function_configuration(FunctionName=deployed.physical_ids[name])
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName=function["LoggingConfig"]["LogGroup"],
            startTime=int(since.timestamp() * 1000),
            filterPattern=STARTED,
        )
        reports = [json.loads(event["message"])["record"]["metrics"] for page in pages for event in page["events"]]
        if times := [report["initDurationMs"] for report in reports]:
            found[name] = {"starts": len(times), "median_ms": statistics.median(times), "longest_ms": max(times)}
    with capsys.disabled():
        print("\n", json.dumps(found, indent=2))
    if not found:
        pytest.skip("no function has started within a day")

    assert max(one["longest_ms"] for one in found.values()) < 10_000  # then Lambda starts it again, and bills for it
