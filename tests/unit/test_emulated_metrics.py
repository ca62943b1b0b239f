"""CloudWatch of the emulator answers what was published, with math and searches, as AWS does."""

from collections.abc import Iterator
from typing import Any

import pytest
from ministack.services import cloudwatch

from local.emulator import emulated_metrics as emulated

NOON = 1_795_867_200
"""2026-11-28T12:00:00Z."""


@pytest.fixture(autouse=True)
def _nothing_published() -> Iterator[None]:
    cloudwatch.reset()
    yield
    cloudwatch.reset()


def publish(name: str, value: float, second: int = 0, namespace: str = "N", **dimensions: str) -> None:
    emulated.publish(namespace, name, "Count", dimensions, value, NOON + second)


def query(name: str, known: str, stat: str = "Sum", namespace: str = "N", **dimensions: str) -> dict[str, Any]:
    pairs = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    metric = {"Namespace": namespace, "MetricName": name, "Dimensions": pairs}
    return {"Id": known, "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}}


def answered(*queries: dict[str, Any], **more: Any) -> list[tuple[str, str, list[float]]]:
    request = {"StartTime": NOON, "EndTime": NOON + 180, "ScanBy": "TimestampAscending", "MetricDataQueries": queries}
    return [(one["Id"], one["Label"], one["Values"]) for one in emulated._results(request | more)]


@pytest.mark.parametrize(
    ("stat", "first", "second"),
    [("Sum", 6, 5), ("Average", 1.5, 5), ("Maximum", 3, 5), ("Minimum", 1, 5), ("SampleCount", 4, 1), ("p50", 1, 5)],
)
def test_a_statistic_is_of_each_period(stat: str, first: float, second: float) -> None:
    for value in (1, 1, 1, 3):
        publish("Things", value)
    publish("Things", 5, second=61)

    assert answered(query("Things", "m1", stat)) == [("m1", "Things", [first, second])]


def test_the_same_value_in_a_minute_is_kept_once() -> None:
    for second in range(0, 120, 2):
        publish("Things", 1, second)

    [(_, points)] = cloudwatch._metrics.items()
    assert len(points) == 2
    assert answered(query("Things", "m1")) == [("m1", "Things", [30, 30])]


def test_a_metric_has_exactly_its_dimensions_but_lambda_adds_all_functions_up() -> None:
    publish("Things", 1, a="1")
    publish("Things", 2, a="1", b="2")
    publish("Errors", 3, namespace="AWS/Lambda", FunctionName="f")
    publish("Errors", 4, namespace="AWS/Lambda", FunctionName="g")

    assert answered(
        query("Things", "m1", a="1"), query("Things", "m2"), query("Errors", "m3", namespace="AWS/Lambda")
    ) == [
        ("m1", "Things", [1]),
        ("m2", "Things", []),
        ("m3", "Errors", [7]),
    ]


def test_math_is_of_the_series_of_the_same_request() -> None:
    publish("Things", 10)
    publish("Things", 20, second=60)
    hidden = query("Things", "m1") | {"ReturnData": False}

    assert answered(hidden, {"Id": "e1", "Expression": "m1 / 10", "Label": "tenth", "Period": 60}) == [
        ("e1", "tenth", [1, 2])
    ]
    assert answered(hidden, {"Id": "e1", "Expression": "TIME_SERIES(7)", "Period": 60}) == [
        ("e1", "TIME_SERIES(7)", [7, 7, 7])
    ]


def test_a_search_finds_each_value_of_a_dimension_in_the_time_asked_for() -> None:
    publish("Rejected", 1, service="lake", reason="corrupt")
    publish("Rejected", 2, second=60, service="lake", reason="truncated")
    publish("Rejected", 4, service="other", reason="corrupt")
    publish("Rejected", 8, service="lake")
    publish("Rejected", 16, second=-600, service="lake", reason="too_old")
    search = "SEARCH('{N,service,reason} MetricName=\"Rejected\" service=\"lake\"', 'Sum', 60)"

    assert answered({"Id": "e1", "Expression": search, "Label": "${PROP('Dim.reason')}"}) == [
        ("e1", "corrupt", [1]),
        ("e1", "truncated", [2]),
    ]
    assert answered({"Id": "e1", "Expression": f"SUM({search})", "Label": "all", "Period": 60}) == [
        ("e1", "all", [1, 2])
    ]


def test_the_latest_comes_first_unless_asked_otherwise() -> None:
    publish("Things", 1)
    publish("Things", 2, second=60)

    assert answered(query("Things", "m1"), ScanBy="TimestampDescending") == [("m1", "Things", [2, 1])]


@pytest.mark.parametrize("expression", ["RATE(m1)", "m2 + 1"])
def test_what_is_not_known_is_refused(expression: str) -> None:
    asked = {"StartTime": NOON, "EndTime": NOON + 60, "MetricDataQueries": [query("Things", "m1")]}
    asked["MetricDataQueries"].append({"Id": "e1", "Expression": expression, "Period": 60})  # type: ignore[attr-defined]

    with pytest.raises((NotImplementedError, KeyError)):
        emulated._results(asked)
