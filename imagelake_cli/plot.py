"""Plots of answers, one panel for each column of numbers: time, or another measure, to the right, or bars over text."""

import json
import math
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

from rich.cells import cell_len, set_cell_size

from imagelake_cli.athena import Answer, Value
from imagelake_cli.formats import is_number, printable

SERIES_LIMIT: Final = 12
"""Lines in a panel that can still be told apart."""
BARS_LIMIT: Final = 40
"""Bars in a panel that fit on a screen."""
PANEL_WIDTH: Final = 800
PANEL_HEIGHT: Final = 220
BAR_HEIGHT: Final = 20
_TEXTS: Final = ("varchar", "string", "boolean")
_ROWS: Final = 14
_TICKS: Final = 5
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_MARKERS: Final = "●▲■◆○△□◇*+x#"

type Place = datetime | float | str
type Points = list[tuple[Place, float]]


class PlotError(Exception):
    """The answer cannot be plotted; the message says why."""


@dataclass(frozen=True)
class Panel:
    """One column of numbers, its points by series and ordered along x; a series without a name is the only one.

    Bars are of one series, in the order of the answer.
    """

    title: str
    series: dict[str, Points]


@dataclass(frozen=True)
class Plot:
    """An answer split into panels, which share their x."""

    x: str
    panels: list[Panel]

    @property
    def is_over_time(self) -> bool:
        """Whether x is time."""
        return self._is_over(datetime)

    @property
    def has_bars(self) -> bool:
        """Whether x is text."""
        return self._is_over(str)

    def _is_over(self, kind: type[Place]) -> bool:
        return any(isinstance(x, kind) for panel in self.panels for points in panel.series.values() for x, _ in points)


def split(answer: Answer) -> Plot:
    """The first column is x, each column of numbers a panel, and the text of a row says its series.

    Where the first column is text, and not a day in every row, each row is a bar with all its text below it.

    Raises:
        PlotError: the first column is no time, number or text, or is not in every row; there are no numbers, too many
            series or bars, or two bars of the same text.
    """
    if not answer.rows:
        raise PlotError("Nothing to plot: the answer has no rows.")
    x = answer.columns[0]
    numbers = [index for index, column in enumerate(answer.columns) if index and is_number(column.type)]
    texts = [index for index, column in enumerate(answer.columns) if column.type in _TEXTS]
    if not numbers:
        raise PlotError("Nothing to plot: no column after the first has numbers.")
    places = [place for row in answer.rows if (place := _place(row[0])) is not None]
    if len(places) == len(answer.rows):
        names = _texts(answer, [index for index in texts if index])
        if len(set(names)) > SERIES_LIMIT:
            raise PlotError(f"{len(set(names))} series cannot be told apart: {SERIES_LIMIT} at most, so group by less.")
        return _plot(answer, x.name, numbers, places, names)
    bars = _texts(answer, texts)
    if 0 not in texts or len(set(bars)) < len(bars):
        raise PlotError(
            f"Cannot plot over {x.name}: the first column has to be a time, a date or a number in every row, or text "
            "that no two rows share. Select one first, such as date_trunc('hour', received_at)."
        )
    if len(bars) > BARS_LIMIT:
        raise PlotError(f"{len(bars)} bars do not fit: {BARS_LIMIT} at most, so group by less or use --limit.")
    return _plot(answer, ", ".join(answer.columns[index].name for index in texts), numbers, bars, [""] * len(bars))


def _texts(answer: Answer, columns: list[int]) -> list[str]:
    return [
        ", ".join("none" if row[index] is None else printable(str(row[index])) for index in columns)
        for row in answer.rows
    ]


def _plot(answer: Answer, x: str, numbers: list[int], places: Sequence[Place], names: list[str]) -> Plot:
    panels = []
    for index in numbers:
        series: dict[str, Points] = {name: [] for name in sorted(set(names))}
        for name, place, row in zip(names, places, answer.rows, strict=True):
            if row[index] is not None and math.isfinite(row[index]):
                series[name].append((place, float(row[index])))
        if not isinstance(places[0], str):
            series = {name: sorted(series[name]) for name in series}
        panels.append(Panel(answer.columns[index].name, series))
    return Plot(x, panels)


