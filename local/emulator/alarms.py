"""The state of an alarm, as CloudWatch finds it, as far as the alarms of this application go.

One metric or an expression of several, statistics and percentiles, M of N periods, missing data, composite alarms:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html. What is not here raises.

A percentile of few values may be told to change nothing:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/percentiles-with-low-samples.html.

Differs from AWS: a period ends at the moment that is asked about, where AWS has periods of the clock; the evaluation
range is two periods longer than the alarm's, where AWS does not promise a number; a percentile is the nearest rank.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from local.emulator import metric_math
from local.emulator.datapoints import Datapoint

type State = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
type Series = list[float | None]
"""A value for each period, the latest last; None where nothing was published."""

_MORE_PERIODS: Final = 2
_COMPARISONS: Final[dict[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def state(alarm: Mapping[str, Any], published: Sequence[Datapoint], now: float, before: State) -> State:
    """The state of a metric alarm.

    Args:
        alarm: its properties, as CloudFormation has them, with all references resolved.
        published: datapoints of any metrics.
        now: seconds since 1970.
        before: its state until now.
    """
    wanted = int(alarm["EvaluationPeriods"])
    to_alarm = int(alarm.get("DatapointsToAlarm", wanted))
    series = _series(alarm, published, now, wanted + _MORE_PERIODS)
    breaches = _COMPARISONS[alarm["ComparisonOperator"]]
    if _is_of_few(alarm, published, now, wanted):
        return before
    found = [breaches(value, float(alarm["Threshold"])) for value in reversed(series) if value is not None][:wanted]
    missing = wanted - len(found)
    if missing:
        match alarm.get("TreatMissingData", "missing"):
            case "breaching":
                found += [True] * missing
            case "notBreaching":
                found += [False] * missing
            case "ignore":
                return before
            case "missing" if not found:
                return "INSUFFICIENT_DATA"
            case "missing":
                to_alarm = min(to_alarm, len(found))
            case other:
                raise NotImplementedError(f"TreatMissingData {other}")
    return "ALARM" if sum(found) >= to_alarm else "OK"


def composite_state(rule: str, states: Mapping[str, State]) -> State:
    """The state of a composite alarm, whose rule has `ALARM("name")`, AND, OR and NOT.

    Raises:
        KeyError: there is no such alarm.
    """
    text = " ".join(rule.split()).replace(" OR ", " or ").replace(" AND ", " and ").replace("NOT ", "not ")

    def holds(node: ast.expr) -> bool:
        match node:
            case ast.BoolOp(op=ast.Or(), values=values):
                return sum(map(holds, values)) > 0  # all of them: a name may be wrong
            case ast.BoolOp(op=ast.And(), values=values):
                return sum(map(holds, values)) == len(values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not holds(operand)
            case ast.Call(func=ast.Name(id="ALARM"), args=[ast.Constant(value=str(name))]):
                return states[name] == "ALARM"
        raise NotImplementedError(f"{ast.unparse(node)} in the rule of a composite alarm")

    return "ALARM" if holds(ast.parse(text, mode="eval").body) else "OK"


def _is_of_few(alarm: Mapping[str, Any], published: Sequence[Datapoint], now: float, periods: int) -> bool:
    """Whether the alarm passes over percentiles of few values, and the values of a period are too few."""
    if alarm.get("EvaluateLowSampleCountPercentile", "evaluate") == "evaluate":
        return False
    share = float(alarm["ExtendedStatistic"].removeprefix("p")) / 100
    enough = 10 / (1 - share) if share >= 0.5 else 10 / share
    counts = _statistics(alarm, "SampleCount", int(alarm["Period"]), published, now, periods)
    return any(count is not None and count < round(enough, 6) for count in counts)


def _series(alarm: Mapping[str, Any], published: Sequence[Datapoint], now: float, periods: int) -> Series:
    if "Metrics" not in alarm:
        statistic = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        return _statistics(alarm, statistic, int(alarm["Period"]), published, now, periods)
    named: dict[str, Series] = {}
    for one in alarm["Metrics"]:
        if stat := one.get("MetricStat"):
            named[one["Id"]] = _statistics(stat["Metric"], stat["Stat"], int(stat["Period"]), published, now, periods)
    [returned] = [one for one in alarm["Metrics"] if one.get("ReturnData", True)]
    if "Expression" not in returned:
        return named[returned["Id"]]
    series = {name: {at: value for at, value in enumerate(some) if value is not None} for name, some in named.items()}
    found = metric_math.evaluate(returned["Expression"], series, range(periods))
    return [found.get(at) for at in range(periods)]


def _statistics(
    metric: Mapping[str, Any], statistic: str, period: int, published: Sequence[Datapoint], now: float, periods: int
) -> Series:
    dimensions = tuple(sorted((one["Name"], one["Value"]) for one in metric.get("Dimensions", ())))
    values: list[list[float]] = [[] for _ in range(periods)]
    for one in published:
        ago = math.ceil((now - one.at) / period) if one.at < now else 1
        is_of_metric = (one.namespace, one.name, one.dimensions) == (
            metric["Namespace"],
            metric["MetricName"],
            dimensions,
        )
        if is_of_metric and ago <= periods:
            values[-ago].append(one.value)
    return [_statistic(statistic, found) if found else None for found in values]


def _statistic(name: str, values: Sequence[float]) -> float:
    match name:
        case "Sum":
            return sum(values)
        case "Maximum":
            return max(values)
        case "Minimum":
            return min(values)
        case "Average":
            return sum(values) / len(values)
        case "SampleCount":
            return len(values)
    if name.startswith("p"):
        return sorted(values)[math.ceil(float(name[1:]) / 100 * len(values)) - 1]
    raise NotImplementedError(f"statistic {name}")
