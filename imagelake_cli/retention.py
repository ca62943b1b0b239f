"""`imagelake retention`: whether the promise is kept, and what goes next; for operators of the stack's account."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.filesize import decimal
from rich.table import Table

from imagelake_cli import connection, options
from imagelake_cli.failures import ExitCode, explained
from imagelake_cli.formats import counted, print_table, say
from imagelake_cli.kept_data import STALE, AuditReport, Due, ReportError
from imagelake_cli.progress import note

app = typer.Typer(help="See whether images are kept for their days, and gone after them.", no_args_is_help=True)

_REFUSALS: Final = (connection.NoLakeError, ReportError, BotoCoreError, ClientError, OSError)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day, such as 2026-11-22") from None


@app.callback()
def _group() -> None:
    """See whether images are kept for their days, and gone after them."""


@app.command(epilog=options.example("imagelake retention report --date 2026-11-22"))
def report(
    day: Annotated[
        date | None, typer.Option("--date", parser=_day, metavar="DAY", help="Of a day, UTC; by default the newest.")
    ] = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """Print the verdict, the figures and the findings of the last audit.

    Ends with 0 when everything was as promised, with 3 when something was not, and with 1 when there is no report, or
    none of the last 30 hours.
    """
    now = datetime.now(UTC)
    with explained(*_REFUSALS):
        found = connection.kept_data(stack, region, profile).report(now, day)
    is_stale = day is None and now - found.as_of > STALE
    verdict = "broken" if found.findings else "unknown" if is_stale else "kept"
    if as_json:
        typer.echo(json.dumps({"verdict": verdict} | found.model_dump(mode="json")))
    else:
        _show(found)
    if is_stale:
        age = (now - found.as_of) // timedelta(hours=1)
        note(f"The last audit was {counted(age, 'hour')} ago: see why it does not run.")
    if verdict != "kept":
        raise typer.Exit(ExitCode.INCOMPLETE if found.findings else ExitCode.FAILED)


@app.command(epilog=options.example("imagelake retention due --hours 6"))
def due(
    hours: Annotated[int, typer.Option("--hours", min=0, max=744, help="How far to look ahead.")] = 24,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    region: options.Region = None,
    profile: options.Profile = None,
) -> None:
    """List what the purge deletes next, by hour of arrival and place, and what is overdue.

    Counts objects with all their versions, and items. Ends with 0, or with 3 when something is overdue.
    """
    now = datetime.now(UTC)
    with explained(*_REFUSALS):
        found = connection.kept_data(stack, region, profile).due(now + timedelta(hours=hours))
    if as_json:
        for one in found:
            typer.echo(json.dumps(_plain(one, now)))
    elif found:
        _list(found, now)
    overdue = sum(one.count for one in found if one.state(now) == "overdue")
    total = sum(one.count for one in found)
    note(f"{total} objects and items are due within {counted(hours, 'hour')}, {overdue} are overdue")
    if overdue:
        raise typer.Exit(ExitCode.INCOMPLETE)


def _show(found: AuditReport) -> None:
    verdict = "something is not as promised" if found.findings else "everything is as promised"
    typer.echo(f"Audit of {found.as_of:%Y-%m-%d %H:%M} UTC: {verdict}.")
    typer.echo(f"Kept for {found.retention_days} days, and at most 2 hours more.")
    typer.echo(f"Overdue {found.overdue}, too early {found.early}, other findings {found.other}.")
    typer.echo(f"Oldest image or row: {found.oldest_age_hours:.1f} h.\n")
    table = Table(box=None, pad_edge=False)
    for name in ("place", "objects", "bytes", "oldest, h"):
        table.add_column(name, justify="left" if name == "place" else "right")
    for place in found.places:
        table.add_row(place.place, str(place.objects), decimal(place.bytes), f"{place.oldest_age_hours:.1f}")
    print_table(table)
    for one in found.findings:
        typer.echo(f"\n{one.kind}: {one.what} in {one.place} ({one.count})")
        for name in one.names:
            say(f"  {name}")
        if one.count > len(one.names):
            typer.echo("  and more")


def _list(found: list[Due], now: datetime) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("hour", "place", "count", "size", "due", "gone by", "state"):
        table.add_column(name, justify="right" if name in ("count", "size") else "left")
    for one in found:
        size = decimal(one.bytes) if one.place != "items" else "-"
        moments = (f"{moment:%m-%d %H:%M}" for moment in (one.due_at, one.gone_by))
        table.add_row(one.hour, one.place, str(one.count), size, *moments, one.state(now))
    print_table(table)


def _plain(one: Due, now: datetime) -> dict[str, str | int]:
    return {
        "hour": one.hour,
        "place": one.place,
        "count": one.count,
        "bytes": one.bytes,
        "due_at": one.due_at.isoformat(timespec="seconds"),
        "gone_by": one.gone_by.isoformat(timespec="seconds"),
        "state": one.state(now),
    }
