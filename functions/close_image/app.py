"""Check what the engine says of an image, and make its item; called by the workflow."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.engine.contract import EngineAnswer, Processed, Rejected
from imagelake.errors import unforeseen
from imagelake.process.closing import Closing, EngineAnswered
from imagelake.process.facts import ImageFacts
from imagelake.settings import load

logger = Logger()


def _count(facts: ImageFacts, answer: EngineAnswer | None) -> None:
    if answer is None:
        emission.add(metrics.ENGINE_ANSWERS_INVALID)
    if isinstance(answer, Processed | Rejected) and answer.seconds is not None and answer.peak_memory_mb is not None:
        emission.add(metrics.SCRIPT_TIME, answer.seconds * 1000)
        emission.add(metrics.SCRIPT_MEMORY, answer.peak_memory_mb)
    if facts.opened_at and not facts.by_task:
        emission.add_time(metrics.STEP_LATENCY, datetime.now(UTC) - facts.opened_at, of="process")


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return a `closing.Closed`; raise only when another try may help."""
    with unforeseen():
        answered = EngineAnswered.model_validate(event)
        closed, answer = load(Closing).close(answered)
    _count(answered.facts, answer)
    logger.info("image %s", closed.outcome, extra=answered.facts.for_logs() | {"reason": closed.reason})
    return closed.model_dump(mode="json", exclude_none=True)
