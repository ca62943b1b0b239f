"""Carry out one order: read an image, run the provided scripts, store what they make; called by the workflow.

Its role grants nothing but its logs. All it may do to an image is signed into the order.
"""

# ruff: noqa: E402  # what is imported before the process starts again would be imported twice
from imagelake.engine import environment

environment.begin()

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake.engine import runner, work
from imagelake.engine.contract import EngineOrder
from imagelake.errors import unforeseen

logger = Logger()

STORING_SECONDS = 10.0
"""Of the invocation, kept back from the scripts for storing what they made."""


@environment.gives_up
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return a `contract.EngineAnswer`; raise only when another try may help."""
    runner.warm_up()
    seconds = context.get_remaining_time_in_millis() / 1000 - STORING_SECONDS
    with unforeseen():
        order = EngineOrder.model_validate(event)
        answer = work.carry_out(order, seconds)
    logger.info("image %s", answer.status, extra={"prefix": order.prefix})
    return answer.model_dump(mode="json")
