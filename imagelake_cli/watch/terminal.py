"""A dashboard as text: alarms, numbers, and a plot for each graph that has something to show."""

from collections.abc import Iterator

from rich.markup import escape

from imagelake_cli import plot
from imagelake_cli.plot import Panel, Plot, Points
from imagelake_cli.watch.monitor import Series
from imagelake_cli.watch.picture import Shown
from imagelake_cli.watch.widgets import Widget

_STATES = {
    "ALARM": "[bold white on red] {} rings [/]",
    "OK": "[green]{}[/]",
    "INSUFFICIENT_DATA": "[dim]{} (no data)[/]",
}


def lines(shown: Shown, width: int, colored: bool) -> Iterator[tuple[str, bool]]:
    """The parts from top to bottom, and whether a part has the marks of rich."""
    yield f"[bold]{escape(shown.title)}[/]", True
    empty = []
    for at, widget in enumerate(shown.dashboard.widgets):
        if widget.kind == "alarm":
            states = "  ".join(_STATES[one.state].format(one.name) for one in shown.alarms.get(at, ()))
            yield f"\n[bold]{escape(widget.title)}[/]\n{states}", True
        elif widget.kind == "metric":
            series = shown.series.get(at, ())
            if widget.view == "singleValue":
                numbers = "  ".join(f"{escape(one.label)} [bold]{_written(one)}[/]" for one in series)
                yield f"\n[bold]{escape(widget.title)}[/]\n{numbers}", True
            elif any(one.points for one in series):
                yield "", False
                for part in plot.in_terminal(_plot(shown, widget, list(series)), width, colored):
                    yield part, False
            else:
                empty.append(widget.title)
    if empty:
        yield "\n[dim]Nothing in this time: " + escape(" ".join(empty)) + "[/]", True


def _written(one: Series) -> str:
    return "none" if one.total is None else f"{one.total:,.6g}"


def _plot(shown: Shown, widget: Widget, series: list[Series]) -> Plot:
    panels: dict[str, Points] = {one.label: list(one.points) for one in series if one.points}
    panels |= {mark.label: [(shown.start, mark.value), (shown.end, mark.value)] for mark in widget.marks}
    unit = f" ({widget.unit})" if widget.unit else ""
    return Plot("time, UTC", [Panel(f"{widget.title}{unit}", panels)])
