"""A dashboard as a picture or a page, each widget where CloudWatch has it."""

import base64
import html
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any, Final

from PIL import Image

from imagelake_cli.watch.monitor import Alarm, DashboardError, Series
from imagelake_cli.watch.widgets import Dashboard, Widget

CELL_WIDTH: Final = 62
CELL_HEIGHT: Final = 44
"""Pixels of a cell of the grid."""
MARGIN: Final = 6
HEAD: Final = 46
"""Pixels of the line on top that says what is shown."""
COLUMNS: Final = 24
_COLOURS_OF_FILE: Final = 128
_STATES: Final = {"ALARM": "#d62728", "OK": "#2ca02c", "INSUFFICIENT_DATA": "#9e9e9e"}
_ALARM_WIDTH: Final = 210
_ALARM_HEIGHT: Final = 26
_SCHEMA: Final = "https://vega.github.io/schema/vega-lite/v5.json"
_MARK: Final = "#d62728"
_QUIET: Final = "#9e9e9e"
_LETTER: Final = 6.2
"""Pixels of a letter of a legend, about."""


@dataclass(frozen=True)
class Shown:
    """A dashboard with its numbers: `series` and `alarms` by the place of the widget in it."""

    title: str
    dashboard: Dashboard
    start: datetime
    end: datetime
    series: Mapping[int, Sequence[Series]]
    alarms: Mapping[int, Sequence[Alarm]]


def to_png(shown: Shown) -> bytes:
    """The dashboard as a picture.

    Raises:
        DashboardError: the package that draws pictures is not installed.
    """
    converter = _converter()
    widgets = shown.dashboard.widgets
    bottom = max((one.top + one.height for one in widgets), default=0)
    page = Image.new("RGB", (COLUMNS * CELL_WIDTH, HEAD + bottom * CELL_HEIGHT), "#eef0f2")
    head = _drawing(page.width, HEAD, [_text(shown.title, 19, x=10, y=HEAD / 2, weight="bold")])
    for place, drawing in [((0, 0), head), *((_corner(one), _widget(shown, at)) for at, one in enumerate(widgets))]:
        with Image.open(BytesIO(converter.vegalite_to_png(json.dumps(drawing), scale=1))) as drawn:
            page.paste(drawn.convert("RGB"), place)
    file = BytesIO()
    page.quantize(_COLOURS_OF_FILE).save(file, "PNG", optimize=True)
    return file.getvalue()


