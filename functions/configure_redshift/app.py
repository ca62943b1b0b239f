"""Make, change or remove what Redshift needs inside; called by CloudFormation as a custom resource."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser.models import CloudFormationCustomResourceBaseModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, Field

from imagelake import emission
from imagelake.catalog.redshift import RedshiftCatalog
from imagelake.settings import load
from imagelake.stores import custom_resource

logger = Logger()

ANSWER_SECONDS = 45.0
"""Of the invocation, kept back for a call under way and the answer."""


class Properties(BaseModel):
    """What may change while the stack lives; CloudFormation makes strings of numbers."""

    daily_rpu_hours: int = Field(alias="DailyRpuHours", gt=0)


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, str]:
    """Answer CloudFormation, and return the status told; raise only when the answer did not arrive, to try again."""
    failure = None
    try:
        seconds = context.get_remaining_time_in_millis() / 1000 - ANSWER_SECONDS
        _fulfil(CloudFormationCustomResourceBaseModel.model_validate(event), seconds)
    except Exception as error:  # noqa: BLE001  # whatever it is, CloudFormation would wait an hour for it
        failure = f"{type(error).__name__}: {error}"
    status = custom_resource.answer(event, failure)
    logger.info("redshift configured", extra={"request": event["RequestType"], "status": status, "reason": failure})
    return {"status": status}


def _fulfil(request: CloudFormationCustomResourceBaseModel, seconds: float) -> None:
    catalog = load(RedshiftCatalog)
    if request.request_type == "Delete":
        catalog.remove(seconds)
    else:
        properties = Properties.model_validate(request.resource_properties)
        catalog.configure(properties.daily_rpu_hours, seconds)
