"""Decide what is to be done with an image, and sign what the engine needs for it; called by the workflow."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission, metrics
from imagelake.errors import unforeseen
from imagelake.process.opening import ObjectCreated, Opening
from imagelake.settings import load

logger = Logger()


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Return an `opening.Opened`; raise only when another try may help."""
    with unforeseen():
        created = ObjectCreated.model_validate(event)
        opened, is_later = load(Opening).open(created)
    if is_later:
        emission.add(metrics.LATER_VERSIONS)
    logger.info("image %s", opened.decision, extra={"key": created.key, "later_version": is_later})
    return opened.model_dump(mode="json", exclude_none=True)
