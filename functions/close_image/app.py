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


def _took(answer: EngineAnswer | None) -> dict[str, float]:
    """What the process took, by the engine's word; nothing where there was none, or the answer is not believed."""
    match answer:
        case (
            Processed(seconds=float(seconds), peak_memory_mb=float(megabytes))
            | Rejected(seconds=float(seconds), peak_memory_mb=float(megabytes))
        ):
            return {"script_seconds": seconds, "script_memory_mb": megabytes}
    return {}


def _count(facts: ImageFacts, answer: EngineAnswer | None) -> None:
    if answer is None:
        emission.add(metrics.ENGINE_ANSWERS_INVALID)
    if took := _took(answer):
        emission.add(metrics.SCRIPT_TIME, took["script_seconds"] * 1000)
        emission.add(metrics.SCRIPT_MEMORY, took["script_memory_mb"])
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
    logged = answered.facts.for_logs() | _took(answer) | {"reason": closed.reason}
    logger.info("image %s", closed.outcome, extra=logged)
    return closed.model_dump(mode="json", exclude_none=True)
