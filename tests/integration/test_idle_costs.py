"""What docs/aws.md says that an idle stack costs, counted from template and workflow and from runs of an empty lake."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from botocore.client import BaseClient

from functions.audit_retention.app import handler as audit_retention
from functions.compact_catalog.app import handler as compact_catalog
from functions.enforce_retention.app import handler as enforce_retention
from functions.reconcile.app import handler as reconcile
from imagelake import emission
from imagelake.metrics import Metric
from tests.application import ROOT, TEMPLATE, event, logical_id, resources
from tests.integration.conftest import Context
from tests.integration.settings_of_stores import configure_stores

DAYS = 30
PURGE = "EnforceRetentionStateMachine"
HANDLERS: dict[str, Callable[..., dict[str, Any]]] = {
    "enforce_retention": enforce_retention,
    "compact_catalog": compact_catalog,
    "reconcile": reconcile,
    "audit_retention": audit_retention,
}
PAGE = (ROOT / "docs/aws.md").read_text(encoding="utf-8").partition("## What an idle stack costs")[2]


def _runs(schedule: str) -> int:
    """How often a schedule starts something in a month."""
    found = re.fullmatch(r"cron\(([\d,]+) (\*|[\d,]+) \* \* \? \*\)", schedule)
    assert found, schedule
    hours = 24 if found[2] == "*" else len(found[2].split(","))
    return DAYS * hours * len(found[1].split(","))


SCHEDULES = {
    name: sum(_runs(one["Properties"]["ScheduleExpression"]) for one in scheduled)
    for name, resource in TEMPLATE["Resources"].items()
    if (
        scheduled := [
            one for one in resource.get("Properties", {}).get("Events", {}).values() if one["Type"] == "ScheduleV2"
        ]
    )
}
"""Starts a month, by logical id of what is started."""


def _idle_run() -> list[dict[str, Any]]:
    """The states that a run of the purge enters that finds nothing to do."""
    workflow = json.loads((ROOT / "statemachine/enforce_retention.asl.json").read_text(encoding="utf-8"))
    entered = [workflow["States"][workflow["StartAt"]]]
    while entered[-1]["Type"] not in ("Succeed", "Fail"):
        state = entered[-1]
        if state["Type"] == "Choice":
            (choice,) = state["Choices"]
            assert choice["NumericEquals"] == 0
        entered.append(workflow["States"][choice["Next"] if state["Type"] == "Choice" else state["Next"]])
    assert entered[-1]["Type"] == "Succeed"
    return entered


LOOKS = sum(state["Type"] == "Task" for state in _idle_run())
RUNS = {name: SCHEDULES[logical_id(name)] for name in HANDLERS if name != "enforce_retention"}
RUNS["enforce_retention"] = LOOKS * SCHEDULES[PURGE]


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], Context]) -> tuple[Counter[tuple[str, str]], set[str]]:
    """Calls of AWS a month, by function and service, and the metrics that are emitted, of an empty lake."""
    configure_stores()
    calls, metrics = Counter[tuple[str, str]](), set[str]()
    running = ""
    make, add = BaseClient._make_api_call, emission.add  # type: ignore[attr-defined]

    def count(client: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        calls[running, client.meta.service_model.service_name] += RUNS[running]
        return make(client, operation, arguments)

    def note(metric: Metric, *others: Any, **more: Any) -> None:
        assert metric.by is None, "a metric for each of its values"
        metrics.add(metric.name)
        add(metric, *others, **more)

    for variable in ("FAILED_RECORDS_BUCKET", "QUICK_SIGHT_RESULTS_BUCKET"):
        monkeypatch.setenv(variable, "")
    contexts = {name: tell(name) for name in HANDLERS}
    monkeypatch.setattr(BaseClient, "_make_api_call", count)
    monkeypatch.setattr(emission, "add", note)
    emission._count_cold_start.cache_clear()
    for running, handler in HANDLERS.items():
        answer = handler(event(running), contexts[running])
        assert answer.get("work", []) == [], "an idle run of the purge starts no children"
    return calls, metrics


def _row(name: str) -> tuple[str, float, float]:
    """What the page says of a part, and the least and the most that it costs."""
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| {name}"))
    costs = [float(cost) for cost in re.findall(r"\$(\d+(?:\.\d+)?)", row.rsplit("|", 2)[1])]
    return row, costs[0], costs[-1]


def test_the_page_counts_runs_and_transitions_as_the_template_has_them() -> None:
    transitions = (len(_idle_run()) + 1) * SCHEDULES[PURGE]
    row, least, most = _row("purge")
    assert f"{SCHEDULES[PURGE]:,} runs" in row
    assert f"{transitions:,} state transitions" in row
    assert least == round((transitions - 4000) * 0.025 / 1000, 2)
    assert most == round(transitions * 0.025 / 1000, 2)

    row, least, _ = _row("schedules")
    assert f"schedules, {sum(SCHEDULES.values()):,}" in row
    assert least == 0

    memory = {name: TEMPLATE["Resources"][logical_id(name)]["Properties"].get("MemorySize", 512) for name in RUNS}
    seconds = sum(runs * memory[name] / 1024 for name, runs in RUNS.items())
    row, least, most = _row("functions")
    assert f"{sum(RUNS.values()):,} runs" in row
    assert f"about {round(seconds, -2):,.0f} GB-seconds" in row
    assert (least, most) == (0, round(seconds * 0.0000133, 2))


def test_the_page_counts_requests_metrics_and_alarms(idle: tuple[Counter[tuple[str, str]], set[str]]) -> None:
    calls, metrics = idle
    alarms = [one["Properties"] for one in resources("AWS::CloudWatch::Alarm").values() if "Condition" not in one]
    [_composite] = resources("AWS::CloudWatch::CompositeAlarm")
    on = sum(len([one for one in alarm.get("Metrics", [{}]) if "Expression" not in one]) for alarm in alarms)
    row, least, most = _row(
        f"{len(metrics)} metrics, {len(alarms)} alarms on {on} metrics, a composite one, 2 dashboards"
    )
    assert least == pytest.approx(0.1 * (on - 10) + 0.5)
    assert most == pytest.approx(0.3 * len(metrics) + 0.1 * on + 0.5 + 2 * 3)

    to = Counter[str]()
    for (_, service), count in calls.items():
        to[service] += count
    row, least, most = _row("what they list")
    assert f"about {round(to['s3'], -3):,} requests to S3" in row
    assert least == most == round(to["s3"] * 0.005 / 1000, 2)
    assert to["dynamodb"] * 0.125 / 1e6 < 0.01  # a query that finds nothing is half a read unit
    assert to["glue"] < 1e6  # are free


def test_the_sum_is_that_of_the_rows_and_what_readme_says() -> None:
    _, least, most = _row("**Sum**")
    parts = [_row(name)[1:] for name in ("purge", "functions", "what they list", "schedules", "10 metrics, ")]
    assert (least, most) == tuple(round(sum(side), 2) for side in zip(*parts, strict=True))
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"An idle stack costs ${least:.2f} to ${most:.2f} a month" in readme
