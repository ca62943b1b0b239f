"""Check what the engine says of an image, and make its item; called by the workflow."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.errors import unforeseen
from imagelake.process.closing import Closing, EngineAnswered
from imagelake.settings import load

logger = Logger()


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return a `closing.Closed`; raise only when another try may help."""
    with unforeseen():
        answered = EngineAnswered.model_validate(event)
        closed, is_believed = load(Closing).close(answered)
    if not is_believed:
        emission.add(metrics.ENGINE_ANSWERS_INVALID)
    logger.info("image %s", closed.outcome, extra={"image_id": answered.facts.image_id, "reason": closed.reason})
    return closed.model_dump(mode="json", exclude_none=True)
