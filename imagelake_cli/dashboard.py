"""`imagelake dashboard`: the dashboards of CloudWatch here, with their numbers."""

import json
import re
import shutil
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from imagelake_cli import connection
from imagelake_cli.failures import explained
from imagelake_cli.options import AsJson, Profile, Region, Stack
from imagelake_cli.watch import picture, terminal, widgets
from imagelake_cli.watch.monitor import DashboardError, Monitor
from imagelake_cli.watch.picture import Shown

_REFUSALS: Final = (connection.NoLakeError, DashboardError, BotoCoreError, ClientError, OSError)
_MOST_POINTS: Final = 1440
"""Of a line: a day of minutes."""
_UNITS: Final = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


class Which(StrEnum):
    """The dashboards of a stack."""

    FLOW = "flow"
    PROMISE = "promise"


def dashboard(
    which: Annotated[
        Which, typer.Argument(help="flow: whether images flow. promise: whether they go when they should.")
    ] = Which.FLOW,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="A .png or .html; by default here, as text.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="How far back, as 30m, 3h or 2d; by default as the dashboard says.")
    ] = None,
    stack: Stack = None,
    region: Region = None,
    profile: Profile = None,
    as_json: AsJson = False,
) -> None:
    """Draw a dashboard of the stack with the numbers that CloudWatch has now.

    JSON has an object an alarm, `alarm` and `state`, and an object a line of a graph: `graph`, `line`, `total` and
    `points`, each of them a time and a value.
    """
    length = _length(since)
    if output and as_json:
        raise typer.BadParameter("goes to standard output, and --output is a picture or a page", param_hint="--json")
    if output and output.suffix not in (".png", ".html"):
        raise typer.BadParameter("is not called .png or .html", param_hint="--output")
    if output and not output.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {output.parent}", param_hint="--output")
    with explained(*_REFUSALS):
        monitor, name = connection.dashboard(which, stack, region, profile)
        shown = read(monitor, name, length, datetime.now(UTC))
        if as_json:
            _print_json(shown)
        elif output and output.suffix == ".png":
            output.write_bytes(picture.to_png(shown))
        elif output:
            output.write_text(picture.to_html(shown), encoding="utf-8")
        else:
            _print(shown)


def _length(since: str | None) -> timedelta | None:
    if since is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})([mhd])", since)
    if not found:
        raise typer.BadParameter("give minutes, hours or days, as in 30m, 3h or 2d", param_hint="--since")
    return int(found[1]) * _UNITS[found[2]]


def read(monitor: Monitor, name: str, length: timedelta | None, end: datetime) -> Shown:
    """A dashboard with its numbers.

    Args:
        monitor: where it is.
        name: of it.
        length: of the time before `end` that is shown; by default as the dashboard says.
        end: of that time.

    Raises:
        DashboardError: that is more than can be drawn, or the dashboard has what only CloudWatch draws.
    """
    try:
        found = widgets.read(monitor.body(name))
    except ValueError as error:
        raise DashboardError(f"The dashboard {name} was changed by hand: {error}.") from None
    length = length or found.since
    if length > (most := found.finest * _MOST_POINTS * timedelta(seconds=1)):
        raise DashboardError(f"{name} shows at most {most / timedelta(hours=1):g} hours at once: give less as --since.")
    start = end - length
    title = f"{name}: {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    series = {at: monitor.series(one, start, end) for at, one in enumerate(found.widgets) if one.kind == "metric"}
    alarms = {at: monitor.alarms(one.alarms) for at, one in enumerate(found.widgets) if one.kind == "alarm"}
    return Shown(title, found, start, end, series, alarms)


def _print(shown: Shown) -> None:
    console = Console(highlight=False)
    width = shutil.get_terminal_size().columns
    for text, marked in terminal.lines(shown, width, sys.stdout.isatty()):
        if marked:
            console.print(text)
        else:
            typer.echo(text)


def _print_json(shown: Shown) -> None:
    for at, widget in enumerate(shown.dashboard.widgets):
        for alarm in shown.alarms.get(at, ()):
            typer.echo(json.dumps({"alarm": alarm.name, "state": alarm.state}))
        for line in shown.series.get(at, ()):
            points = [[moment.isoformat(), value] for moment, value in line.points]
            named = {"graph": widget.title, "line": line.label, "total": line.total, "points": points}
            typer.echo(json.dumps(named))