def to_html(shown: Shown) -> str:
    """The dashboard as a page that needs nothing but a browser; errors as `to_png`."""
    converter = _converter()
    parts = []
    for at, one in enumerate(shown.dashboard.widgets):
        svg = converter.vegalite_to_svg(json.dumps(_widget(shown, at)))
        left, top = _corner(one)
        source = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
        alternative = html.escape(one.title or one.markdown)
        parts.append(f'<img style="left:{left}px;top:{top}px" alt="{alternative}" src="{source}">')
    title = html.escape(shown.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>\n'
        "<style>body{background:#eef0f2;font-family:sans-serif}img{position:absolute}"
        f"h1{{font-size:19px;margin:12px}}</style></head>\n<body><h1>{title}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _converter() -> Any:
    try:
        import vl_convert  # 84 MB that only pictures need
    except ImportError as error:
        raise DashboardError(
            "Pictures need the package vl-convert-python, which is not installed: install imagelake with its extra "
            "`pictures`, as in uv tool install '.[pictures]'. Without -o the dashboard is drawn in the terminal."
        ) from error
    return vl_convert


def _corner(widget: Widget) -> tuple[int, int]:
    half = MARGIN // 2
    return widget.left * CELL_WIDTH + half, HEAD + widget.top * CELL_HEIGHT + half


def _widget(shown: Shown, at: int) -> dict[str, Any]:
    """The drawing of a widget, in Vega-Lite."""
    widget = shown.dashboard.widgets[at]
    width, height = widget.width * CELL_WIDTH - MARGIN, widget.height * CELL_HEIGHT - MARGIN
    title = _text(widget.title, 13, x=10, y=14, weight="bold")
    if widget.kind == "text":
        return _drawing(width, height, _paragraphs(widget.markdown, width))
    if widget.kind == "alarm":
        return _drawing(width, height, [title, *_alarms(shown.alarms.get(at, ()), width)])
    series = shown.series.get(at, ())
    if widget.view == "singleValue":
        return _drawing(width, height, [title, *_numbers(series, width, height)])
    if not any(one.points for one in series):
        nothing = _text("nothing in this time", 12, x=width / 2, y=height / 2, align="center", colour=_QUIET)
        return _drawing(width, height, [title, nothing])
    return _graph(widget, series, (width, height), (shown.start, shown.end))


def _drawing(width: float, height: float, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shapes on a white card, placed in pixels from its upper left corner."""
    return {
        "$schema": _SCHEMA,
        "width": width,
        "height": height,
        "padding": 0,
        "background": "white",
        "view": {"stroke": None},
        "data": {"values": [{}]},
        "layer": list(layers),
        "config": {"view": {"stroke": None}},
    }


def _text(
    text: str,
    size: int,
    *,
    x: float,
    y: float,
    weight: str = "normal",
    align: str = "left",
    colour: str = "#222222",
) -> dict[str, Any]:
    mark: dict[str, Any] = {
        "type": "text",
        "text": text,
        "fontSize": size,
        "align": align,
        "baseline": "middle",
        "color": colour,
    }
    return {"mark": mark | {"fontWeight": weight, "x": x, "y": y}}


def _paragraphs(markdown: str, width: float) -> list[dict[str, Any]]:
    """Text with a line for each so many letters; marks of headings and of code are left out."""
    layers, y = [], 14.0
    for line in markdown.split("\n"):
        weight = "bold" if line.startswith("#") else "normal"
        for part in _wrapped(line.lstrip("# ").replace("`", ""), int(width / _LETTER)):
            layers.append(_text(part, 12, x=10, y=y, weight=weight))
            y += 16
    return layers


def _wrapped(line: str, letters: int) -> list[str]:
    parts = [""]
    for word in line.split(" "):
        if len(parts[-1]) + len(word) > letters:
            parts.append("")
        parts[-1] += f"{word} "
    return parts


def _alarms(alarms: Sequence[Alarm], width: float) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    columns = max(1, int((width - 20) / _ALARM_WIDTH))
    for number, alarm in enumerate(alarms):
        x, y = 10 + number % columns * _ALARM_WIDTH, 28 + number // columns * (_ALARM_HEIGHT + 4)
        colour = _STATES[alarm.state]
        box = {"type": "rect", "x": x, "y": y, "x2": x + _ALARM_WIDTH - 6, "y2": y + _ALARM_HEIGHT, "color": colour}
        layers.append({"mark": box | {"cornerRadius": 3, "opacity": 1 if alarm.state == "ALARM" else 0.22}})
        ringing = alarm.state == "ALARM"
        ink = "white" if ringing else "#333333"
        name = alarm.name if alarm.state != "INSUFFICIENT_DATA" else f"{alarm.name}: no data"
        layers.append(
            _text(name, 12, x=x + 8, y=y + _ALARM_HEIGHT / 2, colour=ink, weight="bold" if ringing else "normal")
        )
    return layers


def _numbers(series: Sequence[Series], width: float, height: float) -> list[dict[str, Any]]:
    layers, room = [], width / max(1, len(series))
    for number, one in enumerate(series):
        x = room * (number + 0.5)
        colour = one.colour if one.total else _QUIET
        layers.append(
            _text(_written(one.total), 32, x=x, y=height * 0.52, align="center", colour=colour, weight="bold")
        )
        layers.append(_text(one.label, 12, x=x, y=height * 0.84, align="center"))
    return layers


def _written(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _graph(
    widget: Widget, series: Sequence[Series], size: tuple[int, int], between: tuple[datetime, datetime]
) -> dict[str, Any]:
    drawn = [one for one in series if one.points]
    first = min([between[0], *(points[0][0] for one in drawn if (points := one.points))])
    domain = [max(first, between[0] - timedelta(seconds=widget.period)).isoformat(), between[1].isoformat()]
    time: dict[str, Any] = {"type": "temporal", "title": None, "scale": {"type": "utc", "domain": domain}}
    time |= {"axis": {"format": "%H:%M" if between[1] - between[0] <= timedelta(days=1) else "%b %d", "tickCount": 6}}
    values = list(_points(drawn, widget.period, stacked=widget.stacked))
    colour = {
        "field": "series",
        "type": "nominal",
        "title": None,
        "scale": {"domain": [one.label for one in drawn], "range": [one.colour for one in drawn]},
    }
    highest = max([0.0, *(value["value"] for value in values), *(one.value for one in widget.marks)]) or 1.0
    scale = {"domain": [min([0.0, *(value["value"] for value in values)]), highest], "nice": True}
    y = {"field": "value", "type": "quantitative", "title": widget.unit, "scale": scale}
    encoding: dict[str, Any] = {"x": {"field": "at", **time}, "y": y, "color": colour}
    layers: list[dict[str, Any]]
    if widget.stacked:
        encoding |= {"x2": {"field": "end"}, "y2": {"field": "below"}}
        layers = [{"mark": {"type": "rect", "clip": True}, "encoding": encoding}]
    else:
        mark = {"type": "line", "clip": True, "strokeWidth": 1.8, "point": {"size": 18}}
        layers = [{"mark": mark, "encoding": encoding}]
    for one in widget.marks:
        at = {"datum": one.value}
        rule = {"type": "rule", "color": _MARK, "strokeDash": [4, 3]}
        label = {"type": "text", "text": one.label, "color": _MARK, "align": "left", "x": 4, "fontSize": 10}
        label |= {"dy": 7 if one.value > highest / 2 else -7}
        layers += [{"mark": mark, "data": {"values": [{}]}, "encoding": {"y": at}} for mark in (rule, label)]
    longest = max(len(one.label) for one in drawn) * _LETTER + 30
    legend = {"orient": "bottom", "columns": max(1, int((size[0] - 20) / longest)), "labelLimit": size[0] - 40}
    return {
        "$schema": _SCHEMA,
        "width": size[0],
        "height": size[1],
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": {"left": 8, "top": 6, "right": 10, "bottom": 4},
        "background": "white",
        "title": {"text": widget.title, "anchor": "start", "fontSize": 13, "frame": "bounds", "offset": 6},
        "data": {"values": values},
        "layer": layers,
        "config": {
            "view": {"stroke": None},
            "legend": legend
            | {"symbolType": "circle", "symbolSize": 60, "rowPadding": 1, "offset": 4, "symbolStrokeWidth": 0},
            "axis": {"gridColor": "#eeeeee", "titleFontWeight": "normal", "tickCount": 5},
        },
    }


def _points(series: Sequence[Series], period: int, *, stacked: bool) -> Iterator[dict[str, Any]]:
    """What is drawn; where it is stacked, each value on top of those before it in the same period."""
    tops: dict[datetime, float] = defaultdict(float)
    for one in series:
        for moment, value in one.points:
            below = tops[moment] if stacked else 0.0
            tops[moment] = below + value
            end = moment + timedelta(seconds=period)
            place = {"at": moment.isoformat(), "end": end.isoformat(), "below": below, "value": below + value}
            if value or not stacked:
                yield place | {"series": one.label}
