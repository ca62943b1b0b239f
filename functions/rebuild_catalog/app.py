"""Bring back the rows that an hour of the catalog has lost; called by `imagelake catalog rebuild`, hour by hour."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict

from imagelake import emission
from imagelake.catalog.rebuild import Rebuilder
from imagelake.errors import unforeseen
from imagelake.keys import ArrivalHour
from imagelake.settings import load

logger = Logger()

MERGE_SECONDS: Final = 400.0
"""Of the invocation, kept back for merging the hour."""


class Request(BaseModel):
    """`hour` as in keys, `ingest_date=YYYY-MM-DD/hour=HH`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: str
    dry_run: bool = False


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return a `rebuild.Rebuilt`; unless it is `finished`, ask again. Raise when another try may help."""
    request = Request.model_validate(event)
    hour = ArrivalHour.parse(request.hour)
    with unforeseen():
        seconds = context.get_remaining_time_in_millis() / 1000 - MERGE_SECONDS
        result = load(Rebuilder).run(hour, datetime.now(UTC), seconds, dry_run=request.dry_run)
    logger.info("catalog rebuilt", extra=asdict(result))
    return asdict(result)
