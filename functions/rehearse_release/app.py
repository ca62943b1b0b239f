"""Put built-in pictures through a new version of `process_image`; called by CloudFormation as a custom resource."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from imagelake import emission
from imagelake.settings import load
from imagelake.stores import custom_resource
from imagelake.stores.functions import Function

logger = Logger()

ANSWER_SECONDS = 110.0
"""Of the invocation, kept back for a try that has just begun, tidying up after it, and the answer."""


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Answer CloudFormation, and return the status told; raise only when the answer did not arrive, to try again."""
    failure = None
    try:
        if _is_new(event):
            _rehearse(event, context.get_remaining_time_in_millis() / 1000 - ANSWER_SECONDS)
    except Exception as error:  # noqa: BLE001  # whatever it is, CloudFormation would wait for an answer
        failure = f"{type(error).__name__}: {error}"
    status = custom_resource.answer(event, failure)
    logger.info("release rehearsed", extra={"request": event["RequestType"], "status": status, "reason": failure})
    return {"status": status}


def _is_new(event: dict[str, Any]) -> bool:
    """Whether a release comes: a rollback and a deletion have to succeed, whatever is broken.

    Lambda numbers versions upwards, so only a rollback names one that is older than that of before.
    """
    if event["RequestType"] != "Update":
        return bool(event["RequestType"] == "Create")
    new, old = (event[name]["ProcessImageVersion"].rpartition(":") for name in PROPERTIES)
    return bool(new[0] != old[0] or int(new[2]) > int(old[2]))


PROPERTIES = ("ResourceProperties", "OldResourceProperties")


def _rehearse(event: dict[str, Any], seconds: float) -> None:
    # Here, so that a release whose modules cannot be imported is answered, too.
    from imagelake.process.rehearsal import Rehearsal

    load(Rehearsal).rehearse(Function(event["ResourceProperties"]["ProcessImageVersion"]), seconds)
