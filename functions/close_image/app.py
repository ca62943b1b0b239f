"""Check what the engine says of an image, and make its item; called by the workflow."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake.errors import unforeseen
from imagelake.process.closing import Closing, EngineAnswered
from imagelake.settings import load

logger = Logger()
metrics = Metrics()


@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return a `closing.Closed`; raise only when another try may help."""
    with unforeseen():
        answered = EngineAnswered.model_validate(event)
        closed, is_believed = load(Closing).close(answered)
    if not is_believed:
        metrics.add_metric("EngineAnswersInvalid", MetricUnit.Count, 1)
        metrics.flush_metrics()
    logger.info("image %s", closed.outcome, extra={"image_id": answered.facts.image_id, "reason": closed.reason})
    return closed.model_dump(mode="json", exclude_none=True)