def in_terminal(plot: Plot, width: int, colored: bool) -> Iterator[str]:
    """Each panel as text `width` characters wide, and after it a line that names its series by their marks."""
    if plot.has_bars:
        yield from (_bars(panel, plot.x, width) for panel in plot.panels)
        return
    import plotext  # a quarter of a second that answers without plots do not need

    for panel in plot.panels:
        figure = plotext.figure
        figure.clear()
        figure.plot_size(width, _ROWS)
        figure.title(f"{panel.title} over {plot.x}")
        marked = dict(zip(panel.series, _MARKERS, strict=False))
        for name, points in panel.series.items():
            if points:
                xs, ys = [_number(x) for x, _ in points], [y for _, y in points]
                figure.draw(figure.signal(xs, ys, marker=marked[name]).lines())
        ticks = _ticks({x for points in panel.series.values() for x, _ in points})
        figure.ruler("x").ticks([_number(x) for x in ticks], [_label(x) for x in ticks])
        figure.ruler("y").lim(min([0.0, *(y for points in panel.series.values() for _, y in points)]))
        text = str(figure.build()).rstrip("\n")
        yield text if colored else plotext.uncolorize(text)
        yield "  ".join(f"{marker} {name}" for name, marker in marked.items() if name)


def _bars(panel: Panel, x: str, width: int) -> str:
    """A line a bar, and its number beside it; bars are as long as their numbers are far from 0."""
    [points] = panel.series.values()
    numbers = {str(label): f"{y:.10g}" for label, y in points}
    beside = min(max(map(cell_len, numbers), default=0), width // 2)
    room = width - beside - max(map(len, numbers.values()), default=0) - 2
    unit = room / (max((abs(y) for _, y in points), default=0) or 1)
    bars = ("█" * round(abs(y) * unit) for _, y in points)
    lines = [
        f"{set_cell_size(label, beside)} {bar} {number}"
        for bar, (label, number) in zip(bars, numbers.items(), strict=True)
    ]
    return "\n".join([f"{panel.title} over {x}", *lines])


def to_png(plot: Plot) -> bytes:
    """The panels below each other, in a picture.

    Raises:
        PlotError: the package that draws pictures is not installed.
    """
    try:
        import vl_convert  # 84 MB that only pictures need
    except ImportError as error:
        raise PlotError(
            "Pictures need the package vl-convert-python, which is not installed: install imagelake with its extra "
            "`pictures`, as in uv tool install '.[pictures]'."
        ) from error
    png: bytes = vl_convert.vegalite_to_png(json.dumps(specification(plot)), scale=2)
    return png


def specification(plot: Plot) -> dict[str, Any]:
    """The plot in Vega-Lite."""
    x: dict[str, Any] = {"field": "x", "title": plot.x, "type": "quantitative"}
    if plot.is_over_time:
        x |= {"type": "temporal", "scale": {"type": "utc"}}
    elif plot.has_bars:
        x |= {"type": "nominal", "sort": None}
    panels = []
    for panel in plot.panels:
        values = [
            {"x": x.isoformat() if isinstance(x, datetime) else x, "y": y, "series": name}
            for name, points in panel.series.items()
            for x, y in points
        ]
        y = {"field": "y", "title": panel.title, "type": "quantitative"}
        encoding = {"x": y, "y": x} if plot.has_bars else {"x": x, "y": y}
        if len(panel.series) > 1:
            encoding["color"] = {"field": "series", "title": None, "type": "nominal"}
        panels.append(
            {
                "width": PANEL_WIDTH,
                "height": {"step": BAR_HEIGHT} if plot.has_bars else PANEL_HEIGHT,
                "data": {"values": values},
                "mark": {"type": "bar"} if plot.has_bars else {"type": "line", "point": True},
                "encoding": encoding,
            }
        )
    return {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "vconcat": panels}


def _place(value: Value) -> Place | None:
    """Where a value is along x: a time in UTC, or a number; nowhere if it is neither."""
    match value:
        case bool() | None:
            return None
        case datetime():
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        case date():
            return datetime.combine(value, time(), UTC)
        case str():  # the partition key ingest_date is text
            try:
                return datetime.fromisoformat(value).replace(tzinfo=UTC) if _DATE.fullmatch(value) else None
            except ValueError:
                return None
        case _:
            return float(value)


def _number(x: Place) -> float:
    return x.timestamp() if isinstance(x, datetime) else float(x)


def _ticks(places: Set[Place]) -> list[Place]:
    """The first, the last, and a few between."""
    ordered = sorted(places)
    steps = min(_TICKS, len(ordered))
    return [ordered[round(step * (len(ordered) - 1) / max(1, steps - 1))] for step in range(steps)]


def _label(x: Place) -> str:
    return f"{x:%m-%d %H:%M}" if isinstance(x, datetime) else f"{x:g}"
