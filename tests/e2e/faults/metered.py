"""Which metrics a lake has emitted, draws on its dashboards and watches with its alarms."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final

from imagelake import metrics
from imagelake.metrics import AwsMetric, Metric
from local import deployment
from local.emulator.datapoints import Datapoint, in_logs
from local.lake import Lake
from tools.cloudwatch import structure

type Place = tuple[str, str, frozenset[tuple[str, str]]]
"""Of a metric: namespace, name, dimensions."""

EVERY: Final[tuple[Metric | AwsMetric, ...]] = (*metrics.OWN, *metrics.AWS)
OF_THE_ACCOUNT: Final = {("AWS/Lambda", "Throttles"), ("AWS/Usage", "ResourceCount")}
"""Of all functions; the emulator answers for them and does not list them."""
OF_FAULTS: Final = {"ExecutionsFailed", "ExecutionsTimedOut"}
NOT_CALLED: Final = ("RebuildCatalogFunction", "RedriveImagesFunction")
"""Functions that operators call."""
_SEARCH: Final = re.compile(r"SEARCH\('\{([^}]*)\} MetricName=\"(\w+)\" service=\"([^\"]*)\"")


def check(lake: Lake, unseen: Set[str]) -> None:
    """Check that what functions emit, the registry, dashboards and alarms agree, by name, unit and dimensions.

    Args:
        lake: with images, whose functions have logged what they emit.
        unseen: metrics of the registry that the run may not have emitted.
    """
    emitted = set(_emitted(lake))
    registered = {(one.namespace, one.name, one.unit, frozenset(one.dimensions)) for one in metrics.OWN}
    found = {(one.namespace, one.name, one.unit, frozenset(dict(one.dimensions))) for one in emitted}
    assert found <= registered, f"emitted, and not registered so: {found - registered}"
    missing = {name for _, name, _, _ in registered - found}
    print(f"not emitted: {', '.join(sorted(missing)) or 'none'}")
    assert missing <= unseen, f"not emitted: {missing - unseen}"

    published = set(_published(lake))
    assert {(one.namespace, one.name, frozenset(one.dimensions)) for one in emitted} <= published

    drawn, watched = set(_drawn(lake)), set(_watched(lake))
    known = {(one.namespace, one.name, frozenset(one.dimensions)) for one in EVERY}
    shown = {(namespace, name, frozenset(dict(dimensions))) for namespace, name, dimensions in drawn | watched}
    searched = set(_searched(lake))
    assert shown | searched <= known
    names = {name for _, name, _ in shown | searched}
    assert {one.name for one in metrics.OWN} - names <= OF_RELEASES, "neither drawn nor watched"

    not_called = {deployment.physical_id(lake.emulator, lake.stack.name, name) for name in NOT_CALLED}
    for namespace, name, dimensions in sorted((drawn | watched) - published, key=str):
        assert (
            name in unseen | OF_FAULTS
            or ((namespace, name) in OF_THE_ACCOUNT)
            or dict(dimensions).get("FunctionName") in not_called
        ), f"{namespace} {name} {dict(dimensions)} is drawn or watched, and nobody publishes it"


OF_RELEASES: Final = {"ScriptFailures", "ScriptFailuresOfAllVersions"}
"""Watched where `ReleaseShift` shifts releases in steps."""


def _emitted(lake: Lake) -> Iterator[Datapoint]:
    """All that functions have logged in the embedded metric format."""
    logs = lake.client("logs")
    for page in logs.get_paginator("describe_log_groups").paginate():
        for group in page["logGroups"]:
            for events in logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"]):
                yield from in_logs(event["message"] for event in events["events"])


def _dashboards(lake: Lake) -> Iterator[str]:
    for output in ("DashboardUrl", "PromiseDashboardUrl"):
        name = lake.stack.outputs[output].rpartition("name=")[2]
        yield lake.client("cloudwatch").get_dashboard(DashboardName=name)["DashboardBody"]


def _drawn(lake: Lake) -> Iterator[Place]:
    for text in _dashboards(lake):
        for namespace, name, *dimensions in structure.check(text).metrics:
            yield namespace, name, frozenset(zip(dimensions[::2], dimensions[1::2], strict=True))


def _searched(lake: Lake) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Metrics of which a dashboard draws each value of a dimension."""
    for text in _dashboards(lake):
        for expression in re.findall(r'"expression":\s*("SEARCH(?:[^"\\]|\\.)*")', text):
            place = _SEARCH.match(json.loads(expression))
            assert place, expression
            assert place[3] == lake.stack.name
            namespace, *dimensions = place[1].split(",")
            yield namespace, place[2], frozenset(dimensions)


def _watched(lake: Lake) -> Iterator[Place]:
    for page in lake.client("cloudwatch").get_paginator("describe_alarms").paginate():
        for alarm in page["MetricAlarms"]:
            on = [one["MetricStat"]["Metric"] for one in alarm.get("Metrics", ()) if "MetricStat" in one] or [alarm]
            for one in on:
                yield _place(one["Namespace"], one["MetricName"], one["Dimensions"])


def _published(lake: Lake) -> Iterator[Place]:
    for page in lake.client("cloudwatch").get_paginator("list_metrics").paginate():
        for one in page["Metrics"]:
            yield _place(one["Namespace"], one["MetricName"], one["Dimensions"])


def _place(namespace: str, name: str, dimensions: Sequence[Mapping[str, Any]]) -> Place:
    return namespace, name, frozenset((one["Name"], one["Value"]) for one in dimensions)
