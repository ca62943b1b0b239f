"""Purge what has been kept for its days; called by the workflow that goes from hour to hour."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel, ConfigDict

from imagelake import emission, metrics
from imagelake.retention.purge import Purge, Work
from imagelake.settings import load

logger = Logger()

RECEIPT_SECONDS = 20.0
"""Of the invocation, kept back for deletions under way and their receipt."""


class Request(BaseModel):
    """Without `work`: what is there to do? `as_of` is the start of the run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    as_of: AwareDatetime
    work: Work | None = None


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return the work to do, or a `retention.Progress`; raise to be tried again."""
    purge, request = load(Purge), Request.model_validate(event)
    now = min(request.as_of, datetime.now(UTC))  # nobody can have tomorrow's images purged today
    if request.work is None:
        work = purge.find_work(now)
        return {"work": [piece.model_dump(exclude_none=True) for piece in work], "left": len(work)}
    seconds = context.get_remaining_time_in_millis() / 1000 - RECEIPT_SECONDS
    progress = purge.run(request.work, now, seconds)
    emission.add(metrics.OBJECTS_PURGED, progress.deleted)
    logger.info("purged", extra=progress.model_dump())
    return progress.model_dump()
