"""What items and columns hold: moments and numbers."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC, not a time of the years 1 to 9999") from None


def to_iso(moment: datetime) -> str:
    """An aware time as ISO 8601 in UTC, always with milliseconds, so that text sorts like time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


type Moment = Annotated[AwareDatetime, AfterValidator(_to_utc), PlainSerializer(to_iso, when_used="json")]


type Int32 = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
"""What a column of the catalog of type `int` holds."""


def _check_number(value: float) -> float:
    if value and not 1e-130 <= abs(value) <= 1e125:
        raise ValueError("DynamoDB holds 0 and numbers of 1e-130 to 1e+125")
    return value


type Number = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_check_number)]
"""What both an item and a column of the catalog of type `double` hold."""
