"""A dashboard as CloudWatch takes it, and the nested stack that has both."""

import json
from itertools import accumulate
from typing import Any, Final

from tools.cloudwatch.panels import Alarms, Dashboard, Each, Line, Math, Panel, Text

PARAMETER_TYPES: Final = {"RetentionDays": "Number", "ProcessMemoryMb": "Number"}


def body(dashboard: Dashboard) -> dict[str, Any]:
    """The JSON of `DashboardBody`, with the parameters of the stack in it."""
    widgets, top = [], 0
    for row in dashboard.rows:
        lefts = accumulate((one.width for one in row), initial=0)
        widgets += [_widget(one, left, top) for one, left in zip(row, lefts, strict=False)]
        top += max(one.height for one in row)
    return {"start": dashboard.since, "periodOverride": "inherit", "widgets": widgets}


def _widget(one: Panel | Alarms | Text, left: int, top: int) -> dict[str, Any]:
    kind, properties = _properties(one)
    return {"type": kind, "x": left, "y": top, "width": one.width, "height": one.height, "properties": properties}


def _properties(one: Panel | Alarms | Text) -> tuple[str, dict[str, Any]]:
    match one:
        case Text():
            return "text", {"markdown": one.markdown}
        case Alarms():
            return "alarm", {"title": one.title, "sortBy": "stateUpdatedTimestamp", "alarms": [f"${{{one.names}}}"]}
    properties = {
        "title": one.title,
        "region": "${AWS::Region}",
        "view": one.view,
        "period": one.period,
        "metrics": [_entry(line, one.period) for line in one.lines],
    }
    if one.view == "singleValue":
        return "metric", properties | {"setPeriodToTimeRange": True, "sparkline": False}
    properties |= {"stacked": one.stacked, "yAxis": {"left": {"label": one.unit, "min": 0, "showUnits": False}}}
    if one.marks:
        marks = [{"value": mark.value, "label": mark.label, "color": "#d62728"} for mark in one.marks]
        properties["annotations"] = {"horizontal": marks}
    return "metric", properties


def _entry(line: Line | Each | Math, period: int) -> list[Any]:
    match line:
        case Each(metric=metric):
            return [{"expression": line.search(period), "label": f"${{!PROP('Dim.{metric.by}')}}"}]
        case Math():
            named = {"expression": line.expression, "label": line.label}
        case Line():
            named = {"stat": line.stat} | ({"label": line.label} if line.label else {})
    options: dict[str, Any] = named | {
        name: value for name, value in (("id", line.id), ("color", line.colour)) if value
    }
    options |= {} if line.is_shown else {"visible": False}
    if isinstance(line, Math):
        return [options]
    place = [text for pair in line.dimensions.items() for text in pair]
    return [line.metric.namespace, line.metric.name, *place, options]


def written(dashboard: Dashboard) -> str:
    """The file of a dashboard: a widget a line, and a line for each of its metrics."""
    document = body(dashboard)
    lines = ["{", f' "start": {json.dumps(document["start"])},']
    lines += [f' "periodOverride": {json.dumps(document["periodOverride"])},', ' "widgets": [']
    for number, widget in enumerate(document["widgets"], 1):
        end = "" if number == len(document["widgets"]) else ","
        shown = widget["properties"].pop("metrics", None)
        text = json.dumps(widget, ensure_ascii=False)
        if shown is None:
            lines.append(f"  {text}{end}")
            continue
        entries = ",\n".join(f"    {json.dumps(entry, ensure_ascii=False)}" for entry in shown)
        lines.append(f'  {text[:-2]}, "metrics": [\n{entries}]}}}}{end}')
    return "\n".join([*lines, " ]", "}"]) + "\n"
