"""What items and columns hold: times and numbers. Records and what scripts return have these types in common."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer


def _read_time(value: object) -> datetime:
    """Pydantic by itself takes numbers, and text such as `1795341600`, for seconds."""
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)  # type: ignore[arg-type]  # a TypeError is as good an answer
    except (TypeError, ValueError):
        raise ValueError("not a time in ISO 8601") from None


def _to_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("in UTC, not a time of the years 1 to 9999") from None


def to_iso(moment: datetime) -> str:
    """An aware time as ISO 8601 in UTC, always with milliseconds, so that text sorts like time."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


type Moment = Annotated[
    AwareDatetime,
    BeforeValidator(_read_time),
    AfterValidator(_to_utc),
    PlainSerializer(to_iso, when_used="json"),
]
"""A time with a zone; text of it is ISO 8601."""

type Expiry = Annotated[AwareDatetime, AfterValidator(_to_utc), PlainSerializer(to_iso, when_used="json")]
"""A time that an item of the images table has in epoch seconds."""


def _refuse_text_and_truth(value: object) -> object:
    """Pydantic takes `"12"` and `True` for numbers."""
    if isinstance(value, str | bool):
        raise ValueError("not a number")
    return value


type Int32 = Annotated[int, BeforeValidator(_refuse_text_and_truth), Field(ge=-(1 << 31), lt=1 << 31)]
"""What a column of the catalog of type `int` holds."""

type Int64 = Annotated[int, BeforeValidator(_refuse_text_and_truth), Field(ge=-(1 << 63), lt=1 << 63)]
"""What a column of the catalog of type `bigint` holds."""


def _check_number(value: float) -> float:
    if value and not 1e-130 <= abs(value) <= 1e125:
        raise ValueError("DynamoDB holds 0 and numbers of 1e-130 to 1e+125")
    return value


type Number = Annotated[
    float, BeforeValidator(_refuse_text_and_truth), Field(allow_inf_nan=False), AfterValidator(_check_number)
]
"""What both an item and a column of the catalog of type `double` hold."""

type Latitude = Annotated[Number, Field(ge=-90, le=90)]
type Longitude = Annotated[Number, Field(ge=-180, le=180)]
