"""The evaluation of alarms by the emulator agrees with AWS's own tables and examples."""

from typing import Any

import pytest

from local.emulator.alarms import State, composite_state, state
from local.emulator.datapoints import Datapoint

NOW = 1_800_000_000.0
ALARM: dict[str, Any] = {
    "Namespace": "N",
    "MetricName": "Things",
    "Dimensions": [{"Name": "b", "Value": "2"}, {"Name": "a", "Value": "1"}],
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 0,
    "ComparisonOperator": "GreaterThanThreshold",
}


def point(periods_ago: int, value: float, name: str = "Things", a: str = "1") -> Datapoint:
    """In the middle of a period; 0 is the latest."""
    return Datapoint("N", name, "Count", (("a", a), ("b", "2")), NOW - 60 * periods_ago - 30, value)


def points(text: str) -> list[Datapoint]:
    """`0 X -`: within the threshold, over it, and missing, the latest last."""
    marks = text.split()
    return [point(len(marks) - 1 - index, float(mark == "X")) for index, mark in enumerate(marks) if mark != "-"]


TABLE = [
    # Of three periods: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    ("0 - X - X", "OK OK OK OK"),
    ("- - - - 0", "OK before OK OK"),
    ("- - - - -", "INSUFFICIENT_DATA before ALARM OK"),
    ("0 X X - X", "ALARM ALARM ALARM ALARM"),
    ("- - X - -", "ALARM before ALARM OK"),
]


@pytest.mark.parametrize(("data", "states"), TABLE)
def test_missing_data_is_treated_as_in_the_table_of_aws(data: str, states: str) -> None:
    treatments = ("missing", "ignore", "breaching", "notBreaching")
    for treatment, expected in zip(treatments, states.split(), strict=True):
        for before in ("OK", "ALARM"):
            found = state(ALARM | {"TreatMissingData": treatment}, points(data), NOW, before)
            assert found == expected.replace("before", before), treatment


def test_m_of_n_periods_are_enough() -> None:
    two_of_three = ALARM | {"DatapointsToAlarm": 2, "TreatMissingData": "notBreaching"}

    assert state(two_of_three, points("X 0 X"), NOW, "OK") == "ALARM"
    assert state(two_of_three, points("0 0 X"), NOW, "OK") == "OK"


@pytest.mark.parametrize(
    ("statistic", "threshold"),
    [
        ("Sum", 5050),
        ("Maximum", 100),
        ("Minimum", 1),
        ("Average", 50.5),
        ("SampleCount", 100),
        ("p95", 95),
        ("p50", 50),
    ],
)
def test_a_statistic_is_of_the_values_of_a_period(statistic: str, threshold: float) -> None:
    kind = "ExtendedStatistic" if statistic.startswith("p") else "Statistic"
    alarm = {name: value for name, value in ALARM.items() if name != "Statistic"} | {
        kind: statistic,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    }
    values = [point(0, value) for value in range(1, 101)]

    assert state(alarm | {"Threshold": threshold}, values, NOW, "OK") == "ALARM"
    assert state(alarm | {"Threshold": threshold + 0.01}, values, NOW, "OK") == "OK"


@pytest.mark.parametrize(
    ("percentile", "few", "counts", "changes"),
    [
        ("p95", "ignore", [199, 200, 200], False),
        ("p95", "ignore", [200, 200, 200], True),
        ("p95", "evaluate", [1, 1, 1], True),
        ("p50", "ignore", [19, 20, 20], False),
        ("p50", "ignore", [20, 20, 20], True),
        ("p10", "ignore", [100, 100, 99], False),
        ("p95", "ignore", [200, 0, 200], True),
    ],
)
def test_a_percentile_of_few_values_changes_nothing_where_that_is_asked_for(
    percentile: str, few: str, counts: list[int], changes: bool
) -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html"""
    alarm = {name: value for name, value in ALARM.items() if name != "Statistic"} | {
        "ExtendedStatistic": percentile,
        "EvaluateLowSampleCountPercentile": few,
        "TreatMissingData": "notBreaching",
        "DatapointsToAlarm": 2,
    }
    values = [point(ago, 1) for ago, count in enumerate(counts) for _ in range(count)]

    assert state(alarm, values, NOW, "OK") == ("ALARM" if changes else "OK")


def test_other_metrics_and_other_dimensions_are_not_counted() -> None:
    alarm = ALARM | {"EvaluationPeriods": 1, "TreatMissingData": "notBreaching"}

    assert state(alarm, [point(0, 1, name="Others"), point(0, 1, a="2")], NOW, "OK") == "OK"
    assert state(alarm, [point(0, 1)], NOW, "OK") == "ALARM"


def test_an_expression_is_of_several_metrics_in_the_same_period() -> None:
    def metric(name: str) -> dict[str, Any]:
        dimensions = ALARM["Dimensions"]
        stat = {"Metric": {"Namespace": "N", "MetricName": name, "Dimensions": dimensions}, "Stat": "Sum", "Period": 60}
        return {"Id": name.lower(), "MetricStat": stat, "ReturnData": False}

    def alarm(expression: str) -> dict[str, Any]:
        returned = {"Id": "e", "Expression": expression}
        rest = {name: ALARM[name] for name in ("Threshold", "ComparisonOperator")}
        return rest | {"EvaluationPeriods": 1, "Metrics": [returned, metric("Left"), metric("Right")]}

    published = [point(0, 3, name="Left"), point(1, 99, name="Right")]
    later = [*published, point(0, 2, name="Right")]
    for expression, data, expected in (
        ("left - 3", published, "OK"),
        ("left - 2 * 1", published, "ALARM"),
        ("SUM([FILL(left, 0), FILL(right, 0)]) - 3", published, "OK"),
        ("SUM([left, right]) - 4", later, "ALARM"),
        ("MAX([left, right]) - 3", later, "OK"),
        ("left - right", later, "ALARM"),
    ):
        assert state(alarm(expression), data, NOW, "OK") == expected, expression
    missing = alarm("left + right") | {"TreatMissingData": "breaching"}
    assert state(missing, [point(0, -9, name="Left")], NOW, "OK") == "ALARM", "one side is missing, so the sum is"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ('ALARM("a")', "ALARM"),
        ('ALARM("b") OR\n ALARM("a")', "ALARM"),
        ('ALARM("a") AND ALARM("b")', "OK"),
        ('ALARM("a") AND NOT ALARM("b")', "ALARM"),
    ],
)
def test_a_composite_alarm_follows_its_rule(rule: str, expected: State) -> None:
    assert composite_state(rule, {"a": "ALARM", "b": "OK"}) == expected


def test_what_is_not_known_is_not_guessed() -> None:
    with pytest.raises(KeyError):
        composite_state('ALARM("a") OR ALARM("misspelt")', {"a": "ALARM"})
    for change in ({"Statistic": "TM99"}, {"TreatMissingData": "hopeful"}):
        with pytest.raises(NotImplementedError):
            state(ALARM | change, points("X"), NOW, "OK")
