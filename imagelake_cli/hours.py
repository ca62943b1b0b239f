"""Options that name hours of arrival, and what they mean together."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

LONGEST: Final = timedelta(days=31)
"""A stack keeps images for 30 days at most."""
HOUR: Final = timedelta(hours=1)
_FORM: Final = "%Y-%m-%dT%H"


def _hour(text: str) -> datetime:
    try:
        return datetime.strptime(text, _FORM).replace(tzinfo=UTC)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not an hour, UTC, such as 2026-11-22T09") from None


Hour = Annotated[
    datetime | None, typer.Option("--hour", parser=_hour, metavar="HOUR", help="One hour, UTC: 2026-11-22T09.")
]
First = Annotated[
    datetime | None, typer.Option("--from", parser=_hour, metavar="HOUR", help="The first hour of a span.")
]
Last = Annotated[
    datetime | None,
    typer.Option("--to", parser=_hour, metavar="HOUR", help="The last hour of a span; by default now."),
]
Everything = Annotated[bool, typer.Option("--all", help="Every hour that the lake keeps.")]


def chosen(
    hour: datetime | None, first: datetime | None, last: datetime | None, *, everything: bool, beside: str = ""
) -> Sequence[datetime]:
    """The first moments of the hours that are meant, in their order; all of them newest first.

    Args:
        hour: of `--hour`.
        first: of `--from`.
        last: of `--to`.
        everything: of `--all`.
        beside: what else the command could have been given, for the error.

    Raises:
        BadParameter: they make no sense together.
    """
    if [hour is not None, first is not None, everything].count(True) != 1:
        raise typer.BadParameter(f"give one of {beside}--hour, --from and --all")
    if last is not None and first is None:
        raise typer.BadParameter("needs --from", param_hint="--to")
    now = datetime.now(UTC)
    if hour is not None:
        return [hour]
    begin, end = (first, last or now) if first is not None else (now - LONGEST, now)
    if begin > end:
        raise typer.BadParameter("must not be after --to", param_hint="--from")
    if end - begin > LONGEST:
        raise typer.BadParameter("no lake keeps more than 31 days", param_hint="--from")
    between = hours_between(begin, end)
    return between[::-1] if everything else between


def hours_between(first: datetime, last: datetime) -> list[datetime]:
    """The first moments of all hours from that of `first` to that of `last`, both aware."""
    moment, hours = first.astimezone(UTC).replace(minute=0, second=0, microsecond=0), []
    while moment <= last:
        hours.append(moment)
        moment += HOUR
    return hours
