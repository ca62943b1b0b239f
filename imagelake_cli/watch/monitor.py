"""What CloudWatch knows: the numbers of a dashboard and the states of its alarms."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from imagelake_cli.watch.widgets import COLOURS, Widget

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

type Points = tuple[tuple[datetime, float], ...]

_ALARMS_AT_ONCE: Final = 100
_TOTAL: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "Sum": sum,
    "SampleCount": sum,
    "Maximum": max,
    "Minimum": min,
}
_STATES: Final = ("ALARM", "INSUFFICIENT_DATA", "OK")


class DashboardError(Exception):
    """A dashboard cannot be drawn; the message says why."""


@dataclass(frozen=True)
class Series:
    """One line, ordered by time. `stat` is how its points were made."""

    label: str
    colour: str
    stat: str
    points: Points

    @property
    def total(self) -> float | None:
        """One number for all of the time; the last where the points cannot be put together."""
        values = [value for _, value in self.points]
        if not values:
            return None
        return _TOTAL[self.stat](values) if self.stat in _TOTAL else values[-1]


@dataclass(frozen=True)
class Alarm:
    """The state of an alarm: `ALARM`, `OK`, or `INSUFFICIENT_DATA`."""

    name: str
    state: str


class Monitor:
    """CloudWatch of one account and region."""

    def __init__(self, client: "CloudWatchClient") -> None:
        self._client = client

    def body(self, name: str) -> str:
        """The body of a dashboard."""
        return self._client.get_dashboard(DashboardName=name)["DashboardBody"]

    def series(self, widget: Widget, start: datetime, end: datetime) -> list[Series]:
        """The lines of a graph, in the order of its legend; one that has no numbers has no points.

        Raises:
            DashboardError: CloudWatch could not compute one of them.
        """
        if not widget.queries:
            return []
        results = list(self._results(widget.queries, start, end))
        return list(_lines(widget, results))

    def _results(
        self, queries: Sequence[Mapping[str, Any]], start: datetime, end: datetime
    ) -> Iterator[tuple[str, str, Points]]:
        """Id, label and points of each result, put together from the pages of the answer."""
        pages = self._client.get_paginator("get_metric_data").paginate(
            MetricDataQueries=queries,  # type: ignore[arg-type]  # made from the body
            StartTime=start,
            EndTime=end,
            ScanBy="TimestampAscending",
        )
        found: dict[tuple[str, str], list[tuple[datetime, float]]] = {}
        for page in pages:
            for result in page["MetricDataResults"]:
                if result.get("StatusCode") in ("InternalError", "Forbidden"):
                    said = "; ".join(str(one.get("Value", "")) for one in result.get("Messages", ()))
                    raise DashboardError(f"CloudWatch gave nothing for {result['Label'] or result['Id']}: {said}")
                points = found.setdefault((result["Id"], result["Label"]), [])
                points += zip(result["Timestamps"], result["Values"], strict=True)
        return ((known, label, tuple(sorted(points))) for (known, label), points in found.items())

    def alarms(self, arns: Iterable[str]) -> list[Alarm]:
        """The alarms, those that ring first."""
        names = [arn.rpartition(":alarm:")[2] for arn in arns]
        found = []
        for first in range(0, len(names), _ALARMS_AT_ONCE):
            some = names[first : first + _ALARMS_AT_ONCE]
            answer = self._client.describe_alarms(AlarmNames=some, AlarmTypes=["MetricAlarm", "CompositeAlarm"])
            found += [*answer.get("MetricAlarms", ()), *answer.get("CompositeAlarms", ())]
        alarms = [Alarm(_short(one["AlarmName"]), one["StateValue"]) for one in found]
        return sorted(alarms, key=lambda one: (_STATES.index(one.state), one.name))


def _short(name: str) -> str:
    """What the template calls an alarm: the rest of the name differs by deployment."""
    return next((part for part in name.split("-") if re.fullmatch(r"\w+Alarm", part)), name)


def _lines(widget: Widget, results: Sequence[tuple[str, str, Points]]) -> Iterator[Series]:
    unused = iter(COLOURS * (len(results) // len(COLOURS) + 1))
    for line in widget.lines:
        mine = [(label, points) for known, label, points in results if known == line.id]
        for label, points in mine or [(line.label or line.id, ())]:
            colour = line.colour or next(unused)
            yield Series(label if len(mine) > 1 or not line.label else line.label, colour, line.stat, points)
