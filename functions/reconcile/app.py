"""Start images again that got lost on their way, send reports that got lost, repeat erasures; runs hourly."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel

from imagelake.process.reconciliation import Reconciliation
from imagelake.settings import load

logger = Logger()
metrics = Metrics()


class Request(BaseModel):
    """`since` is for operators, after an outage longer than `reconciliation.LOOKBACK`."""

    since: AwareDatetime | None = None


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, int]:
    """Return counts: arrivals looked at, restarted and given up, outcomes reported late, images erased again."""
    request = Request.model_validate(event)
    result = load(Reconciliation).run(datetime.now(UTC), request.since)
    metrics.add_metric("ImagesRestarted", MetricUnit.Count, result.restarted)
    metrics.add_metric("ImagesGivenUp", MetricUnit.Count, result.given_up)
    metrics.flush_metrics()
    logger.info("reconciled", extra=asdict(result))
    return asdict(result)
