"""Process one image with the provided scripts; called by the workflow."""

# ruff: noqa: E402  # what is imported before the process starts again would be imported twice
from imagelake.process import environment

environment.begin()

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import pipelines
from imagelake.engine import runner
from imagelake.errors import unforeseen
from imagelake.process.one_image import ImageArrived, ImageProcessing
from imagelake.settings import load

logger = Logger()

STORING_SECONDS = 10.0
"""Of the invocation, kept back from the scripts for storing what they made."""


@environment.gives_up
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return a `one_image.Outcome`; raise only when another try may help."""
    runner.warm_up()
    seconds = context.get_remaining_time_in_millis() / 1000 - STORING_SECONDS
    with unforeseen():
        image = ImageArrived.model_validate(event)
        outcome = load(ImageProcessing).process(image, pipelines.load().limits, seconds)
    logger.info("image %s", outcome.outcome, extra={"key": image.key, "reason": outcome.reason})
    return outcome.model_dump(mode="json", exclude_none=True)
