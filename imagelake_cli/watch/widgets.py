"""The body of a dashboard: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-Dashboard-Body-Structure.html."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

COLOURS: Final = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22")
"""Of lines without one of their own."""
_DEFAULT_PERIOD: Final = 300
_UNITS: Final = {"M": timedelta(minutes=1), "H": timedelta(hours=1), "D": timedelta(days=1), "W": timedelta(weeks=1)}


@dataclass(frozen=True)
class Line:
    """One entry of `metrics` that is drawn. `colour` is none where CloudWatch chooses."""

    id: str
    label: str | None
    stat: str
    colour: str | None


@dataclass(frozen=True)
class Mark:
    """A horizontal annotation."""

    value: float
    label: str


@dataclass(frozen=True)
class Widget:
    """A widget and its place, in cells of a grid that is 24 wide.

    `queries` are what GetMetricData is asked for, `lines` those of them that are drawn.
    """

    kind: str
    left: int
    top: int
    width: int
    height: int
    title: str
    view: str = "timeSeries"
    period: int = _DEFAULT_PERIOD
    unit: str = ""
    stacked: bool = False
    markdown: str = ""
    alarms: tuple[str, ...] = ()
    queries: tuple[Mapping[str, Any], ...] = ()
    lines: tuple[Line, ...] = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Dashboard:
    """All widgets, and the time that is shown at first."""

    since: timedelta
    widgets: tuple[Widget, ...]

    @property
    def finest(self) -> int:
        """The shortest period on it, in seconds."""
        return min((one.period for one in self.widgets if one.kind == "metric"), default=_DEFAULT_PERIOD)


def read(body: str) -> Dashboard:
    """A dashboard from its body.

    Raises:
        ValueError: it is not one, or has something that is drawn by CloudWatch only.
    """
    document = json.loads(body)
    try:
        widgets = tuple(_widget(one) for one in document["widgets"])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"not the body of a dashboard: {error!r}") from None
    return Dashboard(_duration(document.get("start", "-PT3H")), widgets)


def _duration(start: str) -> timedelta:
    """The length of `-PT3H` or `-P8D`, in one unit."""
    found = re.fullmatch(r"-P(T?)(\d+)([MHDW])", start)
    if not found or (found[1] == "T") is not (found[3] in "MH"):
        raise ValueError(f"start is {start}, which is drawn by CloudWatch only")
    return int(found[2]) * _UNITS[found[3]]


def _widget(one: Mapping[str, Any]) -> Widget:
    properties = one["properties"]
    size = one.get("width", 6), one.get("height", 6)
    place = Widget(one["type"], one["x"], one["y"], *size, title=properties.get("title", ""))
    match one["type"]:
        case "text":
            return replace(place, markdown=properties["markdown"])
        case "alarm":
            return replace(place, alarms=tuple(properties["alarms"]))
        case "metric":
            return _metric_widget(place, properties)
        case kind:
            raise ValueError(f"a widget of type {kind} is drawn by CloudWatch only")


def _metric_widget(place: Widget, properties: Mapping[str, Any]) -> Widget:
    period = properties.get("period", _DEFAULT_PERIOD)
    queries, lines = [], []
    for number, (names, options) in enumerate(_spelled_out(properties.get("metrics", ()))):
        known = options.get("id", f"q{number}")
        stat = options.get("stat", properties.get("stat", "Average"))
        query: dict[str, Any] = {"Id": known, "ReturnData": options.get("visible", True)}
        query |= {"Label": options["label"]} if "label" in options else {}
        if "expression" in options:
            query |= {"Expression": options["expression"], "Period": options.get("period", period)}
        else:
            namespace, name, *rest = names
            pairs = zip(rest[::2], rest[1::2], strict=True)
            metric = {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": value} for key, value in pairs],
            }
            query["MetricStat"] = {"Metric": metric, "Period": options.get("period", period), "Stat": stat}
        queries.append(query)
        if query["ReturnData"]:
            lines.append(Line(known, options.get("label"), stat, options.get("color")))
    marks = properties.get("annotations", {}).get("horizontal", ())
    return replace(
        place,
        view=properties.get("view", "timeSeries"),
        period=period,
        unit=properties.get("yAxis", {}).get("left", {}).get("label", ""),
        stacked=properties.get("stacked", False),
        queries=tuple(queries),
        lines=tuple(lines),
        marks=tuple(Mark(float(mark["value"]), mark.get("label", "")) for mark in marks if isinstance(mark, dict)),
    )


def _spelled_out(entries: Sequence[Sequence[Any]]) -> list[tuple[list[str], dict[str, Any]]]:
    """Names and options of each entry; a dot repeats what stands above it, three all but what comes after."""
    spelled: list[tuple[list[str], dict[str, Any]]] = []
    above: list[str] = []
    for entry in entries:
        options = entry[-1] if isinstance(entry[-1], dict) else {}
        names = [text for text in entry if isinstance(text, str)]
        if names[:1] == ["..."]:
            names = above[: len(above) - len(names) + 1] + names[1:]
        names = [above[place] if text == "." else text for place, text in enumerate(names)]
        spelled.append((names, options))
        above = names or above
    return spelled
