"""Start images again that got lost on their way, send reports that got lost, repeat erasures; runs hourly."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel

from imagelake import emission, metrics
from imagelake.process.reconciliation import Reconciliation
from imagelake.settings import load

logger = Logger()


class Request(BaseModel):
    """`since` is for operators, after an outage longer than `reconciliation.LOOKBACK`."""

    since: AwareDatetime | None = None


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, int]:
    """Return counts: arrivals looked at, restarted and given up, outcomes reported late, images erased again."""
    request = Request.model_validate(event)
    result = load(Reconciliation).run(datetime.now(UTC), request.since)
    emission.add(metrics.IMAGES_RESTARTED, result.restarted)
    emission.add(metrics.IMAGES_GIVEN_UP, result.given_up)
    emission.add(metrics.FAILURES_REPORTED_LATE, result.reported)
    logger.info("reconciled", extra=asdict(result))
    return asdict(result)
