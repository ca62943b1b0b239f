"""Tell others what became of images, as the stream of the images table says it; or once more of a whole hour.

Called with batches of the stream, and by `imagelake events publish`.
"""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.parser.models import DynamoDBStreamModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict

from imagelake import emission, metrics
from imagelake.errors import unforeseen
from imagelake.events import ImageFailed, ImageProcessed, ImageRejected
from imagelake.keys import ArrivalHour
from imagelake.process.publication import Publication, Told
from imagelake.settings import load

logger = Logger()

MARGIN_SECONDS: Final = 20.0
"""Of the invocation, kept back for the images that were begun last."""


class Request(BaseModel):
    """`hour` as in keys, `ingest_date=YYYY-MM-DD/hour=HH`; `after` as the answer before said it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hour: str
    after: str = ""


def _count(told: Told) -> None:
    outcome = told.event
    logged = {"image_id": outcome.image_id, "correlation_id": outcome.source_ref}
    match outcome:
        case ImageProcessed():
            emission.add(metrics.IMAGES_PROCESSED)
            emission.add(metrics.BYTES_PROCESSED, outcome.bytes or 0)
        case ImageRejected():
            emission.add(metrics.IMAGES_REJECTED, of=metrics.reason(outcome.reason_code))
            logged["reason"] = outcome.reason_code
        case ImageFailed():
            emission.add(metrics.IMAGES_FAILED)
            logged["reason"] = outcome.reason_code
    if outcome.ended_at and told.is_first_attempt:
        emission.add_time(metrics.ARRIVAL_TO_ANSWER, outcome.ended_at - outcome.received_at)
    logger.info("outcome %s", outcome.status, extra=logged)


@emission.emits
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return from which record on the stream has to deliver again, or a `publication.Published`; raise to try again."""
    publication = load(Publication)
    if "Records" not in event:
        request = Request.model_validate(event)
        hour = ArrivalHour.parse(request.hour)
        seconds = context.get_remaining_time_in_millis() / 1000 - MARGIN_SECONDS
        with unforeseen():
            return asdict(publication.publish_hour(hour, datetime.now(UTC), seconds, request.after))
    with unforeseen():
        changes = [one.dynamodb for one in DynamoDBStreamModel.model_validate(event).Records]
        items: list[Any] = [change.NewImage for change in changes]
        done, told = publication.publish(items)
    for one in told:
        _count(one)
    logger.info("outcomes published", extra={"records": len(changes), "published": done})
    return {"batchItemFailures": [{"itemIdentifier": change.SequenceNumber} for change in changes[done : done + 1]]}
