"""Decide what is to be done with an image, and sign what the engine needs for it; called by the workflow."""

from datetime import UTC, datetime
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.errors import unforeseen
from imagelake.process.opening import ObjectCreated, Opened, Opening
from imagelake.settings import load

logger = Logger()


def _count(created: ObjectCreated, opened: Opened, *, is_later: bool) -> None:
    if is_later:
        emission.add(metrics.LATER_VERSIONS)
    if opened.decision == "duplicate":
        emission.add(metrics.DUPLICATES_ABSORBED)
    if opened.decision == "open" and opened.facts and not created.for_task:
        emission.add(metrics.IMAGES_RECEIVED)
        if not opened.facts.attempts:
            emission.add_time(metrics.STEP_LATENCY, datetime.now(UTC) - opened.facts.received_at, of="start")


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return an `opening.Opened`; raise only when another try may help."""
    with unforeseen():
        created = ObjectCreated.model_validate(event)
        opened, is_later = load(Opening).open(created)
    _count(created, opened, is_later=is_later)
    logged = opened.facts.for_logs() if opened.facts else {}
    asked = {"key": created.key, "later_version": is_later, "execution": created.execution}
    logger.info("image %s", opened.decision, extra=logged | asked)
    return opened.model_dump(mode="json", exclude_none=True)
