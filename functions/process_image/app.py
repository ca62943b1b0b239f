"""Carry out one order: read an image, run the provided scripts, store what they make; called by the workflow.

Its role grants nothing but its logs. All it may do to an image is signed into the order.
"""

# ruff: noqa: E402  # what is imported before the process starts again would be imported twice
from imagelake.engine import environment

environment.begin()

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake.engine import own_metrics, runner, work
from imagelake.engine.contract import EngineAnswer, EngineOrder
from imagelake.engine.reason_codes import OF_SCRIPTS
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
    _count(answer, context.function_version)
    logger.info("image %s", answer.status, extra={"prefix": order.prefix})
    return answer.model_dump(mode="json")


def _count(answer: EngineAnswer, version: str) -> None:
    """A release is taken back when its scripts fail, and what they fail on is rejected, which rings nothing."""
    if answer.status == "rejected" and answer.code in OF_SCRIPTS:
        said = {own_metrics.VERSION: version, "reason": answer.code}
        own_metrics.write(own_metrics.SCRIPT_FAILURES, 1, "a script failed", said, by=own_metrics.VERSION)
        own_metrics.write(own_metrics.SCRIPT_FAILURES_OF_ALL, 1, "a script failed in some version")
