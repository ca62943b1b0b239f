"""Options that name a moment: a time with its zone, or how long ago it was."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

_AGE: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """The moment that an option names, aware: `2026-11-22T09:00:00Z`, or `90m` for ninety minutes ago.

    Raises:
        BadParameter: it names none.
    """
    if age := _AGE.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        named = None
    if named is None or named.tzinfo is None:
        raise typer.BadParameter(
            f"{text!r} is neither a time with its zone, such as 2026-11-22T09:00:00Z, nor an age, such as 90m, 2h or 1d"
        )
    return named


Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=moment, metavar="TIME", help="Sent then or later: a time, or an age such as 2h."),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", parser=moment, metavar="TIME", help="Sent then or before; --until 2h: two hours old."),
]
